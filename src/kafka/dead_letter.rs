//! Dead letters: what could not be decoded, with where it was, why, and its raw bytes. Written before the input offset moves.

use futures::future::try_join_all;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;

use super::client::outside;
use crate::event::decode::Bad;
use crate::pipeline::OutsideError;

/// One dead letter.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// The input topic.
    pub topic: String,
    /// Its partition.
    pub partition: u32,
    /// The message's offset.
    pub offset: u64,
    /// The item's index in the message.
    pub index: u32,
    /// How often it was put back before.
    pub attempt: u32,
    /// The message's timestamp (µs), if it had one.
    pub timestamp: Option<i64>,
    /// The message's key.
    pub key: Option<Vec<u8>>,
    /// The message's headers: in binary mode they are half of the event.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Why.
    pub bad: Bad,
    /// The item's bytes; the message's, if it is not a batch.
    pub raw: Vec<u8>,
}

/// The names of the headers a dead letter carries besides those of its message.
pub mod header {
    /// What all of them begin with.
    pub const PREFIX: &str = "dealpulse-";
    /// The reason's name.
    pub const REASON: &str = "dealpulse-reason";
    /// What exactly was wrong.
    pub const DETAIL: &str = "dealpulse-detail";
    /// The input topic.
    pub const TOPIC: &str = "dealpulse-topic";
    /// Its partition.
    pub const PARTITION: &str = "dealpulse-partition";
    /// The offset there.
    pub const OFFSET: &str = "dealpulse-offset";
    /// The index within the message.
    pub const INDEX: &str = "dealpulse-index";
    /// How often it was put back.
    pub const ATTEMPT: &str = "dealpulse-attempt";
    /// The timestamp of the message in ms since the epoch.
    pub const TIMESTAMP: &str = "dealpulse-timestamp";
}

/// Writes dead letters; returns once all are acknowledged.
///
/// # Errors
/// What Kafka answered. The input offset must not move then.
pub async fn write(producer: &FutureProducer, topic: &str, letters: &[DeadLetter]) -> Result<(), OutsideError> {
    let sent = letters.iter().map(|letter| async move {
        let text = |key, value: String| (key, value);
        let mut headers = OwnedHeaders::new();
        for (key, value) in &letter.headers {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        for (key, value) in [
            text(header::REASON, letter.bad.reason.name().to_owned()),
            text(header::DETAIL, letter.bad.detail.clone()),
            text(header::TOPIC, letter.topic.clone()),
            text(header::PARTITION, letter.partition.to_string()),
            text(header::OFFSET, letter.offset.to_string()),
            text(header::INDEX, letter.index.to_string()),
            text(header::ATTEMPT, letter.attempt.to_string()),
            text(header::TIMESTAMP, letter.timestamp.map_or_else(String::new, |micros| (micros / 1_000).to_string())),
        ] {
            headers = headers.insert(Header { key, value: Some(&value) });
        }
        let mut record: FutureRecord<'_, Vec<u8>, Vec<u8>> = FutureRecord::to(topic).payload(&letter.raw).headers(headers);
        if let Some(key) = &letter.key {
            record = record.key(key);
        }
        producer.send(record, Timeout::Never).await.map_err(|(error, _)| outside(format!("writing to the dead letters `{topic}`"), error))
    });
    try_join_all(sent).await.map(drop)
}
