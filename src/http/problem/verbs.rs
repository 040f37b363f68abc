//! Which problem each error of the verbs is. No `_` stands in these lists: a new error has to say what it is called.

use super::Problem;
use super::ProblemCode;
use crate::domain::failure::FailureCode;
use crate::services::{
    AccessError, ClaimError, ClaimInstallError, CompleteError, DecideError, FinishError, InstallError,
    OnceError, SessionError, StartError, StoreError, Unreadable, WebhookError,
};

impl From<FailureCode> for ProblemCode {
    fn from(why: FailureCode) -> Self {
        match why {
            FailureCode::ProviderTimeout => Self::ProviderTimeout,
            FailureCode::ProviderUnreachable => Self::ProviderUnreachable,
            FailureCode::ProviderBadResponse => Self::ProviderBadResponse,
            FailureCode::ProviderBusy => Self::ProviderBusy,
            FailureCode::ProviderUnavailable => Self::ProviderUnavailable,
            FailureCode::ProviderRedirected => Self::ProviderRedirected,
            FailureCode::ProviderRefused => Self::ProviderRefused,
            FailureCode::RedirectUriMismatch => Self::RedirectUriMismatch,
            FailureCode::ClientRejected => Self::ClientRejected,
            FailureCode::GrantOfAnotherApp => Self::GrantOfAnotherApp,
            FailureCode::GrantDead => Self::GrantDead,
            FailureCode::CodeRejected => Self::CodeRejected,
            FailureCode::UnknownKey => Self::UnknownKey,
            FailureCode::IntegrityError => Self::IntegrityError,
            FailureCode::StorageUnavailable => Self::StorageUnavailable,
            FailureCode::UserDenied => Self::UserDenied,
            FailureCode::ProviderError => Self::ProviderError,
            FailureCode::NoRefreshToken => Self::NoRefreshToken,
            FailureCode::ScopesMissing => Self::ScopesMissing,
            FailureCode::WrongAccount => Self::WrongAccount,
            FailureCode::RefreshTokenInUse => Self::RefreshTokenInUse,
            FailureCode::ConnectSessionEnded => Self::ConnectSessionEnded,
            FailureCode::OpenerUnproven => Self::OpenerUnproven,
            FailureCode::ExternalUserMismatch => Self::ExternalUserMismatch,
            FailureCode::NotConfirmed => Self::NotConfirmed,
            FailureCode::FlowExpired => Self::FlowExpired,
            FailureCode::Cancelled => Self::Cancelled,
            FailureCode::Disconnected => Self::Disconnected,
            FailureCode::TokenUnavailable => Self::TokenUnavailable,
            // No request fails with these: they are for the log, `doctor` and the state of a connection.
            FailureCode::JournalScopesMissing
            | FailureCode::JournalTokenRefused
            | FailureCode::JournalAbsent
            | FailureCode::JournalEntriesAbsent
            | FailureCode::JournalOffsetRefused
            | FailureCode::JournalUrlRefused
            | FailureCode::JournalFileGone
            | FailureCode::JournalFileUnreadable
            | FailureCode::KeyLost => Self::InternalError,
        }
    }
}

impl From<StoreError> for Problem {
    fn from(why: StoreError) -> Self {
        tracing::error!(error = %why, "the database failed");
        Self::new(ProblemCode::StorageUnavailable)
    }
}

impl From<StartError> for Problem {
    fn from(why: StartError) -> Self {
        match why {
            StartError::OriginNotAllowed => Self::new(ProblemCode::OriginNotAllowed),
            StartError::ReturnUrlNotAllowed => Self::new(ProblemCode::ReturnUrlNotAllowed),
            StartError::ChallengeUsed => Self::new(ProblemCode::ChallengeUsed),
            StartError::SessionEnded => Self::new(ProblemCode::ConnectSessionEnded),
            StartError::Store(why) => why.into(),
        }
    }
}

impl From<FinishError> for Problem {
    fn from(why: FinishError) -> Self {
        match why {
            FinishError::StateUnknown => Self::new(ProblemCode::FlowUnknown),
            FinishError::FlowNotYours => Self::new(ProblemCode::FlowNotYours),
            FinishError::Store(why) => why.into(),
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

impl From<ClaimInstallError> for Problem {
    fn from(why: ClaimInstallError) -> Self {
        match why {
            ClaimInstallError::Unknown => Self::new(ProblemCode::InstallUnknown),
            ClaimInstallError::Taken => Self::new(ProblemCode::InstallClaimed),
            ClaimInstallError::KeyMissing => Self::new(ProblemCode::UnknownKey),
            ClaimInstallError::Damaged => Self::new(ProblemCode::IntegrityError),
            ClaimInstallError::Store(why) => why.into(),
        }
    }
}

impl From<DecideError> for Problem {
    fn from(why: DecideError) -> Self {
        match why {
            DecideError::NotYours => Self::new(ProblemCode::FlowNotYours),
            DecideError::KeyMissing => Self::new(ProblemCode::UnknownKey),
            DecideError::Store(why) => why.into(),
        }
    }
}

impl From<SessionError> for Problem {
    fn from(why: SessionError) -> Self {
        match why {
            SessionError::NoUser => {
                Self::invalid("/external_user_id", "either external_user_id or connection_id is needed")
            }
            SessionError::UnknownConnection => Self::new(ProblemCode::ConnectionNotFound)
                .pointer("/connection_id")
                .hint("there is no connection with this id that belongs to this user of yours"),
            SessionError::OriginNotListed => Self::new(ProblemCode::OriginNotAllowed)
                .pointer("/allowed_origins")
                .hint("HOST_ORIGINS has to list each of them"),
            SessionError::ReturnUrlNotAllowed => {
                Self::new(ProblemCode::ReturnUrlNotAllowed).pointer("/return_url")
            }
            SessionError::Store(why) => why.into(),
        }
    }
}

impl From<CompleteError> for Problem {
    fn from(why: CompleteError) -> Self {
        match why {
            CompleteError::Unknown => Self::new(ProblemCode::ConnectSessionNotFound),
            CompleteError::NotYet => Self::new(ProblemCode::ConnectSessionNotApproved),
            CompleteError::Ended => Self::new(ProblemCode::ConnectSessionEnded),
            CompleteError::Mismatch => Self::new(ProblemCode::ExternalUserMismatch),
            CompleteError::KeyMissing => Self::new(ProblemCode::UnknownKey),
            CompleteError::Store(why) => why.into(),
        }
    }
}

impl From<OnceError> for Problem {
    fn from(why: OnceError) -> Self {
        match why {
            OnceError::Lost(why) => {
                tracing::error!(error = %why, "a remembered answer cannot be opened");
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
                .hint("Send the person through a connect once more; the connection then keeps its id."),
            AccessError::Unreadable => Self::new(ProblemCode::IntegrityError),
            AccessError::Unavailable { code, retry_after } => Self::new(ProblemCode::TokenUnavailable)
                .hint(format!("The last renewal ended with `{code}`."))
                .retry_after(retry_after),
            AccessError::Store(why) => why.into(),
        }
    }
}

impl From<ClaimError> for Problem {
    fn from(why: ClaimError) -> Self {
        match why {
            ClaimError::Unknown => Self::new(ProblemCode::FlowUnknown),
            ClaimError::Rejected => Self::new(ProblemCode::ClaimRejected),
            ClaimError::Taken => Self::new(ProblemCode::AlreadyDelivered),
            ClaimError::Unreadable => Self::new(ProblemCode::IntegrityError),
            ClaimError::Store(why) => why.into(),
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
