//! Amounts as people and databases write them, by a notation that the mapping states: nothing about
//! them is guessed.

use crate::event::{DECIMAL_ONE, Decimal, without_exponent};

/// How an amount is written.
#[derive(Debug, Default)]
pub(super) struct Notation {
    /// What separates the places, where it is stated.
    pub decimal: Option<char>,
    /// What separates thousands, where it is stated.
    pub grouping: Option<char>,
    /// More than four places are rounded, half to even, instead of refused.
    pub round: bool,
    /// Its sign is dropped.
    pub absolute: bool,
    /// It is a percentage.
    pub percent: bool,
}

impl Notation {
    /// The amount, and whether it was rounded.
    pub fn read(&self, text: &str) -> Option<(Decimal, bool)> {
        let plain = match (self.decimal, self.grouping) {
            (None, None) => without_exponent(text.trim())?.into_owned(),
            // A floating-point number that is large is written with an exponent, whatever people
            // write.
            (None | Some('.'), _) if is_float(text) => without_exponent(text.trim())?.into_owned(),
            (decimal, grouping) => normal(text, decimal.unwrap_or('.'), grouping)?,
        };
        let plain = if self.percent {
            hundredth(&plain)?
        } else {
            plain
        };
        let plain = match plain.strip_prefix('-') {
            Some(plain) if self.absolute && !plain.starts_with(['-', '+']) => plain.to_owned(),
            _ => plain,
        };
        match Decimal::parse(&plain) {
            Some(exact) => Some((exact, false)),
            None if self.round => Some((half_to_even(&plain)?, true)),
            None => None,
        }
    }
}

/// True of a number with an exponent, not of one with a currency's code behind it.
fn is_float(text: &str) -> bool {
    let is_of_float = |b: u8| b.is_ascii_digit() || b"+-.eE".contains(&b);
    let text = text.trim();
    text.bytes().all(is_of_float) && text.ends_with(|c: char| c.is_ascii_digit())
}

/// `$1,200.00`, `(300.00)`, `1.234,56 €` as a plain decimal. What stands beside the number is a
/// currency's sign or code; every group has three digits.
fn normal(text: &str, decimal: char, grouping: Option<char>) -> Option<String> {
    let text = text.trim();
    let (inner, is_in_parentheses) = match text.strip_prefix('(') {
        Some(rest) => (rest.strip_suffix(')')?, true),
        None => (text, false),
    };
    let is_beside = |c: char| c.is_whitespace() || c.is_alphabetic() || "$€£¥₹₽₩".contains(c);
    let (mut rest, mut is_negative) = (inner.trim_matches(is_beside), is_in_parentheses);
    for minus in ['-', '\u{2212}'] {
        if let Some(number) = rest.strip_prefix(minus) {
            if is_negative {
                return None;
            }
            (rest, is_negative) = (number.trim_start_matches(is_beside), true);
            break;
        }
    }
    let (whole, places) = rest
        .split_once(decimal)
        .map_or((rest, None), |(w, p)| (w, Some(p)));
    let is_number = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit());
    let mut digits = String::new();
    match grouping {
        Some(grouping) if whole.contains(grouping) => {
            for (number, group) in whole.split(grouping).enumerate() {
                let is_right = if number == 0 {
                    (1..=3).contains(&group.len())
                } else {
                    group.len() == 3
                };
                if !is_right || !is_number(group) {
                    return None;
                }
                digits.push_str(group);
            }
        }
        _ if is_number(whole) => digits.push_str(whole),
        _ => return None,
    }
    let places = places.unwrap_or_default();
    if !is_number(places) || digits.is_empty() && places.is_empty() {
        return None;
    }
    let sign = if is_negative { "-" } else { "" };
    Some(format!("{sign}{digits}.{places}0"))
}

/// A plain decimal, its point two places further left.
fn hundredth(text: &str) -> Option<String> {
    let (sign, digits) = text
        .strip_prefix('-')
        .map_or(("", text), |digits| ("-", digits));
    let (whole, places) = digits.split_once('.').unwrap_or((digits, ""));
    if !whole
        .bytes()
        .chain(places.bytes())
        .all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let whole = format!("{whole:0>3}");
    let (whole, hundredths) = whole.split_at(whole.len() - 2);
    Some(format!("{sign}{whole}.{hundredths}{places}"))
}

/// A plain decimal of any number of places, rounded to four, a half to the even neighbour.
fn half_to_even(text: &str) -> Option<Decimal> {
    let (sign, digits) = text
        .strip_prefix('-')
        .map_or((1, text), |digits| (-1, digits));
    let (whole, places) = digits.split_once('.')?;
    let is_number = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(places) || places.len() <= 4 {
        return None;
    }
    let (kept, rest) = places.split_at(4);
    let number: i64 = format!("{whole}{kept}").parse().ok()?;
    let first = rest.as_bytes()[0];
    let is_half = first == b'5' && rest[1..].bytes().all(|b| b == b'0');
    let is_up = if is_half {
        number % 2 == 1
    } else {
        first >= b'5'
    };
    let number = number.checked_add(i64::from(is_up))?;
    let limit = i64::MAX / DECIMAL_ONE;
    (number / DECIMAL_ONE <= limit).then_some(Decimal(sign * number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        decimal: Option<char>,
        grouping: Option<char>,
        round: bool,
        text: &str,
    ) -> Option<(i64, bool)> {
        let notation = Notation {
            decimal,
            grouping,
            round,
            ..Notation::default()
        };
        notation
            .read(text)
            .map(|(Decimal(number), rounded)| (number, rounded))
    }

    #[test]
    fn amounts_are_read_by_the_notation_that_is_stated() {
        for (decimal, grouping, text, expected) in [
            (Some(','), Some('.'), "1.234,56", 12_345_600),
            (Some(','), Some('.'), "-1.234.567,8 €", -12_345_678_000),
            (Some('.'), Some(','), "$1,200.00", 12_000_000),
            (Some('.'), Some(','), "USD 1,200", 12_000_000),
            (Some('.'), Some(','), "(300.00)", -3_000_000),
            (Some('.'), None, "$-5.5", -55_000),
            (Some(','), Some('\u{202f}'), "1\u{202f}234,5", 12_345_000),
            (None, None, "1234.5", 12_345_000),
            (Some('.'), Some(','), "1.25E7", 125_000_000_000),
            (Some('.'), Some(','), "12.5 E", 125_000),
            (None, Some(','), "-4.2E-3", -42),
        ] {
            assert_eq!(
                read(decimal, grouping, false, text),
                Some((expected, false)),
                "{text}"
            );
        }
        for text in [
            "1,23.4",
            "1.234,56,7",
            "12,3456",
            "--5",
            "(-5)",
            "",
            "€",
            "5)",
            "(5",
            "1,,234",
            "12 34",
        ] {
            assert_eq!(read(Some('.'), Some(','), false, text), None, "{text}");
        }
        assert_eq!(read(None, None, false, "1,234"), None, "nothing is guessed");
    }

    #[test]
    fn more_than_four_places_are_rounded_half_to_even_only_if_that_is_said() {
        for (text, expected) in [
            ("12.300000000000001", 123_000),
            ("0.00005", 0),
            ("0.00015", 2),
            ("0.000150001", 2),
            ("-0.00025", -2),
            ("-0.00025000001", -3),
            ("1.99999", 20_000),
            ("1.2300000000000001E1", 123_000),
            ("1.2345678901234567E7", 123_456_789_012),
            ("5.0E-5", 0),
        ] {
            assert_eq!(read(None, None, false, text), None, "{text}");
            assert_eq!(
                read(None, None, true, text),
                Some((expected, true)),
                "{text}"
            );
        }
        assert_eq!(read(None, None, true, "12.30000"), Some((123_000, false)));
        assert_eq!(read(None, None, true, "1e999"), None);
        assert_eq!(read(None, None, true, "99999999999999999999.00001"), None);
    }

    #[test]
    fn the_sign_is_dropped_where_the_mapping_says_so() {
        let notation = Notation {
            absolute: true,
            round: true,
            ..Notation::default()
        };
        for (text, expected) in [("-10.00", 100_000), ("10", 100_000), ("-0.00005", 0)] {
            let read = notation.read(text).map(|(Decimal(number), _)| number);
            assert_eq!(read, Some(expected), "{text}");
        }
        assert_eq!(notation.read("--1"), None);
    }

    #[test]
    fn a_percentage_is_a_share() {
        let read = |round, text: &str| {
            let notation = Notation {
                round,
                percent: true,
                ..Notation::default()
            };
            notation.read(text).map(|(Decimal(number), _)| number)
        };
        assert_eq!(read(false, "25"), Some(2_500));
        assert_eq!(read(false, "2.5"), Some(250));
        assert_eq!(read(false, "100.00"), Some(10_000));
        assert_eq!(read(false, "7"), Some(700));
        assert_eq!(read(false, "33.333"), None);
        assert_eq!(read(true, "33.333"), Some(3_333));
        assert_eq!(read(false, "1.0E-1"), Some(10));
        assert_eq!(read(false, "2.5e1"), Some(2_500));
        assert_eq!(read(true, "x"), None);
    }
}
