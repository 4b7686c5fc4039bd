//! A point in time as a source states it.

use chrono::NaiveDate;

/// An instant, or a whole day of the organisation's calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum When {
    /// µs since the Unix epoch.
    Instant(i64),
    /// Days since 1970-01-01.
    Date(i32),
}

impl When {
    /// No time at all: it lies in no pane but the undated one.
    pub const UNDATED: When = When::Date(i32::MIN);
}

/// A calendar date as [`When::Date`].
pub fn date(date: NaiveDate) -> When {
    When::Date((date - NaiveDate::default()).num_days() as i32)
}
