//! Grants that await a decision before they become connections.

use super::failure::FailureCode;
use super::id::{FlowId, PendingGrantId};
use super::text_enum::{UnknownText, text_enum};

text_enum! {
    /// The reason a grant is pending, which also determines who decides on it.
    pub enum GrantSource: UnknownText {
        /// The user chose another account than the expected one, and decides which of them to keep.
        AccountMismatch = "account_mismatch",
        /// The host's backend confirms the user who authorized.
        Confirmation = "confirmation",
        /// It came from HubSpot's Marketplace, and the host's backend assigns it to a user.
        Marketplace = "marketplace",
    }
}

impl GrantSource {
    /// Returns the flow of a pending grant with this source and id; `None` for an install.
    pub fn flow(self, id: PendingGrantId) -> Option<FlowId> {
        (self != Self::Marketplace).then(|| id.flow())
    }

    /// Returns the failure code of a grant with this source if no decision is made in time.
    pub(crate) fn code_if_expired(self) -> FailureCode {
        match self {
            Self::AccountMismatch => FailureCode::WrongAccount,
            Self::Confirmation | Self::Marketplace => FailureCode::NotConfirmed,
        }
    }
}
