//! The states of a connection.

use super::text_enum::{UnknownText, text_enum};

text_enum! {
    /// The stored state of a connection.
    pub enum StoredState: UnknownText {
        /// Refreshed before it expires.
        Active = "active",
        /// HubSpot has ended the grant: the user must reconnect.
        NeedsReauth = "needs_reauth",
        /// The stored tokens do not belong to this row or cannot be read: they are neither handed out nor deleted.
        IntegrityError = "integrity_error",
    }
}

text_enum! {
    /// The status of a connection.
    pub enum ConnectionStatus: UnknownText {
        /// Refreshed before it expires.
        Active = "active",
        /// Active, but the access token has expired and could not be refreshed yet.
        Degraded = "degraded",
        /// HubSpot has ended the grant: the user must reconnect.
        NeedsReauth = "needs_reauth",
        /// The stored tokens cannot be trusted: the user must reconnect.
        IntegrityError = "integrity_error",
    }
}

text_enum! {
    /// The status of the revocation at HubSpot.
    pub enum Revocation: UnknownText {
        /// HubSpot has revoked the grant.
        Done = "done",
        /// HubSpot could not be reached yet; the service retries for a day.
        Queued = "queued",
        /// HubSpot was not asked: another connection has the same grant, or the configuration or a lost key forbids it.
        Skipped = "skipped",
    }
}
