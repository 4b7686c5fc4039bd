//! The route group: input topics in, assertions out to their homes, dead letters aside; then, and only then, the input offset moves.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::producer::FutureProducer;
use rdkafka::{Message, Offset, Timestamp, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::task::JoinHandle as Task;

use super::client::{self, is_outage, outside};
use super::dead_letter::{self, DeadLetter};
use super::fold::Patience;
use super::log::KafkaLog;
use crate::config::{Kafka, Topic};
use crate::event::decode::{Context, Decoded, Rejected, cloudevents};
use crate::pipeline::flush::retrying;
use crate::pipeline::route::spread;
use crate::pipeline::{Log, OutsideError};
use crate::record::Home;
use crate::serve::Health;
use crate::telemetry::Telemetry;

/// How many messages are routed together at most.
const BATCH: usize = 4_000;
/// How many bytes of messages are.
const BATCH_BYTES: usize = 8 << 20;
/// How long a batch waits to fill.
const LINGER: Duration = Duration::from_millis(10);
/// How many batches may wait for their acknowledgements at once: the queue's bound.
const IN_FLIGHT: usize = 4;

/// How often a wait for acknowledgements looks whether it should end.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long a stop waits for what is on its way. Kafka may be away; what it has not acknowledged is routed once more by whoever comes next.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// The present (µs). Passed in, because the demonstration's time runs faster than ours.
pub type Clock = fn() -> i64;

/// What routing needs.
#[derive(Clone)]
pub struct Routing {
    /// How to reach Kafka.
    pub kafka: Kafka,
    /// The input topics.
    pub topics: Vec<Topic>,
    /// The log of the current epoch.
    pub log: KafkaLog,
    /// How many partitions homes are counted by.
    pub partitions: u32,
    /// Where dead letters go.
    pub dead_letters: String,
    /// The present.
    pub clock: Clock,
    /// The pipeline's own metrics.
    pub telemetry: Arc<Telemetry>,
    /// What stands in the way of being ready.
    pub health: Health,
}

/// A running route.
pub struct Route {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Route {
    /// Joins the route group and routes until stopped. Call it within a tokio runtime.
    ///
    /// # Errors
    /// If the properties make no consumer.
    pub fn start(routing: Routing) -> Result<Route, OutsideError> {
        let doing = "joining the route group";
        let consumer: BaseConsumer = client::member(&routing.kafka, "route", "earliest").create().map_err(|error| outside(doing, error))?;
        let names: Vec<&str> = routing.topics.iter().map(|topic| topic.name.as_str()).collect();
        consumer.subscribe(&names).map_err(|error| outside(doing, error))?;
        let (stop, runtime) = (Arc::new(AtomicBool::new(false)), Handle::current());
        let router = Router { routing, consumer, runtime, stop: stop.clone(), in_flight: VecDeque::new() };
        let thread = std::thread::Builder::new().name("route".into()).spawn(move || router.run());
        Ok(Route { stop, thread: Some(thread.map_err(|error| OutsideError::fatal("starting the route's thread", error))?) })
    }

    /// Waits for what is on its way, leaves the group, and returns when nothing runs any more. Blocks; not for an async thread.
    pub fn stop(mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed; there is nothing more to stop.
            let _ = thread.join();
        }
    }
}

/// A batch on its way: what it must have written, and the offsets that move when it has.
struct OnItsWay {
    written: Task<Result<(), OutsideError>>,
    next_offsets: BTreeMap<(String, i32), i64>,
}

struct Router {
    routing: Routing,
    consumer: BaseConsumer,
    runtime: Handle,
    stop: Arc<AtomicBool>,
    in_flight: VecDeque<OnItsWay>,
}

impl Router {
    fn run(mut self) {
        let result = self.route();
        if let Err(error) = result {
            tracing::error!(%error, "the route has stopped; no input offset moves any more");
            self.routing.health.set("route", Some(error.to_string()));
        }
    }

    fn route(&mut self) -> Result<(), OutsideError> {
        while !self.stop.load(Ordering::Acquire) {
            let batch = self.batch(&self.collect());
            let is_idle = batch.next_offsets.is_empty();
            if !is_idle {
                let on_its_way = self.send(batch);
                self.in_flight.push_back(on_its_way);
            }
            while self.in_flight.len() >= IN_FLIGHT || is_idle && !self.in_flight.is_empty() {
                self.settle_oldest()?;
            }
        }
        while !self.in_flight.is_empty() {
            self.settle_oldest()?;
        }
        Ok(())
    }

    /// Takes messages until there are enough, or none comes for a while.
    fn collect(&self) -> Vec<BorrowedMessage<'_>> {
        let mut messages = Vec::new();
        let (mut deadline, mut bytes) = (None::<Instant>, 0);
        while messages.len() < BATCH && bytes < BATCH_BYTES && !self.stop.load(Ordering::Acquire) {
            let wait = deadline.map_or(Duration::from_millis(100), |at| at.saturating_duration_since(Instant::now()));
            match self.consumer.poll(wait) {
                Some(Ok(message)) => {
                    deadline.get_or_insert_with(|| Instant::now() + LINGER);
                    bytes += message.payload_len();
                    messages.push(message);
                }
                // Brokers come back; librdkafka says so once a second meanwhile.
                Some(Err(error)) if is_outage(&error) => tracing::debug!(%error, "reading the input topics"),
                Some(Err(error)) => tracing::warn!(%error, "reading the input topics"),
                None => break,
            }
            if deadline.is_some_and(|at| Instant::now() >= at) {
                break;
            }
        }
        messages
    }

    /// Decodes messages and spreads what they assert over the homes, so that few large messages go to the log.
    fn batch(&self, messages: &[BorrowedMessage<'_>]) -> Batch {
        let (now, telemetry) = ((self.routing.clock)(), &self.routing.telemetry);
        let mut batch = Batch::default();
        let mut assertions = Vec::with_capacity(messages.len());
        for message in messages {
            let Some(topic) = self.routing.topics.iter().find(|topic| topic.name == message.topic()) else { continue };
            let decoded = decode(message, topic, now);
            telemetry.events_routed.with_label_values(&[&topic.name]).inc();
            if decoded.unknown_fields > 0 {
                telemetry.unknown_fields.with_label_values(&[&topic.name]).inc_by(u64::from(decoded.unknown_fields));
            }
            for rejected in decoded.rejected {
                telemetry.dead_letters.with_label_values(&[topic.name.as_str(), rejected.bad.reason.name()]).inc();
                batch.letters.push(dead_letter(message, rejected));
            }
            assertions.extend(decoded.assertions);
            batch.next_offsets.insert((topic.name.clone(), message.partition()), message.offset() + 1);
        }
        batch.assertions = assertions.len() as u64;
        batch.messages = spread(&assertions, self.routing.partitions);
        batch
    }

    /// Sends a batch on, retrying what fails for now: an offset never moves past a message that is neither folded nor dead-lettered.
    fn send(&self, batch: Batch) -> OnItsWay {
        let Routing { log, dead_letters, telemetry, health, .. } = self.routing.clone();
        let patience =
            Patience { telemetry: telemetry.clone(), health: health.clone(), stop: self.stop.clone(), name: "route", until: Duration::from_secs(10) };
        let written = self.runtime.spawn(async move {
            let producer: FutureProducer = log.producer().clone();
            retrying(&patience, || log.append(batch.messages.clone())).await?;
            retrying(&patience, || dead_letter::write(&producer, &dead_letters, &batch.letters)).await?;
            telemetry.assertions_routed.inc_by(batch.assertions);
            health.set("route", None);
            Ok(())
        });
        OnItsWay { written, next_offsets: batch.next_offsets }
    }

    fn settle_oldest(&mut self) -> Result<(), OutsideError> {
        let Some(mut oldest) = self.in_flight.pop_front() else { return Ok(()) };
        let mut stopped_at = None::<Instant>;
        let written = loop {
            let wait = async { tokio::time::timeout(LOOK_AGAIN, &mut oldest.written).await };
            match self.runtime.block_on(wait) {
                Ok(written) => break written,
                Err(_) if !self.stop.load(Ordering::Acquire) => {}
                Err(_) if stopped_at.get_or_insert_with(Instant::now).elapsed() < LAST_WAIT => {}
                Err(_) => {
                    tracing::warn!("the last batches are not acknowledged; they will be routed once more, which changes nothing");
                    self.in_flight.clear();
                    return Ok(());
                }
            }
        };
        written.map_err(|error| OutsideError::fatal("routing", error))??;
        let mut list = TopicPartitionList::new();
        for ((topic, partition), offset) in &oldest.next_offsets {
            let added = list.add_partition_offset(topic, *partition, Offset::Offset(*offset));
            added.map_err(|error| outside("committing", error))?;
        }
        if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
            // Another member has the partition by now; it will route these once more, which changes nothing.
            tracing::debug!(%error, "a commit of the route group failed");
        }
        Ok(())
    }
}

/// Decodes a message of an input topic.
fn decode<'m>(message: &'m BorrowedMessage<'_>, topic: &Topic, now: i64) -> Decoded<'m> {
    let (timestamp, is_append_time) = match message.timestamp() {
        Timestamp::NotAvailable => (None, false),
        Timestamp::CreateTime(ms) => (Some(ms.saturating_mul(1_000)), false),
        Timestamp::LogAppendTime(ms) => (Some(ms.saturating_mul(1_000)), true),
    };
    let context = Context {
        topic: topic.number,
        namespace: topic.namespace.as_deref(),
        partition: message.partition() as u32,
        offset: message.offset() as u64,
        attempt: attempt(message),
        timestamp,
        is_append_time,
        now,
        limit: topic.max_message_bytes,
    };
    let headers: Vec<cloudevents::Header<'_>> =
        message.headers().map_or_else(Vec::new, |headers| headers.iter().map(|header| (header.key, header.value.unwrap_or_default())).collect());
    cloudevents::decode(message.payload(), &headers, &context)
}

/// How often the message was put back from the dead letters.
fn attempt(message: &BorrowedMessage<'_>) -> u32 {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    let value = headers.filter(|header| header.key == dead_letter::header::ATTEMPT).find_map(|header| header.value);
    value.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok()).unwrap_or_default()
}

/// The headers the source gave the message. Those of an earlier death are left out: they are given anew.
fn own_headers(message: &BorrowedMessage<'_>) -> Vec<(String, Vec<u8>)> {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    let own = headers.filter(|header| !header.key.starts_with(dead_letter::header::PREFIX));
    own.map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec())).collect()
}

fn dead_letter(message: &BorrowedMessage<'_>, rejected: Rejected<'_>) -> DeadLetter {
    DeadLetter {
        topic: message.topic().to_owned(),
        partition: message.partition() as u32,
        offset: message.offset() as u64,
        index: rejected.index,
        attempt: attempt(message),
        timestamp: message.timestamp().to_millis().map(|ms| ms.saturating_mul(1_000)),
        key: message.key().map(<[u8]>::to_vec),
        headers: own_headers(message),
        bad: rejected.bad,
        raw: rejected.raw.to_vec(),
    }
}

/// What a few messages came to.
#[derive(Default)]
struct Batch {
    messages: Vec<(Home, Vec<u8>)>,
    letters: Vec<DeadLetter>,
    next_offsets: BTreeMap<(String, i32), i64>,
    assertions: u64,
}
