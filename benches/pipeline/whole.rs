//! The whole pipeline: `dealpulse run` between Apache Kafka and the embedded ClickHouse, seen from
//! outside.

use std::time::{Duration, Instant};

use dealpulse::local::generate::GeneratedEvent;

use crate::deals::{self, EVENTS_A_DEAL};
use crate::process::{self, GROUPS};
use crate::support::kafka::Kafka;
use crate::support::pipeline::{Pipeline, Setup, blocking};
use crate::support::{clickhouse, pipeline};
use crate::table::{Goal, Table};
use crate::{Sizes, steps};

const PARTITIONS: u32 = 4;
const TOPIC: &str = "crm.deals";
/// The longest the size of the state may take to show in its gauge.
const GAUGE: Duration = Duration::from_secs(16);
/// The time between two looks how far it is: answering them must not count among what it costs.
const LOOK: Duration = Duration::from_millis(250);
/// The time between two looks whether anything is still on its way, which ask ClickHouse.
const LAST_LOOK: Duration = Duration::from_secs(1);
const MIB: f64 = (1 << 20) as f64;

pub fn measure(sizes: Sizes, table: &mut Table) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let deals = Workload {
        name: "deal",
        cpu: [Goal::AtMost(6.5), Goal::AtMost(4.5)],
        resident: [Goal::None; 2],
        in_all: Goal::None,
    };
    let events = deals::workload(sizes.events.div_ceil(EVENTS_A_DEAL), EVENTS_A_DEAL);
    runtime.block_on(run(&deals, events, &[ALL, FIVE], table));
    let generated = Workload {
        name: "generated",
        cpu: [Goal::None; 2],
        resident: [Goal::AtMost(1.5), Goal::AtMost(1.3)],
        in_all: Goal::None,
    };
    let mut events = steps::generated(sizes.generated_whole);
    runtime.block_on(run(&generated, events.clone(), &[ALL, FIVE], table));
    let first = Workload {
        name: "leads, deals and accounts",
        in_all: Goal::AtMost(250.0),
        ..generated
    };
    steps::retain_first_entities(&mut events);
    runtime.block_on(run(&first, events, &[FIVE], table));
}

/// A choice of metrics: a short name, what it is, and the names of its metrics if it is not all.
type Metrics = (&'static str, &'static str, Option<&'static [&'static str]>);
const ALL: Metrics = ("all", "all metrics", None);
const FIVE: Metrics = ("five", "the first five metrics", Some(steps::FIRST_METRICS));

/// A workload, and the goals that were set with it.
struct Workload {
    name: &'static str,
    /// CPU seconds a million events: dealpulse's and ClickHouse's.
    cpu: [Goal; 2],
    /// Resident memory against the state: after all is folded, and after a restart.
    resident: [Goal; 2],
    /// Resident memory by itself (MiB), both times.
    in_all: Goal,
}

/// Runs a workload through the pipeline with each choice of metrics.
async fn run(
    workload: &Workload,
    events: Vec<GeneratedEvent>,
    choices: &[Metrics],
    table: &mut Table,
) {
    let kafka = Kafka::start().await;
    kafka.create_topic(TOPIC, PARTITIONS as i32, &[]).await;
    let messages = events.iter().map(|event| (&event.key, &event.payload));
    kafka.produce(TOPIC, None, messages).await;
    let count = events.len() as f64;
    drop(events);
    for (name, of, metrics) in choices.iter().copied() {
        let engine = blocking(|| clickhouse::spawn(None)).await;
        let setup = Setup {
            shards: PARTITIONS,
            flush_milliseconds: 1_000,
            refresh_milliseconds: 2_000,
            metrics,
            ..Setup::new(name, &kafka.bootstrap(), &engine.url(), &[TOPIC])
        };
        table.part(&format!(
            "whole pipeline, real Kafka, {PARTITIONS} partitions, {count} events of the {} workload, {of}",
            workload.name
        ));
        run_once(&setup, workload, engine.pid(), count, table).await;
        blocking(move || drop(engine)).await;
    }
}

/// Runs all events through the pipeline of a setup, and starts it again.
async fn run_once(setup: &Setup, workload: &Workload, engine: u32, count: f64, table: &mut Table) {
    let [goal, engine_goal] = workload.cpu;
    let [goal_after, goal_restarted] = workload.resident.map(|goal| [workload.in_all, goal]);
    let name = format!("{}, {}", workload.name, setup.name);
    let millions = count / 1e6;
    let engine_at_first = process::cpu(engine);
    let started = Instant::now();
    let running = setup.start().await;
    // It listens once tables and views are made: once, however many events come, so that they are a
    // figure of their own.
    let engine_before = process::cpu(engine);
    let is_folded = || {
        let folded = (running.metrics()).sum("dealpulse_assertions_folded_total", "");
        folded >= count
    };
    running
        .wait_looking_every(LOOK, "all is folded", is_folded)
        .await;
    setup.settled_looking_every(LAST_LOOK).await;
    let seconds = started.elapsed().as_secs_f64();
    let (cpu, groups) = (
        process::cpu(running.pid()),
        process::cpu_by_group(running.pid()),
    );
    let engine_cpu = process::cpu(engine) - engine_before;
    let mut add = |what: &str, value: f64, unit, goal| {
        table.add(&format!("{what}, {name}"), value, unit, goal);
    };
    add(
        "dealpulse's CPU, a million events",
        cpu / millions,
        "s",
        goal,
    );
    let known: f64 = groups.values().sum();
    for group in GROUPS {
        // Threads that have ended are in the sum only.
        let ended = if group == "other" { cpu - known } else { 0.0 };
        let seconds = groups.get(group).copied().unwrap_or_default() + ended.max(0.0);
        add(&format!("  {group}"), seconds / millions, "s", Goal::None);
    }
    add(
        "ClickHouse's CPU, a million events",
        engine_cpu / millions,
        "s",
        engine_goal,
    );
    add(
        "  tables and views, once",
        engine_before - engine_at_first,
        "s",
        Goal::None,
    );
    let metrics = running.metrics();
    for rows in ["rollups", "hourly", "changes", "facts", "links"] {
        let written = metrics.sum("dealpulse_flush_rows_total", &format!("table=\"{rows}\""));
        let what = format!("rows of {rows} an event");
        add(&what, written / count, "", Goal::None);
    }
    add("events a second", count / seconds, "", Goal::None);

    let gauge_at_once = state(&running);
    let state = memory(&running, &format!("after it, {name}"), goal_after, table).await;
    let gauge = gauge_at_once / state.max(1.0);
    let what = format!("dealpulse_state_bytes at once ÷ 16 s later, {name}");
    table.add(&what, gauge, "", Goal::None);
    let records = running.metrics().sum("dealpulse_records", "");
    running.sigterm().await;

    let started = Instant::now();
    let running = setup.start().await;
    running
        .until("all shards are taken on", |_| {
            running.log().matches("shard taken on").count() == PARTITIONS as usize
        })
        .await;
    let seconds = started.elapsed().as_secs_f64();
    let what = format!("restart with {records} records, to the last shard, {name}");
    table.add(&what, seconds, "s", Goal::None);
    let cpu = process::cpu(running.pid());
    table.add("  dealpulse's CPU", cpu, "s", Goal::None);
    let when = format!("after a restart, {name}");
    memory(&running, &when, goal_restarted, table).await;
}

/// Prints what is resident, by itself and against the state, whose size is returned.
async fn memory(
    running: &Pipeline,
    when: &str,
    [in_all, goal]: [Goal; 2],
    table: &mut Table,
) -> f64 {
    let resident = running.resident() as f64;
    tokio::time::sleep(GAUGE).await;
    let (state, later) = (state(running), running.resident() as f64);
    table.add(
        &format!("resident memory {when}"),
        resident / MIB,
        "MiB",
        in_all,
    );
    table.add("  16 s later", later / MIB, "MiB", Goal::None);
    table.add("  dealpulse_state_bytes", state / MIB, "MiB", Goal::None);
    table.add(
        &format!("resident memory {when} ÷ state"),
        resident / state.max(1.0),
        "",
        goal,
    );
    state
}

fn state(running: &pipeline::Pipeline) -> f64 {
    running.metrics().sum("dealpulse_state_bytes", "")
}
