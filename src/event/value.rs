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

impl Value<'_> {
    /// The same, no longer borrowed.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Null => Value::Null,
            Value::Text(text) => Value::Text(text.into_owned().into()),
            Value::When(when) => Value::When(when),
            Value::Decimal(decimal) => Value::Decimal(decimal),
            Value::Flag(flag) => Value::Flag(flag),
        }
    }
}

/// A decimal with four places, the most any ISO 4217 currency has; ±922 trillion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Decimal(pub i64);

/// Ten-thousandths in one.
pub const DECIMAL_ONE: i64 = 10_000;

impl Decimal {
    /// Reads `-12500.00`, `.5`, `1e3`. Refuses what four places can't hold exactly: money is never
    /// rounded here.
    pub fn parse(text: &str) -> Option<Decimal> {
        let text = text.trim();
        if let Some(number) = plain(text.as_bytes()) {
            return Some(Decimal(number));
        }
        let text = without_exponent(text)?;
        let (negative, digits) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, &*text),
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
        let mut places = fraction.len();
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

/// How many places before or behind the point a number with an exponent may have: more than
/// anything it could mean.
const PLACES: i64 = 64;

/// A number with an exponent, as programs write large and small floating-point numbers (`1.25E7`,
/// `4.2E-4`), without it; other texts as they are. Exactly or not at all: `None` for more than 64
/// places, and for what is no number.
pub fn without_exponent(text: &str) -> Option<Cow<'_, str>> {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else {
        return Some(Cow::Borrowed(text));
    };
    let exponent: i32 = exponent.parse().ok()?;
    let (sign, digits) = match mantissa.as_bytes().first()? {
        b'-' => ("-", &mantissa[1..]),
        b'+' => ("", &mantissa[1..]),
        _ => ("", mantissa),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = [whole, fraction].concat();
    if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let significant = all.trim_start_matches('0');
    // Where the point is among the significant digits.
    let leading = i64::try_from(all.len() - significant.len()).ok()?;
    let point = i64::try_from(whole.len()).ok()? - leading + i64::from(exponent);
    let digits = significant.trim_end_matches('0');
    if digits.is_empty() {
        return Some(Cow::Borrowed("0"));
    }
    if !(-PLACES..=PLACES).contains(&point) {
        return None;
    }
    let (before, behind) = (point.max(0) as usize, (-point).max(0) as usize);
    Some(Cow::Owned(match digits.split_at_checked(before) {
        Some(("", digits)) => format!("{sign}0.{}{digits}", "0".repeat(behind)),
        Some((whole, "")) => format!("{sign}{whole}"),
        Some((whole, fraction)) => format!("{sign}{whole}.{fraction}"),
        None => format!("{sign}{digits:0<before$}"),
    }))
}

/// A number of units, in units of 10^-places: exactly or not at all.
pub fn scaled(text: &str, places: usize) -> Option<i64> {
    let text = without_exponent(text.trim())?;
    let (whole, fraction) = text.split_once('.').unwrap_or((&*text, ""));
    if whole.trim_start_matches(['-', '+']).is_empty() && fraction.is_empty() {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > places || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{whole}{fraction:0<places$}").parse().ok()
}

/// A whole number nearest to numerator ÷ denominator, a half away from zero as invoices are
/// rounded. The denominator is above 0.
pub fn rounded(numerator: i128, denominator: i128) -> i128 {
    let (quotient, rest) = (numerator / denominator, numerator % denominator);
    let is_half = rest.unsigned_abs() >= denominator.unsigned_abs().div_ceil(2);
    quotient + if is_half { numerator.signum() } else { 0 }
}

/// A share (in ten-thousandths, 0 to 1) of an amount, rounded as [`rounded`] does.
pub fn share(amount: i64, share: i64) -> i64 {
    let product = i128::from(amount) * i128::from(share);
    // A share of an i64 that is at most 1 fits into one.
    rounded(product, DECIMAL_ONE.into()) as i64
}

/// True for a text that has the form of an ISO 4217 code, in any case.
pub fn is_currency(code: &str) -> bool {
    code.len() == 3 && code.bytes().all(|b| b.is_ascii_alphabetic())
}

/// What the places of a rate are counted in: a rate is a whole number of 10⁻¹².
pub const RATE_ONE: i128 = 1_000_000_000_000;

/// Reads a positive number below 10¹² with at most twelve places, such as an exchange rate, as a
/// whole number of 10⁻¹².
pub fn rate(text: &str) -> Option<i128> {
    let text = without_exponent(text.trim())?;
    let (whole, fraction) = text.split_once('.').unwrap_or((&*text, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    let has_digits = !(whole.is_empty() && fraction.is_empty());
    if !has_digits || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    if whole.len() > 12 || fraction.len() > 12 {
        return None;
    }
    let number: i128 = format!("{whole}{fraction:0<12}").parse().ok()?;
    (number > 0).then_some(number)
}

/// Reads `-12500.00`, the form almost every amount has, without wide arithmetic. `None` sends
/// anything else to the full parser.
fn plain(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    // Fourteen digits and four more stay below 2^63.
    if !(1..=14).contains(&digits.len()) {
        return None;
    }
    let (mut number, mut missing, mut is_fraction) = (0i64, 4u32, false);
    for byte in digits {
        match byte {
            b'0'..=b'9' => {
                number = number * 10 + i64::from(byte - b'0');
                if is_fraction {
                    missing = missing.checked_sub(1)?;
                }
            }
            b'.' if !is_fraction && digits.len() > 1 => is_fraction = true,
            _ => return None,
        }
    }
    number *= 10i64.pow(missing);
    Some(if is_negative { -number } else { number })
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
    /// Reads an RFC 3339 instant, also with a blank for the `T` and with an offset like `+0100` or
    /// `+01`, or a date (`2026-03-04`).
    pub fn parse(text: &str) -> Option<When> {
        let text = text.trim();
        if text.len() <= 10 {
            return plain_date(text.as_bytes())
                .or_else(|| text.parse::<NaiveDate>().ok())
                .map(date);
        }
        if let Some(micros) = utc_seconds(text.as_bytes()) {
            return Some(When::Instant(micros));
        }
        let mut normal = text.replacen(' ', "T", 1);
        complete_offset(&mut normal);
        DateTime::parse_from_rfc3339(&normal)
            .ok()
            .map(|t| When::Instant(t.timestamp_micros()))
    }

    /// Reads epoch milliseconds; `None` where they overflow µs.
    pub fn from_millis(millis: i64) -> Option<When> {
        millis.checked_mul(1_000).map(When::Instant)
    }
}

/// Brings the offsets `+hhmm` and `+hh`, which ISO 8601 and PostgreSQL write, into RFC 3339's form.
fn complete_offset(text: &mut String) {
    let Some(sign) = text.rfind(['+', '-']) else {
        return;
    };
    let digits = &text.as_bytes()[sign + 1..];
    // The hyphens of the date lie before the 19 bytes of date and time.
    if sign < 19 || !digits.iter().all(u8::is_ascii_digit) {
        return;
    }
    match digits.len() {
        2 => text.push_str(":00"),
        4 => text.insert(sign + 3, ':'),
        _ => {}
    }
}

/// `YYYY-MM-DD`, without a parser's generality. `None` sends anything else to the real parser.
fn plain_date(b: &[u8]) -> Option<NaiveDate> {
    if b.len() != 10 || b[4] != b'-' || b[7] != b'-' {
        return None;
    }
    let (year, month, day) = (number(&b[..4])?, number(&b[5..7])?, number(&b[8..])?);
    NaiveDate::from_ymd_opt(year as i32, month as u32, day as u32)
}

/// A number of few digits.
fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0i64, |n, c| {
        c.is_ascii_digit().then(|| n * 10 + i64::from(c - b'0'))
    })
}

/// `YYYY-MM-DDTHH:MM:SSZ` and the same with a fraction, the form almost every event has, without a
/// parser's generality. `None` sends anything else to the real parser, which also refuses what is
/// wrong.
fn utc_seconds(b: &[u8]) -> Option<i64> {
    let zulu = b.last() == Some(&b'Z') && b.len() >= 20 && b.len() <= 27;
    if !zulu || b[10] != b'T' || b[13] != b':' || b[16] != b':' {
        return None;
    }
    let day = plain_date(&b[..10])?;
    let (hour, minute, second) = (
        number(&b[11..13])?,
        number(&b[14..16])?,
        number(&b[17..19])?,
    );
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let fraction = match b.len() {
        20 => 0,
        _ if b[19] != b'.' => return None,
        n if n > 21 => number(&b[20..n - 1])? * 10i64.pow(6 - (n - 21) as u32),
        _ => return None,
    };
    let days = (day - NaiveDate::default()).num_days();
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
            ("1.25E7", "12500000.00"),
            ("-1.2345678E+7", "-12345678.00"),
            ("4.2E-3", "0.0042"),
            ("1e-3", "0.001"),
            ("9.22337203685477E14", "922337203685477.00"),
            ("-0.0001", "-0.0001"),
            ("922337203685477.5807", "922337203685477.5807"),
            ("99999999999999", "99999999999999.00"),
            ("-999999999.9999", "-999999999.9999"),
            ("1.00000", "1.00"),
            ("+1", "1.00"),
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
            "1.2345678E-1",
            "9.3E14",
            "1e999",
            "1e99999999999",
            "--1",
            "1e",
            "e5",
            "1.5e1.5",
            "1e5e5",
            "９",
        ] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }

    #[test]
    fn an_exponent_is_written_out_exactly_or_the_number_is_refused() {
        for (text, plain) in [
            ("1.25E7", "12500000"),
            ("1.2345678901234567E7", "12345678.901234567"),
            ("-4.2e-4", "-0.00042"),
            ("+10.50E+1", "105"),
            ("0.0012e2", "0.12"),
            ("000e9", "0"),
            ("1e0", "1"),
            ("12.50", "12.50"),
        ] {
            assert_eq!(without_exponent(text).as_deref(), Some(plain), "{text}");
        }
        for text in [
            "Cedar",
            "1e65",
            "1e-66",
            "e1",
            "1e",
            "1e2147483648",
            ".e1",
            "1.2.3e4",
        ] {
            assert_eq!(without_exponent(text), None, "{text}");
        }
        assert_eq!(scaled("1.7726184E9", 6), Some(1_772_618_400_000_000));
        assert_eq!(scaled("1772618400.5", 3), Some(1_772_618_400_500));
        assert_eq!(scaled("-1.50", 1), Some(-15));
        for text in ["1.5", "1e-1", "1e19", "x", "", "-"] {
            assert_eq!(scaled(text, 0), None, "{text}");
        }
        assert_eq!(rate("4.2E-5"), Some(42_000_000));
        assert_eq!(rate("4.2E-13"), None);
    }

    #[test]
    fn instants_and_dates_are_told_apart() {
        let instant = |s: &str| match When::parse(s) {
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
        for offset in ["+01:30", "+0130"] {
            assert_eq!(instant(&format!("1970-01-01T01:30:00.5{offset}")), 500_000);
        }
        for zero in ["+00", "-00", "+0000", "+00:00"] {
            assert_eq!(instant(&format!("1970-01-01 00:00:00{zero}")), 0);
        }
        assert_eq!(instant("1970-01-01 00:00:00-05"), 18_000_000_000);
        assert_eq!(When::parse("1970-01-02"), Some(When::Date(1)));
        for bad in [
            "",
            "yesterday",
            "2026-02-30",
            "2026-02-30T00:00:00Z",
            "2026-03-04T25:00:00Z",
            "2026-03-04T10:00:00",
            "2026-03-04T10:00:00.Z",
            "2026-03-04T10:00:00+1",
            "2026-03-04T10:00:00+100",
            "2026-03-04T10:00:00+24000",
            "2026-03-04T10:00:00 +0000 UTC",
            "2026-03-04T10:00-0100",
        ] {
            assert_eq!(When::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_share_is_rounded_to_the_nearest_ten_thousandth_and_a_half_away_from_zero() {
        assert_eq!(share(10_000, 2_500), 2_500);
        assert_eq!(share(1, 5_000), 1);
        assert_eq!(share(-1, 5_000), -1);
        assert_eq!(share(1, 4_999), 0);
        assert_eq!(share(i64::MIN, 10_000), i64::MIN);
        assert_eq!(share(i64::MAX, 10_000), i64::MAX);
    }
}
