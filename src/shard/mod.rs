//! The shard: fold → contributions → touched sets. The heart of the pipeline: pure, with no I/O and
//! no clock of its own.
//!
//! A shard is one partition of the log, folded by one thread. Whatever it holds is a function of
//! the messages up to its offset.

mod cell_rows;
mod cells;
mod changes;
pub mod columns;
mod dictionary;
mod difference;
mod fold;
mod fold_input;
mod ledger;
mod record_rows;
mod records;
mod references;
mod restore;
mod rows;

use std::sync::Arc;

pub use cell_rows::{CellBlock, CellRow, CellRows};
use changes::Noted;
pub use fold::Unfolded;
pub use ledger::Ledger;
use ledger::Names;
pub use record_rows::RecordRow;
use record_rows::RecordRows;
use records::Records;
use references::References;
pub use rows::{ChangeRow, LinkRow, OutLink, Outbox, Touched};

use crate::event::Entity;
use crate::event::wire::Name;
use crate::metric::Catalogue;
use crate::record::{
    Aliases, CompiledDefinitions, CustomFields, Key, Reading, Record, Stages, declared,
};
use crate::symbol::Symbols;

/// The state of one partition of the log.
#[derive(Default)]
pub struct Shard {
    symbols: Symbols,
    customs: CustomFields,
    records: Records,
    aliases: Aliases,
    stages: Stages,
    references: References,
    ledgers: Vec<Ledger>,
    /// By entity, which changes need a look at what a record contributes, in any epoch.
    masks: Vec<Mask>,
    /// The greatest epoch it knows of, dropped ones included.
    newest: u32,
    /// The greatest time (µs) the log has come to.
    append_time: i64,
    changes: Vec<Noted>,
    counters: Counters,
    /// Copies of records, to be used again.
    spare: Vec<Record>,
}

/// The fields of an entity, a bit each, that numbers and links depend on.
#[derive(Debug, Clone, Copy, Default)]
struct Mask {
    values: u64,
    clocks: u64,
    customs: bool,
}

/// What a shard counted since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Assertions folded, also those that changed nothing.
    pub assertions: u64,
    /// Assertions that changed nothing: duplicates, replays, what was out of date.
    pub unchanged: u64,
    /// Assertions folded that follow from other records; not among [`Counters::assertions`], which
    /// are the sources'.
    pub derived: u64,
    /// Links folded.
    pub links: u64,
    /// Values a record or the shard had no room for.
    pub overflowed: u64,
}

/// The side inputs as they were before a message; those that it did not change are not given.
#[derive(Clone, Copy)]
struct Before<'a> {
    aliases: Option<&'a Aliases>,
    /// By epoch.
    compiled: Option<&'a [CompiledDefinitions]>,
}

impl Before<'_> {
    const NOTHING: Before<'static> = Before {
        aliases: None,
        compiled: None,
    };
}

impl Shard {
    /// An empty shard that keeps numbers for these epochs, each with its catalogue, from the
    /// beginning.
    pub fn new(epochs: &[(u32, Arc<Catalogue>)]) -> Self {
        let mut shard = Shard::default();
        for (epoch, catalogue) in epochs {
            shard.learn(*epoch, catalogue.clone());
        }
        shard.ledgers.iter_mut().for_each(Ledger::begin);
        shard
    }

    /// Makes ready to keep numbers for one more epoch: its links are kept from now on, its numbers
    /// once it begins in the log.
    pub fn learn(&mut self, epoch: u32, catalogue: Arc<Catalogue>) {
        self.newest = self.newest.max(epoch);
        if self.ledgers.iter().all(|ledger| ledger.epoch() != epoch) {
            let mut ledger = Ledger::new(epoch, catalogue, &self.stages, &mut self.symbols);
            ledger.come_to(self.append_time);
            self.ledgers.push(ledger);
            self.compile_masks();
        }
    }

    /// The log has come to a time (µs), or had come to it before: hours that are not kept any more
    /// are dropped. By the log's time, which does not go back, never by the time of an event: so
    /// what is kept is complete, whoever folds it.
    fn come_to(&mut self, append_time: i64) {
        if append_time > self.append_time {
            self.append_time = append_time;
            let ledgers = self.ledgers.iter_mut();
            ledgers.for_each(|ledger| ledger.come_to(append_time));
        }
    }

    /// Keeps no numbers for an epoch any more, nor for any that it did not know of up to this one.
    pub fn forget(&mut self, epoch: u32) {
        self.newest = self.newest.max(epoch);
        self.ledgers.retain(|ledger| ledger.epoch() != epoch);
        self.compile_masks();
    }

    /// Reads records by what the records of stages say. True if that changed something.
    fn learn_stages(&mut self) -> bool {
        let (stages, symbols) = (&self.stages, &self.symbols);
        let ledgers = self.ledgers.iter_mut();
        let changed = ledgers.fold(false, |changed, ledger| {
            ledger.learn(stages, symbols) | changed
        });
        if changed {
            self.compile_masks();
        }
        changed
    }

    fn compile_masks(&mut self) {
        let of_entity = |entity: &Entity| {
            let mut mask = Mask::default();
            for compiled in self.ledgers.iter().map(Ledger::compiled) {
                mask.values |= compiled.read_mask(*entity);
                mask.clocks |= declared(*entity).clock_mask(compiled.compares_stages());
                mask.customs |= compiled.reads_custom_fields();
            }
            mask
        };
        self.masks = Entity::ALL.iter().map(of_entity).collect();
    }

    /// True if a merge of the sender changes how the target is read.
    fn reads_root_of(target: Key, sender: Key) -> bool {
        let senders = declared(target.entity).reads_root_of;
        senders.contains(&sender.entity)
    }

    fn key(&mut self, name: &Name<'_>) -> Key {
        Key {
            entity: name.entity,
            id: self.symbols.intern(&name.id),
        }
    }

    /// What every ledger needs of the rest of the shard.
    fn names(&self) -> Names<'_> {
        Names {
            symbols: &self.symbols,
            customs: &self.customs,
            aliases: &self.aliases,
        }
    }

    /// A ledger, to be changed, with the same.
    fn ledger(&mut self, number: usize) -> (&mut Ledger, Names<'_>) {
        let names = Names {
            symbols: &self.symbols,
            customs: &self.customs,
            aliases: &self.aliases,
        };
        (&mut self.ledgers[number], names)
    }

    /// A record of this shard as an epoch reads it; one that was never asserted, but that links
    /// were sent to, is empty.
    fn read(&self, number: usize, key: Key) -> Reading {
        match self.records.get(key) {
            Some(record) => self.read_as(number, key, record, Before::NOTHING),
            None => self.read_as(number, key, &Record::default(), Before::NOTHING),
        }
    }

    /// The same of a record that is given, by the side inputs as they were before a message where
    /// they are given.
    fn read_as(&self, number: usize, key: Key, record: &Record, before: Before<'_>) -> Reading {
        let ledger = &self.ledgers[number];
        let names = Names {
            aliases: before.aliases.unwrap_or(&self.aliases),
            ..self.names()
        };
        let compiled = before.compiled.map(|compiled| &compiled[number]);
        let context = names.context(compiled.unwrap_or(ledger.compiled()));
        (declared(key.entity).read)(key, record, ledger.inbox(key), context)
    }

    /// The records a record names, merged or not.
    fn stated(record: &Record, entity: Entity) -> impl Iterator<Item = Key> {
        let references = declared(entity).references.iter();
        references.filter_map(|(field, entity)| {
            let id = record.text(*field);
            (!id.is_blank()).then_some(Key {
                entity: *entity,
                id,
            })
        })
    }

    /// How many rows are waiting to be written.
    pub fn touched_rows(&self) -> usize {
        self.records.touched()
            + self.changes.len()
            + self.ledgers.iter().map(Ledger::touched_rows).sum::<usize>()
    }

    /// Of the rows waiting, those that later ones don't replace: changes, cells that came to zero,
    /// links withdrawn. A row for every touched record, cell and link that is there waits besides;
    /// these can't be more than the state holds.
    pub fn append_only_rows(&self) -> usize {
        self.changes.len()
            + self
                .ledgers
                .iter()
                .map(Ledger::tombstoned_rows)
                .sum::<usize>()
    }

    /// Takes the cells touched since the last time, at their present values, of those whose state
    /// is kept of every hour. They stay touched in every other respect.
    pub fn take_this_hour(&mut self) -> CellRows {
        let mut rows = CellRows::default();
        for ledger in &mut self.ledgers {
            ledger.take_this_hour(&self.symbols, &mut rows);
        }
        rows
    }

    /// Takes all that was touched, at its present value, be it equal to what it was; after
    /// [`Shard::take_this_hour`].
    pub fn take_touched(&mut self) -> Touched {
        let changes = std::mem::take(&mut self.changes);
        let mut touched = Touched {
            changes: changes::rows(&changes, &self.symbols),
            ..Touched::default()
        };
        let numbers = self.records.take_touched();
        let (customs, symbols) = (&self.customs, &self.symbols);
        let mut records = RecordRows::default();
        let derived = &mut touched.outbox.derived;
        for number in numbers {
            let (key, record) = (self.records.key(number), self.records.at(number));
            if let Some(derive) = declared(key.entity).derive {
                derive(record, symbols, derived);
            }
            records.push(key, record, customs, symbols);
        }
        touched.records = records.finish();
        for ledger in &mut self.ledgers {
            ledger.take_touched(&self.symbols, &mut touched);
        }
        touched
    }

    /// The greatest instant (µs) of a record that counts for itself, in the first epoch: where
    /// history ends.
    pub fn last_instant(&self) -> Option<i64> {
        let ledger = self.ledgers.first()?;
        let context = self.names().context(ledger.compiled());
        let readings = self.records.iter().map(|(key, record)| {
            (declared(key.entity).read)(key, record, ledger.inbox(key), context)
        });
        let live = readings.filter(Reading::is_live);
        live.filter_map(|reading| reading.last_instant(context))
            .max()
    }

    /// How many records of an entity are held, deleted ones included.
    pub fn record_count(&self, entity: Entity) -> usize {
        self.records
            .keys()
            .filter(|key| key.entity == entity)
            .count()
    }

    /// The state of each epoch.
    pub fn ledgers(&self) -> &[Ledger] {
        &self.ledgers
    }

    /// The shard's texts.
    pub fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Bytes the records of an entity take, without the texts they share.
    pub fn record_bytes(&self, entity: Entity) -> usize {
        let records = self.records.iter().filter(|(key, _)| key.entity == entity);
        records
            .map(|(_, record)| size_of::<(Key, Record)>() + record.heap_bytes())
            .sum()
    }

    /// Bytes held by records, texts, references, cells and links: an estimate from capacities.
    pub fn bytes(&self) -> usize {
        let of_epochs = self.ledgers.iter();
        self.records.bytes()
            + self.symbols.bytes()
            + self.references.bytes()
            + of_epochs
                .map(|l| l.cell_bytes() + l.link_bytes() + l.kept_bytes())
                .sum::<usize>()
    }
}

#[cfg(test)]
mod tests;
