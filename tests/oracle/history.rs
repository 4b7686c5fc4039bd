//! Histories: events of very few records in very few moments, so that everything that can collide
//! does.

use proptest::prelude::*;
use serde_json::{Map, Value as Json};

/// One event of a source: its content, its time, and where it was read first.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub entity: &'static str,
    pub id: &'static str,
    /// `upserted`, `deleted`, `restored`, `merged`.
    pub action: &'static str,
    pub time: &'static str,
    pub sequence: u64,
    /// The offset it was first read at; what breaks ties between values of one clock.
    pub offset: u64,
    /// Field and value; `None` clears.
    pub fields: Vec<(&'static str, Option<&'static str>)>,
}

type Values = &'static [Option<&'static str>];

/// Around midnight and the change to summer time in Berlin; few, so that clocks tie.
const TIMES: [&str; 6] = [
    "2026-01-31T22:30:00Z",
    "2026-01-31T23:30:00Z",
    "2026-02-10T10:00:00Z",
    "2026-03-03T10:00:00Z",
    "2026-03-29T00:30:00Z",
    "2026-03-29T01:30:00Z",
];
/// Instants, dates that make whole-day spans, an undated time, and nothing.
const WHENS: Values = &[
    Some("2026-01-31T23:10:00Z"),
    Some("2026-02-01"),
    Some("2026-02-10T10:00:00Z"),
    Some("2026-03-03"),
    Some("2026-03-28T23:59:59Z"),
    Some("2026-03-29"),
    None,
    Some("1969-07-20"),
];
const SOURCES: Values = &[Some("web"), Some("fair"), None];
const OWNERS: Values = &[Some("u1"), Some("u2"), None];
const TEAMS: Values = &[Some("t1"), Some("t2")];
const REGIONS: Values = &[Some("north"), None];
const TIERS: Values = &[Some("gold"), None];
const LEADS: Values = &[Some("L1"), Some("L2"), Some("L3"), None];
const DEALS: Values = &[Some("D1"), Some("D2"), Some("D3"), None, Some("")];
const ACCOUNTS: Values = &[Some("A1"), Some("A2"), Some("A3"), None, Some("0")];
const CONTACTS: Values = &[Some("C1"), Some("C2"), Some("C3"), None];
const INVOICES: Values = &[Some("I1"), Some("I2"), Some("I3"), None];
const AMOUNTS: Values = &[
    Some("100"),
    Some("250.5"),
    Some("-3"),
    Some("100"),
    Some("0"),
    None,
];

const LEAD: &[(&str, Values)] = &[
    (
        "status",
        &[
            Some("converted"),
            Some("open"),
            Some("qualified"),
            Some("disqualified"),
            None,
        ],
    ),
    ("converted_deal_id", DEALS),
    ("created_at", WHENS),
    ("converted_at", WHENS),
    ("lead_source", SOURCES),
    ("owner_id", OWNERS),
    ("team", TEAMS),
    ("region", REGIONS),
    ("qualified_at", WHENS),
    ("custom.tier", TIERS),
    ("merged_into", LEADS),
];
const DEAL: &[(&str, Values)] = &[
    (
        "status",
        &[Some("won"), Some("won"), Some("lost"), Some("open"), None],
    ),
    ("account_id", ACCOUNTS),
    ("lead_id", LEADS),
    ("closed_at", WHENS),
    ("created_at", WHENS),
    ("amount", AMOUNTS),
    ("currency", &[Some("EUR"), Some("USD"), None]),
    ("product", &[Some("p1"), Some("p2"), None]),
    (
        "deal_type",
        &[
            Some("upsell"),
            Some("cross_sell"),
            Some("renewal"),
            Some("new"),
            None,
        ],
    ),
    ("owner_id", OWNERS),
    ("team", TEAMS),
    (
        "stage",
        &[
            Some("onboarding"),
            Some("talks"),
            Some("dropped"),
            Some("unmapped"),
            Some("offer"),
            None,
        ],
    ),
    (
        "forecast_category",
        &[
            Some("Best Case"),
            Some("commit"),
            Some("sure"),
            Some("Omitted"),
            Some("guess"),
            Some("pipeline"),
            None,
        ],
    ),
    ("lost_reason", &[Some("price"), Some("no budget"), None]),
    ("expected_close_date", WHENS),
    ("probability", &[Some("0.25"), Some("0.9"), Some("0"), None]),
    ("lead_source", SOURCES),
    ("upsell_amount", AMOUNTS),
    ("region", REGIONS),
    ("custom.tier", TIERS),
    ("merged_into", DEALS),
];
/// What the CRM's own table of stages says, some of it against the definitions.
const STAGE: &[(&str, Values)] = &[
    (
        "status",
        &[Some("won"), Some("lost"), Some("open"), Some("won"), None],
    ),
    ("probability", &[Some("0.6"), Some("0.05"), None]),
    ("stage", &[Some("offer"), Some("talks"), Some(""), None]),
    ("name", &[Some("Offer"), Some("Angebot"), None]),
];
const ACCOUNT: &[(&str, Values)] = &[
    ("became_customer_at", WHENS),
    ("churned_at", WHENS),
    ("merged_into", ACCOUNTS),
    ("region", REGIONS),
    ("owner_id", OWNERS),
];
const CONTACT: &[(&str, Values)] = &[
    ("account_id", ACCOUNTS),
    ("created_at", WHENS),
    ("owner_id", OWNERS),
    ("merged_into", CONTACTS),
];
/// Mostly recurring, and by few, so that some come again in the next month.
const PAYMENT: &[(&str, Values)] = &[
    (
        "kind",
        &[
            Some("recurring"),
            Some("recurring"),
            Some("recurring"),
            Some("recurring"),
            Some("one_off"),
            Some("refund"),
            Some("credit"),
            None,
        ],
    ),
    (
        "account_id",
        &[
            Some("A1"),
            Some("A1"),
            Some("A1"),
            Some("A1"),
            Some("A2"),
            None,
        ],
    ),
    (
        "amount",
        &[
            Some("100"),
            Some("250.5"),
            Some("250.5"),
            Some("-3"),
            Some("0"),
        ],
    ),
    ("paid_at", WHENS),
    ("invoice_id", INVOICES),
    ("currency", &[Some("EUR"), Some("EUR"), Some("USD"), None]),
    ("margin", &[Some("0.25"), Some("0.3333"), Some("1"), None]),
];

const QUOTA: &[(&str, Values)] = &[
    ("target", AMOUNTS),
    ("period_start", WHENS),
    ("period_end", WHENS),
    ("currency", &[Some("EUR"), Some("USD"), None]),
    ("owner_id", OWNERS),
    ("team", TEAMS),
];
/// Mostly of one deal, and of shares of which two or three add up to one.
const SPLIT: &[(&str, Values)] = &[
    (
        "deal_id",
        &[
            Some("D1"),
            Some("D1"),
            Some("D1"),
            Some("D1"),
            Some("D2"),
            Some("D3"),
            None,
        ],
    ),
    (
        "share",
        &[
            Some("0.5"),
            Some("0.5"),
            Some("0.5"),
            Some("0.3333"),
            Some("0.6667"),
            Some("1"),
            Some("0"),
            None,
        ],
    ),
    ("owner_id", &[Some("u1"), Some("u2"), Some("u3"), None]),
];
const ACTIVITY: &[(&str, Values)] = &[
    (
        "kind",
        &[
            Some("call"),
            Some("email"),
            Some("meeting"),
            Some("demo"),
            Some("task"),
            Some("note"),
            None,
        ],
    ),
    ("done_at", WHENS),
    ("contact_id", CONTACTS),
    ("owner_id", OWNERS),
    ("done", &[Some("true"), Some("false"), None]),
    ("due_at", WHENS),
];
const INVOICE: &[(&str, Values)] = &[
    (
        "status",
        &[
            Some("issued"),
            Some("paid"),
            Some("paid"),
            Some("draft"),
            Some("cancelled"),
            None,
        ],
    ),
    ("issued_at", WHENS),
    ("amount", AMOUNTS),
    ("paid_at", WHENS),
    ("due_at", WHENS),
    ("owner_id", OWNERS),
    ("currency", &[Some("EUR"), Some("USD"), None]),
    ("merged_into", INVOICES),
];

/// What field values say: entity, record, field, value. Few, so that they meet, and meet what the
/// records' own events say.
const FIELD_VALUES: [(&str, &str, &str, Option<&str>); 16] = [
    ("deal", "D1", "amount", Some("100")),
    ("deal", "D1", "amount", Some("250.5")),
    ("deal", "D1", "amount", None),
    ("deal", "D2", "amount", Some("100")),
    ("deal", "D1", "status", Some("won")),
    ("deal", "D2", "status", Some("lost")),
    ("deal", "D2", "stage", Some("talks")),
    ("deal", "D1", "account_id", Some("A1")),
    ("deal", "D2", "account_id", Some("A2")),
    ("deal", "D3", "closed_at", Some("2026-03-03")),
    ("deal", "D3", "owner_id", Some("u2")),
    ("deal", "D1", "custom.tier", Some("gold")),
    ("lead", "L1", "lead_source", Some("fair")),
    ("lead", "L2", "status", Some("converted")),
    ("lead", "L2", "converted_deal_id", Some("D1")),
    ("account", "A1", "became_customer_at", Some("2026-02-01")),
];

/// The events with those that follow from field values: each says its value of the record it is
/// about, and at the same time clears every other field that the field value says by then.
pub fn with_derived(events: &[Event]) -> Vec<Event> {
    let clock = |event: &Event| (event.time, event.sequence);
    let said = |event: &Event| -> Option<[&'static str; 3]> {
        let text = |name| event.fields.iter().find(|(known, _)| *known == name)?.1;
        let said = [text("entity")?, text("record_id")?, text("field")?];
        (event.action != "deleted").then_some(said)
    };
    let derived = |from: &Event, [entity, id, field]: [&'static str; 3], value| Event {
        entity,
        id,
        action: "upserted",
        fields: vec![(field, value)],
        ..from.clone()
    };
    let mut all = events.to_vec();
    let values = || events.iter().filter(|event| event.entity == "field_value");
    for event in values() {
        if let Some(own) = said(event) {
            let value = event.fields.iter().find(|(name, _)| *name == "value");
            all.push(derived(event, own, value.expect("it says one").1));
        }
        // The times are all in one form, so that texts are in their order.
        let by_then = values().filter(|e| e.id == event.id && clock(e) <= clock(event));
        for other in by_then.filter_map(said) {
            if said(event) != Some(other) {
                all.push(derived(event, other, None));
            }
        }
    }
    all
}

impl Event {
    /// The event with the fields `keep` chooses, as a line of JSON.
    pub fn line(&self, keep: impl Fn(usize) -> bool) -> String {
        let (mut data, mut custom) = (Map::new(), Map::new());
        for (_, (name, value)) in self.fields.iter().enumerate().filter(|(i, _)| keep(*i)) {
            let value = value.map_or(Json::Null, Json::from);
            match name.strip_prefix("custom.") {
                Some(name) => custom.insert(name.to_owned(), value),
                None => data.insert((*name).to_owned(), value),
            };
        }
        if !custom.is_empty() {
            data.insert("custom".into(), custom.into());
        }
        let kind = format!("crm.{}.{}", self.entity, self.action);
        let (id, subject, sequence) = (self.offset.to_string(), self.id, self.sequence);
        serde_json::json!({"specversion": "1.0", "id": id, "type": kind, "subject": subject, "time": self.time, "sequence": sequence, "data": data})
            .to_string()
    }
}

/// Up to `most` events of three records of each kind.
pub fn histories(most: usize) -> impl Strategy<Value = Vec<Event>> {
    let of =
        |entity: &'static str, ids: [&'static str; 3], table: &'static [(&'static str, Values)]| {
            let action =
                prop_oneof![20 => Just("upserted"), 1 => Just("deleted"), 1 => Just("restored")];
            // The square root of a uniform number is more often near the table's start, where the
            // most important fields are.
            let field = (0.0..1.0f64, 0usize..40).prop_map(move |(at, value)| {
                let (name, values) =
                    table[((1.0 - (1.0 - at).sqrt()) * table.len() as f64) as usize % table.len()];
                (name, values[value % values.len()])
            });
            (
                prop::sample::select(ids.to_vec()),
                0..TIMES.len(),
                prop_oneof![9 => Just(0u64), 1 => Just(1)],
                action,
                prop::collection::vec(field, 0..10),
            )
                .prop_map(move |(id, time, sequence, action, said)| {
                    let mut fields: Vec<(&'static str, Option<&'static str>)> = Vec::new();
                    for (name, value) in said {
                        if fields.iter().all(|(known, _)| *known != name) {
                            fields.push((name, value));
                        }
                    }
                    Event {
                        entity,
                        id,
                        action,
                        time: TIMES[time],
                        sequence,
                        offset: 0,
                        fields,
                    }
                })
        };
    let merge = (
        prop::sample::select(vec!["lead", "deal", "account", "contact", "invoice"]),
        0usize..3,
        0usize..4,
        0..TIMES.len(),
    )
        .prop_map(|(entity, from, into, time)| {
            let ids = ids(entity);
            let fields = vec![("merged_into", ids.get(into).copied())];
            let action = if into < 3 { "merged" } else { "upserted" };
            Event {
                entity,
                id: ids[from],
                action,
                time: TIMES[time],
                sequence: 0,
                offset: 0,
                fields,
            }
        });
    let field_value = (
        prop::sample::select(ids("field_value").to_vec()),
        0..TIMES.len(),
        prop_oneof![9 => Just(0u64), 1 => Just(1)],
        prop_oneof![8 => Just("upserted"), 2 => Just("deleted"), 1 => Just("restored")],
        prop::sample::select(FIELD_VALUES.to_vec()),
    )
        .prop_map(
            |(id, time, sequence, action, (entity, record, field, value))| Event {
                entity: "field_value",
                id,
                action,
                time: TIMES[time],
                sequence,
                offset: 0,
                fields: vec![
                    ("entity", Some(entity)),
                    ("record_id", Some(record)),
                    ("field", Some(field)),
                    ("value", value),
                ],
            },
        );
    let event = prop_oneof![
        6 => of("deal", ids("deal"), DEAL),
        4 => of("lead", ids("lead"), LEAD),
        2 => of("account", ids("account"), ACCOUNT),
        1 => of("contact", ids("contact"), CONTACT),
        5 => of("payment", ids("payment"), PAYMENT),
        2 => of("activity", ids("activity"), ACTIVITY),
        2 => of("invoice", ids("invoice"), INVOICE),
        1 => of("quota", ids("quota"), QUOTA),
        3 => of("split", ids("split"), SPLIT),
        1 => of("stage", ids("stage"), STAGE),
        3 => field_value,
        1 => merge,
    ];
    prop::collection::vec(event, 1..most).prop_map(|mut events| {
        events
            .iter_mut()
            .enumerate()
            .for_each(|(offset, event)| event.offset = offset as u64);
        events
    })
}

fn ids(entity: &str) -> [&'static str; 3] {
    match entity {
        "lead" => ["L1", "L2", "L3"],
        "deal" => ["D1", "D2", "D3"],
        "contact" => ["C1", "C2", "C3"],
        "payment" => ["P1", "P2", "P3"],
        "activity" => ["T1", "T2", "T3"],
        "invoice" => ["I1", "I2", "I3"],
        "quota" => ["Q1", "Q2", "Q3"],
        "split" => ["S1", "S2", "S3"],
        "stage" => ["offer", "talks", "unmapped"],
        "field_value" => ["F1", "F2", "F3"],
        _ => ["A1", "A2", "A3"],
    }
}

/// A small generator of numbers (SplitMix64), so that a seed is all a history needs to be run
/// again.
#[derive(Debug, Clone)]
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is at least 1.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// The events as they could be delivered: split into partial patches, repeated at the same and at
/// new offsets, in any order.
pub fn deliver(events: &[Event], dice: &mut Dice) -> Vec<(u64, String)> {
    let mut lines = Vec::new();
    for event in events {
        // A field value says all of it in one event.
        let is_whole = event.action == "merged" || event.entity == "field_value";
        if !is_whole && dice.percent(40) {
            let mask = dice.next();
            lines.push((event.offset, event.line(|i| mask >> i & 1 == 0)));
            lines.push((event.offset, event.line(|i| mask >> i & 1 == 1)));
        } else {
            lines.push((event.offset, event.line(|_| true)));
        }
        if dice.percent(20) {
            lines.push((event.offset, event.line(|_| true)));
        }
        if dice.percent(30) {
            lines.push((
                event.offset + 1_000 * (1 + dice.next() % 3),
                event.line(|_| true),
            ));
        }
    }
    dice.shuffle(&mut lines);
    lines
}
