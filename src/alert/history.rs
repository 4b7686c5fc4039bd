//! The watched series of an organisation: daily cells in, series by name out.

use std::collections::BTreeMap;

use super::daily::{Daily, Tally};
use super::watch::{Reader, TOTAL, Watch, WatchedSeries};
use super::{CAUGHT_WITHIN, Likelihood};
use crate::metric::Catalogue;
use crate::window::rolling::Now;
use crate::window::{Cell, Day, When};

/// The last day that counts of a watch: full, folded, and of cohorts matured.
pub fn newest_day(catalogue: &Catalogue, watch: Watch, now: Now) -> Day {
    let delay = watch.delay();
    // As in the windows of matured cohorts: the day that holds this instant is the first that is
    // not full.
    let limit = now.now.min(now.watermark);
    let limit = limit.saturating_sub(i64::from(delay) * crate::window::calendar::DAY * 1_000_000);
    catalogue.calendar.day(When::Instant(limit)) - 1 + delay
}

/// How much a value of a dimension is watched for: records in the last so many days.
const RECENT: Day = 364;

/// Collects the cells of the watched rollups.
pub struct History {
    watches: Vec<(Watch, Reader)>,
    tallies: BTreeMap<WatchedSeries, Vec<(Day, Tally)>>,
}

impl History {
    /// For the watches that a catalogue keeps cells of and that are shown, by the name of their
    /// metric.
    pub fn new(catalogue: &Catalogue, is_shown: impl Fn(&str) -> bool) -> History {
        let watches = Watch::ALL.into_iter().filter(|watch| {
            let metric = watch.rollup().split('.').next().unwrap_or_default();
            is_shown(metric)
        });
        let watches = watches.filter_map(|watch| Some((watch, watch.reader(catalogue)?)));
        History {
            watches: watches.collect(),
            tallies: BTreeMap::new(),
        }
    }

    /// The last day, up to `today`, on which anything was counted of a total; it may not be over
    /// yet.
    pub fn last_day(&self, today: Day) -> Option<Day> {
        let totals = self.tallies.iter();
        let totals = totals.filter(|(series, _)| series.dimension == TOTAL);
        let days = totals.flat_map(|(series, tallies)| {
            let delay = series.watch.delay();
            tallies.iter().map(move |(day, _)| day - delay)
        });
        days.filter(|day| *day <= today).max()
    }

    /// What is watched.
    pub fn watches(&self) -> impl Iterator<Item = Watch> {
        self.watches.iter().map(|(watch, _)| *watch)
    }

    /// The names of the rollups it is made of.
    pub fn rollups(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.watches().map(Watch::rollup).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The dimensions it is cut by, as the rollups name them: blank for the total.
    pub fn dimensions(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self
            .watches()
            .flat_map(|w| w.dimensions())
            .copied()
            .collect();
        names.sort_unstable();
        names.dedup();
        std::iter::once("").chain(names).collect()
    }

    /// Takes the cell of a day; several of one day and series are added.
    pub fn take(&mut self, rollup: &str, dimension: &str, value: &str, day: Day, cell: &Cell) {
        for (watch, reader) in &self.watches {
            let is_of = dimension.is_empty() || watch.dimensions().contains(&dimension);
            if watch.rollup() != rollup || !is_of {
                continue;
            }
            let tally = reader.tally(cell);
            if tally == Tally::default() {
                continue;
            }
            let mut series = WatchedSeries::total(*watch);
            if !dimension.is_empty() {
                series.dimension = dimension.to_owned();
                series.value = value.to_owned();
            }
            let of_series = self.tallies.entry(series).or_default();
            of_series.push((day + watch.delay(), tally));
        }
    }

    /// The series in order of name, each up to the newest day of its watch: the totals, and of a
    /// dimension the `most` values that have most records, ties by name.
    pub fn series(self, newest: impl Fn(Watch) -> Day, most: usize) -> Vec<(WatchedSeries, Daily)> {
        let mut found: Vec<(WatchedSeries, Daily, f64)> = Vec::new();
        for (series, tallies) in self.tallies {
            let daily = Daily::of(tallies, newest(series.watch));
            if daily.days.len() < CAUGHT_WITHIN {
                continue;
            }
            let recent = daily.positions(&(daily.end() - RECENT..daily.end()));
            let is_volume = matches!(series.watch.likelihood(), Likelihood::Volume { .. });
            let counted = |day: &Tally| if is_volume { day.x } else { day.n };
            let size = daily.days[recent].iter().map(counted).sum();
            let daily = if is_volume { daily.of_volume() } else { daily };
            found.push((series, daily, size));
        }
        // The sort is stable, and the map was in order of name.
        found.sort_by(|a, b| b.2.total_cmp(&a.2));
        let mut taken: BTreeMap<(Watch, String), usize> = BTreeMap::new();
        found.retain(|(series, _, size)| {
            let of_dimension = taken
                .entry((series.watch, series.dimension.clone()))
                .or_default();
            *of_dimension += 1;
            *size > 0.0 && *of_dimension <= most
        });
        found.sort_by(|a, b| {
            let order = |s: &WatchedSeries| (s.watch, s.dimension != TOTAL);
            (order(&a.0).cmp(&order(&b.0))).then_with(|| a.0.cmp(&b.0))
        });
        let series = found.into_iter();
        series.map(|(series, daily, _)| (series, daily)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions::DefinitionsSpec;
    use crate::window::calendar::DAY;

    /// 2026-01-10.
    const TODAY: Day = 20_463;

    fn catalogue() -> Catalogue {
        Catalogue::new(DefinitionsSpec::default()).unwrap()
    }

    fn leads(count: i64) -> Cell {
        let mut cell = Cell::default();
        cell.count(0, count);
        cell
    }

    #[test]
    fn the_newest_day_is_full_and_of_cohorts_matured() {
        let catalogue = catalogue();
        let at = |day: Day, hours: i64| (i64::from(day) * DAY + hours * 3_600) * 1_000_000;
        let now = |watermark| Now {
            now: at(TODAY, 10),
            watermark,
        };
        for watch in Watch::ALL {
            let newest = |watermark| newest_day(&catalogue, watch, now(watermark));
            assert_eq!(newest(i64::MAX), TODAY - 1, "{}", watch.name());
            assert_eq!(newest(at(TODAY - 3, 23)), TODAY - 4, "not folded further");
        }
    }

    #[test]
    fn a_cohort_is_counted_on_the_day_it_has_matured() {
        let catalogue = catalogue();
        let mut history = History::new(&catalogue, |_| true);
        for day in 0..60 {
            history.take("close_rate.cohort", "", "", TODAY - day, &leads(1));
        }
        let series = history.series(|_| TODAY - 1, 20);
        let (name, daily) = &series[0];
        assert_eq!(name, &WatchedSeries::total(Watch::CloseRate30d));
        assert_eq!((daily.first, daily.end()), (TODAY - 59 + 30, TODAY));
    }

    #[test]
    fn the_values_with_most_records_are_watched_and_what_is_not_shown_is_not() {
        let catalogue = catalogue();
        let mut history = History::new(&catalogue, |metric| metric == "lead_source");
        for day in 0..60 {
            for (value, count) in [("few", 1), ("many", 3), ("", 2)] {
                let (dimension, rollup) = ("source", "lead_source.cohort");
                history.take(rollup, dimension, value, TODAY - day, &leads(count));
                history.take(rollup, "team", value, TODAY - day, &leads(count));
            }
            history.take("lead_source.cohort", "", "", TODAY - day, &leads(6));
            history.take("win_rate.closed", "", "", TODAY - day, &leads(6));
        }
        assert_eq!(history.last_day(TODAY - 5), Some(TODAY - 5));
        let series = history.series(|_| TODAY - 1, 2);
        let names: Vec<String> = series.iter().map(|(name, _)| name.to_string()).collect();
        let expected = [
            "lead_volume",
            "lead_volume source=",
            "lead_volume source=many",
        ];
        assert_eq!(names, expected);
    }
}
