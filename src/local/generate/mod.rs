//! A believable sales organisation from a seed: what its CRM would have published, as canonical
//! events in the order in which they come out, with the faults real feeds have.
//!
//! It speaks of every kind of record: who sells and what they are to sell, leads, deals and how
//! they are split, accounts and contacts, what is done for them, what is invoiced and paid, and
//! what the currencies cost.
//!
//! The organisation is played forward hour by hour. What is still to happen waits in one queue,
//! what has happened and is not yet published in another, so the memory taken is that of the open
//! leads and deals, the planned activities, the unpaid invoices and the running subscriptions (and
//! a few bytes an account), not of the stream. Everything is whole-number arithmetic on one random
//! sequence: a seed means the same bytes on every machine.

mod account;
mod activity;
mod billing;
mod calendar;
mod company;
mod contact;
mod deal;
mod deal_life;
mod event;
mod field_value;
mod label;
mod lead;
mod plan;
mod quota;
mod random;
mod rate;
mod split;
mod stage;
mod subscription;
#[cfg(test)]
mod tests;
mod user;
mod world;

pub use company::Currency;
pub use deal::stage_order;

use chrono::{DateTime, TimeDelta, Utc};
use world::World;

/// What to generate.
#[derive(Debug, Clone)]
pub struct GeneratorConfig {
    /// The same seed and configuration give the same bytes.
    pub seed: u64,
    /// About how many deals are created between start and end, at most some hundred millions; leads
    /// (about four and a half a deal), accounts, contacts, activities, invoices and payments follow
    /// from it. Staff, quotas, stages and exchange rates don't depend on it.
    pub deals: u64,
    /// When the stream begins. There are staff, customers and subscriptions by then, and no open
    /// deals.
    pub start: DateTime<Utc>,
    /// When it ends: nothing is published at or after this.
    pub end: DateTime<Utc>,
    /// What goes wrong on the way out of the CRM and inside it.
    pub faults: Faults,
    /// The currencies deals are in; regions prefer their own. None means euro. If there are
    /// several, each but the euro has an exchange rate.
    pub currencies: Vec<Currency>,
}

impl Default for GeneratorConfig {
    /// A thousand deals in the year 2025, with the usual faults.
    fn default() -> Self {
        let start = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::days(20_089);
        Self {
            seed: 1,
            deals: 1000,
            start,
            end: start + TimeDelta::days(365),
            faults: Faults::default(),
            currencies: vec![Currency::Eur, Currency::Usd, Currency::Jpy],
        }
    }
}

/// How much goes wrong, each in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// Events published hours to days after they happened.
    pub late: u32,
    /// Events held back for some seconds or minutes, so that later ones overtake them.
    pub disordered: u32,
    /// Events published twice, byte for byte.
    pub duplicate: u32,
    /// Closed deals whose amount or close date is corrected afterwards, and quotas (of payments,
    /// half as many).
    pub corrected: u32,
    /// Won deals that are opened again, then lost or won once more (and a third as many of the lost
    /// ones).
    pub reopened: u32,
}

impl Faults {
    /// A feed that never fails: events come in time, once, and a close is final.
    pub const fn none() -> Self {
        Self {
            late: 0,
            disordered: 0,
            duplicate: 0,
            corrected: 0,
            reopened: 0,
        }
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            late: 20,
            disordered: 20,
            duplicate: 10,
            corrected: 40,
            reopened: 30,
        }
    }
}

/// One message as the CRM's feed would have published it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedEvent {
    /// The entity's id, which is the Kafka key.
    pub key: String,
    /// When it was published, in unix microseconds. Not when it happened: that is inside.
    pub emitted_at: i64,
    /// One structured CloudEvents JSON document.
    pub payload: Vec<u8>,
}

/// The stream, in the order of publication.
pub struct Generator {
    world: World,
    /// Unix microseconds.
    end: i64,
}

impl Generator {
    /// Founds the organisation. An end at or before the start gives no events.
    pub fn new(config: GeneratorConfig) -> Self {
        let end = config.end.timestamp_micros();
        Self {
            world: World::new(config),
            end,
        }
    }
}

impl Iterator for Generator {
    type Item = GeneratedEvent;

    fn next(&mut self) -> Option<GeneratedEvent> {
        self.world
            .next_published()
            .filter(|event| event.emitted_at < self.end)
    }
}
