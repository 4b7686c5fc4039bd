//! Folds a log in memory to its end, links included, and flushes the result. `report` and many
//! tests run this way.

use super::Store;
use super::catalogue::VersionsOf;
use super::flush::{FlushBatch, Once};
use super::following::{FoldingError, fold};
use super::memory::MemoryLog;
use super::owner::Owner;

/// How many messages are folded between two flushes of a shard.
const STRIDE: usize = 2_000;

/// Folds and flushes until every owner has passed the end of its partition and no link is on its
/// way.
///
/// # Errors
/// What a message or the store made impossible.
pub async fn run_to_completion(
    owners: &mut [Owner],
    generation: u32,
    log: &MemoryLog,
    store: &impl Store,
    catalogue: VersionsOf,
) -> Result<(), FoldingError> {
    loop {
        let mut flushes = Vec::new();
        for owner in owners.iter_mut() {
            for entry in log.read(owner.number(), owner.position(), STRIDE) {
                fold(owner, &entry, generation, store, catalogue, &Once).await?;
            }
            flushes.extend(owner.flush());
        }
        if flushes.is_empty() {
            return Ok(());
        }
        FlushBatch::new(generation, log.partitions(), flushes)
            .write(log, store, &Once)
            .await?;
        owners.iter_mut().for_each(Owner::acknowledge);
    }
}
