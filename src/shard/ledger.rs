//! The ledger: what a shard keeps for one epoch: the links it received, the cells, and what of both was touched.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::rows::{CellRow, LinkRow, OutLink, Touched};
use crate::definitions::Definitions;
use crate::metric::{self, Contribution, Rollup};
use crate::record::{Key, CompiledDefinitions, Link, Received, Symbol, Symbols};
use crate::window::{Cell, CellKey, Grain, MAX_CROSS, Pane};

/// The numbers of one epoch in one shard.
pub struct Ledger {
    epoch: u32,
    /// Numbers are kept; before that only the links received are.
    begun: bool,
    compiled: CompiledDefinitions,
    /// By rollup, the grouping sets and grains its contributions go to.
    layout: Vec<Vec<(u8, Vec<Grain>)>>,
    rollups: Vec<&'static Rollup>,
    links: FxHashMap<Key, Vec<Received>>,
    cells: FxHashMap<CellKey, Cell>,
    touched_cells: FxHashSet<CellKey>,
    /// Target and sender of links received.
    touched_links: FxHashSet<(Key, Key)>,
    /// What is to be told, by target and sender: the latest only, so that the queue is bounded by the records.
    outbox: FxHashMap<(Key, Key), Option<Link>>,
    /// How often a row came to stand for nothing any more since the last were taken: a cell at zero, a link withdrawn.
    tombstoned: usize,
}

impl Ledger {
    pub(super) fn new(epoch: u32, definitions: Arc<Definitions>, symbols: &mut Symbols) -> Self {
        let rollups: Vec<&'static Rollup> = metric::rollups().collect();
        let layout = rollups.iter().map(|rollup| {
            let sets = definitions
                .sets
                .iter()
                .enumerate()
                .filter(|(_, set)| set.dimensions.iter().all(|d| rollup.cut_by.supplies(*d)));
            let kept = |grains: &[Grain]| {
                grains
                    .iter()
                    .copied()
                    .filter(|g| rollup.grains.contains(g))
                    .collect::<Vec<_>>()
            };
            sets.map(|(number, set)| (number as u8, kept(&set.grains)))
                .filter(|(_, grains)| !grains.is_empty())
                .collect()
        });
        Ledger {
            epoch,
            begun: false,
            layout: layout.collect(),
            rollups,
            compiled: CompiledDefinitions::new(definitions, symbols),
            links: FxHashMap::default(),
            cells: FxHashMap::default(),
            touched_cells: FxHashSet::default(),
            touched_links: FxHashSet::default(),
            outbox: FxHashMap::default(),
            tombstoned: 0,
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

    /// Numbers are kept for it: it began with its log, or its start was folded.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Its definitions, in the shard's symbols.
    pub fn compiled(&self) -> &CompiledDefinitions {
        &self.compiled
    }

    /// The cells, zeros included until they are taken.
    pub fn cells(&self) -> impl Iterator<Item = (&CellKey, &Cell)> {
        self.cells.iter()
    }

    /// The links a record received, withdrawn ones included.
    pub fn received(&self, target: Key) -> &[Received] {
        self.links.get(&target).map_or(&[], Vec::as_slice)
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = Key> {
        self.links.keys().copied()
    }

    /// Keeps a link if none of its sender with as great a version is there already.
    pub(super) fn receive(&mut self, target: Key, link: Received) {
        let links = self.links.entry(target).or_default();
        let sender = link.sender;
        match links.iter_mut().find(|known| known.sender == sender) {
            Some(known) if known.version >= link.version => return,
            Some(known) => *known = link,
            None => links.push(link),
        }
        self.touched_links.insert((target, sender));
    }

    /// Takes back what a record contributed and said, and adds what it does now. What it contributes unchanged is left alone.
    pub(super) fn replace(
        &mut self,
        key: Key,
        old: (&[Contribution], &[(Key, Link)]),
        new: (&[Contribution], Vec<(Key, Link)>),
    ) {
        let (mut gone, mut come): (Vec<&Contribution>, Vec<&Contribution>) =
            (old.0.iter().collect(), Vec::new());
        for contribution in new.0 {
            match gone.iter().position(|old| *old == contribution) {
                Some(same) => drop(gone.swap_remove(same)),
                None => come.push(contribution),
            }
        }
        gone.into_iter()
            .for_each(|contribution| self.add(contribution, -1));
        come.into_iter()
            .for_each(|contribution| self.add(contribution, 1));

        for (target, _) in old.1 {
            if !new.1.iter().any(|(still, _)| still == target) {
                self.outbox.insert((*target, key), None);
                self.tombstoned += 1;
            }
        }
        for (target, link) in new.1 {
            if !old
                .1
                .iter()
                .any(|(before, said)| *before == target && *said == link)
            {
                self.outbox.insert((target, key), Some(link));
            }
        }
    }

    fn add(&mut self, contribution: &Contribution, sign: i64) {
        let calendar = &self.compiled.definitions.calendar;
        let rollup = usize::from(contribution.rollup);
        for (set, grains) in &self.layout[rollup] {
            let mut values = [Symbol::BLANK; MAX_CROSS];
            for (value, dimension) in values
                .iter_mut()
                .zip(&self.compiled.definitions.sets[usize::from(*set)].dimensions)
            {
                *value = contribution.dims[usize::from(dimension.0)];
            }
            for grain in grains {
                let pane = Pane::of(contribution.at, *grain, calendar);
                let key = CellKey {
                    rollup: contribution.rollup,
                    set: *set,
                    pane,
                    currency: contribution.currency,
                    values,
                };
                let cell = self.cells.entry(key).or_default();
                for measure in 0..self.rollups[rollup].counts.len() {
                    if contribution.counts & 1 << measure != 0 {
                        cell.count(measure, sign);
                    }
                }
                for (measure, number) in contribution.sums.iter().filter(|(_, number)| *number != 0)
                {
                    cell.sum(
                        usize::from(*measure),
                        i128::from(sign) * i128::from(*number),
                    );
                }
                if let Some(bucket) = contribution.sample {
                    cell.sketch.add(bucket, sign);
                }
                if sign < 0 && cell.is_zero() {
                    self.tombstoned += 1;
                }
                self.touched_cells.insert(key);
                if pane == Pane::UNDATED {
                    break; // one undated cell serves all grains
                }
            }
        }
    }

    pub(super) fn clear_cells(&mut self) {
        self.cells.clear();
        self.forget_touched();
    }

    pub(super) fn forget_touched(&mut self) {
        self.touched_cells.clear();
        self.touched_links.clear();
        self.outbox.clear();
        self.tombstoned = 0;
    }

    pub(super) fn touched_rows(&self) -> usize {
        self.touched_cells.len() + self.touched_links.len() + self.outbox.len()
    }

    /// Of the rows that wait, how many may stand for nothing that is there any more: what is not bounded by the state.
    pub(super) fn tombstoned_rows(&self) -> usize {
        self.tombstoned
    }

    pub(super) fn take_touched(&mut self, symbols: &Symbols, touched: &mut Touched) {
        self.tombstoned = 0;
        for key in std::mem::take(&mut self.touched_cells) {
            let Some(cell) = self.cells.get(&key) else {
                continue;
            };
            touched.cells.push(self.row(&key, cell, symbols));
            if cell.is_zero() {
                self.cells.remove(&key); // its row says zero; the next contribution starts from there
            }
        }
        for (target, sender) in std::mem::take(&mut self.touched_links) {
            if let Some(link) = self
                .received(target)
                .iter()
                .find(|link| link.sender == sender)
            {
                touched
                    .links
                    .push(LinkRow::new(self.epoch, target, link, symbols));
            }
        }
        for ((target, sender), link) in std::mem::take(&mut self.outbox) {
            touched.outbox.push(OutLink::new(
                self.epoch,
                target,
                sender,
                link.as_ref(),
                symbols,
            ));
        }
    }

    /// Every cell as a row.
    pub(super) fn rows(&self, symbols: &Symbols) -> Vec<CellRow> {
        self.cells
            .iter()
            .map(|(key, cell)| self.row(key, cell, symbols))
            .collect()
    }

    fn row(&self, key: &CellKey, cell: &Cell, symbols: &Symbols) -> CellRow {
        let dimensions = self.compiled.definitions.sets[usize::from(key.set)]
            .dimensions
            .len();
        CellRow {
            epoch: self.epoch,
            rollup: self.rollups[usize::from(key.rollup)].name,
            grouping: self.compiled.definitions.set_name(usize::from(key.set)),
            pane: key.pane,
            values: key.values[..dimensions]
                .iter()
                .map(|s| symbols.text(*s).to_owned())
                .collect(),
            currency: symbols.text(key.currency).to_owned(),
            cell: self.padded(key, cell),
        }
    }

    /// Every row of a rollup has all its measures, so that equal numbers are equal rows.
    fn padded(&self, key: &CellKey, cell: &Cell) -> Cell {
        let rollup = self.rollups[usize::from(key.rollup)];
        let mut cell = cell.clone();
        cell.counts.resize(rollup.counts.len(), 0);
        cell.sums.resize(rollup.sums.len(), 0);
        cell
    }

    /// How many links are held, withdrawn ones included.
    pub fn link_count(&self) -> usize {
        self.links.values().map(Vec::len).sum()
    }

    /// Bytes the links take with the table they are in, from capacities.
    pub fn link_bytes(&self) -> usize {
        let links = self
            .links
            .values()
            .map(|l| {
                l.capacity() * size_of::<Received>()
                    + l.iter()
                        .filter(|l| matches!(l.link, Some(Link::Deal(_))))
                        .count()
                        * size_of::<crate::record::DealLink>()
            })
            .sum::<usize>();
        self.links.capacity() * (size_of::<(Key, Vec<Received>)>() + 1) + links
    }

    /// Bytes the cells take with the table they are in, from capacities.
    pub fn cell_bytes(&self) -> usize {
        let cells = self
            .cells
            .values()
            .map(|c| {
                c.counts.capacity() * 8 + c.sums.capacity() * 16 + size_of_val(c.sketch.buckets())
            })
            .sum::<usize>();
        self.cells.capacity() * (size_of::<(CellKey, Cell)>() + 1) + cells
    }

    pub(super) fn bytes(&self) -> usize {
        self.link_bytes() + self.cell_bytes()
    }
}
