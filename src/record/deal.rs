//! The deal: an opportunity, open or closed.

use super::declaration::fields;
use super::lead::LeadOrigin;
use super::link::{self, Link, Projection, Slots};
use super::passage::StagePassage;
use super::status::StatusFields;
use super::{
    Credit, Declaration, Held, Inbox, Key, LinkOutcome, ReadContext, Readable, Reading, Record,
    Status, TrackedFields,
};
use crate::event::{Entity, EntitySpec, Field, Placement, When};
use crate::symbol::Symbol;
use crate::window::{DIMENSIONS, Dimension, Dims};

fields!(FIELDS {
    /// What it is called.
    NAME = "name" Latest crate::event::Kind::Text;
    /// Who would buy.
    ACCOUNT_ID = "account_id" Latest crate::event::Kind::Reference;
    /// The lead it came of.
    LEAD_ID = "lead_id" Latest crate::event::Kind::Reference;
    /// Where it came from.
    LEAD_SOURCE = "lead_source" Latest crate::event::Kind::Text;
    /// Who works on it.
    OWNER_ID = "owner_id" History crate::event::Kind::Reference;
    /// Their team.
    TEAM = "team" History crate::event::Kind::Text;
    /// Where it is.
    REGION = "region" Latest crate::event::Kind::Text;
    /// The sales process it goes through.
    PIPELINE = "pipeline" Latest crate::event::Kind::Text;
    /// How far it got.
    STAGE = "stage" History crate::event::Kind::Text;
    /// Since when.
    STAGE_ENTERED_AT = "stage_entered_at" Latest crate::event::Kind::When;
    /// Whether it is decided.
    STATUS = "status" History crate::event::Kind::Keyword(&["open", "won", "lost"]);
    /// How likely it is won.
    PROBABILITY = "probability" Latest crate::event::Kind::Fraction;
    /// The category it is forecast under.
    FORECAST_CATEGORY = "forecast_category" Latest crate::event::Kind::Text;
    /// What it is worth.
    AMOUNT = "amount" Latest crate::event::Kind::Money;
    /// The part of the amount that expands what the customer had.
    UPSELL_AMOUNT = "upsell_amount" Latest crate::event::Kind::Money;
    /// The currency of both.
    CURRENCY = "currency" Latest crate::event::Kind::Currency;
    /// What is sold.
    PRODUCT = "product" Latest crate::event::Kind::Text;
    /// What kind of sale it is.
    DEAL_TYPE = "deal_type" Latest crate::event::Kind::Keyword(&["new", "upsell", "cross_sell", "renewal"]);
    /// When it was opened.
    CREATED_AT = "created_at" Latest crate::event::Kind::When;
    /// When it is expected to close.
    EXPECTED_CLOSE_DATE = "expected_close_date" Latest crate::event::Kind::When;
    /// When it closed; counts only while it is won or lost.
    CLOSED_AT = "closed_at" Latest crate::event::Kind::When;
    /// Why it was lost.
    LOST_REASON = "lost_reason" Latest crate::event::Kind::Text;
});

/// The entity.
pub static DECLARATION: Declaration = Declaration {
    references: &[(ACCOUNT_ID, Entity::ACCOUNT), (LEAD_ID, Entity::LEAD)],
    // It may be credited to a lead that names it without naming that lead itself.
    reads_root_of: &[Entity::LEAD],
    tracked: TrackedFields {
        status: Some(STATUS),
        owner: Some(OWNER_ID),
        amount: Some(AMOUNT),
        closed_at: Some(CLOSED_AT),
    },
    reads: &[
        ACCOUNT_ID,
        LEAD_ID,
        LEAD_SOURCE,
        OWNER_ID,
        TEAM,
        REGION,
        PIPELINE,
        STAGE,
        STATUS,
        AMOUNT,
        UPSELL_AMOUNT,
        CURRENCY,
        PRODUCT,
        DEAL_TYPE,
        CREATED_AT,
        CLOSED_AT,
        PROBABILITY,
        FORECAST_CATEGORY,
        EXPECTED_CLOSE_DATE,
        LOST_REASON,
    ],
    // Of a status and a stage that stands for one, the greater clock counts; likewise of
    // probabilities.
    reads_clock_with_stages: &[STATUS, STAGE, PROBABILITY],
    read: |key, record, inbox, context| Reading::Deal(Deal::new(key, record, inbox, context)),
    outcome: |link| {
        let deal: DealOutcome = link.read()?;
        Some(LinkOutcome {
            status: deal.status.name(),
            closed_at: deal.closed_at,
            amount: deal.amount,
            currency: deal.currency,
        })
    },
    ..Declaration::of(EntitySpec {
        entity: Entity::DEAL,
        name: "deal",
        table: "deals",
        placement: Placement::Home,
        fields: FIELDS,
    })
};

/// What its status is read from.
pub(super) const STATUS_FIELDS: StatusFields = StatusFields {
    status: STATUS,
    stage: STAGE,
};

/// What a deal says to the account it was made with and the lead it is credited to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DealOutcome {
    /// Its status. Of an open deal nothing else is said, so that its changes stay at home.
    pub status: Status,
    /// When it closed.
    pub closed_at: Option<When>,
    /// Its amount, in ten-thousandths.
    pub amount: Option<i64>,
    /// The part of the amount that is an upsell, in ten-thousandths.
    pub upsell_amount: Option<i64>,
    /// The currency of both.
    pub currency: Symbol,
    /// Its dimensions, with owner and team as credited and its own type, not a derived one.
    pub dims: Dims,
    /// The metrics it is left out of, a bit each.
    pub excluded: u32,
}

impl Projection for DealOutcome {
    const KIND: u8 = 1;

    fn pack(&self, out: &mut Slots) {
        out.number(
            0,
            (self.status != Status::Open).then_some(self.status as i64),
        );
        out.when(1, self.closed_at);
        out.number(2, self.amount);
        out.number(3, self.upsell_amount);
        out.text(4, self.currency);
        out.number(5, (self.excluded != 0).then_some(i64::from(self.excluded)));
        out.dims(&self.dims);
    }

    fn unpack(&mut self, slot: u8, held: Held) {
        let number = held.number();
        match slot {
            0 => {
                self.status = number
                    .and_then(|n| Status::of_number(n as u8))
                    .unwrap_or_default()
            }
            1 => self.closed_at = held.when(),
            2 => self.amount = number,
            3 => self.upsell_amount = number,
            4 => self.currency = held.text(),
            5 => self.excluded = number.unwrap_or_default() as u32,
            _ => link::unpack_dims(&mut self.dims, slot, held),
        }
    }
}

/// A deal, read through the definitions, with what leads say of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Deal {
    /// The record exists and counts for itself.
    pub live: bool,
    /// Its status.
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
    /// How far it got.
    pub stage: Symbol,
    /// How it went through the stages of the order, if there is one.
    pub passage: Option<Box<StagePassage>>,
    /// What only an open deal has.
    pub outlook: Option<Outlook>,
    /// When it was first closed, if it was open again after that (µs).
    pub reopened: Option<i64>,
    /// Why it was lost, if it was.
    pub lost_reason: Symbol,
    /// The metrics it is left out of, a bit each.
    pub excluded: u32,
    /// The account it was made with: the root of the stated one.
    pub account: Option<Key>,
    /// The lead it is credited to: the root of the stated one, else the earliest-converted lead
    /// naming it.
    pub lead: Option<Key>,
}

/// What an open deal promises.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    /// How likely it is won, in ten-thousandths: its own probability or its stage's, whichever was
    /// said last.
    pub probability: Option<i64>,
    /// The category it is forecast under.
    pub category: Symbol,
    /// When it is expected to close.
    pub expected_close: Option<When>,
}

impl Outlook {
    fn new(record: &Record, stage: Symbol, context: ReadContext<'_>) -> Self {
        let own = record.decimal(PROBABILITY);
        let of_stage = context.compiled.stages.probabilities.get(&stage).copied();
        let said = |field| Some(record.history(field).next_back()?.0);
        let probability = match (own, of_stage) {
            (Some(_), Some(of_stage)) if said(PROBABILITY) < said(STAGE) => Some(of_stage),
            (own, of_stage) => own.or(of_stage),
        };
        Outlook {
            probability,
            category: record.text(FORECAST_CATEGORY),
            expected_close: record.when(EXPECTED_CLOSE_DATE),
        }
    }
}

impl Deal {
    /// Reads a deal.
    fn new(key: Key, record: &Record, inbox: &Inbox, context: ReadContext<'_>) -> Self {
        let calendar = &context.compiled.calendar;
        let counting = record.counting();
        let run = super::status::status(record, STATUS_FIELDS, context.compiled);
        let first = When::Instant(record.first().unwrap_or_default().time);
        let (created_at, stated_close) = (
            counting.latest(CREATED_AT).when(),
            counting.latest(CLOSED_AT).when(),
        );
        let is_closed = run.status != Status::Open;
        let stage = counting.latest(STAGE).text();
        let stand_in = run.since.map_or(first, |clock| When::Instant(clock.time));
        let closed_at = is_closed.then(|| stated_close.unwrap_or(stand_in));

        let credit_until = match (context.compiled.credit, closed_at) {
            (Credit::AtClose, Some(closed_at)) => Some(calendar.last_instant(closed_at)),
            _ => None,
        };
        let credited = |field| match credit_until {
            Some(until) => as_of(record, field, until),
            None => counting.latest(field).text(),
        };
        let lead = context.named(Entity::LEAD, counting.latest(LEAD_ID).text());
        let lead = lead.or_else(|| earliest_converted(inbox, context));

        let mut dims = [Symbol::BLANK; DIMENSIONS];
        let mut source = counting.latest(LEAD_SOURCE).text();
        if source.is_blank() {
            let origin = lead.and_then(|lead| inbox.link(lead)?.read());
            source = origin.map_or(Symbol::BLANK, |lead: LeadOrigin| lead.source);
        }
        dims[Dimension::SOURCE.0 as usize] = source;
        dims[Dimension::REGION.0 as usize] = counting.latest(REGION).text();
        dims[Dimension::PRODUCT.0 as usize] = counting.latest(PRODUCT).text();
        dims[Dimension::DEAL_TYPE.0 as usize] = counting.latest(DEAL_TYPE).text();
        dims[Dimension::TEAM.0 as usize] = credited(TEAM);
        dims[Dimension::OWNER.0 as usize] = credited(OWNER_ID);
        dims[Dimension::PIPELINE.0 as usize] = counting.latest(PIPELINE).text();
        context.custom_dims(record, &mut dims);

        Deal {
            live: context.is_live(key, record),
            status: run.status,
            closed_at,
            created_at: created_at.unwrap_or(first),
            dated_by_clock: created_at.is_none() || is_closed && stated_close.is_none(),
            history_cut: is_closed && stated_close.is_none() && run.history_cut,
            amount: counting.latest(AMOUNT).number(),
            upsell_amount: counting.latest(UPSELL_AMOUNT).number(),
            currency: counting.latest(CURRENCY).text(),
            dims,
            stage,
            passage: StagePassage::read(record, STAGE, context.compiled),
            outlook: (!is_closed).then(|| Outlook::new(record, stage, context)),
            reopened: run.reopened.map(|clock| clock.time),
            lost_reason: if run.status == Status::Lost {
                counting.latest(LOST_REASON).text()
            } else {
                Symbol::BLANK
            },
            excluded: context.excluded(Entity::DEAL, record),
            account: context.named(Entity::ACCOUNT, counting.latest(ACCOUNT_ID).text()),
            lead,
        }
    }
}

impl Readable for Deal {
    fn is_live(&self) -> bool {
        self.live
    }

    fn excluded(&self) -> u32 {
        self.excluded
    }

    /// Its outcome to the lead it is credited to, and to its account once it is closed.
    fn links_to_send(&self, _key: Key, out: &mut Vec<(Key, Link)>) {
        let is_closed = self.status != Status::Open;
        if !self.live || (self.lead.is_none() && !(is_closed && self.account.is_some())) {
            return;
        }
        let outcome = if is_closed {
            DealOutcome {
                status: self.status,
                closed_at: self.closed_at,
                amount: self.amount,
                upsell_amount: self.upsell_amount,
                currency: self.currency,
                dims: self.dims,
                excluded: self.excluded,
            }
        } else {
            DealOutcome::default()
        };
        let link = Link::of(&outcome);
        out.extend(self.lead.map(|lead| (lead, link.clone())));
        out.extend(
            self.account
                .filter(|_| is_closed)
                .map(|account| (account, link)),
        );
    }

    fn last_instant(&self, context: ReadContext<'_>) -> Option<i64> {
        let calendar = &context.compiled.calendar;
        let created = calendar.instant(self.created_at);
        let closed = self.closed_at.map(|closed| calendar.instant(closed));
        Some(closed.map_or(created, |closed| created.max(closed)))
    }
}

/// Of the leads naming the deal, the one converted first; of equals, the smaller id.
fn earliest_converted(inbox: &Inbox, context: ReadContext<'_>) -> Option<Key> {
    let origins = inbox
        .links()
        .filter_map(|(sender, link)| Some((sender, link.read::<LeadOrigin>()?)));
    let naming = origins.filter(|(_, lead)| lead.is_named);
    let first =
        naming.min_by_key(|(sender, lead)| (lead.converted_at, context.symbols.text(sender.id)));
    first.map(|(sender, _)| context.aliases.root(sender, context.symbols))
}

/// The text of a history as of an instant (µs): the last one asserted by then, else the first one
/// known.
fn as_of(record: &Record, field: Field, until: i64) -> Symbol {
    let by_then = record.remembered(field);
    let by_then = by_then.take_while(|said| said.clock.time <= until).last();
    let said = by_then.or_else(|| record.remembered(field).next());
    said.map_or(Symbol::BLANK, |said| said.value.text())
}
