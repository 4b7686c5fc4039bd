//! The path on one core: decode → log message → fold → rows → links folded back.

use std::sync::Arc;
use std::time::Instant;

use dealpulse::local::generate::GeneratedEvent;
use dealpulse::metric::Catalogue;

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

/// What the whole catalogue may cost at most of what the first metrics do: a third more.
const WHOLE_CATALOGUE: f64 = 4.0 / 3.0;

/// Catalogues, each with its name and by how much its goals are greater.
type Catalogues = [(&'static str, Arc<Catalogue>, f64); 2];

pub fn measure(sizes: Sizes, table: &mut Table) {
    let catalogues: Catalogues = [
        ("all metrics", steps::definitions(), WHOLE_CATALOGUE),
        ("the first five metrics", steps::first_metrics(), 1.0),
    ];
    let events = deals::workload(sizes.deals, EVENTS_A_DEAL);
    head("deal workload", &events, &catalogues, table);
    bare::parse(&events); // not counted, as the first run of the path
    // A bare parse follows every run, so that what disturbs the machine disturbs both.
    let round = || {
        catalogues.each_ref().map(|(_, catalogue, _)| {
            let steps = once(&events, catalogue);
            (steps, bare_parse(&events))
        })
    };
    let rounds: Vec<[([f64; 5], f64); 2]> = (0..sizes.runs).map(|_| round()).collect();
    for (at, (name, _, more)) in catalogues.iter().enumerate() {
        let runs = rounds.iter().map(|round| round[at]);
        rows(
            name,
            runs.clone().map(|(steps, _)| steps),
            2.9 * more,
            table,
        );
        table.add(
            &format!("  path ÷ bare parse, {name}"),
            median(runs.map(|(steps, bare)| total(&steps) / bare).collect()),
            "",
            Goal::Must(5.0 * more),
        );
    }
    let bare = rounds.iter().flatten().map(|(_, bare)| *bare);
    table.add(
        "bare typed parse of the same events",
        median(bare.collect()),
        "µs",
        Goal::None,
    );
    drop(events);

    let events = steps::generated(sizes.generated);
    head("generated workload", &events, &catalogues, table);
    let round = || catalogues.each_ref().map(|(_, c, _)| once(&events, c));
    let rounds: Vec<[[f64; 5]; 2]> = (0..sizes.runs).map(|_| round()).collect();
    for (at, (name, _, more)) in catalogues.iter().enumerate() {
        rows(
            name,
            rounds.iter().map(|round| round[at]),
            3.6 * more,
            table,
        );
    }
}

fn head(name: &str, events: &[GeneratedEvent], catalogues: &Catalogues, table: &mut Table) {
    let bytes: usize = events.iter().map(|event| event.payload.len()).sum();
    table.part(&format!(
        "path on one core, {name}: {} events of {} bytes in the mean",
        events.len(),
        bytes / events.len()
    ));
    // Not counted: it fills caches and makes the process as large as it gets.
    once(events, &catalogues[0].1);
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
fn once(events: &[GeneratedEvent], catalogue: &Arc<Catalogue>) -> [f64; 5] {
    run(&mut Fold::with(catalogue.clone()), events)
}

/// One run into an empty shard: µs an event of each step.
pub fn run(fold: &mut Fold, events: &[GeneratedEvent]) -> [f64; 5] {
    let mut seconds = [0.0; 5];
    for (flush, chunk) in events.chunks(EVENTS_A_FLUSH).enumerate() {
        for (number, chunk) in chunk.chunks(EVENTS_A_MESSAGE).enumerate() {
            let first = flush * EVENTS_A_FLUSH + number * EVENTS_A_MESSAGE;
            fold.come_to(chunk);
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
