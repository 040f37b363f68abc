//! `print env|configuration|errors|openapi`: generated documents.

use std::process::ExitCode;

use clap::Subcommand;

use super::{Failure, print_line};
use crate::config::{configuration, example_env};

#[derive(Debug, Subcommand)]
pub(super) enum Print {
    /// Print every variable with its default and a description: the content of `.env.example`.
    Env,
    /// Print them as a table: the content of `docs/configuration.md`.
    Configuration,
    /// Print the table of error codes: the content of `docs/errors.md`.
    Errors,
    /// Print the description of the API, OpenAPI 3.1: the content of `openapi.json`.
    Openapi,
}

impl Print {
    pub fn run(&self) -> Result<ExitCode, Failure> {
        let text = match self {
            Self::Env => example_env(),
            Self::Configuration => configuration(),
            Self::Errors => errors(),
            Self::Openapi => crate::http::document().to_pretty_json()?,
        };
        print_line(text.trim_end());
        Ok(ExitCode::SUCCESS)
    }
}

fn errors() -> String {
    let mut text = String::from(
        "# Error codes\n\n\
         For developers of host pages and backends. At the end, you know each code, and whether trying again helps. What to do\n\
         about the common ones is in [troubleshooting](troubleshooting.md).\n\n\
         HTTP responses carry the code as `application/problem+json` (RFC 9457), error pages show it with a support code, and the\n\
         message to the opener has it as `error.code`. The popup reports the problem of an authorization request; its status is\n\
         the one that it would have as an HTTP response. (`hubspot-connect print errors` prints this page.)\n\n\
         | code | status | retry | what the user reads |\n|---|---|---|---|\n",
    );
    for entry in crate::http::error_table() {
        let retry = if entry.retryable { "yes" } else { "no" };
        text += &format!(
            "| `{}` | {} | {retry} | {}. {} |\n",
            entry.code, entry.status, entry.title, entry.detail
        );
    }
    text
}
