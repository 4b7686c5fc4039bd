//! The lead: somebody who may buy, and what became of them.

use super::declaration::fields;
use super::link::{Link, Projection, Slots};
use super::{Declaration, Held, Key, ReadContext, Readable, Reading, Record, TrackedFields};
use crate::event::{Entity, EntitySpec, Placement, When};
use crate::symbol::Symbol;
use crate::window::{DIMENSIONS, Dimension, Dims};

fields!(FIELDS {
    /// Where it came from.
    LEAD_SOURCE = "lead_source" Latest crate::event::Kind::Text;
    /// How far it got.
    STATUS = "status" History crate::event::Kind::Keyword(&["open", "qualified", "disqualified", "converted"]);
    /// Who looks after it.
    OWNER_ID = "owner_id" History crate::event::Kind::Reference;
    /// Their team.
    TEAM = "team" History crate::event::Kind::Text;
    /// Where it is.
    REGION = "region" Latest crate::event::Kind::Text;
    /// The account it belongs to.
    ACCOUNT_ID = "account_id" Latest crate::event::Kind::Reference;
    /// When it came in.
    CREATED_AT = "created_at" Latest crate::event::Kind::When;
    /// When it was found worth pursuing.
    QUALIFIED_AT = "qualified_at" Latest crate::event::Kind::When;
    /// When it became a deal.
    CONVERTED_AT = "converted_at" Latest crate::event::Kind::When;
    /// The deal it became.
    CONVERTED_DEAL_ID = "converted_deal_id" Latest crate::event::Kind::Reference;
});

/// The entity.
pub static DECLARATION: Declaration = Declaration {
    references: &[(CONVERTED_DEAL_ID, Entity::DEAL)],
    tracked: TrackedFields {
        status: Some(STATUS),
        owner: Some(OWNER_ID),
        amount: None,
        closed_at: None,
    },
    reads: &[
        LEAD_SOURCE,
        STATUS,
        OWNER_ID,
        TEAM,
        REGION,
        CREATED_AT,
        QUALIFIED_AT,
        CONVERTED_AT,
        CONVERTED_DEAL_ID,
    ],
    // Without a date or a status, the lead was converted when it named its deal.
    reads_clock_of: &[CONVERTED_DEAL_ID],
    read: |key, record, _, context| Reading::Lead(Lead::new(key, record, context)),
    ..Declaration::of(EntitySpec {
        entity: Entity::LEAD,
        name: "lead",
        table: "leads",
        placement: Placement::Home,
        fields: FIELDS,
    })
};

/// What a lead says to a deal that came of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LeadOrigin {
    /// The lead names the deal as what it became; else it only answers a deal that names it.
    pub is_named: bool,
    /// When it was converted, in µs since the epoch; what puts several leads of a deal in order.
    pub converted_at: i64,
    /// Its source.
    pub source: Symbol,
}

impl Projection for LeadOrigin {
    const KIND: u8 = 2;

    fn pack(&self, out: &mut Slots) {
        if self.is_named {
            out.put(0, Held::Flag(true));
        }
        out.number(1, Some(self.converted_at));
        out.text(2, self.source);
    }

    fn unpack(&mut self, slot: u8, held: Held) {
        match slot {
            0 => self.is_named = held == Held::Flag(true),
            1 => self.converted_at = held.number().unwrap_or_default(),
            2 => self.source = held.text(),
            _ => {}
        }
    }
}

/// A lead, read through the definitions.
#[derive(Debug, Clone, PartialEq)]
pub struct Lead {
    /// The record exists and counts for itself; else only its links count.
    pub live: bool,
    /// When it came in: `created_at`, else the earliest clock.
    pub created_at: When,
    /// `created_at` was missing.
    pub dated_by_clock: bool,
    /// It was found worth pursuing, or got further.
    pub qualified: bool,
    /// It became a deal.
    pub converted: bool,
    /// Source, region, team, owner and custom fields as they are today.
    pub dims: Dims,
    /// The metrics it is left out of, a bit each.
    pub excluded: u32,
    /// The deal it became.
    became: Option<Key>,
    /// What it says to deals that name it; a lead that does not exist says nothing.
    origin: Option<LeadOrigin>,
}

impl Lead {
    fn new(key: Key, record: &Record, context: ReadContext<'_>) -> Self {
        let counting = record.counting();
        let status = counting.latest(STATUS).text();
        let mut dims = [Symbol::BLANK; DIMENSIONS];
        dims[Dimension::SOURCE.0 as usize] = counting.latest(LEAD_SOURCE).text();
        dims[Dimension::REGION.0 as usize] = counting.latest(REGION).text();
        dims[Dimension::TEAM.0 as usize] = counting.latest(TEAM).text();
        dims[Dimension::OWNER.0 as usize] = counting.latest(OWNER_ID).text();
        context.custom_dims(record, &mut dims);
        let became = counting.latest(CONVERTED_DEAL_ID).text();
        let converted = status == Symbol::CONVERTED
            || counting.latest(CONVERTED_AT).when().is_some()
            || !became.is_blank();
        let created_at = counting.latest(CREATED_AT).when();
        Lead {
            live: context.is_live(key, record),
            created_at: created_at
                .unwrap_or(When::Instant(record.first().unwrap_or_default().time)),
            dated_by_clock: created_at.is_none(),
            qualified: converted
                || status == Symbol::QUALIFIED
                || counting.latest(QUALIFIED_AT).when().is_some(),
            converted,
            dims,
            excluded: context.excluded(Entity::LEAD, record),
            became: context.named(Entity::DEAL, became),
            origin: record.exists().then(|| LeadOrigin {
                is_named: false,
                converted_at: converted_at(record, context),
                source: counting.latest(LEAD_SOURCE).text(),
            }),
        }
    }
}

impl Readable for Lead {
    fn is_live(&self) -> bool {
        self.live
    }

    fn excluded(&self) -> u32 {
        self.excluded
    }

    /// To the deal it became.
    fn links_to_send(&self, _key: Key, out: &mut Vec<(Key, Link)>) {
        if let (Some(origin), Some(became)) = (&self.origin, self.became) {
            let named = LeadOrigin {
                is_named: true,
                ..origin.clone()
            };
            out.push((became, Link::of(&named)));
        }
    }

    /// To every deal that names it.
    fn replies(&self, to: Entity) -> Option<Link> {
        let origin = self.origin.as_ref().filter(|_| to == Entity::DEAL);
        origin.map(Link::of)
    }

    fn last_instant(&self, context: ReadContext<'_>) -> Option<i64> {
        Some(context.compiled.calendar.instant(self.created_at))
    }
}

/// When the lead was converted: as stated, else since it has that status, else since it names the
/// deal.
fn converted_at(record: &Record, context: ReadContext<'_>) -> i64 {
    if let Some(stated) = record.when(CONVERTED_AT) {
        return context.compiled.calendar.instant(stated);
    }
    let run = record.last_run(STATUS);
    let converted = run.filter(|run| run.value == Held::Text(Symbol::CONVERTED));
    let since = converted.map(|run| run.since);
    let since = since.or_else(|| Some(record.asserted(CONVERTED_DEAL_ID)?.0));
    since.map_or(i64::MAX, |clock| clock.time)
}
