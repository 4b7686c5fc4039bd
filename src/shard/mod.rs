//! The shard: fold → contributions → touched sets. The heart of the pipeline: pure, with no I/O and no clock of its own.
//!
//! A shard is one partition of the log, folded by one thread. Whatever it holds is a function of the messages up to its offset.

mod ledger;
mod references;
mod rows;
mod fold_input;

use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

pub use ledger::Ledger;
use references::References;
pub use rows::{CellRow, ChangeRow, LinkRow, OutLink, RecordRow, Touched};
use fold_input::{Foldable, Whole};

use crate::codec::{Damaged, Reader};
use crate::definitions::Definitions;
use crate::event::wire::{LinkMessage, Message, Name, RecordMessage, WireError};
use crate::event::{Assertion, When};
use crate::metric::{self, Contributions, Subject};
use crate::record::alias::Aliases;
use crate::record::{
    BlobError, CustomFields, Entity, Key, Link, Received, Record, Symbol, Symbols, ReadContext, account,
    deal, lead, read_link,
};

/// The state of one partition of the log.
#[derive(Default)]
pub struct Shard {
    symbols: Symbols,
    customs: CustomFields,
    records: FxHashMap<Key, Record>,
    aliases: Aliases,
    references: References,
    ledgers: Vec<Ledger>,
    /// The greatest epoch it was told of, dropped ones included.
    newest: u32,
    touched_records: FxHashSet<Key>,
    changes: Vec<ChangeRow>,
    counters: Counters,
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

/// What a record of the shard said before a message, kept until the message is folded whole.
struct Previous {
    key: Key,
    changed: bool,
    stated: [Option<Key>; 2],
    said: Vec<Derived>,
    noted: TrackedFields,
}

/// What a record says in one epoch: to the rollups and to other records.
#[derive(Default)]
struct Derived {
    contributions: Contributions,
    links: Vec<(Key, Link)>,
}

/// What of a record goes into `changes`.
#[derive(Clone, Copy, PartialEq, Default)]
struct TrackedFields {
    status: Symbol,
    owner: Symbol,
    amount: Option<i64>,
    closed_at: Option<When>,
    time: i64,
}

impl Shard {
    /// An empty shard that keeps numbers for these epochs, each with its definitions, from the beginning.
    pub fn new(epochs: &[(u32, Arc<Definitions>)]) -> Self {
        let mut shard = Shard::default();
        for (epoch, definitions) in epochs {
            shard.learn(*epoch, definitions.clone());
        }
        shard.ledgers.iter_mut().for_each(Ledger::begin);
        shard
    }

    /// Makes ready to keep numbers for one more epoch: its links are kept from now on, its numbers once it begins in the log.
    pub fn learn(&mut self, epoch: u32, definitions: Arc<Definitions>) {
        self.newest = self.newest.max(epoch);
        if self.ledgers.iter().all(|ledger| ledger.epoch() != epoch) {
            let ledger = Ledger::new(epoch, definitions, &mut self.symbols);
            self.ledgers.push(ledger);
        }
    }

    /// Keeps no numbers for an epoch any more, nor for any it was never told of up to this one.
    pub fn forget(&mut self, epoch: u32) {
        self.newest = self.newest.max(epoch);
        self.ledgers.retain(|ledger| ledger.epoch() != epoch);
    }

    /// Folds one message of the log: all of it, before any cell, link or change is taken.
    ///
    /// `version` is the offset after the message; `append_time` (µs) is when the log took it.
    ///
    /// # Errors
    /// If the message isn't one of this version's, or of an epoch that is not known here. Nothing of it is folded then.
    pub fn fold(&mut self, version: u64, append_time: i64, message: &[u8]) -> Result<(), Unfolded> {
        let message = crate::event::wire::read(message)?;
        if let Some(epoch) = self.unknown_epoch(&message) {
            return Err(Unfolded::UnknownEpoch(epoch));
        }
        match message {
            Message::Assertions(assertions) => {
                self.fold_assertions(version, append_time, &assertions)
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

    /// The first epoch in a message that this shard was never told of.
    fn unknown_epoch(&self, message: &Message<'_>) -> Option<u32> {
        match message {
            Message::Assertions(assertions) => {
                let epochs = assertions
                    .iter()
                    .filter(|assertion| assertion.entity == Entity::Epoch)
                    .filter_map(|a| a.id.parse().ok());
                epochs.into_iter().find(|epoch| *epoch > self.newest)
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
        let record = Record::from_bytes(
            *entity,
            &message.state,
            &mut self.customs,
            &mut self.symbols,
        );
        let record = record.map_err(|error| WireError::Record {
            entity: entity.name(),
            id: id.clone().into_owned(),
            problem: error.to_string(),
        })?;
        Ok(Whole {
            entity: *entity,
            id: id.clone().into_owned(),
            record,
        })
    }

    /// Folds assertions that belong together.
    pub fn fold_assertions(
        &mut self,
        version: u64,
        append_time: i64,
        assertions: &[Assertion<'_>],
    ) {
        self.fold_inputs(version, append_time, assertions);
    }

    fn fold_inputs(&mut self, version: u64, append_time: i64, inputs: &[impl Foldable]) {
        let mut touched: Vec<Previous> = Vec::with_capacity(inputs.len());
        let mut index: FxHashMap<Key, usize> = FxHashMap::default();
        let (mut aliases, mut begun): (Vec<Symbol>, Vec<Symbol>) = (Vec::new(), Vec::new());
        for input in inputs {
            let (entity, id) = input.of();
            let key = Key {
                entity,
                id: self.symbols.intern(id),
            };
            match entity {
                Entity::Alias => {
                    if self.fold_one(key, input) {
                        aliases.push(key.id);
                    }
                    continue;
                }
                Entity::Epoch => {
                    // Also if its record is known: it may have been restored from a stale owner's flush before the epoch was known here.
                    self.fold_one(key, input);
                    begun.push(key.id);
                    continue;
                }
                Entity::Lead | Entity::Deal | Entity::Account => {}
            }
            let at = *index.entry(key).or_insert_with(|| {
                touched.push(self.capture_previous(key));
                touched.len() - 1
            });
            let changed = self.fold_one(key, input);
            touched[at].changed |= changed;
            touched[at].noted.time = touched[at].noted.time.max(input.time());
        }
        for before in touched.iter().filter(|before| before.changed) {
            self.refer(before.key, before.stated);
        }
        if !aliases.is_empty() {
            self.fold_aliases(&aliases, &mut touched, &index);
        }
        for before in touched.iter().filter(|b| b.changed) {
            self.apply_difference(before);
            self.record_change(before, version, append_time);
        }
        for epoch in begun {
            self.begin(epoch);
        }
    }

    /// Takes one thing said into its record. True if the record changed.
    fn fold_one(&mut self, key: Key, input: &impl Foldable) -> bool {
        self.counters.assertions += 1;
        let changed = input.fold(self, key);
        if changed {
            self.touched_records.insert(key);
        } else {
            self.counters.unchanged += 1;
        }
        changed
    }

    /// An epoch begins: every cell and every link of it is worked out, and touched, so that the next flush writes all of it.
    fn begin(&mut self, id: Symbol) {
        let epoch = self.symbols.text(id).parse::<u32>().ok();
        let Some(number) = self
            .ledgers
            .iter()
            .position(|ledger| Some(ledger.epoch()) == epoch)
        else {
            return;
        };
        if !self.ledgers[number].has_begun() {
            self.ledgers[number].begin();
            self.work_out(number);
        }
    }

    /// Works out from records and links received what there is to say in an epoch, as if nothing had been said in it yet.
    fn work_out(&mut self, number: usize) {
        for key in self.subjects(number) {
            let said = self.derive(key, &self.ledgers[number]);
            self.ledgers[number].replace(key, (&[], &[]), (&said.contributions.items, said.links));
        }
    }

    /// Takes over what alias records say now. Every record whose links point elsewhere through it is touched.
    fn fold_aliases(
        &mut self,
        alias_ids: &[Symbol],
        touched: &mut Vec<Previous>,
        index: &FxHashMap<Key, usize>,
    ) {
        // Derived before anything is learned: what a record said went to the roots of that time.
        let before = self.aliases.clone();
        for id in alias_ids {
            if let Some(record) = self.records.get(&Key {
                entity: Entity::Alias,
                id: *id,
            }) {
                self.aliases.learn(*id, record, &mut self.symbols);
            }
        }
        let moved = before.moved(&self.aliases, &self.symbols);
        if moved.is_empty() {
            return;
        }
        let senders: BTreeSet<Key> = moved
            .into_iter()
            .flat_map(|key| self.references.senders(key))
            .collect();
        let now = std::mem::replace(&mut self.aliases, before);
        for key in senders {
            match index.get(&key) {
                Some(at) => touched[*at].changed = true,
                None => touched.push(Previous {
                    changed: true,
                    ..self.capture_previous(key)
                }),
            }
        }
        self.aliases = now;
    }

    /// Folds links that belong together: of a sender and a target, the one of the greatest version counts.
    fn fold_links(&mut self, links: &[LinkMessage<'_>]) -> Result<(), Damaged> {
        let mut touched: Vec<Previous> = Vec::new();
        let mut index: FxHashSet<Key> = FxHashSet::default();
        // Read all before folding any, so that a damaged one leaves nothing half done.
        let contents: Vec<Option<Link>> = links
            .iter()
            .map(|link| read_link(&mut Reader::new(&link.content), &mut self.symbols))
            .collect::<Result<_, _>>()?;
        for (message, link) in links.iter().zip(contents) {
            self.counters.links += 1;
            let (target, sender) = (self.key(&message.target), self.key(&message.sender));
            if index.insert(target) {
                touched.push(Previous {
                    changed: true,
                    ..self.capture_previous(target)
                });
            }
            self.note_lead(target, sender);
            if let Some(ledger) = self.ledgers.iter_mut().find(|l| l.epoch() == message.epoch) {
                ledger.receive(
                    target,
                    Received {
                        sender,
                        version: message.version,
                        link,
                    },
                );
            }
        }
        touched.iter().for_each(|before| self.apply_difference(before));
        Ok(())
    }

    /// A deal may be credited to a lead that names it without naming that lead itself. Once noted it stays: a look too many changes nothing.
    fn note_lead(&mut self, target: Key, sender: Key) {
        if (target.entity, sender.entity) == (Entity::Deal, Entity::Lead) {
            self.references.add(sender, target);
        }
    }

    fn key(&mut self, name: &Name<'_>) -> Key {
        Key {
            entity: name.entity,
            id: self.symbols.intern(&name.id),
        }
    }

    /// What a record says now, in every epoch that has begun.
    fn capture_previous(&self, key: Key) -> Previous {
        let said = self
            .ledgers
            .iter()
            .map(|ledger| {
                if ledger.has_begun() {
                    self.derive(key, ledger)
                } else {
                    Derived::default()
                }
            })
            .collect();
        Previous {
            key,
            changed: false,
            stated: self.stated(key),
            said,
            noted: self.noted(key),
        }
    }

    /// The records a record names, merged or not.
    fn stated(&self, key: Key) -> [Option<Key>; 2] {
        let named = |entity, id: Symbol| (!id.is_blank()).then_some(Key { entity, id });
        let Some(record) = self.records.get(&key) else {
            return [None, None];
        };
        match key.entity {
            Entity::Deal => [
                named(Entity::Account, record.text(deal::ACCOUNT_ID)),
                named(Entity::Lead, record.text(deal::LEAD_ID)),
            ],
            Entity::Lead => [
                named(Entity::Deal, record.text(lead::CONVERTED_DEAL_ID)),
                None,
            ],
            Entity::Account | Entity::Alias | Entity::Epoch => [None, None],
        }
    }

    /// Notes which records a record names now instead of those it named.
    fn refer(&mut self, key: Key, before: [Option<Key>; 2]) {
        let now = self.stated(key);
        if before != now {
            before
                .into_iter()
                .flatten()
                .for_each(|named| self.references.remove(named, key));
            now.into_iter()
                .flatten()
                .for_each(|named| self.references.add(named, key));
        }
    }

    fn derive(&self, key: Key, ledger: &Ledger) -> Derived {
        static NOBODY: std::sync::LazyLock<Record> = std::sync::LazyLock::new(Record::default);
        let view = ReadContext {
            compiled: ledger.compiled(),
            symbols: &self.symbols,
            customs: &self.customs,
            aliases: &self.aliases,
        };
        let (record, received) = (
            self.records.get(&key).unwrap_or(&NOBODY),
            ledger.received(key),
        );
        let mut said = Derived::default();
        let subject = match key.entity {
            Entity::Lead => {
                lead::links(record, received, view, &mut said.links);
                Subject::Lead(lead::LeadReading::new(key, record, received, view))
            }
            Entity::Deal => {
                let reading = deal::DealReading::new(key, record, received, view);
                reading.links(&mut said.links);
                Subject::Deal(reading)
            }
            Entity::Account => {
                account::links(key, record, view, &mut said.links);
                Subject::Account(account::AccountReading::new(key, record, received, view))
            }
            Entity::Alias | Entity::Epoch => return said,
        };
        metric::contribute(&subject, key, view, &mut said.contributions);
        said
    }

    /// Takes back what a record said before and adds what it says now.
    fn apply_difference(&mut self, before: &Previous) {
        for (number, old) in before.said.iter().enumerate() {
            if !self.ledgers[number].has_begun() {
                continue;
            }
            let new = self.derive(before.key, &self.ledgers[number]);
            self.ledgers[number].replace(
                before.key,
                (&old.contributions.items, &old.links),
                (&new.contributions.items, new.links),
            );
        }
    }

    fn noted(&self, key: Key) -> TrackedFields {
        let Some(record) = self.records.get(&key) else {
            return TrackedFields::default();
        };
        let (status, owner) = match key.entity {
            Entity::Lead => (record.text(lead::STATUS), record.text(lead::OWNER_ID)),
            Entity::Deal => (record.text(deal::STATUS), record.text(deal::OWNER_ID)),
            Entity::Account | Entity::Alias | Entity::Epoch => {
                (Symbol::BLANK, record.text(account::OWNER_ID))
            }
        };
        let is_deal = key.entity == Entity::Deal;
        let amount = record.decimal(deal::AMOUNT).filter(|_| is_deal);
        TrackedFields {
            status,
            owner,
            amount,
            closed_at: record.when(deal::CLOSED_AT).filter(|_| is_deal),
            time: 0,
        }
    }

    fn record_change(&mut self, before: &Previous, version: u64, append_time: i64) {
        let now = TrackedFields {
            time: before.noted.time,
            ..self.noted(before.key)
        };
        if now == before.noted {
            return;
        }
        let text = |symbol| self.symbols.text(symbol).to_owned();
        self.changes.push(ChangeRow {
            entity: before.key.entity,
            id: text(before.key.id),
            version,
            append_time,
            event_time: now.time,
            status: (text(before.noted.status), text(now.status)),
            owner: (text(before.noted.owner), text(now.owner)),
            amount: (before.noted.amount, now.amount),
            closed_at: (before.noted.closed_at, now.closed_at),
        });
    }

    /// Puts back a record as a fact holds it.
    ///
    /// # Errors
    /// If its bytes are damaged or of another version.
    pub fn restore_record(
        &mut self,
        entity: Entity,
        id: &str,
        state: &[u8],
    ) -> Result<(), BlobError> {
        let record = Record::from_bytes(entity, state, &mut self.customs, &mut self.symbols)?;
        let id = self.symbols.intern(id);
        if entity == Entity::Alias {
            self.aliases.learn(id, &record, &mut self.symbols);
        }
        if entity == Entity::Epoch {
            let epoch = self.symbols.text(id).parse::<u32>().ok();
            self.ledgers
                .iter_mut()
                .filter(|ledger| Some(ledger.epoch()) == epoch)
                .for_each(Ledger::begin);
        }
        let key = Key { entity, id };
        self.records.insert(key, record);
        self.refer(key, [None, None]);
        Ok(())
    }

    /// Puts back a link as a fact holds it.
    ///
    /// # Errors
    /// If its bytes are damaged.
    pub fn restore_link(&mut self, link: &LinkMessage<'_>) -> Result<(), Damaged> {
        let content = read_link(&mut Reader::new(&link.content), &mut self.symbols)?;
        let (target, sender) = (self.key(&link.target), self.key(&link.sender));
        self.note_lead(target, sender);
        if let Some(ledger) = self.ledgers.iter_mut().find(|l| l.epoch() == link.epoch) {
            ledger.receive(
                target,
                Received {
                    sender,
                    version: link.version,
                    link: content,
                },
            );
        }
        Ok(())
    }

    /// Works the cells out anew from records and links, all put back. Nothing is touched by it.
    pub fn finish_restore(&mut self) {
        for number in 0..self.ledgers.len() {
            self.ledgers[number].clear_cells();
            if self.ledgers[number].has_begun() {
                self.work_out(number);
            }
            self.ledgers[number].forget_touched();
        }
        self.touched_records.clear();
        self.changes.clear();
    }

    /// Everything that contributes in an epoch: what records were put back of, and what is only spoken of.
    fn subjects(&self, ledger: usize) -> Vec<Key> {
        let spoken_of = self.ledgers[ledger]
            .targets()
            .filter(|key| !self.records.contains_key(key));
        self.records.keys().copied().chain(spoken_of).collect()
    }

    /// The cells of an epoch as the records that are `wanted` make them, worked out from the facts put back. What the shard itself holds
    /// is left as it is.
    pub fn cells_of(&mut self, epoch: u32, wanted: impl Fn(Entity, &str) -> bool) -> Vec<CellRow> {
        let Some(number) = self
            .ledgers
            .iter()
            .position(|ledger| ledger.epoch() == epoch && ledger.has_begun())
        else {
            return Vec::new();
        };
        let mut cells = Ledger::new(
            epoch,
            self.ledgers[number].compiled().definitions.clone(),
            &mut self.symbols,
        );
        for key in self
            .subjects(number)
            .into_iter()
            .filter(|key| wanted(key.entity, self.symbols.text(key.id)))
        {
            let said = self.derive(key, &self.ledgers[number]);
            cells.replace(key, (&[], &[]), (&said.contributions.items, Vec::new()));
        }
        cells.rows(&self.symbols)
    }

    /// How many rows are waiting to be written.
    pub fn touched_rows(&self) -> usize {
        self.touched_records.len()
            + self.changes.len()
            + self.ledgers.iter().map(Ledger::touched_rows).sum::<usize>()
    }

    /// Of the rows waiting, those that later ones don't replace: changes, cells that came to zero, links withdrawn. A row for every touched
    /// record, cell and link that is there waits besides; these can't be more than the state holds.
    pub fn append_only_rows(&self) -> usize {
        self.changes.len() + self.ledgers.iter().map(Ledger::tombstoned_rows).sum::<usize>()
    }

    /// Takes all that was touched, at its present value, be it equal to what it was.
    pub fn take_touched(&mut self) -> Touched {
        let mut touched = Touched {
            changes: std::mem::take(&mut self.changes),
            ..Touched::default()
        };
        for key in std::mem::take(&mut self.touched_records) {
            if let Some(record) = self.records.get(&key) {
                touched
                    .records
                    .push(RecordRow::new(key, record, &self.customs, &self.symbols));
            }
        }
        for ledger in &mut self.ledgers {
            ledger.take_touched(&self.symbols, &mut touched);
        }
        touched
    }

    /// The greatest instant (µs) at which a live lead or deal was created or closed, in the first epoch: where history ends.
    pub fn last_instant(&self) -> Option<i64> {
        let ledger = self.ledgers.first()?;
        let view = ReadContext {
            compiled: ledger.compiled(),
            symbols: &self.symbols,
            customs: &self.customs,
            aliases: &self.aliases,
        };
        let calendar = &view.compiled.definitions.calendar;
        let live = self
            .records
            .iter()
            .filter(|(key, record)| view.is_live(**key, record));
        let last = live.filter_map(|(key, record)| match key.entity {
            Entity::Lead => {
                Some(calendar.instant(lead::LeadReading::new(*key, record, &[], view).created_at))
            }
            Entity::Deal => {
                let deal = deal::DealReading::new(*key, record, &[], view);
                let created = calendar.instant(deal.created_at);
                Some(
                    deal.closed_at
                        .map_or(created, |closed| created.max(calendar.instant(closed))),
                )
            }
            Entity::Account | Entity::Alias | Entity::Epoch => None,
        });
        last.max()
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

    /// Bytes held by records, texts, links and cells: an estimate from capacities.
    pub fn bytes(&self) -> usize {
        let records = self.records.capacity() * (size_of::<(Key, Record)>() + 1)
            + self.records.values().map(Record::heap_bytes).sum::<usize>();
        records
            + self.symbols.bytes()
            + self.references.bytes()
            + self.ledgers.iter().map(Ledger::bytes).sum::<usize>()
    }
}

#[cfg(test)]
mod tests;
