//! Durations as a configuration writes them: `500ms`, `10s`, `5m`, `1h`.

use std::time::Duration;

/// The longest that may be asked for: past a day a wait is a hang.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads a duration: a whole number and its unit, more than nothing and at most a day.
///
/// # Errors
/// Says what it is instead.
pub fn parse(text: &str) -> Result<Duration, &'static str> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "not a number and a unit")?;
    let duration = match unit.trim_start() {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        "" => return Err("the unit is missing"),
        _ => return Err("the unit is not known"),
    };
    match duration {
        Some(Duration::ZERO) => Err("no time at all"),
        Some(duration) if duration <= LONGEST => Ok(duration),
        _ => Err("longer than a day"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse("5 m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse("24h"), Ok(LONGEST));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "10", "s", "-1s", "1.5s", "0s", "25h", "99999999999999999999s", "5124095576030431h", "1d", "１s"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
