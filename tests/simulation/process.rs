//! Processes: instances that own shards, and routers, driven poll by poll. To drop one is to kill it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};

use dealpulse::definitions::Definitions;
use dealpulse::event::decode::cloudevents;
use dealpulse::event::wire::{self, LinkMessage, Message, Name};
use dealpulse::metric;
use dealpulse::pipeline::flush::{Batch, retrying};
use dealpulse::pipeline::owner::{Flush, Owner};
use dealpulse::pipeline::restart::{Live, RestartError, restore};
use dealpulse::pipeline::route::spread;
use dealpulse::pipeline::{Log, OutsideError, Store};
use dealpulse::record::{Entity, Home, home};
use dealpulse::shard::{CellRow, Shard};
use dealpulse::window::Cell;
use futures::future::BoxFuture;
use futures::task::noop_waker_ref;

use super::Broken;
use super::world::{Key, Sim, Value};
use crate::support::pure::context;

pub const EPOCH: u32 = 1;
const GENERATION: u32 = 1;

fn poll<T>(future: &mut BoxFuture<'static, T>) -> Option<T> {
    match future.as_mut().poll(&mut Context::from_waker(noop_waker_ref())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// A shard of an instance.
enum Slot {
    Restoring(BoxFuture<'static, Result<Owner, RestartError>>),
    /// With the cells as they were when last written, for the rule that "touched" is not "different".
    Running(Box<Owner>, BTreeMap<Key, Cell>),
}

/// One instance of the pipeline, with some shards and one writer.
pub struct Instance {
    sim: Sim,
    definitions: Arc<Definitions>,
    pub shards: Vec<Home>,
    slots: Vec<Slot>,
    writing: Option<BoxFuture<'static, Result<(), OutsideError>>>,
    flushes: u64,
}

impl Instance {
    pub fn new(sim: &Sim, definitions: &Arc<Definitions>, shards: Vec<Home>) -> Instance {
        let slots = shards.iter().map(|shard| Slot::Restoring(restoring(*shard, sim.clone(), definitions.clone()))).collect();
        Instance { sim: sim.clone(), definitions: definitions.clone(), shards, slots, writing: None, flushes: 0 }
    }

    /// A little progress somewhere. `Err` when the instance gives up, as one whose store stays away does.
    pub fn step(&mut self) -> Result<(), String> {
        let chosen = self.sim.below(self.slots.len() + 1);
        let Some(slot) = self.slots.get_mut(chosen) else { return self.write() };
        match slot {
            Slot::Restoring(future) => match poll(future) {
                None => {}
                Some(Ok(owner)) => {
                    let base = if self.sim.lock().broken == Broken::DifferentOnly { cells(&owner, &self.definitions) } else { BTreeMap::new() };
                    *slot = Slot::Running(Box::new(owner), base);
                }
                Some(Err(RestartError::Outside(error))) => return Err(error.to_string()),
                Some(Err(error)) => panic!("{error}"),
            },
            Slot::Running(owner, _) => {
                let count = 1 + self.sim.below(4);
                fold(owner, &self.sim, count);
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
        let broken = sim.lock().broken;
        let partitions = sim.lock().logs.len() as u32;
        let mut batches: Vec<Vec<Flush>> = vec![Vec::new()];
        for slot in &mut self.slots {
            let Slot::Running(owner, base) = slot else { continue };
            let Some(mut flush) = owner.flush() else { continue };
            self.flushes += 1;
            if broken == Broken::Torn && fold(owner, &sim, 1) {
                // The records as they are by now, under the version the flush was taken at.
                owner.acknowledge();
                if let Some(next) = owner.flush() {
                    let version = flush.checkpoint.next_offset;
                    for row in &mut flush.records {
                        if let Some(newer) = next.records.iter().find(|n| (n.row.entity, &n.row.id) == (row.row.entity, &row.row.id)) {
                            *row = dealpulse::pipeline::Row { version, ..newer.clone() };
                        }
                    }
                    batches.resize_with(2, Vec::new);
                    batches[1].push(next);
                }
            }
            spoil(&mut flush, base, broken);
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
                        let (records, links) = (std::mem::take(&mut flush.records), std::mem::take(&mut flush.links));
                        retrying(&sim, || sim.insert_records(GENERATION, &records)).await?;
                        retrying(&sim, || sim.insert_links(&links)).await?;
                    }
                }
                let addressed_by = if broken == Broken::ClientsPartitioner { partitions - 1 } else { partitions };
                if broken == Broken::LinksCountedByOwner {
                    let taken: Vec<_> = flushes.iter_mut().flat_map(|f| std::mem::take(&mut f.outbox)).collect();
                    let messages = taken.iter().map(|link| (home(link.target.0, &link.target.1, partitions), link_message(link, counted)));
                    let messages: Vec<(Home, Vec<u8>)> = messages.collect();
                    retrying(&sim, || sim.append(messages.clone())).await?;
                }
                Batch::new(GENERATION, addressed_by, flushes).write(&sim, &sim, &sim).await?;
            }
            Ok(())
        }));
        Ok(())
    }

    fn owners(&mut self) -> impl Iterator<Item = &mut Owner> {
        self.slots.iter_mut().filter_map(|slot| if let Slot::Running(owner, _) = slot { Some(&mut **owner) } else { None })
    }

    /// Everything there is was folded and written.
    pub fn is_at_rest(&self) -> bool {
        let logs: Vec<u64> = self.sim.lock().logs.iter().map(|log| log.len() as u64).collect();
        let rests = |slot: &Slot| matches!(slot, Slot::Running(o, _) if o.flushed() == logs[o.number() as usize] && o.flushed() == o.position());
        self.writing.is_none() && self.slots.iter().all(rests)
    }
}

/// Folds up to so many messages. True if there were any.
fn fold(owner: &mut Owner, sim: &Sim, count: usize) -> bool {
    let from = owner.position() as usize;
    let entries: Vec<_> = sim.lock().logs[owner.number() as usize].iter().skip(from).take(count).cloned().collect();
    entries.iter().for_each(|entry| owner.fold(entry).expect("the log holds what was written to it"));
    !entries.is_empty()
}

fn link_message(link: &dealpulse::shard::OutLink, version: u64) -> Vec<u8> {
    let name = |(entity, id): &(Entity, String)| Name { entity: *entity, id: id.clone().into() };
    let content = link.content.as_slice().into();
    wire::write_links([LinkMessage { epoch: link.epoch, target: name(&link.target), sender: name(&link.sender), version, content }].iter())
}

/// Takes a rule away from a flush.
fn spoil(flush: &mut Flush, base: &mut BTreeMap<Key, Cell>, broken: Broken) {
    match broken {
        Broken::ZerosDropped => flush.cells.retain(|row| !row.row.cell.is_zero()),
        Broken::WithdrawalsDropped => flush.links.retain(|row| !row.row.withdrawn),
        Broken::DifferentOnly => flush.cells.retain(|row| {
            let now = row.row.cell.clone();
            let before = base.insert(Value::Cell(row.row.clone()).key(), now.clone());
            before.map_or(!now.is_zero(), |before| before != now)
        }),
        _ => {}
    }
}

/// The cells an owner holds, as rows know them.
fn cells(owner: &Owner, definitions: &Definitions) -> BTreeMap<Key, Cell> {
    let (symbols, mut cells) = (owner.shard().symbols(), BTreeMap::new());
    for ledger in owner.shard().ledgers() {
        for (key, cell) in ledger.cells() {
            let rollup = metric::rollups().nth(usize::from(key.rollup)).expect("a rollup");
            let set = usize::from(key.set);
            let mut cell = cell.clone();
            cell.counts.resize(rollup.counts.len(), 0);
            cell.sums.resize(rollup.sums.len(), 0);
            let row = CellRow {
                epoch: ledger.epoch(),
                rollup: rollup.name,
                grouping: definitions.set_name(set),
                pane: key.pane,
                values: key.values[..definitions.sets[set].dimensions.len()].iter().map(|v| symbols.text(*v).to_owned()).collect(),
                currency: symbols.text(key.currency).to_owned(),
                cell: cell.clone(),
            };
            cells.insert(Value::Cell(row).key(), cell);
        }
    }
    cells
}

/// The restart of production, or one that breaks its rules.
fn restoring(shard: Home, sim: Sim, definitions: Arc<Definitions>) -> BoxFuture<'static, Result<Owner, RestartError>> {
    let broken = sim.lock().broken;
    let live = [Live { epoch: EPOCH, definitions: definitions.clone() }];
    if !matches!(broken, Broken::CheckpointReadLast | Broken::WritesBeforeRestored) {
        return Box::pin(async move {
            let owner = restore(shard, GENERATION, &live, &sim, &sim).await?;
            let world = &mut *sim.lock();
            let versions = world.tables.iter().filter(|((of, key), _)| *of == shard && !matches!(key, Key::Cell(..) | Key::Change(..)));
            let ahead = versions.map(|(_, row)| row.version).max().unwrap_or_default() > owner.position();
            world.seen.restored_ahead += usize::from(ahead);
            Ok(owner)
        });
    }
    Box::pin(async move {
        let mut checkpoint = if broken == Broken::CheckpointReadLast { None } else { sim.checkpoint(GENERATION, shard).await? };
        let mut state = Shard::new(&[(EPOCH, definitions)]);
        let mut restored = 0;
        for record in sim.records(GENERATION, shard).await? {
            restored = restored.max(record.version);
            state.restore_record(record.entity, &record.id, &record.state).expect("what was written");
        }
        for link in sim.links(EPOCH, shard).await? {
            restored = restored.max(link.version);
            let name = |(entity, id): (Entity, String)| Name { entity, id: id.into() };
            let (target, sender, content) = (name(link.target), name(link.sender), link.content.into());
            state.restore_link(&LinkMessage { epoch: EPOCH, target, sender, version: link.link_version, content }).expect("what was written");
        }
        state.finish_restore();
        if broken == Broken::CheckpointReadLast {
            checkpoint = sim.checkpoint(GENERATION, shard).await?;
        }
        Ok(Owner::new(shard, state, checkpoint, if broken == Broken::WritesBeforeRestored { 0 } else { restored }))
    })
}

/// A router of one input partition. Whatever it sent since its last commit it may send again.
pub struct Router {
    sim: Sim,
    lines: Vec<(u64, String)>,
    next: usize,
    committed: usize,
    sending: Option<BoxFuture<'static, Result<(), OutsideError>>>,
}

impl Router {
    pub fn new(sim: &Sim, lines: Vec<(u64, String)>) -> Router {
        Router { sim: sim.clone(), lines, next: 0, committed: 0, sending: None }
    }

    pub fn is_done(&self) -> bool {
        self.committed == self.lines.len()
    }

    pub fn crash(&mut self) {
        self.sending = None;
        self.next = self.committed;
    }

    pub fn step(&mut self) {
        if let Some(sending) = &mut self.sending {
            match poll(sending) {
                None => return,
                Some(Err(_)) => return self.crash(),
                Some(Ok(())) => self.sending = None,
            }
            if self.sim.percent(70) || self.next == self.lines.len() {
                self.committed = self.next;
            }
            return;
        }
        let end = (self.next + 1 + self.sim.below(4)).min(self.lines.len());
        let decoded = self.lines[self.next..end].iter().map(|(offset, line)| cloudevents::decode(Some(line.as_bytes()), &[], &context(*offset)));
        let assertions: Vec<_> = decoded.flat_map(|d| d.assertions).collect();
        self.next = end;
        let shards = self.sim.lock().logs.len() as u32;
        let mut messages = spread(&assertions, shards);
        if self.sim.lock().broken == Broken::AliasesAtHomeOnly {
            messages = messages.into_iter().filter_map(|(shard, bytes)| Some((shard, without_foreign_aliases(shard, &bytes, shards)?))).collect();
        }
        let sim = self.sim.clone();
        self.sending = Some(Box::pin(async move { sim.append(messages).await }));
    }
}

/// Leaves out what is told a shard of records that are not its own.
fn without_foreign_aliases(shard: Home, bytes: &[u8], shards: u32) -> Option<Vec<u8>> {
    let Ok(Message::Assertions(mut assertions)) = wire::read(bytes) else { panic!("routers send assertions") };
    assertions.retain(|a| a.entity != Entity::Alias || a.id.split_once(':').is_some_and(|(_, id)| home(Entity::Deal, id, shards) == shard));
    (!assertions.is_empty()).then(|| wire::write_assertions(assertions.iter()))
}
