//! Points in time, as archives and image documents write them.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

/// A point in time: seconds since 1970-01-01T00:00:00Z, which may be negative, and the nanoseconds
/// after that second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since the epoch.
    pub seconds: i64,
    /// Nanoseconds after the second: less than a thousand million.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// A whole second.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self {
            seconds,
            nanoseconds: 0,
        }
    }

    /// Now, cut to the second.
    pub fn now() -> Self {
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Self::from_seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
    }

    /// A time in RFC 3339, cut to the second; `None` if the text is none.
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let number = |range| text.get::<Range<usize>>(range)?.parse::<i64>().ok();
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
        let seconds =
            days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
        let zone = text.get(19..)?;
        let zone = zone.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
        let seconds = seconds.checked_sub(offset_of(zone)?)?;
        Some(Self::from_seconds(seconds))
    }

    /// RFC 3339 in UTC with whole seconds, as in `2024-02-29T12:00:00Z`. Years outside 0 to 9999,
    /// which that format cannot say, come out as its first or last second.
    pub fn to_rfc3339(self) -> String {
        const FIRST: i64 = -62_167_219_200;
        const LAST: i64 = 253_402_300_799;
        let seconds = self.seconds.clamp(FIRST, LAST);
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil_from_days(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// The seconds by which a zone is ahead of UTC: `Z`, `+02:00`.
fn offset_of(zone: &str) -> Option<i64> {
    let (sign, rest) = (zone.as_bytes().first()?, zone.get(1..)?);
    if matches!(sign, b'Z' | b'z') {
        return Some(0);
    }
    let (hours, minutes) = rest.split_once(':')?;
    let in_seconds = |text: &str, unit| text.parse::<i64>().ok()?.checked_mul(unit);
    let offset = in_seconds(hours, 3600)?.checked_add(in_seconds(minutes, 60)?)?;
    match sign {
        b'+' => Some(offset),
        b'-' => offset.checked_neg(),
        _ => None,
    }
}

/// The day of a Gregorian date, counted from 1970-01-01: the inverse of [`civil_from_days`].
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let (year, march_month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (153 * march_month + 2) / 5 + day - 1 - DAYS_TO_1970
}

/// Days from 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;

/// The Gregorian date of a day counted from 1970-01-01. Years are counted from March, so that the
/// leap day is the last of a year, in cycles of 400 years, which are all equally long.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    const CYCLE: i64 = 146_097;
    let days = days + DAYS_TO_1970;
    let (cycle, day) = (days.div_euclid(CYCLE), days.rem_euclid(CYCLE));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12 + 1;
    let year = year + 400 * cycle + i64::from(month <= 2);
    (year, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_000_000_000, "2001-09-09T01:46:40Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (i64::MAX, "9999-12-31T23:59:59Z"),
            (i64::MIN, "0000-01-01T00:00:00Z"),
        ] {
            assert_eq!(Timestamp::from_seconds(seconds).to_rfc3339(), text);
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for seconds in [
            0,
            -1,
            951_782_399,
            951_782_400,
            4_107_542_400,
            253_402_300_799,
        ] {
            let time = Timestamp::from_seconds(seconds);
            assert_eq!(Timestamp::from_rfc3339(&time.to_rfc3339()), Some(time));
        }
        let ahead = Timestamp::from_rfc3339("2001-09-09T03:46:40.5+02:00");
        assert_eq!(ahead, Some(Timestamp::from_seconds(1_000_000_000)));
        let hours = "9".repeat(18);
        for wrong in ["", "2001-09-09", &format!("2001-09-09T03:46:40+{hours}:00")] {
            assert_eq!(Timestamp::from_rfc3339(wrong), None, "{wrong}");
        }
    }
}
