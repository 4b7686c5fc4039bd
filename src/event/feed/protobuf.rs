//! Protobuf: messages in Confluent's wire format
//! (<https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format>:
//! a zero, the id of the writer's schema, which of its messages it is, the message) as the
//! documents that Avro and JSON give. Well-known types are what they stand for: instants, dates,
//! decimals, wrapped values.
//!
//! A field that isn't there and whose schema can tell is null, which clears; one whose schema can't
//! tell has its default.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, NaiveDate, SecondsFormat};
use prost_reflect::{
    DescriptorPool, DynamicMessage, Kind, MapKey, MessageDescriptor, ReflectMessage, Value,
};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use serde_json::{Map, Value as Json};

use super::bounds::Bounds;
use super::cell::decimal_of;
use super::document::DEPTH;

/// How deep the braces of a schema may be.
const BRACES: usize = 64;
/// What a registry calls a schema that has no name of its own.
const ROOT: &str = "dealpulse-root.proto";

/// Types that Confluent's serializer knows without the registry.
const KNOWN: [(&str, &str); 3] = [
    (
        "confluent/type/decimal.proto",
        "syntax = \"proto3\"; package confluent.type; message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }",
    ),
    (
        "google/type/date.proto",
        "syntax = \"proto3\"; package google.type; message Date { int32 year = 1; int32 month = 2; int32 day = 3; }",
    ),
    (
        "confluent/meta.proto",
        "syntax = \"proto3\"; package confluent; import \"google/protobuf/descriptor.proto\";
         message Meta { string doc = 1; map<string, string> params = 2; repeated string tags = 3; }
         extend google.protobuf.FileOptions { Meta file_meta = 1088; }
         extend google.protobuf.MessageOptions { Meta message_meta = 1088; }
         extend google.protobuf.FieldOptions { Meta field_meta = 1088; }
         extend google.protobuf.EnumOptions { Meta enum_meta = 1088; }
         extend google.protobuf.EnumValueOptions { Meta enum_value_meta = 1088; }",
    ),
];

/// A schema: a file and the types it has.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Schema(DescriptorPool);

impl Schema {
    /// A schema from its text and those that it imports, each by the name it is imported by.
    ///
    /// # Errors
    /// Why it can't be used.
    pub fn parse(text: &str, imports: &[(String, String)]) -> Result<Schema, String> {
        let mut texts: BTreeMap<String, String> = KNOWN
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .into();
        texts.extend(imports.iter().cloned());
        texts.insert(ROOT.to_owned(), text.to_owned());
        if texts.values().any(|text| braces(text) > BRACES) {
            return Err(format!("it is deeper than {BRACES} braces"));
        }
        let mut files = ChainFileResolver::new();
        files.add(Texts(texts));
        files.add(GoogleFileResolver::new());
        let mut compiler = protox::Compiler::with_file_resolver(files);
        compiler.include_imports(true);
        let compiled = compiler.open_file(ROOT).map_err(|error| error.to_string());
        compiled.map(|compiler| Schema(compiler.descriptor_pool()))
    }

    /// The message that indices lead to: one of the file's, then one of those within it.
    fn message(&self, indices: &[usize]) -> Option<MessageDescriptor> {
        let (first, inner) = indices.split_first()?;
        let file = self.0.get_file_by_name(ROOT)?;
        let first = file.messages().nth(*first)?;
        let mut inner = inner.iter();
        inner.try_fold(first, |of, index| of.child_messages().nth(*index))
    }
}

/// How deep braces lie in each other, comments and texts counted along.
fn braces(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Files that are texts by their names.
struct Texts(BTreeMap<String, String>);

impl FileResolver for Texts {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.0.get(name) {
            Some(text) => File::from_source(name, text),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

/// Reads what follows the schema's id in a message as a document; its numbers are texts.
///
/// # Errors
/// Why it doesn't fit its schema.
pub(super) fn read(mut bytes: &[u8], schema: &Schema) -> Result<Json, String> {
    let indices = indices(&mut bytes)?;
    let of = schema.message(&indices);
    let of = of.ok_or_else(|| format!("the schema has no message {indices:?}"))?;
    let message = DynamicMessage::decode(of, bytes).map_err(|error| error.to_string())?;
    let mut walk = Walk(Bounds::new());
    walk.message(&message, DEPTH)
}

/// Which message of the schema it is: a count and so many indices, or a zero for the first.
fn indices(bytes: &mut &[u8]) -> Result<Vec<usize>, String> {
    let mut next = || {
        let number = prost_reflect::prost::encoding::decode_varint(bytes);
        let number = number.map_err(|error| error.to_string())?;
        let number = (number >> 1) as i64 ^ -((number & 1) as i64);
        usize::try_from(number).map_err(|_| format!("an index of {number}"))
    };
    match next()? {
        0 => Ok(vec![0]),
        count if count <= DEPTH => (0..count).map(|_| next()).collect(),
        count => Err(format!("a message within {count} others")),
    }
}

/// A walk through a message, with what its document may still have.
struct Walk(Bounds);

impl Walk {
    fn message(&mut self, message: &DynamicMessage, depth: usize) -> Result<Json, String> {
        let depth = depth.checked_sub(1);
        let depth = depth.ok_or_else(|| format!("deeper than {DEPTH} messages and lists"))?;
        if let Some(known) = well_known(message) {
            return known;
        }
        let of = message.descriptor();
        if let Some(wrapped) = wrapped(&of) {
            let value = message.get_field(&wrapped);
            return self.value(&value, &wrapped.kind(), depth);
        }
        let mut members = Map::new();
        for field in of.fields() {
            let name = self.0.name(field.name())?;
            let is_absent = field.supports_presence() && !message.has_field(&field);
            let value = match is_absent {
                true => Ok(Json::Null),
                false => self.value(&message.get_field(&field), &field.kind(), depth),
            };
            let value = value.map_err(|problem| format!("`{name}`: {problem}"))?;
            members.insert(name, value);
        }
        Ok(Json::Object(members))
    }

    fn value(&mut self, value: &Value, kind: &Kind, depth: usize) -> Result<Json, String> {
        self.0.value()?;
        Ok(match value {
            Value::Bool(flag) => Json::Bool(*flag),
            Value::I32(number) => Json::String(number.to_string()),
            Value::I64(number) => Json::String(number.to_string()),
            Value::U32(number) => Json::String(number.to_string()),
            Value::U64(number) => Json::String(number.to_string()),
            Value::F32(number) => Json::String(number.to_string()),
            Value::F64(number) => Json::String(number.to_string()),
            Value::String(text) => Json::String(text.clone()),
            Value::Bytes(bytes) => Json::String(STANDARD.encode(bytes)),
            Value::EnumNumber(number) => Json::String(match kind {
                Kind::Enum(of) => match of.get_value(*number) {
                    Some(word) => self.0.name(word.name())?,
                    None => number.to_string(),
                },
                _ => number.to_string(),
            }),
            Value::Message(message) => self.message(message, depth)?,
            Value::List(items) => {
                let items = items.iter().map(|item| self.value(item, kind, depth));
                Json::Array(items.collect::<Result<_, _>>()?)
            }
            Value::Map(entries) => {
                let of_value = match kind {
                    Kind::Message(entry) => entry.map_entry_value_field().kind(),
                    other => other.clone(),
                };
                let entries = entries.iter().map(|(key, value)| (key_text(key), value));
                let sorted: BTreeMap<Cow<'_, str>, &Value> = entries.collect();
                let members = sorted.into_iter().map(|(key, value)| {
                    Ok((key.into_owned(), self.value(value, &of_value, depth)?))
                });
                Json::Object(members.collect::<Result<_, String>>()?)
            }
        })
    }
}

fn key_text(key: &MapKey) -> Cow<'_, str> {
    match key {
        MapKey::Bool(flag) => Cow::Owned(flag.to_string()),
        MapKey::I32(number) => Cow::Owned(number.to_string()),
        MapKey::I64(number) => Cow::Owned(number.to_string()),
        MapKey::U32(number) => Cow::Owned(number.to_string()),
        MapKey::U64(number) => Cow::Owned(number.to_string()),
        MapKey::String(text) => Cow::Borrowed(text),
    }
}

/// The field of a message that only wraps a value, so that there may be none.
fn wrapped(of: &MessageDescriptor) -> Option<prost_reflect::FieldDescriptor> {
    let name = of.full_name().strip_prefix("google.protobuf.")?;
    let is_wrapper =
        name.ends_with("Value") && !matches!(name, "Value" | "ListValue" | "NullValue");
    of.get_field(1).filter(|_| is_wrapper)
}

/// What a well-known type stands for, as text; nothing of other messages.
fn well_known(message: &DynamicMessage) -> Option<Result<Json, String>> {
    let of = message.descriptor();
    let number = |name: &str| {
        let value = message.get_field_by_name(name)?;
        value.as_i64().or_else(|| value.as_i32().map(i64::from))
    };
    let text = match of.full_name() {
        "google.protobuf.Timestamp" => {
            let at = number("seconds").zip(number("nanos"));
            at.and_then(|(seconds, nanos)| {
                DateTime::from_timestamp(seconds, nanos.try_into().ok()?)
            })
            .map(|at| at.to_rfc3339_opts(SecondsFormat::AutoSi, true))
        }
        "google.type.Date" => {
            let part = |name| number(name).and_then(|part| u32::try_from(part).ok());
            let date = part("month").zip(part("day"));
            date.and_then(|(month, day)| {
                NaiveDate::from_ymd_opt(number("year")?.try_into().ok()?, month, day)
            })
            .map(|date| date.to_string())
        }
        "confluent.type.Decimal" => {
            let value = message.get_field_by_name("value");
            let bytes = value.as_ref().and_then(|value| value.as_bytes());
            bytes
                .zip(number("scale"))
                .and_then(|(bytes, scale)| decimal_of(bytes, scale))
        }
        _ => return None,
    };
    let problem = || format!("no {} that can be read", of.full_name());
    Some(text.map(Json::String).ok_or_else(problem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::feed::bounds::VALUES;
    use serde_json::json;

    const ORDER: &str = r#"
        syntax = "proto3";
        package shop;
        import "google/protobuf/timestamp.proto";
        import "google/protobuf/wrappers.proto";
        import "confluent/type/decimal.proto";
        import "confluent/meta.proto";
        import "buyer.proto";
        message Other { message Inner { string x = 1; } }
        message Order {
          int64 id = 1;
          optional string note = 2;
          double total = 3;
          repeated sint32 codes = 4;
          map<string, uint32> counts = 5;
          Status status = 6;
          google.protobuf.Timestamp at = 7;
          confluent.type.Decimal exact = 8 [(confluent.field_meta) = { doc: "money" }];
          Buyer buyer = 9;
          google.protobuf.StringValue maybe = 10;
          bytes raw = 11;
          oneof paid { string card = 12; bool cash = 13; }
          repeated Order parts = 14;
          string text = 15;
        }
        enum Status { NEW = 0; WON = 2; }
    "#;
    const BUYER: &str = "syntax = \"proto3\"; package shop; message Buyer { fixed32 number = 1; }";

    fn schema() -> Schema {
        let imports = [("buyer.proto".to_owned(), BUYER.to_owned())];
        Schema::parse(ORDER, &imports).unwrap()
    }

    /// A field that has a length.
    fn long(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
    }

    /// The second message of the file.
    fn order(fields: &[Vec<u8>]) -> Vec<u8> {
        [&[2, 2], &fields.concat()[..]].concat()
    }

    #[test]
    fn a_message_is_the_document_that_json_would_be() {
        let message = order(&[
            vec![1 << 3, 7],
            [&[3 << 3 | 1][..], &1.25e7_f64.to_le_bytes()].concat(),
            long(4, &[3, 4]),
            long(5, &[&long(1, b"b")[..], &[2 << 3, 5]].concat()),
            long(5, &[&long(1, b"a")[..], &[2 << 3, 6]].concat()),
            vec![6 << 3, 2],
            // 2026-03-04T10:00:00Z is 1772618400 s.
            long(7, &[1 << 3, 0xa0, 0x85, 0xa0, 0xcd, 0x06]),
            long(
                8,
                &[&long(1, &[0x13, 0x12, 0xd0])[..], &[3 << 3, 2]].concat(),
            ),
            long(9, &[&[1 << 3 | 5][..], &9_u32.to_le_bytes()].concat()),
            long(10, &long(1, b"x")),
            long(11, &[0xff]),
            vec![13 << 3, 1],
            long(14, &[1 << 3, 8]),
        ]);
        let document = read(&message, &schema()).unwrap();
        let part = document["parts"][0].clone();
        let mut expected = json!({
            "id": "7", "note": null, "total": "12500000", "codes": ["-2", "2"], "counts": {"a": "6", "b": "5"}, "status": "WON",
            "at": "2026-03-04T10:00:00Z", "exact": "12500.00", "buyer": {"number": "9"}, "maybe": "x", "raw": "/w==",
            "card": null, "cash": true, "parts": [], "text": "",
        });
        expected["parts"] = json!([part]);
        assert_eq!(document, expected);
        assert_eq!(
            (&part["id"], &part["at"], &part["parts"]),
            (&json!("8"), &Json::Null, &json!([]))
        );
        assert_eq!(read(&[0], &schema()), Ok(json!({})), "the first message");
        assert_eq!(
            read(&[4, 0, 0], &schema()),
            Ok(json!({"x": ""})),
            "one within it"
        );
    }

    #[test]
    fn what_does_not_fit_its_schema_is_refused_and_no_bytes_are_a_panic() {
        for wrong in [
            &[][..],
            &[2],
            &[2, 6],
            &[1],
            &[0xff; 12],
            &[2, 2, 0xff],
            &[2, 2, 1 << 3 | 2, 9],
            // The nanoseconds of an instant are below a billion.
            &[2, 2, 7 << 3 | 2, 6, 2 << 3, 0x80, 0xa8, 0xd6, 0xb9, 0x07],
        ] {
            assert!(read(wrong, &schema()).is_err(), "{wrong:?}");
        }
        let nested = (0..=DEPTH).fold(Vec::new(), |inner: Vec<u8>, _| {
            let mut length = Vec::new();
            prost_reflect::prost::encoding::encode_varint(inner.len() as u64, &mut length);
            [&[14 << 3 | 2][..], &length, &inner].concat()
        });
        let deep = read(&order(&[nested]), &schema()).unwrap_err();
        assert!(deep.contains("deeper than 32"), "{deep}");
        let many = vec![2 << 3; 0]
            .into_iter()
            .chain([14 << 3 | 2, 0].repeat(VALUES + 1));
        let many = read(&order(&[many.collect()]), &schema()).unwrap_err();
        assert!(many.contains("more than"), "{many}");
        for text in [
            "",
            "message",
            "syntax = \"proto3\"; import \"nowhere.proto\";",
            "syntax = \"proto3\"; message A { B b = 1; }",
        ] {
            let parsed = Schema::parse(text, &[]);
            assert!(text.is_empty() || parsed.is_err(), "{text}");
        }
        let deep = format!("syntax = \"proto3\"; {}", "message A { ".repeat(100_000));
        assert!(Schema::parse(&deep, &[]).unwrap_err().contains("braces"));
    }
}
