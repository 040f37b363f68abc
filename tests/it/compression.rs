//! Compression of public responses, and of no others.

use std::io::Read;

use flate2::read::GzDecoder;

use crate::harness::app::ACME;
use crate::harness::{Browser, TestApp};

/// Returns the body as sent, with its coding and its ETag.
async fn fetch(browser: &Browser, path: &str, coding: &str, known: &str) -> (u16, String, String, Vec<u8>) {
    let request = browser.request(reqwest::Method::GET, path).header("accept-encoding", coding);
    let answer = request.header("if-none-match", known).send().await.expect("an answer");
    let header =
        |name: &str| answer.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let (status, coding, tag) = (answer.status().as_u16(), header("content-encoding"), header("etag"));
    (status, coding, tag, answer.bytes().await.expect("a body").to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn public_texts_are_compressed_without_loss() {
    let app = TestApp::start().await;
    let browser = app.browser();
    for path in ["/static/sdk/hubspot-connect.js", "/static/app.css", "/api/openapi.json", "/api/docs"] {
        let (status, coding, tag, plain) = fetch(&browser, path, "identity", "").await;
        assert_eq!((status, coding.as_str()), (200, ""), "{path}");
        let (status, coding, other_tag, bytes) = fetch(&browser, path, "gzip, deflate, br", "").await;
        assert_eq!((status, coding.as_str()), (200, "gzip"), "{path}");
        assert!(bytes.len() * 2 < plain.len(), "{path}: {} of {}", bytes.len(), plain.len());
        let mut text = Vec::new();
        GzDecoder::new(bytes.as_slice()).read_to_end(&mut text).expect("gzip");
        assert_eq!(text, plain, "{path}");
        assert_ne!(tag, other_tag, "{path}");
        for (known, expected) in
            [(tag.clone(), 200), (format!("W/{other_tag}"), 304), (format!("{tag}, {other_tag}"), 304)]
        {
            assert_eq!(fetch(&browser, path, "gzip", &known).await.0, expected, "{path} {known}");
        }
        let refused = fetch(&browser, path, "gzip;q=0", "").await;
        assert_eq!(refused.1, "", "{path}");
    }
    let sdk = fetch(&browser, "/static/sdk/hubspot-connect.js", "gzip", "").await.3.len();
    assert!(sdk < 8_000, "{sdk}");
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_that_may_hold_secrets_are_not_compressed() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    for path in ["/", "/logout", "/api/hubspot/status", "/auth/hubspot/done", "/connect", "/nowhere"] {
        let (_, coding, _, body) = fetch(&browser, path, "gzip, br", "").await;
        assert_eq!(coding, "", "{path}");
        assert!(!body.is_empty(), "{path}");
    }
}
