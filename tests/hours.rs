//! How long hours are kept, in the real engine: the numbers of days stay what they are.

use std::collections::BTreeMap;

use dealpulse::definitions::{DefinitionsSpec, HoursKept};
use dealpulse::pipeline::owner::Owner;
use serde_json::{Value, json};

use crate::support::stored::{Stored, code_and_output};

fn line(kind: &str, id: &str, sequence: u32, data: &Value) -> String {
    json!({
        "specversion": "1.0", "id": "e", "source": "crm", "type": format!("crm.{kind}.upserted"), "subject": id,
        "time": "2026-03-01T12:00:00Z", "sequence": sequence.to_string(), "data": data,
    })
    .to_string()
}

/// A deal that was won at an instant.
fn won(id: &str, closed_at: &str) -> String {
    let data =
        json!({"status": "won", "created_at": "2026-02-01T10:00:00Z", "closed_at": closed_at});
    line("deal", id, 1, &data)
}

/// The same deal, which was lost then after all.
fn lost(id: &str) -> String {
    line("deal", id, 2, &json!({"status": "lost"}))
}

fn lead(id: &str, created_at: &str) -> String {
    line("lead", id, 1, &json!({"created_at": created_at}))
}

/// The first count of a series in all, from the view, by the grain.
async fn counted(stored: &Stored, series: &str, grain: &str) -> i64 {
    let sql = format!(
        "SELECT sum(counts[1]) FROM cells WHERE series = '{series}' AND grain = '{grain}' AND dimension = ''"
    );
    stored.row(&sql).await[0].parse().unwrap()
}

/// What a shard holds in memory, by rollup, group and pane, without what is zero.
fn held(owner: &Owner) -> BTreeMap<String, Vec<i64>> {
    let mut held: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for (key, cell) in owner.shard().ledgers()[0].cells() {
        if !cell.is_zero() {
            let counts = held
                .entry(format!("{} {} {:?}", key.rollup, key.set, key.pane))
                .or_insert_with(|| vec![0; cell.counts.len()]);
            counts
                .iter_mut()
                .zip(&cell.counts)
                .for_each(|(sum, n)| *sum += n);
        }
    }
    held
}

async fn reconciled(stored: &Stored) -> Value {
    let output = stored.setup.ask("reconcile", &["--json"]).await;
    let (code, text) = code_and_output(&output);
    let found: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
    assert_eq!((code, &found["differing"]), (0, &0.into()), "{found:#}");
    found
}

#[tokio::test]
async fn hours_are_kept_for_a_week_and_days_for_ever() {
    let mut stored = Stored::new("hours").await;
    let deals = [
        won("D1", "2026-03-01T10:30:00Z"),
        won("D2", "2026-03-01T10:40:00Z"),
        won("D3", "2026-03-02T10:40:00Z"),
        lead("L1", "2026-03-01T10:30:00Z"),
    ];
    stored.feed_at("2026-03-02T12:00:00Z", &deals).await;
    for grain in ["hour", "day"] {
        assert_eq!(counted(&stored, "win_rate.closed", grain).await, 3);
    }
    // To the last moment of the eighth day they are corrected, too.
    let corrected = [lost("D2"), won("D4", "2026-03-08T20:00:00Z")];
    stored.feed_at("2026-03-08T23:59:59Z", &corrected).await;
    for grain in ["hour", "day"] {
        assert_eq!(counted(&stored, "win_rate.closed", grain).await, 3);
    }
    reconciled(&stored).await;

    let rows = "SELECT count(), max(version) FROM rollups FINAL WHERE series = 'win_rate.closed' AND grain = 'hour' AND toDate(pane) = '2026-03-01'";
    let before = stored.row(rows).await;
    // The next day takes the hours of the first one away, in every shard that hears of it.
    let late = [
        lost("D1"),
        won("D5", "2026-03-01T09:00:00Z"),
        won("D6", "2026-03-01T09:00:00Z"),
        won("D7", "2026-03-01T09:00:00Z"),
        won("D8", "2026-03-09T01:00:00Z"),
    ];
    stored.feed_at("2026-03-09T02:00:00Z", &late).await;
    assert_eq!(stored.row(rows).await, before, "nothing is written of them");
    assert_eq!(counted(&stored, "win_rate.closed", "day").await, 6);
    let hours = counted(&stored, "win_rate.closed", "hour").await;
    assert_eq!(hours, 3, "D3, D4, D8");
    let found = reconciled(&stored).await;
    assert!(
        found["cells"].as_u64().is_some_and(|cells| cells > 50),
        "{found:#}"
    );

    // A restart finds the same.
    let running: Vec<_> = stored.owners().iter().map(held).collect();
    stored.restart().await;
    let restarted: Vec<_> = stored.owners().iter().map(held).collect();
    assert_eq!(restarted, running);
    let total: usize = restarted.iter().map(BTreeMap::len).sum();
    assert!(total > 20, "{total}");

    // The cohort's hours count when it is mature, and as long after that.
    assert_eq!(counted(&stored, "lead_source.cohort", "hour").await, 0);
    assert_eq!(counted(&stored, "close_rate.cohort", "hour").await, 1);
    let next = |id: &str| [won(id, "2026-06-01T10:00:00Z")];
    stored.feed_at("2026-06-06T10:00:00Z", &next("D9")).await;
    assert_eq!(counted(&stored, "close_rate.cohort", "hour").await, 1);
    // Every shard hears of that day: what one keeps goes by the last message that it took.
    let of_every_shard: Vec<String> = (10..40)
        .flat_map(|number| next(&format!("D{number}")))
        .collect();
    stored
        .feed_at("2026-06-07T10:00:00Z", &of_every_shard)
        .await;
    assert_eq!(counted(&stored, "close_rate.cohort", "hour").await, 0);
    assert_eq!(counted(&stored, "close_rate.cohort", "day").await, 1);
    reconciled(&stored).await;

    // What the handbook says takes away what no reader takes, and nothing else.
    let hours = "SELECT count() FROM rollups WHERE grain = 'hour'";
    let before: u64 = stored.row(hours).await[0].parse().unwrap();
    let handbook = std::fs::read_to_string("docs/configuration.md").unwrap();
    let mut lines = handbook.lines();
    let statement = lines.find(|line| line.starts_with("ALTER TABLE rollups DELETE"));
    let now = "toDateTime('2026-06-10 10:00:00')";
    let statement = statement.unwrap().replace("now()", now);
    let at_once = format!("{statement} SETTINGS mutations_sync = 2");
    stored.execute(&at_once).await;
    let after: u64 = stored.row(hours).await[0].parse().unwrap();
    assert!(0 < after && after < before, "{after} of {before}");
    reconciled(&stored).await;
}

#[tokio::test]
async fn all_hours_are_kept_where_the_definitions_say_so() {
    let all = DefinitionsSpec {
        hours_kept: HoursKept::All,
        ..DefinitionsSpec::default()
    };
    let mut stored = Stored::with("all_hours", all).await;
    let deals = [
        won("D1", "2026-03-01T10:30:00Z"),
        won("D2", "2026-03-01T11:30:00Z"),
    ];
    stored.feed_at("2026-10-02T12:00:00Z", &deals).await;
    stored.feed_at("2026-12-02T12:00:00Z", &[lost("D1")]).await;
    for grain in ["hour", "day"] {
        assert_eq!(counted(&stored, "win_rate.closed", grain).await, 1);
    }
}
