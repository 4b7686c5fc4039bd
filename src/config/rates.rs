//! Exchange rates from a file, for those who have no topic of them.

use std::path::Path;

use crate::event::{When, is_currency, rate};
use crate::metric::Rate;

/// Reads a CSV file with the columns `day`, `base`, `currency` and `rate`: one unit of the base is so many of the currency from that day on.
///
/// # Errors
/// The file, the line, and what would be right.
pub fn read_rates(path: &Path) -> Result<Vec<Rate>, String> {
    let shown = path.display();
    let mut reader = csv::Reader::from_path(path).map_err(|error| format!("{shown}: {error}"))?;
    let names = reader
        .headers()
        .map_err(|error| format!("{shown}: {error}"))?;
    let place = |name: &str| {
        let found = names.iter().position(|known| known.trim() == name);
        found.ok_or_else(|| {
            format!("{shown}: there is no column `{name}`; write day,base,currency,rate")
        })
    };
    let places = [
        place("day")?,
        place("base")?,
        place("currency")?,
        place("rate")?,
    ];
    let mut rates = Vec::new();
    for row in reader.records() {
        let row = row.map_err(|error| format!("{shown}: {error}"))?;
        let line = row.position().map_or(0, |position| position.line());
        let [day, base, currency, number] = places.map(|at| row.get(at).unwrap_or_default().trim());
        let bad = |what: &str, text: &str, expected: &str| {
            format!("{shown}:{line}: {what} is `{text}`; expected {expected}")
        };
        for (what, code) in [("base", base), ("currency", currency)] {
            if !is_currency(code) {
                return Err(bad(what, code, "an ISO 4217 code like EUR"));
            }
        }
        let Some(When::Date(day)) = When::parse(day) else {
            return Err(bad("day", day, "a date like 2026-03-04"));
        };
        let number = rate(number).ok_or_else(|| {
            bad(
                "rate",
                number,
                "a positive number with at most twelve places",
            )
        })?;
        rates.push(Rate {
            base: base.to_ascii_uppercase(),
            currency: currency.to_ascii_uppercase(),
            day,
            rate: number,
        });
    }
    Ok(rates)
}

/// A currency to report in, as its ISO 4217 code.
///
/// # Errors
/// What would be right.
pub fn reporting_currency(text: &str) -> Result<String, String> {
    if is_currency(text) {
        Ok(text.to_ascii_uppercase())
    } else {
        Err(format!(
            "`{text}` is no currency; write an ISO 4217 code like EUR"
        ))
    }
}
