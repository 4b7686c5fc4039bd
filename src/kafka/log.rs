//! The internal log over Kafka: one topic a generation, one partition a shard.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures::future::try_join_all;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use rdkafka::{Message, Offset, TopicPartitionList};

use super::client;
use super::client::outside;
use super::member::Member;
use crate::config::Kafka;
use crate::pipeline::{Entry, Log, OutsideError};
use crate::record::Home;

/// How long a single question to Kafka may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// The log of one generation.
#[derive(Clone)]
pub struct KafkaLog {
    kafka: Kafka,
    topic: Arc<str>,
    producer: FutureProducer,
    onlooker: Arc<BaseConsumer>,
    /// The member of the fold group, through which positions are committed; weak, since it outlives us only by accident.
    member: Arc<OnceLock<Weak<BaseConsumer<Member>>>>,
}

impl KafkaLog {
    /// The log `topic`. Nothing is sent yet.
    ///
    /// # Errors
    /// If the properties make no client.
    pub fn new(kafka: &Kafka, topic: &str) -> Result<Self, OutsideError> {
        let doing = "setting up the log's clients";
        let producer = client::producer(kafka).create().map_err(|error| outside(doing, error))?;
        let onlooker = client::onlooker(kafka, "look").create().map_err(|error| outside(doing, error))?;
        Ok(KafkaLog { kafka: kafka.clone(), topic: topic.into(), producer, onlooker: Arc::new(onlooker), member: Arc::default() })
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The producer, shared with the dead letters: one connection and one queue.
    pub fn producer(&self) -> &FutureProducer {
        &self.producer
    }

    /// From now on positions are committed through this member of the fold group.
    pub(super) fn commit_through(&self, member: &Arc<BaseConsumer<Member>>) {
        // Set once, when the one fold of this process begins.
        let _ = self.member.set(Arc::downgrade(member));
    }
}

/// A message of the log as the pipeline knows it.
pub(super) fn entry(message: &BorrowedMessage<'_>) -> Entry {
    Entry {
        offset: message.offset() as u64,
        append_time: message.timestamp().to_millis().unwrap_or_default().saturating_mul(1_000),
        payload: message.payload().unwrap_or_default().to_vec(),
    }
}

impl Log for KafkaLog {
    async fn append(&self, messages: Vec<(Home, Vec<u8>)>) -> Result<(), OutsideError> {
        let sent = messages.iter().map(|(shard, payload)| async move {
            let record: FutureRecord<'_, (), Vec<u8>> = FutureRecord::to(&self.topic).partition(*shard as i32).payload(payload);
            self.producer.send(record, Timeout::Never).await.map_err(|(error, _)| outside("writing to the log", error))
        });
        try_join_all(sent).await.map(drop)
    }

    async fn commit(&self, positions: &[(Home, u64)]) -> Result<(), OutsideError> {
        let Some(member) = self.member.get().and_then(Weak::upgrade) else { return Ok(()) };
        let mut list = TopicPartitionList::new();
        for (shard, position) in positions {
            let added = list.add_partition_offset(&self.topic, *shard as i32, Offset::Offset(*position as i64));
            added.map_err(|error| outside("committing", error))?;
        }
        // The checkpoint is what counts. A commit that fails, for a partition that has just moved, say, is another's to make.
        if let Err(error) = member.commit(&list, CommitMode::Async) {
            tracing::debug!(%error, "a commit of the fold group failed");
        }
        Ok(())
    }

    async fn bounds(&self, shard: Home) -> Result<(u64, u64), OutsideError> {
        let (onlooker, topic) = (self.onlooker.clone(), self.topic.clone());
        let asked = blocking(move || onlooker.fetch_watermarks(&topic, shard as i32, PATIENCE)).await?;
        let (low, high) = asked.map_err(|error| outside(format!("asking where partition {shard} of the log begins and ends"), error))?;
        Ok((low.max(0) as u64, high.max(0) as u64))
    }

    async fn read_again(&self, shard: Home, offset: u64) -> Result<Option<Entry>, OutsideError> {
        let (kafka, topic) = (self.kafka.clone(), self.topic.clone());
        blocking(move || {
            let doing = format!("reading offset {offset} of partition {shard} of the log again");
            let fail = |error| outside(doing.clone(), error);
            let consumer: BaseConsumer = client::onlooker(&kafka, "again").create().map_err(fail)?;
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&topic, shard as i32, Offset::Offset(offset as i64)).map_err(fail)?;
            consumer.assign(&list).map_err(fail)?;
            let deadline = std::time::Instant::now() + PATIENCE;
            while std::time::Instant::now() < deadline {
                match consumer.poll(Duration::from_millis(200)) {
                    Some(Ok(message)) if message.offset() as u64 == offset => return Ok(Some(entry(&message))),
                    Some(Ok(_)) => return Ok(None),
                    Some(Err(error)) if error.rdkafka_error_code() == Some(rdkafka::error::RDKafkaErrorCode::AutoOffsetReset) => return Ok(None),
                    // While brokers are away there is an error a second; the next poll may be luckier.
                    Some(Err(_)) | None => {}
                }
            }
            Err(OutsideError::transient(doing, "no answer in time"))
        })
        .await?
    }
}

/// Runs a blocking question on a thread made for that.
pub(super) async fn blocking<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> Result<T, OutsideError> {
    tokio::task::spawn_blocking(ask).await.map_err(|error| OutsideError::fatal("Kafka, asking", error))
}
