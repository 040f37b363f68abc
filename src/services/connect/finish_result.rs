//! What the answer of HubSpot has led to.

/// What has become of a flow whose answer came just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FinishResult {
    Connected,
    /// It is another account than the expected one.
    Asking,
    /// The host's backend has the last word.
    Held,
    Failed,
}
