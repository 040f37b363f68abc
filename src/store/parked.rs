//! Rows of ParkedGrant: what HubSpot gave for another account than the expected one, until the person has chosen.

use super::db::Row;
use super::revocation::{self, RevocationJob};
use super::{Store, StoreError, Tx, auth_request, connect_session};
use crate::domain::clock::Moment;
use crate::domain::failure::FailureCode;
use crate::domain::id::{ConnectSessionId, ConnectionId, FlowId, PortalId, UserId};
use crate::domain::scopes::Scopes;
use crate::domain::secret::Sealed;

/// A grant that waits for a person's word. It is sealed for the first generation of a connection yet to be made.
#[derive(Debug, Clone)]
pub struct ParkedGrant {
    /// The flow it came by.
    pub flow: FlowId,
    /// Whose it would be.
    pub user: UserId,
    /// The connection it is sealed for.
    pub connection: ConnectionId,
    /// The HubSpot app.
    pub client_id: String,
    /// The account it is for.
    pub portal: PortalId,
    /// The account's website, where HubSpot has told it.
    pub hub_domain: Option<String>,
    /// What was granted, where HubSpot has told it.
    pub scopes: Option<Scopes>,
    /// The access token.
    pub access: Sealed,
    /// The refresh token.
    pub refresh: Sealed,
    /// The keyed hash of the refresh token.
    pub refresh_fingerprint: String,
    /// When the tokens were received.
    pub obtained_at: Moment,
    /// When the access token expires.
    pub token_expires_at: Moment,
    /// Until when the person may choose, or the backend has the last word.
    pub expires_at: Moment,
    /// Whose backend has the last word, where one has.
    pub connect_session: Option<ConnectSessionId>,
}

const COLUMNS: &str = "flow_id, user_id, connection_id, client_id, portal_id, hub_domain, scopes, key_id, \
    access_sealed, refresh_sealed, refresh_fingerprint, obtained_at, token_expires_at, expires_at, connect_session_id";

impl Store {
    /// Parks a grant, and keeps its flow open for as long. `false` if the connect session that it came by waits for a
    /// word on another one, or has ended: nothing is parked then.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails: the tokens are still only in memory, so try again.
    pub async fn park_grant(&self, grant: ParkedGrant) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let grant = grant.clone();
            Box::pin(async move { park(tx, &grant).await })
        })
        .await
    }

    /// The grant that this flow has parked, if it has.
    pub async fn parked_grant(&self, flow: FlowId) -> Result<Option<ParkedGrant>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM parked_grant WHERE flow_id = $1");
        self.one(&sql, [flow.to_string().into()]).await?.map(|row| read(&row)).transpose()
    }

    /// The flows whose grants nobody has said anything about in time, with the connect sessions they came by.
    pub async fn expired_grants(
        &self,
        now: Moment,
        limit: u32,
    ) -> Result<Vec<(FlowId, Option<ConnectSessionId>)>, StoreError> {
        let sql = "SELECT flow_id, connect_session_id FROM parked_grant WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2";
        let rows = self.all(sql, [now.unix_ms().into(), i64::from(limit).into()]).await?;
        rows.iter().map(|row| Ok((row.parsed("flow_id")?, row.maybe("connect_session_id")?))).collect()
    }

    /// The flows by which this user has grants parked.
    pub async fn parked_of(&self, user: UserId) -> Result<Vec<FlowId>, StoreError> {
        let sql = "SELECT flow_id FROM parked_grant WHERE user_id = $1";
        let rows = self.all(sql, [user.to_string().into()]).await?;
        rows.iter().map(|row| row.parsed("flow_id")).collect()
    }

    /// Notes the website of the account that a parked grant is for.
    pub async fn name_parked(&self, flow: FlowId, hub_domain: Option<String>) -> Result<(), StoreError> {
        self.write(move |tx| {
            let values = [flow.to_string().into(), hub_domain.clone().into()];
            let sql = "UPDATE parked_grant SET hub_domain = $2 WHERE flow_id = $1";
            Box::pin(async move { tx.run(sql, values).await.map(|_| ()) })
        })
        .await
    }

    /// Ends a session that has led to nothing yet, with the grant that awaits a word, if there is one. `false` if it
    /// has come to its end before.
    pub async fn cancel_connect_session(
        &self,
        id: ConnectSessionId,
        code: FailureCode,
        now: Moment,
    ) -> Result<bool, StoreError> {
        self.write(move |tx| Box::pin(async move { cancel_session(tx, id, code, now).await })).await
    }

    /// Ends a parked grant and fails its flow: the grant is queued to end at HubSpot, unless a connection or another
    /// flow has the same one. `false` if it is parked no more.
    pub async fn end_parked(&self, flow: FlowId, code: FailureCode, now: Moment) -> Result<bool, StoreError> {
        self.write(move |tx| Box::pin(async move { end(tx, flow, code, now).await })).await
    }
}

/// Whether this flow's grant is parked and waits for a word. It stays so until the transaction ends.
pub(super) async fn lock(tx: &Tx<'_>, flow: FlowId) -> Result<bool, StoreError> {
    let sql = format!("SELECT 1 AS found FROM parked_grant WHERE flow_id = $1 {}", tx.for_update());
    Ok(tx.one(&sql, [flow.to_string().into()]).await?.is_some())
}

/// Forgets a grant whose tokens have another place now, inside the transaction that gives it to them.
pub(super) async fn forget(tx: &Tx<'_>, flow: FlowId) -> Result<(), StoreError> {
    tx.run("DELETE FROM parked_grant WHERE flow_id = $1", [flow.to_string().into()]).await.map(|_| ())
}

/// Ends a parked grant and fails its flow, inside a transaction.
pub(super) async fn end(
    tx: &Tx<'_>,
    flow: FlowId,
    code: FailureCode,
    now: Moment,
) -> Result<bool, StoreError> {
    let sql = "SELECT refresh_fingerprint FROM parked_grant WHERE flow_id = $1";
    let Some(row) = tx.one(sql, [flow.to_string().into()]).await? else { return Ok(false) };
    revocation::lock_grant(tx, &row.get::<String>("refresh_fingerprint")?).await?;
    let sql = format!("DELETE FROM parked_grant WHERE flow_id = $1 RETURNING {COLUMNS}");
    let Some(row) = tx.one(&sql, [flow.to_string().into()]).await? else { return Ok(false) };
    let grant = read(&row)?;
    if !revocation::is_in_use(tx, &grant.refresh_fingerprint).await? {
        let orphan = RevocationJob {
            id: revocation::job_id(grant.connection, 1),
            connection_id: grant.connection,
            client_id: grant.client_id,
            refresh: grant.refresh,
            refresh_fingerprint: grant.refresh_fingerprint,
            generation: 1,
            created_at: now,
            attempts: 0,
        };
        revocation::insert(tx, orphan).await?;
    }
    auth_request::fail(tx, flow, code, now).await?;
    Ok(true)
}

async fn cancel_session(
    tx: &Tx<'_>,
    id: ConnectSessionId,
    code: FailureCode,
    now: Moment,
) -> Result<bool, StoreError> {
    let sql = "UPDATE connect_session SET status = 'cancelled', error_code = $2, finished_at = $3 \
               WHERE id = $1 AND status IN ('open', 'awaiting_confirmation') RETURNING flow_id";
    let values = [id.to_string().into(), code.as_str().into(), now.unix_ms().into()];
    let Some(row) = tx.one(sql, values).await? else { return Ok(false) };
    if let Some(flow) = row.maybe("flow_id")? {
        end(tx, flow, code, now).await?;
    }
    Ok(true)
}

async fn park(tx: &Tx<'_>, grant: &ParkedGrant) -> Result<bool, StoreError> {
    if let Some(session) = grant.connect_session
        && !connect_session::hold(tx, session, grant.flow).await?
    {
        return Ok(false);
    }
    let sql = format!(
        "INSERT INTO parked_grant ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
         ON CONFLICT (flow_id) DO NOTHING"
    );
    let values = [
        grant.flow.to_string().into(),
        grant.user.to_string().into(),
        grant.connection.to_string().into(),
        grant.client_id.clone().into(),
        grant.portal.0.into(),
        grant.hub_domain.clone().into(),
        grant.scopes.as_ref().map(Scopes::to_string).into(),
        grant.refresh.key_id.clone().into(),
        grant.access.ciphertext.clone().into(),
        grant.refresh.ciphertext.clone().into(),
        grant.refresh_fingerprint.clone().into(),
        grant.obtained_at.unix_ms().into(),
        grant.token_expires_at.unix_ms().into(),
        grant.expires_at.unix_ms().into(),
        grant.connect_session.map(|id| id.to_string()).into(),
    ];
    tx.run(&sql, values).await?;
    let sql = "UPDATE auth_request SET expires_at = $2 WHERE id = $1 AND status = 'exchanging'";
    tx.run(sql, [grant.flow.to_string().into(), grant.expires_at.unix_ms().into()]).await?;
    Ok(true)
}

fn read(row: &Row) -> Result<ParkedGrant, StoreError> {
    Ok(ParkedGrant {
        flow: row.parsed("flow_id")?,
        user: row.parsed("user_id")?,
        connection: row.parsed("connection_id")?,
        client_id: row.get("client_id")?,
        portal: PortalId(row.get("portal_id")?),
        hub_domain: row.get("hub_domain")?,
        scopes: row.get::<Option<String>>("scopes")?.map(|text| Scopes::parse(&text)),
        access: row.sealed("key_id", "access_sealed")?,
        refresh: row.sealed("key_id", "refresh_sealed")?,
        refresh_fingerprint: row.get("refresh_fingerprint")?,
        obtained_at: row.moment("obtained_at")?,
        token_expires_at: row.moment("token_expires_at")?,
        expires_at: row.moment("expires_at")?,
        connect_session: row.maybe("connect_session_id")?,
    })
}
