//! The store over ClickHouse, through the real engine: what is written is what is restored, summed
//! and shown.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::support::clickhouse::spawn;
use crate::support::pure::context;
use dealpulse::clickhouse::migrate::{migrate, tables, views};
use dealpulse::clickhouse::{Access, ClickHouse, fact_columns, fact_tables};
use dealpulse::definitions::DefinitionsSpec;
use dealpulse::event::{Decimal, decode::cloudevents};
use dealpulse::local::clickhouse_child::ClickhouseChild;
use dealpulse::local::generate::{Generator, GeneratorConfig};
use dealpulse::metric::Catalogue;
use dealpulse::metric::{Figure, Figures, MetricValues, QueryPlan, SideInputs, versions};
use dealpulse::pipeline::epochs::Input;
use dealpulse::pipeline::memory::{MemoryLog, MemoryStore};
use dealpulse::pipeline::owner::Owner;
use dealpulse::pipeline::restart::restore;
use dealpulse::pipeline::route::partition_by_home;
use dealpulse::pipeline::run_to_completion::run_to_completion;
use dealpulse::pipeline::{
    CellName, Checkpoint, Epoch, HourlyRows, Log, Row, Store, StoredLink, StoredRecord,
};
use dealpulse::record::Entity;
use dealpulse::shard::{CellRow, CellRows, ChangeRow, LinkRow, RecordRow};
use dealpulse::window::calendar::DAY;
use dealpulse::window::rolling::{Now, Window};
use dealpulse::window::{Cell, Grain, Pane, Sketch};
use serde_json::Value as Json;

const SHARDS: u32 = 3;

/// An engine with an empty database of ours.
struct Kept {
    clickhouse: ClickHouse,
    definitions: Arc<Catalogue>,
    _child: ClickhouseChild,
}

fn client(child: &ClickhouseChild, database: &str) -> ClickHouse {
    ClickHouse::new(&Access {
        url: child.url(),
        database: database.into(),
        ..Access::default()
    })
}

fn epoch(spec: &DefinitionsSpec) -> Epoch {
    Epoch::first(spec.clone(), SHARDS)
}

impl Kept {
    async fn new(time_zone: &str) -> Kept {
        let spec = DefinitionsSpec {
            time_zone: time_zone.into(),
            ..DefinitionsSpec::default()
        };
        let child = spawn(None);
        let clickhouse = client(&child, "sales");
        migrate(&clickhouse, &Catalogue::new(spec.clone()).unwrap())
            .await
            .unwrap();
        clickhouse.put_epoch(&epoch(&spec)).await.unwrap();
        Kept {
            clickhouse,
            definitions: Arc::new(Catalogue::new(spec).unwrap()),
            _child: child,
        }
    }

    async fn rows(&self, sql: &str) -> Vec<Vec<Json>> {
        let text = self
            .clickhouse
            .fetch("asking for a test", sql, "JSONCompactEachRow")
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        String::from_utf8_lossy(&text)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The texts of a query's only row.
    async fn row(&self, sql: &str) -> Vec<String> {
        let rows = self.rows(sql).await;
        assert_eq!(rows.len(), 1, "{sql}");
        rows[0]
            .iter()
            .map(|cell| {
                cell.as_str()
                    .map_or_else(|| cell.to_string(), str::to_owned)
            })
            .collect()
    }
}

/// Folds lines into a store, flushing every `stride` lines.
async fn fold(
    lines: &[String],
    stride: usize,
    store: &impl Store,
    definitions: &Arc<Catalogue>,
) -> Vec<Owner> {
    let log = MemoryLog::new(SHARDS);
    store.put_epoch(&epoch(&definitions.spec)).await.unwrap();
    let mut owners = Vec::new();
    for shard in 0..SHARDS {
        owners.push(restore(shard, 1, &log, store, versions).await.unwrap());
    }
    for (number, lines) in lines.chunks(stride).enumerate() {
        let mut assertions = Vec::new();
        for (i, line) in lines.iter().enumerate() {
            let decoded = cloudevents::decode(
                Some(line.as_bytes()),
                &[],
                &context((number * stride + i) as u64),
            );
            assertions.extend(decoded.assertions);
        }
        log.append(partition_by_home(&assertions, SHARDS))
            .await
            .unwrap();
        run_to_completion(&mut owners, 1, &log, store, versions)
            .await
            .unwrap();
    }
    owners
}

fn generated() -> Vec<String> {
    let config = GeneratorConfig {
        seed: 5,
        deals: 150,
        ..GeneratorConfig::default()
    };
    Generator::new(config)
        .map(|event| String::from_utf8_lossy(&event.payload).into_owned())
        .collect()
}

fn worked_example() -> Vec<String> {
    std::fs::read_to_string("tests/fixtures/worked_example.ndjson")
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn cell_row(pane: Pane, won: i64) -> CellRow {
    let cell = Cell {
        counts: vec![won, 0],
        sums: vec![i128::from(won) * 10_000, 0],
        sketch: Sketch::default(),
    };
    let (grouping, currency) = (String::new(), "EUR".into());
    CellRow {
        epoch: 1,
        rollup: "win_rate.closed".into(),
        grouping,
        pane,
        values: Vec::new(),
        currency,
        cell,
    }
}

/// What two stores that share a database hold after each has written a first epoch, having seen
/// none.
async fn after_two_first_epochs(stores: [&impl Store; 2]) -> Vec<Epoch> {
    let [one, other] = ["Europe/Berlin", "Asia/Kolkata"].map(|time_zone| {
        epoch(&DefinitionsSpec {
            time_zone: time_zone.into(),
            ..DefinitionsSpec::default()
        })
    });
    for store in stores {
        assert_eq!(store.epochs().await.unwrap(), []);
    }
    stores[0].put_first_epoch(&one).await.unwrap();
    stores[1].put_first_epoch(&other).await.unwrap();
    let read = stores[0].epochs().await.unwrap();
    assert_eq!(read, [one]);
    assert_eq!(stores[1].epochs().await.unwrap(), read);
    read
}

#[tokio::test]
async fn of_two_first_epochs_the_one_written_first_counts_and_later_stages_still_replace_it() {
    let memory = MemoryStore::default();
    after_two_first_epochs([&memory, &memory]).await;

    let child = spawn(None);
    let stores = [client(&child, "sales"), client(&child, "sales")];
    for store in &stores {
        tables(store).await.unwrap();
    }
    let first = after_two_first_epochs([&stores[0], &stores[1]])
        .await
        .remove(0);
    // Rows written later aren't taken for repetitions: with more inputs, with the earlier ones
    // again, in another stage.
    let crm = Input {
        format: "cloudevents".into(),
        id_namespace: None,
        mapping: None,
    };
    let with_inputs = Epoch {
        inputs: BTreeMap::from([("crm".to_owned(), crm)]),
        ..first.clone()
    };
    for written in [&with_inputs, &first, &with_inputs, &first] {
        stores[0].put_epoch(written).await.unwrap();
        assert_eq!(
            &stores[1].epochs().await.unwrap(),
            std::slice::from_ref(written)
        );
    }
}

#[tokio::test]
async fn columns_of_the_facts_are_the_fields_of_the_entities() {
    let kept = Kept::new("UTC").await;
    for (entity, table) in fact_tables() {
        let described = kept.rows(&format!("DESCRIBE TABLE {table}")).await;
        let text = |value: &Json| value.as_str().unwrap().to_owned();
        let columns: Vec<(String, String)> = described
            .iter()
            .map(|row| (text(&row[0]), text(&row[1])))
            .collect();
        let written = fact_columns(entity).into_iter();
        let written: Vec<(String, String)> = written
            .map(|column| (column.name.into_owned(), column.kind.to_string()))
            .collect();
        // Dictionaries are filled by ClickHouse.
        let plain = columns.iter().map(|(name, kind)| {
            let dictionary = kind.strip_prefix("LowCardinality(");
            let of = dictionary.and_then(|kind| kind.strip_suffix(')'));
            (name.clone(), of.unwrap_or(kind).to_owned())
        });
        assert_eq!(plain.collect::<Vec<_>>(), written, "{table}");
        let fields = entity.fields().iter().map(|field| field.name);
        let shown = columns[3..].iter().map(|(name, _)| name.as_str());
        assert!(fields.eq(shown.take(entity.fields().len())));
    }
}

/// The facts are the state: what a TTL takes, or a read before FINAL leaves out, would be lost or
/// stale in every number after a restart.
#[tokio::test]
async fn rule_facts_never_expire_and_views_read_only_rows_that_count() {
    let kept = Kept::new("UTC").await;
    let there = kept
        .rows("SELECT name, engine, create_table_query FROM system.tables WHERE database = 'sales'")
        .await;
    let of = |engine: &str| -> BTreeMap<&str, &str> {
        there
            .iter()
            .filter(|row| row[1] == engine)
            .map(|row| (row[0].as_str().unwrap(), row[2].as_str().unwrap()))
            .collect()
    };
    let (tables, views) = (of("ReplacingMergeTree"), of("View"));
    for (_, facts) in fact_tables() {
        let made_by = tables
            .get(facts)
            .unwrap_or_else(|| panic!("there is no table {facts}"));
        assert!(
            !made_by.contains(" TTL ")
                && made_by.contains("PARTITION BY generation ORDER BY (generation, shard, id)"),
            "{made_by}"
        );
    }
    let mut reads = 0;
    for (name, made_by) in &views {
        let words: Vec<&str> = made_by.split_whitespace().collect();
        let tables_read = words
            .iter()
            .filter(|word| {
                word.strip_prefix("sales.")
                    .is_some_and(|table| tables.contains_key(table.trim_end_matches(')')))
            })
            .count();
        let finals = words
            .iter()
            .filter(|word| word.trim_end_matches(')') == "FINAL")
            .count();
        assert_eq!(
            finals, tables_read,
            "{name} counts rows that newer ones have replaced: {made_by}"
        );
        for word in ["PREWHERE", "do_not_merge_across_partitions_select_final"] {
            assert!(!made_by.contains(word), "{name}: {made_by}");
        }
        reads += tables_read;
    }
    assert!(views.len() > 5 && reads > 2, "{views:?}");
}

#[tokio::test]
async fn restores_what_was_inserted() {
    let kept = Kept::new("Europe/Berlin").await;
    let memory = MemoryStore::default();
    let lines = generated();
    let owners = fold(&lines, 400, &kept.clickhouse, &kept.definitions).await;
    fold(&lines, 400, &memory, &kept.definitions).await;

    assert_eq!(
        kept.clickhouse.epochs().await.unwrap(),
        [epoch(&kept.definitions.spec)]
    );
    let mut seen = (0, 0);
    for owner in &owners {
        let shard = owner.number();
        let checkpoint = kept.clickhouse.checkpoint(1, shard).await.unwrap();
        assert_eq!(checkpoint, memory.checkpoint(1, shard).await.unwrap());
        assert_eq!(checkpoint.unwrap().next_offset, owner.position());

        let records = |records: Vec<StoredRecord<'static>>| {
            let record = |r: StoredRecord<'static>| ((r.entity, r.id), (r.state, r.version));
            records.into_iter().map(record).collect::<BTreeMap<_, _>>()
        };
        let found = records(kept.clickhouse.records(1, shard).await.unwrap());
        assert_eq!(found, records(memory.records(1, shard).await.unwrap()));

        let links = |links: Vec<StoredLink<'static>>| {
            let link = |l: StoredLink<'static>| {
                ((l.target, l.sender), (l.link_version, l.content, l.version))
            };
            links.into_iter().map(link).collect::<BTreeMap<_, _>>()
        };
        let links_found = links(kept.clickhouse.links(1, shard).await.unwrap());
        assert_eq!(links_found, links(memory.links(1, shard).await.unwrap()));
        seen = (seen.0 + found.len(), seen.1 + links_found.len());
    }
    assert!(seen.0 > 200 && seen.1 > 50, "{seen:?}");
}

#[tokio::test]
async fn facts_show_the_values_that_count() {
    let kept = Kept::new("Europe/Berlin").await;
    let lines = [
        r#"{"specversion":"1.0","type":"crm.deal.upserted","subject":"D-1","time":"2026-03-04T10:00:00Z","data":{"name":"Häfen","amount":"12500.5","currency":"EUR","status":"won","closed_at":"2026-03-03","probability":0.25,"account_id":"A-1","custom":{"tier":"gold"}}}"#,
        r#"{"specversion":"1.0","type":"crm.deal.deleted","subject":"D-2","time":"2026-03-04T10:00:00Z"}"#,
    ];
    fold(
        &lines.map(str::to_owned),
        1,
        &kept.clickhouse,
        &kept.definitions,
    )
    .await;
    let sql = "SELECT name, toString(amount), currency, status, toString(closed_at), toString(probability), custom['tier'], isNull(created_at) FROM deals FINAL WHERE id = 'D-1'";
    assert_eq!(
        kept.row(sql).await,
        [
            "Häfen",
            "12500.5",
            "EUR",
            "won",
            "2026-03-03 00:00:00.000000",
            "0.25",
            "gold",
            "1"
        ]
    );
    assert_eq!(
        kept.row("SELECT id FROM deals FINAL WHERE deleted = 1")
            .await,
        ["D-2"]
    );
    let link = "SELECT target_entity, target, status, toString(amount), currency FROM links FINAL WHERE withdrawn = 0";
    assert_eq!(
        kept.row(link).await,
        ["account", "A-1", "won", "12500.5", "EUR"]
    );
    let changes = "SELECT status_before, status, toString(amount_before), toString(amount) FROM changes FINAL WHERE id = 'D-1'";
    assert_eq!(kept.row(changes).await[1], "won");
}

#[tokio::test]
async fn newest_version_wins_and_a_stale_write_loses() {
    let kept = Kept::new("UTC").await;
    let store = &kept.clickhouse;
    let record = |version: u64| {
        let blank = vec![dealpulse::event::Value::Null; Entity::ACCOUNT.fields().len()];
        let row = RecordRow::new(Entity::ACCOUNT, "A", blank, &[], &[version as u8]);
        [Row {
            shard: 2,
            version,
            row,
        }]
    };
    let link = |version: u64| {
        let (target, sender) = (
            (Entity::ACCOUNT, "A".to_owned()),
            (Entity::DEAL, "D".to_owned()),
        );
        let row = LinkRow {
            epoch: 1,
            target,
            sender,
            link_version: version,
            content: vec![version as u8],
            outcome: None,
            withdrawn: false,
        };
        [Row {
            shard: 2,
            version,
            row,
        }]
    };
    let pane = Pane {
        grain: Grain::Day,
        start: 20_000 * DAY,
    };
    for version in [5, 9, 7] {
        store.insert_records(1, &record(version)).await.unwrap();
        store.insert_links(&link(version)).await.unwrap();
        store
            .insert_cells(&[Row::single(Row {
                shard: 2,
                version,
                row: cell_row(pane, version as i64),
            })])
            .await
            .unwrap();
        let checkpoint = Checkpoint {
            next_offset: version,
            message_hash: u64::MAX - version,
            append_time: -5,
        };
        store
            .insert_checkpoints(1, &[(2, checkpoint)])
            .await
            .unwrap();
    }
    let records = store.records(1, 2).await.unwrap();
    assert_eq!(
        (records.len(), records[0].version, &*records[0].state),
        (1, 9, [9].as_slice())
    );
    let links = store.links(1, 2).await.unwrap();
    assert_eq!(
        (links.len(), links[0].version, &*links[0].content),
        (1, 9, [9].as_slice())
    );
    let checkpoint = store.checkpoint(1, 2).await.unwrap().unwrap();
    assert_eq!(
        checkpoint,
        Checkpoint {
            next_offset: 9,
            message_hash: u64::MAX - 9,
            append_time: -5
        }
    );
    assert_eq!(
        kept.row("SELECT toString(counts), toString(sums) FROM rollups FINAL")
            .await,
        ["[9,0]", "[9,0]"]
    );
    assert_eq!(
        store.checkpoint(2, 2).await.unwrap(),
        None,
        "another generation"
    );
    assert!(
        store.records(1, 1).await.unwrap().is_empty(),
        "another shard"
    );
}

#[tokio::test]
async fn writes_cells_of_any_number_of_years() {
    let kept = Kept::new("UTC").await;
    let years: Vec<i64> = (1970..2100)
        .map(|year| {
            (chrono::NaiveDate::from_ymd_opt(year, 6, 1).unwrap() - chrono::NaiveDate::default())
                .num_days()
        })
        .collect();
    let rows: Vec<Row<CellRows>> = years
        .iter()
        .map(|day| Row {
            shard: 0,
            version: 1,
            row: cell_row(
                Pane {
                    grain: Grain::Day,
                    start: day * DAY,
                },
                1,
            ),
        })
        .map(Row::single)
        .collect();
    kept.clickhouse.insert_cells(&rows).await.unwrap();
    assert_eq!(
        kept.row("SELECT toString(count()), toString(uniqExact(_partition_id)) FROM rollups")
            .await,
        ["130", "130"]
    );

    let unsplit = "INSERT INTO rollups (epoch, series, grain, pane) SELECT 1, 'x', 'day', toDateTime(number * 31536000, 'UTC') FROM numbers(130)";
    let refused = kept
        .clickhouse
        .execute("writing all years at once", unsplit)
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("Too many partitions"),
        "{refused}"
    );
}

#[tokio::test]
async fn cells_come_back_as_they_were_written_however_many_there_are() {
    let kept = Kept::new("UTC").await;
    const HOUR: i64 = 3_600;
    let grains = [Grain::Hour, Grain::Day, Grain::Month];
    // More than two blocks.
    let row = |i: i64| CellRow {
        epoch: 1,
        rollup: format!("metric.{}", i % 7),
        grouping: ["", "owner", "région,product"][i as usize % 3].into(),
        pane: match i % 11 {
            0 => Pane::UNDATED,
            _ => Pane {
                grain: grains[i as usize % 3],
                start: i * HOUR,
            },
        },
        values: (0..=i % 3).map(|n| format!("värde {i} {n}")).collect(),
        currency: ["", "EUR"][i as usize % 2].into(),
        cell: Cell {
            counts: (0..i % 5).map(|n| (n - 2) * (i64::MAX / 4)).collect(),
            sums: (0..i % 4)
                .map(|n| i128::from(i64::MIN) * i128::from(n * 1_000 - 1))
                .collect(),
            sketch: (0..i % 3)
                .map(|n| (n as i16 * 300 - 299, n + 1))
                .collect::<Sketch>(),
        },
    };
    let block = |shard: u32, of: std::ops::Range<i64>| Row {
        shard,
        version: 77 + u64::from(shard),
        row: of.map(row).collect::<CellRows>(),
    };
    let blocks = [block(0, 1..12_000), block(2, 12_000..20_000)];
    kept.clickhouse.insert_cells(&blocks).await.unwrap();
    for block in &blocks {
        let stored = kept.clickhouse.rollups(1, block.shard).await.unwrap();
        let mut stored: Vec<_> = stored
            .into_iter()
            .map(|cell| (cell.name, cell.cell, cell.version))
            .collect();
        let mut written: Vec<_> = block
            .decode()
            .map(|row| (CellName::of(&row.row), row.row.cell, row.version))
            .collect();
        stored.sort_by(|a, b| a.0.cmp(&b.0));
        written.sort_by(|a, b| a.0.cmp(&b.0));
        assert!(stored == written, "shard {}", block.shard);
    }
    // The state of hours has the same columns and one more.
    let hourly = blocks.map(|cells| HourlyRows { hour: HOUR, cells });
    kept.clickhouse.insert_hourly(&hourly).await.unwrap();
    let columns = "shard, version, epoch, series, grain, dimension, pane, value, currency, counts, sums, sketch";
    let same = format!(
        "SELECT (SELECT (count(), sum(cityHash64({columns})), uniqExact(toUnixTimestamp(hour)), any(toUnixTimestamp(hour))) FROM hourly) \
         = (SELECT (count(), sum(cityHash64({columns})), 1, 3600) FROM rollups)"
    );
    assert_eq!(kept.row(&same).await, ["1"]);
}

#[tokio::test]
async fn migrating_again_changes_nothing_and_a_newer_database_is_refused() {
    let kept = Kept::new("UTC").await;
    fold(&worked_example(), 20, &kept.clickhouse, &kept.definitions).await;
    let state = "SELECT toString(count()), toString(sum(cityHash64(state))) FROM deals FINAL";
    let before = kept.row(state).await;
    assert!(
        migrate(&kept.clickhouse, &kept.definitions)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(kept.row(state).await, before);

    kept.clickhouse
        .execute(
            "pretending",
            "INSERT INTO migrations (number, name) VALUES (999, 'of a later version')",
        )
        .await
        .unwrap();
    let refused = migrate(&kept.clickhouse, &kept.definitions)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("999") && refused.contains("upgrade dealpulse"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_database_that_is_not_of_its_own_is_refused() {
    let child = spawn(None);
    for name in ["default", "", "a-b", "x; DROP DATABASE y"] {
        let refused = migrate(
            &client(&child, name),
            &Catalogue::new(DefinitionsSpec::default()).unwrap(),
        )
        .await
        .unwrap_err()
        .to_string();
        assert!(refused.contains("can't be the database"), "{refused}");
    }
}

/// A cell as it is compared: its name, counts, sums in ten-thousandths, buckets.
type Line = (Vec<String>, Vec<i64>, Vec<i64>, BTreeMap<i16, i64>);

/// `[1,2]`, `{1:2}` without what holds them together.
fn items(text: &str) -> impl Iterator<Item = &str> {
    text[1..text.len() - 1]
        .split(',')
        .filter(|item| !item.is_empty())
}

#[tokio::test]
async fn cells_of_the_engine_are_those_of_the_store_in_memory() {
    let kept = Kept::new("America/New_York").await;
    let memory = MemoryStore::default();
    let lines = generated();
    fold(&lines, 700, &kept.clickhouse, &kept.definitions).await;
    // Other strides and so other versions and other rows on the way: only the sums must be the
    // same.
    fold(&lines, 300, &memory, &kept.definitions).await;

    let read = |line: &String| -> Line {
        let mut columns: Vec<&str> = line.split('\t').collect();
        let sketch = items(columns.pop().unwrap())
            .map(|pair| pair.split_once(':').unwrap())
            .map(|(b, n)| (b.parse().unwrap(), n.parse().unwrap()));
        let sketch = sketch.collect();
        let sums = items(columns.pop().unwrap())
            .map(|sum| Decimal::parse(sum).unwrap().0)
            .collect();
        let counts = items(columns.pop().unwrap())
            .map(|count| count.parse().unwrap())
            .collect();
        (
            columns.into_iter().map(str::to_owned).collect(),
            counts,
            sums,
            sketch,
        )
    };
    let mut found: Vec<Line> = kept
        .clickhouse
        .cell_lines(1)
        .await
        .unwrap()
        .iter()
        .map(read)
        .collect();

    let mut summed: BTreeMap<Vec<String>, Cell> = BTreeMap::new();
    for Row { row, .. } in memory.cells().values() {
        let pane = chrono::DateTime::from_timestamp(row.pane.start, 0)
            .unwrap()
            .format("%Y-%m-%d %H:%M:%S")
            .to_string();
        let values: Vec<String> = row
            .values
            .iter()
            .map(|value| format!("'{value}'"))
            .collect();
        let value = format!("[{}]", values.join(","));
        let name = vec![
            row.rollup.to_owned(),
            row.pane.grain.name().to_owned(),
            pane,
            row.grouping.clone(),
            value,
            row.currency.clone(),
        ];
        summed.entry(name).or_default().merge(&row.cell);
    }
    let line = |(name, cell): (Vec<String>, Cell)| -> Line {
        (
            name,
            cell.counts.clone(),
            cell.sums.iter().map(|sum| *sum as i64).collect(),
            cell.sketch.buckets().iter().copied().collect(),
        )
    };
    let mut expected: Vec<Line> = summed
        .into_iter()
        .filter(|(_, cell)| !cell.is_zero())
        .map(line)
        .collect();
    found.sort();
    expected.sort();
    assert!(expected.len() > 1_000);
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
}

fn figure<'f>(figures: &'f Figures, path: &str) -> &'f Figure {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let (_, found) = figures
        .iter()
        .find(|(name, _)| *name == first)
        .unwrap_or_else(|| panic!("no figure {path}"));
    match found {
        Figure::Group(figures) if !rest.is_empty() => figure(figures, rest),
        Figure::ByCurrency(by) if !rest.is_empty() => {
            let (currency, rest) = rest.split_once('.').unwrap_or((rest, ""));
            match &by[currency] {
                Figure::Group(figures) => figure(figures, rest),
                single => single,
            }
        }
        single => single,
    }
}

/// What a figure of the total over everything is, as the text of a view's sum.
fn total(reading: &MetricValues, metric: &str, path: &str) -> String {
    let metric = reading
        .metrics
        .iter()
        .find(|known| known.name == metric)
        .unwrap();
    match figure(metric.total(0).unwrap(), path) {
        Figure::Count(n) => n.to_string(),
        Figure::Money(n) => dealpulse::metric::money(*n),
        other => panic!("{path} is {other:?}"),
    }
}

#[tokio::test]
async fn views_of_the_metrics_sum_to_what_is_read() {
    let kept = Kept::new("Europe/Berlin").await;
    let owners = fold(&worked_example(), 7, &kept.clickhouse, &kept.definitions).await;
    let end = owners
        .iter()
        .filter_map(|owner| owner.shard().last_instant())
        .max()
        .unwrap();
    let plan = QueryPlan::new(
        vec![Window::All],
        Now {
            now: end,
            watermark: end,
        },
        &kept.definitions,
    );
    let mut sums = kept
        .clickhouse
        .sums(1, &kept.definitions, &plan, &SideInputs::default())
        .await
        .unwrap();
    let reading = sums.read(&plan, &kept.definitions);

    let count = |what: &str| format!("toString(sum({what}))");
    let money = |what: &str, currency: &str| {
        format!("toDecimalString(sumIf({what}, currency = '{currency}'), 2)")
    };
    let total = |metric: &'static str, path: &str| total(&reading, metric, path);
    let checks = [
        (
            "lead_source_daily",
            "1",
            count("leads"),
            total("lead_source", "leads"),
        ),
        (
            "lead_source_daily",
            "1",
            count("qualified"),
            total("lead_source", "qualified"),
        ),
        (
            "lead_source_daily",
            "1",
            count("converted"),
            total("lead_source", "converted"),
        ),
        (
            "lead_source_daily",
            "1",
            count("won"),
            total("lead_source", "won"),
        ),
        (
            "lead_source_daily",
            "1",
            money("cohort_revenue", "EUR"),
            total("lead_source", "revenue.EUR"),
        ),
        (
            "lead_source_daily",
            "1",
            count("won_deals"),
            total("lead_source", "by_close.won_deals"),
        ),
        (
            "lead_source_daily",
            "1",
            money("revenue", "USD"),
            total("lead_source", "by_close.revenue.USD"),
        ),
        (
            "lead_source_daily",
            "1",
            count("won_deals_without_lead"),
            total("lead_source", "without_lead.won_deals"),
        ),
        (
            "lead_source_daily",
            "1",
            money("revenue_without_lead", "EUR"),
            total("lead_source", "without_lead.revenue.EUR"),
        ),
        (
            "close_rate_cohort",
            "dimension = ''",
            count("leads"),
            total("close_rate", "leads"),
        ),
        (
            "close_rate_cohort",
            "dimension = ''",
            count("won"),
            total("close_rate", "won"),
        ),
        (
            "close_rate_cohort",
            "dimension = 'source'",
            count("leads"),
            total("close_rate", "leads"),
        ),
        (
            "win_rate_daily",
            "dimension = ''",
            count("won"),
            total("win_rate", "won"),
        ),
        (
            "win_rate_daily",
            "dimension = 'owner'",
            count("lost"),
            total("win_rate", "lost"),
        ),
        (
            "win_rate_daily",
            "dimension = ''",
            money("won_amount", "EUR"),
            total("win_rate", "amount.EUR.won"),
        ),
        (
            "win_rate_daily",
            "dimension = ''",
            money("lost_amount", "EUR"),
            total("win_rate", "amount.EUR.lost"),
        ),
        (
            "deals_opened_daily",
            "dimension = ''",
            count("open"),
            total("win_rate", "opened.open"),
        ),
        (
            "deals_opened_daily",
            "dimension = ''",
            count("won + lost + open"),
            total("win_rate", "opened.deals"),
        ),
        (
            "upsell_daily",
            "dimension = ''",
            count("won"),
            total("upsell", "won"),
        ),
        (
            "upsell_daily",
            "dimension = 'product'",
            count("upsell"),
            total("upsell", "upsell"),
        ),
        (
            "upsell_daily",
            "dimension = ''",
            count("cross_sell"),
            total("upsell", "cross_sell"),
        ),
        (
            "upsell_daily",
            "dimension = ''",
            count("repeat + renewal + new"),
            {
                let each = ["repeat", "renewal", "new"]
                    .map(|class| total("upsell", class).parse::<i64>().unwrap());
                each.iter().sum::<i64>().to_string()
            },
        ),
        (
            "upsell_daily",
            "dimension = ''",
            money("won_amount", "EUR"),
            total("upsell", "amount.EUR.won"),
        ),
        (
            "upsell_daily",
            "dimension = ''",
            money("upsell_amount", "EUR"),
            total("upsell", "in_deal.EUR.upsell_amount"),
        ),
        (
            "cycle_length_daily",
            "dimension = '' AND outcome = 'won'",
            count("count"),
            total("cycle_length", "won.count"),
        ),
        (
            "cycle_length_daily",
            "dimension = '' AND outcome = 'lost'",
            count("count"),
            total("cycle_length", "lost.count"),
        ),
        (
            "cycle_length_daily",
            "dimension = '' AND outcome = 'lead_to_close'",
            count("count"),
            total("cycle_length", "lead_to_close.count"),
        ),
        ("cycle_length_daily", "dimension = ''", count("negative"), {
            let each = ["won.negative", "lost.negative", "lead_to_close.negative"]
                .map(|path| total("cycle_length", path).parse::<i64>().unwrap());
            each.iter().sum::<i64>().to_string()
        }),
    ];
    for (view, condition, select, expected) in checks {
        let sql = format!("SELECT {select} FROM {view} WHERE {condition}");
        assert_eq!(kept.row(&sql).await, [expected], "{sql}");
    }

    let metric = reading
        .metrics
        .iter()
        .find(|metric| metric.name == "cycle_length")
        .unwrap();
    let (Figure::Days(Some(mean)), won) = (
        figure(metric.total(0).unwrap(), "won.mean_days"),
        total("cycle_length", "won.count"),
    ) else {
        panic!()
    };
    let days = kept.row("SELECT toString(toFloat64(sum(days))) FROM cycle_length_daily WHERE dimension = '' AND outcome = 'won'").await;
    let (days, expected) = (
        days[0].parse::<f64>().unwrap(),
        mean * won.parse::<f64>().unwrap(),
    );
    assert!(
        (days - expected).abs() < 0.001,
        "{days} days in the view, {expected} read"
    );
}

#[tokio::test]
async fn the_view_of_cycle_lengths_has_the_quantiles_of_the_sketch() {
    let kept = Kept::new("UTC").await;
    fold(&generated(), 1_000, &kept.clickhouse, &kept.definitions).await;
    let sql = "SELECT toFloat64(median_days), toFloat64(p90_days), arrayMap(k -> toInt32(k), mapKeys(seconds)), \
               arrayMap(n -> toInt32(n), mapValues(seconds)) FROM cycle_length_daily WHERE dimension IN ('', 'owner')";
    let rows = kept.rows(sql).await;
    let number = |value: &Json| value.as_i64().unwrap();
    let mut several = 0;
    for row in &rows {
        let pairs = row[2]
            .as_array()
            .unwrap()
            .iter()
            .zip(row[3].as_array().unwrap());
        let sketch: Sketch = pairs
            .map(|(bucket, count)| (number(bucket) as i16, number(count)))
            .collect();
        several += usize::from(sketch.count() > 1);
        for (q, found) in [(0.5, &row[0]), (0.9, &row[1])] {
            let expected = sketch.quantile(q).map(|seconds| seconds / DAY as f64);
            let same = match (expected, found.as_f64()) {
                (Some(a), Some(b)) => (a - b).abs() <= a.abs() * 1e-9,
                (a, b) => a == b,
            };
            assert!(
                same,
                "{expected:?} of the sketch, {found} in the view: {row:?}"
            );
        }
    }
    assert!(
        several > 10,
        "{} rows, {several} of several deals",
        rows.len()
    );
}

#[tokio::test]
async fn changes_are_counted_once_whatever_logs_they_are_in() {
    let kept = Kept::new("UTC").await;
    let change = |version: u64, appended: i64, status: &str| Row {
        shard: 0,
        version,
        row: ChangeRow {
            entity: Entity::DEAL,
            id: "D-1".into(),
            version,
            append_time: appended,
            event_time: version as i64,
            status: ("".into(), status.into()),
            owner: Default::default(),
            amount: (None, None),
            closed_at: (None, None),
        },
    };
    const HOUR: i64 = 3_600_000_000;
    // The second log repeats the first change, even in the hour after the switch, and continues
    // where the first one ends.
    let switched = 10 * HOUR;
    let first = [change(1, HOUR, "open"), change(2, 2 * HOUR, "won")];
    let second = [
        change(1, 9 * HOUR, "open"),
        change(2, 11 * HOUR, "won"),
        change(3, 12 * HOUR, "lost"),
    ];
    kept.clickhouse.insert_changes(1, &first).await.unwrap();
    kept.clickhouse.insert_changes(2, &second).await.unwrap();
    let counted = async || {
        let rows = kept
            .rows("SELECT status, generation FROM changes_counted ORDER BY appended_at")
            .await;
        rows.iter()
            .map(|row| {
                (
                    row[0].as_str().unwrap().to_owned(),
                    row[1].as_i64().unwrap(),
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(
        counted().await,
        [("open".to_owned(), 1), ("won".to_owned(), 1)]
    );
    let next = Epoch {
        epoch: 2,
        generation: 2,
        live_since: Some(switched),
        ..epoch(&kept.definitions.spec)
    };
    kept.clickhouse.put_epoch(&next).await.unwrap();
    assert_eq!(
        counted().await,
        [
            ("open".to_owned(), 1),
            ("won".to_owned(), 1),
            ("lost".to_owned(), 2)
        ]
    );
}

#[tokio::test]
async fn an_epoch_that_was_written_before_catalogues_were_has_the_five_metrics_of_that_time() {
    let kept = Kept::new("UTC").await;
    let sql = "INSERT INTO epochs (epoch, definitions, generation, partitions, live, version) VALUES (9, '{}', 1, 3, 1, 1)";
    kept.clickhouse.execute("pretending", sql).await.unwrap();
    let epochs = kept.clickhouse.epochs().await.unwrap();
    let old = epochs.last().unwrap();
    let five = [
        "close_rate",
        "cycle_length",
        "lead_source",
        "upsell",
        "win_rate",
    ];
    let expected: BTreeMap<String, u32> = five.iter().map(|name| ((*name).to_owned(), 1)).collect();
    assert_eq!(
        (old.epoch, &old.catalogue, old.stood_at),
        (9, &expected, None)
    );

    // What is written is what is read.
    let next = Epoch {
        epoch: 10,
        catalogue: BTreeMap::from([("win_rate".to_owned(), 4)]),
        stood_at: Some(-5),
        ..old.clone()
    };
    kept.clickhouse.put_epoch(&next).await.unwrap();
    assert_eq!(kept.clickhouse.epochs().await.unwrap().last(), Some(&next));
}

#[tokio::test]
async fn a_metric_has_views_where_the_epoch_counts_it_by_their_formula_and_nowhere_else() {
    let kept = Kept::new("UTC").await;
    let there = async || {
        let sql = "SELECT name FROM system.tables WHERE database = currentDatabase() AND comment LIKE 'dealpulse metric %'";
        let rows = kept.rows(sql).await;
        rows.iter()
            .map(|row| row[0].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let all = there().await.len();
    let without = |name: &str, version: Option<u32>| {
        let mut catalogue = versions(&kept.definitions.spec);
        catalogue.remove(name);
        catalogue.extend(version.map(|version| (name.to_owned(), version)));
        catalogue
    };
    let spec = &kept.definitions.spec;
    let other = versions(spec)["upsell"] + 1;
    for version in [None, Some(other)] {
        views(&kept.clickhouse, spec, &without("upsell", version))
            .await
            .unwrap();
        let now = there().await;
        assert!(
            now.len() < all && !now.contains(&"upsell_daily".to_owned()),
            "{now:?}"
        );
    }
    // A view of another version's formula stays as long as the epoch is counted by it.
    let sql = format!(
        "CREATE VIEW upsell_daily AS SELECT 1 AS old COMMENT 'dealpulse metric upsell {other}'"
    );
    kept.clickhouse.execute("pretending", &sql).await.unwrap();
    views(&kept.clickhouse, spec, &without("upsell", Some(other)))
        .await
        .unwrap();
    assert_eq!(kept.row("SELECT old FROM upsell_daily").await, ["1"]);
    views(&kept.clickhouse, spec, &versions(spec))
        .await
        .unwrap();
    assert_eq!(there().await.len(), all);
}
