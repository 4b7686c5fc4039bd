//! A deliberately slow oracle: keeps every event and recomputes every metric, by the simplest code.
//!
//! It is written from the definitions, not from the pipeline: no record, link, ledger or
//! contribution of the crate is used here, only its calendar, its sketch's bucket numbers and its
//! reading of decimals and times. Histories are cut nowhere but in
//! [`Oracle::remembered`], for what the definitions read from what is left of one.

mod activities;
mod cells;
mod forecast;
pub mod history;
mod invoices;
mod money;
mod splits;
mod stages;

use std::collections::{BTreeMap, BTreeSet};

use dealpulse::definitions::Credit;
use dealpulse::event::{Decimal, When};
use dealpulse::metric::Catalogue;

// Not every test that shares the oracle names cells.
#[allow(unused_imports)]
pub use cells::{Name, Numbers};
use history::Event;

/// Event time (µs) and sequence.
type Clock = (i64, u64);

/// One value asserted of one field: when, where first, and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Said<'e> {
    clock: Clock,
    origin: u64,
    value: Option<&'e str>,
}

pub struct Oracle<'e> {
    definitions: &'e Catalogue,
    events: &'e [Event],
}

/// A live deal, worked out.
struct Deal {
    status: &'static str,
    closed: Option<When>,
    created: When,
    dated_by_clock: bool,
    amount: i128,
    has_amount: bool,
    upsell: i128,
    currency: String,
    dims: Dims,
    account: Option<String>,
    lead: Option<String>,
}

/// A live contact, worked out.
struct Contact {
    created: When,
    dims: Dims,
    account: Option<String>,
}

type Dims = BTreeMap<String, String>;

impl<'e> Oracle<'e> {
    pub fn new(definitions: &'e Catalogue, events: &'e [Event]) -> Self {
        Oracle {
            definitions,
            events,
        }
    }

    fn ids(&self, entity: &str) -> BTreeSet<&'e str> {
        self.events
            .iter()
            .filter(|e| e.entity == entity)
            .map(|e| e.id)
            .collect()
    }

    fn of(&self, entity: &'e str, id: &'e str) -> impl Iterator<Item = &'e Event> {
        self.events
            .iter()
            .filter(move |e| e.entity == entity && e.id == id)
    }

    /// Every value asserted of a field, oldest first; of tied values the one whose first origin is
    /// greatest comes last.
    fn history(&self, entity: &'e str, id: &'e str, field: &str) -> Vec<Said<'e>> {
        let mut first: BTreeMap<(Clock, Option<&str>), u64> = BTreeMap::new();
        for event in self.of(entity, id) {
            let asserted = match (field, event.action) {
                ("deleted", "deleted") => Some(Some("yes")),
                ("deleted", "restored") => Some(None),
                (_, "deleted") => None,
                _ => event
                    .fields
                    .iter()
                    .find(|(name, _)| *name == field)
                    .map(|(_, value)| *value),
            };
            let is_reference = field.ends_with("_id") || field == "merged_into";
            let Some(value) = asserted
                .map(|value| value.filter(|text| !(is_reference && ["", "0"].contains(text))))
            else {
                continue;
            };
            let origin = first.entry((clock(event), value)).or_insert(event.offset);
            *origin = event.offset.min(*origin);
        }
        let mut history: Vec<Said<'_>> = first
            .into_iter()
            .map(|((clock, value), origin)| Said {
                clock,
                origin,
                value,
            })
            .collect();
        history.sort();
        history
    }

    /// What is left of a history: its greatest 64 clocks, and of every value before them the first
    /// and the last.
    fn remembered(&self, entity: &'e str, id: &'e str, field: &str) -> Vec<Said<'e>> {
        let (cut, kept) = self.cut(entity, id, field);
        let is_end = |said: &&Said<'e>| {
            let same = || cut.iter().filter(|other| other.value == said.value);
            same().all(|other| other.clock >= said.clock)
                || same().all(|other| other.clock <= said.clock)
        };
        cut.iter().filter(is_end).chain(&kept).copied().collect()
    }

    /// A history in two: what is cut off it and its greatest 64 clocks.
    fn cut(&self, entity: &'e str, id: &'e str, field: &str) -> (Vec<Said<'e>>, Vec<Said<'e>>) {
        let history = self.history(entity, id, field);
        let clocks: BTreeSet<Clock> = history.iter().map(|said| said.clock).collect();
        let oldest = clocks.iter().rev().nth(63).copied();
        let is_cut = |said: &Said<'e>| oldest.is_some_and(|oldest| said.clock < oldest);
        history.into_iter().partition(is_cut)
    }

    fn latest(&self, entity: &'e str, id: &'e str, field: &str) -> Option<&'e str> {
        self.history(entity, id, field).last()?.value
    }

    fn text(&self, entity: &'e str, id: &'e str, field: &str) -> String {
        self.latest(entity, id, field)
            .unwrap_or_default()
            .to_owned()
    }

    fn when(&self, entity: &'e str, id: &'e str, field: &str) -> Option<When> {
        Some(When::parse(self.latest(entity, id, field)?).expect("the history's times"))
    }

    fn decimal(&self, entity: &'e str, id: &'e str, field: &str) -> Option<i128> {
        Some(i128::from(
            Decimal::parse(self.latest(entity, id, field)?)
                .expect("the history's amounts")
                .0,
        ))
    }

    fn exists(&self, entity: &'e str, id: &'e str) -> bool {
        self.of(entity, id).next().is_some()
    }

    fn is_deleted(&self, entity: &'e str, id: &'e str) -> bool {
        self.latest(entity, id, "deleted").is_some()
    }

    fn is_live(&self, entity: &'e str, id: &'e str) -> bool {
        self.exists(entity, id) && !self.is_deleted(entity, id) && self.root(entity, id) == id
    }

    /// The earliest clock of a record's assertions.
    fn first(&self, entity: &'e str, id: &'e str) -> When {
        When::Instant(
            self.of(entity, id)
                .map(|e| clock(e).0)
                .min()
                .unwrap_or_default(),
        )
    }

    /// The end of a chain of merges; a cycle is cut at its smallest id.
    fn root(&self, entity: &'e str, id: &'e str) -> &'e str {
        let mut chain = vec![id];
        while let Some(next) = self.latest(entity, chain[chain.len() - 1], "merged_into") {
            if let Some(start) = chain.iter().position(|seen| *seen == next) {
                return chain[start..].iter().min().expect("a cycle has members");
            }
            chain.push(next);
        }
        chain[chain.len() - 1]
    }

    /// Every status a deal was said to have, oldest first. A stage says one where the source says
    /// none at its clock; among statuses that were cut off it says none. `said` is what is looked at
    /// of the statuses that were said themselves.
    fn statuses(&self, id: &'e str, said: &[Said<'e>]) -> Vec<(Clock, u64, &'static str)> {
        let word = |text: &str| {
            ["won", "lost"]
                .into_iter()
                .find(|w| *w == text)
                .unwrap_or("open")
        };
        let statuses = self.history("deal", id, "status");
        let (cut, _) = self.cut("deal", id, "status");
        let is_contradicted = |clock: Clock| {
            statuses.iter().any(|said| said.clock == clock)
                || cut.iter().any(|said| said.clock <= clock)
                    && cut.iter().any(|said| said.clock >= clock)
        };
        let mut asserted: Vec<(Clock, u64, &'static str)> = Vec::new();
        for s in self.remembered("deal", id, "stage") {
            let status = s.value.and_then(|stage| self.status_of_stage(stage));
            if let Some(status) = status.filter(|_| !is_contradicted(s.clock)) {
                asserted.push((s.clock, s.origin, word(status)));
            }
        }
        asserted.extend(
            said.iter()
                .map(|s| (s.clock, s.origin, s.value.map_or("open", word))),
        );
        asserted.sort();
        asserted
    }

    /// A deal's status and the first clock of its last unbroken run.
    fn status(&self, id: &'e str) -> (&'static str, Option<Clock>) {
        let asserted = self.statuses(id, &self.history("deal", id, "status"));
        let Some(&(_, _, status)) = asserted.last() else {
            return ("open", None);
        };
        let begin = asserted
            .iter()
            .rposition(|s| s.2 != status)
            .map_or(0, |before| before + 1);
        (status, Some(asserted[begin].0))
    }

    /// The value of a history when a deal closed; the first one if there was none by then; today's
    /// for an open deal.
    fn credited(&self, id: &'e str, field: &str, closed: Option<When>) -> String {
        let history = self.remembered("deal", id, field);
        let by_then = match (self.definitions.spec.credit, closed) {
            (Credit::AtClose, Some(closed)) => {
                let until = match closed {
                    When::Instant(at) => at,
                    When::Date(day) => self.definitions.calendar.day_start(day + 1) * 1_000_000 - 1,
                };
                history
                    .iter()
                    .rfind(|s| s.clock.0 <= until)
                    .or(history.first())
            }
            _ => history.last(),
        };
        by_then.and_then(|s| s.value).unwrap_or_default().to_owned()
    }

    /// The lead a deal is credited to: its own, else the earliest converted one naming it.
    fn lead_of(&self, deal: &'e str) -> Option<&'e str> {
        if let Some(own) = self.latest("deal", deal, "lead_id") {
            return Some(self.root("lead", own));
        }
        let naming = self.ids("lead").into_iter().filter(|lead| {
            let named = self.latest("lead", lead, "converted_deal_id");
            !self.is_deleted("lead", lead)
                && named.is_some_and(|named| self.root("deal", named) == deal)
        });
        let first = naming.min_by_key(|lead| (self.converted_at(lead), *lead))?;
        Some(self.root("lead", first))
    }

    /// When a lead was converted (µs): as stated, else since it has that status, else since it
    /// names the deal.
    fn converted_at(&self, lead: &'e str) -> i64 {
        if let Some(stated) = self.when("lead", lead, "converted_at") {
            return self.definitions.calendar.instant(stated);
        }
        let statuses = self.history("lead", lead, "status");
        if statuses
            .last()
            .is_some_and(|s| s.value == Some("converted"))
        {
            let begin = statuses
                .iter()
                .rposition(|s| s.value != Some("converted"))
                .map_or(0, |before| before + 1);
            return statuses[begin].clock.0;
        }
        self.history("lead", lead, "converted_deal_id")
            .last()
            .expect("it names the deal")
            .clock
            .0
    }

    /// The source, region, team, owner and custom fields of a record as they are today.
    fn dims(&self, entity: &'e str, id: &'e str) -> Dims {
        let mut dims = Dims::new();
        for (dimension, field) in [
            ("source", "lead_source"),
            ("region", "region"),
            ("team", "team"),
            ("owner", "owner_id"),
        ] {
            dims.insert(dimension.into(), self.text(entity, id, field));
        }
        for name in &self.definitions.custom_dimensions {
            let name = format!("custom.{name}");
            dims.insert(name.clone(), self.text(entity, id, &name));
        }
        dims
    }

    fn deal(&self, id: &'e str) -> Option<Deal> {
        if !self.is_live("deal", id) {
            return None;
        }
        let (status, since) = self.status(id);
        let stated = self.when("deal", id, "closed_at");
        let stand_in = since.map_or(self.first("deal", id), |clock| When::Instant(clock.0));
        let closed = (status != "open").then(|| stated.unwrap_or(stand_in));
        let lead = self.lead_of(id);
        let mut dims = self.dims("deal", id);
        if let Some(lead) = lead.filter(|lead| {
            dims["source"].is_empty() && self.exists("lead", lead) && !self.is_deleted("lead", lead)
        }) {
            dims.insert("source".into(), self.text("lead", lead, "lead_source"));
        }
        for field in ["product", "deal_type", "pipeline"] {
            dims.insert(field.into(), self.text("deal", id, field));
        }
        dims.insert("owner".into(), self.credited(id, "owner_id", closed));
        dims.insert("team".into(), self.credited(id, "team", closed));
        let amount = self.decimal("deal", id, "amount");
        Some(Deal {
            status,
            closed,
            created: self
                .when("deal", id, "created_at")
                .unwrap_or(self.first("deal", id)),
            dated_by_clock: self.when("deal", id, "created_at").is_none()
                || status != "open" && stated.is_none(),
            amount: amount.unwrap_or_default(),
            has_amount: amount.is_some(),
            upsell: self
                .decimal("deal", id, "upsell_amount")
                .unwrap_or_default(),
            currency: self.text("deal", id, "currency"),
            dims,
            account: self
                .latest("deal", id, "account_id")
                .map(|account| self.root("account", account).to_owned()),
            lead: lead.map(str::to_owned),
        })
    }

    /// A contact with its own owner and the region of the account it is at, if that is there.
    fn contact(&self, id: &'e str) -> Option<Contact> {
        if !self.is_live("contact", id) {
            return None;
        }
        let account = self.latest("contact", id, "account_id");
        let account = account.map(|account| self.root("account", account));
        let known = account.filter(|account| self.is_live("account", account));
        let region = known.map(|account| self.text("account", account, "region"));
        let owner = self.text("contact", id, "owner_id");
        Some(Contact {
            created: self
                .when("contact", id, "created_at")
                .unwrap_or(self.first("contact", id)),
            dims: Dims::from([
                ("owner".into(), owner),
                ("region".into(), region.unwrap_or_default()),
            ]),
            account: account.map(str::to_owned),
        })
    }
}

fn clock(event: &Event) -> Clock {
    let Some(When::Instant(time)) = When::parse(event.time) else {
        panic!("the history's times")
    };
    (time, event.sequence)
}
