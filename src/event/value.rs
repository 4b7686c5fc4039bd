//! The values a field can take, and the strict reading of each from text.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDate};

use crate::window::{When, date};

/// One asserted value. `Null` is a value too: it clears the field.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value<'a> {
    /// Explicitly nothing.
    Null,
    /// Text, a keyword or a reference.
    Text(Cow<'a, str>),
    /// An instant or a date.
    When(When),
    /// Money or a fraction, in ten-thousandths.
    Decimal(Decimal),
    /// True or false.
    Flag(bool),
}

/// A decimal with four places, the most any ISO 4217 currency has; ±922 trillion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Decimal(pub i64);

/// Ten-thousandths in one.
pub const DECIMAL_ONE: i64 = 10_000;

impl Decimal {
    /// Reads `-12500.00`, `.5`, `1e3`. Refuses what four places can't hold exactly: money is never rounded here.
    pub fn parse(text: &str) -> Option<Decimal> {
        let text = text.trim();
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => (
                &text[..at],
                text[at + 1..]
                    .parse::<i32>()
                    .ok()
                    .filter(|e| (-30..=30).contains(e))?,
            ),
            None => (text, 0),
        };
        let (negative, digits) = match mantissa.as_bytes().first()? {
            b'-' => (true, &mantissa[1..]),
            b'+' => (false, &mantissa[1..]),
            _ => (false, mantissa),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let mut number: i128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            if !byte.is_ascii_digit() {
                return None;
            }
            number = number
                .checked_mul(10)?
                .checked_add(i128::from(byte - b'0'))?;
        }
        // `number` counts units of 10^-places; bring it to ten-thousandths, exactly or not at all.
        let mut places = i32::try_from(fraction.len()).ok()? - exponent;
        while places < 4 && number != 0 {
            number = number.checked_mul(10)?;
            places += 1;
        }
        while places > 4 && number != 0 {
            if number % 10 != 0 {
                return None;
            }
            number /= 10;
            places -= 1;
        }
        let number = i64::try_from(number).ok()?;
        Some(Decimal(if negative { -number } else { number }))
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write_decimal(i128::from(self.0), f)
    }
}

/// Writes ten-thousandths as a plain decimal with at least two places: `12500.00`, `0.125`.
pub fn write_decimal(number: i128, f: &mut impl std::fmt::Write) -> std::fmt::Result {
    let (sign, n) = (if number < 0 { "-" } else { "" }, number.unsigned_abs());
    let (whole, places) = (n / DECIMAL_ONE as u128, n % DECIMAL_ONE as u128);
    match places {
        p if p % 100 == 0 => write!(f, "{sign}{whole}.{:02}", p / 100),
        p if p % 10 == 0 => write!(f, "{sign}{whole}.{:03}", p / 10),
        p => write!(f, "{sign}{whole}.{p:04}"),
    }
}

impl When {
    /// Reads an RFC 3339 instant or a date (`2026-03-04`).
    pub fn parse(text: &str) -> Option<When> {
        let text = text.trim();
        if text.len() <= 10 {
            return text.parse::<NaiveDate>().ok().map(date);
        }
        if let Some(micros) = utc_seconds(text.as_bytes()) {
            return Some(When::Instant(micros));
        }
        let normal = text.replacen(' ', "T", 1);
        DateTime::parse_from_rfc3339(&normal)
            .ok()
            .map(|t| When::Instant(t.timestamp_micros()))
    }

    /// Reads epoch milliseconds; `None` where they overflow µs.
    pub fn from_millis(millis: i64) -> Option<When> {
        millis.checked_mul(1_000).map(When::Instant)
    }
}

/// `YYYY-MM-DDTHH:MM:SSZ` and the same with a fraction, the form almost every event has, without a parser's generality.
/// `None` sends anything else to the real parser, which also refuses what is wrong.
fn utc_seconds(b: &[u8]) -> Option<i64> {
    let zulu = b.last() == Some(&b'Z') && b.len() >= 20 && b.len() <= 27;
    if !zulu || b[4] != b'-' || b[7] != b'-' || b[10] != b'T' || b[13] != b':' || b[16] != b':' {
        return None;
    }
    let number = |range: std::ops::Range<usize>| {
        b[range].iter().try_fold(0i64, |n, c| {
            c.is_ascii_digit().then(|| n * 10 + i64::from(c - b'0'))
        })
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let fraction = match b.len() {
        20 => 0,
        _ if b[19] != b'.' => return None,
        n if n > 21 => number(20..n - 1)? * 10i64.pow(6 - (n - 21) as u32),
        _ => return None,
    };
    let days = (NaiveDate::from_ymd_opt(year as i32, month as u32, day as u32)?
        - NaiveDate::default())
    .num_days();
    Some((days * 86_400 + hour * 3_600 + minute * 60 + second) * 1_000_000 + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Option<String> {
        Decimal::parse(text).map(|d| d.to_string())
    }

    #[test]
    fn money_is_read_exactly_or_refused() {
        for (text, shown) in [
            ("12500.00", "12500.00"),
            ("-3.5", "-3.50"),
            (".125", "0.125"),
            ("7.", "7.00"),
            ("1e3", "1000.00"),
            ("1.25e1", "12.50"),
            ("0.00010000", "0.0001"),
            ("0e25", "0.00"),
            ("-0.0001", "-0.0001"),
            ("922337203685477.5807", "922337203685477.5807"),
        ] {
            assert_eq!(decimal(text).as_deref(), Some(shown), "{text}");
        }
        for text in [
            "",
            "-",
            ".",
            "1,000",
            "12 500",
            "0x10",
            "NaN",
            "inf",
            "1.00001",
            "922337203685477.5808",
            "1e31",
            "1e-6",
            "--1",
            "1e",
            "９",
        ] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }

    #[test]
    fn instants_and_dates_are_told_apart() {
        let instant = |s| match When::parse(s) {
            Some(When::Instant(t)) => t,
            other => panic!("{s}: {other:?}"),
        };
        assert_eq!(instant("1970-01-01T00:00:00Z"), 0);
        assert_eq!(instant("1970-01-01T01:00:00.5+01:00"), 500_000);
        assert_eq!(instant("1969-12-31T23:59:59.999999Z"), -1);
        assert_eq!(
            instant("2026-03-04 10:00:00Z"),
            instant("2026-03-04T10:00:00.000Z")
        );
        assert_eq!(When::parse("1970-01-02"), Some(When::Date(1)));
        for bad in [
            "",
            "yesterday",
            "2026-02-30",
            "2026-02-30T00:00:00Z",
            "2026-03-04T25:00:00Z",
            "2026-03-04T10:00:00",
            "2026-03-04T10:00:00.Z",
        ] {
            assert_eq!(When::parse(bad), None, "{bad}");
        }
    }
}
