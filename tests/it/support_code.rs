//! The support code of a page leads to the cause in the log, at the default level.

use fake_hubspot::{Fault, Kind, Rule};
use serde_json::Value;

use crate::harness::app::{ACME, HOST, approve};
use crate::harness::browser::{Answer, encode};
use crate::harness::process::{Process, changed};
use crate::harness::{Browser, TestApp};

fn code_of(page: &Answer) -> String {
    let (_, rest) = page.body.split_once("<dt>Support code</dt><dd class=\"code\">").expect("a support code");
    rest.split('<').next().unwrap().to_owned()
}

/// Returns the log lines that name this request, directly or in their span.
fn lines(service: &Process, request: &str) -> Vec<Value> {
    let log = service.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["span"]["request_id"] == request).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn support_codes_appear_in_the_log_with_the_cause() {
    let (_database, variables, hubspot, _clock) = TestApp::start().await.stopped().await;
    let service = Process::serve(&changed(&variables, "LOG_FORMAT", "json"));
    let browser = Browser::new(&service.base);

    let refused =
        browser.get(&format!("/auth/hubspot/start?origin={}", encode("https://evil.example"))).await;
    let shown = lines(&service, &code_of(&refused));
    assert_eq!(shown.len(), 1, "{}", service.log());
    assert_eq!((&shown[0]["code"], &shown[0]["level"]), (&"origin_not_allowed".into(), &"INFO".into()));

    let authorize = browser.start(Some(HOST)).await;
    let back = hubspot.decide(&authorize, approve(ACME)).expect("back");
    hubspot.script(Rule::always(
        Kind::Exchange,
        Fault::Status { status: 503, headers: Vec::new(), body: String::new() },
    ));
    let done = browser.get(&back).await;
    let page = browser.get(done.location().split('#').next().unwrap()).await;
    let shown = lines(&service, &code_of(&page));
    assert_eq!(shown[0]["code"], "provider_unavailable", "{shown:?}");
    let flow = shown[0]["span"]["flow"].as_str().expect("a flow");
    // The request that failed has the same flow, also in the work that continues without the browser.
    let failed: Vec<_> = service
        .log()
        .lines()
        .filter(|line| line.contains("authorization failed"))
        .map(str::to_owned)
        .collect();
    assert_eq!(failed.len(), 1);
    let failed: Value = serde_json::from_str(&failed[0]).unwrap();
    assert_eq!(
        (failed["span"]["flow"].as_str(), failed["span"]["path"].as_str()),
        (Some(flow), Some("/auth/hubspot/callback"))
    );
}
