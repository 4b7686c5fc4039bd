//! A PostgreSQL for a test, on a directory and a port of its own, with what logical decoding needs.
//!
//! Its programs come from `make postgresql-tools`. It refuses to run as root, so there it runs as
//! Debian's user `postgres`.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::kafka::{Watchdog, free_port};
use super::ready::until_ready;

/// It answers within a second on an idle machine.
const READY_WITHIN: Duration = Duration::from_secs(60);

pub struct Postgres {
    directory: TempDir,
    pub port: u16,
    process: Child,
    watchdog: Watchdog,
}

impl Postgres {
    /// Makes a database on an empty directory; returns when it answers.
    pub fn start() -> Postgres {
        let directory = tempfile::Builder::new()
            .prefix("dealpulse-postgres-")
            .tempdir()
            .expect("a temporary directory");
        if is_root() {
            let mut chown = Command::new("chown");
            chown.arg("postgres").arg(directory.path());
            let owned = chown.status().expect("chown can be run");
            assert!(
                owned.success(),
                "there is no user `postgres`: run make postgresql-tools"
            );
        }
        let data = directory.path().join("data");
        let made = program("initdb")
            .args([
                "--auth=trust",
                "--username=postgres",
                "--no-sync",
                "--encoding=UTF8",
                "--locale=C",
            ])
            .arg("-D")
            .arg(&data)
            .output()
            .expect("initdb can be run");
        assert!(made.status.success(), "initdb: {}", text(&made));
        let port = free_port();
        let log = File::create(directory.path().join("log")).expect("a log file");
        let process = program("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string()])
            .args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "unix_socket_directories=",
            ])
            .args(["-c", "wal_level=logical", "-c", "fsync=off"])
            .stdout(log.try_clone().expect("a second handle on the log"))
            .stderr(log)
            .spawn()
            .expect("postgres can be run");
        let watchdog = Watchdog::over(&process);
        let mut postgres = Postgres {
            directory,
            port,
            process,
            watchdog,
        };
        let look = || {
            let asked = psql(port, "SELECT 1");
            let is_ready = asked.status.success();
            is_ready.then_some(()).ok_or_else(|| text(&asked))
        };
        let log = postgres.directory.path().join("log");
        let log = || std::fs::read_to_string(&log).unwrap_or_default();
        until_ready(&mut postgres.process, READY_WITHIN, look, log);
        postgres
    }

    /// Lets go of what connectors have not read yet, so that they have to begin with a new
    /// snapshot.
    pub fn drop_replication_slots(&self) {
        let deadline = Instant::now() + READY_WITHIN;
        let active = "SELECT 1 FROM pg_replication_slots WHERE active";
        while !self.run(active).is_empty() {
            assert!(
                Instant::now() < deadline,
                "the connectors are still connected"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        self.run("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots");
    }

    /// Runs statements, each a transaction unless they say otherwise, and returns the rows, a line
    /// each, with tabs between the columns.
    pub fn run(&self, sql: &str) -> Vec<String> {
        let answer = psql(self.port, sql);
        assert!(answer.status.success(), "{sql}: {}", text(&answer));
        let rows = String::from_utf8_lossy(&answer.stdout).into_owned();
        rows.lines().map(str::to_owned).collect()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.watchdog.dismiss();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn is_root() -> bool {
    let user = Command::new("id")
        .arg("-u")
        .output()
        .expect("id can be run");
    user.stdout.trim_ascii() == b"0"
}

/// A program of the server, run by a user that it accepts. The newest counts, and Debian has them
/// outside the PATH.
fn program(name: &str) -> Command {
    let installed = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let mut versions: Vec<PathBuf> = installed
        .filter_map(|version| Some(version.ok()?.path().join("bin").join(name)))
        .filter(|path| path.is_file())
        .collect();
    versions.sort();
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut on_path = std::env::split_paths(&on_path).map(|folder| folder.join(name));
    let path = versions
        .pop()
        .or_else(|| on_path.find(|path| path.is_file()))
        .unwrap_or_else(|| panic!("there is no {name}: run make postgresql-tools"));
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid=postgres",
            "--regid=postgres",
            "--clear-groups",
            "--",
        ]);
        command.arg(path);
        command
    } else {
        Command::new(path)
    };
    command.current_dir("/").stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(&[out.as_slice(), err].concat()).into_owned()
}

/// Runs statements from the standard input, so that each is a transaction of its own.
fn psql(port: u16, sql: &str) -> Output {
    let mut psql = Command::new("psql")
        .args(["-h", "127.0.0.1", "-p", &port.to_string()])
        .args(["-U", "postgres", "-X", "-q", "-A", "-t", "-F", "\t"])
        .args(["-v", "ON_ERROR_STOP=1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql can be run: run make postgresql-tools");
    let mut input = psql.stdin.take().expect("it was asked for as a pipe");
    // What it does not take, it answers.
    let _ = input.write_all(sql.as_bytes());
    drop(input);
    psql.wait_with_output().expect("psql ends")
}
