//! Rows of AuthRequest: insert, consume once, finish, cancel, deliver once, sweep.

use std::hash::{DefaultHasher, Hash as _, Hasher};

use super::db::Row;
use super::{Store, StoreError, Tx};
use crate::domain::auth_request::{AuthRequest, Evidence, FlowStatus, REMEMBERED};
use crate::domain::clock::Moment;
use crate::domain::failure::FailureCode;
use crate::domain::id::{ConnectSessionId, ConnectionId, FlowId, PortalId};
use crate::domain::origin::{Origin, ReturnUrl};
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
    /// It has ended, and this browser does not have its cookie, or no longer.
    Over(FlowId),
    /// It belongs to another browser; it stays good for that one.
    NotYours,
    /// Nobody began it.
    Unknown,
}

const COLUMNS: &str = "id, user_id, client_id, redirect_uri, scopes, optional_scopes, opener_origin, portal_id, \
    pkce_key_id, pkce_sealed, status, error_code, connection_id, created_at, expires_at, finished_at, delivered_at, evidence, \
    challenge, opener_challenge, return_url, mode, token_taken_at, connect_session_id";

impl Store {
    /// Remembers an attempt to connect. `false` if another attempt has its challenge: of several at once one is
    /// inserted.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be written.
    pub async fn insert_auth_request(&self, new: NewAuthRequest) -> Result<bool, StoreError> {
        self.starts.write(new).await
    }

    /// Consumes an AuthRequest: whoever comes with its state and its flow cookie first, and in time, may exchange the
    /// code. One statement decides, so twenty callbacks at once make one exchange.
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
    pub async fn flow(&self, id: FlowId, binding: Hash) -> Result<Option<AuthRequest>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM auth_request WHERE id = $1 AND binding_hash = $2");
        self.one(&sql, [id.to_string().into(), binding.text().into()])
            .await?
            .map(|row| read(&row))
            .transpose()
    }

    /// The flow with this id, for the backend that its connect session belongs to.
    pub async fn flow_of_session(
        &self,
        id: FlowId,
        session: ConnectSessionId,
    ) -> Result<Option<AuthRequest>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM auth_request WHERE id = $1 AND connect_session_id = $2");
        let values = [id.to_string().into(), session.to_string().into()];
        self.one(&sql, values).await?.map(|row| read(&row)).transpose()
    }

    /// The flow that the page with this challenge began, if it is the one that the page names.
    pub async fn flow_of_challenge(
        &self,
        challenge: Hash,
        named: Option<FlowId>,
    ) -> Result<Option<AuthRequest>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM auth_request WHERE challenge = $1");
        let found = self.one(&sql, [challenge.text().into()]).await?.map(|row| read(&row)).transpose()?;
        Ok(found.filter(|request| named.is_none_or(|named| named == request.id)))
    }

    /// For each of these flows that is not as it was when it began, a number that changes with what its page may be
    /// told.
    pub async fn marks_of_flows(&self, flows: &[FlowId]) -> Result<Vec<(FlowId, u64)>, StoreError> {
        let places: Vec<String> = (1..=flows.len()).map(|at| format!("${at}")).collect();
        let sql = format!(
            "SELECT request.id, status, evidence, request.expires_at, connection_id, details_due_at FROM auth_request AS request \
             LEFT JOIN token ON token.id = connection_id WHERE (status <> 'awaiting_user' OR evidence IS NOT NULL) \
             AND request.id IN ({})",
            places.join(", ")
        );
        let rows = self.all(&sql, flows.iter().map(|id| id.to_string().into())).await?;
        let mark = |row: &Row| {
            let (status, due): (String, Option<i64>) = (row.get("status")?, row.get("details_due_at")?);
            // It is put off when the attempt comes to wait for somebody's word.
            let expires_at: i64 = row.get("expires_at")?;
            let texts: [Option<String>; 2] = [row.get("evidence")?, row.get("connection_id")?];
            let mut hasher = DefaultHasher::new();
            (status, due, expires_at, texts).hash(&mut hasher);
            Ok((row.parsed("id")?, hasher.finish()))
        };
        rows.iter().map(mark).collect()
    }

    /// Notes that the opener has shown the key of its challenge. Says until when HubSpot's answer is awaited; `None` if
    /// it is not the key, or too late.
    pub async fn prove_opener(
        &self,
        id: FlowId,
        binding: Hash,
        key: Hash,
    ) -> Result<Option<Moment>, StoreError> {
        self.write(move |tx| {
            let sql = "UPDATE auth_request SET evidence = $4 WHERE id = $1 AND binding_hash = $2 \
                       AND opener_challenge = $3 AND status = 'awaiting_user' RETURNING expires_at";
            let proof = Evidence::OpenerHandshake.as_str();
            let values = [id.to_string().into(), binding.text().into(), key.text().into(), proof.into()];
            Box::pin(
                async move { tx.one(sql, values).await?.map(|row| row.moment("expires_at")).transpose() },
            )
        })
        .await
    }

    /// Gives a flow up, if HubSpot has not answered yet: whichever of the two is committed first counts.
    pub async fn cancel_auth_request(
        &self,
        id: FlowId,
        challenge: Hash,
        now: Moment,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            let sql = "UPDATE auth_request SET status = 'cancelled', finished_at = $3 \
                       WHERE id = $1 AND challenge = $2 AND status = 'awaiting_user' AND expires_at > $3";
            let values = [id.to_string().into(), challenge.text().into(), now.unix_ms().into()];
            Box::pin(async move { tx.run(sql, values).await.map(|_| ()) })
        })
        .await
    }

    /// Takes the right to hand out the access token of a flow; only the first caller gets it.
    pub async fn take_token(&self, id: FlowId, now: Moment) -> Result<bool, StoreError> {
        self.write(move |tx| Box::pin(async move { take_token(tx, id, now).await })).await
    }

    /// Notes that an attempt ended without a connection.
    pub async fn fail_auth_request(
        &self,
        id: FlowId,
        code: FailureCode,
        now: Moment,
    ) -> Result<(), StoreError> {
        self.write(move |tx| Box::pin(async move { fail(tx, id, code, now).await })).await
    }

    /// Takes the right to hand the outcome to the popup; only the first caller gets it. Where the access token is to
    /// go with it, says whether it may.
    pub async fn deliver_auth_request(
        &self,
        id: FlowId,
        with_token: bool,
        now: Moment,
    ) -> Result<Option<bool>, StoreError> {
        self.write(move |tx| {
            let sql = "UPDATE auth_request SET delivered_at = $2 WHERE id = $1 AND delivered_at IS NULL";
            let values = [id.to_string().into(), now.unix_ms().into()];
            Box::pin(async move {
                if tx.run(sql, values).await? == 0 {
                    return Ok(None);
                }
                Ok(Some(with_token && take_token(tx, id, now).await?))
            })
        })
        .await
    }

    /// Forgets requests that expired long enough ago that nobody asks for their outcome any more.
    pub async fn sweep_auth_requests(&self, now: Moment) -> Result<u64, StoreError> {
        let before = now.minus(REMEMBERED);
        self.write(move |tx| {
            let values = [before.unix_ms().into()];
            Box::pin(async move { tx.run("DELETE FROM auth_request WHERE expires_at < $1", values).await })
        })
        .await
    }
}

/// What [`insert_values`] has values for.
pub(super) const COLUMNS_OF_INSERT: &str = "id, state_hash, binding_hash, user_id, client_id, redirect_uri, scopes, \
    optional_scopes, opener_origin, evidence, portal_id, pkce_key_id, pkce_sealed, created_at, expires_at, challenge, \
    opener_challenge, return_url, mode, connect_session_id";

pub(super) fn insert_values(new: &NewAuthRequest) -> [sea_orm::Value; 20] {
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
        request.evidence.map(|evidence| evidence.as_str().to_owned()).into(),
        request.portal_id.map(|id| id.0).into(),
        pkce.map(|pkce| pkce.key_id.clone()).into(),
        pkce.map(|pkce| pkce.ciphertext.clone()).into(),
        request.created_at.unix_ms().into(),
        request.expires_at.unix_ms().into(),
        request.challenge.map(|challenge| challenge.text()).into(),
        request.opener_challenge.map(|challenge| challenge.text()).into(),
        request.return_url.as_ref().map(|url| url.as_str().to_owned()).into(),
        request.mode.as_str().to_owned().into(),
        request.connect_session.map(|id| id.to_string()).into(),
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
    let awaited = matches!(request.status, FlowStatus::AwaitingUser | FlowStatus::Exchanging);
    Ok(if binding.is_none() && !awaited {
        Consumed::Over(request.id)
    } else if Some(row.get("binding_hash")?) != binding || request.client_id != client_id {
        Consumed::NotYours
    } else if request.status_at(now) == FlowStatus::Expired {
        Consumed::Expired(request)
    } else {
        Consumed::Before(request)
    })
}

async fn take_token(tx: &Tx<'_>, id: FlowId, now: Moment) -> Result<bool, StoreError> {
    let sql = "UPDATE auth_request SET token_taken_at = $2 WHERE id = $1 AND token_taken_at IS NULL";
    Ok(tx.run(sql, [id.to_string().into(), now.unix_ms().into()]).await? == 1)
}

/// Notes, inside a transaction, that an attempt ended without a connection.
pub(super) async fn fail(tx: &Tx<'_>, id: FlowId, code: FailureCode, now: Moment) -> Result<(), StoreError> {
    let sql = "UPDATE auth_request SET status = 'failed', error_code = $2, finished_at = $3 \
               WHERE id = $1 AND status IN ('awaiting_user', 'exchanging')";
    tx.run(sql, [id.to_string().into(), code.as_str().into(), now.unix_ms().into()]).await.map(|_| ())
}

/// Lets an attempt wait for longer, inside the transaction that makes it wait.
pub(super) async fn keep_open(tx: &Tx<'_>, id: FlowId, expires_at: Moment) -> Result<(), StoreError> {
    let sql = "UPDATE auth_request SET expires_at = $2 WHERE id = $1 AND status = 'exchanging'";
    tx.run(sql, [id.into(), expires_at.into()]).await.map(|_| ())
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
        challenge: row.hash("challenge")?,
        opener_challenge: row.hash("opener_challenge")?,
        evidence: row.maybe("evidence")?,
        return_url: row.get::<Option<String>>("return_url")?.map(ReturnUrl::stored),
        mode: row.maybe("mode")?.unwrap_or_default(),
        connect_session: row.maybe("connect_session_id")?,
        portal_id: row.get::<Option<i64>>("portal_id")?.map(PortalId),
        pkce,
        status: row.parsed("status")?,
        error_code: row.get("error_code")?,
        connection_id: row.maybe("connection_id")?,
        created_at: row.moment("created_at")?,
        expires_at: row.moment("expires_at")?,
        finished_at: row.maybe_moment("finished_at")?,
        delivered_at: row.maybe_moment("delivered_at")?,
        token_taken_at: row.maybe_moment("token_taken_at")?,
    })
}
