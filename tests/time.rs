//! Time: what idle partitions and wrong clocks do to the watermark and to what counts (nothing),
//! days that are no 24 hours, hours that begin at the half, times before there are panes, spans
//! that run backwards, and two sources that use the same ids.

use std::collections::BTreeMap;

use crate::support::pure::{Pure, context};
use dealpulse::definitions::DefinitionsSpec;
use dealpulse::event::decode::{Context, Reason, cloudevents};
use dealpulse::metric::versions;
use dealpulse::pipeline::memory::{MemoryLog, MemoryStore};
use dealpulse::pipeline::route::partition_by_home;
use dealpulse::pipeline::run_to_completion::run_to_completion;
use dealpulse::pipeline::watermark::progress;
use dealpulse::pipeline::{Checkpoint, Epoch, Log, Store};
use dealpulse::record::Home;
use dealpulse::window::rolling::{Now, Window};
use dealpulse::window::{Grain, Pane};
use serde_json::{Value, json};

const SECOND: i64 = 1_000_000;
const YEAR: i64 = 365 * 86_400 * SECOND;

/// An instant in µs.
fn at(text: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(text)
        .expect("an instant")
        .timestamp_micros()
}

fn rfc3339(micros: i64) -> String {
    chrono::DateTime::from_timestamp_micros(micros)
        .expect("in range")
        .to_rfc3339()
}

fn event(entity: &str, id: &str, time: &str, data: &Value) -> String {
    let event = json!({"specversion": "1.0", "id": "e", "source": "crm", "type": format!("crm.{entity}.upserted"), "subject": id, "time": time, "data": data});
    event.to_string()
}

async fn zone(time_zone: &str) -> Pure {
    Pure::new(
        2,
        DefinitionsSpec {
            time_zone: time_zone.into(),
            ..DefinitionsSpec::default()
        },
    )
    .await
}

/// Routes one line as it was read in a context; returns why it was dead-lettered, if it was.
async fn route_line(pure: &mut Pure, context: Context<'_>, line: &str) -> Vec<Reason> {
    let decoded = cloudevents::decode(Some(line.as_bytes()), &[], &context);
    pure.log
        .append(partition_by_home(
            &decoded.assertions,
            pure.log.partitions(),
        ))
        .await
        .expect("the log");
    run_to_completion(&mut pure.owners, 1, &pure.log, &pure.store, versions)
        .await
        .expect("settling");
    decoded
        .rejected
        .iter()
        .map(|rejected| rejected.bad.reason)
        .collect()
}

/// Deals won at these instants.
async fn wins(time_zone: &str, instants: &[i64]) -> Pure {
    let mut pure = zone(time_zone).await;
    let won = |(i, instant): (usize, &i64)| {
        let data = json!({"status": "won", "created_at": rfc3339(instant - SECOND), "closed_at": rfc3339(*instant)});
        event("deal", &format!("D-{i}"), &rfc3339(*instant), &data)
    };
    let lines: Vec<String> = instants.iter().enumerate().map(won).collect();
    pure.feed((0..).zip(lines.iter().map(String::as_str)), 5)
        .await;
    pure
}

/// Won deals by the start of their panes (s).
fn won(pure: &Pure, grain: Grain) -> BTreeMap<i64, i64> {
    let mut panes = BTreeMap::new();
    for row in pure.store.cells().values().map(|row| &row.row) {
        if (row.rollup.as_str(), row.grouping.as_str(), row.pane.grain)
            == ("win_rate.closed", "", grain)
        {
            *panes.entry(row.pane.start).or_default() += row.cell.counted(0);
        }
    }
    panes
}

#[tokio::test]
async fn a_day_holds_what_happened_in_it_whether_it_has_23_or_25_hours_or_begins_at_the_half() {
    // Zone, local day, its first instant and the next day's in UTC; hours that are whole, and half
    // ones beside them.
    let days = [
        (
            "Europe/Berlin",
            "2026-03-29",
            "2026-03-28T23:00:00Z",
            "2026-03-29T22:00:00Z",
            23,
            0,
        ),
        (
            "Europe/Berlin",
            "2026-10-25",
            "2026-10-24T22:00:00Z",
            "2026-10-25T23:00:00Z",
            25,
            0,
        ),
        (
            "Asia/Kolkata",
            "2026-03-04",
            "2026-03-03T18:30:00Z",
            "2026-03-04T18:30:00Z",
            24,
            0,
        ),
        // Its summer time is half an hour: days of 24.5 and 23.5 hours.
        (
            "Australia/Lord_Howe",
            "2026-04-05",
            "2026-04-04T13:00:00Z",
            "2026-04-05T13:30:00Z",
            24,
            1,
        ),
        (
            "Australia/Lord_Howe",
            "2026-10-04",
            "2026-10-03T13:30:00Z",
            "2026-10-04T13:00:00Z",
            23,
            1,
        ),
    ];
    for (time_zone, day, from, to, whole, half) in days {
        let (from, to) = (at(from), at(to));
        let every_half_hour = (from..to).step_by((1_800 * SECOND) as usize);
        // One more on either side, a second before the day and on the first instant after it.
        let instants: Vec<i64> = [from - SECOND, to]
            .into_iter()
            .chain(every_half_hour)
            .collect();
        let pure = wins(time_zone, &instants).await;
        let inside = instants.len() as i64 - 2;
        assert_eq!(inside, whole * 2 + half, "{time_zone} {day}");

        let midnight = at(&format!("{day}T00:00:00Z")) / SECOND;
        let expected = BTreeMap::from([
            (midnight - 86_400, 1),
            (midnight, inside),
            (midnight + 86_400, 1),
        ]);
        assert_eq!(won(&pure, Grain::Day), expected, "{time_zone} {day}");

        let hours = won(&pure, Grain::Hour);
        let of_day: Vec<i64> = hours
            .range(from / SECOND..to / SECOND)
            .map(|(_, count)| *count)
            .collect();
        let with = |count: i64| of_day.iter().filter(|found| **found == count).count() as i64;
        assert_eq!(
            (with(2), with(1), of_day.len() as i64),
            (whole, half, whole + half),
            "{time_zone} {day}: {hours:?}"
        );

        // Read at its last instant, the day is all of today, and nothing of yesterday.
        let now = to - 1;
        let report = pure
            .read(
                vec![Window::Days(1)],
                Now {
                    now,
                    watermark: now,
                },
            )
            .to_json(&pure.definitions);
        assert_eq!(
            report.pointer("/win_rate/1d/all/won"),
            Some(&json!(inside)),
            "{time_zone} {day}"
        );
    }
}

#[tokio::test]
async fn times_outside_1970_to_2100_are_undated_counted_and_in_no_window_but_all() {
    let instants = [
        "1969-12-31T12:00:00Z",
        "1901-05-05T00:00:00Z",
        "2101-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
        "2100-12-31T23:59:59Z",
    ]
    .map(at);
    let pure = wins("UTC", &instants).await;
    assert_eq!(
        won(&pure, Grain::Undated),
        BTreeMap::from([(Pane::UNDATED.start, 3)])
    );
    let days = won(&pure, Grain::Day);
    assert_eq!(
        days,
        BTreeMap::from([(0, 1), (at("2100-12-31T00:00:00Z") / SECOND, 1)])
    );
    assert_eq!(
        pure.all_time().pointer("/win_rate/all/won"),
        Some(&json!(5))
    );
    let now = at("1970-01-01T06:00:00Z");
    let report = pure
        .read(
            vec![Window::Days(90)],
            Now {
                now,
                watermark: now,
            },
        )
        .to_json(&pure.definitions);
    assert_eq!(
        report.pointer("/win_rate/90d/all/won"),
        Some(&json!(1)),
        "only the one of the first day"
    );
}

#[tokio::test]
async fn spans_that_run_backwards_are_counted_apart_and_in_no_mean() {
    let mut pure = zone("UTC").await;
    let spans = [
        ("D-1", "2026-03-01T10:00:00Z", "2026-03-05T10:00:00Z"),
        ("D-2", "2026-03-09T10:00:00Z", "2026-03-05T10:00:00Z"),
        ("D-3", "2026-03-05T10:00:01Z", "2026-03-05T10:00:00Z"),
        // Of dates, whole days: none here, and not a negative one.
        ("D-4", "2026-03-05", "2026-03-05T08:00:00Z"),
    ];
    let lines = spans.map(|(id, created, closed)| {
        event(
            "deal",
            id,
            "2026-03-10T00:00:00Z",
            &json!({"status": "won", "created_at": created, "closed_at": closed}),
        )
    });
    pure.feed((0..).zip(lines.iter().map(String::as_str)), 1)
        .await;
    let report = pure.all_time();
    let figure = |name: &str| {
        report
            .pointer(&format!("/cycle_length/all/won/{name}"))
            .cloned()
    };
    assert_eq!(figure("count"), Some(json!(2)));
    assert_eq!(figure("negative"), Some(json!(2)));
    assert_eq!(figure("mean_days"), Some(json!(2.0)), "four days and none");
    assert_eq!(
        report.pointer("/win_rate/all/won"),
        Some(&json!(4)),
        "won they are"
    );
}

#[tokio::test]
async fn two_sources_with_the_same_ids_are_two_records_of_each() {
    let mut pure = zone("UTC").await;
    let lines = |amount: &str, currency: &str, source: &str| {
        [
            event(
                "lead",
                "7",
                "2026-03-01T10:00:00Z",
                &json!({"lead_source": source, "created_at": "2026-03-01T10:00:00Z"}),
            ),
            event(
                "deal",
                "7",
                "2026-03-05T10:00:00Z",
                &json!({"status": "won", "amount": amount, "currency": currency, "lead_id": "7", "account_id": "7", "product": "core",
                    "created_at": "2026-03-01T10:00:00Z", "closed_at": "2026-03-05T10:00:00Z"}),
            ),
        ]
    };
    for (namespace, topic, lines) in [
        ("eu", 1, lines("100.00", "EUR", "web")),
        ("us", 2, lines("200.00", "USD", "fair")),
    ] {
        for (offset, line) in (0..).zip(&lines) {
            let context = Context {
                schema: &dealpulse::record::SCHEMA,
                topic,
                namespace: Some(namespace),
                ..context(offset)
            };
            assert_eq!(route_line(&mut pure, context, line).await, []);
        }
    }
    let report = pure.all_time();
    for (figure, expected) in [
        ("/win_rate/all/won", json!(2)),
        ("/win_rate/all/amount/EUR/won", json!("100.00")),
        ("/win_rate/all/amount/USD/won", json!("200.00")),
        // Neither account had bought anything before; were they one, the second win would be a
        // repeat.
        ("/upsell/all/new", json!(2)),
        ("/upsell/all/accounts/active", json!(2)),
        ("/lead_source/source=web/revenue/EUR", json!("100.00")),
        ("/lead_source/source=fair/revenue/USD", json!("200.00")),
    ] {
        assert_eq!(report.pointer(figure), Some(&expected), "{figure}");
    }
}

#[tokio::test]
async fn a_clock_years_ahead_is_dead_lettered_where_no_broker_stamps_the_time() {
    let (mut pure, now) = (zone("UTC").await, at("2026-03-05T10:00:00Z"));
    let context = |offset| Context {
        now,
        timestamp: Some(now),
        ..context(offset)
    };
    let ahead = event(
        "deal",
        "D-1",
        &rfc3339(now + 5 * YEAR),
        &json!({"status": "won"}),
    );
    assert_eq!(
        route_line(&mut pure, context(0), &ahead).await,
        [Reason::FutureTime]
    );
    let right = event(
        "deal",
        "D-1",
        "2026-03-05T09:00:00Z",
        &json!({"status": "lost"}),
    );
    assert_eq!(route_line(&mut pure, context(1), &right).await, []);
    assert_eq!(
        pure.all_time().pointer("/win_rate/all/lost"),
        Some(&json!(1))
    );
}

#[tokio::test]
async fn a_clock_years_ahead_overrules_nothing_that_a_broker_stamped_later() {
    let (mut pure, now) = (zone("UTC").await, at("2026-03-05T10:00:00Z"));
    let context = |offset: u64| {
        let stamp = now + offset as i64 * SECOND;
        Context {
            now: stamp,
            timestamp: Some(stamp),
            is_append_time: true,
            ..context(offset)
        }
    };
    let ahead = event(
        "deal",
        "D-1",
        &rfc3339(now + 5 * YEAR),
        &json!({"status": "won", "amount": "9.00", "currency": "EUR"}),
    );
    assert_eq!(route_line(&mut pure, context(0), &ahead).await, []);
    assert_eq!(
        pure.all_time().pointer("/win_rate/all/won"),
        Some(&json!(1))
    );
    // A second later by the broker's clock, and by its own.
    let right = event(
        "deal",
        "D-1",
        &rfc3339(now + SECOND),
        &json!({"status": "lost"}),
    );
    assert_eq!(route_line(&mut pure, context(1), &right).await, []);
    let report = pure.all_time();
    assert_eq!(
        (
            report.pointer("/win_rate/all/won"),
            report.pointer("/win_rate/all/lost")
        ),
        (Some(&json!(0)), Some(&json!(1)))
    );
    // And nothing of it is dated years ahead: the close is at the broker's time.
    assert_eq!(pure.last_instant(), now + SECOND);
}

/// A log of three shards and a store that holds checkpoints of them.
struct Shards {
    log: MemoryLog,
    store: MemoryStore,
    epoch: Epoch,
}

impl Shards {
    fn new() -> Shards {
        Shards {
            log: MemoryLog::new(3),
            store: MemoryStore::default(),
            epoch: Epoch::first(DefinitionsSpec::default(), 3),
        }
    }

    fn append(&self, shard: Home, append_time: i64) {
        self.log.append_at(vec![(shard, Vec::new())], append_time);
    }

    async fn checkpoint(&self, shard: Home, next_offset: u64, append_time: i64) {
        let checkpoint = Checkpoint {
            next_offset,
            message_hash: 0,
            append_time,
        };
        self.store
            .insert_checkpoints(1, &[(shard, checkpoint)])
            .await
            .expect("a checkpoint");
    }

    async fn watermark(&self, now: i64) -> Option<i64> {
        progress(&self.epoch, now, &self.log, &self.store)
            .await
            .expect("an answer")
            .watermark
    }
}

#[tokio::test]
async fn idle_shards_do_not_hold_the_watermark_back_and_the_slowest_busy_one_does() {
    let shards = Shards::new();
    assert_eq!(
        shards.watermark(1_000).await,
        Some(1_000),
        "where nothing ever came, nothing is missing"
    );
    shards.append(0, 100);
    assert_eq!(
        shards.watermark(1_000).await,
        None,
        "what was never flushed may be of any time"
    );
    shards.checkpoint(0, 1, 100).await;
    assert_eq!(
        shards.watermark(1_000).await,
        Some(1_000),
        "one is idle since 100, the others always were"
    );

    shards.append(1, 700);
    shards.checkpoint(1, 1, 700).await;
    shards.append(1, 800);
    shards.append(0, 900);
    assert_eq!(
        shards.watermark(1_000).await,
        Some(100),
        "the slowest of those that are behind"
    );
    shards.checkpoint(0, 2, 900).await;
    assert_eq!(shards.watermark(1_000).await, Some(700));
    shards.checkpoint(1, 2, 800).await;
    assert_eq!(shards.watermark(1_000).await, Some(1_000));
}

#[tokio::test]
async fn a_brokers_clock_that_was_years_ahead_promises_nothing() {
    let shards = Shards::new();
    shards.append(0, 100 + YEAR);
    shards.checkpoint(0, 1, 100 + YEAR).await;
    assert_eq!(
        shards.watermark(1_000).await,
        Some(1_000),
        "it is flushed to its end"
    );
    // The clock was set right. The checkpoint keeps the greatest time, which is of no use any more:
    // the next message's time is.
    shards.append(0, 600);
    shards.append(0, 650);
    assert_eq!(shards.watermark(1_000).await, Some(600));
    shards.checkpoint(0, 2, 100 + YEAR).await;
    assert_eq!(shards.watermark(1_000).await, Some(650));
    shards.checkpoint(0, 3, 100 + YEAR).await;
    assert_eq!(shards.watermark(1_000).await, Some(1_000));
    // As long as the clock is wrong, the lag is unknown.
    shards.append(0, 200 + YEAR);
    assert_eq!(shards.watermark(1_000).await, None);
}
