//! CloudEvents 1.0, the canonical format: structured JSON, batched JSON, or binary mode with `ce_`
//! headers.

mod binary;
mod data;
mod fields;

use std::borrow::Cow;
use std::collections::HashMap;

use serde::de::{DeserializeOwned, IgnoredAny};

use self::data::Data;
use super::json::{Json, Next, Token};
use super::{Bad, Context, Decoded, Reason, entity, event_time, short};
use crate::event::{Assertion, FieldName, Value, field_value, without_exponent};
use crate::event::{EntityRef, Field, Schema};

/// A message's header: its name and bytes.
pub type Header<'a> = (&'a str, &'a [u8]);

/// What an event says happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Upserted,
    Deleted,
    Restored,
    Merged,
}

/// The attributes of an event that mean something here; others are passed over.
#[derive(Debug, Default)]
struct Envelope<'a> {
    specversion: Option<Cow<'a, str>>,
    /// Read at once, because the data after it can only be read if it is known.
    kind: Option<Result<(EntityRef, Action), Bad>>,
    subject: Option<Cow<'a, str>>,
    time: Option<Cow<'a, str>>,
    /// As it is written.
    sequence: Option<&'a str>,
    data: Data<'a>,
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
    let is_binary = binary::is_binary(headers);
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
        simdutf8::basic::from_utf8(payload)
            .map_err(|_| Bad::new(Reason::NotJson, "not UTF-8"))
            .and_then(|text| {
                if is_binary {
                    let event = binary::read(text, headers, context)?;
                    one(event, context, 0, &mut decoded)
                } else if text.trim_start().starts_with('[') {
                    batch(text, context, &mut decoded)
                } else {
                    let mut json = Json::new(text);
                    let event = read(&mut json, context)?;
                    json.finish()?;
                    one(event, context, 0, &mut decoded)
                }
            })
    };
    if let Err(bad) = result {
        decoded.reject(0, bad, payload);
    }
    decoded
}

/// Decodes the items of a batch. Where the array itself is broken, nothing of it counts.
fn batch<'a>(text: &'a str, context: &Context<'_>, decoded: &mut Decoded<'a>) -> Result<(), Bad> {
    let result = items(text, context, decoded);
    if result.is_err() {
        *decoded = Decoded::default();
    }
    result
}

fn items<'a>(text: &'a str, context: &Context<'_>, decoded: &mut Decoded<'a>) -> Result<(), Bad> {
    let mut json = Json::new(text);
    if json.next()? != Next::Array {
        return Err(mismatch::<Vec<IgnoredAny>>("the batch", &json));
    }
    let (mut is_item, mut index) = (json.first_item()?, 0);
    while is_item {
        let start = json.at();
        let (result, raw) = match read(&mut json, context) {
            Ok(event) => (one(event, context, index, decoded), json.since(start)),
            Err(bad) => {
                json.seek(start);
                (Err(bad), json.skip()?)
            }
        };
        if let Err(bad) = result {
            decoded.reject(index, bad, raw.as_bytes());
        }
        index += 1;
        is_item = json.next_item()?;
    }
    json.finish()
}

/// Reads an event. The first thing wrong with it, in the order it is written, is the reason.
fn read<'a>(json: &mut Json<'a>, context: &Context<'_>) -> Result<Envelope<'a>, Bad> {
    let mut event = Envelope::default();
    if json.next()? != Next::Object {
        return Err(mismatch::<HashMap<String, IgnoredAny>>("the event", json));
    }
    let mut seen = 0u16;
    let mut next = json.first_key()?;
    while let Some(name) = next {
        let number = match &*name {
            "specversion" => 0,
            "type" => 1,
            "subject" => 2,
            "time" => 3,
            "sequence" => 4,
            "datacontenttype" => 5,
            "dataref" => 6,
            "data" => 7,
            "data_base64" => 8,
            _ => {
                json.skip()?;
                next = json.next_key()?;
                continue;
            }
        };
        if seen & (1 << number) != 0 {
            let detail = format!("`{name}` is there twice");
            return Err(Bad::new(Reason::NotAnEvent, detail));
        }
        seen |= 1 << number;
        let written = json.next()?;
        match number {
            0 => event.specversion = text(&name, json)?,
            1 => event.kind = text(&name, json)?.map(|kind| event_type(&kind, context.schema)),
            // A CRM that counts its records has them as numbers; their digits are the id.
            2 if written == Next::Digit => event.subject = Some(digits(json)?),
            2 => event.subject = text(&name, json)?,
            3 => event.time = text(&name, json)?,
            4 => event.sequence = Some(json.skip()?),
            5 => event.data.set_media_type(text(&name, json)?),
            6 => event.data.set_reference(text(&name, json)?),
            7 => event.data.read(json, &event.kind, context)?,
            _ => event.data.set_encoded(text(&name, json)?),
        }
        next = json.next_key()?;
    }
    Ok(event)
}

/// Reads an attribute that is a text, or `null`, which is the same as none.
fn text<'a>(name: &str, json: &mut Json<'a>) -> Result<Option<Cow<'a, str>>, Bad> {
    match json.next()? {
        Next::Text | Next::Null => match json.value()? {
            Token::Text(text) => Ok(Some(text)),
            Token::Null => Ok(None),
            _ => Err(Bad::new(
                Reason::NotJson,
                format!("`{name}` has half a surrogate pair"),
            )),
        },
        _ => Err(mismatch::<String>(&format!("`{name}`"), json)),
    }
}

/// Reads a whole number as a text; any other number is none that could be an id.
fn digits<'a>(json: &mut Json<'a>) -> Result<Cow<'a, str>, Bad> {
    let start = json.at();
    let digits = json.skip()?;
    if let Some(plain) = without_exponent(digits)
        && plain.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Ok(plain);
    }
    json.seek(start);
    Err(mismatch::<String>("`subject`", json))
}

/// Why the next value is no `T`: it is another kind of value, or no JSON at all. Asked of
/// serde_json, which distinguishes the two.
#[cold]
fn mismatch<T: DeserializeOwned>(name: &str, json: &Json<'_>) -> Bad {
    let mut values = serde_json::Deserializer::from_str(json.rest());
    match T::deserialize(&mut values) {
        Err(error) if error.is_data() => Bad::new(Reason::NotAnEvent, format!("{name}: {error}")),
        Err(error) => Bad::new(Reason::NotJson, error.to_string()),
        Ok(_) => Bad::new(Reason::NotAnEvent, format!("{name} has the wrong type")),
    }
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
        Some(version) if version != "1.0" => {
            return Err(Bad::new(
                Reason::NotAnEvent,
                format!("specversion `{}`; expected 1.0", short(&version)),
            ));
        }
        Some(_) => {}
    }
    let (entity, action) = event.kind.ok_or_else(|| missing("type"))??;
    let subject = event.subject.and_then(|subject| context.qualify(subject));
    let id = subject.ok_or_else(|| {
        Bad::new(
            Reason::MissingId,
            "no `subject`, or one that means none; it is the record's id",
        )
    })?;
    let time = event.time.map(|time| event_time(&time)).transpose()?;
    let stamp = context.stamp(time, event.sequence.map_or(Ok(0), sequence)?, index)?;

    let mut fields = event.data.fields((entity, action), context)?;
    decoded.unknown_fields += fields.unknown;
    if let Some(bad) = fields.bad {
        return Err(bad);
    }
    match action {
        Action::Deleted => fields.set(Field::DELETED, Value::Flag(true)),
        Action::Restored => fields.set(Field::DELETED, Value::Flag(false)),
        Action::Upserted | Action::Merged => {}
    }
    let values = fields.into_values();
    let is_merged = |(field, value): &(FieldName<'_>, Value<'_>)| {
        *field == FieldName::Known(Field::MERGED_INTO) && *value != Value::Null
    };
    if action == Action::Merged && !values.iter().any(is_merged) {
        return Err(Bad::new(
            Reason::WrongType,
            "a merged event says what it was merged into: `data.merged_into`",
        ));
    }
    if decoded.assertions.capacity() == 0 && index == 0 {
        decoded.assertions.reserve_exact(1); // most messages hold one event
    }
    let mut assertion = Assertion {
        entity: entity.spec.entity,
        id,
        stamp,
        values,
    };
    field_value::complete(&mut assertion, context.schema, context.namespace)?;
    decoded.assertions.push(assertion);
    Ok(())
}

fn event_type(kind: &str, schema: &'static Schema) -> Result<(EntityRef, Action), Bad> {
    let unknown = || {
        Bad::new(
            Reason::UnknownEntity,
            format!(
                "type `{}`; expected crm.<entity>.<upserted|deleted|restored|merged>",
                short(kind)
            ),
        )
    };
    let (name, action) = kind
        .strip_prefix("crm.")
        .and_then(|rest| rest.split_once('.'))
        .ok_or_else(unknown)?;
    let action = match action {
        "upserted" => Action::Upserted,
        "deleted" => Action::Deleted,
        "restored" => Action::Restored,
        "merged" => Action::Merged,
        _ => return Err(unknown()),
    };
    Ok((entity(name, schema)?, action))
}

/// The CloudEvents extension `sequence`, as it is written: a whole number, or a text that holds
/// one.
fn sequence(json: &str) -> Result<u64, Bad> {
    let text = json.trim_matches('"');
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

#[cfg(test)]
mod differential;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
