//! Exchange rates from a file, for those who have no topic of them.

use std::collections::BTreeSet;
use std::path::Path;

use crate::event::{When, is_currency, rate};
use crate::input::{Table, Told};
use crate::metric::Rate;

/// Reads a CSV file with the columns `day`, `base`, `currency` and `rate`: one unit of the base is
/// so many of the currency from that day on.
///
/// # Errors
/// The file, the line, and what would be right.
pub fn read_rates(path: &Path) -> Result<Vec<Rate>, String> {
    let shown = path.display();
    let wanted = BTreeSet::from(["day", "base", "currency", "rate"]);
    let mut table = Table::open(path, Told::default(), &wanted, |line| {
        tracing::info!("{line}")
    })
    .map_err(|error| error.to_string())?;
    let place = |name: &str| {
        let found = table.columns.iter().position(|known| known == name);
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
    while let Some(row) = table.next_row().map_err(|error| error.to_string())? {
        let line = row.position().map_or(0, |position| position.line());
        let cell = |at: usize| String::from_utf8_lossy(row.get(at).unwrap_or_default());
        let cells = places.map(cell);
        let [day, base, currency, number] = cells.each_ref().map(|cell| cell.trim());
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
