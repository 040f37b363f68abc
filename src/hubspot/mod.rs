//! HubSpot's API: authorize URL, exchange, refresh, introspect, revoke, account details.
//!
//! The client supports the dated endpoints and `v3`: `POST /oauth/{version}/token`, `…/introspect`, `…/revoke`, with
//! all parameters in a form body, including the client's credentials (HubSpot developer docs, "OAuth tokens API").
//! Every response is parsed leniently, because a success that is not understood means a lost refresh token.

mod authorize;
mod call;
mod error;
pub mod journal;
pub mod proxy;
mod wire;

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use oauth2::{
    AuthUrl, AuthorizationCode, ClientId, ClientSecret, PkceCodeVerifier, RedirectUrl, RefreshToken, TokenUrl,
};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder};
use thiserror::Error;
use url::Url;

pub use authorize::Authorize;

use crate::config::hubspot::HubSpot as Settings;
use crate::domain::clock::Clock;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::PortalId;
use crate::domain::proxies::Proxies;
use crate::domain::scopes::Scopes;
use crate::domain::secret::Secret;
use call::Calls;
use error::Asked;

type OAuth = oauth2::Client<
    wire::ErrorBody,
    wire::TokenBody,
    oauth2::basic::BasicTokenIntrospectionResponse,
    oauth2::StandardRevocableToken,
    oauth2::basic::BasicRevocationErrorResponse,
    oauth2::EndpointSet,
    oauth2::EndpointNotSet,
    oauth2::EndpointNotSet,
    oauth2::EndpointNotSet,
    oauth2::EndpointSet,
>;

/// HubSpot's response to a code or a refresh token.
#[derive(Debug)]
pub struct Grant {
    /// The access token.
    pub access: Secret,
    /// The refresh token; if absent, the old one stays valid (RFC 6749 section 6).
    pub refresh: Option<Secret>,
    /// The remaining lifetime of the access token.
    pub expires_in: Duration,
    /// The granted scopes, if HubSpot names them.
    pub scopes: Option<Scopes>,
    /// The account, if HubSpot names it.
    pub portal_id: Option<PortalId>,
}

/// The result of a token introspection (RFC 7662).
#[derive(Debug, Clone)]
pub struct Identity {
    /// The account.
    pub portal_id: PortalId,
    /// The customer's website.
    pub hub_domain: Option<String>,
    /// The e-mail address of the HubSpot user who granted access.
    pub hub_user: Option<String>,
    /// The granted scopes.
    pub scopes: Option<Scopes>,
}

/// A configured URL that the client cannot use.
#[derive(Debug, Error)]
#[error("a HubSpot URL in the configuration cannot be used")]
pub struct HubSpotError(#[from] url::ParseError);

/// The OAuth client of the app with one of its secrets.
#[derive(Debug)]
struct Client {
    oauth: OAuth,
    secret: Secret,
}

/// The client of HubSpot's API for the configured app.
#[derive(Debug)]
pub struct HubSpot {
    settings: Settings,
    calls: Calls,
    /// One client per client secret, in the order in which they are tried.
    clients: Vec<Client>,
    /// The index of the secret that was accepted last: it is tried first.
    accepted: AtomicUsize,
    /// The HTTP client for proxied calls.
    proxy: proxy::Egress,
    /// The state of the Webhooks Journal client.
    journal: journal::Reading,
}

impl HubSpot {
    /// Builds the client of HubSpot's API on `http`. Proxied calls and journal files have HTTP clients of their own,
    /// with the same `proxies`.
    ///
    /// # Errors
    /// [`HubSpotError`] if a URL cannot be used.
    pub fn new(
        settings: &Settings,
        http: reqwest::Client,
        proxies: &Proxies,
        clock: Clock,
    ) -> Result<Self, HubSpotError> {
        let clients = settings
            .client_secrets
            .iter()
            .map(|secret| client(settings, secret))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            settings: settings.clone(),
            calls: Calls { http, clock },
            clients,
            accepted: AtomicUsize::new(0),
            proxy: proxy::Egress::new(proxies.clone()),
            journal: journal::Reading::new(&settings.api_url, proxies),
        })
    }

    /// Returns the client ID of the app.
    pub fn client_id(&self) -> &str {
        &self.settings.client_id
    }

    /// Returns the settings of the app.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the URL of HubSpot's authorization page.
    pub fn authorize_url(&self, ask: &Authorize<'_>) -> Url {
        authorize::url(&self.clients[0].oauth, &self.settings, ask)
    }

    /// Exchanges a code, once: after an uncertain response the code may already be used (RFC 6749 section 4.1.3).
    ///
    /// # Errors
    /// [`Failure`] classifies HubSpot's response, or its absence.
    pub async fn exchange(
        &self,
        code: &Secret,
        redirect_uri: &str,
        pkce: Option<&Secret>,
    ) -> Result<Grant, Failure> {
        let redirect = RedirectUrl::new(redirect_uri.to_owned())
            .map_err(|_| Failure::our_fault(FailureCode::RedirectUriMismatch))?;
        self.with_each_secret(|client| {
            let mut request = client
                .oauth
                .exchange_code(AuthorizationCode::new(code.expose().to_owned()))
                .set_redirect_uri(Cow::Owned(redirect.clone()));
            if let Some(verifier) = pkce {
                request = request.set_pkce_verifier(PkceCodeVerifier::new(verifier.expose().to_owned()));
            }
            async move {
                let answer = request.request_async(&self.calls).await;
                answer.map(wire::TokenBody::into_grant).map_err(|why| error::failure(why, Asked::Exchange))
            }
        })
        .await
    }

    /// Requests a new access token (RFC 6749 section 6).
    ///
    /// # Errors
    /// [`Failure`] classifies HubSpot's response, or its absence.
    pub async fn refresh(&self, refresh: &Secret) -> Result<Grant, Failure> {
        let token = &RefreshToken::new(refresh.expose().to_owned());
        self.with_each_secret(|client| async move {
            let answer = client.oauth.exchange_refresh_token(token).request_async(&self.calls).await;
            answer.map(wire::TokenBody::into_grant).map_err(|why| error::failure(why, Asked::Refresh))
        })
        .await
    }

    /// Returns the account and the user of an access token.
    ///
    /// # Errors
    /// [`Failure`] as above; a token that HubSpot reports as inactive is an `invalid_grant`.
    pub async fn introspect(&self, access: &Secret) -> Result<Identity, Failure> {
        self.introspect_as(access, "access_token").await
    }

    /// Returns the account and the user of a refresh token, which stays valid.
    pub(crate) async fn introspect_refresh(&self, refresh: &Secret) -> Result<Identity, Failure> {
        self.introspect_as(refresh, "refresh_token").await
    }

    async fn introspect_as(&self, token: &Secret, hint: &str) -> Result<Identity, Failure> {
        let fields = [("token", token.expose()), ("token_type_hint", hint)];
        let ask = |client| self.calls.fetch(self.form(client, "/token/introspect", &fields));
        wire::identity(&self.with_each_secret(ask).await?)
    }

    /// Revokes a grant at HubSpot (RFC 7009). Revoking an already revoked token is not an error.
    pub async fn revoke(&self, refresh: &Secret) -> Result<(), Failure> {
        let fields = [("token", refresh.expose()), ("token_type_hint", "refresh_token")];
        let ask = |client| self.calls.fetch(self.form(client, "/token/revoke", &fields));
        match self.with_each_secret(ask).await {
            Err(Failure { code: FailureCode::GrantDead, .. }) | Ok(_) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Returns the account's time zone (HubSpot's account information API).
    pub async fn time_zone(&self, access: &Secret) -> Result<Option<String>, Failure> {
        let path = format!("/account-info/{}/details", self.settings.api_version);
        self.call(Method::GET, &path, access).await.map(|body| wire::time_zone(&body))
    }

    /// Uninstalls the app from the whole account of this token (HubSpot's app uninstalls API). This ends all grants of
    /// the account to the app.
    pub async fn uninstall(&self, access: &Secret) -> Result<(), Failure> {
        let path = format!("/appinstalls/{}/external-install", self.settings.api_version);
        self.call(Method::DELETE, &path, access).await.map(|_| ())
    }

    /// Calls HubSpot's API with an access token and returns the body of a success.
    async fn call(&self, method: Method, path: &str, access: &Secret) -> Result<Vec<u8>, Failure> {
        let call = self.calls.http.request(method, join(&self.settings.api_url, path));
        self.calls.fetch(call.header(ACCEPT, "application/json").bearer_auth(access.expose())).await
    }

    /// Makes a call with the secret that was accepted last, then with the others while HubSpot rejects our credentials.
    async fn with_each_secret<'a, T, F>(&'a self, call: impl Fn(&'a Client) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let first = self.accepted.load(Ordering::Relaxed);
        let mut answer = call(&self.clients[first]).await;
        for next in (0..self.clients.len()).filter(|next| *next != first) {
            if !matches!(answer, Err(Failure { code: FailureCode::ClientRejected, .. })) {
                break;
            }
            answer = call(&self.clients[next]).await;
            if answer.is_ok() {
                self.accepted.store(next, Ordering::Relaxed);
            }
        }
        answer
    }

    /// Builds a form with the app's own credentials, for an endpoint of HubSpot's OAuth API.
    fn form(&self, client: &Client, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("client_secret", client.secret.expose())
            .extend_pairs(fields)
            .finish();
        let url = join(&self.settings.api_url, &format!("/oauth/{}{path}", self.settings.api_version));
        let call = self.calls.http.post(url).header(ACCEPT, "application/json");
        call.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form)
    }
}

fn client(settings: &Settings, secret: &Secret) -> Result<Client, HubSpotError> {
    let token_url = join(&settings.api_url, &format!("/oauth/{}/token", settings.api_version));
    let oauth = oauth2::Client::new(ClientId::new(settings.client_id.clone()))
        .set_client_secret(ClientSecret::new(secret.expose().to_owned()))
        .set_auth_type(oauth2::AuthType::RequestBody)
        .set_auth_uri(AuthUrl::new(settings.authorize_url.to_string())?)
        .set_token_uri(TokenUrl::new(token_url.to_string())?);
    Ok(Client { oauth, secret: secret.clone() })
}

fn join(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}
