//! Calibration: the threshold that keeps the promise about false alarms in a series' own history,
//! and the smallest fall it catches.
//!
//! Histories in which nothing happens are drawn from what happened: blocks of four weeks of the
//! series' own days (a moving block bootstrap; Künsch: "The jackknife and the bootstrap for general
//! stationary observations", Annals of Statistics 17, 1989), with their numbers and their
//! deviations from usual, around the series' own rhythm of the quarter. The detector runs over each
//! as it would have, day by day, with a baseline of its own. The threshold is the lowest with which
//! it alerts no more often than promised.

use std::ops::Range;

use super::cusum::{Cusum, Episodes, Step, steps};
use super::daily::{Daily, Tally};
use super::fit::Fit;
use super::phase::{PLACES, Phases};
use super::random::Random;
use super::{CAUGHT_WITHIN, FALSE_A_YEAR, Likelihood, POWER};
use crate::window::{Calendar, Day};

/// Days of a block.
const BLOCK: usize = 28;
/// How far from its place in the quarter a block may come from.
const SAME_PHASE: usize = 15;
/// Days a history is watched, after what the baseline needs.
const WATCHED: usize = 364;
/// The longest history before it.
pub const BEFORE: usize = super::baseline::REACH as usize + 10;
/// Days of history with less of which there is nothing to draw from.
pub const LEAST: usize = super::baseline::WARM_UP + 2 * BLOCK;
/// Thresholds are looked for up to here (nats).
const HIGHEST: f64 = 60.0;
const HALVINGS: usize = 14;
/// Falls are looked for up to here.
const DEEPEST: f64 = 0.99;

/// What calibration found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Calibration {
    /// The lowest threshold that keeps the promise (nats).
    pub threshold: f64,
    /// False episodes a year with it.
    pub false_a_year: f64,
    /// The smallest fall, as a part, that is caught with the promised power in time; `None` if not
    /// even the deepest is.
    pub smallest_drop: Option<f64>,
}

/// Histories in which nothing happens, with the steps of the detector over the days that are
/// watched.
pub struct Null {
    likelihood: Likelihood,
    rho: f64,
    histories: Vec<Vec<Drawn>>,
}

/// A day of a history: how many were asked, by how much the count deviated, what it adds.
struct Drawn {
    asked: f64,
    deviation: f64,
    step: Option<Step>,
    usual: super::likelihood::Usual,
}

/// The days that histories are drawn for, with their phases: as much before those watched as the
/// series itself has, if that is less than [`BEFORE`].
pub fn phases(calendar: &Calendar, end: Day, known: usize) -> Phases {
    let length = (known.min(BEFORE) + WATCHED) as Day;
    Phases::new(calendar, end - length..end)
}

impl Null {
    /// Draws so many histories of the days of `phases`, of which the last [`WATCHED`] are watched.
    pub fn draw(
        likelihood: Likelihood,
        source: &Daily,
        source_phases: &Phases,
        fit: &Fit,
        phases: &Phases,
        histories: usize,
        seed: u64,
    ) -> Null {
        let mut random = Random::new(seed);
        let blocks = Blocks::of(source, source_phases);
        let days = phases.range();
        let draw = |_| {
            let drawn = blocks.draw(fit, phases, &mut random);
            history(likelihood, fit, phases, &days, &drawn)
        };
        Null {
            likelihood,
            rho: fit.rho,
            histories: (0..histories).map(draw).collect(),
        }
    }

    /// False episodes a year with a threshold.
    pub fn false_a_year(&self, threshold: f64) -> f64 {
        let mut episodes = 0;
        for history in &self.histories {
            let (mut cusum, mut of_history) = (Cusum::new(threshold), Episodes::default());
            for day in history {
                let increment = day.step.map_or(0.0, |step| step.increment);
                of_history.add(cusum.add(increment) > threshold);
            }
            episodes += of_history.count;
        }
        let days: usize = self.histories.iter().map(Vec::len).sum();
        episodes as f64 * 365.25 / (days.max(1)) as f64
    }

    /// The lowest threshold that keeps the promise.
    pub fn threshold(&self) -> f64 {
        let (mut low, mut high) = (0.0, HIGHEST);
        for _ in 0..HALVINGS {
            let middle = (low + high) / 2.0;
            if self.false_a_year(middle) > FALSE_A_YEAR {
                low = middle;
            } else {
                high = middle;
            }
        }
        high
    }

    /// The chance that a fall by a part is caught in time, wherever in the year it begins.
    pub fn power(&self, threshold: f64, part: f64) -> f64 {
        let (mut caught, mut tried) = (0, 0);
        for history in &self.histories {
            let mut cusum = Cusum::new(threshold);
            for (start, day) in history.iter().enumerate() {
                // A fall in the midst of an episode is known already.
                let is_start = start % BLOCK == 0 && start + CAUGHT_WITHIN <= history.len();
                if is_start && cusum.evidence <= threshold {
                    tried += 1;
                    let mut falling = cusum;
                    let fallen = &history[start..start + CAUGHT_WITHIN];
                    let is_caught = fallen
                        .iter()
                        .any(|day| falling.add(self.fallen(day, part)) > threshold);
                    caught += usize::from(is_caught);
                }
                cusum.add(day.step.map_or(0.0, |step| step.increment));
            }
        }
        f64::from(caught as u32) / f64::from((tried as u32).max(1))
    }

    /// What a day adds after a fall. The baseline is that of before: the newest days are in none.
    fn fallen(&self, day: &Drawn, part: f64) -> f64 {
        let Some(step) = day.step else { return 0.0 };
        let changed = self.likelihood.changed(day.usual, part);
        let x = self.likelihood.counted(changed, day.asked, day.deviation);
        let (a, b) = self.likelihood.ratio(step.baseline.usual);
        let usual = step.baseline.usual;
        (a * x + b * day.asked) / self.likelihood.dispersion(usual, day.asked, self.rho)
    }

    /// The smallest fall that is caught with the promised power in time.
    pub fn smallest_drop(&self, threshold: f64) -> Option<f64> {
        if self.power(threshold, DEEPEST) < POWER {
            return None;
        }
        let (mut low, mut high) = (0.0, DEEPEST);
        for _ in 0..8 {
            let middle = (low + high) / 2.0;
            if self.power(threshold, middle) < POWER {
                low = middle;
            } else {
                high = middle;
            }
        }
        Some(high)
    }

    /// Threshold, false alarms and the smallest fall.
    pub fn calibrate(&self) -> Calibration {
        let threshold = self.threshold();
        Calibration {
            threshold,
            false_a_year: self.false_a_year(threshold),
            smallest_drop: self.smallest_drop(threshold),
        }
    }
}

/// Where blocks may begin.
struct Blocks {
    /// By weekday and place in the quarter, the positions at which a whole block lies.
    starts: Vec<Vec<usize>>,
    length: usize,
}

impl Blocks {
    fn of(source: &Daily, phases: &Phases) -> Blocks {
        let length = BLOCK.min(source.days.len().max(1));
        let mut starts = vec![Vec::new(); 7 * PLACES];
        for position in 0..(source.days.len() + 1).saturating_sub(length) {
            let day = source.day(position);
            let place = phases.of(day).map_or(0, |phase| phase.place);
            starts[day.rem_euclid(7) as usize * PLACES + place].push(position);
        }
        Blocks { starts, length }
    }

    /// How many are asked on the days that a history is made of, and by how much their counts
    /// deviate.
    fn draw(&self, fit: &Fit, phases: &Phases, random: &mut Random) -> Vec<(f64, f64)> {
        let days = phases.range();
        let mut drawn = Vec::with_capacity(days.len());
        let mut day = days.start;
        while day < days.end {
            let place = phases.of(day).map_or(0, |phase| phase.place);
            let weekday = day.rem_euclid(7) as usize * PLACES;
            let near = place.saturating_sub(SAME_PHASE)..(place + SAME_PHASE + 1).min(PLACES);
            let at =
                |places: Range<usize>| &self.starts[weekday + places.start..weekday + places.end];
            // From the same phase where there is a choice, else from any week.
            let near = at(near);
            let from = if near.iter().map(Vec::len).sum::<usize>() >= 4 {
                near
            } else {
                at(0..PLACES)
            };
            let choice: usize = from.iter().map(Vec::len).sum();
            let start = from.iter().flatten().nth(random.below(choice));
            let start = start.copied().unwrap_or_default();
            // The first block begins anywhere, so that blocks don't always meet at the same days.
            let length = if drawn.is_empty() {
                1 + random.below(self.length)
            } else {
                self.length
            };
            let end = (start + length).min(fit.days.len());
            // What chance did to the level of those weeks was taken for their level: it is put
            // back, for the whole block.
            let level = random.normal();
            let days_of_block = fit.days[start..end].iter().map(|residual| {
                let of_level = (fit.dispersion / residual.around.max(1.0)).sqrt();
                let deviation = residual.deviation + level * of_level * residual.asked;
                (residual.asked, deviation)
            });
            drawn.extend(days_of_block);
            day += (end - start).max(1) as Day;
        }
        drawn.truncate(days.len());
        drawn
    }
}

/// A drawn history, as the detector sees it.
fn history(
    likelihood: Likelihood,
    fit: &Fit,
    phases: &Phases,
    days: &Range<Day>,
    drawn: &[(f64, f64)],
) -> Vec<Drawn> {
    let usual = |position: usize| {
        let phase = phases.of(days.start + position as Day);
        fit.places[phase.map_or(0, |phase| phase.place)]
    };
    let tally = |(position, &(n, deviation)): (usize, &(f64, f64))| {
        let usual = usual(position);
        let x = likelihood.counted(usual, n, deviation);
        // Only durations need it, and of these it is the variance within a day that is usual.
        let xx = n * (usual.variance + usual.mean * usual.mean);
        Tally { n, x, xx }
    };
    let daily = Daily {
        first: days.start,
        days: drawn.iter().enumerate().map(tally).collect(),
    };
    let steps = steps(likelihood, &daily, phases, fit.rho);
    let watched = steps.len().saturating_sub(WATCHED);
    let of_day = |position: usize| Drawn {
        asked: drawn[position].0,
        deviation: drawn[position].1,
        step: steps[position],
        usual: usual(position),
    };
    (watched..steps.len()).map(of_day).collect()
}
