//! What a purchase is worth: the Gamma-Gamma model.
//!
//! Fader and Hardie (2013), "The Gamma-Gamma Model of Monetary Value" (technical note 025). The
//! values of a customer's purchases vary by a gamma distribution (shape p) around a mean of the
//! customer's own, and these means vary over the customers: the rate of the first distribution has
//! itself a gamma distribution (shape q, rate γ).

use libm::lgamma;

use super::maximise::Problem;
use super::{Fit, LifetimeError, check_enough, check_parameter};

const MODEL: &str = "Gamma-Gamma";
const NAMES: [&str; 3] = ["p", "q", "gamma"];

/// What one customer spent: of how many purchases the mean is known, and the mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spend {
    /// Purchases the mean is of: those after the first, as in the note.
    pub purchases: u32,
    /// Their mean value, in one currency.
    pub mean: f64,
}

/// The model with its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GammaGamma {
    /// Shape of the values of one customer's purchases.
    pub p: f64,
    /// Shape of the customers' rates.
    pub q: f64,
    /// Their scale, in units of money.
    pub gamma: f64,
}

/// The log-likelihood: equation (1a) of the note. Sorted by purchases, so that what depends on
/// their number alone is computed once for each.
fn log_likelihood(model: &GammaGamma, sorted: &[Spend], unit: f64) -> f64 {
    let GammaGamma { p, q, gamma } = *model;
    let constant = q * gamma.ln() - lgamma(q);
    let of_equal = |equal: &[Spend]| -> f64 {
        let x = f64::from(equal[0].purchases);
        let shape = p * x;
        let shared = constant + lgamma(shape + q) - lgamma(shape) + shape * x.ln();
        let of_one = |spend: &Spend| {
            let mean = spend.mean / unit;
            shared + (shape - 1.0) * mean.ln() - (shape + q) * (gamma + x * mean).ln()
        };
        equal.iter().map(of_one).sum()
    };
    sorted
        .chunk_by(|a, b| a.purchases == b.purchases)
        .map(of_equal)
        .sum()
}

/// Those a value can be learnt from: at least one purchase, and a finite mean above zero.
fn usable(spends: &[Spend]) -> Vec<Spend> {
    let is_usable = |s: &Spend| s.purchases > 0 && s.mean > 0.0 && s.mean.is_finite();
    let mut usable: Vec<Spend> = spends.iter().copied().filter(is_usable).collect();
    usable.sort_by_key(|spend| spend.purchases);
    usable
}

impl GammaGamma {
    /// # Errors
    /// [`LifetimeError::BadParameter`] unless all are finite and above zero;
    /// [`LifetimeError::NoMeanValue`] if q is not above 1.
    pub fn new(p: f64, q: f64, gamma: f64) -> Result<Self, LifetimeError> {
        for (name, value) in NAMES.into_iter().zip([p, q, gamma]) {
            check_parameter(name, value)?;
        }
        if q <= 1.0 {
            return Err(LifetimeError::NoMeanValue { q });
        }
        Ok(GammaGamma { p, q, gamma })
    }

    /// The parameters that make what the customers spent most likely. Those without a purchase or
    /// with a mean that isn't above zero are left out: the model has no place for them.
    ///
    /// # Errors
    /// Too few customers, a likelihood without a greatest value, or values without a mean.
    pub fn fit(spends: &[Spend]) -> Result<Fit<Self>, LifetimeError> {
        let usable = usable(spends);
        let customers = usable.len() as u64;
        check_enough(u64::MAX, customers)?;
        // In units of the mean value the parameters are near 1 whatever the currency is.
        let unit = usable.iter().map(|s| s.mean).sum::<f64>() / customers as f64;
        let of = |[p, q, gamma]: [f64; 3]| GammaGamma { p, q, gamma };
        let likelihood = |logs: &[f64; 3]| {
            log_likelihood(&of(logs.map(f64::exp)), &usable, unit) / customers as f64
        };
        let (best, _) = Problem {
            model: MODEL,
            names: NAMES,
            likelihood: &likelihood,
        }
        .maximise()?;
        let [p, q, gamma] = best;
        let model = GammaGamma::new(p, q, gamma * unit)?;
        let log_likelihood = log_likelihood(&model, &usable, 1.0);
        Ok(Fit {
            model,
            log_likelihood,
            customers,
        })
    }

    /// The natural logarithm of the likelihood of what the customers spent, without those that
    /// [`GammaGamma::fit`] leaves out.
    pub fn log_likelihood(&self, spends: &[Spend]) -> f64 {
        log_likelihood(self, &usable(spends), 1.0)
    }

    /// The mean value of a purchase of a customer nothing is known about: pγ / (q - 1).
    pub fn mean_value(&self) -> f64 {
        self.p * self.gamma / (self.q - 1.0)
    }

    /// The mean value that is expected of the customer's purchases: equation (5) of the note,
    /// between the customer's own mean and that of all, and nearer to the own one the more
    /// purchases it is of. A mean below zero (more given back than bought) or none at all counts as
    /// 0.
    pub fn expected_value(&self, spend: &Spend) -> f64 {
        let x = f64::from(spend.purchases);
        // `max` gives the 0 also for NaN.
        let total = if x > 0.0 {
            x * spend.mean.max(0.0)
        } else {
            0.0
        };
        self.p * (self.gamma + total) / (self.p * x + self.q - 1.0)
    }
}
