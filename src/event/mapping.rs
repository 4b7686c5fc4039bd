//! The mapping: which columns of a source feed which canonical fields, and how a row becomes an assertion.
//!
//! It is applied to an abstract row, a look-up from names to texts, so that rows of a CSV file and members of a JSON document are mapped alike.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeZone};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::decode::{Bad, Context, Reason, read_text, short};
use super::{
    Assertion, EntitySpec, Field, FieldName, FieldSpec, Keep, Kind, Schema, Value, When, date,
};
use crate::window::Calendar;

/// Why a mapping is refused; the message names the key and says what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// It is no TOML, or has keys a mapping doesn't have.
    #[error("the mapping can't be read: {0}")]
    Unreadable(String),
    /// It contradicts itself or names what isn't there.
    #[error("{key}: {problem}")]
    Wrong {
        /// The key at fault, as it is written.
        key: String,
        /// What is wrong with it and what would be right.
        problem: String,
    },
}

impl MappingError {
    /// A fault of one key.
    pub fn wrong(key: impl Into<String>, problem: impl Into<String>) -> Self {
        MappingError::Wrong {
            key: key.into(),
            problem: problem.into(),
        }
    }
}

/// A mapping, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    definitions: Option<toml::Value>,
    delimiter: Option<char>,
    #[serde(default)]
    records: Vec<RuleSpec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleSpec {
    file: String,
    entity: String,
    id: String,
    time: Option<SourceSpec>,
    #[serde(default)]
    join: Vec<JoinSpec>,
    #[serde(default)]
    fields: BTreeMap<String, SourceSpec>,
    #[serde(default)]
    custom: BTreeMap<String, SourceSpec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinSpec {
    file: String,
    on: String,
    key: Option<String>,
    #[serde(default)]
    prefix: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceTable {
    column: Option<String>,
    value: Option<String>,
    #[serde(default)]
    map: BTreeMap<String, String>,
    format: Option<String>,
}

/// `"column"`, or a table.
struct SourceSpec(SourceTable);

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

/// A checked mapping: every entity, field and word in it exists.
#[derive(Debug)]
pub struct Mapping {
    /// What the numbers mean, if the mapping says so: as it is written, for whoever knows definitions.
    pub definitions: Option<toml::Value>,
    /// What separates the cells of a row.
    pub delimiter: u8,
    /// How rows become records, in the order they are written.
    pub rules: Vec<Rule>,
}

/// How each row of a file makes one record.
#[derive(Debug)]
pub struct Rule {
    /// Its key in the mapping, for messages: `records[0]`.
    pub key: String,
    /// The base name of the file whose rows it reads.
    pub file: String,
    /// Where further columns come from.
    pub joins: Vec<Join>,
    entity: &'static EntitySpec,
    id: String,
    time: Option<Source>,
    fields: Vec<(Field, Source)>,
    custom: Vec<(String, Source)>,
}

/// Rows of another file, one to each value of a column.
#[derive(Debug, Clone)]
pub struct Join {
    /// The base name of the other file.
    pub file: String,
    /// The column that says which of its rows.
    pub on: String,
    /// The column of the other file that holds the same.
    pub key: String,
    /// What is put before the names of the other file's columns.
    pub prefix: String,
}

/// Where a value comes from.
#[derive(Debug)]
struct Source {
    from: From,
    map: BTreeMap<String, String>,
    format: Option<Format>,
}

#[derive(Debug)]
enum From {
    Column(String),
    Value(String),
}

/// How a time is written where it is neither RFC 3339 nor a plain date.
#[derive(Debug)]
enum Format {
    Seconds,
    Millis,
    Pattern(String),
}

impl Mapping {
    /// Reads and checks a mapping.
    ///
    /// # Errors
    /// The first key that is wrong, and what would be right.
    pub fn parse(toml: &str, schema: &Schema) -> Result<Mapping, MappingError> {
        let spec: Spec =
            toml::from_str(toml).map_err(|error| MappingError::Unreadable(error.to_string()))?;
        if spec.records.is_empty() && spec.definitions.is_none() {
            return Err(MappingError::wrong(
                "records",
                "there is none; write a [[records]] table for every file whose rows are records, or at least [definitions]",
            ));
        }
        let delimiter = spec.delimiter.unwrap_or(',');
        if !delimiter.is_ascii() || delimiter == '"' {
            return Err(MappingError::wrong(
                "delimiter",
                format!("`{delimiter}` can't separate cells; write one like `;` or `\\t`"),
            ));
        }
        let rules = spec
            .records
            .into_iter()
            .enumerate()
            .map(|(number, rule)| Rule::new(format!("records[{number}]"), rule, schema));
        Ok(Mapping {
            definitions: spec.definitions,
            delimiter: delimiter as u8,
            rules: rules.collect::<Result<_, _>>()?,
        })
    }

    /// True if a file is read by a rule or joined by one.
    pub fn names(&self, file: &str) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.file == file || rule.joins.iter().any(|join| join.file == file))
    }
}

impl Rule {
    fn new(key: String, spec: RuleSpec, schema: &Schema) -> Result<Rule, MappingError> {
        let entities = || {
            let known: Vec<&str> = schema.of_sources().map(|entity| entity.name).collect();
            known.join(", ")
        };
        let entity = schema.of_name(&spec.entity).ok_or_else(|| {
            MappingError::wrong(
                format!("{key}.entity"),
                format!(
                    "there is no entity `{}`; write one of {}",
                    spec.entity,
                    entities()
                ),
            )
        })?;
        let mut fields = Vec::new();
        for (name, source) in spec.fields {
            let key = format!("{key}.fields.{name}");
            let Some(field) = entity.field(&name) else {
                let known = entity
                    .fields
                    .iter()
                    .map(|f| f.name)
                    .collect::<Vec<_>>()
                    .join(", ");
                let problem = format!(
                    "a {} has no field `{name}`; it has {known}; anything else goes under [records.custom]",
                    entity.name
                );
                return Err(MappingError::wrong(key, problem));
            };
            fields.push((field, Source::new(&key, source.0, entity.spec(field))?));
        }
        let custom = spec.custom.into_iter().map(|(name, source)| {
            let key = format!("{key}.custom.{name}");
            Source::new(&key, source.0, entity.spec(Field(Field::FIRST_CUSTOM)))
                .map(|source| (name, source))
        });
        let custom = custom.collect::<Result<_, _>>()?;
        static TIME: FieldSpec = FieldSpec {
            name: "time",
            keep: Keep::Latest,
            kind: Kind::When,
        };
        let time = spec
            .time
            .map(|source| Source::new(&format!("{key}.time"), source.0, &TIME))
            .transpose()?;
        let joins = spec.join.into_iter().map(|j| Join {
            file: j.file,
            key: j.key.unwrap_or_else(|| j.on.clone()),
            on: j.on,
            prefix: j.prefix,
        });
        Ok(Rule {
            joins: joins.collect(),
            file: spec.file,
            entity,
            id: spec.id,
            time,
            fields,
            custom,
            key,
        })
    }

    /// True if the rule says when a row was so.
    pub fn has_time(&self) -> bool {
        self.time.is_some()
    }

    /// The columns it reads, each with the key that names it.
    pub fn columns(&self) -> impl Iterator<Item = (String, &str)> {
        let fields = self
            .fields
            .iter()
            .map(|(field, source)| (format!("fields.{}", self.entity.spec(*field).name), source));
        let custom = self
            .custom
            .iter()
            .map(|(name, source)| (format!("custom.{name}"), source));
        let sources = fields
            .chain(custom)
            .chain(self.time.iter().map(|source| ("time".to_owned(), source)));
        let columns = sources.filter_map(|(key, source)| match &source.from {
            From::Column(column) => Some((format!("{}.{key}", self.key), column.as_str())),
            From::Value(_) => None,
        });
        std::iter::once((format!("{}.id", self.key), self.id.as_str())).chain(columns)
    }

    /// What a row says. `cell` looks a column up: `None` where the row has no such cell, which asserts nothing; an empty cell asserts that
    /// there is nothing. Without a time of its own the row is of `context`'s.
    ///
    /// # Errors
    /// The reason and the field, with what would be right.
    pub fn apply<'a>(
        &'a self,
        cell: impl Fn(&str) -> Option<&'a str>,
        context: &Context<'_>,
        index: u32,
        calendar: &Calendar,
    ) -> Result<Assertion<'a>, Bad> {
        let id = cell(&self.id).and_then(|id| context.qualify(Cow::Borrowed(id.trim())));
        let id = id.ok_or_else(|| {
            Bad::new(
                Reason::MissingId,
                format!(
                    "`{}` is empty, or means none; it is the record's id",
                    self.id
                ),
            )
        })?;
        let time = match self
            .time
            .as_ref()
            .and_then(|source| Some((source, source.text(&cell)?)))
        {
            None | Some((_, "")) => None,
            Some((source, text)) => Some(calendar.instant(source.when("time", text, calendar)?)),
        };
        let stamp = context.stamp(time, 0, index)?;
        let mut values = Vec::with_capacity(self.fields.len() + self.custom.len());
        for (field, source) in &self.fields {
            let Some(text) = source.text(&cell) else {
                continue;
            };
            values.push((
                FieldName::Known(*field),
                source.read(self.entity.spec(*field), text, context.namespace, calendar)?,
            ));
        }
        for (name, source) in &self.custom {
            let Some(text) = source.text(&cell) else {
                continue;
            };
            let value = if text.is_empty() {
                Value::Null
            } else {
                Value::Text(Cow::Borrowed(text))
            };
            values.push((FieldName::Custom(Cow::Borrowed(name)), value));
        }
        Ok(Assertion {
            entity: self.entity.entity,
            id,
            stamp,
            values,
        })
    }
}

impl Source {
    fn new(key: &str, spec: SourceTable, field: &FieldSpec) -> Result<Source, MappingError> {
        let from = match (spec.column, spec.value) {
            (Some(column), None) => From::Column(column),
            (None, Some(value)) if spec.map.is_empty() => From::Value(value),
            (None, Some(_)) => {
                return Err(MappingError::wrong(
                    format!("{key}.map"),
                    "a constant `value` needs no map; write the value itself",
                ));
            }
            _ => {
                return Err(MappingError::wrong(
                    key,
                    "write either the `column` the value comes from or a constant `value`",
                ));
            }
        };
        let format = match spec.format {
            Some(_) if field.kind != Kind::When => {
                return Err(MappingError::wrong(
                    format!("{key}.format"),
                    format!("`{}` is no time; only times have a format", field.name),
                ));
            }
            Some(format) => Some(
                Format::new(&format)
                    .map_err(|problem| MappingError::wrong(format!("{key}.format"), problem))?,
            ),
            None => None,
        };
        let source = Source {
            from,
            map: spec.map,
            format,
        };
        // A word that the field will refuse in every row is better refused once, here.
        if source.format.is_none() {
            let constant = if let From::Value(value) = &source.from {
                Some((format!("{key}.value"), value))
            } else {
                None
            };
            let mapped = source
                .map
                .iter()
                .map(|(word, value)| (format!("{key}.map.{word}"), value));
            for (key, value) in constant
                .into_iter()
                .chain(mapped)
                .filter(|(_, value)| !value.is_empty())
            {
                read_text(field, Cow::Borrowed(value), None)
                    .map_err(|bad| MappingError::wrong(key, bad.detail))?;
            }
        }
        Ok(source)
    }

    /// Its text in a row, mapped; `None` where the row has no such cell.
    fn text<'a>(&'a self, cell: &impl Fn(&str) -> Option<&'a str>) -> Option<&'a str> {
        match &self.from {
            From::Value(value) => Some(value),
            From::Column(column) => {
                let text = cell(column)?.trim();
                Some(self.map.get(text).map_or(text, String::as_str))
            }
        }
    }

    fn read<'a>(
        &self,
        field: &FieldSpec,
        text: &'a str,
        namespace: Option<&str>,
        calendar: &Calendar,
    ) -> Result<Value<'a>, Bad> {
        if text.is_empty() {
            return Ok(Value::Null);
        }
        match field.kind {
            Kind::When => self.when(field.name, text, calendar).map(Value::When),
            _ => read_text(field, Cow::Borrowed(text), namespace),
        }
    }

    fn when(&self, name: &str, text: &str, calendar: &Calendar) -> Result<When, Bad> {
        let (when, expected) = match &self.format {
            None => (
                When::parse(text),
                "an RFC 3339 instant or a date; a time written otherwise needs a `format` in the mapping",
            ),
            Some(format) => (format.read(text, calendar), "its `format` in the mapping"),
        };
        when.ok_or_else(|| {
            Bad::new(
                Reason::BadTime,
                format!("`{name}` is `{}`; expected {expected}", short(text)),
            )
        })
    }
}

impl Format {
    fn new(text: &str) -> Result<Format, String> {
        match text {
            "epoch_s" => Ok(Format::Seconds),
            "epoch_ms" => Ok(Format::Millis),
            _ if !text.contains('%')
                || StrftimeItems::new(text).any(|item| item == Item::Error) =>
            {
                Err(format!(
                    "`{text}` is no format; write it like `%Y-%m-%d %H:%M:%S`, or `epoch_s` or `epoch_ms`"
                ))
            }
            pattern => Ok(Format::Pattern(pattern.to_owned())),
        }
    }

    /// An instant if the text has an offset; the organisation's local time if it has a time of day; else a date.
    fn read(&self, text: &str, calendar: &Calendar) -> Option<When> {
        let pattern = match self {
            Format::Seconds => {
                return When::from_millis(text.parse::<i64>().ok()?.checked_mul(1_000)?);
            }
            Format::Millis => return When::from_millis(text.parse().ok()?),
            Format::Pattern(pattern) => pattern,
        };
        if let Ok(instant) = DateTime::parse_from_str(text, pattern) {
            return Some(When::Instant(instant.timestamp_micros()));
        }
        match NaiveDateTime::parse_from_str(text, pattern) {
            // An hour that comes twice is taken the first time; one that is skipped is no time.
            Ok(local) => calendar
                .zone()
                .from_local_datetime(&local)
                .earliest()
                .map(|at| When::Instant(at.timestamp_micros())),
            Err(_) => NaiveDate::parse_from_str(text, pattern).ok().map(date),
        }
    }
}

#[cfg(test)]
mod tests;
