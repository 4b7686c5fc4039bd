//! The route group: input topics in, assertions out to their homes, dead letters aside; then, and
//! only then, the input offset moves.

mod gaps;
mod group;
mod worker;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::Message;
use rdkafka::error::KafkaResult;
use rdkafka::message::BorrowedMessage;
use tokio::runtime::Handle;
use tokio::task::JoinHandle as Task;

use super::backoff::Backoff;
use super::dead_letter::{DeadLetter, Producers};
use super::log::KafkaLog;
use super::origin::{self, Origin};
use super::registry::{self, Registry};
use crate::config::{Encoding, Kafka, SchemaRegistry, Topic};
use crate::health::Health;
use crate::pipeline::flush::{backoff, retrying};
use crate::pipeline::route::partition_by_home;
use crate::pipeline::{Log, OutsideError, rebuild};
use crate::record::Home;
use crate::telemetry::Telemetry;
use gaps::{Gap, jumps, runs};
use group::{Group, Input};
use worker::{PartitionWorker, Writer};

/// How many batches may wait for their acknowledgements at once: the queue's bound.
const IN_FLIGHT: usize = 4;

/// The longest pause between two questions to a Kafka that does not answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often a wait for acknowledgements looks whether it should end.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long a stop waits for messages in flight. Kafka may be down; the next member routes again
/// what it has not acknowledged.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// The present (µs). Passed in, because the demonstration's time runs faster than ours.
pub type Clock = fn() -> i64;

/// What routing needs.
#[derive(Clone)]
pub struct Routing {
    /// How to reach Kafka.
    pub kafka: Kafka,
    /// Which group it is a member of.
    pub group: String,
    /// The input topics.
    pub topics: Vec<Topic>,
    /// Where the schemas of topics in Avro are.
    pub schema_registry: Option<SchemaRegistry>,
    /// The log of an older generation, to be carried over in place of topics.
    pub old_log: Option<String>,
    /// The log that is written.
    pub log: KafkaLog,
    /// How many partitions homes are counted by.
    pub partitions: u32,
    /// Where dead letters go.
    pub dead_letters: String,
    /// The present.
    pub clock: Clock,
    /// The pipeline's own metrics.
    pub telemetry: Arc<Telemetry>,
    /// Where problems are reported.
    pub health: Health,
}

/// A running route.
pub struct Route {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<bool>>,
}

impl Route {
    /// Joins the route group and routes until stopped. Call it within a tokio runtime.
    ///
    /// # Errors
    /// If the properties make no consumer.
    pub fn start(routing: Routing) -> Result<Route, OutsideError> {
        let (topics, reset) = match &routing.old_log {
            None => (
                routing
                    .topics
                    .iter()
                    .map(|topic| topic.name.as_str())
                    .collect(),
                "earliest",
            ),
            Some(log) => (vec![log.as_str()], "error"),
        };
        let group = Group::join(&routing.kafka, &routing.group, &topics, reset)?;
        let producers = Producers::new(&routing.kafka)?;
        let writer = Writer {
            producers,
            topic: routing.dead_letters.clone(),
            telemetry: routing.telemetry.clone(),
        };
        let registry = Registry::new(routing.schema_registry.as_ref())?;
        let (stop, runtime) = (Arc::new(AtomicBool::new(false)), Handle::current());
        let router = Router {
            routing,
            group: Arc::new(group),
            registry,
            writer,
            runtime,
            stop: stop.clone(),
            in_flight: VecDeque::new(),
            workers: BTreeMap::new(),
            next: BTreeMap::new(),
        };
        let thread = std::thread::Builder::new()
            .name("route".into())
            .spawn(move || router.run());
        Ok(Route {
            stop,
            thread: Some(
                thread
                    .map_err(|error| OutsideError::fatal("starting the route's thread", error))?,
            ),
        })
    }

    /// Waits for what is on its way, leaves the group, and returns when nothing runs any more: true
    /// if everything read is acknowledged. Blocks; not for an async thread.
    pub fn stop(mut self) -> bool {
        self.stop.store(true, Ordering::Release);
        // A panic in it has been printed; there is nothing more to stop.
        self.thread
            .take()
            .is_none_or(|thread| thread.join().unwrap_or(false))
    }
}

/// A batch on its way to the log, and up to where its inputs are routed when it is there.
struct OnItsWay {
    written: Task<Result<(), OutsideError>>,
    next_offsets: BTreeMap<Input, i64>,
}

struct Router {
    routing: Routing,
    group: Arc<Group>,
    registry: Registry,
    writer: Writer,
    runtime: Handle,
    stop: Arc<AtomicBool>,
    in_flight: VecDeque<OnItsWay>,
    workers: BTreeMap<Input, PartitionWorker>,
    /// The offset that is to come of each input topic's partition.
    next: BTreeMap<Input, i64>,
}

impl Router {
    /// True if everything read is acknowledged at the end.
    fn run(mut self) -> bool {
        self.route().unwrap_or_else(|error| {
            tracing::error!(%error, "the route has stopped; no input offset moves any more");
            self.routing
                .health
                .set(&self.routing.group, Some(error.to_string()));
            false
        })
    }

    fn route(&mut self) -> Result<bool, OutsideError> {
        let group = self.group.clone();
        while !self.stop.load(Ordering::Acquire) {
            let mut messages = group.collect(&self.stop)?;
            self.give_up(&group.revoked(), &mut messages);
            // Stopped before Kafka has answered: the next member reads them again.
            let Some(gaps) = self.gaps(&messages) else {
                break;
            };
            self.report(&gaps);
            let batch = self.batch(&messages)?;
            let is_idle = batch.next_offsets.is_empty();
            if !is_idle {
                let on_its_way = self.send(batch);
                self.in_flight.push_back(on_its_way);
            }
            while self.in_flight.len() >= IN_FLIGHT || is_idle && !self.in_flight.is_empty() {
                self.settle_oldest()?;
            }
            self.look_at_partitions();
        }
        self.finish()
    }

    /// Drops partitions that were revoked. Their new member routes again what is not committed, so
    /// none of it may be committed here.
    fn give_up(&mut self, revoked: &[Input], messages: &mut Vec<BorrowedMessage<'_>>) {
        for input in revoked {
            messages.retain(|message| !input.is_of(message));
            for batch in &mut self.in_flight {
                batch.next_offsets.remove(input);
            }
            self.workers.remove(input);
            self.next.remove(input);
            self.routing.health.set(&input.to_string(), None);
        }
    }

    /// What retention took of the input topics before it was read, found by the offsets that are
    /// left out. `None` if it was to stop meanwhile.
    fn gaps(&mut self, messages: &[BorrowedMessage<'_>]) -> Option<Vec<Gap>> {
        if self.routing.old_log.is_some() {
            return Some(Vec::new()); // that one stops the carrying
        }
        let runs = runs(messages);
        let new: BTreeSet<&Input> = runs
            .iter()
            .map(|run| &run.input)
            .filter(|input| !self.next.contains_key(input))
            .collect();
        if !new.is_empty() {
            self.next.extend(self.asked(|group| group.committed(&new))?);
        }
        let jumps = jumps(runs, &mut self.next);
        let mut lows: BTreeMap<Input, i64> = BTreeMap::new();
        for input in jumps.iter().map(|gap| &gap.input) {
            if !lows.contains_key(input) {
                lows.insert(input.clone(), self.asked(|group| group.low(input))?);
            }
        }
        let gone = jumps.into_iter().filter_map(|gap| gap.below(&lows));
        Some(gone.collect())
    }

    /// What Kafka answers in the end; `None` if it was to stop meanwhile.
    fn asked<T>(&self, ask: impl Fn(&Group) -> KafkaResult<T>) -> Option<T> {
        let mut attempt = 0;
        while !self.stop.load(Ordering::Acquire) {
            match ask(&self.group) {
                Ok(answer) => return Some(answer),
                Err(error) => {
                    attempt += 1;
                    tracing::warn!(%error, attempt, "asking how far the input topics reach; trying again");
                    std::thread::sleep(backoff(attempt).min(LONGEST_PAUSE));
                }
            }
        }
        None
    }

    /// Sets a dead letter aside for each gap.
    fn report(&mut self, gaps: &[Gap]) {
        for gap in gaps {
            let dead_letter = gap.dead_letter();
            tracing::error!(input = %gap.input, detail = dead_letter.detail, "messages were deleted that were never read");
            self.workers
                .entry(gap.input.clone())
                .or_default()
                .set_aside(gap.from, dead_letter, &self.writer, &self.runtime);
        }
    }

    /// Decodes messages and spreads what they assert over the homes, so that few large messages go
    /// to the log. Those of a partition that waits for a schema are passed over; they are read
    /// again.
    fn batch(&mut self, messages: &[BorrowedMessage<'_>]) -> Result<Batch, OutsideError> {
        let (now, telemetry) = ((self.routing.clock)(), &self.routing.telemetry);
        let deadline = Instant::now() + registry::TURN;
        let mut batch = Batch::default();
        let mut assertions = Vec::with_capacity(messages.len());
        for message in messages {
            if self.routing.old_log.as_deref() == Some(message.topic()) {
                let carried = rebuild::carry(
                    message.payload().unwrap_or_default(),
                    self.routing.partitions,
                );
                batch
                    .messages
                    .extend(carried.map_err(|error| {
                        OutsideError::fatal("carrying the old log over", error)
                    })?);
                batch
                    .next_offsets
                    .insert(Input::of(message), message.offset() + 1);
                continue;
            }
            let Some(topic) = self
                .routing
                .topics
                .iter()
                .find(|topic| topic.name == message.topic())
            else {
                continue;
            };
            let (input, of) = (Input::of(message), (message.key(), message.payload()));
            if topic.encoding != Encoding::Json {
                let worker = self.workers.entry(input.clone()).or_default();
                if worker.is_waiting() {
                    continue;
                }
                let lacking = self.registry.lacking(topic, of);
                let fetched = self.registry.fetch(&lacking, deadline);
                if !lacking.is_empty()
                    && let Err(waiting) = self.runtime.block_on(fetched)
                {
                    worker.wait_for_schema(message.offset(), waiting);
                    continue;
                }
                worker.has_schema();
            }
            let headers = origin::headers(message);
            let origin = Origin::of(message, &headers);
            let decoded = origin.decode(topic, of, &headers, self.registry.schemas(), now);
            telemetry
                .events_routed
                .with_label_values(&[&topic.name])
                .inc();
            let times = decoded.assertions.iter();
            if let Some(newest) = times.map(|assertion| assertion.stamp.clock.time).max() {
                telemetry.saw_event(&topic.name, newest);
            }
            if decoded.unknown_fields > 0 {
                telemetry
                    .unknown_fields
                    .with_label_values(&[&topic.name])
                    .inc_by(u64::from(decoded.unknown_fields));
            }
            for rounded in &decoded.rounded {
                telemetry
                    .amounts_rounded
                    .with_label_values(&[&topic.name, &rounded.table, &rounded.column])
                    .inc();
            }
            for dead_letter in DeadLetter::of(message, &headers, origin, decoded.rejected) {
                let dead_letter = dead_letter.kept_by(topic);
                let at = (input.clone(), message.offset());
                batch.dead_letters.push((at.0, at.1, dead_letter));
            }
            assertions.extend(decoded.assertions);
            batch.next_offsets.insert(input, message.offset() + 1);
        }
        batch.assertions = assertions.len() as u64;
        batch
            .messages
            .extend(partition_by_home(&assertions, self.routing.partitions));
        Ok(batch)
    }

    /// Sends a batch on, retrying what fails for now: an offset never moves past a message that is
    /// neither folded nor dead-lettered.
    fn send(&mut self, batch: Batch) -> OnItsWay {
        for (input, offset, dead_letter) in batch.dead_letters {
            self.workers.entry(input).or_default().set_aside(
                offset,
                dead_letter,
                &self.writer,
                &self.runtime,
            );
        }
        let Routing {
            log,
            telemetry,
            health,
            group,
            ..
        } = self.routing.clone();
        let (name, until) = (group.clone(), Duration::from_secs(10));
        let backoff = Backoff {
            telemetry: telemetry.clone(),
            health: health.clone(),
            stop: self.stop.clone(),
            name,
            until,
        };
        let written = self.runtime.spawn(async move {
            retrying(&backoff, || log.append(batch.messages.clone())).await?;
            telemetry.assertions_routed.inc_by(batch.assertions);
            Ok(())
        });
        OnItsWay {
            written,
            next_offsets: batch.next_offsets,
        }
    }

    /// Waits for the oldest batch on its way and moves the offsets past it. False if the route was
    /// to stop and it took too long.
    fn settle_oldest(&mut self) -> Result<bool, OutsideError> {
        let Some(mut oldest) = self.in_flight.pop_front() else {
            return Ok(true);
        };
        let mut stopped_at = None::<Instant>;
        let written = loop {
            let wait = async { tokio::time::timeout(LOOK_AGAIN, &mut oldest.written).await };
            match self.runtime.block_on(wait) {
                Ok(written) => break written,
                Err(_) if !self.stop.load(Ordering::Acquire) => {}
                Err(_) if stopped_at.get_or_insert_with(Instant::now).elapsed() < LAST_WAIT => {}
                Err(_) => {
                    tracing::warn!(
                        "the last batches are not acknowledged; they will be routed once more, which changes nothing"
                    );
                    self.in_flight.clear();
                    return Ok(false);
                }
            }
        };
        written.map_err(|error| OutsideError::fatal("routing", error))??;
        for (input, offset) in oldest.next_offsets {
            self.workers.entry(input).or_default().routed(offset);
        }
        Ok(true)
    }

    /// Commits what is done, pauses partitions that wait, goes back to where one has waited for a
    /// schema, and reports which are paused.
    fn look_at_partitions(&mut self) {
        let mut commits = Vec::new();
        for (input, worker) in &mut self.workers {
            worker.look();
            commits.extend(worker.commit().map(|offset| (input, offset)));
            if let Some(offset) = worker.due_again()
                && worker.is_paused
                && self.group.seek(input, offset)
            {
                self.next.insert(input.clone(), offset);
                worker.try_again();
            }
            let should_pause = worker.should_pause();
            if should_pause != worker.is_paused {
                worker.is_paused = self.group.pause(input, should_pause);
            }
            let problem = worker.problem();
            if problem != worker.reported {
                if problem.is_none() {
                    tracing::info!(%input, "nothing waits any more; it goes on");
                }
                self.routing.health.set(&input.to_string(), problem.clone());
                worker.reported = problem;
            }
        }
        self.group.commit(&commits);
    }

    /// Waits a while for what is on its way. True if all of it is acknowledged.
    fn finish(&mut self) -> Result<bool, OutsideError> {
        let mut is_settled = true;
        while !self.in_flight.is_empty() {
            is_settled &= self.settle_oldest()?;
        }
        let stopped_at = Instant::now();
        while self.workers.values().any(PartitionWorker::is_writing)
            && stopped_at.elapsed() < LAST_WAIT
        {
            std::thread::sleep(Duration::from_millis(5));
            self.workers.values_mut().for_each(PartitionWorker::look);
        }
        self.look_at_partitions();
        Ok(is_settled
            && !self
                .workers
                .values()
                .any(|worker| worker.is_writing() || worker.problem().is_some()))
    }
}

/// What a few messages came to.
#[derive(Default)]
struct Batch {
    messages: Vec<(Home, Vec<u8>)>,
    /// Dead letters with the input and offset of the message they hold up.
    dead_letters: Vec<(Input, i64, DeadLetter)>,
    next_offsets: BTreeMap<Input, i64>,
    assertions: u64,
}
