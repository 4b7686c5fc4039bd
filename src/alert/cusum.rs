//! The evidence of a change, day by day: a one-sided CUSUM of the log-likelihood ratio (Page:
//! "Continuous inspection schemes", Biometrika 41, 1954). It never goes below 0, so that good days
//! long ago don't hide bad ones of today; and not far above the threshold, so that it ends soon
//! after what caused it has.

use super::baseline::{Baseline, WARM_UP, baseline};
use super::daily::{Daily, Sums};
use super::phase::Phases;
use super::{Likelihood, QUIET_DAYS};

/// How far above its threshold evidence is kept, as a multiple of it.
const CAP: f64 = 1.5;

/// What one day adds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// What it is compared with.
    pub baseline: Baseline,
    /// What it says for a change, in nats; against it, if below 0.
    pub increment: f64,
}

/// What each day of a series adds; `None` where there is too little history to compare it with, or
/// no phase for it.
pub fn steps(
    likelihood: Likelihood,
    daily: &Daily,
    phases: &Phases,
    rho: f64,
) -> Vec<Option<Step>> {
    let sums = Sums::of(&daily.days);
    let step = |position: usize| {
        if position < WARM_UP {
            return None;
        }
        let (day, tally) = (daily.day(position), daily.days[position]);
        let baseline = baseline(likelihood, daily, &sums, day, phases.of(day)?)?;
        let (a, b) = likelihood.ratio(baseline.usual);
        let dispersion = likelihood.dispersion(baseline.usual, tally.n, rho);
        Some(Step {
            baseline,
            increment: (a * tally.x + b * tally.n) / dispersion,
        })
    };
    (0..daily.days.len()).map(step).collect()
}

/// Evidence as it grows and shrinks.
#[derive(Debug, Clone, Copy)]
pub struct Cusum {
    cap: f64,
    /// What there is of it, in nats.
    pub evidence: f64,
}

impl Cusum {
    /// None yet.
    pub fn new(threshold: f64) -> Cusum {
        Cusum {
            cap: CAP * threshold,
            evidence: 0.0,
        }
    }

    /// Adds a day.
    pub fn add(&mut self, increment: f64) -> f64 {
        self.evidence = (self.evidence + increment).clamp(0.0, self.cap);
        self.evidence
    }
}

/// Alerts as they are shown: one that comes again within a week is the same.
#[derive(Debug, Clone, Copy)]
pub struct Episodes {
    quiet: usize,
    /// How many there were.
    pub count: usize,
}

impl Default for Episodes {
    fn default() -> Self {
        Episodes {
            quiet: QUIET_DAYS,
            count: 0,
        }
    }
}

impl Episodes {
    /// Adds a day; returns true if an episode begins with it.
    pub fn add(&mut self, is_above: bool) -> bool {
        let begins = is_above && self.quiet >= QUIET_DAYS;
        self.count += usize::from(begins);
        self.quiet = if is_above { 0 } else { self.quiet + 1 };
        begins
    }

    /// True while an episode lasts: also on quiet days that may be within one.
    pub fn is_on(&self) -> bool {
        self.count > 0 && self.quiet < QUIET_DAYS
    }
}
