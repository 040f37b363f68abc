//! An outage of HubSpot: the time until all connections that came due in it are refreshed.

use std::fmt::Write;
use std::time::{Duration, Instant};

use super::database::Engine;
use super::replica::Replica;
use super::rows::Connection;
use super::{Asked, grouped, now, tokens};
use crate::Failure;
use crate::servers::HubSpot;

pub const HEAD: &str = "HubSpot answers every refresh with 503 for a while, then recovers";
const CONNECTIONS: usize = 1000;
const OUTAGE: Duration = Duration::from_secs(10);
/// Transient failures are retried after five minutes at the latest.
const MEASURE_TIMEOUT: Duration = Duration::from_secs(300);

/// Returns the figures of one engine.
pub async fn measure(engine: &Engine) -> Result<String, Failure> {
    let hubspot = HubSpot::with_grants(CONNECTIONS)?;
    let tokens = tokens(&hubspot).await?;
    let rows = Connection::due(&tokens, now())?;
    let mut database = engine.create_with("outage", &hubspot, rows).await?;
    let away = r#"{"on": "refresh", "fault": {"status": {"status": 503, "body": "away"}}}"#;
    hubspot.control("POST", "/__script", away).await?;
    let replica = Replica::start(&hubspot, &database)?;
    tokio::time::sleep(OUTAGE).await;
    let refused = Asked::of(&hubspot).await?.calls;
    hubspot.control("DELETE", "/__script", "").await?;
    let recovered = Instant::now();
    let mut marks = Vec::new();
    for share in [50, 90, 100] {
        while database.refreshed().await? < CONNECTIONS * share / 100 {
            if recovered.elapsed() > MEASURE_TIMEOUT {
                return Err(format!("not {share} % were fresh {MEASURE_TIMEOUT:?} after the outage").into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        marks.push(recovered.elapsed().as_secs_f64());
    }
    let calls = Asked::of(&hubspot).await?.calls;
    drop(replica);
    database.remove().await?;
    let mut text = String::new();
    writeln!(
        text,
        "  {}: {} connections due, away for {} s, {} calls refused; after it half of them fresh in {:.1} s, 90 % in {:.1} s, all in {:.1} s with {} calls",
        engine.name(),
        grouped(CONNECTIONS as u64),
        OUTAGE.as_secs(),
        grouped(refused as u64),
        marks[0],
        marks[1],
        marks[2],
        grouped((calls - refused) as u64),
    )?;
    Ok(text)
}
