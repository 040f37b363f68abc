//! `import FILE|-`: imports connections from elsewhere.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, stdin};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::projects::known;
use super::{Failure, configured, print_error, print_line, with_services};
use crate::domain::external::ExternalUserId;
use crate::domain::failure::FailureCode;
use crate::domain::id::PortalId;
use crate::domain::project::ProjectId;
use crate::domain::secret::Secret;
use crate::http::ProblemCode;
use crate::lifecycle;
use crate::services::{Import, ImportError, Imported, Services};

/// The number of concurrent imports; fewer if REFRESH_MAX_IN_FLIGHT is lower.
const PARALLEL_IMPORTS: usize = 16;
const MAX_REFRESH_TOKEN_LENGTH: usize = 4096;
const MAX_METADATA_LENGTH: usize = 4096;

/// Import connections: one JSON object per line, with `external_user_id`, `refresh_token` and optionally `portal_id`,
/// `metadata`, `scopes`. Each refresh token is used once. The same file may be imported again. Prints one JSON object
/// for each line that has a connection, with `line`, `external_user_id` and `connection_id`.
#[derive(Debug, Args)]
pub(super) struct ImportCommand {
    /// The file; `-` for standard input.
    file: PathBuf,
    /// The project of the users.
    #[arg(long, default_value_t)]
    project: ProjectId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    external_user_id: ExternalUserId,
    refresh_token: String,
    portal_id: Option<u64>,
    metadata: Option<BTreeMap<String, Value>>,
    scopes: Option<Vec<String>>,
}

/// The number of lines by their result.
#[derive(Debug, Default)]
struct Counts {
    imported: u64,
    known: u64,
    refused: u64,
}

/// The number of a line, its user, and the result.
type Done = (usize, ExternalUserId, Result<Imported, ImportError>);

/// An import in progress.
struct Running {
    services: Services,
    project: ProjectId,
    bar: ProgressBar,
    counts: Counts,
    in_flight: JoinSet<Done>,
    /// The tokens that are being imported: none may be used twice at the same time.
    tokens: HashSet<[u8; 32]>,
    pace: Interval,
    at_once: usize,
    /// Cancelled by a signal. Imports in progress are finished, because their new tokens exist nowhere else.
    stop: CancellationToken,
}

impl ImportCommand {
    pub fn run(&self) -> Result<ExitCode, Failure> {
        let config = configured()?;
        let (lines, length) = self.open()?;
        let (counts, outcome) = with_services(&config, async |services, store| {
            known(store, &self.project).await?;
            let mut pace = interval(Duration::from_secs(1) / config.refresh.rate_per_second);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut running = Running {
                services: services.clone(),
                project: self.project.clone(),
                bar: length.map_or_else(ProgressBar::no_length, ProgressBar::new),
                counts: Counts::default(),
                in_flight: JoinSet::new(),
                tokens: HashSet::new(),
                pace,
                at_once: config.refresh.max_in_flight.min(PARALLEL_IMPORTS),
                stop: lifecycle::stop_on_signal()?,
            };
            let outcome = running.all(lines).await;
            running.bar.finish_and_clear();
            Ok((running.counts, outcome))
        })?;
        let Counts { imported, known, refused } = counts;
        print_error(&format!("{imported} imported, {known} already known, {refused} rejected"));
        outcome?;
        Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn open(&self) -> Result<(Box<dyn BufRead>, Option<u64>), Failure> {
        if self.file.as_os_str() == "-" {
            return Ok((Box::new(BufReader::new(stdin())), None));
        }
        let file = File::open(&self.file).map_err(|why| format!("{}: {why}", self.file.display()))?;
        let length = file.metadata()?.len();
        Ok((Box::new(BufReader::new(file)), Some(length)))
    }
}

impl Running {
    async fn all(&mut self, mut lines: Box<dyn BufRead>) -> Result<(), Failure> {
        let mut number = 0;
        while !self.stop.is_cancelled() {
            let mut bytes = Vec::new();
            let length = lines.read_until(b'\n', &mut bytes)?;
            if length == 0 {
                break;
            }
            number += 1;
            match read(&bytes, &self.project) {
                None => {}
                Some(Err(why)) => self.refuse(number, &why),
                Some(Ok(import)) => self.begin(number, import).await?,
            }
            self.bar.inc(length as u64);
        }
        while self.one_done().await? {}
        match self.stop.is_cancelled() {
            true => Err(format!("stopped after line {number}; run the command again to continue").into()),
            false => Ok(()),
        }
    }

    async fn begin(&mut self, number: usize, import: Import) -> Result<(), Failure> {
        let token = *import.refresh.hash().bytes();
        if self.tokens.contains(&token) {
            while self.one_done().await? {}
            self.tokens.clear();
        }
        while self.in_flight.len() >= self.at_once {
            self.one_done().await?;
        }
        if self.in_flight.is_empty() {
            self.tokens.clear();
        }
        self.tokens.insert(token);
        self.pace.tick().await;
        let services = self.services.clone();
        self.in_flight.spawn(async move {
            let user = import.external_user.clone();
            (number, user, services.connections.imports.import(import).await)
        });
        Ok(())
    }

    async fn one_done(&mut self) -> Result<bool, Failure> {
        let Some(done) = self.in_flight.join_next().await else { return Ok(false) };
        let (number, user, outcome) = done?;
        let connection = match outcome {
            Ok(Imported::Done(connection)) => {
                self.counts.imported += 1;
                connection
            }
            Ok(Imported::Known(connection)) => {
                self.counts.known += 1;
                connection
            }
            Err(ImportError::Refused(code)) => {
                self.refuse(number, &refusal(code));
                return Ok(true);
            }
            Err(ImportError::Store(why)) => return Err(why.into()),
        };
        let mapping = json!({"line": number, "external_user_id": user, "connection_id": connection});
        self.bar.suspend(|| print_line(mapping));
        Ok(true)
    }

    fn refuse(&mut self, number: usize, why: &str) {
        self.counts.refused += 1;
        self.bar.suspend(|| print_error(&format!("line {number}: {why}")));
    }
}

fn refusal(code: FailureCode) -> String {
    format!("{code}: {}", ProblemCode::from(code).entry().title)
}

/// Parses a line; `None` for an empty one. Errors contain none of its values.
fn read(line: &[u8], project: &ProjectId) -> Option<Result<Import, String>> {
    Some(line.trim_ascii()).filter(|line| !line.is_empty()).map(|line| parse(line, project))
}

fn parse(line: &[u8], project: &ProjectId) -> Result<Import, String> {
    let line: Line = serde_json::from_slice(line).map_err(|why| {
        format!(
            "not an object with external_user_id, refresh_token and optionally portal_id, metadata, scopes (at character {})",
            why.column()
        )
    })?;
    let refresh = Secret::new(line.refresh_token);
    let length = refresh.expose().len();
    if !(1..=MAX_REFRESH_TOKEN_LENGTH).contains(&length) || refresh.expose().chars().any(char::is_control) {
        return Err("refresh_token is invalid".to_owned());
    }
    let portal = line.portal_id.map(|number| PortalId::new(number).ok_or("portal_id is not an account id"));
    let metadata = line.metadata.map(|metadata| serde_json::to_string(&metadata).unwrap_or_default());
    if metadata.as_ref().is_some_and(|text| text.len() > MAX_METADATA_LENGTH || text.contains("\\u0000")) {
        return Err("metadata may have at most 4 kB, without zero characters".to_owned());
    }
    let is_scope = |scope: &String| !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic());
    if line.scopes.as_ref().is_some_and(|scopes| !scopes.iter().all(is_scope)) {
        return Err("scopes must be a list of scope names".to_owned());
    }
    Ok(Import {
        project: project.clone(),
        external_user: line.external_user_id,
        refresh,
        portal: portal.transpose()?,
        metadata,
        scopes: line.scopes.map(|scopes| scopes.iter().collect()),
        is_patient: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_lines_are_reported_without_their_values() {
        for line in [
            r#"{"external_user_id":"u","refresh_token":["s3cret"]}"#,
            r#"{"external_user_id":"u","refresh_token":"s3cret","other":1}"#,
            r#"{"external_user_id":"","refresh_token":"s3cret"}"#,
            r#"{"external_user_id":"u","refresh_token":"s3cret","portal_id":-1}"#,
            r#"{"external_user_id":"u","refresh_token":"s3cret","portal_id":9007199254740992}"#,
            r#"{"external_user_id":"u","refresh_token":"s3cret","scopes":["a b"]}"#,
            r#"{"external_user_id":"u","refresh_token":"s3cret\n"}"#,
            r#"{"external_user_id":"u"}"#,
            r#""s3cret""#,
            "s3cret",
        ] {
            let why = read(line.as_bytes(), &ProjectId::default()).unwrap().unwrap_err();
            assert!(!why.contains("s3cret"), "{line}: {why}");
        }
        assert!(read(b" \r\n", &ProjectId::default()).is_none());
        assert!(
            read(
                b"{\"external_user_id\":\"u\",\"refresh_token\":\"t\",\"metadata\":{\"a\":1}}\r\n",
                &ProjectId::default()
            )
            .unwrap()
            .is_ok()
        );
    }
}
