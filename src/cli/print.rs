//! `print env|errors|openapi`: generated documents.

use std::process::ExitCode;

use clap::Subcommand;

use super::{Failure, print_line};
use crate::config::example_env;

#[derive(Debug, Subcommand)]
pub(super) enum Print {
    /// Every variable with its default and a sentence: the content of `.env.example`.
    Env,
    /// The table of error codes: the content of `docs/errors.md`.
    Errors,
    /// The description of the API, OpenAPI 3.1: the content of `openapi.json`.
    Openapi,
}

impl Print {
    pub fn run(&self) -> Result<ExitCode, Failure> {
        let text = match self {
            Self::Env => example_env(),
            Self::Errors => errors(),
            Self::Openapi => crate::http::document().to_pretty_json()?,
        };
        print_line(text.trim_end());
        Ok(ExitCode::SUCCESS)
    }
}

fn errors() -> String {
    let mut text = String::from(
        "# Errors\n\n\
         Every problem has a stable code. HTTP answers carry it as `application/problem+json` (RFC 9457), pages show it\n\
         with a support code, and the message to the opener has it as `error.code`. A problem of a connect is told by\n\
         the popup; its status is the one it would have as an HTTP answer. (This file is printed by\n\
         `hubspot-connect print errors`.)\n\n\
         | code | status | try again? | what a person is told |\n|---|---|---|---|\n",
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
