//! `dealpulse clickhouse-local` as a process: its start, its end, and its HTTP interface as curl
//! sees it.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::clickhouse::{DEALPULSE, post, raw, spawn, wait_until};

fn send_signal(pid: u32, signal: &str) {
    let status = Command::new("kill")
        .args([signal, &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
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
        .args([
            "--exact",
            "clickhouse_local::parent_process",
            "--ignored",
            "--nocapture",
        ])
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
fn what_prevents_a_start_is_reported() {
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
fn curl_works_as_with_a_server() {
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
