//! Changes: which tracked fields a message changed, in the shard's own symbols until they are
//! written.

use super::rows::ChangeRow;
use crate::event::{Entity, When};
use crate::record::{Key, Record, declared};
use crate::symbol::{Symbol, Symbols};

/// What a message changed in a record, until it is written.
pub(super) struct Noted {
    pub key: Key,
    pub version: u64,
    pub append_time: i64,
    pub event_time: i64,
    pub before: Tracked,
    pub now: Tracked,
}

impl Noted {
    /// The same with texts.
    pub fn row(&self, symbols: &Symbols) -> ChangeRow {
        let text = |symbol| symbols.text(symbol).to_owned();
        let (before, now) = (&self.before, &self.now);
        ChangeRow {
            entity: self.key.entity,
            id: text(self.key.id),
            version: self.version,
            append_time: self.append_time,
            event_time: self.event_time,
            status: (text(before.status), text(now.status)),
            owner: (text(before.owner), text(now.owner)),
            amount: (before.amount, now.amount),
            closed_at: (before.closed_at, now.closed_at),
        }
    }
}

/// What of a record goes into `changes`.
#[derive(Clone, Copy, PartialEq, Default)]
pub(super) struct Tracked {
    status: Symbol,
    owner: Symbol,
    amount: Option<i64>,
    closed_at: Option<When>,
}

impl Tracked {
    /// Of a record.
    pub fn of(record: &Record, entity: Entity) -> Tracked {
        let fields = declared(entity).tracked;
        Tracked {
            status: fields.status.map_or(Symbol::BLANK, |f| record.text(f)),
            owner: fields.owner.map_or(Symbol::BLANK, |f| record.text(f)),
            amount: fields.amount.and_then(|f| record.decimal(f)),
            closed_at: fields.closed_at.and_then(|f| record.when(f)),
        }
    }
}
