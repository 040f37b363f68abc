//! The one table of problems: stable code, status, and a sentence that a person understands.

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Stable, for programs and for support.
    pub code: &'static str,
    /// The HTTP status where it is an answer; connects that fail are told by the popup instead.
    pub status: u16,
    /// A few words.
    pub title: &'static str,
    /// What happened and what to do, for a person.
    pub detail: &'static str,
    /// Whether the same thing may succeed later.
    pub retryable: bool,
}

const fn entry(
    code: &'static str,
    status: u16,
    retryable: bool,
    title: &'static str,
    detail: &'static str,
) -> Entry {
    Entry { code, status, title, detail, retryable }
}

const TABLE: &[Entry] = &[
    // Beginning and finishing a connect
    entry(
        "origin_not_allowed",
        400,
        false,
        "This page may not connect",
        "The page that opened this window is not on the list of pages that may connect. Its operator can add it to HOST_ORIGINS.",
    ),
    entry(
        "return_url_not_allowed",
        400,
        false,
        "This return address is not allowed",
        "The return address must be a whole address of the page's own origin, without a fragment.",
    ),
    entry(
        "bad_challenge",
        400,
        false,
        "The challenge is none",
        "A challenge is a SHA-256 in base64url, 43 characters; a verifier has 43 to 128 letters, digits, `-`, `.`, `_` or `~`.",
    ),
    entry(
        "challenge_used",
        409,
        false,
        "Code challenge already used",
        "This connect was started before; each start needs its own code challenge. Close this window and connect again.",
    ),
    entry(
        "claim_rejected",
        403,
        false,
        "This claim is not good",
        "The claim is not one of this attempt, or is older than a minute. The status of the attempt has a fresh one.",
    ),
    entry(
        "not_a_navigation",
        400,
        false,
        "This address is for a window",
        "This address is opened by a person in a window; it cannot be embedded or fetched.",
    ),
    entry(
        "flow_unknown",
        404,
        false,
        "This attempt is not known",
        "This attempt to connect is not known here, or was forgotten long ago. Close this window and connect again.",
    ),
    entry(
        "flow_not_yours",
        403,
        false,
        "This attempt was begun in another browser",
        "A connect has to be finished in the browser that began it. Close this window and connect again in the browser you are using now.",
    ),
    entry(
        "flow_expired",
        410,
        true,
        "This took too long",
        "HubSpot sent you back after the time for this attempt had run out. Close this window and connect again.",
    ),
    entry(
        "callback_incomplete",
        400,
        true,
        "HubSpot's answer is incomplete",
        "HubSpot sent you back without the details that are needed. Close this window and connect again.",
    ),
    entry(
        "user_denied",
        403,
        true,
        "You did not approve",
        "HubSpot says that access was not granted. Nothing was connected.",
    ),
    entry(
        "provider_error",
        502,
        true,
        "HubSpot reported an error",
        "HubSpot could not finish this. Nothing was connected; please try again.",
    ),
    entry(
        "cancelled",
        409,
        true,
        "Cancelled",
        "The page that began this attempt has given it up. Nothing was connected.",
    ),
    entry(
        "code_rejected",
        502,
        true,
        "HubSpot did not take its own code",
        "The code that HubSpot gave had expired or been used. Nothing was connected; please try again.",
    ),
    entry(
        "no_refresh_token",
        502,
        true,
        "HubSpot's answer is incomplete",
        "HubSpot gave no lasting access. Nothing was connected; please try again.",
    ),
    entry(
        "wrong_account",
        409,
        true,
        "Another account was expected",
        "Another HubSpot account was chosen than the expected one. Nothing was connected, and nothing has changed.",
    ),
    entry(
        "refresh_token_in_use",
        409,
        false,
        "This refresh token is in use",
        "Another connection or an installation has this refresh token, or was made of it. It was not used.",
    ),
    entry(
        "scopes_missing",
        403,
        false,
        "Not everything was granted",
        "This HubSpot account did not grant all that is required, so nothing was connected. Its plan or your rights in it may lack a part.",
    ),
    entry(
        "redirect_uri_mismatch",
        502,
        false,
        "The redirect address does not match",
        "HubSpot does not know the address it was to send you back to. The operator has to register HUBSPOT_REDIRECT_URI with the HubSpot app, letter for letter.",
    ),
    entry("disconnected", 410, false, "Disconnected", "This connection has been ended meanwhile."),
    // Installs that begin at HubSpot's Marketplace
    entry(
        "install_incomplete",
        400,
        true,
        "The install is incomplete",
        "HubSpot sent you here without the details that are needed. Start the install again from the app's page at HubSpot.",
    ),
    entry(
        "install_return_url_not_allowed",
        400,
        false,
        "This does not lead back to HubSpot",
        "The address to return to is not one of HubSpot's. Nothing was installed. Start the install again from the app's page at HubSpot.",
    ),
    entry(
        "install_state_rejected",
        400,
        true,
        "This install is not known",
        "The install took too long, or was finished before. Start it again from the app's page at HubSpot.",
    ),
    entry(
        "install_unknown",
        404,
        false,
        "There is no such install",
        "No install of this id waits to be claimed. It may have expired, or its account was connected meanwhile.",
    ),
    entry(
        "install_claimed",
        409,
        false,
        "Another user has this install",
        "This install was claimed for another user before.",
    ),
    // HubSpot
    entry(
        "provider_timeout",
        504,
        true,
        "HubSpot did not answer in time",
        "HubSpot took too long to answer. Please try again.",
    ),
    entry(
        "provider_unreachable",
        502,
        true,
        "HubSpot cannot be reached",
        "There is no connection to HubSpot right now. Please try again.",
    ),
    entry(
        "provider_bad_response",
        502,
        true,
        "HubSpot's answer makes no sense",
        "HubSpot answered in a way that cannot be understood. Please try again.",
    ),
    entry(
        "provider_busy",
        503,
        true,
        "HubSpot is busy",
        "HubSpot asks us to slow down. Please try again in a little while.",
    ),
    entry(
        "provider_unavailable",
        502,
        true,
        "HubSpot has trouble",
        "HubSpot reports trouble of its own. Please try again in a little while.",
    ),
    entry(
        "provider_redirected",
        502,
        false,
        "HubSpot's address is wrong",
        "HubSpot's interface answered from another address. The operator has to check HUBSPOT_API_URL.",
    ),
    entry(
        "provider_refused",
        502,
        false,
        "HubSpot refused",
        "HubSpot refused the request of this service. Its operator has been told.",
    ),
    entry(
        "client_rejected",
        502,
        false,
        "HubSpot does not take this service's credentials",
        "The operator has to check HUBSPOT_CLIENT_ID and HUBSPOT_CLIENT_SECRET. Connections are kept.",
    ),
    entry(
        "grant_of_another_app",
        502,
        false,
        "This grant belongs to another app",
        "The stored grant was given to another HubSpot app.",
    ),
    entry(
        "grant_dead",
        409,
        false,
        "HubSpot ended this connection",
        "HubSpot says that access was withdrawn. Connect again to go on.",
    ),
    entry(
        "unknown_key",
        500,
        false,
        "An encryption key is missing",
        "What is stored cannot be opened with the keys at hand. The operator has to restore ENCRYPTION_KEYS.",
    ),
    entry(
        "integrity_error",
        500,
        false,
        "What is stored is damaged",
        "The stored access of this connection cannot be trusted any more. Connect again to go on.",
    ),
    // Webhooks
    entry(
        "webhook_url_not_allowed",
        400,
        false,
        "Webhooks may not go there",
        "A webhook goes to a public address by https. The operator can list other hosts in WEBHOOK_ALLOWED_HOSTS.",
    ),
    entry(
        "connection_not_found",
        404,
        false,
        "Connection not found",
        "No connection of yours has this id. It may have been disconnected.",
    ),
    entry(
        "connect_session_not_found",
        404,
        false,
        "Connect session not found",
        "No connect session has this id, or it ended more than a week ago.",
    ),
    entry("webhook_not_found", 404, false, "There is no such webhook", "No webhook endpoint has this id."),
    entry(
        "webhook_headers_needed",
        409,
        false,
        "Header fields needed",
        "The new URL is of another origin, and the header fields may be credentials. Name them again, or remove them with an empty object.",
    ),
    entry(
        "delivery_not_found",
        404,
        false,
        "There is no such delivery",
        "Nothing of this id was queued for this endpoint, or it is forgotten by now.",
    ),
    entry(
        "webhook_disabled",
        409,
        false,
        "This webhook is disabled",
        "Nothing is sent to a disabled endpoint. Set `enabled` to true first.",
    ),
    entry(
        "too_many_webhooks",
        409,
        false,
        "There are too many webhooks",
        "There may be 16 webhook endpoints. Remove one that is not needed any more.",
    ),
    // Everything else
    entry(
        "bad_request",
        400,
        false,
        "This request is not understood",
        "A part of the request is missing, doubled or of the wrong kind.",
    ),
    entry(
        "invalid_json",
        400,
        false,
        "The body is not understood",
        "The body must be a JSON object with the fields of this route.",
    ),
    entry(
        "unsupported_media_type",
        415,
        false,
        "The body must be JSON",
        "Send the body as application/json.",
    ),
    entry(
        "request_timeout",
        408,
        true,
        "The body took too long",
        "The body of the request did not arrive within ten seconds. Send it again.",
    ),
    entry("payload_too_large", 413, false, "The body is too large", "A body may have 16 kB."),
    entry(
        "csrf_rejected",
        403,
        false,
        "This was not sent from our own page",
        "Reload the page and try again.",
    ),
    entry(
        "not_authenticated",
        401,
        false,
        "Nobody is connected",
        "There is no session in this browser. Connect first.",
    ),
    // Connect sessions
    entry(
        "connect_session_ended",
        410,
        false,
        "This invitation to connect is over",
        "The connect session is not known here, has expired, was used or was ended. Go back to the page that you came from, and connect from there. If you came by a link that was sent to you, it works once: ask for a new link.",
    ),
    entry(
        "connect_session_in_url",
        400,
        false,
        "A connect session does not belong into an address",
        "The token of a connect session is sent in the body of a POST alone: addresses are kept in histories and logs.",
    ),
    entry(
        "connect_session_not_approved",
        409,
        true,
        "Nobody has approved yet",
        "This connect session can be completed once its status is `awaiting_confirmation`.",
    ),
    entry(
        "opener_unproven",
        403,
        false,
        "It is not clear who began this",
        "Your browser did not say which page began this, so nothing was connected. Go back to the page that you came from, and connect from there. If you came by a link that was sent to you, it works once: ask for a new link.",
    ),
    entry(
        "external_user_mismatch",
        403,
        false,
        "This was begun for another user",
        "The connect session was made for another user than the one it was to be completed for. It has ended; nothing was connected.",
    ),
    entry(
        "not_confirmed",
        403,
        false,
        "This was not confirmed",
        "The application that asked for this has not confirmed it in time. Nothing was connected.",
    ),
    // API keys
    entry(
        "api_key_missing",
        401,
        false,
        "An API key is missing",
        "This call needs the header `Authorization: Bearer` with an API key. `hubspot-connect api-keys create` makes one.",
    ),
    entry(
        "api_key_invalid",
        401,
        false,
        "This API key is not good",
        "The API key is not known here, or it was revoked.",
    ),
    entry(
        "api_key_scope_missing",
        403,
        false,
        "This API key is not for this",
        "The API key lacks a scope that this call needs. A new key of the same name can have it.",
    ),
    // The connections of the host's users
    entry(
        "needs_reauth",
        409,
        false,
        "The person has to connect again",
        "HubSpot has ended this connection, or what it needs is lost here. Nothing is handed out until its person connects again.",
    ),
    entry(
        "token_unavailable",
        503,
        true,
        "There is no token right now",
        "The access token has expired or is too old, and could not be renewed yet. It is tried again; nothing is lost.",
    ),
    // The proxy
    entry(
        "connection_missing",
        400,
        false,
        "The connection is not named",
        "The header `Hubspot-Connect-Connection` names the connection whose token is used. It stands once; there is no default.",
    ),
    entry(
        "proxy_path_not_allowed",
        400,
        false,
        "This path is not passed on",
        "Behind `/api/hubspot/proxy` stands a path of HubSpot's API as RFC 3986 has it, without `.` and `..`. HubSpot's OAuth endpoints are not for callers of the proxy.",
    ),
    entry(
        "proxy_body_too_large",
        413,
        false,
        "The body is too large",
        "A body that is passed on may have 64 MB.",
    ),
    entry(
        "account_rate_limited",
        429,
        true,
        "This HubSpot account is being asked too fast",
        "HubSpot allows so many calls to an account in a few seconds. It was not asked; please wait as long as `Retry-After` says.",
    ),
    entry(
        "confirmation_missing",
        400,
        false,
        "This has to be confirmed",
        "This ends more than one connection. Send `{\"confirm\": true}` as the body if that is what is meant.",
    ),
    entry("not_found", 404, false, "There is nothing here", "This address does not exist."),
    entry(
        "method_not_allowed",
        405,
        false,
        "This cannot be done here",
        "This address does not take that method.",
    ),
    entry(
        "wrong_host",
        421,
        false,
        "Wrong host",
        "The Host header does not match PUBLIC_URL or HUBSPOT_REDIRECT_URI, nor, for the API, ALTERNATE_HOSTS.",
    ),
    entry(
        "already_delivered",
        410,
        false,
        "Already delivered",
        "The outcome of this attempt was handed over before; it is handed over once.",
    ),
    entry(
        "rate_limited",
        429,
        true,
        "Too many attempts",
        "There were too many attempts from your address. Please wait a minute.",
    ),
    entry(
        "rate_limited_key",
        429,
        true,
        "This API key asks too often",
        "The API key has made all the requests of this minute. `Retry-After` says when the next one is taken.",
    ),
    // Requests that are done once
    entry(
        "idempotency_key_invalid",
        400,
        false,
        "The idempotency key is none",
        "An Idempotency-Key has 1 to 255 characters of ASCII, such as a UUID, and stands once.",
    ),
    entry(
        "idempotency_key_reused",
        422,
        false,
        "The idempotency key was used before",
        "The same Idempotency-Key was sent with another request. Each request needs a key of its own.",
    ),
    entry(
        "idempotency_in_progress",
        409,
        true,
        "The first request is still under way",
        "A request with the same Idempotency-Key has not been answered yet. Send it again in a moment.",
    ),
    entry(
        "idempotency_answer_lost",
        500,
        false,
        "The answer cannot be read any more",
        "A request with this Idempotency-Key was done, and its answer was sealed under an encryption key that is gone. Ask for what it has made.",
    ),
    entry(
        "storage_unavailable",
        503,
        true,
        "We have trouble storing this",
        "Our database does not answer right now. Nothing is lost; please try again.",
    ),
    entry(
        "internal_error",
        500,
        true,
        "Something went wrong here",
        "This is our fault. Please try again; if it stays, tell us the support code.",
    ),
];

/// The whole table, for the documents.
pub fn error_table() -> &'static [Entry] {
    TABLE
}

/// Some line, where nothing better is known.
pub(super) fn first() -> Entry {
    TABLE[0]
}

/// The line with this code.
pub fn lookup(code: &str) -> Option<Entry> {
    TABLE.iter().copied().find(|entry| entry.code == code)
}

#[cfg(test)]
mod tests {
    use actix_web::http::StatusCode;

    use super::*;

    #[test]
    fn every_code_stands_once_and_every_sentence_is_one() {
        for (at, entry) in TABLE.iter().enumerate() {
            assert!(TABLE[at + 1..].iter().all(|other| other.code != entry.code), "{} twice", entry.code);
            assert!(entry.detail.ends_with('.') && !entry.title.ends_with('.'), "{}", entry.code);
            assert!(StatusCode::from_u16(entry.status).is_ok_and(|status| status.as_u16() >= 400));
        }
    }
}
