//! The service as others meet it. One journey or one promise per file; every test runs on SQLite, and again on
//! PostgreSQL when TEST_POSTGRES_URL names a server.
#![allow(
    clippy::disallowed_methods,
    reason = "the tests' own client is not the service's"
)]
#![allow(missing_docs, reason = "the names of tests are their documentation")]

mod architecture;
mod connect;
mod harness;
