//! The log settings.

use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

use super::reader::Reader;

/// The format of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// `Pretty` on a terminal, `Json` elsewhere.
    Auto,
    /// Lines for human readers.
    Pretty,
    /// One JSON object per line.
    Json,
}

/// The log settings.
#[derive(Debug, Clone)]
pub struct Logging {
    /// LOG_LEVEL or RUST_LOG: a level or a tracing filter.
    pub level: String,
    /// LOG_FORMAT.
    pub format: LogFormat,
    /// LOG_FILE.
    pub file: Option<PathBuf>,
}

impl Logging {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let format = reader.choice(
            "LOG_FORMAT",
            &[("auto", LogFormat::Auto), ("pretty", LogFormat::Pretty), ("json", LogFormat::Json)],
        );
        let file = Some(reader.text("LOG_FILE")).filter(|path| !path.is_empty()).map(PathBuf::from);
        if file.as_ref().is_some_and(|path| path.file_name().is_none()) {
            reader.problem("LOG_FILE", "must be the path of a file");
        }
        let name = reader.first_set(&["LOG_LEVEL", "RUST_LOG"]);
        let level = reader.text(name);
        if EnvFilter::try_new(level).is_err() {
            reader.problem(name, "must be error, warn, info, debug, trace, or a tracing filter");
        }
        Self { level: level.to_owned(), format, file }
    }
}
