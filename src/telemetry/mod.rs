//! Logging and metrics, set up once.

pub mod logs;
pub(crate) mod metrics;
