//! Instances that own shards, driven poll by poll. To drop one is to kill it.

use std::collections::BTreeMap;
use std::task::{Context, Poll};

use dealpulse::event::wire::{self, LinkMessage, Name};
use dealpulse::pipeline::catalogue::left_by;
use dealpulse::pipeline::epochs::Epoch;
use dealpulse::pipeline::flush::{FlushBatch, retrying};
use dealpulse::pipeline::owner::{Flush, FoldError, Owner};
use dealpulse::pipeline::restart::{RestartError, restore};
use dealpulse::pipeline::{HourlyRows, Log, OutsideError, Row, Store, hour_of};
use dealpulse::record::{Entity, Home, home};
use dealpulse::shard::{CellRow, RecordRow, Shard};
use dealpulse::window::Cell;
use futures::future::BoxFuture;
use futures::task::noop_waker_ref;

use super::Broken;
use super::rows::{Key, Value};
use super::versions::{self, Program};
use super::world::Sim;

pub fn poll<T>(future: &mut BoxFuture<'static, T>) -> Option<T> {
    match future
        .as_mut()
        .poll(&mut Context::from_waker(noop_waker_ref()))
    {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// A shard of an instance.
enum Slot {
    Restoring(BoxFuture<'static, Result<Owner, RestartError>>),
    /// With the cells as it wrote them last, for the rules about what is written though it is
    /// equal.
    Running(Box<Owner>, BTreeMap<Key, Cell>),
}

/// One instance of the pipeline, with some shards of one log and one writer.
pub struct Instance {
    sim: Sim,
    program: Program,
    shards: Vec<Home>,
    slots: Vec<Slot>,
    writing: Option<BoxFuture<'static, Result<(), OutsideError>>>,
    flushes: u64,
}

impl Instance {
    /// Of one of the versions there are of the program.
    pub fn new(sim: &Sim, shards: Vec<Home>) -> Instance {
        let program = sim.any_program();
        let slots = shards
            .iter()
            .map(|shard| Slot::Restoring(restoring(*shard, sim.clone(), program)))
            .collect();
        Instance {
            sim: sim.clone(),
            program,
            shards,
            slots,
            writing: None,
            flushes: 0,
        }
    }

    /// Another one that takes over everything this one has.
    pub fn successor(&self) -> Instance {
        Instance::new(&self.sim, self.shards.clone())
    }

    /// Of the log of that generation.
    pub fn is_of(&self, generation: u32) -> bool {
        self.sim.generation == generation
    }

    /// A little progress somewhere. `Err` when the instance ends, as one whose store stays down
    /// does.
    pub fn step(&mut self) -> Result<(), String> {
        let chosen = self.sim.below(self.slots.len() + 1);
        let Some(slot) = self.slots.get_mut(chosen) else {
            return self.write();
        };
        match slot {
            Slot::Restoring(future) => match poll(future) {
                None => {}
                Some(Ok(owner)) => {
                    let base = if self.sim.lock().broken == Broken::DifferentOnly {
                        cells(&owner, self.program)
                    } else {
                        BTreeMap::new()
                    };
                    *slot = Slot::Running(Box::new(owner), base);
                }
                Some(Err(RestartError::Outside(error))) => return Err(error.to_string()),
                Some(Err(error)) => panic!("{error}"),
            },
            Slot::Running(owner, _) => {
                let count = 1 + self.sim.below(4);
                fold(owner, &self.sim, self.program, count)?;
            }
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), String> {
        if let Some(writing) = &mut self.writing {
            match poll(writing) {
                None => {}
                Some(Err(error)) => return Err(error.to_string()),
                Some(Ok(())) => {
                    self.writing = None;
                    self.owners().for_each(Owner::acknowledge);
                }
            }
            return Ok(());
        }
        let sim = self.sim.clone();
        let (partitions, generation) = (sim.partitions(), sim.generation);
        let broken = sim.lock().broken;
        let mut batches: Vec<Vec<Flush>> = vec![Vec::new()];
        for slot in &mut self.slots {
            let Slot::Running(owner, base) = slot else {
                continue;
            };
            let Some(mut flush) = take(owner, self.program) else {
                continue;
            };
            self.flushes += 1;
            if broken == Broken::Torn && fold(owner, &sim, self.program, 1)? {
                // The records as they are by now, under the version the flush was taken at.
                owner.acknowledge();
                if let Some(next) = take(owner, self.program) {
                    let version = flush.checkpoint.next_offset;
                    for row in &mut flush.records {
                        if let Some(newer) = next
                            .records
                            .iter()
                            .find(|n| (n.row.entity, n.row.id()) == (row.row.entity, row.row.id()))
                        {
                            *row = Row {
                                version,
                                ..newer.clone()
                            };
                        }
                    }
                    batches.resize_with(2, Vec::new);
                    batches[1].push(next);
                }
            }
            note_left(&flush, &sim);
            let rows = compared(&flush, base);
            note_overtaken(&rows, &sim, owner);
            spoil(&mut flush, rows, broken);
            spoil_hours(&mut flush, &sim, broken);
            batches[0].push(flush);
        }
        if batches[0].is_empty() {
            return Ok(());
        }
        let counted = self.flushes;
        self.writing = Some(Box::pin(async move {
            for mut flushes in batches {
                if broken == Broken::RecordsBeforeLinks {
                    for flush in &mut flushes {
                        let (records, links) = (
                            std::mem::take(&mut flush.records),
                            std::mem::take(&mut flush.links),
                        );
                        retrying(&sim, || sim.insert_records(generation, &records)).await?;
                        retrying(&sim, || sim.insert_links(&links)).await?;
                    }
                }
                if broken == Broken::FieldValuesBeforeDerived {
                    for flush in &flushes {
                        let is_one = |row: &&Row<RecordRow>| row.row.entity == Entity::FIELD_VALUE;
                        let records: Vec<_> =
                            flush.records.iter().filter(is_one).cloned().collect();
                        retrying(&sim, || sim.insert_records(generation, &records)).await?;
                    }
                }
                let addressed_by = if broken == Broken::ClientsPartitioner {
                    partitions - 1
                } else {
                    partitions
                };
                if broken == Broken::LinksCountedByOwner {
                    let taken: Vec<_> = flushes
                        .iter_mut()
                        .flat_map(|f| std::mem::take(&mut f.outbox.links))
                        .collect();
                    let messages = taken.iter().map(|link| {
                        (
                            home(link.target.0, &link.target.1, partitions),
                            link_message(link, counted),
                        )
                    });
                    let messages: Vec<(Home, Vec<u8>)> = messages.collect();
                    retrying(&sim, || sim.append(messages.clone())).await?;
                }
                FlushBatch::new(generation, addressed_by, flushes)
                    .write(&sim, &sim, &sim)
                    .await?;
            }
            Ok(())
        }));
        Ok(())
    }

    fn owners(&mut self) -> impl Iterator<Item = &mut Owner> {
        self.slots.iter_mut().filter_map(|slot| {
            if let Slot::Running(owner, _) = slot {
                Some(&mut **owner)
            } else {
                None
            }
        })
    }

    /// Everything there is was folded and written.
    pub fn is_at_rest(&self) -> bool {
        let ends = self.sim.lock().ends(self.sim.generation);
        let rests = |slot: &Slot| matches!(slot, Slot::Running(o, _) if o.flushed() == ends[o.number() as usize] && o.flushed() == o.position());
        self.writing.is_none() && self.slots.iter().all(rests)
    }
}

/// Folds up to so many messages. Whether there were any.
///
/// # Errors
/// If the owner can't go on.
fn fold(owner: &mut Owner, sim: &Sim, program: Program, count: usize) -> Result<bool, String> {
    let entries = sim.read(owner.number(), owner.position(), count);
    for entry in &entries {
        match owner.fold(entry) {
            Err(FoldError::UnknownEpoch { .. }) => {
                // Without the rule an owner that hears of an epoch looks into the table and begins
                // it there.
                if sim.lock().broken == Broken::EpochsBegunByTable {
                    return Err("an epoch began".into());
                }
                owner.learn(&sim.known(program).map_err(|error| error.to_string())?);
                owner
                    .fold(entry)
                    .expect("the epoch is in the store before it is in the log");
            }
            folded => folded.expect("the log holds what was written to it"),
        }
    }
    Ok(!entries.is_empty())
}

fn link_message(link: &dealpulse::shard::OutLink, version: u64) -> Vec<u8> {
    let name = |(entity, id): &(Entity, String)| Name {
        entity: *entity,
        id: id.clone().into(),
    };
    let content = link.content.as_slice().into();
    wire::write_links(
        [LinkMessage {
            epoch: link.epoch,
            target: name(&link.target),
            sender: name(&link.sender),
            version,
            content,
        }]
        .iter(),
    )
}

/// What an owner has to write, by the formulas of its program.
fn take(owner: &mut Owner, program: Program) -> Option<Flush> {
    let mut flush = owner.flush()?;
    if program != Program::Today {
        let rows = flush.cells.decode();
        flush.cells = rows.map(|row| program.count(row)).collect();
    }
    Some(flush)
}

/// The cells of a flush, each with what the same owner wrote of it last.
fn compared(flush: &Flush, base: &mut BTreeMap<Key, Cell>) -> Vec<(CellRow, Option<Cell>)> {
    let rows = flush.cells.decode();
    rows.map(|row| {
        let before = base.insert(Value::Cell(row.clone()).key(), row.cell.clone());
        (row, before)
    })
    .collect()
}

/// Counts the cells that are what they were at this owner's last flush, while another owner wrote
/// something else in between.
fn note_overtaken(rows: &[(CellRow, Option<Cell>)], sim: &Sim, owner: &Owner) {
    let world = &mut *sim.lock();
    let is_overtaken = |(row, before): &&(CellRow, Option<Cell>)| {
        let value = Value::Cell(row.clone());
        let place = (sim.generation, owner.number(), value.key());
        before.as_ref() == Some(&row.cell)
            && world
                .tables
                .get(&place)
                .is_some_and(|stored| stored.version > owner.flushed() && stored.row != value)
    };
    world.seen.overtaken += rows.iter().filter(is_overtaken).count();
}

/// Counts the flushes for an epoch after another version of the program has left it.
fn note_left(flush: &Flush, sim: &Sim) {
    let world = &mut *sim.lock();
    if world.programs.len() == 1 {
        return;
    }
    let epochs: Vec<Epoch> = world.epochs.values().cloned().collect();
    let is_left = |row: CellRow| left_by(&epochs, row.epoch).is_some();
    world.seen.counted_beside += usize::from(flush.cells.decode().any(is_left));
}

/// Takes a rule away from a flush.
fn spoil(flush: &mut Flush, rows: Vec<(CellRow, Option<Cell>)>, broken: Broken) {
    let is_written = |(row, before): &(CellRow, Option<Cell>)| match broken {
        Broken::ZerosDropped => !row.cell.is_zero(),
        Broken::DifferentOnly => match before {
            Some(before) => *before != row.cell,
            None => !row.cell.is_zero(),
        },
        Broken::EvaluatedOnceAFlush => before.as_ref() != Some(&row.cell),
        _ => true,
    };
    if !rows.iter().all(is_written) {
        let rows = rows.into_iter().filter(is_written);
        flush.cells = rows.map(|(row, _)| row).collect();
    }
    if broken == Broken::WithdrawalsDropped {
        flush.links.retain(|row| !row.row.withdrawn);
    }
}

/// Takes a rule of the state of hours away from a flush.
fn spoil_hours(flush: &mut Flush, sim: &Sim, broken: Broken) {
    let version = flush.checkpoint.next_offset;
    let is_set_aside = |rows: &HourlyRows| rows.cells.version < version;
    let world = &mut *sim.lock();
    world.seen.set_aside += flush
        .hourly
        .iter()
        .filter(|rows| is_set_aside(rows))
        .count();
    match broken {
        Broken::HoursNotSetAside => flush.hourly.retain(|rows| !is_set_aside(rows)),
        Broken::HoursByTheLastMessage => {
            let log = &world.logs[&sim.generation][flush.shard as usize];
            for rows in &mut flush.hourly {
                rows.hour = hour_of(log[rows.cells.version as usize - 1].append_time);
            }
        }
        _ => {}
    }
}

/// The cells an owner holds, as rows know them.
fn cells(owner: &Owner, program: Program) -> BTreeMap<Key, Cell> {
    let (symbols, mut cells) = (owner.shard().symbols(), BTreeMap::new());
    for ledger in owner.shard().ledgers() {
        let definitions = ledger.catalogue();
        for (key, cell) in ledger.cells() {
            let rollup = &definitions.rollups()[usize::from(key.rollup)];
            let set = usize::from(key.set);
            let mut cell = cell.clone();
            cell.counts.resize(rollup.counts.len(), 0);
            cell.sums.resize(rollup.sums.len(), 0);
            let row = program.count(CellRow {
                epoch: ledger.epoch(),
                rollup: rollup.name.clone().into_owned(),
                grouping: definitions.set_name(set),
                pane: key.pane,
                values: key.values[..definitions.sets[set].dimensions.len()]
                    .iter()
                    .map(|v| symbols.text(*v).to_owned())
                    .collect(),
                currency: symbols.text(key.currency).to_owned(),
                cell,
            });
            cells.insert(Value::Cell(row.clone()).key(), row.cell);
        }
    }
    cells
}

/// The restart of production, or one that breaks its rules.
fn restoring(
    shard: Home,
    sim: Sim,
    program: Program,
) -> BoxFuture<'static, Result<Owner, RestartError>> {
    let (broken, generation) = (sim.lock().broken, sim.generation);
    if !matches!(
        broken,
        Broken::CheckpointReadLast | Broken::WritesBeforeRestored | Broken::EpochsBegunByTable
    ) {
        return Box::pin(async move {
            let catalogue = versions::compared(program, broken);
            let owner = restore(shard, generation, &sim, &sim, catalogue).await?;
            let world = &mut *sim.lock();
            let is_ours =
                |key: &Key| !matches!(key, Key::Cell(..) | Key::Hourly(..) | Key::Change(..));
            let versions = world.tables.iter().filter(|((of, number, key), _)| {
                (*of, *number) == (generation, shard) && is_ours(key)
            });
            let ahead = versions
                .map(|(_, row)| row.version)
                .max()
                .unwrap_or_default()
                > owner.position();
            world.seen.restored_ahead += usize::from(ahead);
            Ok(owner)
        });
    }
    Box::pin(async move {
        let mut checkpoint = if broken == Broken::CheckpointReadLast {
            None
        } else {
            sim.checkpoint(generation, shard).await?
        };
        let known = sim.known(program)?;
        let begun: Vec<_> = known
            .live
            .iter()
            .filter(|live| live.is_founding || broken == Broken::EpochsBegunByTable)
            .collect();
        let mut state = Shard::new(
            &begun
                .iter()
                .map(|live| (live.epoch, live.definitions.clone()))
                .collect::<Vec<_>>(),
        );
        known
            .live
            .iter()
            .for_each(|live| state.learn(live.epoch, live.definitions.clone()));
        known.unkept.iter().for_each(|epoch| state.forget(*epoch));
        let mut restored = 0;
        for record in sim.records(generation, shard).await? {
            restored = restored.max(record.version);
            state
                .restore_record(record.entity, &record.id, &record.state)
                .expect("what was written");
        }
        for live in &known.live {
            for link in sim.links(live.epoch, shard).await? {
                restored = restored.max(link.version);
                let name = |(entity, id)| Name { entity, id };
                let message = LinkMessage {
                    epoch: link.epoch,
                    target: name(link.target),
                    sender: name(link.sender),
                    version: link.link_version,
                    content: link.content,
                };
                state.restore_link(&message).expect("what was written");
            }
        }
        let append_time = checkpoint.as_ref().map_or(0, |known| known.append_time);
        state.finish_restore(append_time);
        if broken == Broken::CheckpointReadLast {
            checkpoint = sim.checkpoint(generation, shard).await?;
        }
        Ok(Owner::new(
            shard,
            state,
            checkpoint,
            if broken == Broken::WritesBeforeRestored {
                0
            } else {
                restored
            },
        ))
    })
}
