//! Flush: what shards took out, written in four steps, each acknowledged before the next.
//!
//! 1. Cells, the state of hours, changes, and what records tell others since: links, and assertions
//!    that follow from them; 2. records and links received; 3. the checkpoint; 4. the log's own
//!    commit.
//!
//! A record is written only after everything that follows from it, and a restart relies on that.

use std::time::Duration;

use super::owner::Flush;
use super::{Log, OutsideError, Row, Store, outbox};
use crate::record::Home;

/// The flushes of several shards, merged: one insert a table and step.
#[derive(Debug)]
pub struct FlushBatch {
    generation: u32,
    flushes: Vec<Flush>,
    produced: Vec<(Home, Vec<u8>)>,
}

impl FlushBatch {
    /// Merges flushes. What their records tell others is addressed by the partition count of the
    /// log, `partitions`.
    pub fn new(generation: u32, partitions: u32, flushes: Vec<Flush>) -> Self {
        let outboxes = flushes.iter();
        let outboxes = outboxes.map(|flush| (flush.checkpoint.next_offset, &flush.outbox));
        let produced = outbox::messages(outboxes, partitions);
        FlushBatch {
            generation,
            flushes,
            produced,
        }
    }

    /// How many rows it writes, for the gauge.
    pub fn rows(&self) -> usize {
        self.flushes
            .iter()
            .map(|f| f.cells.len() + f.changes.len() + f.records.len() + f.links.len())
            .sum()
    }

    /// The shards in it.
    pub fn shards(&self) -> impl Iterator<Item = Home> {
        self.flushes.iter().map(|flush| flush.shard)
    }

    /// Writes all of it, each step acknowledged before the next. A step that fails for now is tried
    /// again as it is, for as long as `retry` allows: the batch is kept, since touched rows can't
    /// be taken a second time.
    ///
    /// # Errors
    /// What can't be fixed by trying again, or the last failure when `retry` refused another
    /// attempt.
    pub async fn write(
        self,
        log: &impl Log,
        store: &impl Store,
        retry: &impl RetryPolicy,
    ) -> Result<(), OutsideError> {
        let generation = self.generation;
        let mut checkpoints = Vec::new();
        let (mut cells, mut hourly, mut changes, mut records, mut links) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for flush in self.flushes {
            if !flush.cells.is_empty() {
                cells.push(Row {
                    shard: flush.shard,
                    version: flush.checkpoint.next_offset,
                    row: flush.cells,
                });
            }
            hourly.extend(flush.hourly);
            changes.extend(flush.changes);
            records.extend(flush.records);
            links.extend(flush.links);
            checkpoints.push((flush.shard, flush.checkpoint));
        }
        let produced = self.produced;
        retrying(retry, || async {
            let (cells, hourly, changes, links) = futures::join!(
                async {
                    if cells.is_empty() {
                        Ok(())
                    } else {
                        store.insert_cells(&cells).await
                    }
                },
                async {
                    if hourly.is_empty() {
                        Ok(())
                    } else {
                        store.insert_hourly(&hourly).await
                    }
                },
                async {
                    if changes.is_empty() {
                        Ok(())
                    } else {
                        store.insert_changes(generation, &changes).await
                    }
                },
                async {
                    if produced.is_empty() {
                        Ok(())
                    } else {
                        log.append(produced.clone()).await
                    }
                },
            );
            cells.and(hourly).and(changes).and(links)
        })
        .await?;
        retrying(retry, || async {
            let (records, links) = futures::join!(
                insert_records(store, generation, &records),
                insert_links(store, &links)
            );
            records.and(links)
        })
        .await?;
        retrying(retry, || store.insert_checkpoints(generation, &checkpoints)).await?;
        let positions: Vec<(Home, u64)> = checkpoints
            .iter()
            .map(|(shard, checkpoint)| (*shard, checkpoint.next_offset))
            .collect();
        retrying(retry, || log.commit(&positions)).await
    }
}

async fn insert_records<T: Store>(
    store: &T,
    generation: u32,
    rows: &[Row<crate::shard::RecordRow>],
) -> Result<(), OutsideError> {
    if rows.is_empty() {
        Ok(())
    } else {
        store.insert_records(generation, rows).await
    }
}

async fn insert_links<T: Store>(
    store: &T,
    rows: &[Row<crate::shard::LinkRow>],
) -> Result<(), OutsideError> {
    if rows.is_empty() {
        Ok(())
    } else {
        store.insert_links(rows).await
    }
}

/// Decides whether and when to retry. A trait, so that the simulation needs no clock.
pub trait RetryPolicy: Sync {
    /// Called after failure number `attempt` (from 1) that may pass; waits, then returns whether to
    /// retry.
    fn should_retry(&self, attempt: u32, error: &OutsideError)
    -> impl Future<Output = bool> + Send;

    /// Called after failures when nothing needs to be tried again any more: it was done, or was
    /// refused, which the caller reports.
    fn recovered(&self) {}
}

/// Never tries again.
pub struct Once;

impl RetryPolicy for Once {
    async fn should_retry(&self, _attempt: u32, _error: &OutsideError) -> bool {
        false
    }
}

/// The wait before attempt number `attempt + 1`: doubling from 100 ms to 10 s.
pub fn backoff(attempt: u32) -> Duration {
    Duration::from_millis(100u64 << attempt.saturating_sub(1).min(7)).min(Duration::from_secs(10))
}

/// Repeats an action until it succeeds, is refused, or `retry` refuses another attempt.
///
/// # Errors
/// The last failure.
pub async fn retrying<T, F: Future<Output = Result<T, OutsideError>>>(
    retry: &impl RetryPolicy,
    mut act: impl FnMut() -> F,
) -> Result<T, OutsideError> {
    let mut attempt = 0;
    loop {
        match act().await {
            Err(error) if error.is_transient => {
                attempt += 1;
                if !retry.should_retry(attempt, &error).await {
                    return Err(error);
                }
            }
            done => {
                if attempt > 0 {
                    retry.recovered();
                }
                return done;
            }
        }
    }
}
