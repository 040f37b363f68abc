//! Paths that more than one file uses.

/// The path of HubSpot's callback, unless the redirect URI names another.
pub(super) const CALLBACK: &str = "/auth/hubspot/callback";
/// The page behind a hosted link.
pub(super) const HOSTED_LINK: &str = "/connect";
/// The path at which an authorization request starts.
pub(super) const START: &str = "/auth/hubspot/start";
/// The page on which an install from HubSpot's Marketplace is claimed.
pub(super) const CLAIM: &str = "/install/hubspot/claim";
/// The connections of the host's backend.
pub(super) const CONNECTIONS: &str = "/api/hubspot/connections";

/// Returns the id of the connection and HubSpot's own path, if a path is that of a proxied request.
pub(super) fn proxied(path: &str) -> Option<(&str, &str)> {
    let (id, below) = path.strip_prefix(CONNECTIONS)?.strip_prefix('/')?.split_once('/')?;
    Some((id, below.strip_prefix("proxy").filter(|path| path.starts_with('/'))?))
}

/// Returns whether a request is proxied: it is forwarded as it arrives, and ends with its caller.
pub(super) fn is_streamed(path: &str) -> bool {
    proxied(path).is_some()
}

/// Returns whether responses on a path are JSON.
pub(super) fn is_api(path: &str) -> bool {
    path.starts_with("/api/") && path != "/api/docs"
        || path.starts_with("/auth/hubspot/link")
        || matches!(path, "/auth/hubspot/handoff" | "/auth/hubspot/launch" | "/livez")
}
