//! The settings of the HubSpot app: credentials, scopes, endpoints.

use std::time::Duration;

use url::Url;

use super::reader::{Reader, secrets};
use crate::domain::rate::Rate;
use crate::domain::scopes::Scopes;
use crate::domain::secret::Secret;

/// The settings of the HubSpot app.
#[derive(Debug, Clone)]
pub struct HubSpot {
    /// HUBSPOT_CLIENT_ID.
    pub client_id: String,
    /// HUBSPOT_CLIENT_SECRET: one or more secrets, in the order in which they are tried.
    pub client_secrets: Vec<Secret>,
    /// HUBSPOT_SCOPES.
    pub scopes: Scopes,
    /// HUBSPOT_OPTIONAL_SCOPES.
    pub optional_scopes: Scopes,
    /// HUBSPOT_REQUIRE_ALL_SCOPES.
    pub require_all_scopes: bool,
    /// HUBSPOT_REDIRECT_URI.
    pub redirect_uri: Url,
    /// HUBSPOT_API_VERSION.
    pub api_version: String,
    /// HUBSPOT_AUTHORIZE_URL.
    pub authorize_url: Url,
    /// HUBSPOT_API_URL.
    pub api_url: Url,
    /// HUBSPOT_PKCE.
    pub pkce: bool,
    /// HUBSPOT_ACCOUNT_RATE.
    pub account_rate: Rate,
    /// WEBHOOKS_JOURNAL.
    pub webhooks_journal: bool,
}

impl HubSpot {
    pub(super) fn read(reader: &mut Reader<'_>, public_url: &Url) -> Self {
        let client_secrets = client_secrets(reader);
        let api_version = reader
            .choice("HUBSPOT_API_VERSION", &[("2026-09", "2026-09"), ("2026-03", "2026-03"), ("v3", "v3")]);
        Self {
            client_id: reader.required("HUBSPOT_CLIENT_ID").to_owned(),
            client_secrets,
            scopes: scopes(reader),
            optional_scopes: Scopes::parse(reader.text("HUBSPOT_OPTIONAL_SCOPES")),
            require_all_scopes: reader.switch("HUBSPOT_REQUIRE_ALL_SCOPES"),
            redirect_uri: redirect_uri(reader, public_url),
            api_version: api_version.to_owned(),
            authorize_url: endpoint(reader, "HUBSPOT_AUTHORIZE_URL", public_url),
            api_url: endpoint(reader, "HUBSPOT_API_URL", public_url),
            // The name of the challenge method also means `on`.
            pkce: reader.text("HUBSPOT_PKCE").eq_ignore_ascii_case("s256") || reader.switch("HUBSPOT_PKCE"),
            account_rate: account_rate(reader),
            webhooks_journal: reader.switch("WEBHOOKS_JOURNAL"),
        }
    }
}

fn client_secrets(reader: &mut Reader<'_>) -> Vec<Secret> {
    let list = reader.required_secret("HUBSPOT_CLIENT_SECRET");
    let all = list.as_ref().map_or_else(Vec::new, |list| secrets(list, &[',']));
    if list.is_some() && all.is_empty() {
        reader.problem("HUBSPOT_CLIENT_SECRET", "contains no secret");
    }
    all
}

fn scopes(reader: &mut Reader<'_>) -> Scopes {
    let scopes = Scopes::parse(reader.text("HUBSPOT_SCOPES"));
    if !scopes.iter().any(|scope| scope == "oauth") {
        reader.problem("HUBSPOT_SCOPES", "must contain the scope `oauth`: HubSpot requires it of every app");
    }
    scopes
}

fn redirect_uri(reader: &mut Reader<'_>, public_url: &Url) -> Url {
    let mut usual = public_url.clone();
    usual.set_path("/auth/hubspot/callback");
    match reader.text("HUBSPOT_REDIRECT_URI") {
        "" => usual,
        _ => reader.url("HUBSPOT_REDIRECT_URI").unwrap_or(usual),
    }
}

fn account_rate(reader: &mut Reader<'_>) -> Rate {
    let rate = reader.text("HUBSPOT_ACCOUNT_RATE").parse();
    rate.unwrap_or_else(|_| {
        reader.problem("HUBSPOT_ACCOUNT_RATE", "must be calls and seconds such as 110/10");
        Rate { calls: 110, interval: Duration::from_secs(10) }
    })
}

fn endpoint(reader: &mut Reader<'_>, name: &str, stand_in: &Url) -> Url {
    reader.url(name).unwrap_or_else(|| stand_in.clone())
}
