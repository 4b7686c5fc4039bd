//! When people work, ask and sign: the season of a year, a week and a day, and the rush at a
//! quarter's end.

use super::random::Random;
use chrono::{DateTime, Datelike, Days, Months, NaiveDate, Timelike, Utc};

/// Milliseconds of an hour and a day; every time in the generator is unix milliseconds.
pub(super) const HOUR: i64 = 3_600_000;
pub(super) const DAY: i64 = 24 * HOUR;
pub(super) const MINUTE: i64 = 60_000;

const MONTHS: [u64; 12] = [95, 100, 110, 105, 100, 95, 80, 70, 105, 115, 110, 75];
const WEEKDAYS: [u64; 7] = [115, 120, 118, 110, 95, 22, 20];
const HOURS: [u64; 24] = [
    4, 3, 3, 4, 8, 20, 40, 70, 100, 115, 120, 110, 95, 105, 115, 110, 100, 85, 65, 50, 38, 28, 16,
    8,
];

/// The time as chrono has it; past chrono's last year it is that year's end.
pub(super) fn utc(at: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(at).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// How busy the hour beginning at this time is, against the other hours.
pub(super) fn busyness(at: i64) -> u64 {
    let time = utc(at);
    MONTHS[time.month0() as usize]
        * WEEKDAYS[time.weekday().num_days_from_monday() as usize]
        * HOURS[time.hour() as usize]
}

/// Whether a day, counted from 1 January 1970, is a Saturday or a Sunday.
pub(super) fn is_weekend(day: i64) -> bool {
    // Day 0 was a Thursday: with Monday as 0, it is 3.
    (day + 3).rem_euclid(7) >= 5
}

/// The first moment at or after `at` at which somebody is at work, `offset` hours east of UTC.
pub(super) fn at_work(at: i64, offset: i64, random: &mut Random) -> i64 {
    let local = at + offset * HOUR;
    let mut day = local.div_euclid(DAY);
    let within = local.rem_euclid(DAY);
    if !is_weekend(day) && (8 * HOUR..18 * HOUR).contains(&within) {
        return at;
    }
    if within >= 18 * HOUR {
        day += 1;
    }
    while is_weekend(day) {
        day += 1;
    }
    // A closing rush in the morning would look odd, so the resumed work is partition_by_home over
    // its day.
    day * DAY + random.between(8 * HOUR, 18 * HOUR - 1) - offset * HOUR
}

/// When a deal that could be signed at `ready` is signed: many wait for the end of the quarter or
/// the month.
pub(super) fn signing(ready: i64, offset: i64, random: &mut Random) -> i64 {
    let quarter_end = period(ready, 3).1;
    let wait_for = if quarter_end - ready < 40 * DAY && random.chance(380) {
        quarter_end - random.below(14 * DAY as u64) as i64
    } else if random.chance(120) {
        period(ready, 1).1 - random.below(4 * DAY as u64) as i64
    } else {
        ready
    };
    at_work(ready.max(wait_for), offset, random)
}

/// The first moment of the calendar month, or of the quarter of 3 `months`, that holds this time,
/// and the first after it.
pub(super) fn period(at: i64, months: u32) -> (i64, i64) {
    let date = utc(at).date_naive();
    let first = date
        .checked_sub_days(Days::new(u64::from(date.day0())))
        .and_then(|first| first.checked_sub_months(Months::new(date.month0() % months)))
        .unwrap_or(NaiveDate::MIN);
    let next = first
        .checked_add_months(Months::new(months))
        .unwrap_or(NaiveDate::MAX);
    let start_of = |date: NaiveDate| {
        let days = date.signed_duration_since(NaiveDate::default());
        days.num_days() * DAY
    };
    (start_of(first), start_of(next))
}

/// The same day and time a month later, or that month's last day.
pub(super) fn a_month_later(at: i64) -> i64 {
    let later = utc(at).checked_add_months(Months::new(1));
    later.map_or(i64::MAX, |later| later.timestamp_millis())
}
