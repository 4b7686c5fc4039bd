//! Which records moved a number most: the owner, the reason or the source that has more of them
//! than its share lets expect.

use super::watch::{Reader, Watch};
use crate::window::{Cell, sketch};

/// The dimensions in which a cause is looked for.
pub const BY: [&str; 3] = ["owner", "lost_reason", "source"];
/// The rollup that has the reasons; no other is cut by them.
pub const REASONS: &str = "losses.lost";

/// The records behind a change that one value has.
#[derive(Debug, Clone, PartialEq)]
pub struct Cause {
    /// One of [`BY`].
    pub by: &'static str,
    /// The value; blank for records without one.
    pub name: String,
    /// How many of the records that moved the number are its.
    pub records: u64,
    /// How many there are in all.
    pub of: u64,
}

/// The records of a value that moved the number, and how many there would usually be.
#[derive(Debug, Clone, PartialEq)]
pub struct Moved {
    /// The value.
    pub name: String,
    /// Its records.
    pub records: f64,
    /// As many as usual.
    pub usual: f64,
}

/// What the records that move a number down (durations: up) are called.
pub fn called(watch: Watch) -> &'static str {
    match watch {
        Watch::WinRate => "losses",
        Watch::CloseRate30d => "leads not won in time",
        Watch::UpsellRate => "wins that expand nobody",
        Watch::CycleLength => "wins that took longer than usual",
        Watch::LeadVolume => "missing leads",
    }
}

/// How many records of a cell moved the number, and how many usually would: `expected` is what was
/// usual of all, in the unit it is shown in. A volume is moved by records that are not there; of
/// these only other days tell how many are usual.
pub fn moved(watch: Watch, reader: &Reader, cell: &Cell, expected: f64) -> (f64, f64) {
    let tally = reader.tally(cell);
    match watch {
        Watch::CycleLength => {
            let buckets = cell.sketch.buckets().iter();
            let long = buckets.filter(|(bucket, _)| sketch::middle(*bucket) > expected);
            let long: i64 = long.map(|(_, count)| *count).sum();
            // What is usual is about the median.
            (long as f64, tally.n / 2.0)
        }
        Watch::LeadVolume => (tally.x, 0.0),
        _ => (tally.n - tally.x, tally.n * (1.0 - expected)),
    }
}

/// The value with most records more than usual, ties by name; `None` where no value has more.
pub fn cause(by: &'static str, values: &[Moved]) -> Option<Cause> {
    let more = |value: &Moved| value.records - value.usual;
    let most = values.iter().max_by(|a, b| {
        more(a)
            .total_cmp(&more(b))
            .then_with(|| b.name.cmp(&a.name))
    })?;
    let of: f64 = values.iter().map(|value| value.records).sum();
    let records = most.records.round() as u64;
    (more(most) > 0.0 && records > 0).then(|| Cause {
        by,
        name: most.name.clone(),
        records,
        of: of.round() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str, records: f64, usual: f64) -> Moved {
        Moved {
            name: name.to_owned(),
            records,
            usual,
        }
    }

    #[test]
    fn the_cause_is_who_has_more_than_a_share() {
        let values = [
            value("big", 20.0, 19.0),
            value("x", 9.0, 3.0),
            value("y", 1.0, 4.0),
        ];
        let found = cause("owner", &values).unwrap();
        assert_eq!((found.name.as_str(), found.records, found.of), ("x", 9, 30));
    }

    #[test]
    fn nobody_is_the_cause_of_what_is_usual() {
        assert_eq!(cause("owner", &[value("x", 3.0, 3.0)]), None);
        assert_eq!(cause("owner", &[]), None);
    }
}
