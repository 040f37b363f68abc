//! Starts a connect: remembers an AuthRequest and says where the person approves.

use thiserror::Error;
use url::Url;

use super::Flows;
use crate::domain::auth_request::{AuthRequest, FlowStatus};
use crate::domain::clock::Moment;
use crate::domain::id::{FlowId, PortalId, UserId};
use crate::domain::origin::Origin;
use crate::domain::secret::{Sealed, Secret};
use crate::hubspot::Authorize;
use crate::keyring::Context;
use crate::store::{NewAuthRequest, StoreError};

/// Who wants to connect, and on whose behalf.
#[derive(Debug, Default)]
pub struct StartConnect {
    /// The session's user; one is born if there is none.
    pub user: Option<UserId>,
    /// The origin of the page that is to be told, as it named itself.
    pub origin: Option<String>,
    /// The account that is expected.
    pub portal_id: Option<PortalId>,
    /// What the browser declared about where the request came from.
    pub evidence: Option<&'static str>,
}

/// A connect that has begun.
#[derive(Debug)]
pub struct Started {
    /// Its public id.
    pub flow: FlowId,
    /// What binds it to the browser, for its cookie alone.
    pub binding: Secret,
    /// Where the person approves.
    pub authorize_url: Url,
    /// Until when.
    pub expires_at: Moment,
}

/// Why a connect does not begin.
#[derive(Debug, Error)]
pub enum StartError {
    /// The page that asks is not listed in HOST_ORIGINS.
    #[error("the origin is not listed")]
    OriginNotAllowed,
    /// It could not be remembered.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The flow that a state belongs to.
pub fn flow_of_state(state: &Secret) -> FlowId {
    FlowId::of_state_hash(state.hash().bytes())
}

impl Flows {
    /// Begins a connect.
    ///
    /// The origin is checked before anything is written, and bound to the flow: nothing that comes later, from the
    /// popup or from its opener, can change who is told.
    ///
    /// # Errors
    /// [`StartError`] as it says.
    pub async fn start(&self, ask: StartConnect) -> Result<Started, StartError> {
        let parts = &self.0;
        let opener = self.opener(ask.origin.as_deref())?;
        let settings = parts.hubspot.settings();
        let (state, binding) = (Secret::random(&parts.chance), Secret::random(&parts.chance));
        let flow = flow_of_state(&state);
        let pkce = settings.pkce.then(|| Secret::random(&parts.chance));
        let now = parts.clock.now();
        let authorize_url = parts.hubspot.authorize_url(&Authorize {
            state: &state,
            scopes: &settings.scopes,
            optional_scopes: &settings.optional_scopes,
            pkce: pkce.as_ref(),
            portal_id: ask.portal_id,
        });
        let request = AuthRequest {
            id: flow,
            user_id: ask.user.unwrap_or_else(|| UserId::random(&parts.chance)),
            client_id: settings.client_id.clone(),
            redirect_uri: settings.redirect_uri.to_string(),
            scopes: settings.scopes.clone(),
            optional_scopes: settings.optional_scopes.clone(),
            opener: Some(opener),
            portal_id: ask.portal_id,
            pkce: pkce.map(|verifier| self.seal_pkce(&verifier, flow)),
            status: FlowStatus::AwaitingUser,
            error_code: None,
            connection_id: None,
            created_at: now,
            expires_at: now.plus(parts.rules.flow_ttl),
            delivered_at: None,
        };
        let expires_at = request.expires_at;
        let (state_hash, binding_hash) = (state.hash(), binding.hash());
        let new = NewAuthRequest { request, state_hash, binding_hash, evidence: ask.evidence };
        parts.store.insert_auth_request(new).await?;
        parts.metrics.flows_started.inc();
        tracing::info!(flow = %flow, "a connect has begun");
        Ok(Started { flow, binding, authorize_url, expires_at })
    }

    /// Who is told: the page that named itself, if it may be told; else the only listed one; else our own pages.
    fn opener(&self, named: Option<&str>) -> Result<Origin, StartError> {
        let rules = &self.0.rules;
        match named {
            Some(named) if named == rules.own_origin.as_str() => Ok(rules.own_origin.clone()),
            Some(named) => rules.host_origins.find(named).cloned().ok_or(StartError::OriginNotAllowed),
            None => Ok(rules.host_origins.only().unwrap_or(&rules.own_origin).clone()),
        }
    }

    fn seal_pkce(&self, verifier: &Secret, flow: FlowId) -> Sealed {
        self.0.keyring.seal(verifier, pkce_context(&flow.to_string(), self.0.hubspot.client_id()))
    }
}

/// What a stored PKCE verifier is bound to.
pub(super) fn pkce_context<'a>(flow: &'a str, client_id: &'a str) -> Context<'a> {
    Context { kind: "pkce", row: flow, generation: 0, client_id }
}
