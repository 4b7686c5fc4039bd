//! The route's membership of its consumer group: messages in, commits out, partitions paused, and
//! the partitions revoked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::config::Kafka;
use crate::kafka::client::ANSWER_TIMEOUT;
use crate::kafka::client::{self, heard, is_outage, outside};
use crate::pipeline::OutsideError;

/// How many messages are routed together at most.
const BATCH: usize = 4_000;
/// How many bytes of messages are.
const BATCH_BYTES: usize = 8 << 20;
/// How long a batch waits to fill.
const LINGER: Duration = Duration::from_millis(10);
/// How long the first message of a batch is waited for.
const IDLE: Duration = Duration::from_millis(100);

/// A wait in whole milliseconds: rdkafka waits for those of what is left, and asks again and again
/// for the last of them.
fn whole_millis(wait: Duration) -> Duration {
    Duration::from_millis(wait.as_micros().div_ceil(1_000) as u64)
}

/// A partition of an input topic; written `input TOPIC/PARTITION`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Input {
    topic: String,
    partition: i32,
}

impl Input {
    /// A partition of a topic.
    pub fn new(topic: &str, partition: i32) -> Input {
        Input {
            topic: topic.to_owned(),
            partition,
        }
    }

    /// Its topic and its number.
    pub fn name(&self) -> (&str, i32) {
        (&self.topic, self.partition)
    }

    /// That of a message.
    pub fn of(message: &impl Message) -> Input {
        Input::new(message.topic(), message.partition())
    }

    /// Whether a message is of it.
    pub fn is_of(&self, message: &impl Message) -> bool {
        message.partition() == self.partition && message.topic() == self.topic
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "input {}/{}", self.topic, self.partition)
    }
}

/// Records the partitions a rebalance revokes. It is called within the poll that reports them, so
/// nothing polled later is of an earlier assignment.
#[derive(Default)]
struct Watch {
    revoked: Mutex<Vec<Input>>,
}

heard!(Watch);

impl ConsumerContext for Watch {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(partitions) = rebalance else {
            return;
        };
        // librdkafka would remember a pause, should the partition come back.
        if let Err(error) = consumer.resume(partitions) {
            tracing::debug!(%error, "partitions that are given up can't be resumed");
        }
        let inputs = partitions
            .elements()
            .into_iter()
            .map(|element| Input::new(element.topic(), element.partition()));
        self.revoked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(inputs);
    }
}

/// The membership.
pub struct Group {
    consumer: BaseConsumer<Watch>,
}

impl Group {
    /// Joins a group, to read these topics; `reset` decides where to begin when the committed
    /// offset is not there.
    ///
    /// # Errors
    /// If the properties make no consumer.
    pub fn join(
        kafka: &Kafka,
        name: &str,
        topics: &[&str],
        reset: &str,
    ) -> Result<Group, OutsideError> {
        let fail = |error| outside("joining the route group", error);
        let consumer: BaseConsumer<Watch> = client::member(kafka, name, reset)
            .create_with_context(Watch::default())
            .map_err(fail)?;
        consumer.subscribe(topics).map_err(fail)?;
        Ok(Group { consumer })
    }

    /// Takes messages until there are enough, none comes for a while, or partitions have moved.
    ///
    /// # Errors
    /// If messages were deleted that were never read, and the group may begin nowhere else.
    pub fn collect(&self, stop: &AtomicBool) -> Result<Vec<BorrowedMessage<'_>>, OutsideError> {
        let mut messages = Vec::new();
        let (mut deadline, mut bytes) = (None::<Instant>, 0);
        while messages.len() < BATCH && bytes < BATCH_BYTES && !stop.load(Ordering::Acquire) {
            let wait = deadline.map_or(IDLE, |at| at.saturating_duration_since(Instant::now()));
            match self.consumer.poll(whole_millis(wait)) {
                Some(Ok(message)) => {
                    deadline.get_or_insert_with(|| Instant::now() + LINGER);
                    bytes += message.payload_len();
                    messages.push(message);
                }
                // Brokers come back; librdkafka reports the error once a second meanwhile.
                Some(Err(error)) if is_outage(&error) => {
                    tracing::debug!(%error, "reading the input topics")
                }
                Some(Err(error))
                    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) =>
                {
                    let problem = format!(
                        "{error}: messages were deleted that were not carried over; make another new log: dealpulse rebuild log"
                    );
                    return Err(OutsideError::fatal("carrying the old log over", problem));
                }
                Some(Err(error)) => tracing::warn!(%error, "reading the input topics"),
                None => break,
            }
            if deadline.is_some_and(|at| Instant::now() >= at) {
                break;
            }
        }
        Ok(messages)
    }

    /// The partitions revoked since the last call. What [`Group::collect`] has just given of them
    /// was read before.
    pub fn revoked(&self) -> Vec<Input> {
        std::mem::take(
            &mut *self
                .consumer
                .context()
                .revoked
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Pauses a partition, or resumes it, where it was. Returns whether it is paused now.
    pub fn pause(&self, input: &Input, paused: bool) -> bool {
        let mut list = TopicPartitionList::new();
        list.add_partition(&input.topic, input.partition);
        let done: KafkaResult<()> = if paused {
            self.consumer.pause(&list)
        } else {
            self.consumer.resume(&list)
        };
        match done {
            Ok(()) => paused,
            Err(error) => {
                tracing::warn!(%error, %input, "a partition can't be paused or resumed");
                !paused
            }
        }
    }

    /// Goes back to an offset of a partition that is paused. False if that can't be done now.
    pub fn seek(&self, input: &Input, offset: i64) -> bool {
        let to = Offset::Offset(offset);
        let sought = self
            .consumer
            .seek(&input.topic, input.partition, to, ANSWER_TIMEOUT);
        if let Err(error) = &sought {
            tracing::warn!(%error, %input, offset, "a partition can't be read again from where it waits; trying again");
        }
        sought.is_ok()
    }

    /// Up to where inputs were done when they were given to this member; those without a commit are
    /// left out.
    ///
    /// # Errors
    /// What Kafka answered.
    pub fn committed(&self, inputs: &BTreeSet<&Input>) -> KafkaResult<BTreeMap<Input, i64>> {
        let mut list = TopicPartitionList::new();
        for input in inputs {
            list.add_partition(&input.topic, input.partition);
        }
        let committed = self.consumer.committed_offsets(list, ANSWER_TIMEOUT)?;
        let done = |element: &TopicPartitionListElem<'_>| match element.offset() {
            Offset::Offset(offset) => {
                Some((Input::new(element.topic(), element.partition()), offset))
            }
            _ => None,
        };
        Ok(committed.elements().iter().filter_map(done).collect())
    }

    /// The oldest offset that a partition keeps.
    ///
    /// # Errors
    /// What Kafka answered.
    pub fn low(&self, input: &Input) -> KafkaResult<i64> {
        Ok(self
            .consumer
            .fetch_watermarks(&input.topic, input.partition, ANSWER_TIMEOUT)?
            .0)
    }

    /// Commits up to where inputs are done.
    pub fn commit(&self, positions: &[(&Input, i64)]) {
        if positions.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::new();
        let added = positions.iter().try_for_each(|(input, offset)| {
            list.add_partition_offset(&input.topic, input.partition, Offset::Offset(*offset))
        });
        if let Err(error) = added.and_then(|()| self.consumer.commit(&list, CommitMode::Async)) {
            // Another member has the partition by now; it will route these once more, which changes
            // nothing.
            tracing::debug!(%error, "a commit of the route group failed");
        }
    }
}
