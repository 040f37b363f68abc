//! What begins at HubSpot.

pub(super) mod install;
pub(super) mod journal;
