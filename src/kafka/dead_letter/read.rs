//! Reading dead letters back: all there are at one moment, each with what has become of it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, TopicPartitionList};

use super::{DeadLetter, header};
use crate::config::Kafka;
use crate::kafka::client::ANSWER_TIMEOUT;
use crate::kafka::client::{self, Hearing, Onlooker, is_outage, outside};
use crate::kafka::origin;
use crate::pipeline::{Fault, OutsideError};

/// The position of a dead letter in its topic; written `partition:offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct At {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

impl At {
    fn of(message: &BorrowedMessage<'_>) -> At {
        At {
            partition: message.partition(),
            offset: message.offset(),
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.partition, self.offset)
    }
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<At, String> {
        let numbers = text
            .split_once(':')
            .and_then(|(partition, offset)| Some((partition.parse().ok()?, offset.parse().ok()?)));
        match numbers {
            Some((partition, offset)) if partition >= 0 && offset >= 0 => {
                Ok(At { partition, offset })
            }
            _ => Err(format!(
                "`{text}` is no dead letter's position; write partition:offset as `dlq list` shows it, like 0:17"
            )),
        }
    }
}

/// What has become of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// It waits to be replayed.
    Open,
    /// It was replayed.
    Replayed,
    /// The same item was dead-lettered twice, since it was read twice: for example after a crash.
    /// The other dead letter counts for both.
    Repeated,
}

impl State {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Replayed => "replayed",
            State::Repeated => "repeated",
        }
    }
}

/// A dead letter as stored in its topic.
#[derive(Debug, Clone)]
pub struct StoredDeadLetter {
    /// Where.
    pub at: At,
    /// What has become of it.
    pub state: State,
    /// The dead letter.
    pub dead_letter: DeadLetter,
}

/// What distinguishes items: topic, origin and bytes. The bytes, because a topic that was recreated
/// has its offsets twice.
type Identity = u128;

fn identity(dead_letter: &DeadLetter) -> Identity {
    let origin = dead_letter.origin;
    let numbers = [
        origin.offset,
        u64::from(origin.partition),
        u64::from(origin.index),
        u64::from(origin.attempt),
        dead_letter.topic.len() as u64,
    ];
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    numbers
        .iter()
        .for_each(|number| hash.update(&number.to_le_bytes()));
    hash.update(dead_letter.topic.as_bytes());
    hash.update(&dead_letter.raw);
    hash.digest128()
}

/// The dead letters there are at one moment.
pub struct DeadLetters {
    consumer: Onlooker,
    topic: String,
    spans: Vec<Span>,
    replayed: HashSet<Identity>,
    foreign: u64,
}

/// What there is of a partition: from `low` up to, and without, `high`.
struct Span {
    partition: i32,
    low: i64,
    high: i64,
}

impl DeadLetters {
    /// Reads where the topic ends now, and which of its dead letters were replayed. Blocks; it
    /// reads the topic once.
    ///
    /// # Errors
    /// There is no such topic, or what Kafka answered.
    pub fn open(kafka: &Kafka, topic: &str) -> Result<DeadLetters, OutsideError> {
        let fail = |error| outside(reading(topic), error);
        let mut config = client::onlooker(kafka, "dlq");
        let consumer: Onlooker = config
            .set("enable.partition.eof", "true")
            .create_with_context(Hearing)
            .map_err(fail)?;
        let metadata = consumer
            .fetch_metadata(Some(topic), ANSWER_TIMEOUT)
            .map_err(|error| {
                let answer = fail(error);
                OutsideError {
                    message: format!(
                        "{}; is Kafka running, and is [kafka] brokers right?",
                        answer.message
                    ),
                    ..answer
                }
            })?;
        let mut spans = Vec::new();
        for partition in metadata
            .topics()
            .iter()
            .filter(|topic| topic.error().is_none())
            .flat_map(|topic| topic.partitions())
        {
            let (low, high) = consumer
                .fetch_watermarks(topic, partition.id(), ANSWER_TIMEOUT)
                .map_err(fail)?;
            spans.push(Span {
                partition: partition.id(),
                low,
                high,
            });
        }
        if spans.is_empty() {
            let problem = "there is no such topic: either the pipeline was never started, or [dead_letters] topic is not right";
            return Err(OutsideError {
                fault: Fault::User,
                ..OutsideError::fatal(reading(topic), problem)
            });
        }
        spans.sort_by_key(|span| span.partition);
        let mut dead_letters = DeadLetters {
            consumer,
            topic: topic.to_owned(),
            spans,
            replayed: HashSet::new(),
            foreign: 0,
        };
        dead_letters.note_marks()?;
        Ok(dead_letters)
    }

    fn note_marks(&mut self) -> Result<(), OutsideError> {
        let (mut items, mut marks, mut foreign) = (HashMap::new(), Vec::new(), 0);
        self.scan::<OutsideError>(|message| {
            match (mark(message), DeadLetter::read(message)) {
                (Some(at), _) => marks.push(at),
                (None, Some(dead_letter)) => {
                    items.insert(At::of(message), identity(&dead_letter));
                }
                (None, None) => foreign += 1,
            }
            Ok(())
        })?;
        self.replayed = marks
            .iter()
            .filter_map(|at| items.get(at).copied())
            .collect();
        self.foreign = foreign;
        Ok(())
    }

    /// How many messages of the topic are neither dead letters nor our marks; they are skipped.
    pub fn foreign(&self) -> u64 {
        self.foreign
    }

    /// Hands every dead letter over, partition by partition, oldest first. Blocks; it reads the
    /// topic once more.
    ///
    /// # Errors
    /// What Kafka answered, or the first error of `take`.
    pub fn each<E: From<OutsideError>>(
        &self,
        mut take: impl FnMut(StoredDeadLetter) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut seen = HashSet::new();
        self.scan(|message| {
            let Some(dead_letter) = DeadLetter::read(message).filter(|_| mark(message).is_none())
            else {
                return Ok(());
            };
            let identity = identity(&dead_letter);
            let state = match (seen.insert(identity), self.replayed.contains(&identity)) {
                (false, _) => State::Repeated,
                (true, true) => State::Replayed,
                (true, false) => State::Open,
            };
            take(StoredDeadLetter {
                at: At::of(message),
                state,
                dead_letter,
            })
        })
    }

    fn scan<E: From<OutsideError>>(
        &self,
        mut take: impl FnMut(&BorrowedMessage<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let fail = |error| outside(reading(&self.topic), error);
        for span in self.spans.iter().filter(|span| span.low < span.high) {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&self.topic, span.partition, Offset::Offset(span.low))
                .map_err(fail)?;
            self.consumer.assign(&list).map_err(fail)?;
            let (mut next, mut heard) = (span.low, Instant::now());
            while next < span.high {
                match self.consumer.poll(Duration::from_millis(200)) {
                    Some(Ok(message)) => {
                        next = message.offset() + 1;
                        if next <= span.high {
                            take(&message)?;
                        }
                        heard = Instant::now();
                    }
                    Some(Err(KafkaError::PartitionEOF(_))) => break,
                    Some(Err(error)) if !is_outage(&error) => return Err(fail(error).into()),
                    // Brokers come back.
                    Some(Err(_)) | None if heard.elapsed() < ANSWER_TIMEOUT => {}
                    Some(Err(_)) | None => {
                        return Err(OutsideError::transient(
                            reading(&self.topic),
                            "no answer in time; is Kafka running?",
                        )
                        .into());
                    }
                }
            }
        }
        Ok(())
    }
}

fn reading(topic: &str) -> String {
    format!("reading the dead letters `{topic}`")
}

/// The dead letter that a message marks as replayed.
fn mark(message: &BorrowedMessage<'_>) -> Option<At> {
    origin::text(&origin::headers(message), header::REPLAYED)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letters_position_is_read_as_it_is_shown() {
        let at = At {
            partition: 3,
            offset: 17,
        };
        assert_eq!(at.to_string().parse(), Ok(at));
        for wrong in [
            "",
            "3",
            "3:",
            ":3",
            "-1:3",
            "1:-3",
            "a:b",
            "1:2:3",
            "1:99999999999999999999",
        ] {
            let problem = wrong.parse::<At>().unwrap_err();
            assert!(problem.contains("partition:offset"), "{problem}");
        }
    }
}
