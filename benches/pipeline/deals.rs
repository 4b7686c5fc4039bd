//! The deal workload: deals that move through their stages, each event the row image of its deal
//! with all its fields.
//!
//! Many deals are open at a time and their events come interleaved. Everything follows from the
//! number of the deal, so that the same sizes are the same bytes on every machine.

use std::fmt::Write;

use dealpulse::local::generate::GeneratedEvent;

/// Events of a deal.
pub const EVENTS_A_DEAL: usize = 10;

/// 2025-01-01T00:00:00Z in seconds.
const START: i64 = 1_735_689_600;
const DAY: i64 = 86_400;
const OWNERS: u64 = 300;
const TEAMS: u64 = 24;
const REGIONS: u64 = 12;
const PRODUCTS: u64 = 36;
const CURRENCIES: [&str; 3] = ["EUR", "USD", "JPY"];
const SOURCES: [&str; 6] = ["web", "event", "partner", "outbound", "referral", "ads"];
const TYPES: [&str; 4] = ["new", "upsell", "cross_sell", "renewal"];
/// A stage with its probability.
const STAGES: [(&str, &str); 5] = [
    ("lead_in", "0.1"),
    ("contact", "0.2"),
    ("demo", "0.4"),
    ("proposal", "0.6"),
    ("contract", "0.8"),
];

/// So many deals with so many events each, in the order of time.
pub fn workload(deals: usize, events_a_deal: usize) -> Vec<GeneratedEvent> {
    let accounts = (deals as u64 * 3 / 10).max(1);
    let mut events = Vec::with_capacity(deals * events_a_deal);
    for deal in 0..deals as u64 {
        life(deal, accounts, events_a_deal, &mut events);
    }
    events.sort_by_key(|event| event.emitted_at);
    events
}

/// Won deals, one event each, that name the same other record: `reference` is the field that does,
/// as JSON.
pub fn won(deals: usize, reference: &str) -> Vec<GeneratedEvent> {
    let won = |deal: u64| {
        let mut random = Random(deal);
        let created = START + random.below(600 * DAY as u64) as i64;
        let (product, amount) = (random.below(PRODUCTS), 500 + random.below(100_000));
        let mut json = envelope("deal", &format!("d{deal}"), created + 20 * DAY);
        let _ = write!(
            json,
            r#"{{{reference},"owner_id":"u{}","team":"t{}","region":"r{}","stage":"won","status":"won","amount":"{amount}.00","currency":"EUR","product":"p{product}","created_at":"{}","closed_at":"{}"}}}}"#,
            deal % OWNERS,
            deal % TEAMS,
            deal % REGIONS,
            instant(created),
            instant(created + 20 * DAY)
        );
        event(format!("d{deal}"), created, json)
    };
    (0..deals as u64).map(won).collect()
}

/// Monthly payments over fifty years, one event each, by the same account.
pub fn payments(payments: usize, account: &str) -> Vec<GeneratedEvent> {
    let payment = |payment: u64| {
        let paid = START - (payment % 600) as i64 * 30 * DAY;
        let amount = 50 + Random(payment).below(500);
        let mut json = envelope("payment", &format!("p{payment}"), START);
        let _ = write!(
            json,
            r#"{{"account_id":"{account}","kind":"recurring","amount":"{amount}.00","currency":"EUR","paid_at":"{}","margin":0.8}}}}"#,
            instant(paid)
        );
        event(format!("p{payment}"), START, json)
    };
    (0..payments as u64).map(payment).collect()
}

/// The record that won deals name.
pub fn target(entity: &str, id: &str) -> GeneratedEvent {
    let mut json = envelope(entity, id, START);
    let _ = write!(json, r#"{{"created_at":"{}"}}}}"#, instant(START));
    event(id.to_owned(), START, json)
}

/// All events of one deal.
fn life(deal: u64, accounts: u64, events: usize, out: &mut Vec<GeneratedEvent>) {
    let mut random = Random(deal);
    let created = START + random.below(300 * DAY as u64) as i64;
    let length = DAY * (20 + random.below(70) as i64);
    let (account, product) = (random.below(accounts), random.below(PRODUCTS));
    let (source, kind) = (
        SOURCES[random.below(6) as usize],
        TYPES[random.below(4) as usize],
    );
    let currency = CURRENCIES[random.below(10).saturating_sub(7) as usize];
    let lead = if deal.is_multiple_of(3) {
        format!(r#""lead_id":"l{deal}","#)
    } else {
        String::new()
    };
    let mut owner = random.below(OWNERS);
    let mut amount = 500 + random.below(100_000);
    let mut entered = created;
    // Six of ten are closed in the end, a little more than half of these won.
    let outcome = match random.below(100) {
        0..33 => "won",
        33..60 => "lost",
        _ => "open",
    };
    for number in 0..events {
        let is_last = number + 1 == events;
        let at = created + length * number as i64 / events as i64 + random.below(3_600) as i64;
        let step = number * STAGES.len() / events;
        if number > 0 && random.below(10) < 3 {
            amount = amount * (80 + random.below(40)) / 100;
        }
        if number > 0 && random.below(100) < 3 {
            owner = random.below(OWNERS);
        }
        if step != number.saturating_sub(1) * STAGES.len() / events {
            entered = at;
        }
        let is_closed = is_last && outcome != "open";
        let (stage, probability) = match (is_closed, outcome) {
            (true, "won") => ("won", "1"),
            (true, _) => ("lost", "0"),
            _ => STAGES[step],
        };
        let status = if is_closed { outcome } else { "open" };
        let team = owner % TEAMS;
        let mut json = envelope("deal", &format!("d{deal}"), at);
        let _ = write!(
            json,
            r#"{{"name":"Deal {deal}","account_id":"a{account}",{lead}"lead_source":"{source}","owner_id":"u{owner}","team":"t{team}","region":"r{}","stage":"{stage}","stage_entered_at":"{}","status":"{status}","probability":{probability},"amount":"{amount}.00","currency":"{currency}","product":"p{product}","deal_type":"{kind}","created_at":"{}","expected_close_date":"{}""#,
            team % REGIONS,
            date(entered),
            date(created),
            date(created + length),
        );
        if is_closed {
            let _ = write!(json, r#","closed_at":"{}""#, instant(at));
        }
        json.push_str("}}");
        out.push(event(format!("d{deal}"), at, json));
    }
}

/// A CloudEvent up to its data.
fn envelope(entity: &str, id: &str, at: i64) -> String {
    let mut json = String::with_capacity(560);
    let _ = write!(
        json,
        r#"{{"specversion":"1.0","id":"{id}","source":"crm","type":"crm.{entity}.upserted","subject":"{id}","time":"{}","data":"#,
        instant(at)
    );
    json
}

fn event(key: String, at: i64, json: String) -> GeneratedEvent {
    GeneratedEvent {
        key,
        emitted_at: at * 1_000_000,
        payload: json.into_bytes(),
    }
}

fn time(seconds: i64) -> chrono::DateTime<chrono::Utc> {
    chrono::DateTime::from_timestamp(seconds, 0).expect("a time of these years")
}

fn instant(seconds: i64) -> String {
    time(seconds).format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn date(seconds: i64) -> String {
    time(seconds).format("%Y-%m-%d").to_string()
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014): one
/// sequence a deal.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((u128::from(mixed ^ (mixed >> 31)) * u128::from(bound)) >> 64) as u64
    }
}
