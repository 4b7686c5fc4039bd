//! The watermark: the time up to which everything the log took is in the store, in every shard.

use std::collections::BTreeMap;

use super::{Checkpoint, Epoch, Log, OutsideError, Store};
use crate::record::Home;

/// How far the shards of an epoch are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Up to when (µs) everything the log took is in the store; `None` as long as it is not known.
    pub watermark: Option<i64>,
    /// The greatest append time (µs) that any shard has folded: the hours it doesn't keep any more
    /// are not kept by all.
    pub append_time: i64,
    /// The next offset of every shard that was flushed, in order of shard. A flush writes its cells
    /// before it: as long as these stay, no cell is written that counts.
    pub flushed: Vec<(Home, u64)>,
}

/// The progress of an epoch at the instant `now`.
///
/// A shard whose checkpoint has reached the end of its log does not hold back the watermark,
/// however long it has been idle: up to now it is complete. One that is behind is complete up to
/// the append time of its checkpoint. Append times are the log's own, so an event's clock plays no
/// part; and one that lies ahead of `now` is a wrong broker's clock and is not used: the next
/// message's time is instead, and if it is of no use either, nothing is promised.
///
/// # Errors
/// If the log or the store can't be read.
pub async fn progress(
    epoch: &Epoch,
    now: i64,
    log: &impl Log,
    store: &impl Store,
) -> Result<Progress, OutsideError> {
    let checkpoints = store
        .checkpoints(epoch.generation, epoch.partitions)
        .await?;
    let checkpoints: BTreeMap<Home, Checkpoint> = checkpoints.into_iter().collect();
    let append_times = checkpoints.values().map(|known| known.append_time);
    let next_offsets = checkpoints.iter();
    let next_offsets = next_offsets.map(|(shard, checkpoint)| (*shard, checkpoint.next_offset));
    Ok(Progress {
        watermark: watermark(epoch, now, log, &checkpoints).await?,
        append_time: append_times.max().unwrap_or_default(),
        flushed: next_offsets.collect(),
    })
}

async fn watermark(
    epoch: &Epoch,
    now: i64,
    log: &impl Log,
    checkpoints: &BTreeMap<Home, Checkpoint>,
) -> Result<Option<i64>, OutsideError> {
    let mut watermark = now;
    for shard in 0..epoch.partitions {
        let checkpoint = checkpoints.get(&shard);
        let (_, end) = log.bounds(shard).await?;
        let complete = match checkpoint {
            Some(checkpoint) if checkpoint.next_offset >= end => continue,
            Some(Checkpoint { append_time, .. }) if *append_time <= now => *append_time,
            Some(checkpoint) => match log.read_again(shard, checkpoint.next_offset).await? {
                Some(next) if next.append_time <= now => next.append_time,
                Some(_) | None => return Ok(None),
            },
            None if end == 0 => continue,
            None => return Ok(None),
        };
        watermark = watermark.min(complete);
    }
    Ok(Some(watermark))
}
