//! The path on one core: decode → log message → fold → rows → links folded back.

use std::time::Instant;

use dealpulse::local::generate::GeneratedEvent;

use crate::deals::{self, EVENTS_A_DEAL};
use crate::steps::{self, EVENTS_A_FLUSH, EVENTS_A_MESSAGE, Fold};
use crate::table::{Goal, Table, median};
use crate::{Sizes, bare};

const DECODE: usize = 0;
const WRITE: usize = 1;
const FOLD: usize = 2;
const TAKE: usize = 3;
const LINKS: usize = 4;
const STEPS: [&str; 5] = [
    "decode",
    "write the log's messages",
    "read and fold",
    "take rows",
    "links folded back",
];

pub fn measure(sizes: Sizes, table: &mut Table) {
    let events = deals::workload(sizes.deals, EVENTS_A_DEAL);
    let name = "deal workload";
    head(name, &events, table);
    bare::parse(&events); // not counted, as the first run of the path
    // A bare parse follows every run, so that what disturbs the machine disturbs both.
    let runs: Vec<([f64; 5], f64)> = (0..sizes.runs)
        .map(|_| (once(&events), bare_parse(&events)))
        .collect();
    rows(name, runs.iter().map(|(steps, _)| *steps), 2.9, table);
    table.add(
        "  bare typed parse of the same events",
        median(runs.iter().map(|(_, bare)| *bare).collect()),
        "µs",
        Goal::None,
    );
    table.add(
        "  path ÷ bare parse, deal workload",
        median(
            runs.iter()
                .map(|(steps, bare)| total(steps) / bare)
                .collect(),
        ),
        "",
        Goal::Must(5.0),
    );
    drop(events);

    let (events, name) = (steps::generated(sizes.generated), "generated workload");
    head(name, &events, table);
    let runs = (0..sizes.runs).map(|_| once(&events));
    rows(name, runs, 3.6, table);
}

fn head(name: &str, events: &[GeneratedEvent], table: &mut Table) {
    let bytes: usize = events.iter().map(|event| event.payload.len()).sum();
    table.part(&format!(
        "path on one core, {name}: {} events of {} bytes in the mean",
        events.len(),
        bytes / events.len()
    ));
    once(events); // not counted: it fills caches and makes the process as large as it gets
}

/// Prints the median run with its steps.
fn rows(name: &str, runs: impl Iterator<Item = [f64; 5]>, goal: f64, table: &mut Table) {
    let mut runs: Vec<[f64; 5]> = runs.collect();
    runs.sort_by(|a, b| total(a).total_cmp(&total(b)));
    let steps = runs[runs.len() / 2];
    let what = format!("path, {name}, an event");
    table.add(&what, total(&steps), "µs", Goal::AtMost(goal));
    for (name, step) in STEPS.iter().zip(steps) {
        table.add(&format!("  {name}"), step, "µs", Goal::None);
    }
}

pub fn total(steps: &[f64; 5]) -> f64 {
    steps.iter().sum()
}

/// µs an event of a bare parse.
fn bare_parse(events: &[GeneratedEvent]) -> f64 {
    let started = Instant::now();
    bare::parse(events);
    started.elapsed().as_secs_f64() * 1e6 / events.len() as f64
}

/// One run: µs an event of each step.
fn once(events: &[GeneratedEvent]) -> [f64; 5] {
    run(&mut Fold::new(), events)
}

/// One run into an empty shard: µs an event of each step.
pub fn run(fold: &mut Fold, events: &[GeneratedEvent]) -> [f64; 5] {
    let mut seconds = [0.0; 5];
    for (flush, chunk) in events.chunks(EVENTS_A_FLUSH).enumerate() {
        for (number, chunk) in chunk.chunks(EVENTS_A_MESSAGE).enumerate() {
            let first = flush * EVENTS_A_FLUSH + number * EVENTS_A_MESSAGE;
            let assertions = timed(&mut seconds[DECODE], || steps::decode(chunk, first));
            // What was decoded is dropped here, when its message is written.
            let messages = timed(&mut seconds[WRITE], move || steps::write(&assertions));
            timed(&mut seconds[FOLD], || {
                messages.iter().for_each(|message| fold.fold(message))
            });
        }
        flush_once(fold, &mut seconds);
    }
    // What links touched after the last event.
    flush_once(fold, &mut seconds);
    seconds.map(|seconds| seconds * 1e6 / events.len() as f64)
}

fn flush_once(fold: &mut Fold, seconds: &mut [f64; 5]) {
    let outbox = timed(&mut seconds[TAKE], || {
        let mut touched = fold.shard.take_touched();
        // Dropping the rows is part of the cost of taking them.
        std::mem::take(&mut touched.outbox)
    });
    timed(&mut seconds[LINKS], || fold.fold_outbox(&outbox));
}

fn timed<T>(seconds: &mut f64, act: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let done = act();
    *seconds += started.elapsed().as_secs_f64();
    done
}
