//! Contacts, for tests of clients that call for an account.

use fake_hubspot::{Decision, FakeHubSpot, Fault, Kind, Rule};
use serde_json::{Value, json};

use crate::http::*;

const CONTACTS: &str = "/crm/v3/objects/contacts";

/// Returns an access token with the scopes to read and write contacts.
fn token(fake: &FakeHubSpot, hub_id: u64) -> String {
    let query = authorize_query("")
        .replace("scope=oauth", "scope=oauth%20crm.objects.contacts.read%20crm.objects.contacts.write");
    let url = format!("{}?{query}", fake.authorize_url());
    let back = fake.decide(&url, Decision::Approve { hub_id, scopes: None }).expect("a redirect");
    let code = back.split("code=").nth(1).and_then(|rest| rest.split('&').next()).expect("a code");
    exchange(fake, code, "").word("access_token")
}

fn call(fake: &FakeHubSpot, token: &str, method: &str, path: &str, body: &Value) -> Reply {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    request(
        fake,
        method,
        path,
        &format!("authorization: Bearer {token}\r\ncontent-type: application/json\r\n"),
        &body,
    )
}

fn contact(number: usize) -> Value {
    json!({ "properties": { "email": format!("p{number}@acme.example"), "firstname": format!("P{number}") } })
}

#[tokio::test]
async fn contacts_are_created_read_updated_and_deleted() {
    let fake = start(|_| {}).await;
    let token = token(&fake, ACME);
    let made = call(&fake, &token, "POST", CONTACTS, &contact(1));
    assert_eq!((made.status, &made.json()["properties"]["email"]), (201, &json!("p1@acme.example")));
    assert_eq!(made.header("x-hubspot-ratelimit-remaining"), Some("109"));
    let path = format!("{CONTACTS}/{}", made.word("id"));
    assert_eq!(call(&fake, &token, "POST", CONTACTS, &contact(1)).status, 409);
    let changed = call(&fake, &token, "PATCH", &path, &json!({ "properties": { "lastname": "Lovelace" } }));
    assert_eq!((changed.status, &changed.json()["properties"]["lastname"]), (200, &json!("Lovelace")));
    let read = call(&fake, &token, "GET", &format!("{path}?properties=lastname"), &Value::Null);
    assert_eq!(read.json()["properties"]["lastname"], "Lovelace");
    assert!(read.json()["properties"]["email"].is_null());
    assert_eq!(call(&fake, &token, "DELETE", &path, &Value::Null).status, 204);
    assert_eq!(call(&fake, &token, "GET", &path, &Value::Null).status, 404);
    assert_eq!(call(&fake, &token, "POST", CONTACTS, &json!({ "nothing": 1 })).status, 400);
    assert_eq!(call(&fake, &token, "PUT", CONTACTS, &contact(2)).status, 405);
}

#[tokio::test]
async fn contacts_are_listed_and_searched_per_account() {
    let fake = start(|_| {}).await;
    let [acme, other] = [token(&fake, ACME), token(&fake, 2_222_222)];
    for number in 0..5 {
        call(&fake, &acme, "POST", CONTACTS, &contact(number));
    }
    let first = call(&fake, &acme, "GET", &format!("{CONTACTS}?limit=3"), &Value::Null).json();
    let after = first["paging"]["next"]["after"].as_str().expect("another page");
    let second = call(&fake, &acme, "GET", &format!("{CONTACTS}?limit=3&after={after}"), &Value::Null).json();
    assert_eq!(
        (first["results"].as_array().map(Vec::len), second["results"].as_array().map(Vec::len)),
        (Some(3), Some(2))
    );
    assert!(second["paging"].is_null());
    let by_mail = json!({ "filterGroups": [{ "filters": [{ "propertyName": "email", "operator": "EQ", "value": "p4@acme.example" }] }] });
    let found = call(&fake, &acme, "POST", &format!("{CONTACTS}/search"), &by_mail);
    assert_eq!(
        (&found.json()["total"], &found.json()["results"][0]["properties"]["firstname"]),
        (&json!(1), &json!("P4"))
    );
    assert_eq!(found.header("x-hubspot-ratelimit-max"), None);
    assert_eq!(call(&fake, &other, "POST", &format!("{CONTACTS}/search"), &by_mail).json()["total"], 0);
    assert_eq!(call(&fake, &other, "GET", CONTACTS, &Value::Null).json()["results"], json!([]));
}

#[tokio::test]
async fn every_listed_account_has_sample_contacts() {
    let fake = start(|options| options.sample_contacts = true).await;
    for (hub_id, emails) in [
        (ACME, json!(["maria@acme.example", "brian@acme.example"])),
        (GLOBEX, json!(["maria@globex.example", "brian@globex.example"])),
        (424_242, json!([])),
    ] {
        let token = token(&fake, hub_id);
        let list = call(&fake, &token, "GET", CONTACTS, &Value::Null).json();
        let contacts = list["results"].as_array().expect("contacts");
        let listed: Vec<&Value> = contacts.iter().map(|contact| &contact["properties"]["email"]).collect();
        assert_eq!(json!(listed), emails);
        assert_eq!(call(&fake, &token, "POST", CONTACTS, &contact(1)).status, 201);
    }
}

#[tokio::test]
async fn missing_expired_and_underscoped_tokens_are_refused() {
    let fake = start(|_| {}).await;
    assert_eq!(get(&fake, CONTACTS).json()["category"], "INVALID_AUTHENTICATION");
    let plain = exchange(&fake, &code(&fake, ACME, ""), "").word("access_token");
    let refused = call(&fake, &plain, "GET", CONTACTS, &Value::Null);
    assert_eq!((refused.status, &refused.json()["category"]), (403, &json!("MISSING_SCOPES")));
    fake.options(|options| options.access_token_seconds = -7);
    let expired = call(&fake, &token(&fake, ACME), "GET", CONTACTS, &Value::Null);
    assert_eq!((expired.status, &expired.json()["category"]), (401, &json!("EXPIRED_AUTHENTICATION")));
    assert!(expired.word("message").contains("expired 7 second(s) ago"), "{expired:?}");
    assert!(expired.json()["context"]["expire time"].is_array());
    fake.options(|options| options.access_token_seconds = 1800);
    let good = token(&fake, ACME);
    assert_eq!(call(&fake, &good, "GET", CONTACTS, &Value::Null).status, 200);
    fake.forget_access_tokens();
    assert_eq!(call(&fake, &good, "GET", CONTACTS, &Value::Null).status, 401);
    assert_eq!(call(&fake, &token(&fake, ACME), "GET", CONTACTS, &Value::Null).status, 200);
}

#[tokio::test]
async fn calls_and_searches_have_separate_rate_limits() {
    let fake = start(|options| (options.calls_per_ten_seconds, options.searches_per_second) = (2, 1)).await;
    let [acme, other] = [token(&fake, ACME), token(&fake, 2_222_222)];
    let list = |token| call(&fake, token, "GET", CONTACTS, &Value::Null);
    let statuses: Vec<u16> = (0..3).map(|_| list(&acme).status).collect();
    assert_eq!(statuses, [200, 200, 429]);
    let refused = list(&acme).json();
    assert_eq!(
        (&refused["policyName"], &refused["errorType"]),
        (&json!("TEN_SECONDLY_ROLLING"), &json!("RATE_LIMIT"))
    );
    assert_eq!(list(&other).status, 200);
    let search = call(&fake, &acme, "POST", &format!("{CONTACTS}/search"), &json!({}));
    assert_eq!(search.status, 200);
}

#[tokio::test]
async fn contact_calls_follow_scripted_faults() {
    let fake = start(|_| {}).await;
    let token = token(&fake, ACME);
    let fault = Fault::Status {
        status: 502,
        headers: vec![("retry-after".to_owned(), "3".to_owned())],
        body: "no".to_owned(),
    };
    fake.script(Rule::once(Kind::Crm, fault));
    let broken = call(&fake, &token, "GET", CONTACTS, &Value::Null);
    assert_eq!((broken.status, broken.header("retry-after"), broken.body.as_str()), (502, Some("3"), "no"));
    assert_eq!(call(&fake, &token, "GET", CONTACTS, &Value::Null).status, 200);
}
