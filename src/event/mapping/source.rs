//! Sources: where a field's value comes from in a row, and how it is read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use chrono_tz::Tz;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::MappingError;
use super::amount::Notation;
use super::condition::{Condition, Texts};
use super::time::Format;
use crate::event::decode::{Bad, Reason, read_text, short};
use crate::event::{FieldSpec, Kind, Value, When};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceTable {
    column: Option<String>,
    value: Option<String>,
    #[serde(default)]
    cases: Vec<CaseSpec>,
    #[serde(default)]
    map: BTreeMap<String, String>,
    #[serde(default)]
    ignore_case: bool,
    format: Option<Texts>,
    time_zone: Option<String>,
    decimal: Option<char>,
    grouping: Option<char>,
    #[serde(default)]
    round: bool,
    #[serde(default)]
    percent: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseSpec {
    #[serde(default)]
    when: BTreeMap<String, Texts>,
    column: Option<String>,
    value: Option<String>,
}

/// `"column"`, or a table.
pub(super) struct SourceSpec(pub SourceTable);

/// By hand, because an untagged enum's error doesn't say which key is wrong.
impl<'de> Deserialize<'de> for SourceSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SourceVisitor;
        impl<'de> Visitor<'de> for SourceVisitor {
            type Value = SourceTable;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a column, or a table like { column = \"…\", map = { … } } or { value = \"…\" }")
            }
            fn visit_str<E>(self, column: &str) -> Result<SourceTable, E> {
                Ok(SourceTable {
                    column: Some(column.to_owned()),
                    ..SourceTable::default()
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SourceTable, A::Error> {
                SourceTable::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_any(SourceVisitor).map(SourceSpec)
    }
}

/// Where a value comes from.
#[derive(Debug)]
pub(super) struct Source {
    cases: Vec<Case>,
    map: BTreeMap<String, String>,
    ignore_case: bool,
    formats: Vec<Format>,
    zone: Option<Tz>,
    notation: Notation,
}

/// A value, where a condition holds.
#[derive(Debug)]
struct Case {
    when: Condition,
    from: From,
}

#[derive(Debug)]
enum From {
    Column(String),
    Value(String),
}

impl From {
    fn column(&self) -> Option<&str> {
        match self {
            From::Column(column) => Some(column),
            From::Value(_) => None,
        }
    }
}

impl Source {
    /// Checks a source of a field.
    ///
    /// # Errors
    /// The key at fault, and what would be right.
    pub fn new(key: &str, spec: SourceTable, field: &FieldSpec) -> Result<Source, MappingError> {
        let cases = cases(key, &spec)?;
        let wrong = |part: &str, problem: String| {
            Err(MappingError::wrong(format!("{key}.{part}"), problem))
        };
        if field.kind != Kind::When && (spec.format.is_some() || spec.time_zone.is_some()) {
            let part = if spec.format.is_some() {
                "format"
            } else {
                "time_zone"
            };
            return wrong(
                part,
                format!("`{}` is no time; only times have a format", field.name),
            );
        }
        let is_number = matches!(field.kind, Kind::Money | Kind::Fraction);
        if !is_number && (spec.decimal.is_some() || spec.grouping.is_some() || spec.round) {
            return wrong("decimal", format!("`{}` is no number", field.name));
        }
        if spec.percent && field.kind != Kind::Fraction {
            return wrong("percent", format!("`{}` is no share", field.name));
        }
        if spec.grouping.is_some() && spec.grouping == spec.decimal.or(Some('.')) {
            return wrong("grouping", "it can't be what separates the places".into());
        }
        let formats = match spec.format {
            None => Vec::new(),
            Some(Texts::One(format)) => vec![format],
            Some(Texts::Several(formats)) => formats,
        };
        let formats = formats.iter().map(|format| Format::new(format));
        let formats = formats
            .collect::<Result<Vec<_>, _>>()
            .map_err(|problem| MappingError::wrong(format!("{key}.format"), problem))?;
        let zone = match spec.time_zone {
            None => None,
            Some(name) => match name.parse() {
                Ok(zone) => Some(zone),
                Err(_) => {
                    return wrong(
                        "time_zone",
                        format!("`{name}` is no IANA time zone; write it like `Europe/Berlin`"),
                    );
                }
            },
        };
        let mut map = spec.map;
        if spec.ignore_case {
            map = map
                .into_iter()
                .map(|(word, value)| (word.trim().to_lowercase(), value))
                .collect();
        }
        let source = Source {
            cases,
            map,
            ignore_case: spec.ignore_case,
            formats,
            zone,
            notation: Notation {
                decimal: spec.decimal,
                grouping: spec.grouping,
                round: spec.round,
                percent: spec.percent,
            },
        };
        source.check_words(key, field)?;
        Ok(source)
    }

    /// A word that the field will refuse in every row is better refused once, here.
    fn check_words(&self, key: &str, field: &FieldSpec) -> Result<(), MappingError> {
        if !self.formats.is_empty() {
            return Ok(());
        }
        let constants = self.cases.iter().filter_map(|case| match &case.from {
            From::Value(value) => Some((format!("{key}.value"), value)),
            From::Column(_) => None,
        });
        let mapped = self.map.iter();
        let mapped = mapped.map(|(word, value)| (format!("{key}.map.{word}"), value));
        for (key, value) in constants
            .chain(mapped)
            .filter(|(_, value)| !value.is_empty())
        {
            read_text(field, Cow::Borrowed(value), None)
                .map_err(|bad| MappingError::wrong(key, bad.detail))?;
        }
        Ok(())
    }

    /// The columns it looks at.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.cases
            .iter()
            .flat_map(|case| case.when.columns().chain(case.from.column()))
    }

    /// The columns its values come from.
    pub fn own_columns(&self) -> impl Iterator<Item = &str> {
        self.cases.iter().filter_map(|case| case.from.column())
    }

    /// True if it may round.
    pub fn rounds(&self) -> bool {
        self.notation.round
    }

    /// The column its value comes from in a row.
    pub fn column<'a>(&self, cell: &impl Fn(&str) -> Option<&'a str>) -> Option<&str> {
        let chosen = self.cases.iter().find(|case| case.when.holds(cell))?;
        chosen.from.column()
    }

    /// Its text in a row, mapped; `None` where the row doesn't have the cells that tell. Where no case holds it is blank.
    pub fn text<'a>(&'a self, cell: &impl Fn(&str) -> Option<&'a str>) -> Option<&'a str> {
        for case in &self.cases {
            if case.when.is_open(cell) {
                return None;
            }
            if case.when.holds(cell) {
                return match &case.from {
                    From::Value(value) => Some(value),
                    From::Column(column) => cell(column).map(|text| self.mapped(text.trim())),
                };
            }
        }
        Some("")
    }

    /// True if a case holds.
    pub fn is_chosen<'a>(&self, cell: &impl Fn(&str) -> Option<&'a str>) -> bool {
        self.cases.iter().any(|case| case.when.holds(cell))
    }

    fn mapped<'a>(&'a self, text: &'a str) -> &'a str {
        let found = if self.ignore_case {
            self.map.get(&text.to_lowercase())
        } else {
            self.map.get(text)
        };
        found.map_or(text, String::as_str)
    }

    /// Reads a text as the field demands; the second is true if an amount was rounded.
    ///
    /// # Errors
    /// The reason and the field, with what would be right.
    pub fn read<'a>(
        &self,
        field: &FieldSpec,
        text: &'a str,
        namespace: Option<&str>,
        zone: Tz,
    ) -> Result<(Value<'a>, bool), Bad> {
        if text.is_empty() {
            return Ok((Value::Null, false));
        }
        match field.kind {
            Kind::When => Ok((Value::When(self.when(field.name, text, zone)?), false)),
            Kind::Money | Kind::Fraction => {
                // What the notation can't read, the field says what it expects of.
                let Some((number, is_rounded)) = self.notation.read(text) else {
                    let value = read_text(field, Cow::Borrowed(text), namespace)?;
                    return match self.notation.decimal.or(self.notation.grouping) {
                        None => Ok((value, false)),
                        Some(_) => Err(Bad::new(
                            Reason::BadMoney,
                            format!(
                                "`{}` is `{}`; expected an amount in the notation of the mapping",
                                field.name,
                                short(text)
                            ),
                        )),
                    };
                };
                let value = read_text(field, Cow::Owned(number.to_string()), namespace)?;
                Ok((value, is_rounded))
            }
            _ => Ok((read_text(field, Cow::Borrowed(text), namespace)?, false)),
        }
    }

    /// Reads a time.
    ///
    /// # Errors
    /// [`Reason::BadTime`] with what was expected.
    pub fn when(&self, name: &str, text: &str, zone: Tz) -> Result<When, Bad> {
        let zone = self.zone.unwrap_or(zone);
        let mut formats = self.formats.iter();
        let (when, expected) = if self.formats.is_empty() {
            (
                When::parse(text),
                "an RFC 3339 instant or a date; a time written otherwise needs a `format` in the mapping",
            )
        } else {
            let read = formats.find_map(|format| format.read(text, zone));
            (read, "its `format` in the mapping")
        };
        when.ok_or_else(|| {
            Bad::new(
                Reason::BadTime,
                format!("`{name}` is `{}`; expected {expected}", short(text)),
            )
        })
    }
}

fn cases(key: &str, spec: &SourceTable) -> Result<Vec<Case>, MappingError> {
    let from = |key: &str, column: &Option<String>, value: &Option<String>| match (column, value) {
        (Some(column), None) => Ok(From::Column(column.clone())),
        (None, Some(value)) => Ok(From::Value(value.clone())),
        _ => Err(MappingError::wrong(
            key,
            "write either the `column` the value comes from or a constant `value`",
        )),
    };
    if spec.cases.is_empty() {
        if spec.value.is_some() && !spec.map.is_empty() {
            return Err(MappingError::wrong(
                format!("{key}.map"),
                "a constant `value` needs no map; write the value itself",
            ));
        }
        return Ok(vec![Case {
            when: Condition::default(),
            from: from(key, &spec.column, &spec.value)?,
        }]);
    }
    if spec.column.is_some() || spec.value.is_some() {
        return Err(MappingError::wrong(
            key,
            "write either `cases` or a `column` or `value`; a last case without `when` counts where no other does",
        ));
    }
    let cases = spec.cases.iter().enumerate().map(|(number, case)| {
        Ok(Case {
            when: Condition::new(case.when.clone()),
            from: from(&format!("{key}.cases[{number}]"), &case.column, &case.value)?,
        })
    });
    cases.collect()
}
