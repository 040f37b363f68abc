//! The table of problems: stable code, status, and a sentence for the user.

use crate::domain::text_enum::{UnknownText, text_enum};

/// An entry of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The stable code, for programs and for support.
    pub code: ProblemCode,
    /// The HTTP status as a response; the popup reports failed authorization requests instead.
    pub status: u16,
    /// A few words.
    pub title: &'static str,
    /// What happened and what to do, for a person.
    pub detail: &'static str,
    /// Whether the same thing may succeed later.
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
    OriginNotAllowed = "origin_not_allowed", 400, FINAL, "This page may not connect",
        "The page that opened this window is not on the list of pages that may connect. Its operator can add it to HOST_ORIGINS and to the origins of its project.";
    ReturnUrlNotAllowed = "return_url_not_allowed", 400, FINAL, "This return address is not allowed",
        "The return address must be a whole address of the page's own origin, without a fragment.";
    BadChallenge = "bad_challenge", 400, FINAL, "The challenge is none",
        "A challenge is a SHA-256 in base64url, 43 characters; a verifier has 43 to 128 letters, digits, `-`, `.`, `_` or `~`.";
    ChallengeUsed = "challenge_used", 409, FINAL, "Code challenge already used",
        "This connect was started before; each start needs its own code challenge. Close this window and connect again.";
    PickupCodeRejected = "pickup_code_rejected", 403, FINAL, "Invalid pickup code",
        "The pickup code is not one of this attempt, or is older than a minute. The status of the attempt has a fresh one.";
    NotANavigation = "not_a_navigation", 400, FINAL, "This address is for a window",
        "This address is opened by a person in a window; it cannot be embedded or fetched.";
    FlowUnknown = "flow_unknown", 404, FINAL, "This attempt is not known",
        "This attempt to connect is not known here, or was forgotten long ago. Close this window and connect again.";
    FlowNotYours = "flow_not_yours", 403, FINAL, "This attempt was begun in another browser",
        "A connect has to be finished in the browser that began it. Close this window and connect again in the browser you are using now.";
    FlowExpired = "flow_expired", 410, RETRY, "This took too long",
        "HubSpot sent you back after the time for this attempt had run out. Close this window and connect again.";
    CallbackIncomplete = "callback_incomplete", 400, RETRY, "HubSpot's answer is incomplete",
        "HubSpot sent you back without the details that are needed. Close this window and connect again.";
    UserDenied = "user_denied", 403, RETRY, "You did not approve",
        "HubSpot says that access was not granted. Nothing was connected.";
    ProviderError = "provider_error", 502, RETRY, "HubSpot reported an error",
        "HubSpot could not finish this. Nothing was connected; please try again.";
    Cancelled = "cancelled", 409, RETRY, "Cancelled",
        "The page that began this attempt has given it up. Nothing was connected.";
    CodeRejected = "code_rejected", 502, RETRY, "HubSpot did not take its own code",
        "The code that HubSpot gave had expired or been used. Nothing was connected; please try again.";
    NoRefreshToken = "no_refresh_token", 502, RETRY, "HubSpot's answer is incomplete",
        "HubSpot gave no lasting access. Nothing was connected; please try again.";
    WrongAccount = "wrong_account", 409, RETRY, "Another account was expected",
        "Another HubSpot account was chosen than the expected one. Nothing was connected, and nothing has changed.";
    RefreshTokenInUse = "refresh_token_in_use", 409, FINAL, "This refresh token is in use",
        "A connection or a pending installation has this refresh token or was made of it, or another request is importing it.";
    ScopesMissing = "scopes_missing", 403, FINAL, "Not everything was granted",
        "This HubSpot account did not grant all that is required, so nothing was connected. Its plan or your rights in it may lack a part.";
    RedirectUriMismatch = "redirect_uri_mismatch", 502, FINAL, "The redirect address does not match",
        "HubSpot does not know the address it was to send you back to. The operator has to register HUBSPOT_REDIRECT_URI with the HubSpot app, letter for letter.";
    Disconnected = "disconnected", 410, FINAL, "Disconnected",
        "This connection has been ended meanwhile.";
    // Installs that start in HubSpot's Marketplace
    InstallIncomplete = "install_incomplete", 400, RETRY, "The install is incomplete",
        "HubSpot sent you here without the details that are needed. Start the install again from the app's page at HubSpot.";
    InstallReturnUrlNotAllowed = "install_return_url_not_allowed", 400, FINAL, "This does not lead back to HubSpot",
        "The address to return to is not one of HubSpot's. Nothing was installed. Start the install again from the app's page at HubSpot.";
    InstallStateRejected = "install_state_rejected", 400, RETRY, "This install is not known",
        "The install took too long, or was finished before. Start it again from the app's page at HubSpot.";
    InstallNotFound = "install_not_found", 404, FINAL, "Install not found",
        "No install of this id waits to be claimed. It may have expired, or its account was connected meanwhile.";
    InstallClaimed = "install_claimed", 409, FINAL, "Another user has this install",
        "This install was claimed for another user before.";
    // HubSpot
    ProviderTimeout = "provider_timeout", 504, RETRY, "HubSpot did not answer in time",
        "HubSpot took too long to answer. Please try again.";
    ProviderUnreachable = "provider_unreachable", 502, RETRY, "HubSpot cannot be reached",
        "There is no connection to HubSpot right now. Please try again.";
    ProviderBadResponse = "provider_bad_response", 502, RETRY, "HubSpot's answer makes no sense",
        "HubSpot answered in a way that cannot be understood. Please try again.";
    ProviderBusy = "provider_busy", 503, RETRY, "HubSpot is busy",
        "HubSpot asks us to slow down. Please try again in a little while.";
    ProviderUnavailable = "provider_unavailable", 502, RETRY, "HubSpot has trouble",
        "HubSpot reports trouble of its own. Please try again in a little while.";
    ProviderRedirected = "provider_redirected", 502, FINAL, "HubSpot's address is wrong",
        "HubSpot's interface answered from another address. The operator has to check HUBSPOT_API_URL.";
    ProviderRefused = "provider_refused", 502, FINAL, "HubSpot refused",
        "HubSpot refused the request of this service. Its operator has been told.";
    ClientRejected = "client_rejected", 502, FINAL, "HubSpot does not take this service's credentials",
        "The operator has to check HUBSPOT_CLIENT_ID and HUBSPOT_CLIENT_SECRET. Connections are kept.";
    GrantOfAnotherApp = "grant_of_another_app", 502, FINAL, "This grant belongs to another app",
        "The stored grant was given to another HubSpot app.";
    GrantDead = "grant_dead", 409, FINAL, "HubSpot ended this connection",
        "HubSpot says that access was withdrawn. Connect again to go on.";
    UnknownKey = "unknown_key", 500, FINAL, "An encryption key is missing",
        "What is stored cannot be opened with the keys at hand. The operator has to restore ENCRYPTION_KEYS.";
    IntegrityError = "integrity_error", 500, FINAL, "What is stored is damaged",
        "The stored access of this connection cannot be trusted any more. Connect again to go on.";
    // Webhooks
    WebhookUrlNotAllowed = "webhook_url_not_allowed", 400, FINAL, "Webhooks may not go there",
        "A webhook goes to a public address by https. The operator can list other hosts in WEBHOOK_ALLOWED_HOSTS.";
    ConnectionNotFound = "connection_not_found", 404, FINAL, "Connection not found",
        "No connection of yours has this id. It may have been disconnected.";
    ConnectSessionNotFound = "connect_session_not_found", 404, FINAL, "Connect session not found",
        "No connect session has this id, or it ended more than a week ago.";
    WebhookNotFound = "webhook_not_found", 404, FINAL, "Webhook not found",
        "No webhook endpoint has this id.";
    WebhookHeadersNeeded = "webhook_headers_needed", 409, FINAL, "Header fields needed",
        "The new URL is of another origin, and the header fields may be credentials. Name them again, or remove them with an empty object.";
    DeliveryNotFound = "delivery_not_found", 404, FINAL, "Delivery not found",
        "Nothing of this id was queued for this endpoint, or it is forgotten by now.";
    WebhookDisabled = "webhook_disabled", 409, FINAL, "This webhook is disabled",
        "Nothing is sent to a disabled endpoint. Set `enabled` to true first.";
    TooManyWebhooks = "too_many_webhooks", 409, FINAL, "There are too many webhooks",
        "There may be 16 webhook endpoints. Remove one that is not needed any more.";
    // General
    BadRequest = "bad_request", 400, FINAL, "Invalid request",
        "A part of the request, such as a query parameter, is unknown, missing, repeated or invalid.";
    InvalidJson = "invalid_json", 400, FINAL, "Invalid JSON",
        "The body is not valid JSON (RFC 8259) in UTF-8. `hint` says where the parser stopped.";
    ValidationFailed = "validation_failed", 400, FINAL, "Invalid field",
        "A field of the body is unknown, missing or has an invalid value. `pointer` names it, `hint` says what it takes.";
    UnsupportedMediaType = "unsupported_media_type", 415, FINAL, "The body must be JSON",
        "Send the body as application/json.";
    RequestTimeout = "request_timeout", 408, RETRY, "The body took too long",
        "The body of the request did not arrive within ten seconds. Send it again.";
    PayloadTooLarge = "payload_too_large", 413, FINAL, "The body is too large",
        "A body may have 16 kB.";
    CsrfRejected = "csrf_rejected", 403, FINAL, "This was not sent from our own page",
        "Reload the page and try again.";
    NotAuthenticated = "not_authenticated", 401, FINAL, "Nobody is connected",
        "There is no session in this browser. Connect first.";
    // Connect sessions
    ConnectSessionEnded = "connect_session_ended", 410, FINAL, "This invitation to connect is over",
        "The connect session is not known here, has expired, was used or was ended. Go back to the page that you came from, and connect from there. If you came by a link that was sent to you, it works once: ask for a new link.";
    ConnectSessionInUrl = "connect_session_in_url", 400, FINAL, "A connect session does not belong into an address",
        "The token of a connect session is sent in the body of a POST alone: addresses are kept in histories and logs.";
    ConnectSessionNotApproved = "connect_session_not_approved", 409, RETRY, "Nobody has approved yet",
        "This connect session can be completed once its status is `awaiting_confirmation`.";
    OpenerUnproven = "opener_unproven", 403, FINAL, "It is not clear who began this",
        "Your browser did not say which page began this, so nothing was connected. Go back to the page that you came from, and connect from there. If you came by a link that was sent to you, it works once: ask for a new link.";
    ExternalUserMismatch = "external_user_mismatch", 403, FINAL, "This was begun for another user",
        "The connect session was made for another user than the one it was to be completed for. It has ended; nothing was connected.";
    NotConfirmed = "not_confirmed", 403, FINAL, "This was not confirmed",
        "The application that asked for this has not confirmed it in time. Nothing was connected.";
    // API keys
    ApiKeyMissing = "api_key_missing", 401, FINAL, "An API key is missing",
        "This call needs the header `Authorization: Bearer` with an API key. `hubspot-connect api-keys create` makes one.";
    ApiKeyInvalid = "api_key_invalid", 401, FINAL, "This API key is not good",
        "The API key is not known here, or it was revoked.";
    ApiKeyScopeMissing = "api_key_scope_missing", 403, FINAL, "This API key is not for this",
        "The API key lacks a scope that this call needs. A new key of the same name can have it.";
    ReadTokenInvalid = "read_token_invalid", 401, FINAL, "Invalid read token",
        "The read token is not one of this service, or has expired. The page's backend can create another one.";
    // The connections of the host's users
    NeedsReauth = "needs_reauth", 409, FINAL, "The person has to connect again",
        "HubSpot has ended this connection, or what it needs is lost here. Nothing is handed out until its person connects again.";
    TokenUnavailable = "token_unavailable", 503, RETRY, "There is no token right now",
        "The access token has expired or is too old, and could not be renewed yet. It is tried again; nothing is lost.";
    // The proxy
    ProxyPathNotAllowed = "proxy_path_not_allowed", 400, FINAL, "This path is not passed on",
        "Behind `/proxy` stands a path of HubSpot's API as RFC 3986 has it, without `.` and `..`. HubSpot's OAuth endpoints are not for callers of the proxy.";
    ProxyBodyTooLarge = "proxy_body_too_large", 413, FINAL, "The body is too large",
        "A body that is passed on may have 64 MB.";
    AccountRateLimited = "account_rate_limited", 429, RETRY, "This HubSpot account is being asked too fast",
        "HubSpot allows so many calls to an account in a few seconds. It was not asked; please wait as long as `Retry-After` says.";
    ConfirmationMissing = "confirmation_missing", 400, FINAL, "This has to be confirmed",
        "This ends more than one connection. Send `{\"confirm\": true}` as the body if that is what is meant.";
    NotFound = "not_found", 404, FINAL, "Not found",
        "This address does not exist.";
    MethodNotAllowed = "method_not_allowed", 405, FINAL, "This cannot be done here",
        "This address does not take that method.";
    WrongHost = "wrong_host", 421, FINAL, "Wrong host",
        "The Host header does not match PUBLIC_URL or HUBSPOT_REDIRECT_URI, nor, for the API, ALTERNATE_HOSTS.";
    AlreadyDelivered = "already_delivered", 410, FINAL, "Already delivered",
        "The outcome of this attempt was handed over before; it is handed over once.";
    RateLimited = "rate_limited", 429, RETRY, "Too many attempts",
        "There were too many attempts from your address. Please wait a minute.";
    RateLimitedKey = "rate_limited_key", 429, RETRY, "This API key asks too often",
        "The API key has made all the requests of this minute. `Retry-After` says when the next one is taken.";
    // Idempotency
    IdempotencyKeyInvalid = "idempotency_key_invalid", 400, FINAL, "The idempotency key is none",
        "An Idempotency-Key has 1 to 255 characters of ASCII, such as a UUID, and stands once.";
    IdempotencyKeyReused = "idempotency_key_reused", 422, FINAL, "The idempotency key was used before",
        "The same Idempotency-Key was sent with another request. Each request needs a key of its own.";
    IdempotencyInProgress = "idempotency_in_progress", 409, RETRY, "The first request is still under way",
        "A request with the same Idempotency-Key has not been answered yet. Send it again in a moment.";
    IdempotencyAnswerLost = "idempotency_answer_lost", 500, FINAL, "The answer cannot be read any more",
        "A request with this Idempotency-Key was done, and its answer was sealed under an encryption key that is gone. Ask for what it has made.";
    StorageUnavailable = "storage_unavailable", 503, RETRY, "We have trouble storing this",
        "Our database does not answer right now. Nothing is lost; please try again.";
    InternalError = "internal_error", 500, RETRY, "Something went wrong here",
        "This is our fault. Please try again; if it stays, tell us the support code.";
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
    fn every_code_stands_once_and_every_sentence_is_one() {
        for (at, entry) in TABLE.iter().enumerate() {
            let code = entry.code.as_str();
            assert_eq!((entry.code as usize, code.parse()), (at, Ok(entry.code)), "{code} twice");
            assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code} is not snake_case");
            assert!(entry.detail.ends_with('.') && !entry.title.ends_with('.'), "{code}");
            assert!(StatusCode::from_u16(entry.status).is_ok_and(|status| status.as_u16() >= 400));
        }
    }
}
