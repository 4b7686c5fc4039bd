//! The whole pipeline: `dealpulse run` between Apache Kafka and the embedded ClickHouse, seen from
//! outside.

use std::time::{Duration, Instant};

use crate::Sizes;
use crate::deals::{self, EVENTS_A_DEAL};
use crate::process::{self, GROUPS};
use crate::support::kafka::Kafka;
use crate::support::pipeline::{Pipeline, Setup, blocking};
use crate::support::{clickhouse, pipeline};
use crate::table::{Goal, Table};

const PARTITIONS: u32 = 4;
const TOPIC: &str = "crm.deals";
/// The longest the size of the state may take to show in its gauge.
const GAUGE: Duration = Duration::from_secs(16);
/// The time between two looks how far it is: answering them must not count among what it costs.
const LOOK: Duration = Duration::from_millis(250);
const MIB: f64 = (1 << 20) as f64;

pub fn measure(sizes: Sizes, table: &mut Table) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(rows(sizes.events, table));
}

async fn rows(count: usize, table: &mut Table) {
    let events = deals::workload(count.div_ceil(EVENTS_A_DEAL), EVENTS_A_DEAL);
    let millions = events.len() as f64 / 1e6;
    let kafka = Kafka::start().await;
    kafka.create_topic(TOPIC, PARTITIONS as i32, &[]).await;
    let messages = events.iter().map(|event| (&event.key, &event.payload));
    kafka.produce(TOPIC, None, messages).await;
    drop(events);
    let engine = blocking(|| clickhouse::spawn(None)).await;
    let setup = Setup {
        shards: PARTITIONS,
        flush_milliseconds: 1_000,
        refresh_milliseconds: 2_000,
        ..Setup::new("bench", &kafka.bootstrap(), &engine.url(), &[TOPIC])
    };
    table.part(&format!(
        "whole pipeline, real Kafka, {PARTITIONS} partitions, {} events of the deal workload",
        (millions * 1e6).round()
    ));

    let engine_before = process::cpu(engine.pid());
    let started = Instant::now();
    let running = setup.start().await;
    let is_folded = || {
        let folded = (running.metrics()).sum("dealpulse_assertions_folded_total", "");
        folded >= millions * 1e6
    };
    running
        .wait_looking_every(LOOK, "all is folded", is_folded)
        .await;
    setup.settled_looking_every(LOOK).await;
    let seconds = started.elapsed().as_secs_f64();
    let (cpu, groups) = (
        process::cpu(running.pid()),
        process::cpu_by_group(running.pid()),
    );
    let engine_cpu = process::cpu(engine.pid()) - engine_before;
    table.add(
        "dealpulse's CPU, a million events",
        cpu / millions,
        "s",
        Goal::AtMost(6.5),
    );
    let known: f64 = groups.values().sum();
    for name in GROUPS {
        // Threads that have ended are in the sum only.
        let ended = if name == "other" { cpu - known } else { 0.0 };
        let seconds = groups.get(name).copied().unwrap_or_default() + ended.max(0.0);
        table.add(&format!("  {name}"), seconds / millions, "s", Goal::None);
    }
    table.add(
        "ClickHouse's CPU, a million events",
        engine_cpu / millions,
        "s",
        Goal::AtMost(4.5),
    );
    let metrics = running.metrics();
    for name in ["rollups", "hourly", "changes", "facts", "links"] {
        let rows = metrics.sum("dealpulse_flush_rows_total", &format!("table=\"{name}\""));
        table.add(
            &format!("rows of {name} an event"),
            rows / millions / 1e6,
            "",
            Goal::None,
        );
    }
    table.add("events a second", millions * 1e6 / seconds, "", Goal::None);

    let gauge_at_once = state(&running);
    let state = memory(&running, "after it", 1.5, table).await;
    table.add(
        "dealpulse_state_bytes at once ÷ 16 s later",
        gauge_at_once / state.max(1.0),
        "",
        Goal::None,
    );
    let records = running.metrics().sum("dealpulse_records", "");
    running.sigterm().await;

    let started = Instant::now();
    let running = setup.start().await;
    running
        .until("all shards are taken on", |_| {
            running.log().matches("shard taken on").count() == PARTITIONS as usize
        })
        .await;
    table.add(
        &format!("restart with {records} records, to the last shard"),
        started.elapsed().as_secs_f64(),
        "s",
        Goal::None,
    );
    table.add(
        "  dealpulse's CPU",
        process::cpu(running.pid()),
        "s",
        Goal::None,
    );
    memory(&running, "after a restart", 1.3, table).await;
    drop(running);
    blocking(move || drop(engine)).await;
}

/// Prints what is resident, by itself and against the state, whose size is returned.
async fn memory(running: &Pipeline, when: &str, goal: f64, table: &mut Table) -> f64 {
    let resident = running.resident() as f64;
    tokio::time::sleep(GAUGE).await;
    let (state, later) = (state(running), running.resident() as f64);
    table.add(
        &format!("resident memory {when}"),
        resident / MIB,
        "MiB",
        Goal::None,
    );
    table.add("  16 s later", later / MIB, "MiB", Goal::None);
    table.add("  dealpulse_state_bytes", state / MIB, "MiB", Goal::None);
    table.add(
        &format!("resident memory {when} ÷ state"),
        resident / state.max(1.0),
        "",
        Goal::AtMost(goal),
    );
    state
}

fn state(running: &pipeline::Pipeline) -> f64 {
    running.metrics().sum("dealpulse_state_bytes", "")
}
