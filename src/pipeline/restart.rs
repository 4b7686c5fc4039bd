//! Restart: what a shard needs to go on, read back from the store; and the questions asked of the log before it does.

use std::sync::Arc;

use super::owner::Owner;
use super::{Checkpoint, Log, OutsideError, Store, message_hash};
use crate::definitions::Definitions;
use crate::event::wire::{LinkMessage, Name};
use crate::record::Home;
use crate::shard::Shard;

/// An epoch made ready to fold for.
#[derive(Debug, Clone)]
pub struct Live {
    /// Its number.
    pub epoch: u32,
    /// What its numbers mean.
    pub definitions: Arc<Definitions>,
}

/// Why a shard can't be taken on.
#[derive(Debug, thiserror::Error)]
pub enum RestartError {
    /// The log or the store could not be read.
    #[error(transparent)]
    Outside(#[from] OutsideError),
    /// The facts can't be read back.
    #[error("shard {shard} can't be restored: {kind} `{id}`: {problem}")]
    Damaged {
        /// The shard.
        shard: Home,
        /// What it is.
        kind: &'static str,
        /// Which one.
        id: String,
        /// What is wrong.
        problem: String,
    },
    /// The log is not the one the checkpoint was made on.
    #[error(
        "shard {shard} stops at its checkpoint (offset {next_offset}): {problem}; count anew: a new [log] topic, [clickhouse] database and [kafka] group, and the input is routed again"
    )]
    OtherLog {
        /// The shard.
        shard: Home,
        /// The checkpoint's offset.
        next_offset: u64,
        /// How the log differs.
        problem: String,
    },
}

/// Reads a shard back: the checkpoint *first*, then records and links, so that what is read is never behind the checkpoint;
/// then works out the cells.
///
/// # Errors
/// If the log is another one than before, or what is stored can't be read.
pub async fn restore(shard: Home, generation: u32, epochs: &[Live], log: &impl Log, store: &impl Store) -> Result<Owner, RestartError> {
    let checkpoint = store.checkpoint(generation, shard).await?;
    if let Some(checkpoint) = &checkpoint {
        check_log(shard, checkpoint, log).await?;
    }
    let epochs_of_shard: Vec<(u32, Arc<Definitions>)> = epochs.iter().map(|live| (live.epoch, live.definitions.clone())).collect();
    let mut state = Shard::new(&epochs_of_shard);
    let mut restored = 0;
    for record in store.records(generation, shard).await? {
        restored = restored.max(record.version);
        let kind = record.entity.name();
        let put_back = state.restore_record(record.entity, &record.id, &record.state);
        put_back.map_err(|error| RestartError::Damaged { shard, kind, id: record.id, problem: error.to_string() })?;
    }
    for live in epochs {
        for link in store.links(live.epoch, shard).await? {
            restored = restored.max(link.version);
            let put_back = state.restore_link(&LinkMessage {
                epoch: link.epoch,
                target: Name { entity: link.target.0, id: link.target.1.as_str().into() },
                sender: Name { entity: link.sender.0, id: link.sender.1.as_str().into() },
                version: link.link_version,
                content: link.content.as_slice().into(),
            });
            put_back.map_err(|error| RestartError::Damaged { shard, kind: "link to", id: link.target.1, problem: error.to_string() })?;
        }
    }
    state.finish_restore();
    Ok(Owner::new(shard, state, checkpoint, restored))
}

/// Reads the last folded message again: a topic that was recreated or cut short shows here, before anything is folded on it.
async fn check_log(shard: Home, checkpoint: &Checkpoint, log: &impl Log) -> Result<(), RestartError> {
    let next_offset = checkpoint.next_offset;
    let other = |problem: String| RestartError::OtherLog { shard, next_offset, problem };
    let (low, high) = log.bounds(shard).await?;
    if high < next_offset {
        return Err(other(format!("the log ends at offset {high}, before it: the topic was recreated or cut short")));
    }
    if next_offset == 0 || low == next_offset {
        return Ok(()); // retention has taken just what was folded, and nothing else
    }
    if low > next_offset {
        return Err(other(format!("the log begins at offset {low}, after it: retention took messages that were never folded")));
    }
    match log.read_again(shard, next_offset - 1).await? {
        Some(entry) if message_hash(&entry.payload) == checkpoint.message_hash => Ok(()),
        Some(_) => Err(other("the message before it is another one than was folded: the topic was recreated or cut short".into())),
        None => Err(other("the message before it is gone while older ones are there".into())),
    }
}
