//! Points in time as people and models read them (RFC 3339).

use std::time::{SystemTime, UNIX_EPOCH};

/// `seconds` since 1970 as seen `offset` minutes east of Greenwich: `2026-07-28T09:30:00+02:00`.
pub(crate) fn from_unix(seconds: i64, offset: i32) -> String {
    let local = seconds.saturating_add(i64::from(offset) * 60);
    let (days, second) = (local.div_euclid(86_400), local.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let zone = match offset {
        0 => "Z".to_owned(),
        _ => format!("{}{:02}:{:02}", if offset < 0 { '-' } else { '+' }, offset.abs() / 60, offset.abs() % 60),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{zone}")
}

/// A file's time.
pub(crate) fn from_system(time: SystemTime) -> String {
    let seconds = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |seconds| -seconds),
    };
    from_unix(seconds, 0)
}

/// Year, month and day of the Gregorian calendar, `days` after 1970-01-01 (Howard Hinnant, "chrono-compatible
/// low-level date algorithms", `civil_from_days`: years that begin in March, so that the leap day comes last).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468; // from 0000-03-01
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        assert_eq!(from_unix(0, 0), "1970-01-01T00:00:00Z");
        assert_eq!(from_unix(951_782_400, 0), "2000-02-29T00:00:00Z");
        assert_eq!(from_unix(1_785_223_800, 120), "2026-07-28T09:30:00+02:00");
        assert_eq!(from_unix(-1, -330), "1969-12-31T18:29:59-05:30");
    }

    #[test]
    fn absurd_moments_do_not_overflow() {
        for seconds in [i64::MAX, i64::MIN] {
            assert!(from_unix(seconds, 1440).contains('T'));
        }
    }
}
