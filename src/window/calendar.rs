//! The organisation's calendar: which local hour, day and month an instant falls in, and how long
//! from one to another.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use chrono::{DateTime, Datelike, NaiveDate, Offset, TimeZone};
use chrono_tz::Tz;

use super::when::{When, date};

/// Seconds in a day.
pub const DAY: i64 = 86_400;
const MICROS: i64 = 1_000_000;
/// Panes are kept from 1970 to the end of 2100; what is outside is counted as undated.
const FIRST_YEAR: i32 = 1970;
const LAST_YEAR: i32 = 2100;

/// A local calendar day, as days since 1970-01-01.
pub type Day = i32;

/// A time zone with its offsets laid out for quick look-up, and the month the fiscal year starts
/// in.
#[derive(Debug, Clone)]
pub struct Calendar {
    zone: Tz,
    fiscal_start: u32,
    /// From which instant (s) which offset from UTC (s) is in force; ordered.
    offsets: Offsets,
}

type Offsets = Arc<[(i64, i64)]>;

/// The offsets of a zone. Laid out once: it takes a hundred thousand look-ups, and every shard has
/// a calendar.
fn offsets(zone: Tz) -> Offsets {
    static KNOWN: LazyLock<Mutex<HashMap<Tz, Offsets>>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(zone).or_insert_with(|| lay_out(zone)).clone()
}

fn lay_out(zone: Tz) -> Offsets {
    let offset = |at: i64| {
        i64::from(
            zone.offset_from_utc_datetime(&utc(at).naive_utc())
                .fix()
                .local_minus_utc(),
        )
    };
    let (mut at, end) = (year_start(FIRST_YEAR - 1), year_start(LAST_YEAR + 2));
    let mut offsets = vec![(i64::MIN, offset(at))];
    // No zone changes twice within six hours, so a change shows as a difference between two such
    // steps.
    const STEP: i64 = 6 * 3_600;
    while at < end {
        let (now, next) = (offset(at), offset(at + STEP));
        if now != next {
            let (mut before, mut after) = (at, at + STEP);
            while after - before > 1 {
                let middle = before + (after - before) / 2;
                if offset(middle) == now {
                    before = middle
                } else {
                    after = middle
                }
            }
            offsets.push((after, next));
        }
        at += STEP;
    }
    offsets.into()
}

impl Calendar {
    /// The calendar of `zone` whose fiscal year starts with month `fiscal_start` (1 to 12).
    pub fn new(zone: Tz, fiscal_start: u32) -> Self {
        Calendar {
            zone,
            fiscal_start: fiscal_start.clamp(1, 12),
            offsets: offsets(zone),
        }
    }

    /// The time zone.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// The month (1 to 12) the fiscal year starts in.
    pub fn fiscal_start(&self) -> u32 {
        self.fiscal_start
    }

    /// The offset in force at an instant (s) and the instant it came into force.
    fn offset_at(&self, at: i64) -> (i64, i64) {
        let next = self.offsets.partition_point(|(from, _)| *from <= at);
        let (from, offset) = self.offsets[next.max(1) - 1];
        (offset, from)
    }

    /// The local day of an instant or date.
    pub fn day(&self, when: When) -> Day {
        match when {
            When::Date(day) => day,
            When::Instant(micros) => {
                let seconds = micros.div_euclid(MICROS);
                (seconds + self.offset_at(seconds).0).div_euclid(DAY) as Day
            }
        }
    }

    /// The first instant (s since the epoch, UTC) of a local day, also where midnight is skipped or
    /// comes twice.
    pub fn day_start(&self, day: Day) -> i64 {
        let local = i64::from(day) * DAY;
        // The day starts under the earliest offset that reaches it: look from a day before on.
        let first = self
            .offsets
            .partition_point(|(from, _)| *from <= local - DAY)
            .max(1)
            - 1;
        for (i, (from, offset)) in self.offsets.iter().enumerate().skip(first) {
            let until = self.offsets.get(i + 1).map_or(i64::MAX, |next| next.0);
            let start = (local - offset).max(*from);
            if start < until {
                return start;
            }
        }
        local
    }

    /// The first instant (s) of the local hour that holds `when`; of a date, of its day's first
    /// instant.
    pub fn hour_start(&self, when: When) -> i64 {
        let seconds = match when {
            When::Date(day) => self.day_start(day),
            When::Instant(micros) => micros.div_euclid(MICROS),
        };
        let (offset, since) = self.offset_at(seconds);
        (seconds - (seconds + offset).rem_euclid(3_600)).max(since)
    }

    /// The instant (µs) by which things are put in order and compared with clocks; of a date, its
    /// first instant.
    pub fn instant(&self, when: When) -> i64 {
        match when {
            When::Instant(micros) => micros,
            When::Date(day) => self.day_start(day).saturating_mul(MICROS),
        }
    }

    /// The last µs that still belongs to `when`: the instant itself, or the end of its day.
    pub fn last_instant(&self, when: When) -> i64 {
        match when {
            When::Instant(micros) => micros,
            When::Date(day) => self.day_start(day.saturating_add(1)).saturating_mul(MICROS) - 1,
        }
    }

    /// Seconds from one to the other; whole local days as soon as either is a date.
    pub fn span(&self, from: When, to: When) -> i64 {
        match (from, to) {
            (When::Instant(from), When::Instant(to)) => to.saturating_sub(from).div_euclid(MICROS),
            _ => (i64::from(self.day(to)) - i64::from(self.day(from))) * DAY,
        }
    }

    /// The first day of the month `day` lies in.
    pub fn month_start(&self, day: Day) -> Day {
        let date = civil(day);
        day - date.day0() as Day
    }

    /// The number of the month `day` lies in, counted from year 0, so that one after the other has
    /// the next number.
    pub fn month_number(&self, day: Day) -> i64 {
        let date = civil(day);
        i64::from(date.year()) * 12 + i64::from(date.month0())
    }

    /// The first day of the month of a number.
    pub fn month_of(&self, number: i64) -> Option<Day> {
        let year = i32::try_from(number.div_euclid(12)).ok()?;
        day_of(year, number.rem_euclid(12) as u32 + 1, 1)
    }

    /// The first day of the fiscal quarter `day` lies in.
    pub fn quarter_start(&self, day: Day) -> Day {
        let date = civil(day);
        let into = (date.month() + 12 - self.fiscal_start) % 3;
        let month = date.year() * 12 + date.month0() as i32 - into as i32;
        day_of(month.div_euclid(12), month.rem_euclid(12) as u32 + 1, 1).unwrap_or(day)
    }

    /// The first day of the month after the one `day` lies in.
    pub fn next_month(&self, day: Day) -> Day {
        let date = civil(day);
        let month = date.year() * 12 + date.month0() as i32 + 1;
        day_of(month.div_euclid(12), month.rem_euclid(12) as u32 + 1, 1).unwrap_or(day)
    }

    /// The first day of the fiscal quarter after the one that starts with `first`.
    pub fn next_quarter(&self, first: Day) -> Day {
        (0..3).fold(first, |day, _| self.next_month(day))
    }

    /// The same date a year before; of February 29 the 28th.
    pub fn year_before(&self, day: Day) -> Day {
        let date = civil(day);
        let same = day_of(date.year() - 1, date.month(), date.day());
        same.or_else(|| day_of(date.year() - 1, date.month(), 28))
            .unwrap_or(day)
    }

    /// True if panes are kept for a day: 1970 to 2100.
    pub fn keeps(&self, day: Day) -> bool {
        day >= 0 && i64::from(day) * DAY < year_start(LAST_YEAR + 1)
    }
}

/// The date of a local day.
pub fn civil(day: Day) -> NaiveDate {
    NaiveDate::from_num_days_from_ce_opt(day.saturating_add(719_163)).unwrap_or_default()
}

fn day_of(year: i32, month: u32, day: u32) -> Option<Day> {
    match date(NaiveDate::from_ymd_opt(year, month, day)?) {
        When::Date(day) => Some(day),
        When::Instant(_) => None,
    }
}

fn utc(seconds: i64) -> DateTime<chrono::Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap_or_default()
}

fn year_start(year: i32) -> i64 {
    i64::from(day_of(year, 1, 1).unwrap_or_default()) * DAY
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calendar(zone: Tz) -> Calendar {
        Calendar::new(zone, 1)
    }

    fn at(text: &str) -> When {
        When::parse(text).unwrap()
    }

    #[test]
    fn agrees_with_the_zone_database_around_every_change() {
        for zone in [
            Tz::Europe__Berlin,
            Tz::America__New_York,
            Tz::Asia__Kolkata,
            Tz::Australia__Lord_Howe,
            Tz::Pacific__Apia,
            Tz::Africa__Casablanca,
            Tz::America__Sao_Paulo,
        ] {
            let calendar = calendar(zone);
            for &(from, _) in &calendar.offsets[1..] {
                for seconds in [from - 1, from, from + 1, from + 1_800, from - 3_600] {
                    let local = zone.from_utc_datetime(&utc(seconds).naive_utc());
                    let (day, hour) = (
                        calendar.day(When::Instant(seconds * MICROS)),
                        calendar.hour_start(When::Instant(seconds * MICROS)),
                    );
                    assert_eq!(civil(day), local.date_naive(), "{zone} {seconds}");
                    assert!(
                        hour <= seconds && seconds - hour < 3_600,
                        "{zone} {seconds}"
                    );
                    let start = calendar.day_start(day);
                    assert!(start <= seconds, "{zone} {seconds}");
                    assert_eq!(
                        calendar.day(When::Instant(start * MICROS)),
                        day,
                        "{zone}: a day starts in itself"
                    );
                    assert!(
                        calendar.day(When::Instant((start - 1) * MICROS)) < day,
                        "{zone}: nothing of a day lies before its start"
                    );
                }
            }
        }
    }

    #[test]
    fn a_day_of_daylight_saving_has_23_or_25_hours() {
        let berlin = calendar(Tz::Europe__Berlin);
        let hours = |text: &str| {
            let day = berlin.day(at(text));
            (berlin.day_start(day + 1) - berlin.day_start(day)) / 3_600
        };
        assert_eq!(
            (
                hours("2026-03-29"),
                hours("2026-03-30"),
                hours("2026-10-25")
            ),
            (23, 24, 25)
        );
        // The hour that comes twice is two panes.
        assert_ne!(
            berlin.hour_start(at("2026-10-25T00:30:00Z")),
            berlin.hour_start(at("2026-10-25T01:30:00Z"))
        );
    }

    #[test]
    fn half_hour_zones_have_their_own_hours() {
        let kolkata = calendar(Tz::Asia__Kolkata);
        assert_eq!(
            When::Instant(kolkata.hour_start(at("2026-01-01T00:29:00Z")) * MICROS),
            at("2025-12-31T23:30:00Z")
        );
        assert_eq!(
            civil(kolkata.day(at("2026-01-01T18:29:59Z"))).to_string(),
            "2026-01-01"
        );
        assert_eq!(
            civil(kolkata.day(at("2026-01-01T18:30:00Z"))).to_string(),
            "2026-01-02"
        );
    }

    #[test]
    fn spans_are_whole_days_as_soon_as_a_date_is_in_them() {
        let berlin = calendar(Tz::Europe__Berlin);
        assert_eq!(
            berlin.span(at("2026-03-01T23:30:00Z"), at("2026-03-02")),
            0,
            "a same-day win, in local days"
        );
        assert_eq!(
            berlin.span(at("2026-03-28"), at("2026-03-30")),
            2 * DAY,
            "also across a day of 23 hours"
        );
        assert_eq!(
            berlin.span(at("2026-03-28T00:00:00Z"), at("2026-03-27T23:59:59.5Z")),
            -1
        );
    }

    #[test]
    fn fiscal_quarters_start_in_the_configured_month() {
        let day = |text: &str| calendar(Tz::UTC).day(at(text));
        let start = |fiscal, text| {
            civil(Calendar::new(Tz::UTC, fiscal).quarter_start(day(text))).to_string()
        };
        assert_eq!(start(1, "2026-05-17"), "2026-04-01");
        assert_eq!(start(2, "2026-01-31"), "2025-11-01");
        assert_eq!(start(2, "2026-02-01"), "2026-02-01");
        assert_eq!(start(3, "2026-02-28"), "2025-12-01");
        assert_eq!(
            civil(calendar(Tz::UTC).next_month(day("2025-12-31"))).to_string(),
            "2026-01-01"
        );
    }

    #[test]
    fn days_outside_1970_to_2100_are_not_kept() {
        let utc = calendar(Tz::UTC);
        let kept = |text| utc.keeps(utc.day(at(text)));
        assert!(kept("1970-01-01") && kept("2100-12-31"));
        assert!(!kept("1969-12-31") && !kept("2101-01-01"));
        assert!(
            !utc.keeps(utc.day(When::Instant(i64::MIN)))
                && !utc.keeps(utc.day(When::Date(i32::MAX)))
        );
    }
}
