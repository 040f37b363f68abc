//! Read tokens: with one, a page reads the connections of one user of the host, without cookies.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::clock::{Clock, Timestamp};
use crate::domain::external::ExternalUserId;
use crate::domain::id::UserId;
use crate::domain::project::ProjectId;
use crate::domain::secret::Secret;
use crate::keyring::Keyring;
use crate::services::platform::Base;
use crate::store::{PlatformStore, StoreError};

/// The holder of a valid read token.
#[derive(Debug)]
pub struct Reader {
    /// The host's id of the user.
    pub external_user: ExternalUserId,
    /// Our id of the user; `None` until they connect for the first time.
    pub user: Option<UserId>,
    /// The time at which the token expires.
    pub expires_at: Timestamp,
}

/// Read tokens. Clones share everything.
#[derive(Debug, Clone)]
pub struct ReadTokens {
    store: PlatformStore,
    keyring: Arc<Keyring>,
    clock: Clock,
}

impl ReadTokens {
    pub(super) fn new(base: &Base) -> Self {
        let Base { store, keyring, clock, .. } = base.clone();
        Self { store: store.platform, keyring, clock }
    }

    /// Returns a token for one of a project's users, and the time at which it expires.
    pub fn create(
        &self,
        project: &ProjectId,
        user: &ExternalUserId,
        lifetime: Duration,
    ) -> (Secret, Timestamp) {
        let until = self.clock.now().plus(lifetime);
        (self.keyring.read_token(project, user, until), until)
    }

    /// Returns the holder of a token; `None` if the token is invalid or has expired.
    pub async fn reader(&self, token: &Secret) -> Result<Option<Reader>, StoreError> {
        let Some((project, external_user, expires_at)) = self.keyring.reader(token, self.clock.now()) else {
            return Ok(None);
        };
        let user = self.store.find_external(&project, &external_user).await?;
        Ok(Some(Reader { external_user, user, expires_at }))
    }
}
