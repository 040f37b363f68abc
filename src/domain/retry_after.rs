//! Parsing and writing of `Retry-After` (RFC 9110 section 10.2.3).

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::clock::Timestamp;

/// Parses the pause that a server asks for, as seconds or as a date; `None` if the text is neither, or the date is
/// past.
pub fn parse(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = OffsetDateTime::parse(text, &Rfc2822).ok()?.unix_timestamp();
    u64::try_from(at - now.unix_seconds()).ok().map(Duration::from_secs)
}

/// Returns whole seconds, rounded up, so that a client that waits this long does not come too early.
pub fn seconds(pause: Duration) -> u64 {
    u64::try_from(pause.as_millis().div_ceil(1000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_ms(784_111_777_500);

    #[test]
    fn seconds_and_dates_are_parsed_and_invalid_or_past_values_ignored() {
        assert_eq!(parse(" 120 ", NOW), Some(Duration::from_secs(120)));
        assert_eq!(parse("Sun, 06 Nov 1994 08:50:00 GMT", NOW), Some(Duration::from_secs(23)));
        for nothing in ["Sun, 06 Nov 1994 08:49:00 GMT", "soon", "-1", "", "1.5"] {
            assert_eq!(parse(nothing, NOW), None, "{nothing}");
        }
    }

    #[test]
    fn partial_seconds_round_up() {
        assert_eq!(seconds(Duration::ZERO), 0);
        assert_eq!(seconds(Duration::from_millis(1)), 1);
        assert_eq!(seconds(Duration::from_millis(2_000)), 2);
    }
}
