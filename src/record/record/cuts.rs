//! What is cut off a history that grows too long, and what is remembered of it.

use std::ops::Range;

use super::Record;
use crate::event::{Clock, Field};
use crate::record::{HISTORY_CLOCKS, Held};

/// What is remembered of a value cut off a history: enough to say when its last run began at the
/// earliest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The history.
    pub field: Field,
    /// The value.
    pub held: Held,
    /// The smallest clock among the elements cut off.
    pub earliest: Clock,
    /// The greatest clock among the elements cut off.
    pub latest: Clock,
}

/// The cuts of a record.
#[derive(Debug, Clone, Default)]
pub(super) struct Cuts(pub Vec<Cut>);

impl Record {
    /// True if a history already has its full number of clocks, all above this one.
    pub(super) fn is_below_cut(&self, range: Range<usize>, clock: Clock) -> bool {
        range.len() >= HISTORY_CLOCKS
            && clock < self.clock(range.start)
            && self.clocks(range) >= HISTORY_CLOCKS
    }

    fn clocks(&self, range: Range<usize>) -> usize {
        let start = range.start;
        range
            .filter(|&i| i == start || self.clock(i) != self.clock(i - 1))
            .count()
    }

    pub(super) fn cut_history(&mut self, range: Range<usize>, field: Field) -> bool {
        if range.len() <= HISTORY_CLOCKS || self.clocks(range.clone()) <= HISTORY_CLOCKS {
            return false;
        }
        let oldest = self.clock(range.start);
        let end = range
            .clone()
            .find(|&i| self.clock(i) != oldest)
            .unwrap_or(range.end);
        for i in range.start..end {
            let held = self.held(i);
            self.cut(Cut {
                field,
                held,
                earliest: oldest,
                latest: oldest,
            });
        }
        self.elements.drain(range.start..end);
        true
    }

    pub(in crate::record) fn cut(&mut self, cut: Cut) -> bool {
        let cuts = &mut self.cuts.get_or_insert_default().0;
        let Some(known) = cuts
            .iter_mut()
            .find(|c| c.field == cut.field && c.held == cut.held)
        else {
            cuts.push(cut);
            return true;
        };
        let before = *known;
        known.earliest = known.earliest.min(cut.earliest);
        known.latest = known.latest.max(cut.latest);
        *known != before
    }
}
