//! Exchange rates: amounts of days in the reporting currency.
//!
//! Cells hold amounts by day and currency, and sums are linear: converting a day's sum by the day's
//! rate is converting each amount in it at its date. So a rate that comes late, or is corrected,
//! moves no record.

use std::collections::BTreeMap;

use crate::event::{RATE_ONE, rounded};
use crate::window::{Cell, Day};

/// The name of the series in the reporting currency, among those by currency.
pub const REPORTING: &str = "reporting";

/// What a rate says: one unit of the base is so many units of a currency, in 10⁻¹², from a day on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate {
    /// The currency of which one unit is meant.
    pub base: String,
    /// The currency it is counted in.
    pub currency: String,
    /// From which day on.
    pub day: Day,
    /// How many units, in 10⁻¹².
    pub rate: i128,
}

/// The rates by base, then by currency, each with the days from which they hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rates {
    reporting: String,
    by_base: BTreeMap<String, BTreeMap<String, BTreeMap<Day, i128>>>,
}

impl Rates {
    /// Rates to convert into `reporting` by; of two for the same currencies and day the greater
    /// counts, so that their order does not.
    pub fn new(reporting: &str, rates: Vec<Rate>) -> Rates {
        let mut by_base: BTreeMap<String, BTreeMap<String, BTreeMap<Day, i128>>> = BTreeMap::new();
        for rate in rates {
            let of_base = by_base.entry(rate.base).or_default();
            let of_pair = of_base.entry(rate.currency).or_default();
            let known = of_pair.entry(rate.day).or_insert(rate.rate);
            *known = (*known).max(rate.rate);
        }
        Rates {
            reporting: reporting.to_owned(),
            by_base,
        }
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.by_base.is_empty()
    }

    /// The reporting currency; blank if amounts are not converted.
    pub fn reporting(&self) -> &str {
        &self.reporting
    }

    fn at(&self, base: &str, currency: &str, day: Day) -> Option<i128> {
        let of_pair = self.by_base.get(base)?.get(currency)?;
        of_pair.range(..=day).next_back().map(|(_, rate)| *rate)
    }

    /// What one unit of a currency was worth in the reporting currency on a day, in 10⁻¹²: by a
    /// rate of the two, either way round, else by those of both to the same base. None if no rate
    /// of that day or an earlier one is known: never a guess, never a later one.
    pub fn factor(&self, currency: &str, day: Day) -> Option<i128> {
        if currency == self.reporting {
            return Some(RATE_ONE);
        }
        if let Some(rate) = self.at(currency, &self.reporting, day) {
            return Some(rate);
        }
        if let Some(rate) = self.at(&self.reporting, currency, day) {
            return Some(rounded(RATE_ONE * RATE_ONE, rate));
        }
        let mut bases = self.by_base.keys();
        bases.find_map(|base| {
            let (from, to) = (
                self.at(base, currency, day)?,
                self.at(base, &self.reporting, day)?,
            );
            // Each is below 10²⁴, so that the product fits.
            Some(rounded(to * RATE_ONE, from))
        })
    }
}

/// A sum of cells in the reporting currency: amounts unrounded in 10⁻¹⁶, so that the order of
/// adding is no matter, and what had no rate.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Converted {
    exact: Cell,
    without_rate: Cell,
}

impl Converted {
    /// Adds a cell of a currency and day, or takes it back.
    pub fn add(&mut self, cell: &Cell, factor: Option<i128>, sign: i64) {
        let into = match factor {
            Some(_) => &mut self.exact,
            None => &mut self.without_rate,
        };
        for (measure, count) in cell.counts.iter().enumerate() {
            into.count(measure, sign * count);
        }
        for (measure, sum) in cell.sums.iter().enumerate() {
            let product = sum.saturating_mul(factor.unwrap_or(1));
            into.sum(measure, i128::from(sign) * product);
        }
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Converted) {
        self.exact.merge(&other.exact);
        self.without_rate.merge(&other.without_rate);
    }

    /// The counts of what was converted and the amounts, rounded once. No sketch: quantiles of
    /// amounts can't be converted by day.
    pub fn cell(&self) -> Cell {
        Cell {
            counts: self.exact.counts.clone(),
            sums: self
                .exact
                .sums
                .iter()
                .map(|sum| rounded(*sum, RATE_ONE))
                .collect(),
            ..Cell::default()
        }
    }

    /// The counts of what had no rate.
    pub fn without_rate(&self) -> &Cell {
        &self.without_rate
    }

    /// True if there is nothing in it.
    pub fn is_zero(&self) -> bool {
        self.exact.is_zero() && self.without_rate.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(base: &str, currency: &str, day: Day, rate: &str) -> Rate {
        Rate {
            base: base.into(),
            currency: currency.into(),
            day,
            rate: crate::event::rate(rate).unwrap(),
        }
    }

    fn converted(rates: &Rates, currency: &str, day: Day, ten_thousandths: i128) -> Option<i128> {
        let cell = Cell {
            counts: vec![1],
            sums: vec![ten_thousandths],
            ..Cell::default()
        };
        let mut sum = Converted::default();
        sum.add(&cell, rates.factor(currency, day), 1);
        let cell = sum.cell();
        (cell.counted(0) == 1).then(|| cell.summed(0))
    }

    #[test]
    fn an_amount_is_converted_by_the_rate_of_its_day_either_way_round_or_through_a_base() {
        let rates = vec![
            rate("EUR", "USD", 10, "1.25"),
            rate("EUR", "USD", 20, "1.6"),
            rate("GBP", "EUR", 10, "1.2"),
            rate("EUR", "JPY", 10, "160"),
        ];
        let euro = Rates::new("EUR", rates.clone());
        assert_eq!(converted(&euro, "EUR", 0, 12_345), Some(12_345));
        assert_eq!(converted(&euro, "USD", 10, 10_000), Some(8_000));
        assert_eq!(converted(&euro, "USD", 19, 10_000), Some(8_000));
        assert_eq!(converted(&euro, "USD", 20, 10_000), Some(6_250));
        assert_eq!(converted(&euro, "GBP", 30, 10_000), Some(12_000));
        let dollar = Rates::new("USD", rates);
        assert_eq!(converted(&dollar, "JPY", 15, 1_600_000), Some(12_500));
        assert_eq!(converted(&dollar, "EUR", 25, 10_000), Some(16_000));
    }

    #[test]
    fn what_has_no_rate_on_its_day_is_left_out_of_amounts_and_counts_alike() {
        let rates = Rates::new("EUR", vec![rate("EUR", "USD", 10, "1.25")]);
        for (currency, day) in [("USD", 9), ("CHF", 10), ("", 10)] {
            assert_eq!(rates.factor(currency, day), None, "{currency} {day}");
        }
        let mut sum = Converted::default();
        let cell = Cell {
            counts: vec![2],
            sums: vec![50_000],
            ..Cell::default()
        };
        sum.add(&cell, rates.factor("USD", 10), 1);
        sum.add(&cell, rates.factor("CHF", 10), 1);
        assert_eq!((sum.cell().counted(0), sum.cell().summed(0)), (2, 40_000));
        assert_eq!(sum.without_rate().counted(0), 2);
        sum.add(&cell, rates.factor("USD", 10), -1);
        sum.add(&cell, rates.factor("CHF", 10), -1);
        assert!(sum.is_zero());
    }

    #[test]
    fn amounts_are_rounded_once_and_not_one_by_one() {
        let rates = Rates::new("EUR", vec![rate("EUR", "USD", 0, "3")]);
        let cell = Cell {
            counts: vec![1],
            sums: vec![1],
            ..Cell::default()
        };
        let mut sum = Converted::default();
        (0..3).for_each(|_| sum.add(&cell, rates.factor("USD", 1), 1));
        assert_eq!(sum.cell().summed(0), 1, "three thirds of a ten-thousandth");
    }
}
