//! What the read model holds: the panes that windows are cut from now, and those they move on to
//! before everything is read again.

use std::collections::BTreeSet;

use crate::metric::QueryPlan;
use crate::window::Grain;
use crate::window::calendar::DAY;
use crate::window::rolling::PaneRange;

/// How far on either side of a range panes are held as well, in seconds. A clock that runs faster
/// only means that everything is read more often.
const MARGIN: i64 = 2 * DAY;
/// The same for panes of months, of which a window moves on by a whole one.
const MARGIN_OF_MONTHS: i64 = 31 * DAY + MARGIN;

/// Ranges of panes, each with the names of the rollups it is read for.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    ranges: Vec<(PaneRange, BTreeSet<String>)>,
}

impl Reach {
    /// The ranges of these plans, with a margin.
    pub fn around(plans: &[&QueryPlan]) -> Reach {
        let mut reach = Reach::default();
        for plan in plans {
            for (range, rollups) in plan.ranges.iter().zip(&plan.rollups) {
                let margin = match range.grain {
                    Grain::Month => MARGIN_OF_MONTHS,
                    _ => MARGIN,
                };
                reach.add(
                    PaneRange {
                        from: range.from.saturating_sub(margin).max(0),
                        to: range.to.saturating_add(margin),
                        ..*range
                    },
                    rollups,
                );
            }
        }
        reach
    }

    /// Adds a range; what overlaps for the same rollup becomes one range, so that no pane is read
    /// twice.
    fn add(&mut self, range: PaneRange, rollups: &BTreeSet<String>) {
        if range.to <= range.from && !range.undated {
            return;
        }
        for rollup in rollups {
            let mut merged = range;
            self.ranges.retain(|(known, names)| {
                let is_same = names.contains(rollup)
                    && known.grain == merged.grain
                    && known.from <= merged.to
                    && merged.from <= known.to;
                if is_same {
                    merged.from = merged.from.min(known.from);
                    merged.to = merged.to.max(known.to);
                    merged.undated |= known.undated;
                }
                !is_same
            });
            self.ranges.push((merged, BTreeSet::from([rollup.clone()])));
        }
    }

    /// The ranges, each with all rollups that have it.
    pub fn ranges(&self) -> Vec<(PaneRange, BTreeSet<String>)> {
        let mut grouped: Vec<(PaneRange, BTreeSet<String>)> = Vec::new();
        for (range, rollups) in &self.ranges {
            match grouped.iter_mut().find(|(known, _)| known == range) {
                Some((_, names)) => names.extend(rollups.iter().cloned()),
                None => grouped.push((*range, rollups.clone())),
            }
        }
        grouped
    }

    /// Of every grain one range that holds those of all rollups.
    pub fn panes(&self) -> Vec<PaneRange> {
        let mut panes: Vec<PaneRange> = Vec::new();
        for (range, _) in &self.ranges {
            match panes.iter_mut().find(|known| known.grain == range.grain) {
                Some(known) => {
                    known.from = known.from.min(range.from);
                    known.to = known.to.max(range.to);
                }
                None => panes.push(*range),
            }
        }
        panes
    }

    /// The ranges of one rollup.
    pub fn ranges_of(&self, rollup: &str) -> Vec<PaneRange> {
        let of_rollup = self
            .ranges
            .iter()
            .filter(|(_, names)| names.contains(rollup));
        of_rollup.map(|(range, _)| *range).collect()
    }

    /// True if everything the plan sums is held. Before 1970 there are no panes.
    pub fn covers(&self, plan: &QueryPlan) -> bool {
        let is_held = |range: &PaneRange, rollup: &str| {
            let is_empty = (range.to <= range.from || range.to <= 0) && !range.undated;
            is_empty
                || self.ranges.iter().any(|(known, names)| {
                    names.contains(rollup)
                        && known.grain == range.grain
                        && known.from <= range.from.max(0)
                        && range.to <= known.to
                        && (known.undated || !range.undated)
                })
        };
        plan.ranges
            .iter()
            .zip(&plan.rollups)
            .all(|(range, rollups)| rollups.iter().all(|rollup| is_held(range, rollup)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions::DefinitionsSpec;
    use crate::event::When;
    use crate::metric::Catalogue;
    use crate::window::rolling::{Now, ROLLING};

    fn plan(now: &str, watermark: &str) -> QueryPlan {
        let catalogue = Catalogue::new(DefinitionsSpec {
            time_zone: "Europe/Berlin".into(),
            ..DefinitionsSpec::default()
        })
        .unwrap();
        let calendar = &catalogue.calendar;
        let micros = |text: &str| calendar.instant(When::parse(text).unwrap());
        let now = Now {
            now: micros(now),
            watermark: micros(watermark),
        };
        QueryPlan::new(ROLLING.to_vec(), now, &catalogue)
    }

    #[test]
    fn windows_move_within_the_margin_and_not_beyond() {
        let start = plan("2026-04-29T10:00:00Z", "2026-04-29T10:00:00Z");
        let reach = Reach::around(&[&start]);
        assert!(reach.covers(&start));
        // Into another month.
        assert!(reach.covers(&plan("2026-04-30T23:00:00Z", "2026-04-30T22:00:00Z")));
        assert!(!reach.covers(&plan("2026-05-02T10:00:00Z", "2026-05-02T10:00:00Z")));
        assert!(
            !reach.covers(&plan("2026-04-29T10:00:00Z", "2026-04-23T10:00:00Z")),
            "a watermark far behind looks at older cohorts"
        );
    }

    #[test]
    fn a_pane_is_asked_for_once_a_rollup() {
        let reach = Reach::around(&[&plan("2026-03-31T10:00:00Z", "2026-03-31T10:00:00Z")]);
        let ranges = reach.ranges();
        for (i, (range, rollups)) in ranges.iter().enumerate() {
            for (other, names) in &ranges[i + 1..] {
                let overlaps =
                    range.grain == other.grain && range.from < other.to && other.from < range.to;
                assert!(
                    !overlaps || rollups.is_disjoint(names),
                    "{range:?} {other:?}"
                );
            }
        }
    }
}
