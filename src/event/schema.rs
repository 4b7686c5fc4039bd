//! What an entity is made of: the types that `record` declares the entities with, and whoever
//! decodes is given.

/// A kind of record, by the number that logs and facts hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entity(pub u8);

/// Where the records of an entity live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// On the one shard their id hashes to.
    Home,
    /// On every shard.
    Everywhere(SideInput),
}

/// What a record that every shard holds is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SideInput {
    /// It names the record that a merged record became.
    Alias,
    /// It starts an epoch.
    EpochStart,
    /// It says what a stage of deals stands for.
    Stage,
}

/// How the values of a field are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The values asserted at the greatest clock.
    Latest,
    /// Every value with its clock, cut to a fixed number of the greatest clocks.
    History,
}

/// How a field is read from a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// One of these words.
    Keyword(&'static [&'static str]),
    /// The id of another record or person, qualified by the topic's `id_namespace`; `""` and `"0"`
    /// mean none.
    Reference,
    /// An instant or a date.
    When,
    /// A decimal amount in the record's currency.
    Money,
    /// An ISO 4217 code.
    Currency,
    /// A number from 0 to 1.
    Fraction,
    /// A positive number with up to twelve places, kept as text: see [`crate::event::rate`].
    Rate,
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

/// The number of a field within its entity; numbers from [`Field::FIRST_CUSTOM`] name custom fields
/// of the shard.
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

    /// The field's bit in a mask of canonical fields; no bit for a custom one.
    pub const fn bit(self) -> u64 {
        if self.0 < Field::FIRST_CUSTOM {
            1 << self.0
        } else {
            0
        }
    }
}

/// What an entity is called and made of.
#[derive(Debug)]
pub struct EntitySpec {
    /// Its number: append, never renumber.
    pub entity: Entity,
    /// Its name in events, mappings and dead letters.
    pub name: &'static str,
    /// The ClickHouse table of its facts.
    pub table: &'static str,
    /// Where its records live.
    pub placement: Placement,
    /// Its fields by number: append, never reorder.
    pub fields: &'static [FieldSpec],
}

impl EntitySpec {
    /// True if sources say something of it; the rest is made here.
    pub fn is_asserted(&self) -> bool {
        matches!(
            self.placement,
            Placement::Home | Placement::Everywhere(SideInput::Stage)
        )
    }

    /// The field of a canonical name.
    pub fn field(&self, name: &str) -> Option<Field> {
        self.fields
            .iter()
            .position(|field| field.name == name)
            .map(|number| Field(number as u16))
    }

    /// The specification of one of its fields; every custom field is text of which the latest
    /// counts.
    pub fn spec(&self, field: Field) -> &'static FieldSpec {
        static CUSTOM: FieldSpec = FieldSpec {
            name: "custom",
            keep: Keep::Latest,
            kind: Kind::Text,
        };
        self.fields.get(usize::from(field.0)).unwrap_or(&CUSTOM)
    }
}
