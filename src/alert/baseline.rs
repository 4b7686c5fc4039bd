//! What was to be expected of a day: the like days of the last four quarters, and the year around
//! them where those are few.

use super::Likelihood;
use super::daily::{Daily, Sums, Tally};
use super::likelihood::Usual;
use super::phase::Phase;
use crate::window::Day;

/// The newest days are in no baseline: a fall that has just begun must not become usual.
const NEWEST: Day = 28;
/// How far back what is usual goes: four quarters, and the days around the first like day.
pub const REACH: Day = 410;
/// Days of history before anything is judged.
pub const WARM_UP: usize = 84;
/// By how much phases of the quarter are taken to differ: with fewer records than tell such a
/// difference from chance, a phase leans on the year.
const SEASON: f64 = 0.2;

/// What a day is compared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Baseline {
    /// What was to be expected.
    pub usual: Usual,
    /// What it is made of: the like days, or all days where there is no quarter to compare with.
    pub sample: Tally,
    /// How many of the last four quarters are in it; 0 for a flat one.
    pub quarters: usize,
}

/// The baseline of a day; `None` where nothing was counted before it.
pub fn baseline(
    likelihood: Likelihood,
    daily: &Daily,
    sums: &Sums,
    day: Day,
    phase: &Phase,
) -> Option<Baseline> {
    let year = sums.over(&daily.positions(&(day - REACH..day - NEWEST)));
    let flat = usual_of(likelihood, &year)?;
    let (mut sample, mut quarters) = (Tally::default(), 0);
    // Only quarters of which the like days are all there: half of them would be another phase.
    for like in phase.like.iter().filter(|like| like.start >= daily.first) {
        sample += sums.over(&daily.positions(like));
        quarters += 1;
    }
    if quarters == 0 {
        return Some(Baseline {
            usual: flat,
            sample: year,
            quarters,
        });
    }
    let lean = leaning(likelihood, flat);
    let mean = (sample.x + lean * flat.mean) / (sample.n + lean);
    Some(Baseline {
        usual: likelihood.usual(mean, flat.variance),
        sample,
        quarters,
    })
}

/// What some days say is usual.
pub fn usual_of(likelihood: Likelihood, days: &Tally) -> Option<Usual> {
    let mean = days.mean()?;
    Some(likelihood.usual(mean, days.xx / days.n - mean * mean))
}

/// With how many records of the year a phase is mixed: as many as give a mean the spread that
/// phases have.
pub fn leaning(likelihood: Likelihood, usual: Usual) -> f64 {
    let spread = match likelihood {
        Likelihood::Share { .. } | Likelihood::Volume { .. } => SEASON * usual.mean,
        Likelihood::Duration { .. } => SEASON,
    };
    usual.variance / (spread * spread)
}
