//! The deal: an opportunity, open or closed.

use super::compiled::ReadContext;
use super::schema::fields;
use super::{DealLink, Entity, Field, Held, Key, LeadLink, Link, Record, Status, Symbol};
use crate::definitions::Credit;
use crate::event::When;
use crate::window::{DIMENSIONS, Dimension, Dims};

fields!(FIELDS {
    /// What it is called.
    NAME = "name" Latest super::Kind::Text;
    /// Who would buy.
    ACCOUNT_ID = "account_id" Latest super::Kind::Reference;
    /// The lead it came of.
    LEAD_ID = "lead_id" Latest super::Kind::Reference;
    /// Where it came from.
    LEAD_SOURCE = "lead_source" Latest super::Kind::Text;
    /// Who works on it.
    OWNER_ID = "owner_id" History super::Kind::Reference;
    /// Their team.
    TEAM = "team" History super::Kind::Text;
    /// Where it is.
    REGION = "region" Latest super::Kind::Text;
    /// The sales process it goes through.
    PIPELINE = "pipeline" Latest super::Kind::Text;
    /// How far it got.
    STAGE = "stage" History super::Kind::Text;
    /// Since when.
    STAGE_ENTERED_AT = "stage_entered_at" Latest super::Kind::When;
    /// Whether it is decided.
    STATUS = "status" History super::Kind::Keyword(&["open", "won", "lost"]);
    /// How likely it is won.
    PROBABILITY = "probability" Latest super::Kind::Fraction;
    /// The category it is forecast under.
    FORECAST_CATEGORY = "forecast_category" Latest super::Kind::Text;
    /// What it is worth.
    AMOUNT = "amount" Latest super::Kind::Money;
    /// The part of the amount that expands what the customer had.
    UPSELL_AMOUNT = "upsell_amount" Latest super::Kind::Money;
    /// The currency of both.
    CURRENCY = "currency" Latest super::Kind::Currency;
    /// What is sold.
    PRODUCT = "product" Latest super::Kind::Text;
    /// What kind of sale it is.
    DEAL_TYPE = "deal_type" Latest super::Kind::Keyword(&["new", "upsell", "cross_sell", "renewal"]);
    /// When it was opened.
    CREATED_AT = "created_at" Latest super::Kind::When;
    /// When it is expected to close.
    EXPECTED_CLOSE_DATE = "expected_close_date" Latest super::Kind::When;
    /// When it closed; counts only while it is won or lost.
    CLOSED_AT = "closed_at" Latest super::Kind::When;
    /// Why it was lost.
    LOST_REASON = "lost_reason" Latest super::Kind::Text;
});

/// A deal, read through the definitions, with what leads say of it.
#[derive(Debug)]
pub struct DealReading {
    /// The record exists and counts for itself.
    pub live: bool,
    /// Where it stands.
    pub status: Status,
    /// When it closed, if it is closed: `closed_at`, else since it has its status.
    pub closed_at: Option<When>,
    /// When it was opened: `created_at`, else the earliest clock.
    pub created_at: When,
    /// One of the two was missing, so a clock stands in for it.
    pub dated_by_clock: bool,
    /// The stand-in for `closed_at` reaches into what was cut off the history.
    pub history_cut: bool,
    /// What it is worth, in ten-thousandths.
    pub amount: Option<i64>,
    /// The part of it that is an upsell, in ten-thousandths.
    pub upsell_amount: Option<i64>,
    /// The currency of both.
    pub currency: Symbol,
    /// Dimensions, with owner and team as credited.
    pub dims: Dims,
    /// The metrics it is left out of, a bit each.
    pub excluded: u32,
    /// The account it was made with: the root of the stated one.
    pub account: Option<Key>,
    /// The lead it is credited to: the root of the stated one, else the earliest-converted lead naming it.
    pub lead: Option<Key>,
}

impl DealReading {
    /// Reads a deal.
    pub fn new(key: Key, record: &Record, links: &[super::Received], view: ReadContext<'_>) -> Self {
        let calendar = &view.compiled.definitions.calendar;
        let run = super::status::status(record, view.compiled);
        let first = When::Instant(record.first().unwrap_or_default().time);
        let (created_at, stated_close) = (record.when(CREATED_AT), record.when(CLOSED_AT));
        let is_closed = run.status != Status::Open;
        let stand_in = run.since.map_or(first, |clock| When::Instant(clock.time));
        let closed_at = is_closed.then(|| stated_close.unwrap_or(stand_in));

        let credit_until = match (view.compiled.definitions.spec.credit, closed_at) {
            (Credit::AtClose, Some(closed_at)) => Some(calendar.last_instant(closed_at)),
            _ => None,
        };
        let root = |entity, id: Symbol| {
            (!id.is_blank()).then(|| view.aliases.root(Key { entity, id }, view.symbols))
        };
        let leads = super::link_contents(links, |link| {
            if let Link::Lead(lead) = link {
                Some(lead)
            } else {
                None
            }
        });
        let lead =
            root(Entity::Lead, record.text(LEAD_ID)).or_else(|| earliest_converted(&leads, view));

        let mut dims = [Symbol::BLANK; DIMENSIONS];
        let mut source = record.text(LEAD_SOURCE);
        if source.is_blank() {
            source = leads
                .iter()
                .find(|(sender, _)| Some(*sender) == lead)
                .map_or(Symbol::BLANK, |(_, lead)| lead.source);
        }
        dims[Dimension::SOURCE.0 as usize] = source;
        dims[Dimension::REGION.0 as usize] = record.text(REGION);
        dims[Dimension::PRODUCT.0 as usize] = record.text(PRODUCT);
        dims[Dimension::DEAL_TYPE.0 as usize] = record.text(DEAL_TYPE);
        dims[Dimension::TEAM.0 as usize] = credited(record, TEAM, credit_until);
        dims[Dimension::OWNER.0 as usize] = credited(record, OWNER_ID, credit_until);
        dims[Dimension::PIPELINE.0 as usize] = record.text(PIPELINE);
        view.compiled.custom_dims(record, view.customs, &mut dims);

        DealReading {
            live: view.is_live(key, record),
            status: run.status,
            closed_at,
            created_at: created_at.unwrap_or(first),
            dated_by_clock: created_at.is_none() || is_closed && stated_close.is_none(),
            history_cut: is_closed && stated_close.is_none() && run.history_cut,
            amount: record.decimal(AMOUNT),
            upsell_amount: record.decimal(UPSELL_AMOUNT),
            currency: record.text(CURRENCY),
            dims,
            excluded: view
                .compiled
                .excluded(Entity::Deal, record, view.customs, view.symbols),
            account: root(Entity::Account, record.text(ACCOUNT_ID)),
            lead,
        }
    }

    /// What the deal says: its outcome to the lead it is credited to, and to its account once it is closed.
    pub fn links(&self, out: &mut Vec<(Key, Link)>) {
        if !self.live {
            return;
        }
        let is_closed = self.status != Status::Open;
        let link = |told: bool| {
            Link::Deal(Box::new(DealLink {
                status: self.status,
                closed_at: self.closed_at,
                amount: self.amount.filter(|_| told),
                upsell_amount: self.upsell_amount.filter(|_| told),
                currency: if told { self.currency } else { Symbol::BLANK },
                dims: if told {
                    self.dims
                } else {
                    [Symbol::BLANK; DIMENSIONS]
                },
                excluded: if told { self.excluded } else { 0 },
            }))
        };
        out.extend(self.lead.map(|lead| (lead, link(is_closed))));
        out.extend(
            self.account
                .filter(|_| is_closed)
                .map(|account| (account, link(true))),
        );
    }
}

/// Of the leads naming the deal, the one converted first; of equals, the smaller id.
fn earliest_converted(leads: &[(Key, &LeadLink)], view: ReadContext<'_>) -> Option<Key> {
    let naming = leads.iter().filter(|(_, lead)| lead.named);
    let first =
        naming.min_by_key(|(sender, lead)| (lead.converted_at, view.symbols.text(sender.id)));
    first.map(|(sender, _)| view.aliases.root(*sender, view.symbols))
}

/// The value of a history as of an instant (µs): the last one said by then, else the first one known.
fn credited(record: &Record, field: Field, until: Option<i64>) -> Symbol {
    let Some(until) = until else {
        return record.text(field);
    };
    let said_by_then = record
        .history(field)
        .rev()
        .find(|s| s.stamp.clock.time <= until);
    match said_by_then
        .or_else(|| record.history(field).next())
        .map(|s| s.held)
    {
        Some(Held::Text(symbol)) => symbol,
        _ => Symbol::BLANK,
    }
}
