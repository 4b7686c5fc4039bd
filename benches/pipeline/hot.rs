//! Hot targets: what one more link costs a record that has received thousands.

use std::time::{Duration, Instant};

use dealpulse::local::generate::GeneratedEvent;
use dealpulse::shard::OutLink;

use crate::Sizes;
use crate::deals;
use crate::steps::{self, Fold, LINKS_A_MESSAGE};
use crate::table::{Goal, Table, median};

/// How many won deals the record has in the end.
const COUNTS: [usize; 6] = [1_000, 2_000, 4_000, 8_000, 16_000, 100_000];
/// The links whose cost is measured: the last of them.
const MEASURED: usize = 1_000;
/// What one figure may take. An algorithm that needs longer is quadratic, and its figure is missed.
const LIMIT: Duration = Duration::from_secs(4);
/// What matters at 100,000 (µs).
const GOAL: f64 = 25.0;

/// One account with thousands of wins, a link a message.
pub fn measure_account(sizes: Sizes, table: &mut Table) {
    let most = COUNTS[COUNTS.len() - 1];
    let won = links(&deals::won(most, r#""account_id":"a1""#));
    rows(("account", "a1"), "won deals", &won, 1, sizes, table);
    let paid = links(&deals::payments(most, "a1"));
    rows(("account", "a1"), "payments", &paid, 1, sizes, table);
}

/// One lead with thousands of deals, links in hundreds a message and one a message.
pub fn measure_lead(sizes: Sizes, table: &mut Table) {
    let links = links(&deals::won(COUNTS[COUNTS.len() - 1], r#""lead_id":"l1""#));
    rows(("lead", "l1"), "deals", &links, 100, sizes, table);
    rows(("lead", "l1"), "deals", &links, 1, sizes, table);
}

/// The links of the home of deals or payments, taken from a shard that folded them.
fn links(events: &[GeneratedEvent]) -> Vec<OutLink> {
    let mut home = Fold::new();
    home.feed(events, 0);
    home.shard.take_touched().outbox.links
}

fn rows(
    (entity, id): (&str, &str),
    senders: &str,
    links: &[OutLink],
    links_a_message: usize,
    sizes: Sizes,
    table: &mut Table,
) {
    let how = match links_a_message {
        1 => "a link a message".to_owned(),
        many => format!("{many} links a message"),
    };
    table.part(&format!("hot {entity}, {senders}, {how}: cost of a link"));
    let (mut first, mut ratio, mut is_too_slow) = (None, None, false);
    for count in COUNTS {
        let goal = if count == COUNTS[COUNTS.len() - 1] {
            Goal::AtMost(GOAL)
        } else {
            Goal::None
        };
        let what = format!("{entity} with {count} {senders}, {how}");
        let cost = (!is_too_slow)
            .then(|| {
                cost(
                    (entity, id),
                    &links[..count],
                    links_a_message,
                    3 * sizes.runs,
                )
            })
            .flatten();
        match cost {
            Some(cost) => table.add(&what, cost, "µs", goal),
            None => {
                table.too_slow(&what, "µs", goal);
                is_too_slow = true;
            }
        }
        first = first.or(cost);
        if count == 16_000 {
            ratio = cost.zip(first).map(|(cost, first)| cost / first);
        }
    }
    let what = format!("hot {entity}, {senders}, {how}: 16,000 ÷ 1,000");
    // A lead's deals go to cells of many days, so that more of them also means more caches missed:
    // a goal, but no must.
    let goal = match entity {
        "account" => Goal::Must(2.0),
        _ => Goal::AtMost(2.0),
    };
    match ratio {
        Some(ratio) => table.add(&what, ratio, "", goal),
        None => table.too_slow(&what, "", goal),
    }
}

/// µs a link for the last of them; `None` if it takes too long.
fn cost(
    target: (&str, &str),
    links: &[OutLink],
    links_a_message: usize,
    runs: usize,
) -> Option<f64> {
    let started = Instant::now();
    let (early, late) = links.split_at(links.len() - MEASURED);
    let (early, late) = (
        steps::link_messages(early, 1, LINKS_A_MESSAGE),
        steps::link_messages(late, 1, links_a_message),
    );
    let mut costs = Vec::with_capacity(runs);
    for _ in 0..runs {
        let mut fold = Fold::new();
        fold.feed(&[deals::target(target.0, target.1)], 0);
        for message in &early {
            fold.fold(message);
            if started.elapsed() > LIMIT {
                break;
            }
        }
        if started.elapsed() > LIMIT {
            break;
        }
        drop(fold.shard.take_touched());
        let (began, mut folded) = (Instant::now(), 0);
        for message in &late {
            fold.fold(message);
            folded += links_a_message;
            if started.elapsed() > LIMIT {
                break;
            }
        }
        // A part of the last thousand is enough.
        costs.push(began.elapsed().as_secs_f64() * 1e6 / folded as f64);
        if started.elapsed() > LIMIT {
            break;
        }
    }
    (!costs.is_empty()).then(|| median(costs))
}
