//! The embedded engine behind its HTTP front, seen through the production client.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clickhouse::{Client, Row};
use dealpulse::local::clickhouse_child::ClickhouseChild;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};

use crate::support::clickhouse::{post, spawn, wait_until};

fn client(url: &str) -> Client {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
    Client::with_http_client(http).with_url(url)
}

/// A client of `clickhouse` whose database is a new one: `default` is an overlay of the library's
/// own.
async fn database(clickhouse: &ClickhouseChild) -> Client {
    let client = client(&clickhouse.url());
    client
        .query("CREATE DATABASE IF NOT EXISTS sales")
        .execute()
        .await
        .unwrap();
    client.with_database("sales")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "i8", try_from = "i8")]
enum Status {
    Open,
    Won,
}

impl From<Status> for i8 {
    fn from(status: Status) -> Self {
        match status {
            Status::Open => 1,
            Status::Won => 2,
        }
    }
}

impl TryFrom<i8> for Status {
    type Error = String;

    fn try_from(value: i8) -> Result<Self, String> {
        match value {
            1 => Ok(Self::Open),
            2 => Ok(Self::Won),
            other => Err(format!("no status {other}")),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Row, Serialize, Deserialize)]
struct Deal {
    id: u64,
    delta: i64,
    name: String,
    region: String,
    tags: Vec<String>,
    regions: Vec<String>,
    counts: Vec<i64>,
    amounts: Vec<i128>,
    buckets: HashMap<i32, i64>,
    amounts_by_currency: BTreeMap<String, i128>,
    closed_at: u32,
    lost_at: Option<u32>,
    status: Status,
}

const DEALS: &str = "CREATE TABLE deals (
    id UInt64, delta Int64, name String, region LowCardinality(String), tags Array(String),
    regions Array(LowCardinality(String)), counts Array(Int64), amounts Array(Decimal(38, 4)),
    buckets Map(Int32, Int64), amounts_by_currency Map(LowCardinality(String), Decimal(38, 4)),
    closed_at DateTime('UTC'), lost_at Nullable(DateTime('UTC')), status Enum8('open' = 1, 'won' = 2)
) ENGINE = MergeTree ORDER BY id";

fn deal(id: u64) -> Deal {
    let n = id as i64;
    Deal {
        id,
        delta: -n,
        name: format!("Déal №{id}"),
        region: ["north", "south", ""][id as usize % 3].into(),
        tags: (0..id % 4).map(|tag| format!("t{tag}")).collect(),
        regions: vec!["north".into(); id as usize % 3],
        counts: vec![n, -n, i64::MAX],
        amounts: vec![i128::from(n) * 10_000, -1, 10_i128.pow(38) - 1],
        buckets: (0..(id % 5) as i32).map(|bucket| (bucket - 2, n)).collect(),
        amounts_by_currency: [("EUR".to_owned(), i128::from(n)), ("USD".to_owned(), -1)].into(),
        closed_at: 1_700_000_000 + id as u32,
        lost_at: id.is_multiple_of(2).then_some(id as u32),
        status: if id.is_multiple_of(7) {
            Status::Won
        } else {
            Status::Open
        },
    }
}

async fn insert_deals(
    client: &Client,
    ids: impl IntoIterator<Item = u64>,
) -> clickhouse::error::Result<()> {
    let mut insert = client.insert::<Deal>("deals").await?;
    for id in ids {
        insert.write(&deal(id)).await?;
    }
    insert.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_every_column_type_come_back_as_they_went() {
    let clickhouse = spawn(None);
    let client = database(&clickhouse).await;
    client.query(DEALS).execute().await.unwrap();
    insert_deals(&client, 0..100_000).await.unwrap();

    let mut rows = client
        .query("SELECT ?fields FROM deals ORDER BY id")
        .fetch::<Deal>()
        .unwrap();
    let mut expected = 0;
    while let Some(row) = rows.next().await.unwrap() {
        assert_eq!(row, deal(expected));
        expected += 1;
    }
    assert_eq!(expected, 100_000);

    let nothing = client
        .query("SELECT ?fields FROM deals WHERE id > 100000")
        .fetch_all::<Deal>();
    assert_eq!(nothing.await.unwrap(), []);
}

#[tokio::test]
async fn final_keeps_only_the_newest_version() {
    let clickhouse = spawn(None);
    let client = database(&clickhouse).await;
    let table = "CREATE TABLE records (id UInt64, value Int64, version UInt64)
        ENGINE = ReplacingMergeTree(version) ORDER BY id";
    client.query(table).execute().await.unwrap();
    for (value, version) in [(10, 1), (30, 3), (20, 2)] {
        let insert = format!("INSERT INTO records VALUES (7, {value}, {version}), (8, {value}, 1)");
        client.query(&insert).execute().await.unwrap();
    }
    let rows = client
        .query("SELECT id, value FROM records FINAL ORDER BY id")
        .fetch_all::<(u64, i64)>();
    assert_eq!(rows.await.unwrap(), [(7, 30), (8, 20)]);
}

#[tokio::test]
async fn arrays_and_maps_are_summed_element_by_element() {
    let clickhouse = spawn(None);
    let client = database(&clickhouse).await;
    client.query(DEALS).execute().await.unwrap();
    insert_deals(&client, 1..=4).await.unwrap();

    #[derive(Debug, PartialEq, Row, Deserialize)]
    struct Sums {
        counts: Vec<i64>,
        amounts: Vec<i128>,
        buckets: Vec<(i32, i64)>,
    }
    let sums = client.query(
        "SELECT sumForEach(arraySlice(counts, 1, 2)) AS counts, sumForEach(arraySlice(amounts, 1, 2)) AS amounts, sumMap(buckets) AS buckets FROM deals WHERE id <= 2",
    );
    assert_eq!(
        sums.fetch_one::<Sums>().await.unwrap(),
        Sums {
            counts: vec![3, -3],
            amounts: vec![30_000, -2],
            buckets: vec![(-2, 3), (-1, 2)]
        }
    );
}

#[tokio::test]
async fn parameters_arrive_as_they_are() {
    let clickhouse = spawn(None);
    let client = database(&clickhouse).await;
    let text = "it's a \\ tab\t, line\n, \"quote\", {brace} and №";
    #[derive(Debug, PartialEq, Row, Deserialize)]
    struct Parameters {
        text: String,
        ids: Vec<u64>,
        none: Option<String>,
        named: u8,
    }
    let sql =
        "SELECT {text:String} AS text, {ids:Array(UInt64)} AS ids, {none:Nullable(String)} AS none,
        {column:Identifier} AS named FROM (SELECT 5 AS five)";
    let row = client
        .query(sql)
        .param("text", text)
        .param("ids", vec![1_u64, u64::MAX])
        .param("none", None::<String>)
        .param("column", "five");
    assert_eq!(
        row.fetch_one::<Parameters>().await.unwrap(),
        Parameters {
            text: text.to_owned(),
            ids: vec![1, u64::MAX],
            none: None,
            named: 5
        }
    );
}

#[tokio::test]
async fn settings_of_a_request_hold_for_that_request() {
    let clickhouse = spawn(None);
    let client = database(&clickhouse).await;
    let threads = || client.query("SELECT getSetting('max_threads')::UInt64");
    let before = threads().fetch_one::<u64>().await.unwrap();
    let during = threads()
        .with_setting("max_threads", "13")
        .fetch_one::<u64>()
        .await
        .unwrap();
    let after = threads().fetch_one::<u64>().await.unwrap();
    assert_eq!((during, after), (13, before));
}

#[tokio::test]
async fn error_keeps_its_code_and_text() {
    let clickhouse = spawn(None);
    let client = database(&clickhouse).await;
    let error = client
        .query("SELECT * FROM nowhere")
        .execute()
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("Code: 60. DB::Exception:") && error.contains("UNKNOWN_TABLE"),
        "{error}"
    );

    let answer = post(
        clickhouse.address(),
        "/?database=sales",
        "",
        b"SELECT * FROM nowhere",
    );
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(
        answer.contains("x-clickhouse-exception-code: 60\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn error_in_the_middle_of_a_result_is_an_error() {
    let clickhouse = spawn(None);
    let client = database(&clickhouse).await;
    let sql = "SELECT throwIf(number = 900000)::UInt8 FROM numbers(1000000)";
    let mut rows = client
        .query(sql)
        .with_setting("max_threads", "1")
        .fetch::<u8>()
        .unwrap();
    let mut read = 0;
    let error = loop {
        match rows.next().await {
            Ok(Some(_)) => read += 1,
            Ok(None) => panic!("the result ended as if it were whole, after {read} rows"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(
        read > 0 && error.contains("Code: 395."),
        "after {read} rows: {error}"
    );
}

#[tokio::test]
async fn aborted_insert_leaves_no_row() {
    let clickhouse = spawn(None);
    let client = database(&clickhouse).await;
    client.query(DEALS).execute().await.unwrap();
    let mut insert = client.insert::<Deal>("deals").await.unwrap();
    for id in 0..50_000 {
        insert.write(&deal(id)).await.unwrap();
    }
    drop(insert);
    insert_deals(&client, [1]).await.unwrap();
    assert_eq!(
        client
            .query("SELECT count() FROM deals")
            .fetch_one::<u64>()
            .await
            .unwrap(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_rows_survive_kill_nine() {
    let dir = tempfile::tempdir().unwrap();
    let acknowledged = Arc::new(AtomicU64::new(0));
    for round in 1..=3 {
        let clickhouse = spawn(Some(dir.path()));
        let client = database(&clickhouse).await;
        client
            .query(&DEALS.replace("TABLE", "TABLE IF NOT EXISTS"))
            .execute()
            .await
            .unwrap();
        let rows = client
            .query("SELECT countDistinct(id) FROM deals")
            .fetch_one::<u64>()
            .await
            .unwrap();
        assert!(
            rows >= acknowledged.load(Ordering::SeqCst),
            "round {round}: {rows} rows came back"
        );

        let target = acknowledged.load(Ordering::SeqCst) + 1_000;
        let counter = Arc::clone(&acknowledged);
        let writer = tokio::spawn(async move {
            loop {
                let from = counter.load(Ordering::SeqCst);
                if insert_deals(&client, from..from + 100).await.is_err() {
                    return;
                }
                counter.store(from + 100, Ordering::SeqCst);
            }
        });
        wait_until("rows are acknowledged", || {
            acknowledged.load(Ordering::SeqCst) >= target
        });
        clickhouse.kill();
        writer.await.unwrap();
    }
    let clickhouse = spawn(Some(dir.path()));
    let client = database(&clickhouse).await;
    let rows = client
        .query("SELECT ?fields FROM deals ORDER BY id LIMIT 1 BY id")
        .fetch_all::<Deal>()
        .await
        .unwrap();
    let expected: Vec<_> = (0..rows.len() as u64).map(deal).collect();
    assert!(rows.len() as u64 >= acknowledged.load(Ordering::SeqCst));
    assert!(rows == expected, "a row came back changed");
}
