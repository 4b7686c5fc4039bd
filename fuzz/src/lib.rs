//! What must hold of any input, whatever it is: every decoder gives an assertion or a reason, never
//! panics, and never makes much out of little. The fuzz targets and `tests/hostile_input.rs` check
//! the same.

use std::sync::LazyLock;

use chrono_tz::Tz;
use dealpulse::config::presets;
use dealpulse::event::decode::{Context, Decoded, cloudevents};
use dealpulse::event::feed::avro::{Schema, Schemas, to_json};
use dealpulse::event::feed::{Explained, Feed, Format, Message};
use dealpulse::event::mapping::{HashKey, Mapping, RowClock};
use dealpulse::event::{Assertion, FieldName, Value, wire};
use dealpulse::record::{CustomFields, Held, Record, SCHEMA, Symbols};
use dealpulse::window::Calendar;

/// The longest message taken.
const LIMIT: usize = 1 << 20;
/// How many bytes of output there may be for one of input: a column may feed several fields of
/// several rules.
const GROWTH: usize = 64;
/// What even the smallest input may come to.
const FLOOR: usize = 1 << 16;
/// The same of an event that names many records, each of which has all of its fields.
const FLOOR_OF_MANY: usize = 8 << 20;

/// What a message of a registry's serializer may come to as JSON: a hundred thousand values and
/// sixteen MiB of names, however few its bytes are, besides the longest message in base64.
const ENCODED: usize = 64 << 20;

/// A mapping that uses what mappings have, hashes and all.
pub const MAPPING: &str = include_str!("../seeds/mapping.toml");

fn context() -> Context<'static> {
    Context {
        schema: &SCHEMA,
        topic: 7,
        namespace: Some("eu"),
        partition: 0,
        offset: 12,
        attempt: 0,
        timestamp: Some(1_772_618_400_000_000),
        is_append_time: false,
        now: i64::MAX / 2,
        limit: LIMIT,
    }
}

fn calendar() -> Calendar {
    Calendar::new(Tz::Europe__Berlin, 1)
}

fn keyed(text: &str) -> Mapping {
    let key = HashKey::new("00112233445566778899aabbccddeeff").expect("a key");
    let mapping = Mapping::parse(text, &SCHEMA).expect("a mapping");
    mapping.with_key(Some(&key), "").expect("a key")
}

/// Every feed there is: each format with the presets that read it, and with the mapping above.
static FEEDS: LazyLock<Vec<Feed>> = LazyLock::new(|| {
    let mut feeds = Vec::new();
    for format in Format::ALL {
        let names: &[&str] = match format {
            Format::Debezium => &["odoo", "suitecrm", "espocrm"],
            Format::Json => &["web-form", "woocommerce", "shopify"],
            Format::SalesforceCdc => &["salesforce"],
            Format::HubspotWebhook => &["hubspot"],
            Format::PipedriveWebhook => &["pipedrive"],
            Format::Segment => &[],
        };
        let texts = names.iter().filter_map(|name| presets::text(name));
        for text in texts.chain([MAPPING]) {
            feeds.push(Feed::new(format, keyed(text), &calendar()));
        }
    }
    feeds
});

/// A message of a file of `tests/fixtures/feeds`, damaged or not: topic, key and value, taken apart
/// without being read. Anything else is a value.
fn parts(data: &[u8]) -> (&str, Option<&[u8]>, &[u8]) {
    let find = |name: &[u8]| data.windows(name.len()).position(|window| window == name);
    let Some(at) = find(b"\"value\":") else {
        return ("orders", None, data);
    };
    let value = data[at + b"\"value\":".len()..].trim_ascii_end();
    let value = value.strip_suffix(b"}").unwrap_or(value);
    let key = find(b"\"key\":").filter(|key| *key < at);
    let key = key.map(|key| &data[key + b"\"key\":".len()..at]);
    let key = key.map(|key| key.strip_suffix(b",").unwrap_or(key));
    let topic = find(b"\"topic\":\"").map(|topic| &data[topic + b"\"topic\":\"".len()..]);
    let topic = topic.and_then(|rest| rest.split(|byte| *byte == b'"').next());
    let topic = topic.and_then(|topic| std::str::from_utf8(topic).ok());
    (topic.unwrap_or("orders"), key, value)
}

/// A message of a feed of a format: see [`parts`].
pub fn feed(format: Format, data: &[u8]) {
    let (topic, key, value) = parts(data);
    let message = Message {
        key,
        value: Some(value),
    };
    for feed in FEEDS.iter().filter(|feed| feed.format() == format) {
        let decoded = feed.decode(topic, message, &context());
        bounded(
            &decoded,
            key.map_or(0, <[u8]>::len) + value.len(),
            floor(feed),
        );
        if decoded.assertions.is_empty() && decoded.rejected.is_empty() {
            let known = feed.explain(topic, message, &context());
            let is_known = |item: &Explained| {
                matches!(item, Explained::Ignored { .. } | Explained::NotRead { .. })
            };
            assert!(
                known.iter().all(is_known),
                "passed over in silence: {known:?}"
            );
        }
        let Some(redacted) = feed.redact(topic, message) else {
            continue;
        };
        let left = Message {
            key: redacted.key.as_deref(),
            value: Some(&redacted.value),
        };
        let again = feed.decode(topic, left, &context());
        // The same items are rejected; a reason may quote what was replaced.
        let reasons = |decoded: &Decoded<'_>| {
            let rejected = decoded.rejected.iter();
            rejected
                .map(|r| (r.index, r.bad.reason))
                .collect::<Vec<_>>()
        };
        assert_eq!(again.assertions, decoded.assertions);
        assert_eq!(reasons(&again), reasons(&decoded));
        assert_eq!(feed.redact(topic, left), Some(redacted), "redacted once");
    }
}

/// What even the smallest message of a feed may come to.
fn floor(feed: &Feed) -> usize {
    let has_items = feed
        .mapping()
        .rules
        .iter()
        .any(|rule| rule.items().is_some());
    match feed.format() {
        Format::SalesforceCdc => FLOOR_OF_MANY,
        _ if has_items => FLOOR_OF_MANY,
        _ => FLOOR,
    }
}

/// A message in Avro: its schema up to the end of the line, then the value.
pub fn avro(data: &[u8]) {
    encoded(data, |text| Schema::parse(text, &[]));
}

/// The same in Protobuf.
pub fn protobuf(data: &[u8]) {
    encoded(data, |text| Schema::protobuf(text, &[]));
}

fn encoded(data: &[u8], parse: impl Fn(&str) -> Result<Schema, String>) {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (schema, value) = data.split_at(end.unwrap_or(data.len()));
    let Ok(schema) = std::str::from_utf8(schema) else {
        return;
    };
    let schema = match parse(schema) {
        Ok(schema) => schema,
        Err(problem) => return assert!(!problem.is_empty()),
    };
    let mut schemas = Schemas::default();
    schemas.put(7, Ok(schema));
    let mut message = vec![0, 0, 0, 0, 7];
    message.extend(value.get(1..).unwrap_or_default());
    if let Ok(json) = to_json(&message, &schemas) {
        assert!(
            json.len() <= ENCODED,
            "{} bytes come out of {}",
            json.len(),
            data.len()
        );
    }
    let of = Message {
        key: Some(&message),
        value: Some(&message),
    };
    for feed in FEEDS.iter() {
        let decoded = feed.decode_by_schemas("orders", of, &schemas, &context());
        bounded(&decoded, data.len(), floor(feed));
    }
}

/// An event of ours, or a batch of them; as the data of one in binary mode, too.
pub fn cloudevents(data: &[u8]) {
    let decoded = cloudevents::decode(Some(data), &[], &context());
    // A batch may be empty, and no bytes at all are a tombstone.
    let may_be_silent = data.is_empty() || data.trim_ascii_start().first() == Some(&b'[');
    let is_silent = decoded.assertions.is_empty() && decoded.rejected.is_empty();
    assert!(may_be_silent || !is_silent, "passed over in silence");
    bounded(&decoded, data.len(), FLOOR);
    let split = data.iter().position(|byte| *byte == b'\n');
    let (time, data) = data.split_at(split.unwrap_or_default());
    let headers = [
        ("ce_specversion", b"1.0".as_slice()),
        ("ce_type", b"crm.deal.upserted"),
        ("ce_subject", b"D-1"),
        ("ce_time", time),
    ];
    let decoded = cloudevents::decode(Some(data), &headers, &context());
    assert!(!decoded.assertions.is_empty() || !decoded.rejected.is_empty());
    bounded(&decoded, data.len(), FLOOR);
}

/// A table as a file holds it, its rows read through a mapping.
pub fn rows(data: &[u8]) {
    static RULES: LazyLock<Mapping> = LazyLock::new(|| keyed(MAPPING));
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(data);
    let Ok(header) = reader.headers().cloned() else {
        return;
    };
    for (index, row) in (0..1_000).zip(reader.records()) {
        let Ok(row) = row else { return };
        for rule in RULES.rules.iter().filter(|rule| rule.file().is_some()) {
            let cell = |name: &str| row.get(header.iter().position(|known| known == name)?);
            let applied = rule.apply(cell, &context(), (RowClock::default(), index), &calendar());
            if let Ok(Some(applied)) = applied {
                assert!(size(&applied.assertion) <= GROWTH * row.as_slice().len() + FLOOR);
            }
        }
    }
}

/// A mapping, as somebody writes one.
pub fn mapping(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Mapping::parse(text, &SCHEMA) {
        Ok(mapping) => mapping.rules.iter().for_each(|rule| {
            let applied = rule.apply(
                |_| Some("1"),
                &context(),
                (RowClock::default(), 0),
                &calendar(),
            );
            drop(applied);
        }),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A message of the internal log: the data itself, and what events in the data come to, damaged.
pub fn log_message(data: &[u8]) {
    read_log_message(data);
    let decoded = cloudevents::decode(Some(data), &[], &context());
    let mut bytes = wire::write_assertions(decoded.assertions.iter());
    let Ok(wire::Message::Assertions(batch)) = wire::read(&bytes, &SCHEMA) else {
        panic!("what was written can't be read");
    };
    assert!(batch.assertions().eq(decoded.assertions.iter().cloned()));
    for (at, byte) in data.iter().enumerate().take(16) {
        let place = at.wrapping_mul(usize::from(*byte) + 1) % bytes.len();
        let whole = bytes[place];
        bytes[place] ^= byte | 1;
        read_log_message(&bytes);
        read_log_message(&bytes[..place]);
        bytes[place] = whole;
    }
}

fn read_log_message(bytes: &[u8]) {
    match wire::read(bytes, &SCHEMA) {
        Ok(wire::Message::Assertions(batch)) => {
            // A text that is repeated is a number in the message: it is not copied.
            let values: usize = batch
                .entries()
                .iter()
                .map(|entry| batch.values(entry).len())
                .sum();
            assert!(batch.entries().len() + values + batch.texts().len() <= bytes.len());
        }
        Ok(_) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A record as the facts hold it: the data itself, and what events in the data come to, damaged.
pub fn record(data: &[u8]) {
    read_record(data);
    let decoded = cloudevents::decode(Some(data), &[], &context());
    let (mut symbols, mut customs) = (Symbols::default(), CustomFields::default());
    let mut record = Record::default();
    for assertion in &decoded.assertions {
        let spec = assertion.entity.spec();
        let values: Vec<_> = assertion
            .values
            .iter()
            .map(|(name, value)| {
                let field = match name {
                    FieldName::Known(field) => Some(*field),
                    FieldName::Custom(name) => customs.number(name),
                };
                (field, Held::hold(value, &mut symbols))
            })
            .collect();
        record.fold(spec, assertion.stamp, values.into_iter(), &mut symbols);
    }
    let mut bytes = record.to_bytes(&customs, &symbols);
    for (at, byte) in data.iter().enumerate().take(16) {
        let place = at.wrapping_mul(usize::from(*byte) + 1) % bytes.len();
        let whole = bytes[place];
        bytes[place] ^= byte | 1;
        read_record(&bytes);
        read_record(&bytes[..place]);
        bytes[place] = whole;
    }
}

fn read_record(bytes: &[u8]) {
    let (mut symbols, mut customs) = (Symbols::default(), CustomFields::default());
    for spec in SCHEMA.of_sources() {
        match Record::from_bytes(spec, bytes, &mut customs, &mut symbols) {
            Ok(record) => assert!(record.heap_bytes() <= GROWTH * bytes.len() + FLOOR),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

fn bounded(decoded: &Decoded<'_>, input: usize, floor: usize) {
    let assertions: usize = decoded.assertions.iter().map(size).sum();
    let rejected: usize = decoded
        .rejected
        .iter()
        .map(|rejected| 64 + rejected.bad.detail.len())
        .sum();
    let output = assertions + rejected;
    assert!(
        output <= GROWTH * input + floor,
        "{output} bytes come out of {input}"
    );
}

/// How many bytes an assertion has, about.
fn size(assertion: &Assertion<'_>) -> usize {
    let values = assertion.values.iter();
    let values = values.map(|(name, value)| {
        let name = match name {
            FieldName::Known(_) => 0,
            FieldName::Custom(name) => name.len(),
        };
        let text = match value {
            Value::Text(text) => text.len(),
            _ => 0,
        };
        32 + name + text
    });
    64 + assertion.id.len() + values.sum::<usize>()
}
