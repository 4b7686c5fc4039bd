//! The activity: a call, a meeting or a task, done or planned.

use super::declaration::fields;
use super::link::{Link, Projection, Slots};
use super::{Declaration, Held, Key, ReadContext, Readable, Reading, Record, TrackedFields};
use crate::event::{Entity, EntitySpec, Placement, When};
use crate::symbol::Symbol;

/// The kinds of activity, in the order they are counted in.
pub const KINDS: &[&str] = &["call", "email", "meeting", "demo", "task", "note"];

fields!(FIELDS {
    /// What is done.
    KIND = "kind" Latest crate::event::Kind::Keyword(KINDS);
    /// Who does it.
    OWNER_ID = "owner_id" Latest crate::event::Kind::Reference;
    /// The deal it is about.
    DEAL_ID = "deal_id" Latest crate::event::Kind::Reference;
    /// The account it is about.
    ACCOUNT_ID = "account_id" Latest crate::event::Kind::Reference;
    /// The contact it is done with.
    CONTACT_ID = "contact_id" Latest crate::event::Kind::Reference;
    /// The lead it is about.
    LEAD_ID = "lead_id" Latest crate::event::Kind::Reference;
    /// When it was done.
    DONE_AT = "done_at" Latest crate::event::Kind::When;
    /// When it is to be done.
    DUE_AT = "due_at" Latest crate::event::Kind::When;
    /// Whether it is done.
    DONE = "done" Latest crate::event::Kind::Flag;
});

/// The entity.
pub static DECLARATION: Declaration = Declaration {
    references: &[(CONTACT_ID, Entity::CONTACT)],
    tracked: TrackedFields {
        status: None,
        owner: Some(OWNER_ID),
        amount: None,
        closed_at: Some(DONE_AT),
    },
    reads: &[KIND, OWNER_ID, CONTACT_ID, DONE_AT, DUE_AT, DONE],
    read: |key, record, _, context| Reading::Activity(Activity::new(key, record, context)),
    ..Declaration::of(EntitySpec {
        entity: Entity::ACTIVITY,
        name: "activity",
        table: "activities",
        placement: Placement::Home,
        fields: FIELDS,
    })
};

/// What an activity that is done says to the contact it was done with.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Touch {
    /// When.
    pub at: Option<When>,
    /// The metrics it is left out of, a bit each.
    pub excluded: u32,
}

impl Projection for Touch {
    const KIND: u8 = 5;

    fn pack(&self, out: &mut Slots) {
        out.when(0, self.at);
        out.number(1, (self.excluded != 0).then_some(i64::from(self.excluded)));
    }

    fn unpack(&mut self, slot: u8, held: Held) {
        match slot {
            0 => self.at = held.when(),
            1 => self.excluded = held.number().unwrap_or_default() as u32,
            _ => {}
        }
    }
}

/// An activity, read through the definitions.
#[derive(Debug, Clone, PartialEq)]
pub struct Activity {
    /// The record exists and counts for itself.
    pub live: bool,
    /// Its place among [`KINDS`]; none if the source doesn't say.
    pub kind: Option<usize>,
    /// Who does it.
    pub owner: Symbol,
    /// When it was done, if it is: `done_at`, else the earliest clock.
    pub done_at: Option<When>,
    /// When it is to be done, if it is not.
    pub due_at: Option<When>,
    /// The metrics it is left out of, a bit each.
    pub excluded: u32,
    contact: Option<Key>,
}

impl Activity {
    fn new(key: Key, record: &Record, context: ReadContext<'_>) -> Self {
        let first = When::Instant(record.first().unwrap_or_default().time);
        let stated = record.when(DONE_AT);
        // A time that it was done at says that it is done, unless the source says that it is not.
        let is_done = match record.latest(DONE) {
            Held::Flag(done) => done,
            _ => stated.is_some(),
        };
        let kind = context.symbols.text(record.text(KIND));
        Activity {
            live: context.is_live(key, record),
            kind: KINDS.iter().position(|known| *known == kind),
            owner: record.text(OWNER_ID),
            done_at: is_done.then(|| stated.unwrap_or(first)),
            due_at: record.when(DUE_AT).filter(|_| !is_done),
            excluded: context.excluded(Entity::ACTIVITY, record),
            contact: context.named(Entity::CONTACT, record.text(CONTACT_ID)),
        }
    }
}

impl Readable for Activity {
    fn is_live(&self) -> bool {
        self.live
    }

    fn excluded(&self) -> u32 {
        self.excluded
    }

    /// That it was done, to the contact.
    fn links_to_send(&self, _key: Key, out: &mut Vec<(Key, Link)>) {
        if let (Some(contact), Some(done_at), true) = (self.contact, self.done_at, self.live) {
            let touch = Touch {
                at: Some(done_at),
                excluded: self.excluded,
            };
            out.push((contact, Link::of(&touch)));
        }
    }

    fn last_instant(&self, context: ReadContext<'_>) -> Option<i64> {
        let calendar = &context.compiled.calendar;
        self.done_at.map(|done_at| calendar.instant(done_at))
    }
}
