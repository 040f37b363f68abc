//! Saving a connect: the Token, its TokenRefreshJob and the outcome of its AuthRequest, all or nothing.

use super::revocation::Removed;
use super::{
    Store, StoreError, Tx, auth_request, connect_session, event, pending_grant, refresh_job, revocation,
    token,
};
use crate::crash;
use crate::domain::clock::Moment;
use crate::domain::event::EventType;
use crate::domain::id::{ConnectSessionId, ConnectionId, FlowId, PendingGrantId, PortalId, UserId};
use crate::domain::scopes::Scopes;
use crate::domain::secret::Sealed;

/// New tokens, sealed for the connection and the generation they will have.
#[derive(Debug, Clone)]
pub struct NewTokens {
    /// The connection: an existing one, or a new id.
    pub connection: ConnectionId,
    /// One more than the generation that was read; 1 for a new connection.
    pub generation: i64,
    /// Who owns it.
    pub user: UserId,
    /// The HubSpot app.
    pub client_id: String,
    /// Which account, where it is known.
    pub portal: Option<PortalId>,
    /// The granted scopes, where HubSpot has named them.
    pub scopes: Option<Scopes>,
    /// The required scopes, where the granted ones are not known yet and have to contain them.
    pub unsettled_scopes: Option<Scopes>,
    /// What was asked for.
    pub wanted_scopes: Scopes,
    /// The access token.
    pub access: Sealed,
    /// The refresh token.
    pub refresh: Sealed,
    /// The keyed hash of the refresh token.
    pub refresh_fingerprint: String,
    /// When the access token was received.
    pub obtained_at: Moment,
    /// When the connection is stored. Tokens may have waited for a decision or a claim before.
    pub connected_at: Moment,
    /// When it expires.
    pub expires_at: Moment,
    /// When it is refreshed.
    pub refresh_at: Moment,
    /// The connect session that is good for this one connection, where it came by one.
    pub connect_session: Option<ConnectSessionId>,
    /// What the host keeps with the connection, as JSON; what is kept already stays if there is none.
    pub metadata: Option<String>,
    /// When the account's details are asked for, should the caller not get to it.
    pub details_due_at: Moment,
}

/// Where new tokens come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// HubSpot has just given them for this flow.
    Exchange(FlowId),
    /// A pending grant that was accepted.
    Pending {
        /// The grant.
        id: PendingGrantId,
        /// The connection that it takes the place of.
        replaces: Option<ConnectionId>,
    },
    /// An import of the refresh token with this keyed hash, which HubSpot may have replaced by now.
    Import(String),
}

/// What became of new tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saved {
    /// They are stored; with what became of the connection that they replace, if there was one.
    Done(Option<(ConnectionId, Removed)>),
    /// The connection has changed since it was read: seal for the new generation and try again.
    Stale,
    /// They are pending no more: somebody else has decided, or it was too late; or their connect session has ended.
    Gone,
}

impl Store {
    /// Saves a new connection or renews one, with its job, and finishes what it came from.
    pub async fn save_connected(&self, source: Source, tokens: NewTokens) -> Result<Saved, StoreError> {
        self.write(move |tx| {
            let (source, tokens) = (source.clone(), tokens.clone());
            Box::pin(async move { save(tx, source, &tokens).await })
        })
        .await
    }

    /// The connection of a user that was made of this refresh token, by an import or otherwise.
    pub async fn imported(
        &self,
        user: UserId,
        client_id: &str,
        refresh_fingerprint: &str,
    ) -> Result<Option<ConnectionId>, StoreError> {
        let sql = "SELECT id FROM token WHERE user_id = $1 AND client_id = $2 \
                   AND (refresh_fingerprint = $3 OR imported_fingerprint = $3) LIMIT 1";
        let found = self.one(sql, [user.into(), client_id.into(), refresh_fingerprint.into()]).await?;
        found.map(|row| row.get("id")).transpose()
    }

    /// Whether any connection was made of this refresh token, which HubSpot may have replaced since.
    pub async fn was_imported(&self, refresh_fingerprint: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 AS found FROM token WHERE imported_fingerprint = $1 LIMIT 1";
        Ok(self.one(sql, [refresh_fingerprint.into()]).await?.is_some())
    }
}

async fn save(tx: &Tx<'_>, source: Source, tokens: &NewTokens) -> Result<Saved, StoreError> {
    // The session before its grant, as whoever ends a session does it: two that wait for each other get nowhere.
    if let Some(session) = tokens.connect_session
        && !connect_session::lock(tx, session).await?
    {
        return Ok(Saved::Gone);
    }
    let pending = match &source {
        Source::Pending { id, .. } => match pending_grant::lock(tx, *id).await? {
            Some(grant) => Some(grant),
            None => return Ok(Saved::Gone),
        },
        Source::Exchange(_) | Source::Import(_) => None,
    };
    if !put(tx, tokens).await? {
        return Ok(Saved::Stale);
    }
    crash::point("callback.half_stored");
    let connection = tokens.connection;
    refresh_job::schedule(tx, [(connection, tokens.refresh_at)].into_iter()).await?;
    if let Some(session) = tokens.connect_session {
        connect_session::take(tx, session, connection).await?;
    }
    if let Some(grant) = pending {
        pending_grant::accepted(tx, grant, tokens.user, connection, tokens.connected_at).await?;
    }
    // Somebody of this account is here: nobody has to come for what waits to be claimed.
    if let Some(portal) = tokens.portal {
        pending_grant::end_installs(tx, &tokens.client_id, portal, None).await?;
    }
    let replaced = match source {
        Source::Exchange(flow) => {
            auth_request::connected(tx, flow, connection, tokens.connected_at).await?;
            None
        }
        Source::Import(brought) => {
            let sql = "UPDATE token SET imported_fingerprint = $2 WHERE id = $1";
            tx.run(sql, [connection.into(), brought.into()]).await?;
            None
        }
        Source::Pending { replaces, .. } => replaces.filter(|old| *old != connection),
    };
    let Some(old) = replaced else { return Ok(Saved::Done(None)) };
    let removed = revocation::remove_because(tx, old, true, tx.clock.now(), "replaced").await?;
    Ok(Saved::Done(Some((old, removed))))
}

/// Writes a connection in its place, and that it has happened. `false` if the place is not as it was read.
async fn put(tx: &Tx<'_>, tokens: &NewTokens) -> Result<bool, StoreError> {
    let is_new = tokens.generation == 1;
    if !is_new {
        revocation::lock_with_grant(tx, tokens.connection).await?;
    }
    let other_scopes = !is_new && token::scopes_differ(tx, tokens.connection, tokens.scopes.as_ref()).await?;
    let fits = if is_new { insert(tx, tokens).await? } else { renew(tx, tokens).await? };
    if !fits {
        return Ok(false);
    }
    let kind = if is_new { EventType::ConnectionCreated } else { EventType::ConnectionReconnected };
    event::append(tx, kind, tokens.connection, None).await?;
    if other_scopes {
        event::append(tx, EventType::ConnectionScopesChanged, tokens.connection, None).await?;
    }
    Ok(true)
}

/// `false` if the user has this account already.
async fn insert(tx: &Tx<'_>, new: &NewTokens) -> Result<bool, StoreError> {
    let sql = "INSERT INTO token (id, user_id, client_id, portal_id, scopes, wanted_scopes, state, generation, key_id, \
               access_sealed, refresh_sealed, refresh_fingerprint, obtained_at, expires_at, details_due_at, created_at, \
               connected_at, metadata, unsettled_scopes) \
               VALUES ($1, $2, $3, $4, $5, $6, 'active', 1, $7, $8, $9, $10, $11, $12, $13, $11, $15, $14, $16) \
               ON CONFLICT (user_id, client_id, portal_id) DO NOTHING";
    let values = [
        new.connection.to_string().into(),
        new.user.to_string().into(),
        new.client_id.clone().into(),
        new.portal.map(|portal| portal.0).into(),
        new.scopes.as_ref().map(Scopes::to_string).unwrap_or_default().into(),
        new.wanted_scopes.to_string().into(),
        new.refresh.key_id.clone().into(),
        new.access.ciphertext.clone().into(),
        new.refresh.ciphertext.clone().into(),
        new.refresh_fingerprint.clone().into(),
        new.obtained_at.unix_ms().into(),
        new.expires_at.unix_ms().into(),
        new.details_due_at.unix_ms().into(),
        new.metadata.clone().into(),
        new.connected_at.unix_ms().into(),
        new.unsettled_scopes.as_ref().map(Scopes::to_string).into(),
    ];
    Ok(tx.run(sql, values).await? == 1)
}

/// A reconnect: new tokens, a clean record, and an end at HubSpot for the grant it replaces if nobody else has it.
/// `false` if the connection has changed meanwhile.
async fn renew(tx: &Tx<'_>, new: &NewTokens) -> Result<bool, StoreError> {
    let before = new.generation - 1;
    revocation::queue_replaced(tx, new.connection, before, &new.refresh_fingerprint, new.obtained_at).await?;
    // Scopes that HubSpot has not named yet are compared with the older ones when it does.
    let sql = "UPDATE token SET scopes = COALESCE($3, scopes), wanted_scopes = $4, unsettled_scopes = $14, state = 'active', generation = generation + 1, \
               key_id = $5, access_sealed = $6, refresh_sealed = $7, refresh_fingerprint = $8, obtained_at = $9, \
               expires_at = $10, details_due_at = $11, details_attempts = 0, last_error = NULL, error_since = NULL, \
               degraded_since = NULL, connected_at = $13, metadata = COALESCE($12, metadata) \
               WHERE id = $1 AND generation = $2";
    let values = [
        new.connection.to_string().into(),
        before.into(),
        new.scopes.as_ref().map(Scopes::to_string).into(),
        new.wanted_scopes.to_string().into(),
        new.refresh.key_id.clone().into(),
        new.access.ciphertext.clone().into(),
        new.refresh.ciphertext.clone().into(),
        new.refresh_fingerprint.clone().into(),
        new.obtained_at.unix_ms().into(),
        new.expires_at.unix_ms().into(),
        new.details_due_at.unix_ms().into(),
        new.metadata.clone().into(),
        new.connected_at.unix_ms().into(),
        new.unsettled_scopes.as_ref().map(Scopes::to_string).into(),
    ];
    Ok(tx.run(sql, values).await? == 1)
}
