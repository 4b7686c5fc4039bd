//! An event's data: the members of an object, read as the fields of an entity.

use std::borrow::Cow;

use super::super::json::{Json, Next, Token};
use super::super::{Bad, Reason, read_text, short};
use crate::event::{EntityRef, Field, FieldSpec, Kind};
use crate::event::{FieldName, Value, When, scaled, without_exponent};

/// What was read of an event's data.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    /// The entity's own fields in order of their numbers.
    values: Vec<(FieldName<'a>, Value<'a>)>,
    /// The numbers in `values`, a bit each: how many lower ones there are is where a field belongs.
    present: u64,
    custom: Vec<(FieldName<'a>, Value<'a>)>,
    /// Members that are no field.
    pub(super) unknown: u32,
    /// Why the reading ended early.
    pub(super) bad: Option<Bad>,
}

impl<'a> Fields<'a> {
    /// Reads the value that comes next: an object of fields, or `null`, which says nothing.
    ///
    /// # Errors
    /// [`Reason::NotJson`] where the value is not sound JSON, which outweighs what is wrong with a
    /// field of it.
    pub(super) fn read(
        json: &mut Json<'a>,
        entity: EntityRef,
        namespace: Option<&str>,
    ) -> Result<Fields<'a>, Bad> {
        let mut fields = Fields::default();
        if json.next()? == Next::Null {
            json.value()?;
            return Ok(fields);
        }
        // A member is seldom shorter than 16 bytes, so the vector is allocated once.
        let members = 1 + json.rest().len() / 16;
        fields.values.reserve(members.min(entity.spec.fields.len()));
        let start = json.at();
        if let Err(bad) = fields.members(json, entity, namespace) {
            json.seek(start);
            json.skip()?;
            fields.bad = Some(match bad.reason {
                Reason::NotJson => Bad::new(Reason::WrongType, format!("`data`: {}", bad.detail)),
                _ => bad,
            });
        }
        Ok(fields)
    }

    fn members(
        &mut self,
        json: &mut Json<'a>,
        entity: EntityRef,
        namespace: Option<&str>,
    ) -> Result<(), Bad> {
        if json.next()? != Next::Object {
            return Err(not_an_object("data", json));
        }
        let mut next = json.first_key()?;
        while let Some(name) = next {
            match entity.field(&name) {
                Some((field, spec)) if field != Field::DELETED => {
                    let value = value(spec, json.value()?, namespace)?;
                    self.set(field, value);
                }
                _ if name == "custom" => self.custom(json)?,
                _ => {
                    json.skip()?;
                    self.unknown += 1;
                }
            }
            next = json.next_key()?;
        }
        Ok(())
    }

    fn custom(&mut self, json: &mut Json<'a>) -> Result<(), Bad> {
        match json.next()? {
            Next::Null => return json.value().map(drop),
            Next::Object => {}
            _ => return Err(not_an_object("custom", json)),
        }
        let mut next = json.first_key()?;
        while let Some(name) = next {
            let value = custom_value(json.value()?);
            self.custom.push((FieldName::Custom(name), value));
            next = json.next_key()?;
        }
        Ok(())
    }

    /// A member named twice counts once, with its last value, as JSON readers have it.
    #[inline(always)]
    pub(super) fn set(&mut self, field: Field, value: Value<'a>) {
        // Numbers of an entity's own fields are below `Field::FIRST_CUSTOM`, which is 64.
        let bit = 1u64 << (field.0 % Field::FIRST_CUSTOM);
        let at = (self.present & (bit - 1)).count_ones() as usize;
        if self.present & bit != 0 {
            self.values[at].1 = value;
        } else {
            self.present |= bit;
            let member = (FieldName::Known(field), value);
            if at == self.values.len() {
                self.values.push(member); // most sources write fields in one order
            } else {
                self.values.insert(at, member);
            }
        }
    }

    /// The entity's fields in order of their numbers, then the custom ones in order of their names.
    pub(super) fn into_values(mut self) -> Vec<(FieldName<'a>, Value<'a>)> {
        if !self.custom.is_empty() {
            // Stable, and then the last of equal names is kept.
            self.custom.sort_by(|(a, _), (b, _)| name(a).cmp(name(b)));
            self.custom.dedup_by(|later, kept| {
                let same = later.0 == kept.0;
                if same {
                    std::mem::swap(later, kept);
                }
                same
            });
            self.values.append(&mut self.custom);
        }
        self.values
    }

    /// The same, no longer borrowed from the text it was read from.
    pub(super) fn into_owned(self) -> Fields<'static> {
        let owned = |(name, value): (FieldName<'a>, Value<'a>)| {
            let name = match name {
                FieldName::Known(field) => FieldName::Known(field),
                FieldName::Custom(name) => FieldName::Custom(name.into_owned().into()),
            };
            (name, value.into_owned())
        };
        Fields {
            values: self.values.into_iter().map(owned).collect(),
            custom: self.custom.into_iter().map(owned).collect(),
            present: self.present,
            unknown: self.unknown,
            bad: self.bad,
        }
    }
}

fn name<'n>(name: &'n FieldName<'_>) -> &'n str {
    match name {
        FieldName::Custom(name) => name,
        FieldName::Known(_) => "",
    }
}

#[cold]
fn not_an_object(name: &str, json: &Json<'_>) -> Bad {
    let is = short(json.rest());
    Bad::new(
        Reason::WrongType,
        format!("`{name}` is {is}; expected an object of fields"),
    )
}

/// A number's digits are taken as they are written.
#[inline(always)]
fn value<'a>(
    spec: &FieldSpec,
    token: Token<'a>,
    namespace: Option<&str>,
) -> Result<Value<'a>, Bad> {
    match token {
        Token::Null => Ok(Value::Null),
        Token::Text(text) if spec.kind == Kind::Text => Ok(Value::Text(text)),
        Token::Text(text) => read_text(spec, text, namespace),
        Token::Number(digits) => match spec.kind {
            Kind::Money | Kind::Fraction | Kind::Rate => {
                read_text(spec, Cow::Borrowed(digits), namespace)
            }
            Kind::Reference => {
                let id = without_exponent(digits).unwrap_or(Cow::Borrowed(digits));
                read_text(spec, id, namespace)
            }
            Kind::When => {
                let millis = scaled(digits, 0).and_then(When::from_millis);
                let when = millis.ok_or_else(|| {
                    Bad::new(
                        Reason::BadTime,
                        format!(
                            "`{}` is {}; expected whole epoch milliseconds",
                            spec.name,
                            short(digits)
                        ),
                    )
                })?;
                Ok(Value::When(when))
            }
            _ => Err(wrong_type(spec, digits)),
        },
        Token::Flag(flag) if spec.kind == Kind::Flag => Ok(Value::Flag(flag)),
        Token::Flag(flag) => Err(wrong_type(spec, &flag.to_string())),
        Token::Unreadable(json) | Token::Nested(json) => Err(wrong_type(spec, json)),
    }
}

/// A custom field is kept as text: a scalar as it is written, anything deeper as its JSON.
fn custom_value(token: Token<'_>) -> Value<'_> {
    match token {
        Token::Null | Token::Unreadable(_) => Value::Null,
        Token::Text(text) => Value::Text(text),
        Token::Flag(flag) => Value::Text(Cow::Borrowed(if flag { "true" } else { "false" })),
        Token::Number(json) | Token::Nested(json) => Value::Text(Cow::Borrowed(json)),
    }
}

fn wrong_type(spec: &FieldSpec, json: &str) -> Bad {
    let expected = match spec.kind {
        Kind::Text | Kind::Currency => "a text",
        Kind::Keyword(_) => "one of its words",
        Kind::Reference => "an id",
        Kind::When => "an instant, a date or epoch milliseconds",
        Kind::Money => "a decimal",
        Kind::Fraction => "a number from 0 to 1",
        Kind::Rate => "a positive number",
        Kind::Flag => "true or false",
    };
    Bad::new(
        Reason::WrongType,
        format!("`{}` is {}; expected {expected}", spec.name, short(json)),
    )
}
