//! Restart: the state of a shard, read back from the store; and the checks of the log before it
//! goes on.

use std::collections::BTreeSet;

use super::catalogue::VersionsOf;
use super::known::Known;
use super::owner::Owner;
use super::{Checkpoint, Log, OutsideError, Store, StoredLink, StoredRecord, message_hash};
use crate::event::wire::{LinkMessage, Name};
use crate::record::{Entity, Home};
use crate::shard::Shard;

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
        "shard {shard} stops at its checkpoint (offset {next_offset}): {problem}; make a new log of what is known: dealpulse rebuild log"
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

/// Reads a shard back: the checkpoint *first*, then records and links, so that what is read is
/// never behind the checkpoint; then works out the cells.
///
/// # Errors
/// If the log is not what it was or what it has to be, or what is stored can't be read.
pub async fn restore(
    shard: Home,
    generation: u32,
    log: &impl Log,
    store: &impl Store,
    catalogue: VersionsOf,
) -> Result<Owner, RestartError> {
    log.check().await?;
    let checkpoint = store.checkpoint(generation, shard).await?;
    if let Some(checkpoint) = &checkpoint {
        check_log(shard, checkpoint, log).await?;
    }
    // The epochs are read after the checkpoint, too: if anything of an epoch was folded before it,
    // the epoch was in the store before that. So does an epoch that leaves older ones: an owner
    // that continues from a flush without their cells knows that they are left.
    let known = Known::of(&store.epochs().await?, generation, catalogue)?;
    let mut facts = facts(shard, generation, &known, u64::MAX, store).await?;
    let append_time = checkpoint.as_ref().map_or(0, |known| known.append_time);
    facts.state.finish_restore(append_time);
    Ok(Owner::new(shard, facts.state, checkpoint, facts.version))
}

/// A shard's records as restored from the store; no cell is computed yet.
pub struct Facts {
    /// Records and links.
    pub state: Shard,
    /// The greatest version among them.
    pub version: u64,
    /// The records that something newer than a given offset was stored of.
    pub newer: BTreeSet<(Entity, String)>,
}

/// Reads the facts of a shard, with the links of the epochs given, and notes which records they
/// show in a state after the offset `since`.
///
/// # Errors
/// If the store can't be read, or what is stored can't be.
pub async fn facts(
    shard: Home,
    generation: u32,
    known: &Known,
    since: u64,
    store: &impl Store,
) -> Result<Facts, RestartError> {
    let founding: Vec<_> = known
        .live
        .iter()
        .filter(|live| live.is_founding)
        .map(|live| (live.epoch, live.definitions.clone()))
        .collect();
    let mut state = Shard::new(&founding);
    known
        .live
        .iter()
        .for_each(|live| state.learn(live.epoch, live.definitions.clone()));
    known.unkept.iter().for_each(|epoch| state.forget(*epoch));
    let (mut greatest, mut newer) = (0, BTreeSet::new());
    let mut note = |version: u64, entity: Entity, id: &str| {
        greatest = greatest.max(version);
        if version > since {
            newer.insert((entity, id.to_owned()));
        }
    };
    // The first that can't be restored stops the shard; the rest is skipped.
    let mut damaged = None;
    let mut restore = |record: StoredRecord<'_>| {
        note(record.version, record.entity, &record.id);
        if let Err(error) = state.restore_record(record.entity, &record.id, &record.state) {
            let kind = record.entity.name();
            damaged.get_or_insert_with(|| (kind, record.id.into_owned(), error.to_string()));
        }
    };
    store.each_record(generation, shard, &mut restore).await?;
    for live in &known.live {
        let mut restore = |link: StoredLink<'_>| {
            note(link.version, link.target.0, &link.target.1);
            let message = LinkMessage {
                epoch: link.epoch,
                target: Name {
                    entity: link.target.0,
                    id: (*link.target.1).into(),
                },
                sender: Name {
                    entity: link.sender.0,
                    id: link.sender.1,
                },
                version: link.link_version,
                content: link.content,
            };
            if let Err(error) = state.restore_link(&message) {
                let target = link.target.1.into_owned();
                damaged.get_or_insert_with(|| ("link to", target, error.to_string()));
            }
        };
        store.each_link(live.epoch, shard, &mut restore).await?;
    }
    if let Some((kind, id, problem)) = damaged {
        return Err(RestartError::Damaged {
            shard,
            kind,
            id,
            problem,
        });
    }
    Ok(Facts {
        state,
        version: greatest,
        newer,
    })
}

/// Reads the last folded message again: a topic that was recreated or cut short shows here, before
/// anything is folded on it.
pub(super) async fn check_log(
    shard: Home,
    checkpoint: &Checkpoint,
    log: &impl Log,
) -> Result<(), RestartError> {
    let next_offset = checkpoint.next_offset;
    let other = |problem: String| RestartError::OtherLog {
        shard,
        next_offset,
        problem,
    };
    let (low, high) = log.bounds(shard).await?;
    if high < next_offset {
        return Err(other(format!(
            "the log ends at offset {high}, before it: the topic was recreated or cut short"
        )));
    }
    if next_offset == 0 || low == next_offset {
        return Ok(()); // retention has taken just what was folded, and nothing else
    }
    if low > next_offset {
        return Err(other(format!(
            "the log begins at offset {low}, after it: retention took messages that were never folded"
        )));
    }
    match log.read_again(shard, next_offset - 1).await? {
        Some(entry) if message_hash(&entry.payload) == checkpoint.message_hash => Ok(()),
        Some(_) => Err(other("the message before it is another one than was folded: the topic was recreated or cut short".into())),
        None => Err(other("the message before it is gone while older ones are there".into())),
    }
}
