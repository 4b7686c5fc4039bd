//! Where a series is now, and when it would have alerted.

use super::calibrate::Calibration;
use super::cusum::{Cusum, Episodes, Step, steps};
use super::daily::{Daily, Tally};
use super::fit::{Fit, fit};
use super::phase::Phases;
use super::threshold::{information, looked_for, simulated, smallest_drop};
use super::{Likelihood, Watch};
use crate::window::Day;

/// Days that say what is observed where there is no evidence of anything.
const RECENT: usize = 28;

/// How many times the busiest day it is compared with a day must have to be a bulk close.
const BATCH: f64 = 1.5;

/// What evidence is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// In nats; `None` where there is too little to judge.
    pub nats: Option<f64>,
    /// The smallest change that is caught in time, as a part; `None` if none is.
    pub smallest_drop: Option<f64>,
    /// True if it is from the series' own history.
    pub is_calibrated: bool,
}

/// A series with what its days say.
#[derive(Debug, Clone)]
pub struct Series<'d> {
    watch: Watch,
    daily: &'d Daily,
    phases: &'d Phases,
    /// What it is like when nothing happens.
    pub fit: Fit,
    steps: Vec<Option<Step>>,
}

/// Where a series is.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// The newest day that was judged.
    pub newest: Day,
    /// The evidence of a change (nats).
    pub evidence: f64,
    /// What it is held against.
    pub threshold: Threshold,
    /// The first day of the present run of evidence; `None` where there is none.
    pub since: Option<Day>,
    /// What was observed since then, of the newest four weeks where there is no evidence; in the
    /// unit it is shown in.
    pub observed: Option<f64>,
    /// What was expected of the same days.
    pub expected: Option<f64>,
    /// How many records are behind the first.
    pub sample: f64,
    /// How many are behind what was expected of the newest day.
    pub baseline_sample: f64,
    /// How many of the last four quarters are in that; 0 for a flat baseline.
    pub baseline_quarters: usize,
    /// The variance of the days' counts ÷ what chance alone gives.
    pub dispersion: f64,
    /// True if most of the evidence is of one bulk close.
    pub is_bulk: bool,
}

impl Status {
    /// True if there is more evidence than the threshold, and not because of one bulk close.
    pub fn is_alert(&self) -> bool {
        self.is_above() && !self.is_bulk
    }

    /// True if there is more evidence than the threshold.
    pub fn is_above(&self) -> bool {
        self.threshold.nats.is_some_and(|nats| self.evidence > nats)
    }
}

/// A time in which a series alerted.
#[derive(Debug, Clone, PartialEq)]
pub struct Episode {
    /// How it was on the day it began.
    pub at_start: Status,
    /// How it was on the day with most evidence.
    pub at_peak: Status,
    /// The last day above the threshold.
    pub end: Day,
    /// True if it has not ended.
    pub is_on: bool,
}

impl<'d> Series<'d> {
    /// Compares the days of a series with what was usual; `None` where nothing was counted.
    pub fn new(watch: Watch, daily: &'d Daily, phases: &'d Phases) -> Option<Series<'d>> {
        let likelihood = watch.likelihood();
        let fit = fit(likelihood, daily, phases)?;
        let steps = steps(likelihood, daily, phases, fit.rho);
        Some(Series {
            watch,
            daily,
            phases,
            fit,
            steps,
        })
    }

    /// The threshold: from its calibration, or from simulation. Without a quarter to compare with
    /// there is none but its own.
    pub fn threshold(&self, calibration: Option<Calibration>) -> Threshold {
        let (nats, smallest_drop, is_calibrated) = match calibration {
            Some(found) => (found.threshold, found.smallest_drop, true),
            None => {
                let likelihood = self.likelihood();
                let week = 7.0 * self.information(looked_for(likelihood)).mean;
                let nats = simulated(likelihood, week);
                let has_like = self.baseline().is_some_and(|b| b.baseline.quarters > 0);
                let smallest = smallest_drop(nats, |part| self.information(part));
                (nats, smallest.filter(|_| has_like), false)
            }
        };
        let is_judged = smallest_drop.is_some_and(|part| part <= self.watch.target());
        Threshold {
            nats: (is_judged && self.baseline().is_some()).then_some(nats),
            smallest_drop,
            is_calibrated,
        }
    }

    fn likelihood(&self) -> Likelihood {
        self.watch.likelihood()
    }

    fn information(&self, part: f64) -> super::threshold::Information {
        let (likelihood, rho) = (self.likelihood(), self.fit.rho);
        information(likelihood, self.daily, &self.steps, rho, part)
    }

    /// The step of the newest day.
    fn baseline(&self) -> Option<&Step> {
        self.steps.last()?.as_ref()
    }

    /// Where it is on its newest day.
    pub fn status(&self, threshold: Threshold) -> Option<Status> {
        let mut walk = Walk::new(threshold);
        for step in &self.steps {
            walk.add(step.as_ref());
        }
        let last = self.steps.len().checked_sub(1)?;
        Some(self.status_at(last, threshold, &walk))
    }

    /// When it would have alerted, had each day been judged as it was over.
    pub fn episodes(&self, threshold: Threshold) -> Vec<Episode> {
        let Some(nats) = threshold.nats else {
            return Vec::new();
        };
        let mut found: Vec<Episode> = Vec::new();
        let (mut walk, mut episodes) = (Walk::new(threshold), Episodes::default());
        for (position, step) in self.steps.iter().enumerate() {
            let is_above = walk.add(step.as_ref()) > nats;
            let begins = episodes.add(is_above);
            if is_above {
                let status = self.status_at(position, threshold, &walk);
                match found.last_mut() {
                    Some(episode) if !begins => {
                        episode.end = status.newest;
                        // An episode that began as a bulk close and goes on without it is none.
                        if episode.at_peak.is_bulk || status.evidence > episode.at_peak.evidence {
                            episode.at_peak = status;
                        }
                    }
                    _ => found.push(Episode {
                        end: status.newest,
                        at_start: status.clone(),
                        at_peak: status,
                        is_on: false,
                    }),
                }
            }
        }
        if let Some(last) = found.last_mut() {
            last.is_on = episodes.is_on();
        }
        found
    }

    fn status_at(&self, position: usize, threshold: Threshold, walk: &Walk) -> Status {
        let since = walk.since.filter(|_| walk.cusum.evidence > 0.0);
        let from = since.unwrap_or_else(|| (position + 1).saturating_sub(RECENT));
        let days = from..position + 1;
        let mut counted = Tally::default();
        let (mut asked, mut expected) = (0.0, 0.0);
        let compared = self.daily.days[days.clone()]
            .iter()
            .zip(&self.steps[days.clone()]);
        for (tally, step) in compared.filter_map(|(tally, step)| Some((tally, step.as_ref()?))) {
            counted += *tally;
            asked += 1.0;
            expected += tally.n * step.baseline.usual.mean;
        }
        let is_volume = matches!(self.likelihood(), Likelihood::Volume { .. });
        let per = if is_volume { asked } else { counted.n };
        let mean = |sum: f64| (per > 0.0).then(|| self.watch.shown(sum / per));
        let records = |tally: &Tally| if is_volume { tally.x } else { tally.n };
        let newest = self.steps[position].as_ref().map(|step| &step.baseline);
        Status {
            newest: self.daily.day(position),
            evidence: walk.cusum.evidence,
            threshold,
            since: since.map(|position| self.daily.day(position)),
            observed: mean(counted.x),
            expected: mean(expected),
            sample: records(&counted),
            baseline_sample: newest.map_or(0.0, |baseline| records(&baseline.sample)),
            baseline_quarters: newest.map_or(0, |baseline| baseline.quarters),
            dispersion: self.fit.dispersion,
            is_bulk: !is_volume && since.is_some_and(|since| self.is_bulk(since, position, walk)),
        }
    }

    /// True if most of the evidence is of one day with far more records than any it is compared
    /// with.
    fn is_bulk(&self, since: usize, position: usize, walk: &Walk) -> bool {
        let is_batch = |position: &usize| {
            let day = self.daily.day(*position);
            let Some(phase) = self.phases.of(day) else {
                return false;
            };
            let ranges = phase.like.iter().map(|like| self.daily.positions(like));
            let like = ranges.flat_map(|range| &self.daily.days[range]);
            let busiest = like.map(|tally| tally.n).fold(0.0, f64::max);
            busiest > 0.0 && self.daily.days[*position].n > BATCH * busiest
        };
        let increment = |position: usize| self.steps[position].map_or(0.0, |step| step.increment);
        let batches = (since..=position).filter(|p| increment(*p) > 0.0);
        let batch = batches
            .filter(is_batch)
            .max_by(|a, b| increment(*a).total_cmp(&increment(*b)));
        let Some(batch) = batch else { return false };
        let mut without = Cusum::new(walk.nats);
        for position in (since..=position).filter(|p| *p != batch) {
            without.add(increment(position));
        }
        without.evidence <= walk.cusum.evidence / 2.0
    }
}

/// A walk over the days of a series.
struct Walk {
    nats: f64,
    /// Days with a flat baseline count only by a threshold that was found with one: a season looks
    /// like a fall to them.
    is_flat_judged: bool,
    cusum: Cusum,
    position: usize,
    since: Option<usize>,
}

impl Walk {
    fn new(threshold: Threshold) -> Walk {
        let nats = threshold.nats.unwrap_or(f64::INFINITY);
        Walk {
            nats,
            is_flat_judged: threshold.is_calibrated,
            cusum: Cusum::new(nats),
            position: 0,
            since: None,
        }
    }

    fn add(&mut self, step: Option<&Step>) -> f64 {
        let judged = step.filter(|step| self.is_flat_judged || step.baseline.quarters > 0);
        let evidence = self.cusum.add(judged.map_or(0.0, |step| step.increment));
        self.since = match self.since {
            _ if evidence <= 0.0 => None,
            None => Some(self.position),
            since => since,
        };
        self.position += 1;
        evidence
    }
}
