//! Predictive customer lifetime value: what a customer who isn't bound by a contract will still
//! buy, and for how much.
//!
//! Two models that are fitted apart, because they take the value of a purchase to be independent of
//! how often a customer buys: [`BgNbd`] says how many purchases are expected, [`GammaGamma`] what
//! one is worth. [`Prediction`] puts them together. Pure: no I/O and no clock. Times are in one
//! unit throughout (weeks, in the command), money in one currency.

mod bg_nbd;
mod estimate;
mod gamma_gamma;
mod history;
mod maximise;
mod value;

pub use bg_nbd::BgNbd;
pub use estimate::{Estimate, Estimates, Total, estimate};
pub use gamma_gamma::{GammaGamma, Spend};
pub use history::{Customer, Payment};
pub use value::{Horizon, Prediction, WEEKS_PER_YEAR, predict};

/// The fewest customers a fit is tried on. A judgement: four parameters of fewer say nothing.
pub const MIN_CUSTOMERS: u64 = 50;

/// The fewest of them that have bought again, for either model: all there is to know comes from
/// these.
pub const MIN_REPEAT_CUSTOMERS: u64 = 20;

/// How one customer bought: the sufficient statistic of the purchase model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Purchases after the first (x).
    pub frequency: u32,
    /// Time from the first purchase to the last one (t_x); 0 if there was one only.
    pub recency: f64,
    /// Time from the first purchase to the end of the observation (T).
    pub age: f64,
}

impl Summary {
    /// # Errors
    /// [`LifetimeError::Impossible`] unless 0 ≤ t_x ≤ T, both finite, and t_x is 0 exactly if x is.
    pub fn check(&self) -> Result<(), LifetimeError> {
        let ordered = self.age.is_finite() && 0.0 <= self.recency && self.recency <= self.age;
        if ordered && (self.frequency == 0) == (self.recency == 0.0) {
            Ok(())
        } else {
            Err(LifetimeError::Impossible {
                frequency: self.frequency,
                recency: self.recency,
                age: self.age,
            })
        }
    }
}

/// A model's parameters and how well they explain what was seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit<M> {
    /// The parameters of greatest likelihood.
    pub model: M,
    /// The natural logarithm of that likelihood, summed over the customers.
    pub log_likelihood: f64,
    /// On how many customers.
    pub customers: u64,
}

/// Why there is no number.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum LifetimeError {
    /// Fewer customers than a fit needs.
    #[error("too few customers for a fit: {found} of the {MIN_CUSTOMERS} it needs")]
    TooFewCustomers {
        /// How many there are.
        found: u64,
    },
    /// Nobody has bought again.
    #[error("no customer has bought again, so nothing is known about how often they do")]
    NoRepeatCustomers,
    /// Fewer of them than a fit needs.
    #[error(
        "too few customers who bought again for a fit: {found} of the {MIN_REPEAT_CUSTOMERS} it needs"
    )]
    TooFewRepeatCustomers {
        /// How many there are.
        found: u64,
    },
    /// A summary that no sequence of purchases has.
    #[error(
        "no customer can have frequency {frequency}, recency {recency} and age {age}: \
         0 <= recency <= age must hold, and recency is 0 exactly if frequency is"
    )]
    Impossible {
        /// x
        frequency: u32,
        /// t_x
        recency: f64,
        /// T
        age: f64,
    },
    /// A parameter that isn't finite and above zero.
    #[error("{name} is {value}, and a parameter must be finite and above zero")]
    BadParameter {
        /// Which one.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// The search ended where the likelihood isn't greatest.
    #[error("the fit of the {model} model did not converge")]
    NotConverged {
        /// Which one.
        model: &'static str,
    },
    /// The likelihood grows for as long as the parameter does (or shrinks): the customers don't
    /// differ in the way the model needs.
    #[error("the fit of the {model} model ran away: {parameter} has no most likely value")]
    RanAway {
        /// Which one.
        model: &'static str,
        /// The parameter.
        parameter: &'static str,
    },
    /// The values of purchases are spread so widely that their distribution has no mean.
    #[error("the value of a purchase has no mean: q is {q}, and must be above 1")]
    NoMeanValue {
        /// The shape of its distribution.
        q: f64,
    },
    /// A horizon or a discount that makes no sense.
    #[error(
        "a horizon must be 0 to {MAX_HORIZON} and a discount from 0 on; they are {horizon} and {discount}"
    )]
    BadHorizon {
        /// In units of time.
        horizon: f64,
        /// A year.
        discount: f64,
    },
    /// The sum of the expected purchases needs too many terms.
    #[error("the expected purchases within {horizon} can't be computed: the sum doesn't end")]
    EndlessSum {
        /// The horizon.
        horizon: f64,
    },
}

/// The longest horizon: twenty years of weeks. Nothing that was seen says how customers buy for
/// longer.
pub const MAX_HORIZON: f64 = 1_044.0;

/// That a parameter is one.
fn check_parameter(name: &'static str, value: f64) -> Result<(), LifetimeError> {
    if value.is_finite() && value > 0.0 {
        Ok(())
    } else {
        Err(LifetimeError::BadParameter { name, value })
    }
}

/// That there are enough customers for a fit.
fn check_enough(customers: u64, repeat: u64) -> Result<(), LifetimeError> {
    match (customers, repeat) {
        (found, _) if found < MIN_CUSTOMERS => Err(LifetimeError::TooFewCustomers { found }),
        (_, 0) => Err(LifetimeError::NoRepeatCustomers),
        (_, found) if found < MIN_REPEAT_CUSTOMERS => {
            Err(LifetimeError::TooFewRepeatCustomers { found })
        }
        _ => Ok(()),
    }
}
