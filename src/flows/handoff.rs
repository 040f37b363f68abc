//! Hands the outcome of a flow to its popup, once.

use super::Flows;
use super::status::Connection;
use crate::config::TokenDelivery;
use crate::domain::auth_request::{AuthRequest, FlowStatus};
use crate::domain::id::FlowId;
use crate::domain::origin::Origin;
use crate::domain::secret::Secret;
use crate::store::StoreError;

/// What a flow has come to.
#[derive(Debug)]
pub enum Outcome {
    /// The code is being exchanged.
    Pending,
    /// There is a connection.
    Connected(Box<Connection>),
    /// There is none.
    Failed {
        /// Why: a stable code.
        code: String,
        /// The page that began it.
        opener: Option<Origin>,
    },
}

/// What the popup is to tell its opener.
#[derive(Debug)]
pub struct Message {
    /// The outcome; never pending.
    pub outcome: Outcome,
    /// The access token, where the opener may have it.
    pub access_token: Option<Secret>,
}

/// An attempt to take the outcome.
#[derive(Debug)]
pub enum Delivery {
    /// Tell this to that origin alone.
    Now(Option<Origin>, Box<Message>),
    /// Not yet.
    Pending,
    /// It was handed out before.
    Gone,
    /// No such flow in this browser.
    Unknown,
}

impl Flows {
    /// What a flow has come to, for the browser that holds its cookie.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn outcome(&self, flow: FlowId, binding: &Secret) -> Result<Option<Outcome>, StoreError> {
        match self.0.store.flow(flow, binding.hash()).await? {
            Some(request) => self.outcome_of(&request).await.map(Some),
            None => Ok(None),
        }
    }

    /// Takes the message for the opener; the second caller finds it gone (a token is given at most once per flow).
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn deliver(&self, flow: FlowId, binding: &Secret) -> Result<Delivery, StoreError> {
        let Some(request) = self.0.store.flow(flow, binding.hash()).await? else {
            return Ok(Delivery::Unknown);
        };
        if request.delivered_at.is_some() {
            return Ok(Delivery::Gone);
        }
        let outcome = self.outcome_of(&request).await?;
        if matches!(outcome, Outcome::Pending) {
            return Ok(Delivery::Pending);
        }
        if !self.0.store.deliver_auth_request(flow, self.0.clock.now()).await? {
            return Ok(Delivery::Gone);
        }
        let access_token = self.access_for(&request, &outcome);
        Ok(Delivery::Now(request.opener, Box::new(Message { outcome, access_token })))
    }

    async fn outcome_of(&self, request: &AuthRequest) -> Result<Outcome, StoreError> {
        let failed = |code: &str| Outcome::Failed { code: code.to_owned(), opener: request.opener.clone() };
        Ok(match (request.status_at(self.0.clock.now()), request.connection_id) {
            (FlowStatus::AwaitingUser | FlowStatus::Exchanging, _) => Outcome::Pending,
            (FlowStatus::Connected, Some(id)) => match self.0.store.token(id).await? {
                Some(token) => Outcome::Connected(Box::new(Connection { token, refresh_at: None })),
                None => failed("disconnected"),
            },
            (FlowStatus::Expired, _) => failed("flow_expired"),
            (FlowStatus::Cancelled, _) => failed("cancelled"),
            (FlowStatus::Failed | FlowStatus::Connected, _) => {
                failed(request.error_code.as_deref().unwrap_or("provider_error"))
            }
        })
    }

    /// The access token goes to pages that the operator has listed and to no other, our own included: those use the
    /// session. The refresh token goes nowhere.
    fn access_for(&self, request: &AuthRequest, outcome: &Outcome) -> Option<Secret> {
        let rules = &self.0.rules;
        let Outcome::Connected(connection) = outcome else {
            return None;
        };
        let listed =
            request.opener.as_ref().is_some_and(|opener| rules.host_origins.find(opener.as_str()).is_some());
        let wanted = matches!(rules.token_delivery, TokenDelivery::Auto | TokenDelivery::AccessToken);
        if !listed || !wanted {
            return None;
        }
        self.0.open_access(&connection.token).ok()
    }
}
