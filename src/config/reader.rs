//! Reads variables one by one and remembers every problem instead of stopping at the first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use super::Problems;
use super::variables::{VARIABLES, Variable};
use crate::domain::origin::{is_loopback, web_url};
use crate::domain::secret::Secret;

/// Names with these beginnings are ours: an unknown one is a typing error.
const PREFIXES: &[&str] = &[
    "HUBSPOT_",
    "SERVER_",
    "DATABASE_",
    "ENCRYPTION_",
    "SESSION_",
    "REFRESH_",
    "LOG_",
    "FLOW_",
    "TOKEN_DELIVERY",
    "HOST_ORIGIN",
    "TRUSTED_PROX",
    "ADMIN_ADDR",
    "ADMIN_HOST",
    "PUBLIC_URL",
    "RATE_LIMIT_",
    "ON_SESSION_",
    "ALLOW_INSECURE",
    "APP_SECRET",
    "WEBHOOK_",
];

/// The file that variables are read from, besides the environment.
const ENV_FILE: &str = ".env";

/// The variables of the environment and of `.env`.
pub struct Variables {
    all: BTreeMap<String, String>,
    /// Whether there is a `.env`.
    has_file: bool,
}

impl std::fmt::Debug for Variables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.all.keys()).finish()
    }
}

impl Variables {
    /// The process's environment, and below it the `.env` file of the working directory if there is one.
    ///
    /// # Errors
    /// [`Problems`] if there is a `.env` file that cannot be read.
    pub fn of_process() -> Result<Self, Problems> {
        let file = match dotenvy::from_path_iter(Path::new(ENV_FILE)) {
            Ok(lines) => Some(lines.collect::<Result<Vec<_>, _>>())
                .transpose()
                // The error's text shows the line, and the line may be a secret.
                .map_err(|_| Problems(vec![".env has a line that is not NAME=value".to_owned()]))?,
            Err(why) if why.not_found() => None,
            Err(_) => return Err(Problems(vec![".env cannot be read".to_owned()])),
        };
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let has_file = file.is_some();
        Ok(Self { has_file, ..Self::from_pairs(file.into_iter().flatten().chain(environment)) })
    }

    /// Variables given one by one; a later one wins over an earlier one of the same name.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let all = envy::from_iter::<_, BTreeMap<String, String>>(pairs).unwrap_or_default();
        let all = all.into_iter().map(|(name, value)| (name.to_uppercase(), value)).collect();
        Self { all, has_file: false }
    }

    /// A sentence for each variable that looks like ours and is not known.
    pub fn unknown(&self) -> Vec<String> {
        self.all.keys().filter(|name| is_ours(name) && !is_known(name)).map(|name| guess(name)).collect()
    }

    /// A sentence for each file with secrets that other users of this machine can read or write.
    pub fn exposed_files(&self) -> Vec<String> {
        let secrets = VARIABLES.iter().filter(|known| known.secret);
        let named = secrets.filter_map(|known| self.get(&format!("{}_FILE", known.name)));
        let files: BTreeSet<&str> = named.chain(self.has_file.then_some(ENV_FILE)).collect();
        let exposed = files.into_iter().filter_map(|path| {
            let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
            let advice = format!("{path} is open to other users (mode {mode:o}); run `chmod 600 {path}`");
            (mode & 0o077 != 0).then_some(advice)
        });
        exposed.collect()
    }

    /// The value, with the spaces around it removed; an empty one is as good as none.
    fn get(&self, name: &str) -> Option<&str> {
        self.all.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }
}

fn is_ours(name: &str) -> bool {
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn is_known(name: &str) -> bool {
    let base = name.strip_suffix("_FILE").unwrap_or(name);
    VARIABLES.iter().any(|known| known.name == name || (known.secret && known.name == base))
}

fn guess(name: &str) -> String {
    let near =
        VARIABLES.iter().map(|known| (strsim::damerau_levenshtein(known.name, name), known.name)).min();
    match near {
        Some((distance, known)) if distance <= 3 => {
            format!("{name} is not a variable of hubspot-connect; is {known} meant?")
        }
        _ => {
            format!("{name} is not a variable of hubspot-connect; `hubspot-connect print env` lists them all")
        }
    }
}

/// Reads variables and collects problems.
pub(super) struct Reader<'a> {
    variables: &'a Variables,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    pub fn new(variables: &'a Variables) -> Self {
        Self { variables, problems: Vec::new() }
    }

    /// The result, unless there was a problem.
    pub fn finish<T>(self, result: T) -> Result<T, Problems> {
        if self.problems.is_empty() { Ok(result) } else { Err(Problems(self.problems)) }
    }

    /// Notes a problem with a variable.
    pub fn problem(&mut self, name: &str, what: impl Display) {
        self.problems.push(format!("{name} {what}"));
    }

    /// The value, or the default; empty if there is neither.
    pub fn text(&self, name: &str) -> &'a str {
        self.variables.get(name).unwrap_or_else(|| variable(name).default)
    }

    /// A value that must be there.
    pub fn required(&mut self, name: &str) -> &'a str {
        let value = self.text(name);
        if value.is_empty() {
            self.problem(name, "is not set");
        }
        value
    }

    /// A value that a parser understands. The report does not repeat the value.
    pub fn parsed<T: FromStr>(&mut self, name: &str, wanted: &str) -> Option<T> {
        let parsed = self.text(name).parse().ok();
        if parsed.is_none() {
            self.problem(name, format_args!("must be {wanted}"));
        }
        parsed
    }

    /// A whole number within bounds.
    pub fn number(&mut self, name: &str, bounds: RangeInclusive<u64>) -> u64 {
        match self.text(name).parse::<u64>() {
            Ok(number) if bounds.contains(&number) => number,
            _ => {
                self.problem(
                    name,
                    format_args!("must be a whole number from {} to {}", bounds.start(), bounds.end()),
                );
                *bounds.start()
            }
        }
    }

    /// A span in whole seconds within bounds.
    pub fn seconds(&mut self, name: &str, bounds: RangeInclusive<u64>) -> Duration {
        Duration::from_secs(self.number(name, bounds))
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> T {
        let word = self.text(name);
        if let Some((_, choice)) = choices.iter().find(|(known, _)| *known == word) {
            return *choice;
        }
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        self.problem(name, format_args!("must be one of: {}", words.join(", ")));
        choices[0].1
    }

    /// The parts of a list with commas, without the spaces around them.
    pub fn list(&self, name: &str) -> Vec<&'a str> {
        self.text(name).split(',').map(str::trim).filter(|item| !item.is_empty()).collect()
    }

    /// A URL that is https, or on this machine.
    pub fn url(&mut self, name: &str, text: &str) -> Option<Url> {
        let Some(url) = web_url(text) else {
            self.problem(name, "must be a URL such as https://connect.example.com");
            return None;
        };
        if url.scheme() == "http" && !url.host().is_some_and(|host| is_loopback(&host)) {
            self.problem(name, "must use https: plain http is for this machine alone");
            return None;
        }
        Some(url)
    }

    /// A secret, from NAME or from the file that NAME_FILE names.
    pub fn secret(&mut self, name: &str) -> Option<Secret> {
        let file = format!("{name}_FILE");
        match (self.variables.get(name), self.variables.get(&file)) {
            (Some(_), Some(_)) => {
                self.problem(name, format_args!("is set, and {file} too; set one of them"));
                None
            }
            (Some(value), None) => Some(Secret::new(value.to_owned())),
            (None, Some(path)) => self.secret_file(&file, path),
            (None, None) => Some(variable(name).default)
                .filter(|value| !value.is_empty())
                .map(|value| Secret::new(value.to_owned())),
        }
    }

    /// A secret that must be there.
    pub fn required_secret(&mut self, name: &str) -> Option<Secret> {
        let before = self.problems.len();
        let secret = self.secret(name);
        if secret.is_none() && self.problems.len() == before {
            self.problem(name, "is not set");
        }
        secret
    }

    fn secret_file(&mut self, name: &str, path: &str) -> Option<Secret> {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let text = text.trim_start_matches('\u{feff}').trim();
                if text.is_empty() {
                    self.problem(name, "names a file that is empty");
                    return None;
                }
                Some(Secret::new(text.to_owned()))
            }
            Err(why) => {
                self.problem(name, format_args!("names a file that cannot be read ({})", why.kind()));
                None
            }
        }
    }
}

fn variable(name: &str) -> &'static Variable {
    VARIABLES.iter().find(|known| known.name == name).expect("every variable that is read is in the list")
}
