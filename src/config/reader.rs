//! Reads variables one by one and collects all problems instead of stopping at the first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::variables::{VARIABLES, Variable};
use super::{Problems, env_file};
use crate::domain::origin::{is_loopback, web_url};
use crate::domain::secret::Secret;

/// The file that variables are read from, besides the environment.
pub(crate) const ENV_FILE: &str = ".env";
/// The number of our variables that must share a first word for every other name with this word to be a mistake.
const SERVICE_LINK_VARIABLES: usize = 3;

/// The variables of the environment and of `.env`.
pub struct Variables {
    all: BTreeMap<String, String>,
    /// Whether there is a `.env`.
    has_file: bool,
    /// A warning about a `.env` that could not be read.
    unread_file: Option<String>,
}

impl std::fmt::Debug for Variables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.all.keys()).finish()
    }
}

impl Variables {
    /// Reads the process's environment and, for variables that it lacks, the `.env` file of the working directory if
    /// there is one.
    ///
    /// A file without read permission is only a warning: a container may start in a folder of another user, and have
    /// all variables in its environment.
    ///
    /// # Errors
    /// [`Problems`] if a line of `.env` or a variable of ours cannot be read.
    pub(crate) fn of_process() -> Result<Self, Problems> {
        let (file, unread_file) = match std::fs::read(ENV_FILE) {
            Ok(file) => (Some(env_file::parse(&file).map_err(Problems)?), None),
            Err(why) if why.kind() == ErrorKind::NotFound => (None, None),
            Err(why) => {
                let kind = why.kind();
                (None, Some(format!("{ENV_FILE} cannot be read ({kind}); only the environment is used")))
            }
        };
        let (mut environment, mut problems) = (Vec::new(), Vec::new());
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => environment.push((name, env_file::unquoted(value))),
                Err(_) if is_known(&name.to_uppercase()) => problems.push(format!("{name} is not UTF-8")),
                Err(_) => {}
            }
        }
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        let has_file = file.is_some();
        let mut all = by_name(file.unwrap_or_default());
        all.extend(by_name(environment));
        Ok(Self { all, has_file, unread_file })
    }

    /// Builds variables from pairs; a later pair overrides an earlier one with the same name.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { all: by_name(pairs), has_file: false, unread_file: None }
    }

    /// Adds pairs. A variable that is set keeps its value.
    pub(crate) fn or(mut self, pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        for (name, value) in pairs {
            self.all.entry(name).or_insert(value);
        }
        self
    }

    /// Returns a sentence for each mistyped variable, for each file with secrets that others can read, and for a `.env`
    /// that could not be read.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.unread_file.clone().into_iter().chain(self.mistyped()).chain(self.exposed_files())
    }

    /// Returns a sentence for each unknown variable that looks like ours.
    fn mistyped(&self) -> Vec<String> {
        let unknown =
            self.all.iter().filter(|(name, value)| !is_known(name) && !is_service_link(name, value));
        unknown.filter_map(|(name, _)| mistyped(name)).collect()
    }

    /// Returns a sentence for each file with secrets that other users of this machine can read or write. systemd's
    /// credentials do not count: only their service can enter the folder, and the access control list that lets it read
    /// them looks like the group's permission.
    fn exposed_files(&self) -> Vec<String> {
        let secrets = VARIABLES.iter().filter(|known| known.secret);
        let named = secrets.filter_map(|known| self.get(&format!("{}_FILE", known.name)));
        let files: BTreeSet<&str> = named.chain(self.has_file.then_some(ENV_FILE)).collect();
        let is_credential = |path: &&str| {
            self.get("CREDENTIALS_DIRECTORY").is_some_and(|folder| Path::new(path).starts_with(folder))
        };
        let exposed = files.into_iter().filter(|path| !is_credential(path)).filter_map(|path| {
            let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
            let advice = format!("{path} is open to other users (mode {mode:o}); run `chmod 600 {path}`");
            (mode & 0o077 != 0).then_some(advice)
        });
        exposed.collect()
    }

    /// Returns the value without the spaces around it; an empty value counts as missing.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }
}

/// Collects variables by their names in upper case. `HTTPS_PROXY` overrides `https_proxy`, in whatever order they come.
fn by_name(pairs: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let (small, capital): (Vec<_>, Vec<_>) =
        pairs.into_iter().partition(|(name, _)| name.contains(|c: char| c.is_ascii_lowercase()));
    small.into_iter().chain(capital).map(|(name, value)| (name.to_uppercase(), value)).collect()
}

fn is_known(name: &str) -> bool {
    VARIABLES.iter().any(|known| name.strip_prefix(known.name).is_some_and(|rest| known.takes(rest)))
}

/// Returns whether this is a Kubernetes service link. The links of a service `x` are `X_SERVICE_HOST`,
/// `X_SERVICE_PORT…`, `X_PORT` with a URL, and `X_PORT_80_TCP…`.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_port = |rest: &str| {
        let mut words = rest.split('_');
        words.next().is_some_and(|number| number.parse::<u16>().is_ok())
            && matches!(words.next(), Some("TCP" | "UDP" | "SCTP"))
    };
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.ends_with("_PORT") && value.contains("://"))
        || name.split_once("_PORT_").is_some_and(|(_, rest)| is_port(rest))
}

/// Returns a sentence for an unknown name that looks like one of ours: it is nearly the same, is the beginning of one,
/// begins with one, or has a first word that many of ours share.
fn mistyped(name: &str) -> Option<String> {
    let ours = || VARIABLES.iter().filter(|known| known.ours);
    let names = ours().flat_map(|known| {
        [Some(known.name.to_owned()), known.secret.then(|| format!("{}_FILE", known.name))]
            .into_iter()
            .flatten()
    });
    let near = names.filter_map(|known| {
        let distance = strsim::damerau_levenshtein(&known, name);
        let is_near = distance <= known.len().max(name.len()) / 5;
        let is_beginning = known.starts_with(&format!("{name}_")) && name.contains('_');
        // A further word makes it another variable: platforms set DATABASE_URL_UNPOOLED.
        let is_longer =
            name.strip_prefix(&known).is_some_and(|rest| rest == "_FILE" || !rest.starts_with('_'));
        (is_near || is_beginning || is_longer).then_some((distance, known))
    });
    if let Some((_, known)) = near.min() {
        return Some(format!("{name} is not a variable of hubspot-connect; did you mean {known}?"));
    }
    let (first_word, _) = name.split_once('_')?;
    let shares = |known: &&Variable| known.name.split_once('_').is_some_and(|(first, _)| first == first_word);
    let shared = ours().filter(shares).count();
    (shared >= SERVICE_LINK_VARIABLES).then(|| {
        format!(
            "{name} is not a variable of hubspot-connect; `hubspot-connect print env` lists all variables"
        )
    })
}

/// The words for on and off.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Switch {
    #[serde(alias = "on", alias = "yes", alias = "1")]
    True,
    #[serde(alias = "off", alias = "no", alias = "0")]
    False,
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

    /// Returns the result, or all problems if there were any.
    pub fn finish<T>(self, result: T) -> Result<T, Problems> {
        if self.problems.is_empty() { Ok(result) } else { Err(Problems(self.problems)) }
    }

    /// Records a problem with a variable.
    pub fn problem(&mut self, name: &str, what: impl Display) {
        self.problems.push(format!("{name} {what}"));
    }

    /// Returns the value, or the default; empty if there is neither.
    pub fn text(&self, name: &str) -> &'a str {
        self.variables.get(name).unwrap_or_else(|| variable(name).default)
    }

    /// Returns a required value.
    pub fn required(&mut self, name: &str) -> &'a str {
        let value = self.text(name);
        if value.is_empty() {
            self.problem(name, "is not set");
        }
        value
    }

    /// Returns the first of these names that is set, or the first name if none is.
    pub fn first_set<'n>(&self, names: &[&'n str]) -> &'n str {
        names.iter().find(|name| self.variables.get(name).is_some()).unwrap_or(&names[0])
    }

    /// Deserializes a value with envy, one variable at a time: envy stops at the first error, and its message contains
    /// the value, which may be a secret.
    fn deserialized<T: DeserializeOwned>(&self, name: &str, text: &str) -> Option<T> {
        let one = [(name.to_owned(), text.to_owned())];
        envy::from_iter::<_, BTreeMap<String, T>>(one).ok()?.into_values().next()
    }

    /// Deserializes a value. The report does not repeat the value.
    pub fn parsed<T: DeserializeOwned>(&mut self, name: &str, wanted: &str) -> Option<T> {
        let parsed = self.deserialized(name, self.text(name));
        if parsed.is_none() {
            self.problem(name, format_args!("must be {wanted}"));
        }
        parsed
    }

    /// Returns a whole number within bounds.
    pub fn number<T>(&mut self, name: &str, bounds: RangeInclusive<T>) -> T
    where
        T: DeserializeOwned + PartialOrd + Display + Copy,
    {
        let number = self.deserialized(name, self.text(name)).filter(|number| bounds.contains(number));
        number.unwrap_or_else(|| {
            let (from, to) = (bounds.start(), bounds.end());
            self.problem(name, format_args!("must be a whole number from {from} to {to}"));
            *from
        })
    }

    /// Returns a duration in whole seconds within bounds.
    pub fn seconds(&mut self, name: &str, bounds: RangeInclusive<u64>) -> Duration {
        Duration::from_secs(self.number(name, bounds))
    }

    /// Returns whether a switch is on; `None` if the value means neither on nor off.
    pub fn switched(&self, name: &str) -> Option<bool> {
        let word = self.text(name).to_ascii_lowercase();
        self.deserialized(name, &word).map(|switch| matches!(switch, Switch::True))
    }

    /// Returns whether a switch is on.
    pub fn switch(&mut self, name: &str) -> bool {
        let on = self.switched(name);
        if on.is_none() {
            self.problem(name, "must be on or off (also true or false, yes or no, 1 or 0)");
        }
        on.unwrap_or_default()
    }

    /// Returns the choice that the value names.
    pub fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> T {
        let word = self.text(name);
        if let Some((_, choice)) = choices.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)) {
            return *choice;
        }
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        self.problem(name, format_args!("must be one of: {}", words.join(", ")));
        choices[0].1
    }

    /// Returns the items of a comma-separated list, without the spaces around them.
    pub fn list(&self, name: &str) -> Vec<String> {
        let items: Vec<String> = self.deserialized(name, self.text(name)).unwrap_or_default();
        items.iter().map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
    }

    /// Parses each item of a comma-separated list; the parser's error explains what is wrong with an item.
    pub fn items<T, E: Display>(&mut self, name: &str, read: impl Fn(&str) -> Result<T, E>) -> Vec<T> {
        let mut items = Vec::new();
        for item in self.list(name) {
            match read(&item) {
                Ok(item) => items.push(item),
                Err(why) => self.problem(name, format_args!("contains `{item}`, which {why}")),
            }
        }
        items
    }

    /// Returns a URL that is https, or on this machine.
    pub fn url(&mut self, name: &str) -> Option<Url> {
        let Some(url) = web_url(self.text(name)) else {
            self.problem(name, "must be a URL such as https://connect.example.com");
            return None;
        };
        if url.scheme() == "http" && !url.host().is_some_and(|host| is_loopback(&host)) {
            self.problem(name, "must use https: plain http is only for this machine");
            return None;
        }
        Some(url)
    }

    /// Returns a secret, from NAME or from the file that NAME_FILE names.
    pub fn secret(&mut self, name: &str) -> Option<Secret> {
        let file = format!("{name}_FILE");
        match (self.variables.get(name), self.variables.get(&file)) {
            (Some(_), Some(_)) => {
                self.problem(name, format_args!("and {file} are both set; set one of them"));
                None
            }
            (Some(value), None) => Some(Secret::new(value.to_owned())),
            (None, Some(path)) => self.secret_file(&file, path),
            (None, None) => Some(variable(name).default)
                .filter(|value| !value.is_empty())
                .map(|value| Secret::new(value.to_owned())),
        }
    }

    /// Returns a required secret.
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

/// Splits a list of secrets.
pub(super) fn secrets(list: &Secret, separators: &[char]) -> Vec<Secret> {
    let parts = list.expose().split(separators).map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| Secret::new(part.to_owned())).collect()
}

fn variable(name: &str) -> &'static Variable {
    VARIABLES.iter().find(|known| known.name == name).expect("every variable that is read is in the list")
}
