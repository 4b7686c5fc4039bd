//! The account: a customer, or one to be, with the deals made with it.

use super::compiled::ReadContext;
use super::schema::fields;
use super::{AccountLink, DealLink, Entity, Key, Link, Record, Status, Symbol};
use crate::event::When;
use crate::window::{DIMENSIONS, Dimension, Dims};

fields!(FIELDS {
    /// What it is called.
    NAME = "name" Latest super::Kind::Text;
    /// The part of the market it belongs to.
    SEGMENT = "segment" Latest super::Kind::Text;
    /// Who looks after it.
    OWNER_ID = "owner_id" History super::Kind::Reference;
    /// Where it is.
    REGION = "region" Latest super::Kind::Text;
    /// Since when it is a customer.
    BECAME_CUSTOMER_AT = "became_customer_at" Latest super::Kind::When;
    /// Since when it is no customer any more.
    CHURNED_AT = "churned_at" Latest super::Kind::When;
});

/// An account, read through the definitions, with the deals won with it and the accounts merged into it.
#[derive(Debug)]
pub struct AccountReading<'a> {
    /// Since when it, or the earliest account merged into it, is a customer by its own word.
    pub became_customer_at: Option<When>,
    /// Since when none of them is a customer any more: the last one's, if every one that was a customer says so.
    pub churned_at: Option<When>,
    /// Region, segment, owner and custom fields as they are today.
    pub dims: Dims,
    /// The deals won with it, in order of (closed_at, id).
    pub wins: Vec<Win<'a>>,
    /// The metrics it is left out of, a bit each.
    pub excluded: u32,
}

/// One deal won with an account.
#[derive(Debug, Clone, Copy)]
pub struct Win<'a> {
    /// When it closed.
    pub closed_at: When,
    /// What the deal said.
    pub deal: &'a DealLink,
}

impl<'a> AccountReading<'a> {
    /// Reads an account. One that was never seen, but that deals speak of, is `Record::default()`.
    pub fn new(key: Key, record: &Record, links: &'a [super::Received], view: ReadContext<'_>) -> Self {
        let calendar = &view.compiled.definitions.calendar;
        let mut wins: Vec<(i64, Key, Win<'a>)> = Vec::new();
        for (sender, deal) in super::link_contents(links, |link| {
            if let Link::Deal(deal) = link {
                Some(&**deal)
            } else {
                None
            }
        }) {
            if let (Status::Won, Some(closed_at)) = (deal.status, deal.closed_at) {
                wins.push((calendar.instant(closed_at), sender, Win { closed_at, deal }));
            }
        }
        wins.sort_by(|a, b| {
            a.0.cmp(&b.0)
                .then_with(|| view.symbols.text(a.1.id).cmp(view.symbols.text(b.1.id)))
        });

        let mut dims = [Symbol::BLANK; DIMENSIONS];
        dims[Dimension::SEGMENT.0 as usize] = record.text(SEGMENT);
        dims[Dimension::REGION.0 as usize] = record.text(REGION);
        dims[Dimension::OWNER.0 as usize] = record.text(OWNER_ID);
        view.compiled.custom_dims(record, view.customs, &mut dims);

        let own = view.is_live(key, record).then(|| content(record));
        let merged = super::link_contents(links, |link| {
            if let Link::Account(account) = link {
                Some(account)
            } else {
                None
            }
        });
        let members: Vec<&AccountLink> = own
            .iter()
            .chain(merged.into_iter().map(|(_, account)| account))
            .collect();
        let instant = |when: &When| calendar.instant(*when);
        let known = members
            .iter()
            .filter(|m| m.became_customer_at.is_some() || m.churned_at.is_some());
        let churned = if known.clone().all(|m| m.churned_at.is_some()) {
            known.filter_map(|m| m.churned_at).max_by_key(instant)
        } else {
            None
        };
        AccountReading {
            became_customer_at: members
                .iter()
                .filter_map(|m| m.became_customer_at)
                .min_by_key(instant),
            churned_at: churned,
            dims,
            wins: wins.into_iter().map(|(_, _, win)| win).collect(),
            excluded: view
                .compiled
                .excluded(Entity::Account, record, view.customs, view.symbols),
        }
    }
}

/// What an account says: to the one it was merged into, what it knows of being a customer.
pub fn links(key: Key, record: &Record, view: ReadContext<'_>, out: &mut Vec<(Key, Link)>) {
    let root = view.aliases.root(key, view.symbols);
    if record.exists() && root != key {
        out.push((root, Link::Account(content(record))));
    }
}

fn content(record: &Record) -> AccountLink {
    AccountLink {
        became_customer_at: record.when(BECAME_CUSTOMER_AT),
        churned_at: record.when(CHURNED_AT),
    }
}
