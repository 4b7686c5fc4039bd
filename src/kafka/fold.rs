//! The fold group: a thread for every shard owned, one writer for all of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::backoff::Backoff;
use super::client::{self, is_outage, outside};
use super::log::KafkaLog;
use super::member::{AssignmentHandler, Member};
use crate::config::Kafka;
use crate::health::Health;
use crate::pipeline::catalogue::VersionsOf;
use crate::pipeline::flush::retrying;
use crate::pipeline::{Epoch, OutsideError, Store};
use crate::record::Home;
use crate::telemetry::Telemetry;
use shard_thread::{ShardThread, StopSignal};
use writer::{FlushRequest, write_all};

mod gauges;
mod shard_thread;
mod writer;

/// How long the last flush may take when a shard is given up: below any session timeout.
const HAND_OVER: Duration = Duration::from_secs(20);

/// The group that folds a generation of the log.
pub fn group(generation: u32) -> String {
    format!("fold.{generation}")
}

/// What folding needs.
#[derive(Clone)]
pub struct Folding<S> {
    /// How to reach Kafka.
    pub kafka: Kafka,
    /// The log.
    pub log: KafkaLog,
    /// Where everything is written.
    pub store: S,
    /// The log's generation.
    pub generation: u32,
    /// How many partitions homes are counted by.
    pub partitions: u32,
    /// The metrics this program counts.
    pub catalogue: VersionsOf,
    /// The epochs there are now.
    pub epochs: watch::Receiver<Vec<Epoch>>,
    /// The longest a touched row waits.
    pub flush_interval: Duration,
    /// How many touched rows don't wait.
    pub flush_rows: usize,
    /// The pipeline's own metrics.
    pub telemetry: Arc<Telemetry>,
    /// Where problems are reported.
    pub health: Health,
}

impl<S> Folding<S> {
    /// The name a part of it reports problems under: there may be folds of several logs.
    fn part(&self, name: &str) -> String {
        format!("log {} {name}", self.generation)
    }

    /// The same of a shard: each has a line of its own, so that none hides or clears another's
    /// problem.
    fn shard_part(&self, shard: Home) -> String {
        self.part(&format!("shard {shard}"))
    }

    fn backoff(&self, name: String, stop: &Arc<AtomicBool>, until: Duration) -> Backoff {
        Backoff {
            telemetry: self.telemetry.clone(),
            health: self.health.clone(),
            stop: stop.clone(),
            name,
            until,
        }
    }
}

/// A running fold.
pub struct Fold {
    stop: Arc<AtomicBool>,
    left_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Fold {
    /// Joins the fold group and folds whatever is assigned, until stopped. Call it within a tokio
    /// runtime.
    ///
    /// # Errors
    /// If the properties make no consumer.
    pub fn start<S: Store + Clone + 'static>(folding: Folding<S>) -> Result<Fold, OutsideError> {
        let doing = "joining the fold group";
        let (stop, left_over) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let (flushes, inbox) = mpsc::unbounded_channel();
        let handler = Arc::new(Shards {
            folding: folding.clone(),
            runtime: Handle::current(),
            flushes,
            owned: Mutex::default(),
            stop: stop.clone(),
            left_over: left_over.clone(),
        });
        tokio::spawn(write_all(folding.clone(), inbox, stop.clone()));

        let mut config = client::member(&folding.kafka, &group(folding.generation), "error");
        // Shards start at their checkpoints; an offset that is not there needs an operator.
        config.set("auto.offset.reset", "error");
        let member = Member::new(folding.log.topic(), handler.clone());
        let consumer: BaseConsumer<Member> = config
            .create_with_context(member)
            .map_err(|error| outside(doing, error))?;
        let consumer = Arc::new(consumer);
        Member::meet(&consumer);
        folding.log.commit_through(&consumer);
        consumer
            .subscribe(&[folding.log.topic()])
            .map_err(|error| outside(doing, error))?;

        let stopped = stop.clone();
        let name = format!("fold {}", folding.generation);
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                // Messages come through the shards' own queues; here are rebalances and errors.
                if let Some(Err(error)) = consumer.poll(Duration::from_millis(100)) {
                    handler.member_error(&error);
                }
            }
            let all: Vec<Home> = lock(&handler.owned).keys().copied().collect();
            handler.on_revoked(&all, false);
            consumer.unsubscribe();
            let left = Instant::now() + Duration::from_secs(5);
            while consumer.assignment().is_ok_and(|a| a.count() > 0) && Instant::now() < left {
                let _ = consumer.poll(Duration::from_millis(50));
            }
        });
        let thread =
            thread.map_err(|error| OutsideError::fatal("starting the fold's thread", error))?;
        Ok(Fold {
            stop,
            left_over,
            thread: Some(thread),
        })
    }

    /// Flushes what is folded, leaves the group, and returns when nothing runs any more: true if
    /// everything folded is flushed. Blocks; not for an async thread.
    pub fn stop(mut self) -> bool {
        self.stop.store(true, Ordering::Release);
        // A panic in it has been printed; there is nothing more to stop.
        let has_ended = self
            .thread
            .take()
            .is_none_or(|thread| thread.join().is_ok());
        has_ended && !self.left_over.load(Ordering::Acquire)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A shard's thread.
struct Running {
    stop: Arc<StopSignal>,
    thread: JoinHandle<()>,
}

/// The shards this instance owns.
struct Shards<S> {
    folding: Folding<S>,
    runtime: Handle,
    flushes: mpsc::UnboundedSender<FlushRequest>,
    owned: Mutex<HashMap<Home, Running>>,
    stop: Arc<AtomicBool>,
    /// Something folded was not flushed when the process stopped.
    left_over: Arc<AtomicBool>,
}

impl<S> Shards<S> {
    fn member_error(&self, error: &KafkaError) {
        if is_outage(error) {
            tracing::debug!(%error, "the fold group");
        } else {
            tracing::warn!(%error, "the fold group");
        }
    }
}

impl<S: Store + Clone + 'static> AssignmentHandler for Shards<S> {
    fn start_of(&self, shard: Home) -> Option<u64> {
        let Folding {
            store,
            generation,
            health,
            ..
        } = &self.folding;
        let part = self.folding.shard_part(shard);
        let backoff = self
            .folding
            .backoff(part.clone(), &self.stop, Duration::ZERO);
        let asked = self
            .runtime
            .block_on(retrying(&backoff, || store.checkpoint(*generation, shard)));
        match asked {
            Ok(checkpoint) => {
                health.set(&part, None);
                Some(checkpoint.map_or(0, |checkpoint| checkpoint.next_offset))
            }
            Err(error) => {
                tracing::error!(%error, shard, "the shard can't be taken on");
                health.set(&part, Some(error.to_string()));
                None
            }
        }
    }

    fn on_assigned(&self, shard: Home, queue: PartitionQueue<Member>) {
        let stop_signal = Arc::new(StopSignal::default());
        let shard_thread = ShardThread {
            shard,
            folding: self.folding.clone(),
            runtime: self.runtime.clone(),
            flushes: self.flushes.clone(),
            stop_signal: stop_signal.clone(),
            process_stop: self.stop.clone(),
            left_over: self.left_over.clone(),
        };
        let spawned = std::thread::Builder::new()
            .name(format!("shard {shard}"))
            .spawn(move || shard_thread.run(&queue));
        match spawned {
            Ok(thread) => match lock(&self.owned).insert(
                shard,
                Running {
                    stop: stop_signal,
                    thread,
                },
            ) {
                Some(before) => before.stop.give_up(true),
                None => self.folding.telemetry.shards_owned.inc(),
            },
            Err(error) => {
                tracing::error!(%error, shard, "no thread for the shard; it is not folded")
            }
        }
    }

    fn on_revoked(&self, shards: &[Home], lost: bool) {
        let leaving: Vec<Running> = shards
            .iter()
            .filter_map(|shard| lock(&self.owned).remove(shard))
            .collect();
        for running in &leaving {
            running.stop.give_up(lost);
            self.folding.telemetry.shards_owned.dec();
        }
        for running in leaving {
            // Its last flush is acknowledged, or has run out of time, when it ends.
            let _ = running.thread.join();
        }
        for shard in shards {
            let part = self.folding.shard_part(*shard);
            self.folding.health.set(&part, None);
        }
    }
}
