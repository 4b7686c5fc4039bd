//! Rules: how each row of a file, or of a feed's table, makes one record.

mod part;

use std::borrow::Cow;
use std::collections::BTreeMap;

use chrono_tz::Tz;
use serde::Deserialize;

use super::condition::{Condition, Texts};
use super::items::Items;
use super::personal::Hashing;
use super::source::{Source, SourceSpec};
use super::{MappingError, pointer};
use crate::event::decode::{Bad, Context, Reason, Rounded, is_none};
use crate::event::field_value::FieldValues;
use crate::event::{
    Assertion, EntitySpec, Field, FieldName, FieldSpec, Keep, Kind, Schema, Stamp, Value, When,
    field_value,
};
use crate::window::Calendar;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleSpec {
    file: Option<String>,
    table: Option<String>,
    items: Option<String>,
    entity: String,
    id: SourceSpec,
    #[serde(default)]
    id_prefix: String,
    #[serde(default)]
    when: BTreeMap<String, Texts>,
    #[serde(default)]
    otherwise: Otherwise,
    #[serde(default)]
    partial: bool,
    row_id: Option<SourceSpec>,
    time: Option<SourceSpec>,
    #[serde(default)]
    join: Vec<JoinSpec>,
    #[serde(default)]
    fields: BTreeMap<String, SourceSpec>,
    #[serde(default)]
    custom: BTreeMap<String, SourceSpec>,
}

/// What a row says of the record where the rule's condition does not hold.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Otherwise {
    /// Nothing.
    #[default]
    Skip,
    /// That it isn't there, or not any more: a row that may become another entity's.
    Delete,
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

/// How each row of a file or table makes one record.
#[derive(Debug)]
pub struct Rule {
    /// Its key in the mapping, for messages: `records[0]`.
    pub key: String,
    /// Where further columns come from.
    pub joins: Vec<Join>,
    from: Rows,
    pub(super) items: Option<Items>,
    when: Condition,
    otherwise: Otherwise,
    /// A row is a part of a record that is whole elsewhere: it says some of its fields, and not
    /// whether it is there.
    pub partial: bool,
    /// Its own id, of a part that is known by it.
    row: Option<Row>,
    entity: &'static EntitySpec,
    id: Source,
    /// What is put before ids, so that rows of two tables with the same numbers are two records.
    id_prefix: String,
    time: Option<Source>,
    fields: Vec<(Field, Source)>,
    custom: Vec<(String, Source)>,
}

/// Rows that are records of their own, each of one field of the record that the rule is about.
#[derive(Debug)]
struct Row {
    /// The row's own id.
    id: Source,
    fields: FieldValues,
}

/// Whose rows a rule reads.
#[derive(Debug, PartialEq)]
enum Rows {
    /// A file's, by its base name.
    File(String),
    /// A feed's table, object or event.
    Table(String),
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

/// When a row was so, as its feed says; a time that the mapping names counts before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowClock {
    /// The time (µs).
    pub time: Option<i64>,
    /// The feed's own order among rows of one time.
    pub sequence: u64,
}

/// Fields and what a row says of them.
type Values<'a> = Vec<(FieldName<'a>, Value<'a>)>;

/// What a rule makes of a row.
#[derive(Debug)]
pub struct Applied<'a> {
    /// What the row says.
    pub assertion: Assertion<'a>,
    /// The amounts that were rounded.
    pub rounded: Vec<Rounded>,
}

impl Rule {
    pub(super) fn new(key: String, spec: RuleSpec, schema: &Schema) -> Result<Rule, MappingError> {
        let from = match (spec.file, spec.table) {
            (Some(file), None) => Rows::File(file),
            (None, Some(table)) => Rows::Table(table),
            _ => {
                return Err(MappingError::wrong(
                    key,
                    "write either the `file` or the feed's `table` (or object, or event) whose rows it reads",
                ));
            }
        };
        let entity = schema.of_name(&spec.entity).ok_or_else(|| {
            let known: Vec<&str> = schema.of_sources().map(|entity| entity.name).collect();
            let known = known.join(", ");
            MappingError::wrong(
                format!("{key}.entity"),
                format!("there is no entity `{}`; write one of {known}", spec.entity),
            )
        })?;
        let mut fields = Vec::new();
        for (name, source) in spec.fields {
            let key = format!("{key}.fields.{name}");
            let Some(field) = entity.field(&name) else {
                let known = entity.fields.iter().map(|f| f.name);
                let known = known.collect::<Vec<_>>().join(", ");
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
        let joins: Vec<Join> = joins.collect();
        if matches!(from, Rows::Table(_)) && !joins.is_empty() {
            return Err(MappingError::wrong(
                format!("{key}.join"),
                "rows of a feed can't be joined where they are read: their partners come in other messages",
            ));
        }
        let row = spec.row_id.map(|id| {
            let row = (spec.partial, entity, fields.as_slice());
            Row::new(&key, id, row, schema)
        });
        if spec.items.is_some() && matches!(from, Rows::File(_)) {
            return Err(MappingError::wrong(
                format!("{key}.items"),
                "the rows of a file have no arrays",
            ));
        }
        let items = spec.items.map(|pointer| Items::new(&key, pointer));
        let rule = Rule {
            row: row.transpose()?,
            joins,
            from,
            items: items.transpose()?,
            when: Condition::new(spec.when),
            otherwise: spec.otherwise,
            partial: spec.partial,
            entity,
            id: Source::of_id(&format!("{key}.id"), spec.id.0)?,
            id_prefix: spec.id_prefix,
            time,
            fields,
            custom,
            key,
        };
        rule.check_items()?;
        Ok(rule)
    }

    /// The base name of the file whose rows it reads, if it reads a file's.
    pub fn file(&self) -> Option<&str> {
        match &self.from {
            Rows::File(file) => Some(file),
            Rows::Table(_) => None,
        }
    }

    /// The feed's table, object or event whose rows it reads, if it reads a feed's.
    pub fn table(&self) -> Option<&str> {
        match &self.from {
            Rows::Table(table) => Some(table),
            Rows::File(_) => None,
        }
    }

    /// The column with the record's id.
    pub fn id(&self) -> &str {
        self.id.columns().next().unwrap_or_default()
    }

    /// True if it reads the rows of a feed's table, object or event.
    pub fn reads(&self, table: &str) -> bool {
        matches!(&self.from, Rows::Table(known) if known == table)
    }

    /// The file whose rows it reads, by its base name, or the table.
    fn source(&self) -> &str {
        match &self.from {
            Rows::File(name) | Rows::Table(name) => name,
        }
    }

    /// The columns whose amounts may be rounded, each with the name of its file or table.
    pub fn rounds(&self) -> impl Iterator<Item = (&str, &str)> {
        let sources = self.fields.iter().map(|(_, source)| source);
        let columns = sources
            .filter(|source| source.rounds())
            .flat_map(Source::own_columns);
        columns.map(|column| (self.source(), column))
    }

    /// The entity its records are of.
    pub fn entity(&self) -> &'static EntitySpec {
        self.entity
    }

    /// True if the rule says when a row was so.
    pub fn has_time(&self) -> bool {
        self.time.is_some()
    }

    /// The columns it reads, each with the key that names it.
    pub fn columns(&self) -> impl Iterator<Item = (String, &str)> {
        self.uses().map(|(key, column, _)| (key, column))
    }

    /// The columns it reads, each with the key that names it and with the source that hashes it;
    /// without one it is read in the clear.
    pub(super) fn uses(&self) -> impl Iterator<Item = (String, &str, Option<&Source>)> {
        let fields = self.fields.iter();
        let fields = fields
            .map(|(field, source)| (format!("fields.{}", self.entity.spec(*field).name), source));
        let custom = self.custom.iter();
        let custom = custom.map(|(name, source)| (format!("custom.{name}"), source));
        let time = self.time.iter().map(|source| ("time".to_owned(), source));
        let sources = fields.chain(custom).chain(time);
        let columns = sources.flat_map(|(key, source)| {
            let key = format!("{}.{key}", self.key);
            source
                .uses()
                .map(move |(column, hashed)| (key.clone(), column, hashed))
        });
        let when = self.when.columns();
        let when = when.map(|column| (format!("{}.when.{column}", self.key), column, None));
        let row = self.row.as_ref().map(|row| ("row_id", &row.id));
        let ids = [("id", &self.id)].into_iter().chain(row);
        let ids = ids.flat_map(move |(name, id)| {
            let uses = id.uses();
            uses.map(move |(column, hashed)| (format!("{}.{name}", self.key), column, hashed))
        });
        ids.chain(when).chain(columns)
    }

    /// True if another rule reads the same rows as the same records, and as the whole of them: then
    /// it says whether they are there.
    pub fn is_part_of(&self, other: &Rule) -> bool {
        let is_whole = self.partial && !other.partial && self.reads_rows_of(other);
        let is_same = (self.id(), &self.id_prefix) == (other.id(), &other.id_prefix);
        is_whole && is_same && self.entity.entity == other.entity.entity
    }

    /// True if two rules read the same rows.
    pub(super) fn reads_rows_of(&self, other: &Rule) -> bool {
        self.from == other.from
    }

    /// The columns of which it keeps hashes.
    pub fn hashed(&self) -> impl Iterator<Item = &str> {
        self.uses()
            .filter_map(|(_, column, hashed)| hashed.map(|_| column))
    }

    /// True if its records are known by hashes of their ids.
    pub fn hashes_id(&self) -> bool {
        self.id.uses().any(|(_, hashed)| hashed.is_some())
    }

    /// What stands for the text of a column in a dead letter; none of a column that isn't hashed.
    ///
    /// # Errors
    /// There is no key to hash with.
    pub fn mark(&self, column: &str, text: &str) -> Result<Option<String>, Bad> {
        let column = pointer(column);
        let hashed = self.uses().find_map(|(_, known, hashed)| {
            hashed.filter(|_| self.place(known).as_ref() == Some(&column))
        });
        hashed.map(|source| source.mark(text)).transpose()
    }

    /// An id as its records have it: hashed, if the rule hashes it.
    ///
    /// # Errors
    /// There is no key to hash with.
    pub fn id_of(&self, id: &str) -> Result<String, Bad> {
        let cell = |_: &str| Some(id);
        let found = self.id.find(&cell);
        let kept = found.map(|found| self.id.kept(found)).transpose()?;
        Ok(self.prefixed(kept.unwrap_or_default()).into_owned())
    }

    /// Everything that hashes.
    pub(super) fn hashing(&mut self) -> impl Iterator<Item = &mut Hashing> {
        let fields = self.fields.iter_mut().map(|(_, source)| source);
        let custom = self.custom.iter_mut().map(|(_, source)| source);
        let ids = std::iter::once(&mut self.id).chain(self.row.as_mut().map(|row| &mut row.id));
        let sources = fields.chain(custom).chain(ids);
        sources.map(Source::hashing)
    }

    /// What a row says. `cell` looks a column up: `None` where the row has no such cell, which
    /// asserts nothing; an empty cell asserts that there is nothing. Without a time of its own the
    /// row is of its clock's, else of `context`'s. `None` if the rule doesn't read the row.
    ///
    /// # Errors
    /// The reason and the field, with what would be right.
    pub fn apply<'a>(
        &'a self,
        cell: impl Fn(&str) -> Option<&'a str>,
        context: &Context<'_>,
        (clock, index): (RowClock, u32),
        calendar: &Calendar,
    ) -> Result<Option<Applied<'a>>, Bad> {
        if !self.when.holds(&cell) {
            let says_nothing = self.otherwise == Otherwise::Skip || self.when.is_open(&cell);
            return if says_nothing {
                Ok(None)
            } else {
                self.delete(cell, context, (clock, index), calendar)
                    .map(Some)
            };
        }
        if let Some(row) = &self.row {
            return self.apply_part(row, &cell, context, (clock, index), calendar);
        }
        let (id, stamp) = self.identity(&cell, context, (clock, index), calendar)?;
        let (values, rounded) = self.values(&cell, context, calendar.zone())?;
        let assertion = Assertion {
            entity: self.entity.entity,
            id,
            stamp,
            values,
        };
        self.applied(assertion, rounded, context).map(Some)
    }

    /// What a row says, complete.
    fn applied<'a>(
        &self,
        mut assertion: Assertion<'a>,
        rounded: Vec<Rounded>,
        context: &Context<'_>,
    ) -> Result<Applied<'a>, Bad> {
        field_value::complete(&mut assertion, context.schema, context.namespace)?;
        Ok(Applied { assertion, rounded })
    }

    /// The fields that a row says, and the amounts rounded for it.
    fn values<'a>(
        &'a self,
        cell: &impl Fn(&str) -> Option<&'a str>,
        context: &Context<'_>,
        zone: Tz,
    ) -> Result<(Values<'a>, Vec<Rounded>), Bad> {
        let mut rounded = Vec::new();
        let mut values = Vec::with_capacity(self.fields.len() + self.custom.len());
        for (field, source) in &self.fields {
            // A part says nothing of the fields that it isn't.
            if self.partial && !source.is_chosen(cell) {
                continue;
            }
            let Some(found) = source.find(cell) else {
                continue;
            };
            let spec = self.entity.spec(*field);
            let (value, is_rounded) = source.read(spec, found, context.namespace, zone)?;
            if is_rounded {
                rounded.push(Rounded {
                    table: self.source().to_owned(),
                    column: source.column(cell).unwrap_or_default().to_owned(),
                    field: spec.name,
                });
            }
            values.push((FieldName::Known(*field), value));
        }
        for (name, source) in &self.custom {
            if self.partial && !source.is_chosen(cell) {
                continue;
            }
            let Some(found) = source.find(cell) else {
                continue;
            };
            let value = if found.text.is_empty() {
                Value::Null
            } else {
                Value::Text(source.kept(found)?)
            };
            values.push((FieldName::Custom(Cow::Borrowed(name)), value));
        }
        Ok((values, rounded))
    }

    /// That the record of a row isn't there any more: of the row only its id and time are read; of
    /// a part that is known by the row's own id, that one.
    ///
    /// # Errors
    /// As [`Rule::apply`].
    pub fn delete<'a>(
        &'a self,
        cell: impl Fn(&str) -> Option<&'a str>,
        context: &Context<'_>,
        (clock, index): (RowClock, u32),
        calendar: &Calendar,
    ) -> Result<Applied<'a>, Bad> {
        if let Some(row) = &self.row {
            return self.withdraw(row, &cell, context, (clock, index), calendar);
        }
        let (id, stamp) = self.identity(&cell, context, (clock, index), calendar)?;
        let deleted = (FieldName::Known(Field::DELETED), Value::Flag(true));
        let assertion = Assertion {
            entity: self.entity.entity,
            id,
            stamp,
            values: vec![deleted],
        };
        self.applied(assertion, Vec::new(), context)
    }

    /// An id with the rule's prefix.
    fn prefixed<'a>(&self, id: Cow<'a, str>) -> Cow<'a, str> {
        match self.id_prefix.as_str() {
            "" => id,
            prefix => Cow::Owned(format!("{prefix}{id}")),
        }
    }

    fn identity<'a>(
        &'a self,
        cell: &impl Fn(&str) -> Option<&'a str>,
        context: &Context<'_>,
        (clock, index): (RowClock, u32),
        calendar: &Calendar,
    ) -> Result<(Cow<'a, str>, Stamp), Bad> {
        let id = self.id.find(cell);
        let id = id.map(|found| self.id.kept(found)).transpose()?;
        let id = id.filter(|id| !is_none(id));
        let id = id.and_then(|id| context.qualify(self.prefixed(id)));
        let id = id.ok_or_else(|| {
            let column = self.id.columns().next().unwrap_or_default();
            let problem = format!("`{column}` is empty, or means none; it is the record's id");
            Bad::new(Reason::MissingId, problem)
        })?;
        Ok((id, self.stamp(cell, context, (clock, index), calendar)?))
    }

    fn stamp<'a>(
        &'a self,
        cell: &impl Fn(&str) -> Option<&'a str>,
        context: &Context<'_>,
        (clock, index): (RowClock, u32),
        calendar: &Calendar,
    ) -> Result<Stamp, Bad> {
        let time = self.time(cell, calendar.zone())?;
        let time = time.map(|when| calendar.instant(when)).or(clock.time);
        context.stamp(time, clock.sequence, index)
    }

    fn time<'a>(
        &'a self,
        cell: &impl Fn(&str) -> Option<&'a str>,
        zone: Tz,
    ) -> Result<Option<When>, Bad> {
        let Some(source) = &self.time else {
            return Ok(None);
        };
        match source.find(cell) {
            Some(found) if !found.text.is_empty() => {
                source.when("time", found.text, zone).map(Some)
            }
            _ => Ok(None),
        }
    }
}
