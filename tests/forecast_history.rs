//! The forecast as it was: the state of hours in the database, and what the views make of it.

use crate::support::stored::Stored;
use serde_json::{Value, json};

fn deal(id: &str, data: Value) -> String {
    json!({
        "specversion": "1.0", "id": "e", "source": "crm", "type": "crm.deal.upserted", "subject": id,
        "time": "2026-03-01T10:00:00Z", "sequence": data["sequence"], "data": data["data"],
    })
    .to_string()
}

fn open(id: &str, sequence: u32, amount: &str, expected: &str) -> String {
    let data = json!({"status": "open", "amount": amount, "currency": "EUR", "probability": 0.5, "expected_close_date": expected});
    deal(id, json!({"sequence": sequence.to_string(), "data": data}))
}

fn won(id: &str, sequence: u32) -> String {
    let data = json!({"status": "won", "closed_at": "2026-03-11"});
    deal(id, json!({"sequence": sequence.to_string(), "data": data}))
}

/// The open amount, its weighted part and its deals as of an instant; blank where nothing is known.
async fn as_of(stored: &Stored, instant: &str) -> String {
    let sql = format!(
        "SELECT toString(sum(pipeline)), toString(sum(weighted)), toString(sum(pipeline_deals)) FROM forecast_states \
         WHERE dimension = '' AND since <= toDateTime('{instant}', 'UTC') AND toDateTime('{instant}', 'UTC') < until"
    );
    stored.row(&sql).await.join(" ")
}

async fn of_day(stored: &Stored, day: &str) -> String {
    let sql = format!(
        "SELECT toString(sum(pipeline)), toString(sum(pipeline_deals)), toString(groupUniqArray(toMonth(expected_close))) FROM forecast_daily \
         WHERE dimension = '' AND day = '{day}'"
    );
    stored.row(&sql).await.join(" ")
}

/// Two deals, of which one is re-priced within an hour, moved to another month, and won on the next
/// day.
async fn history(name: &str) -> Stored {
    let mut stored = Stored::new(name).await;
    let at = "2026-03-10T08:10:00Z";
    stored
        .feed_at(at, &[open("D1", 1, "100", "2026-03-20")])
        .await;
    let at = "2026-03-10T08:50:00Z";
    stored
        .feed_at(at, &[open("D1", 2, "150", "2026-04-20")])
        .await;
    let at = "2026-03-10T10:05:00Z";
    stored
        .feed_at(at, &[open("D2", 3, "30", "2026-04-21")])
        .await;
    stored
        .feed_at("2026-03-11T09:00:00Z", &[won("D1", 4)])
        .await;
    stored
}

#[tokio::test]
async fn as_of_an_hour_the_forecast_is_what_was_known_at_its_start() {
    let stored = history("forecast_hours").await;
    for (instant, expected) in [
        ("2026-03-10 08:30:00", "0 0 0"),
        ("2026-03-10 08:59:59", "0 0 0"),
        ("2026-03-10 09:00:00", "150 75 1"),
        ("2026-03-10 10:30:00", "150 75 1"),
        ("2026-03-10 11:00:00", "180 90 2"),
        ("2026-03-11 09:59:59", "180 90 2"),
        ("2026-03-11 10:00:00", "30 15 1"),
        ("2026-11-11 10:00:00", "30 15 1"),
    ] {
        assert_eq!(as_of(&stored, instant).await, expected, "{instant}");
    }
}

#[tokio::test]
async fn every_day_has_the_forecast_as_it_was_at_its_end() {
    let stored = history("forecast_days").await;
    assert_eq!(of_day(&stored, "2026-03-09").await, "0 0 []");
    assert_eq!(of_day(&stored, "2026-03-10").await, "180 2 [4]");
    for day in ["2026-03-11", "2026-03-12", "2026-10-31"] {
        assert_eq!(of_day(&stored, day).await, "30 1 [4]", "{day}");
    }
    let days = "SELECT toString(max(day) < toDate(now('Europe/Berlin'))), toString(count() = uniq(day)) FROM forecast_daily \
                WHERE dimension = ''  AND day > '2026-03-10'";
    assert_eq!(
        stored.row(days).await,
        ["1", "1"],
        "today is not over, and no day is twice"
    );
}

#[tokio::test]
async fn an_hour_counts_by_the_epoch_that_was_current_in_it() {
    let stored = history("forecast_epochs").await;
    // The next epoch has been counted since the evening, and is current from midnight of UTC on.
    stored
        .execute(
            "INSERT INTO hourly (epoch, series, grain, dimension, pane, value, currency, shard, hour, counts, sums, sketch, version) \
             SELECT 2, series, grain, dimension, pane, value, currency, shard, toDateTime('2026-03-11 20:00:00', 'UTC'), counts, \
                 arrayMap(s -> s + s, sums), sketch, version FROM hourly FINAL WHERE hour = '2026-03-10 10:00:00'",
        )
        .await;
    stored
        .execute(
            "INSERT INTO epochs (epoch, definitions, generation, partitions, live, live_since, version) \
             SELECT 2, definitions, generation, partitions, 1, toDateTime64('2026-03-12 00:00:00', 6, 'UTC'), version FROM epochs",
        )
        .await;
    assert_eq!(as_of(&stored, "2026-03-11 23:59:59").await, "30 15 1");
    assert_eq!(as_of(&stored, "2026-03-12 00:00:00").await, "60 30 1");
    // Days are those of Berlin: its 11th ended an hour before.
    assert_eq!(of_day(&stored, "2026-03-11").await, "30 1 [4]");
    assert_eq!(of_day(&stored, "2026-03-12").await, "60 1 [4]");
}
