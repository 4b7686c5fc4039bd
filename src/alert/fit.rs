//! What a series is like when nothing happens: its rhythm within the quarter, and how much days
//! differ more than by chance. Whatever lasts, such as a fall, is taken out, so that a history with
//! one in it can still say what is usual.

use super::Likelihood;
use super::baseline::{leaning, usual_of};
use super::daily::{Daily, Sums, Tally};
use super::likelihood::Usual;
use super::phase::{PLACES, Phases};

/// Places before and after one in the quarter that are taken together with it.
const AROUND_PLACE: usize = 15;
/// Days before and after one that say at which level the series was then.
const AROUND_DAY: usize = 28;
/// Days of history with less of which there is no rhythm to be seen.
const TWO_QUARTERS: usize = 182;

/// A series, taken apart.
#[derive(Debug, Clone)]
pub struct Fit {
    /// How much values of one day are correlated: what makes days differ more than by chance. 0
    /// where they don't.
    pub rho: f64,
    /// The variance of a day's count ÷ what chance alone gives, over all days.
    pub dispersion: f64,
    /// What is usual at each place in the quarter.
    pub places: Vec<Usual>,
    /// The days with what chance made of them.
    pub days: Vec<Residual>,
}

/// A day without what was usual then.
#[derive(Debug, Clone, Copy, Default)]
pub struct Residual {
    /// How many were asked.
    pub asked: f64,
    /// By how much the count differed from usual, in standard deviations of one.
    pub deviation: f64,
    /// How many were asked on the days around, which said at which level the series was: what
    /// chance made of them is not in the deviation.
    pub around: f64,
}

/// Takes a series apart; `None` where nothing was counted.
pub fn fit(likelihood: Likelihood, daily: &Daily, phases: &Phases) -> Option<Fit> {
    let sums = Sums::of(&daily.days);
    let all = sums.over(&(0..daily.days.len()));
    let overall = usual_of(likelihood, &all)?;
    let place = |position: usize| {
        let phase = phases.of(daily.day(position));
        phase.map_or(0, |phase| phase.place)
    };
    let places = places(likelihood, daily, overall, place);

    // The level at each day: what was counted around it ÷ what its places in the quarter let
    // expect; of durations the difference.
    let expected = daily.days.iter().enumerate();
    let expected = expected.map(|(position, tally)| Tally {
        x: tally.n * places[place(position)].mean,
        ..*tally
    });
    let expected = Sums::of(&expected.collect::<Vec<_>>());
    let lean = leaning(likelihood, overall) / 4.0;
    let (mut excess, mut chance) = (0.0, 0.0);
    let mut days = Vec::with_capacity(daily.days.len());
    let mut spread = (0.0, 0.0);
    for (position, tally) in daily.days.iter().enumerate() {
        let around =
            position.saturating_sub(AROUND_DAY)..(position + AROUND_DAY + 1).min(daily.days.len());
        let (counted, expected) = (sums.over(&around), expected.over(&around));
        let usual = places[place(position)];
        let mean = match likelihood {
            Likelihood::Share { .. } | Likelihood::Volume { .. } => {
                let lean = lean * overall.mean;
                usual.mean * (counted.x + lean) / (expected.x + lean)
            }
            Likelihood::Duration { .. } => {
                usual.mean + (counted.x - expected.x) / (counted.n + lean)
            }
        };
        let usual = likelihood.usual(mean, usual.variance);
        if tally.n <= 0.0 {
            days.push(Residual::default());
            continue;
        }
        let deviation = (tally.x - tally.n * usual.mean) / usual.variance.sqrt();
        excess += deviation * deviation / tally.n - 1.0;
        chance += likelihood.dispersion(usual, tally.n, 1.0) - 1.0;
        spread.0 += deviation * deviation;
        spread.1 += tally.n;
        days.push(Residual {
            asked: tally.n,
            deviation,
            around: counted.n,
        });
    }
    Some(Fit {
        rho: if chance > 0.0 {
            (excess / chance).clamp(0.0, 1.0)
        } else {
            0.0
        },
        dispersion: (spread.0 / spread.1).max(1.0),
        places,
        days,
    })
}

fn places(
    likelihood: Likelihood,
    daily: &Daily,
    overall: Usual,
    place: impl Fn(usize) -> usize,
) -> Vec<Usual> {
    if daily.days.len() < TWO_QUARTERS {
        return vec![overall; PLACES];
    }
    let mut by_place = vec![Tally::default(); PLACES];
    for (position, tally) in daily.days.iter().enumerate() {
        by_place[place(position)] += *tally;
    }
    let sums = Sums::of(&by_place);
    let lean = leaning(likelihood, overall);
    let usual = (0..PLACES).map(|place| {
        let around = place.saturating_sub(AROUND_PLACE)..(place + AROUND_PLACE + 1).min(PLACES);
        let sum = sums.over(&around);
        let mean = (sum.x + lean * overall.mean) / (sum.n + lean);
        likelihood.usual(mean, overall.variance)
    });
    usual.collect()
}
