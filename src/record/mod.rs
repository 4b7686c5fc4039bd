//! Records: the only state. Each is a join-semilattice of what its sources said, so duplicates, order and replays leave no trace.

pub mod account;
pub mod alias;
mod blob;
mod clock;
pub mod deal;
pub mod lead;
mod compiled;
mod link;
mod schema;
mod status;
mod symbol;
mod value;

pub use blob::{BlobError, CustomFields};
pub use clock::{Clock, Origin, Stamp, topic_number};
pub use compiled::{CompiledDefinitions, ReadContext};
pub use link::{AccountLink, DealLink, LeadLink, Link, read as read_link, write as write_link};
pub use schema::{Entity, Field, FieldSpec, Home, Keep, Kind, Placement, home};
pub use status::{Status, StatusRun};
pub use symbol::{Symbol, Symbols};
pub use value::{Held, Stamped};

use std::cmp::Ordering;
use std::ops::Range;

use value::Element;

/// How many distinct clocks a history keeps; tied values of a kept clock are all kept.
pub const HISTORY_CLOCKS: usize = 64;

/// Which record of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// What kind of record.
    pub entity: Entity,
    /// Its qualified id.
    pub id: Symbol,
}

/// One CRM entity as its sources described it.
///
/// Folding is commutative, associative and idempotent: a record is a function of the *set* of assertions it was given.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Values ordered by field, then stamp, then value: the last of a field is the one that counts.
    elements: Vec<Element>,
    /// The few distinct stamps the elements point to.
    stamps: Vec<Stamp>,
    /// The smallest clock that ever asserted anything: the `Earliest` kind of field, of which there is one.
    first: Option<Clock>,
    /// What was cut off histories, if anything was: so rarely that a record spends one word on it.
    cut: Option<Box<Cuts>>,
}

#[derive(Debug, Clone, Default)]
struct Cuts(Vec<Cut>);

/// What is remembered of a value cut off a history: enough to say when its last run began at the earliest.
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

/// The record has no room for one more stamp: 65,536 tied values of one clock. Nothing real comes near it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a record holds more than 65,536 tied values; its source stamps every change with one time, give it a sequence"
)]
pub struct Full;

/// A link as its target's home holds it. A withdrawn one is kept, so that an older one can't come back.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// Who said it.
    pub sender: Key,
    /// The offset, in the sender's log, of the state it was taken from: a newer one replaces an older one.
    pub version: u64,
    /// What was said; `None` if it was withdrawn.
    pub link: Option<Link>,
}

/// The links of one kind among those received, with their senders.
fn link_contents<'a, T>(
    links: &'a [Received],
    kind: impl Fn(&'a Link) -> Option<&'a T>,
) -> Vec<(Key, &'a T)> {
    links
        .iter()
        .filter_map(|l| Some((l.sender, kind(l.link.as_ref()?)?)))
        .collect()
}

impl Record {
    /// Takes note that something was said at `clock`, be it nothing. True if that changed the record.
    pub fn witness(&mut self, clock: Clock) -> bool {
        let earlier = self.first.is_none_or(|first| clock < first);
        if earlier {
            self.first = Some(clock);
        }
        earlier
    }

    /// Folds one value in. True if the record changed; a value already known, or out of date, changes nothing.
    pub fn assert(
        &mut self,
        field: Field,
        keep: Keep,
        stamp: Stamp,
        held: Held,
        symbols: &Symbols,
    ) -> Result<bool, Full> {
        let range = self.range(field);
        if let Some(same) = range
            .clone()
            .find(|&i| self.clock(i) == stamp.clock && self.elements[i].held() == held)
        {
            if self.stamp(same).origin <= stamp.origin {
                return Ok(false);
            }
            // The same value, said earlier: its smallest origin moves, which may change who wins a tie.
            self.elements.remove(same);
            return self.insert(field, stamp, held, symbols).map(|()| true);
        }
        match keep {
            Keep::Latest => {
                if let Some(i) = range.clone().next() {
                    match stamp.clock.cmp(&self.clock(i)) {
                        Ordering::Less => return Ok(false),
                        Ordering::Greater => drop(self.elements.drain(range)),
                        Ordering::Equal => {}
                    }
                }
                self.insert(field, stamp, held, symbols)?;
            }
            Keep::History => {
                if self.is_below_cut(range, stamp.clock) {
                    return Ok(self.cut(Cut {
                        field,
                        held,
                        earliest: stamp.clock,
                        latest: stamp.clock,
                    }));
                }
                self.insert(field, stamp, held, symbols)?;
                self.cut_history(field);
            }
        }
        Ok(true)
    }

    /// Takes in all that another copy of the record holds, as if every assertion behind it had been folded here. True if that changed
    /// something.
    ///
    /// # Errors
    /// If there is no room for all of it.
    pub fn join(
        &mut self,
        other: &Record,
        entity: Entity,
        symbols: &Symbols,
    ) -> Result<bool, Full> {
        let mut changed = other.first.is_some_and(|first| self.witness(first));
        for cut in other.cuts() {
            changed |= self.cut(*cut);
        }
        for (i, element) in other.elements.iter().enumerate() {
            let field = element.field();
            changed |= self.assert(
                field,
                entity.spec(field).keep,
                other.stamp(i),
                element.held(),
                symbols,
            )?;
        }
        Ok(changed)
    }

    /// The greatest clock at which a value it holds was said.
    pub fn last_said(&self) -> Option<Clock> {
        self.elements
            .iter()
            .map(|element| self.stamps[element.stamp as usize].clock)
            .max()
    }

    /// The value that counts for a field: of those at the greatest clock, the one whose smallest origin is greatest.
    /// `None` if nothing was ever asserted, `Some(Held::Null)` if it was cleared.
    pub fn asserted(&self, field: Field) -> Option<Stamped> {
        let last = self.range(field).last()?;
        Some(Stamped {
            stamp: self.stamp(last),
            held: self.elements[last].held(),
        })
    }

    /// The value that counts for a field, `Null` if there is none.
    pub fn latest(&self, field: Field) -> Held {
        self.range(field)
            .last()
            .map_or(Held::Null, |i| self.elements[i].held())
    }

    /// The text that counts for a field; blank if there is none.
    pub fn text(&self, field: Field) -> Symbol {
        if let Held::Text(symbol) = self.latest(field) {
            symbol
        } else {
            Symbol::BLANK
        }
    }

    /// The instant or date that counts for a field.
    pub fn when(&self, field: Field) -> Option<crate::event::When> {
        if let Held::When(when) = self.latest(field) {
            Some(when)
        } else {
            None
        }
    }

    /// The decimal that counts for a field, in ten-thousandths.
    pub fn decimal(&self, field: Field) -> Option<i64> {
        if let Held::Decimal(decimal) = self.latest(field) {
            Some(decimal.0)
        } else {
            None
        }
    }

    /// The custom fields that something was said of.
    pub fn custom_fields(&self) -> impl Iterator<Item = Field> {
        let start = self
            .elements
            .partition_point(|e| e.field().0 < Field::FIRST_CUSTOM);
        let custom = &self.elements[start..];
        custom
            .iter()
            .enumerate()
            .filter(|(i, e)| *i == 0 || custom[i - 1].field() != e.field())
            .map(|(_, e)| e.field())
    }

    /// Everything kept of a field, oldest first; of a `Latest` field, the tied values.
    pub fn history(&self, field: Field) -> impl DoubleEndedIterator<Item = Stamped> {
        self.range(field).map(|i| Stamped {
            stamp: self.stamp(i),
            held: self.elements[i].held(),
        })
    }

    /// What was cut off the histories.
    pub fn cuts(&self) -> &[Cut] {
        self.cut.as_ref().map_or(&[], |cuts| &cuts.0)
    }

    /// The smallest clock that ever asserted anything.
    pub fn first(&self) -> Option<Clock> {
        self.first
    }

    /// Deleted, and not restored since.
    pub fn is_deleted(&self) -> bool {
        self.latest(Field::DELETED) == Held::Flag(true)
    }

    /// Something was said of it, and it is not deleted.
    pub fn exists(&self) -> bool {
        self.first.is_some() && !self.is_deleted()
    }

    /// Bytes this record holds outside its own struct.
    pub fn heap_bytes(&self) -> usize {
        self.elements.capacity() * size_of::<Element>()
            + self.stamps.capacity() * size_of::<Stamp>()
            + self.cut.as_ref().map_or(0, |cuts| {
                size_of::<Cuts>() + cuts.0.capacity() * size_of::<Cut>()
            })
    }

    fn range(&self, field: Field) -> Range<usize> {
        let start = self.elements.partition_point(|e| e.field() < field);
        let length = self.elements[start..]
            .iter()
            .take_while(|e| e.field() == field)
            .count();
        start..start + length
    }

    fn stamp(&self, element: usize) -> Stamp {
        self.stamps[self.elements[element].stamp as usize]
    }

    fn clock(&self, element: usize) -> Clock {
        self.stamp(element).clock
    }

    fn insert(
        &mut self,
        field: Field,
        stamp: Stamp,
        held: Held,
        symbols: &Symbols,
    ) -> Result<(), Full> {
        let stamp_index = self.stamp_index(stamp)?;
        let at = self.elements.partition_point(|e| {
            let order = e
                .field()
                .cmp(&field)
                .then_with(|| self.stamps[e.stamp as usize].cmp(&stamp));
            order.then_with(|| e.held().order(held, symbols)) == Ordering::Less
        });
        self.elements
            .insert(at, Element::new(field, stamp_index, held));
        Ok(())
    }

    fn stamp_index(&mut self, stamp: Stamp) -> Result<u16, Full> {
        if let Some(known) = self.stamps.iter().rposition(|s| *s == stamp) {
            return Ok(known as u16);
        }
        if self.stamps.len() == self.stamps.capacity() {
            self.forget_unused_stamps();
            self.stamps.reserve_exact(if self.stamps.len() < 4 {
                2
            } else {
                self.stamps.len() / 2
            });
        }
        let index = u16::try_from(self.stamps.len()).map_err(|_| Full)?;
        self.stamps.push(stamp);
        Ok(index)
    }

    fn forget_unused_stamps(&mut self) {
        let mut kept: Vec<Stamp> = Vec::with_capacity(self.stamps.len());
        let mut moved = vec![u16::MAX; self.stamps.len()];
        for element in &mut self.elements {
            let old = element.stamp as usize;
            if moved[old] == u16::MAX {
                moved[old] = kept.len() as u16;
                kept.push(self.stamps[old]);
            }
            element.stamp = moved[old];
        }
        self.stamps = kept;
    }

    /// True if a history already has its full number of clocks, all above this one.
    fn is_below_cut(&self, range: Range<usize>, clock: Clock) -> bool {
        range.len() >= HISTORY_CLOCKS
            && clock < self.clock(range.start)
            && self.clocks(range) >= HISTORY_CLOCKS
    }

    fn clocks(&self, range: Range<usize>) -> usize {
        range
            .clone()
            .filter(|&i| i == range.start || self.clock(i) != self.clock(i - 1))
            .count()
    }

    fn cut_history(&mut self, field: Field) {
        let range = self.range(field);
        if range.len() <= HISTORY_CLOCKS || self.clocks(range.clone()) <= HISTORY_CLOCKS {
            return;
        }
        let oldest = self.clock(range.start);
        let end = range
            .clone()
            .find(|&i| self.clock(i) != oldest)
            .unwrap_or(range.end);
        for element in self.elements.drain(range.start..end).collect::<Vec<_>>() {
            self.cut(Cut {
                field,
                held: element.held(),
                earliest: oldest,
                latest: oldest,
            });
        }
    }

    fn cut(&mut self, cut: Cut) -> bool {
        let Cuts(cuts) = &mut **self.cut.get_or_insert_default();
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

#[cfg(test)]
mod tests;
