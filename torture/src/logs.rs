//! The search for secrets in the logs of the replicas.

use std::collections::HashSet;
use std::path::Path;

/// The shortest word that counts as a secret: shorter ones occur in logs for other reasons.
const SHORTEST: usize = 16;
/// The length from which every word counts as a secret: an access token has 300 characters, and everything encrypted
/// has more; nothing else in a log is this long.
const TOO_LONG: usize = 200;
/// The length of a refresh token, `na1-` and a UUID.
const REFRESH_TOKEN: usize = 40;

/// The words that no log may contain.
pub struct Secrets(HashSet<String>);

impl Secrets {
    /// Collects the words of these texts.
    pub fn new(texts: impl IntoIterator<Item = String>) -> Self {
        let long = |text: String| {
            let found: Vec<_> =
                words(&text).filter(|word| word.len() >= SHORTEST).map(str::to_owned).collect();
            found
        };
        Self(texts.into_iter().flat_map(long).collect())
    }

    /// Returns the places in a log that contain a secret: the line's number and a description, never the secret.
    pub fn search(&self, name: &Path, log: &str) -> Vec<String> {
        let suspicion = |line| words(line).find_map(|word| self.suspicion(word));
        let found = log.lines().enumerate().filter_map(|(number, line)| Some((number + 1, suspicion(line)?)));
        found.map(|(number, what)| format!("{}:{number}: {what}", name.display())).collect()
    }

    fn suspicion(&self, word: &str) -> Option<&'static str> {
        match word {
            _ if self.0.contains(word) => Some("a secret of this run"),
            _ if word.len() == REFRESH_TOKEN && word.starts_with("na1-") => {
                Some("looks like a refresh token")
            }
            _ if word.starts_with("gAAAA") => Some("looks like a ciphertext"),
            _ if word.len() > TOO_LONG => Some("looks like an access token"),
            _ => None,
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-' && letter != '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_everywhere_and_not_repeated() {
        let secrets = Secrets::new(["postgres://u:0123456789abcdef0123@h/db".to_owned(), "short".to_owned()]);
        let text = "all is well, short\npassword=0123456789abcdef0123,\ntoken na1-01234567-0123-0123-0123-0123456789ab\n";
        let found = secrets.search(Path::new("log"), text);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("log:2: a secret of this run"), "{found:?}");
        assert!(found[1].starts_with("log:3: looks like a refresh token"), "{found:?}");
        assert!(!found.concat().contains("0123456789abcdef"));
    }
}
