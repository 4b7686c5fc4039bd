//! Figures: what a metric reads out of its cells, in the one form that tables, JSON and gauges are made from.

use std::collections::BTreeMap;

use crate::event::write_decimal;
use crate::window::Cell;

/// One number, or several under names.
#[derive(Debug, Clone, PartialEq)]
pub enum Figure {
    /// How many.
    Count(i64),
    /// A ratio, 0 to 1 as a rule; `None` where the denominator is 0.
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

/// What tells figures of one path apart, a currency or a stage: what it is and its value.
pub type Label<'a> = Option<(&'static str, &'a str)>;

/// Named figures.
pub type Figures = Vec<(&'static str, Figure)>;

/// Numerator ÷ denominator, or nothing where the denominator is 0.
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

    /// Every single number in it with the path of names that leads to it and its currency or stage, if it has one.
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
            Figure::Ratio(n) | Figure::Days(n) => *n,
            Figure::Money(n) => Some(*n as f64 / crate::event::DECIMAL_ONE as f64),
            Figure::Group(_) | Figure::ByCurrency(_) | Figure::ByStage(_) => None,
        }
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

/// The single figures at the end of a path of names joined by dots, with their currency or stage where they have one.
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
