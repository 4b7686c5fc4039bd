//! Recognising a feed by its messages: the formats they may be in, the tables their rows are of,
//! and the columns of these. Values are not kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value as Json};

use super::{Format, Message, document, member, text_member};
use crate::event::When;

/// How deep objects within a row are looked into.
const DEPTH: usize = 3;
/// How many columns of a table are kept: a row of more is not made by people.
const COLUMNS: usize = 500;

/// What a message is, by its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// Events of ours: CloudEvents whose types are `crm.…`.
    Events,
    /// A message of a feed.
    Feed(Format),
    /// What a serializer of a schema registry writes: a zero, the schema's number, and no JSON.
    Registry(u32),
    /// Neither.
    Unknown,
}

impl Shape {
    /// The shape of a message's value; none of a tombstone, and of an array without items.
    pub fn of(value: &[u8]) -> Option<Shape> {
        if let [0, a, b, c, d, _, ..] = *value {
            return Some(Shape::Registry(u32::from_be_bytes([a, b, c, d])));
        }
        let Ok(items) = document::items(value) else {
            return Some(Shape::Unknown);
        };
        let (_, item) = items.into_iter().next()?;
        Some(item.map_or(Shape::Unknown, |item| of_item(&item)))
    }
}

fn of_item(item: &Json) -> Shape {
    let Some(members) = item.as_object() else {
        return Shape::Unknown;
    };
    let has = |name: &str| members.contains_key(name);
    let text = |name: &str| text_member(item, name);
    if has("specversion")
        && let Some(kind) = text("type")
    {
        return match kind.starts_with("crm.") {
            true => Shape::Events,
            false => Shape::Feed(Format::Json),
        };
    }
    let nested = ["/data/payload", "/payload"].iter();
    let mut envelopes = nested.filter_map(|path| item.pointer(path)).chain([item]);
    if envelopes.any(|value| member(value, "ChangeEventHeader").is_some()) {
        return Shape::Feed(Format::SalesforceCdc);
    }
    if has("subscriptionType") && (has("objectId") || has("fromObjectId")) {
        return Shape::Feed(Format::HubspotWebhook);
    }
    let meta = member(item, "meta").and_then(Json::as_object);
    let is_meta = |meta: &Map<String, Json>| {
        meta.contains_key("action") && (meta.contains_key("entity") || meta.contains_key("object"))
    };
    if meta.is_some_and(is_meta) {
        return Shape::Feed(Format::PipedriveWebhook);
    }
    let is_tracked = ["track", "identify", "page", "screen", "group", "alias"]
        .contains(&text("type").unwrap_or_default());
    if is_tracked && (has("userId") || has("anonymousId")) {
        return Shape::Feed(Format::Segment);
    }
    if is_debezium(item) {
        return Shape::Feed(Format::Debezium);
    }
    Shape::Feed(Format::Json)
}

/// An envelope of Debezium's, or a row with what `ExtractNewRecordState` adds; with a schema beside
/// it or without.
fn is_debezium(item: &Json) -> bool {
    let payload = member(item, "payload").filter(|_| member(item, "schema").is_some());
    let value = payload.unwrap_or(item);
    let added = [
        "__op",
        "__deleted",
        "__table",
        "__lsn",
        "__ts_ms",
        "__source_ts_ms",
        "__source_lsn",
        "__source_table",
    ];
    let is_wrapped =
        text_member(value, "op").is_some() && member(value, "source").is_some_and(Json::is_object);
    is_wrapped
        || added.iter().any(|name| value.get(name).is_some())
        || payload.is_some_and(Json::is_object)
}

/// What the cells of a column look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Look {
    /// Text.
    Text,
    /// A number.
    Number,
    /// A number of thirteen digits: milliseconds since 1970, perhaps.
    Millis,
    /// One of sixteen digits: microseconds, perhaps.
    Micros,
    /// True or false.
    Flag,
    /// A date.
    Date,
    /// An RFC 3339 instant.
    Instant,
    /// An array.
    Array,
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Look::Text => "text",
            Look::Number => "number",
            Look::Millis => "number like milliseconds since 1970",
            Look::Micros => "number like microseconds since 1970",
            Look::Flag => "true or false",
            Look::Date => "date",
            Look::Instant => "time (RFC 3339)",
            Look::Array => "array",
        })
    }
}

/// A table, as far as its rows were seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// How many rows.
    pub rows: u64,
    /// Its columns by name, or by JSON pointer where they lie within an object, with what was in
    /// them; nothing where it was always null.
    pub columns: BTreeMap<String, BTreeSet<Look>>,
}

/// Notes the rows of a message, which is in this format, by their tables. What can't be read is
/// passed over.
pub fn observe(
    format: Format,
    topic: &str,
    message: Message<'_>,
    tables: &mut BTreeMap<String, Observed>,
) {
    let items = message.value.map(document::items);
    for (_, item) in items.into_iter().flatten().flatten() {
        let rows = item.and_then(|item| format.rows((topic, message.key()), item));
        for row in rows.into_iter().flatten() {
            let table = tables.entry(row.table).or_default();
            table.rows += 1;
            for (name, value) in row.columns.as_object().into_iter().flatten() {
                // What Debezium adds is no column of the table.
                if !name.starts_with("__") {
                    note(name.clone(), value, DEPTH, &mut table.columns);
                }
            }
        }
    }
}

fn note(name: String, value: &Json, depth: usize, columns: &mut BTreeMap<String, BTreeSet<Look>>) {
    if columns.len() >= COLUMNS && !columns.contains_key(&name) {
        return;
    }
    match value {
        Json::Object(members) if !is_decimal(members) => {
            let start = if name.starts_with('/') {
                name
            } else {
                format!("/{}", escaped(&name))
            };
            for (member, value) in members.iter().filter(|_| depth > 0) {
                note(
                    format!("{start}/{}", escaped(member)),
                    value,
                    depth - 1,
                    columns,
                );
            }
        }
        value => columns.entry(name).or_default().extend(look(value)),
    }
}

/// A member's name in a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A decimal of Kafka Connect with a scale of its own.
fn is_decimal(members: &Map<String, Json>) -> bool {
    members.len() == 2 && members.contains_key("scale") && members.contains_key("value")
}

fn look(value: &Json) -> Option<Look> {
    let text = match value {
        Json::Null => return None,
        Json::Bool(_) => return Some(Look::Flag),
        Json::Array(_) => return Some(Look::Array),
        Json::Number(_) | Json::Object(_) => return Some(Look::Number),
        Json::String(text) => text.trim(),
    };
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    Some(match When::parse(text) {
        _ if is_whole && digits.len() == 13 => Look::Millis,
        _ if is_whole && digits.len() == 16 => Look::Micros,
        _ if digits.parse::<f64>().is_ok_and(f64::is_finite) => Look::Number,
        Some(When::Date(_)) => Look::Date,
        Some(When::Instant(_)) => Look::Instant,
        None if ["true", "false"].contains(&text) => Look::Flag,
        None => Look::Text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_is_recognised_by_the_shape_of_its_messages() {
        for (value, expected) in [
            (
                r#"{"specversion":"1.0","type":"crm.deal.upserted"}"#,
                Shape::Events,
            ),
            (
                r#"[{"specversion":"1.0","type":"crm.deal.upserted"}]"#,
                Shape::Events,
            ),
            (
                r#"{"specversion":"1.0","type":"com.example.deal"}"#,
                Shape::Feed(Format::Json),
            ),
            (
                r#"{"op":"c","source":{"table":"t"},"after":{}}"#,
                Shape::Feed(Format::Debezium),
            ),
            (
                r#"{"schema":{},"payload":{"op":"d","source":{}}}"#,
                Shape::Feed(Format::Debezium),
            ),
            (
                r#"{"schema":{"type":"struct"},"payload":{"id":1}}"#,
                Shape::Feed(Format::Debezium),
            ),
            (
                r#"{"id":1,"__deleted":"false"}"#,
                Shape::Feed(Format::Debezium),
            ),
            (
                r#"{"ChangeEventHeader":{}}"#,
                Shape::Feed(Format::SalesforceCdc),
            ),
            (
                r#"{"schema":"x","payload":{"ChangeEventHeader":{}},"event":{"replayId":1}}"#,
                Shape::Feed(Format::SalesforceCdc),
            ),
            (
                r#"{"data":{"payload":{"ChangeEventHeader":{}}}}"#,
                Shape::Feed(Format::SalesforceCdc),
            ),
            (
                r#"[{"subscriptionType":"deal.creation","objectId":1}]"#,
                Shape::Feed(Format::HubspotWebhook),
            ),
            (
                r#"{"meta":{"action":"updated","object":"deal"},"current":{}}"#,
                Shape::Feed(Format::PipedriveWebhook),
            ),
            (
                r#"{"meta":{"action":"change","entity":"deal"},"data":{}}"#,
                Shape::Feed(Format::PipedriveWebhook),
            ),
            (
                r#"{"type":"track","event":"Won","anonymousId":"a"}"#,
                Shape::Feed(Format::Segment),
            ),
            (
                r#"{"id":1,"op":"x","type":"track","meta":{}}"#,
                Shape::Feed(Format::Json),
            ),
            ("\u{0}\u{0}\u{0}\u{0}\u{7}x", Shape::Registry(7)),
            ("no", Shape::Unknown),
            ("7", Shape::Unknown),
            ("[[]]", Shape::Unknown),
        ] {
            assert_eq!(Shape::of(value.as_bytes()), Some(expected), "{value}");
        }
        assert_eq!(Shape::of(b"[]"), None);
    }

    #[test]
    fn columns_are_observed_by_what_they_look_like_and_not_by_their_values() {
        let mut tables = BTreeMap::new();
        for value in [
            r#"{"id":7,"at":"2026-03-04T10:00:00Z","day":"2026-03-04","ms":1772618400000,"us":1772618400000000,"is":true,"none":null,"of":{"a/b":{"c":"x"}},"list":[1],"amount":{"scale":2,"value":"ExLQ"}}"#,
            r#"{"id":"seven","none":null,"__lsn":5}"#,
            "broken",
        ] {
            let message = Message {
                key: None,
                value: Some(value.as_bytes()),
            };
            observe(Format::Json, "deals", message, &mut tables);
        }
        let table = &tables["deals"];
        assert_eq!((tables.len(), table.rows), (1, 2));
        let looks: Vec<(&str, Vec<Look>)> = table
            .columns
            .iter()
            .map(|(name, looks)| (name.as_str(), looks.iter().copied().collect()))
            .collect();
        let expected = [
            ("/of/a~1b/c", vec![Look::Text]),
            ("amount", vec![Look::Number]),
            ("at", vec![Look::Instant]),
            ("day", vec![Look::Date]),
            ("id", vec![Look::Text, Look::Number]),
            ("is", vec![Look::Flag]),
            ("list", vec![Look::Array]),
            ("ms", vec![Look::Millis]),
            ("none", vec![]),
            ("us", vec![Look::Micros]),
        ];
        assert_eq!(looks, expected);
    }
}
