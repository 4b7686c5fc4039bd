//! What a record says: the value of each field that counts, and what is kept of those before it.

use super::{Cut, NEVER, Record};
use crate::event::{Clock, Field, When};
use crate::record::value::{Held, Stamped};
use crate::symbol::{Symbol, Symbols};

impl Record {
    /// The greatest clock of the values it holds.
    pub fn last_clock(&self) -> Option<Clock> {
        (0..self.elements.len()).map(|i| self.clock(i)).max()
    }

    /// The value that counts for a field: of those at the greatest clock, the one whose smallest
    /// origin is greatest. `None` if nothing was ever asserted, `Some(Held::Null)` if it was
    /// cleared.
    pub fn asserted(&self, field: Field) -> Option<(Clock, Held)> {
        let last = self.range_from(0, field).last()?;
        Some((self.clock(last), self.held(last)))
    }

    /// The value that counts for a field, `Null` if there is none.
    pub fn latest(&self, field: Field) -> Held {
        self.latest_before(self.elements.partition_point(|e| e.field() <= field), field)
    }

    /// The same where it is known before which position the field ends.
    fn latest_before(&self, end: usize, field: Field) -> Held {
        match self.elements[..end].last() {
            Some(last) if last.field() == field => last.held(self.words.all()),
            _ => Held::Null,
        }
    }

    /// The values that count for all canonical fields, found in one walk: for whoever looks at many
    /// of them.
    pub fn counting(&self) -> Counting<'_> {
        let mut ends = [0; Field::FIRST_CUSTOM as usize];
        let elements = self.elements.iter().zip(1..);
        for (element, end) in elements.take_while(|(e, _)| e.field().0 < Field::FIRST_CUSTOM) {
            ends[usize::from(element.field().0)] = end;
        }
        Counting { record: self, ends }
    }

    /// The text that counts for a field; blank if there is none.
    pub fn text(&self, field: Field) -> Symbol {
        self.latest(field).text()
    }

    /// The instant or date that counts for a field.
    pub fn when(&self, field: Field) -> Option<When> {
        self.latest(field).when()
    }

    /// The decimal that counts for a field, in ten-thousandths.
    pub fn decimal(&self, field: Field) -> Option<i64> {
        self.latest(field).number()
    }

    /// The custom fields that something was asserted of.
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

    /// Everything kept of a field with its clocks, oldest first; of a `Latest` field, the tied
    /// values.
    pub fn history(&self, field: Field) -> impl DoubleEndedIterator<Item = (Clock, Held)> {
        self.range_from(0, field)
            .map(|i| (self.clock(i), self.held(i)))
    }

    /// As [`Record::history`], with where each value was read.
    pub fn stamped(
        &self,
        field: Field,
        symbols: &Symbols,
    ) -> impl DoubleEndedIterator<Item = Stamped> {
        self.range_from(0, field).map(|i| Stamped {
            stamp: self.stamp(i, symbols),
            held: self.held(i),
        })
    }

    /// What was cut off the histories.
    pub fn cuts(&self) -> &[Cut] {
        self.cuts.as_ref().map_or(&[], |cuts| &cuts.0)
    }

    /// The smallest clock that ever asserted anything.
    pub fn first(&self) -> Option<Clock> {
        (self.first.time != NEVER).then_some(self.first)
    }

    /// Deleted, and not restored since.
    pub fn is_deleted(&self) -> bool {
        self.latest(Field::DELETED) == Held::Flag(true)
    }

    /// Something was asserted of it, and it is not deleted.
    pub fn exists(&self) -> bool {
        self.first().is_some() && !self.is_deleted()
    }
}

/// The values of a record that count, by canonical field.
pub struct Counting<'a> {
    record: &'a Record,
    /// Before which position the elements of a field end; 0 where there are none.
    ends: [u16; Field::FIRST_CUSTOM as usize],
}

impl Counting<'_> {
    /// As [`Record::latest`].
    pub fn latest(&self, field: Field) -> Held {
        let end = usize::from(self.ends[usize::from(field.0)]);
        self.record.latest_before(end, field)
    }
}
