//! Folding: what one message of the log changes, from its assertions or links to the numbers that
//! depend on them.

use std::collections::BTreeSet;

use rustc_hash::{FxHashMap, FxHashSet};

use super::changes::{Noted, Tracked};
use super::fold_input::{Asserted, Foldable, Whole};
use super::ledger::Open;
use super::{Before, Counters, Shard};
use crate::codec::{Damaged, Reader};
use crate::event::wire::{self, LinkMessage, Message, Name, RecordMessage, WireError};
use crate::event::{Batch, Entity, Placement, SideInput};
use crate::record::{
    Aliases, Effect, Key, Link, Reading, Received, Record, SCHEMA, declared, read_link,
};
use crate::symbol::Symbol;

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
    /// Folds one message of the log: all of it, before any cell, link or change is taken.
    ///
    /// `version` is the offset after the message; `append_time` (µs) is when the log took it.
    ///
    /// # Errors
    /// If the message isn't one of this version's, or of an epoch that is not known here. Nothing
    /// of it is folded then.
    pub fn fold(&mut self, version: u64, append_time: i64, message: &[u8]) -> Result<(), Unfolded> {
        let message = wire::read(message, &SCHEMA)?;
        if let Some(epoch) = self.unknown_epoch(&message) {
            return Err(Unfolded::UnknownEpoch(epoch));
        }
        self.come_to(append_time);
        match message {
            Message::Assertions(batch) => self.fold_batch(version, append_time, &batch),
            Message::Derived(batch) => {
                // What sources said is counted as theirs, once.
                let counted = self.counters;
                self.fold_batch(version, append_time, &batch);
                self.counters = Counters {
                    derived: counted.derived + batch.entries().len() as u64,
                    overflowed: self.counters.overflowed,
                    ..counted
                };
            }
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
            Message::Derived(_) | Message::Records(_) => None,
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
        let texts = batch.texts().iter().copied();
        let symbols: Vec<Symbol> = self.symbols.intern_all(texts).collect();
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
        let mut index: FxHashMap<u32, usize> =
            FxHashMap::with_capacity_and_hasher(inputs.len(), Default::default());
        let (mut aliases, mut begun): (Vec<Symbol>, Vec<Symbol>) = (Vec::new(), Vec::new());
        let mut stages_changed = false;
        for (input, number) in inputs.iter().zip(self.fetch(inputs)) {
            let key = input.key();
            match key.entity.placement() {
                Placement::Home => {}
                Placement::Everywhere(SideInput::Alias) => {
                    if self.fold_one(number, input).changed {
                        aliases.push(key.id);
                    }
                    continue;
                }
                Placement::Everywhere(SideInput::Stage) => {
                    if self.fold_one(number, input).changed {
                        let stage = self.records.at(number);
                        stages_changed |= self.stages.learn(key.id, stage);
                    }
                    continue;
                }
                Placement::Everywhere(SideInput::EpochStart) => {
                    // Also if its record is known: it may have been restored from a stale owner's
                    // flush before the epoch was known here.
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
        let aliases = (!aliases.is_empty()).then(|| self.fold_aliases(&aliases, &mut touched));
        let compiled = stages_changed.then(|| {
            let ledgers = self.ledgers.iter();
            ledgers.map(|ledger| ledger.compiled().clone()).collect()
        });
        let compiled: Option<Vec<_>> = compiled.filter(|_| self.learn_stages());
        let before = Before {
            aliases: aliases.as_ref(),
            compiled: compiled.as_deref(),
        };
        for previous in &touched {
            self.apply_difference(previous, before);
            self.record_change(previous, version, append_time);
        }
        if before.compiled.is_some() {
            self.read_by_stages_anew(&touched, before);
        }
        for epoch in begun {
            self.begin(epoch);
        }
        self.spare
            .extend(touched.into_iter().map(|previous| previous.record));
        self.spare.truncate(SPARE);
    }

    /// The numbers of the records that inputs are about. All are looked up, and then all are read,
    /// before any is folded.
    fn fetch(&mut self, inputs: &[impl Foldable]) -> Vec<u32> {
        let numbers = inputs.iter().map(|input| self.records.number(input.key()));
        let numbers: Vec<u32> = numbers.collect();
        self.records.fetch(numbers.iter().copied());
        numbers
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

    /// An epoch begins: every cell and every link of it is worked out, and touched, so that the
    /// next flush writes all of it.
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

    /// Applies the changed alias records. Every record whose links point elsewhere through it is
    /// touched. Gives back the aliases as they were: what a record said before went to the roots of
    /// that time.
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

    /// Folds links that belong together: of a sender and a target, the one of the greatest version
    /// counts.
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

    /// Takes back what a record contributed and said before a message and adds what it does now.
    /// `before` are the side inputs as they were.
    fn apply_difference(&mut self, previous: &Previous, before: Before<'_>) {
        // Without an epoch there are no masks, and nothing to look at.
        let mask = self.masks.get(usize::from(previous.key.entity.0));
        let mask = mask.copied().unwrap_or_default();
        let effect = previous.effect;
        let is_relevant = previous.is_moved
            || effect.values & mask.values != 0
            || effect.repeated & mask.clocks != 0
            || effect.custom && mask.customs
            || effect.began
            || before.compiled.is_some();
        if !is_relevant {
            return;
        }
        let key = previous.key;
        for number in 0..self.ledgers.len() {
            let old = self.read_as(number, key, &previous.record, before);
            self.replace(number, key, old);
        }
    }

    /// Counts every other record that is read by what stages stand for, which is something else
    /// now.
    fn read_by_stages_anew(&mut self, touched: &[Previous], before: Before<'_>) {
        let touched: FxHashSet<Key> = touched.iter().map(|previous| previous.key).collect();
        for number in 0..self.records.len() as u32 {
            let key = self.records.key(number);
            if declared(key.entity).reads_stages() && !touched.contains(&key) {
                for ledger in 0..self.ledgers.len() {
                    let old = self.read_as(ledger, key, self.records.at(number), before);
                    self.replace(ledger, key, old);
                }
            }
        }
    }

    /// Takes back in an epoch what a record contributed and said as it was read before, and adds
    /// what it does now.
    fn replace(&mut self, number: usize, key: Key, old: Reading) {
        if !self.ledgers[number].has_begun() {
            return;
        }
        let new = self.read(number, key);
        if old != new {
            let (ledger, names) = self.ledger(number);
            let open = ledger.open(key, old, names);
            ledger.close(open, new, names);
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
}

/// How many copies of records are kept to be used again: as many as a message has assertions.
const SPARE: usize = 512;
