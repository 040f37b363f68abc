//! Rows of AuthRequest: insert, consume once, finish, deliver once, sweep.

use super::row::Row;
use super::{Store, StoreError, Tx};
use crate::domain::auth_request::{AuthRequest, EXCHANGE_GRACE, FlowStatus};
use crate::domain::clock::Moment;
use crate::domain::id::{ConnectionId, FlowId, PortalId};
use crate::domain::origin::Origin;
use crate::domain::secret::{Hash, Sealed};

/// An AuthRequest with the hashes of its two secrets.
#[derive(Debug, Clone)]
pub struct NewAuthRequest {
    /// The request.
    pub request: AuthRequest,
    /// Of the state that HubSpot sends back.
    pub state_hash: Hash,
    /// Of the flow cookie that binds it to the browser.
    pub binding_hash: Hash,
    /// Who asked, as the browser itself declared it.
    pub evidence: Option<&'static str>,
}

/// What became of an attempt to consume an AuthRequest.
#[derive(Debug)]
pub enum Consumed {
    /// It is yours, and nobody else's: exchange the code now.
    Now(Box<AuthRequest>),
    /// It was consumed before.
    Before(Box<AuthRequest>),
    /// It is too late.
    Expired(Box<AuthRequest>),
    /// It belongs to another browser; it stays good for that one.
    NotYours,
    /// Nobody began it.
    Unknown,
}

const COLUMNS: &str = "id, user_id, client_id, redirect_uri, scopes, optional_scopes, opener_origin, portal_id, \
    pkce_key_id, pkce_sealed, status, error_code, connection_id, created_at, expires_at, delivered_at";

impl Store {
    /// Remembers an attempt to connect.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be written.
    pub async fn insert_auth_request(&self, new: NewAuthRequest) -> Result<(), StoreError> {
        self.starts.insert(new).await
    }

    /// Consumes an AuthRequest: whoever comes with its state and its flow cookie first, and in time, may exchange the
    /// code. One statement decides, so twenty callbacks at once make one exchange.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; nothing is consumed then.
    pub async fn consume_auth_request(
        &self,
        state: Hash,
        binding: Option<Hash>,
        client_id: &str,
        now: Moment,
    ) -> Result<Consumed, StoreError> {
        let client_id = client_id.to_owned();
        self.write(move |tx| {
            let client_id = client_id.clone();
            Box::pin(async move { consume(tx, state, binding, &client_id, now).await })
        })
        .await
    }

    /// The flow with this id, for the browser that holds its cookie.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn flow(&self, id: FlowId, binding: Hash) -> Result<Option<AuthRequest>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM auth_request WHERE id = $1 AND binding_hash = $2");
        self.one(&sql, [id.to_string().into(), binding.text().into()])
            .await?
            .map(|row| read(&row))
            .transpose()
    }

    /// Notes that an attempt ended without a connection.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn fail_auth_request(
        &self,
        id: FlowId,
        code: &'static str,
        now: Moment,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            let sql = "UPDATE auth_request SET status = 'failed', error_code = $2, finished_at = $3 \
                       WHERE id = $1 AND status IN ('awaiting_user', 'exchanging')";
            let values = [id.to_string().into(), code.into(), now.unix_ms().into()];
            Box::pin(async move { tx.run(sql, values).await.map(|_| ()) })
        })
        .await
    }

    /// Takes the right to hand the outcome to the popup; only the first caller gets it.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn deliver_auth_request(&self, id: FlowId, now: Moment) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let sql = "UPDATE auth_request SET delivered_at = $2 WHERE id = $1 AND delivered_at IS NULL";
            let values = [id.to_string().into(), now.unix_ms().into()];
            Box::pin(async move { Ok(tx.run(sql, values).await? == 1) })
        })
        .await
    }

    /// Forgets requests that expired long enough ago that nobody asks for their outcome any more.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn sweep_auth_requests(&self, now: Moment) -> Result<u64, StoreError> {
        let before = now.minus(EXCHANGE_GRACE * 10);
        self.write(move |tx| {
            let values = [before.unix_ms().into()];
            Box::pin(async move { tx.run("DELETE FROM auth_request WHERE expires_at < $1", values).await })
        })
        .await
    }
}

/// What [`insert_values`] has values for.
pub(super) const COLUMNS_OF_INSERT: &str = "id, state_hash, binding_hash, user_id, client_id, redirect_uri, scopes, \
    optional_scopes, opener_origin, evidence, portal_id, pkce_key_id, pkce_sealed, created_at, expires_at";

pub(super) fn insert_values(new: &NewAuthRequest) -> [sea_orm::Value; 15] {
    let request = &new.request;
    let pkce = request.pkce.as_ref();
    [
        request.id.to_string().into(),
        new.state_hash.text().into(),
        new.binding_hash.text().into(),
        request.user_id.to_string().into(),
        request.client_id.clone().into(),
        request.redirect_uri.clone().into(),
        request.scopes.to_string().into(),
        request.optional_scopes.to_string().into(),
        request.opener.as_ref().map(Origin::to_string).into(),
        new.evidence.map(str::to_owned).into(),
        request.portal_id.map(|id| id.0).into(),
        pkce.map(|pkce| pkce.key_id.clone()).into(),
        pkce.map(|pkce| pkce.ciphertext.clone()).into(),
        request.created_at.unix_ms().into(),
        request.expires_at.unix_ms().into(),
    ]
}

async fn consume(
    tx: &Tx<'_>,
    state: Hash,
    binding: Option<Hash>,
    client_id: &str,
    now: Moment,
) -> Result<Consumed, StoreError> {
    let id = FlowId::of_state_hash(state.bytes()).to_string();
    let binding = binding.map(|hash| hash.text());
    let take = format!(
        "UPDATE auth_request SET status = 'exchanging', consumed_at = $5 WHERE id = $1 AND state_hash = $2 \
         AND binding_hash = $3 AND client_id = $4 AND status = 'awaiting_user' AND expires_at > $5 RETURNING {COLUMNS}"
    );
    let values = [
        id.clone().into(),
        state.text().into(),
        binding.clone().into(),
        client_id.to_owned().into(),
        now.unix_ms().into(),
    ];
    if let Some(row) = tx.one(&take, values).await? {
        return Ok(Consumed::Now(Box::new(read(&row)?)));
    }
    let look = format!("SELECT {COLUMNS}, binding_hash FROM auth_request WHERE id = $1 AND state_hash = $2");
    let Some(row) = tx.one(&look, [id.into(), state.text().into()]).await? else {
        return Ok(Consumed::Unknown);
    };
    let request = Box::new(read(&row)?);
    Ok(if Some(row.get("binding_hash")?) != binding || request.client_id != client_id {
        Consumed::NotYours
    } else if request.status_at(now) == FlowStatus::Expired {
        Consumed::Expired(request)
    } else {
        Consumed::Before(request)
    })
}

/// Notes, inside the transaction that stores it, which connection an attempt led to.
pub(super) async fn connected(
    tx: &Tx<'_>,
    id: FlowId,
    connection: ConnectionId,
    now: Moment,
) -> Result<(), StoreError> {
    let sql = "UPDATE auth_request SET status = 'connected', connection_id = $2, finished_at = $3 \
               WHERE id = $1 AND status = 'exchanging'";
    tx.run(sql, [id.to_string().into(), connection.to_string().into(), now.unix_ms().into()])
        .await
        .map(|_| ())
}

fn read(row: &Row) -> Result<AuthRequest, StoreError> {
    let pkce = match row.get::<Option<String>>("pkce_key_id")? {
        Some(key_id) => Some(Sealed { key_id, ciphertext: row.get("pkce_sealed")? }),
        None => None,
    };
    let opener = row.get::<Option<String>>("opener_origin")?;
    Ok(AuthRequest {
        id: row.parsed("id")?,
        user_id: row.parsed("user_id")?,
        client_id: row.get("client_id")?,
        redirect_uri: row.get("redirect_uri")?,
        scopes: row.scopes("scopes")?,
        optional_scopes: row.scopes("optional_scopes")?,
        opener: opener.map(Origin::stored),
        portal_id: row.get::<Option<i64>>("portal_id")?.map(PortalId),
        pkce,
        status: row.parsed("status")?,
        error_code: row.get("error_code")?,
        connection_id: row.maybe("connection_id")?,
        created_at: row.moment("created_at")?,
        expires_at: row.moment("expires_at")?,
        delivered_at: row.maybe_moment("delivered_at")?,
    })
}
