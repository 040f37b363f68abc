//! `doctor`: checks configuration, database, keys and HubSpot, and suggests fixes.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use rustix::fs::Access;
use url::Url;

use super::{Failure, configured, print_line, runtime, unfit};
use crate::config::{Config, FileMode};
use crate::domain::failure::FailureCode;
use crate::domain::secret::Secret;
use crate::hubspot::HubSpot;
use crate::keyring::Keyring;
use crate::store::{Database, IntegrityCheck, OpenError, Store};
use crate::{domain::clock::Clock, egress};

/// The timeout of a call to HubSpot.
const CHECK_TIMEOUT: Duration = Duration::from_secs(20);
const NO_ANSWER: &str = "no response within 20 s; check the network and HUBSPOT_API_URL";

const PROXIES_HINT: &str = "PUBLIC_URL is https and TRUSTED_PROXIES is empty: all clients behind the proxy share one rate limit; set \
                            TRUSTED_PROXIES to the addresses of the proxy";

const SAFARI_HINT: &str = "Safari does not keep the cookies of http://localhost; test with another browser, or set an https PUBLIC_URL";

/// A finding: the name of the check and its result.
type Finding = (&'static str, Result<String, Failure>);

pub(super) fn run() -> Result<ExitCode, Failure> {
    let config = match configured() {
        Ok(config) => config,
        Err(why) => {
            report(&("configuration", Err(why)));
            return Ok(ExitCode::FAILURE);
        }
    };
    let findings = runtime()?.block_on(async {
        let mut findings = vec![("configuration", Ok("all variables are valid".to_owned()))];
        findings.push(("database", database(&config).await));
        findings.push(("network", Ok(network(&config))));
        findings.push(("hubspot", hubspot(&config).await));
        if config.hubspot.webhooks_journal {
            findings.push(("journal", journal(&config).await));
        }
        findings.push(("redirect", redirect(&config)));
        findings.push(("origins", origins(&config)));
        findings
    });
    findings.iter().for_each(report);
    if config.server.lacks_trusted_proxies() {
        print_line(format_args!("warn  proxies: {PROXIES_HINT}"));
    }
    if config.server.is_local_http() {
        print_line(format_args!("warn  cookies: {SAFARI_HINT}"));
    }
    let healthy = findings.iter().all(|(_, finding)| finding.is_ok());
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn report((what, finding): &Finding) {
    match finding {
        Ok(fine) => print_line(format_args!("ok    {what}: {fine}")),
        Err(wrong) => print_line(format_args!("WRONG {what}: {wrong}")),
    }
}

/// Inspects the database without changing it. Changes that `serve` makes itself are not errors.
async fn database(config: &Config) -> Result<String, Failure> {
    let settings = &config.database;
    let store = match Database::inspect(settings, Clock::system()).await {
        Ok(database) => Store::over(database),
        Err(OpenError::Missing) if settings.mode != FileMode::Create => {
            return Err("the file is missing; `serve` creates it if DATABASE_URL ends in ?mode=rwc".into());
        }
        Err(OpenError::Missing) if settings.auto_migrate => {
            let folder = settings.folder().unwrap_or(Path::new("."));
            rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|why| {
                format!("the file is missing and cannot be created in {}: {why}", folder.display())
            })?;
            return Ok("the file is missing; `serve` creates it with its tables".to_owned());
        }
        Err(why) => return Err(why.into()),
    };
    let found = stored(config, &store, IntegrityCheck::Quick).await;
    store.database().close().await;
    found
}

/// Checks a database for damage, and its schema and keys.
pub(super) async fn stored(config: &Config, store: &Store, check: IntegrityCheck) -> Result<String, Failure> {
    if let Some(damage) = store.database().damage(check).await? {
        return Err(format!("the file is damaged ({damage}); stop the service and restore a backup").into());
    }
    let schema = store.database().schema_status().await?;
    if config.database.auto_migrate && schema.unknown.is_empty() && !schema.missing.is_empty() {
        let grant = store.database().missing_grant().await?;
        let missing = schema.missing.len();
        return match grant {
            Some(grant) => Err(OpenError::Grant(grant).into()),
            None => Ok(format!("reachable; `serve` applies the {missing} missing schema change(s)")),
        };
    }
    if let Some(why) = unfit(&schema) {
        return Err(why.into());
    }
    let keyring = Keyring::new(&config.security.encryption_keys, &config.security.app_secret)?;
    let used = store.platform.keys_in_use().await?;
    match used.iter().find(|(id, _)| !keyring.key_ids().contains(&id.as_str())) {
        Some((id, rows)) => {
            Err(format!("{rows} stored token(s) need key {id}; add it to ENCRYPTION_KEYS after the newest")
                .into())
        }
        None => Ok("reachable, schema complete, every stored token has its key".to_owned()),
    }
}

/// Describes the route of outgoing calls. The hosts of webhook receivers and journal files are not known here, so the
/// route to a host outside NO_PROXY stands for theirs.
fn network(config: &Config) -> String {
    let way = |url: &Url| match config.proxies.between(url) {
        Some(proxy) => format!("through {proxy}"),
        None => "directly".to_owned(),
    };
    let elsewhere = Url::parse("https://receiver.invalid").map_or(String::new(), |url| way(&url));
    let exceptions = match config.proxies.exceptions.as_str() {
        exceptions if !config.proxies.is_empty() && !exceptions.is_empty() => {
            format!(", but directly to {exceptions} (NO_PROXY)")
        }
        _ => String::new(),
    };
    let hubspot = way(&config.hubspot.api_url);
    format!("HubSpot {hubspot}; webhooks and files of the Webhooks Journal {elsewhere}{exceptions}")
}

/// Returns the service's client for HubSpot. It proxies nothing.
fn client(config: &Config) -> Result<HubSpot, Failure> {
    let http = egress::client(&config.proxies)?;
    Ok(HubSpot::new(&config.hubspot, http, &config.proxies, Clock::system())?)
}

/// Introspects a token that cannot exist: the response shows whether HubSpot accepts our credentials.
async fn hubspot(config: &Config) -> Result<String, Failure> {
    let hubspot = client(config)?;
    let probe = Secret::new("hubspot-connect-doctor".to_owned());
    let answer =
        tokio::time::timeout(CHECK_TIMEOUT, hubspot.introspect(&probe)).await.map_err(|_| NO_ANSWER)?;
    match answer.map_err(|why| why.code) {
        Ok(_) | Err(FailureCode::GrantDead) => Ok("reachable, credentials accepted".to_owned()),
        Err(FailureCode::ClientRejected) => {
            Err("HubSpot rejects the credentials; check HUBSPOT_CLIENT_ID and HUBSPOT_CLIENT_SECRET".into())
        }
        Err(code) => {
            Err(format!("{code}: no usable response from HUBSPOT_API_URL; check the network and the URL")
                .into())
        }
    }
}

/// Reads the journal as the service does, without storing anything.
async fn journal(config: &Config) -> Result<String, Failure> {
    let hubspot = client(config)?;
    let answer = tokio::time::timeout(CHECK_TIMEOUT, hubspot.check_journal()).await.map_err(|_| NO_ANSWER)?;
    let wrong = match answer.map_err(|why| why.code) {
        Ok(()) => return Ok("HubSpot lets this app read its Webhooks Journal".to_owned()),
        Err(FailureCode::JournalScopesMissing) => {
            "this app may not read its Webhooks Journal; give it the scopes that docs/marketplace.md names, or set \
             WEBHOOKS_JOURNAL=off"
        }
        Err(FailureCode::JournalAbsent) => {
            "HUBSPOT_API_URL has no Webhooks Journal (404); check the URL, or set WEBHOOKS_JOURNAL=off"
        }
        Err(FailureCode::JournalEntriesAbsent) => {
            "this app may list its subscriptions, but no entry of its Webhooks Journal was seen: HubSpot does not return the \
             latest one, and an empty journal would respond with 204; check HUBSPOT_API_URL and whether the app has a journal"
        }
        Err(code) => return Err(format!("{code}: the Webhooks Journal cannot be read").into()),
    };
    Err(wrong.into())
}

fn redirect(config: &Config) -> Result<String, Failure> {
    let uri = &config.hubspot.redirect_uri;
    let same_host = uri.host_str() == config.server.public_url.host_str();
    let by_address = uri.host().is_some_and(|host| !matches!(host, url::Host::Domain(_)));
    if by_address {
        return Err(format!(
            "HubSpot does not accept IP addresses in redirect URLs ({uri}); use a host name, `localhost` for tests"
        )
        .into());
    }
    if !same_host {
        return Err(format!(
            "{uri} is on another host than PUBLIC_URL; the browser would not send its cookies"
        )
        .into());
    }
    let install = &config.marketplace.install_url;
    let both = if config.marketplace.installs { format!("{uri} and {install}") } else { uri.to_string() };
    Ok(format!("register {both} with your HubSpot app, character for character"))
}

fn origins(config: &Config) -> Result<String, Failure> {
    match config.security.host_origins.iter().count() {
        0 => Ok("HOST_ORIGINS is empty: only this service's own pages can connect".to_owned()),
        count => Ok(format!("{count} origin(s) may open the popup")),
    }
}
