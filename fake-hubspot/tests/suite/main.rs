//! The behavior of the fake that other tests rely on.

mod consent;
mod control;
mod crm;
mod faults;
mod http;
mod limits;
mod tokens;
