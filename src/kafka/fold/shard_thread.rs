//! The thread of one shard: restores it, folds its messages in order, sends its flushes to the
//! writer, and releases it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as sync;
use std::time::{Duration, Instant};

use rdkafka::Message;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::RDKafkaErrorCode;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::gauges::ShardGauges;
use super::writer::FlushRequest;
use super::{Folding, HAND_OVER};
use crate::kafka::log::entry;
use crate::kafka::member::Member;
use crate::pipeline::flush::{RetryPolicy, retrying};
use crate::pipeline::following;
use crate::pipeline::known::Known;
use crate::pipeline::owner::Owner;
use crate::pipeline::restart::{RestartError, restore};
use crate::pipeline::{Log, Store};
use crate::record::{Entity, Home};

/// How long a shard waits for messages before it checks its clock again.
const POLL: Duration = Duration::from_millis(20);
/// How many messages are folded before anything else is checked.
const STRIDE: usize = 1_000;
/// How many flushes' worth of rows that later ones don't replace a shard lets wait before it stops
/// folding: the second fills while the first is on its way. With 50,000 rows a flush that is about
/// 40 MB a shard.
const UNMERGED_FLUSHES: usize = 2;

/// How a shard's thread is stopped.
#[derive(Default)]
pub(super) struct StopSignal {
    stop: Arc<AtomicBool>,
    /// Another owner is at work: write nothing more.
    fence: AtomicBool,
}

impl StopSignal {
    pub fn give_up(&self, lost: bool) {
        self.fence.store(lost, Ordering::Release);
        self.stop.store(true, Ordering::Release);
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

/// What the thread of a shard works with.
pub(super) struct ShardThread<S> {
    pub shard: Home,
    pub folding: Folding<S>,
    pub runtime: Handle,
    pub flushes: mpsc::UnboundedSender<FlushRequest>,
    pub stop_signal: Arc<StopSignal>,
    pub process_stop: Arc<AtomicBool>,
    pub left_over: Arc<AtomicBool>,
}

impl<S: Store + Clone + 'static> ShardThread<S> {
    pub fn run(mut self, queue: &PartitionQueue<Member>) {
        let retry = self.folding.backoff(
            self.folding.shard_part(self.shard),
            &self.stop_signal.stop,
            Duration::ZERO,
        );
        let Some(owner) = self.restore(&retry) else {
            return;
        };
        // Dropped at the end: a shard that has stopped still takes its memory.
        let mut gauges = ShardGauges::new(self.folding.telemetry.clone(), &owner);
        if let Err(problem) = self.fold(owner, queue, &mut gauges, &retry) {
            self.wait_to_be_revoked(&problem);
        }
    }

    /// Reports what is wrong and waits until the shard is revoked. It stays assigned meanwhile, so
    /// that no other instance fails for the same reason.
    fn wait_to_be_revoked(&self, problem: &str) {
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
        while !self.stop_signal.is_stopped() {
            std::thread::sleep(POLL);
        }
        telemetry.shards_stopped.dec();
        self.leave(false);
    }

    /// Notes, if the process is ending, whether this shard is flushed to the last message it
    /// folded.
    fn leave(&self, is_flushed: bool) {
        if !is_flushed && self.process_stop.load(Ordering::Acquire) {
            self.left_over.store(true, Ordering::Release);
        }
    }

    /// The shard's state; `None` if it is to stop, or was stopped by what is wrong with it.
    fn restore(&self, retry: &impl RetryPolicy) -> Option<Owner> {
        let Folding {
            log,
            store,
            generation,
            catalogue,
            ..
        } = &self.folding;
        // What passes is tried again, anything else ends it.
        let restored = self.runtime.block_on(retrying(retry, || async {
            match restore(self.shard, *generation, log, store, *catalogue).await {
                Err(RestartError::Outside(error)) => Err(error),
                restored => Ok(restored),
            }
        }));
        match restored.map_err(RestartError::Outside).flatten() {
            Ok(owner) => {
                tracing::info!(
                    shard = self.shard,
                    offset = owner.position(),
                    records = counted(&owner),
                    "shard taken on"
                );
                // An earlier owner's commit may have been refused in the rebalance; until something
                // is folded there would be no other, and a lag would be exported that is none. It
                // can't fail: what Kafka refuses is only noted.
                let _ = self
                    .runtime
                    .block_on(log.commit(&[(self.shard, owner.position())]));
                Some(owner)
            }
            Err(_) if self.stop_signal.is_stopped() => None,
            Err(error) => {
                self.wait_to_be_revoked(&error.to_string());
                None
            }
        }
    }

    fn fold(
        &mut self,
        mut owner: Owner,
        queue: &PartitionQueue<Member>,
        gauges: &mut ShardGauges,
        retry: &impl RetryPolicy,
    ) -> Result<(), String> {
        let (answer, answers) = sync::channel();
        let mut last_flush = Instant::now();
        let mut give_up_at: Option<Instant> = None;
        let bound = UNMERGED_FLUSHES.saturating_mul(self.folding.flush_rows);
        loop {
            let must_wait = owner.must_wait(bound);
            let stopping = self.stop_signal.is_stopped();
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
                let folding = self.fold_some(&mut owner, queue, bound, retry);
                match self.runtime.block_on(folding) {
                    Ok(()) => {}
                    Err(_) if self.stop_signal.is_stopped() => {
                        self.leave(false);
                        return Ok(());
                    }
                    Err(problem) => return Err(problem),
                }
            }
            gauges.show(&owner, must_wait, Instant::now());
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
                    return Ok(()); // the writer has ended: the process is ending
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

    /// Folds what is there, up to a stride, or until `bound` rows wait that later ones don't
    /// replace. Waiting for a message blocks: the thread has nothing else to do.
    async fn fold_some(
        &self,
        owner: &mut Owner,
        queue: &PartitionQueue<Member>,
        bound: usize,
        retry: &impl RetryPolicy,
    ) -> Result<(), String> {
        let Folding {
            store,
            generation,
            catalogue,
            ..
        } = &self.folding;
        let mut wait = POLL;
        for _ in 0..STRIDE {
            if owner.must_wait(bound) {
                return Ok(());
            }
            match queue.poll(wait) {
                Some(Ok(message)) => {
                    debug_assert_eq!(message.partition() as Home, self.shard);
                    following::fold(
                        owner,
                        &entry(&message),
                        *generation,
                        store,
                        *catalogue,
                        retry,
                    )
                    .await
                    .map_err(|error| error.to_string())?;
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
