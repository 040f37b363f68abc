//! Pages that wait for the outcome of their flow: the memory of one, and the latency of its response.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::Failure;
use crate::http::{Answer, Connection};
use crate::servers::{HOST, Service};

/// The cost of waiting pages.
pub struct Waiting {
    /// Resident memory in KiB per waiting page.
    pub kib_each: f64,
    /// The times from the request that changes a flow to the response to the waiting page, sorted.
    pub spans: Vec<Duration>,
}

impl Waiting {
    /// Returns a percentile.
    pub fn percentile(&self, percent: usize) -> Duration {
        self.spans[(self.spans.len() * percent / 100).min(self.spans.len() - 1)]
    }
}

/// Lets this many pages wait, then ends the flows of some, one after another.
pub async fn measure(service: &Service, pages: usize, woken: usize) -> Result<Waiting, Failure> {
    let port = service.0.port;
    let mut control = Connection::open(port).await?;
    // Flows and connections exist before the memory is measured: only the waiting counts.
    let mut waiting = Vec::with_capacity(pages);
    for number in 0..pages {
        waiting.push(begin(&mut control, port, number).await?);
    }
    let before = service.0.resident_kib()?;
    let (answers, mut answered) = mpsc::channel(pages.max(1));
    let mut flows = Vec::with_capacity(pages);
    let mut tasks = tokio::task::JoinSet::new();
    for Page { mut connection, verifier, flow, tag } in waiting {
        flows.push((flow, verifier.clone()));
        let answers = answers.clone();
        tasks.spawn(async move {
            // The service responds after 25 seconds at the latest, and then the page polls again.
            loop {
                let headers = format!("hubspot-connect-verifier: {verifier}\r\nif-none-match: {tag}\r\n");
                let path = "/api/hubspot/status?wait=25";
                let status =
                    connection.send("GET", path, &headers, "").await.map_or(0, |answer| answer.status);
                if status != 304 {
                    let _ = answers.send((Instant::now(), status)).await;
                    return;
                }
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = service.0.resident_kib()?;
    let mut spans = Vec::with_capacity(woken);
    for (flow, verifier) in flows.iter().take(woken) {
        let started = Instant::now();
        let headers = format!(
            "hubspot-connect-verifier: {verifier}\r\norigin: {HOST}\r\ncontent-type: application/json\r\n"
        );
        let body = format!("{{\"flow\":\"{flow}\"}}");
        expect(control.send("POST", "/api/hubspot/cancel", &headers, &body).await?, 200)?;
        let (at, status) = answered.recv().await.ok_or("no page got a response")?;
        if status != 200 {
            return Err(format!("a waiting page was answered with {status}").into());
        }
        spans.push(at.saturating_duration_since(started));
    }
    tasks.shutdown().await;
    spans.sort_unstable();
    Ok(Waiting { kib_each: after.saturating_sub(before) as f64 / pages as f64, spans })
}

struct Page {
    connection: Connection,
    verifier: String,
    flow: String,
    tag: String,
}

async fn begin(control: &mut Connection, port: u16, number: usize) -> Result<Page, Failure> {
    let verifier = format!("{number:0>43}");
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
    let form = format!("origin={}&challenge={challenge}", HOST.replace(':', "%3A").replace('/', "%2F"));
    let headers = format!("origin: {HOST}\r\ncontent-type: application/x-www-form-urlencoded\r\n");
    expect(control.send("POST", "/auth/hubspot/start", &headers, &form).await?, 200)?;
    let mut connection = Connection::open(port).await?;
    let headers = format!("hubspot-connect-verifier: {verifier}\r\n");
    let answer = expect(connection.send("GET", "/api/hubspot/status", &headers, "").await?, 200)?;
    let tag = answer.headers("etag").next().ok_or("no etag")?.to_owned();
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    let (_, rest) = body.split_once("\"flow\":\"").ok_or("no flow")?;
    let flow = rest.split('"').next().unwrap_or_default().to_owned();
    Ok(Page { connection, verifier, flow, tag })
}

fn expect(answer: Answer, status: u16) -> Result<Answer, Failure> {
    if answer.status == status {
        return Ok(answer);
    }
    Err(format!("{} {}", answer.head, String::from_utf8_lossy(&answer.body)).into())
}
