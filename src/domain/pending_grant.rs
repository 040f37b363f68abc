//! Grants that await a decision before they become connections.

use super::failure::FailureCode;
use super::id::{FlowId, PendingGrantId};
use super::text_enum::{UnknownText, text_enum};

text_enum! {
    /// Why a grant is pending, which says who decides on it.
    pub enum GrantSource: UnknownText {
        /// The user has chosen another account than the expected one, and says which of them stays.
        AccountMismatch = "account_mismatch",
        /// The host's backend confirms who has approved.
        Confirmation = "confirmation",
        /// It came from HubSpot's Marketplace, and the host's backend says whose it is.
        Marketplace = "marketplace",
    }
}

impl GrantSource {
    /// Returns the flow that a grant of this source and id came by; none for an install.
    pub fn flow(self, id: PendingGrantId) -> Option<FlowId> {
        (self != Self::Marketplace).then(|| id.flow())
    }

    /// Returns why a grant of this source ends if nobody decides in time.
    pub(crate) fn code_if_expired(self) -> FailureCode {
        match self {
            Self::AccountMismatch => FailureCode::WrongAccount,
            Self::Confirmation | Self::Marketplace => FailureCode::NotConfirmed,
        }
    }
}
