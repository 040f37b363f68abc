//! Bodies through the proxy: a piece at a time in both directions, and never a part that looks like the whole.

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
async fn the_first_piece_of_an_answer_arrives_before_the_last_is_sent() {
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
async fn a_caller_of_http_1_0_gets_an_answer_without_chunks() {
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
async fn the_first_piece_of_a_body_arrives_before_the_last_is_sent() {
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
async fn an_answer_that_breaks_off_is_not_passed_back_as_a_whole_one() {
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
async fn a_body_that_breaks_off_is_not_passed_on_as_a_whole_one() {
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
async fn when_the_caller_goes_away_the_call_to_hubspot_ends() {
    let (mut upstream, backend) = stage().await;
    // Before HubSpot has begun to answer.
    let wire = get(&backend).await;
    let mut call = upstream.next().await;
    call.head().await;
    drop(wire);
    assert_eq!(call.rest().await, "", "it hangs up");
    // In the midst of an answer that would never end.
    let mut wire = get(&backend).await;
    let mut call = upstream.next().await;
    call.head().await;
    call.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
    wire.hear("first").await;
    drop(wire);
    assert_eq!(call.rest().await, "", "it hangs up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_may_be_large_but_not_endless() {
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
async fn hubspot_may_answer_before_it_has_the_whole_body() {
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
