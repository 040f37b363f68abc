//! Who is calling: the person behind a session.

use actix_session::Session;

use crate::domain::clock::Timestamp;
use crate::domain::id::UserId;
use crate::domain::random::Random;
use crate::domain::secret::Secret;
use crate::services::ENDS_AT;

const USER: &str = "user_id";
const NONCE: &str = "nonce";

/// The person behind a session.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who it is.
    pub user: UserId,
    /// What the session's form tokens are made from; new with every new key.
    pub nonce: String,
    /// When the session ends if the user does nothing.
    pub ends_at: Timestamp,
}

impl Caller {
    /// The person behind this session, if it has one.
    pub fn of(session: &Session) -> Option<Self> {
        let user = session.get(USER).ok().flatten()?;
        let nonce = session.get(NONCE).ok().flatten()?;
        let ends_at = Timestamp::from_unix_ms(session.get(ENDS_AT).ok().flatten()?);
        Some(Self { user, nonce, ends_at })
    }

    /// Makes the session this user's, under a new key: an older key, known or planted, opens nothing any more. (Every
    /// change of a session gives it a new key, see `session`.)
    pub fn sign_in(session: &Session, user: UserId) {
        let nonce = Secret::random(&Random::system());
        let written = session.insert(USER, user).and_then(|()| session.insert(NONCE, nonce.expose()));
        if let Err(why) = written {
            tracing::error!(error = %why, "could not write the session");
        }
    }
}
