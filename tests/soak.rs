//! The long versions of `faults.rs` and `bounds.rs`: outages of a minute, dozens of kills, an hour
//! of events. `make soak` runs them, one after another; together they take about a quarter of an
//! hour.

use std::sync::OnceLock;
use std::time::Duration;

use crate::support::faults;
use crate::support::scenario;
use dealpulse::local::generate::GeneratedEvent;

const MINUTE: Duration = Duration::from_secs(60);

fn events() -> &'static [GeneratedEvent] {
    static EVENTS: OnceLock<Vec<GeneratedEvent>> = OnceLock::new();
    EVENTS.get_or_init(|| scenario::events(120_000))
}

fn latest(count: usize) -> &'static [GeneratedEvent] {
    &events()[events().len() - count..]
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_nine_at_random_moments_changes_nothing() {
    faults::kills_at_random_moments("soak_random_kills", events(), 24).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_hand_shards_over_under_load() {
    faults::three_members_come_and_go("soak_three", events(), 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_killed_in_the_middle_of_inserts_takes_and_doubles_nothing() {
    faults::clickhouse_killed_in_the_middle_of_inserts("soak_mid_insert", events(), 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_down_for_a_minute_is_waited_for() {
    faults::clickhouse_down("away", latest(60_000), MINUTE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_that_answers_nothing_for_a_minute_is_waited_for() {
    faults::clickhouse_frozen("soak_frozen", latest(60_000), MINUTE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_and_a_read_only_disk_are_named_and_nothing_is_lost() {
    faults::disk_full_and_read_only("soak_small_disk", latest(30_000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_again_and_again_changes_nothing() {
    faults::broker_killed("broker_killed", events(), 10).await;
}

/// An hour at fifty events a second.
#[tokio::test(flavor = "multi_thread")]
async fn an_hour_of_events_without_clickhouse_stays_within_the_bound() {
    faults::memory_while_clickhouse_is_down("hour", &scenario::events(240_000)).await;
}
