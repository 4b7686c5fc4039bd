//! Restart: how long records and links take to be restored and counted, without an engine.

use std::time::{Duration, Instant};

use dealpulse::pipeline::memory::{MemoryLog, MemoryStore};
use dealpulse::pipeline::restart::restore;
use dealpulse::pipeline::{Epoch, Row, Store};
use futures::executor::block_on;

use crate::Sizes;
use crate::deals;
use crate::steps::{self, EVENTS_A_FLUSH, Fold};
use crate::table::{Goal, Table, median};

/// Events of each deal: it is opened and, most are, closed. A restart reads records, not their
/// past.
const EVENTS_A_DEAL: usize = 2;
/// How long the allocator takes to give back what the restart before had. A process that restarts
/// finds no memory ready: with it, what comes after the larger size would be a tenth faster than
/// what comes after the smaller one.
const GIVEN_BACK: Duration = Duration::from_millis(1_500);
/// A million records in 8 s on two cores, for one core (µs a record).
const GOAL: f64 = 16.0;

pub fn measure(sizes: Sizes, table: &mut Table) {
    table.part("restart, in memory: records with their links restored, one shard on one core");
    let sizes = [sizes.restored, 4 * sizes.restored];
    let stores = sizes.map(store);
    // One size after the other in every round, so that what disturbs the machine disturbs both.
    let round = || [0, 1].map(|at| once(&stores[at], sizes[at]));
    let rounds: Vec<[f64; 2]> = (0..5).map(|_| round()).collect();
    let [few_records, many_records] = sizes;
    let [_, many] = [0, 1].map(|at| {
        let seconds = median(rounds.iter().map(|round| round[at]).collect());
        let what = format!("{} records restored", sizes[at]);
        table.add(&what, seconds, "s", Goal::None);
        seconds
    });
    table.add(
        "restart, a record (1 M in 8 s on two cores)",
        many * 1e6 / many_records as f64,
        "µs",
        Goal::AtMost(GOAL),
    );
    table.add(
        &format!("restart, {many_records} ÷ {few_records} records"),
        median(rounds.iter().map(|[few, many]| many / few).collect()),
        "",
        Goal::Must(4.6),
    );
}

fn once(store: &MemoryStore, records: usize) -> f64 {
    let log = MemoryLog::new(1);
    std::thread::sleep(GIVEN_BACK);
    let started = Instant::now();
    let owner =
        block_on(restore(0, 1, &log, store, dealpulse::metric::versions)).expect("a restart");
    let seconds = started.elapsed().as_secs_f64();
    let restored = owner.shard().record_count(dealpulse::record::Entity::DEAL);
    assert_eq!(restored, records, "all of them");
    seconds
}

/// A store without facts.
fn empty() -> MemoryStore {
    let store = MemoryStore::default();
    block_on(store.put_epoch(&Epoch::first(steps::spec(), 1))).expect("an epoch");
    store
}

/// The facts of so many deals, as flushes wrote them. Cells are not read by a restart.
fn store(deals: usize) -> MemoryStore {
    let store = empty();
    let mut fold = Fold::new();
    let events = deals::workload(deals, EVENTS_A_DEAL);
    for (number, chunk) in events.chunks(EVENTS_A_FLUSH).enumerate() {
        fold.feed(chunk, number * EVENTS_A_FLUSH);
        fold.settle(|touched, version| {
            block_on(async {
                store
                    .insert_records(1, &rows(touched.records, version))
                    .await?;
                store.insert_links(&rows(touched.links, version)).await
            })
            .expect("a store in memory");
        });
    }
    // A database hands its rows over one after the other: here, too, they lie in their order, so
    // that it is not the store's own waits for memory that are measured.
    let ordered = empty();
    let records: Vec<_> = store.record_rows().into_values().collect();
    let written = block_on(async {
        ordered.insert_records(1, &records).await?;
        ordered.insert_links(&store.link_rows()).await
    });
    written.expect("a store in memory");
    ordered
}

fn rows<T>(rows: Vec<T>, version: u64) -> Vec<Row<T>> {
    let row = |row| Row {
        shard: 0,
        version,
        row,
    };
    rows.into_iter().map(row).collect()
}
