//! Faults on real engines, in their short versions; `make soak` runs the long ones.
//! `support/faults.rs` describes each.

use std::sync::OnceLock;
use std::time::Duration;

use crate::support::faults;
use crate::support::scenario;
use dealpulse::local::generate::GeneratedEvent;

fn events() -> &'static [GeneratedEvent] {
    static EVENTS: OnceLock<Vec<GeneratedEvent>> = OnceLock::new();
    EVENTS.get_or_init(|| scenario::events(30_000))
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_nine_at_random_moments_changes_nothing() {
    faults::kills_at_random_moments("random_kills", events(), 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_hand_shards_over_under_load() {
    faults::three_members_come_and_go("three", events(), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_killed_in_the_middle_of_inserts_takes_and_doubles_nothing() {
    faults::clickhouse_killed_in_the_middle_of_inserts("mid_insert", events(), 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_that_answers_nothing_for_a_while_is_waited_for() {
    faults::clickhouse_frozen("frozen", &events()[20_000..], Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_and_a_read_only_disk_are_named_and_nothing_is_lost() {
    faults::disk_full_and_read_only("small_disk", &events()[21_000..]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_in_time_and_its_exit_code_shows_whether_anything_is_left() {
    faults::sigterm_ends_in_time_whatever_is_down("sigterm", &events()[24_000..]).await;
}
