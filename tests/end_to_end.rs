//! The proof: through Apache Kafka and ClickHouse, killed and stopped and cut off in the middle,
//! the pipeline comes to exactly what the same messages come to in memory. Cells, records and
//! gauges are compared line by line.
//!
//! `DEALPULSE_E2E_EVENTS` sets how many events each test sends.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::support::kafka::{Kafka, free_port};
use crate::support::pipeline::{BY_BROKER, LEFT_OVER, Metrics, TIMEOUT};
use crate::support::reference::Reference;
use crate::support::scenario::{self, Clickhouse, Scenario};
use dealpulse::local::generate::GeneratedEvent;
use dealpulse::pipeline::Store;

fn events() -> &'static [GeneratedEvent] {
    static EVENTS: OnceLock<Vec<GeneratedEvent>> = OnceLock::new();
    EVENTS.get_or_init(|| {
        scenario::events(
            std::env::var("DEALPULSE_E2E_EVENTS").map_or(30_000, |count| {
                count.parse().expect("DEALPULSE_E2E_EVENTS: a number")
            }),
        )
    })
}

/// A part of the events, in as many parts as there are stages.
fn stage(number: usize, of: usize) -> &'static [GeneratedEvent] {
    scenario::stage(events(), number, of)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_out_is_what_the_same_messages_come_to_in_memory() {
    let scenario = Scenario::new("plain").await;
    scenario.send(events()).await;
    let started = Instant::now();
    let pipeline = scenario.setup.start().await;
    let answered = started.elapsed();
    pipeline
        .until("something is folded", |metrics| {
            metrics.sum("dealpulse_assertions_folded_total", "") > 0.0
        })
        .await;
    let first = started.elapsed();
    scenario.setup.settled().await;
    let done = started.elapsed();
    let rate = events().len() as f64 / (done - first).as_secs_f64();
    eprintln!(
        "{} events: answers after {answered:?}, folds after {first:?}, settled after {done:?}: {rate:.0} events/s",
        events().len()
    );

    let reference = scenario.assert_as_in_memory(&pipeline).await;
    let metrics = pipeline.metrics();
    assert_eq!(
        metrics.sum("dealpulse_events_routed_total", "") as usize,
        events().len()
    );
    assert_eq!(
        metrics.sum("dealpulse_assertions_routed_total", "") as usize,
        reference.asserted
    );
    assert_eq!(
        metrics.sum("dealpulse_assertions_folded_total", "") as u64,
        reference.folded()
    );
    assert_eq!(metrics.sum("dealpulse_shards_owned", ""), 3.0);
    for name in [
        "dealpulse_dead_letters_total",
        "dealpulse_shards_stopped",
        "dealpulse_flush_retries_total",
        "dealpulse_values_refused_total",
    ] {
        assert_eq!(metrics.sum(name, ""), 0.0, "{name}");
    }
    assert_eq!(scenario.setup.fold_lag().await, 0);
    pipeline
        .until("no lag is shown", |metrics| {
            metrics.sum("dealpulse_consumer_lag", "") == 0.0
        })
        .await;
    assert_eq!(pipeline.get("/readyz"), (200, "ready\n".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_nine_at_any_moment_changes_nothing() {
    let scenario = Scenario::new("killed").await;
    let folded = |metrics: &Metrics| metrics.sum("dealpulse_assertions_folded_total", "");
    let written = |metrics: &Metrics| metrics.sum("dealpulse_flush_rows_total", "");
    let part = stage(0, 5).len() as f64;

    // Early: routed, and hardly anything folded.
    scenario.send(stage(0, 5)).await;
    let pipeline = scenario.setup.start().await;
    pipeline
        .until("the first message is routed", |metrics| {
            metrics.sum("dealpulse_events_routed_total", "") > 0.0
        })
        .await;
    pipeline.kill_nine();
    assert!(!scenario.setup.is_settled().await, "it was killed too late");

    // In the middle of a back-fill.
    scenario.send(stage(1, 5)).await;
    let pipeline = scenario.setup.start().await;
    pipeline
        .until("half a part is folded", |metrics| {
            folded(metrics) > part / 2.0
        })
        .await;
    pipeline.kill_nine();
    assert!(!scenario.setup.is_settled().await, "it was killed too late");

    // While a flush is on its way: its rows are counted when it begins.
    scenario.send(stage(2, 5)).await;
    let pipeline = scenario.setup.start().await;
    pipeline
        .until("a flush begins", |metrics| written(metrics) > 0.0)
        .await;
    pipeline.kill_nine();
    assert!(!scenario.setup.is_settled().await, "it was killed too late");

    // Some flushes later, between any two steps.
    scenario.send(stage(3, 5)).await;
    let pipeline = scenario.setup.start().await;
    pipeline
        .until("several flushes were made", |metrics| {
            metrics.sum("dealpulse_flush_seconds_count", "") >= 3.0
        })
        .await;
    pipeline.kill_nine();

    scenario.send(stage(4, 5)).await;
    let pipeline = scenario.setup.start().await;
    scenario.setup.settled().await;
    scenario.assert_as_in_memory(&pipeline).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_come_and_go_and_nothing_changes() {
    let mut scenario = Scenario::new("instances").await;
    scenario.setup.properties = BY_BROKER.to_vec();
    let folds = |metrics: &Metrics| metrics.sum("dealpulse_assertions_folded_total", "") > 0.0;
    let owns = |metrics: &Metrics| metrics.sum("dealpulse_shards_owned", "") > 0.0;
    let (first, second) = tokio::join!(scenario.setup.start(), scenario.setup.start());
    tokio::join!(
        first.until("it has a shard", owns),
        second.until("it has one too", owns)
    );
    scenario.send(stage(0, 5)).await;
    tokio::join!(
        first.until("it folds", folds),
        second.until("it folds too", folds)
    );
    scenario.send(stage(1, 5)).await;
    first.kill_nine();

    // The survivor takes the dead one's shards; a third comes, and takes some of them while they
    // are folded; the survivor leaves.
    second
        .until("it has all shards", |metrics| {
            metrics.sum("dealpulse_shards_owned", "") == 3.0
        })
        .await;
    scenario.send(stage(2, 5)).await;
    let third = scenario.setup.start().await;
    third.until("it has a shard", owns).await;
    scenario.send(stage(3, 5)).await;
    third.until("it folds", folds).await;
    scenario.send(stage(4, 5)).await;
    // In the midst of it some cells may be in motion, but none differs for certain.
    let reconciled = scenario.setup.ask("reconcile", &[]).await;
    assert!(
        matches!(reconciled.status.code(), Some(0 | 5)),
        "{}",
        String::from_utf8_lossy(&reconciled.stdout)
    );
    let ended = second.sigterm().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert!(
        ended.took < Duration::from_secs(10),
        "it took {:?} to stop:\n{}",
        ended.took,
        ended.log
    );

    scenario.setup.settled().await;
    third
        .until("it has all shards", |metrics| {
            metrics.sum("dealpulse_shards_owned", "") == 3.0
        })
        .await;
    scenario.assert_as_in_memory(&third).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_flushes_all_that_is_folded_and_nothing_is_folded_again() {
    let mut scenario = Scenario::new("stopped").await;
    // Nothing but the end makes it flush.
    (scenario.setup.flush_milliseconds, scenario.setup.flush_rows) = (600_000, 100_000_000);
    scenario.send(events()).await;
    let reference = Reference::of(&scenario.setup).await;
    let pipeline = scenario.setup.start().await;
    let all = reference.folded();
    pipeline
        .until("all is folded", |metrics| {
            metrics.sum("dealpulse_assertions_folded_total", "") as u64 == all
        })
        .await;
    let store = scenario.setup.store();
    assert_eq!(
        store.checkpoint(1, 0).await.expect("an answer"),
        None,
        "flushed before it was stopped"
    );
    let ended = pipeline.sigterm().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert!(
        ended.took < Duration::from_secs(10),
        "it took {:?} to stop:\n{}",
        ended.took,
        ended.log
    );
    for topic in &scenario.setup.topics {
        assert_eq!(scenario.setup.route_lag(topic).await, 0, "{topic}");
    }

    scenario.setup.flush_milliseconds = 200;
    let pipeline = scenario.setup.start().await;
    scenario.setup.settled().await;
    let metrics = pipeline.metrics();
    assert_eq!(
        metrics.sum("dealpulse_assertions_folded_total", ""),
        0.0,
        "assertions were folded again"
    );
    assert_eq!(
        metrics.sum("dealpulse_events_routed_total", ""),
        0.0,
        "events were routed again"
    );
    assert!(
        metrics.sum("dealpulse_links_folded_total", "") > 0.0,
        "the last flush's links are folded"
    );
    scenario.assert_as_in_memory(&pipeline).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_clickhouse_is_down_the_fold_goes_on_and_nothing_is_lost() {
    let mut scenario = Scenario::new("cut_off").await;
    let (directory, port) = (tempfile::tempdir().expect("a directory"), free_port());
    scenario.setup.clickhouse = format!("http://127.0.0.1:{port}");
    let clickhouse = Clickhouse::start(port, directory.path());
    scenario.send(stage(0, 3)).await;
    let pipeline = scenario.setup.start().await;
    scenario.send(stage(1, 3)).await;
    pipeline
        .until("a flush begins", |metrics| {
            metrics.sum("dealpulse_flush_rows_total", "") > 0.0
        })
        .await;
    drop(clickhouse);

    let reason = pipeline.until_readyz(503, "flush: ClickHouse").await;
    assert!(reason.contains("is it running"), "{reason}");
    assert_eq!(
        pipeline.get("/healthz").0,
        200,
        "it lives; restarting it would not help"
    );
    scenario.send(stage(2, 3)).await;
    let all = Reference::of(&scenario.setup).await.folded() as f64;
    pipeline
        .until("all is folded all the same", |metrics| {
            metrics.sum("dealpulse_assertions_folded_total", "") == all
        })
        .await;

    let _clickhouse = Clickhouse::start(port, directory.path());
    let back = Instant::now();
    scenario.setup.settled().await;
    eprintln!(
        "settled {:?} after ClickHouse was started again",
        back.elapsed()
    );
    pipeline.until_readyz(200, "ready").await;
    assert!(back.elapsed() < TIMEOUT);
    scenario.assert_as_in_memory(&pipeline).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_and_comes_back_changes_nothing() {
    let mut scenario = Scenario::new("brokerless").await;
    let mut kafka = Kafka::start().await;
    scenario.setup.brokers = kafka.bootstrap();
    for (topic, partitions) in scenario.setup.topics.iter().zip([3, 2]) {
        kafka.create_topic(topic, partitions, &[]).await;
    }
    scenario.send(stage(0, 3)).await;
    let pipeline = scenario.setup.start().await;
    pipeline
        .until("a flush begins", |metrics| {
            metrics.sum("dealpulse_flush_rows_total", "") > 0.0
        })
        .await;
    kafka.restart().await;
    scenario.setup.settled().await;

    // Commits made in the rebalance were refused, and made up for.
    pipeline
        .until("no lag is shown", |metrics| {
            metrics.sum("dealpulse_consumer_lag", "") == 0.0
        })
        .await;

    // It is stopped while Kafka is down and there is work in flight.
    let routed = pipeline.metrics().sum("dealpulse_events_routed_total", "");
    scenario.send(stage(1, 3)).await;
    pipeline
        .until("it routes on", |metrics| {
            metrics.sum("dealpulse_events_routed_total", "") > routed
        })
        .await;
    kafka.kill_nine();
    let ended = pipeline.sigterm().await;
    assert!(
        matches!(ended.code, Some(0 | LEFT_OVER)),
        "{:?}:\n{}",
        ended.code,
        ended.log
    );
    assert!(
        ended.took < Duration::from_secs(30),
        "it took {:?} to stop without Kafka:\n{}",
        ended.took,
        ended.log
    );

    kafka.restart().await;
    scenario.send(stage(2, 3)).await;
    let pipeline = scenario.setup.start().await;
    scenario.setup.settled().await;
    scenario.assert_as_in_memory(&pipeline).await;
    pipeline.until_readyz(200, "ready").await;
    kafka.kill_nine();
    let ended = pipeline.sigterm().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert!(
        ended.took < Duration::from_secs(10),
        "it took {:?} to stop without Kafka:\n{}",
        ended.took,
        ended.log
    );
}
