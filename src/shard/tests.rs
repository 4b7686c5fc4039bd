//! The rules of the fold that only show inside one message or one record.

use std::sync::{Arc, LazyLock};

use super::*;
use crate::definitions::DefinitionsSpec;
use crate::event::When;
use crate::event::decode::{Context, cloudevents};
use crate::event::wire;
use crate::window::{Grain, Pane, sketch};

static DEFINITIONS: LazyLock<Arc<Catalogue>> = LazyLock::new(|| {
    let spec = DefinitionsSpec {
        time_zone: "Europe/Berlin".into(),
        groups: Vec::new(),
        ..DefinitionsSpec::default()
    };
    Arc::new(Catalogue::new(spec).unwrap())
});

fn shard() -> Shard {
    Shard::new(&[(1, DEFINITIONS.clone())])
}

/// Folds events, given as (namespace, id, action, time, data), as one message.
fn fold(shard: &mut Shard, version: u64, events: &[(&str, &str, &str, &str, &str)]) {
    let lines: Vec<String> = events
        .iter()
        .map(|(_, id, action, time, data)| {
            format!(r#"{{"specversion":"1.0","id":"e","type":"crm.deal.{action}","subject":"{id}","time":"{time}","data":{data}}}"#)
        })
        .collect();
    let mut assertions = Vec::new();
    for (index, ((namespace, ..), line)) in events.iter().zip(&lines).enumerate() {
        let namespace = Some(*namespace).filter(|n| !n.is_empty());
        let (offset, now, limit) = (version * 100 + index as u64, i64::MAX / 2, 1 << 16);
        let context = Context {
            schema: &crate::record::SCHEMA,
            topic: 1,
            namespace,
            partition: 0,
            offset,
            attempt: 0,
            timestamp: None,
            is_append_time: false,
            now,
            limit,
        };
        let decoded = cloudevents::decode(Some(line.as_bytes()), &[], &context);
        assert!(
            decoded.rejected.is_empty(),
            "{line}: {:?}",
            decoded.rejected
        );
        assertions.extend(decoded.assertions);
    }
    shard
        .fold(version, 0, &wire::write_assertions(assertions.iter()))
        .unwrap();
}

fn one(shard: &mut Shard, version: u64, time: &str, data: &str) {
    fold(shard, version, &[("", "D1", "upserted", time, data)]);
}

/// The daily rows of a rollup.
fn days(touched: &Touched, rollup: &str) -> Vec<CellRow> {
    touched
        .cells
        .decode()
        .filter(|row| row.rollup == rollup && row.pane.grain == Grain::Day)
        .collect()
}

fn day(text: &str) -> Pane {
    Pane::day(DEFINITIONS.calendar.day(When::parse(text).unwrap()))
}

#[test]
fn rule_a_message_is_folded_whole_before_anything_is_taken_of_it() {
    let mut shard = shard();
    let (first, second) = ("2026-03-02T10:00:00Z", "2026-03-03T10:00:00Z");
    let won = r#"{"status":"won","account_id":"A1","amount":"5","currency":"EUR"}"#;
    fold(
        &mut shard,
        1,
        &[
            ("", "D1", "upserted", first, won),
            (
                "",
                "D1",
                "upserted",
                second,
                r#"{"status":"lost","account_id":"A2"}"#,
            ),
        ],
    );
    let touched = shard.take_touched();
    let changes: Vec<_> = touched
        .changes
        .iter()
        .map(|c| (c.version, &*c.status.0, &*c.status.1))
        .collect();
    assert_eq!(
        changes,
        [(1, "", "lost")],
        "one change a record and message"
    );
    let sent: Vec<&str> = touched
        .outbox
        .links
        .iter()
        .map(|link| link.target.1.as_str())
        .collect();
    assert_eq!(
        sent,
        ["A2"],
        "no link is sent for what was true within the message only"
    );
    assert!(
        days(&touched, "cycle_length.won").is_empty(),
        "nor is a cell touched by it"
    );
}

#[test]
fn rule_a_queue_holds_one_link_a_target_and_sender_the_latest() {
    let mut shard = shard();
    one(
        &mut shard,
        1,
        "2026-03-02T10:00:00Z",
        r#"{"status":"won","account_id":"A1"}"#,
    );
    one(
        &mut shard,
        2,
        "2026-03-03T10:00:00Z",
        r#"{"status":"open"}"#,
    );
    let outbox = shard.take_touched().outbox.links;
    assert_eq!(
        outbox
            .iter()
            .map(|link| link.content.as_slice())
            .collect::<Vec<_>>(),
        [[0]],
        "a withdrawal"
    );
}

#[test]
fn rule_a_cell_touched_and_equal_again_is_written_and_so_is_zero() {
    let mut shard = shard();
    one(&mut shard, 1, "2026-03-02T10:00:00Z", r#"{"status":"won"}"#);
    shard.take_touched();
    one(
        &mut shard,
        2,
        "2026-03-03T10:00:00Z",
        r#"{"status":"open"}"#,
    );
    one(
        &mut shard,
        3,
        "2026-03-02T11:00:00Z",
        r#"{"closed_at":"2026-03-02"}"#,
    );
    one(&mut shard, 4, "2026-03-04T10:00:00Z", r#"{"status":"won"}"#);
    let touched = shard.take_touched();
    let won: Vec<(Pane, i64)> = days(&touched, "win_rate.closed")
        .iter()
        .map(|row| (row.pane, row.cell.counted(0)))
        .collect();
    assert_eq!(
        won,
        [(day("2026-03-02"), 1)],
        "taken away and put back: equal to what was written, and written all the same"
    );
    one(
        &mut shard,
        5,
        "2026-03-05T10:00:00Z",
        r#"{"status":"open"}"#,
    );
    let touched = shard.take_touched();
    let won: Vec<(Pane, i64)> = days(&touched, "win_rate.closed")
        .iter()
        .map(|row| (row.pane, row.cell.counted(0)))
        .collect();
    assert_eq!(won, [(day("2026-03-02"), 0)], "zero is a row");
}

#[test]
fn rule_ids_and_references_of_two_namespaces_are_two_records() {
    let mut shard = shard();
    let data = r#"{"status":"won","account_id":"9"}"#;
    let time = "2026-03-02T10:00:00Z";
    fold(
        &mut shard,
        1,
        &[
            ("eu", "7", "upserted", time, data),
            ("us", "7", "upserted", time, data),
        ],
    );
    assert_eq!(shard.record_count(Entity::DEAL), 2);
    let mut sent: Vec<String> = shard
        .take_touched()
        .outbox
        .links
        .into_iter()
        .map(|link| format!("{} to {}", link.sender.1, link.target.1))
        .collect();
    sent.sort();
    assert_eq!(sent, ["eu/7 to eu/9", "us/7 to us/9"]);
}

#[test]
fn rule_a_span_with_a_date_in_it_is_whole_local_days() {
    let mut shard = shard();
    // Created at half past midnight in Berlin, closed "that day": 0 days, not minus half an hour.
    one(
        &mut shard,
        1,
        "2026-03-02T10:00:00Z",
        r#"{"status":"won","created_at":"2026-03-01T23:30:00Z","closed_at":"2026-03-02"}"#,
    );
    let touched = shard.take_touched();
    let [row] = &days(&touched, "cycle_length.won")[..] else {
        panic!("one day: {:?}", touched.cells)
    };
    assert_eq!(
        (row.pane, row.cell.counts.as_slice(), row.cell.summed(0)),
        (day("2026-03-02"), &[1, 0][..], 0)
    );
}

#[test]
fn rule_a_sample_can_be_taken_back_out_of_its_sketch() {
    let mut shard = shard();
    let closed_after = |hours: u32| {
        format!(
            r#"{{"status":"won","created_at":"2026-03-02T00:00:00Z","closed_at":"2026-03-02T{hours:02}:00:00Z"}}"#
        )
    };
    for (version, hours) in [(1, 9), (2, 0), (3, 17)] {
        one(
            &mut shard,
            version,
            &format!("2026-03-0{}T10:00:00Z", version + 2),
            &closed_after(hours),
        );
        let touched = shard.take_touched();
        let [row] = &days(&touched, "cycle_length.won")[..] else {
            panic!("one day: {:?}", touched.cells)
        };
        assert_eq!(
            row.cell.sketch.buckets(),
            [(sketch::bucket(i64::from(hours) * 3_600), 1)],
            "after a correction to {hours} hours"
        );
    }
    fold(
        &mut shard,
        4,
        &[("", "D1", "deleted", "2026-04-01T00:00:00Z", "{}")],
    );
    let touched = shard.take_touched();
    assert!(
        days(&touched, "cycle_length.won")
            .iter()
            .all(|row| row.cell.is_zero())
    );
}

#[test]
fn rule_without_closed_at_the_first_clock_of_the_last_run_stands_in_also_through_the_cut() {
    let mut shard = shard();
    one(&mut shard, 1, "2026-01-05T10:00:00Z", r#"{"status":"won"}"#);
    one(
        &mut shard,
        2,
        "2026-01-06T10:00:00Z",
        r#"{"status":"open"}"#,
    );
    one(&mut shard, 3, "2026-01-07T10:00:00Z", r#"{"status":"won"}"#);
    let closed = |shard: &mut Shard| {
        let touched = shard.take_touched();
        days(&touched, "win_rate.closed")
            .iter()
            .filter(|row| row.cell.counted(0) == 1)
            .map(|row| row.pane)
            .collect::<Vec<_>>()
    };
    assert_eq!(closed(&mut shard), [day("2026-01-07")]);
    let mut shard = super::tests::shard();
    one(
        &mut shard,
        1,
        "2026-01-05T10:00:00Z",
        r#"{"status":"open"}"#,
    );
    for image in 0..200u64 {
        let (day, hour) = (7 + image / 20, image % 20);
        one(
            &mut shard,
            2 + image,
            &format!("2026-01-{day:02}T{hour:02}:00:00Z"),
            r#"{"status":"won"}"#,
        );
    }
    assert_eq!(
        closed(&mut shard),
        [day("2026-01-07")],
        "two hundred row images say it again"
    );
}
