//! Faults on real engines, each a scenario of a given length: the tests run the short version, the
//! soak the long one. Every scenario ends with all cells, facts and gauges compared with those of
//! the same messages folded in memory, so that nothing can be lost or doubled unseen.

use std::cell::Cell;
use std::time::{Duration, Instant};

use dealpulse::local::generate::GeneratedEvent;
use tempfile::TempDir;

use super::kafka::{Kafka, free_port};
use super::pipeline::{BY_BROKER, Ended, LEFT_OVER, Metrics, Pipeline};
use super::reference::Reference;
use super::scenario::{Clickhouse, Scenario, stage};
use super::small_disk::SmallDisk;

fn folded(metrics: &Metrics) -> f64 {
    metrics.sum("dealpulse_assertions_folded_total", "")
}

fn written(metrics: &Metrics) -> f64 {
    metrics.sum("dealpulse_flush_rows_total", "")
}

fn retries(metrics: &Metrics) -> f64 {
    metrics.sum("dealpulse_flush_retries_total", "")
}

fn owned(metrics: &Metrics) -> f64 {
    metrics.sum("dealpulse_shards_owned", "")
}

/// Random numbers from a seed that is printed, so that a history can be run again.
pub struct Dice(u64);

impl Dice {
    /// The random numbers of a seed.
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// The seed of `DEALPULSE_FAULT_SEED`, else one of the time of day.
    pub fn thrown(scene: &str) -> Dice {
        let given = std::env::var("DEALPULSE_FAULT_SEED")
            .ok()
            .map(|seed| seed.parse().expect("DEALPULSE_FAULT_SEED: a number"));
        let seed = given.unwrap_or(dealpulse::telemetry::wall_clock() as u64 / 1_000);
        eprintln!("{scene}: DEALPULSE_FAULT_SEED={seed}");
        Dice(seed)
    }

    /// A number below `end`, by SplitMix64.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }
}

/// A scenario with a ClickHouse of its own, which can be ended and started again.
struct Apart {
    scenario: Scenario,
    port: u16,
    directory: TempDir,
}

impl Apart {
    async fn new(name: &str) -> Apart {
        let (mut scenario, port) = (Scenario::new(name).await, free_port());
        scenario.setup.clickhouse = format!("http://127.0.0.1:{port}");
        Apart {
            scenario,
            port,
            directory: tempfile::tempdir().expect("a directory"),
        }
    }

    fn clickhouse(&self) -> Clickhouse {
        Clickhouse::start(self.port, self.directory.path())
    }

    fn small_disk(&self, megabytes: u32) -> SmallDisk {
        SmallDisk::start(self.port, self.directory.path(), megabytes)
    }

    /// Everything sent is folded, wherever it is written.
    async fn all_folded(&self, pipeline: &Pipeline) {
        let all = Reference::of(&self.scenario.setup).await.folded() as f64;
        pipeline
            .until("all is folded", |metrics| folded(metrics) >= all)
            .await;
    }

    async fn settled_as_in_memory(&self, pipeline: &Pipeline) {
        self.scenario.setup.settled().await;
        pipeline.until_readyz(200, "ready").await;
        self.scenario.assert_as_in_memory(pipeline).await;
    }
}

/// kill −9 of the pipeline at random moments, so many times.
pub async fn kills_at_random_moments(name: &str, events: &[GeneratedEvent], kills: usize) {
    let mut dice = Dice::thrown(name);
    let mut scenario = Scenario::new(name).await;
    // Members that are missed soon, so that the next instance has work when its own moment comes.
    scenario.setup.properties = BY_BROKER.to_vec();
    let mut in_the_middle = 0;
    for kill in 0..kills {
        scenario.send(stage(events, kill, kills + 1)).await;
        let pipeline = scenario.setup.start().await;
        // One in four is killed as it is, with or without shards; the others at some moment after
        // they have started to fold, the first of all at once, so that it hits work.
        let is_first = kill == 0;
        if is_first || dice.below(4) > 0 {
            let _ = tokio::time::timeout(
                Duration::from_secs(20),
                pipeline.until("it folds", |metrics| folded(metrics) > 0.0),
            )
            .await;
        }
        let after = if is_first { 0 } else { dice.below(1_000) };
        tokio::time::sleep(Duration::from_millis(after)).await;
        pipeline.kill_nine();
        in_the_middle += usize::from(!scenario.setup.is_settled().await);
    }
    eprintln!("{name}: {in_the_middle} of {kills} kills were in the middle of work");
    assert!(in_the_middle > 0, "no kill hit anything; try another seed");
    scenario.send(stage(events, kills, kills + 1)).await;
    let pipeline = scenario.setup.start().await;
    scenario.setup.settled().await;
    scenario.assert_as_in_memory(&pipeline).await;
}

/// Three members of one group of the classic protocol, which hand shards over to each other one by
/// one (cooperative-sticky), while events keep coming: they join, one leaves, one is killed,
/// another joins; so many rounds.
pub async fn three_members_come_and_go(name: &str, events: &[GeneratedEvent], rounds: usize) {
    let scenario = Scenario::new(name).await;
    let parts = rounds * 4 + 1;
    let mut next = (0..parts).map(|number| stage(events, number, parts));
    let mut part = || next.next().expect("a part a step");
    let mut first = scenario.setup.start().await;
    first
        .until("it has all shards", |metrics| owned(metrics) == 3.0)
        .await;
    for _ in 0..rounds {
        let (second, third, ()) = tokio::join!(
            scenario.setup.start(),
            scenario.setup.start(),
            scenario.send(part())
        );
        let one_each = |metrics: &Metrics| owned(metrics) == 1.0;
        tokio::join!(
            first.until("it has one shard", one_each),
            second.until("it has one", one_each),
            third.until("it has one", one_each)
        );
        scenario.send(part()).await;
        tokio::join!(
            second.until("it folds", |metrics| folded(metrics) > 0.0),
            third.until("it folds", |metrics| folded(metrics) > 0.0)
        );
        let (ended, ()) = tokio::join!(second.sigterm(), scenario.send(part()));
        assert_stopped(&ended, 0);
        first.kill_nine();
        scenario.send(part()).await;
        third
            .until("it has all shards", |metrics| owned(metrics) == 3.0)
            .await;
        first = third;
    }
    scenario.send(part()).await;
    scenario.setup.settled().await;
    scenario.assert_as_in_memory(&first).await;
}

/// ClickHouse killed while a flush is on its way to it, so many times.
pub async fn clickhouse_killed_in_the_middle_of_inserts(
    name: &str,
    events: &[GeneratedEvent],
    times: usize,
) {
    let apart = Apart::new(name).await;
    let mut clickhouse = apart.clickhouse();
    apart.scenario.send(stage(events, 0, times + 1)).await;
    let pipeline = apart.scenario.setup.start().await;
    for time in 0..times {
        let before = written(&pipeline.metrics());
        apart
            .scenario
            .send(stage(events, time + 1, times + 1))
            .await;
        pipeline
            .until("a flush begins", |metrics| written(metrics) > before)
            .await;
        let before = retries(&pipeline.metrics());
        drop(clickhouse);
        // What was sent is not all flushed yet, so something is on its way or soon will be.
        pipeline
            .until("a write failed", |metrics| retries(metrics) > before)
            .await;
        clickhouse = apart.clickhouse();
    }
    apart.settled_as_in_memory(&pipeline).await;
}

/// ClickHouse killed, and down for a while.
pub async fn clickhouse_down(name: &str, events: &[GeneratedEvent], outage: Duration) {
    let apart = Apart::new(name).await;
    let clickhouse = apart.clickhouse();
    apart.scenario.send(stage(events, 0, 2)).await;
    let pipeline = apart.scenario.setup.start().await;
    pipeline
        .until("a flush begins", |metrics| written(metrics) > 0.0)
        .await;
    drop(clickhouse);
    let since = Instant::now();
    apart.scenario.send(stage(events, 1, 2)).await;
    pipeline.until_readyz(503, "log 1 flush: ClickHouse").await;
    tokio::time::sleep(outage.saturating_sub(since.elapsed())).await;
    let _clickhouse = apart.clickhouse();
    apart.settled_as_in_memory(&pipeline).await;
}

/// ClickHouse suspended (SIGSTOP) for a while: it keeps its connections and answers nothing.
pub async fn clickhouse_frozen(name: &str, events: &[GeneratedEvent], outage: Duration) {
    let apart = Apart::new(name).await;
    let clickhouse = apart.clickhouse();
    apart.scenario.send(stage(events, 0, 2)).await;
    let pipeline = apart.scenario.setup.start().await;
    pipeline
        .until("a flush begins", |metrics| written(metrics) > 0.0)
        .await;
    clickhouse.freeze();
    let since = Instant::now();
    apart.scenario.send(stage(events, 1, 2)).await;
    apart.all_folded(&pipeline).await;
    assert_eq!(pipeline.get("/healthz").0, 200, "it lives");
    tokio::time::sleep(outage.saturating_sub(since.elapsed())).await;
    let age = pipeline.metrics().sum("dealpulse_data_age_seconds", "");
    assert!(
        age >= outage.as_secs_f64() * 0.5,
        "the metrics are not refreshed, and yet they are shown as {age} s old"
    );
    clickhouse.thaw();
    apart.settled_as_in_memory(&pipeline).await;
}

/// The disk of ClickHouse filled up, then made read-only. Each time the pipeline reports what is
/// wrong, and recovers when it is fixed.
pub async fn disk_full_and_read_only(name: &str, events: &[GeneratedEvent]) {
    let apart = Apart::new(name).await;
    let disk = apart.small_disk(384);
    apart.scenario.send(stage(events, 0, 3)).await;
    let pipeline = apart.scenario.setup.start().await;
    apart.scenario.setup.settled().await;

    disk.fill();
    apart.scenario.send(stage(events, 1, 3)).await;
    let no_space = "flush: ClickHouse, inserting";
    pipeline
        .wait("a flush finds no space", || {
            disk.fill();
            let (status, text) = pipeline.get("/readyz");
            status == 503
                && text
                    .lines()
                    .any(|line| line.contains(no_space) && line.contains("space"))
        })
        .await;
    apart.all_folded(&pipeline).await;
    disk.make_space();
    apart.scenario.setup.settled().await;
    pipeline.until_readyz(200, "ready").await;

    disk.make_read_only();
    apart.scenario.send(stage(events, 2, 3)).await;
    let reason = pipeline.until_readyz(503, "log 1 flush: ClickHouse").await;
    assert!(reason.contains("Read-only file system"), "{reason}");
    apart.all_folded(&pipeline).await;
    disk.make_writable();
    apart.settled_as_in_memory(&pipeline).await;
}

/// SIGTERM with everything written, with ClickHouse killed, and with ClickHouse frozen: it ends in
/// time, and the exit code shows how.
pub async fn sigterm_ends_in_time_whatever_is_down(name: &str, events: &[GeneratedEvent]) {
    let apart = Apart::new(name).await;
    let clickhouse = apart.clickhouse();
    apart.scenario.send(stage(events, 0, 3)).await;
    let pipeline = apart.scenario.setup.start().await;
    apart.scenario.setup.settled().await;
    assert_stopped(&pipeline.sigterm().await, 0);

    let pipeline = apart.scenario.setup.start().await;
    pipeline
        .wait("all shards are restored", || taken_on(&pipeline) == 3)
        .await;
    drop(clickhouse);
    apart.scenario.send(stage(events, 1, 3)).await;
    pipeline
        .until("it folds", |metrics| folded(metrics) > 0.0)
        .await;
    assert_stopped(&pipeline.sigterm().await, LEFT_OVER);

    let clickhouse = apart.clickhouse();
    let pipeline = apart.scenario.setup.start().await;
    pipeline
        .wait("all shards are restored", || taken_on(&pipeline) == 3)
        .await;
    clickhouse.freeze();
    apart.scenario.send(stage(events, 2, 3)).await;
    pipeline
        .until("it folds", |metrics| folded(metrics) > 0.0)
        .await;
    assert_stopped(&pipeline.sigterm().await, LEFT_OVER);
    clickhouse.thaw();

    let pipeline = apart.scenario.setup.start().await;
    apart.settled_as_in_memory(&pipeline).await;
    assert_stopped(&pipeline.sigterm().await, 0);
}

/// A broker killed −9 under load and started again, so many times.
pub async fn broker_killed(name: &str, events: &[GeneratedEvent], times: usize) {
    let mut scenario = Scenario::new(name).await;
    let mut kafka = Kafka::start().await;
    scenario.setup.brokers = kafka.bootstrap();
    for (topic, partitions) in scenario.setup.topics.iter().zip([3, 2]) {
        kafka.create_topic(topic, partitions, &[]).await;
    }
    scenario.send(stage(events, 0, times + 1)).await;
    let pipeline = scenario.setup.start().await;
    for time in 0..times {
        let before = folded(&pipeline.metrics());
        scenario.send(stage(events, time + 1, times + 1)).await;
        pipeline
            .until("it folds on", |metrics| folded(metrics) > before)
            .await;
        kafka.restart().await;
    }
    scenario.setup.settled().await;
    scenario.assert_as_in_memory(&pipeline).await;
}

/// Memory while ClickHouse is down for so many events: every shard reaches its bound and waits, lag
/// shows it, and the process grows by no more than the state, a copy of the touched rows on their
/// way, and the bound; what waits in the clients' queues is bounded by settings.
pub async fn memory_while_clickhouse_is_down(name: &str, events: &[GeneratedEvent]) {
    let mut apart = Apart::new(name).await;
    let flush_rows = 500;
    apart.scenario.setup.flush_rows = flush_rows;
    let clickhouse = apart.clickhouse();
    let (before, outage) = events.split_at(events.len() / 4);
    apart.scenario.send(before).await;
    let pipeline = apart.scenario.setup.start().await;
    apart.scenario.setup.settled().await;
    pipeline
        .until("its state is known", |metrics| {
            metrics.sum("dealpulse_state_bytes", "") > 0.0
        })
        .await;
    let at_first = pipeline.resident();
    drop(clickhouse);

    let most = Cell::new(at_first);
    let look = || most.set(most.get().max(pipeline.resident()));
    for part in outage.chunks(5_000) {
        apart.scenario.send(part).await;
        look();
    }
    pipeline
        .until("every shard waits for ClickHouse", |metrics| {
            metrics.sum("dealpulse_shards_backpressured", "") == 3.0
        })
        .await;
    let stands_at = folded(&pipeline.metrics());
    let log = format!("{name}.log.1");
    let lag = |metrics: &Metrics| metrics.sum("dealpulse_consumer_lag", &log);
    pipeline
        .until("all is routed, and the lag is shown", |metrics| {
            look();
            metrics.sum("dealpulse_events_routed_total", "") as usize >= events.len()
                && lag(metrics) > 0.0
        })
        .await;
    let (metrics, most) = (pipeline.metrics(), most.get());
    assert_eq!(folded(&metrics), stands_at, "it folds on");
    let waiting = metrics.sum("dealpulse_unmerged_rows", "");
    let state = metrics.sum("dealpulse_state_bytes", "");
    eprintln!(
        "{name}: {} events while ClickHouse was down; {waiting} rows wait; state {:.1} MB; resident {:.0} MB, at most {:.0} MB",
        outage.len(),
        state / 1e6,
        at_first as f64 / 1e6,
        most as f64 / 1e6
    );
    // One message may add as many rows as its 500 assertions touch.
    assert!(
        waiting < 3.0 * (2 * flush_rows + 500 * 80) as f64,
        "{waiting} rows wait"
    );
    let bound = 2.0 * state + waiting * 1_024.0 + CLIENTS;
    assert!(
        ((most - at_first) as f64) < bound,
        "it grew by {} MB; {} MB are allowed",
        (most - at_first) / 1_000_000,
        bound / 1e6
    );

    let _clickhouse = apart.clickhouse();
    apart.settled_as_in_memory(&pipeline).await;
    pipeline
        .until("nothing waits", |metrics| {
            metrics.sum("dealpulse_shards_backpressured", "") == 0.0
        })
        .await;
}

/// What the Kafka clients' queues and the allocator's slack may come to, in bytes: messages fetched
/// of three shards and two topics, batches on their way, and the same once more that was freed and
/// not given back.
const CLIENTS: f64 = 48e6;

/// How many shards it has taken on, restored and ready to fold.
fn taken_on(pipeline: &Pipeline) -> usize {
    pipeline.log().matches("shard taken on").count()
}

/// It took less than the 30 s after which an orchestrator kills, and this is its log.
fn assert_stopped(ended: &Ended, code: i32) {
    assert!(
        ended.took < Duration::from_secs(30),
        "it took {:?} to stop:\n{}",
        ended.took,
        ended.log
    );
    assert_eq!(
        ended.code,
        Some(code),
        "after {:?}:\n{}",
        ended.took,
        ended.log
    );
}
