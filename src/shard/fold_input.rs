//! The inputs of the fold: one assertion, or a whole record from another log. Both are folded
//! alike.

use super::Shard;
use crate::event::{Batch, BatchField, BatchValue, Entry};
use crate::record::{Effect, Held, Key, Record, declared};
use crate::symbol::Symbol;

/// Something that a record is folded from.
pub(super) trait Foldable {
    /// Which record.
    fn key(&self) -> Key;

    /// The greatest event time in it (µs).
    fn time(&self) -> i64;

    /// Folds it into the record of a number.
    fn fold(&self, shard: &mut Shard, number: u32) -> Effect;
}

/// An assertion of a batch, with the batch's texts in this shard's symbols.
pub(super) struct Asserted<'a> {
    pub batch: &'a Batch<'a>,
    pub symbols: &'a [Symbol],
    pub entry: &'a Entry,
}

impl Foldable for Asserted<'_> {
    fn key(&self) -> Key {
        Key {
            entity: self.entry.entity,
            id: self.symbols[self.entry.id.index()],
        }
    }

    fn time(&self) -> i64 {
        self.entry.stamp.clock.time
    }

    fn fold(&self, shard: &mut Shard, number: u32) -> Effect {
        let customs = &mut shard.customs;
        let values = self.batch.values(self.entry).iter().map(|(field, value)| {
            let field = match field {
                BatchField::Known(field) => Some(*field),
                BatchField::Custom(name) => customs.number(self.batch.text(*name)),
            };
            let held = match value {
                BatchValue::Null => Held::Null,
                BatchValue::Text(text) => Held::Text(self.symbols[text.index()]),
                BatchValue::When(when) => Held::When(*when),
                BatchValue::Decimal(decimal) => Held::Decimal(*decimal),
                BatchValue::Flag(flag) => Held::Flag(*flag),
            };
            (field, held)
        });
        let spec = &declared(self.entry.entity).spec;
        let record = shard.records.at_mut(number);
        record.fold(spec, self.entry.stamp, values, &mut shard.symbols)
    }
}

/// A record from another log, in this shard's symbols.
pub(super) struct Whole {
    pub key: Key,
    pub record: Record,
}

impl Foldable for Whole {
    fn key(&self) -> Key {
        self.key
    }

    fn time(&self) -> i64 {
        let last = self.record.last_clock().or(self.record.first());
        last.map_or(0, |clock| clock.time)
    }

    fn fold(&self, shard: &mut Shard, number: u32) -> Effect {
        let spec = &declared(self.key.entity).spec;
        let record = shard.records.at_mut(number);
        let joined = record.join(&self.record, spec, &mut shard.symbols);
        // What did not fit may have been taken in part.
        let changed = joined.unwrap_or(true);
        Effect {
            changed,
            values: if changed { u64::MAX } else { 0 },
            custom: changed,
            overflowed: u32::from(joined.is_err()),
            ..Effect::default()
        }
    }
}
