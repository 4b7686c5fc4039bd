//! What the generator promises: the same bytes for a seed, order, every fault, sound references,
//! bounded memory.

mod draws;
mod entities;

use super::calendar::HOUR;
use super::*;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use xxhash_rust::xxh3::Xxh3;

fn config(deals: u64, faults: Faults) -> GeneratorConfig {
    GeneratorConfig {
        deals,
        faults,
        ..GeneratorConfig::default()
    }
}

fn hash(config: GeneratorConfig) -> (u64, u64) {
    let mut hasher = Xxh3::new();
    let mut events = 0;
    for event in Generator::new(config) {
        events += 1;
        hasher.update(event.key.as_bytes());
        hasher.update(&event.emitted_at.to_le_bytes());
        hasher.update(&event.payload);
    }
    (events, hasher.digest())
}

/// An event as a reader sees it.
struct Read {
    key: String,
    emitted_at: i64,
    /// Unix microseconds.
    time: i64,
    sequence: u64,
    kind: String,
    json: Value,
}

impl Read {
    fn data(&self, field: &str) -> Option<&str> {
        self.json["data"][field].as_str()
    }
}

fn read(config: GeneratorConfig) -> Vec<Read> {
    Generator::new(config)
        .map(|event| {
            let json: Value = serde_json::from_slice(&event.payload).unwrap();
            let time: DateTime<Utc> = json["time"].as_str().unwrap().parse().unwrap();
            assert_eq!(json["subject"], event.key.as_str());
            Read {
                key: event.key,
                emitted_at: event.emitted_at,
                time: time.timestamp_micros(),
                sequence: json["sequence"].as_str().unwrap().parse().unwrap(),
                kind: json["type"].as_str().unwrap().to_string(),
                json,
            }
        })
        .collect()
}

fn held_back(event: &Read) -> i64 {
    (event.emitted_at - event.time) / 1000
}

/// The figures change whenever the organisation is made to behave otherwise; then they have to be
/// updated.
#[test]
fn gives_the_same_bytes_for_a_seed_on_every_machine() {
    assert_eq!(
        hash(config(500, Faults::default())),
        (11_180, 13_797_099_990_424_055_300)
    );
}

#[test]
fn gives_another_stream_for_another_seed() {
    let one = config(100, Faults::default());
    let other = GeneratorConfig {
        seed: 2,
        ..one.clone()
    };
    assert_eq!(hash(one.clone()), hash(one.clone()));
    assert_ne!(hash(one).1, hash(other).1);
}

#[test]
fn publishes_in_order_within_the_period_and_never_before_it_happened() {
    let config = config(1000, Faults::default());
    let (start, end) = (
        config.start.timestamp_micros(),
        config.end.timestamp_micros(),
    );
    let events = read(config);
    assert!(events.is_sorted_by_key(|event| event.emitted_at));
    for event in &events {
        assert!((start..end).contains(&event.emitted_at));
        assert!(event.time < event.emitted_at, "{}", event.json);
    }
}

#[test]
fn makes_about_as_many_deals_as_asked_for() {
    for asked in [300, 3000] {
        let events = read(config(asked, Faults::none()));
        let deals: HashSet<&str> = events
            .iter()
            .filter(|e| e.kind == "crm.deal.upserted")
            .map(|e| e.key.as_str())
            .collect();
        let made = deals.len() as u64;
        assert!(
            (asked * 85 / 100..asked * 115 / 100).contains(&made),
            "{made} for {asked}"
        );
    }
}

#[test]
fn accounts_have_a_few_contacts_who_come_over_the_whole_time() {
    let config = config(1000, Faults::none());
    let (start, end) = (
        config.start.timestamp_micros(),
        config.end.timestamp_micros(),
    );
    let events = read(config);
    let mut contacts = HashMap::<&str, usize>::new();
    let mut by_quarter = [0; 4];
    for event in events.iter().filter(|e| e.kind == "crm.contact.upserted") {
        by_quarter[((event.time - start) * 4 / (end - start)) as usize] += 1;
        *contacts
            .entry(event.data("account_id").unwrap_or_default())
            .or_default() += 1;
    }
    assert!(by_quarter.iter().all(|n| *n > 100), "{by_quarter:?}");
    assert!(contacts.remove("").is_some_and(|without| without > 50));
    let accounts: HashSet<&str> = events
        .iter()
        .filter(|e| e.kind == "crm.account.upserted")
        .map(|e| e.key.as_str())
        .collect();
    let with = contacts.len() * 100 / accounts.len();
    assert!((60..95).contains(&with), "{with} % have a contact");
    assert!(contacts.values().all(|n| *n < 20));
}

#[test]
fn every_fault_occurs_by_default() {
    let events = read(config(3000, Faults::default()));
    let mut seen = BTreeMap::<&str, usize>::new();
    let mut count = |fault| *seen.entry(fault).or_default() += 1;
    let mut ids = HashSet::new();
    let mut greatest = HashMap::<&str, u64>::new();
    // A deal's last known status, by the order in which things happened.
    let mut status = HashMap::<&str, &str>::new();
    let mut by_time: Vec<&Read> = events.iter().collect();
    by_time.sort_by_key(|event| event.sequence);

    for event in &events {
        if !ids.insert(event.json["id"].as_str().unwrap()) {
            count("duplicate");
        } else if held_back(event) > HOUR {
            count("late");
        } else if held_back(event) > 15_000 {
            count("disordered");
        }
        let last = greatest.entry(&event.key).or_default();
        if event.sequence < *last {
            count("overtaken");
        }
        *last = event.sequence.max(*last);
    }
    for event in by_time
        .iter()
        .filter(|event| event.kind == "crm.deal.upserted")
    {
        let before = status.get(event.key.as_str()).copied().unwrap_or("open");
        let now = event.data("status");
        match (before, now) {
            ("won", Some("open")) => count("reopened when won"),
            ("lost", Some("open")) => count("reopened when lost"),
            ("won" | "lost", None) if event.data("amount").is_some() => count("corrected amount"),
            ("won" | "lost", None) if event.data("closed_at").is_some() => count("corrected date"),
            _ => {}
        }
        status.insert(&event.key, now.unwrap_or(before));
    }
    let faults: Vec<&str> = seen.keys().copied().collect();
    let all = [
        "corrected amount",
        "corrected date",
        "disordered",
        "duplicate",
        "late",
        "overtaken",
        "reopened when lost",
        "reopened when won",
    ];
    assert_eq!(faults, all);
    let per_mille = |fault| seen[fault] * 1000 / events.len();
    assert!((15..25).contains(&per_mille("late")));
    assert!((6..14).contains(&per_mille("duplicate")));
}

#[test]
fn a_sound_feed_is_in_time_in_order_and_final() {
    let events = read(config(1000, Faults::none()));
    let mut closed = HashSet::new();
    for pair in events.windows(2) {
        assert_eq!(pair[0].sequence + 1, pair[1].sequence);
    }
    for event in &events {
        assert!(held_back(event) < 10_000, "{}", event.json);
        if matches!(event.data("status"), Some("won" | "lost")) {
            assert!(closed.insert(&event.key), "{} closes twice", event.key);
        }
        let is_closed = closed.contains(&event.key);
        assert!(!is_closed || event.data("status") != Some("open"));
        assert!(!is_closed || event.data("status").is_some() || event.data("amount").is_none());
    }
}

#[test]
fn refers_only_to_what_has_been_announced() {
    let events = read(config(2000, Faults::none()));
    let mut known = HashSet::new();
    let mut promised = BTreeSet::new();
    for event in &events {
        known.insert(event.key.as_str());
        promised.remove(event.key.as_str());
        for field in [
            "account_id",
            "contact_id",
            "deal_id",
            "invoice_id",
            "lead_id",
            "manager_id",
            "merged_into",
            "owner_id",
        ] {
            if let Some(id) = event.data(field) {
                assert!(known.contains(id), "{}", event.json);
                assert_ne!(id, event.key);
            }
        }
        // The deal a lead becomes is published right after the lead's conversion.
        promised.extend(event.data("converted_deal_id"));
    }
    assert!(promised.len() <= 1, "{promised:?}");
}

#[test]
fn shows_the_kinds_of_record_that_metrics_stumble_over() {
    let events = read(config(3000, Faults::default()));
    let deals_with_lead: HashSet<&str> = events
        .iter()
        .filter(|e| e.data("lead_id").is_some())
        .map(|e| e.key.as_str())
        .collect();
    let mut seen = BTreeSet::new();
    for event in &events {
        let data = event.json["data"].as_object().unwrap();
        let is_new = data.contains_key("expected_close_date") && data.contains_key("name");
        seen.insert(event.kind.clone());
        for field in [
            "lead_source",
            "currency",
            "deal_type",
            "status",
            "lost_reason",
        ] {
            if let Some(value) = event.data(field) {
                seen.insert(format!("{field} {value}"));
            }
        }
        for (field, value) in data.iter().filter(|(field, _)| field.ends_with("_at")) {
            let form = match value {
                Value::Null => "null",
                Value::Number(_) => "epoch",
                Value::String(text) if text.len() == 10 => "date",
                _ => "instant",
            };
            seen.insert(format!("{field} {form}"));
        }
        let mut note = |condition: bool, what: &str| {
            if condition {
                seen.insert(what.to_string());
            }
        };
        note(
            is_new && event.data("account_id").is_none(),
            "deal without account",
        );
        note(
            is_new && event.data("deal_type").is_none(),
            "deal without type",
        );
        note(
            event.data("owner_id").is_some() && event.kind.contains("deal") && !is_new,
            "handover",
        );
        note(event.data("upsell_amount").is_some(), "upsell amount");
        if event.kind == "crm.contact.upserted" {
            let (owner, account) = (event.data("owner_id"), event.data("account_id"));
            note(account.is_none(), "contact without account");
            note(owner.is_none(), "contact whose account is known later");
            let is_dated = data.contains_key("created_at");
            note(owner.is_some() && !is_dated, "contact without a date");
        }
        note(data.contains_key("custom"), "custom");
        if let Some(deal) = event.data("converted_deal_id") {
            note(
                !deals_with_lead.contains(deal),
                "deal known by its lead only",
            );
        }
        let is_converted = event.data("status") == Some("converted");
        note(
            is_converted && event.data("converted_deal_id").is_none(),
            "lead known by its deal only",
        );
    }
    for expected in [
        "crm.lead.upserted",
        "crm.lead.deleted",
        "crm.lead.restored",
        "crm.lead.merged",
        "crm.deal.upserted",
        "crm.deal.deleted",
        "crm.deal.restored",
        "crm.account.upserted",
        "crm.account.merged",
        "crm.contact.upserted",
        "crm.contact.deleted",
        "crm.activity.upserted",
        "crm.activity.deleted",
        "crm.invoice.upserted",
        "crm.payment.upserted",
        "crm.payment.deleted",
        "crm.quota.upserted",
        "crm.rate.upserted",
        "crm.split.upserted",
        "crm.split.deleted",
        "crm.team.upserted",
        "crm.user.upserted",
        "lead_source ",
        "lead_source unknown",
        "lead_source website",
        "currency EUR",
        "currency USD",
        "currency JPY",
        "deal_type new",
        "deal_type upsell",
        "deal_type cross_sell",
        "deal_type renewal",
        "closed_at null",
        "closed_at epoch",
        "closed_at date",
        "closed_at instant",
        "created_at epoch",
        "became_customer_at date",
        "churned_at instant",
        "deal without account",
        "deal without type",
        "contact without account",
        "contact without a date",
        "contact whose account is known later",
        "handover",
        "upsell amount",
        "custom",
        "deal known by its lead only",
        "lead known by its deal only",
    ] {
        assert!(seen.contains(expected), "no {expected}");
    }
}

#[test]
fn keeps_only_what_is_open_in_memory() {
    let most_waiting = |years: i64| {
        let mut generator = Generator::new(GeneratorConfig {
            end: GeneratorConfig::default().start + TimeDelta::days(365 * years),
            ..config(2_000 * years as u64, Faults::default())
        });
        let (mut events, mut most, mut most_but_subscriptions) = (0, 0, 0);
        while generator.next().is_some() {
            events += 1;
            let world = &generator.world;
            most = world.waiting().max(most);
            // Each has its place and its task.
            let but_subscriptions = world.waiting() - 2 * world.subscriptions.len();
            most_but_subscriptions = but_subscriptions.max(most_but_subscriptions);
        }
        (events, most, most_but_subscriptions)
    };
    let (events, most, after_four_years) = most_waiting(4);
    assert!(most < events / 40, "{most} waiting of {events}");
    // Customers who stay add up; all else that is open grows with the business, not with its past.
    let (_, _, after_eight) = most_waiting(8);
    assert!(
        after_eight < after_four_years * 5 / 4,
        "{after_eight} waiting after eight years, {after_four_years} after four"
    );
}

#[test]
fn lives_with_nothing_to_do() {
    let start = GeneratorConfig::default().start;
    let backwards = GeneratorConfig {
        end: start - TimeDelta::days(1),
        ..config(10, Faults::none())
    };
    assert_eq!(Generator::new(backwards).count(), 0);
    let empty = GeneratorConfig {
        end: start,
        ..config(10, Faults::none())
    };
    assert_eq!(Generator::new(empty).count(), 0);
    // Nothing is sold, but there are staff with quotas, exchange rates and the one customer of old.
    let idle = read(config(0, Faults::none()));
    assert!(idle.iter().all(|event| event.data("status").is_none()));
    assert!(idle.len() < 1200, "{}", idle.len());
    let always = Faults {
        late: 1000,
        disordered: 1000,
        duplicate: 1000,
        corrected: 1000,
        reopened: 1000,
    };
    assert!(Generator::new(config(50, always)).count() > 100);
}

#[test]
fn keeps_to_the_currencies_it_is_given() {
    for (given, expected) in [(vec![], "EUR"), (vec![Currency::Usd], "USD")] {
        let events = read(GeneratorConfig {
            currencies: given,
            ..config(100, Faults::none())
        });
        let used: HashSet<&str> = events
            .iter()
            .filter_map(|event| event.data("currency"))
            .collect();
        assert_eq!(used, HashSet::from([expected]));
    }
}
