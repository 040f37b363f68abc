//! The service as others meet it. One journey or one promise per file; every test runs on SQLite, and again on
//! PostgreSQL when TEST_POSTGRES_URL names a server.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![allow(clippy::disallowed_methods, reason = "the tests' own client is not the service's")]
#![allow(missing_docs, reason = "the names of tests are their documentation")]

mod abuse;
mod access;
mod api_access;
mod api_input;
mod api_keys;
mod api_limits;
mod architecture;
mod at_rest;
mod attempts;
mod backend_secrecy;
mod callback_attacks;
mod catalogue;
mod claims;
mod cli;
mod config;
mod connect;
mod connect_sessions;
mod crashes;
mod csrf_and_cors;
mod database_file;
mod database_trouble;
mod disconnect;
mod endings;
mod events;
mod evidence;
mod faults_exchange;
mod faults_input;
mod faults_refresh;
mod fuzz;
mod guessing;
mod hardships;
mod harness;
mod headers;
mod health;
mod held_connections;
mod idempotency;
mod import;
mod installs;
mod journal;
mod journal_many;
mod journal_troubles;
mod keys;
mod lease;
mod lifecycle;
mod lock_order;
mod migrations;
mod openapi;
mod outages;
mod proxy;
mod proxy_bodies;
mod proxy_limits;
mod races;
mod refresh;
mod replicas;
mod secrecy;
mod sessions;
mod start_attacks;
mod storage;
mod switches;
mod waiting;
mod webhooks;
mod wrong_account;
