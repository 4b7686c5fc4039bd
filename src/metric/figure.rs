//! Figures: what a metric reads out of its cells, in the one form that tables, JSON and gauges are
//! made from.

use std::collections::BTreeMap;

use crate::event::{DECIMAL_ONE, write_decimal};
use crate::window::Cell;

/// One number, or several under names.
#[derive(Debug, Clone, PartialEq)]
pub enum Figure {
    /// How many.
    Count(i64),
    /// How many, in ten-thousandths, where there are parts of one.
    Decimal(i128),
    /// A share of counts: so many of so many; no value where there are none.
    Share {
        /// How many of them.
        part: i64,
        /// How many there are.
        whole: i64,
    },
    /// Any other ratio, 0 to 1 as a rule; `None` where the denominator is 0.
    Ratio(Option<f64>),
    /// Days; `None` where there is nothing to measure.
    Days(Option<f64>),
    /// Money in ten-thousandths of its currency.
    Money(i128),
    /// Figures by name.
    Group(Vec<(&'static str, Figure)>),
    /// Figures by currency.
    ByCurrency(BTreeMap<String, Figure>),
    /// Figures by stage of the order, in the order.
    ByStage(Vec<(String, Figure)>),
}

/// The normal distribution's quantile of 97.5 %.
const Z_95: f64 = 1.959_963_984_540_054;

/// What tells figures of one path apart, a currency or a stage: what it is and its value.
pub type Label<'a> = Option<(&'static str, &'a str)>;

/// Named figures.
pub type Figures = Vec<(&'static str, Figure)>;

/// A share of counts: those counted in `part` are some of those counted in `whole`.
pub fn share(part: i64, whole: i64) -> Figure {
    Figure::Share { part, whole }
}

/// Numerator ÷ denominator of counts of different things, or nothing where the denominator is 0.
pub fn ratio(numerator: i64, denominator: i64) -> Figure {
    Figure::Ratio((denominator != 0).then(|| numerator as f64 / denominator as f64))
}

/// Numerator ÷ denominator of amounts in one currency.
pub fn ratio_of(numerator: i128, denominator: i128) -> Figure {
    Figure::Ratio((denominator != 0).then(|| numerator as f64 / denominator as f64))
}

/// The cells in which there is anything, by currency.
pub fn holding(cells: &BTreeMap<String, Cell>) -> impl Iterator<Item = (&String, &Cell)> {
    cells.iter().filter(|(_, cell)| !cell.is_zero())
}

/// Figures of each currency in which there is anything.
pub fn by_currency(cells: &BTreeMap<String, Cell>, read: impl Fn(&Cell) -> Figures) -> Figure {
    let figures = holding(cells).map(|(code, cell)| (code.clone(), Figure::Group(read(cell))));
    Figure::ByCurrency(figures.collect())
}

/// An amount of each currency in which it is not 0.
pub fn money_by_currency(cells: &BTreeMap<String, Cell>, amount: impl Fn(&Cell) -> i128) -> Figure {
    let amounts = cells.iter().map(|(code, cell)| (code, amount(cell)));
    let amounts = amounts.filter(|(_, amount)| *amount != 0);
    Figure::ByCurrency(
        amounts
            .map(|(c, n)| (c.clone(), Figure::Money(n)))
            .collect(),
    )
}

/// The sum of the counts of these names.
pub fn counted(figures: &Figures, names: &[&str]) -> i64 {
    let counts = figures.iter().filter(|(name, _)| names.contains(name));
    counts
        .map(|(_, figure)| if let Figure::Count(n) = figure { *n } else { 0 })
        .sum()
}

impl Figure {
    /// As JSON: ratios and days rounded to six places, money as a decimal text.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        let rounded = |n: &Option<f64>| n.map_or(Json::Null, |n| ((n * 1e6).round() / 1e6).into());
        match self {
            Figure::Count(n) => (*n).into(),
            Figure::Decimal(n) => (*n as f64 / DECIMAL_ONE as f64).into(),
            Figure::Share { .. } => rounded(&self.gauge()),
            Figure::Ratio(n) | Figure::Days(n) => rounded(n),
            Figure::Money(n) => money(*n).into(),
            Figure::Group(figures) => figures_to_json(figures),
            Figure::ByCurrency(figures) => Json::Object(
                figures
                    .iter()
                    .map(|(c, f)| (c.clone(), f.to_json()))
                    .collect(),
            ),
            Figure::ByStage(figures) => Json::Object(
                figures
                    .iter()
                    .map(|(stage, f)| (stage.clone(), f.to_json()))
                    .collect(),
            ),
        }
    }

    /// Every single number in it with the path of names that leads to it and its currency or stage,
    /// if it has one.
    pub fn visit<'a>(
        &'a self,
        path: &mut Vec<&'static str>,
        label: Label<'a>,
        see: &mut impl FnMut(&[&'static str], Label<'a>, &'a Figure),
    ) {
        match self {
            Figure::Group(figures) => {
                for (name, figure) in figures {
                    path.push(name);
                    figure.visit(path, label, see);
                    path.pop();
                }
            }
            Figure::ByCurrency(figures) => figures
                .iter()
                .for_each(|(code, figure)| figure.visit(path, Some(("currency", code)), see)),
            Figure::ByStage(figures) => figures
                .iter()
                .for_each(|(stage, figure)| figure.visit(path, Some(("stage", stage)), see)),
            single => see(path, label, single),
        }
    }

    /// The number a gauge shows; `None` for no gauge at all.
    pub fn gauge(&self) -> Option<f64> {
        match self {
            Figure::Count(n) => Some(*n as f64),
            Figure::Share { part, whole } => (*whole != 0).then(|| *part as f64 / *whole as f64),
            Figure::Ratio(n) | Figure::Days(n) => *n,
            Figure::Decimal(n) | Figure::Money(n) => Some(*n as f64 / DECIMAL_ONE as f64),
            Figure::Group(_) | Figure::ByCurrency(_) | Figure::ByStage(_) => None,
        }
    }

    /// Where the rate behind a share of counts may lie, with 95 % confidence: the Wilson score
    /// interval. `None` for other figures.
    ///
    /// Wilson: "Probable inference, the law of succession, and statistical inference", JASA 22,
    /// 1927. Brown, Cai, DasGupta: "Interval estimation for a binomial proportion", Statistical
    /// Science 16, 2001, recommend it for few counts and extreme rates.
    pub fn interval(&self) -> Option<(f64, f64)> {
        let Figure::Share { part, whole } = *self else {
            return None;
        };
        if whole <= 0 || !(0..=whole).contains(&part) {
            return None;
        }
        let (n, p) = (whole as f64, part as f64 / whole as f64);
        let z2_n = Z_95 * Z_95 / n;
        let centre = (p + z2_n / 2.0) / (1.0 + z2_n);
        let half = (z2_n * (p * (1.0 - p) + z2_n / 4.0)).sqrt() / (1.0 + z2_n);
        // Rounding must not leave the share itself outside, such as 275 of 275.
        Some(((centre - half).clamp(0.0, p), (centre + half).clamp(p, 1.0)))
    }
}

/// Named figures as a JSON object, in their order.
pub fn figures_to_json(figures: &Figures) -> serde_json::Value {
    serde_json::Value::Object(
        figures
            .iter()
            .map(|(name, figure)| ((*name).to_owned(), figure.to_json()))
            .collect(),
    )
}

/// Ten-thousandths as a plain decimal.
pub fn money(ten_thousandths: i128) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = write_decimal(ten_thousandths, &mut text);
    text
}

/// Ten-thousandths as a plain decimal without zeros at its end: `2.5`, `3`.
pub fn decimal(ten_thousandths: i128) -> String {
    let text = money(ten_thousandths);
    // There always is a point, so that no zero of the whole part goes.
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The single figures at the end of a path of names joined by dots, with their currency or stage
/// where they have one.
pub fn find<'f>(figures: &'f Figures, path: &str) -> Vec<(Option<&'f str>, &'f Figure)> {
    let mut found = Vec::new();
    descend(figures, path, None, &mut found);
    found
}

fn descend<'f>(
    figures: &'f Figures,
    path: &str,
    label: Option<&'f str>,
    found: &mut Vec<(Option<&'f str>, &'f Figure)>,
) {
    let (name, rest) = path
        .split_once('.')
        .map_or((path, None), |(name, rest)| (name, Some(rest)));
    let Some((_, figure)) = figures.iter().find(|(n, _)| *n == name) else {
        return;
    };
    let mut take = |figure: &'f Figure, label| match (figure, rest) {
        (Figure::Group(figures), Some(rest)) => descend(figures, rest, label, found),
        (Figure::Group(_) | Figure::ByCurrency(_) | Figure::ByStage(_), None) | (_, Some(_)) => {}
        (single, None) => found.push((label, single)),
    };
    match figure {
        Figure::ByCurrency(figures) => figures
            .iter()
            .for_each(|(currency, figure)| take(figure, Some(currency))),
        Figure::ByStage(figures) => figures
            .iter()
            .for_each(|(stage, figure)| take(figure, Some(stage))),
        figure => take(figure, label),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_interval_is_wilsons() {
        // Computed by hand: (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) ÷ (1 + z²/n).
        let rounded = |part, whole| {
            let (low, high) = share(part, whole).interval().unwrap();
            ((low * 1e4).round() / 1e4, (high * 1e4).round() / 1e4)
        };
        assert_eq!(rounded(0, 10), (0.0, 0.2775));
        assert_eq!(rounded(10, 10), (0.7225, 1.0));
        assert_eq!(rounded(5, 10), (0.2366, 0.7634));
        assert_eq!(rounded(15, 50), (0.191, 0.4375));
    }

    #[test]
    fn what_is_no_share_of_counts_has_no_interval() {
        assert_eq!(share(0, 0).interval(), None);
        assert_eq!(share(3, 2).interval(), None, "some are not counted yet");
        assert_eq!(ratio(1, 2).interval(), None);
        assert_eq!(ratio_of(1, 2).interval(), None);
    }

    #[test]
    fn the_interval_of_all_or_none_ends_there() {
        for whole in 1..2_000 {
            assert_eq!(share(whole, whole).interval().unwrap().1, 1.0, "{whole}");
            assert_eq!(share(0, whole).interval().unwrap().0, 0.0, "{whole}");
        }
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_share_and_narrows_with_the_counts(part in 0i64..1_000, more in 0i64..1_000) {
            let whole = part + more;
            prop_assume!(whole > 0);
            let (low, high) = share(part, whole).interval().unwrap();
            let p = part as f64 / whole as f64;
            prop_assert!(0.0 <= low && low <= p && p <= high && high <= 1.0);
            let (closer_low, closer_high) = share(part * 10, whole * 10).interval().unwrap();
            prop_assert!(closer_high - closer_low < high - low);
        }
    }
}
