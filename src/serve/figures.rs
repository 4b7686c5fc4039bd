//! How single figures are written on the page: grouped, with their unit, a dash where there is no
//! value, and nothing that HTML would read.

use std::fmt::{self, Display, Write};

use crate::event::rounded;
use crate::metric::{Figure, Figures, REPORTING, decimal, find, money};

/// Ten-thousandths in a hundredth: what a mean, a converted amount or a part of a deal has beyond
/// it is not read by anybody.
const CENT: i128 = 100;
/// Shown in place of a missing value.
pub const NO_VALUE: &str = "–";

/// Text that may hold anything, made safe between tags and in quoted attributes.
pub struct Escaped<'a>(pub &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            c => f.write_char(c),
        })
    }
}

/// A single figure as text: `1,234`, `2.5`, `23.4 %`, `41.5`, `12,500.00`.
pub fn written(figure: &Figure) -> String {
    match figure {
        Figure::Count(n) => grouped(&n.to_string()),
        Figure::Decimal(n) => grouped(&decimal(rounded(*n, CENT) * CENT)),
        Figure::Share { .. } | Figure::Ratio(_) => {
            figure.gauge().map_or_else(|| NO_VALUE.to_owned(), percent)
        }
        Figure::Days(Some(days)) => grouped(&format!("{days:.1}")),
        Figure::Money(amount) => grouped(&money(rounded(*amount, CENT) * CENT)),
        Figure::Days(None) | Figure::Group(_) | Figure::ByCurrency(_) | Figure::ByStage(_) => {
            NO_VALUE.to_owned()
        }
    }
}

fn percent(ratio: f64) -> String {
    format!("{:.1}\u{202f}%", ratio * 100.0)
}

/// Where a share of counts may lie, in words; `None` for other figures.
pub fn confidence(figure: &Figure) -> Option<String> {
    let (low, high) = figure.interval()?;
    Some(format!(
        "with 95\u{202f}% confidence {} to {}",
        percent(low),
        percent(high)
    ))
}

/// A figure in a sentence: its currency with it, several currencies one after the other. What is
/// converted is in the currency `reporting`.
pub fn in_a_sentence(figures: &Figures, path: &str, reporting: &str) -> String {
    let mut found = find(figures, path);
    // All in one currency says it shorter than each in its own.
    if found
        .iter()
        .any(|(currency, _)| *currency == Some(REPORTING))
    {
        found.retain(|(currency, _)| *currency == Some(REPORTING));
    }
    let words = found.iter().map(|(currency, figure)| match currency {
        Some(REPORTING) => format!("{}\u{a0}{}", Escaped(reporting), written(figure)),
        Some(currency) => format!("{}\u{a0}{}", Escaped(currency), written(figure)),
        None => written(figure),
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() {
        NO_VALUE.to_owned()
    } else {
        words.join(", ")
    }
}

/// A text's first sentence.
pub fn first_sentence(text: &str) -> &str {
    text.find(". ").map_or(text, |end| &text[..=end])
}

/// A number with a comma before every three digits of its whole part.
fn grouped(number: &str) -> String {
    let (sign, number) = number
        .strip_prefix('-')
        .map_or(("", number), |n| ("\u{2212}", n));
    let (whole, fraction) = number
        .split_once('.')
        .map_or((number, None), |(whole, fraction)| (whole, Some(fraction)));
    let mut text = sign.to_owned();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if let Some(fraction) = fraction {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

/// A span of time in the usual unit.
pub fn ago(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn figures_are_grouped_and_have_their_unit() {
        assert_eq!(written(&Figure::Count(-1_234_567)), "\u{2212}1,234,567");
        assert_eq!(written(&Figure::Decimal(12_003_333)), "1,200.33");
        assert_eq!(written(&Figure::Decimal(25_000)), "2.5");
        assert_eq!(written(&Figure::Decimal(100_000)), "10");
        assert_eq!(written(&Figure::Decimal(0)), "0");
        assert_eq!(written(&Figure::Money(123_456_789_000)), "12,345,678.90");
        assert_eq!(written(&Figure::Money(-64_987_654)), "\u{2212}6,498.77");
        assert_eq!(written(&Figure::Ratio(Some(0.0))), "0.0\u{202f}%");
        assert_eq!(written(&Figure::Ratio(None)), "–");
        let share = |part, whole| Figure::Share { part, whole };
        assert_eq!(written(&share(1, 3)), "33.3\u{202f}%");
        assert_eq!(written(&share(0, 0)), "–");
        assert_eq!(
            confidence(&share(5, 10)).unwrap(),
            "with 95\u{202f}% confidence 23.7\u{202f}% to 76.3\u{202f}%"
        );
        assert_eq!(written(&Figure::Days(Some(1_041.449))), "1,041.4");
    }

    #[test]
    fn a_path_leads_through_currencies() {
        let amount = |won| Figure::Group(vec![("won", Figure::Money(won))]);
        let by_currency = BTreeMap::from([
            ("EUR".to_owned(), amount(10_000)),
            ("USD".to_owned(), amount(20_000)),
        ]);
        let figures = vec![
            ("amount", Figure::ByCurrency(by_currency)),
            ("won", Figure::Count(3)),
        ];
        assert_eq!(
            in_a_sentence(&figures, "amount.won", ""),
            "EUR\u{a0}1.00, USD\u{a0}2.00"
        );
        let converted = BTreeMap::from([
            ("EUR".to_owned(), amount(10_000)),
            (REPORTING.to_owned(), amount(30_000)),
        ]);
        let converted = vec![("amount", Figure::ByCurrency(converted))];
        assert_eq!(
            in_a_sentence(&converted, "amount.won", "CHF"),
            "CHF\u{a0}3.00"
        );
        assert_eq!(in_a_sentence(&figures, "won", ""), "3");
        assert_eq!(in_a_sentence(&figures, "amount.lost", ""), "–");
    }

    #[test]
    fn nothing_escapes_into_the_markup() {
        assert_eq!(
            Escaped("<b a='1' c=\"2\">&").to_string(),
            "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;"
        );
    }
}
