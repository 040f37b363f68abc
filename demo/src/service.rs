//! The service itself, configured like an operator's, by variables alone.

use std::path::Path;

use fake_hubspot::FakeHubSpot;
use hubspot_connect::app::App;
use hubspot_connect::config::{Config, Variables};
use hubspot_connect::domain::api_key::{ApiScope, ApiScopes, new_key};
use hubspot_connect::domain::clock::Clock;
use hubspot_connect::domain::id::ApiKeyId;
use hubspot_connect::domain::project::ProjectId;
use hubspot_connect::domain::random::Random;
use hubspot_connect::domain::secret::Secret;
use hubspot_connect::keyring::Keyring;
use hubspot_connect::store::ApiKey;
use hubspot_connect::telemetry;

use crate::Failure;
use crate::options::Options;

/// Builds the service with keys that live as long as the demo.
pub async fn build(options: &Options, hubspot: &FakeHubSpot, folder: &Path) -> Result<App, Failure> {
    let file = format!("sqlite://{}?mode=rwc", folder.join("demo.db").display());
    let pairs = [
        ("HUBSPOT_CLIENT_ID", "fake-client-id".to_owned()),
        ("HUBSPOT_CLIENT_SECRET", "fake-client-secret".to_owned()),
        ("HUBSPOT_SCOPES", "oauth crm.objects.contacts.read crm.objects.contacts.write".to_owned()),
        ("HUBSPOT_OPTIONAL_SCOPES", "automation".to_owned()),
        ("HUBSPOT_AUTHORIZE_URL", hubspot.authorize_url()),
        ("HUBSPOT_API_URL", hubspot.base_url()),
        ("ENCRYPTION_KEYS", Keyring::generate().expose().to_owned()),
        ("APP_SECRET", Secret::random(&Random::system()).expose().to_owned()),
        ("DATABASE_URL", options.database.clone().unwrap_or(file)),
        ("SERVER_ADDR", format!("127.0.0.1:{}", options.port)),
        ("PUBLIC_URL", options.public_url()),
        ("APP_NAME", "Acme Reports".to_owned()),
        ("ADMIN_ADDR", "off".to_owned()),
        ("HOST_ORIGINS", options.host_origins()),
        ("TOKEN_DELIVERY", options.token_delivery.clone()),
        ("SESSION_IDLE_SECONDS", options.session_seconds.to_string()),
        ("MARKETPLACE_INSTALLS", "on".to_owned()),
        ("RATE_LIMIT_START_PER_MINUTE", "0".to_owned()),
        ("RATE_LIMIT_UNVERIFIED_START_PER_MINUTE", "0".to_owned()),
        // The demo's backends run on this machine.
        ("WEBHOOK_ALLOWED_HOSTS", "127.0.0.1,localhost".to_owned()),
        ("LOG_LEVEL", options.log_level.clone()),
    ];
    let pairs = pairs.into_iter().map(|(name, value)| (name.to_owned(), value));
    let config = Config::read(&Variables::from_pairs(pairs))?;
    telemetry::logs::install(&config.logging)?;
    Ok(App::build(config, Clock::system(), Random::system()).await?)
}

/// Creates an API key with all scopes, for a backend of the host.
pub async fn api_key(service: &App) -> Result<Secret, Failure> {
    let random = Random::system();
    let id = ApiKeyId::random(&random);
    let secret = new_key(id, &random);
    let key = ApiKey {
        id,
        // A demo on a persistent server may be started many times.
        name: id.to_string(),
        key_hash: secret.hash(),
        scopes: ApiScopes(ApiScope::ALL.to_vec()),
        created_at: Clock::system().now(),
        last_used_at: None,
        revoked_at: None,
        project_id: ProjectId::default(),
    };
    service.store().platform.insert_api_key(key).await?;
    Ok(secret)
}
