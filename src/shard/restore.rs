//! Putting a shard back together from facts, and working its numbers out anew.

use super::cell_rows::CellRow;
use super::ledger::Names;
use super::{Ledger, Shard};
use crate::codec::{Damaged, Reader};
use crate::event::wire::LinkMessage;
use crate::event::{Entity, Placement, SideInput};
use crate::record::{BlobError, Key, Reading, Received, Record, read_link};

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

    /// Works the cells out anew from records and links, all restored. Nothing is touched by it.
    pub fn finish_restore(&mut self) {
        self.references.finish_restore();
        for number in 0..self.ledgers.len() {
            self.ledgers[number].clear_cells();
            if self.ledgers[number].has_begun() {
                self.work_out(number, Ledger::establish);
            }
            self.ledgers[number].forget_touched();
        }
        self.records.take_touched();
        self.changes.clear();
    }

    /// Reads, in an epoch, every record and every target of links that is no record yet, and has the ledger do its work with each.
    pub(super) fn work_out(
        &mut self,
        number: usize,
        mut work: impl FnMut(&mut Ledger, Key, &Reading, Names<'_>),
    ) {
        for key in self.in_order_of_time(number) {
            let reading = self.read(number, key);
            let (ledger, names) = self.ledger(number);
            work(ledger, key, &reading, names);
        }
    }

    /// Everything that contributes in an epoch, in order of time: records of one time share their cells, which then are at hand.
    fn in_order_of_time(&self, number: usize) -> impl Iterator<Item = Key> + use<> {
        let context = self.names().context(self.ledgers[number].compiled());
        let instant = |key: Key| self.read(number, key).last_instant(context);
        let subjects = self.subjects(number).into_iter();
        let mut timed: Vec<(Option<i64>, Key)> = subjects.map(|key| (instant(key), key)).collect();
        timed.sort_unstable();
        timed.into_iter().map(|(_, key)| key)
    }

    /// Everything that contributes in an epoch: the records, and what is known only by links to it.
    fn subjects(&self, ledger: usize) -> Vec<Key> {
        let by_links = self.ledgers[ledger]
            .targets()
            .filter(|key| self.records.get(*key).is_none());
        self.records.keys().chain(by_links).collect()
    }

    /// The cells of an epoch as the records that are `wanted` make them, worked out from the restored facts. What the shard itself
    /// holds is left as it is.
    pub fn cells_of(&mut self, epoch: u32, wanted: impl Fn(Entity, &str) -> bool) -> Vec<CellRow> {
        let mut ledgers = self.ledgers.iter();
        let Some(number) = ledgers.position(|l| l.epoch() == epoch && l.has_begun()) else {
            return Vec::new();
        };
        let catalogue = self.ledgers[number].catalogue().clone();
        let mut cells = Ledger::new(epoch, catalogue, &mut self.symbols);
        let names = self.names();
        let subjects = self.subjects(number).into_iter();
        for key in subjects.filter(|key| wanted(key.entity, self.symbols.text(key.id))) {
            let reading = self.read(number, key);
            cells.establish_cells(key, &reading, self.ledgers[number].inbox(key), names);
        }
        cells.rows(&self.symbols)
    }
}
