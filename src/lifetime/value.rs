//! The two models together: what a customer is expected to be worth within a horizon.

use super::{BgNbd, GammaGamma, LifetimeError, MAX_HORIZON, Spend, Summary};

/// Weeks of a mean Gregorian year of 365.2425 days.
pub const WEEKS_PER_YEAR: f64 = 365.2425 / 7.0;

/// How far into the future, in weeks, and what a later purchase is worth now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Horizon {
    weeks: f64,
    yearly_discount: f64,
}

impl Horizon {
    /// A discount of 0.1 makes a purchase in a year worth 1 / 1.1 now.
    ///
    /// # Errors
    /// [`LifetimeError::BadHorizon`] unless 0 ≤ weeks ≤ [`MAX_HORIZON`] and the discount is finite
    /// and not below zero.
    pub fn new(weeks: f64, yearly_discount: f64) -> Result<Self, LifetimeError> {
        let horizon = Horizon {
            weeks,
            yearly_discount,
        };
        let discounts = 0.0..=f64::MAX;
        if (0.0..=MAX_HORIZON).contains(&weeks) && discounts.contains(&yearly_discount) {
            Ok(horizon)
        } else {
            Err(LifetimeError::BadHorizon {
                horizon: weeks,
                discount: yearly_discount,
            })
        }
    }

    /// Its length in weeks.
    pub fn weeks(&self) -> f64 {
        self.weeks
    }

    /// The discount a year.
    pub fn yearly_discount(&self) -> f64 {
        self.yearly_discount
    }

    /// What a purchase after so many weeks is worth now.
    fn factor(&self, weeks: f64) -> f64 {
        (1.0 + self.yearly_discount).powf(-weeks / WEEKS_PER_YEAR)
    }
}

/// What is expected of one customer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// The probability that the customer is still active.
    pub p_alive: f64,
    /// Purchases within the horizon, not discounted.
    pub expected_purchases: f64,
    /// What they are worth now: purchases, each week's discounted from the week's end, times the
    /// expected value of one. None without a model of values.
    pub expected_value: Option<f64>,
}

/// Puts the two models together: a purchase's value is independent of when it is made, so the
/// expectations multiply (Fader, Hardie and Lee 2005, "RFM and CLV", Journal of Marketing Research
/// 42(4)).
///
/// # Errors
/// A summary that can't be, or a sum of too many terms.
pub fn predict(
    purchases: &BgNbd,
    values: Option<&GammaGamma>,
    customer: &Summary,
    spend: &Spend,
    horizon: &Horizon,
) -> Result<Prediction, LifetimeError> {
    let expected_purchases = purchases.expected_purchases(customer, horizon.weeks)?;
    let discounted = if horizon.yearly_discount == 0.0 || values.is_none() {
        expected_purchases
    } else {
        let (mut before, mut sum) = (0.0, 0.0);
        for week in 1..=horizon.weeks.ceil() as u32 {
            let end = f64::from(week).min(horizon.weeks);
            let until = purchases.expected_purchases(customer, end)?;
            sum += (until - before) * horizon.factor(end);
            before = until;
        }
        sum
    };
    Ok(Prediction {
        p_alive: purchases.p_alive(customer)?,
        expected_purchases,
        expected_value: values.map(|values| discounted * values.expected_value(spend)),
    })
}
