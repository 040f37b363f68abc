//! The status of a ConnectSession, and how long it is kept.

use std::time::Duration;

use super::text_enum::{UnknownText, text_enum};

/// The time for which a session can still be read after it expires.
pub const CONNECT_SESSION_RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

text_enum! {
    /// The status of a connect session. The last three values are final.
    pub enum ConnectSessionStatus: UnknownText {
        /// Flows may start.
        Open = "open",
        /// A user has authorized, and the host's backend has not confirmed the connection yet.
        AwaitingConfirmation = "awaiting_confirmation",
        /// A connection was created or reconnected.
        Connected = "connected",
        /// The host's backend has cancelled it.
        Cancelled = "cancelled",
        /// No user connected in time.
        Expired = "expired",
    }
}
