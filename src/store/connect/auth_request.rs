//! Rows of AuthRequest: insert, consume once, finish, cancel, hand off once, sweep.

use std::hash::{DefaultHasher, Hash as _, Hasher};

use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, Select, UpdateMany};

use crate::domain::auth_request::{
    AUTH_REQUEST_RETENTION, AuthRequest, AuthorizationStatus, FlowState, OpenerVerification,
};
use crate::domain::clock::Timestamp;
use crate::domain::failure::FailureCode;
use crate::domain::id::{ConnectSessionId, ConnectionId, FlowId};
use crate::domain::secret::Hash;
use crate::store::db::{Row, placeholders};
use crate::store::entity::auth_request::{ActiveModel, Column, Entity};
use crate::store::entity::columns;
use crate::store::{ConnectStore, StoreError, Tx};

/// An AuthRequest with the hashes of its two secrets.
#[derive(Debug, Clone)]
pub struct NewAuthRequest {
    /// The request.
    pub request: AuthRequest,
    /// The hash of the state that HubSpot sends back.
    pub state_hash: Hash,
    /// The hash of the flow cookie that binds it to the browser.
    pub binding_hash: Hash,
}

/// The result of consuming an AuthRequest.
#[derive(Debug)]
pub enum Consumed {
    /// This call has consumed it: exchange the code now.
    Now(Box<AuthRequest>),
    /// It was consumed before.
    Before(Box<AuthRequest>),
    /// It has expired.
    Expired(Box<AuthRequest>),
    /// It has ended, and this browser has no cookie for it, or no longer.
    Over(FlowId),
    /// It belongs to another browser, for which it stays valid.
    NotYours,
    /// There is no such AuthRequest.
    Unknown,
}

impl ConnectStore {
    /// Inserts an authorization request. Returns `false` if another request has its challenge: of several concurrent
    /// ones, one is inserted.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be written.
    pub async fn insert_auth_request(&self, new: NewAuthRequest) -> Result<bool, StoreError> {
        self.inserts.write(new).await
    }

    /// Consumes an AuthRequest: the first call with its state and its flow cookie, before it expires, may exchange the
    /// code. A single statement decides, so twenty concurrent callbacks result in one exchange.
    pub async fn consume_auth_request(
        &self,
        state: Hash,
        binding: Option<Hash>,
        client_id: &str,
        now: Timestamp,
    ) -> Result<Consumed, StoreError> {
        let client_id = client_id.to_owned();
        self.db.write(move |tx| Box::pin(consume(tx, state, binding, client_id.clone(), now))).await
    }

    /// Returns the flow with this id, for the browser that holds its cookie.
    pub async fn flow(&self, id: FlowId, binding: Hash) -> Result<Option<AuthRequest>, StoreError> {
        self.auth_request(Entity::find_by_id(id).filter(Column::BindingHash.eq(binding))).await
    }

    /// Returns the flow with this id, for the backend of its connect session.
    pub async fn flow_of_session(
        &self,
        id: FlowId,
        session: ConnectSessionId,
    ) -> Result<Option<AuthRequest>, StoreError> {
        self.auth_request(Entity::find_by_id(id).filter(Column::ConnectSessionId.eq(session))).await
    }

    /// Returns the flow that was started with this challenge, if it is the one that the page names.
    pub async fn flow_of_challenge(
        &self,
        challenge: Hash,
        named: Option<FlowId>,
    ) -> Result<Option<AuthRequest>, StoreError> {
        let found = self.auth_request(Entity::find().filter(Column::Challenge.eq(challenge))).await?;
        Ok(found.filter(|request| named.is_none_or(|named| named == request.id)))
    }

    async fn auth_request(&self, query: Select<Entity>) -> Result<Option<AuthRequest>, StoreError> {
        self.db.find(query).await?.map(AuthRequest::try_from).transpose()
    }

    /// Returns a version for each of these flows whose state has changed since its start. It changes with everything
    /// that the flow's page can see.
    pub async fn flow_versions(&self, flows: &[FlowId]) -> Result<Vec<(FlowId, u64)>, StoreError> {
        let sql = format!(
            "SELECT request.id, status, evidence, request.expires_at, connection_id, details_due_at FROM auth_request AS request \
             LEFT JOIN token ON token.id = connection_id WHERE (status <> 'awaiting_user' OR evidence IS NOT NULL) \
             AND request.id IN ({})",
            placeholders(self.db.backend(), flows.len())
        );
        let rows = self.db.all(&sql, flows.iter().map(|id| id.to_string().into())).await?;
        let version = |row: &Row| {
            let (status, due): (String, Option<i64>) = (row.get("status")?, row.get("details_due_at")?);
            // The expiry is extended when the flow's grant awaits a decision.
            let expires_at: i64 = row.get("expires_at")?;
            let texts: [Option<String>; 2] = [row.get("evidence")?, row.get("connection_id")?];
            let mut hasher = DefaultHasher::new();
            (status, due, expires_at, texts).hash(&mut hasher);
            Ok((row.get("id")?, hasher.finish()))
        };
        rows.iter().map(version).collect()
    }

    /// Records that the opener has shown the key of its challenge. Returns the time until which HubSpot's redirect is
    /// accepted; `None` if the key is wrong, or it is too late.
    pub async fn verify_opener(
        &self,
        id: FlowId,
        binding: Hash,
        key: Hash,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.db
            .write(move |tx| {
                let sql = "UPDATE auth_request SET evidence = $4 WHERE id = $1 AND binding_hash = $2 \
                           AND opener_challenge = $3 AND status = 'awaiting_user' RETURNING expires_at";
                let values =
                    [id.into(), binding.into(), key.into(), OpenerVerification::OpenerHandshake.into()];
                Box::pin(
                    async move { tx.one(sql, values).await?.map(|row| row.get("expires_at")).transpose() },
                )
            })
            .await
    }

    /// Cancels a flow, unless HubSpot's redirect has arrived: whichever is committed first counts.
    pub async fn cancel_auth_request(
        &self,
        id: FlowId,
        challenge: Hash,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let cancelled = ActiveModel {
            status: Set(AuthorizationStatus::Cancelled),
            finished_at: Set(Some(now)),
            ..Default::default()
        };
        let awaited = Entity::update_many()
            .set(cancelled)
            .filter(Column::Id.eq(id))
            .filter(Column::Challenge.eq(challenge))
            .filter(Column::Status.eq(AuthorizationStatus::AwaitingUser))
            .filter(Column::ExpiresAt.gt(now));
        self.db.change(awaited).await.map(|_| ())
    }

    /// Takes the right to hand out the access token of a flow; only the first call succeeds.
    pub async fn take_token(&self, id: FlowId, now: Timestamp) -> Result<bool, StoreError> {
        self.db.write(move |tx| Box::pin(take_token(tx, id, now))).await
    }

    /// Records that a flow ended without a connection.
    pub async fn fail_auth_request(
        &self,
        id: FlowId,
        code: FailureCode,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.db.write(move |tx| Box::pin(fail(tx, id, code, now))).await
    }

    /// Takes the right to hand the outcome off to the popup; only the first call succeeds. With `with_token`, returns
    /// whether the access token may be handed out too.
    pub async fn hand_off_auth_request(
        &self,
        id: FlowId,
        with_token: bool,
        now: Timestamp,
    ) -> Result<Option<bool>, StoreError> {
        self.db
            .write(move |tx| {
                Box::pin(async move {
                    let delivered = ActiveModel { delivered_at: Set(Some(now)), ..Default::default() };
                    let once = Entity::update_many().set(delivered).filter(Column::Id.eq(id));
                    if tx.change(once.filter(Column::DeliveredAt.is_null())).await? == 0 {
                        return Ok(None);
                    }
                    Ok(Some(with_token && take_token(tx, id, now).await?))
                })
            })
            .await
    }

    /// Deletes requests that expired so long ago that no page asks for their outcome any more.
    pub async fn sweep_auth_requests(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.db
            .change(Entity::delete_many().filter(Column::ExpiresAt.lt(now.minus(AUTH_REQUEST_RETENTION))))
            .await
    }
}

/// The columns of the values of [`insert_values`].
pub(in crate::store) const COLUMNS_OF_INSERT: &str = "id, state_hash, binding_hash, user_id, client_id, redirect_uri, scopes, \
    optional_scopes, opener_origin, evidence, portal_id, pkce_key_id, pkce_sealed, created_at, expires_at, challenge, \
    opener_challenge, return_url, mode, connect_session_id";

pub(in crate::store) fn insert_values(new: &NewAuthRequest) -> [sea_orm::Value; 20] {
    let request = &new.request;
    let pkce = request.pkce.as_ref();
    [
        request.id.into(),
        new.state_hash.into(),
        new.binding_hash.into(),
        request.user_id.into(),
        request.client_id.clone().into(),
        request.redirect_uri.clone().into(),
        request.scopes.clone().into(),
        request.optional_scopes.clone().into(),
        request.opener.clone().into(),
        request.opener_verification.into(),
        request.portal_id.into(),
        pkce.map(|pkce| pkce.key_id.clone()).into(),
        pkce.map(|pkce| pkce.ciphertext.clone()).into(),
        request.created_at.into(),
        request.expires_at.into(),
        request.challenge.into(),
        request.opener_challenge.into(),
        request.return_url.clone().into(),
        request.mode.into(),
        request.connect_session.into(),
    ]
}

async fn consume(
    tx: &Tx<'_>,
    state: Hash,
    binding: Option<Hash>,
    client_id: String,
    now: Timestamp,
) -> Result<Consumed, StoreError> {
    let id = FlowId::of_state_hash(state.bytes());
    let take = format!(
        "UPDATE auth_request SET status = 'exchanging', consumed_at = $5 WHERE id = $1 AND state_hash = $2 \
         AND binding_hash = $3 AND client_id = $4 AND status = 'awaiting_user' AND expires_at > $5 RETURNING {}",
        columns::<Entity>()
    );
    let values = [id.into(), state.into(), binding.into(), client_id.clone().into(), now.into()];
    if let Some(row) = Entity::find().from_raw_sql(tx.statement(&take, values)).one(&tx.db).await? {
        return Ok(Consumed::Now(Box::new(row.try_into()?)));
    }
    let known = Entity::find_by_id(id).filter(Column::StateHash.eq(state));
    let Some(row) = known.one(&tx.db).await? else { return Ok(Consumed::Unknown) };
    let is_its_browser = binding == Some(row.binding_hash);
    let request: Box<AuthRequest> = Box::new(row.try_into()?);
    let awaited = matches!(request.state, FlowState::AwaitingUser | FlowState::Exchanging);
    Ok(if binding.is_none() && !awaited {
        Consumed::Over(request.id)
    } else if !is_its_browser || request.client_id != client_id {
        Consumed::NotYours
    } else if request.state_at(now) == FlowState::Expired {
        Consumed::Expired(request)
    } else {
        Consumed::Before(request)
    })
}

async fn take_token(tx: &Tx<'_>, id: FlowId, now: Timestamp) -> Result<bool, StoreError> {
    let taken = ActiveModel { token_taken_at: Set(Some(now)), ..Default::default() };
    let once = Entity::update_many().set(taken).filter(Column::Id.eq(id));
    Ok(tx.change(once.filter(Column::TokenTakenAt.is_null())).await? == 1)
}

/// Records, inside a transaction, that a flow ended without a connection.
pub(in crate::store) async fn fail(
    tx: &Tx<'_>,
    id: FlowId,
    code: FailureCode,
    now: Timestamp,
) -> Result<(), StoreError> {
    let failed = ActiveModel {
        status: Set(AuthorizationStatus::Failed),
        error_code: Set(Some(code.to_string())),
        finished_at: Set(Some(now)),
        ..Default::default()
    };
    let open = Entity::update_many().set(failed).filter(Column::Id.eq(id));
    let open = open
        .filter(Column::Status.is_in([AuthorizationStatus::AwaitingUser, AuthorizationStatus::Exchanging]));
    tx.change(open).await.map(|_| ())
}

/// Extends the expiry of a flow, inside the transaction that makes it wait.
pub(in crate::store) async fn keep_open(
    tx: &Tx<'_>,
    id: FlowId,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    let waiting = ActiveModel { expires_at: Set(expires_at), ..Default::default() };
    tx.change(exchanging(id).set(waiting)).await.map(|_| ())
}

/// Records the connection of a flow, inside the transaction that stores the connection.
pub(in crate::store) async fn connected(
    tx: &Tx<'_>,
    id: FlowId,
    connection: ConnectionId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let connected = ActiveModel {
        status: Set(AuthorizationStatus::Connected),
        connection_id: Set(Some(connection)),
        finished_at: Set(Some(now)),
        ..Default::default()
    };
    tx.change(exchanging(id).set(connected)).await.map(|_| ())
}

fn exchanging(id: FlowId) -> UpdateMany<Entity> {
    Entity::update_many().filter(Column::Id.eq(id)).filter(Column::Status.eq(AuthorizationStatus::Exchanging))
}
