//! The schedule and the concurrency of refreshes.

use super::reader::Reader;
use crate::domain::token::RefreshPolicy;

/// The schedule and the concurrency of refreshes.
#[derive(Debug, Clone)]
pub struct Refresh {
    /// REFRESH_MAX_IN_FLIGHT.
    pub max_in_flight: usize,
    /// REFRESH_RATE_PER_SECOND.
    pub rate_per_second: u32,
    /// REFRESH_WINDOW.
    pub policy: RefreshPolicy,
}

impl Refresh {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            max_in_flight: reader.number("REFRESH_MAX_IN_FLIGHT", 1..=10_000),
            rate_per_second: reader.number("REFRESH_RATE_PER_SECOND", 1..=1_000_000),
            policy: window(reader),
        }
    }
}

fn window(reader: &mut Reader<'_>) -> RefreshPolicy {
    let parsed = reader.text("REFRESH_WINDOW").split_once('-').and_then(|(from, to)| {
        let (from, to): (f64, f64) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        (0.05 <= from && from <= to && to <= 0.95).then_some(RefreshPolicy { from, to })
    });
    parsed.unwrap_or_else(|| {
        reader.problem("REFRESH_WINDOW", "must be two fractions from 0.05 to 0.95 such as 0.55-0.70");
        RefreshPolicy { from: 0.55, to: 0.70 }
    })
}
