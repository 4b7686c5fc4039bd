//! What a message of the log says of records: one assertion, or a whole record from another log. Both are folded alike.

use super::{Record, Shard};
use crate::event::{Assertion, FieldName};
use crate::record::{Entity, Held, Key};

/// Something said of one record.
pub(super) trait Foldable {
    /// Of which.
    fn of(&self) -> (Entity, &str);

    /// The greatest event time in it (µs).
    fn time(&self) -> i64;

    /// Takes it into its record. True if the record changed.
    fn fold(&self, shard: &mut Shard, key: Key) -> bool;
}

impl Foldable for Assertion<'_> {
    fn of(&self) -> (Entity, &str) {
        (self.entity, &self.id)
    }

    fn time(&self) -> i64 {
        self.stamp.clock.time
    }

    fn fold(&self, shard: &mut Shard, key: Key) -> bool {
        let record = shard.records.entry(key).or_default();
        let mut changed = record.witness(self.stamp.clock);
        for (name, value) in &self.values {
            let field = match name {
                FieldName::Known(field) => Some(*field),
                FieldName::Custom(name) => shard.customs.number(name),
            };
            let folded = field.map(|field| {
                let held = Held::hold(value, &mut shard.symbols);
                record.assert(
                    field,
                    key.entity.spec(field).keep,
                    self.stamp,
                    held,
                    &shard.symbols,
                )
            });
            match folded {
                Some(Ok(did)) => changed |= did,
                Some(Err(_)) | None => shard.counters.overflowed += 1,
            }
        }
        changed
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
        self.record
            .last_said()
            .or(self.record.first())
            .map_or(0, |clock| clock.time)
    }

    fn fold(&self, shard: &mut Shard, key: Key) -> bool {
        let record = shard.records.entry(key).or_default();
        record
            .join(&self.record, key.entity, &shard.symbols)
            .unwrap_or_else(|_| {
                shard.counters.overflowed += 1;
                true // part of it may have been taken in
            })
    }
}
