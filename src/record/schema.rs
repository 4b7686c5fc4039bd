//! What each kind of record is made of: its fields, how each is kept and how each is read.

/// A kind of CRM entity. The numbers are written to logs and facts: append, never renumber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Entity {
    /// Somebody who may buy.
    Lead = 0,
    /// An opportunity, open or closed.
    Deal = 1,
    /// A customer, or one to be.
    Account = 2,
    /// What a merged record became; known to every shard. Its id is `entity:id` of the record merged away.
    Alias = 3,
    /// An epoch that has begun; known to every shard. Its id is its number.
    Epoch = 4,
}

/// Where the record of an entity lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// On the one shard its id hashes to.
    Home,
    /// On every shard: a side input.
    Everywhere,
}

/// How the values of a field are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The values asserted at the greatest clock.
    Latest,
    /// Every value with its clock, cut to the greatest [`super::HISTORY_CLOCKS`] clocks.
    History,
}

/// How a field is read from a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// One of these words.
    Keyword(&'static [&'static str]),
    /// The id of another record or person, qualified by the topic's `id_namespace`; `""` and `"0"` mean none.
    Reference,
    /// An instant or a date.
    When,
    /// A decimal amount in the record's currency.
    Money,
    /// An ISO 4217 code.
    Currency,
    /// A number from 0 to 1.
    Fraction,
    /// True or false.
    Flag,
}

/// One field of an entity.
#[derive(Debug)]
pub struct FieldSpec {
    /// Its canonical, final name.
    pub name: &'static str,
    /// How its values are kept.
    pub keep: Keep,
    /// How it is read.
    pub kind: Kind,
}

/// The number of a field within its entity; numbers from [`Field::FIRST_CUSTOM`] name custom fields of the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Field(pub u16);

impl Field {
    /// Set by `deleted`, cleared by `restored`; the same number in every entity.
    pub const DELETED: Field = Field(0);
    /// The record this one was merged into; the same number in every entity.
    pub const MERGED_INTO: Field = Field(1);
    /// Custom fields are numbered from here, by the shard that holds them.
    pub const FIRST_CUSTOM: u16 = 64;
    /// One past the greatest field number a record's element can name.
    pub const LIMIT: u16 = 1 << 13;
}

/// Declares an entity's fields: the constants the code reads them by and the table everything else is driven from.
macro_rules! fields {
    ($table:ident { $($(#[$doc:meta])* $name:ident = $text:literal $keep:ident $kind:expr;)* }) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        #[repr(u16)]
        enum Number { DELETED, MERGED_INTO, $($name),* }
        $($(#[$doc])* pub const $name: $crate::record::Field = $crate::record::Field(Number::$name as u16);)*
        /// The entity's fields by number: append, never reorder, since logs and facts hold the numbers.
        pub static $table: &[$crate::record::FieldSpec] = &[
            $crate::record::FieldSpec { name: "deleted", keep: $crate::record::Keep::Latest, kind: $crate::record::Kind::Flag },
            $crate::record::FieldSpec { name: "merged_into", keep: $crate::record::Keep::Latest, kind: $crate::record::Kind::Reference },
            $($crate::record::FieldSpec { name: $text, keep: $crate::record::Keep::$keep, kind: $kind }),*
        ];
        const _: () = { let _ = (Number::DELETED, Number::MERGED_INTO); };
    };
}
pub(super) use fields;

impl Entity {
    /// Every entity, in order of number.
    pub const ALL: [Entity; 5] = [
        Entity::Lead,
        Entity::Deal,
        Entity::Account,
        Entity::Alias,
        Entity::Epoch,
    ];

    /// Those that sources speak of; the others are our own.
    pub const OF_SOURCES: [Entity; 3] = [Entity::Lead, Entity::Deal, Entity::Account];

    /// The entity of a number written to a log or a fact.
    pub fn from_number(number: u8) -> Option<Entity> {
        Self::ALL.get(number as usize).copied()
    }

    /// The entity an event type names.
    pub fn from_name(name: &str) -> Option<Entity> {
        Self::OF_SOURCES.into_iter().find(|e| e.name() == name)
    }

    /// Its name in events, mappings and dead letters.
    pub fn name(self) -> &'static str {
        match self {
            Entity::Lead => "lead",
            Entity::Deal => "deal",
            Entity::Account => "account",
            Entity::Alias => "alias",
            Entity::Epoch => "epoch",
        }
    }

    /// Its fields by number.
    pub fn fields(self) -> &'static [FieldSpec] {
        match self {
            Entity::Lead => super::lead::FIELDS,
            Entity::Deal => super::deal::FIELDS,
            Entity::Account => super::account::FIELDS,
            Entity::Alias | Entity::Epoch => super::alias::FIELDS,
        }
    }

    /// Where its records live.
    pub fn placement(self) -> Placement {
        if Self::OF_SOURCES.contains(&self) {
            Placement::Home
        } else {
            Placement::Everywhere
        }
    }

    /// The field of a canonical name.
    pub fn field(self, name: &str) -> Option<Field> {
        self.fields()
            .iter()
            .position(|f| f.name == name)
            .map(|i| Field(i as u16))
    }

    /// The specification of one of its fields; every custom field is text of which the latest counts.
    pub fn spec(self, field: Field) -> &'static FieldSpec {
        static CUSTOM: FieldSpec = FieldSpec {
            name: "custom",
            keep: Keep::Latest,
            kind: Kind::Text,
        };
        self.fields().get(field.0 as usize).unwrap_or(&CUSTOM)
    }
}

/// Which record: the one thing every row, link and message is addressed to.
pub type Home = u32;

/// The shard a record lives on: a stable hash of its kind and id over the partition count recorded in `epochs`,
/// never the broker's own count or a client's partitioner, which may change under a running pipeline.
pub fn home(entity: Entity, id: &str, shards: u32) -> Home {
    let hash = xxhash_rust::xxh3::xxh3_64_with_seed(id.as_bytes(), entity as u64);
    (hash % u64::from(shards.max(1))) as Home
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entity_starts_with_the_common_fields() {
        for entity in Entity::ALL {
            assert_eq!(entity.field("deleted"), Some(Field::DELETED));
            assert_eq!(entity.field("merged_into"), Some(Field::MERGED_INTO));
            assert!(entity.fields().len() < Field::FIRST_CUSTOM as usize);
            assert_eq!(Entity::from_number(entity as u8), Some(entity));
        }
    }

    #[test]
    fn the_home_of_a_record_never_changes() {
        // Written down, not computed: a new hash would move every record of every installation.
        assert_eq!(home(Entity::Deal, "D-17", 64), 57);
        assert_eq!(home(Entity::Lead, "D-17", 64), 16);
        assert_eq!(home(Entity::Account, "", 64), 32);
    }
}
