//! The proxy when HubSpot rejects a token, or rate limits calls.

use fake_hubspot::{Fault, Kind, Rule};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::browser::problem_of;
use crate::harness::{eventually, sql};
use crate::proxy::{Backend, CONTACTS, contact};

#[tokio::test(flavor = "multi_thread")]
async fn rejected_tokens_are_refreshed_and_idempotent_calls_repeated() {
    let backend = Backend::start().await;
    let hubspot = &backend.app.hubspot;
    backend.app.advance(60);
    for method in [Method::GET, Method::HEAD] {
        backend.app.advance(60);
        hubspot.forget_access_tokens();
        hubspot.clear_journal();
        assert_eq!(backend.call(method, CONTACTS, Value::Null).await.status, 200);
        assert_eq!((hubspot.calls(Kind::Crm).len(), hubspot.calls(Kind::Refresh).len()), (2, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_calls_get_the_401_and_the_next_call_a_new_token() {
    let backend = Backend::start().await;
    let hubspot = &backend.app.hubspot;
    backend.app.advance(60);
    hubspot.forget_access_tokens();
    let refused = backend.call(Method::POST, CONTACTS, contact(1)).await;
    assert_eq!((refused.status, refused.header("hubspot-connect-origin")), (401, "hubspot"));
    assert_eq!(refused.json()["category"], "INVALID_AUTHENTICATION");
    assert_eq!(hubspot.calls(Kind::Crm).len(), 1, "it is not made again");
    eventually("a new token is there", || async { backend.app.database.generation().await == 2 }).await;
    assert_eq!(backend.call(Method::POST, CONTACTS, contact(1)).await.status, 201);
    assert_eq!(hubspot.calls(Kind::Refresh).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_401s_cause_one_refresh() {
    let backend = Backend::start().await;
    let hubspot = &backend.app.hubspot;
    hubspot.options(|options| options.calls_per_ten_seconds = 0);
    backend.app.advance(60);
    hubspot.forget_access_tokens();
    let calls = (0..50).map(|_| backend.get(CONTACTS));
    let answers = at_once(calls).await;
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
    assert_eq!(hubspot.calls(Kind::Refresh).len(), 1);
    assert!(hubspot.calls(Kind::Crm).len() <= 100);
}

/// Returns the statuses of concurrent calls.
async fn at_once(
    calls: impl Iterator<Item = impl Future<Output = crate::harness::browser::Answer>>,
) -> Vec<u16> {
    let mut calls: Vec<_> = calls.map(Box::pin).collect();
    let mut statuses = Vec::new();
    std::future::poll_fn(|context| {
        calls.retain_mut(|call| match call.as_mut().poll(context) {
            std::task::Poll::Ready(answer) => {
                statuses.push(answer.status);
                false
            }
            std::task::Poll::Pending => true,
        });
        if calls.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_401s_do_not_cause_repeated_refreshes() {
    let backend = Backend::start().await;
    let hubspot = &backend.app.hubspot;
    hubspot.options(|options| options.calls_per_ten_seconds = 0);
    let refusal = Fault::Status { status: 401, headers: Vec::new(), body: "{}".to_owned() };
    hubspot.script(Rule::always(Kind::Crm, refusal));
    backend.app.advance(60);
    // 29 seconds of it.
    for _ in 0..30 {
        assert_eq!(backend.get(CONTACTS).await.status, 401);
        assert_eq!(backend.call(Method::POST, CONTACTS, contact(1)).await.status, 401);
        backend.app.clock.advance(std::time::Duration::from_millis(970));
    }
    assert_eq!(hubspot.calls(Kind::Refresh).len(), 1);
    backend.app.advance(2);
    backend.get(CONTACTS).await;
    assert_eq!(hubspot.calls(Kind::Refresh).len(), 2, "half a minute later it is tried again");
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limits_cover_all_connections_of_an_account() {
    let backend = Backend::with(&[("HUBSPOT_ACCOUNT_RATE", "3/10")]).await;
    let app = &backend.app;
    app.connected(crate::harness::app::ACME).await;
    let others = format!("{} WHERE id <> '{}'", sql::CONNECTIONS, backend.connection);
    let other = app.database.text_in(&others, sql::ID).await;
    for connection in [&backend.connection, &other, &backend.connection] {
        assert_eq!(backend.call_for(connection, Method::GET, CONTACTS, Value::Null).await.status, 200);
    }
    for connection in [&backend.connection, &other] {
        let refused = backend.call_for(connection, Method::GET, CONTACTS, Value::Null).await;
        assert_eq!((refused.status, problem_of(&refused).as_str()), (429, "account_rate_limited"));
        assert_eq!((refused.header("retry-after"), refused.header("hubspot-connect-origin")), ("10", ""));
    }
    assert_eq!(app.hubspot.calls(Kind::Crm).len(), 3, "HubSpot was not asked");
    let search = backend.call(Method::POST, &format!("{CONTACTS}/search"), json!({})).await;
    assert_eq!(search.status, 200, "searches are counted apart");
    app.advance(9);
    assert_eq!(backend.get(CONTACTS).await.status, 200, "a second is waited for");
    app.advance(1);
    assert_eq!(backend.get(CONTACTS).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_are_limited_to_five_per_second_and_wait_their_turn() {
    let backend = Backend::start().await;
    backend.app.hubspot.options(|options| options.searches_per_second = 0);
    let path = format!("{CONTACTS}/search");
    let answers = at_once((0..20).map(|_| backend.call(Method::POST, &path, json!({})))).await;
    let refused = answers.iter().filter(|status| **status == 429).count();
    // Five go at once, five after a second and five after two.
    assert_eq!((answers.len(), refused), (20, 5));
    assert_eq!(backend.app.hubspot.calls(Kind::CrmSearch).len(), 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn lower_limits_are_learned_from_response_headers() {
    let backend = Backend::start().await;
    backend.app.hubspot.options(|options| options.calls_per_ten_seconds = 2);
    assert_eq!(backend.get(CONTACTS).await.status, 200);
    assert_eq!(backend.get(CONTACTS).await.status, 200);
    let refused = backend.get(CONTACTS).await;
    assert_eq!((refused.status, problem_of(&refused).as_str()), (429, "account_rate_limited"));
    assert_eq!(backend.app.hubspot.calls(Kind::Crm).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_429_of_hubspot_are_returned_and_honored() {
    let backend = Backend::start().await;
    for (headers, body, seconds) in [
        (vec![("retry-after".to_owned(), "7".to_owned())], "{}", 7),
        (Vec::new(), r#"{"policyName":"TEN_SECONDLY_ROLLING"}"#, 10),
        (Vec::new(), r#"{"policyName":"DAILY"}"#, 60),
    ] {
        let fault = Fault::Status { status: 429, headers, body: body.to_owned() };
        backend.app.hubspot.script(Rule::once(Kind::Crm, fault));
        let first = backend.get(CONTACTS).await;
        assert_eq!(
            (first.status, first.body.as_str(), first.header("hubspot-connect-origin")),
            (429, body, "hubspot")
        );
        let asked = backend.app.hubspot.calls(Kind::Crm).len();
        let second = backend.get(CONTACTS).await;
        assert_eq!((second.status, second.header("retry-after")), (429, seconds.to_string().as_str()));
        assert_eq!(backend.app.hubspot.calls(Kind::Crm).len(), asked);
        backend.app.advance(seconds);
        assert_eq!(backend.get(CONTACTS).await.status, 200);
    }
}
