//! Which problem each error of the verbs is. No `_` stands in these lists: a new error has to say what it is called.

use super::Problem;
use crate::services::{
    AccessError, ClaimError, ClaimInstallError, CompleteError, DecideError, FinishError, InstallError,
    OnceError, SessionError, StartError, StoreError, WebhookError,
};

impl From<StoreError> for Problem {
    fn from(why: StoreError) -> Self {
        tracing::error!(error = %why, "the database failed");
        Self::new("storage_unavailable")
    }
}

impl From<StartError> for Problem {
    fn from(why: StartError) -> Self {
        match why {
            StartError::OriginNotAllowed => Self::new("origin_not_allowed"),
            StartError::ReturnUrlNotAllowed => Self::new("return_url_not_allowed"),
            StartError::ChallengeUsed => Self::new("challenge_used"),
            StartError::SessionEnded => Self::new("connect_session_ended"),
            StartError::Store(why) => why.into(),
        }
    }
}

impl From<FinishError> for Problem {
    fn from(why: FinishError) -> Self {
        match why {
            FinishError::StateUnknown => Self::new("flow_unknown"),
            FinishError::FlowNotYours => Self::new("flow_not_yours"),
            FinishError::Store(why) => why.into(),
        }
    }
}

impl From<InstallError> for Problem {
    fn from(why: InstallError) -> Self {
        match why {
            InstallError::StateRejected => Self::new("install_state_rejected"),
            InstallError::Failed(code) => Self::new(code),
            InstallError::Store(why) => why.into(),
        }
    }
}

impl From<ClaimInstallError> for Problem {
    fn from(why: ClaimInstallError) -> Self {
        match why {
            ClaimInstallError::Unknown => Self::new("install_unknown"),
            ClaimInstallError::Taken => Self::new("install_claimed"),
            ClaimInstallError::KeyMissing => Self::new("unknown_key"),
            ClaimInstallError::Damaged => Self::new("integrity_error"),
            ClaimInstallError::Store(why) => why.into(),
        }
    }
}

impl From<DecideError> for Problem {
    fn from(why: DecideError) -> Self {
        match why {
            DecideError::NotYours => Self::new("flow_not_yours"),
            DecideError::KeyMissing => Self::new("unknown_key"),
            DecideError::Store(why) => why.into(),
        }
    }
}

impl From<SessionError> for Problem {
    fn from(why: SessionError) -> Self {
        match why {
            SessionError::NoUser => Self::new("invalid_json")
                .pointer("/external_user_id")
                .hint("either external_user_id or connection_id is needed"),
            SessionError::UnknownConnection => Self::new("connection_not_found")
                .pointer("/connection_id")
                .hint("there is no connection with this id that belongs to this user of yours"),
            SessionError::OriginNotListed => Self::new("origin_not_allowed")
                .pointer("/allowed_origins")
                .hint("HOST_ORIGINS has to list each of them"),
            SessionError::ReturnUrlNotAllowed => Self::new("return_url_not_allowed").pointer("/return_url"),
            SessionError::Store(why) => why.into(),
        }
    }
}

impl From<CompleteError> for Problem {
    fn from(why: CompleteError) -> Self {
        match why {
            CompleteError::Unknown => Self::new("connect_session_not_found"),
            CompleteError::NotYet => Self::new("connect_session_not_approved"),
            CompleteError::Ended => Self::new("connect_session_ended"),
            CompleteError::Mismatch => Self::new("external_user_mismatch"),
            CompleteError::KeyMissing => Self::new("unknown_key"),
            CompleteError::Store(why) => why.into(),
        }
    }
}

impl From<OnceError> for Problem {
    fn from(why: OnceError) -> Self {
        match why {
            OnceError::Lost(why) => {
                tracing::error!(error = %why, "a remembered answer cannot be opened");
                Self::new("idempotency_answer_lost")
            }
            OnceError::Store(why) => why.into(),
        }
    }
}

impl From<WebhookError> for Problem {
    fn from(why: WebhookError) -> Self {
        match why {
            WebhookError::Unknown => Self::new("webhook_not_found"),
            WebhookError::UnknownDelivery => Self::new("delivery_not_found"),
            WebhookError::UrlNotAllowed(why) => {
                Self::new("webhook_url_not_allowed").pointer("/url").hint(why.to_string())
            }
            WebhookError::Unreadable(why) => Self::new(why.0),
            WebhookError::HeadersNeeded => Self::new("webhook_headers_needed").pointer("/headers"),
            WebhookError::TooMany => Self::new("too_many_webhooks"),
            WebhookError::Disabled => Self::new("webhook_disabled"),
            WebhookError::Store(why) => why.into(),
        }
    }
}

impl From<AccessError> for Problem {
    fn from(why: AccessError) -> Self {
        match why {
            AccessError::Unknown => Self::new("connection_not_found"),
            AccessError::NeedsReauth => Self::new("needs_reauth")
                .hint("Send the person through a connect once more; the connection then keeps its id."),
            AccessError::Unreadable => Self::new("integrity_error"),
            AccessError::Unavailable { code, retry_after } => Self::new("token_unavailable")
                .hint(format!("The last renewal ended with `{code}`."))
                .retry_after(retry_after.as_millis().div_ceil(1000).try_into().unwrap_or(60)),
            AccessError::Store(why) => why.into(),
        }
    }
}

impl From<ClaimError> for Problem {
    fn from(why: ClaimError) -> Self {
        match why {
            ClaimError::Unknown => Self::new("flow_unknown"),
            ClaimError::Rejected => Self::new("claim_rejected"),
            ClaimError::Taken => Self::new("already_delivered"),
            ClaimError::Unreadable => Self::new("integrity_error"),
            ClaimError::Store(why) => why.into(),
        }
    }
}
