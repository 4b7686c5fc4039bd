//! Contributions: what one record adds to the rollups. A change takes the old ones back and adds the new ones.

use crate::event::When;
use crate::record::Symbol;
use crate::window::{Dims, Grain, sketch};

/// One addition to one rollup, at one time, under one value of every dimension.
#[derive(Debug, Clone, PartialEq)]
pub struct Contribution {
    /// Index of the rollup in the catalogue.
    pub rollup: u8,
    /// The time that decides its panes.
    pub at: When,
    /// The values it is cut by.
    pub dims: Dims,
    /// The currency of its amounts; blank where money plays no part.
    pub currency: Symbol,
    /// The counts it adds one to, a bit each.
    pub counts: u16,
    /// The sums it adds to, in ten-thousandths.
    pub sums: [(u8, i64); 2],
    /// The sketch bucket of its sample.
    pub sample: Option<i16>,
}

/// Collects the contributions of one record.
#[derive(Debug, Default)]
pub struct Contributions {
    /// What was collected.
    pub items: Vec<Contribution>,
    /// The catalogue index of the present metric's first rollup.
    base: u8,
}

impl Contributions {
    /// What follows is contributed by the metric whose rollups start at `base`.
    pub(super) fn begin(&mut self, base: u8) {
        self.base = base;
    }

    /// Adds a contribution to the metric's `rollup`, to be given its numbers.
    pub fn add(&mut self, rollup: usize, at: When, dims: &Dims) -> &mut Contribution {
        self.items.push(Contribution {
            rollup: self.base + rollup as u8,
            at,
            dims: *dims,
            currency: Symbol::BLANK,
            counts: 0,
            sums: [(0, 0); 2],
            sample: None,
        });
        let last = self.items.len() - 1;
        &mut self.items[last]
    }
}

impl Contribution {
    /// Counts one under `measure` if `it_is`.
    pub fn count_if(&mut self, it_is: bool, measure: usize) -> &mut Self {
        self.counts |= u16::from(it_is) << measure;
        self
    }

    /// Counts one under `measure`.
    pub fn count(&mut self, measure: usize) -> &mut Self {
        self.count_if(true, measure)
    }

    /// Adds money to a sum, if there is any. At most two sums a contribution.
    pub fn money(&mut self, measure: usize, amount: Option<i64>, currency: Symbol) -> &mut Self {
        self.currency = currency;
        self.sum(measure, amount.unwrap_or_default())
    }

    /// Adds to a sum, in ten-thousandths.
    fn sum(&mut self, measure: usize, number: i64) -> &mut Self {
        let slot = usize::from(self.sums[0].1 != 0);
        if number != 0 {
            self.sums[slot] = (measure as u8, number);
        }
        self
    }

    /// Adds a span of seconds to a sum and to the rollup's sketch.
    pub fn span(&mut self, measure: usize, seconds: i64) -> &mut Self {
        self.sample = Some(sketch::bucket(seconds));
        self.sum(measure, seconds.saturating_mul(crate::event::DECIMAL_ONE))
    }
}

/// Whose dimensions a rollup can be cut by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutBy {
    /// Source, region, team, owner and custom fields of a lead.
    Lead,
    /// All of a deal's.
    Deal,
    /// None: only the total is kept.
    Nothing,
}

impl CutBy {
    /// True if a rollup cut so has values for the dimension.
    pub fn supplies(self, dimension: crate::window::Dimension) -> bool {
        use crate::window::Dimension as D;
        match self {
            CutBy::Nothing => false,
            CutBy::Lead => {
                [D::SOURCE, D::REGION, D::TEAM, D::OWNER].contains(&dimension)
                    || usize::from(dimension.0) >= D::FIRST_CUSTOM
            }
            CutBy::Deal => dimension != D::SEGMENT,
        }
    }
}

/// A family of cells with the same measures.
#[derive(Debug)]
pub struct Rollup {
    /// Its name in ClickHouse.
    pub name: &'static str,
    /// What it can be cut by.
    pub cut_by: CutBy,
    /// The panes it is kept for, of those its grouping sets ask for.
    pub grains: &'static [Grain],
    /// What its counts count, in order: append, never reorder.
    pub counts: &'static [&'static str],
    /// What its sums sum, in order: append, never reorder.
    pub sums: &'static [&'static str],
}

/// The panes windows are summed from.
pub const HOURS_AND_DAYS: &[Grain] = &[Grain::Hour, Grain::Day];
