//! Thresholds for series that are not calibrated: from a simulation, by how much a week tells.
//!
//! What decides how high chance drives the evidence is how much there is of it: the nats that a
//! week brings once what is looked for has happened. Volume, usual value, dispersion and the kind
//! of number act through it. The table is made by tests/alert_simulation.rs, which also checks it.

use super::cusum::Step;
use super::daily::Daily;
use super::{CAUGHT_WITHIN, Likelihood};

/// Nats a week, and the threshold that gives 0.25 false episodes a year; between them by the
/// logarithm of the first.
const OF_SHARES: &[(f64, f64)] = &[
    (0.3, 5.0),
    (0.65, 5.3),
    (1.0, 5.6),
    (2.0, 5.9),
    (4.3, 6.6),
    (8.4, 7.2),
    (16.0, 7.8),
];
const OF_DURATIONS: &[(f64, f64)] = &[(1.0, 5.8), (2.0, 6.2), (3.4, 6.7), (6.6, 7.4), (13.0, 8.8)];
const OF_VOLUMES: &[(f64, f64)] = &[(1.0, 5.4), (4.0, 5.9)];
/// The normal distribution's quantile of [`super::POWER`].
const Z_POWER: f64 = 0.841_621_233_572_914;
/// The evidence there is on average when nothing happens (nats): it is about exponentially
/// distributed.
const HEAD_START: f64 = 1.0;
/// Days whose counts tell how much there is of a series.
const YEAR: usize = 364;

/// What the days of a series add on average.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Information {
    /// Nats a day.
    pub mean: f64,
    /// The variance of a day's.
    pub variance: f64,
}

/// What the days of the last year would add if what is watched had fallen by a part (durations:
/// risen).
pub fn information(
    likelihood: Likelihood,
    daily: &Daily,
    steps: &[Option<Step>],
    rho: f64,
    part: f64,
) -> Information {
    let newest = steps.len().saturating_sub(YEAR);
    let days = daily.days.iter().zip(steps).skip(newest);
    let days = days.filter_map(|(tally, step)| Some((tally.n, (*step)?.baseline.usual)));
    let (mut sum, mut variance, mut count) = (0.0, 0.0, 0.0);
    for (n, usual) in days {
        let (a, b) = likelihood.ratio(usual);
        let changed = likelihood.changed(usual, part);
        let dispersion = likelihood.dispersion(usual, n, rho);
        sum += n * (a * changed.mean + b) / dispersion;
        variance += n * changed.variance * a * a / dispersion;
        count += 1.0;
    }
    let count: f64 = f64::max(count, 1.0);
    Information {
        mean: sum / count,
        variance: variance / count,
    }
}

/// The change that a likelihood looks for, as a part.
pub fn looked_for(likelihood: Likelihood) -> f64 {
    match likelihood {
        Likelihood::Share { factor } | Likelihood::Volume { factor } => 1.0 - factor,
        Likelihood::Duration { factor } => factor - 1.0,
    }
}

/// The threshold of a series whose weeks tell so much (nats) once what is looked for has happened.
pub fn simulated(likelihood: Likelihood, nats_a_week: f64) -> f64 {
    let table = match likelihood {
        Likelihood::Share { .. } => OF_SHARES,
        Likelihood::Duration { .. } => OF_DURATIONS,
        Likelihood::Volume { .. } => OF_VOLUMES,
    };
    match table.iter().position(|(nats, _)| *nats >= nats_a_week) {
        Some(0) => table[0].1,
        None => table[table.len() - 1].1,
        Some(after) => {
            let ((low, at_low), (high, at_high)) = (table[after - 1], table[after]);
            let part = (nats_a_week / low).ln() / (high / low).ln();
            at_low + part * (at_high - at_low)
        }
    }
}

/// The smallest change that a threshold catches with the promised power in time, if the evidence of
/// its days is about normal; `None` if none is.
pub fn smallest_drop(threshold: f64, information: impl Fn(f64) -> Information) -> Option<f64> {
    let days = CAUGHT_WITHIN as f64;
    let is_caught = |part: f64| {
        let day = information(part);
        days * day.mean + HEAD_START - threshold >= Z_POWER * (days * day.variance).sqrt()
    };
    let mut parts = (1..100).map(|percent| f64::from(percent) / 100.0);
    parts.find(|part| is_caught(*part))
}
