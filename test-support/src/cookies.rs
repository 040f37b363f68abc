//! The cookies of a browser, as far as the service can see them.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

/// Cookies by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cookies(BTreeMap<String, String>);

impl Cookies {
    /// Returns the value of the `Cookie` header; `None` if there are no cookies.
    pub fn header(&self) -> Option<String> {
        let pairs: Vec<_> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// Keeps or removes the cookie of a `Set-Cookie` header, and returns its value if it is kept.
    pub fn keep(&mut self, line: &str) -> Option<String> {
        let (pair, attributes) = line.split_once(';').unwrap_or((line, ""));
        let (name, value) = pair.split_once('=')?;
        if attributes.contains("Max-Age=0") {
            self.0.remove(name);
            return None;
        }
        self.0.insert(name.to_owned(), value.to_owned());
        Some(value.to_owned())
    }
}

impl Deref for Cookies {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Cookies {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl IntoIterator for Cookies {
    type Item = (String, String);
    type IntoIter = std::collections::btree_map::IntoIter<String, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Returns the form token of a page: the text between `before` and the next quotation mark.
pub fn quoted_after(page: &str, before: &str) -> Option<String> {
    Some(page.split_once(before)?.1.split('"').next()?.to_owned())
}
