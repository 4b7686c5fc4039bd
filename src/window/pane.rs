//! Panes: the smallest time ranges that have cells. Every window is a sum of panes.

use super::calendar::{Calendar, DAY, Day};
use super::when::When;

/// How long a pane is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Grain {
    /// A local hour.
    Hour = 1,
    /// A local day.
    Day = 2,
    /// A local calendar month.
    Month = 3,
    /// No time at all: what is outside 1970 to 2100.
    Undated = 4,
}

impl Grain {
    /// The grain of a number in the rollups.
    pub fn from_number(number: u8) -> Option<Grain> {
        [Grain::Hour, Grain::Day, Grain::Month, Grain::Undated]
            .into_iter()
            .find(|grain| *grain as u8 == number)
    }

    /// Its name in the rollups.
    pub fn name(self) -> &'static str {
        match self {
            Grain::Hour => "hour",
            Grain::Day => "day",
            Grain::Month => "month",
            Grain::Undated => "undated",
        }
    }
}

/// One stretch of the organisation's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pane {
    /// How long it is.
    pub grain: Grain,
    /// Where it starts, in seconds: an hour's instant since the epoch; a day's or month's local
    /// date, as midnight UTC.
    pub start: i64,
}

impl Pane {
    /// The pane for what has no usable time.
    pub const UNDATED: Pane = Pane {
        grain: Grain::Undated,
        start: 0,
    };

    /// The pane of `grain` that holds `when`.
    pub fn of(when: When, grain: Grain, calendar: &Calendar) -> Pane {
        let day = calendar.day(when);
        if !calendar.keeps(day) {
            return Pane::UNDATED;
        }
        match grain {
            Grain::Hour => Pane {
                grain,
                start: calendar.hour_start(when).max(0),
            },
            Grain::Day => Pane::day(day),
            Grain::Month => Pane {
                grain,
                start: i64::from(calendar.month_start(day)) * DAY,
            },
            Grain::Undated => Pane::UNDATED,
        }
    }

    /// The local day of what is in it: an hour's day, the first one of a month; of what has no time
    /// the last one there is.
    pub fn local_day(self, calendar: &Calendar) -> Day {
        match self.grain {
            Grain::Hour => calendar.day(When::Instant(self.start.saturating_mul(1_000_000))),
            Grain::Day | Grain::Month => (self.start / DAY) as Day,
            Grain::Undated => Day::MAX,
        }
    }

    /// The pane of a day.
    pub fn day(day: Day) -> Pane {
        Pane {
            grain: Grain::Day,
            start: i64::from(day) * DAY,
        }
    }
}
