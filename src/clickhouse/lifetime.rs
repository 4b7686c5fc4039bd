//! What is expected of customers, written: the accounts first, then the run, so that what a run's
//! row announces is there.

use super::ClickHouse;
use crate::codec::Writer;
use crate::lifetime::{Customer, Estimate, Estimates, Horizon, LifetimeError, Prediction};
use crate::pipeline::{Epoch, OutsideError};

/// One run over all currencies.
pub struct LifetimeRun<'e> {
    /// When it was made (µs).
    pub at: i64,
    /// Of which epoch's payments.
    pub epoch: &'e Epoch,
    /// How far it looks.
    pub horizon: &'e Horizon,
    /// What it found.
    pub estimates: &'e Estimates,
}

/// One customer's row: of which currency, who, and what is expected.
type CustomerRow<'e> = (&'e Estimate, &'e Customer, Option<&'e Prediction>);

impl ClickHouse {
    /// Whether the tables of lifetimes are there, which a database has once a `dealpulse run` that
    /// knows them has started.
    ///
    /// # Errors
    /// What ClickHouse or the network answered.
    pub async fn keeps_lifetimes(&self) -> Result<bool, OutsideError> {
        let sql = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name IN ('clv_runs', 'clv_accounts')";
        let count = self
            .fetch("looking for the tables of lifetimes", sql, "TSV")
            .await?;
        Ok(count.trim_ascii() == b"2")
    }

    /// Writes a run.
    ///
    /// # Errors
    /// What ClickHouse or the network answered; rows of accounts without their run are shown
    /// nowhere.
    pub async fn insert_lifetimes(&self, run: &LifetimeRun<'_>) -> Result<(), OutsideError> {
        let head = |writer: &mut Writer, currency: &str| {
            writer.fixed(run.at.to_le_bytes());
            writer.fixed(run.epoch.epoch.to_le_bytes());
            writer.fixed(run.epoch.generation.to_le_bytes());
            writer.text(currency);
        };
        let currencies = run.estimates.currencies.iter();
        let customers = currencies.clone().flat_map(|estimate| {
            let predicted = estimate.predicted();
            predicted.map(move |(customer, prediction)| (estimate, customer, prediction))
        });
        let columns = "run_at, epoch, generation, currency, account, frequency, recency, age, monetary, value_so_far, \
                       p_alive, expected_purchases, expected_value";
        let write = |writer: &mut Writer, row: CustomerRow<'_>| {
            head(writer, &row.0.currency);
            write_customer(writer, row.1, row.2);
        };
        self.insert("clv_accounts", columns, customers, write)
            .await?;
        let columns = "run_at, epoch, generation, currency, as_of, horizon_weeks, yearly_discount, customers, repeat_customers, \
                       r, alpha, a, b, purchase_log_likelihood, purchase_problem, p, q, gamma, value_log_likelihood, value_problem, \
                       prediction_problem, value_so_far, expected_purchases, expected_value";
        let write = |writer: &mut Writer, estimate: &Estimate| {
            head(writer, &estimate.currency);
            writer.fixed(run.estimates.end.to_le_bytes());
            writer.fixed(run.horizon.weeks().to_le_bytes());
            writer.fixed(run.horizon.yearly_discount().to_le_bytes());
            write_estimate(writer, estimate);
        };
        self.insert("clv_runs", columns, currencies, write).await
    }
}

fn write_customer(writer: &mut Writer, customer: &Customer, prediction: Option<&Prediction>) {
    let summary = &customer.summary;
    writer.text(&customer.account);
    writer.fixed(summary.frequency.to_le_bytes());
    writer.fixed(summary.recency.to_le_bytes());
    writer.fixed(summary.age.to_le_bytes());
    let mean = (summary.frequency > 0).then_some(customer.spend.mean);
    nullable(writer, mean);
    writer.fixed(customer.value.to_le_bytes());
    nullable(writer, prediction.map(|p| p.p_alive));
    nullable(writer, prediction.map(|p| p.expected_purchases));
    nullable(writer, prediction.and_then(|p| p.expected_value));
}

fn write_estimate(writer: &mut Writer, estimate: &Estimate) {
    writer.fixed((estimate.customers.len() as u64).to_le_bytes());
    writer.fixed(estimate.repeat_customers().to_le_bytes());
    let fit = estimate.purchase_model.as_ref().ok();
    for parameter in [
        fit.map(|fit| fit.model.r),
        fit.map(|fit| fit.model.alpha),
        fit.map(|fit| fit.model.a),
        fit.map(|fit| fit.model.b),
        fit.map(|fit| fit.log_likelihood),
    ] {
        nullable(writer, parameter);
    }
    problem(writer, estimate.purchase_model.as_ref().err());
    let fit = estimate.value_model.as_ref().ok();
    for parameter in [
        fit.map(|fit| fit.model.p),
        fit.map(|fit| fit.model.q),
        fit.map(|fit| fit.model.gamma),
        fit.map(|fit| fit.log_likelihood),
    ] {
        nullable(writer, parameter);
    }
    problem(writer, estimate.value_model.as_ref().err());
    problem(writer, estimate.predictions.as_ref().err());
    writer.fixed(estimate.so_far.value.to_le_bytes());
    let expected = estimate.expected();
    nullable(writer, expected.map(|e| e.expected_purchases));
    nullable(writer, expected.and_then(|e| e.expected_value));
}

fn nullable(writer: &mut Writer, number: Option<f64>) {
    writer.byte(u8::from(number.is_none()));
    if let Some(number) = number {
        writer.fixed(number.to_le_bytes());
    }
}

fn problem(writer: &mut Writer, problem: Option<&LifetimeError>) {
    writer.text(&problem.map(ToString::to_string).unwrap_or_default());
}
