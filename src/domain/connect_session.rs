//! How far a ConnectSession has come, and how long it is remembered.

use std::time::Duration;

use super::text_enum::{UnknownText, text_enum};

/// How long a session can still be looked at after the time at which it expires.
pub const CONNECT_SESSION_RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

text_enum! {
    /// The status of a connect session. The last three values are final.
    pub enum ConnectSessionStatus: UnknownText {
        /// Attempts may begin.
        Open = "open",
        /// A person has approved, and the host's backend has not said yet whether that counts.
        AwaitingConfirmation = "awaiting_confirmation",
        /// It led to a connection.
        Connected = "connected",
        /// The host's backend has ended it.
        Cancelled = "cancelled",
        /// Nobody connected in time.
        Expired = "expired",
    }
}
