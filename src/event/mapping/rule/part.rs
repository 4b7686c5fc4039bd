//! Rows that are parts of a record. One that is known by an id of its own is a record of its own,
//! which says one field of the other: so that its delete, which may say no more than that id,
//! withdraws what it said.

use std::borrow::Cow;

use super::{Applied, Otherwise, Row, RowClock, Rule};
use crate::event::decode::{Bad, Context, Reason, is_none, short};
use crate::event::field_value::{Assignment, can_be_about, can_be_said, withdrawn};
use crate::event::mapping::MappingError;
use crate::event::mapping::source::{Source, SourceSpec};
use crate::event::{Assertion, EntitySpec, Field, FieldName, Schema, Value};
use crate::window::Calendar;

impl Row {
    pub(super) fn new(
        key: &str,
        id: SourceSpec,
        (partial, entity, fields): (bool, &EntitySpec, &[(Field, Source)]),
        schema: &Schema,
    ) -> Result<Row, MappingError> {
        let wrong = |problem: &str| MappingError::wrong(format!("{key}.row_id"), problem);
        if !partial {
            return Err(wrong(
                "only a row that is a part of a record has an id besides the record's; write `partial = true`, or leave it out",
            ));
        }
        let about = schema.field_values();
        let Some(about) = about.filter(|_| can_be_about(entity, schema)) else {
            let name = entity.name;
            return Err(wrong(&format!("a {name} has no parts; leave it out")));
        };
        if let Some((field, _)) = fields.iter().find(|(field, _)| !can_be_said(*field)) {
            let name = entity.spec(*field).name;
            let problem = format!("a part can't say `{name}`; only a row of the record itself can");
            return Err(MappingError::wrong(format!("{key}.fields.{name}"), problem));
        }
        Ok(Row {
            id: Source::of_id(&format!("{key}.row_id"), id.0)?,
            fields: *about,
        })
    }
}

impl Rule {
    /// What a row says that is a record of its own; none if it says no field.
    pub(super) fn apply_part<'a>(
        &'a self,
        row: &'a Row,
        cell: &impl Fn(&str) -> Option<&'a str>,
        context: &Context<'_>,
        at: (RowClock, u32),
        calendar: &Calendar,
    ) -> Result<Option<Applied<'a>>, Bad> {
        let (mut values, rounded) = self.values(cell, context, calendar.zone())?;
        let chosen: Vec<String> = self.chosen(cell).map(|(name, _)| name).collect();
        if chosen.len() > 1 {
            let detail = format!(
                "the row says {}; with `row_id` a row says one field: let the cases of one only hold",
                chosen.join(" and ")
            );
            return Err(Bad::new(Reason::WrongType, detail));
        }
        let Some((field, value)) = values.pop() else {
            if let Some(name) = chosen.first() {
                let detail = format!(
                    "the message doesn't have the value of {name}, which is as it was; {}",
                    self.send_old_rows()
                );
                return Err(Bad::new(Reason::Gap, detail));
            }
            return match self.otherwise {
                Otherwise::Skip => Ok(None),
                Otherwise::Delete => self.withdraw(row, cell, context, at, calendar).map(Some),
            };
        };
        let (target, stamp) = self.identity(cell, context, at, calendar)?;
        let assignment = Assignment {
            entity: self.entity.entity,
            id: target,
            field,
            value,
        };
        let assertion = Assertion {
            entity: row.fields.entity,
            id: self.row_id(row, cell, context)?,
            stamp,
            values: assignment.into_values(&row.fields, context.schema),
        };
        Ok(Some(Applied { assertion, rounded }))
    }

    /// What a row says that took the place of another: as [`Rule::apply`]; and if it says no field
    /// any more, that what it said is withdrawn.
    ///
    /// # Errors
    /// As [`Rule::apply`].
    pub fn apply_again<'a>(
        &'a self,
        cell: impl Fn(&str) -> Option<&'a str> + Copy,
        context: &Context<'_>,
        at: (RowClock, u32),
        calendar: &Calendar,
    ) -> Result<Option<Applied<'a>>, Bad> {
        let applied = self.apply(cell, context, at, calendar)?;
        match &self.row {
            Some(row) if applied.is_none() && !self.when.is_open(&cell) => {
                self.withdraw(row, &cell, context, at, calendar).map(Some)
            }
            _ => Ok(applied),
        }
    }

    /// What a part says that is deleted: that what it said is withdrawn. Known by its own id, it is
    /// found by that; else it must say itself which fields of which record it was. None if it was
    /// none that the rule reads.
    ///
    /// # Errors
    /// [`Reason::Gap`] if it doesn't say that, with what would be right.
    pub fn delete_part<'a>(
        &'a self,
        cell: impl Fn(&str) -> Option<&'a str>,
        context: &Context<'_>,
        at: (RowClock, u32),
        calendar: &Calendar,
    ) -> Result<Option<Applied<'a>>, Bad> {
        if let Some(row) = &self.row {
            return self.withdraw(row, &cell, context, at, calendar).map(Some);
        }
        if self.when.is_refuted(&cell) {
            return Ok(None);
        }
        let lost = || {
            let detail = format!(
                "a row of `{}` is gone, and the message doesn't say which field of which {} it was; name the column of the row's own id as `row_id` in the mapping, or {}",
                short(self.source()),
                self.entity.name,
                self.send_old_rows()
            );
            Bad::new(Reason::Gap, detail)
        };
        let cleared: Vec<_> = self.chosen(&cell).map(|(_, field)| field).collect();
        if cleared.is_empty() && self.sources().all(|(_, _, of)| of.is_refuted(&cell)) {
            return Ok(None);
        }
        if cleared.is_empty() || !self.when.holds(&cell) {
            return Err(lost());
        }
        let (id, stamp) =
            self.identity(&cell, context, at, calendar)
                .map_err(|bad| match bad.reason {
                    Reason::MissingId => lost(),
                    _ => bad,
                })?;
        let values = cleared.into_iter().map(|field| (field, Value::Null));
        let assertion = Assertion {
            entity: self.entity.entity,
            id,
            stamp,
            values: values.collect(),
        };
        self.applied(assertion, Vec::new(), context).map(Some)
    }

    /// That a row which is a record of its own says nothing any more.
    pub(super) fn withdraw<'a>(
        &'a self,
        row: &'a Row,
        cell: &impl Fn(&str) -> Option<&'a str>,
        context: &Context<'_>,
        at: (RowClock, u32),
        calendar: &Calendar,
    ) -> Result<Applied<'a>, Bad> {
        let assertion = Assertion {
            entity: row.fields.entity,
            id: self.row_id(row, cell, context)?,
            stamp: self.stamp(cell, context, at, calendar)?,
            values: withdrawn(&row.fields),
        };
        Ok(Applied {
            assertion,
            rounded: Vec::new(),
        })
    }

    /// The id of the record that a row is: of two rules that read a row each has one of its own.
    fn row_id<'a>(
        &self,
        row: &'a Row,
        cell: &impl Fn(&str) -> Option<&'a str>,
        context: &Context<'_>,
    ) -> Result<Cow<'a, str>, Bad> {
        let id = row.id.find(cell);
        let id = id.map(|found| row.id.kept(found)).transpose()?;
        let id = id.filter(|id| !is_none(id)).and_then(|id| {
            let id = [self.entity.name, "/", self.source(), "/", id.trim()].concat();
            context.qualify(id.into())
        });
        id.ok_or_else(|| {
            let column = row.id.columns().next().unwrap_or_default();
            let problem = format!("`{column}` is empty, or means none; it is the row's id");
            Bad::new(Reason::MissingId, problem)
        })
    }

    /// The fields that a row says, each with its name for messages.
    fn chosen<'a>(
        &'a self,
        cell: &impl Fn(&str) -> Option<&'a str>,
    ) -> impl Iterator<Item = (String, FieldName<'a>)> {
        let sources = self.sources();
        let chosen = sources.filter(move |(_, _, source)| source.is_chosen(cell));
        chosen.map(|(name, field, _)| (name, field))
    }

    fn sources(&self) -> impl Iterator<Item = (String, FieldName<'_>, &Source)> {
        let fields = self.fields.iter().map(|(field, source)| {
            let name = format!("`{}`", self.entity.spec(*field).name);
            (name, FieldName::Known(*field), source)
        });
        let custom = self.custom.iter().map(|(name, source)| {
            let field = FieldName::Custom(Cow::Borrowed(name.as_str()));
            (format!("`custom.{name}`"), field, source)
        });
        fields.chain(custom)
    }

    fn send_old_rows(&self) -> String {
        format!(
            "have the source send whole rows (PostgreSQL: ALTER TABLE {} REPLICA IDENTITY FULL)",
            short(self.source())
        )
    }
}
