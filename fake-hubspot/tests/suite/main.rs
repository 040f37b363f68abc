//! What the fake promises to the tests that rely on it.

mod consent;
mod control;
mod crm;
mod faults;
mod http;
mod limits;
mod tokens;
