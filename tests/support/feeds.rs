//! Feeds in memory: messages of a CRM's own feed, routed and folded in any order and however often.

use std::collections::BTreeMap;

use dealpulse::definitions::DefinitionsSpec;
use dealpulse::event::decode::Context;
use dealpulse::event::feed::{Feed, Format, Message};
use dealpulse::event::mapping::Mapping;
use dealpulse::pipeline::Log;
use dealpulse::pipeline::route::partition_by_home;
use dealpulse::record::SCHEMA;
use dealpulse::window::Calendar;
use serde_json::Value;

use super::pure::{Pure, context};

/// A message: its topic, key and value; null for a tombstone.
#[derive(Debug, Clone)]
pub struct Sent {
    pub topic: String,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

/// A message of a topic.
pub fn sent(topic: &str, key: &Value, value: &Value) -> Sent {
    Sent {
        topic: topic.to_owned(),
        key: key.to_string().into_bytes(),
        value: (!value.is_null()).then(|| value.to_string().into_bytes()),
    }
}

/// The messages of a file of `tests/fixtures/feeds`, one a line.
pub fn dump(name: &str) -> Vec<Sent> {
    let path = format!(
        "{}/tests/fixtures/feeds/{name}.ndjson",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(&path).expect(&path);
    let lines = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        sent(
            line["topic"].as_str().unwrap(),
            &line["key"],
            &line["value"],
        )
    });
    lines.collect()
}

/// A feed of a format, read through a mapping, its times in UTC.
pub fn feed(format: Format, mapping: &str) -> Feed {
    let mapping = Mapping::parse(mapping, &SCHEMA).unwrap();
    Feed::new(format, mapping, &Calendar::new(chrono_tz::Tz::UTC, 1))
}

/// Messages in this order, each with the offset it was sent at; one that is delivered again has
/// another.
pub async fn records(feed: &Feed, messages: &[(u64, &Sent)]) -> (Pure, Value) {
    let mut pure = Pure::new(3, DefinitionsSpec::default()).await;
    for (offset, message) in messages {
        let context = Context {
            timestamp: Some(1_772_618_400_000_000),
            ..context(*offset)
        };
        let of = Message {
            key: Some(&message.key),
            value: message.value.as_deref(),
        };
        let decoded = feed.decode(&message.topic, of, &context);
        let rejected: Vec<String> = decoded.rejected.iter().map(|r| r.bad.to_string()).collect();
        assert_eq!(
            rejected,
            [""; 0],
            "{}",
            String::from_utf8_lossy(&message.key)
        );
        let routed = partition_by_home(&decoded.assertions, pure.log.partitions());
        pure.log.append(routed).await.unwrap();
    }
    pure.feed(std::iter::empty(), 1).await;
    let figures = pure.all_time();
    (pure, figures)
}

/// Any order, and any message again at a later offset, ends in the same records.
pub async fn converges(feed: &Feed, sent: &[Sent]) -> Value {
    let orderly: Vec<(u64, &Sent)> = (0..).zip(sent).collect();
    let (pure, figures) = records(feed, &orderly).await;
    let expected: BTreeMap<_, _> = pure
        .store
        .record_rows()
        .into_iter()
        .map(|(key, row)| (key, row.row))
        .collect();
    for step in [5, 7, 11] {
        let count = sent.len();
        let step = (step..).find(|step| gcd(*step, count) == 1).unwrap();
        let mut shuffled: Vec<(u64, &Sent)> =
            (0..count).map(|i| orderly[i * step % count]).collect();
        let again = orderly.iter().map(|(offset, sent)| (offset + 1_000, *sent));
        let again: Vec<(u64, &Sent)> = again.rev().step_by(2).collect();
        for (at, repeated) in again.into_iter().enumerate() {
            shuffled.insert((at * 3) % shuffled.len(), repeated);
        }
        let (pure, found) = records(feed, &shuffled).await;
        assert_eq!(found, figures, "step {step}");
        let found: BTreeMap<_, _> = pure
            .store
            .record_rows()
            .into_iter()
            .map(|(key, row)| (key, row.row))
            .collect();
        assert_eq!(found, expected, "step {step}");
    }
    figures
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The mapping of a preset.
pub fn preset(name: &str) -> &'static str {
    dealpulse::config::presets::text(name).expect("a preset")
}
