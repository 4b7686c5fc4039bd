//! Records: the only state. Each is a join-semilattice of its sources' assertions, so duplicates,
//! order and replays leave no trace.
//!
//! Adding an entity is adding a file that declares it and a line in the list below; its facts need
//! a migration.

pub mod account;
pub mod activity;
pub mod alias;
mod blob;
mod compiled;
pub mod contact;
pub mod deal;
mod declaration;
mod epoch;
pub mod field_value;
mod inbox;
pub mod invoice;
pub mod label;
pub mod lead;
pub mod link;
mod old_links;
pub mod passage;
pub mod payment;
pub mod quota;
pub mod rate;
#[allow(clippy::module_inception)]
mod record;
mod sorted;
pub mod split;
pub mod stage;
mod status;
pub mod team;
mod totals;
pub mod user;
mod value;
mod words;

use std::sync::LazyLock;

pub use alias::Aliases;
pub use blob::{BlobError, CustomFields};
pub use compiled::{CompiledDefinitions, Credit, Exclusion, ForecastCategory, ReadContext};
pub use declaration::{Declaration, LinkOutcome, Readable, TrackedFields};
pub use inbox::{Affected, Inbox, Mark, Marks, Received};
pub use link::{Link, Projection};
pub use record::{Cut, Effect, Record};
pub use stage::{StageMeanings, Stages};
pub use status::{Status, StatusRun};
pub use totals::{TotalKey, Totals};
pub use value::{Held, Stamped};
pub use words::Full;

use crate::codec::{Damaged, Reader};
pub use crate::event::{
    Clock, Entity, Field, FieldSpec, Keep, Kind, Origin, Placement, Stamp, topic_number,
};
use crate::event::{EntitySpec, Schema};
pub use crate::symbol::{Symbol, Symbols};

declaration::entities! {
    0 LEAD lead Lead lead;
    1 DEAL deal Deal deal;
    2 ACCOUNT account Account account;
    3 ALIAS alias;
    4 EPOCH epoch;
    5 CONTACT contact Contact contact;
    6 ACTIVITY activity Activity activity;
    7 PAYMENT payment Payment payment;
    8 INVOICE invoice Invoice invoice;
    9 QUOTA quota Quota quota;
    10 USER user;
    11 TEAM team;
    12 RATE rate;
    13 SPLIT split Split split;
    14 STAGE stage;
    15 FIELD_VALUE field_value;
    16 LABEL label;
}

/// How many distinct clocks a history keeps; tied values of a kept clock are all kept.
pub const HISTORY_CLOCKS: usize = 64;

/// Every entity, for whoever decodes events and logs.
pub static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    Schema::new(DECLARATIONS.iter().map(|d| &d.spec).collect())
        .with_field_values(field_value::FIELD_VALUES)
});

/// What an entity's file declares.
pub fn declared(entity: Entity) -> &'static Declaration {
    DECLARATIONS[usize::from(entity.0)]
}

impl Entity {
    /// What it is called and made of.
    pub fn spec(self) -> &'static EntitySpec {
        &declared(self).spec
    }

    /// Its name in events, mappings and dead letters.
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// Its fields by number.
    pub fn fields(self) -> &'static [FieldSpec] {
        self.spec().fields
    }

    /// Where its records live.
    pub fn placement(self) -> Placement {
        self.spec().placement
    }
}

/// Reads a link that [`link::write`] wrote, or a version before it.
///
/// # Errors
/// If the bytes are damaged.
pub fn read_link(reader: &mut Reader<'_>, symbols: &mut Symbols) -> Result<Option<Link>, Damaged> {
    link::read_with(reader, symbols, old_links::read)
}

impl Reading {
    /// The record counts for itself.
    pub fn is_live(&self) -> bool {
        self.inner().is_some_and(Readable::is_live)
    }

    /// The metrics it is left out of, a bit each.
    pub fn excluded(&self) -> u32 {
        self.inner().map_or(0, Readable::excluded)
    }

    /// The links it sends to the records it names.
    pub fn links_to_send(&self, key: Key, out: &mut Vec<(Key, Link)>) {
        if let Some(reading) = self.inner() {
            reading.links_to_send(key, out);
        }
    }

    /// The link it sends back to every record of an entity that it received one from.
    pub fn replies(&self, to: Entity) -> Option<Link> {
        self.inner().and_then(|reading| reading.replies(to))
    }

    /// The greatest of its instants (µs).
    pub fn last_instant(&self, context: ReadContext<'_>) -> Option<i64> {
        self.inner()
            .and_then(|reading| reading.last_instant(context))
    }
}

/// Which record of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// What kind of record.
    pub entity: Entity,
    /// Its qualified id.
    pub id: Symbol,
}

/// A shard's number.
pub type Home = u32;

/// The shard a record lives on: a stable hash of its kind and id over the partition count recorded
/// in `epochs`, never the broker's own count or a client's partitioner, which may change under a
/// running pipeline.
pub fn home(entity: Entity, id: &str, shards: u32) -> Home {
    let hash = xxhash_rust::xxh3::xxh3_64_with_seed(id.as_bytes(), u64::from(entity.0));
    (hash % u64::from(shards.max(1))) as Home
}

/// True if a shard answers for a record that it has: it is at home there, or it is on every shard,
/// of which the one its id hashes to answers.
pub fn answers_for(shard: Home, entity: Entity, id: &str, shards: u32) -> bool {
    entity.placement() == Placement::Home || home(entity, id, shards) == shard
}

#[cfg(test)]
mod tests;
