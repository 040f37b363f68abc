//! Hands the outcome of a flow to its popup, once.

use crate::config::TokenDelivery;
use crate::domain::auth_request::{AuthRequest, EXCHANGE_GRACE, FlowStatus, Mode};
use crate::domain::clock::Moment;
use crate::domain::id::FlowId;
use crate::domain::origin::Origin;
use crate::domain::secret::Secret;
use crate::services::Services;
use crate::services::connect::account_mismatch::Choice;
use crate::services::connections::open_access;
use crate::services::platform::Connection;
use crate::store::StoreError;

/// What a flow has come to.
#[derive(Debug)]
pub enum Outcome {
    /// The person is at HubSpot, or the code is being exchanged, or HubSpot is being asked whose account it is.
    Pending {
        /// By then it will have come to something.
        until: Moment,
    },
    /// There is a connection.
    Connected(Box<Connection>),
    /// There is none.
    Failed {
        /// Why: a stable code.
        code: String,
    },
}

/// A flow as its own browser sees it.
#[derive(Debug)]
pub struct Ended {
    /// What it has come to.
    pub outcome: Outcome,
    /// What the person is asked before it comes to anything.
    pub choice: Option<Choice>,
    /// The page that began it.
    pub opener: Option<Origin>,
    /// Where the window can go if there is no opener to tell.
    pub return_link: Option<String>,
    /// In which window it takes place.
    pub mode: Mode,
    /// Whether the host's backend began it: then the connection is that of no browser, and a page of ours cannot begin
    /// it anew.
    pub of_host: bool,
    /// Whether the host's backend has the last word now.
    pub awaiting_confirmation: bool,
    /// Whether nothing is left to hand off, so that the cookie can be removed.
    pub is_spent: bool,
}

/// What the popup is to tell its opener.
#[derive(Debug)]
pub struct Message {
    /// The outcome; never pending.
    pub outcome: Outcome,
    /// The access token, where the opener may have it.
    pub access_token: Option<Secret>,
    /// What the opener gets the access token for, where it may have it in that way.
    pub claim: Option<String>,
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

impl Services {
    /// What a flow has come to, for the browser that holds its cookie.
    pub async fn outcome(&self, flow: FlowId, binding: &Secret) -> Result<Option<Ended>, StoreError> {
        let Some(request) = self.0.store.flow(flow, binding.hash()).await? else { return Ok(None) };
        let choice = self.choice(&request).await?;
        let outcome = self.outcome_of(&request).await?;
        let is_told = request.delivered_at.is_some()
            || request.mode == Mode::Redirect
            || request.is_over(self.0.clock.now());
        Ok(Some(Ended {
            is_spent: is_told && !matches!(outcome, Outcome::Pending { .. }),
            outcome,
            choice,
            opener: request.opener.clone(),
            return_link: request.return_link(),
            mode: request.mode,
            of_host: request.connect_session.is_some(),
            awaiting_confirmation: request.status == FlowStatus::Exchanging && self.is_held(&request).await?,
        }))
    }

    /// Takes the message for the opener; the second caller finds it gone (a token is given at most once per flow).
    pub async fn deliver(&self, flow: FlowId, binding: &Secret) -> Result<Delivery, StoreError> {
        let Some(request) = self.0.store.flow(flow, binding.hash()).await? else {
            return Ok(Delivery::Unknown);
        };
        if request.delivered_at.is_some() {
            return Ok(Delivery::Gone);
        }
        let outcome = self.outcome_of(&request).await?;
        if matches!(outcome, Outcome::Pending { .. }) {
            return Ok(Delivery::Pending);
        }
        let now = self.0.clock.now();
        let is_over = request.is_over(now);
        let access_token = self.access_for(&request, &outcome).filter(|_| !is_over);
        let taken = self.0.store.deliver_auth_request(flow, access_token.is_some(), now).await?;
        let Some(with_token) = taken else { return Ok(Delivery::Gone) };
        // Another way may have been quicker.
        let access_token = access_token.filter(|_| with_token);
        let claim = match access_token {
            Some(_) => None,
            None if is_over => None,
            None => self.claim_for(&request, request.status_at(now), now),
        };
        Ok(Delivery::Now(request.opener, Box::new(Message { outcome, access_token, claim })))
    }

    pub(in crate::services) async fn outcome_of(&self, request: &AuthRequest) -> Result<Outcome, StoreError> {
        let failed = |code: &str| Outcome::Failed { code: code.to_owned() };
        let now = self.0.clock.now();
        Ok(match (request.status_at(now), request.connection_id) {
            (FlowStatus::AwaitingUser, _) => Outcome::Pending { until: request.expires_at },
            (FlowStatus::Exchanging, _) => {
                Outcome::Pending { until: request.expires_at.plus(EXCHANGE_GRACE) }
            }
            (FlowStatus::Connected, Some(id)) => match self.0.store.token(id).await? {
                // A page is told of its connection once, and shows whose it is. What another attempt has renewed since
                // is known already.
                Some(token) => match token.introduced_until(now) {
                    Some(until) if request.finished_at == Some(token.connected_at) => {
                        Outcome::Pending { until }
                    }
                    _ => Outcome::Connected(Box::new(Connection { token, refresh_at: None })),
                },
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
        let Outcome::Connected(connection) = outcome else {
            return None;
        };
        let wanted = match self.0.rules.token_delivery {
            TokenDelivery::AccessToken => true,
            // Who sends a challenge and has proven who it is can take the token in the quieter way.
            TokenDelivery::Auto => {
                request.connect_session.is_none()
                    && (request.challenge.is_none() || request.evidence.is_none())
            }
            TokenDelivery::Claim | TokenDelivery::Handle => false,
        };
        if !wanted || !self.is_listed(request) {
            return None;
        }
        open_access(&self.0.keyring, &connection.token).ok()
    }

    pub(in crate::services) fn is_listed(&self, request: &AuthRequest) -> bool {
        let origins = &self.0.rules.host_origins;
        request.opener.as_ref().is_some_and(|opener| origins.find(opener.as_str()).is_some())
    }
}
