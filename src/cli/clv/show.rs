//! What is expected of customers, as tables or as JSON.

use serde_json::{Map, Value as Json, json};

use super::Shown;
use crate::cli::report::grid::{Cell, Grid, clean, grouped};
use crate::event::{DECIMAL_ONE, write_decimal};
use crate::lifetime::{Customer, Estimate, LifetimeError, Prediction, Total};
use crate::window::calendar::civil;

/// No value.
const NOTHING: &str = "–";

/// A customer with what is expected of it.
type Predicted<'e> = (&'e Customer, Option<&'e Prediction>);

/// The customers most is expected of; without predictions, those most came from.
fn top<'e>(estimate: &'e Estimate, most: usize) -> Vec<Predicted<'e>> {
    let mut top: Vec<Predicted<'e>> = estimate.predicted().collect();
    let expected = |(_, prediction): &Predicted<'e>| {
        let of = |p: &Prediction| p.expected_value.unwrap_or(p.expected_purchases);
        prediction.map_or(0.0, of)
    };
    top.sort_by(|a, b| {
        (expected(b).total_cmp(&expected(a)))
            .then_with(|| b.0.value.cmp(&a.0.value))
            .then_with(|| a.0.account.cmp(&b.0.account))
    });
    top.truncate(most);
    top
}

fn money(ten_thousandths: i128) -> String {
    let mut text = String::new();
    // Writing into a text can't fail.
    let _ = write_decimal(ten_thousandths, &mut text);
    text
}

/// An amount that was computed: not exact, so no more places than money has.
fn about(amount: f64) -> String {
    grouped(&format!("{amount:.2}"))
}

fn count(number: u64) -> String {
    grouped(&number.to_string())
}

fn cells(texts: impl IntoIterator<Item = String>) -> impl Iterator<Item = Cell> {
    texts.into_iter().map(|text| Cell {
        is_nothing: text == NOTHING,
        text,
    })
}

fn or_nothing(text: Option<String>) -> String {
    text.unwrap_or_else(|| NOTHING.to_owned())
}

/// By currency: the models, what was and what is expected, the accounts most is expected of.
pub fn to_text(shown: &Shown<'_>) -> String {
    let weeks = shown.horizon.weeks();
    let discount = match shown.horizon.yearly_discount() {
        0.0 => "not discounted".to_owned(),
        rate => format!("discounted by {} % a year", 100.0 * rate),
    };
    let mut out = format!(
        "Customer lifetime value\n  as of {} ({}); the next {weeks} weeks, {discount}\n",
        civil(shown.estimates.end),
        shown.time_zone
    );
    if let Some((tally, rejected)) = shown.input {
        let rejected: u64 = rejected.values().sum();
        out.push_str(&format!(
            "  read: {} lines, {} rows, {} events; rejected: {}\n",
            count(tally.lines),
            count(tally.rows),
            count(tally.assertions),
            count(rejected)
        ));
        out.push_str(&tally.rounded_to_text());
    }
    for estimate in &shown.estimates.currencies {
        out.push_str(&of_currency(estimate, weeks, shown.most));
    }
    out
}

fn of_currency(estimate: &Estimate, weeks: f64, most: usize) -> String {
    let first = estimate.customers.iter().map(|c| c.first).min();
    let mut out = format!(
        "\n{}\n  customers: {} since {}, of whom {} bought again\n",
        clean(&estimate.currency),
        count(estimate.customers.len() as u64),
        or_nothing(first.map(|first| civil(first).to_string())),
        count(estimate.repeat_customers())
    );
    out.push_str(&match &estimate.purchase_model {
        Ok(fit) => {
            let m = fit.model;
            format!(
                "  purchases (BG/NBD): r {:.4}, alpha {:.4} weeks, a {:.4}, b {:.4}; log-likelihood {:.1}\n",
                m.r, m.alpha, m.a, m.b, fit.log_likelihood
            )
        }
        Err(problem) => format!("  purchases (BG/NBD): no model: {problem}\n"),
    });
    out.push_str(&match &estimate.value_model {
        Ok(fit) => {
            let m = fit.model;
            format!(
                "  value (Gamma-Gamma): p {:.4}, q {:.4}, gamma {:.4}; log-likelihood {:.1}; mean value {}, from {} customers\n",
                m.p,
                m.q,
                m.gamma,
                fit.log_likelihood,
                about(m.mean_value()),
                count(fit.customers)
            )
        }
        Err(problem) => format!("  value (Gamma-Gamma): no model: {problem}\n"),
    });
    if let (Ok(_), Err(problem)) = (&estimate.purchase_model, &estimate.predictions) {
        out.push_str(&format!("  no prediction: {problem}\n"));
    }
    let customers = estimate.customers.len() as f64;
    let mut grid = Grid::new(["", "purchases", "value", "a customer", "still customers"]);
    let past = |total: &Total| {
        [
            count(total.purchases),
            grouped(&money(total.value)),
            about(total.value as f64 / DECIMAL_ONE as f64 / customers),
            NOTHING.to_owned(),
        ]
    };
    grid.row("so far", cells(past(&estimate.so_far)));
    let recent = past(&estimate.recent);
    grid.row(&format!("the last {weeks} weeks"), cells(recent));
    let expected = estimate.expected();
    let value = expected.and_then(|expected| expected.expected_value);
    grid.row(
        &format!("the next {weeks} weeks, expected"),
        cells([
            or_nothing(expected.map(|e| about(e.expected_purchases))),
            or_nothing(value.map(about)),
            or_nothing(value.map(|value| about(value / customers))),
            or_nothing(expected.map(|e| about(e.p_alive))),
        ]),
    );
    out.push('\n');
    out.push_str(&grid.show());
    let head = [
        "account",
        "purchases",
        "value so far",
        "active",
        "purchases to come",
        "value to come",
    ];
    let mut grid = Grid::new(head);
    for (customer, prediction) in top(estimate, most) {
        grid.row(
            &customer.account,
            cells([
                count(u64::from(customer.summary.frequency) + 1),
                grouped(&money(customer.value)),
                or_nothing(prediction.map(|p| format!("{:.1} %", 100.0 * p.p_alive))),
                or_nothing(prediction.map(|p| about(p.expected_purchases))),
                or_nothing(prediction.and_then(|p| p.expected_value).map(about)),
            ]),
        );
    }
    if !grid.is_empty() {
        out.push('\n');
        out.push_str(&grid.show());
    }
    out
}

/// The run as one JSON object.
pub fn to_json(shown: &Shown<'_>) -> Json {
    let currencies: Map<String, Json> = shown
        .estimates
        .currencies
        .iter()
        .map(|estimate| {
            (
                estimate.currency.clone(),
                currency_to_json(estimate, shown.most),
            )
        })
        .collect();
    json!({
        "as_of": civil(shown.estimates.end).to_string(),
        "time_zone": shown.time_zone,
        "horizon_weeks": shown.horizon.weeks(),
        "yearly_discount": shown.horizon.yearly_discount(),
        "input": shown.input.map(|(tally, rejected)| tally.to_json(rejected)),
        "currencies": currencies,
    })
}

fn currency_to_json(estimate: &Estimate, most: usize) -> Json {
    let model = |fit: Result<Json, LifetimeError>| {
        fit.unwrap_or_else(|problem| json!({ "problem": problem.to_string() }))
    };
    let purchases = estimate.purchase_model.map(|fit| {
        let m = fit.model;
        json!({ "r": m.r, "alpha": m.alpha, "a": m.a, "b": m.b, "log_likelihood": fit.log_likelihood })
    });
    let values = estimate.value_model.map(|fit| {
        let m = fit.model;
        json!({
            "p": m.p, "q": m.q, "gamma": m.gamma, "mean_value": m.mean_value(),
            "log_likelihood": fit.log_likelihood, "customers": fit.customers,
        })
    });
    let expected = estimate.predictions.as_ref().map(|_| {
        json!(estimate.expected().map(|e| json!({
            "customers": e.p_alive, "purchases": e.expected_purchases, "value": e.expected_value,
        })))
    });
    let total =
        |total: &Total| json!({ "purchases": total.purchases, "value": money(total.value) });
    let accounts = top(estimate, most)
        .into_iter()
        .map(|(customer, prediction)| {
            json!({
                "account": customer.account,
                "frequency": customer.summary.frequency,
                "recency": customer.summary.recency,
                "age": customer.summary.age,
                "value_so_far": money(customer.value),
                "p_alive": prediction.map(|p| p.p_alive),
                "expected_purchases": prediction.map(|p| p.expected_purchases),
                "expected_value": prediction.and_then(|p| p.expected_value),
            })
        });
    json!({
        "customers": estimate.customers.len(),
        "repeat_customers": estimate.repeat_customers(),
        "purchase_model": model(purchases),
        "value_model": model(values),
        "so_far": total(&estimate.so_far),
        "recent": total(&estimate.recent),
        "expected": model(expected.map_err(|problem| *problem)),
        "top_accounts": accounts.collect::<Vec<_>>(),
    })
}
