//! What a failed call to HubSpot means for a connection. Classified by type and code, never by message text.

use std::time::Duration;

use super::text_enum::{UnknownText, text_enum};

text_enum! {
    /// Why a call to HubSpot, or a connect, an install or an import, came to nothing. The texts are stable: they are
    /// stored, logged and sent.
    pub enum FailureCode: UnknownText {
        // Calls to HubSpot
        /// HubSpot did not answer in time.
        ProviderTimeout = "provider_timeout",
        /// There is no connection to HubSpot.
        ProviderUnreachable = "provider_unreachable",
        /// HubSpot's answer cannot be understood.
        ProviderBadResponse = "provider_bad_response",
        /// HubSpot asks for fewer calls.
        ProviderBusy = "provider_busy",
        /// HubSpot reports trouble of its own.
        ProviderUnavailable = "provider_unavailable",
        /// HubSpot answered with a redirect.
        ProviderRedirected = "provider_redirected",
        /// HubSpot refused the request, for a reason that is not known here.
        ProviderRefused = "provider_refused",
        /// The redirect URI is not one of the HubSpot app.
        RedirectUriMismatch = "redirect_uri_mismatch",
        /// HubSpot refused the client ID or the client secret.
        ClientRejected = "client_rejected",
        /// The grant was given to another HubSpot app.
        GrantOfAnotherApp = "grant_of_another_app",
        /// HubSpot has ended the grant (`invalid_grant`).
        GrantDead = "grant_dead",
        /// The authorization code was invalid, expired or used.
        CodeRejected = "code_rejected",
        // HubSpot's Webhooks Journal
        /// The app lacks the scopes of the journal.
        JournalScopesMissing = "journal_scopes_missing",
        /// HubSpot refused the app's own token.
        JournalTokenRefused = "journal_token_refused",
        /// There is no journal at this URL.
        JournalAbsent = "journal_absent",
        /// There are subscriptions, but no journal.
        JournalEntriesAbsent = "journal_entries_absent",
        /// HubSpot does not know the earliest entry.
        JournalOffsetRefused = "journal_offset_refused",
        /// The URL of a journal file is not allowed.
        JournalUrlRefused = "journal_url_refused",
        /// A journal file was deleted, or its URL has expired.
        JournalFileGone = "journal_file_gone",
        /// A journal file cannot be understood.
        JournalFileUnreadable = "journal_file_unreadable",
        // What is stored here
        /// The encryption key is not configured.
        UnknownKey = "unknown_key",
        /// The operator has given the encryption key up.
        KeyLost = "key_lost",
        /// What is stored is damaged, or belongs to another row.
        IntegrityError = "integrity_error",
        /// The database failed.
        StorageUnavailable = "storage_unavailable",
        // Connects, installs and imports
        /// The user denied access.
        UserDenied = "user_denied",
        /// HubSpot reported another error.
        ProviderError = "provider_error",
        /// HubSpot's answer has no refresh token.
        NoRefreshToken = "no_refresh_token",
        /// The account has not granted all required scopes.
        ScopesMissing = "scopes_missing",
        /// Another account was chosen than the expected one.
        WrongAccount = "wrong_account",
        /// Another connection has the refresh token.
        RefreshTokenInUse = "refresh_token_in_use",
        /// The connect session has ended.
        ConnectSessionEnded = "connect_session_ended",
        /// The page that started the connect is not verified.
        OpenerUnproven = "opener_unproven",
        /// The connect session was made for another user.
        ExternalUserMismatch = "external_user_mismatch",
        /// The host's backend has not confirmed the connect in time.
        NotConfirmed = "not_confirmed",
        /// The user came back too late, or not at all.
        FlowExpired = "flow_expired",
        /// The page, or the host's backend, has cancelled it.
        Cancelled = "cancelled",
        /// The connection has been disconnected.
        Disconnected = "disconnected",
        /// There is no valid access token right now.
        TokenUnavailable = "token_unavailable",
    }
}

/// A failed call, in the terms that decide what happens next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whose trouble it is.
    pub class: FailureClass,
    /// A stable code for people, logs and the API.
    pub code: FailureCode,
    /// Whether the request may have been carried out although no usable answer came.
    pub uncertain: bool,
}

/// The classes of failure. None of them ever deletes a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// It passes by itself: network, overload, nonsense instead of an answer. `retry_after` is what HubSpot asked for.
    Transient {
        /// How long HubSpot asked to be left alone, at most an hour.
        retry_after: Option<Duration>,
    },
    /// Our own credentials or request are refused: no connection is to blame.
    OurFault,
    /// HubSpot says that this grant (or this code) is no more.
    GrantDead,
}

impl Failure {
    /// A failure that passes by itself.
    pub(crate) fn transient(code: FailureCode) -> Self {
        Self { class: FailureClass::Transient { retry_after: None }, code, uncertain: false }
    }

    /// The request went out and no usable answer came back.
    pub(crate) fn uncertain(code: FailureCode) -> Self {
        Self { uncertain: true, ..Self::transient(code) }
    }

    /// HubSpot is busy and may have said for how long.
    pub fn busy(code: FailureCode, retry_after: Option<Duration>) -> Self {
        Self { class: FailureClass::Transient { retry_after }, code, uncertain: false }
    }

    /// Our own credentials or request are refused.
    pub fn our_fault(code: FailureCode) -> Self {
        Self { class: FailureClass::OurFault, code, uncertain: false }
    }

    /// The grant is no more.
    pub fn invalid_grant(code: FailureCode) -> Self {
        Self { class: FailureClass::GrantDead, code, uncertain: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_snake_case_text_of_its_own() {
        for code in FailureCode::ALL {
            assert_eq!(code.as_str().parse(), Ok(code));
            assert!(code.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code}");
        }
        assert!("exploded".parse::<FailureCode>().is_err());
    }
}
