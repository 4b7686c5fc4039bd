//! Like days: the days of the last quarters at the same phase. Win rates and volumes have the
//! rhythm of the fiscal quarter, so the last week of one is compared with the last weeks of others.

use std::ops::Range;

use crate::window::{Calendar, Day};

/// How many quarters a day is compared with.
pub const QUARTERS: usize = 4;
/// Days before and after a like day that are like it, too.
const AROUND: Day = 15;
/// The places a day can have in a quarter of three months of at most 31 days.
pub const PLACES: usize = 93;

/// The like days of every day of a stretch of time.
#[derive(Debug, Clone)]
pub struct Phases {
    first: Day,
    days: Vec<Phase>,
}

/// One day among its like.
#[derive(Debug, Clone)]
pub struct Phase {
    /// Its place in the quarter, 0 to [`PLACES`] − 1; days of a quarter's last month are counted
    /// from the quarter's end.
    pub place: usize,
    /// The days around the like day of each quarter before, the nearest first; none of them in
    /// another quarter.
    pub like: [Range<Day>; QUARTERS],
}

impl Phases {
    /// The days of a range under a calendar.
    pub fn new(calendar: &Calendar, days: Range<Day>) -> Phases {
        let phases = days.clone().map(|day| Phase::of(calendar, day));
        Phases {
            first: days.start,
            days: phases.collect(),
        }
    }

    /// The phase of a day of the range.
    pub fn of(&self, day: Day) -> Option<&Phase> {
        self.days.get(usize::try_from(day - self.first).ok()?)
    }

    /// The days there are.
    pub fn range(&self) -> Range<Day> {
        self.first..self.first + self.days.len() as Day
    }
}

impl Phase {
    fn of(calendar: &Calendar, day: Day) -> Phase {
        let quarter = calendar.quarter_start(day);
        let end = calendar.next_quarter(quarter);
        let last_month = calendar.month_start(end - 1);
        let (month, day_of_month) = (calendar.month_start(day), day - calendar.month_start(day));
        let is_last = month == last_month;
        let place = match (is_last, month == quarter) {
            (true, _) => PLACES as Day - (end - day),
            (false, true) => day_of_month,
            (false, false) => 31 + day_of_month,
        };
        let mut start = quarter;
        let like = std::array::from_fn(|_| {
            let (before, end_before) = (calendar.quarter_start(start - 1), start);
            start = before;
            let like = if is_last {
                end_before - (end - day)
            } else {
                before + (day - quarter)
            };
            (like - AROUND).max(before)..(like + AROUND + 1).min(end_before)
        });
        Phase {
            place: place.clamp(0, PLACES as Day - 1) as usize,
            like,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::When;
    use crate::window::calendar::civil;
    use chrono_tz::Tz;

    fn like(fiscal_start: u32, text: &str) -> (usize, Vec<(String, String)>) {
        let calendar = Calendar::new(Tz::UTC, fiscal_start);
        let day = calendar.day(When::parse(text).unwrap());
        let phases = Phases::new(&calendar, day..day + 1);
        let phase = phases.of(day).unwrap();
        let written = phase.like.iter();
        let written = written.map(|r| (civil(r.start).to_string(), civil(r.end - 1).to_string()));
        (phase.place, written.collect())
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = pairs.iter();
        owned
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    }

    #[test]
    fn a_day_is_like_those_at_the_same_distance_from_the_quarters_start() {
        let (place, like) = like(1, "2026-05-10");
        assert_eq!(place, 31 + 9);
        let expected = [
            ("2026-01-25", "2026-02-24"),
            ("2025-10-25", "2025-11-24"),
            ("2025-07-25", "2025-08-24"),
            ("2025-04-25", "2025-05-25"),
        ];
        assert_eq!(like, pairs(&expected));
    }

    #[test]
    fn in_a_quarters_last_month_days_are_counted_from_its_end_and_never_beyond_it() {
        let (place, like) = like(1, "2026-06-28");
        assert_eq!(place, PLACES - 3);
        let expected = [
            ("2026-03-14", "2026-03-31"),
            ("2025-12-14", "2025-12-31"),
            ("2025-09-13", "2025-09-30"),
            ("2025-06-13", "2025-06-30"),
        ];
        assert_eq!(like, pairs(&expected));
    }

    #[test]
    fn quarters_are_those_of_the_fiscal_year() {
        let (place, like) = like(2, "2026-02-01");
        assert_eq!(place, 0, "the first day of the fiscal year");
        assert_eq!(
            like[0],
            ("2025-11-01".to_owned(), "2025-11-16".to_owned()),
            "nothing before a quarter's start"
        );
    }
}
