//! The embedded engine behind its HTTP front, seen through the production client and through bare HTTP.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clickhouse::{Client, Row};
use dealpulse::local::clickhouse_child::ClickhouseChild;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};

const DEALPULSE: &str = env!("CARGO_BIN_EXE_dealpulse");

fn spawn(data_dir: Option<&Path>) -> ClickhouseChild {
    ClickhouseChild::spawn_from(Path::new(DEALPULSE), data_dir)
        .expect("the engine didn't start: run make clickhouse-engine")
}

fn client(url: &str) -> Client {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
    Client::with_http_client(http).with_url(url)
}

/// A client of `clickhouse` whose database is a new one: `default` is an overlay of the library's own.
async fn database(clickhouse: &ClickhouseChild) -> Client {
    let client = client(&clickhouse.url());
    client
        .query("CREATE DATABASE IF NOT EXISTS sales")
        .execute()
        .await
        .unwrap();
    client.with_database("sales")
}

/// Sends one bare request and reads the whole answer.
fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    connection
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    connection.write_all(request).unwrap();
    let mut answer = Vec::new();
    // An answer that is broken off is still an answer.
    let _ = connection.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(address: SocketAddr, target: &str, headers: &str, body: &[u8]) -> String {
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    raw(address, &[head.as_bytes(), body].concat())
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "timed out waiting until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn send_signal(pid: u32, signal: &str) {
    let status = Command::new("kill")
        .args([signal, &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
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
            buckets: vec![(-2, 3), (-1, 2)],
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
            named: 5,
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
        clickhouse.kill().unwrap();
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

/// Not a test of its own: the process that `child_ends_with_its_parent` kills.
#[test]
#[ignore = "runs inside child_ends_with_its_parent"]
fn parent_process() {
    let clickhouse = spawn(None);
    println!("child {} {}", clickhouse.pid(), clickhouse.address());
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn child_ends_with_its_parent() {
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "parent_process", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let line = lines
        .map_while(Result::ok)
        .find(|line| line.contains("child "))
        .unwrap();
    let mut words = line[line.find("child ").unwrap()..].split(' ').skip(1);
    let (pid, address): (u32, SocketAddr) = (
        words.next().unwrap().parse().unwrap(),
        words.next().unwrap().parse().unwrap(),
    );
    assert!(post(address, "/", "", b"SELECT 'alive'").contains("alive"));

    parent.kill().unwrap();
    parent.wait().unwrap();
    wait_until("the child is gone", || TcpStream::connect(address).is_err());
    let process = std::path::PathBuf::from(format!("/proc/{pid}"));
    let is_zombie =
        || std::fs::read_to_string(process.join("stat")).is_ok_and(|stat| stat.contains(") Z "));
    wait_until("its process has ended", || !process.exists() || is_zombie());
}

/// Starts the command itself, with its temporary directories in `dir`, and waits for its address.
fn start_command(dir: &Path) -> (Child, SocketAddr) {
    let mut process = Command::new(DEALPULSE)
        .args(["clickhouse-local", "--port", "0"])
        .env("TMPDIR", dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = line
        .trim()
        .strip_prefix("listening on ")
        .expect("run make clickhouse-engine");
    (process, address.parse().unwrap())
}

#[test]
fn signal_ends_it_in_order_and_removes_its_temporary_directory() {
    for signal in ["-TERM", "-INT"] {
        let dir = tempfile::tempdir().unwrap();
        let (mut process, address) = start_command(dir.path());
        post(address, "/", "", b"CREATE DATABASE sales");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        send_signal(process.id(), signal);
        assert_eq!(process.wait().unwrap().code(), Some(0), "{signal}");
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            0,
            "{signal}"
        );
    }
}

#[test]
fn signal_ends_it_though_a_statement_runs_and_a_client_does_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let (mut process, address) = start_command(dir.path());
    let endless = "SELECT sleepEachRow(1) FROM numbers(1000) SETTINGS max_block_size = 1, function_sleep_max_microseconds_per_block = 10000000000";
    let running = std::thread::spawn(move || post(address, "/", "", endless.as_bytes()));
    let mut unread = TcpStream::connect(address).unwrap();
    let get = b"GET /?query=SELECT+number+FROM+numbers(100000000000)+FORMAT+RowBinary HTTP/1.1\r\nHost: localhost\r\n\r\n";
    unread.write_all(get).unwrap();
    wait_until("both run", || {
        post(
            address,
            "/",
            "",
            b"SELECT 'running=', count() FROM system.processes",
        )
        .contains("running=\t3")
    });

    send_signal(process.id(), "-TERM");
    assert_eq!(process.wait().unwrap().code(), Some(0));
    let answer = running.join().unwrap();
    assert!(!answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn what_prevents_a_start_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let data_dir = dir.path().join("data");
    let held = spawn(Some(&data_dir));
    let start = |arguments: &[&Path], library: Option<&str>| {
        let mut command = Command::new(DEALPULSE);
        command
            .args(["clickhouse-local", "--port", "0", "--data-dir"])
            .args(arguments);
        command.envs(library.map(|library| ("DEALPULSE_LIBCHDB", library)));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };

    let error = start(&[&data_dir], Some("/nowhere/libchdb.so"));
    assert!(error.contains("run make clickhouse-engine"), "{error}");
    let error = start(&[&data_dir], Some(file.to_str().unwrap()));
    assert!(error.contains("can't be loaded"), "{error}");
    let error = start(&[&file.join("sub")], None);
    assert!(
        error.contains("can't write to the data directory"),
        "{error}"
    );
    let error = start(&[&data_dir], None);
    assert!(
        error.contains("another process may hold the directory"),
        "{error}"
    );
    drop(held);
}

#[test]
fn bad_requests_are_refused_and_harm_nothing() {
    let clickhouse = spawn(None);
    let address = clickhouse.address();
    post(address, "/", "", b"CREATE DATABASE sales");
    post(
        address,
        "/",
        "",
        b"CREATE TABLE sales.t (a UInt64) ENGINE = MergeTree ORDER BY a",
    );
    let insert = "/?query=INSERT+INTO+sales.t+FORMAT+RowBinary";
    let packed = format!("{insert}&decompress=1");
    let form = "Content-Type: multipart/form-data; boundary=b\r\n";

    let table: [(&str, &str, &[u8], u16); 17] = [
        ("/", "", b"", 400),
        ("/", "", b"SELEC 1", 400),
        ("/", "", b"SELECT 1; SELECT 2", 400),
        ("/", "", b"exit", 400),
        ("/", "", b"\xff\xfe", 400),
        ("/?query=%ff%fe%", "", b"", 400),
        ("/?database=nowhere", "", b"SELECT 1", 404),
        ("/?no_such_setting=1", "", b"SELECT 1", 404),
        ("/?a%3D1%2Cb=1", "", b"SELECT 1", 404),
        ("/?session_id=1", "", b"SELECT 1", 501),
        ("/", "Content-Encoding: gzip\r\n", b"SELECT 1", 501),
        ("/", form, b"no form", 400),
        (
            "/",
            "Content-Type: multipart/form-data\r\n",
            b"no boundary",
            400,
        ),
        (insert, "", b"abc", 400),
        (&packed, "", b"abc", 400),
        (&packed, "", &[0x82; 4096], 400),
        ("/", "Origin: https://page.example\r\n", b"SELECT 1", 403),
    ];
    for (target, headers, body, status) in table {
        let answer = post(address, target, headers, body);
        let shown = String::from_utf8_lossy(body);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{target} {headers} {shown}: {answer}"
        );
    }
    let foreign = raw(
        address,
        b"GET /?query=SELECT+1 HTTP/1.1\r\nHost: page.example\r\nConnection: close\r\n\r\n",
    );
    assert!(foreign.starts_with("HTTP/1.1 403 "), "{foreign}");

    let too_large = format!(
        "POST {insert} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000000\r\nConnection: close\r\n\r\n"
    );
    assert!(raw(address, too_large.as_bytes()).starts_with("HTTP/1.1 413 "));

    let count = post(address, "/", "", b"SELECT 'rows=', count() FROM sales.t");
    assert!(count.contains("rows=\t0"), "{count}");
}

#[test]
fn curl_speaks_to_it_as_to_a_server() {
    let clickhouse = spawn(None);
    let address = clickhouse.address();
    let ask = |target: &str, body: &[u8]| {
        let answer = post(address, target, "", body);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{target}: {answer}");
        answer
    };
    let get = |target: &str| {
        raw(
            address,
            format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        )
    };
    assert!(get("/ping").ends_with("\r\n\r\nOk.\n"));
    assert!(get("/").ends_with("\r\n\r\nOk.\n"));

    ask("/", b"CREATE DATABASE sales");
    ask(
        "/?database=sales",
        b"CREATE TABLE t (a UInt64, b String) ENGINE = MergeTree ORDER BY a",
    );
    ask(
        "/?database=sales",
        b"INSERT INTO t VALUES (1, 'a'), (2, concat('b', 'b'))",
    );
    ask(
        "/?database=sales&query=INSERT+INTO+t+FORMAT+JSONEachRow",
        b"{\"a\": 3, \"b\": \"c\"}",
    );
    ask(
        "/?database=sales&query=INSERT+INTO+t",
        b"FORMAT CSV\n4,\"d\"\n",
    );
    ask("/?database=sales", b"INSERT INTO t SELECT 5, 'e'");

    let rows =
        get("/?database=sales&default_format=JSONCompactEachRow&query=SELECT+*+FROM+t+ORDER+BY+a");
    for row in [
        "[1, \"a\"]",
        "[2, \"bb\"]",
        "[3, \"c\"]",
        "[4, \"d\"]",
        "[5, \"e\"]",
    ] {
        assert!(rows.contains(row), "{rows}");
    }
    assert!(ask("/?param_b=it%27s", b"SELECT {b:String} FORMAT TSVRaw").contains("it's"));
    assert!(ask("/?database=sales", b"DESCRIBE t").contains("a\tUInt64"));
    let refused = get("/?query=CREATE+DATABASE+by_get");
    assert!(
        refused.contains("x-clickhouse-exception-code: 164\r\n"),
        "{refused}"
    );
}
