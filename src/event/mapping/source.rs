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
use super::personal::Hashing;
use super::time::Format;
use crate::event::decode::{Bad, Reason, read_text, short};
use crate::event::{FieldSpec, Keep, Kind, Value, When};

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
    absolute: bool,
    #[serde(default)]
    percent: bool,
    #[serde(default)]
    hash: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseSpec {
    #[serde(default)]
    when: BTreeMap<String, Texts>,
    column: Option<String>,
    value: Option<String>,
    #[serde(default)]
    hash: bool,
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
    hashing: Hashing,
}

/// A value, where a condition holds.
#[derive(Debug)]
struct Case {
    when: Condition,
    from: From,
    /// A hash of the value is kept, not the value.
    hash: bool,
}

/// What a source finds in a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    /// The text, mapped.
    pub text: &'a str,
    /// A hash of it is kept.
    hash: bool,
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
        let hashes = spec.hash || spec.cases.iter().any(|case| case.hash);
        if hashes && !matches!(field.kind, Kind::Text | Kind::Reference) {
            let problem = format!(
                "`{}` is no text and no id; only these are hashed",
                field.name
            );
            return wrong("hash", problem);
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
                absolute: spec.absolute,
                percent: spec.percent,
            },
            hashing: Hashing {
                ignore_case: spec.ignore_case,
                key: None,
            },
        };
        source.check_words(key, field)?;
        Ok(source)
    }

    /// Checks the source of an id: a column, hashed or not.
    ///
    /// # Errors
    /// As [`Source::new`].
    pub fn of_id(key: &str, spec: SourceTable) -> Result<Source, MappingError> {
        static ID: FieldSpec = FieldSpec {
            name: "id",
            keep: Keep::Latest,
            kind: Kind::Text,
        };
        let is_column = spec.column.is_some() && spec.cases.is_empty() && spec.map.is_empty();
        if !is_column || spec.ignore_case && !spec.hash {
            let problem = "an id is a column: write its name, or { column = \"…\", hash = true, ignore_case = true } to keep its hash";
            return Err(MappingError::wrong(key, problem));
        }
        Source::new(key, spec, &ID)
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
        self.uses().map(|(column, _)| column)
    }

    /// The columns it looks at, each with how it is hashed; those read in the clear without.
    pub fn uses(&self) -> impl Iterator<Item = (&str, Option<&Source>)> {
        self.cases.iter().flat_map(move |case| {
            let own = match &case.from {
                From::Column(column) => Some((column.as_str(), case.hash.then_some(self))),
                From::Value(_) => None,
            };
            case.when.columns().map(|column| (column, None)).chain(own)
        })
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

    /// How it hashes.
    pub fn hashing(&mut self) -> &mut Hashing {
        &mut self.hashing
    }

    /// What it finds in a row; `None` where the row doesn't have the cells that tell. Where no case
    /// holds it is blank.
    pub fn find<'a>(&'a self, cell: &impl Fn(&str) -> Option<&'a str>) -> Option<Found<'a>> {
        for case in &self.cases {
            if case.when.is_open(cell) {
                return None;
            }
            if case.when.holds(cell) {
                let text = match &case.from {
                    From::Value(value) => value,
                    From::Column(column) => self.mapped(cell(column)?.trim()),
                };
                let hash = case.hash;
                return Some(Found { text, hash });
            }
        }
        let (text, hash) = ("", false);
        Some(Found { text, hash })
    }

    /// What is kept of a text: itself, or its hash.
    ///
    /// # Errors
    /// [`Reason::Redacted`] for a hash of another key.
    pub fn kept<'a>(&self, found: Found<'a>) -> Result<Cow<'a, str>, Bad> {
        if found.hash && !is_none(found.text) {
            self.hashing.kept(found.text)
        } else {
            Ok(Cow::Borrowed(found.text))
        }
    }

    /// What stands for the text of a hashed column in a dead letter, so that the source finds the
    /// same in it.
    ///
    /// # Errors
    /// There is no key.
    pub fn mark(&self, text: &str) -> Result<String, Bad> {
        match self.mapped(text.trim()) {
            none if is_none(none) => Ok(none.to_owned()),
            text => self.hashing.mark(text),
        }
    }

    /// True if two sources hash a text alike.
    pub fn hashes_like(&self, other: &Source) -> bool {
        self.ignore_case == other.ignore_case && self.map == other.map
    }

    /// True if a case holds.
    pub fn is_chosen<'a>(&self, cell: &impl Fn(&str) -> Option<&'a str>) -> bool {
        self.cases.iter().any(|case| case.when.holds(cell))
    }

    /// True if no case can hold, also if blanks and zeros stand for anything.
    pub fn is_refuted<'a>(&self, cell: &impl Fn(&str) -> Option<&'a str>) -> bool {
        self.cases.iter().all(|case| case.when.is_refuted(cell))
    }

    fn mapped<'a>(&'a self, text: &'a str) -> &'a str {
        let found = if self.ignore_case {
            self.map.get(&text.to_lowercase())
        } else {
            self.map.get(text)
        };
        found.map_or(text, String::as_str)
    }

    /// Reads what it found as the field demands; the second is true if an amount was rounded.
    ///
    /// # Errors
    /// The reason and the field, with what would be right.
    pub fn read<'a>(
        &self,
        field: &FieldSpec,
        found: Found<'a>,
        namespace: Option<&str>,
        zone: Tz,
    ) -> Result<(Value<'a>, bool), Bad> {
        let text = found.text;
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
            _ => Ok((read_text(field, self.kept(found)?, namespace)?, false)),
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

/// True of what is no text, and no id of anything.
fn is_none(text: &str) -> bool {
    matches!(text, "" | "0")
}

fn cases(key: &str, spec: &SourceTable) -> Result<Vec<Case>, MappingError> {
    let from = |key: &str, column: &Option<String>, value: &Option<String>, hash: bool| match (
        column, value,
    ) {
        (Some(column), None) => Ok(From::Column(column.clone())),
        (None, Some(value)) if !hash => Ok(From::Value(value.clone())),
        (None, Some(_)) => Err(MappingError::wrong(
            format!("{key}.hash"),
            "a constant `value` is nobody's; hash a `column`",
        )),
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
            from: from(key, &spec.column, &spec.value, spec.hash)?,
            hash: spec.hash,
        }]);
    }
    if spec.column.is_some() || spec.value.is_some() {
        return Err(MappingError::wrong(
            key,
            "write either `cases` or a `column` or `value`; a last case without `when` counts where no other does",
        ));
    }
    if spec.hash {
        return Err(MappingError::wrong(
            format!("{key}.hash"),
            "write it into the cases whose `column` is hashed",
        ));
    }
    let cases = spec.cases.iter().enumerate().map(|(number, case)| {
        let key = format!("{key}.cases[{number}]");
        Ok(Case {
            when: Condition::new(case.when.clone()),
            from: from(&key, &case.column, &case.value, case.hash)?,
            hash: case.hash,
        })
    });
    cases.collect()
}
