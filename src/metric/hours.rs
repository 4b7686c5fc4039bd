//! Which hours a rollup has cells of. Those of a cohort that is shown when it is mature are kept
//! until then.

use super::{Catalogue, Metric, Rollup};
use crate::window::{Grain, Pane};

/// By rollup, how long before the present lies the end of what it is read for (s), at most.
#[derive(Debug, Clone)]
pub(super) struct Lags(Vec<i64>);

impl Lags {
    /// Those of the rollups of these metrics; of each metric the first one is given.
    pub fn new(metrics: &[&'static dyn Metric], rollups: &[Rollup], bases: &[u8]) -> Lags {
        let mut lags = vec![0; rollups.len()];
        for (metric, base) in metrics.iter().zip(bases) {
            let own = metric.spans().iter();
            let own = own.map(|(rollup, span)| (usize::from(*base) + rollup, span));
            let read = metric.reads().iter().filter_map(|(name, span)| {
                let rollup = rollups.iter().position(|rollup| rollup.name == *name)?;
                Some((rollup, span))
            });
            for (rollup, span) in own.chain(read) {
                lags[rollup] = span.lag().max(lags[rollup]);
            }
        }
        Lags(lags)
    }
}

impl Catalogue {
    /// The start (s) of the first hour that a rollup has cells of when the log has come to a time
    /// (µs).
    pub fn first_hour(&self, rollup: u8, append_time: i64) -> i64 {
        let Lags(lags) = self.lags();
        let first = self.spec.hours_kept.first(append_time);
        first.saturating_sub(lags[usize::from(rollup)])
    }

    /// True if a rollup can have a cell of a pane when the log has come to a time (µs). What is
    /// stored of any other was true at an earlier time, and is not corrected any more.
    pub fn keeps_pane(&self, rollup: u8, pane: Pane, append_time: i64) -> bool {
        pane.grain != Grain::Hour || pane.start >= self.first_hour(rollup, append_time)
    }

    /// The rollups that are read for a time before the present, with how long before it (s), at
    /// most.
    pub fn lagging(&self) -> impl Iterator<Item = (&Rollup, i64)> {
        let Lags(lags) = self.lags();
        let lags = self.rollups().iter().zip(lags.iter().copied());
        lags.filter(|(_, lag)| *lag > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions::{DefinitionsSpec, HoursKept};
    use crate::window::calendar::DAY;
    use crate::window::rolling::{Now, Window};

    /// In microseconds.
    const HOUR: i64 = 3_600 * 1_000_000;

    #[test]
    fn the_hours_of_a_cohort_are_kept_until_it_is_mature_and_as_long_as_any_other_beyond() {
        let catalogue = Catalogue::new(DefinitionsSpec::default()).unwrap();
        let lagging: Vec<_> = catalogue
            .lagging()
            .map(|(r, lag)| (&*r.name, lag))
            .collect();
        assert_eq!(lagging, [("close_rate.cohort", 90 * DAY)]);
        let numbers = catalogue.numbers_of_rollups();
        let (cohort, won) = (numbers["close_rate.cohort"], numbers["win_rate.closed"]);
        let append_time = 20_000 * DAY * 1_000_000;
        assert_eq!(catalogue.first_hour(won, append_time), 19_993 * DAY);
        assert_eq!(catalogue.first_hour(cohort, append_time), 19_903 * DAY);
    }

    /// What is read by a clock that is behind the log's finds all its panes still.
    #[test]
    fn all_panes_of_the_windows_are_kept() {
        let catalogue = Catalogue::new(DefinitionsSpec {
            hours_kept: HoursKept::Days(2),
            time_zone: "Asia/Kolkata".into(),
            ..DefinitionsSpec::default()
        })
        .unwrap();
        let now = 20_000 * DAY * 1_000_000 + 17;
        let metrics = catalogue.metrics();
        let spans = metrics.flat_map(|metric| {
            let base = catalogue.base(catalogue.position(metric.name()).unwrap());
            metric
                .spans()
                .iter()
                .map(move |(rollup, span)| (base + *rollup as u8, *span))
        });
        let mut ranges = 0;
        for (rollup, span) in spans {
            let at = Now {
                now,
                watermark: now,
            };
            let panes = Window::Hours(24).panes(span, at, &catalogue.calendar);
            let Some(range) = panes.filter(|range| range.grain == Grain::Hour) else {
                continue;
            };
            let first = Pane {
                grain: Grain::Hour,
                start: range.from,
            };
            assert!(catalogue.keeps_pane(rollup, first, now), "{span:?}");
            assert!(
                catalogue.keeps_pane(rollup, first, now + 23 * HOUR),
                "{span:?}"
            );
            assert!(
                !catalogue.keeps_pane(rollup, first, now + 100 * DAY * 1_000_000),
                "{span:?}"
            );
            ranges += 1;
        }
        assert!(ranges > 20, "{ranges}");
    }
}
