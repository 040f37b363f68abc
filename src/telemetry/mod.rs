//! Logging and metrics, set up once.

pub mod logs;
pub mod metrics;
