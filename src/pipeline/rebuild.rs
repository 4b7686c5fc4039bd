//! Rebuild: builds the next epoch beside the running one, and switches to it when it is complete.
//!
//! Three forms: new definitions on the same log; a new log, filled from the facts and fed by the
//! old log; a new reading of the input topics into an empty log. Every step may be repeated, so a
//! rebuild that was killed is started again and continues.

use std::future::Future;

use super::epochs::{Epoch, Stage};
use super::flush::{RetryPolicy, retrying};
use super::restart::check_log;
use super::{Checkpoint, Log, OutsideError, Store, route};
use crate::event::wire::{self, Message, Name, RecordMessage, WireError};
use crate::event::{Assertion, SideInput};
use crate::record::{Clock, Entity, Home, Origin, Placement, SCHEMA, Stamp, answers_for, home};

/// How often in turn the checkpoints must pass the log's noted ends: once for what was asserted,
/// once for what follows from it for other records, and once for each link that leads to another.
/// The longest such chain: a field value says of a merged lead that it became a deal; the lead
/// names its deal; the deal sends a link to the lead that one was merged into; that lead answers
/// with its source; and with that source the deal sends links to its lead and its account. An
/// answer depends on no link: the end.
pub const TURNS: u32 = 6;
/// How many bytes of records go into one message of the log, about.
const MESSAGE_BYTES: usize = 256 << 10;
/// How many messages are on their way at once.
const TOGETHER: usize = 64;

/// What the next epoch differs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// In its definitions: the same log, evaluated again.
    Definitions,
    /// In its log: filled from the facts, and fed by the old one.
    Log,
    /// In how the input is read: everything is read again into an empty log.
    Mapping,
}

/// What a rebuild waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// Messages of the inputs that are not in the new log yet.
    Inputs(u64),
    /// Messages of the new log that are not folded and flushed yet, in this turn of [`TURNS`].
    Fold(u32, u64),
}

/// What a rebuild needs besides log and store. A trait, so that the simulation needs no clock and
/// no broker.
pub trait Around: RetryPolicy {
    /// Sets where the old log is read on from, a position a shard, unless that was done already.
    fn carry_from(
        &self,
        positions: &[u64],
    ) -> impl Future<Output = Result<(), OutsideError>> + Send;

    /// Where the inputs of the new log end now, partition by partition: of the old log that is
    /// carried over, of the topics that are read again; none at all in the form
    /// [`Form::Definitions`].
    fn input_ends(&self) -> impl Future<Output = Result<Vec<u64>, OutsideError>> + Send;

    /// How far they are written to the new log, in the same order.
    fn input_positions(&self) -> impl Future<Output = Result<Vec<u64>, OutsideError>> + Send;

    /// Called when there is nothing to do but wait.
    fn wait(&self, what: Waiting) -> impl Future<Output = ()> + Send;

    /// The present (µs), which the switch is dated with.
    fn now(&self) -> i64;
}

/// Builds `next` beside `current` and switches to it.
///
/// # Errors
/// What log or store refuse. Nothing is lost then: the same call continues.
pub async fn rebuild(
    form: Form,
    current: &Epoch,
    next: &Epoch,
    (old_log, new_log): (&impl Log, &impl Log),
    store: &impl Store,
    around: &impl Around,
) -> Result<(), OutsideError> {
    if form == Form::Log {
        let positions = carry_positions(current, old_log, store, around).await?;
        retrying(around, || around.carry_from(&positions)).await?;
    }
    // The definitions are in the store before the log names the epoch.
    retrying(around, || store.put_epoch(next)).await?;
    match form {
        Form::Definitions => retrying(around, || new_log.append(start_messages(next))).await?,
        Form::Log => {
            let done = retrying(around, || store.copied(next.epoch)).await?;
            for shard in (0..current.partitions).filter(|shard| !done.contains(shard)) {
                copy_records(shard, current, next.partitions, new_log, store, around).await?;
                retrying(around, || store.record_copied(next.epoch, shard)).await?;
            }
        }
        Form::Mapping => {}
    }
    until_routed(around).await?;
    until_folded(next, new_log, store, around).await?;
    let live = Epoch {
        stage: Stage::Live,
        live_since: Some(around.now()),
        ..next.clone()
    };
    retrying(around, || store.put_epoch(&live)).await
}

/// Where carrying begins in each shard of the old log: at its checkpoint, read *before* its facts
/// are. Where the log is not the one the checkpoint was made on, at its beginning: folding a
/// message twice changes nothing.
async fn carry_positions(
    current: &Epoch,
    log: &impl Log,
    store: &impl Store,
    patience: &impl RetryPolicy,
) -> Result<Vec<u64>, OutsideError> {
    let mut positions = Vec::new();
    for shard in 0..current.partitions {
        let checkpoint = retrying(patience, || store.checkpoint(current.generation, shard)).await?;
        positions.push(match checkpoint {
            Some(Checkpoint { next_offset, .. })
                if retrying(patience, || is_whole(current.generation, shard, log, store))
                    .await? =>
            {
                next_offset
            }
            _ => 0,
        });
    }
    Ok(positions)
}

/// True if a shard's log is the one its checkpoint was made on, and nothing after the checkpoint
/// was deleted.
///
/// # Errors
/// If log or store can't be read.
pub async fn is_whole(
    generation: u32,
    shard: Home,
    log: &impl Log,
    store: &impl Store,
) -> Result<bool, OutsideError> {
    let Some(checkpoint) = store.checkpoint(generation, shard).await? else {
        return Ok(true);
    };
    match check_log(shard, &checkpoint, log).await {
        Ok(()) => Ok(true),
        Err(super::restart::RestartError::Outside(error)) => Err(error),
        Err(_) => Ok(false),
    }
}

/// The message that begins an epoch, for every shard of its log. It only asserts that there is such
/// an epoch, always in the same words, so that repeating it changes nothing.
pub fn start_messages(epoch: &Epoch) -> Vec<(Home, Vec<u8>)> {
    let stamp = Stamp {
        clock: Clock::default(),
        origin: Origin::default(),
    };
    let start = Assertion {
        entity: Entity::EPOCH,
        id: epoch.epoch.to_string().into(),
        stamp,
        values: Vec::new(),
    };
    let message = wire::write_assertions(std::iter::once(&start));
    (0..epoch.partitions)
        .map(|shard| (shard, message.clone()))
        .collect()
}

/// Brings the records of a shard into a log of so many partitions: whole, with every value's clock
/// and origin, ties and cuts.
async fn copy_records(
    shard: Home,
    from: &Epoch,
    partitions: u32,
    log: &impl Log,
    store: &impl Store,
    patience: &impl RetryPolicy,
) -> Result<(), OutsideError> {
    let mut records = retrying(patience, || store.records(from.generation, shard)).await?;
    records.retain(|record| {
        // Epochs start again in a new log. What every shard has, every shard is sent by the one
        // that answers for it.
        record.entity.placement() != Placement::Everywhere(SideInput::EpochStart)
            && answers_for(shard, record.entity, &record.id, from.partitions)
    });
    let whole: Vec<RecordMessage<'_>> = records
        .iter()
        .map(|record| RecordMessage {
            name: Name {
                entity: record.entity,
                id: (*record.id).into(),
            },
            state: (*record.state).into(),
        })
        .collect();
    let messages = address(&whole, partitions);
    for together in messages.chunks(TOGETHER) {
        retrying(patience, || log.append(together.to_vec())).await?;
    }
    Ok(())
}

/// Whole records as messages to their homes.
fn address(records: &[RecordMessage<'_>], partitions: u32) -> Vec<(Home, Vec<u8>)> {
    let mut by_home: Vec<Vec<&RecordMessage<'_>>> = vec![Vec::new(); partitions as usize];
    for record in records {
        match record.name.entity.placement() {
            Placement::Home => {
                by_home[home(record.name.entity, &record.name.id, partitions) as usize].push(record)
            }
            Placement::Everywhere(_) => by_home.iter_mut().for_each(|shard| shard.push(record)),
        }
    }
    let mut messages = Vec::new();
    for (shard, mut records) in by_home.into_iter().enumerate() {
        while !records.is_empty() {
            let mut bytes = 0;
            let fits = |record: &&&RecordMessage<'_>| {
                let is_room = bytes < MESSAGE_BYTES;
                bytes += record.state.len();
                is_room
            };
            let fit = records.iter().take_while(fits).count();
            let rest = records.split_off(fit);
            messages.push((
                shard as Home,
                wire::write_records(std::mem::replace(&mut records, rest).into_iter()),
            ));
        }
    }
    messages
}

/// What a message of an older log becomes in a newer one of so many partitions: assertions go to
/// their homes there. Links, what follows from records and starts of epochs are left out: they
/// belong to the log they are in, and the newer one has its own.
///
/// # Errors
/// If the message isn't one of this version's.
pub fn carry(message: &[u8], partitions: u32) -> Result<Vec<(Home, Vec<u8>)>, WireError> {
    Ok(match wire::read(message, &SCHEMA)? {
        Message::Assertions(batch) => {
            let carried = batch.assertions().filter(|a| a.entity != Entity::EPOCH);
            route::partition_by_home(&carried.collect::<Vec<_>>(), partitions)
        }
        Message::Records(records) => address(&records, partitions),
        Message::Links(_) | Message::Derived(_) => Vec::new(),
    })
}

/// Waits until all that the inputs hold now is in the new log.
async fn until_routed(around: &impl Around) -> Result<(), OutsideError> {
    let ends = retrying(around, || around.input_ends()).await?;
    loop {
        let positions = retrying(around, || around.input_positions()).await?;
        let missing = behind(&positions, &ends);
        if missing == 0 {
            return Ok(());
        }
        around.wait(Waiting::Inputs(missing)).await;
    }
}

/// Waits until, turn after turn, every checkpoint has passed what was the log's end at the
/// beginning of the turn.
async fn until_folded(
    epoch: &Epoch,
    log: &impl Log,
    store: &impl Store,
    around: &impl Around,
) -> Result<(), OutsideError> {
    for turn in 1..=TURNS {
        let mut ends = Vec::new();
        for shard in 0..epoch.partitions {
            ends.push(retrying(around, || log.bounds(shard)).await?.1);
        }
        loop {
            let mut positions = Vec::new();
            for shard in 0..epoch.partitions {
                let checkpoint =
                    retrying(around, || store.checkpoint(epoch.generation, shard)).await?;
                positions.push(checkpoint.map_or(0, |checkpoint| checkpoint.next_offset));
            }
            let missing = behind(&positions, &ends);
            if missing == 0 {
                break;
            }
            around.wait(Waiting::Fold(turn, missing)).await;
        }
    }
    Ok(())
}

fn behind(positions: &[u64], ends: &[u64]) -> u64 {
    let position = |i: usize| positions.get(i).copied().unwrap_or_default();
    ends.iter()
        .enumerate()
        .map(|(i, end)| end.saturating_sub(position(i)))
        .sum()
}
