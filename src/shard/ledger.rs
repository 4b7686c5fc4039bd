//! The ledger: what a shard keeps for one epoch: the links it received, the cells, and what of both
//! was touched.

mod establish;
mod inboxes;
mod send;

use std::sync::{Arc, LazyLock};

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::cell_rows::{CellRow, CellRows};
use super::cells::Cells;
use super::difference::Difference;
use super::rows::{LinkRow, OutLink, Touched};
use crate::metric::{Catalogue, Contributions, Sent, Subject};
use crate::record::{
    Affected, Aliases, CompiledDefinitions, CustomFields, Inbox, Key, Link, ReadContext, Reading,
    Received, Stages, declared,
};
use crate::symbol::Symbols;
use crate::window::{Cell, CellKey};
use inboxes::Inboxes;

static NO_LINKS: LazyLock<Inbox> = LazyLock::new(Inbox::default);

/// What every epoch of a shard shares.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    pub symbols: &'a Symbols,
    pub customs: &'a CustomFields,
    pub aliases: &'a Aliases,
}

impl<'a> Names<'a> {
    pub fn context(self, compiled: &'a CompiledDefinitions) -> ReadContext<'a> {
        ReadContext {
            compiled,
            symbols: self.symbols,
            customs: self.customs,
            aliases: self.aliases,
        }
    }
}

/// The numbers of one epoch in one shard.
pub struct Ledger {
    epoch: u32,
    /// Numbers are kept; before that only the links received are.
    begun: bool,
    catalogue: Arc<Catalogue>,
    compiled: CompiledDefinitions,
    inboxes: Inboxes,
    cells: Cells,
    /// Target and sender of links received.
    touched_links: FxHashSet<(Key, Key)>,
    /// What is to be sent, by target and sender: the latest only, so that the queue is bounded by
    /// the records.
    outbox: FxHashMap<(Key, Key), Option<Link>>,
    /// How often a row came to say nothing any more since the last were taken: a cell at zero, a
    /// link withdrawn.
    tombstoned: usize,
    scratch: Difference,
}

/// A record whose contributions are about to change: what it contributed before the message.
pub(super) struct Open {
    key: Key,
    before: Reading,
    bases: Bases,
    difference: Difference,
    /// The senders whose links came in since, and whether they had one before.
    senders: Vec<(Key, bool)>,
}

/// The bases of a record for the metrics of its entity, which are a dozen at most.
type Bases = SmallVec<[i64; 12]>;

/// Periods, each with the position of the metric that keeps totals of them.
type Periods = SmallVec<[(usize, i64); 4]>;

impl Open {
    pub fn key(&self) -> Key {
        self.key
    }
}

impl Ledger {
    pub(super) fn new(
        epoch: u32,
        catalogue: Arc<Catalogue>,
        stages: &Stages,
        symbols: &mut Symbols,
    ) -> Self {
        let mut compiled = catalogue.compile(symbols);
        compiled.learn(stages, symbols);
        Ledger {
            epoch,
            begun: false,
            compiled,
            cells: Cells::new(&catalogue),
            catalogue,
            inboxes: Inboxes::default(),
            touched_links: FxHashSet::default(),
            outbox: FxHashMap::default(),
            tombstoned: 0,
            scratch: Difference::default(),
        }
    }

    /// The epoch.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// From now on numbers are kept.
    pub(super) fn begin(&mut self) {
        self.begun = true;
    }

    /// The log has come to a time (µs).
    pub(super) fn come_to(&mut self, append_time: i64) {
        self.cells.come_to(append_time, &self.catalogue);
    }

    /// Numbers are kept for it: it began with its log, or its start was folded.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Its definitions and metrics.
    pub fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    /// Its definitions, in the shard's symbols.
    pub(super) fn compiled(&self) -> &CompiledDefinitions {
        &self.compiled
    }

    /// Takes over what the records of stages say. True if that changed something.
    pub(super) fn learn(&mut self, stages: &Stages, symbols: &Symbols) -> bool {
        self.compiled.learn(stages, symbols)
    }

    /// The cells, zeros included until they are taken.
    pub fn cells(&self) -> impl Iterator<Item = (CellKey, Cell)> {
        self.cells.iter()
    }

    /// The links a record received.
    pub(super) fn inbox(&self, target: Key) -> &Inbox {
        self.inboxes.get(target).unwrap_or(&NO_LINKS)
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = Key> {
        self.inboxes.keys()
    }

    /// Keeps a link if none of its sender with as great a version is there already. True if it was
    /// kept.
    pub(super) fn receive(&mut self, target: Key, link: Received, names: Names<'_>) -> bool {
        let (inbox, sender) = (self.inboxes.get_or_insert(target), link.sender);
        if !inbox.is_news(sender, link.version) {
            return false;
        }
        inbox.receive(target, link, names.context(&self.compiled));
        self.touched_links.insert((target, sender));
        true
    }

    /// Notes what a record contributes as long as nothing of it or its links has changed.
    pub(super) fn open(&mut self, key: Key, before: Reading, names: Names<'_>) -> Open {
        let mut difference = std::mem::take(&mut self.scratch);
        difference.clear();
        let inbox = self.inbox(key);
        let subject = Subject::new(key, &before, inbox, names.context(&self.compiled));
        self.catalogue.contribute(&subject, &mut difference.minus);
        let bases = self.bases(&subject);
        Open {
            key,
            before,
            bases,
            difference,
            senders: Vec::new(),
        }
    }

    fn bases(&self, subject: &Subject<'_>) -> Bases {
        let positions = self.catalogue.positions_of(subject.key.entity).iter();
        positions
            .map(|position| self.catalogue.basis(*position, subject))
            .collect()
    }

    /// Keeps a link of a record that is open, and notes what it and the links whose place it
    /// changes contribute before and after.
    pub(super) fn receive_into(&mut self, open: &mut Open, link: Received, names: Names<'_>) {
        let (target, sender) = (open.key, link.sender);
        let inbox = self.inbox(target);
        if !inbox.is_news(sender, link.version) {
            return;
        }
        let context = names.context(&self.compiled);
        let had_link = inbox.link(sender).is_some();
        open.senders.push((sender, had_link));
        let order = declared(target.entity).order;
        let group = |link: Option<&Link>| Some(order(link?, context)?.1);
        let mut affected = Affected::new();
        affected.push(sender);
        let known = inbox.link(sender);
        let groups = [group(known), group(link.link.as_ref())];
        if groups != [None, None] {
            groups
                .into_iter()
                .for_each(|group| inbox.leading(group, &mut affected));
        }
        self.add_links(open, &affected, -1, names);
        self.receive(target, link, names);
        self.add_links(open, &affected, 1, names);
    }

    /// What the links of these senders contribute at an open record, as it was read before.
    fn add_links(&self, open: &mut Open, senders: &[Key], sign: i64, names: Names<'_>) {
        let inbox = self.inbox(open.key);
        let subject = Subject::new(open.key, &open.before, inbox, names.context(&self.compiled));
        let out = if sign < 0 {
            &mut open.difference.minus
        } else {
            &mut open.difference.plus
        };
        let links = senders.iter();
        let links = links.filter_map(|sender| Some((*sender, inbox.link(*sender)?)));
        let metrics = self.metrics_of(open.key, &open.bases);
        self.contribute_links(&subject, metrics, links, out);
    }

    /// The positions of the metrics that a record contributes to, each with its basis.
    fn metrics_of<'a>(
        &'a self,
        key: Key,
        bases: &'a [i64],
    ) -> impl Iterator<Item = (usize, i64)> + Clone + 'a {
        let positions = self.catalogue.positions_of(key.entity).iter();
        positions.copied().zip(bases.iter().copied())
    }

    /// What these links of a record contribute to these metrics.
    fn contribute_links<'l>(
        &self,
        subject: &Subject<'_>,
        metrics: impl Iterator<Item = (usize, i64)> + Clone,
        links: impl Iterator<Item = (Key, &'l Link)>,
        out: &mut Contributions,
    ) {
        for (sender, link) in links {
            for (position, basis) in metrics.clone() {
                let sent = Sent {
                    sender,
                    link,
                    basis,
                };
                self.catalogue
                    .contribute_link(position, subject, &sent, out);
            }
        }
    }

    /// Applies the difference between what an open record contributed and said, and what it does
    /// now.
    pub(super) fn close(&mut self, open: Open, after: Reading, names: Names<'_>) {
        let Open {
            key,
            before,
            bases,
            mut difference,
            senders,
        } = open;
        if before != after {
            self.read_links_anew(key, [&before, &after], &bases, &mut difference, names);
        }
        let periods = self.periods(key, &difference, before != after);
        self.contribute_periods(key, &before, &periods, &mut difference.minus, names);
        self.note(key, &difference);
        self.contribute_periods(key, &after, &periods, &mut difference.plus, names);
        let inbox = self.inbox(key);
        let context = names.context(&self.compiled);
        let subject = Subject::new(key, &after, inbox, context);
        if !inbox.is_empty() {
            let after = self.bases(&subject);
            let moved = self.metrics_of(key, &bases).zip(&after);
            for ((position, old), new) in moved.filter(|((_, old), new)| old != *new) {
                for (basis, out) in [(old, &mut difference.minus), (*new, &mut difference.plus)] {
                    let metric = std::iter::once((position, basis));
                    self.contribute_links(&subject, metric, inbox.links(), out);
                }
            }
        }
        self.catalogue.contribute(&subject, &mut difference.plus);
        self.send(key, [&before, &after], &senders);
        self.apply(difference);
    }

    fn apply(&mut self, mut difference: Difference) {
        let (cells, catalogue) = (&mut self.cells, &*self.catalogue);
        let mut zeros = 0;
        difference.net(|change| zeros += cells.apply(change, catalogue));
        self.tombstoned += zeros;
        self.scratch = difference;
    }

    /// A record is read otherwise: what its links contribute may be something else too.
    fn read_links_anew(
        &self,
        key: Key,
        readings: [&Reading; 2],
        bases: &[i64],
        difference: &mut Difference,
        names: Names<'_>,
    ) {
        let inbox = self.inbox(key);
        if inbox.is_empty() {
            return;
        }
        let context = names.context(&self.compiled);
        let outs = [&mut difference.minus, &mut difference.plus];
        for (reading, out) in readings.into_iter().zip(outs) {
            let subject = Subject::new(key, reading, inbox, context);
            let (every, first): (Vec<_>, Vec<_>) = self
                .metrics_of(key, bases)
                .partition(|(position, _)| self.catalogue.links_read_target(*position));
            if !every.is_empty() {
                self.contribute_links(&subject, every.into_iter(), inbox.links(), out);
            }
            // Of links kept in order only the first one's place depends on the record itself.
            let leading = inbox.in_order().take(1);
            let leading = leading.filter_map(|sender| Some((sender, inbox.link(sender)?)));
            self.contribute_links(&subject, first.into_iter(), leading, out);
        }
    }

    /// The periods, each with the position of its metric, whose contributions change: those with
    /// totals that links change and the ones after them; every one of a record that is read
    /// otherwise.
    fn periods(&self, key: Key, difference: &Difference, all: bool) -> Periods {
        let mut periods = Periods::new();
        for position in self.catalogue.positions_of(key.entity) {
            let Some(slot) = self.catalogue.period_slot(*position) else {
                continue;
            };
            let totals = difference
                .minus
                .totals
                .iter()
                .chain(&difference.plus.totals);
            let changed = totals.filter(|((of, ..), _)| *of == slot);
            periods.extend(changed.map(|((_, period, _), _)| (*position, *period)));
            if all {
                let known = self.inbox(key).totals().periods(slot);
                periods.extend(known.map(|period| (*position, period)));
            }
        }
        for at in 0..periods.len() {
            let (position, period) = periods[at];
            periods.push((position, period + 1));
        }
        periods.sort_unstable();
        periods.dedup();
        periods
    }

    /// What the totals of these periods contribute, as they are noted now.
    fn contribute_periods(
        &self,
        key: Key,
        reading: &Reading,
        periods: &Periods,
        out: &mut Contributions,
        names: Names<'_>,
    ) {
        let subject = Subject::new(key, reading, self.inbox(key), names.context(&self.compiled));
        for (position, period) in periods {
            self.catalogue
                .contribute_period(*position, &subject, *period, out);
        }
    }

    /// Notes the marks and totals that links set, instead of those they had set.
    fn note(&mut self, key: Key, difference: &Difference) {
        let (minus, plus) = (&difference.minus, &difference.plus);
        let Some(inbox) = self.inboxes.get_mut(key) else {
            return;
        };
        // First what is added, so that what stays is not dropped and made again. Most records have
        // none.
        if !(minus.marks.is_empty() && plus.marks.is_empty()) {
            let marks = inbox.marks_mut();
            plus.marks.iter().for_each(|mark| marks.add(*mark, 1));
            minus.marks.iter().for_each(|mark| marks.add(*mark, -1));
        }
        if !(minus.totals.is_empty() && plus.totals.is_empty()) {
            let totals = inbox.totals_mut();
            plus.totals.iter().for_each(|(k, n)| totals.add(*k, *n, 1));
            minus
                .totals
                .iter()
                .for_each(|(k, n)| totals.add(*k, *n, -1));
        }
    }

    pub(super) fn forget_touched(&mut self) {
        self.cells.forget_touched();
        // All links there are after a restart: what room they took isn't needed again.
        self.touched_links = FxHashSet::default();
        self.outbox.clear();
        self.tombstoned = 0;
    }

    pub(super) fn touched_rows(&self) -> usize {
        self.cells.touched() + self.touched_links.len() + self.outbox.len()
    }

    /// Of the rows that wait, how many may say nothing that is there any more: what is not bounded
    /// by the state.
    pub(super) fn tombstoned_rows(&self) -> usize {
        self.tombstoned
    }

    /// Adds the cells touched since the last time, at their present values, of those whose state is
    /// kept of every hour.
    pub(super) fn take_this_hour(&mut self, symbols: &Symbols, rows: &mut CellRows) {
        let (epoch, catalogue) = (self.epoch, &*self.catalogue);
        let expected = self.cells.touched_this_hour();
        let mut rows = rows.write(epoch, expected, (catalogue, symbols));
        self.cells
            .take_this_hour(|key, cell| rows.push(&key, &cell));
    }

    pub(super) fn take_touched(&mut self, symbols: &Symbols, touched: &mut Touched) {
        self.tombstoned = 0;
        let (epoch, catalogue) = (self.epoch, &*self.catalogue);
        let expected = self.cells.touched();
        let mut rows = touched.cells.write(epoch, expected, (catalogue, symbols));
        self.cells.take_touched(|key, cell| rows.push(&key, &cell));
        drop(rows);
        for (target, sender) in std::mem::take(&mut self.touched_links) {
            if let Some(link) = self.inbox(target).get(sender) {
                touched
                    .links
                    .push(LinkRow::new(epoch, target, link, symbols));
            }
        }
        for ((target, sender), link) in std::mem::take(&mut self.outbox) {
            touched
                .outbox
                .links
                .push(OutLink::new(epoch, target, sender, link.as_ref(), symbols));
        }
    }

    /// Every cell as a row.
    pub(super) fn rows(&self, symbols: &Symbols) -> Vec<CellRow> {
        let row = |(key, cell)| CellRow::new(self.epoch, key, cell, &self.catalogue, symbols);
        self.cells.iter().map(row).collect()
    }

    /// How many cells there are.
    pub fn cell_count(&self) -> usize {
        self.cells.count()
    }

    /// How many links are held, withdrawn ones included.
    pub fn link_count(&self) -> usize {
        self.inboxes.links()
    }

    /// Bytes the cells take, from capacities.
    pub fn cell_bytes(&self) -> usize {
        self.cells.bytes()
    }

    /// Bytes the links take with the table they are in and those that are queued, from capacities.
    pub fn link_bytes(&self) -> usize {
        let queued = self.outbox.capacity() * (size_of::<((Key, Key), Option<Link>)>() + 1)
            + self.touched_links.capacity() * (size_of::<(Key, Key)>() + 1);
        self.inboxes.link_bytes() + queued
    }

    /// Bytes taken by what is kept of a record's links beside them: sums, marks and their order.
    pub fn kept_bytes(&self) -> usize {
        self.inboxes.kept_bytes()
    }
}
