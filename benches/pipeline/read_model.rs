//! The read model: what a refresh costs when nothing is new, and when little is.

use std::time::Duration;

use dealpulse::clickhouse::migrate;

use crate::table::{Goal, Table};
use crate::{Sizes, steps, support};

/// Rows written between two refreshes, where some are.
const NEW_ROWS: u64 = 20_000;

pub fn measure(sizes: Sizes, table: &mut Table) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let engine = support::clickhouse::spawn(None);
    let clickhouse = support::pipeline::database(&engine.url(), "bench");
    let rows = sizes.rollup_rows as u64;
    let costs = runtime.block_on(async {
        let migrated = migrate::migrate(&clickhouse, &steps::definitions()).await;
        migrated.expect("the tables");
        support::read_model::measure(&clickhouse, engine.pid(), rows, NEW_ROWS).await
    });
    let held = costs.rows_held;
    table.part(&format!(
        "read model, {rows} rollup rows, {held} of them in the windows"
    ));
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let new = format!("refresh, {NEW_ROWS} new rows");
    for (what, cost, goal) in [
        ("first reading", costs.first, Goal::AtMost(500.0)),
        ("refresh, a flush not long ago", costs.recent, Goal::None),
        ("refresh, nothing new", costs.idle, Goal::AtMost(10.0)),
        (new.as_str(), costs.new, Goal::AtMost(30.0)),
    ] {
        table.add(what, ms(cost[0]), "ms", goal);
        table.add("  ClickHouse's CPU", ms(cost[1]), "ms", Goal::None);
        table.add("  our own CPU", ms(cost[2]), "ms", Goal::None);
    }
    table.add(
        "read model, nothing new ÷ first reading",
        ms(costs.idle[0]) / ms(costs.first[0]),
        "",
        Goal::Must(0.1),
    );
}
