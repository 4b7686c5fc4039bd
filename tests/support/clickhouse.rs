//! A ClickHouse for a test: the embedded engine in a child process, and bare HTTP to talk to it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use dealpulse::local::clickhouse_child::ClickhouseChild;

pub const DEALPULSE: &str = env!("CARGO_BIN_EXE_dealpulse");

pub fn spawn(data_dir: Option<&Path>) -> ClickhouseChild {
    ClickhouseChild::spawn_from(Path::new(DEALPULSE), data_dir)
        .expect("the engine didn't start: run make clickhouse-engine")
}

/// Sends one bare request and reads the whole answer.
pub fn raw(address: SocketAddr, request: &[u8]) -> String {
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

pub fn post(address: SocketAddr, target: &str, headers: &str, body: &[u8]) -> String {
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    raw(address, &[head.as_bytes(), body].concat())
}

pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "timed out waiting until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
