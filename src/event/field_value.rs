//! Values of fields that are records of their own: each says one field of another record, which is
//! the record it is about.
//!
//! A CRM that keeps custom fields as rows of a table (id, whose, which field, value) says a value
//! again, moves it to another record or deletes it by the row's id alone. So such a row is a
//! record, and tells the one it is about what to hold: see `record::field_value`.

use std::borrow::Cow;

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value as Json, json};

use super::decode::{Bad, Reason, read_text, short};
use super::schema::{Entity, EntitySpec, Field, FieldSpec, Placement};
use super::{Assertion, Decimal, FieldName, Schema, Value, When};
use crate::window::calendar::civil;

/// The entity of these records, and its fields by what they say.
#[derive(Debug, Clone, Copy)]
pub struct FieldValues {
    /// The entity.
    pub entity: Entity,
    /// What kind of record it is about.
    pub target: Field,
    /// Which record of that kind.
    pub record_id: Field,
    /// Which field of it.
    pub field: Field,
    /// The value as a text.
    pub value: Field,
    /// All four in one text, so that in a history they belong together: written here, never by a
    /// source.
    pub assignment: Field,
}

/// A value that a field of a record is said to have.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment<'a> {
    /// What kind of record.
    pub entity: Entity,
    /// Its qualified id.
    pub id: Cow<'a, str>,
    /// Which field.
    pub field: FieldName<'a>,
    /// The value; null clears the field.
    pub value: Value<'a>,
}

impl<'a> Assignment<'a> {
    /// What a record of this entity says: that it is there, and all of the assignment.
    pub fn into_values(
        self,
        fields: &FieldValues,
        schema: &Schema,
    ) -> Vec<(FieldName<'a>, Value<'a>)> {
        let spec = schema.spec(self.entity);
        let assignment = self.pack(spec);
        let field = field_name(spec, &self.field);
        let value = shown(self.value);
        let texts = [
            (fields.target, Value::Text(spec.name.into())),
            (fields.record_id, Value::Text(self.id)),
            (fields.field, Value::Text(field.into())),
            (fields.value, value),
            (fields.assignment, Value::Text(assignment.into())),
        ];
        let there = (Field::DELETED, Value::Flag(false));
        let values = std::iter::once(there).chain(texts);
        values
            .map(|(field, value)| (FieldName::Known(field), value))
            .collect()
    }

    /// One text that says all of it, value and kind of value exactly.
    fn pack(&self, spec: &EntitySpec) -> String {
        let value = match &self.value {
            Value::Null => Json::Null,
            Value::Text(text) => json!(text),
            Value::Flag(flag) => json!(flag),
            Value::Decimal(Decimal(number)) => json!(number),
            Value::When(When::Instant(micros)) => json!({ "instant": micros }),
            Value::When(When::Date(day)) => json!({ "day": day }),
        };
        json!([spec.name, self.id, field_name(spec, &self.field), value]).to_string()
    }

    /// Reads what [`Assignment::into_values`] wrote as the assignment; none of what it didn't
    /// write.
    pub fn unpack(text: &str, schema: &Schema) -> Option<Assignment<'static>> {
        let (entity, id, field, value): (String, String, String, Json) =
            serde_json::from_str(text).ok()?;
        let spec = schema.of_name(&entity)?;
        let (field, _) = field_of(spec, field)?;
        let value = match value {
            Json::Null => Value::Null,
            Json::String(text) => Value::Text(text.into()),
            Json::Bool(flag) => Value::Flag(flag),
            Json::Number(number) => Value::Decimal(Decimal(number.as_i64()?)),
            Json::Object(members) => {
                let number = |name: &str| members.get(name)?.as_i64();
                let day = number("day").and_then(|day| i32::try_from(day).ok());
                let instant = number("instant").map(When::Instant);
                Value::When(day.map(When::Date).or(instant)?)
            }
            Json::Array(_) => return None,
        };
        Some(Assignment {
            entity: spec.entity,
            id: id.into(),
            field,
            value,
        })
    }
}

/// The value as people read it, in one form whatever the source's was.
fn shown(value: Value<'_>) -> Value<'_> {
    let text = match value {
        Value::Null | Value::Text(_) => return value,
        Value::Flag(flag) => flag.to_string(),
        Value::Decimal(decimal) => decimal.to_string(),
        Value::When(When::Date(day)) => civil(day).to_string(),
        Value::When(When::Instant(micros)) => DateTime::from_timestamp_micros(micros)
            .map_or(micros.to_string(), |at| {
                at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
            }),
    };
    Value::Text(text.into())
}

/// A field as such a record names it.
fn field_name(spec: &EntitySpec, field: &FieldName<'_>) -> String {
    match field {
        FieldName::Known(field) => spec.spec(*field).name.to_owned(),
        FieldName::Custom(name) => format!("custom.{name}"),
    }
}

/// The field of a name, of those that a value can be said of: not whether the record is there, nor
/// what it was merged into.
fn field_of(
    spec: &'static EntitySpec,
    name: String,
) -> Option<(FieldName<'static>, &'static FieldSpec)> {
    if let Some(custom) = name.strip_prefix("custom.") {
        let custom = (!custom.is_empty()).then(|| custom.to_owned())?;
        let spec = spec.spec(Field(Field::FIRST_CUSTOM));
        return Some((FieldName::Custom(custom.into()), spec));
    }
    let field = spec.field(&name).filter(|field| can_be_said(*field))?;
    Some((FieldName::Known(field), spec.spec(field)))
}

/// True of a field that a record of its own may say.
pub fn can_be_said(field: Field) -> bool {
    field != Field::DELETED && field != Field::MERGED_INTO
}

/// True of an entity whose fields records of their own may say: not of what every shard has, nor of
/// these records themselves.
pub fn can_be_about(spec: &EntitySpec, schema: &Schema) -> bool {
    let is_one = schema
        .field_values()
        .is_some_and(|f| f.entity == spec.entity);
    spec.placement == Placement::Home && !is_one
}

/// Makes an assertion of such a record complete: it says all of the assignment, or, deleted, that
/// there is none any more. Others are left as they are.
///
/// # Errors
/// What is missing, or names what isn't there, or isn't a value of its field.
pub fn complete(
    assertion: &mut Assertion<'_>,
    schema: &'static Schema,
    namespace: Option<&str>,
) -> Result<(), Bad> {
    let Some(fields) = schema.field_values() else {
        return Ok(());
    };
    if assertion.entity != fields.entity {
        return Ok(());
    }
    let said = |field: Field| {
        let mut values = assertion.values.iter();
        let found = values.find(|(name, _)| *name == FieldName::Known(field));
        found.map(|(_, value)| value)
    };
    let name = schema.spec(fields.entity).name;
    let mut values = if said(Field::MERGED_INTO).is_some() {
        let detail = format!("a {name} can't be merged; delete it, or say it of another record");
        return Err(Bad::new(Reason::WrongType, detail));
    } else if said(Field::DELETED) == Some(&Value::Flag(true)) {
        withdrawn(fields)
    } else {
        let assignment = stated(fields, schema, namespace, said)?;
        assignment.into_values(fields, schema)
    };
    let own = std::mem::take(&mut assertion.values).into_iter();
    values.extend(own.filter(|(name, _)| matches!(name, FieldName::Custom(_))));
    assertion.values = values;
    Ok(())
}

/// What a deleted record of the entity says: nothing any more of any other.
pub fn withdrawn<'a>(fields: &FieldValues) -> Vec<(FieldName<'a>, Value<'a>)> {
    let deleted = (FieldName::Known(Field::DELETED), Value::Flag(true));
    let cleared = [
        fields.target,
        fields.record_id,
        fields.field,
        fields.value,
        fields.assignment,
    ];
    let cleared = cleared.map(|field| (FieldName::Known(field), Value::Null));
    std::iter::once(deleted).chain(cleared).collect()
}

/// The assignment that an event states field by field.
fn stated<'v, 'a: 'v>(
    fields: &FieldValues,
    schema: &'static Schema,
    namespace: Option<&str>,
    said: impl Fn(Field) -> Option<&'v Value<'a>>,
) -> Result<Assignment<'static>, Bad> {
    let own = schema.spec(fields.entity);
    let missing = |field: Field| {
        let detail = format!(
            "`{}` is missing; every event of a {} says all of `entity`, `record_id`, `field` and `value` (null clears the field), or that it is deleted",
            own.spec(field).name,
            own.name
        );
        Bad::new(Reason::WrongType, detail)
    };
    let text = |field: Field| match said(field) {
        Some(Value::Text(text)) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        _ => Err(missing(field)),
    };
    let (entity, id, field) = (
        text(fields.target)?,
        text(fields.record_id)?,
        text(fields.field)?,
    );
    let target = schema.of_name(&entity);
    let target = target.filter(|spec| can_be_about(spec, schema));
    let target = target.ok_or_else(|| {
        let known = schema
            .of_sources()
            .filter(|spec| can_be_about(spec, schema));
        let known: Vec<&str> = known.map(|spec| spec.name).collect();
        let (entity, known) = (short(&entity), known.join(", "));
        let detail = format!("`entity` is `{entity}`; expected one of {known}");
        Bad::new(Reason::UnknownEntity, detail)
    })?;
    let (name, spec) = field_of(target, field.clone()).ok_or_else(|| {
        let known = (0..).map(Field).zip(target.fields);
        let known = known.filter(|(field, _)| can_be_said(*field));
        let known: Vec<&str> = known.map(|(_, spec)| spec.name).collect();
        let detail = format!(
            "`field` is `{}`; of a {} expected one of {}, or `custom.<name>`",
            short(&field),
            target.name,
            known.join(", ")
        );
        Bad::new(Reason::WrongType, detail)
    })?;
    let value = match said(fields.value) {
        Some(Value::Text(text)) => read_text(spec, text.clone(), namespace)?.into_owned(),
        Some(Value::Null) => Value::Null,
        _ => return Err(missing(fields.value)),
    };
    Ok(Assignment {
        entity: target.entity,
        id: id.into(),
        field: name,
        value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::SCHEMA;

    #[test]
    fn an_assignment_comes_back_as_it_was_packed_with_its_kind_of_value() {
        let amount = FieldName::Known(SCHEMA.of_name("deal").unwrap().field("amount").unwrap());
        for (field, value) in [
            (amount.clone(), Value::Decimal(Decimal(-i64::MAX))),
            (amount.clone(), Value::Null),
            (amount.clone(), Value::When(When::Instant(i64::MIN))),
            (amount.clone(), Value::When(When::Date(i32::MAX))),
            (amount.clone(), Value::Flag(true)),
            (
                FieldName::Custom("a \"b\"\n.c".into()),
                Value::Text("7".into()),
            ),
        ] {
            let assignment = Assignment {
                entity: Entity::DEAL,
                id: "eu/\u{1f}[1]".into(),
                field,
                value,
            };
            let text = assignment.pack(SCHEMA.spec(Entity::DEAL));
            assert_eq!(Assignment::unpack(&text, &SCHEMA), Some(assignment));
        }
    }

    #[test]
    fn nothing_else_is_an_assignment() {
        for text in [
            "",
            "[]",
            r#"["deal","1","amount"]"#,
            r#"["stages","1","amount",1]"#,
            r#"["deal","1","target",1]"#,
            r#"["deal","1","deleted",true]"#,
            r#"["deal","1","custom.","x"]"#,
            r#"["deal","1","amount",1.5]"#,
            r#"["deal","1","amount",{"day":1e99}]"#,
            r#"["deal","1","amount",[]]"#,
        ] {
            assert_eq!(Assignment::unpack(text, &SCHEMA), None, "{text}");
        }
    }
}
