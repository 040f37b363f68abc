//! Bodies through the proxy: streamed in both directions, and never truncated without an error.

use crate::harness::wire::{Upstream, Wire, values};
use crate::proxy::{Backend, CONTACTS};

async fn stage() -> (Upstream, Backend) {
    let upstream = Upstream::start().await;
    let backend = Backend::before(&upstream).await;
    (upstream, backend)
}

async fn get(backend: &Backend) -> Wire {
    let mut wire = backend.wire().await;
    wire.say(backend.head(&format!("GET {}{CONTACTS}", backend.proxy()), "connection: close\r\n")).await;
    wire
}

async fn post(backend: &Backend, framing: &str) -> Wire {
    let mut wire = backend.wire().await;
    wire.say(backend.head(&format!("POST {}{CONTACTS}", backend.proxy()), framing)).await;
    wire
}

#[tokio::test(flavor = "multi_thread")]
async fn response_bodies_are_streamed() {
    let (mut upstream, backend) = stage().await;
    for framing in ["content-length: 10", "transfer-encoding: chunked", "x-until: closed"] {
        let mut wire = get(&backend).await;
        let mut call = upstream.next().await;
        call.head().await;
        let chunked = framing.contains("chunked");
        call.say(format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{framing}\r\n\r\n")).await;
        let head = wire.head().await;
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        assert_eq!(values(&head, "content-length").len(), usize::from(framing.contains("length")));
        call.say(if chunked { "5\r\nfirst\r\n" } else { "first" }).await;
        wire.hear("first").await;
        call.say(if chunked { "5\r\n last\r\n0\r\n\r\n" } else { " last" }).await;
        drop(call);
        let rest = wire.rest().await;
        assert!(rest.contains(" last"), "{rest}");
        assert_eq!(rest.ends_with("0\r\n\r\n"), !framing.contains("length"), "{rest}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_callers_get_responses_without_chunked_encoding() {
    let (mut upstream, backend) = stage().await;
    let mut wire = backend.wire().await;
    wire.say(backend.head(&format!("GET {}{CONTACTS}", backend.proxy()), "").replace("HTTP/1.1", "HTTP/1.0"))
        .await;
    let mut call = upstream.next().await;
    call.head().await;
    call.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").await;
    let answer = wire.rest().await;
    assert!(answer.ends_with("\r\n\r\nok") && !answer.contains("chunked"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn request_bodies_are_streamed() {
    let (mut upstream, backend) = stage().await;
    for framing in ["content-length: 10\r\n", "transfer-encoding: chunked\r\n"] {
        let chunked = framing.contains("chunked");
        let mut wire = post(&backend, framing).await;
        wire.say(if chunked { "5\r\nfirst\r\n" } else { "first" }).await;
        let mut call = upstream.next().await;
        let head = call.head().await;
        assert!(head.to_lowercase().contains(framing.trim_end()), "{head}");
        call.hear("first").await;
        wire.say(if chunked { "5\r\n last\r\n0\r\n\r\n" } else { " last" }).await;
        call.hear(if chunked { "5\r\n last\r\n0\r\n\r\n" } else { " last" }).await;
        call.say("HTTP/1.1 201 Created\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
        assert!(wire.head().await.starts_with("HTTP/1.1 201 "));
        wire.hear("ok").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_responses_are_not_completed() {
    let (mut upstream, backend) = stage().await;
    for (framing, part) in
        [("content-length: 100", "a part"), ("transfer-encoding: chunked", "6\r\na part\r\n")]
    {
        let mut wire = get(&backend).await;
        let mut call = upstream.next().await;
        call.head().await;
        call.say(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{part}")).await;
        wire.hear("a part").await;
        drop(call);
        let rest = wire.rest().await;
        assert!(!rest.contains("0\r\n\r\n") && rest.len() < 10, "{rest:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_request_bodies_are_not_completed() {
    let (mut upstream, backend) = stage().await;
    for (framing, part) in
        [("content-length: 100\r\n", "a part"), ("transfer-encoding: chunked\r\n", "6\r\na part\r\n")]
    {
        let mut wire = post(&backend, framing).await;
        wire.say(part).await;
        let mut call = upstream.next().await;
        call.head().await;
        call.hear("a part").await;
        drop(wire);
        let rest = call.rest().await;
        assert!(!rest.contains("0\r\n\r\n") && rest.len() < 10, "{rest:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_to_hubspot_end_when_the_caller_disconnects() {
    let (mut upstream, backend) = stage().await;
    // Before HubSpot has started to respond.
    let wire = get(&backend).await;
    let mut call = upstream.next().await;
    call.head().await;
    drop(wire);
    assert_eq!(call.rest().await, "", "it hangs up");
    // In the middle of a response that would never end.
    let mut wire = get(&backend).await;
    let mut call = upstream.next().await;
    call.head().await;
    call.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
    wire.hear("first").await;
    drop(wire);
    assert_eq!(call.rest().await, "", "it hangs up");
}

#[tokio::test(flavor = "multi_thread")]
async fn request_bodies_have_a_size_limit() {
    let (mut upstream, backend) = stage().await;
    let mut wire = post(&backend, "content-length: 67108865\r\n").await;
    assert!(wire.head().await.starts_with("HTTP/1.1 413 "));
    assert_eq!(upstream.count(), 0);
    let mut wire = post(&backend, "transfer-encoding: chunked\r\n").await;
    let mut call = upstream.next().await;
    let reading = tokio::spawn(async move { call.rest().await.len() });
    let piece = [b"100000\r\n".as_slice(), &vec![b'a'; 0x0010_0000], b"\r\n"].concat();
    for _ in 0..65 {
        if !wire.try_say(&piece).await {
            break;
        }
    }
    assert!(wire.head().await.starts_with("HTTP/1.1 413 "));
    wire.hear("proxy_body_too_large").await;
    let passed = reading.await.unwrap();
    assert!((60 << 20..66 << 20).contains(&passed), "{passed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hubspot_may_respond_before_the_request_body_ends() {
    let (mut upstream, backend) = stage().await;
    let mut wire = post(&backend, "transfer-encoding: chunked\r\n").await;
    wire.say("5\r\nfirst\r\n").await;
    let mut call = upstream.next().await;
    call.head().await;
    call.say("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno").await;
    let head = wire.head().await;
    assert!(head.starts_with("HTTP/1.1 403 ") && head.contains("hubspot-connect-origin"), "{head}");
    wire.hear("no").await;
}
