//! In what state a connection is.

use super::words::{UnknownWord, words};

words! {
    /// The state that is stored. `degraded` and `disconnected` are not: the one is seen from the expiry of the access
    /// token, the other is a row that is no more.
    pub enum ConnectionState: UnknownWord {
        /// Refreshed before it expires.
        Active = "active",
        /// HubSpot has ended the grant: the person has to connect anew.
        NeedsReauth = "needs_reauth",
        /// The stored tokens do not belong to this row or cannot be read: nothing is handed out or deleted.
        IntegrityError = "integrity_error",
    }
}
