//! `examples/hubspot-app`: the HubSpot app that the documents upload fits the default configuration.

use std::path::Path;

use hubspot_connect::config::{Config, HubSpot, Variables};
use hubspot_connect::keyring::Keyring;
use serde_json::{Value, json};

fn read(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hubspot-app").join(file);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Returns the settings of `.env.example`, with credentials filled in.
fn defaults() -> HubSpot {
    let keys = Keyring::generate();
    let pairs = [
        ("HUBSPOT_CLIENT_ID", "id"),
        ("HUBSPOT_CLIENT_SECRET", "secret"),
        ("ENCRYPTION_KEYS", keys.expose()),
        ("APP_SECRET", "an application secret that is long enough"),
    ];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Config::read(&Variables::from_pairs(pairs)).unwrap().hubspot
}

#[test]
fn the_example_app_has_the_redirect_url_and_the_scopes_of_the_default_configuration() {
    let (app, defaults) = (read("src/app/app-hsmeta.json"), defaults());
    assert_eq!(app["type"], "app");
    let auth = &app["config"]["auth"];
    assert_eq!(auth["type"], "oauth");
    assert_eq!(auth["redirectUrls"], json!([defaults.redirect_uri.as_str()]));
    assert_eq!(auth["requiredScopes"], json!(defaults.scopes));
    assert_eq!(auth["optionalScopes"], json!(defaults.optional_scopes));
}

#[test]
fn the_project_of_the_example_app_leads_to_its_files() {
    let project = read("hsproject.json");
    assert_eq!(project["srcDir"], "src");
    assert!(project["name"].is_string() && project["platformVersion"].is_string(), "{project}");
}
