//! Projects: products that share a service but cannot see each other's data.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sea_orm::DeriveValueType;
use serde::Serialize;

use super::text_enum::not_a_number;

const MAX_PROJECT_ID_LENGTH: usize = 40;

/// The name of a project, which is its id: 1 to 40 lowercase letters, digits and hyphens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, DeriveValueType)]
#[serde(into = "String")]
#[sea_orm(value_type = "String")]
pub struct ProjectId(Arc<str>);

not_a_number!(ProjectId);

impl Default for ProjectId {
    /// Returns the project of everything that has no other. It always exists.
    fn default() -> Self {
        Self("default".into())
    }
}

/// Text that cannot name a project.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a project name must have 1 to {MAX_PROJECT_ID_LENGTH} lowercase letters, digits and hyphens")]
pub struct BadProjectId;

impl FromStr for ProjectId {
    type Err = BadProjectId;

    fn from_str(text: &str) -> Result<Self, BadProjectId> {
        let fits = (1..=MAX_PROJECT_ID_LENGTH).contains(&text.len())
            && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if fits { Ok(Self(text.into())) } else { Err(BadProjectId) }
    }
}

impl From<ProjectId> for String {
    fn from(id: ProjectId) -> Self {
        id.0.to_string()
    }
}

impl fmt::Display for ProjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn project_names_are_one_lowercase_word() {
        for good in ["default", "crm-sync", "2", &"a".repeat(40)] {
            assert_eq!(good.parse::<ProjectId>().expect("a name").to_string(), good);
        }
        for bad in ["", "A", "a b", "a_b", "é", &"a".repeat(41)] {
            assert_eq!(bad.parse::<ProjectId>(), Err(BadProjectId), "{bad}");
        }
    }
}
