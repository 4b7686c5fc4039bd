//! The read model over a ClickHouse of a given size: filled, refreshed and timed.

use std::time::{Duration, Instant};

use dealpulse::clickhouse::{ClickHouse, NewRows, RollupRow};
use dealpulse::definitions::DefinitionsSpec;
use dealpulse::metric::SideInputs;
use dealpulse::pipeline::watermark::Progress;
use dealpulse::pipeline::{Epoch, OutsideError, Row, Store};
use dealpulse::serve::reach::Reach;
use dealpulse::serve::refresh::{Refresh, Refresher, Source};
use dealpulse::shard::CellRow;
use dealpulse::telemetry::{Telemetry, wall_clock};

/// A row as it is read again.
pub fn as_read(row: &Row<CellRow>, written_at: i64) -> RollupRow<'_> {
    RollupRow {
        series: &row.row.rollup,
        dimension: &row.row.grouping,
        values: row.row.values.iter().map(String::as_str).collect(),
        currency: &row.row.currency,
        pane: row.row.pane,
        shard: row.shard,
        version: row.version,
        written_at,
        cell: row.row.cell.clone(),
    }
}

/// The rollups of a database whose log is always folded to its end.
#[derive(Clone)]
pub struct Database(pub ClickHouse);

impl Source for Database {
    async fn current(&self) -> Result<Epoch, OutsideError> {
        let mut epochs = self.0.epochs().await?;
        epochs
            .pop()
            .ok_or_else(|| OutsideError::transient("a test", "there is no epoch"))
    }

    async fn progress(&self, epoch: &Epoch) -> Result<Progress, OutsideError> {
        let checkpoints = self.0.checkpoints(epoch.generation, epoch.partitions);
        let checkpoints = checkpoints.await?;
        let append_times = checkpoints.iter().map(|(_, known)| known.append_time);
        let append_time = append_times.max().unwrap_or_default();
        let flushed = checkpoints.into_iter();
        let flushed = flushed.map(|(shard, checkpoint)| (shard, checkpoint.next_offset));
        Ok(Progress {
            watermark: Some(wall_clock()),
            append_time,
            flushed: flushed.collect(),
        })
    }

    async fn rows(
        &self,
        epoch: &Epoch,
        reach: &Reach,
        take: &mut (dyn FnMut(RollupRow<'_>) + Send),
    ) -> Result<(), OutsideError> {
        self.0.rollup_rows(epoch.epoch, &reach.ranges(), take).await
    }

    async fn new_rows(
        &self,
        epoch: &Epoch,
        new: &NewRows<'_>,
        take: &mut (dyn FnMut(RollupRow<'_>) + Send),
    ) -> Result<i64, OutsideError> {
        self.0.new_rollup_rows(epoch.epoch, new, take).await
    }

    async fn side_inputs_state(&self, epoch: &Epoch) -> Result<u64, OutsideError> {
        self.0.side_inputs_state(epoch.generation).await
    }

    async fn side_inputs(
        &self,
        epoch: &Epoch,
        reporting: Option<&str>,
    ) -> Result<SideInputs, OutsideError> {
        let generation = epoch.generation;
        self.0.side_inputs(generation, reporting, &[]).await
    }
}

/// What refreshes cost, each in wall time, CPU of ClickHouse and CPU of this process.
#[derive(Debug)]
pub struct Costs {
    /// How many of the rows the windows reach.
    pub rows_held: usize,
    /// The first reading.
    pub first: [Duration; 3],
    /// A refresh just after that, which still waits for rows under way, the mean of many.
    pub recent: [Duration; 3],
    /// A refresh when nothing was flushed for a while, the mean of many.
    pub idle: [Duration; 3],
    /// A refresh with so many new rows, the mean of a few.
    pub new: [Duration; 3],
}

/// Fills the rollups of an empty, migrated database with so many rows up to today (half of them by
/// hour, four shards, 25 values), which were written a hundred a second before this, and measures
/// refreshes: the first, some with nothing new, and some with `new` rows each, of the last days.
/// `pid` is ClickHouse's process.
pub async fn measure(clickhouse: &ClickHouse, pid: u32, rows: u64, new: u64) -> Costs {
    let epoch = Epoch::first(DefinitionsSpec::default(), 4);
    clickhouse.put_epoch(&epoch).await.expect("an epoch");
    const AT_ONCE: u64 = 1_000_000;
    for start in (0..rows).step_by(AT_ONCE as usize) {
        insert(clickhouse, start, AT_ONCE.min(rows - start), 0, true).await;
    }
    // What is measured are readings, not the merges of what was just inserted.
    let merges = "SELECT count() FROM system.merges";
    while clickhouse
        .fetch("waiting", merges, "TSV")
        .await
        .expect("merges")
        != "0\n"
    {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let source = Database(clickhouse.clone());
    let mut refresher = Refresher::new(source, Refresh::default(), Telemetry::new());
    let first = timed(pid, 1, &mut refresher).await;
    // The second also compiles nothing any more.
    const IDLE: u32 = 40;
    let recent = timed(pid, IDLE, &mut refresher).await;
    let quiet = Refresh {
        quiet: Duration::ZERO,
        ..Refresh::default()
    };
    let mut quiet = Refresher::new(Database(clickhouse.clone()), quiet, Telemetry::new());
    timed(pid, 1, &mut quiet).await;
    let idle = timed(pid, IDLE, &mut quiet).await;
    drop(quiet);
    let mut fresh = [Duration::ZERO; 3];
    const TIMES: u32 = 8;
    for time in 1..=TIMES {
        insert(clickhouse, 0, new, u64::from(time), false).await;
        let cost = timed(pid, 1, &mut refresher).await;
        (0..3).for_each(|i| fresh[i] += cost[i] / TIMES);
        // Else the rows of the last time would be read again, as they are within the overlap.
        tokio::time::sleep(Duration::from_secs(6)).await;
    }
    Costs {
        rows_held: refresher.rows_held(),
        first,
        recent,
        idle,
        new: fresh,
    }
}

/// Row n is of a series, value and shard by n modulo their number, and the older the greater n is.
async fn insert(clickhouse: &ClickHouse, start: u64, count: u64, version: u64, is_old: bool) {
    let series = "'lead_source.cohort','lead_source.by_close','close_rate.cohort','win_rate.closed','win_rate.opened','upsell.won','upsell.customers','cycle_length.won'";
    let names = series.matches("','").count() + 1;
    let (column, value) = if is_old {
        (", written_at", ", now64(6) - 60 - intDiv(n, 100)")
    } else {
        ("", "")
    };
    let sql = format!(
        "INSERT INTO rollups (epoch, series, grain, dimension, pane, value, currency, shard, counts, sums, sketch, version{column}) \
         SELECT 1, [{series}][1 + n % {names}], if(hourly, 'hour', 'day'), if(v = 0, '', 'source'), \
         if(hourly, toStartOfHour(now('UTC')) - 3600 * age, toDateTime(toDate(now('UTC')) - age, 'UTC')), \
         if(v = 0, [], [concat('source ', toString(v))]), 'EUR', s, [toInt64(1 + n % 7), 1, 1], [toDecimal128(n, 4), toDecimal128(1, 4)], \
         map(toInt16(1 + n % 300), toInt64(1)), n % 1000 + 1000000 * {version}{value} \
         FROM (SELECT number AS n, intDiv(n, {names}) % 2 AS hourly, intDiv(n, {names} * 2) % 25 AS v, intDiv(n, {names} * 50) % 4 AS s, \
         intDiv(n, {names} * 200) AS age FROM numbers({start}, {count})) SETTINGS max_partitions_per_insert_block = 0"
    );
    clickhouse
        .execute("filling the rollups", &sql)
        .await
        .expect("rows");
}

/// The mean of so many refreshes, a pause after each: wall time, CPU of ClickHouse, CPU of this
/// process.
async fn timed(pid: u32, times: u32, refresher: &mut Refresher<Database>) -> [Duration; 3] {
    let (theirs, ours) = (cpu(pid), cpu(std::process::id()));
    let mut wall = Duration::ZERO;
    for _ in 0..times {
        let start = Instant::now();
        refresher.snapshot().await.expect("a refresh");
        wall += start.elapsed();
    }
    [wall, cpu(pid) - theirs, cpu(std::process::id()) - ours].map(|total| total / times)
}

/// The CPU time a process has used; the system counts in hundredths of a second.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let after_name = stat.rsplit_once(')').expect("a name").1;
    let ticks: Vec<u64> = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse().expect("ticks"))
        .collect();
    Duration::from_millis(10 * ticks.iter().sum::<u64>())
}
