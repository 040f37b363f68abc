//! The meaning of a failed call to HubSpot for a connection, classified by type and code, never by message text.

use std::time::Duration;

use super::text_enum::{UnknownText, text_enum};

text_enum! {
    /// The reason a call to HubSpot, an authorization request, an install or an import failed. The texts are stable:
    /// they are stored, logged and sent.
    pub enum FailureCode: UnknownText {
        // Calls to HubSpot
        /// HubSpot did not answer in time.
        ProviderTimeout = "provider_timeout",
        /// HubSpot could not be reached.
        ProviderUnreachable = "provider_unreachable",
        /// HubSpot's response is not understood.
        ProviderBadResponse = "provider_bad_response",
        /// HubSpot asked for fewer calls.
        ProviderBusy = "provider_busy",
        /// HubSpot reported an error of its own.
        ProviderUnavailable = "provider_unavailable",
        /// HubSpot answered with a redirect.
        ProviderRedirected = "provider_redirected",
        /// HubSpot rejected the request for an unknown reason.
        ProviderRefused = "provider_refused",
        /// The redirect URI is not registered with the HubSpot app.
        RedirectUriMismatch = "redirect_uri_mismatch",
        /// HubSpot rejected the client ID or the client secret.
        ClientRejected = "client_rejected",
        /// The grant belongs to another HubSpot app.
        GrantOfAnotherApp = "grant_of_another_app",
        /// HubSpot has ended the grant (`invalid_grant`).
        GrantDead = "grant_dead",
        /// The authorization code was invalid, expired or already used.
        CodeRejected = "code_rejected",
        // HubSpot's Webhooks Journal
        /// The app lacks the scopes of the journal.
        JournalScopesMissing = "journal_scopes_missing",
        /// HubSpot rejected the app's own token.
        JournalTokenRefused = "journal_token_refused",
        /// There is no journal at this URL.
        JournalAbsent = "journal_absent",
        /// There are subscriptions, but no journal.
        JournalEntriesAbsent = "journal_entries_absent",
        /// HubSpot rejected the offset of the earliest entry.
        JournalOffsetRefused = "journal_offset_refused",
        /// The URL of a journal file is not allowed.
        JournalUrlRefused = "journal_url_refused",
        /// A journal file was deleted, or its URL has expired.
        JournalFileGone = "journal_file_gone",
        /// A journal file cannot be parsed.
        JournalFileUnreadable = "journal_file_unreadable",
        // Stored data
        /// The encryption key is not configured.
        UnknownKey = "unknown_key",
        /// The operator has declared the encryption key lost.
        KeyLost = "key_lost",
        /// The stored data is damaged, or belongs to another row.
        IntegrityError = "integrity_error",
        /// The database failed.
        StorageUnavailable = "storage_unavailable",
        // Authorization requests, installs and imports
        /// The user denied access.
        UserDenied = "user_denied",
        /// HubSpot reported another error.
        ProviderError = "provider_error",
        /// HubSpot's response has no refresh token.
        NoRefreshToken = "no_refresh_token",
        /// The account has not granted all required scopes.
        ScopesMissing = "scopes_missing",
        /// Another account than the expected one was chosen.
        WrongAccount = "wrong_account",
        /// Another connection has the refresh token.
        RefreshTokenInUse = "refresh_token_in_use",
        /// The connect session has ended.
        ConnectSessionEnded = "connect_session_ended",
        /// The page that started the flow is not verified.
        OpenerUnproven = "opener_unproven",
        /// The connect session was created for another user.
        ExternalUserMismatch = "external_user_mismatch",
        /// The host's backend did not confirm the connection in time.
        NotConfirmed = "not_confirmed",
        /// The user came back too late, or not at all.
        FlowExpired = "flow_expired",
        /// The page or the host's backend cancelled it.
        Cancelled = "cancelled",
        /// The connection has been disconnected.
        Disconnected = "disconnected",
        /// There is no valid access token right now.
        TokenUnavailable = "token_unavailable",
    }
}

/// A failed call, classified by what must happen next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The class, which says where the fault is.
    pub class: FailureClass,
    /// A stable code for users, logs and the API.
    pub code: FailureCode,
    /// Whether HubSpot may have carried out the request although no usable response arrived.
    pub uncertain: bool,
}

/// The classes of failure. None of them ever deletes a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// It passes by itself: network, overload, an unexpected response.
    Transient {
        /// The pause that HubSpot asked for, at most an hour.
        retry_after: Option<Duration>,
    },
    /// HubSpot rejects our own credentials or our request: no connection is at fault.
    OurFault,
    /// HubSpot reports that this grant (or this code) is invalid.
    GrantDead,
}

impl Failure {
    /// Returns a failure that passes by itself.
    pub(crate) fn transient(code: FailureCode) -> Self {
        Self { class: FailureClass::Transient { retry_after: None }, code, uncertain: false }
    }

    /// Returns the failure of a request that was sent without a usable response.
    pub(crate) fn uncertain(code: FailureCode) -> Self {
        Self { uncertain: true, ..Self::transient(code) }
    }

    /// Returns the failure of a call that HubSpot was too busy for, with the pause that it asked for, if any.
    pub fn busy(code: FailureCode, retry_after: Option<Duration>) -> Self {
        Self { class: FailureClass::Transient { retry_after }, code, uncertain: false }
    }

    /// Returns a failure of our own credentials or request.
    pub fn our_fault(code: FailureCode) -> Self {
        Self { class: FailureClass::OurFault, code, uncertain: false }
    }

    /// Returns the failure of a grant that HubSpot has ended.
    pub fn invalid_grant(code: FailureCode) -> Self {
        Self { class: FailureClass::GrantDead, code, uncertain: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_own_snake_case_text() {
        for code in FailureCode::ALL {
            assert_eq!(code.as_str().parse(), Ok(code));
            assert!(code.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code}");
        }
        assert!("exploded".parse::<FailureCode>().is_err());
    }
}
