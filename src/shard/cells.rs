//! The cells of an epoch in a shard: for each rollup a pool of rows.

mod index;
mod place;
mod pool;
mod row;
mod samples;

use super::difference::Change;
use crate::metric::Catalogue;
use crate::window::{Cell, CellKey};
use place::Lookup;
use pool::Pool;
pub(super) use row::CellRef;

/// The cells of every rollup.
pub(super) struct Cells {
    pools: Vec<Pool>,
    /// The cells that the present change goes to.
    lookups: Vec<Lookup>,
    /// The start (s) of the first hour that is kept.
    first_hour: i64,
}

impl Cells {
    pub fn new(catalogue: &Catalogue) -> Self {
        let kept_hourly: Vec<u8> = catalogue.kept_hourly().collect();
        let pools = (0..catalogue.rollups().len() as u8)
            .map(|rollup| Pool::new(rollup, catalogue, kept_hourly.contains(&rollup)));
        let pools = pools.collect();
        Cells {
            pools,
            lookups: Vec::new(),
            first_hour: i64::MIN,
        }
    }

    /// The log has come to a time (µs): hours that are not kept any more are dropped, be they
    /// touched or not. Whatever they held, nobody reads their rows again.
    pub fn come_to(&mut self, append_time: i64, catalogue: &Catalogue) {
        let first_hour = catalogue.spec.hours_kept.first(append_time);
        if first_hour > self.first_hour {
            self.first_hour = first_hour;
            for (pool, rollup) in self.pools.iter_mut().zip(0..) {
                pool.drop_hours_before(catalogue.first_hour(rollup, append_time));
            }
        }
    }

    /// Applies a change to every cell it goes to. Says in how many nothing is left.
    pub fn apply(&mut self, change: Change<'_>, catalogue: &Catalogue) -> usize {
        let Some(rollup) = change.rollup() else {
            return 0;
        };
        self.pools[usize::from(rollup)].apply(change, &catalogue.calendar, &mut self.lookups)
    }

    /// Every cell, zeros included until they are taken.
    pub fn iter(&self) -> impl Iterator<Item = (CellKey, Cell)> {
        let pools = self.pools.iter().enumerate();
        pools.flat_map(|(rollup, pool)| {
            pool.live()
                .map(move |(key, cell)| (key.cell_key(rollup), cell.to_cell()))
        })
    }

    /// How many cells are to be written.
    pub fn touched(&self) -> usize {
        self.pools.iter().map(Pool::touched).sum()
    }

    /// How many cells [`Cells::take_this_hour`] hands over.
    pub fn touched_this_hour(&self) -> usize {
        self.pools.iter().map(Pool::touched_this_hour).sum()
    }

    /// Hands over every cell, zeros too, that was touched since the last time, of the rollups whose
    /// state is kept of every hour.
    pub fn take_this_hour(&mut self, mut take: impl FnMut(CellKey, CellRef<'_>)) {
        for (rollup, pool) in self.pools.iter_mut().enumerate() {
            pool.take_this_hour(rollup, &mut take);
        }
    }

    /// Hands over every cell to be written, zeros too, after which none is; a cell in which nothing
    /// is left is dropped, so that its state of the hour has to be taken first.
    pub fn take_touched(&mut self, mut take: impl FnMut(CellKey, CellRef<'_>)) {
        for (rollup, pool) in self.pools.iter_mut().enumerate() {
            pool.take_touched(rollup, &mut take);
        }
    }

    /// Nothing is to be written.
    pub fn forget_touched(&mut self) {
        self.take_this_hour(|_, _| {});
        self.take_touched(|_, _| {});
    }

    /// How many cells there are.
    pub fn count(&self) -> usize {
        self.pools.iter().map(Pool::count).sum()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.pools.iter().map(Pool::bytes).sum()
    }
}
