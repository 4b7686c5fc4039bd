//! The contact: a person at an account.

use super::declaration::fields;
use super::link::{Link, Projection, Slots};
use super::{Declaration, Held, Key, ReadContext, Readable, Reading, Record, TrackedFields};
use crate::event::{Entity, EntitySpec, Placement, When};
use crate::symbol::Symbol;

fields!(FIELDS {
    /// The account they are at.
    ACCOUNT_ID = "account_id" Latest crate::event::Kind::Reference;
    /// Who looks after them.
    OWNER_ID = "owner_id" Latest crate::event::Kind::Reference;
    /// Since when they are known.
    CREATED_AT = "created_at" Latest crate::event::Kind::When;
});

/// The entity.
pub static DECLARATION: Declaration = Declaration {
    references: &[(ACCOUNT_ID, Entity::ACCOUNT)],
    tracked: TrackedFields {
        status: None,
        owner: Some(OWNER_ID),
        amount: None,
        closed_at: None,
    },
    reads: &[ACCOUNT_ID, OWNER_ID, CREATED_AT],
    read: |key, record, _, context| Reading::Contact(Contact::new(key, record, context)),
    ..Declaration::of(EntitySpec {
        entity: Entity::CONTACT,
        name: "contact",
        table: "contacts",
        placement: Placement::Home,
        fields: FIELDS,
    })
};

/// What a contact says to the account they are at.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ContactAt {
    /// Since when they are known.
    pub created_at: Option<When>,
    /// Who looks after them.
    pub owner: Symbol,
    /// The metrics they are left out of, a bit each.
    pub excluded: u32,
}

impl Projection for ContactAt {
    const KIND: u8 = 4;

    fn pack(&self, out: &mut Slots) {
        out.when(0, self.created_at);
        out.text(1, self.owner);
        out.number(2, (self.excluded != 0).then_some(i64::from(self.excluded)));
    }

    fn unpack(&mut self, slot: u8, held: Held) {
        match slot {
            0 => self.created_at = held.when(),
            1 => self.owner = held.text(),
            2 => self.excluded = held.number().unwrap_or_default() as u32,
            _ => {}
        }
    }
}

/// A contact, read through the definitions.
#[derive(Debug, Clone, PartialEq)]
pub struct Contact {
    /// The record exists and counts for itself.
    pub live: bool,
    /// Since when they are known: `created_at`, else the earliest clock.
    pub created_at: When,
    /// Who looks after them.
    pub owner: Symbol,
    /// The root of the account they are at.
    pub account: Option<Key>,
    /// The metrics they are left out of, a bit each.
    pub excluded: u32,
}

impl Contact {
    fn new(key: Key, record: &Record, context: ReadContext<'_>) -> Self {
        let first = When::Instant(record.first().unwrap_or_default().time);
        Contact {
            live: context.is_live(key, record),
            created_at: record.when(CREATED_AT).unwrap_or(first),
            owner: record.text(OWNER_ID),
            account: context.named(Entity::ACCOUNT, record.text(ACCOUNT_ID)),
            excluded: context.excluded(Entity::CONTACT, record),
        }
    }
}

impl Readable for Contact {
    fn is_live(&self) -> bool {
        self.live
    }

    fn excluded(&self) -> u32 {
        self.excluded
    }

    /// That they are there, to their account.
    fn links_to_send(&self, _key: Key, out: &mut Vec<(Key, Link)>) {
        if let Some(account) = self.account.filter(|_| self.live) {
            let says = ContactAt {
                created_at: Some(self.created_at),
                owner: self.owner,
                excluded: self.excluded,
            };
            out.push((account, Link::of(&says)));
        }
    }

    fn last_instant(&self, context: ReadContext<'_>) -> Option<i64> {
        Some(context.compiled.calendar.instant(self.created_at))
    }
}
