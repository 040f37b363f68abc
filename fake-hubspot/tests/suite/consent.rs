//! The consent page and its redirects to the app.

use fake_hubspot::{Decision, Kind};

use crate::http::*;

fn page(fake: &fake_hubspot::FakeHubSpot, more: &str) -> Reply {
    get(fake, &format!("/oauth/authorize?{}", authorize_query(more)))
}

fn click(fake: &fake_hubspot::FakeHubSpot, more: &str, fields: &str) -> Reply {
    let query: String = url::form_urlencoded::byte_serialize(authorize_query(more).as_bytes()).collect();
    request(fake, "POST", "/oauth/decide", FORM, &format!("query={query}&{fields}"))
}

#[tokio::test]
async fn the_consent_page_offers_accounts_scopes_and_three_decisions() {
    let fake = start(|options| options.coop = Some("same-origin".to_owned())).await;
    let reply = page(&fake, "&optional_scope=automation%20%3Cscript%3E");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("cross-origin-opener-policy"), Some("same-origin"));
    for part in [
        "simulated HubSpot",
        "acme.example",
        "globex.example",
        "initech.example",
        "&lt;script&gt;",
        "id=\"approve\"",
        "id=\"deny\"",
        "id=\"never\"",
        "id=\"fewer\"",
        "value=\"automation\" checked",
    ] {
        assert!(reply.body.contains(part), "{part} is missing");
    }
    assert!(!reply.body.contains("<script"));
    assert_eq!(get(&fake, "/__style.css").header("content-type"), Some("text/css; charset=utf-8"));
    assert_eq!(fake.calls(Kind::Authorize)[0].query["state"], "s&t");
}

#[tokio::test]
async fn consent_redirects_with_a_code() {
    let fake = start(|_| {}).await;
    let more = "&optional_scope=automation%20forms";
    let reply = click(&fake, more, &format!("decision=approve&hub_id={ACME}&optional=forms"));
    assert_eq!((reply.status, reply.header("cross-origin-opener-policy")), (302, None));
    let location = reply.header("location").expect("a redirect");
    let code = location.split(['=', '&']).nth(1).expect("a code");
    assert_eq!(exchange(&fake, code, "").json()["scopes"], serde_json::json!(["oauth", "forms"]));
}

#[tokio::test]
async fn fewer_scopes_can_be_granted() {
    let fake = start(|_| {}).await;
    let url = format!(
        "{}?{}",
        fake.authorize_url(),
        authorize_query("").replace("scope=oauth", "scope=oauth+forms")
    );
    let query = url.split_once('?').expect("a query").1;
    let query: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
    let form = format!("query={query}&decision=approve&hub_id={ACME}&fewer=1");
    let reply = request(&fake, "POST", "/oauth/decide", FORM, &form);
    let code = reply.header("location").and_then(|it| it.split(['=', '&']).nth(1)).expect("a code");
    assert_eq!(exchange(&fake, code, "").json()["scopes"], serde_json::json!(["oauth"]));
}

#[tokio::test]
async fn denial_redirects_with_an_error_and_leaving_does_not_redirect() {
    let fake = start(|_| {}).await;
    let denied = click(&fake, "", "decision=deny");
    let location = denied.header("location").expect("a redirect");
    assert!(
        location.starts_with(&format!("{CALLBACK}?error=access_denied&error_description=")),
        "{location}"
    );
    assert!(location.ends_with("&state=s%26t"), "{location}");
    let stays = click(&fake, "", "decision=never");
    assert_eq!((stays.status, stays.header("location")), (200, None));
}

#[tokio::test]
async fn some_errors_do_not_redirect() {
    let fake = start(|options| options.redirect_uris = vec![CALLBACK.to_owned()]).await;
    let good = authorize_query("");
    for (part, bad) in [("fake-client-id", "other"), ("callback", "call"), ("scope=oauth", "scope=forms")] {
        let url = format!("/oauth/authorize?{}", good.replace(part, bad));
        let reply = get(&fake, &url);
        assert_eq!((reply.status, reply.header("location")), (400, None), "{bad}");
        let approve = Decision::Approve { hub_id: ACME, scopes: None };
        assert_eq!(fake.decide(&format!("{}{url}", fake.base_url()), approve), None);
    }
    let url = format!("{}?{good}", fake.authorize_url());
    assert_eq!(fake.decide(&url, Decision::NeverReturn), None);
    assert!(fake.decide(&url, Decision::Deny).is_some());
    // An account that lacks a required scope cannot connect either.
    let url = url.replace("scope=oauth", "scope=oauth%20automation");
    assert_eq!(fake.decide(&url, Decision::Approve { hub_id: GLOBEX, scopes: None }), None);
}

#[tokio::test]
async fn accounts_drop_optional_scopes_they_lack() {
    let fake = start(|_| {}).await;
    let code = code(&fake, GLOBEX, "&optional_scope=automation+crm.objects.contacts.read");
    let scopes = exchange(&fake, &code, "").json()["scopes"].clone();
    assert_eq!(scopes, serde_json::json!(["oauth", "crm.objects.contacts.read"]));
}

#[tokio::test]
async fn account_ids_in_the_path_preselect_an_account() {
    let fake = start(|_| {}).await;
    for hub_id in [GLOBEX, 424_242] {
        let reply = get(&fake, &format!("/oauth/{hub_id}/authorize?{}", authorize_query("")));
        assert!(reply.body.contains(&format!("value=\"{hub_id}\" required checked")));
    }
}

#[tokio::test]
async fn automatic_consent_can_set_a_header_on_the_redirect() {
    let fake = start(|options| {
        options.auto_consent = Some(Decision::Approve { hub_id: ACME, scopes: Some(vec!["x".to_owned()]) });
        options.coop = Some("same-origin".to_owned());
        options.coop_on_redirect_only = true;
    })
    .await;
    let reply = page(&fake, "");
    assert_eq!((reply.status, reply.header("cross-origin-opener-policy")), (302, Some("same-origin")));
    assert!(reply.header("location").is_some_and(|it| it.starts_with(CALLBACK)));
    fake.options(|options| options.auto_consent = None);
    assert_eq!(page(&fake, "").header("cross-origin-opener-policy"), None);
}
