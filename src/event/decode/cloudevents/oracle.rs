//! The decoder that was here before, over serde_json alone: slow, plain, and what the present one
//! is compared with.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::super::{Bad, Context, Decoded, Reason, Rejected, event_time, read_text, short};
use super::{Action, Header, event_type};
use crate::event::{Assertion, FieldName, Value, When, scaled, without_exponent};
use crate::event::{EntityRef, Field, FieldSpec, Kind};

/// Text that borrows from its message wherever JSON lets it.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Cow<'de, str>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        deserializer.deserialize_str(TextVisitor).map(Text)
    }
}

/// The attributes of an event that mean something here; others are passed over.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    specversion: Option<Text<'a>>,
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    subject: Option<Text<'a>>,
    #[serde(borrow)]
    time: Option<Text<'a>>,
    #[serde(borrow)]
    sequence: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// Decodes a message. A batch's bad items are rejected one by one; its good ones stand.
///
/// An empty message without headers is a tombstone: it says nothing that a delete has not said.
pub fn decode<'a>(
    payload: Option<&'a [u8]>,
    headers: &[Header<'a>],
    context: &Context<'_>,
) -> Decoded<'a> {
    let mut decoded = Decoded::default();
    let payload = payload.unwrap_or_default();
    let is_binary = headers.iter().any(|(name, _)| *name == "ce_type");
    if payload.is_empty() && !is_binary {
        return decoded;
    }
    let result = if payload.len() > context.limit {
        Err(Bad::new(
            Reason::TooLarge,
            format!(
                "{} bytes; the limit is {} (max_message_bytes)",
                payload.len(),
                context.limit
            ),
        ))
    } else {
        std::str::from_utf8(payload)
            .map_err(|_| Bad::new(Reason::NotJson, "not UTF-8"))
            .and_then(|text| {
                if is_binary {
                    one(binary(text, headers)?, context, 0, &mut decoded)
                } else if text.trim_start().starts_with('[') {
                    batch(text, context, &mut decoded)
                } else {
                    one(parse(text)?, context, 0, &mut decoded)
                }
            })
    };
    if let Err(bad) = result {
        decoded.rejected.push(Rejected {
            index: 0,
            bad,
            raw: payload,
        });
    }
    decoded
}

fn parse<'a>(text: &'a str) -> Result<Envelope<'a>, Bad> {
    serde_json::from_str(text).map_err(|error| {
        let reason = if error.is_data() {
            Reason::NotAnEvent
        } else {
            Reason::NotJson
        };
        Bad::new(reason, error.to_string())
    })
}

fn batch<'a>(text: &'a str, context: &Context<'_>, decoded: &mut Decoded<'a>) -> Result<(), Bad> {
    let items: Vec<&'a RawValue> =
        serde_json::from_str(text).map_err(|error| Bad::new(Reason::NotJson, error.to_string()))?;
    for (index, item) in items.into_iter().enumerate() {
        let index = index as u32;
        if let Err(bad) = parse(item.get()).and_then(|event| one(event, context, index, decoded)) {
            decoded.rejected.push(Rejected {
                index,
                bad,
                raw: item.get().as_bytes(),
            });
        }
    }
    Ok(())
}

fn binary<'a>(data: &'a str, headers: &[Header<'a>]) -> Result<Envelope<'a>, Bad> {
    let header = |name: &str| -> Result<Option<Text<'a>>, Bad> {
        let Some((_, bytes)) = headers.iter().rev().find(|(n, _)| *n == name) else {
            return Ok(None);
        };
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Bad::new(Reason::NotAnEvent, format!("header `{name}` is not UTF-8")))?;
        Ok(Some(Text(Cow::Borrowed(text))))
    };
    let data = if data.trim().is_empty() {
        None
    } else {
        Some(serde_json::from_str(data).map_err(|e| Bad::new(Reason::NotJson, e.to_string()))?)
    };
    let sequence = header("ce_sequence")?.map(|Text(text)| match text {
        // A header is bare text; as a JSON value it is either a number or would need quotes.
        Cow::Borrowed(text) => serde_json::from_str(text)
            .map_err(|_| Bad::new(Reason::WrongType, "header `ce_sequence` is no whole number")),
        Cow::Owned(_) => Err(Bad::new(
            Reason::WrongType,
            "header `ce_sequence` is no whole number",
        )),
    });
    Ok(Envelope {
        specversion: header("ce_specversion")?,
        kind: header("ce_type")?,
        subject: header("ce_subject")?,
        time: header("ce_time")?,
        sequence: sequence.transpose()?,
        data,
    })
}

fn one<'a>(
    event: Envelope<'a>,
    context: &Context<'_>,
    index: u32,
    decoded: &mut Decoded<'a>,
) -> Result<(), Bad> {
    let missing = |what: &str| {
        Bad::new(
            Reason::NotAnEvent,
            format!("no `{what}`; a CloudEvents 1.0 message has one"),
        )
    };
    match event.specversion {
        None => return Err(missing("specversion")),
        Some(Text(version)) if version != "1.0" => {
            return Err(Bad::new(
                Reason::NotAnEvent,
                format!("specversion `{}`; expected 1.0", short(&version)),
            ));
        }
        Some(_) => {}
    }
    let (entity, action) = event_type(
        &event.kind.ok_or_else(|| missing("type"))?.0,
        context.schema,
    )?;
    let subject = event
        .subject
        .and_then(|Text(subject)| context.qualify(subject));
    let id = subject.ok_or_else(|| {
        Bad::new(
            Reason::MissingId,
            "no `subject`, or one that means none; it is the record's id",
        )
    })?;
    let time = event.time.map(|Text(time)| event_time(&time)).transpose()?;
    let stamp = context.stamp(time, event.sequence.map_or(Ok(0), sequence)?, index)?;

    let mut values = Vec::new();
    match action {
        Action::Deleted => values.push((FieldName::Known(Field::DELETED), Value::Flag(true))),
        Action::Restored => values.push((FieldName::Known(Field::DELETED), Value::Flag(false))),
        Action::Upserted | Action::Merged => {}
    }
    if let Some(data) = event.data.filter(|_| action != Action::Deleted) {
        let mut bad = None;
        let fields = Fields {
            entity,
            namespace: context.namespace,
            values: &mut values,
            unknown: &mut decoded.unknown_fields,
            bad: &mut bad,
        };
        let mut json = serde_json::Deserializer::from_str(data.get());
        if let Err(error) = fields.deserialize(&mut json) {
            return Err(
                bad.unwrap_or_else(|| Bad::new(Reason::WrongType, format!("`data`: {error}")))
            );
        }
    }
    let is_merged = |(field, value): &(FieldName<'_>, Value<'_>)| {
        *field == FieldName::Known(Field::MERGED_INTO) && *value != Value::Null
    };
    if action == Action::Merged && !values.iter().any(is_merged) {
        return Err(Bad::new(
            Reason::WrongType,
            "a merged event says what it was merged into: `data.merged_into`",
        ));
    }
    decoded.assertions.push(Assertion {
        entity: entity.spec.entity,
        id,
        stamp,
        values,
    });
    Ok(())
}

/// The CloudEvents extension `sequence`: a whole number, or a text that holds one.
fn sequence(raw: &RawValue) -> Result<u64, Bad> {
    let text = raw.get().trim_matches('"');
    if text == "null" {
        return Ok(0);
    }
    let plain = without_exponent(text).and_then(|plain| plain.parse().ok());
    plain.ok_or_else(|| {
        Bad::new(
            Reason::WrongType,
            format!(
                "`sequence` is `{}`; expected a whole number below 2^64",
                short(text)
            ),
        )
    })
}

/// Reads an object's members as the fields of an entity.
struct Fields<'v, 'a, 'n> {
    entity: EntityRef,
    namespace: Option<&'n str>,
    values: &'v mut Vec<(FieldName<'a>, Value<'a>)>,
    unknown: &'v mut u32,
    /// The reason behind the error that stops the reading, which JSON errors can't carry.
    bad: &'v mut Option<Bad>,
}

impl<'de> DeserializeSeed<'de> for Fields<'_, 'de, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_, 'de, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of fields")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(()) // "data": null says nothing
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(name)) = map.next_key()? {
            if name == "custom" {
                let custom: Option<std::collections::BTreeMap<String, &'de RawValue>> =
                    map.next_value()?;
                for (name, raw) in custom.into_iter().flatten() {
                    set(
                        self.values,
                        FieldName::Custom(name.into()),
                        custom_value(raw),
                    );
                }
                continue;
            }
            let field = self
                .entity
                .field(&name)
                .map(|(field, _)| field)
                .filter(|field| *field != Field::DELETED);
            let Some(field) = field else {
                map.next_value::<IgnoredAny>()?;
                *self.unknown += 1;
                continue;
            };
            let spec = self.entity.spec.spec(field);
            let raw: &'de RawValue = map.next_value()?;
            match value(spec, raw, self.namespace) {
                Ok(value) => set(self.values, FieldName::Known(field), value),
                Err(bad) => {
                    *self.bad = Some(bad);
                    return Err(A::Error::custom("a field"));
                }
            }
        }
        Ok(())
    }
}

/// A member named twice counts once, with its last value, as JSON readers have it.
fn set<'a>(values: &mut Vec<(FieldName<'a>, Value<'a>)>, name: FieldName<'a>, value: Value<'a>) {
    match values.iter_mut().find(|(known, _)| *known == name) {
        Some(known) => known.1 = value,
        None => values.push((name, value)),
    }
}

/// Reads a member from its JSON text, so that a number's digits are taken as they are written.
fn value<'a>(
    spec: &FieldSpec,
    raw: &'a RawValue,
    namespace: Option<&str>,
) -> Result<Value<'a>, Bad> {
    let json = raw.get();
    match json.as_bytes().first() {
        Some(b'n') => Ok(Value::Null),
        Some(b'"') => read_text(spec, unquoted(json, spec)?, namespace),
        Some(b'0'..=b'9' | b'-') => match spec.kind {
            Kind::Money | Kind::Fraction | Kind::Rate => {
                read_text(spec, Cow::Borrowed(json), namespace)
            }
            Kind::Reference => {
                let id = without_exponent(json).unwrap_or(Cow::Borrowed(json));
                read_text(spec, id, namespace)
            }
            Kind::When => {
                let millis = scaled(json, 0).and_then(When::from_millis);
                let when = millis.ok_or_else(|| {
                    Bad::new(
                        Reason::BadTime,
                        format!(
                            "`{}` is {}; expected whole epoch milliseconds",
                            spec.name,
                            short(json)
                        ),
                    )
                })?;
                Ok(Value::When(when))
            }
            _ => Err(wrong_type(spec, json)),
        },
        Some(b't' | b'f') if spec.kind == Kind::Flag => {
            read_text(spec, Cow::Borrowed(json), namespace)
        }
        _ => Err(wrong_type(spec, json)),
    }
}

fn unquoted<'a>(json: &'a str, spec: &FieldSpec) -> Result<Cow<'a, str>, Bad> {
    let plain = &json[1..json.len() - 1];
    if !plain.contains('\\') {
        return Ok(Cow::Borrowed(plain));
    }
    serde_json::from_str::<String>(json)
        .map(Cow::Owned)
        .map_err(|_| wrong_type(spec, json))
}

/// A custom field is kept as text: a scalar as it is written, anything deeper as its JSON.
fn custom_value<'a>(raw: &'a RawValue) -> Value<'a> {
    match raw.get() {
        "null" => Value::Null,
        text if text.starts_with('"') => serde_json::from_str::<String>(text)
            .map_or(Value::Null, |text| Value::Text(text.into())),
        other => Value::Text(Cow::Borrowed(other)),
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
