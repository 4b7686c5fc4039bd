//! The read model: what a refresh costs when nothing is new, and when little is.

use std::time::Instant;

use dealpulse::clickhouse::{ClickHouse, migrate};
use dealpulse::local::clickhouse_child::ClickhouseChild;
use dealpulse::metric::Catalogue;
use dealpulse::metric::QueryPlan;
use dealpulse::pipeline::{Epoch, Row, Store};
use dealpulse::shard::CellRow;
use dealpulse::window::rolling::{Now, ROLLING};

use crate::steps;
use crate::table::{Goal, Table, median};
use crate::{Sizes, process, support};

/// Rows written between two refreshes, where some are.
const NEW_ROWS: usize = 20_000;
/// How often a refresh is repeated: its CPU is counted in ticks of 10 ms.
const REFRESHES: usize = 10;

pub fn measure(sizes: Sizes, table: &mut Table) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let engine = support::clickhouse::spawn(None);
    runtime.block_on(rows(sizes, &engine, table));
}

/// What reads the rollups and keeps what it has read.
struct Reader {
    clickhouse: ClickHouse,
    definitions: std::sync::Arc<Catalogue>,
    now: Now,
}

impl Reader {
    async fn refresh(&mut self) {
        let plan = QueryPlan::new(ROLLING.to_vec(), self.now, &self.definitions);
        let sums = self.clickhouse.sums(1, &self.definitions, &plan).await;
        std::hint::black_box(sums.expect("the rollups"));
    }
}

async fn rows(sizes: Sizes, engine: &ClickhouseChild, table: &mut Table) {
    let clickhouse = support::pipeline::database(&engine.url(), "bench");
    migrate::migrate(&clickhouse, &steps::definitions())
        .await
        .expect("the tables");
    let epoch = Epoch::first(steps::spec(), 1);
    clickhouse.put_epoch(&epoch).await.expect("an epoch");
    let events = steps::generated(sizes.generated);
    let mut cells = std::collections::HashMap::new();
    let shard = steps::fold_all(&events, |touched, _| {
        for row in touched.cells.decode() {
            let name = (
                row.rollup.clone(),
                row.pane,
                row.grouping.clone(),
                row.values.clone(),
                row.currency.clone(),
            );
            cells.insert(name, row);
        }
    });
    let end = shard.last_instant().expect("there are deals");
    let now = Now {
        now: end,
        watermark: end,
    };
    let cells: Vec<CellRow> = cells.into_values().collect();
    drop((events, shard));
    // The same cells of so many shards: as many rows as a larger organisation has.
    let shards = sizes.rollup_rows.div_ceil(cells.len());
    for shard in 0..shards {
        write(&clickhouse, shard as u32, 1, &cells).await;
    }
    table.part(&format!(
        "read model, {} rollup rows in {shards} shards",
        cells.len() * shards
    ));

    let reader = || Reader {
        clickhouse: clickhouse.clone(),
        definitions: steps::definitions(),
        now,
    };
    let mut firsts = Vec::new();
    let (mut kept, before) = (reader(), process::cpu(engine.pid()));
    for _ in 0..3 {
        kept = reader();
        firsts.push(timed(&mut kept).await);
    }
    let first_cpu = (process::cpu(engine.pid()) - before) * 1e3 / firsts.len() as f64;
    let first = median(firsts);
    table.add("first reading", first, "ms", Goal::AtMost(500.0));
    table.add("  ClickHouse's CPU", first_cpu, "ms", Goal::None);

    let (mut idle, before) = (Vec::new(), process::cpu(engine.pid()));
    for _ in 0..REFRESHES {
        idle.push(timed(&mut kept).await);
    }
    let idle_cpu = (process::cpu(engine.pid()) - before) * 1e3 / REFRESHES as f64;
    let idle = median(idle);
    table.add("refresh, nothing new", idle, "ms", Goal::AtMost(10.0));
    table.add("  ClickHouse's CPU", idle_cpu, "ms", Goal::None);

    let (mut busy, mut busy_cpu) = (Vec::new(), 0.0);
    let fresh = &cells[..NEW_ROWS.min(cells.len())];
    for version in 2..2 + sizes.runs as u64 {
        write(&clickhouse, 0, version, fresh).await;
        let before = process::cpu(engine.pid());
        busy.push(timed(&mut kept).await);
        busy_cpu += process::cpu(engine.pid()) - before;
    }
    table.add(
        &format!("refresh, {} new rows", fresh.len()),
        median(busy),
        "ms",
        Goal::AtMost(30.0),
    );
    table.add(
        "  ClickHouse's CPU",
        busy_cpu * 1e3 / sizes.runs as f64,
        "ms",
        Goal::None,
    );
    table.add(
        "read model, nothing new ÷ first reading",
        idle / first,
        "",
        Goal::Must(0.1),
    );
}

async fn write(clickhouse: &ClickHouse, shard: u32, version: u64, cells: &[CellRow]) {
    let block = Row {
        shard,
        version,
        row: cells.iter().cloned().collect(),
    };
    clickhouse
        .insert_cells(&[block])
        .await
        .expect("the rollups");
}

/// Milliseconds of one refresh.
async fn timed(reader: &mut Reader) -> f64 {
    let started = Instant::now();
    reader.refresh().await;
    started.elapsed().as_secs_f64() * 1e3
}
