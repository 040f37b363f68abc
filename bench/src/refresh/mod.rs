//! The background work: due refreshes, idle connections, an outage of HubSpot. Each on SQLite, and on PostgreSQL where
//! `TEST_POSTGRES_URL` names a server.
#![expect(clippy::print_stdout, reason = "the figures go to standard output")]

pub mod database;
mod due;
mod idle;
mod outage;
mod replica;
pub mod rows;

use hubspot_connect::domain::clock::Clock;
use serde::Deserialize;

use crate::Failure;
use crate::servers::HubSpot;
use database::engines;

/// The number of concurrent calls, in the service and in the bare loop.
const IN_FLIGHT: usize = 64;

/// The arguments of the background measurements.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Numbers of due tokens.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000])]
    due: Vec<usize>,
    /// Numbers of stored connections of which none is due; the first one is the reference for the others.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 100_000, 1_000_000])]
    stored: Vec<u64>,
}

/// Measures and prints the figures.
pub async fn measure(arguments: &Arguments) -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(".")?;
    let engines = engines(folder.path());

    println!("{}", due::HEAD);
    for engine in &engines {
        for tokens in &arguments.due {
            print!("{}", due::measure(engine, *tokens).await?);
        }
    }
    println!("\n{}", idle::HEAD);
    for engine in &engines {
        print!("{}", idle::measure(engine, &arguments.stored).await?);
    }
    println!("\n{}", outage::HEAD);
    // Most of it is waiting, so the engines wait together.
    match engines.as_slice() {
        [one, other] => {
            let (one, other) = tokio::try_join!(outage::measure(one), outage::measure(other))?;
            print!("{one}{other}");
        }
        _ => print!("{}", outage::measure(&engines[0]).await?),
    }
    Ok(())
}

/// The refreshes that the simulated HubSpot has received.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Asked {
    calls: usize,
    first_at_ms: i64,
}

impl Asked {
    async fn of(hubspot: &HubSpot) -> Result<Self, Failure> {
        let mut counts = hubspot.control("GET", "/__counts", "").await?;
        match counts.get_mut("refresh") {
            Some(count) => Ok(serde_json::from_value(count.take())?),
            None => Ok(Self::default()),
        }
    }
}

/// Returns the refresh tokens of the simulated HubSpot.
async fn tokens(hubspot: &HubSpot) -> Result<Vec<String>, Failure> {
    #[derive(Deserialize)]
    struct Grant {
        refresh_token: String,
    }
    let grants: Vec<Grant> = serde_json::from_value(hubspot.control("GET", "/__grants", "").await?)?;
    Ok(grants.into_iter().map(|grant| grant.refresh_token).collect())
}

pub fn now() -> i64 {
    Clock::system().now().unix_ms()
}

/// Returns `goal 1.5: met`, or `missed`.
pub fn verdict(figure: f64, goal: f64) -> String {
    format!("goal {goal}: {}", if figure <= goal { "met" } else { "MISSED" })
}

/// Formats 1000000 as 1,000,000.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
