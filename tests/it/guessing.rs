//! A thousand guesses in a row: they match nothing, reveal nothing, and lock no other client out.

use std::collections::BTreeSet;
use std::time::Instant;

use hubspot_connect::domain::random::Random;
use hubspot_connect::domain::secret::Secret;
use reqwest::Method;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::harness::app::HOST;
use crate::harness::browser::Answer;
use crate::harness::page::{Page, connected, text};
use crate::harness::{Browser, TestApp};

const KEY: &str = "/api/hubspot/api-key";
const PARALLEL_CLIENTS: usize = 8;
const EACH: usize = 125;

fn random() -> String {
    Secret::random(&Random::system()).expose().to_owned()
}

/// Returns a response without the parts that are specific to this request.
fn comparable(answer: &Answer) -> String {
    let mut body: Value = answer.json();
    body["request_id"] = Value::Null;
    format!("{} {body}", answer.status)
}

/// Sends a thousand guesses from one address, several concurrently; returns all responses.
async fn guesses(app: &TestApp, guess: fn(&Browser, usize) -> reqwest::RequestBuilder) -> Vec<Answer> {
    let mut guessing = JoinSet::new();
    for _ in 0..PARALLEL_CLIENTS {
        let guesser = app.browser();
        guessing.spawn(async move {
            let mut answers = Vec::new();
            for number in 0..EACH {
                let request = guess(&guesser, number);
                answers.push(guesser.send(request).await);
            }
            answers
        });
    }
    guessing.join_all().await.into_iter().flatten().collect()
}

/// Sends a key of the right form, and every tenth time a malformed one.
fn guess_key(guesser: &Browser, number: usize) -> reqwest::RequestBuilder {
    let key = if number.is_multiple_of(10) { random() } else { format!("hsc_key_{number:08x}_{}", random()) };
    guesser.request(Method::GET, KEY).bearer_auth(key)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_wrong_keys_are_rate_limited_and_a_valid_key_passes() {
    let app = TestApp::with(&[("RATE_LIMIT_WRONG_KEYS_PER_MINUTE", "30")]).await;
    let good = app.api_key("proxy").await;
    let began = Instant::now();
    let welcome = async {
        for _ in 0..100 {
            let answer = app.api(&good, Method::GET, KEY, None).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
    };

    let (answers, ()) = tokio::join!(guesses(&app, guess_key), welcome);

    // A burst of ten, and one more every two seconds.
    let most = 10 + began.elapsed().as_secs() as usize / 2 + 1;
    let refused = answers.iter().filter(|answer| answer.status == 401).count();
    assert!((10..=most).contains(&refused), "{refused} of {most}");
    assert_eq!(answers.len(), PARALLEL_CLIENTS * EACH);
    assert!(answers.iter().all(|answer| matches!(answer.status, 401 | 429)));
    let words: BTreeSet<String> = answers.iter().map(comparable).collect();
    assert_eq!(words.len(), 2, "every guess gets the same response: {words:?}");
    assert_eq!(app.api(&good, Method::GET, KEY, None).await.status, 200);
}

fn guess_verifier(guesser: &Browser, _: usize) -> reqwest::RequestBuilder {
    guesser
        .request(Method::GET, "/api/hubspot/status")
        .header("origin", HOST)
        .header("hubspot-connect-verifier", random())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_wrong_verifiers_match_no_flow_and_disturb_no_other() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    connected(&app, &page, &popup).await;
    let before = page.poll().await.json();

    let answers = guesses(&app, guess_verifier).await;

    let words: BTreeSet<String> = answers.iter().map(comparable).collect();
    assert_eq!(words.len(), 1, "every guess gets the same response: {words:?}");
    assert!(answers.iter().all(|answer| answer.status == 404 && answer.cookies().is_empty()));
    assert_eq!(page.poll().await.json(), before);
    let redeemed = page.redeem(&text(&before["flow"]), &text(&before["pickup_code"])).await;
    assert!(redeemed.json()["access_token"].is_string(), "{}", redeemed.body);
}
