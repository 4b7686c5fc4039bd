//! Kafka Connect with Debezium, and a schema registry, each started for one test; they come from
//! `make connect-engine`.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use tempfile::TempDir;

use super::kafka::{LOGGING, Watchdog, engine_directory, free_port, java};
use super::postgres::Postgres;
use super::ready::until_ready;

/// The jars of Connect, as `sha256sum` wrote them.
const JARS: &str = include_str!("../connect/jars.sha256");
const REGISTRY_JAR: &str = "apicurio-registry-app-2.6.13.Final-runner.jar";
/// Either answers within some seconds on an idle machine.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// A directory for a server.
fn directory(name: &str) -> TempDir {
    let directory = tempfile::Builder::new()
        .prefix(&format!("dealpulse-{name}-"))
        .tempdir()
        .expect("a temporary directory");
    fs::write(directory.path().join("log4j2.properties"), LOGGING).expect("a file");
    directory
}

/// A server that runs in its directory, with its log there. It is killed when it is dropped.
struct Server {
    process: Child,
    watchdog: Watchdog,
    log: PathBuf,
}

impl Server {
    fn start(directory: &TempDir, mut command: Command) -> Server {
        let path = directory.path().join("log");
        let log = File::options().create(true).append(true).open(&path);
        let log = log.expect("a log file");
        let process = command
            .stdout(log.try_clone().expect("a second handle on the log"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("java cannot be run ({error}): run make connect-engine")
            });
        let watchdog = Watchdog::over(&process);
        Server {
            process,
            watchdog,
            log: path,
        }
    }

    /// Waits until a GET is answered with a text that satisfies a condition.
    fn until(&mut self, port: u16, path: &str, condition: impl Fn(&str) -> bool) {
        let look = || {
            let answer = get(port, path).unwrap_or_default();
            let is_ready = condition(&answer);
            is_ready
                .then_some(())
                .ok_or_else(|| format!("{path}: {answer}"))
        };
        until_ready(&mut self.process, READY_WITHIN, look, || tail(&self.log));
    }
}

/// The end of a log.
fn tail(log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

impl Drop for Server {
    fn drop(&mut self) {
        self.watchdog.dismiss();
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("the end of a server's log:\n{}", tail(&self.log));
        }
    }
}

/// The answer to a GET on loopback; none if there is none.
fn get(port: u16, path: &str) -> Option<String> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).ok()?;
    connection
        .set_read_timeout(Some(Duration::from_secs(10)))
        .ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// An Apicurio registry, which keeps its schemas in memory.
pub struct SchemaRegistry {
    _server: Server,
    _directory: TempDir,
    port: u16,
}

impl SchemaRegistry {
    pub fn start() -> SchemaRegistry {
        let jars = engine_directory(
            "apicurio-registry-2.6.13",
            &format!("- {REGISTRY_JAR}"),
            "connect-engine",
        );
        let (directory, port) = (directory("registry"), free_port());
        let mut command = java(directory.path());
        command
            .args([
                "-Dquarkus.http.host=127.0.0.1",
                &format!("-Dquarkus.http.port={port}"),
            ])
            .arg("-jar")
            .arg(jars.join(REGISTRY_JAR));
        let mut server = Server::start(&directory, command);
        server.until(port, "/apis/ccompat/v7/subjects", |answer| {
            answer.contains(" 200 ")
        });
        SchemaRegistry {
            _server: server,
            _directory: directory,
            port,
        }
    }

    /// Where it is to be found under Confluent's interface.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/ccompat/v7", self.port)
    }

    /// What makes a converter write Avro in the wire format with four bytes of the id that
    /// Confluent's interface knows.
    pub fn converter(&self, of: &str) -> String {
        let port = self.port;
        [
            "=io.apicurio.registry.utils.converter.AvroConverter",
            &format!(".apicurio.registry.url=http://127.0.0.1:{port}/apis/registry/v2"),
            ".apicurio.registry.auto-register=true",
            ".apicurio.registry.find-latest=true",
            ".apicurio.registry.headers.enabled=false",
            ".apicurio.registry.id-handler=io.apicurio.registry.serde.Legacy4ByteIdHandler",
            ".apicurio.registry.use-id=contentId",
        ]
        .map(|setting| format!("{of}.converter{setting}\n"))
        .concat()
    }
}

/// A standalone worker of Connect with some connectors of Debezium on one PostgreSQL.
pub struct Connect {
    server: Option<Server>,
    directory: TempDir,
    port: u16,
    connectors: Vec<String>,
}

impl Connect {
    /// Starts a worker with connectors, each with its name, which is also its topics' prefix, and
    /// what it has besides.
    pub fn start(
        brokers: &str,
        postgres: &Postgres,
        tables: &str,
        connectors: &[(&str, String)],
    ) -> Connect {
        let (directory, port) = (directory("connect"), free_port());
        let worker = format!(
            "bootstrap.servers={brokers}\nlisteners=http://127.0.0.1:{port}\n\
             key.converter=org.apache.kafka.connect.json.JsonConverter\nvalue.converter=org.apache.kafka.connect.json.JsonConverter\n\
             offset.storage.file.filename=offsets\noffset.flush.interval.ms=500\n"
        );
        fs::write(directory.path().join("worker.properties"), worker).expect("a file");
        for (name, more) in connectors {
            let text = format!(
                "name={name}\ntopic.prefix={name}\nslot.name={name}\npublication.name={name}\n\
                 connector.class=io.debezium.connector.postgresql.PostgresConnector\nplugin.name=pgoutput\n\
                 publication.autocreate.mode=filtered\ntable.include.list={tables}\nskipped.operations=none\n\
                 database.hostname=127.0.0.1\ndatabase.port={}\ndatabase.user=postgres\ndatabase.password=none\ndatabase.dbname=postgres\n{more}",
                postgres.port
            );
            fs::write(directory.path().join(format!("{name}.properties")), text).expect("a file");
        }
        let connectors = connectors
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect();
        let mut connect = Connect {
            server: None,
            directory,
            port,
            connectors,
        };
        connect.launch();
        connect
    }

    fn launch(&mut self) {
        let jars = engine_directory("connect-4.3.1-debezium-3.6.0", JARS, "connect-engine");
        let mut command = java(self.directory.path());
        command
            .arg("-cp")
            .arg(jars.join("*"))
            .args([
                "org.apache.kafka.connect.cli.ConnectStandalone",
                "worker.properties",
            ])
            .args(
                self.connectors
                    .iter()
                    .map(|name| format!("{name}.properties")),
            );
        let mut server = Server::start(&self.directory, command);
        for name in &self.connectors {
            let path = format!("/connectors/{name}/status");
            server.until(self.port, &path, |answer| {
                assert!(!answer.contains("\"FAILED\""), "{answer}");
                answer.matches("\"RUNNING\"").count() == 2
            });
        }
        self.server = Some(server);
    }

    /// Ends it as a crash would, does something meanwhile, and starts it again from the offsets it
    /// has stored; from none, if it is to take a new snapshot.
    pub fn restart(&mut self, is_anew: bool, meanwhile: impl FnOnce()) {
        self.server = None;
        if is_anew {
            let offsets = self.directory.path().join("offsets");
            fs::remove_file(offsets).expect("the offsets were stored");
        }
        meanwhile();
        self.launch();
    }
}
