//! The internal log over Kafka: one topic a generation, one partition a shard.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::FutureRecord;
use rdkafka::{Message, Offset, TopicPartitionList};

use super::client::{ANSWER_TIMEOUT, Hearing, Onlooker, blocking, outside};
use super::member::Member;
use super::producer::Producer;
use super::{admin, client};
use crate::config::Config;
use crate::pipeline::{Entry, Epoch, Log, OutsideError};
use crate::record::Home;

/// For how long a log that was checked is known to be right: shards are taken on many at a time,
/// and one check will do for them.
const RIGHT_FOR: Duration = Duration::from_millis(200);

/// The log of one generation.
#[derive(Clone)]
pub struct KafkaLog {
    config: Arc<Config>,
    topic: Arc<str>,
    partitions: u32,
    /// When it was last checked and right. Locked while it is checked, so that the others wait for
    /// the answer.
    right_at: Arc<tokio::sync::Mutex<Option<Instant>>>,
    producer: Producer,
    onlooker: Arc<Onlooker>,
    /// The member of the fold group, through which positions are committed; weak, since it outlives
    /// us only by accident.
    member: Arc<OnceLock<Weak<BaseConsumer<Member>>>>,
}

impl KafkaLog {
    /// The log of a generation, whose homes are counted by `partitions`. Nothing is sent yet.
    ///
    /// # Errors
    /// If the properties make no client.
    pub fn new(
        config: &Arc<Config>,
        generation: u32,
        partitions: u32,
    ) -> Result<Self, OutsideError> {
        let doing = "setting up the log's clients";
        let producer = Producer::new(&client::producer(&config.kafka))
            .map_err(|error| outside(doing, error))?;
        let onlooker = client::onlooker(&config.kafka, "look")
            .create_with_context(Hearing)
            .map_err(|error| outside(doing, error))?;
        Ok(KafkaLog {
            config: config.clone(),
            topic: admin::log_topic(config, generation).into(),
            partitions,
            right_at: Arc::default(),
            producer,
            onlooker: Arc::new(onlooker),
            member: Arc::default(),
        })
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Creates the topic, or checks the one that is there. Once that has succeeded it isn't
    /// repeated: from then on the log is checked at every assignment, by [`Log::check`], and never
    /// created again.
    ///
    /// # Errors
    /// What is wrong with the topic and the command that fixes it; or what Kafka answered.
    pub async fn ensure(&self) -> Result<(), OutsideError> {
        let mut right_at = self.right_at.lock().await;
        if right_at.is_none() {
            admin::ensure_log(&self.config, &self.topic, self.partitions).await?;
            *right_at = Some(Instant::now());
        }
        Ok(())
    }

    /// From now on positions are committed through this member of the fold group.
    pub(super) fn commit_through(&self, member: &Arc<BaseConsumer<Member>>) {
        // Set once, when the one fold of this process begins.
        let _ = self.member.set(Arc::downgrade(member));
    }
}

/// A message of the log as the pipeline's type.
pub(super) fn entry(message: &BorrowedMessage<'_>) -> Entry {
    Entry {
        offset: message.offset() as u64,
        append_time: message
            .timestamp()
            .to_millis()
            .unwrap_or_default()
            .saturating_mul(1_000),
        payload: message.payload().unwrap_or_default().to_vec(),
    }
}

impl Log for KafkaLog {
    async fn append(&self, messages: Vec<(Home, Vec<u8>)>) -> Result<(), OutsideError> {
        let sent = messages.iter().map(|(shard, payload)| async move {
            let record: FutureRecord<'_, (), Vec<u8>> = FutureRecord::to(&self.topic)
                .partition(*shard as i32)
                .payload(payload);
            self.producer
                .send(record)
                .await
                .map_err(|error| outside("writing to the log", error))
        });
        try_join_all(sent).await.map(drop)
    }

    async fn commit(&self, positions: &[(Home, u64)]) -> Result<(), OutsideError> {
        let Some(member) = self.member.get().and_then(Weak::upgrade) else {
            return Ok(());
        };
        let mut list = TopicPartitionList::new();
        for (shard, position) in positions {
            let added = list.add_partition_offset(
                &self.topic,
                *shard as i32,
                Offset::Offset(*position as i64),
            );
            added.map_err(|error| outside("committing", error))?;
        }
        // The checkpoint is what counts. A commit that fails, for example for a partition that has
        // just moved, is left to the new owner.
        if let Err(error) = member.commit(&list, CommitMode::Async) {
            tracing::debug!(%error, "a commit of the fold group failed");
        }
        Ok(())
    }

    async fn check(&self) -> Result<(), OutsideError> {
        let mut right_at = self.right_at.lock().await;
        if right_at.is_none_or(|at| at.elapsed() >= RIGHT_FOR) {
            admin::check_log(
                &self.config.kafka,
                &self.config.log,
                &self.topic,
                self.partitions,
            )
            .await?;
            *right_at = Some(Instant::now());
        }
        Ok(())
    }

    async fn bounds(&self, shard: Home) -> Result<(u64, u64), OutsideError> {
        let (onlooker, topic) = (self.onlooker.clone(), self.topic.clone());
        let asked =
            blocking(move || onlooker.fetch_watermarks(&topic, shard as i32, ANSWER_TIMEOUT))
                .await?;
        let (low, high) = asked.map_err(|error| {
            outside(
                format!("asking where partition {shard} of the log begins and ends"),
                error,
            )
        })?;
        Ok((low.max(0) as u64, high.max(0) as u64))
    }

    async fn read_again(&self, shard: Home, offset: u64) -> Result<Option<Entry>, OutsideError> {
        let (kafka, topic) = (self.config.kafka.clone(), self.topic.clone());
        blocking(move || {
            let doing = format!("reading offset {offset} of partition {shard} of the log again");
            let fail = |error| outside(doing.clone(), error);
            let consumer: Onlooker = client::onlooker(&kafka, "again")
                .create_with_context(Hearing)
                .map_err(fail)?;
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&topic, shard as i32, Offset::Offset(offset as i64))
                .map_err(fail)?;
            consumer.assign(&list).map_err(fail)?;
            let deadline = std::time::Instant::now() + ANSWER_TIMEOUT;
            while std::time::Instant::now() < deadline {
                match consumer.poll(Duration::from_millis(200)) {
                    Some(Ok(message)) if message.offset() as u64 == offset => {
                        return Ok(Some(entry(&message)));
                    }
                    Some(Ok(_)) => return Ok(None),
                    Some(Err(error))
                        if error.rdkafka_error_code()
                            == Some(rdkafka::error::RDKafkaErrorCode::AutoOffsetReset) =>
                    {
                        return Ok(None);
                    }
                    // While brokers are down there is an error every second; the next poll may
                    // succeed.
                    Some(Err(_)) | None => {}
                }
            }
            Err(OutsideError::transient(doing, "no answer in time"))
        })
        .await?
    }
}

/// The logs of all generations, each set up once. Cheap to clone.
#[derive(Clone)]
pub struct Logs {
    config: Arc<Config>,
    known: Arc<Mutex<BTreeMap<u32, KafkaLog>>>,
}

impl Logs {
    /// None yet.
    pub fn new(config: Arc<Config>) -> Logs {
        Logs {
            config,
            known: Arc::default(),
        }
    }

    /// The log of an epoch.
    ///
    /// # Errors
    /// If the properties make no client.
    pub fn of(&self, epoch: &Epoch) -> Result<KafkaLog, OutsideError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = known.get(&epoch.generation) {
            return Ok(log.clone());
        }
        let log = KafkaLog::new(&self.config, epoch.generation, epoch.partitions)?;
        known.insert(epoch.generation, log.clone());
        Ok(log)
    }
}
