//! Conditions: what cells of a row must hold, for a rule to read it or for a case to count.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::event::Decimal;

/// The texts a cell may have, as they are written: one, or a list.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Texts {
    One(String),
    Several(Vec<String>),
}

/// Every cell named holds one of its texts.
#[derive(Debug, Clone, Default)]
pub(super) struct Condition(Vec<(String, Vec<String>)>);

impl Condition {
    pub fn new(spec: BTreeMap<String, Texts>) -> Condition {
        let texts = |texts| match texts {
            Texts::One(text) => vec![text],
            Texts::Several(texts) => texts,
        };
        Condition(
            spec.into_iter()
                .map(|(column, of)| (column, texts(of)))
                .collect(),
        )
    }

    /// The columns it looks at.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(column, _)| column.as_str())
    }

    /// True if it holds. A cell that isn't there holds nothing, and so is equal to no text, not
    /// even a blank one.
    pub fn holds<'a>(&self, cell: &impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|(column, texts)| {
            cell(column).is_some_and(|cell| texts.iter().any(|text| is_same(cell.trim(), text)))
        })
    }

    /// True if a cell that says something holds none of its texts. Of a row that is deleted, blank
    /// and 0 may stand for anything.
    pub fn is_refuted<'a>(&self, cell: &impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().any(|(column, texts)| {
            let cell = cell(column).map_or("", str::trim);
            !matches!(cell, "" | "0") && !texts.iter().any(|text| is_same(cell, text))
        })
    }

    /// True if a cell it looks at isn't there, so that nothing can be said.
    pub fn is_open<'a>(&self, cell: &impl Fn(&str) -> Option<&'a str>) -> bool {
        self.columns().any(|column| cell(column).is_none())
    }
}

/// The same text, or the same number: a database's 0 may come as `0.0`.
fn is_same(cell: &str, text: &str) -> bool {
    cell == text
        || match (Decimal::parse(cell), Decimal::parse(text)) {
            (Some(cell), Some(text)) => cell == text,
            _ => false,
        }
}
