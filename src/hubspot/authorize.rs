//! HubSpot's authorization URL.

use oauth2::{CsrfToken, PkceCodeChallenge, PkceCodeVerifier, Scope};
use url::Url;

use super::OAuth;
use crate::config::hubspot::HubSpot as Settings;
use crate::domain::id::PortalId;
use crate::domain::scopes::Scopes;
use crate::domain::secret::Secret;

/// The parameters of the authorization URL.
#[derive(Debug)]
pub struct Authorize<'a> {
    /// The state (RFC 6749 section 10.12).
    pub state: &'a Secret,
    /// Scopes that the account must grant.
    pub scopes: &'a Scopes,
    /// Scopes that the account may lack.
    pub optional_scopes: &'a Scopes,
    /// The PKCE verifier whose challenge is sent (RFC 7636), if PKCE is enabled.
    pub pkce: Option<&'a Secret>,
    /// The account to preselect.
    pub portal_id: Option<PortalId>,
}

pub(super) fn url(client: &OAuth, settings: &Settings, ask: &Authorize<'_>) -> Url {
    let redirect = std::borrow::Cow::Owned(oauth2::RedirectUrl::from_url(settings.redirect_uri.clone()));
    let mut request = client
        .authorize_url(|| CsrfToken::new(ask.state.expose().to_owned()))
        .set_redirect_uri(redirect)
        .add_scopes(ask.scopes.iter().map(|scope| Scope::new(scope.to_owned())));
    if !ask.optional_scopes.is_empty() {
        // HubSpot's own SDKs use the singular.
        request = request.add_extra_param("optional_scope", ask.optional_scopes.to_string());
    }
    if let Some(verifier) = ask.pkce {
        let verifier = PkceCodeVerifier::new(verifier.expose().to_owned());
        request = request.set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
    }
    let (mut url, _) = request.url();
    // HubSpot's documentation and SDKs encode a space as %20; a literal plus sign is already %2B here.
    let query = url.query().unwrap_or_default().replace('+', "%20");
    url.set_query(Some(&query));
    if let Some(portal_id) = ask.portal_id {
        preselect(&mut url, portal_id);
    }
    url
}

/// Changes `/oauth/authorize` to `/oauth/{portal_id}/authorize`, so that HubSpot preselects that account.
fn preselect(url: &mut Url, portal_id: PortalId) {
    if let Some(parent) = url.path().strip_suffix("/authorize") {
        let path = format!("{parent}/{portal_id}/authorize");
        url.set_path(&path);
    }
}
