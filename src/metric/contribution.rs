//! Contributions: what one record adds to the rollups. A change takes the old ones back and adds
//! the new ones.

use std::borrow::Cow;

use crate::event::When;
use crate::record::{Mark, TotalKey};
use crate::symbol::Symbol;
use crate::window::{DERIVED, DIMENSIONS, Dimension, Dims, Grain, sketch};

/// One addition to one rollup, at one time, under one value of every dimension.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
    /// The marks that links set.
    pub marks: Vec<Mark>,
    /// What links add to totals.
    pub totals: Vec<(TotalKey, i64)>,
    /// The catalogue index of the present metric's first rollup.
    base: u8,
    /// The first slot of the present metric's marks and totals.
    slot: u16,
}

impl Contributions {
    /// What follows is contributed by the metric whose rollups start at `base` and whose marks and
    /// totals at `slot`.
    pub(super) fn begin(&mut self, base: u8, slot: u16) {
        (self.base, self.slot) = (base, slot);
    }

    /// Forgets what was collected.
    pub fn clear(&mut self) {
        self.items.clear();
        self.marks.clear();
        self.totals.clear();
    }

    /// Sets a mark at the record whose link this is: `tag` is the metric's own, the number what is
    /// to be found again.
    pub fn mark(&mut self, tag: u16, number: i64) {
        self.marks.push((self.slot + tag, number));
    }

    /// Adds an amount to a total of the record whose link this is: `tag` is the metric's own; a
    /// period, or 0 for all time; what it is an amount of, such as a currency or an owner.
    pub fn total(&mut self, tag: u16, period: i64, of: Symbol, amount: i64) {
        self.totals.push(((self.slot + tag, period, of), amount));
    }

    /// Adds a contribution to the metric's `rollup`, to be given its values.
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

    /// Adds money to a sum, if there is any.
    pub fn money(&mut self, measure: usize, amount: Option<i64>, currency: Symbol) -> &mut Self {
        self.currency = currency;
        self.sum(measure, amount.unwrap_or_default())
    }

    /// Adds money to a sum and to the rollup's sketch.
    pub fn sampled_money(&mut self, measure: usize, amount: i64, currency: Symbol) -> &mut Self {
        self.sample = Some(sketch::bucket(amount));
        self.money(measure, Some(amount), currency)
    }

    /// Adds to a sum, in ten-thousandths. At most two sums a contribution.
    pub fn sum(&mut self, measure: usize, number: i64) -> &mut Self {
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

/// Which dimensions a rollup can be cut by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutBy {
    dimensions: &'static [Dimension],
    /// Those that only a few metrics have.
    special: &'static [Dimension],
    custom: bool,
    /// One that has to be among them, where sums over its values mean nothing: not even the total
    /// is kept.
    always: Option<Dimension>,
    /// As of when the owner is whose the numbers are.
    owner: OwnerAsOf,
}

/// As of when the owner is whom a number counts for, and so as of when their manager and team are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerAsOf {
    /// The time of the pane.
    Pane,
    /// That, or today, by the definition of credit.
    Credit,
    /// Today.
    Today,
}

impl CutBy {
    /// None: only the total is kept.
    pub const NOTHING: CutBy = CutBy::only(&[]);
    /// Source, region, team, owner and custom fields of a lead.
    pub const LEAD: CutBy = CutBy {
        dimensions: &[
            Dimension::SOURCE,
            Dimension::REGION,
            Dimension::TEAM,
            Dimension::OWNER,
        ],
        special: &[],
        custom: true,
        owner: OwnerAsOf::Today,
        always: None,
    };
    /// All of a deal's.
    pub const DEAL: CutBy = CutBy {
        dimensions: &[
            Dimension::SOURCE,
            Dimension::REGION,
            Dimension::PRODUCT,
            Dimension::DEAL_TYPE,
            Dimension::TEAM,
            Dimension::OWNER,
            Dimension::PIPELINE,
        ],
        special: &[],
        custom: true,
        owner: OwnerAsOf::Credit,
        always: None,
    };

    /// All of an open deal's.
    pub const FORECAST: CutBy = CutBy::DEAL
        .and(&[Dimension::STAGE, Dimension::FORECAST_CATEGORY])
        .of_today();
    /// All of a deal's, always with a stage.
    pub const STAGES: CutBy = CutBy {
        always: Some(Dimension::STAGE),
        ..CutBy::DEAL.and(&[Dimension::STAGE])
    };
    /// All of a lost deal's.
    pub const LOSSES: CutBy = CutBy::DEAL.and(&[Dimension::LOST_REASON]);

    /// Region, owner, segment and custom fields of an account.
    pub const ACCOUNT: CutBy = CutBy {
        dimensions: &[Dimension::REGION, Dimension::OWNER, Dimension::SEGMENT],
        special: &[],
        custom: true,
        owner: OwnerAsOf::Today,
        always: None,
    };

    /// These, and no custom fields.
    pub const fn only(dimensions: &'static [Dimension]) -> CutBy {
        CutBy {
            dimensions,
            special: &[],
            custom: false,
            owner: OwnerAsOf::Pane,
            always: None,
        }
    }

    /// The same, by the owner of today.
    pub const fn of_today(self) -> CutBy {
        CutBy {
            owner: OwnerAsOf::Today,
            ..self
        }
    }

    /// As of when the owner is.
    pub fn owner(self) -> OwnerAsOf {
        self.owner
    }

    /// The same, and these.
    const fn and(self, special: &'static [Dimension]) -> CutBy {
        CutBy { special, ..self }
    }

    /// The dimension that every grouping set of a rollup cut so has.
    pub fn always(self) -> Option<Dimension> {
        self.always
    }

    /// True if a rollup cut so is kept for a grouping set of these dimensions; none of them is the
    /// total.
    pub fn keeps(self, set: &[Dimension]) -> bool {
        let is_there = |always| set.contains(&always);
        self.always.is_none_or(is_there) && set.iter().all(|dimension| self.supplies(*dimension))
    }

    /// True if a rollup cut so has values for the dimension.
    pub fn supplies(self, dimension: Dimension) -> bool {
        if DERIVED.iter().any(|(derived, _)| *derived == dimension) {
            self.supplies(Dimension::OWNER)
        } else if dimension.is_custom() {
            self.custom
        } else {
            self.dimensions.contains(&dimension) || self.special.contains(&dimension)
        }
    }
}

/// The values of what has an owner and no other dimension.
pub(super) fn of_owner(owner: Symbol) -> Dims {
    let mut dims = [Symbol::BLANK; DIMENSIONS];
    dims[Dimension::OWNER.0 as usize] = owner;
    dims
}

/// A family of cells with the same measures.
#[derive(Debug, Clone)]
pub struct Rollup {
    /// Its name in ClickHouse.
    pub name: Cow<'static, str>,
    /// What it can be cut by.
    pub cut_by: CutBy,
    /// The panes it is kept for, of those its grouping sets ask for.
    pub grains: &'static [Grain],
    /// What its counts count, in order: append, never reorder.
    pub counts: &'static [&'static str],
    /// What its sums sum, in order: append, never reorder.
    pub sums: &'static [&'static str],
}

/// The panes of what is never asked for by the hour.
pub const DAYS: &[Grain] = &[Grain::Day];
/// The panes windows are summed from.
pub const HOURS_AND_DAYS: &[Grain] = &[Grain::Hour, Grain::Day];
