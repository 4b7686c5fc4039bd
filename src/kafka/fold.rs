//! The fold group: a thread for every shard owned, one writer for all of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc as sync};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::Message;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::client::{self, is_outage, outside};
use super::log::{KafkaLog, entry};
use super::member::{AssignmentHandler, Member};
use crate::config::Kafka;
use crate::health::Health;
use crate::pipeline::catalogue::VersionsOf;
use crate::pipeline::flush::{FlushBatch, RetryPolicy, backoff, retrying};
use crate::pipeline::known::Known;
use crate::pipeline::owner::{Flush, FoldError, Owner};
use crate::pipeline::restart::{RestartError, restore};
use crate::pipeline::{Entry, Epoch, Log, OutsideError, Store};
use crate::record::{Entity, Home};
use crate::telemetry::{Telemetry, wall_clock};

/// How long a shard waits for messages before it looks at its clock again.
const POLL: Duration = Duration::from_millis(20);
/// How many messages are folded before anything else is looked at.
const STRIDE: usize = 1_000;
/// How long the last flush may take when a shard is given up: below any session timeout.
const HAND_OVER: Duration = Duration::from_secs(20);
/// How often a shard's size is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// How many flushes' worth of rows that later ones don't replace a shard lets wait before it stops folding: the second fills while the first
/// is on its way. With 50,000 rows a flush that is about 40 MB a shard.
const UNMERGED_FLUSHES: usize = 2;
/// How long the writer waits for other shards' flushes, so that one insert a table serves them all.
const GATHER: Duration = Duration::from_millis(10);

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
    /// What stands in the way of being ready.
    pub health: Health,
}

impl<S> Folding<S> {
    /// What a part of it is called where problems are told: there may be folds of several logs.
    fn part(&self, name: &str) -> String {
        format!("log {} {name}", self.generation)
    }

    /// The same of a shard: each has a line of its own, so that none hides or clears another's problem.
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
    /// Joins the fold group and folds whatever is assigned, until stopped. Call it within a tokio runtime.
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
        // Where the checkpoints say is where we start; an offset that is not there is for somebody to look at.
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

    /// Flushes what is folded, leaves the group, and returns when nothing runs any more: true if everything folded is flushed.
    /// Blocks; not for an async thread.
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

/// A flush on its way to the writer, with the way back.
type FlushRequest = (Flush, sync::Sender<Result<(), String>>);

/// The one writer of an instance: whatever shards have handed in goes out together.
async fn write_all<S: Store>(
    folding: Folding<S>,
    mut inbox: mpsc::UnboundedReceiver<FlushRequest>,
    stop: Arc<AtomicBool>,
) {
    let retry = folding.backoff(folding.part("flush"), &stop, HAND_OVER);
    while let Some(first) = inbox.recv().await {
        tokio::time::sleep(GATHER).await;
        let mut parcels = vec![first];
        while let Ok(more) = inbox.try_recv() {
            parcels.push(more);
        }
        let (flushes, answers): (Vec<Flush>, Vec<_>) = parcels.into_iter().unzip();
        count_rows(&folding.telemetry, &flushes);
        let append_times: Vec<i64> = flushes
            .iter()
            .map(|flush| flush.checkpoint.append_time)
            .collect();
        let started = Instant::now();
        let written = FlushBatch::new(folding.generation, folding.partitions, flushes)
            .write(&folding.log, &folding.store, &retry)
            .await;
        folding
            .telemetry
            .flush
            .with_label_values(&["all"])
            .observe(started.elapsed().as_secs_f64());
        if written.is_ok() {
            folding.health.set(&folding.part("flush"), None);
            let now = wall_clock();
            append_times.iter().for_each(|at| {
                folding
                    .telemetry
                    .end_to_end_latency
                    .observe((now - at).max(0) as f64 / 1e6)
            });
        }
        let result = written.map_err(|error| error.to_string());
        // A shard that is gone does not wait for its answer any more.
        answers
            .into_iter()
            .for_each(|answer| drop(answer.send(result.clone())));
    }
}

fn count_rows(telemetry: &Telemetry, flushes: &[Flush]) {
    let count = |table: &str, rows: usize| {
        telemetry
            .flush_rows
            .with_label_values(&[table])
            .inc_by(rows as u64)
    };
    for flush in flushes {
        count("rollups", flush.cells.len());
        count("changes", flush.changes.len());
        count("facts", flush.records.len());
        count("links", flush.links.len());
    }
}

/// Tries again for as long as the process runs, and for a while after it was told to stop.
pub(super) struct Backoff {
    pub telemetry: Arc<Telemetry>,
    pub health: Health,
    pub stop: Arc<AtomicBool>,
    /// What is reported as standing in the way.
    pub name: String,
    /// How long it goes on after the stop.
    pub until: Duration,
}

impl RetryPolicy for Backoff {
    async fn should_retry(&self, attempt: u32, error: &OutsideError) -> bool {
        self.telemetry.flush_retries.inc();
        if attempt == 1 || attempt.is_power_of_two() {
            tracing::warn!(%error, attempt, "{}: not done yet, trying again; nothing is lost meanwhile", self.name);
        }
        self.health.set(&self.name, Some(error.to_string()));
        tokio::time::sleep(backoff(attempt)).await;
        let waited: Duration = (1..=attempt).map(backoff).sum();
        !self.stop.load(Ordering::Acquire) || waited < self.until
    }
}

/// A shard's thread.
struct Running {
    stop: Arc<StopSignal>,
    thread: JoinHandle<()>,
}

/// What a shard is told.
#[derive(Default)]
struct StopSignal {
    stop: AtomicBool,
    /// Another owner is at work: write nothing more.
    fence: AtomicBool,
}

impl StopSignal {
    fn give_up(&self, lost: bool) {
        self.fence.store(lost, Ordering::Release);
        self.stop.store(true, Ordering::Release);
    }
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
        let hand = ShardThread {
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
            .spawn(move || hand.run(&queue));
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

struct ShardThread<S> {
    shard: Home,
    folding: Folding<S>,
    runtime: Handle,
    flushes: mpsc::UnboundedSender<FlushRequest>,
    stop_signal: Arc<StopSignal>,
    process_stop: Arc<AtomicBool>,
    left_over: Arc<AtomicBool>,
}

impl<S: Store + Clone + 'static> ShardThread<S> {
    fn run(mut self, queue: &PartitionQueue<Member>) {
        let Some(owner) = self.restore() else { return };
        let mut exported = ExportedGauges::default();
        if let Err(problem) = self.fold(owner, queue, &mut exported) {
            self.stand_still(&problem);
        }
        self.show(&exported, &ExportedGauges::default());
    }

    /// Says what is wrong and waits until the shard is taken away. It stays assigned meanwhile, so that nobody else stumbles over the same thing.
    fn stand_still(&self, problem: &str) {
        let Folding {
            telemetry, health, ..
        } = &self.folding;
        tracing::error!(
            shard = self.shard,
            problem,
            "the shard has stopped; the others go on"
        );
        telemetry.shards_stopped.inc();
        let part = self.folding.shard_part(self.shard);
        health.set(&part, Some(problem.to_owned()));
        while !self.stop_signal.stop.load(Ordering::Acquire) {
            std::thread::sleep(POLL);
        }
        telemetry.shards_stopped.dec();
        self.leave(false);
    }

    /// Notes, if the process is ending, whether this shard is flushed to the last message it folded.
    fn leave(&self, is_flushed: bool) {
        if !is_flushed && self.process_stop.load(Ordering::Acquire) {
            self.left_over.store(true, Ordering::Release);
        }
    }

    fn restore(&self) -> Option<Owner> {
        let Folding {
            log,
            store,
            generation,
            health,
            catalogue,
            ..
        } = &self.folding;
        let part = self.folding.shard_part(self.shard);
        let mut attempt = 0;
        loop {
            match self
                .runtime
                .block_on(restore(self.shard, *generation, log, store, *catalogue))
            {
                Ok(owner) => {
                    tracing::info!(
                        shard = self.shard,
                        offset = owner.position(),
                        records = counted(&owner),
                        "shard taken on"
                    );
                    health.set(&part, None);
                    // An earlier owner's commit may have been refused in the rebalance; until something is folded there would be no other,
                    // and a lag would be exported that is none. It can't fail: what Kafka refuses is only noted.
                    let _ = self
                        .runtime
                        .block_on(log.commit(&[(self.shard, owner.position())]));
                    return Some(owner);
                }
                Err(RestartError::Outside(error)) if error.is_transient => {
                    attempt += 1;
                    tracing::warn!(%error, shard = self.shard, attempt, "the shard can't be restored yet, trying again");
                    health.set(&part, Some(error.to_string()));
                    std::thread::sleep(backoff(attempt).min(Duration::from_secs(2)));
                    if self.stop_signal.stop.load(Ordering::Acquire)
                        || self.process_stop.load(Ordering::Acquire)
                    {
                        return None;
                    }
                }
                Err(error) => {
                    self.stand_still(&error.to_string());
                    return None;
                }
            }
        }
    }

    fn fold(
        &mut self,
        mut owner: Owner,
        queue: &PartitionQueue<Member>,
        exported: &mut ExportedGauges,
    ) -> Result<(), String> {
        let (answer, answers) = sync::channel();
        let mut counted = owner.shard().counters();
        let mut last_flush = Instant::now();
        let mut give_up_at: Option<Instant> = None;
        let bound = UNMERGED_FLUSHES.saturating_mul(self.folding.flush_rows);
        loop {
            let must_wait = owner.must_wait(bound);
            self.gauge_waiting(&owner, must_wait, exported);
            let stopping = self.stop_signal.stop.load(Ordering::Acquire);
            if self.folding.epochs.has_changed().unwrap_or(false) {
                let epochs = self.folding.epochs.borrow_and_update().clone();
                owner.learn(
                    &Known::of(&epochs, self.folding.generation, self.folding.catalogue)
                        .map_err(|error| error.to_string())?,
                );
            }
            if stopping || must_wait {
                std::thread::sleep(Duration::from_millis(2));
            } else {
                self.fold_some(&mut owner, queue, bound)?;
                counted = self.count(&owner, counted);
            }
            self.gauge(&owner, exported);
            while let Ok(result) = answers.try_recv() {
                match result {
                    Ok(()) => owner.acknowledge(),
                    Err(_) if stopping => {
                        self.leave(false);
                        return Ok(());
                    }
                    Err(problem) => return Err(problem),
                }
            }
            if self.stop_signal.fence.load(Ordering::Acquire) {
                return Ok(());
            }
            let is_due = stopping
                || must_wait
                || last_flush.elapsed() >= self.folding.flush_interval
                || owner.shard().touched_rows() >= self.folding.flush_rows;
            if is_due && let Some(flush) = owner.flush() {
                last_flush = Instant::now();
                if self.flushes.send((flush, answer.clone())).is_err() {
                    return Ok(()); // the writer is gone: the process is ending
                }
            }
            if stopping {
                let deadline = *give_up_at.get_or_insert_with(|| Instant::now() + HAND_OVER);
                if !owner.is_flushing() || Instant::now() > deadline {
                    self.leave(owner.flushed() == owner.position());
                    return Ok(());
                }
            }
        }
    }

    /// Folds what is there, up to a stride, or until `bound` rows wait that later ones don't replace.
    fn fold_some(
        &self,
        owner: &mut Owner,
        queue: &PartitionQueue<Member>,
        bound: usize,
    ) -> Result<(), String> {
        let mut wait = POLL;
        for _ in 0..STRIDE {
            if owner.must_wait(bound) {
                return Ok(());
            }
            match queue.poll(wait) {
                Some(Ok(message)) => {
                    debug_assert_eq!(message.partition() as Home, self.shard);
                    self.fold_one(owner, &entry(&message))?;
                }
                Some(Err(error))
                    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) =>
                {
                    let at = owner.position();
                    return Err(format!(
                        "shard {}: the log has no offset {at}: retention took it, or the topic was recreated; make a new log of what is known: dealpulse rebuild log",
                        self.shard
                    ));
                }
                Some(Err(error)) => tracing::debug!(%error, shard = self.shard, "reading the log"),
                None => return Ok(()),
            }
            wait = Duration::ZERO;
        }
        Ok(())
    }

    /// Folds one message. Of an epoch it doesn't know yet, the shard asks first: its definitions stood in the store before the message.
    fn fold_one(&self, owner: &mut Owner, entry: &Entry) -> Result<(), String> {
        let Err(error) = owner.fold(entry) else {
            return Ok(());
        };
        if !matches!(error, FoldError::UnknownEpoch { .. }) {
            return Err(error.to_string());
        }
        let Folding {
            store,
            generation,
            catalogue,
            ..
        } = &self.folding;
        let backoff = self.folding.backoff(
            self.folding.shard_part(self.shard),
            &self.process_stop,
            Duration::ZERO,
        );
        let epochs = self
            .runtime
            .block_on(retrying(&backoff, || store.epochs()))
            .map_err(|error| error.to_string())?;
        self.folding
            .health
            .set(&self.folding.shard_part(self.shard), None);
        owner.learn(
            &Known::of(&epochs, *generation, *catalogue).map_err(|error| error.to_string())?,
        );
        owner.fold(entry).map_err(|error| error.to_string())
    }

    fn count(&self, owner: &Owner, before: crate::shard::Counters) -> crate::shard::Counters {
        let (now, telemetry) = (owner.shard().counters(), &self.folding.telemetry);
        telemetry
            .assertions_folded
            .inc_by(now.assertions - before.assertions);
        telemetry
            .assertions_unchanged
            .inc_by(now.unchanged - before.unchanged);
        telemetry.links_folded.inc_by(now.links - before.links);
        telemetry
            .values_refused
            .inc_by(now.overflowed - before.overflowed);
        now
    }

    /// Tells how much the shard holds. Looking takes a while, so it is done rarely.
    fn gauge(&self, owner: &Owner, exported: &mut ExportedGauges) {
        if exported.at.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return;
        }
        let now = ExportedGauges {
            at: Some(Instant::now()),
            bytes: owner.shard().bytes() as i64,
            records: Entity::ALL.map(|entity| owner.shard().record_count(entity) as i64),
            ..*exported
        };
        self.show(exported, &now);
        *exported = now;
    }

    /// Tells how many rows wait that later ones don't replace, and whether folding waits for them.
    fn gauge_waiting(&self, owner: &Owner, must_wait: bool, exported: &mut ExportedGauges) {
        let now = ExportedGauges {
            unmerged: owner.shard().append_only_rows() as i64,
            backpressured: i64::from(must_wait),
            ..*exported
        };
        self.show(exported, &now);
        *exported = now;
    }

    /// The gauges are sums over the shards of this instance: each adds what changed of its own.
    fn show(&self, before: &ExportedGauges, now: &ExportedGauges) {
        let telemetry = &self.folding.telemetry;
        telemetry.state_bytes.add(now.bytes - before.bytes);
        telemetry
            .append_only_rows
            .add(now.unmerged - before.unmerged);
        telemetry
            .shards_held_back
            .add(now.backpressured - before.backpressured);
        for (i, entity) in Entity::ALL.iter().enumerate() {
            telemetry
                .records
                .with_label_values(&[entity.name()])
                .add(now.records[i] - before.records[i]);
        }
    }
}

/// What a shard last told of its size.
#[derive(Default, Clone, Copy)]
struct ExportedGauges {
    at: Option<Instant>,
    bytes: i64,
    records: [i64; Entity::ALL.len()],
    unmerged: i64,
    backpressured: i64,
}

/// How many records of each entity there are: `3 lead, 2 deal`.
fn counted(owner: &Owner) -> String {
    let counts = Entity::ALL.map(|entity| (owner.shard().record_count(entity), entity.name()));
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    counts.join(", ")
}
