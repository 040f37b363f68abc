//! How far a ConnectSession has come: what a host's backend has said of who is connecting, before the person comes.

use super::words::{UnknownWord, words};

words! {
    /// How far a connect session has come. The last three are final.
    pub enum ConnectSessionStatus: UnknownWord {
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
