//! The faults of HubSpot itself: slow responses and errors.
//!
//! Faults that process a refresh and then lose the response are left out on purpose. HubSpot has then rotated the
//! refresh token, and only HubSpot knows the new one: no client can survive that, so it would show nothing.

use std::time::Duration;

use fake_hubspot::{FakeHubSpot, Fault, Kind, Rule};
use hubspot_connect::domain::random::Random;
use tokio::time::sleep;

use crate::plan::pick;

/// Scripts a few faults each second. They apply one after the other, so the seed determines which call fails and how;
/// only the time differs. It never ends by itself.
pub async fn make(hubspot: &FakeHubSpot, seed: u64) {
    let random = Random::seeded(seed);
    loop {
        for _ in 0..6 {
            hubspot.script(Rule::once(Kind::Refresh, fault(&random)).after(skip(&random)));
        }
        let kind = [Kind::Exchange, Kind::Revoke, Kind::AccountInfo][pick(&random, 3) as usize];
        hubspot.script(Rule::once(kind, fault(&random)).after(skip(&random)));
        sleep(Duration::from_secs(1)).await;
    }
}

fn skip(random: &Random) -> u32 {
    u32::try_from(pick(random, 5)).unwrap_or(0)
}

fn fault(random: &Random) -> Fault {
    let slowly = || Duration::from_millis(300 + pick(random, 2_700));
    let status = |status, headers: Vec<(String, String)>| Fault::Status {
        status,
        headers,
        body: "<html>try again later</html>".to_owned(),
    };
    match pick(random, 10) {
        0..=2 => Fault::Delay(slowly()),
        // Processed at once, answered later: a kill in between loses a refresh token.
        3..=4 => Fault::DelayAfterIssue(slowly()),
        5 => status(500, Vec::new()),
        6 => status(503, Vec::new()),
        7 => {
            let seconds = (1 + pick(random, 2)).to_string();
            status(429, vec![("retry-after".to_owned(), seconds)])
        }
        _ => Fault::CloseBeforeAnswer,
    }
}
