//! How every client of ours is set up, what it logs by itself, and what its errors mean.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::config::Kafka;
use crate::pipeline::{Fault, OutsideError};

/// The longest message of the log or the dead letters, in bytes: what a broker has to take.
pub const MAX_BYTES: usize = 32 << 20;

/// What all clients share; the user's own properties come last and win.
fn base(kafka: &Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &kafka.brokers)
        .set("client.id", "dealpulse");
    config
}

fn finish(mut config: ClientConfig, kafka: &Kafka) -> ClientConfig {
    for (name, value) in &kafka.properties {
        config.set(name, value);
    }
    // The new group protocol leaves these to the broker and refuses them from a client.
    if config.get("group.protocol") == Some("consumer") {
        for name in [
            "session.timeout.ms",
            "heartbeat.interval.ms",
            "partition.assignment.strategy",
        ] {
            config.remove(name);
        }
    }
    config
}

/// A producer that loses and doubles nothing by itself.
pub fn producer(kafka: &Kafka) -> ClientConfig {
    producing(kafka, &[("enable.idempotence", "true")])
}

/// A producer of messages whose order does not matter: dead letters and replays. It may send one
/// twice, and does not try for long: its callers retry.
pub fn aside(kafka: &Kafka) -> ClientConfig {
    let settings = [
        ("enable.idempotence", "false"),
        ("message.timeout.ms", "10000"),
        // A missing topic is reported soon, and found again soon.
        ("topic.metadata.propagation.max.ms", "1000"),
        ("topic.metadata.refresh.interval.ms", "5000"),
    ];
    producing(kafka, &settings)
}

fn producing(kafka: &Kafka, settings: &[(&str, &str)]) -> ClientConfig {
    let mut config = base(kafka);
    config
        .set("acks", "all")
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        .set("message.max.bytes", MAX_BYTES.to_string())
        .set("queue.buffering.max.kbytes", "262144");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    let mut config = finish(config, kafka);
    // Of the user's properties, those of consumers only would make librdkafka log a warning.
    for name in kafka
        .properties
        .keys()
        .filter(|name| CONSUMER_ONLY.iter().any(|prefix| name.starts_with(prefix)))
    {
        config.remove(name);
    }
    config
}

/// The prefixes of the properties of consumers only.
const CONSUMER_ONLY: [&str; 7] = [
    "group.",
    "session.",
    "heartbeat.",
    "fetch.",
    "queued.",
    "max.poll.",
    "partition.assignment.",
];

/// A member of the group `<group>.<name>`. Nothing is committed but what we commit.
pub fn member(kafka: &Kafka, name: &str, reset: &str) -> ClientConfig {
    let mut config = base(kafka);
    config
        .set("group.id", group(kafka, name))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", reset)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", "45000")
        // A member that lost its broker while it was joining goes on at the next look at the
        // topics: in seconds, not in five minutes. It is also how soon new partitions of an input
        // topic are read.
        .set("topic.metadata.refresh.interval.ms", "10000")
        // The default of a second halves a fast consumer.
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.wait.max.ms", "50")
        .set("queued.min.messages", "20000")
        .set("queued.max.messages.kbytes", "8192");
    finish(config, kafka)
}

/// A consumer that belongs to no group, for looking things up.
pub fn onlooker(kafka: &Kafka, name: &str) -> ClientConfig {
    let mut config = base(kafka);
    config
        .set("group.id", group(kafka, name))
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error");
    config.set("fetch.wait.max.ms", "50");
    finish(config, kafka)
}

/// The name of a consumer group.
pub fn group(kafka: &Kafka, name: &str) -> String {
    format!("{}.{name}", kafka.group)
}

/// What hears a client out that needs nothing else.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hearing;

impl ConsumerContext for Hearing {}

/// A consumer for looking things up.
pub type Onlooker = BaseConsumer<Hearing>;
/// A client that makes and changes topics.
pub type Admin = AdminClient<Hearing>;

/// Handles a client's errors: librdkafka repeats the same one a thousand times while brokers are
/// down, and every call returns it anyway.
macro_rules! heard {
    ($context:ty) => {
        impl rdkafka::ClientContext for $context {
            fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
                $crate::kafka::client::hear_log(level, facility, message);
            }

            fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
                $crate::kafka::client::hear_error(&error, reason);
            }
        }
    };
}
pub(super) use heard;
heard!(Hearing);

/// How long the same problem isn't logged again.
const LOGGED_AGAIN: Duration = Duration::from_secs(60);

/// Takes note of a line of a client's log: errors are logged by [`hear_error`] as well.
pub(super) fn hear_log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    tracing::debug!(?level, facility, "librdkafka: {message}");
}

/// Logs a client's errors, of each kind once a minute.
pub(super) fn hear_error(error: &KafkaError, reason: &str) {
    static LOGGED: LazyLock<Mutex<HashMap<Option<i32>, Instant>>> = LazyLock::new(Mutex::default);
    let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    let code = error.rdkafka_error_code().map(|code| code as i32);
    if logged
        .get(&code)
        .is_some_and(|at| at.elapsed() < LOGGED_AGAIN)
    {
        tracing::debug!(%error, reason, "Kafka's client");
    } else {
        logged.insert(code, Instant::now());
        tracing::warn!(%error, reason, "Kafka's client; it goes on trying");
    }
}

/// True for errors that librdkafka repeats while brokers are down, and recovers from by itself.
pub fn is_outage(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(Code::AllBrokersDown | Code::BrokerTransportFailure)
    )
}

/// What an error of Kafka means for us: an outage passes, a refusal doesn't.
pub fn outside(doing: impl Into<String>, error: KafkaError) -> OutsideError {
    use RDKafkaErrorCode as Code;
    let doing = format!("Kafka, {}", doing.into());
    match &error {
        KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) => OutsideError {
            doing,
            message: format!("{error}; look at [kafka] and [kafka.properties]"),
            fault: Fault::User,
            is_transient: false,
        },
        _ => match error.rdkafka_error_code() {
            Some(
                Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::SaslAuthenticationFailed
                | Code::Authentication,
            ) => OutsideError {
                doing,
                message: format!("{error}; the user of [kafka.properties] may not do this"),
                fault: Fault::User,
                is_transient: false,
            },
            // The producer has lost its sequence and can't go on; a new one starts from what was
            // acknowledged.
            Some(Code::Fatal) => OutsideError::fatal(
                doing,
                format!("{error}; restart this instance, nothing is lost"),
            ),
            Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize) => OutsideError::fatal(
                doing,
                format!("{error}; the topic's max.message.bytes must be at least {MAX_BYTES}"),
            ),
            _ => OutsideError::transient(doing, error),
        },
    }
}

/// How long a single question to Kafka may take.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs a blocking question on a thread made for that.
pub(super) async fn blocking<T: Send + 'static>(
    ask: impl FnOnce() -> T + Send + 'static,
) -> Result<T, OutsideError> {
    tokio::task::spawn_blocking(ask)
        .await
        .map_err(|error| OutsideError::fatal("Kafka, asking", error))
}
