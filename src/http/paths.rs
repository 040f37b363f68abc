//! Paths that more than one file knows.

/// Where HubSpot sends people back to, unless the redirect URI says otherwise.
pub(super) const CALLBACK: &str = "/auth/hubspot/callback";
/// The page behind a hosted link.
pub(super) const HOSTED_LINK: &str = "/connect";
/// Where a connect begins.
pub(super) const START: &str = "/auth/hubspot/start";
/// The page on which an install from HubSpot's Marketplace is claimed.
pub(super) const CLAIM: &str = "/install/hubspot/claim";
/// What the paths begin with whose bodies are passed on as they arrive.
pub(super) const STREAMED: &str = "/api/hubspot/proxy/";

/// Returns whether a request is passed on as it arrives, and ends with its caller.
pub(super) fn is_streamed(path: &str) -> bool {
    path.starts_with(STREAMED)
}

/// Returns whether a path is answered with JSON.
pub(super) fn is_api(path: &str) -> bool {
    path.starts_with("/api/") && path != "/api/docs"
        || path.starts_with("/auth/hubspot/link")
        || matches!(path, "/auth/hubspot/handoff" | "/auth/hubspot/launch" | "/livez")
}
