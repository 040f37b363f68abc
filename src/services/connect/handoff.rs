//! Hands off the outcome of an authorization request to its popup, once.

use std::sync::Arc;

use super::account_mismatch::{AccountChoice, AccountMismatches};
use super::outcome::{Outcome, Outcomes};
use super::rules::Rules;
use crate::config::TokenDelivery;
use crate::domain::auth_request::{AuthRequest, FlowState, Mode};
use crate::domain::clock::Clock;
use crate::domain::id::FlowId;
use crate::domain::origin::{Origin, ReturnUrl};
use crate::domain::secret::Secret;
use crate::keyring::Keyring;
use crate::services::connections::open_access;
use crate::services::pending_grants::PendingGrants;
use crate::services::platform::Base;
use crate::store::{ConnectStore, StoreError};

/// An authorization request as its own browser sees it.
#[derive(Debug)]
pub struct FlowOutcome {
    /// The outcome.
    pub outcome: Outcome,
    /// The question that the user must answer first, if there is one.
    pub choice: Option<AccountChoice>,
    /// The origin of the page that started the authorization request.
    pub opener: Option<Origin>,
    /// The link for a window that has no opener to notify.
    pub return_link: Option<String>,
    /// The page that the user can go back to after a hosted link.
    pub back_url: Option<ReturnUrl>,
    /// The window in which the authorization takes place.
    pub mode: Mode,
    /// Whether the host's backend started it: then the connection belongs to no browser, and our own page cannot
    /// start another authorization request for it.
    pub by_backend: bool,
    /// Whether the host's backend has to confirm now.
    pub awaiting_confirmation: bool,
    /// Whether nothing is left to hand off, so that the cookie can be removed.
    pub is_spent: bool,
}

/// The message from the popup to its opener.
#[derive(Debug)]
pub struct Message {
    /// The outcome; never pending.
    pub outcome: Outcome,
    /// The access token, if the opener may have it.
    pub access_token: Option<Secret>,
    /// The pickup code with which the opener gets the access token, if it may have it that way.
    pub pickup_code: Option<String>,
}

/// The result of taking the outcome.
#[derive(Debug)]
pub enum HandoffResult {
    /// The message, for this origin only.
    Now(Option<Origin>, Box<Message>),
    /// There is no outcome yet.
    Pending,
    /// The outcome was handed off before.
    Gone,
    /// This browser has no such authorization request.
    Unknown,
}

/// Hands off outcomes to popups. Clones share everything.
#[derive(Debug, Clone)]
pub struct Handoffs {
    store: ConnectStore,
    clock: Clock,
    keyring: Arc<Keyring>,
    rules: Arc<Rules>,
    outcomes: Outcomes,
    mismatches: AccountMismatches,
    pending_grants: PendingGrants,
}

impl Handoffs {
    pub(super) fn new(
        base: &Base,
        rules: &Arc<Rules>,
        outcomes: &Outcomes,
        mismatches: &AccountMismatches,
        pending_grants: &PendingGrants,
    ) -> Self {
        let Base { store, clock, keyring, .. } = base.clone();
        Self {
            store: store.connect,
            clock,
            keyring,
            rules: Arc::clone(rules),
            outcomes: outcomes.clone(),
            mismatches: mismatches.clone(),
            pending_grants: pending_grants.clone(),
        }
    }

    /// Returns the outcome of an authorization request, for the browser that holds its cookie.
    pub async fn outcome(&self, flow: FlowId, binding: &Secret) -> Result<Option<FlowOutcome>, StoreError> {
        let Some(request) = self.store.flow(flow, binding.hash()).await? else { return Ok(None) };
        let choice = self.mismatches.choice(&request).await?;
        let outcome = self.outcomes.outcome_of(&request).await?;
        let is_handed_off =
            request.is_handed_off || request.mode == Mode::Redirect || request.is_over(self.clock.now());
        let is_hosted =
            request.connect_session.is_some() && request.opener.as_ref() == Some(&self.rules.own_origin);
        Ok(Some(FlowOutcome {
            is_spent: is_handed_off && !matches!(outcome, Outcome::Pending { .. }),
            outcome,
            choice,
            opener: request.opener.clone(),
            return_link: request.return_link().filter(|_| !is_hosted),
            back_url: request.return_url.clone().filter(|_| is_hosted),
            mode: request.mode,
            by_backend: request.connect_session.is_some(),
            awaiting_confirmation: request.state == FlowState::Exchanging
                && self.pending_grants.is_held(&request).await?,
        }))
    }

    /// Takes the message for the opener. A second caller gets [`HandoffResult::Gone`]: an access token is handed off
    /// at most once.
    pub async fn hand_off(&self, flow: FlowId, binding: &Secret) -> Result<HandoffResult, StoreError> {
        let Some(request) = self.store.flow(flow, binding.hash()).await? else {
            return Ok(HandoffResult::Unknown);
        };
        if request.is_handed_off {
            return Ok(HandoffResult::Gone);
        }
        let outcome = self.outcomes.outcome_of(&request).await?;
        if matches!(outcome, Outcome::Pending { .. }) {
            return Ok(HandoffResult::Pending);
        }
        let now = self.clock.now();
        let is_over = request.is_over(now);
        let access_token = self.access_for(&request, &outcome).filter(|_| !is_over);
        let taken = self.store.hand_off_auth_request(flow, access_token.is_some(), now).await?;
        let Some(with_token) = taken else { return Ok(HandoffResult::Gone) };
        // The page may have picked up the token in the meantime.
        let access_token = access_token.filter(|_| with_token);
        let pickup_code = match access_token {
            Some(_) => None,
            None if is_over => None,
            None => self.outcomes.pickup_code_for(&request, request.state_at(now).status(), now),
        };
        Ok(HandoffResult::Now(request.opener, Box::new(Message { outcome, access_token, pickup_code })))
    }

    /// Returns the access token for the opener. Only pages that the operator has listed get it; our own pages use the
    /// session instead. The refresh token is never handed off.
    fn access_for(&self, request: &AuthRequest, outcome: &Outcome) -> Option<Secret> {
        let Outcome::Connected(connection) = outcome else {
            return None;
        };
        let wanted = match self.rules.token_delivery {
            TokenDelivery::AccessToken => true,
            // A verified page that sent a challenge can pick up the token, which keeps it out of the message.
            TokenDelivery::Auto => {
                request.connect_session.is_none()
                    && (request.challenge.is_none() || request.opener_verification.is_none())
            }
            TokenDelivery::PickupCode | TokenDelivery::Handle => false,
        };
        if !wanted || !self.rules.is_listed(request) {
            return None;
        }
        open_access(&self.keyring, &connection.token).ok()
    }
}
