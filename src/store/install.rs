//! Rows of Install: grants that came from HubSpot's Marketplace and wait to be claimed. And of what was seen on the way
//! there, so that each state and each code is good once.

use super::db::Row;
use super::revocation::{self, RevocationJob};
use super::{Store, StoreError, Tx, event};
use crate::domain::clock::Moment;
use crate::domain::event::InstallData;
use crate::domain::id::{ConnectionId, InstallId, PortalId, UserId};
use crate::domain::scopes::Scopes;
use crate::domain::secret::{Hash, Sealed};

/// An install.
#[derive(Debug, Clone)]
pub struct Install {
    /// Its id.
    pub id: InstallId,
    /// The HubSpot app.
    pub client_id: String,
    /// The account that has installed it.
    pub portal: PortalId,
    /// The account's website, where HubSpot has told it.
    pub hub_domain: Option<String>,
    /// The e-mail address of the person who installed it, where HubSpot has told it. It proves nothing.
    pub hub_user: Option<String>,
    /// What was granted, where HubSpot has told it.
    pub scopes: Option<Scopes>,
    /// When the tokens were received.
    pub obtained_at: Moment,
    /// Until when it can be claimed, or is remembered to have been.
    pub expires_at: Moment,
    /// Whether it waits.
    pub state: InstallState,
}

/// Whether an install waits.
#[derive(Debug, Clone)]
pub enum InstallState {
    /// It waits to be claimed.
    Waiting(InstallGrant),
    /// It has become a connection, or has renewed one.
    Claimed {
        /// Whose.
        by: UserId,
        /// Which.
        connection: ConnectionId,
    },
}

/// The tokens of an install, sealed for the first generation of a connection yet to be made.
#[derive(Debug, Clone)]
pub struct InstallGrant {
    /// The connection they are sealed for.
    pub connection: ConnectionId,
    /// The access token.
    pub access: Sealed,
    /// The refresh token.
    pub refresh: Sealed,
    /// The keyed hash of the refresh token.
    pub refresh_fingerprint: String,
    /// When the access token expires.
    pub token_expires_at: Moment,
}

const COLUMNS: &str = "id, connection_id, client_id, portal_id, hub_domain, hub_user, scopes, key_id, access_sealed, \
    refresh_sealed, refresh_fingerprint, obtained_at, token_expires_at, expires_at, claimed_by, claimed_as";

impl Store {
    /// Notes a state that was handed out. It is no state of an attempt to connect, and no attempt's is one of these.
    pub async fn note_install_state(&self, state: Hash, expires_at: Moment) -> Result<(), StoreError> {
        self.write(move |tx| Box::pin(async move { note(tx, "state", state, expires_at).await.map(|_| ()) }))
            .await
    }

    /// Takes a state; only the first caller gets it, and nobody who comes late.
    pub async fn take_install_state(&self, state: Hash, now: Moment) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let sql = "DELETE FROM install_attempt WHERE hash = $1 AND kind = 'state' AND expires_at > $2";
            let values = [state.text().into(), now.unix_ms().into()];
            Box::pin(async move { Ok(tx.run(sql, values).await? == 1) })
        })
        .await
    }

    /// Takes the right to exchange a code; only the first caller gets it.
    pub async fn take_install_code(&self, code: Hash, expires_at: Moment) -> Result<bool, StoreError> {
        self.write(move |tx| Box::pin(async move { note(tx, "code", code, expires_at).await })).await
    }

    /// Deletes a code whose exchange failed, so that a retry reports the failure.
    pub async fn forget_install_code(&self, code: Hash) -> Result<(), StoreError> {
        self.write(move |tx| {
            let sql = "DELETE FROM install_attempt WHERE hash = $1 AND kind = 'code'";
            Box::pin(async move { tx.run(sql, [code.text().into()]).await.map(|_| ()) })
        })
        .await
    }

    /// Forgets states and codes that are of no use any more, and installs that were claimed long ago.
    pub async fn sweep_install_attempts(&self, now: Moment) -> Result<(), StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                let seen = "DELETE FROM install_attempt WHERE expires_at <= $1";
                tx.run(seen, [now.unix_ms().into()]).await?;
                let claimed = "DELETE FROM install WHERE expires_at <= $1 AND claimed_by IS NOT NULL";
                tx.run(claimed, [now.unix_ms().into()]).await.map(|_| ())
            })
        })
        .await
    }

    /// Keeps an install until it is claimed. It takes the place of an older one of the same account.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails: the tokens are still only in memory, so try again.
    pub async fn save_install(&self, install: Install) -> Result<(), StoreError> {
        self.write(move |tx| {
            let install = install.clone();
            Box::pin(async move {
                let now = tx.clock.now();
                // Written before, though its answer was lost: the same tokens under the same id.
                if !insert(tx, &install).await? {
                    return Ok(());
                }
                let expires_at = install.expires_at.rfc3339();
                let (install_id, portal_id) = (install.id, install.portal);
                event::append_install(tx, InstallData { install_id, portal_id, expires_at }).await?;
                end_all(tx, &install.client_id, install.portal, Some(install.id), now).await
            })
        })
        .await
    }

    /// Notes what HubSpot tells of the account of an install.
    pub async fn name_install(
        &self,
        id: InstallId,
        hub_domain: Option<String>,
        hub_user: Option<String>,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            let values = [id.to_string().into(), hub_domain.clone().into(), hub_user.clone().into()];
            let sql = "UPDATE install SET hub_domain = $2, hub_user = $3 WHERE id = $1";
            Box::pin(async move { tx.run(sql, values).await.map(|_| ()) })
        })
        .await
    }

    /// One install, whether it waits or was claimed.
    pub async fn install(&self, id: InstallId, client_id: &str) -> Result<Option<Install>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM install WHERE id = $1 AND client_id = $2");
        let values = [id.to_string().into(), client_id.to_owned().into()];
        self.one(&sql, values).await?.map(|row| read(&row)).transpose()
    }

    /// Installs of an app that wait, by their ids, from after `after` on; of one account, or of all.
    pub async fn waiting_installs(
        &self,
        client_id: &str,
        portal: Option<PortalId>,
        after: &str,
        now: Moment,
        limit: u32,
    ) -> Result<Vec<Install>, StoreError> {
        let of_account = if portal.is_some() { "AND portal_id = $5" } else { "" };
        let sql = format!(
            "SELECT {COLUMNS} FROM install WHERE client_id = $1 AND id > $2 AND expires_at > $3 \
             AND refresh_sealed IS NOT NULL {of_account} ORDER BY id LIMIT $4"
        );
        let mut values: Vec<sea_orm::Value> = vec![
            client_id.to_owned().into(),
            after.to_owned().into(),
            now.unix_ms().into(),
            i64::from(limit).into(),
        ];
        values.extend(portal.map(|portal| portal.0.into()));
        self.all(&sql, values).await?.iter().map(read).collect()
    }

    /// Installs that nobody has claimed in time.
    pub async fn expired_installs(&self, now: Moment, limit: u32) -> Result<Vec<InstallId>, StoreError> {
        let sql = "SELECT id FROM install WHERE expires_at <= $1 AND claimed_by IS NULL \
                   ORDER BY expires_at LIMIT $2";
        let rows = self.all(sql, [now.unix_ms().into(), i64::from(limit).into()]).await?;
        rows.iter().map(|row| row.parsed("id")).collect()
    }

    /// Ends an install that waits: its grant is queued to end at HubSpot, unless somebody else has the same one. The
    /// app stays installed in the account. `false` if it waits no more.
    pub async fn end_install(&self, id: InstallId, now: Moment) -> Result<bool, StoreError> {
        self.write(move |tx| Box::pin(async move { end(tx, id, now).await })).await
    }
}

/// Whether this install waits. It stays so until the transaction ends.
pub(super) async fn lock(tx: &Tx<'_>, id: InstallId) -> Result<bool, StoreError> {
    let sql = format!(
        "SELECT 1 AS found FROM install WHERE id = $1 AND refresh_sealed IS NOT NULL {}",
        tx.for_update()
    );
    Ok(tx.one(&sql, [id.to_string().into()]).await?.is_some())
}

/// Notes whose an install is now, inside the transaction that gives its tokens to a connection. Who has claimed it is
/// remembered, so that the same claim again is no error.
pub(super) async fn claimed(
    tx: &Tx<'_>,
    id: InstallId,
    by: UserId,
    connection: ConnectionId,
    now: Moment,
) -> Result<(), StoreError> {
    let sql = "UPDATE install SET claimed_by = $2, claimed_as = $3, claimed_at = $4, key_id = NULL, \
               access_sealed = NULL, refresh_sealed = NULL, refresh_fingerprint = NULL WHERE id = $1";
    let values =
        [id.to_string().into(), by.to_string().into(), connection.to_string().into(), now.unix_ms().into()];
    tx.run(sql, values).await.map(|_| ())
}

/// Ends what waits of this account, inside the transaction that connects it.
pub(super) async fn dissolve(
    tx: &Tx<'_>,
    client_id: &str,
    portal: PortalId,
    now: Moment,
) -> Result<(), StoreError> {
    end_all(tx, client_id, portal, None, now).await
}

async fn end_all(
    tx: &Tx<'_>,
    client_id: &str,
    portal: PortalId,
    but: Option<InstallId>,
    now: Moment,
) -> Result<(), StoreError> {
    let sql = "SELECT id FROM install WHERE client_id = $1 AND portal_id = $2 AND refresh_sealed IS NOT NULL \
               ORDER BY id";
    for row in tx.all(sql, [client_id.to_owned().into(), portal.0.into()]).await? {
        let id = row.parsed("id")?;
        if Some(id) != but {
            end(tx, id, now).await?;
        }
    }
    Ok(())
}

async fn end(tx: &Tx<'_>, id: InstallId, now: Moment) -> Result<bool, StoreError> {
    let sql = "SELECT refresh_fingerprint FROM install WHERE id = $1 AND refresh_sealed IS NOT NULL";
    let Some(row) = tx.one(sql, [id.to_string().into()]).await? else { return Ok(false) };
    revocation::lock_grant(tx, &row.get::<String>("refresh_fingerprint")?).await?;
    let sql = format!("DELETE FROM install WHERE id = $1 AND refresh_sealed IS NOT NULL RETURNING {COLUMNS}");
    let Some(row) = tx.one(&sql, [id.to_string().into()]).await? else { return Ok(false) };
    let Install { client_id, state: InstallState::Waiting(grant), .. } = read(&row)? else {
        return Err(StoreError::Unreadable("refresh_sealed"));
    };
    if !revocation::is_in_use(tx, &grant.refresh_fingerprint).await? {
        let orphan = RevocationJob {
            id: revocation::job_id(grant.connection, 1),
            connection_id: grant.connection,
            client_id,
            refresh: grant.refresh,
            refresh_fingerprint: grant.refresh_fingerprint,
            generation: 1,
            created_at: now,
            attempts: 0,
        };
        revocation::insert(tx, orphan).await?;
    }
    Ok(true)
}

/// `false` if it was noted before.
async fn note(tx: &Tx<'_>, kind: &str, hash: Hash, expires_at: Moment) -> Result<bool, StoreError> {
    let sql = "INSERT INTO install_attempt (hash, kind, expires_at) VALUES ($1, $2, $3) ON CONFLICT (hash) DO NOTHING";
    let values = [hash.text().into(), kind.to_owned().into(), expires_at.unix_ms().into()];
    Ok(tx.run(sql, values).await? == 1)
}

/// `false` if it is there already.
async fn insert(tx: &Tx<'_>, install: &Install) -> Result<bool, StoreError> {
    let InstallState::Waiting(grant) = &install.state else { return Ok(false) };
    let sql = "INSERT INTO install (id, connection_id, client_id, portal_id, hub_domain, hub_user, scopes, key_id, \
               access_sealed, refresh_sealed, refresh_fingerprint, obtained_at, token_expires_at, expires_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT (id) DO NOTHING";
    let values = [
        install.id.to_string().into(),
        grant.connection.to_string().into(),
        install.client_id.clone().into(),
        install.portal.0.into(),
        install.hub_domain.clone().into(),
        install.hub_user.clone().into(),
        install.scopes.as_ref().map(Scopes::to_string).into(),
        grant.refresh.key_id.clone().into(),
        grant.access.ciphertext.clone().into(),
        grant.refresh.ciphertext.clone().into(),
        grant.refresh_fingerprint.clone().into(),
        install.obtained_at.unix_ms().into(),
        grant.token_expires_at.unix_ms().into(),
        install.expires_at.unix_ms().into(),
    ];
    Ok(tx.run(sql, values).await? == 1)
}

fn read(row: &Row) -> Result<Install, StoreError> {
    let state = match (row.maybe("claimed_by")?, row.maybe("claimed_as")?) {
        (Some(by), Some(connection)) => InstallState::Claimed { by, connection },
        _ => InstallState::Waiting(InstallGrant {
            connection: row.parsed("connection_id")?,
            access: row.sealed("key_id", "access_sealed")?,
            refresh: row.sealed("key_id", "refresh_sealed")?,
            refresh_fingerprint: row.get("refresh_fingerprint")?,
            token_expires_at: row.moment("token_expires_at")?,
        }),
    };
    Ok(Install {
        id: row.parsed("id")?,
        client_id: row.get("client_id")?,
        portal: PortalId(row.get("portal_id")?),
        hub_domain: row.get("hub_domain")?,
        hub_user: row.get("hub_user")?,
        scopes: row.get::<Option<String>>("scopes")?.map(|text| Scopes::parse(&text)),
        obtained_at: row.moment("obtained_at")?,
        expires_at: row.moment("expires_at")?,
        state,
    })
}
