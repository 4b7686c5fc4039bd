//! Times as sources write them, where it is neither RFC 3339 nor a plain date.

use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeZone};
use chrono_tz::Tz;

use crate::event::{rounded, scaled, without_exponent};
use crate::window::{When, date};

/// The first day of Excel's count that its leap-year error leaves right: 1 March 1900 is 61. Days
/// are counted from here.
const EXCEL_ZERO: i32 = -25_569;
/// The days of that count that are taken.
const EXCEL_DAYS: std::ops::Range<i32> = 61..3_000_000;
/// A day (ms).
const MILLIS_OF_DAY: i128 = 86_400_000;

/// One way to write a time.
#[derive(Debug)]
pub(super) enum Format {
    Usual,
    Seconds,
    Millis,
    MillisDate,
    Micros,
    Days,
    ExcelDays,
    Pattern(String),
}

impl Format {
    /// The format of a name or a pattern.
    ///
    /// # Errors
    /// What would be right.
    pub fn new(text: &str) -> Result<Format, String> {
        match text {
            "rfc3339" => Ok(Format::Usual),
            "epoch_ms_date" => Ok(Format::MillisDate),
            "epoch_s" => Ok(Format::Seconds),
            "epoch_ms" => Ok(Format::Millis),
            "epoch_us" => Ok(Format::Micros),
            "epoch_days" => Ok(Format::Days),
            "excel_days" => Ok(Format::ExcelDays),
            _ if !text.contains('%')
                || StrftimeItems::new(text).any(|item| item == Item::Error) =>
            {
                Err(format!(
                    "`{text}` is no format; write it like `%Y-%m-%d %H:%M:%S`, or `rfc3339`, `epoch_s`, `epoch_ms`, `epoch_us`, `epoch_days`, `epoch_ms_date` or `excel_days`"
                ))
            }
            pattern => Ok(Format::Pattern(pattern.to_owned())),
        }
    }

    /// An instant if the text has an offset or counts from the epoch; the zone's local time if it
    /// has a time of day; else a date.
    pub fn read(&self, text: &str, zone: Tz) -> Option<When> {
        let whole = || scaled(text, 0);
        let pattern = match self {
            Format::Seconds => return scaled(text, 6).map(When::Instant),
            Format::Usual => return When::parse(text),
            Format::Millis => return scaled(text, 3).map(When::Instant),
            Format::MillisDate => {
                let days = whole()?.div_euclid(86_400_000);
                return Some(date(NaiveDate::from_epoch_days(days.try_into().ok()?)?));
            }
            Format::Micros => return whole().map(When::Instant),
            Format::Days => {
                return Some(date(NaiveDate::from_epoch_days(whole()?.try_into().ok()?)?));
            }
            Format::ExcelDays => return excel(text, zone),
            Format::Pattern(pattern) => pattern,
        };
        if let Ok(instant) = DateTime::parse_from_str(text, pattern) {
            return Some(When::Instant(instant.timestamp_micros()));
        }
        match NaiveDateTime::parse_from_str(text, pattern) {
            Ok(local) => instant(local, zone),
            Err(_) => NaiveDate::parse_from_str(text, pattern).ok().map(date),
        }
    }
}

/// A local time. An hour that comes twice is taken the first time; one that is skipped is no time.
fn instant(local: NaiveDateTime, zone: Tz) -> Option<When> {
    let at = zone.from_local_datetime(&local).earliest()?;
    Some(When::Instant(at.timestamp_micros()))
}

/// Excel's serial number: days, of which the fraction is the time of day, to the millisecond.
fn excel(text: &str, zone: Tz) -> Option<When> {
    let text = without_exponent(text.trim())?;
    let (whole, fraction) = text.split_once('.').unwrap_or((&*text, ""));
    let serial: i32 = whole
        .parse()
        .ok()
        .filter(|days| EXCEL_DAYS.contains(days))?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let day = NaiveDate::from_epoch_days(serial + EXCEL_ZERO)?;
    // Twelve places of a day are far below a millisecond.
    let part: i128 = format!("{fraction:0<12.12}").parse().ok()?;
    let millis = rounded(part * MILLIS_OF_DAY, 1_000_000_000_000);
    if millis == 0 {
        return Some(date(day));
    }
    let midnight = day.and_hms_opt(0, 0, 0)?;
    let time = chrono::TimeDelta::try_milliseconds(millis as i64)?;
    instant(midnight.checked_add_signed(time)?, zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: &str, text: &str) -> Option<When> {
        Format::new(format).unwrap().read(text, Tz::Europe__Berlin)
    }

    fn at(text: &str) -> Option<When> {
        Some(When::parse(text).unwrap())
    }

    #[test]
    fn times_are_read_as_they_are_written_and_never_guessed() {
        for (format, text, expected) in [
            ("epoch_s", "1772618400", "2026-03-04T10:00:00Z"),
            ("epoch_ms", "1772618400000", "2026-03-04T10:00:00Z"),
            (
                "epoch_us",
                "1772618400000001",
                "2026-03-04T10:00:00.000001Z",
            ),
            ("epoch_days", "20516", "2026-03-04"),
            ("epoch_ms_date", "1772582400000", "2026-03-04"),
            (
                "rfc3339",
                "2026-03-04T11:00:00.000+0100",
                "2026-03-04T10:00:00Z",
            ),
            ("epoch_s", "1.7726184E9", "2026-03-04T10:00:00Z"),
            (
                "epoch_s",
                "1772618400.250001",
                "2026-03-04T10:00:00.250001Z",
            ),
            ("epoch_ms", "1.7726184E12", "2026-03-04T10:00:00Z"),
            ("epoch_ms", "1772618400000.0", "2026-03-04T10:00:00Z"),
            (
                "epoch_us",
                "1.772618400000001E15",
                "2026-03-04T10:00:00.000001Z",
            ),
            ("epoch_days", "2.0516E4", "2026-03-04"),
            ("excel_days", "46085", "2026-03-04"),
            ("excel_days", "4.60855E4", "2026-03-04T11:00:00Z"),
            ("excel_days", "46085.458333333336", "2026-03-04T10:00:00Z"),
            ("excel_days", "46085.5", "2026-03-04T11:00:00Z"),
            ("%d/%m/%Y", "04/03/2026", "2026-03-04"),
            ("%m/%d/%Y", "03/04/2026", "2026-03-04"),
            ("%Y-%m-%d %H:%M", "2026-03-04 11:00", "2026-03-04T10:00:00Z"),
            (
                "%Y-%m-%dT%H:%M:%S%.3f%z",
                "2026-03-04T10:00:00.000+0000",
                "2026-03-04T10:00:00Z",
            ),
        ] {
            assert_eq!(read(format, text), at(expected), "{format} {text}");
        }
        for (format, text) in [
            ("epoch_s", "1.7726184001234567E9"),
            ("epoch_us", "1772618400000001.5"),
            ("epoch_days", "1e99"),
            ("excel_days", "46085.x"),
            ("epoch_s", ""),
            ("epoch_us", "99999999999999999999"),
            ("epoch_days", "999999999999"),
            ("excel_days", "60"),
            ("excel_days", "NaN"),
            ("%d/%m/%Y", "03/13/2026"),
            ("%Y-%m-%d %H:%M", "2026-03-29 02:30"),
        ] {
            assert_eq!(read(format, text), None, "{format} {text}");
        }
        assert!(Format::new("epoch_hours").is_err());
    }
}
