//! The read model read row by row: what it shows is always what reading everything would show.

use std::cell::Cell as ThreadCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::clickhouse::spawn;
use crate::support::pure::Pure;
use crate::support::read_model::{Database, as_read};
use dealpulse::clickhouse::migrate::{tables, views};
use dealpulse::clickhouse::{Access, ClickHouse, NewRows, RollupRow};
use dealpulse::definitions::DefinitionsSpec;
use dealpulse::metric::SideInputs;
use dealpulse::pipeline::watermark::Progress;
use dealpulse::pipeline::{Epoch, OutsideError, Row, Store};
use dealpulse::record::Home;
use dealpulse::serve::model::Snapshot;
use dealpulse::serve::reach::Reach;
use dealpulse::serve::refresh::{OVERLAP, Refresh, Refresher, Source};
use dealpulse::shard::CellRow;
use dealpulse::telemetry::Telemetry;
use dealpulse::window::rolling::{Now, PaneRange, ROLLING, Window};
use dealpulse::window::{Cell, Grain, Pane};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// 2026-04-02T12:00:00Z
const NOW: i64 = 1_775_131_200 * SECOND;

thread_local! {
    /// The present of a test: each runs in a thread of its own.
    static PRESENT: ThreadCell<i64> = const { ThreadCell::new(NOW) };
}

fn present() -> i64 {
    PRESENT.get()
}

/// Rollups that a test writes, with the time of each row's writing.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    epoch: u32,
    rows: Vec<(Row<CellRow>, i64)>,
    /// How far the watermark is behind the present, and the log's time ahead of it (µs).
    lag: i64,
    ahead: i64,
    /// The next offsets of the shards.
    flushed: Vec<(Home, u64)>,
    /// How many readings of all rows, and of new ones, there were.
    readings: [usize; 2],
    /// After when rows were last asked for.
    asked_after: i64,
    /// Rows that become visible between a reading of all and the next of new ones.
    under_way: Vec<(Row<CellRow>, i64)>,
}

impl Written {
    fn write(&self, row: &Row<CellRow>, at: i64) {
        self.0.lock().unwrap().rows.push((row.clone(), at));
    }

    fn hand_over(
        &self,
        epoch: &Epoch,
        new: Option<&NewRows<'_>>,
        take: &mut (dyn FnMut(RollupRow<'_>) + Send),
    ) {
        let mut state = self.0.lock().unwrap();
        state.readings[usize::from(new.is_some())] += 1;
        let is_new = |row: &Row<CellRow>, at: i64, new: &NewRows<'_>| {
            let is_seen = |seen: &(Home, u64)| seen.0 == row.shard && row.version <= seen.1;
            let is_held = |panes: &Vec<PaneRange>| {
                let pane = row.row.pane;
                pane.grain == Grain::Undated || panes.iter().any(|range| range.holds(pane))
            };
            at > new.after
                && !new.seen.iter().any(is_seen)
                && new.panes.as_ref().is_none_or(is_held)
        };
        let of_epoch = state.rows.iter().filter(|(row, at)| {
            row.row.epoch == epoch.epoch && new.is_none_or(|new| is_new(row, *at, new))
        });
        of_epoch.for_each(|(row, at)| take(as_read(row, *at)));
        let under_way = std::mem::take(&mut state.under_way);
        state.rows.extend(under_way);
    }

    /// Checkpoints up to which all rows are written.
    fn flush(&self) {
        let mut state = self.0.lock().unwrap();
        let mut flushed: BTreeMap<Home, u64> = BTreeMap::new();
        for (row, _) in &state.rows {
            let version = flushed.entry(row.shard).or_default();
            *version = row.version.max(*version);
        }
        state.flushed = flushed.into_iter().collect();
    }

    fn readings(&self) -> [usize; 2] {
        self.0.lock().unwrap().readings
    }
}

impl Source for Written {
    async fn side_inputs_state(&self, _: &Epoch) -> Result<u64, OutsideError> {
        Ok(0)
    }

    async fn side_inputs(&self, _: &Epoch, _: Option<&str>) -> Result<SideInputs, OutsideError> {
        Ok(SideInputs::default())
    }

    async fn current(&self) -> Result<Epoch, OutsideError> {
        let spec = DefinitionsSpec {
            time_zone: "Europe/Berlin".into(),
            ..DefinitionsSpec::default()
        };
        Ok(Epoch {
            epoch: self.0.lock().unwrap().epoch.max(1),
            ..Epoch::first(spec, 3)
        })
    }

    async fn progress(&self, _: &Epoch) -> Result<Progress, OutsideError> {
        let state = self.0.lock().unwrap();
        Ok(Progress {
            watermark: Some(present() - state.lag),
            append_time: present() + state.ahead,
            flushed: state.flushed.clone(),
        })
    }

    async fn rows(
        &self,
        epoch: &Epoch,
        _: &Reach,
        take: &mut (dyn FnMut(RollupRow<'_>) + Send),
    ) -> Result<(), OutsideError> {
        self.hand_over(epoch, None, take);
        Ok(())
    }

    async fn new_rows(
        &self,
        epoch: &Epoch,
        new: &NewRows<'_>,
        take: &mut (dyn FnMut(RollupRow<'_>) + Send),
    ) -> Result<i64, OutsideError> {
        let newest = {
            let mut state = self.0.lock().unwrap();
            state.asked_after = new.after;
            let of_epoch = (state.rows.iter()).filter(|(row, _)| row.row.epoch == epoch.epoch);
            of_epoch.map(|(_, at)| *at).max().unwrap_or(0)
        };
        self.hand_over(epoch, Some(new), take);
        Ok(newest)
    }
}

/// A read model over rows that a test writes.
struct Shown {
    written: Written,
    telemetry: Arc<Telemetry>,
    refresher: Refresher<Written>,
}

impl Shown {
    fn new(compare_every: Duration) -> Shown {
        Shown::with(Refresh {
            compare_every,
            ..Refresh::default()
        })
    }

    fn with(refresh: Refresh) -> Shown {
        let (written, telemetry) = (Written::default(), Telemetry::new());
        let refresh = Refresh {
            clock: present,
            ..refresh
        };
        Shown {
            refresher: Refresher::new(written.clone(), refresh, telemetry.clone()),
            written,
            telemetry,
        }
    }

    async fn snapshot(&mut self) -> Snapshot {
        self.refresher.snapshot().await.unwrap()
    }

    /// The leads of the last week.
    async fn leads(&mut self) -> i64 {
        let json = {
            let snapshot = self.snapshot().await;
            snapshot.reading.to_json(&snapshot.definitions)
        };
        json["lead_source"]["7d"]["all"]["leads"].as_i64().unwrap()
    }

    fn differences(&self) -> u64 {
        self.telemetry.read_model_differences.get()
    }
}

const NEVER: Duration = Duration::from_secs(3_600);
const ALWAYS: Duration = Duration::ZERO;

/// So many leads of today in one shard.
fn leads(count: i64, version: u64) -> Row<CellRow> {
    Row {
        shard: 1,
        version,
        row: CellRow {
            epoch: 1,
            rollup: "lead_source.cohort".into(),
            grouping: String::new(),
            pane: Pane {
                grain: Grain::Day,
                start: (NOW / DAY) * (DAY / SECOND),
            },
            values: Vec::new(),
            currency: String::new(),
            cell: Cell {
                counts: vec![count],
                ..Cell::default()
            },
        },
    }
}

#[tokio::test]
async fn every_refresh_shows_what_reading_everything_shows() {
    let text = std::fs::read_to_string("tests/fixtures/worked_example.ndjson").unwrap();
    let spec = DefinitionsSpec {
        time_zone: "Europe/Berlin".into(),
        ..DefinitionsSpec::default()
    };
    let mut pure = Pure::new(3, spec).await;
    let mut shown = Shown::new(NEVER);
    let lines: Vec<(u64, &str)> = (0..).zip(text.lines()).collect();
    let mut written_at = SECOND;
    let mut known = std::collections::HashMap::new();
    // Days pass while events come, and a season passes when none comes any more.
    let steps = lines.chunks(7).map(Some).chain([None; 30]);
    for (step, chunk) in steps.enumerate() {
        let days = if chunk.is_some() { 1 } else { 5 };
        PRESENT.set(if step == 0 {
            NOW - 20 * DAY
        } else {
            present() + days * DAY / 3
        });
        pure.feed(chunk.unwrap_or_default().iter().copied(), 2)
            .await;
        for (key, row) in pure.store.cells() {
            if known.insert(key, row.version) != Some(row.version) {
                written_at += 7;
                shown.written.write(&row, written_at);
            }
        }
        shown.written.flush();
        let now = Now {
            now: present(),
            watermark: present(),
        };
        let expected = pure.read(ROLLING.to_vec(), now).to_json(&pure.definitions);
        let snapshot = shown.snapshot().await;
        let read = snapshot.reading.to_json(&snapshot.definitions);
        assert_eq!(read, expected, "step {step}");
    }
    let [all, new] = shown.written.readings();
    assert!(
        all > 1 && new > all,
        "{all} readings of all rows, {new} of new ones"
    );
}

#[tokio::test]
async fn the_newest_version_of_a_key_counts_also_when_an_older_row_is_written_later() {
    let mut shown = Shown::new(NEVER);
    shown.written.write(&leads(3, 10), SECOND);
    assert_eq!(shown.leads().await, 3);
    shown.written.write(&leads(7, 30), 2 * SECOND);
    assert_eq!(shown.leads().await, 7);
    // An owner that has lost its shard and does not know it yet.
    shown.written.write(&leads(5, 20), 3 * SECOND);
    assert_eq!(shown.leads().await, 7);
    shown.written.write(&leads(0, 40), 4 * SECOND);
    assert_eq!(shown.leads().await, 0, "a zero is a value");
}

#[tokio::test]
async fn shards_of_one_cell_are_summed_and_replaced_apart() {
    let mut shown = Shown::new(NEVER);
    let other = |count, version| Row {
        shard: 2,
        ..leads(count, version)
    };
    shown.written.write(&leads(3, 10), SECOND);
    shown.written.write(&other(4, 5), SECOND);
    assert_eq!(shown.leads().await, 7);
    shown.written.write(&other(1, 6), 2 * SECOND);
    assert_eq!(shown.leads().await, 4);
}

#[tokio::test]
async fn a_row_that_is_seen_late_is_not_missed() {
    let mut shown = Shown::new(NEVER);
    let yesterday = |count| {
        let mut row = leads(count, 10);
        row.row.pane.start -= DAY / SECOND;
        row
    };
    shown.written.write(&leads(3, 10), 100 * SECOND);
    assert_eq!(shown.leads().await, 3);
    // Stamped before what was seen, and visible only now.
    shown
        .written
        .write(&yesterday(4), 100 * SECOND - OVERLAP + SECOND);
    assert_eq!(shown.leads().await, 7);
}

#[tokio::test]
async fn a_late_row_that_says_what_an_older_version_says_is_no_difference() {
    let mut shown = Shown::new(ALWAYS);
    shown.written.write(&leads(3, 10), 100 * SECOND);
    shown.written.0.lock().unwrap().flushed = vec![(1, 20)];
    assert_eq!(shown.leads().await, 3);
    // An owner that has lost its shard: nothing has touched the cell since version 10, so it says
    // the same. Of a version that was flushed before the last reading, it is not read again.
    shown.written.write(&leads(3, 15), 101 * SECOND);
    assert_eq!(shown.leads().await, 3);
    assert_eq!(shown.leads().await, 3);
    assert_eq!(shown.differences(), 0);
}

#[tokio::test]
async fn rows_of_no_window_are_not_asked_for_again_and_again() {
    let mut shown = Shown::new(NEVER);
    shown.written.write(&leads(3, 10), 100 * SECOND);
    assert_eq!(shown.leads().await, 3);
    // A back-fill of hours long over.
    for step in 1..=3 {
        let at = (100 + 60 * step) * SECOND;
        let mut row = leads(1, 10 + step as u64);
        row.row.pane = Pane {
            grain: Grain::Hour,
            start: 3_600,
        };
        shown.written.write(&row, at);
        assert_eq!(shown.leads().await, 3);
        assert_eq!(shown.leads().await, 3);
        assert_eq!(shown.written.0.lock().unwrap().asked_after, at - OVERLAP);
    }
}

/// A day is shown only if all of it is kept, whatever clock is wrong.
#[tokio::test]
async fn a_window_of_hours_that_are_not_kept_is_not_shown() {
    let mut shown = Shown::new(NEVER);
    let day = || Window::Hours(24);
    let windows = |snapshot: &Snapshot| snapshot.reading.windows.clone();
    let mature = |snapshot: &Snapshot, window: &str| {
        let json = snapshot.reading.to_json(&snapshot.definitions);
        json["close_rate"][window]["all"]["within_30d"].is_object()
    };
    let snapshot = shown.snapshot().await;
    assert!(windows(&snapshot).contains(&day()) && mature(&snapshot, "24h"));
    let set = |shown: &Shown, ahead, lag| {
        let mut state = shown.written.0.lock().unwrap();
        (state.ahead, state.lag) = (ahead * DAY, lag * DAY);
    };
    // The log's time is ahead, as far as hours are kept and no farther.
    set(&shown, 6, 0);
    assert!(windows(&shown.snapshot().await).contains(&day()));
    set(&shown, 9, 0);
    let snapshot = shown.snapshot().await;
    assert_eq!(windows(&snapshot).len(), ROLLING.len() - 1);
    assert!(!windows(&snapshot).contains(&day()) && mature(&snapshot, "7d"));
    // One shard is behind, so that older cohorts are looked at.
    set(&shown, 0, 5);
    let snapshot = shown.snapshot().await;
    assert!(windows(&snapshot).contains(&day()) && mature(&snapshot, "24h"));
    set(&shown, 0, 9);
    let snapshot = shown.snapshot().await;
    assert!(windows(&snapshot).contains(&day()) && !mature(&snapshot, "24h"));
    assert!(mature(&snapshot, "7d"));
}

#[tokio::test]
async fn rows_of_another_epoch_do_not_count_and_a_switch_reads_all() {
    let mut shown = Shown::new(NEVER);
    let next = |count, version| {
        let mut row = leads(count, version);
        row.row.epoch = 2;
        row
    };
    shown.written.write(&leads(3, 10), SECOND);
    shown.written.write(&next(100, 20), SECOND);
    assert_eq!(shown.leads().await, 3);
    shown.written.0.lock().unwrap().epoch = 2;
    assert_eq!(shown.leads().await, 100);
    assert_eq!(shown.written.readings()[0], 2);
}

#[tokio::test]
async fn a_comparison_finds_and_corrects_what_was_missed() {
    let mut shown = Shown::new(ALWAYS);
    let newest = Row {
        shard: 2,
        ..leads(3, 10)
    };
    let early = 100 * SECOND - 2 * OVERLAP;
    let mut rows_are = async |rows: &[Row<CellRow>]| {
        shown.written.0.lock().unwrap().rows.clear();
        shown.written.write(&newest, 100 * SECOND);
        rows.iter().for_each(|row| shown.written.write(row, early));
        (shown.leads().await, shown.differences())
    };
    assert_eq!(rows_are(&[]).await, (3, 0));
    assert_eq!(rows_are(&[]).await, (3, 0));
    assert_eq!(rows_are(&[leads(4, 20)]).await, (7, 1), "a new row");
    assert_eq!(rows_are(&[leads(5, 30)]).await, (8, 2), "a newer version");
    assert_eq!(rows_are(&[leads(9, 30)]).await, (12, 3), "other numbers");
    assert_eq!(rows_are(&[]).await, (3, 4), "a row that is gone");
    assert_eq!(rows_are(&[]).await, (3, 4));
}

#[tokio::test]
async fn a_refresh_with_nothing_new_reads_and_rebuilds_nothing() {
    let mut shown = Shown::new(NEVER);
    shown.written.write(&leads(3, 10), SECOND);
    let first = shown.snapshot().await;
    PRESENT.set(present() + SECOND);
    let second = shown.snapshot().await;
    assert!(Arc::ptr_eq(&first.reading, &second.reading));
    assert_eq!(second.as_of, first.as_of + SECOND);
    shown.written.write(&leads(4, 20), 2 * SECOND);
    assert!(!Arc::ptr_eq(
        &first.reading,
        &shown.snapshot().await.reading
    ));
    assert_eq!(shown.written.readings(), [1, 2]);
}

#[tokio::test]
async fn as_long_as_nothing_is_flushed_no_rows_are_asked_for() {
    let mut shown = Shown::with(Refresh {
        compare_every: NEVER,
        quiet: Duration::ZERO,
        ..Refresh::default()
    });
    shown.written.write(&leads(3, 1), NOW);
    assert_eq!(shown.leads().await, 3);
    assert_eq!(shown.leads().await, 3);
    assert_eq!(shown.written.readings(), [1, 0]);
    // A flush writes its cells first, then its checkpoint.
    shown.written.write(&leads(5, 2), NOW + 1);
    shown.written.0.lock().unwrap().flushed = vec![(0, 2)];
    assert_eq!(shown.leads().await, 5);
    assert_eq!(shown.leads().await, 5);
    assert_eq!(shown.written.readings(), [1, 1]);
}

#[tokio::test]
async fn for_a_while_after_a_flush_rows_that_are_still_under_way_are_waited_for() {
    let mut shown = Shown::new(NEVER);
    shown.written.write(&leads(3, 1), NOW);
    assert_eq!(shown.leads().await, 3);
    // On another replica the checkpoint may be seen first.
    shown.written.0.lock().unwrap().flushed = vec![(0, 2)];
    assert_eq!(shown.leads().await, 3);
    shown.written.write(&leads(5, 2), NOW + 1);
    assert_eq!(shown.leads().await, 5);
}

#[tokio::test]
async fn rows_that_come_during_a_comparison_are_no_difference() {
    let mut shown = Shown::new(ALWAYS);
    shown.written.write(&leads(3, 10), 100 * SECOND);
    assert_eq!(shown.leads().await, 3);
    for (count, version) in [(4, 20), (5, 30), (6, 40)] {
        let at = (100 + version as i64) * SECOND;
        let row = leads(count, version);
        shown.written.0.lock().unwrap().under_way.push((row, at));
        assert_eq!(shown.leads().await, count);
    }
    assert_eq!(shown.differences(), 0);
}

/// An engine with an empty database of ours.
async fn database() -> (ClickHouse, Engine) {
    let engine = Engine(Some(spawn(None)));
    let clickhouse = engine.client();
    tables(&clickhouse).await.unwrap();
    (clickhouse, engine)
}

struct Engine(Option<dealpulse::local::clickhouse_child::ClickhouseChild>);

impl Engine {
    fn client(&self) -> ClickHouse {
        ClickHouse::new(&Access {
            url: self.0.as_ref().unwrap().url(),
            database: "sales".into(),
            ..Access::default()
        })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.0.take();
    }
}

async fn text(clickhouse: &ClickHouse, sql: &str) -> String {
    let bytes = clickhouse.fetch("asking for a test", sql, "TSV").await;
    String::from_utf8_lossy(&bytes.unwrap()).trim().to_owned()
}

/// The rows that are new after some time (µs), by what the read model asks.
async fn versions_after(clickhouse: &ClickHouse, after: Option<i64>) -> Vec<u64> {
    let definitions = dealpulse::metric::Catalogue::new(DefinitionsSpec::default()).unwrap();
    let now = Now {
        now: NOW,
        watermark: NOW,
    };
    let plan = dealpulse::metric::QueryPlan::new(ROLLING.to_vec(), now, &definitions);
    let mut versions = Vec::new();
    let mut take = |row: RollupRow<'_>| versions.push(row.version);
    let reach = Reach::around(&[&plan]);
    let read = match after {
        None => clickhouse.rollup_rows(1, &reach.ranges(), &mut take).await,
        Some(after) => {
            let new = NewRows {
                after,
                ..NewRows::default()
            };
            clickhouse
                .new_rollup_rows(1, &new, &mut take)
                .await
                .map(|_| ())
        }
    };
    read.unwrap();
    versions.sort_unstable();
    versions
}

#[tokio::test]
async fn rows_of_an_upgraded_database_are_read_once_and_new_ones_after_them() {
    let (clickhouse, _engine) = database().await;
    // As the version before left it.
    let run = async |sql: &str| clickhouse.execute("preparing a test", sql).await.unwrap();
    run("ALTER TABLE rollups DROP INDEX written_at_range").await;
    run("ALTER TABLE rollups DROP COLUMN written_at SETTINGS mutations_sync = 2").await;
    run("ALTER TABLE migrations DELETE WHERE number >= 7 SETTINGS mutations_sync = 2").await;
    clickhouse
        .insert_cells(&[Row::single(leads(3, 10))])
        .await
        .unwrap();
    clickhouse
        .insert_cells(&[Row::single(Row {
            shard: 2,
            ..leads(4, 11)
        })])
        .await
        .unwrap();

    tables(&clickhouse).await.unwrap();
    assert_eq!(versions_after(&clickhouse, None).await, [10, 11]);
    assert!(versions_after(&clickhouse, Some(0)).await.is_empty());
    clickhouse
        .insert_cells(&[Row::single(leads(5, 20))])
        .await
        .unwrap();
    assert_eq!(versions_after(&clickhouse, Some(0)).await, [20]);
    run("OPTIMIZE TABLE rollups FINAL").await;
    assert_eq!(
        versions_after(&clickhouse, Some(0)).await,
        [20],
        "a merge keeps the time a row was written at"
    );
    assert_eq!(
        text(
            &clickhouse,
            "SELECT countIf(written_at > now64(6) - 60) FROM rollups"
        )
        .await,
        "1"
    );
}

#[tokio::test]
async fn of_new_rows_those_are_left_out_that_were_seen_or_are_of_no_window() {
    let (clickhouse, engine) = database().await;
    let of = |shard, version, pane| {
        let mut row = leads(1, version);
        (row.shard, row.row.pane) = (shard, pane);
        row
    };
    let hour = |start| Pane {
        grain: Grain::Hour,
        start,
    };
    let rows = [
        of(0, 10, hour(7_200)),
        of(0, 20, hour(7_200)),
        of(0, 21, hour(3_600)),
        of(0, 22, hour(10_800)),
        of(0, 23, Pane::UNDATED),
        of(7, 24, hour(7_200)),
        of(7, 31, hour(7_200)),
        of(1, 25, hour(7_200)),
    ];
    let insert = async || {
        for row in rows.clone() {
            clickhouse.insert_cells(&[Row::single(row)]).await.unwrap();
        }
    };
    let versions = async |seen: &[(Home, u64)], is_reach_known: bool| {
        let new = NewRows {
            after: 0,
            newest: 0,
            seen,
            panes: is_reach_known.then(|| {
                vec![PaneRange {
                    grain: Grain::Hour,
                    from: 7_200,
                    to: 10_800,
                    undated: false,
                }]
            }),
        };
        let mut versions = Vec::new();
        let mut take = |row: RollupRow<'_>| versions.push(row.version);
        // Another client each time: what the table is it asks once.
        let read = engine.client();
        let newest = read.new_rollup_rows(1, &new, &mut take).await.unwrap();
        let newest_there = "SELECT toUnixTimestamp64Micro(max(written_at)) FROM rollups";
        assert_eq!(text(&read, newest_there).await, newest.to_string());
        versions.sort_unstable();
        versions
    };
    let run = async |sql: &str| clickhouse.execute("preparing a test", sql).await.unwrap();
    run("SYSTEM STOP MERGES rollups").await;
    insert().await;
    assert_eq!(versions(&[], false).await, [10, 20, 21, 22, 23, 24, 25, 31]);
    assert_eq!(versions(&[], true).await, [10, 20, 23, 24, 25, 31]);
    let seen = [(0, 10), (7, 30)];
    assert_eq!(versions(&seen, false).await, [20, 21, 22, 23, 25, 31]);
    assert_eq!(versions(&seen, true).await, [20, 23, 25, 31]);
    // Where all are left out, the newest of them is named all the same.
    let all: [(Home, u64); 3] = [(0, 30), (1, 30), (7, 40)];
    assert!(versions(&all, true).await.is_empty());
    // Where a row may come from another server later, what was flushed may not have been seen.
    run("RENAME TABLE rollups TO elsewhere").await;
    run("CREATE TABLE rollups AS elsewhere ENGINE = Merge(currentDatabase(), 'elsewhere')").await;
    assert_eq!(versions(&seen, true).await, [10, 20, 23, 24, 25, 31]);
}

#[tokio::test]
async fn the_model_follows_the_rollups_of_an_engine() {
    let (clickhouse, _engine) = database().await;
    let spec = DefinitionsSpec {
        time_zone: "Europe/Berlin".into(),
        ..DefinitionsSpec::default()
    };
    clickhouse
        .put_epoch(&Epoch::first(spec.clone(), 3))
        .await
        .unwrap();
    views(&clickhouse, &spec, &dealpulse::metric::versions(&spec))
        .await
        .unwrap();
    let refresh = Refresh {
        clock: present,
        compare_every: NEVER,
        ..Refresh::default()
    };
    let telemetry = Telemetry::new();
    let source = Database(clickhouse.clone());
    let mut refresher = Refresher::new(source, refresh, telemetry);
    let mut shown = async || {
        let snapshot = refresher.snapshot().await.unwrap();
        let json = snapshot.reading.to_json(&snapshot.definitions);
        json["lead_source"]["7d"]["all"]["leads"].as_i64().unwrap()
    };
    assert_eq!(shown().await, 0);
    clickhouse
        .insert_cells(&[Row::single(leads(3, 10))])
        .await
        .unwrap();
    assert_eq!(shown().await, 3);
    let mut other_epoch = leads(50, 90);
    other_epoch.row.epoch = 2;
    clickhouse
        .insert_cells(&[leads(2, 9), leads(4, 12), other_epoch].map(Row::single))
        .await
        .unwrap();
    assert_eq!(shown().await, 4);
}
