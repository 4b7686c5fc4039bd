//! From payments to what is expected of every customer, one fit a currency: money of two currencies
//! is never added.

use super::history::{Customer, Payment, customer, sort};
use super::{BgNbd, Fit, GammaGamma, Horizon, LifetimeError, Prediction, Spend, Summary, predict};

/// What there is to say about the customers of every currency.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimates {
    /// The last day that was observed, in days since 1970.
    pub end: i32,
    /// By currency.
    pub currencies: Vec<Estimate>,
}

/// The customers of one currency.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// The currency.
    pub currency: String,
    /// By account.
    pub customers: Vec<Customer>,
    /// What each of them is expected to do, in the same order; or why that isn't known.
    pub predictions: Result<Vec<Prediction>, LifetimeError>,
    /// How they buy.
    pub purchase_model: Result<Fit<BgNbd>, LifetimeError>,
    /// What their purchases are worth.
    pub value_model: Result<Fit<GammaGamma>, LifetimeError>,
    /// All purchases up to the end.
    pub so_far: Total,
    /// Those of the last days, as many as the horizon has: what would be expected if everything
    /// went on as it did.
    pub recent: Total,
}

/// Days of purchase and what they were worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Total {
    /// How many, each customer's own.
    pub purchases: u64,
    /// In ten-thousandths, less what was given back.
    pub value: i128,
}

impl Total {
    fn add(&mut self, value: i128) {
        self.purchases += 1;
        self.value += value;
    }
}

impl Estimate {
    /// How many have bought again.
    pub fn repeat_customers(&self) -> u64 {
        let repeat = |customer: &&Customer| customer.summary.frequency > 0;
        self.customers.iter().filter(repeat).count() as u64
    }

    /// Each customer with its prediction, if there are any.
    pub fn predicted(&self) -> impl Iterator<Item = (&Customer, Option<&Prediction>)> {
        let prediction = |at: usize| self.predictions.as_ref().ok()?.get(at);
        let customers = self.customers.iter().enumerate();
        customers.map(move |(at, customer)| (customer, prediction(at)))
    }

    /// The sum of all predictions. Active customers are in place of the probability.
    pub fn expected(&self) -> Option<Prediction> {
        let predictions = self.predictions.as_ref().ok()?;
        let zero = Prediction {
            p_alive: 0.0,
            expected_purchases: 0.0,
            expected_value: self.value_model.is_ok().then_some(0.0),
        };
        Some(predictions.iter().fold(zero, |sum, one| {
            Prediction {
                p_alive: sum.p_alive + one.p_alive,
                expected_purchases: sum.expected_purchases + one.expected_purchases,
                expected_value: sum
                    .expected_value
                    .zip(one.expected_value)
                    .map(|(a, b)| a + b),
            }
        }))
    }
}

/// Fits both models for every currency, and says what they expect. Payments after `end` are left
/// out; without it, the last payment is the end. None if no account has bought anything.
pub fn estimate(
    mut payments: Vec<Payment>,
    end: Option<i32>,
    horizon: &Horizon,
) -> Option<Estimates> {
    let end = end.or_else(|| payments.iter().map(|payment| payment.day).max())?;
    payments.retain(|payment| payment.day <= end && payment.amount != 0);
    sort(&mut payments);
    let of_currency = payments.chunk_by(|a, b| a.currency == b.currency);
    let currencies: Vec<Estimate> = of_currency
        .filter_map(|payments| estimate_one(payments, end, horizon))
        .collect();
    (!currencies.is_empty()).then_some(Estimates { end, currencies })
}

/// The same for payments of one currency, sorted.
fn estimate_one(payments: &[Payment], end: i32, horizon: &Horizon) -> Option<Estimate> {
    let currency = payments.first()?.currency.clone();
    let (mut so_far, mut recent) = (Total::default(), Total::default());
    let begin = f64::from(end) - 7.0 * horizon.weeks();
    let mut each = |(day, value): (i32, i128)| {
        so_far.add(value);
        if f64::from(day) > begin {
            recent.add(value);
        }
    };
    let customers: Vec<Customer> = payments
        .chunk_by(|a, b| a.account == b.account)
        .filter_map(|payments| customer(payments, end, &mut each))
        .collect();
    if customers.is_empty() {
        return None;
    }
    let summaries: Vec<Summary> = customers.iter().map(|customer| customer.summary).collect();
    let spends: Vec<Spend> = customers.iter().map(|customer| customer.spend).collect();
    let purchase_model = BgNbd::fit(&summaries);
    let value_model = GammaGamma::fit(&spends);
    let values = value_model.as_ref().ok().map(|fit| &fit.model);
    let predictions = purchase_model.and_then(|fit| {
        let one = |customer: &Customer| {
            predict(
                &fit.model,
                values,
                &customer.summary,
                &customer.spend,
                horizon,
            )
        };
        customers.iter().map(one).collect()
    });
    Some(Estimate {
        currency,
        customers,
        predictions,
        purchase_model,
        value_model,
        so_far,
        recent,
    })
}
