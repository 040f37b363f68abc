//! The user of a session.

use actix_session::Session;

use crate::domain::clock::Timestamp;
use crate::domain::id::UserId;
use crate::domain::random::Random;
use crate::domain::secret::Secret;
use crate::services::ENDS_AT;

const USER: &str = "user_id";
const NONCE: &str = "nonce";

/// The user of a session.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The id of the user.
    pub user: UserId,
    /// The input of the session's form tokens; it changes whenever the user signs in.
    pub nonce: String,
    /// The time at which the session ends if the user does nothing.
    pub ends_at: Timestamp,
}

impl Caller {
    /// Returns the user of this session, if it has one.
    pub fn of(session: &Session) -> Option<Self> {
        let user = session.get(USER).ok().flatten()?;
        let nonce = session.get(NONCE).ok().flatten()?;
        let ends_at = Timestamp::from_unix_ms(session.get(ENDS_AT).ok().flatten()?);
        Some(Self { user, nonce, ends_at })
    }

    /// Signs this user in to the session. The session gets a new key, so that an older one, known or planted by an
    /// attacker, is invalid. (Every change of a session gives it a new key, see `session`.)
    pub fn sign_in(session: &Session, user: UserId) {
        let nonce = Secret::random(&Random::system());
        let written = session.insert(USER, user).and_then(|()| session.insert(NONCE, nonce.expose()));
        if let Err(why) = written {
            tracing::error!(error = %why, "failed to write the browser session");
        }
    }
}
