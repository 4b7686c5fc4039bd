//! Changes: which tracked fields a message changed, in the shard's own symbols until they are
//! written.

use bytestring::ByteString;

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
    /// The symbols of a row, in the order of its texts.
    fn texts(&self) -> [Symbol; 5] {
        let (before, now) = (&self.before, &self.now);
        [
            self.key.id,
            before.status,
            now.status,
            before.owner,
            now.owner,
        ]
    }
}

/// Changes as rows, whose texts all lie in one piece of memory.
pub(super) fn rows(changes: &[Noted], symbols: &Symbols) -> Vec<ChangeRow> {
    let texts = changes.iter().flat_map(Noted::texts);
    let all: String = texts.map(|symbol| symbols.text(symbol)).collect();
    let all = ByteString::from(all);
    let mut from = 0;
    let mut text = |symbol| {
        let begin = from;
        from += symbols.text(symbol).len();
        all.slice_ref(&all[begin..from])
    };
    let row = |change: &Noted| {
        let (before, now) = (&change.before, &change.now);
        let [id, status_before, status, owner_before, owner] = change.texts().map(&mut text);
        ChangeRow {
            entity: change.key.entity,
            id,
            version: change.version,
            append_time: change.append_time,
            event_time: change.event_time,
            status: (status_before, status),
            owner: (owner_before, owner),
            amount: (before.amount, now.amount),
            closed_at: (before.closed_at, now.closed_at),
        }
    };
    changes.iter().map(row).collect()
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
