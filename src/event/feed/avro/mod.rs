//! Avro: messages in Confluent's wire format
//! (<https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format>:
//! a zero, the id of the writer's schema as four bytes, the value) as the documents that JSON with
//! a schema gives. Times and dates stay the numbers they are written as, bytes are base64, decimals
//! are decimals; only of them the schema's logical type counts.
//!
//! The library parses the schemas, but the values are read here: the library takes a body that ends
//! too early for nulls, which would clear fields, and follows a schema that contains itself as deep
//! as a message says.

mod schema;

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json};

use super::bounds::Bounds;
use super::cell::decimal_of;
use super::protobuf;
use crate::event::decode::{Bad, Reason};
pub use schema::Schema;
use schema::{Type, Written};

/// The schemas that messages were written with, by their ids: each as it is, or why messages of it
/// can't be read.
#[derive(Debug, Default)]
pub struct Schemas(HashMap<u32, Result<Schema, Bad>>);

impl Schemas {
    /// Whether a schema is known, or known to be unreadable.
    pub fn knows(&self, id: u32) -> bool {
        self.0.contains_key(&id)
    }

    /// The encoding of a schema's messages, if it is known.
    pub fn encoding(&self, id: u32) -> Option<&'static str> {
        let schema = self.0.get(&id)?.as_ref().ok()?;
        Some(schema.encoding())
    }

    /// How many are known.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Makes a schema known, or why it is none.
    pub fn put(&mut self, id: u32, schema: Result<Schema, Bad>) {
        self.0.insert(id, schema);
    }

    /// Forgets a schema.
    pub fn forget(&mut self, id: u32) {
        self.0.remove(&id);
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// The id of the schema that a message names; none if it isn't in the wire format.
pub fn schema_id(bytes: &[u8]) -> Option<u32> {
    match bytes {
        [0, a, b, c, d, ..] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}

fn not_avro(detail: impl Into<String>) -> Bad {
    Bad::new(Reason::NotAvro, detail)
}

/// Reads a message as a document; its numbers are texts.
///
/// # Errors
/// [`Reason::NotAvro`] for what isn't in the wire format or doesn't fit its schema; whatever is
/// wrong with the schema.
pub(super) fn read(bytes: &[u8], schemas: &Schemas) -> Result<Json, Bad> {
    let Some(id) = schema_id(bytes) else {
        let found = match bytes.first() {
            Some(0) => format!("it has {} bytes", bytes.len()),
            Some(first) => format!("it begins with the byte {first}"),
            None => "it is empty".to_owned(),
        };
        return Err(not_avro(format!(
            "not in the wire format of schema registries: {found}, and not with a zero and the four bytes of its schema's id"
        )));
    };
    let schema = match schemas.0.get(&id) {
        Some(Ok(schema)) => schema,
        Some(Err(bad)) => return Err(bad.clone()),
        None => return Err(unknown(id)),
    };
    let root = match &schema.0 {
        Written::Avro(root) => root,
        Written::Protobuf(schema) => {
            let read = protobuf::read(&bytes[5..], schema);
            return read.map_err(|problem| {
                let detail = format!("it doesn't fit its schema {id}: {problem}");
                Bad::new(Reason::NotProtobuf, detail)
            });
        }
    };
    let mut body = Body {
        rest: &bytes[5..],
        bounds: Bounds::new(),
    };
    let document = body.value(root).and_then(|document| {
        let left = body.rest.len();
        let problem = format!("{left} bytes are left at its end");
        (left == 0).then_some(document).ok_or(problem)
    });
    document.map_err(|problem| not_avro(format!("it doesn't fit its schema {id}: {problem}")))
}

/// A message as JSON; its numbers are texts.
///
/// # Errors
/// Why it can't be read.
pub fn to_json(bytes: &[u8], schemas: &Schemas) -> Result<Vec<u8>, Bad> {
    Ok(read(bytes, schemas)?.to_string().into_bytes())
}

/// What is said of a message whose schema the registry doesn't have.
pub fn unknown(id: u32) -> Bad {
    Bad::new(
        Reason::UnknownSchema,
        format!(
            "the schema registry has no schema {id}; is it the registry of the topic's producer, and does that write Confluent's wire format with ids of four bytes?"
        ),
    )
}

/// The rest of a message's value.
struct Body<'b> {
    rest: &'b [u8],
    bounds: Bounds,
}

impl<'b> Body<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(ended)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(ended)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A whole number: seven bits a byte, the lowest first, and the sign in the lowest bit.
    fn whole(&mut self) -> Result<i64, String> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        Err("a whole number has more than 64 bits".to_owned())
    }

    fn bytes(&mut self) -> Result<&'b [u8], String> {
        let length = self.whole()?;
        let length = usize::try_from(length).map_err(|_| format!("a length of {length}"))?;
        self.take(length)
    }

    fn text(&mut self) -> Result<String, String> {
        let text = std::str::from_utf8(self.bytes()?);
        Ok(text.map_err(|_| "a text that is no UTF-8")?.to_owned())
    }

    /// The number of a choice among `count`.
    fn choice(&mut self, count: usize) -> Result<usize, String> {
        let chosen = self.whole()?;
        let known = usize::try_from(chosen).ok().filter(|at| *at < count);
        known.ok_or_else(|| format!("number {chosen} of {count} alternatives"))
    }

    /// The items of an array or a map: blocks, each after the number of its items, until one has
    /// none. A negative number is followed by the block's size.
    fn items(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        loop {
            let count = match self.whole()? {
                0 => return Ok(()),
                negative @ ..0 => {
                    self.whole()?;
                    negative.unsigned_abs()
                }
                count => count.unsigned_abs(),
            };
            for _ in 0..count {
                item(self)?;
            }
        }
    }

    fn value(&mut self, of: &Type) -> Result<Json, String> {
        self.bounds.value()?;
        Ok(match of {
            Type::Null => Json::Null,
            Type::Flag => match self.array()? {
                [0] => Json::Bool(false),
                [1] => Json::Bool(true),
                [other] => return Err(format!("{other} as true or false")),
            },
            Type::Whole => Json::String(self.whole()?.to_string()),
            Type::Float => Json::String(plain(f32::from_le_bytes(self.array()?).to_string())),
            Type::Double => Json::String(plain(f64::from_le_bytes(self.array()?).to_string())),
            Type::Bytes => base64(self.bytes()?),
            Type::Text => Json::String(self.text()?),
            Type::Fixed(size) => base64(self.take(*size)?),
            Type::Uuid => Json::String(uuid(self.array()?)),
            Type::Decimal { scale, size } => {
                let bytes = match size {
                    None => self.bytes()?,
                    Some(size) => self.take(*size)?,
                };
                decimal_of(bytes, *scale).map_or_else(|| base64(bytes), Json::String)
            }
            Type::Name(names) => {
                let chosen = self.choice(names.len())?;
                Json::String(self.bounds.name(&names[chosen])?)
            }
            Type::Union(types) => {
                let chosen = self.choice(types.len())?;
                self.value(&types[chosen])?
            }
            Type::List(of) => {
                let mut items = Vec::new();
                self.items(|body| {
                    items.push(body.value(of)?);
                    Ok(())
                })?;
                Json::Array(items)
            }
            Type::Map(of) => {
                let mut members = Map::new();
                self.items(|body| {
                    members.insert(body.text()?, body.value(of)?);
                    Ok(())
                })?;
                Json::Object(members)
            }
            Type::Record(fields) => {
                let mut members = Map::new();
                for (name, of) in fields {
                    let value = self.value(of);
                    let value = value.map_err(|problem| format!("`{name}`: {problem}"))?;
                    members.insert(self.bounds.name(name)?, value);
                }
                Json::Object(members)
            }
        })
    }
}

fn ended() -> String {
    "it ends too early".to_owned()
}

fn base64(bytes: &[u8]) -> Json {
    Json::String(STANDARD.encode(bytes))
}

/// A floating-point number without an exponent, and with a place as JSON has it.
fn plain(number: String) -> String {
    if number.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
        number + ".0"
    } else {
        number
    }
}

fn uuid(bytes: [u8; 16]) -> String {
    let number = u128::from_be_bytes(bytes);
    let digits = format!("{number:032x}");
    let parts = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)];
    parts.map(|(from, to)| &digits[from..to]).join("-")
}

#[cfg(test)]
mod tests;
