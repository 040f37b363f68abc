//! Logging to the console and to a file: one event per line, as JSON or as text.
//!
//! Nothing here redacts: secrets have a type that cannot be printed, and request lines are logged without their query.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;

use thiserror::Error;
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::config::{LogFormat, Logging};

/// The number of days for which log files are kept.
const LOG_DAYS: usize = 7;

/// Library messages that any client can provoke with each request: malformed requests, many requests at once, unknown
/// session cookies.
const MUTED_TARGETS: &str = "actix_http::h1::dispatcher=off,sqlx::pool::acquire=off,actix_session=error";

/// The reason logging cannot be set up.
#[derive(Debug, Error)]
pub enum LogError {
    /// The level is neither a level nor a filter.
    #[error("LOG_LEVEL is neither a level nor a filter")]
    Level,
    /// The file cannot be written.
    #[error("LOG_FILE cannot be written: {0}")]
    File(String),
}

type Line = Box<dyn Layer<Layered<EnvFilter, Registry>> + Send + Sync>;

/// Sets up logging for the process; a second call changes nothing.
///
/// # Errors
/// [`LogError`] if the level is invalid or the file cannot be written.
pub fn install(settings: &Logging) -> Result<(), LogError> {
    // Libraries log only problems, unless the operator's own filter says otherwise.
    let level = match settings.level.contains(['=', ',']) {
        true => settings.level.clone(),
        false => format!("warn,{MUTED_TARGETS},hubspot_connect={}", settings.level),
    };
    let filter = EnvFilter::try_new(&level).map_err(|_| LogError::Level)?;
    let pretty = match settings.format {
        LogFormat::Pretty => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    };
    let mut layers: Vec<Line> = vec![match pretty {
        true => fmt::layer().with_writer(std::io::stderr).boxed(),
        false => json().with_writer(std::io::stderr).boxed(),
    }];
    if let Some(file) = file(settings)? {
        layers.push(json().with_writer(std::sync::Mutex::new(file)).boxed());
    }
    // One filter for all layers. With a filter per layer, an event that a library only asks about (as sqlx does for
    // PostgreSQL's notices) leaves its verdict behind, and the next event is lost.
    let subscriber = tracing_subscriber::registry().with(filter).with(layers);
    // A process that embeds the service may have set up its own logging.
    if subscriber.try_init().is_ok() {
        log_panics();
    }
    Ok(())
}

/// Logs panics like every other event, so that the log file has them too, with the request in which they happened.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        // Empty unless RUST_BACKTRACE asks for it.
        let trace = Backtrace::capture();
        let trace = (trace.status() == BacktraceStatus::Captured).then(|| trace.to_string());
        tracing::error!(place, panic = panic.payload_as_str(), trace, "panicked");
    }));
}

fn json<S>() -> fmt::Layer<S, fmt::format::JsonFields, fmt::format::Format<fmt::format::Json>> {
    fmt::layer().json().flatten_event(true).with_span_list(false)
}

fn file(settings: &Logging) -> Result<Option<RollingFileAppender>, LogError> {
    let Some(path) = &settings.file else {
        return Ok(None);
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .max_log_files(LOG_DAYS)
        .filename_prefix(name)
        // Old files are found by prefix and suffix: with the prefix alone, a database beside the logs would count as
        // one.
        .filename_suffix("log")
        .build(folder.unwrap_or(std::path::Path::new(".")))
        .map(Some)
        .map_err(|why| LogError::File(why.to_string()))
}
