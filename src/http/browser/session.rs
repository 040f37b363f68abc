//! actix-session on our own rows: a session ends on the server, not only in the browser.

use std::collections::HashMap;

use actix_session::SessionMiddleware;
use actix_session::config::{BrowserSession, CookieContentSecurity};
use actix_session::storage::{LoadError, SaveError, SessionKey, SessionStore, UpdateError};
use actix_web::cookie::SameSite;
use actix_web::cookie::time::Duration;

use crate::domain::secret::Secret;
use crate::http::Web;
use crate::services::{BrowserSessions, Use};

/// The store of sessions in the database.
pub struct Sessions(BrowserSessions, Use);

/// Returns the middleware that gives handlers their session.
pub fn layer(web: &Web, by: Use) -> SessionMiddleware<Sessions> {
    let secure = web.config.server.secure_cookies();
    let name = if secure { "__Host-hsc_sid" } else { "hsc_sid" };
    SessionMiddleware::builder(Sessions(web.services.platform.sessions.clone(), by), web.session_key.clone())
        .cookie_name(name.to_owned())
        .cookie_secure(secure)
        .cookie_http_only(true)
        .cookie_same_site(SameSite::Lax)
        .cookie_path("/".to_owned())
        .cookie_content_security(CookieContentSecurity::Private)
        // The lifetime of a session is in its row; the cookie ends with the browser.
        .session_lifecycle(BrowserSession::default())
        .build()
}

impl SessionStore for Sessions {
    async fn load(&self, key: &SessionKey) -> Result<Option<HashMap<String, String>>, LoadError> {
        self.0.load_session(&secret(key), self.1).await.map_err(|why| LoadError::Other(why.into()))
    }

    async fn save(&self, state: HashMap<String, String>, _: &Duration) -> Result<SessionKey, SaveError> {
        let key = self.0.save_session(state).await.map_err(|why| SaveError::Other(why.into()))?;
        SessionKey::try_from(key.expose().to_owned()).map_err(|why| SaveError::Other(why.into()))
    }

    /// Saves a changed session with a new key. The new row is written before the old one is deleted: if the database
    /// fails in between, the user still has a session.
    async fn update(
        &self,
        key: SessionKey,
        state: HashMap<String, String>,
        ttl: &Duration,
    ) -> Result<SessionKey, UpdateError> {
        let new = self.save(state, ttl).await.map_err(|why| UpdateError::Other(why.into()))?;
        self.delete(&key).await.map_err(UpdateError::Other)?;
        Ok(new)
    }

    /// Does nothing: the expiry in the row is updated when the session is loaded.
    async fn update_ttl(&self, _: &SessionKey, _: &Duration) -> Result<(), anyhow::Error> {
        Ok(())
    }

    async fn delete(&self, key: &SessionKey) -> Result<(), anyhow::Error> {
        self.0.end_session(&secret(key)).await.map_err(Into::into)
    }
}

fn secret(key: &SessionKey) -> Secret {
    Secret::new(key.as_ref().to_owned())
}
