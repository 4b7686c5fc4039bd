//! What is cut off a history that grows too long, and what is remembered of it.

use std::cmp::Ordering;
use std::ops::Range;

use smallvec::SmallVec;

use super::Record;
use crate::event::{Clock, Field, Stamp};
use crate::record::{HISTORY_CLOCKS, Held};
use crate::symbol::Symbols;

/// What is remembered of a value cut off a history: enough to say which value counted where it was
/// said first and last, and when its last run began at the earliest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The history.
    pub field: Field,
    /// The value.
    pub held: Held,
    /// The smallest clock among the elements cut off, with the smallest origin there.
    pub earliest: Stamp,
    /// The greatest clock among the elements cut off, with the smallest origin there.
    pub latest: Stamp,
}

impl Cut {
    /// That a value was cut off that was said once.
    pub(super) fn of(field: Field, held: Held, said: Stamp) -> Cut {
        Cut {
            field,
            held,
            earliest: said,
            latest: said,
        }
    }
}

/// The cuts of a record.
#[derive(Debug, Clone, Default)]
pub(super) struct Cuts(pub Vec<Cut>);

/// A value a history had, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::record) struct Said<T> {
    pub clock: Clock,
    pub value: T,
    /// The first clock of the value among what was cut off, if this was.
    cut_from: Option<Clock>,
}

/// The few values of a history, oldest first.
pub(in crate::record) type Sayings<T> = SmallVec<[Said<T>; 16]>;

impl<T> Said<T> {
    /// Another value, said at the same time: what this one stands for.
    pub(in crate::record) fn with<U>(&self, value: U) -> Said<U> {
        Said {
            clock: self.clock,
            value,
            cut_from: self.cut_from,
        }
    }
}

/// The last unbroken run of one value in a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::record) struct Run<T> {
    pub value: T,
    /// Its first clock, or the best that is still known of it.
    pub since: Clock,
    /// It reaches into what was cut off.
    pub history_cut: bool,
}

/// The last run of values in order of their clocks. Where it reaches into what was cut off, its
/// value's first clock stands in if every other value's last lies before it, else the last of the
/// others, since the run can't have begun sooner.
pub(in crate::record) fn last_run<T: Copy + PartialEq>(said: &[Said<T>]) -> Option<Run<T>> {
    let value = said.last()?.value;
    let other = said.iter().rposition(|said| said.value != value);
    let run = &said[other.map_or(0, |other| other + 1)..];
    let before = other.map(|other| said[other].clock);
    let cut_from = run.iter().filter_map(|said| said.cut_from).min();
    let since = match cut_from {
        Some(from) => before.map_or(from, |before| from.max(before)),
        None => run[0].clock,
    };
    Some(Run {
        value,
        since,
        history_cut: cut_from.is_some(),
    })
}

impl Record {
    /// What is known of a history, oldest first: of what was cut off it, the first and the last
    /// clock of each value.
    pub(in crate::record) fn remembered(&self, field: Field) -> impl Iterator<Item = Said<Held>> {
        let cuts = self.cuts().iter().filter(move |cut| cut.field == field);
        let ends = cuts.flat_map(|cut| [(cut.earliest, cut), (cut.latest, cut)]);
        let mut ends: SmallVec<[(Stamp, &Cut); 2]> = ends.collect();
        ends.sort_by_key(|(stamp, _)| *stamp);
        let cut = ends.into_iter().map(|(stamp, cut)| Said {
            clock: stamp.clock,
            value: cut.held,
            cut_from: Some(cut.earliest.clock),
        });
        let kept = self.history(field).map(|(clock, value)| Said {
            clock,
            value,
            cut_from: None,
        });
        cut.chain(kept)
    }

    /// The last unbroken run of a history's values.
    pub(in crate::record) fn last_run(&self, field: Field) -> Option<Run<Held>> {
        let said: Sayings<Held> = self.remembered(field).collect();
        last_run(&said)
    }

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

    pub(super) fn cut_history(
        &mut self,
        range: Range<usize>,
        field: Field,
        symbols: &Symbols,
    ) -> bool {
        if range.len() <= HISTORY_CLOCKS || self.clocks(range.clone()) <= HISTORY_CLOCKS {
            return false;
        }
        let oldest = self.clock(range.start);
        let end = range
            .clone()
            .find(|&i| self.clock(i) != oldest)
            .unwrap_or(range.end);
        for i in range.start..end {
            self.cut(Cut::of(field, self.held(i), self.stamp(i, symbols)));
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
        known.latest = match known.latest.clock.cmp(&cut.latest.clock) {
            Ordering::Less => cut.latest,
            Ordering::Equal => known.latest.min(cut.latest),
            Ordering::Greater => known.latest,
        };
        *known != before
    }
}
