//! Activities: what was done and what is planned follow every correction, move and deletion.

use std::collections::BTreeMap;

use crate::support::pure::Pure;
use crate::support::steps::{self, at, event, left_out};
use crate::support::stored::Stored;
use dealpulse::definitions::{DefinitionsSpec, Exclusion};
use dealpulse::event::When;
use dealpulse::metric::find;
use dealpulse::window::rolling::{Now, Window};
use serde_json::{Value, json};

fn activity(id: &str, minute: usize, data: Value) -> String {
    event("activity", id, minute, data)
}

/// Compares the named figures of all time after each step. A group in which nothing is counted is
/// not there.
async fn follow(spec: DefinitionsSpec, paths: &[&str], steps: &[(String, &[i64])]) {
    let steps: Vec<(String, Vec<i64>)> = steps
        .iter()
        .map(|(line, expected)| (line.clone(), expected.to_vec()))
        .collect();
    let read = |pure: &Pure| {
        let found = at(&pure.all_time(), paths).into_iter();
        let counts = found.map(|figure| match figure {
            Value::Null => 0,
            figure => figure.as_i64().expect("a count"),
        });
        counts.collect()
    };
    steps::follow(&spec, &steps, read).await;
}

#[tokio::test]
async fn an_activity_is_planned_until_it_is_done_and_counts_for_whoever_does_it() {
    let paths = [
        "/activities/all/done",
        "/activities/all/call",
        "/activities/all/other",
        "/activities/owner=u1/done",
        "/activities/owner=u2/done",
        "/activities/all/overdue",
        "/activities/all/due",
        "/activities/all/undated",
    ];
    let restored = "activity.restored";
    let steps: Vec<(String, &[i64])> = vec![
        // The last instant that anything was done is what today is here; before there is one it is
        // 1970.
        (
            activity("T1", 0, json!({"kind": "note", "done_at": "2026-05-01"})),
            &[1, 0, 0, 0, 0, 0, 0, 0],
        ),
        (
            activity("T2", 1, json!({"owner_id": "u1"})),
            &[1, 0, 0, 0, 0, 0, 0, 1],
        ),
        (
            activity("T2", 2, json!({"due_at": "2026-05-01"})),
            &[1, 0, 0, 0, 0, 0, 1, 0],
        ),
        (
            activity("T2", 3, json!({"due_at": "2026-04-30T23:59:59Z"})),
            &[1, 0, 0, 0, 0, 1, 0, 0],
        ),
        (
            activity("T2", 4, json!({"done_at": "2026-05-01"})),
            &[2, 0, 1, 1, 0, 0, 0, 0],
        ),
        (
            activity("T2", 5, json!({"kind": "call"})),
            &[2, 1, 0, 1, 0, 0, 0, 0],
        ),
        (
            activity("T2", 6, json!({"owner_id": "u2"})),
            &[2, 1, 0, 0, 1, 0, 0, 0],
        ),
        // What was taken for done is not.
        (
            activity("T2", 7, json!({"done": false})),
            &[1, 0, 0, 0, 0, 1, 0, 0],
        ),
        (
            event("activity.deleted", "T2", 8, json!({})),
            &[1, 0, 0, 0, 0, 0, 0, 0],
        ),
        (
            event(restored, "T2", 9, json!({"done": true})),
            &[2, 1, 0, 0, 1, 0, 0, 0],
        ),
        // Due in a year that has no panes is due on no day that could be compared.
        (
            activity("T3", 10, json!({"due_at": "2150-01-01"})),
            &[2, 1, 0, 0, 1, 0, 0, 1],
        ),
    ];
    follow(DefinitionsSpec::default(), &paths, &steps).await;
}

#[tokio::test]
async fn an_activity_left_out_is_neither_done_nor_planned() {
    let of_notes = Exclusion {
        entity: "activity".into(),
        field: "kind".into(),
        values: vec!["note".into()],
    };
    let spec = DefinitionsSpec {
        exclude: BTreeMap::from([("activities".to_owned(), vec![of_notes])]),
        ..DefinitionsSpec::default()
    };
    let paths = ["/activities/all/done", "/activities/all/undated"];
    let steps: Vec<(String, &[i64])> = vec![
        (
            activity("T1", 1, json!({"kind": "note", "done": true})),
            &[0, 0],
        ),
        (activity("T2", 2, json!({"kind": "note"})), &[0, 0]),
        (activity("T1", 3, json!({"kind": "task"})), &[1, 0]),
        (activity("T2", 4, json!({"kind": "task"})), &[1, 1]),
        (activity("T1", 5, json!({"kind": "note"})), &[0, 1]),
    ];
    follow(spec, &paths, &steps).await;
}

#[tokio::test]
async fn what_is_planned_is_the_same_in_every_window() {
    let mut pure = Pure::new(2, DefinitionsSpec::default()).await;
    let lines = [
        activity("T1", 1, json!({"due_at": "2025-01-01"})),
        activity("T2", 2, json!({"due_at": "2026-05-01"})),
        activity("T3", 3, json!({"due_at": "2027-01-01"})),
        activity("T4", 4, json!({})),
    ];
    let numbered = lines.iter().enumerate();
    pure.feed(numbered.map(|(n, line)| (n as u64, line.as_str())), 1)
        .await;
    let calendar = &pure.definitions.calendar;
    let instant = |text: &str| calendar.instant(When::parse(text).unwrap());
    let month = calendar.day(When::parse("2026-03-01").unwrap());
    let windows = vec![Window::Hours(24), Window::Days(7), Window::Month(month)];
    let at = Now {
        now: instant("2026-05-01T12:00:00Z"),
        watermark: instant("2026-05-01T12:00:00Z"),
    };
    let read = pure.read(windows, at);
    let activities = read.metrics.iter().find(|m| m.name == "activities");
    for window in 0..3 {
        let total = activities.unwrap().total(window).unwrap();
        let of = |path| find(total, path)[0].1.gauge();
        let found = ["done", "overdue", "due", "undated"].map(of);
        assert_eq!(found, [0.0, 1.0, 2.0, 1.0].map(Some));
    }
}

#[tokio::test]
async fn the_latest_touch_of_a_contact_follows_its_activities() {
    let contact = |id: &str, minute, data| event("contact", id, minute, data);
    let paths = [
        "/touches/all/touched",
        "/touches/all/contacts",
        "/touches/all/never",
        "/touches/all/untouched_30",
        "/touches/all/untouched_90",
        "/touches/owner=u1/touched",
        "/touches/owner=u2/touched",
    ];
    let with = |id: &str| json!({"contact_id": id});
    let steps: Vec<(String, &[i64])> = vec![
        // Before anything is known of the contact itself.
        (
            activity(
                "T1",
                0,
                json!({"contact_id": "C1", "done_at": "2026-01-01"}),
            ),
            &[0, 0, 0, 0, 0, 0, 0],
        ),
        (
            contact(
                "C1",
                1,
                json!({"owner_id": "u1", "created_at": "2025-06-01"}),
            ),
            &[1, 1, 0, 0, 0, 1, 0],
        ),
        (
            contact(
                "C2",
                2,
                json!({"owner_id": "u2", "created_at": "2025-06-01"}),
            ),
            &[1, 2, 1, 1, 1, 1, 0],
        ),
        // Today is the day of the last activity.
        (
            activity(
                "T2",
                3,
                json!({"contact_id": "C2", "done_at": "2026-05-01"}),
            ),
            &[2, 2, 0, 1, 1, 1, 1],
        ),
        // April 2 is the first of the last thirty days, April 1 is before them.
        (
            activity(
                "T3",
                4,
                json!({"contact_id": "C1", "done_at": "2026-04-02"}),
            ),
            &[2, 2, 0, 0, 0, 1, 1],
        ),
        (
            activity("T3", 5, json!({"done_at": "2026-04-01"})),
            &[2, 2, 0, 1, 0, 1, 1],
        ),
        (
            event("activity.deleted", "T3", 6, json!({})),
            &[2, 2, 0, 1, 1, 1, 1],
        ),
        (
            event("activity.restored", "T3", 7, json!({})),
            &[2, 2, 0, 1, 0, 1, 1],
        ),
        (
            activity("T3", 8, json!({"done": false})),
            &[2, 2, 0, 1, 1, 1, 1],
        ),
        (activity("T1", 9, with("C2")), &[1, 2, 1, 1, 1, 0, 1]),
        (activity("T1", 10, with("C1")), &[2, 2, 0, 1, 1, 1, 1]),
        (
            event("contact.merged", "C2", 11, json!({"merged_into": "C1"})),
            &[1, 1, 0, 0, 0, 1, 0],
        ),
        (
            contact("C1", 12, json!({"owner_id": "u2"})),
            &[1, 1, 0, 0, 0, 0, 1],
        ),
        (
            event("contact.deleted", "C1", 13, json!({})),
            &[0, 0, 0, 0, 0, 0, 0],
        ),
        (
            event("contact.restored", "C1", 14, json!({})),
            &[1, 1, 0, 0, 0, 0, 1],
        ),
    ];
    follow(DefinitionsSpec::default(), &paths, &steps).await;
}

#[tokio::test]
async fn whoever_is_untouched_is_a_contact_whatever_the_times_say() {
    let contact = |id: &str, minute, data| event("contact", id, minute, data);
    let paths = [
        "/touches/all/touched",
        "/touches/all/contacts",
        "/touches/all/never",
        "/touches/all/untouched_90",
    ];
    let steps: Vec<(String, &[i64])> = vec![
        (
            activity("T0", 0, json!({"kind": "note", "done_at": "2026-05-01"})),
            &[0, 0, 0, 0],
        ),
        // Touched before it was created, created tomorrow, and created at no time there are panes
        // of.
        (
            contact("C1", 1, json!({"created_at": "2026-04-01"})),
            &[0, 1, 1, 1],
        ),
        (
            activity(
                "T1",
                2,
                json!({"contact_id": "C1", "done_at": "2026-01-01"}),
            ),
            &[1, 1, 0, 1],
        ),
        (
            contact("C1", 3, json!({"created_at": "2026-05-02"})),
            &[1, 1, 0, 1],
        ),
        (
            contact("C1", 4, json!({"created_at": "1969-07-20"})),
            &[1, 1, 0, 1],
        ),
        // A touch at such a time is in all time only.
        (
            activity("T1", 5, json!({"done_at": "1969-07-21"})),
            &[1, 0, 0, 0],
        ),
    ];
    follow(DefinitionsSpec::default(), &paths, &steps).await;
}

#[tokio::test]
async fn an_activity_left_out_touches_nobody_and_a_contact_left_out_comes_back_touched() {
    let of_touches = vec![
        left_out("activity", "kind", "note"),
        left_out("contact", "owner_id", "test"),
    ];
    let spec = DefinitionsSpec {
        exclude: BTreeMap::from([("touches".to_owned(), of_touches)]),
        ..DefinitionsSpec::default()
    };
    let note = json!({"kind": "note", "contact_id": "C1", "done_at": "2026-05-01"});
    let paths = ["/touches/all/touched", "/touches/all/contacts"];
    let owner = |owner: &str, minute| event("contact", "C1", minute, json!({"owner_id": owner}));
    let steps: Vec<(String, &[i64])> = vec![
        (activity("T1", 0, note), &[0, 0]),
        (owner("u1", 1), &[0, 1]),
        (activity("T1", 2, json!({"kind": "call"})), &[1, 1]),
        (owner("test", 3), &[0, 0]),
        (activity("T1", 4, json!({"kind": "email"})), &[0, 0]),
        (owner("u1", 5), &[1, 1]),
        (activity("T1", 6, json!({"kind": "note"})), &[0, 1]),
    ];
    follow(spec, &paths, &steps).await;
}

#[tokio::test]
async fn the_race_ranks_owners_by_week_and_month_and_equals_by_name() {
    let mut stored = Stored::new("activities").await;
    let done = |id: &str, owner: &str, kind: &str, day: &str| {
        activity(
            id,
            1,
            json!({"owner_id": owner, "kind": kind, "done_at": day}),
        )
    };
    // March 29 is a Sunday, the last day of its week; April 1 is a Wednesday of the next one.
    let lines = [
        done("T1", "u2", "call", "2026-03-29"),
        done("T2", "u1", "email", "2026-03-29"),
        done("T3", "u2", "call", "2026-03-30"),
        done("T4", "u3", "demo", "2026-04-01"),
        done("T5", "u3", "call", "2026-04-01"),
        activity("T6", 1, json!({"done_at": "2026-04-01"})),
        activity("T7", 1, json!({"owner_id": "u1", "due_at": "2026-04-01"})),
    ];
    stored.feed(&lines).await;
    let sql = "SELECT period, start, rank, substring(owner, -2), done, call, email, demo FROM activity_race ORDER BY period, start, rank";
    let text = stored
        .clickhouse
        .fetch("asking for a test", sql, "CSV")
        .await
        .unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap().replace('"', "");
    let found: Vec<&str> = text.lines().collect();
    let expected = [
        "month,2026-03-01,1,u2,2,2,0,0",
        "month,2026-03-01,2,u1,1,0,1,0",
        "month,2026-04-01,1,u3,2,1,0,1",
        "week,2026-03-23,1,u1,1,0,1,0",
        "week,2026-03-23,2,u2,1,1,0,0",
        "week,2026-03-30,1,u3,2,1,0,1",
        "week,2026-03-30,2,u2,1,1,0,0",
    ];
    assert_eq!(found, expected);
}
