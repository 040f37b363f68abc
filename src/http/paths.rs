//! Paths that more than one file knows.

/// Where HubSpot sends people back to, unless the redirect URI says otherwise.
pub(super) const CALLBACK: &str = "/auth/hubspot/callback";
/// The page behind a hosted link.
pub(super) const HOSTED_LINK: &str = "/connect";
/// Where a connect begins.
pub(super) const START: &str = "/auth/hubspot/start";
/// The page on which an install from HubSpot's Marketplace is claimed.
pub(super) const CLAIM: &str = "/install/hubspot/claim";
/// The connections, as the host's backend sees them.
pub(super) const CONNECTIONS: &str = "/api/hubspot/connections";

/// Returns the id of the connection and HubSpot's own path, if a path is that of a proxied request.
pub(super) fn proxied(path: &str) -> Option<(&str, &str)> {
    let (id, below) = path.strip_prefix(CONNECTIONS)?.strip_prefix('/')?.split_once('/')?;
    Some((id, below.strip_prefix("proxy").filter(|path| path.starts_with('/'))?))
}

/// Returns whether a request is passed on as it arrives, and ends with its caller.
pub(super) fn is_streamed(path: &str) -> bool {
    proxied(path).is_some()
}

/// Returns whether a path is answered with JSON.
pub(super) fn is_api(path: &str) -> bool {
    path.starts_with("/api/") && path != "/api/docs"
        || path.starts_with("/auth/hubspot/link")
        || matches!(path, "/auth/hubspot/handoff" | "/auth/hubspot/launch" | "/livez")
}
