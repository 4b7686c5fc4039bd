//! Corrections: what was counted under one account, lead or record and belongs under another, or
//! under none. Every figure is computed by hand, before and after, and is the same in whatever
//! order the events come, how often, and over how many shards.

use std::sync::Arc;

use crate::support::faults::Dice;
use crate::support::figures::differences;
use crate::support::pure::Pure;
use dealpulse::definitions::DefinitionsSpec;
use dealpulse::metric::Catalogue;
use serde_json::{Value, json};

/// An event of March 2026: a record's fields as of a day, at ten o'clock.
fn event(kind: &str, id: &str, day: u32, data: Value) -> String {
    let (entity, verb) = kind.split_once('.').unwrap_or((kind, "upserted"));
    let event = json!({
        "specversion": "1.0", "id": format!("{kind}-{id}-{day}"), "source": "crm", "type": format!("crm.{entity}.{verb}"), "subject": id,
        "time": format!("2026-03-{day:02}T10:00:00Z"), "data": data,
    });
    event.to_string()
}

/// Events that come together.
type Step = Vec<String>;

/// A deal that is won at ten o'clock of a day, opened on the first.
fn won(id: &str, day: u32, amount: &str, further: Value) -> String {
    let mut data = json!({"status": "won", "amount": amount, "currency": "EUR", "created_at": "2026-03-01T10:00:00Z",
        "closed_at": format!("2026-03-{day:02}T10:00:00Z")});
    data.as_object_mut()
        .unwrap()
        .extend(further.as_object().unwrap().clone());
    event("deal", id, day, data)
}

fn lead(id: &str, day: u32, source: &str) -> String {
    event(
        "lead",
        id,
        day,
        json!({"lead_source": source, "created_at": format!("2026-03-{day:02}T10:00:00Z")}),
    )
}

/// A figure by its path in a report of all time, and what it is once each step is counted; `null`
/// where there is none.
type Scenario<'a> = (&'a str, &'a [Value]);

async fn check(steps: &[Step], scenarios: &[Scenario<'_>]) {
    // Made once: a calendar takes a while to lay out.
    let definitions = Arc::new(Catalogue::new(DefinitionsSpec::default()).expect("the defaults"));
    for shards in [1, 2, 5, 16] {
        let mut pure = Pure::with(shards, &definitions).await;
        let mut events = Vec::new();
        for (number, step) in steps.iter().enumerate() {
            // Step by step, as it would happen: what was counted is subtracted.
            let from = events.len() as u64;
            events.extend(step.iter().map(String::as_str));
            pure.feed((from..).zip(step.iter().map(String::as_str)), 1)
                .await;
            assert_figures(
                &pure,
                number,
                scenarios,
                &format!("step {number}, {shards} shards"),
            );
            // And all at once, in any order, and twice.
            for seed in 0..6 {
                let mut shuffled = Pure::with(shards, &definitions).await;
                let lines = delivered(&events, seed);
                shuffled
                    .feed(lines.into_iter(), 1 + seed as usize % 3)
                    .await;
                assert_figures(
                    &shuffled,
                    number,
                    scenarios,
                    &format!("step {number}, {shards} shards, order {seed}"),
                );
            }
        }
    }
}

/// Every event twice, the second time at an offset of its own, in an order that depends on the
/// seed; for seed 0 backwards.
fn delivered<'l>(events: &[&'l str], seed: u64) -> Vec<(u64, &'l str)> {
    let count = events.len() as u64;
    let mut lines: Vec<(u64, &str)> = (0..count * 2)
        .map(|offset| (offset, events[(offset % count) as usize]))
        .collect();
    if seed == 0 {
        lines.reverse();
        return lines;
    }
    let mut dice = Dice::new(seed);
    for i in (1..lines.len()).rev() {
        lines.swap(i, dice.below(i as u64 + 1) as usize);
    }
    lines
}

fn assert_figures(pure: &Pure, step: usize, scenarios: &[Scenario<'_>], when: &str) {
    let report = pure.all_time();
    for (path, values) in scenarios {
        let found = report.pointer(path).unwrap_or(&Value::Null);
        let different = differences(&values[step], found);
        assert!(different.is_empty(), "{path}, {when}: {different:?}");
    }
}

#[tokio::test]
async fn a_deal_moved_to_another_account_is_that_accounts_first_win() {
    let (one, two) = (
        json!({"account_id": "A-1", "product": "core"}),
        json!({"account_id": "A-1", "product": "core"}),
    );
    let steps = [
        vec![won("D-1", 2, "1000.00", one), won("D-2", 3, "500.00", two)],
        vec![event("deal", "D-2", 4, json!({"account_id": "A-2"}))],
        vec![event("deal", "D-2", 5, json!({"account_id": "A-1"}))],
        vec![event("deal", "D-2", 6, json!({"account_id": null}))],
    ];
    check(
        &steps,
        &[
            ("/upsell/all/won", &[json!(2), json!(2), json!(2), json!(2)]),
            ("/upsell/all/new", &[json!(1), json!(2), json!(1), json!(1)]),
            (
                "/upsell/all/repeat",
                &[json!(1), json!(0), json!(1), json!(0)],
            ),
            (
                "/upsell/all/unclassified",
                &[json!(0), json!(0), json!(0), json!(1)],
            ),
            (
                "/upsell/all/amount/EUR/new",
                &[
                    json!("1000.00"),
                    json!("1500.00"),
                    json!("1000.00"),
                    json!("1000.00"),
                ],
            ),
            (
                "/upsell/all/amount/EUR/repeat",
                &[
                    json!("500.00"),
                    json!("0.00"),
                    json!("500.00"),
                    json!("0.00"),
                ],
            ),
            (
                "/upsell/all/accounts/active",
                &[json!(1), json!(2), json!(1), json!(1)],
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_deal_attributed_to_another_lead_takes_its_revenue_along() {
    let steps = [
        vec![
            lead("L-1", 1, "web"),
            lead("L-2", 3, "fair"),
            won("D-1", 5, "900.00", json!({"lead_id": "L-1"})),
        ],
        vec![event("deal", "D-1", 6, json!({"lead_id": "L-2"}))],
        vec![event(
            "deal",
            "D-1",
            7,
            json!({"lead_id": null, "lead_source": "phone"}),
        )],
    ];
    check(
        &steps,
        &[
            (
                "/lead_source/source=web/won",
                &[json!(1), json!(0), json!(0)],
            ),
            (
                "/lead_source/source=fair/won",
                &[json!(0), json!(1), json!(0)],
            ),
            (
                "/lead_source/source=web/revenue/EUR",
                &[json!("900.00"), Value::Null, Value::Null],
            ),
            (
                "/lead_source/source=fair/revenue/EUR",
                &[Value::Null, json!("900.00"), Value::Null],
            ),
            (
                "/lead_source/source=phone/without_lead/revenue/EUR",
                &[Value::Null, Value::Null, json!("900.00")],
            ),
            (
                "/lead_source/all/by_close/won_deals",
                &[json!(1), json!(1), json!(0)],
            ),
            (
                "/lead_source/all/without_lead/won_deals",
                &[json!(0), json!(0), json!(1)],
            ),
            (
                "/close_rate/source=web/rate",
                &[json!(1.0), json!(0.0), json!(0.0)],
            ),
            (
                "/close_rate/source=fair/rate",
                &[json!(0.0), json!(1.0), json!(0.0)],
            ),
            (
                "/close_rate/all/rate",
                &[json!(0.5), json!(0.5), json!(0.0)],
            ),
            // From the first to the fifth, then from the third to the fifth.
            (
                "/cycle_length/all/lead_to_close/mean_days",
                &[json!(4.0), json!(2.0), Value::Null],
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn accounts_merged_wrongly_then_elsewhere_then_taken_apart() {
    let of = |account: &str, product: &str| json!({"account_id": account, "product": product});
    let steps = [
        vec![
            event("account", "A-1", 1, json!({"name": "one"})),
            event("account", "A-2", 1, json!({"name": "two"})),
            event("account", "A-3", 1, json!({"name": "three"})),
            won("D-1", 2, "1000.00", of("A-1", "core")),
            won("D-2", 4, "500.00", of("A-2", "core")),
            won("D-3", 3, "300.00", of("A-3", "addon")),
        ],
        // Core was bought with D-1 already: D-2 is a repeat.
        vec![event(
            "account.merged",
            "A-2",
            5,
            json!({"merged_into": "A-1"}),
        )],
        // Of A-3 only the addon was: D-2 is a cross-sell.
        vec![event(
            "account.merged",
            "A-2",
            6,
            json!({"merged_into": "A-3"}),
        )],
        vec![event("account", "A-2", 7, json!({"merged_into": null}))],
    ];
    check(
        &steps,
        &[
            ("/upsell/all/won", &[json!(3), json!(3), json!(3), json!(3)]),
            ("/upsell/all/new", &[json!(3), json!(2), json!(2), json!(3)]),
            (
                "/upsell/all/repeat",
                &[json!(0), json!(1), json!(0), json!(0)],
            ),
            (
                "/upsell/all/cross_sell",
                &[json!(0), json!(0), json!(1), json!(0)],
            ),
            (
                "/upsell/all/rate",
                &[json!(0.0), json!(0.0), json!(0.333333), json!(0.0)],
            ),
            (
                "/upsell/all/amount/EUR/new",
                &[
                    json!("1800.00"),
                    json!("1300.00"),
                    json!("1300.00"),
                    json!("1800.00"),
                ],
            ),
            (
                "/upsell/all/amount/EUR/repeat",
                &[json!("0.00"), json!("500.00"), json!("0.00"), json!("0.00")],
            ),
            (
                "/upsell/all/amount/EUR/cross_sell",
                &[json!("0.00"), json!("0.00"), json!("500.00"), json!("0.00")],
            ),
            (
                "/upsell/all/accounts/active",
                &[json!(3), json!(2), json!(2), json!(3)],
            ),
            (
                "/upsell/all/accounts/expanded",
                &[json!(0), json!(0), json!(1), json!(0)],
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn leads_merged_wrongly_then_elsewhere_then_taken_apart() {
    let steps = [
        vec![
            lead("L-1", 1, "web"),
            lead("L-2", 2, "fair"),
            lead("L-3", 3, "event"),
            won("D-1", 6, "700.00", json!({"lead_id": "L-2"})),
        ],
        vec![event(
            "lead.merged",
            "L-2",
            7,
            json!({"merged_into": "L-1"}),
        )],
        vec![event(
            "lead.merged",
            "L-2",
            8,
            json!({"merged_into": "L-3"}),
        )],
        vec![event("lead", "L-2", 9, json!({"merged_into": null}))],
    ];
    check(
        &steps,
        &[
            (
                "/lead_source/all/leads",
                &[json!(3), json!(2), json!(2), json!(3)],
            ),
            (
                "/lead_source/all/revenue/EUR",
                &[
                    json!("700.00"),
                    json!("700.00"),
                    json!("700.00"),
                    json!("700.00"),
                ],
            ),
            (
                "/lead_source/source=web/won",
                &[json!(0), json!(1), json!(0), json!(0)],
            ),
            (
                "/lead_source/source=fair/leads",
                &[json!(1), Value::Null, Value::Null, json!(1)],
            ),
            (
                "/lead_source/source=fair/won",
                &[json!(1), Value::Null, Value::Null, json!(1)],
            ),
            (
                "/lead_source/source=event/won",
                &[json!(0), json!(0), json!(1), json!(0)],
            ),
            (
                "/lead_source/source=event/revenue/EUR",
                &[Value::Null, Value::Null, json!("700.00"), Value::Null],
            ),
            (
                "/close_rate/all/rate",
                &[json!(0.333333), json!(0.5), json!(0.5), json!(0.333333)],
            ),
            // To the sixth: from the second, the first, the third, and the second again.
            (
                "/cycle_length/all/lead_to_close/mean_days",
                &[json!(4.0), json!(5.0), json!(3.0), json!(4.0)],
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_is_deleted_counts_nowhere_and_what_is_restored_counts_again() {
    let lost = json!({"status": "lost", "amount": "400.00", "currency": "EUR", "created_at": "2026-03-01T10:00:00Z", "closed_at": "2026-03-05T10:00:00Z"});
    let none = || json!({});
    let steps = [
        vec![
            event(
                "account",
                "A-1",
                1,
                json!({"name": "one", "became_customer_at": "2026-03-01"}),
            ),
            lead("L-1", 1, "web"),
            lead("L-2", 1, "web"),
            won(
                "D-1",
                5,
                "1000.00",
                json!({"account_id": "A-1", "lead_id": "L-1", "product": "core"}),
            ),
            event("deal", "D-2", 5, lost),
        ],
        vec![event("deal.deleted", "D-1", 6, none())],
        // A deleted record is not revived by a reference to it.
        vec![event("deal", "D-1", 7, json!({"amount": "1200.00"}))],
        vec![event("deal.restored", "D-1", 8, none())],
        // Without the account's date of becoming a customer, the win is its first.
        vec![
            event("account.deleted", "A-1", 9, none()),
            event("lead.deleted", "L-1", 9, none()),
        ],
        vec![
            event("account.restored", "A-1", 10, none()),
            event("lead.restored", "L-1", 10, none()),
        ],
    ];
    check(
        &steps,
        &[
            (
                "/win_rate/all/won",
                &[json!(1), json!(0), json!(0), json!(1), json!(1), json!(1)],
            ),
            (
                "/win_rate/all/rate",
                &[
                    json!(0.5),
                    json!(0.0),
                    json!(0.0),
                    json!(0.5),
                    json!(0.5),
                    json!(0.5),
                ],
            ),
            (
                "/win_rate/all/amount/EUR/won",
                &[
                    json!("1000.00"),
                    json!("0.00"),
                    json!("0.00"),
                    json!("1200.00"),
                    json!("1200.00"),
                    json!("1200.00"),
                ],
            ),
            (
                "/upsell/all/cross_sell",
                &[json!(1), json!(0), json!(0), json!(1), json!(0), json!(1)],
            ),
            (
                "/upsell/all/new",
                &[json!(0), json!(0), json!(0), json!(0), json!(1), json!(0)],
            ),
            (
                "/upsell/all/accounts/active",
                &[json!(1), json!(1), json!(1), json!(1), json!(1), json!(1)],
            ),
            (
                "/lead_source/all/leads",
                &[json!(2), json!(2), json!(2), json!(2), json!(1), json!(2)],
            ),
            (
                "/lead_source/source=web/won",
                &[json!(1), json!(0), json!(0), json!(1), json!(0), json!(1)],
            ),
            (
                "/close_rate/all/rate",
                &[
                    json!(0.5),
                    json!(0.0),
                    json!(0.0),
                    json!(0.5),
                    json!(0.0),
                    json!(0.5),
                ],
            ),
        ],
    )
    .await;
}
