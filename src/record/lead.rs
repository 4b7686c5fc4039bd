//! The lead: somebody who may buy, and what became of them.

use super::compiled::ReadContext;
use super::schema::fields;
use super::{DealLink, Entity, Key, LeadLink, Link, Record, Symbol};
use crate::event::When;
use crate::window::{DIMENSIONS, Dimension, Dims};

fields!(FIELDS {
    /// Where it came from.
    LEAD_SOURCE = "lead_source" Latest super::Kind::Text;
    /// How far it got.
    STATUS = "status" History super::Kind::Keyword(&["open", "qualified", "disqualified", "converted"]);
    /// Who looks after it.
    OWNER_ID = "owner_id" History super::Kind::Reference;
    /// Their team.
    TEAM = "team" History super::Kind::Text;
    /// Where it is.
    REGION = "region" Latest super::Kind::Text;
    /// The account it belongs to.
    ACCOUNT_ID = "account_id" Latest super::Kind::Reference;
    /// When it came in.
    CREATED_AT = "created_at" Latest super::Kind::When;
    /// When it was found worth pursuing.
    QUALIFIED_AT = "qualified_at" Latest super::Kind::When;
    /// When it became a deal.
    CONVERTED_AT = "converted_at" Latest super::Kind::When;
    /// The deal it became.
    CONVERTED_DEAL_ID = "converted_deal_id" Latest super::Kind::Reference;
});

/// A lead, read through the definitions, with what deals say of it.
#[derive(Debug)]
pub struct LeadReading<'a> {
    /// The record exists and counts for itself; else only its links speak.
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
    /// The deals credited to it.
    pub deals: Vec<(Key, &'a DealLink)>,
}

impl<'a> LeadReading<'a> {
    /// Reads a lead. A record that was never seen, but that deals speak of, is `Record::default()`.
    pub fn new(key: Key, record: &Record, links: &'a [super::Received], view: ReadContext<'_>) -> Self {
        let status = record.text(STATUS);
        let mut dims = [Symbol::BLANK; DIMENSIONS];
        dims[Dimension::SOURCE.0 as usize] = record.text(LEAD_SOURCE);
        dims[Dimension::REGION.0 as usize] = record.text(REGION);
        dims[Dimension::TEAM.0 as usize] = record.text(TEAM);
        dims[Dimension::OWNER.0 as usize] = record.text(OWNER_ID);
        view.compiled.custom_dims(record, view.customs, &mut dims);
        let converted = status == Symbol::CONVERTED
            || record.when(CONVERTED_AT).is_some()
            || !record.text(CONVERTED_DEAL_ID).is_blank();
        let created_at = record.when(CREATED_AT);
        LeadReading {
            live: view.is_live(key, record),
            created_at: created_at
                .unwrap_or(When::Instant(record.first().unwrap_or_default().time)),
            dated_by_clock: created_at.is_none(),
            qualified: converted
                || status == Symbol::QUALIFIED
                || record.when(QUALIFIED_AT).is_some(),
            converted,
            dims,
            excluded: view
                .compiled
                .excluded(Entity::Lead, record, view.customs, view.symbols),
            deals: super::link_contents(links, |link| {
                if let Link::Deal(deal) = link {
                    Some(&**deal)
                } else {
                    None
                }
            }),
        }
    }
}

/// What a lead says: to the deal it became, and to every deal that names it.
pub fn links(
    record: &Record,
    links: &[super::Received],
    view: ReadContext<'_>,
    out: &mut Vec<(Key, Link)>,
) {
    if record.first().is_none() || record.is_deleted() {
        return;
    }
    let deal = |id| {
        view.aliases.root(
            Key {
                entity: Entity::Deal,
                id,
            },
            view.symbols,
        )
    };
    let became = Some(record.text(CONVERTED_DEAL_ID))
        .filter(|id| !id.is_blank())
        .map(deal);
    let naming = links
        .iter()
        .filter(|l| matches!(l.link, Some(Link::Deal(_))))
        .map(|l| l.sender);
    for target in became
        .into_iter()
        .chain(naming.filter(|sender| Some(*sender) != became))
    {
        let link = LeadLink {
            named: Some(target) == became,
            converted_at: converted_at(record, view),
            source: record.text(LEAD_SOURCE),
        };
        out.push((target, Link::Lead(link)));
    }
}

/// When the lead was converted: as stated, else since it has that status, else since it names the deal.
fn converted_at(record: &Record, view: ReadContext<'_>) -> i64 {
    if let Some(stated) = record.when(CONVERTED_AT) {
        return view.compiled.definitions.calendar.instant(stated);
    }
    let run = record
        .history(STATUS)
        .rev()
        .take_while(|s| s.held == super::Held::Text(Symbol::CONVERTED));
    let since = run.last().or_else(|| record.asserted(CONVERTED_DEAL_ID));
    since.map_or(i64::MAX, |s| s.stamp.clock.time)
}
