//! The quota: what a user is to sell in a period.

use super::declaration::fields;
use super::{Declaration, Key, ReadContext, Readable, Reading, Record, TrackedFields};
use crate::event::{Entity, EntitySpec, Placement, When};
use crate::symbol::Symbol;

fields!(FIELDS {
    /// Whose it is.
    OWNER_ID = "owner_id" Latest crate::event::Kind::Reference;
    /// The first day.
    PERIOD_START = "period_start" Latest crate::event::Kind::When;
    /// The last day.
    PERIOD_END = "period_end" Latest crate::event::Kind::When;
    /// How much is to be sold.
    TARGET = "target" Latest crate::event::Kind::Money;
    /// In which currency.
    CURRENCY = "currency" Latest crate::event::Kind::Currency;
    /// The team it is for, of a quota that nobody has alone.
    TEAM = "team" Latest crate::event::Kind::Text;
});

/// The entity.
pub static DECLARATION: Declaration = Declaration {
    tracked: TrackedFields {
        status: None,
        owner: Some(OWNER_ID),
        amount: Some(TARGET),
        closed_at: None,
    },
    reads: &[OWNER_ID, PERIOD_START, PERIOD_END, TARGET, CURRENCY, TEAM],
    read: |key, record, _, context| Reading::Quota(Quota::new(key, record, context)),
    ..Declaration::of(EntitySpec {
        entity: Entity::QUOTA,
        name: "quota",
        table: "quotas",
        placement: Placement::Home,
        fields: FIELDS,
    })
};

/// A quota, read through the definitions.
#[derive(Debug, Clone, PartialEq)]
pub struct Quota {
    /// The record exists and counts for itself.
    pub live: bool,
    /// The first and the last day; none if the source doesn't say both, or in the wrong order.
    pub period: Option<(When, When)>,
    /// How much is to be sold, in ten-thousandths.
    pub target: Option<i64>,
    /// In which currency.
    pub currency: Symbol,
    /// Whose it is.
    pub owner: Symbol,
    /// The team it is for.
    pub team: Symbol,
    /// The metrics it is left out of, a bit each.
    pub excluded: u32,
}

impl Quota {
    fn new(key: Key, record: &Record, context: ReadContext<'_>) -> Self {
        let calendar = &context.compiled.calendar;
        let period = record.when(PERIOD_START).zip(record.when(PERIOD_END));
        Quota {
            live: context.is_live(key, record),
            period: period.filter(|(first, last)| calendar.day(*first) <= calendar.day(*last)),
            target: record.decimal(TARGET),
            currency: record.text(CURRENCY),
            owner: record.text(OWNER_ID),
            team: record.text(TEAM),
            excluded: context.excluded(Entity::QUOTA, record),
        }
    }
}

impl Readable for Quota {
    fn is_live(&self) -> bool {
        self.live
    }

    fn excluded(&self) -> u32 {
        self.excluded
    }
}
