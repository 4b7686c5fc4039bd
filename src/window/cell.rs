//! Cells: one accumulator per rollup, pane and combination of dimension values. Everything in them
//! can be subtracted.

use super::dimension::MAX_CROSS;
use super::pane::Pane;
use super::sketch::Sketch;
use crate::symbol::Symbol;

/// Which cell of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CellKey {
    /// Index of the rollup in the catalogue.
    pub rollup: u8,
    /// Index of the grouping set in the definitions.
    pub set: u8,
    /// The stretch of time.
    pub pane: Pane,
    /// The currency of its amounts; blank where money plays no part. Amounts of two currencies are
    /// never summed.
    pub currency: Symbol,
    /// The values of the grouping set's dimensions, in its order.
    pub values: [Symbol; MAX_CROSS],
}

/// The values of a cell. All are sums of signed contributions, so a correction leaves no trace of
/// what it corrected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell {
    /// How many, by measure of the rollup.
    pub counts: Vec<i64>,
    /// How much, by measure of the rollup, in ten-thousandths of the cell's currency or of a
    /// second.
    pub sums: Vec<i128>,
    /// The distribution of the rollup's sample, where it has one.
    pub sketch: Sketch,
}

impl Cell {
    /// True if nothing is left in it.
    pub fn is_zero(&self) -> bool {
        self.counts.iter().all(|c| *c == 0)
            && self.sums.iter().all(|a| *a == 0)
            && self.sketch.buckets().is_empty()
    }

    /// Adds `by` to a count.
    pub fn count(&mut self, measure: usize, by: i64) {
        add(&mut self.counts, measure, by);
    }

    /// Adds `by` ten-thousandths to a sum.
    pub fn sum(&mut self, measure: usize, by: i128) {
        add(&mut self.sums, measure, by);
    }

    /// Adds another cell.
    pub fn merge(&mut self, other: &Cell) {
        other
            .counts
            .iter()
            .enumerate()
            .for_each(|(i, c)| self.count(i, *c));
        other
            .sums
            .iter()
            .enumerate()
            .for_each(|(i, a)| self.sum(i, *a));
        self.sketch.merge(&other.sketch);
    }

    /// A count; 0 where nothing was counted.
    pub fn counted(&self, measure: usize) -> i64 {
        self.counts.get(measure).copied().unwrap_or_default()
    }

    /// A sum in ten-thousandths; 0 where nothing was added.
    pub fn summed(&self, measure: usize) -> i128 {
        self.sums.get(measure).copied().unwrap_or_default()
    }
}

fn add<T: Copy + Default + std::ops::AddAssign>(numbers: &mut Vec<T>, at: usize, by: T) {
    if numbers.len() <= at {
        numbers.reserve_exact(at + 1 - numbers.len());
        numbers.resize(at + 1, T::default());
    }
    numbers[at] += by;
}
