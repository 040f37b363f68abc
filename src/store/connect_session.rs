//! Rows of ConnectSession: insert, find, await the backend's word, forget.

use super::db::Row;
use super::{Store, StoreError, Tx};
use crate::domain::clock::Moment;
use crate::domain::connect_session::ConnectSession;
use crate::domain::failure::FailureCode;
use crate::domain::id::{ConnectSessionId, ConnectionId, FlowId, PortalId};
use crate::domain::origin::Origin;
use crate::domain::scopes::Scopes;
use crate::domain::secret::Hash;

const COLUMNS: &str = "id, external_id, user_id, client_id, scopes, optional_scopes, portal_id, allowed_origins, \
    return_url, metadata, requested_by, confirm, hosted, status, error_code, flow_id, connection_id, created_at, \
    expires_at, finished_at, opened_at";

impl Store {
    /// Keeps a new session under the hash of its token.
    pub async fn insert_connect_session(
        &self,
        session: ConnectSession,
        token: Hash,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            let session = session.clone();
            Box::pin(async move { insert(tx, &session, token).await })
        })
        .await
    }

    /// The session with this id.
    pub async fn connect_session(&self, id: ConnectSessionId) -> Result<Option<ConnectSession>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM connect_session WHERE id = $1");
        self.one(&sql, [id.to_string().into()]).await?.map(|row| read(&row)).transpose()
    }

    /// The session that this token was made for.
    pub async fn connect_session_of(&self, token: Hash) -> Result<Option<ConnectSession>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM connect_session WHERE token_hash = $1");
        self.one(&sql, [token.text().into()]).await?.map(|row| read(&row)).transpose()
    }

    /// Replaces the token of a hosted link, once. `false` if there is no such link, or it was opened before or has ended.
    /// One statement decides, so of several pages at once one opens it.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; the link is as it was then.
    pub async fn open_link(&self, link: Hash, page: Hash, now: Moment) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let sql = "UPDATE connect_session SET token_hash = $2, opened_at = $3 WHERE token_hash = $1 \
                       AND hosted <> 0 AND opened_at IS NULL AND status = 'open' AND expires_at > $3";
            let values = [link.text().into(), page.text().into(), now.unix_ms().into()];
            Box::pin(async move { Ok(tx.run(sql, values).await? == 1) })
        })
        .await
    }

    /// Notes why the last attempt of an open session came to nothing.
    pub async fn note_failed_attempt(&self, id: ConnectSessionId, flow: FlowId) -> Result<(), StoreError> {
        self.write(move |tx| {
            let sql = "UPDATE connect_session SET error_code = (SELECT error_code FROM auth_request WHERE id = $2) \
                       WHERE id = $1 AND status = 'open'";
            let values = [id.to_string().into(), flow.to_string().into()];
            Box::pin(async move { tx.run(sql, values).await.map(|_| ()) })
        })
        .await
    }

    /// Forgets sessions that ended or expired before `before`.
    pub async fn sweep_connect_sessions(&self, before: Moment) -> Result<u64, StoreError> {
        self.write(move |tx| {
            let sql =
                "DELETE FROM connect_session WHERE expires_at <= $1 AND status <> 'awaiting_confirmation'";
            let values = [before.unix_ms().into()];
            Box::pin(async move { tx.run(sql, values).await })
        })
        .await
    }
}

/// Whether a session is still good for its one connection. It stays so until the transaction ends.
pub(super) async fn lock(tx: &Tx<'_>, id: ConnectSessionId) -> Result<bool, StoreError> {
    let sql = format!(
        "SELECT 1 AS found FROM connect_session WHERE id = $1 AND status IN ('open', 'awaiting_confirmation') {}",
        tx.for_update()
    );
    Ok(tx.one(&sql, [id.to_string().into()]).await?.is_some())
}

/// Notes the one connection that a session has led to, inside the transaction that has [locked](lock) it.
pub(super) async fn take(
    tx: &Tx<'_>,
    id: ConnectSessionId,
    connection: ConnectionId,
) -> Result<(), StoreError> {
    let sql = "UPDATE connect_session SET status = 'connected', error_code = NULL, connection_id = $2, \
               finished_at = $3 WHERE id = $1";
    let now = tx.clock.now().unix_ms();
    let values = [id.to_string().into(), connection.to_string().into(), now.into()];
    tx.run(sql, values).await.map(|_| ())
}

/// Lets a session wait for its backend's word on this attempt. `false` if it waits for one on another, or has ended. Said
/// twice it is the same: the answer of the first may have been lost.
pub(super) async fn hold(tx: &Tx<'_>, id: ConnectSessionId, flow: FlowId) -> Result<bool, StoreError> {
    let sql = "UPDATE connect_session SET status = 'awaiting_confirmation', error_code = NULL, flow_id = $2 \
               WHERE id = $1 AND (status = 'open' OR (status = 'awaiting_confirmation' AND flow_id = $2))";
    Ok(tx.run(sql, [id.to_string().into(), flow.to_string().into()]).await? == 1)
}

/// Ends a session that has led to nothing yet, and returns the flow whose grant awaits a decision, if one does. `None` if
/// the session has come to its end before.
pub(super) async fn cancel(
    tx: &Tx<'_>,
    id: ConnectSessionId,
    code: FailureCode,
    now: Moment,
) -> Result<Option<Option<FlowId>>, StoreError> {
    let sql = "UPDATE connect_session SET status = 'cancelled', error_code = $2, finished_at = $3 \
               WHERE id = $1 AND status IN ('open', 'awaiting_confirmation') RETURNING flow_id";
    let row = tx.one(sql, [id.into(), code.into(), now.into()]).await?;
    row.map(|row| row.get("flow_id")).transpose()
}

async fn insert(tx: &Tx<'_>, new: &ConnectSession, token: Hash) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO connect_session (token_hash, {COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, \
         $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)"
    );
    let origins = new
        .allowed_origins
        .as_ref()
        .map(|origins| origins.iter().map(|origin| origin.as_str()).collect::<Vec<_>>().join(" "));
    let values = [
        token.text().into(),
        new.id.to_string().into(),
        new.external_id.as_str().into(),
        new.user_id.to_string().into(),
        new.client_id.clone().into(),
        new.scopes.as_ref().map(Scopes::to_string).into(),
        new.optional_scopes.as_ref().map(Scopes::to_string).into(),
        new.portal_id.map(|portal| portal.0).into(),
        origins.into(),
        new.return_url.clone().into(),
        new.metadata.clone().into(),
        new.requested_by.clone().into(),
        i64::from(new.confirm).into(),
        i64::from(new.hosted).into(),
        new.status.as_str().into(),
        new.error_code.clone().into(),
        new.flow_id.map(|id| id.to_string()).into(),
        new.connection_id.map(|id| id.to_string()).into(),
        new.created_at.unix_ms().into(),
        new.expires_at.unix_ms().into(),
        new.finished_at.map(Moment::unix_ms).into(),
        new.opened_at.map(Moment::unix_ms).into(),
    ];
    tx.run(&sql, values).await.map(|_| ())
}

fn read(row: &Row) -> Result<ConnectSession, StoreError> {
    let scopes =
        |name| Ok::<_, StoreError>(row.get::<Option<String>>(name)?.map(|text| Scopes::parse(&text)));
    let origins = row.get::<Option<String>>("allowed_origins")?;
    let origins = origins.map(|text| text.split(' ').map(|one| Origin::stored(one.to_owned())).collect());
    Ok(ConnectSession {
        id: row.parsed("id")?,
        external_id: row.parsed("external_id")?,
        user_id: row.parsed("user_id")?,
        client_id: row.get("client_id")?,
        scopes: scopes("scopes")?,
        optional_scopes: scopes("optional_scopes")?,
        portal_id: row.get::<Option<i64>>("portal_id")?.map(PortalId),
        allowed_origins: origins,
        return_url: row.get("return_url")?,
        metadata: row.get("metadata")?,
        requested_by: row.get("requested_by")?,
        confirm: row.get::<i64>("confirm")? != 0,
        hosted: row.get::<i64>("hosted")? != 0,
        status: row.parsed("status")?,
        error_code: row.get("error_code")?,
        flow_id: row.maybe("flow_id")?,
        connection_id: row.maybe("connection_id")?,
        created_at: row.moment("created_at")?,
        expires_at: row.moment("expires_at")?,
        finished_at: row.maybe_moment("finished_at")?,
        opened_at: row.maybe_moment("opened_at")?,
    })
}
