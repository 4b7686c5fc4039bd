//! What is watched, and how it is read from the cells.

use std::fmt;

use super::daily::Tally;
use super::likelihood::Likelihood;
use crate::metric::Catalogue;
use crate::window::calendar::DAY;
use crate::window::{Cell, Day, sketch};

/// How a total is named, as dimension and as value.
pub const TOTAL: &str = "all";
/// Days a lead is given to become a won deal.
const MATURED: u32 = 30;
/// The fall of a share that is looked for: to 65 % of what is usual.
const FALLEN: Likelihood = Likelihood::Share { factor: 0.65 };

/// A number that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Watch {
    /// Wins among deals decided, by the day they closed.
    WinRate,
    /// Leads won within 30 days, by the day they had had these.
    CloseRate30d,
    /// Expansions among wins, by the day they closed.
    UpsellRate,
    /// Days from creation to close of won deals, by the day they closed. It is a rise that is bad.
    CycleLength,
    /// Leads by the day they were created: little or nothing is bad.
    LeadVolume,
}

/// A watch of the total or of a value of a dimension.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatchedSeries {
    /// What is watched.
    pub watch: Watch,
    /// [`TOTAL`], `source` or `team`.
    pub dimension: String,
    /// [`TOTAL`], or the value; blank for records without one.
    pub value: String,
}

/// Where a watch is read: a rollup, and which of its counts are the share and the whole.
struct Source {
    rollup: &'static str,
    part: &'static [&'static str],
    whole: &'static [&'static str],
}

impl Watch {
    /// All there are.
    pub const ALL: [Watch; 5] = [
        Watch::WinRate,
        Watch::CloseRate30d,
        Watch::UpsellRate,
        Watch::CycleLength,
        Watch::LeadVolume,
    ];

    /// Its name in gauges and tables.
    pub fn name(self) -> &'static str {
        match self {
            Watch::WinRate => "win_rate",
            Watch::CloseRate30d => "close_rate_30d",
            Watch::UpsellRate => "upsell_rate",
            Watch::CycleLength => "cycle_length",
            Watch::LeadVolume => "lead_volume",
        }
    }

    /// The watch of a name.
    pub fn named(name: &str) -> Option<Watch> {
        Watch::ALL.into_iter().find(|watch| watch.name() == name)
    }

    /// How it is distributed, and which change is looked for. Leads come in bursts, so of their
    /// volume only a fall to a third and less is.
    pub fn likelihood(self) -> Likelihood {
        match self {
            Watch::WinRate | Watch::CloseRate30d | Watch::UpsellRate => FALLEN,
            Watch::CycleLength => Likelihood::Duration { factor: 1.35 },
            Watch::LeadVolume => Likelihood::Volume { factor: 0.35 },
        }
    }

    /// The change that has to be caught in time for a series to be judged: a fall by this part, of
    /// durations a rise.
    pub fn target(self) -> f64 {
        match self {
            Watch::LeadVolume => 0.8,
            _ => 0.4,
        }
    }

    /// The dimensions it is watched by, besides the total.
    pub fn dimensions(self) -> &'static [&'static str] {
        match self {
            Watch::LeadVolume => &["source"],
            _ => &["source", "team"],
        }
    }

    /// What its records are called.
    pub fn records(self) -> &'static str {
        match self {
            Watch::WinRate => "decided deals",
            Watch::CloseRate30d => "matured leads",
            Watch::UpsellRate | Watch::CycleLength => "won deals",
            Watch::LeadVolume => "leads",
        }
    }

    /// The rollup it is read from.
    pub fn rollup(self) -> &'static str {
        self.source().rollup
    }

    /// How many days after the day of its pane a record is counted.
    pub fn delay(self) -> Day {
        match self {
            Watch::CloseRate30d => MATURED as Day,
            _ => 0,
        }
    }

    fn source(self) -> Source {
        let source = |rollup, part, whole| Source {
            rollup,
            part,
            whole,
        };
        match self {
            Watch::WinRate => source("win_rate.closed", &["won"], &["won", "lost"]),
            Watch::CloseRate30d => source("close_rate.cohort", &["won_30d"], &["leads"]),
            Watch::UpsellRate => source(
                "upsell.won",
                &["upsell", "cross_sell"],
                &[
                    "new",
                    "upsell",
                    "cross_sell",
                    "renewal",
                    "repeat",
                    "unclassified",
                ],
            ),
            Watch::CycleLength => source("cycle_length.won", &[], &[]),
            Watch::LeadVolume => source("lead_source.cohort", &["leads"], &[]),
        }
    }

    /// A reader of its cells under a catalogue; `None` if this catalogue doesn't keep them.
    pub fn reader(self, catalogue: &Catalogue) -> Option<Reader> {
        let source = self.source();
        let mut rollups = catalogue.rollups().iter();
        let rollup = rollups.find(|rollup| rollup.name == source.rollup)?;
        let numbers = |names: &[&str]| -> Option<Vec<usize>> {
            let number = |name: &&str| rollup.counts.iter().position(|count| count == name);
            names.iter().map(number).collect()
        };
        Some(Reader {
            part: numbers(source.part)?,
            whole: numbers(source.whole)?,
            is_duration: matches!(self.likelihood(), Likelihood::Duration { .. }),
        })
    }

    /// A mean of what is watched in the unit it is shown in: a share, seconds, a count a day. Of
    /// durations it is the geometric mean.
    pub fn shown(self, mean: f64) -> f64 {
        match self {
            Watch::CycleLength => mean.exp_m1().max(0.0) * DAY as f64,
            _ => mean,
        }
    }
}

impl WatchedSeries {
    /// The total of a watch.
    pub fn total(watch: Watch) -> WatchedSeries {
        WatchedSeries {
            watch,
            dimension: TOTAL.to_owned(),
            value: TOTAL.to_owned(),
        }
    }
}

impl fmt::Display for WatchedSeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.watch.name())?;
        match self.dimension.as_str() {
            TOTAL => Ok(()),
            dimension => write!(f, " {dimension}={}", self.value),
        }
    }
}

/// Reads cells as tallies.
#[derive(Debug, Clone)]
pub struct Reader {
    part: Vec<usize>,
    whole: Vec<usize>,
    is_duration: bool,
}

impl Reader {
    /// What a cell adds to its day.
    pub fn tally(&self, cell: &Cell) -> Tally {
        if self.is_duration {
            let mut tally = Tally::default();
            for &(bucket, count) in cell.sketch.buckets() {
                let (days, count) = (sketch::middle(bucket) / DAY as f64, count as f64);
                let logarithm = days.max(0.0).ln_1p();
                tally += Tally {
                    n: count,
                    x: count * logarithm,
                    xx: count * logarithm * logarithm,
                };
            }
            return tally;
        }
        let sum = |numbers: &[usize]| numbers.iter().map(|n| cell.counted(*n)).sum::<i64>() as f64;
        Tally {
            n: sum(&self.whole),
            x: sum(&self.part),
            xx: 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions::DefinitionsSpec;

    #[test]
    fn every_watch_is_read_from_counts_that_there_are() {
        let catalogue = Catalogue::new(DefinitionsSpec::default()).unwrap();
        for watch in Watch::ALL {
            assert!(watch.reader(&catalogue).is_some(), "{}", watch.name());
            assert_eq!(Watch::named(watch.name()), Some(watch));
        }
    }

    #[test]
    fn an_upsell_rate_counts_all_wins() {
        let catalogue = Catalogue::new(DefinitionsSpec::default()).unwrap();
        let reader = Watch::UpsellRate.reader(&catalogue).unwrap();
        let mut rollups = catalogue.rollups().iter();
        let rollup = rollups.find(|rollup| rollup.name == "upsell.won").unwrap();
        let mut cell = Cell::default();
        (0..rollup.counts.len()).for_each(|measure| cell.count(measure, 1));
        assert_eq!(reader.tally(&cell).n, rollup.counts.len() as f64);
    }

    #[test]
    fn durations_are_read_from_the_sketch() {
        let catalogue = Catalogue::new(DefinitionsSpec::default()).unwrap();
        let reader = Watch::CycleLength.reader(&catalogue).unwrap();
        let mut cell = Cell::default();
        cell.sketch.add(sketch::bucket(30 * DAY), 2);
        cell.sketch.add(0, 1);
        let tally = reader.tally(&cell);
        assert_eq!(tally.n, 3.0);
        assert!((tally.x - 2.0 * 31f64.ln()).abs() < 0.03, "{}", tally.x);
    }
}
