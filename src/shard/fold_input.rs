//! The inputs of the fold: one assertion, or a whole record from another log. Both are folded alike.

use super::Shard;
use crate::event::{Assertion, Entity};
use crate::record::{Effect, Record, declared};

/// Something that a record is folded from.
pub(super) trait Foldable {
    /// Which record.
    fn of(&self) -> (Entity, &str);

    /// The greatest event time in it (µs).
    fn time(&self) -> i64;

    /// Folds it into the record of a number.
    fn fold(&self, shard: &mut Shard, number: u32) -> Effect;
}

impl Foldable for Assertion<'_> {
    fn of(&self) -> (Entity, &str) {
        (self.entity, &self.id)
    }

    fn time(&self) -> i64 {
        self.stamp.clock.time
    }

    fn fold(&self, shard: &mut Shard, number: u32) -> Effect {
        let spec = &declared(self.entity).spec;
        let record = shard.records.at_mut(number);
        record.fold(
            spec,
            self.stamp,
            &self.values,
            &mut shard.customs,
            &mut shard.symbols,
        )
    }
}

/// A record from another log, in this shard's symbols.
pub(super) struct Whole {
    pub entity: Entity,
    pub id: String,
    pub record: Record,
}

impl Foldable for Whole {
    fn of(&self) -> (Entity, &str) {
        (self.entity, &self.id)
    }

    fn time(&self) -> i64 {
        let last = self.record.last_clock().or(self.record.first());
        last.map_or(0, |clock| clock.time)
    }

    fn fold(&self, shard: &mut Shard, number: u32) -> Effect {
        let spec = &declared(self.entity).spec;
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
