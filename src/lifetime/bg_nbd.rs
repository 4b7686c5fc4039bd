//! How many purchases are expected: the BG/NBD model.
//!
//! Fader, Hardie and Lee (2005), "Counting Your Customers the Easy Way: An Alternative to the
//! Pareto/NBD Model", Marketing Science 24(2). While active, a customer buys at random at a rate λ,
//! and after each purchase becomes inactive with probability p. Over the customers λ has a gamma
//! distribution (shape r, rate α) and p a beta distribution (a, b).

use libm::lgamma;

use super::maximise::Problem;
use super::{Fit, LifetimeError, MAX_HORIZON, Summary, check_enough, check_parameter};

const MODEL: &str = "BG/NBD";
const NAMES: [&str; 4] = ["r", "alpha", "a", "b"];

/// The model with its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BgNbd {
    /// Shape of the rates of purchase: the smaller, the more customers differ.
    pub r: f64,
    /// Their scale, in units of time: the mean rate is r / α.
    pub alpha: f64,
    /// The mean probability to become inactive after a purchase is a / (a + b).
    pub a: f64,
    /// See `a`.
    pub b: f64,
}

/// Customers with one summary.
#[derive(Debug, Clone, Copy)]
struct Group {
    /// The place of its frequency in [`Sample::frequencies`].
    at: usize,
    recency: f64,
    age: f64,
    customers: f64,
}

/// Summaries, grouped: a likelihood is computed once for those that are equal, and what depends on
/// the frequency alone once for each.
struct Sample {
    frequencies: Vec<f64>,
    groups: Vec<Group>,
}

impl Sample {
    /// Times are divided by `unit`.
    fn new(summaries: &[Summary], unit: f64) -> Self {
        let mut sorted = summaries.to_vec();
        sorted.sort_by(|a, b| {
            let by_time = |x: f64, y: f64| x.total_cmp(&y);
            (a.frequency.cmp(&b.frequency))
                .then(by_time(a.recency, b.recency))
                .then(by_time(a.age, b.age))
        });
        let mut frequencies: Vec<f64> = Vec::new();
        let mut groups: Vec<Group> = Vec::new();
        for equal in sorted.chunk_by(|a, b| a == b) {
            let Summary {
                frequency,
                recency,
                age,
            } = equal[0];
            let frequency = f64::from(frequency);
            if frequencies.last() != Some(&frequency) {
                frequencies.push(frequency);
            }
            groups.push(Group {
                at: frequencies.len() - 1,
                recency: recency / unit,
                age: age / unit,
                customers: equal.len() as f64,
            });
        }
        Sample {
            frequencies,
            groups,
        }
    }

    /// The log-likelihood: equation (6) of the paper, with both its terms as logarithms so that
    /// neither over- nor underflows.
    fn log_likelihood(&self, model: &BgNbd) -> f64 {
        let BgNbd { r, alpha, a, b } = *model;
        let constant = r * alpha.ln() - lgamma(r) - lgamma(b) + lgamma(a + b);
        let of_frequency = |&x: &f64| {
            let shared = constant + lgamma(r + x) + lgamma(b + x) - lgamma(a + b + x);
            // B(a+1, b+x-1) / B(a, b+x)
            let inactive = if x > 0.0 {
                (a / (b + x - 1.0)).ln()
            } else {
                f64::NEG_INFINITY
            };
            (r + x, shared, inactive)
        };
        let table: Vec<(f64, f64, f64)> = self.frequencies.iter().map(of_frequency).collect();
        let of_group = |group: &Group| {
            let (shape, shared, inactive) = table[group.at];
            let active = -shape * (alpha + group.age).ln();
            let inactive = inactive - shape * (alpha + group.recency).ln();
            let (greater, lesser) = (active.max(inactive), active.min(inactive));
            group.customers * (shared + greater + (lesser - greater).exp().ln_1p())
        };
        self.groups.iter().map(of_group).sum()
    }
}

impl BgNbd {
    /// # Errors
    /// [`LifetimeError::BadParameter`] unless all are finite and above zero.
    pub fn new(r: f64, alpha: f64, a: f64, b: f64) -> Result<Self, LifetimeError> {
        for (name, value) in NAMES.into_iter().zip([r, alpha, a, b]) {
            check_parameter(name, value)?;
        }
        Ok(BgNbd { r, alpha, a, b })
    }

    /// The parameters that make what the customers did most likely.
    ///
    /// # Errors
    /// Too few customers, summaries that can't be, or a likelihood without a greatest value.
    pub fn fit(summaries: &[Summary]) -> Result<Fit<Self>, LifetimeError> {
        summaries.iter().try_for_each(Summary::check)?;
        let customers = summaries.len() as u64;
        let repeat = summaries.iter().filter(|s| s.frequency > 0).count() as u64;
        check_enough(customers, repeat)?;
        // In units of the mean age the parameters are near 1 whatever the unit of time is.
        let unit = summaries.iter().map(|s| s.age).sum::<f64>() / customers as f64;
        let sample = Sample::new(summaries, unit);
        let of = |[r, alpha, a, b]: [f64; 4]| BgNbd { r, alpha, a, b };
        let likelihood =
            |logs: &[f64; 4]| sample.log_likelihood(&of(logs.map(f64::exp))) / customers as f64;
        let (best, _) = Problem {
            model: MODEL,
            names: NAMES,
            likelihood: &likelihood,
        }
        .maximise()?;
        let mut model = of(best);
        model.alpha *= unit;
        let log_likelihood = model.log_likelihood(summaries)?;
        Ok(Fit {
            model,
            log_likelihood,
            customers,
        })
    }

    /// The natural logarithm of the likelihood of what the customers did.
    ///
    /// # Errors
    /// [`LifetimeError::Impossible`] if a summary can't be.
    pub fn log_likelihood(&self, summaries: &[Summary]) -> Result<f64, LifetimeError> {
        summaries.iter().try_for_each(Summary::check)?;
        Ok(Sample::new(summaries, 1.0).log_likelihood(self))
    }

    /// The probability that the customer is still active.
    ///
    /// Fader and Hardie (2008), "Computing P(alive) Using the BG/NBD Model". A customer who bought
    /// once is active by the model's assumption, as customers become inactive after repeat
    /// purchases only.
    ///
    /// # Errors
    /// [`LifetimeError::Impossible`] if the summary can't be.
    pub fn p_alive(&self, customer: &Summary) -> Result<f64, LifetimeError> {
        customer.check()?;
        if customer.frequency == 0 {
            return Ok(1.0);
        }
        let x = f64::from(customer.frequency);
        let silence = (self.alpha + customer.age) / (self.alpha + customer.recency);
        let log_odds = (self.a / (self.b + x - 1.0)).ln() + (self.r + x) * silence.ln();
        Ok(1.0 / (1.0 + log_odds.exp()))
    }

    /// The purchases that are expected within `horizon` from the end of the observation.
    ///
    /// Equation (10) of the paper, in another form. There, a Gauss hypergeometric function is
    /// subtracted from 1 and divided by a - 1, which loses all digits around a = 1. Here the same
    /// value is the sum over k of P(N > k) · E[(1-p)^k]: N are the purchases if the customer were
    /// never to become inactive, with a negative binomial distribution, and (1-p)^k is the
    /// probability to be still active after k of them. All of its terms are positive, so none
    /// cancels another.
    ///
    /// # Errors
    /// A summary that can't be, a horizon below zero or above [`MAX_HORIZON`], or a sum of too many
    /// terms.
    pub fn expected_purchases(
        &self,
        customer: &Summary,
        horizon: f64,
    ) -> Result<f64, LifetimeError> {
        if !(0.0..=MAX_HORIZON).contains(&horizon) {
            return Err(LifetimeError::BadHorizon {
                horizon,
                discount: 0.0,
            });
        }
        let p_alive = self.p_alive(customer)?;
        let x = f64::from(customer.frequency);
        let z = horizon / (self.alpha + customer.age + horizon);
        let if_active = purchases_if_active(self.r + x, z, self.a, self.b + x)
            .ok_or(LifetimeError::EndlessSum { horizon })?;
        Ok(p_alive * if_active)
    }
}

/// The expected purchases of a customer who is active now: their number without inactivity has a
/// negative binomial distribution of this `shape` with success probability 1 - `z`; the probability
/// to become inactive after each has a beta distribution (`a`, `b`).
///
/// The weight of n such purchases is (shape)_n / n! · z^n; weights are kept within the range of f64
/// by scaling all sums at once, and divided out at the end. None if it takes too many terms.
fn purchases_if_active(shape: f64, z: f64, a: f64, b: f64) -> Option<f64> {
    const PRECISION: f64 = 1e-13;
    const MOST_TERMS: u32 = 5_000_000;
    const SCALE: f64 = 1e-200;
    // How many of n purchases are made, as the customer may become inactive after each.
    let mut made = 0.0;
    let mut still_active = 1.0;
    let mut weight = 1.0;
    let (mut sum, mut weights) = (0.0, 1.0);
    for n in 0..MOST_TERMS {
        let n = f64::from(n);
        let ratio = z * (shape + n) / (n + 1.0);
        // From here on the weights fall at least as fast as this, and `made` grows by at most 1
        // each.
        let fall = ratio.max(z);
        if fall < 1.0 {
            let rest = weight * fall / (1.0 - fall);
            let rest_sum = rest * (made + 1.0 / (1.0 - fall));
            if rest <= PRECISION * weights && rest_sum <= PRECISION * sum {
                return Some(sum / weights);
            }
        }
        made += still_active;
        still_active *= (b + n) / (a + b + n);
        weight *= ratio;
        weights += weight;
        sum += weight * made;
        if weights > 1.0 / SCALE {
            for scaled in [&mut weight, &mut weights, &mut sum] {
                *scaled *= SCALE;
            }
        }
    }
    None
}
