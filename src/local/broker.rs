//! A Kafka-protocol broker for the demo and the tests: librdkafka's mock cluster, one broker on a
//! free loopback port.
//!
//! Clients of every kind connect to it; it supports groups, commits, idempotent producers and
//! compression. It is no Kafka:
//!
//! - It keeps 5 MiB or 100,000 batches a partition, in memory, and then drops the oldest
//!   **silently**, so a producer must be held
//!   back by its consumer and must batch (a `linger.ms` of some milliseconds).
//! - A topic a producer asks for and that does not exist is made with four partitions; a client's
//!   CreateTopics is refused.
//! - Message times are the producer's (no LogAppendTime), and offsets can't be looked up by time.

use std::fmt;
use std::str::FromStr;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;

/// The longest topic name Kafka takes, in bytes.
const LONGEST_NAME: usize = 249;
/// The mock keeps each partition's log in memory; more than this is surely a mistake.
const MOST_PARTITIONS: i32 = 1_000;

/// Errors of the local broker.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The text is not `NAME:PARTITIONS`.
    #[error("{text:?} is not a topic: write NAME:PARTITIONS, as in crm.deals:4 ({reason})")]
    Topic {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The broker could not be started.
    #[error("the local broker did not start")]
    Start(#[source] KafkaError),
    /// The topic could not be made; most often it exists already.
    #[error("topic {name} could not be created; does it exist already?")]
    Create {
        /// The topic's name.
        name: String,
        /// The broker's error.
        source: KafkaError,
    },
    /// The broker's thread or process has ended.
    #[error("the local broker has ended; start it again")]
    Ended,
    /// The broker's process could not be started or reached.
    #[error(transparent)]
    Child(#[from] super::child::LocalError),
    /// The broker's process refused a request, with its message.
    #[error("the local broker refused: {0}")]
    Refused(String),
}

/// A topic to create: a name Kafka accepts and at least one partition. Its text is
/// `NAME:PARTITIONS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    name: String,
    partitions: i32,
}

impl TopicSpec {
    /// Checks the name by Kafka's own rule and the number of partitions (1 to 1,000).
    pub fn new(name: &str, partitions: i32) -> Result<Self, BrokerError> {
        let refused = |reason| BrokerError::Topic {
            text: format!("{name}:{partitions}"),
            reason,
        };
        let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
        if name.is_empty() || name.len() > LONGEST_NAME || name == "." || name == ".." {
            return Err(refused("a name has 1 to 249 characters and is not . or .."));
        }
        if !name.bytes().all(allowed) {
            return Err(refused(
                "a name has letters, digits, dots, underscores and dashes",
            ));
        }
        if !(1..=MOST_PARTITIONS).contains(&partitions) {
            return Err(refused("a topic has 1 to 1000 partitions"));
        }
        Ok(Self {
            name: name.to_owned(),
            partitions,
        })
    }

    /// The topic's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many partitions it has.
    pub fn partitions(&self) -> i32 {
        self.partitions
    }
}

impl FromStr for TopicSpec {
    type Err = BrokerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = |reason| BrokerError::Topic {
            text: text.to_owned(),
            reason,
        };
        let (name, partitions) = text
            .rsplit_once(':')
            .ok_or_else(|| refused("the colon is missing"))?;
        let partitions = partitions
            .parse()
            .map_err(|_| refused("the partitions are not a number"))?;
        Self::new(name, partitions)
    }
}

impl fmt::Display for TopicSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.partitions)
    }
}

/// A running broker in this process; dropping it closes its listener and forgets its data.
pub struct LocalBroker {
    address: String,
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

/// A topic to create and where the answer goes.
struct Request {
    topic: TopicSpec,
    answer: mpsc::SyncSender<Result<(), BrokerError>>,
}

impl LocalBroker {
    /// Starts a broker that has these topics.
    pub fn start(topics: &[TopicSpec]) -> Result<Self, BrokerError> {
        let (requests, received) = mpsc::channel();
        let (started, start) = mpsc::sync_channel(1);
        // The cluster's handle can't be moved between threads, so it is made, used and dropped on
        // one of its own.
        let thread = thread::Builder::new()
            .name("local-broker".to_owned())
            .spawn(move || serve(&received, &started))
            .map_err(|error| BrokerError::Start(KafkaError::ClientCreation(error.to_string())))?;
        let address = start.recv().map_err(|_| BrokerError::Ended)??;
        let broker = Self {
            address,
            requests: Some(requests),
            thread: Some(thread),
        };
        for topic in topics {
            broker.create_topic(topic.clone())?;
        }
        Ok(broker)
    }

    /// The address clients connect to, `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Creates a topic; one that exists is an error.
    pub fn create_topic(&self, topic: TopicSpec) -> Result<(), BrokerError> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.requests
            .as_ref()
            .and_then(|requests| requests.send(Request { topic, answer }).ok())
            .ok_or(BrokerError::Ended)?;
        answered.recv().map_err(|_| BrokerError::Ended)?
    }
}

impl Drop for LocalBroker {
    fn drop(&mut self) {
        // Without a sender the thread's loop ends, and with it the cluster.
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The broker's thread: starts, reports the address, creates topics until no handle is left.
fn serve(
    requests: &mpsc::Receiver<Request>,
    started: &mpsc::SyncSender<Result<String, BrokerError>>,
) {
    let cluster = match MockCluster::new(1) {
        Ok(cluster) => cluster,
        Err(error) => {
            let _ = started.send(Err(BrokerError::Start(error)));
            return;
        }
    };
    let _ = started.send(Ok(cluster.bootstrap_servers()));
    for Request { topic, answer } in requests {
        let created = cluster
            .create_topic(topic.name(), topic.partitions(), 1)
            .map_err(|source| BrokerError::Create {
                name: topic.name().to_owned(),
                source,
            });
        let _ = answer.send(created);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_read_from_its_own_text() {
        let topic = TopicSpec::new("crm.deals-eu_1", 12).unwrap();
        assert_eq!(topic.to_string(), "crm.deals-eu_1:12");
        assert_eq!(topic.to_string().parse::<TopicSpec>().unwrap(), topic);
    }

    #[test]
    fn a_topic_kafka_would_refuse_is_refused_here() {
        let too_long = format!("{}:1", "x".repeat(250));
        let wrong = [
            "",
            "deals",
            ":1",
            "deals:",
            "deals:0",
            "deals:-1",
            "deals:1001",
            "deals:many",
            "a b:1",
            "a:b:1",
            "..:1",
            "é:1",
            &too_long,
        ];
        for text in wrong {
            assert!(text.parse::<TopicSpec>().is_err(), "{text:?}");
        }
    }
}
