//! The split: the part of a deal that somebody is credited with.

use super::declaration::fields;
use super::link::{Link, Projection, Slots};
use super::{Declaration, Held, Key, ReadContext, Readable, Reading, Record, TrackedFields};
use crate::event::{Entity, EntitySpec, Placement};
use crate::symbol::Symbol;

fields!(FIELDS {
    /// The deal that is split.
    DEAL_ID = "deal_id" Latest crate::event::Kind::Reference;
    /// Who is credited.
    OWNER_ID = "owner_id" Latest crate::event::Kind::Reference;
    /// With how much of the deal.
    SHARE = "share" Latest crate::event::Kind::Fraction;
});

/// The entity.
pub static DECLARATION: Declaration = Declaration {
    references: &[(DEAL_ID, Entity::DEAL)],
    tracked: TrackedFields {
        status: None,
        owner: Some(OWNER_ID),
        amount: None,
        closed_at: None,
    },
    reads: &[DEAL_ID, OWNER_ID, SHARE],
    read: |key, record, _, context| Reading::Split(Split::new(key, record, context)),
    ..Declaration::of(EntitySpec {
        entity: Entity::SPLIT,
        name: "split",
        table: "splits",
        placement: Placement::Home,
        fields: FIELDS,
    })
};

/// What a split says to its deal.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Credited {
    /// Who is credited.
    pub owner: Symbol,
    /// With how much of the deal, in ten-thousandths; none if the source doesn't say.
    pub share: Option<i64>,
    /// The metrics it is left out of, a bit each.
    pub excluded: u32,
}

impl Projection for Credited {
    const KIND: u8 = 7;

    fn pack(&self, out: &mut Slots) {
        out.text(0, self.owner);
        out.number(1, self.share);
        out.number(2, (self.excluded != 0).then_some(i64::from(self.excluded)));
    }

    fn unpack(&mut self, slot: u8, held: Held) {
        match slot {
            0 => self.owner = held.text(),
            1 => self.share = held.number(),
            2 => self.excluded = held.number().unwrap_or_default() as u32,
            _ => {}
        }
    }
}

/// A split, read through the definitions.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// The record exists and counts for itself.
    pub live: bool,
    /// What it says.
    pub credited: Credited,
    /// The root of the deal that is split.
    pub deal: Option<Key>,
}

impl Split {
    fn new(key: Key, record: &Record, context: ReadContext<'_>) -> Self {
        Split {
            live: context.is_live(key, record),
            credited: Credited {
                owner: record.text(OWNER_ID),
                share: record.decimal(SHARE),
                excluded: context.excluded(Entity::SPLIT, record),
            },
            deal: context.named(Entity::DEAL, record.text(DEAL_ID)),
        }
    }
}

impl Readable for Split {
    fn is_live(&self) -> bool {
        self.live
    }

    fn excluded(&self) -> u32 {
        self.credited.excluded
    }

    /// Who is credited with how much, to the deal.
    fn links_to_send(&self, _key: Key, out: &mut Vec<(Key, Link)>) {
        if let Some(deal) = self.deal.filter(|_| self.live) {
            out.push((deal, Link::of(&self.credited)));
        }
    }
}
