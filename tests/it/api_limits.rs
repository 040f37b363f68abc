//! The rate limits of API keys, and the headers that report them.

use reqwest::Method;

use crate::harness::TestApp;
use crate::harness::browser::Answer;

const PATH: &str = "/api/hubspot/api-key";

async fn ask(app: &TestApp, key: &str) -> Answer {
    app.api(key, Method::GET, PATH, None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limit_headers_show_the_remaining_calls_and_retry_after() {
    let app = TestApp::with(&[("RATE_LIMIT_API_PER_MINUTE", "2")]).await;
    let key = app.api_key("proxy").await;
    let first = ask(&app, &key).await;
    assert_eq!((first.status, first.header("ratelimit-policy")), (200, "\"default\";q=2;w=60"));
    assert_eq!(first.header("ratelimit"), "\"default\";r=1;t=60");
    app.advance(20);
    assert_eq!(ask(&app, &key).await.header("ratelimit"), "\"default\";r=0;t=40");
    let refused = ask(&app, &key).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (429, Some("rate_limited_key")));
    assert_eq!((refused.header("retry-after"), refused.header("ratelimit")), ("40", "\"default\";r=0;t=40"));
    assert_eq!(refused.json()["retryable"], true);
    // Another key is not affected.
    assert_eq!(ask(&app, &app.api_key("proxy").await).await.status, 200);
    app.advance(40);
    assert_eq!(ask(&app, &key).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_rate_limit_no_headers_are_sent() {
    let app = TestApp::with(&[("RATE_LIMIT_API_PER_MINUTE", "0")]).await;
    let key = app.api_key("proxy").await;
    for _ in 0..5 {
        let answer = ask(&app, &key).await;
        assert_eq!(
            (answer.status, answer.header("ratelimit"), answer.header("ratelimit-policy")),
            (200, "", "")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_are_rate_limited_and_valid_keys_still_pass() {
    let app = TestApp::with(&[("RATE_LIMIT_WRONG_KEYS_PER_MINUTE", "1")]).await;
    let good = app.api_key("proxy").await;
    let first = ask(&app, "hsc_key_00000000_wrong").await;
    assert_eq!(
        (first.status, first.header("ratelimit")),
        (401, ""),
        "an unknown caller has no rate limit of its own"
    );
    let mut last = first;
    for guess in 0..20 {
        last = ask(&app, &format!("hsc_key_00000000_wrong{guess}")).await;
    }
    assert_eq!((last.status, last.json()["code"].as_str()), (429, Some("rate_limited")));
    assert_eq!(last.header("retry-after"), "60");
    assert_eq!(ask(&app, &good).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_without_an_api_key_have_no_rate_limit_headers() {
    let app = TestApp::start().await;
    for path in ["/livez", "/api/hubspot/status", "/api/openapi.json", PATH] {
        let answer = app.browser().get(path).await;
        assert_eq!((answer.header("ratelimit"), answer.header("ratelimit-policy")), ("", ""), "{path}");
    }
}
