//! Bounds: what a shard keeps while ClickHouse takes nothing, or little. Rows of what is there are
//! kept once, however often they are touched; of the others only so many, and then folding waits:
//! lag grows, memory doesn't. `make soak` has the long version.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::support::faults;
use crate::support::pipeline::Metrics;
use crate::support::pure::{Pure, context};
use crate::support::scenario::{self, Scenario};
use dealpulse::definitions::DefinitionsSpec;
use dealpulse::event::decode::cloudevents;
use dealpulse::pipeline::Log;
use dealpulse::pipeline::flush::{FlushBatch, Once};
use dealpulse::pipeline::owner::{Flush, Owner};
use dealpulse::pipeline::route::partition_by_home;
use serde_json::json;

/// Of the rows that later ones don't replace, so many may wait.
const BOUND: usize = 500;
/// The most such rows one of these messages makes: a change, and for each of two metrics with a
/// time, and without one, a cell at zero in every group.
const A_MESSAGE: usize = 80;

/// One shard with a log of so many messages, each of one event.
async fn shard(lines: impl Iterator<Item = String>) -> Pure {
    let pure = Pure::new(1, DefinitionsSpec::default()).await;
    for (offset, line) in (0..).zip(lines) {
        let decoded = cloudevents::decode(Some(line.as_bytes()), &[], &context(offset));
        assert!(decoded.rejected.is_empty(), "{line}");
        pure.log
            .append(partition_by_home(&decoded.assertions, 1))
            .await
            .expect("the log");
    }
    pure
}

/// An event of one of 20 deals, a minute after the one before.
fn said(number: u64, data: &serde_json::Value) -> String {
    let time = chrono::DateTime::from_timestamp(1_772_000_000 + 60 * number as i64, 0)
        .expect("in range")
        .to_rfc3339();
    let event = json!({"specversion": "1.0", "id": "e", "source": "crm", "type": "crm.deal.upserted", "subject": format!("D-{}", number % 20),
        "time": time, "data": data});
    event.to_string()
}

/// Deals that are won, change hands, accounts and places with every event.
fn restless(number: u64) -> String {
    let owner = format!("u-{number}");
    said(
        number,
        &json!({"status": "won", "owner_id": owner, "account_id": format!("A-{number}"), "region": format!("r-{number}"),
            "amount": format!("{number}.00"), "currency": "EUR", "created_at": "2026-02-01T00:00:00Z", "closed_at": "2026-02-20T00:00:00Z"}),
    )
}

/// Folds as far as the bound lets it, or to the end.
fn fold(owner: &mut Owner, pure: &Pure) -> u64 {
    for entry in pure.log.read(0, owner.position(), usize::MAX) {
        if owner.must_wait(BOUND) {
            break;
        }
        owner.fold(&entry).expect("it can be folded");
    }
    owner.position()
}

async fn write(flush: Flush, pure: &Pure) {
    FlushBatch::new(1, 1, vec![flush])
        .write(&pure.log, &pure.store, &Once)
        .await
        .expect("it is written");
}

#[tokio::test]
async fn without_an_acknowledgement_a_shard_folds_until_the_bound_and_goes_on_with_the_next() {
    let mut pure = shard((0..4_000).map(restless)).await;
    let mut owner = pure.owners.remove(0);
    owner
        .fold(&pure.log.read(0, 0, 1)[0])
        .expect("it can be folded");
    let mut on_its_way = owner.flush().expect("something was touched");
    let (mut waits, mut end) = (0, 0);
    while end < 4_000 {
        let reached = fold(&mut owner, &pure);
        assert!(owner.flush().is_none(), "one is on its way");
        if reached == end {
            assert!(owner.must_wait(BOUND), "it stopped for no reason");
        }
        end = reached;
        let waiting = owner.shard().append_only_rows();
        assert!(waiting < BOUND + A_MESSAGE, "{waiting} rows wait");
        // The store is back: what was on its way is written, and what waited follows.
        waits += usize::from(owner.must_wait(BOUND));
        write(on_its_way, &pure).await;
        owner.acknowledge();
        on_its_way = owner.flush().expect("something was folded");
        assert_eq!(owner.shard().append_only_rows(), 0);
    }
    assert!(waits > 10, "it had to wait {waits} times only");
    write(on_its_way, &pure).await;
    owner.acknowledge();
    pure.owners.push(owner);
    settled_as_never_held_back(pure, (0..4_000).map(restless)).await;
}

/// Folds the rest (links that were sent) to the end and compares with a pipeline that flushed
/// whenever it liked.
async fn settled_as_never_held_back(mut pure: Pure, lines: impl Iterator<Item = String>) {
    pure.feed(std::iter::empty(), 1).await;
    let mut free = shard(lines).await;
    free.feed(std::iter::empty(), 1).await;
    assert_eq!(pure.all_time(), free.all_time());
    let facts = |pure: &Pure| {
        pure.store
            .record_rows()
            .into_iter()
            .map(|(key, row)| (key, row.row.state().to_owned()))
            .collect::<Vec<_>>()
    };
    assert_eq!(facts(&pure), facts(&free));
    assert_eq!(
        pure.store.change_rows().len(),
        free.store.change_rows().len()
    );
}

#[tokio::test]
async fn what_a_shard_keeps_unacknowledged_is_the_state_and_the_bound_however_long_it_lasts() {
    let pure = shard((0..4_000).map(restless)).await;
    // As large as it is where everything is acknowledged at once.
    let mut free = shard((0..4_000).map(restless)).await;
    free.feed(std::iter::empty(), 1).await;
    let state = free.owners[0].shard().bytes();

    let mut backpressured = Pure {
        log: pure.log,
        ..Pure::new(1, DefinitionsSpec::default()).await
    };
    let mut owner = backpressured.owners.remove(0);
    owner
        .fold(&backpressured.log.read(0, 0, 1)[0])
        .expect("it can be folded");
    let _on_its_way = owner.flush().expect("something was touched");
    let reached = fold(&mut owner, &backpressured);
    for _ in 0..10 {
        assert_eq!(
            fold(&mut owner, &backpressured),
            reached,
            "without an acknowledgement it stays where it is"
        );
    }
    assert!(reached < 200, "it folded {reached} of 4,000 messages");
    let kept = owner.shard().bytes();
    assert!(
        kept < state + BOUND * 1_024,
        "{kept} bytes; {state} where all is acknowledged"
    );
}

#[tokio::test]
async fn what_later_rows_replace_never_makes_it_wait() {
    // Renamed again and again: no number changes, and of each deal only the last row is ever
    // written.
    let mut pure = shard((0..4_000).map(|number| {
        said(
            number,
            &json!({"name": format!("name {number}"), "created_at": "2026-02-01"}),
        )
    }))
    .await;
    let mut owner = pure.owners.remove(0);
    owner
        .fold(&pure.log.read(0, 0, 1)[0])
        .expect("it can be folded");
    let _on_its_way = owner.flush().expect("something was touched");
    assert_eq!(fold(&mut owner, &pure), 4_000, "it waited");
    assert!(
        owner.shard().touched_rows() < BOUND,
        "{} rows wait, of 20 deals",
        owner.shard().touched_rows()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn while_clickhouse_is_down_lag_grows_and_memory_does_not() {
    faults::memory_while_clickhouse_is_down("bounded", &scenario::events(40_000)).await;
}

/// A way to ClickHouse on which every piece of an answer takes its time.
struct SlowWay {
    address: std::net::SocketAddr,
    milliseconds: Arc<AtomicU64>,
}

impl SlowWay {
    fn to(target: &str) -> SlowWay {
        let (listener, milliseconds) = (
            TcpListener::bind("127.0.0.1:0").expect("a port"),
            Arc::new(AtomicU64::new(0)),
        );
        let (address, target, delay) = (
            listener.local_addr().expect("an address"),
            target.to_owned(),
            milliseconds.clone(),
        );
        std::thread::spawn(move || {
            for there in listener.incoming().map_while(Result::ok) {
                let here = TcpStream::connect(&target).expect("ClickHouse listens");
                let (answers, asks) = (
                    here.try_clone().expect("a handle"),
                    there.try_clone().expect("a handle"),
                );
                std::thread::spawn(move || pass(asks, here, &AtomicU64::new(0)));
                let delay = delay.clone();
                std::thread::spawn(move || pass(answers, there, &delay));
            }
        });
        SlowWay {
            address,
            milliseconds,
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, milliseconds: &AtomicU64) {
    let mut piece = [0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        std::thread::sleep(Duration::from_millis(milliseconds.load(Ordering::Relaxed)));
        if to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_clickhouse_shows_as_lag_and_not_as_growth() {
    let mut scenario = Scenario::new("slow").await;
    let way = SlowWay::to(scenario.setup.clickhouse.trim_start_matches("http://"));
    scenario.setup.clickhouse = format!("http://{}", way.address);
    scenario.setup.flush_rows = 300;
    let pipeline = scenario.setup.start().await;
    pipeline
        .until("it has all shards", |metrics| {
            metrics.sum("dealpulse_shards_owned", "") == 3.0
        })
        .await;
    way.milliseconds.store(400, Ordering::Relaxed);
    scenario.send(&scenario::events(30_000)).await;

    // Two flushes' worth a shard, and what one message of the log adds at most: 500 assertions.
    let most = 3.0 * (2.0 * 300.0 + 500.0 * A_MESSAGE as f64);
    let bounded = |metrics: &Metrics| {
        let waiting = metrics.sum("dealpulse_append_only_rows", "");
        assert!(waiting < most, "{waiting} rows wait");
    };
    let lag = |metrics: &Metrics| metrics.sum("dealpulse_consumer_lag", "slow.log.1");
    pipeline
        .until(
            "a shard waits for ClickHouse, and lag shows it",
            |metrics| {
                bounded(metrics);
                metrics.sum("dealpulse_shards_backpressured", "") > 0.0 && lag(metrics) > 0.0
            },
        )
        .await;
    // It gets on all the same, flush by flush.
    let before = pipeline.metrics().sum("dealpulse_flush_seconds_count", "");
    pipeline
        .until("more flushes are made", |metrics| {
            bounded(metrics);
            metrics.sum("dealpulse_flush_seconds_count", "") >= before + 2.0
        })
        .await;
    assert_eq!(
        pipeline.metrics().sum("dealpulse_flush_retries_total", ""),
        0.0,
        "slow is not away"
    );

    way.milliseconds.store(0, Ordering::Relaxed);
    scenario.setup.settled().await;
    pipeline
        .until("nothing waits", |metrics| {
            metrics.sum("dealpulse_shards_backpressured", "")
                + metrics.sum("dealpulse_append_only_rows", "")
                == 0.0
        })
        .await;
    scenario.assert_as_in_memory(&pipeline).await;
}
