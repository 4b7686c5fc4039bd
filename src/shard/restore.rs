//! Putting a shard back together from facts, and working its numbers out anew.

use super::cell_rows::CellRow;
use super::ledger::Names;
use super::{Before, Ledger, Shard};
use crate::codec::{Damaged, Reader};
use crate::event::wire::LinkMessage;
use crate::event::{Entity, Placement, SideInput};
use crate::record::{BlobError, Key, Reading, Received, Record, read_link};

/// How many records are read at once before their numbers are worked out: as many as a message has.
const BLOCK: usize = 500;

impl Shard {
    /// Restores a record as a fact holds it.
    ///
    /// # Errors
    /// If its bytes are damaged or of another version.
    pub fn restore_record(
        &mut self,
        entity: Entity,
        id: &str,
        state: &[u8],
    ) -> Result<(), BlobError> {
        let (customs, symbols) = (&mut self.customs, &mut self.symbols);
        let record = Record::from_bytes(entity.spec(), state, customs, symbols)?;
        let id = self.symbols.intern(id);
        match entity.placement() {
            Placement::Home => {}
            Placement::Everywhere(SideInput::Alias) => {
                self.aliases.learn(id, &record, &mut self.symbols);
            }
            Placement::Everywhere(SideInput::Stage) => {
                self.stages.learn(id, &record);
            }
            Placement::Everywhere(SideInput::EpochStart) => {
                let epoch = self.symbols.text(id).parse::<u32>().ok();
                let ledgers = self.ledgers.iter_mut();
                let begun = ledgers.filter(|ledger| Some(ledger.epoch()) == epoch);
                begun.for_each(Ledger::begin);
            }
        }
        let key = Key { entity, id };
        for named in Self::stated(&record, entity) {
            self.references.restore(named, key);
        }
        let number = self.records.number(key);
        *self.records.at_mut(number) = record;
        Ok(())
    }

    /// Restores a link as a fact holds it.
    ///
    /// # Errors
    /// If its bytes are damaged.
    pub fn restore_link(&mut self, message: &LinkMessage<'_>) -> Result<(), Damaged> {
        let content = read_link(&mut Reader::new(&message.content), &mut self.symbols)?;
        let (target, sender) = (self.key(&message.target), self.key(&message.sender));
        if Self::reads_root_of(target, sender) {
            self.references.restore_received(sender, target);
        }
        let mut ledgers = self.ledgers.iter();
        if let Some(number) = ledgers.position(|l| l.epoch() == message.epoch) {
            let received = Received {
                sender,
                version: message.version,
                link: content,
            };
            let (ledger, names) = self.ledger(number);
            ledger.receive(target, received, names);
        }
        Ok(())
    }

    /// Works the cells out anew from records and links, all restored, as of when the log had come
    /// to `append_time` (µs). Nothing is touched by it.
    pub fn finish_restore(&mut self, append_time: i64) {
        self.come_to(append_time);
        self.references.finish_restore();
        self.learn_stages();
        for number in 0..self.ledgers.len() {
            self.ledgers[number].clear_cells(self.append_time);
            if self.ledgers[number].has_begun() {
                self.work_out(number, Ledger::establish);
            }
            self.ledgers[number].forget_touched();
        }
        self.records.take_touched();
        self.changes.clear();
    }

    /// Reads, in an epoch, every record and every target of links that is no record yet, and has
    /// the ledger do its work with each.
    pub(super) fn work_out(
        &mut self,
        number: usize,
        mut work: impl FnMut(&mut Ledger, Key, &Reading, Names<'_>),
    ) {
        let unrecorded: Vec<Key> = self.unrecorded(number).collect();
        let first = self.records.len() as u32;
        for block in self.in_order_of_time(number, &unrecorded).chunks(BLOCK) {
            let records = block.iter().copied().filter(|at| *at < first);
            self.records.fetch(records);
            for at in block {
                let (key, reading) = match at.checked_sub(first) {
                    None => {
                        let (key, record) = (self.records.key(*at), self.records.at(*at));
                        (key, self.read_as(number, key, record, Before::NOTHING))
                    }
                    Some(at) => {
                        let key = unrecorded[at as usize];
                        (key, self.read(number, key))
                    }
                };
                let (ledger, names) = self.ledger(number);
                work(ledger, key, &reading, names);
            }
        }
    }

    /// Everything that contributes in an epoch, by number, in order of time: records of one time
    /// share their cells, which then are at hand. Records come before what is none.
    fn in_order_of_time(&self, number: usize, unrecorded: &[Key]) -> Vec<u32> {
        let context = self.names().context(self.ledgers[number].compiled());
        // In the order in which they are stored, without a look-up.
        let records = self.records.iter();
        let records =
            records.map(|(key, record)| self.read_as(number, key, record, Before::NOTHING));
        let others = unrecorded.iter().map(|key| self.read(number, *key));
        let instants = records
            .chain(others)
            .map(|reading| reading.last_instant(context));
        let mut timed: Vec<(Option<i64>, u32)> = instants.zip(0..).collect();
        timed.sort_unstable();
        timed.into_iter().map(|(_, at)| at).collect()
    }

    /// What is known only by links to it.
    fn unrecorded(&self, ledger: usize) -> impl Iterator<Item = Key> {
        let targets = self.ledgers[ledger].targets();
        targets.filter(|key| self.records.get(*key).is_none())
    }

    /// Everything that contributes in an epoch: the records, and what is known only by links to it.
    fn subjects(&self, ledger: usize) -> Vec<Key> {
        self.records.keys().chain(self.unrecorded(ledger)).collect()
    }

    /// The cells of an epoch as the records that are `wanted` make them, worked out from the
    /// restored facts. What the shard itself holds is left as it is.
    pub fn cells_of(&mut self, epoch: u32, wanted: impl Fn(Entity, &str) -> bool) -> Vec<CellRow> {
        self.learn_stages();
        let mut ledgers = self.ledgers.iter();
        let Some(number) = ledgers.position(|l| l.epoch() == epoch && l.has_begun()) else {
            return Vec::new();
        };
        let catalogue = self.ledgers[number].catalogue().clone();
        let mut cells = Ledger::new(epoch, catalogue, &self.stages, &mut self.symbols);
        let names = self.names();
        let subjects = self.subjects(number).into_iter();
        for key in subjects.filter(|key| wanted(key.entity, self.symbols.text(key.id))) {
            let reading = self.read(number, key);
            cells.establish_cells(key, &reading, self.ledgers[number].inbox(key), names);
        }
        cells.rows(&self.symbols)
    }
}
