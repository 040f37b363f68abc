//! Helpers of the tests: a service as clients see it, a browser without a window, a database per test.
#![allow(dead_code, reason = "not every test uses everything")]

pub mod app;
pub mod browser;
pub mod database;
pub mod host;
pub mod http_proxy;
pub mod nginx;
pub mod page;
pub mod process;
pub mod receiver;
pub mod sql;
pub mod statements;
mod tables;
pub mod token_endpoint_faults;
pub mod watch;
pub mod wire;

pub use app::TestApp;
pub use browser::Browser;
pub use process::eventually;
pub use receiver::{Manner, Receiver};
