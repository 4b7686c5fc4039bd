//! What an entity's file declares, and the list of entities everything else is driven from.

use super::compiled::ReadContext;
use super::inbox::Inbox;
use super::link::Link;
use super::{Key, Record};
use crate::event::{Assertion, Entity, EntitySpec, Field, When};
use crate::symbol::{Symbol, Symbols};

/// An entity, as its file declares it.
pub struct Declaration {
    /// Its name, table and fields.
    pub spec: EntitySpec,
    /// The records it names: the field, and the entity the field refers to.
    pub references: &'static [(Field, Entity)],
    /// The entities whose links are read by the root of their sender, which a merge may change.
    pub reads_root_of: &'static [Entity],
    /// What `changes` notes of it.
    pub tracked: TrackedFields,
    /// The histories that are columns of the facts too, for whoever asks what was when.
    pub dated: &'static [Field],
    /// The fields a reading of it looks at; a test compares them with what it really looks at.
    pub reads: &'static [Field],
    /// Of these also the clock of the value that counts.
    pub reads_clock_of: &'static [Field],
    /// The same, as soon as stages stand for statuses.
    pub reads_clock_with_stages: &'static [Field],
    /// How it is read.
    pub read: fn(Key, &Record, &Inbox, ReadContext<'_>) -> Reading,
    /// Which links it keeps in order: an instant (µs) and a group, such as the time a deal was won
    /// and its product.
    pub order: fn(&Link, ReadContext<'_>) -> Option<(i64, Symbol)>,
    /// What a link that it sends says, in columns for whoever asks the facts.
    pub outcome: fn(&Link) -> Option<LinkOutcome>,
    /// What follows from a record for others, as assertions about them.
    pub derive: Option<Derive>,
}

/// Adds the assertions about other records that follow from one. What was added once may be again,
/// and nothing ever has to be taken back: of more assertions of the record follows at least what
/// followed from fewer.
pub type Derive = fn(&Record, &Symbols, &mut Vec<Assertion<'static>>);

/// The fields whose changes go to `changes`; `None` where an entity has no such field.
#[derive(Debug, Clone, Copy, Default)]
pub struct TrackedFields {
    /// How far it got.
    pub status: Option<Field>,
    /// Who is responsible for it.
    pub owner: Option<Field>,
    /// What it is worth.
    pub amount: Option<Field>,
    /// When it was decided.
    pub closed_at: Option<Field>,
}

impl TrackedFields {
    /// The fields, a bit each.
    pub fn mask(&self) -> u64 {
        let fields = [self.status, self.owner, self.amount, self.closed_at];
        fields
            .into_iter()
            .flatten()
            .fold(0, |mask, f| mask | f.bit())
    }
}

/// The outcome that a deal's link says, in the shard's symbols.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkOutcome {
    /// `open`, `won`, `lost`.
    pub status: &'static str,
    /// When it closed.
    pub closed_at: Option<When>,
    /// Its amount in ten-thousandths.
    pub amount: Option<i64>,
    /// Its currency.
    pub currency: Symbol,
}

impl Declaration {
    /// What an entity has that nothing is read of.
    pub(super) const fn of(spec: EntitySpec) -> Declaration {
        Declaration {
            spec,
            references: &[],
            reads_root_of: &[],
            dated: &[],
            tracked: TrackedFields {
                status: None,
                owner: None,
                amount: None,
                closed_at: None,
            },
            reads: &[],
            reads_clock_of: &[],
            reads_clock_with_stages: &[],
            read: |_, _, _, _| Reading::Nothing,
            order: |_, _| None,
            outcome: |_| None,
            derive: None,
        }
    }

    /// The fields of which a change of value may change a reading, a bit each.
    pub fn read_mask(&self) -> u64 {
        let always = Field::DELETED.bit() | Field::MERGED_INTO.bit();
        self.reads.iter().fold(always, |mask, f| mask | f.bit())
    }

    /// The fields of which a later clock alone may change a reading, a bit each.
    pub fn clock_mask(&self, has_stages: bool) -> u64 {
        let with_stages = self.reads_clock_with_stages.iter().filter(|_| has_stages);
        let fields = self.reads_clock_of.iter().chain(with_stages);
        fields.fold(0, |mask, f| mask | f.bit())
    }

    /// True if it is read by what stages stand for.
    pub fn reads_stages(&self) -> bool {
        !self.reads_clock_with_stages.is_empty()
    }

    /// The fields that name other records, a bit each.
    pub fn reference_mask(&self) -> u64 {
        self.references
            .iter()
            .fold(0, |mask, (f, _)| mask | f.bit())
    }
}

/// Declares an entity's fields: the constants the code reads them by and the table everything else
/// is driven from.
macro_rules! fields {
    ($table:ident { $($(#[$doc:meta])* $name:ident = $text:literal $keep:ident $kind:expr;)* }) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        #[repr(u16)]
        enum Number { DELETED, MERGED_INTO, $($name),* }
        $($(#[$doc])* pub const $name: $crate::event::Field = $crate::event::Field(Number::$name as u16);)*
        /// The entity's fields by number: append, never reorder, since logs and facts hold the
        /// numbers.
        pub static $table: &[$crate::event::FieldSpec] = &[
            $crate::event::FieldSpec { name: "deleted", keep: $crate::event::Keep::Latest, kind: $crate::event::Kind::Flag },
            $crate::event::FieldSpec { name: "merged_into", keep: $crate::event::Keep::Latest, kind: $crate::event::Kind::Reference },
            $($crate::event::FieldSpec { name: $text, keep: $crate::event::Keep::$keep, kind: $kind }),*
        ];
        const _: () = { let _ = (Number::DELETED, Number::MERGED_INTO); };
    };
}
pub(super) use fields;

/// The list of entities: the number, the constant, the module and, of those that metrics read, the
/// reading's name and accessor.
macro_rules! entities {
    ($($number:literal $name:ident $module:ident $($variant:ident $accessor:ident)?;)*) => {
        impl $crate::event::Entity {
            $(#[doc = concat!("`", stringify!($module), "`")] pub const $name: $crate::event::Entity = $crate::event::Entity($number);)*
            /// Every entity, in order of number.
            pub const ALL: [$crate::event::Entity; ENTITIES] = [$($crate::event::Entity::$name),*];
        }

        /// How many entities there are.
        const ENTITIES: usize = [$(stringify!($module)),*].len();

        static DECLARATIONS: &[&$crate::record::Declaration] = &[$(&$module::DECLARATION),*];

        /// A record, read through the definitions.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Reading {
            $($(#[doc = concat!("Of a `", stringify!($module), "`.")] $variant($module::$variant),)?)*
            /// Of an entity that no metric reads.
            Nothing,
        }

        impl Reading {
            $($(#[doc = concat!("The reading of a `", stringify!($module), "`, if it is one.")]
            pub fn $accessor(&self) -> Option<&$module::$variant> {
                if let Reading::$variant(reading) = self { Some(reading) } else { None }
            })?)*

            fn inner(&self) -> Option<&dyn Readable> {
                match self {
                    $($(Reading::$variant(reading) => Some(reading),)?)*
                    Reading::Nothing => None,
                }
            }
        }
    };
}
pub(super) use entities;

use super::Reading;

/// What the shard asks of every reading.
pub trait Readable {
    /// The record counts for itself: it exists and is not merged into another.
    fn is_live(&self) -> bool;

    /// The metrics it is left out of, a bit each.
    fn excluded(&self) -> u32 {
        0
    }

    /// The links it sends to the records it names.
    fn links_to_send(&self, _key: Key, _out: &mut Vec<(Key, Link)>) {}

    /// The link it sends back to every record it received one from, if it does. One that it names
    /// itself gets what [`Readable::links_to_send`] says instead.
    fn replies(&self, _to: Entity) -> Option<Link> {
        None
    }

    /// The greatest of its instants, for where history ends.
    fn last_instant(&self, _context: ReadContext<'_>) -> Option<i64> {
        None
    }
}
