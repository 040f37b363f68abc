//! The problem of each error of the services. The macros generate a `match` without `_` for each list: an error that
//! is not listed does not compile.

use super::{Problem, ProblemCode};
use crate::domain::failure::FailureCode;
use crate::services::{
    AccessError, ClaimInstallError, CompleteError, DecideError, FinishError, ImportError, InstallError,
    OnceError, PickupCodeError, SessionError, StartError, StoreError, Unreadable, WebhookError,
};

/// Declares the problem of each failure: for most, the one with the same name.
macro_rules! failures {
    ($($same:ident)+; InternalError: $($internal:ident)+) => {
        impl From<FailureCode> for ProblemCode {
            fn from(why: FailureCode) -> Self {
                match why {
                    $(FailureCode::$same => Self::$same,)+
                    $(FailureCode::$internal => Self::InternalError,)+
                }
            }
        }
    };
}

failures! {
    ProviderTimeout ProviderUnreachable ProviderBadResponse ProviderBusy ProviderUnavailable
    ProviderRedirected ProviderRefused RedirectUriMismatch ClientRejected GrantOfAnotherApp
    GrantDead CodeRejected UnknownKey IntegrityError StorageUnavailable UserDenied ProviderError
    NoRefreshToken ScopesMissing WrongAccount RefreshTokenInUse ConnectSessionEnded OpenerUnproven
    ExternalUserMismatch NotConfirmed FlowExpired Cancelled Disconnected TokenUnavailable;
    // No request fails with these: they appear in the log, in `doctor` and in the state of a connection.
    InternalError:
    JournalScopesMissing JournalTokenRefused JournalAbsent JournalEntriesAbsent JournalOffsetRefused
    JournalUrlRefused JournalFileGone JournalFileUnreadable KeyLost
}

impl From<StoreError> for Problem {
    fn from(why: StoreError) -> Self {
        tracing::error!(error = %why, "database operation failed");
        Self::new(ProblemCode::StorageUnavailable)
    }
}

/// Declares the problems of errors whose variants are a code each, or a database error.
macro_rules! codes {
    ($($error:ident { $($variant:ident => $code:ident,)+ })+) => {$(
        impl From<$error> for Problem {
            fn from(why: $error) -> Self {
                match why {
                    $($error::$variant => Self::new(ProblemCode::$code),)+
                    $error::Store(why) => why.into(),
                }
            }
        }
    )+};
}

codes! {
    FinishError {
        StateUnknown => FlowUnknown,
        FlowNotYours => FlowNotYours,
    }
    ClaimInstallError {
        Unknown => InstallNotFound,
        Taken => InstallClaimed,
        KeyMissing => UnknownKey,
        Damaged => IntegrityError,
    }
    DecideError {
        NotYours => FlowNotYours,
        KeyMissing => UnknownKey,
    }
    CompleteError {
        Unknown => ConnectSessionNotFound,
        NotYet => ConnectSessionNotApproved,
        Ended => ConnectSessionEnded,
        Mismatch => ExternalUserMismatch,
        KeyMissing => UnknownKey,
    }
    PickupCodeError {
        Unknown => FlowUnknown,
        Rejected => PickupCodeRejected,
        Taken => AlreadyDelivered,
        Unreadable => IntegrityError,
    }
}

impl From<StartError> for Problem {
    fn from(why: StartError) -> Self {
        match why {
            StartError::OriginNotAllowed => Self::new(ProblemCode::OriginNotAllowed),
            StartError::ReturnUrlNotAllowed => Self::new(ProblemCode::ReturnUrlNotAllowed),
            StartError::ChallengeUsed => Self::new(ProblemCode::ChallengeUsed),
            StartError::SessionEnded { flow } => Self::new(ProblemCode::ConnectSessionEnded).flow(flow),
            StartError::Store(why) => why.into(),
        }
    }
}

impl From<InstallError> for Problem {
    fn from(why: InstallError) -> Self {
        match why {
            InstallError::StateRejected => Self::new(ProblemCode::InstallStateRejected),
            InstallError::Failed(code) => Self::new(code.into()),
            InstallError::Store(why) => why.into(),
        }
    }
}

impl From<SessionError> for Problem {
    fn from(why: SessionError) -> Self {
        match why {
            SessionError::NoUser => {
                Self::invalid("/external_user_id", "is required without `connection_id`")
            }
            SessionError::UnknownConnection => Self::new(ProblemCode::ConnectionNotFound)
                .pointer("/connection_id")
                .hint("No connection of this user has this id."),
            SessionError::OriginNotListed => Self::new(ProblemCode::OriginNotAllowed)
                .pointer("/allowed_origins")
                .hint("HOST_ORIGINS must list each of `allowed_origins`, and so must the project if it has origins."),
            SessionError::ReturnUrlNotAllowed => {
                Self::new(ProblemCode::ReturnUrlNotAllowed).pointer("/return_url")
            }
            SessionError::Store(why) => why.into(),
        }
    }
}

impl From<ImportError> for Problem {
    fn from(why: ImportError) -> Self {
        match why {
            ImportError::Refused(code) => Self::new(code.into()),
            ImportError::Store(why) => why.into(),
        }
    }
}

impl From<OnceError> for Problem {
    fn from(why: OnceError) -> Self {
        match why {
            OnceError::Lost(why) => {
                tracing::error!(error = %why, "stored response could not be decrypted");
                Self::new(ProblemCode::IdempotencyAnswerLost)
            }
            OnceError::Store(why) => why.into(),
        }
    }
}

impl From<WebhookError> for Problem {
    fn from(why: WebhookError) -> Self {
        match why {
            WebhookError::Unknown => Self::new(ProblemCode::WebhookNotFound),
            WebhookError::UnknownDelivery => Self::new(ProblemCode::DeliveryNotFound),
            WebhookError::UrlNotAllowed(why) => {
                Self::new(ProblemCode::WebhookUrlNotAllowed).pointer("/url").hint(why.to_string())
            }
            WebhookError::Unreadable(Unreadable::KeyMissing) => Self::new(ProblemCode::UnknownKey),
            WebhookError::Unreadable(Unreadable::Damaged) => Self::new(ProblemCode::IntegrityError),
            WebhookError::HeadersNeeded => Self::new(ProblemCode::WebhookHeadersNeeded).pointer("/headers"),
            WebhookError::TooMany => Self::new(ProblemCode::TooManyWebhooks),
            WebhookError::Disabled => Self::new(ProblemCode::WebhookDisabled),
            WebhookError::Store(why) => why.into(),
        }
    }
}

impl From<AccessError> for Problem {
    fn from(why: AccessError) -> Self {
        match why {
            AccessError::Unknown => Self::new(ProblemCode::ConnectionNotFound),
            AccessError::NeedsReauth => Self::new(ProblemCode::NeedsReauth)
                .hint("Let the user connect again; the connection keeps its id."),
            AccessError::Unreadable => Self::new(ProblemCode::IntegrityError),
            AccessError::Unavailable { code, retry_after } => Self::new(ProblemCode::TokenUnavailable)
                .hint(format!("The last refresh failed with `{code}`."))
                .retry_after(retry_after),
            AccessError::Store(why) => why.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_and_its_problem_have_the_same_text() {
        for code in FailureCode::ALL {
            let problem = ProblemCode::from(code);
            assert!(problem == ProblemCode::InternalError || problem.as_str() == code.as_str(), "{code}");
        }
    }
}
