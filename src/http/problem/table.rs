//! The table of problems: stable code, status, and a sentence for the user.

use crate::domain::text_enum::{UnknownText, text_enum};

/// An entry of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The stable code, for programs and for support.
    pub code: ProblemCode,
    /// The HTTP status as a response; the popup reports failed authorization requests instead.
    pub status: u16,
    /// A short title.
    pub title: &'static str,
    /// A sentence with what happened and what to do.
    pub detail: &'static str,
    /// Whether a later attempt may succeed.
    pub retryable: bool,
}

/// Declares [`ProblemCode`] and the table: variant, code, status, whether to retry, title and detail.
macro_rules! problems {
    ($($variant:ident = $code:literal, $status:literal, $retryable:ident, $title:literal, $detail:literal;)+) => {
        text_enum! {
            /// The stable code of a problem.
            pub enum ProblemCode: UnknownText {
                $(#[doc = $title] $variant = $code,)+
            }
        }

        static TABLE: [Entry; ProblemCode::ALL.len()] = [$(Entry {
            code: ProblemCode::$variant,
            status: $status,
            title: $title,
            detail: $detail,
            retryable: $retryable,
        }),+];
    };
}

const RETRY: bool = true;
const FINAL: bool = false;

problems! {
    // Starting and finishing an authorization request
    OriginNotAllowed = "origin_not_allowed", 400, FINAL, "Origin not allowed",
        "The page that opened this window is not allowed to connect. The operator can add its origin to HOST_ORIGINS and to the origins of its project.";
    ReturnUrlNotAllowed = "return_url_not_allowed", 400, FINAL, "Return URL not allowed",
        "The return URL must be an absolute URL of the page's own origin, without a fragment.";
    BadChallenge = "bad_challenge", 400, FINAL, "Invalid code challenge",
        "A code challenge is a SHA-256 hash in base64url, 43 characters; a code verifier has 43 to 128 letters, digits, `-`, `.`, `_` or `~`.";
    ChallengeUsed = "challenge_used", 409, FINAL, "Code challenge already used",
        "The code challenge was already used to start an authorization request; each start needs its own. Close this window and connect again.";
    PickupCodeRejected = "pickup_code_rejected", 403, FINAL, "Invalid pickup code",
        "The pickup code does not belong to this authorization request, or is older than a minute. The status of the request has a new one.";
    NotANavigation = "not_a_navigation", 400, FINAL, "Top-level navigation required",
        "This address must be opened in a browser window; it cannot be embedded or fetched.";
    FlowUnknown = "flow_unknown", 404, FINAL, "Authorization request not found",
        "This authorization request is unknown or has been deleted. Close this window and connect again.";
    FlowNotYours = "flow_not_yours", 403, FINAL, "Authorization request of another browser",
        "An authorization request must be finished in the browser that started it. Close this window and connect again in the browser you are using now.";
    FlowExpired = "flow_expired", 410, RETRY, "Authorization request expired",
        "HubSpot sent you back after the authorization request had expired. Close this window and connect again.";
    CallbackIncomplete = "callback_incomplete", 400, RETRY, "Incomplete response from HubSpot",
        "HubSpot sent you back without required parameters. Close this window and connect again.";
    UserDenied = "user_denied", 403, RETRY, "Access denied",
        "HubSpot reports that access was not granted. Nothing was connected.";
    ProviderError = "provider_error", 502, RETRY, "Error reported by HubSpot",
        "HubSpot could not complete the authorization. Nothing was connected; please try again.";
    Cancelled = "cancelled", 409, RETRY, "Cancelled",
        "The page that started this authorization request cancelled it. Nothing was connected.";
    CodeRejected = "code_rejected", 502, RETRY, "Authorization code rejected",
        "HubSpot rejected the authorization code: it had expired or was already used. Nothing was connected; please try again.";
    NoRefreshToken = "no_refresh_token", 502, RETRY, "Missing refresh token",
        "HubSpot returned no refresh token. Nothing was connected; please try again.";
    WrongAccount = "wrong_account", 409, RETRY, "Unexpected HubSpot account",
        "A different HubSpot account was chosen than the expected one. Nothing was connected, and nothing has changed.";
    RefreshTokenInUse = "refresh_token_in_use", 409, FINAL, "Refresh token already in use",
        "A connection or a pending install has this refresh token or was created from it, or another request is importing it.";
    ScopesMissing = "scopes_missing", 403, FINAL, "Missing scopes",
        "This HubSpot account did not grant all required scopes, so nothing was connected. Its subscription or your permissions may not cover all of them.";
    RedirectUriMismatch = "redirect_uri_mismatch", 502, FINAL, "Redirect URI mismatch",
        "HubSpot does not accept the redirect URI. The operator has to register HUBSPOT_REDIRECT_URI with the HubSpot app, character for character.";
    Disconnected = "disconnected", 410, FINAL, "Disconnected",
        "This connection was disconnected in the meantime.";
    // Installs that start in HubSpot's Marketplace
    InstallIncomplete = "install_incomplete", 400, RETRY, "Incomplete install",
        "HubSpot sent you here without required parameters. Start the install again from the app's page at HubSpot.";
    InstallReturnUrlNotAllowed = "install_return_url_not_allowed", 400, FINAL, "Return URL outside HubSpot",
        "The return URL of the install does not lead to HubSpot. Nothing was installed. Start the install again from the app's page at HubSpot.";
    InstallStateRejected = "install_state_rejected", 400, RETRY, "Install expired or already finished",
        "The install took too long or was already finished. Start it again from the app's page at HubSpot.";
    InstallNotFound = "install_not_found", 404, FINAL, "Install not found",
        "No install with this id is waiting to be claimed. It may have expired, or its account may have been connected in the meantime.";
    InstallClaimed = "install_claimed", 409, FINAL, "Install already claimed",
        "This install was already claimed for another user.";
    // HubSpot
    ProviderTimeout = "provider_timeout", 504, RETRY, "Timeout at HubSpot",
        "HubSpot took too long to respond. Please try again.";
    ProviderUnreachable = "provider_unreachable", 502, RETRY, "HubSpot unreachable",
        "The service cannot connect to HubSpot right now. Please try again.";
    ProviderBadResponse = "provider_bad_response", 502, RETRY, "Unexpected response from HubSpot",
        "HubSpot returned a response that the service cannot process. Please try again.";
    ProviderBusy = "provider_busy", 503, RETRY, "HubSpot rate limit reached",
        "HubSpot limits the number of requests. Please try again in a little while.";
    ProviderUnavailable = "provider_unavailable", 502, RETRY, "HubSpot unavailable",
        "HubSpot reports an error of its own. Please try again in a little while.";
    ProviderRedirected = "provider_redirected", 502, FINAL, "Unexpected redirect from HubSpot",
        "HubSpot's API redirected the request to another address. The operator has to check HUBSPOT_API_URL.";
    ProviderRefused = "provider_refused", 502, FINAL, "Request rejected by HubSpot",
        "HubSpot rejected a request of this service. The failure was logged for the operator.";
    ClientRejected = "client_rejected", 502, FINAL, "Client credentials rejected by HubSpot",
        "The operator has to check HUBSPOT_CLIENT_ID and HUBSPOT_CLIENT_SECRET. Existing connections are kept.";
    GrantOfAnotherApp = "grant_of_another_app", 502, FINAL, "Grant of another app",
        "The stored grant was issued to another HubSpot app.";
    GrantDead = "grant_dead", 409, FINAL, "Access revoked at HubSpot",
        "HubSpot reports that access was revoked. Connect again to continue.";
    UnknownKey = "unknown_key", 500, FINAL, "Missing encryption key",
        "Stored data cannot be decrypted with the configured keys. The operator has to restore ENCRYPTION_KEYS.";
    IntegrityError = "integrity_error", 500, FINAL, "Damaged stored data",
        "The stored tokens of this connection are damaged and cannot be used. Connect again to continue.";
    // Webhooks
    WebhookUrlNotAllowed = "webhook_url_not_allowed", 400, FINAL, "Webhook URL not allowed",
        "A webhook URL must be https and lead to a public address. The operator can allow other hosts in WEBHOOK_ALLOWED_HOSTS.";
    ConnectionNotFound = "connection_not_found", 404, FINAL, "Connection not found",
        "You have no connection with this id. It may have been disconnected.";
    ConnectSessionNotFound = "connect_session_not_found", 404, FINAL, "Connect session not found",
        "No connect session has this id, or it ended more than a week ago.";
    WebhookNotFound = "webhook_not_found", 404, FINAL, "Webhook not found",
        "No webhook endpoint has this id.";
    WebhookHeadersNeeded = "webhook_headers_needed", 409, FINAL, "Missing header fields",
        "The new URL has another origin, and the header fields may be credentials. Send the header fields again, or remove them with an empty object.";
    DeliveryNotFound = "delivery_not_found", 404, FINAL, "Delivery not found",
        "No delivery with this id was queued for this endpoint, or it has been deleted.";
    WebhookDisabled = "webhook_disabled", 409, FINAL, "Webhook disabled",
        "Nothing is sent to a disabled endpoint. Set `enabled` to true first.";
    TooManyWebhooks = "too_many_webhooks", 409, FINAL, "Too many webhooks",
        "The limit is 16 webhook endpoints. Delete one that is no longer needed.";
    // General
    BadRequest = "bad_request", 400, FINAL, "Invalid request",
        "A part of the request, such as a query parameter, is unknown, missing, repeated or invalid.";
    InvalidJson = "invalid_json", 400, FINAL, "Invalid JSON",
        "The body is not valid JSON (RFC 8259) in UTF-8. `hint` says where the parser stopped.";
    ValidationFailed = "validation_failed", 400, FINAL, "Invalid field",
        "A field of the body is unknown, missing or has an invalid value. `pointer` names it, `hint` says what it takes.";
    UnsupportedMediaType = "unsupported_media_type", 415, FINAL, "Unsupported media type",
        "Send the body as application/json.";
    RequestTimeout = "request_timeout", 408, RETRY, "Request timeout",
        "The body of the request did not arrive within ten seconds. Send it again.";
    PayloadTooLarge = "payload_too_large", 413, FINAL, "Body too large",
        "The limit is 16 kB.";
    CsrfRejected = "csrf_rejected", 403, FINAL, "Cross-site request rejected",
        "The request did not come from a page of this service. Reload the page and try again.";
    NotAuthenticated = "not_authenticated", 401, FINAL, "Not authenticated",
        "There is no session in this browser. Connect first.";
    // Connect sessions
    ConnectSessionEnded = "connect_session_ended", 410, FINAL, "Connect session ended",
        "The connect session is unknown, expired, already used or ended. Go back to the page that you came from, and connect from there. If you came by a link that was sent to you, it works once: ask for a new link.";
    ConnectSessionInUrl = "connect_session_in_url", 400, FINAL, "Connect session in a URL",
        "Send the token of a connect session only in the body of a POST: URLs are kept in histories and logs.";
    ConnectSessionNotApproved = "connect_session_not_approved", 409, RETRY, "Authorization pending",
        "A connect session can be completed once its status is `awaiting_confirmation`.";
    OpenerUnproven = "opener_unproven", 403, FINAL, "Opener not verified",
        "Your browser did not say which page started this, so nothing was connected. Go back to the page that you came from, and connect from there. If you came by a link that was sent to you, it works once: ask for a new link.";
    ExternalUserMismatch = "external_user_mismatch", 403, FINAL, "User mismatch",
        "The connect session was created for a different user than the one it was to be completed for. It has ended; nothing was connected.";
    NotConfirmed = "not_confirmed", 403, FINAL, "Not confirmed",
        "The application that requested this did not confirm it in time. Nothing was connected.";
    // API keys
    ApiKeyMissing = "api_key_missing", 401, FINAL, "Missing API key",
        "This call requires the header `Authorization: Bearer` with an API key. `hubspot-connect api-keys create` creates one.";
    ApiKeyInvalid = "api_key_invalid", 401, FINAL, "Invalid API key",
        "The API key is unknown or was revoked.";
    ApiKeyScopeMissing = "api_key_scope_missing", 403, FINAL, "Insufficient API key scope",
        "The API key lacks a scope that this call requires. Create a new key with that scope; it may have the same name.";
    ReadTokenInvalid = "read_token_invalid", 401, FINAL, "Invalid read token",
        "The read token was not issued by this service, or has expired. The page's backend can create another one.";
    // The connections of the host's users
    NeedsReauth = "needs_reauth", 409, FINAL, "Reconnect required",
        "HubSpot ended this connection, or its stored tokens were lost. No access token is available until the user connects again.";
    TokenUnavailable = "token_unavailable", 503, RETRY, "Access token unavailable",
        "The access token has expired or is too old, and could not be refreshed yet. The service tries again; nothing is lost.";
    // The proxy
    ProxyPathNotAllowed = "proxy_path_not_allowed", 400, FINAL, "Proxy path not allowed",
        "`/proxy` must be followed by a path of HubSpot's API (RFC 3986), without `.` and `..`. HubSpot's OAuth endpoints are not available through the proxy.";
    ProxyBodyTooLarge = "proxy_body_too_large", 413, FINAL, "Body too large",
        "The limit for requests through the proxy is 64 MB.";
    AccountRateLimited = "account_rate_limited", 429, RETRY, "Rate limit of the HubSpot account reached",
        "HubSpot limits the calls to an account within a few seconds. This call was not sent; please wait as long as `Retry-After` says.";
    ConfirmationMissing = "confirmation_missing", 400, FINAL, "Missing confirmation",
        "This call ends more than one connection. Send `{\"confirm\": true}` as the body to confirm it.";
    NotFound = "not_found", 404, FINAL, "Not found",
        "This address does not exist.";
    MethodNotAllowed = "method_not_allowed", 405, FINAL, "Method not allowed",
        "This address does not support that method.";
    WrongHost = "wrong_host", 421, FINAL, "Wrong host",
        "The Host header does not match PUBLIC_URL or HUBSPOT_REDIRECT_URI, nor, for the API, ALTERNATE_HOSTS.";
    AlreadyDelivered = "already_delivered", 410, FINAL, "Outcome already handed off",
        "The outcome of this authorization request was already handed off; it is handed off once.";
    RateLimited = "rate_limited", 429, RETRY, "Too many requests",
        "There were too many requests from your address. Please wait a minute.";
    RateLimitedKey = "rate_limited_key", 429, RETRY, "API key rate limit reached",
        "The API key has used up its requests for this minute. Please wait as long as `Retry-After` says.";
    // Idempotency
    IdempotencyKeyInvalid = "idempotency_key_invalid", 400, FINAL, "Invalid idempotency key",
        "An Idempotency-Key has 1 to 255 ASCII characters, such as a UUID, and is sent once.";
    IdempotencyKeyReused = "idempotency_key_reused", 422, FINAL, "Idempotency key already used",
        "The same Idempotency-Key was sent with another request. Each request needs its own key.";
    IdempotencyInProgress = "idempotency_in_progress", 409, RETRY, "First request in progress",
        "The first request with this Idempotency-Key is still in progress. Send it again in a moment.";
    IdempotencyAnswerLost = "idempotency_answer_lost", 500, FINAL, "Stored response lost",
        "A request with this Idempotency-Key was completed, but its response was encrypted with a key that is missing. Fetch what it created instead.";
    StorageUnavailable = "storage_unavailable", 503, RETRY, "Database unavailable",
        "Our database does not respond right now. Nothing is lost; please try again.";
    InternalError = "internal_error", 500, RETRY, "Internal error",
        "This is our fault. Please try again; if the error persists, send us the support code.";
}

impl ProblemCode {
    /// Returns the entry of this code.
    pub fn entry(self) -> &'static Entry {
        &error_table()[self as usize]
    }

    /// Returns the code that the URL of a page names, or `provider_error` if it names no known one.
    pub fn named(text: &str) -> Self {
        text.parse().unwrap_or(Self::ProviderError)
    }
}

/// Returns the whole table, for the documents.
pub fn error_table() -> &'static [Entry] {
    &TABLE
}

#[cfg(test)]
mod tests {
    use actix_web::http::StatusCode;

    use super::*;

    #[test]
    fn codes_are_unique_and_texts_are_sentences() {
        for (at, entry) in TABLE.iter().enumerate() {
            let code = entry.code.as_str();
            assert_eq!((entry.code as usize, code.parse()), (at, Ok(entry.code)), "{code} twice");
            assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code} is not snake_case");
            assert!(entry.detail.ends_with('.') && !entry.title.ends_with('.'), "{code}");
            assert!(StatusCode::from_u16(entry.status).is_ok_and(|status| status.as_u16() >= 400));
        }
    }
}
