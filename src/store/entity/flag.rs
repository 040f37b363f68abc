//! Boolean columns.

use sea_orm::DeriveValueType;

/// A boolean, stored as 1 or 0: SQLite has no boolean type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, DeriveValueType)]
pub struct Flag(i64);

impl Flag {
    /// Returns whether it is true.
    pub fn is_set(self) -> bool {
        self.0 != 0
    }
}

impl From<bool> for Flag {
    fn from(is_set: bool) -> Self {
        Self(is_set.into())
    }
}
