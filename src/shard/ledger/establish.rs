//! Working out what a record contributes from nothing: after a restart, when an epoch begins, and
//! to compare.

use super::{Cells, Ledger, Names};
use crate::metric::{Contributions, Subject};
use crate::record::{Inbox, Key, Reading};

impl Ledger {
    /// Works out what a record contributes, as if nothing of it had been counted in this epoch yet.
    pub(in crate::shard) fn establish(&mut self, key: Key, reading: &Reading, names: Names<'_>) {
        let mut difference = std::mem::take(&mut self.scratch);
        difference.clear();
        if let Some(inbox) = self.inboxes.get_mut(key) {
            inbox.clear_notes();
            // Once for the marks and totals, which the basis and periods may look at; then for the
            // contributions.
            let bases = vec![0; self.catalogue.positions_of(key.entity).len()];
            self.contribute_all_links(key, reading, &bases, &mut difference.plus, names);
            self.note(key, &difference);
            let periods = self.periods(key, &difference, false);
            difference.clear();
            self.contribute_periods(key, reading, &periods, &mut difference.plus, names);
            let subject =
                Subject::new(key, reading, self.inbox(key), names.context(&self.compiled));
            let bases = self.bases(&subject);
            self.contribute_all_links(key, reading, &bases, &mut difference.plus, names);
        }
        let subject = Subject::new(key, reading, self.inbox(key), names.context(&self.compiled));
        self.catalogue.contribute(&subject, &mut difference.plus);
        self.apply(difference);
    }

    fn contribute_all_links(
        &self,
        key: Key,
        reading: &Reading,
        bases: &[i64],
        out: &mut Contributions,
        names: Names<'_>,
    ) {
        let inbox = self.inbox(key);
        let subject = Subject::new(key, reading, inbox, names.context(&self.compiled));
        self.contribute_links(&subject, self.metrics_of(key, bases), inbox.links(), out);
    }

    /// The same as [`Ledger::establish`] for a record of another ledger of the epoch, of which
    /// nothing is kept but the cells.
    pub(in crate::shard) fn establish_cells(
        &mut self,
        key: Key,
        reading: &Reading,
        inbox: &Inbox,
        names: Names<'_>,
    ) {
        debug_assert!(self.inboxes.get(key).is_none(), "of another ledger");
        if !inbox.is_empty() {
            *self.inboxes.get_or_insert(key) = inbox.clone();
        }
        self.establish(key, reading, names);
        if !inbox.is_empty() {
            self.inboxes.remove_last();
        }
    }

    /// No cells, as of when the log had come to a time (µs).
    pub(in crate::shard) fn clear_cells(&mut self, append_time: i64) {
        self.cells = Cells::new(&self.catalogue);
        self.come_to(append_time);
        self.forget_touched();
    }
}
