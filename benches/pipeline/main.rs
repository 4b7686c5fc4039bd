//! Benchmarks: what the pipeline costs in time, memory and CPU, each figure with the goal beside
//! it.
//!
//! `make bench` prints them all; docs/benchmarks.md describes each row. A row can be run alone with
//! `--only`, in seconds with `--quick`. The process fails if a ratio is missed that holds on any
//! machine.

mod bare;
mod deals;
mod hot;
mod memory;
mod metrics;
mod path;
mod process;
mod read_model;
mod restart;
mod steps;
mod table;
mod whole;

#[path = "../../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use table::Table;

// As in the program itself.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Measure the pipeline
#[derive(Parser)]
struct Arguments {
    /// Run this row only; may be given several times
    #[arg(long, value_enum)]
    only: Vec<Row>,
    /// Small sizes and few runs: seconds instead of minutes, and less precise figures
    #[arg(long)]
    quick: bool,
    /// How many events of the deal workload go through the whole pipeline
    #[arg(long)]
    events: Option<usize>,
    /// What cargo passes to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Row {
    Path,
    HotAccount,
    HotLead,
    Memory,
    Metrics,
    Restart,
    ReadModel,
    Whole,
}

/// How much is measured.
#[derive(Clone, Copy)]
struct Sizes {
    /// Deals of the deal workload, 10 events each.
    deals: usize,
    /// Deals asked of `dealpulse generate`, about 22 events each.
    generated: u64,
    /// How often a run is repeated for its median.
    runs: usize,
    /// Records restored: a number and its fourfold.
    restored: usize,
    /// Rows of the rollups that the read model reads.
    rollup_rows: usize,
    /// Events of the deal workload through the whole pipeline.
    events: usize,
    /// Deals asked of `dealpulse generate` that go through the whole pipeline.
    generated_whole: u64,
}

const FULL: Sizes = Sizes {
    deals: 50_000,
    generated: 12_500,
    runs: 5,
    restored: 100_000,
    rollup_rows: 1_000_000,
    events: 500_000,
    generated_whole: 40_000,
};

const QUICK: Sizes = Sizes {
    deals: 8_000,
    generated: 2_500,
    runs: 3,
    restored: 20_000,
    rollup_rows: 200_000,
    events: 60_000,
    generated_whole: 2_500,
};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let sizes = if arguments.quick { QUICK } else { FULL };
    let sizes = Sizes {
        events: arguments.events.unwrap_or(sizes.events),
        ..sizes
    };
    let is_wanted = |row| arguments.only.is_empty() || arguments.only.contains(&row);
    let mut table = Table::start();
    if is_wanted(Row::Path) {
        path::measure(sizes, &mut table);
    }
    if is_wanted(Row::HotAccount) {
        hot::measure_account(sizes, &mut table);
    }
    if is_wanted(Row::HotLead) {
        hot::measure_lead(sizes, &mut table);
    }
    if is_wanted(Row::Memory) {
        memory::measure(sizes, &mut table);
    }
    if is_wanted(Row::Metrics) {
        metrics::measure(sizes, &mut table);
    }
    if is_wanted(Row::Restart) {
        restart::measure(sizes, &mut table);
    }
    if is_wanted(Row::ReadModel) {
        read_model::measure(sizes, &mut table);
    }
    if is_wanted(Row::Whole) {
        whole::measure(sizes, &mut table);
    }
    table.finish()
}
