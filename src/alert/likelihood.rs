//! What a day's counts say for a change and against it: log-likelihood ratios of three
//! distributions of one family, so that all else is the same for shares, durations and volumes.
//!
//! The ratio of a day with the tally (n, x) is a·x + b·n, in nats: linear in what was counted, for
//! the binomial, the Poisson and the normal distribution alike.

/// How what is watched is distributed, and which change is looked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Likelihood {
    /// So many of so many, the share changed by a factor.
    Share {
        /// The share looked for ÷ the usual one.
        factor: f64,
    },
    /// Durations, whose logarithms are about normal, changed by a factor. A tally holds ln(1 +
    /// days).
    Duration {
        /// The duration looked for ÷ the usual one.
        factor: f64,
    },
    /// A count a usual day, changed by a factor.
    Volume {
        /// The volume looked for ÷ the usual one.
        factor: f64,
    },
}

/// What is usual: the mean of what is watched, and how much single values differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usual {
    /// Per one that was asked.
    pub mean: f64,
    /// The variance of one.
    pub variance: f64,
}

/// A share is never taken for less certain than this: a usual share of 0 or 1 would make one deal
/// infinitely surprising.
const LEAST: f64 = 1e-4;
/// The least variance of ln(1 + days).
const LEAST_VARIANCE: f64 = 1e-3;

impl Likelihood {
    /// What is usual where the mean is `mean`; `variance` is of single values, where the
    /// distribution doesn't say it.
    pub fn usual(self, mean: f64, variance: f64) -> Usual {
        match self {
            Likelihood::Share { .. } => {
                let mean = mean.clamp(LEAST, 1.0 - LEAST);
                Usual {
                    mean,
                    variance: mean * (1.0 - mean),
                }
            }
            Likelihood::Duration { .. } => Usual {
                mean,
                variance: variance.max(LEAST_VARIANCE),
            },
            Likelihood::Volume { .. } => {
                let mean = mean.max(LEAST);
                Usual {
                    mean,
                    variance: mean,
                }
            }
        }
    }

    /// The factors a and b of the log-likelihood ratio a·x + b·n.
    pub fn ratio(self, usual: Usual) -> (f64, f64) {
        let Usual { mean, variance } = usual;
        match self {
            Likelihood::Share { factor } => {
                let changed = (mean * factor).clamp(LEAST * factor, 1.0 - LEAST);
                let lost = ((1.0 - changed) / (1.0 - mean)).ln();
                ((changed / mean).ln() - lost, lost)
            }
            Likelihood::Duration { factor } => {
                let shift = factor.ln();
                (shift / variance, -shift * (mean + shift / 2.0) / variance)
            }
            Likelihood::Volume { factor } => (factor.ln(), mean * (1.0 - factor)),
        }
    }

    /// What is usual after a change: a fall by a part, of durations a rise by a part.
    pub fn changed(self, usual: Usual, part: f64) -> Usual {
        match self {
            Likelihood::Share { .. } | Likelihood::Volume { .. } => {
                self.usual(usual.mean * (1.0 - part), usual.variance)
            }
            Likelihood::Duration { .. } => self.usual(usual.mean + part.ln_1p(), usual.variance),
        }
    }

    /// What is counted of a day on which `n` were asked, if it is `deviation` standard deviations
    /// of one from usual.
    pub fn counted(self, usual: Usual, n: f64, deviation: f64) -> f64 {
        let x = n * usual.mean + deviation * usual.variance.sqrt();
        match self {
            Likelihood::Share { .. } => x.clamp(0.0, n),
            Likelihood::Volume { .. } => x.max(0.0),
            Likelihood::Duration { .. } => x,
        }
    }

    /// The variance of a day's count ÷ what chance alone gives, if values of one day are correlated
    /// by `rho`.
    pub fn dispersion(self, usual: Usual, n: f64, rho: f64) -> f64 {
        let others = match self {
            Likelihood::Share { .. } | Likelihood::Duration { .. } => n - 1.0,
            Likelihood::Volume { .. } => n * usual.mean,
        };
        1.0 + others.max(0.0) * rho
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_adds_the_logarithms_of_won_and_lost() {
        let share = Likelihood::Share { factor: 0.65 };
        let (a, b) = share.ratio(share.usual(0.25, 0.0));
        let (p0, p1): (f64, f64) = (0.25, 0.1625);
        let by_hand = 2.0 * (p1 / p0).ln() + 5.0 * ((1.0 - p1) / (1.0 - p0)).ln();
        assert!((a * 2.0 + b * 7.0 - by_hand).abs() < 1e-12);
    }

    #[test]
    fn a_volume_and_a_duration_are_likelier_where_they_are_what_is_looked_for() {
        let volume = Likelihood::Volume { factor: 0.35 };
        let (a, b) = volume.ratio(volume.usual(10.0, 0.0));
        assert!(a * 3.5 + b > 0.0 && a * 10.0 + b < 0.0);
        let duration = Likelihood::Duration { factor: 1.35 };
        let usual = duration.usual(30f64.ln_1p(), 0.5);
        let (a, b) = duration.ratio(usual);
        assert!(a * (31f64 * 1.35).ln() + b > 0.0 && a * usual.mean + b < 0.0);
    }

    #[test]
    fn shares_of_nothing_and_of_all_are_finite() {
        let share = Likelihood::Share { factor: 0.65 };
        for mean in [0.0, 1.0] {
            let (a, b) = share.ratio(share.usual(mean, 0.0));
            assert!(a.is_finite() && b.is_finite(), "{mean}");
        }
    }
}
