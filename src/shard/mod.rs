//! The shard: fold → contributions → touched sets. The heart of the pipeline: pure, with no I/O and no clock of its own.
//!
//! A shard is one partition of the log, folded by one thread. Whatever it holds is a function of the messages up to its offset.

mod cell_rows;
mod cells;
mod changes;
pub mod columns;
mod difference;
mod fold_input;
mod ledger;
mod record_rows;
mod records;
mod references;
mod restore;
mod rows;

use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::FxHashMap;

pub use cell_rows::{CellRow, CellRows};
use changes::{Noted, Tracked};
use fold_input::{Asserted, Foldable, Whole};
pub use ledger::Ledger;
use ledger::{Names, Open};
pub use record_rows::RecordRow;
use records::Records;
use references::References;
pub use rows::{ChangeRow, LinkRow, OutLink, Touched};

use crate::codec::{Damaged, Reader};
use crate::event::wire::{self, LinkMessage, Message, Name, RecordMessage, WireError};
use crate::event::{Batch, Entity, Placement, SideInput};
use crate::metric::Catalogue;
use crate::record::{
    Aliases, CustomFields, Effect, Key, Link, Reading, Received, Record, SCHEMA, declared,
    read_link,
};
use crate::symbol::{Symbol, Symbols};

/// The state of one partition of the log.
#[derive(Default)]
pub struct Shard {
    symbols: Symbols,
    customs: CustomFields,
    records: Records,
    aliases: Aliases,
    references: References,
    ledgers: Vec<Ledger>,
    /// By entity, which changes need a look at what a record contributes, in any epoch.
    masks: Vec<Mask>,
    /// The greatest epoch it knows of, dropped ones included.
    newest: u32,
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
    /// Links folded.
    pub links: u64,
    /// Values a record or the shard had no room for.
    pub overflowed: u64,
}

/// Why a message is not folded.
#[derive(Debug, thiserror::Error)]
pub enum Unfolded {
    /// It isn't one of this version's.
    #[error(transparent)]
    Unreadable(#[from] WireError),
    /// It is of an epoch this shard has no definitions for.
    #[error("a message of the internal log is of epoch {0}, whose definitions are not known here")]
    UnknownEpoch(u32),
}

/// A record as it was before a message, kept until the message is folded whole.
struct Previous {
    key: Key,
    record: Record,
    effect: Effect,
    /// The root of something it names, or of itself, is another one now.
    is_moved: bool,
    /// The greatest event time of its assertions in the message (µs).
    time: i64,
}

impl Shard {
    /// An empty shard that keeps numbers for these epochs, each with its catalogue, from the beginning.
    pub fn new(epochs: &[(u32, Arc<Catalogue>)]) -> Self {
        let mut shard = Shard::default();
        for (epoch, catalogue) in epochs {
            shard.learn(*epoch, catalogue.clone());
        }
        shard.ledgers.iter_mut().for_each(Ledger::begin);
        shard
    }

    /// Makes ready to keep numbers for one more epoch: its links are kept from now on, its numbers once it begins in the log.
    pub fn learn(&mut self, epoch: u32, catalogue: Arc<Catalogue>) {
        self.newest = self.newest.max(epoch);
        if self.ledgers.iter().all(|ledger| ledger.epoch() != epoch) {
            let ledger = Ledger::new(epoch, catalogue, &mut self.symbols);
            self.ledgers.push(ledger);
            self.compile_masks();
        }
    }

    /// Keeps no numbers for an epoch any more, nor for any that it did not know of up to this one.
    pub fn forget(&mut self, epoch: u32) {
        self.newest = self.newest.max(epoch);
        self.ledgers.retain(|ledger| ledger.epoch() != epoch);
        self.compile_masks();
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

    /// Folds one message of the log: all of it, before any cell, link or change is taken.
    ///
    /// `version` is the offset after the message; `append_time` (µs) is when the log took it.
    ///
    /// # Errors
    /// If the message isn't one of this version's, or of an epoch that is not known here. Nothing of it is folded then.
    pub fn fold(&mut self, version: u64, append_time: i64, message: &[u8]) -> Result<(), Unfolded> {
        let message = wire::read(message, &SCHEMA)?;
        if let Some(epoch) = self.unknown_epoch(&message) {
            return Err(Unfolded::UnknownEpoch(epoch));
        }
        match message {
            Message::Assertions(batch) => self.fold_batch(version, append_time, &batch),
            Message::Links(links) => self.fold_links(&links).map_err(WireError::from)?,
            Message::Records(records) => {
                let records = records
                    .iter()
                    .map(|record| self.whole(record))
                    .collect::<Result<Vec<_>, _>>()?;
                self.fold_inputs(version, append_time, &records);
            }
        }
        Ok(())
    }

    /// The first epoch in a message that this shard does not know.
    fn unknown_epoch(&self, message: &Message<'_>) -> Option<u32> {
        match message {
            Message::Assertions(batch) => {
                let starts = batch.entries().iter();
                let mut epochs = starts
                    .filter(|entry| entry.entity == Entity::EPOCH)
                    .filter_map(|entry| batch.text(entry.id).parse().ok());
                epochs.find(|epoch| *epoch > self.newest)
            }
            Message::Links(links) => links
                .iter()
                .map(|link| link.epoch)
                .find(|epoch| *epoch > self.newest),
            Message::Records(_) => None,
        }
    }

    fn whole(&mut self, message: &RecordMessage<'_>) -> Result<Whole, WireError> {
        let Name { entity, id } = &message.name;
        let (customs, symbols) = (&mut self.customs, &mut self.symbols);
        let record = Record::from_bytes(entity.spec(), &message.state, customs, symbols);
        let record = record.map_err(|error| WireError::Record {
            entity: entity.name(),
            id: id.clone().into_owned(),
            problem: error.to_string(),
        })?;
        let id = self.symbols.intern(id);
        Ok(Whole {
            key: Key {
                entity: *entity,
                id,
            },
            record,
        })
    }

    fn fold_batch(&mut self, version: u64, append_time: i64, batch: &Batch<'_>) {
        let texts = batch.texts().iter();
        let symbols: Vec<Symbol> = texts.map(|text| self.symbols.intern(text)).collect();
        let entries = batch.entries().iter();
        let inputs: Vec<Asserted<'_>> = entries
            .map(|entry| Asserted {
                batch,
                symbols: &symbols,
                entry,
            })
            .collect();
        self.fold_inputs(version, append_time, &inputs);
    }

    fn fold_inputs(&mut self, version: u64, append_time: i64, inputs: &[impl Foldable]) {
        let mut touched: Vec<Previous> = Vec::with_capacity(inputs.len());
        let mut index: FxHashMap<u32, usize> = FxHashMap::default();
        let (mut aliases, mut begun): (Vec<Symbol>, Vec<Symbol>) = (Vec::new(), Vec::new());
        for input in inputs {
            let key = input.key();
            let number = self.records.number(key);
            match key.entity.placement() {
                Placement::Home => {}
                Placement::Everywhere(SideInput::Alias) => {
                    if self.fold_one(number, input).changed {
                        aliases.push(key.id);
                    }
                    continue;
                }
                Placement::Everywhere(SideInput::EpochStart) => {
                    // Also if its record is known: it may have been restored from a stale owner's flush before the epoch was known here.
                    self.fold_one(number, input);
                    begun.push(key.id);
                    continue;
                }
            }
            let at = *index.entry(number).or_insert_with(|| {
                let mut record = self.spare.pop().unwrap_or_default();
                record.copy_from(self.records.at(number));
                touched.push(Previous {
                    key,
                    record,
                    effect: Effect::default(),
                    is_moved: false,
                    time: 0,
                });
                touched.len() - 1
            });
            let effect = self.fold_one(number, input);
            touched[at].effect.merge(effect);
            touched[at].time = touched[at].time.max(input.time());
        }
        for previous in &touched {
            self.refer(previous);
        }
        let before = (!aliases.is_empty()).then(|| self.fold_aliases(&aliases, &mut touched));
        for previous in &touched {
            self.apply_difference(previous, before.as_ref());
            self.record_change(previous, version, append_time);
        }
        for epoch in begun {
            self.begin(epoch);
        }
        self.spare
            .extend(touched.into_iter().map(|previous| previous.record));
        self.spare.truncate(SPARE);
    }

    /// Folds one input into its record.
    fn fold_one(&mut self, number: u32, input: &impl Foldable) -> Effect {
        self.counters.assertions += 1;
        let effect = input.fold(self, number);
        self.counters.overflowed += u64::from(effect.overflowed);
        if effect.changed {
            self.records.touch(number);
        } else {
            self.counters.unchanged += 1;
        }
        effect
    }

    /// An epoch begins: every cell and every link of it is worked out, and touched, so that the next flush writes all of it.
    fn begin(&mut self, id: Symbol) {
        let epoch = self.symbols.text(id).parse::<u32>().ok();
        let mut ledgers = self.ledgers.iter();
        let Some(number) = ledgers.position(|ledger| Some(ledger.epoch()) == epoch) else {
            return;
        };
        if !self.ledgers[number].has_begun() {
            self.ledgers[number].begin();
            self.work_out(number, |ledger, key, reading, names| {
                ledger.establish(key, reading, names);
                ledger.send_all(key, reading);
            });
        }
    }

    /// Applies the changed alias records. Every record whose links point elsewhere through it is touched. Gives back the aliases as
    /// they were: what a record said before went to the roots of that time.
    fn fold_aliases(&mut self, alias_ids: &[Symbol], touched: &mut Vec<Previous>) -> Aliases {
        let before = self.aliases.clone();
        for id in alias_ids {
            let (entity, id) = (Entity::ALIAS, *id);
            if let Some(record) = self.records.get(Key { entity, id }) {
                self.aliases.learn(id, record, &mut self.symbols);
            }
        }
        let moved = before.moved(&self.aliases, &self.symbols);
        let senders: BTreeSet<Key> = moved
            .into_iter()
            .flat_map(|key| self.references.senders(key))
            .collect();
        for key in senders {
            match touched.iter_mut().find(|previous| previous.key == key) {
                Some(previous) => previous.is_moved = true,
                None => touched.push(Previous {
                    key,
                    record: self.records.get(key).cloned().unwrap_or_default(),
                    effect: Effect::default(),
                    is_moved: true,
                    time: 0,
                }),
            }
        }
        before
    }

    /// Folds links that belong together: of a sender and a target, the one of the greatest version counts.
    fn fold_links(&mut self, links: &[LinkMessage<'_>]) -> Result<(), Damaged> {
        // Read all before folding any, so that a damaged one leaves nothing half done.
        let contents: Vec<Option<Link>> = links
            .iter()
            .map(|message| read_link(&mut Reader::new(&message.content), &mut self.symbols))
            .collect::<Result<_, _>>()?;
        let mut open: Vec<(usize, Open)> = Vec::new();
        let mut index: FxHashMap<(usize, Key), usize> = FxHashMap::default();
        for (message, link) in links.iter().zip(contents) {
            self.counters.links += 1;
            let (target, sender) = (self.key(&message.target), self.key(&message.sender));
            if Self::reads_root_of(target, sender) {
                self.references.add_received(sender, target);
            }
            let mut ledgers = self.ledgers.iter();
            let Some(number) = ledgers.position(|ledger| ledger.epoch() == message.epoch) else {
                continue;
            };
            let received = Received {
                sender,
                version: message.version,
                link,
            };
            if !self.ledgers[number].has_begun() {
                let (ledger, names) = self.ledger(number);
                ledger.receive(target, received, names);
                continue;
            }
            let at = *index.entry((number, target)).or_insert_with(|| {
                let reading = self.read(number, target);
                let (ledger, names) = self.ledger(number);
                open.push((number, ledger.open(target, reading, names)));
                open.len() - 1
            });
            let (ledger, names) = self.ledger(number);
            ledger.receive_into(&mut open[at].1, received, names);
        }
        for (number, open) in open {
            let reading = self.read(number, open.key());
            let (ledger, names) = self.ledger(number);
            ledger.close(open, reading, names);
        }
        Ok(())
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

    /// A record of this shard as an epoch reads it; one that was never asserted, but that links were sent to, is empty.
    fn read(&self, number: usize, key: Key) -> Reading {
        match self.records.get(key) {
            Some(record) => self.read_as(number, key, record, &self.aliases),
            None => self.read_as(number, key, &Record::default(), &self.aliases),
        }
    }

    fn read_as(&self, number: usize, key: Key, record: &Record, aliases: &Aliases) -> Reading {
        let ledger = &self.ledgers[number];
        let names = Names {
            aliases,
            ..self.names()
        };
        let context = names.context(ledger.compiled());
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

    /// Notes which records a record names now instead of those it named.
    fn refer(&mut self, previous: &Previous) {
        let entity = previous.key.entity;
        if previous.effect.values & declared(entity).reference_mask() == 0 {
            return;
        }
        let Some(now) = self.records.get(previous.key) else {
            return;
        };
        for named in Self::stated(&previous.record, entity) {
            self.references.remove(named, previous.key);
        }
        for named in Self::stated(now, entity) {
            self.references.add(named, previous.key);
        }
    }

    /// Takes back what a record contributed and said before a message and adds what it does now. `before` are the aliases as they were.
    fn apply_difference(&mut self, previous: &Previous, before: Option<&Aliases>) {
        // Without an epoch there are no masks, and nothing to look at.
        let mask = self.masks.get(usize::from(previous.key.entity.0));
        let mask = mask.copied().unwrap_or_default();
        let effect = previous.effect;
        let is_relevant = previous.is_moved
            || effect.values & mask.values != 0
            || effect.repeated & mask.clocks != 0
            || effect.custom && mask.customs
            || effect.began;
        if !is_relevant {
            return;
        }
        let key = previous.key;
        for number in 0..self.ledgers.len() {
            if !self.ledgers[number].has_begun() {
                continue;
            }
            let aliases = before.unwrap_or(&self.aliases);
            let old = self.read_as(number, key, &previous.record, aliases);
            let new = self.read(number, key);
            if old != new {
                let (ledger, names) = self.ledger(number);
                let open = ledger.open(key, old, names);
                ledger.close(open, new, names);
            }
        }
    }

    fn record_change(&mut self, previous: &Previous, version: u64, append_time: i64) {
        let entity = previous.key.entity;
        if previous.effect.values & declared(entity).tracked.mask() == 0 {
            return;
        }
        let before = Tracked::of(&previous.record, entity);
        let Some(record) = self.records.get(previous.key) else {
            return;
        };
        let now = Tracked::of(record, entity);
        if now == before {
            return;
        }
        self.changes.push(Noted {
            key: previous.key,
            version,
            append_time,
            event_time: previous.time,
            before,
            now,
        });
    }

    /// How many rows are waiting to be written.
    pub fn touched_rows(&self) -> usize {
        self.records.touched()
            + self.changes.len()
            + self.ledgers.iter().map(Ledger::touched_rows).sum::<usize>()
    }

    /// Of the rows waiting, those that later ones don't replace: changes, cells that came to zero, links withdrawn. A row for every touched
    /// record, cell and link that is there waits besides; these can't be more than the state holds.
    pub fn append_only_rows(&self) -> usize {
        self.changes.len()
            + self
                .ledgers
                .iter()
                .map(Ledger::tombstoned_rows)
                .sum::<usize>()
    }

    /// Takes the cells touched since the last time, at their present values, of those whose state is kept of every hour. They stay touched
    /// in every other respect.
    pub fn take_this_hour(&mut self) -> CellRows {
        let mut rows = CellRows::default();
        for ledger in &mut self.ledgers {
            ledger.take_this_hour(&self.symbols, &mut rows);
        }
        rows
    }

    /// Takes all that was touched, at its present value, be it equal to what it was; after [`Shard::take_this_hour`].
    pub fn take_touched(&mut self) -> Touched {
        let changes = std::mem::take(&mut self.changes);
        let mut touched = Touched {
            changes: changes.iter().map(|c| c.row(&self.symbols)).collect(),
            ..Touched::default()
        };
        let numbers = self.records.take_touched();
        let (customs, symbols) = (&self.customs, &self.symbols);
        let mut scratch = record_rows::Scratch::default();
        let rows = numbers.into_iter().map(|number| {
            let (key, record) = (self.records.key(number), self.records.at(number));
            RecordRow::of(key, record, customs, symbols, &mut scratch)
        });
        touched.records = rows.collect();
        for ledger in &mut self.ledgers {
            ledger.take_touched(&self.symbols, &mut touched);
        }
        touched
    }

    /// The greatest instant (µs) of a record that counts for itself, in the first epoch: where history ends.
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
                .map(|l| l.cell_bytes() + l.link_bytes())
                .sum::<usize>()
    }
}

/// How many copies of records are kept to be used again: as many as a message has assertions.
const SPARE: usize = 512;

#[cfg(test)]
mod tests;
