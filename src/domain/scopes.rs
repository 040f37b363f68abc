//! Sets of HubSpot scopes.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// Scopes in the order in which they were given, without duplicates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, sea_orm::DeriveValueType)]
#[sea_orm(value_type = "String")]
pub struct Scopes(Vec<String>);

impl Scopes {
    /// Parses a list separated by spaces or commas.
    pub fn parse(text: &str) -> Self {
        text.split([' ', ',', '\t', '\n', '\r']).collect()
    }

    /// Returns the scopes of `self` that are not in `granted`.
    pub(crate) fn missing_from(&self, granted: &Self) -> Self {
        self.0.iter().filter(|scope| !granted.0.contains(scope)).collect()
    }

    /// Returns the scopes of both, without duplicates.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        self.iter().chain(other.iter()).collect()
    }

    /// Returns these scopes and `oauth`. Without it, HubSpot shows an error page with no way back.
    #[must_use]
    pub(crate) fn with_oauth(&self) -> Self {
        std::iter::once("oauth").chain(self.iter()).collect()
    }

    /// Returns whether both contain the same scopes, in any order.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        self.missing_from(other).is_empty() && other.missing_from(self).is_empty()
    }

    /// Returns whether there are no scopes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the scopes.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl FromStr for Scopes {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::parse(text))
    }
}

impl<S: AsRef<str>> FromIterator<S> for Scopes {
    fn from_iter<I: IntoIterator<Item = S>>(scopes: I) -> Self {
        let mut list: Vec<String> = Vec::new();
        for scope in scopes {
            let scope = scope.as_ref();
            if !scope.is_empty() && !list.iter().any(|known| known == scope) {
                list.push(scope.to_owned());
            }
        }
        Self(list)
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_lists_accept_spaces_or_commas_and_drop_duplicates() {
        assert_eq!(Scopes::parse("oauth, crm.a  crm.b,oauth").to_string(), "oauth crm.a crm.b");
    }

    #[test]
    fn missing_scopes_are_those_requested_and_not_granted() {
        let asked = Scopes::parse("oauth crm.a crm.b");
        assert_eq!(asked.missing_from(&Scopes::parse("crm.a")).to_string(), "oauth crm.b");
    }
}
