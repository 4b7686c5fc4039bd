//! Where contributions go: for each rollup the grouping sets and grains it is kept for, and from
//! them the keys of cells.

use super::index::Slot;
use super::row::Key;
use crate::metric::{Catalogue, Contribution};
use crate::shard::difference::Part;
use crate::symbol::Symbol;
use crate::window::calendar::DAY;
use crate::window::{Calendar, Grain, MAX_CROSS, Pane};

/// A grouping set and a grain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    set: u8,
    grain: Grain,
    /// The slots of the set's dimensions in a contribution's; [`NONE`] where there are fewer.
    dims: [u8; MAX_CROSS],
    /// The first of its set: one undated cell serves all grains.
    is_first: bool,
}

const NONE: u8 = u8::MAX;

impl Place {
    /// The places of a rollup.
    pub fn all(rollup: u8, catalogue: &Catalogue) -> Vec<Place> {
        let mut places = Vec::new();
        for (set, grains) in catalogue.placements(rollup) {
            let mut dims = [NONE; MAX_CROSS];
            let dimensions = &catalogue.sets[usize::from(*set)].dimensions;
            for (slot, dimension) in dims.iter_mut().zip(dimensions) {
                *slot = dimension.0;
            }
            places.extend(grains.iter().enumerate().map(|(number, grain)| Place {
                set: *set,
                grain: *grain,
                dims,
                is_first: number == 0,
            }));
        }
        places
    }

    /// How many dimensions its set has.
    pub fn dimensions(&self) -> usize {
        self.dims.iter().filter(|slot| **slot != NONE).count()
    }
}

/// A contribution on its way to its cells, with the panes it falls in.
pub(super) struct Placed<'a> {
    contribution: &'a Contribution,
    calendar: &'a Calendar,
    panes: [Option<Pane>; 4],
    /// The start (s) of the first hour that is kept.
    first_hour: i64,
}

impl<'a> Placed<'a> {
    pub fn new(contribution: &'a Contribution, calendar: &'a Calendar, first_hour: i64) -> Self {
        Placed {
            contribution,
            calendar,
            panes: [None; 4],
            first_hour,
        }
    }

    /// True if another one goes to the same cells.
    pub fn is_beside(&self, other: &Placed<'_>) -> bool {
        let (a, b) = (self.contribution, other.contribution);
        (a.at, a.currency) == (b.at, b.currency) && a.dims == b.dims
    }

    /// The key of its cell at a place, if it has one there.
    #[inline]
    pub fn key(&mut self, place: &Place) -> Option<Key> {
        if place.grain == Grain::Hour && self.is_days_over() {
            return None;
        }
        let pane = self.pane(place.grain);
        if pane.grain == Grain::Hour && pane.start < self.first_hour {
            return None;
        }
        let Contribution { dims, currency, .. } = self.contribution;
        let value = |slot: u8| dims.get(usize::from(slot)).copied();
        let values = place.dims.map(|slot| value(slot).unwrap_or(Symbol::BLANK));
        let key = Key::new(pane, *currency, values, place.set);
        (place.is_first || pane != Pane::UNDATED).then_some(key)
    }

    #[inline]
    fn pane(&mut self, grain: Grain) -> Pane {
        let at = self.contribution.at;
        *self.panes[grain as usize - 1].get_or_insert_with(|| Pane::of(at, grain, self.calendar))
    }

    /// True if its hour isn't kept, whatever the time zone: of most of history its day tells, which
    /// is needed in any case.
    fn is_days_over(&mut self) -> bool {
        let day = self.pane(Grain::Day);
        day != Pane::UNDATED && day.start < self.first_hour.saturating_sub(2 * DAY)
    }
}

/// A cell on its way to be found.
pub(super) struct Lookup {
    pub key: Key,
    pub hash: u32,
    pub first: Slot,
    pub row: Option<u32>,
    pub part: Part,
}
