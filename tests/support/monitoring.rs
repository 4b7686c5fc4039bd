//! Prometheus and Alertmanager themselves, started for one test on free loopback ports and ended
//! with it, and a webhook that is told.
//!
//! They come from `make prometheus-tools`. The configurations are the committed ones; only
//! addresses are put in and times are shortened.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::kafka::{Watchdog, free_port};

/// Longer than any of them takes on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A program by the first of its names that is on the PATH.
pub fn program(names: &[&str]) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = names
        .iter()
        .flat_map(|name| std::env::split_paths(&path).map(move |folder| folder.join(name)))
        .find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("there is no {}: run make prometheus-tools", names[0]))
}

/// Runs a program to its end, which has to be a good one; what it printed.
pub fn succeeds(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the program can be run");
    let text = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(
        status.success(),
        "{command:?} ended with {status}:\n{}",
        text.concat()
    );
    text.concat()
}

/// A server in a child process, its directory and its log.
struct Server {
    process: Child,
    watchdog: Watchdog,
    directory: TempDir,
    port: u16,
}

impl Server {
    /// Starts a program in a directory of its own, and returns when `path` answers.
    fn start(mut command: Command, directory: TempDir, port: u16, path: &str) -> Server {
        let log = File::create(directory.path().join("log")).expect("a log file");
        let process = command
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle on the log"))
            .stderr(log)
            .spawn()
            .expect("the program can be started");
        let mut server = Server {
            watchdog: Watchdog::over(&process),
            process,
            directory,
            port,
        };
        let deadline = Instant::now() + TIMEOUT;
        while !matches!(server.ask("GET", path, ""), Some((200, _))) {
            let ended = server.process.try_wait().ok().flatten();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "{command:?} does not answer ({ended:?}):\n{}",
                server.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// The status and the body of an answer, if there is one. HTTP/1.0, so that the body ends with
    /// the connection and is not chunked.
    fn ask(&self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let kind = if body.starts_with(['[', '{']) {
            "application/json"
        } else {
            "application/x-www-form-urlencoded"
        };
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        connection.set_read_timeout(Some(TIMEOUT)).ok()?;
        let length = body.len();
        write!(
            connection,
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .ok()?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split_whitespace().nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }

    fn json(&self, method: &str, path: &str, body: &str) -> Value {
        let (status, text) = self
            .ask(method, path, body)
            .unwrap_or_else(|| panic!("no answer to {path}:\n{}", self.log()));
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.watchdog.dismiss();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A running Prometheus with the committed rules.
pub struct Prometheus(Server);

impl Prometheus {
    /// Starts one that scrapes `targets` and tells `alertmanager` (`host:port` each), every second.
    pub fn start(targets: &[String], alertmanager: &str) -> Prometheus {
        let directory = directory("prometheus");
        let mut config = read("deploy/prometheus/prometheus.yml");
        let targets = targets.join(", ");
        replace_block(
            &mut config,
            "    dns_sd_configs:\n",
            &format!("    static_configs:\n      - targets: [{targets}]\n"),
        );
        config = config.replace("alertmanager:9093", alertmanager);
        write(&directory, "prometheus.yml", &shortened(&config));
        fs::create_dir(directory.path().join("rules")).expect("a directory");
        for file in ["recording.yml", "sales.yml", "pipeline.yml"] {
            let rules = read(format!("deploy/prometheus/rules/{file}"));
            write(&directory, &format!("rules/{file}"), &shortened(&rules));
        }
        let port = free_port();
        let mut command = Command::new(program(&["prometheus"]));
        command
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        Prometheus(Server::start(command, directory, port, "/-/ready"))
    }

    /// What an expression comes to now: the labels of each series and its value.
    pub fn query(&self, expr: &str) -> Vec<(Value, f64)> {
        let answer = self
            .0
            .json("POST", "/api/v1/query", &format!("query={}", encoded(expr)));
        let result = answer["data"]["result"].as_array().cloned();
        let series = result.unwrap_or_else(|| panic!("{expr}: {answer}"));
        series
            .iter()
            .map(|one| {
                let value = one["value"][1].as_str().and_then(|text| text.parse().ok());
                (one["metric"].clone(), value.expect("a number"))
            })
            .collect()
    }

    /// Waits until an expression has a series.
    pub fn until(&self, expr: &str) {
        let deadline = Instant::now() + TIMEOUT;
        while self.query(expr).is_empty() {
            assert!(
                Instant::now() < deadline,
                "there is no series of {expr}; alerts: {:#?}\n{}",
                self.query("ALERTS"),
                self.0.log()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// A running Alertmanager with the committed routes and inhibitions, whose receivers are webhooks.
pub struct Alertmanager(Server);

impl Alertmanager {
    /// Starts one that tells `webhook` at once: `/sales` and `/operations`.
    pub fn start(webhook: &Webhook) -> Alertmanager {
        let mut config = shortened(&read("deploy/alertmanager/alertmanager.yml"));
        replace_block(&mut config, "global:\n", "");
        let receivers = config.find("receivers:\n").expect("receivers");
        config.truncate(receivers);
        config += "receivers:\n";
        for name in ["sales", "operations"] {
            config += &format!(
                "  - name: {name}\n    webhook_configs:\n      - url: http://{}/{name}\n        send_resolved: true\n",
                webhook.address
            );
        }
        let directory = directory("alertmanager");
        write(&directory, "alertmanager.yml", &config);
        let port = free_port();
        let mut command = Command::new(program(&["prometheus-alertmanager", "alertmanager"]));
        command
            .arg("--config.file=alertmanager.yml")
            .arg("--storage.path=data")
            .arg("--cluster.listen-address=")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        Alertmanager(Server::start(command, directory, port, "/-/ready"))
    }

    /// Where Prometheus finds it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.0.port)
    }

    /// Tells it of alerts that fire, each by its labels.
    pub fn fire(&self, alerts: &[Value]) {
        let alerts: Vec<Value> = alerts
            .iter()
            .map(|labels| json!({"labels": labels}))
            .collect();
        self.0
            .json("POST", "/api/v2/alerts", &json!(alerts).to_string());
    }

    /// The names of the alerts it knows, with whether they are inhibited, in order.
    pub fn alerts(&self) -> Vec<(String, bool)> {
        let answer = self.0.json("GET", "/api/v2/alerts", "");
        let mut alerts: Vec<(String, bool)> = answer
            .as_array()
            .expect("a list of alerts")
            .iter()
            .map(|alert| {
                let labels = &alert["labels"];
                let name = labels["alertname"].as_str().expect("a name");
                let instance = labels["instance"].as_str().unwrap_or_default();
                let inhibited = alert["status"]["inhibitedBy"].as_array();
                let is_inhibited = inhibited.is_some_and(|by| !by.is_empty());
                (format!("{name} {instance}").trim().to_owned(), is_inhibited)
            })
            .collect();
        alerts.sort();
        alerts
    }
}

/// What Alertmanager tells.
pub struct Webhook {
    address: String,
    told: Receiver<Told>,
    /// What came and was not waited for yet.
    kept: Vec<(String, Value)>,
}

/// One message of Alertmanager.
#[derive(Debug)]
struct Told {
    /// Who was told, as in the configuration.
    receiver: String,
    /// The message as Alertmanager has it.
    message: Value,
}

impl Webhook {
    /// Listens until the test ends.
    pub fn listen() -> Webhook {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                // A connection that is broken off tells nothing, and Alertmanager tries again.
                if let Some(message) = take(connection)
                    && tell.send(message).is_err()
                {
                    return;
                }
            }
        });
        Webhook {
            address,
            told,
            kept: Vec::new(),
        }
    }

    /// Waits until somebody is told of an alert with these labels in this state (`firing`,
    /// `resolved`); who it was, and the alert.
    pub fn until(
        &mut self,
        status: &str,
        labels: &[(&str, &str)],
        within: Duration,
    ) -> (String, Value) {
        let deadline = Instant::now() + within;
        loop {
            let wanted = self.kept.iter().position(|(_, alert)| {
                let has = |(name, value): &(&str, &str)| alert["labels"][*name] == *value;
                alert["status"] == status && labels.iter().all(has)
            });
            if let Some(wanted) = wanted {
                return self.kept.swap_remove(wanted);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(Told { receiver, message }) = self.told.recv_timeout(left) else {
                let kept: Vec<String> = self
                    .kept
                    .iter()
                    .map(|(receiver, alert)| {
                        format!("{receiver}: {} {}", alert["status"], alert["labels"])
                    })
                    .collect();
                panic!(
                    "within {within:?} nobody was told that {labels:?} is {status}, but: {kept:#?}"
                );
            };
            let alerts = message["alerts"].as_array().into_iter().flatten();
            self.kept
                .extend(alerts.map(|alert| (receiver.clone(), alert.clone())));
        }
    }
}

/// Reads one request and thanks for it.
fn take(mut connection: TcpStream) -> Option<Told> {
    connection.set_read_timeout(Some(TIMEOUT)).ok()?;
    let (mut request, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let length = connection
            .read(&mut part)
            .ok()
            .filter(|length| *length > 0)?;
        request.extend_from_slice(&part[..length]);
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let expected = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.trim().parse::<usize>().ok())?
        });
        if body.len() < expected.unwrap_or(0) {
            continue;
        }
        let receiver = head.split_whitespace().nth(1)?.trim_start_matches('/');
        let message = serde_json::from_str(body).ok()?;
        let receiver = receiver.to_owned();
        write!(
            connection,
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        .ok()?;
        return Some(Told { receiver, message });
    }
}

/// A configuration or rules in which whatever takes time takes a second.
pub fn shortened(text: &str) -> String {
    const TIMES: [&str; 9] = [
        "scrape_interval",
        "evaluation_interval",
        "refresh_interval",
        "for",
        "keep_firing_for",
        "group_wait",
        "group_interval",
        "repeat_interval",
        "resolve_timeout",
    ];
    let lines = text.lines().map(|line| {
        let key = line.trim_start().split(':').next().unwrap_or_default();
        let indent = &line[..line.len() - line.trim_start().len()];
        // Not repeated: a test waits for changes.
        let time = if key == "repeat_interval" { "1h" } else { "1s" };
        if TIMES.contains(&key) {
            format!("{indent}{key}: {time}\n")
        } else {
            format!("{line}\n")
        }
    });
    lines.collect()
}

/// Puts `with` in place of a block of YAML: its first line, and all that are indented deeper.
fn replace_block(text: &mut String, first: &str, with: &str) {
    let start = text.find(first).unwrap_or_else(|| panic!("no {first}"));
    let depth = first.len() - first.trim_start().len();
    let is_inside =
        |line: &&str| line.trim().is_empty() || line.len() - line.trim_start().len() > depth;
    let length: usize = text[start + first.len()..]
        .split_inclusive('\n')
        .take_while(is_inside)
        .map(str::len)
        .sum();
    text.replace_range(start..start + first.len() + length, with);
}

fn directory(name: &str) -> TempDir {
    tempfile::Builder::new()
        .prefix(&format!("dealpulse-{name}-"))
        .tempdir()
        .expect("a temporary directory")
}

fn write(directory: &TempDir, name: &str, text: &str) {
    fs::write(directory.path().join(name), text).expect("a file can be written");
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A value in a form: everything but letters and digits by its bytes.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b if b.is_ascii_alphanumeric() => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect()
}
