//! The account: a customer, or one to be, with the deals won with it.

use super::deal::DealOutcome;
use super::declaration::fields;
use super::link::{Link, Projection, Slots};
use super::{
    Declaration, Held, Inbox, Key, ReadContext, Readable, Reading, Record, Status, TrackedFields,
};
use crate::event::{Entity, EntitySpec, Placement, When};
use crate::symbol::Symbol;
use crate::window::{Calendar, DIMENSIONS, Dimension, Dims};

fields!(FIELDS {
    /// What it is called.
    NAME = "name" Latest crate::event::Kind::Text;
    /// The part of the market it belongs to.
    SEGMENT = "segment" Latest crate::event::Kind::Text;
    /// Who looks after it.
    OWNER_ID = "owner_id" History crate::event::Kind::Reference;
    /// Where it is.
    REGION = "region" Latest crate::event::Kind::Text;
    /// Since when it is a customer.
    BECAME_CUSTOMER_AT = "became_customer_at" Latest crate::event::Kind::When;
    /// Since when it is no customer any more.
    CHURNED_AT = "churned_at" Latest crate::event::Kind::When;
});

/// The entity.
pub static DECLARATION: Declaration = Declaration {
    tracked: TrackedFields {
        status: None,
        owner: Some(OWNER_ID),
        amount: None,
        closed_at: None,
    },
    reads: &[SEGMENT, OWNER_ID, REGION, BECAME_CUSTOMER_AT, CHURNED_AT],
    read: |key, record, inbox, context| Reading::Account(Account::new(key, record, inbox, context)),
    order: |link, context| {
        let deal: DealOutcome = link.read()?;
        let closed_at = deal.closed_at.filter(|_| deal.status == Status::Won)?;
        let product = deal.dims[Dimension::PRODUCT.0 as usize];
        Some((context.compiled.calendar.instant(closed_at), product))
    },
    ..Declaration::of(EntitySpec {
        entity: Entity::ACCOUNT,
        name: "account",
        table: "accounts",
        placement: Placement::Home,
        fields: FIELDS,
    })
};

/// What a merged account says to the account it was merged into.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Membership {
    /// Since when it was a customer.
    pub became_customer_at: Option<When>,
    /// Since when it is not.
    pub churned_at: Option<When>,
}

impl Projection for Membership {
    const KIND: u8 = 3;

    fn pack(&self, out: &mut Slots) {
        out.when(0, self.became_customer_at);
        out.when(1, self.churned_at);
    }

    fn unpack(&mut self, slot: u8, held: Held) {
        match slot {
            0 => self.became_customer_at = held.when(),
            1 => self.churned_at = held.when(),
            _ => {}
        }
    }
}

impl Membership {
    fn of(record: &Record) -> Membership {
        Membership {
            became_customer_at: record.when(BECAME_CUSTOMER_AT),
            churned_at: record.when(CHURNED_AT),
        }
    }
}

/// An account, read through the definitions, with the accounts merged into it.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// The record exists and counts for itself; else only its links count.
    pub live: bool,
    /// Since when it, or the earliest account merged into it, is a customer as stated.
    pub became_customer_at: Option<When>,
    /// Since when none of them is a customer any more: the last one's, if every one that was a
    /// customer says so.
    pub churned_at: Option<When>,
    /// Region, segment, owner and custom fields as they are today.
    pub dims: Dims,
    /// The metrics it is left out of, a bit each.
    pub excluded: u32,
    /// Where it was merged into, with what it says there.
    merged: Option<(Key, Membership)>,
}

/// What place a won deal has among those of its account, where its own type doesn't say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purchase {
    /// The first, of an account that was no customer before that day.
    First,
    /// Of a product not bought before.
    NewProduct,
    /// Any other.
    Repeat,
}

impl Account {
    fn new(key: Key, record: &Record, inbox: &Inbox, context: ReadContext<'_>) -> Self {
        let calendar = &context.compiled.calendar;
        let mut dims = [Symbol::BLANK; DIMENSIONS];
        dims[Dimension::SEGMENT.0 as usize] = record.text(SEGMENT);
        dims[Dimension::REGION.0 as usize] = record.text(REGION);
        dims[Dimension::OWNER.0 as usize] = record.text(OWNER_ID);
        context.custom_dims(record, &mut dims);

        let live = context.is_live(key, record);
        let own = live.then(|| Membership::of(record));
        let merged = inbox.members().filter_map(|link| link.read::<Membership>());
        let (mut became, mut churned) = (None::<When>, None::<When>);
        let mut all_churned = true;
        let instant = |when: When| calendar.instant(when);
        for member in own.into_iter().chain(merged) {
            if let Some(since) = member.became_customer_at
                && became.is_none_or(|known| instant(since) < instant(known))
            {
                became = Some(since);
            }
            if let Some(at) = member.churned_at
                && churned.is_none_or(|known| instant(at) >= instant(known))
            {
                churned = Some(at);
            }
            all_churned &= member.churned_at.is_some() || member.became_customer_at.is_none();
        }
        let root = context.aliases.root(key, context.symbols);
        Account {
            live,
            became_customer_at: became,
            churned_at: churned.filter(|_| all_churned),
            dims,
            excluded: context.excluded(Entity::ACCOUNT, record),
            merged: (record.exists() && root != key).then(|| (root, Membership::of(record))),
        }
    }

    /// What place a deal won with the account has, by the order of (closed_at, id) of its won
    /// deals.
    pub fn purchase(
        &self,
        inbox: &Inbox,
        sender: Key,
        closed_at: When,
        product: Symbol,
        calendar: &Calendar,
    ) -> Purchase {
        let was_customer = |since: When| calendar.day(since) < calendar.day(closed_at);
        let is_first = inbox.in_order().next() == Some(sender);
        if is_first && !self.became_customer_at.is_some_and(was_customer) {
            Purchase::First
        } else if !product.is_blank() && inbox.in_group(product).next() == Some(sender) {
            Purchase::NewProduct
        } else {
            Purchase::Repeat
        }
    }

    /// Since when it is a customer: as stated, else since the deal won first with it.
    pub fn customer_since(&self, inbox: &Inbox) -> Option<When> {
        let won_first = || {
            let first = inbox.in_order().next()?;
            let deal: DealOutcome = inbox.link(first)?.read()?;
            deal.closed_at
        };
        self.became_customer_at.or_else(won_first)
    }

    /// Since when it is no customer any more: it churned, and nothing was won with it after that.
    pub fn lost_at(&self, inbox: &Inbox, calendar: &Calendar) -> Option<When> {
        let last_win = inbox.last_in_order();
        let is_last = |at: &When| last_win.is_none_or(|win| win <= calendar.instant(*at));
        self.churned_at.filter(is_last)
    }
}

impl Readable for Account {
    fn is_live(&self) -> bool {
        self.live
    }

    fn excluded(&self) -> u32 {
        self.excluded
    }

    /// To the one it was merged into, what it knows of being a customer.
    fn links_to_send(&self, _key: Key, out: &mut Vec<(Key, Link)>) {
        if let Some((root, membership)) = &self.merged {
            out.push((*root, Link::of(membership)));
        }
    }
}
