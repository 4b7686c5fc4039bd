//! A simulated sales organisation for the detector: closes on working days, with the rhythm of the
//! quarter, and days that differ more than a coin's if asked. Beside it the windowed z-tests that
//! the detector is compared with.

use std::ops::Range;

use chrono_tz::Tz;
use dealpulse::alert::cusum::{Cusum, Episodes, Step, steps};
use dealpulse::alert::fit::fit;
use dealpulse::alert::{CAUGHT_WITHIN, Daily, Likelihood, Phases, Random, Tally};
use dealpulse::window::{Calendar, Day};

/// Days before those that are watched.
pub const BEFORE: usize = 425;
/// Days that are watched.
pub const WATCHED: usize = 730;
/// 2023-01-02, a Monday.
const FIRST: Day = 19_359;

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub struct World {
    /// What is watched and looked for.
    pub likelihood: Likelihood,
    /// Deals decided a week; of a volume its count.
    pub weekly: f64,
    /// The share of them that is won; of durations their median in days.
    pub base: f64,
    /// How much deals of one day are alike.
    pub rho: f64,
    /// How far the months of a quarter differ, as factors.
    pub season: [f64; 3],
}

/// The months of a quarter as in the simulation behind the design: the last is the best.
pub const SEASON: [f64; 3] = [0.80, 0.90, 1.30];
/// No rhythm.
pub const FLAT: [f64; 3] = [1.0; 3];

/// The phases of all days that are simulated.
pub fn phases() -> Phases {
    let calendar = Calendar::new(Tz::UTC, 1);
    Phases::new(&calendar, FIRST..FIRST + (BEFORE + WATCHED) as Day)
}

impl World {
    /// Counts day by day, with a fall (of durations a rise) by a part during some days.
    pub fn days(&self, phases: &Phases, fallen: (Range<usize>, f64), random: &mut Random) -> Daily {
        let day = |position: usize| {
            let day = FIRST + position as Day;
            let month = phases.of(day).map_or(0, |phase| (phase.place / 31).min(2));
            let part = if fallen.0.contains(&position) {
                fallen.1
            } else {
                0.0
            };
            // 1970-01-01 was a Thursday.
            let is_working_day = (day + 3).rem_euclid(7) < 5;
            let expected = if is_working_day {
                self.weekly / 5.0
            } else {
                0.0
            };
            self.day(expected, self.season[month], part, random)
        };
        let daily = Daily {
            first: FIRST,
            days: (0..BEFORE + WATCHED).map(day).collect(),
        };
        match self.likelihood {
            Likelihood::Volume { .. } => daily.of_volume(),
            _ => daily,
        }
    }

    fn day(&self, expected: f64, season: f64, part: f64, random: &mut Random) -> Tally {
        match self.likelihood {
            Likelihood::Share { .. } => {
                let n = poisson(expected, random);
                let p = (self.base * season * (1.0 - part)).min(0.95);
                let p = if self.rho > 0.0 {
                    let k = (1.0 - self.rho) / self.rho;
                    let (won, lost) = (gamma(p * k, random), gamma((1.0 - p) * k, random));
                    won / (won + lost)
                } else {
                    p
                };
                let won = (0..n).filter(|_| random.unit() < p).count();
                Tally {
                    n: n as f64,
                    x: won as f64,
                    xx: 0.0,
                }
            }
            Likelihood::Duration { .. } => {
                let n = poisson(expected, random);
                let mut tally = Tally::default();
                let shared = self.rho.sqrt() * random.normal();
                for _ in 0..n {
                    let own = (1.0 - self.rho).sqrt() * random.normal();
                    let days = self.base * season * (1.0 + part) * (0.8 * (shared + own)).exp();
                    tally += Tally {
                        n: 1.0,
                        x: days.ln_1p(),
                        xx: days.ln_1p().powi(2),
                    };
                }
                tally
            }
            Likelihood::Volume { .. } => {
                let mean = expected * season * (1.0 - part);
                let mean = if self.rho > 0.0 {
                    mean * self.rho * gamma(1.0 / self.rho, random)
                } else {
                    mean
                };
                Tally {
                    n: 1.0,
                    x: poisson(mean, random) as f64,
                    xx: 0.0,
                }
            }
        }
    }
}

/// One watched history: what each day adds.
pub type Steps = Vec<Option<Step>>;

/// The steps of the detector over a simulated history, with all that it estimates from it.
pub fn detected(likelihood: Likelihood, daily: &Daily, phases: &Phases) -> (f64, Steps) {
    let fit = fit(likelihood, daily, phases).expect("something is counted");
    (fit.rho, steps(likelihood, daily, phases, fit.rho))
}

fn increments(steps: &[Option<Step>]) -> impl Iterator<Item = f64> {
    steps
        .iter()
        .map(|step| step.map_or(0.0, |step| step.increment))
}

/// Days above a threshold, from the first watched one on.
pub fn above(steps: &[Option<Step>], threshold: f64) -> Vec<bool> {
    let mut cusum = Cusum::new(threshold);
    let evidence = increments(steps).map(|increment| cusum.add(increment) > threshold);
    evidence.skip(BEFORE).collect()
}

/// How many episodes these days are.
pub fn episodes(days: &[bool]) -> usize {
    let mut episodes = Episodes::default();
    days.iter().for_each(|above| {
        episodes.add(*above);
    });
    episodes.count
}

/// The threshold with which these histories have so many episodes a year.
pub fn tuned(histories: &[Steps], a_year: f64) -> f64 {
    let (mut low, mut high) = (0.0, 60.0);
    for _ in 0..14 {
        let middle = (low + high) / 2.0;
        let count: usize = histories
            .iter()
            .map(|steps| episodes(&above(steps, middle)))
            .sum();
        if count as f64 / years(histories.len()) > a_year {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// Watched years in so many histories.
pub fn years(histories: usize) -> f64 {
    histories as f64 * WATCHED as f64 / 365.25
}

/// A way to watch a share by windows: alerts where the newest days differ from those before, and
/// from the like ones of the last quarters, by z standard deviations and a fifth.
#[derive(Debug, Clone, Copy)]
pub struct ZTest {
    pub name: &'static str,
    pub z: f64,
    pub window: usize,
    pub before: Option<usize>,
    pub like: bool,
    pub least_fall: f64,
}

pub const Z_TESTS: [ZTest; 4] = [
    ZTest {
        name: "z < −1.96, 7 d against 28 d",
        z: 1.96,
        window: 7,
        before: Some(28),
        like: false,
        least_fall: 0.2,
    },
    ZTest {
        name: "z < −3, 7 d against 28 d and like phases",
        z: 3.0,
        window: 7,
        before: Some(28),
        like: true,
        least_fall: 0.2,
    },
    ZTest {
        name: "z < −3, 14 d against like phases",
        z: 3.0,
        window: 14,
        before: None,
        like: true,
        least_fall: 0.2,
    },
    ZTest {
        name: "z < −3, 28 d against like phases",
        z: 3.0,
        window: 28,
        before: None,
        like: true,
        least_fall: 0.2,
    },
];

impl ZTest {
    /// The days on which it alerts, from the first watched one on.
    pub fn above(&self, daily: &Daily) -> Vec<bool> {
        let mut sums = vec![Tally::default()];
        for day in &daily.days {
            let mut sum = sums[sums.len() - 1];
            sum += *day;
            sums.push(sum);
        }
        let over = |from: usize, to: usize| {
            let mut sum = sums[to];
            sum -= sums[from];
            sum
        };
        let differs = |newest: &Tally, other: &Tally| {
            let (p, q) = (newest.x / newest.n, other.x / other.n);
            let pooled = (newest.x + other.x) / (newest.n + other.n);
            let error = (pooled * (1.0 - pooled) * (1.0 / newest.n + 1.0 / other.n)).sqrt();
            other.n > 0.0
                && error > 0.0
                && (p - q) / error < -self.z
                && 1.0 - p / q > self.least_fall
        };
        let is_above = |end: usize| {
            let from = end - self.window;
            let newest = over(from, end);
            let before = self.before.map(|days| over(from - days, from));
            let like = self.like.then(|| {
                (1..=4).fold(Tally::default(), |mut sum, quarter| {
                    sum += over(from - 91 * quarter, end - 91 * quarter);
                    sum
                })
            });
            let others = before.iter().chain(&like);
            newest.n >= 30.0 && others.into_iter().all(|other| differs(&newest, other))
        };
        (BEFORE + 1..=daily.days.len()).map(is_above).collect()
    }
}

/// True if one of so many days from a start on is above.
pub fn catches(days: &[bool], start: usize, within: usize) -> bool {
    days[start..(start + within).min(days.len())].contains(&true)
}

/// Where falls begin: anywhere in the watched days, far enough from their end.
pub fn start(random: &mut Random) -> usize {
    60 + random.below(WATCHED - 60 - 3 * CAUGHT_WITHIN)
}

pub fn poisson(mean: f64, random: &mut Random) -> usize {
    let (limit, mut product, mut count) = ((-mean).exp(), random.unit(), 0);
    while product > limit {
        product *= random.unit();
        count += 1;
    }
    count
}

/// Marsaglia, Tsang: "A simple method for generating gamma variables", ACM TOMS 26, 2000.
pub fn gamma(shape: f64, random: &mut Random) -> f64 {
    if shape < 1.0 {
        let power = (1.0 - random.unit()).powf(1.0 / shape);
        return gamma(shape + 1.0, random) * power;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = random.normal();
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && (1.0 - random.unit()).ln() < x * x / 2.0 + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}
