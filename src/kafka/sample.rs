//! Samples: the newest messages of topics, to look at. Nothing is committed, and no consumer group
//! is joined.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, TopicPartitionList};

use super::client::{self, ANSWER_TIMEOUT, Hearing, Onlooker, is_outage, outside};
use super::origin;
use crate::config::Kafka;
use crate::pipeline::{Fault, OutsideError};

/// How many bytes of messages are kept at the most, the last message not counted.
pub const BYTES: usize = 64 << 20;

/// A message that was looked at.
#[derive(Debug, Clone, Default)]
pub struct Sampled {
    /// Its topic.
    pub topic: String,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; none of a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its timestamp (µs).
    pub timestamp: Option<i64>,
    /// Its headers say that it is a CloudEvent in binary mode.
    pub is_binary_event: bool,
}

impl Sampled {
    fn of(message: &BorrowedMessage<'_>) -> Sampled {
        let millis = message.timestamp().to_millis();
        let headers = origin::headers(message);
        Sampled {
            topic: message.topic().to_owned(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            timestamp: millis.and_then(|millis| millis.checked_mul(1_000)),
            is_binary_event: headers.iter().any(|(name, _)| *name == "ce_specversion"),
        }
    }

    /// The bytes of its key and value.
    pub fn size(&self) -> usize {
        let parts = [&self.key, &self.value].into_iter();
        parts.flatten().map(Vec::len).sum()
    }
}

/// The newest messages of each topic, at most so many and as far as they come within this time, in
/// no order across partitions. Blocks.
///
/// # Errors
/// There is no such topic, or what Kafka answered.
pub fn newest(
    kafka: &Kafka,
    topics: &[String],
    most: usize,
    within: Duration,
) -> Result<Vec<Sampled>, OutsideError> {
    let fail = |error| outside("reading a sample", error);
    let consumer: Onlooker = client::onlooker(kafka, "sample")
        .set("enable.partition.eof", "true")
        .create_with_context(Hearing)
        .map_err(fail)?;
    let (mut list, mut open) = (TopicPartitionList::new(), 0);
    for topic in topics {
        let partitions = partitions(&consumer, topic)?;
        let share = most.div_ceil(partitions.len()) as i64;
        for partition in partitions {
            let (low, high) = consumer
                .fetch_watermarks(topic, partition, ANSWER_TIMEOUT)
                .map_err(fail)?;
            if low < high {
                let from = Offset::Offset(low.max(high - share));
                list.add_partition_offset(topic, partition, from)
                    .map_err(fail)?;
                open += 1;
            }
        }
    }
    let mut messages = Vec::new();
    if open == 0 {
        return Ok(messages);
    }
    consumer.assign(&list).map_err(fail)?;
    let (start, mut size) = (Instant::now(), 0);
    let is_enough = |messages: &[Sampled]| messages.len() >= most * topics.len();
    while open > 0 && size < BYTES && !is_enough(&messages) && start.elapsed() < within {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let sampled = Sampled::of(&message);
                size += sampled.size();
                messages.push(sampled);
            }
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) if !is_outage(&error) => return Err(fail(error)),
            Some(Err(_)) | None => {}
        }
    }
    Ok(messages)
}

fn partitions(consumer: &Onlooker, topic: &str) -> Result<Vec<i32>, OutsideError> {
    let doing = || format!("looking at the topic `{topic}`");
    let metadata = consumer
        .fetch_metadata(Some(topic), ANSWER_TIMEOUT)
        .map_err(|error| {
            let answer = outside(doing(), error);
            OutsideError {
                message: format!(
                    "{}; is Kafka running, and is --brokers right?",
                    answer.message
                ),
                ..answer
            }
        })?;
    let topics = metadata.topics().iter();
    let known = topics.filter(|topic| topic.error().is_none());
    let partitions: Vec<i32> = known
        .flat_map(|topic| topic.partitions())
        .map(|partition| partition.id())
        .collect();
    if partitions.is_empty() {
        return Err(OutsideError {
            fault: Fault::User,
            ..OutsideError::fatal(doing(), "there is no such topic")
        });
    }
    Ok(partitions)
}
