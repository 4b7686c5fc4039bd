//! The pipeline as its operators run it: `dealpulse run --config` as a child process, and the
//! questions a test asks of it from outside.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex as StdMutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use dealpulse::clickhouse::{Access, ClickHouse};
use dealpulse::local::clickhouse_child::ClickhouseChild;
use dealpulse::pipeline::Store;
use dealpulse::pipeline::epochs::{Stage, current};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use tempfile::TempDir;
use tokio::sync::Mutex;

use super::clickhouse::{DEALPULSE, raw};
use super::clients;
use super::kafka::{Kafka, Watchdog};

/// Longer than a whole back-fill takes on a busy machine; only a failure waits so long.
pub const TIMEOUT: Duration = Duration::from_secs(120);

/// The engines, shared by the tests that run at one time and removed after the last of them.
pub struct Engines {
    pub kafka: Kafka,
    pub clickhouse: ClickhouseChild,
}

pub async fn engines() -> Arc<Engines> {
    static SHARED: Mutex<Weak<Engines>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(engines) = shared.upgrade() {
        return engines;
    }
    let clickhouse = blocking(|| super::clickhouse::spawn(None)).await;
    let engines = Arc::new(Engines {
        kafka: Kafka::start().await,
        clickhouse,
    });
    *shared = Arc::downgrade(&engines);
    engines
}

/// The configuration of a pipeline. Group, log, dead letters and database bear its name, so that
/// many can share the engines.
#[derive(Debug, Clone)]
pub struct Setup {
    pub name: String,
    pub brokers: String,
    pub clickhouse: String,
    pub topics: Vec<String>,
    /// The longest message taken, if it is not the default.
    pub max_message_bytes: Option<usize>,
    pub shards: u32,
    pub flush_milliseconds: u64,
    pub flush_rows: usize,
    pub refresh_milliseconds: u64,
    pub time_zone: String,
    /// The metrics that are counted, if not all are.
    pub metrics: Option<&'static [&'static str]>,
    /// What is done about metrics of another catalogue, if it is not the default.
    pub on_upgrade: Option<&'static str>,
    /// What qualifies the ids of every topic.
    pub namespace: Option<&'static str>,
    /// The format of every topic's messages and the mapping that reads them, if they are no events
    /// of ours.
    pub feed: Option<(&'static str, &'static str)>,
    /// The mapping hashes, with the key of the fixtures, and the dead letters are redacted.
    pub is_redacted: bool,
    /// The tables of the topics as they are written, and what goes with them, if the topics are not
    /// all alike.
    pub inputs: Option<String>,
    pub properties: Vec<(&'static str, &'static str)>,
}

/// Two tests that share an engine must not share a name: each would see what the other writes.
fn claim(name: &str, clickhouse: &str) {
    static CLAIMED: StdMutex<BTreeMap<(String, String), String>> = StdMutex::new(BTreeMap::new());
    let test = std::thread::current();
    let test = test.name().unwrap_or_default();
    let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
    let by = claimed
        .entry((name.to_owned(), clickhouse.to_owned()))
        .or_insert_with(|| test.to_owned());
    assert_eq!(by, test, "both call their pipeline `{name}`");
}

/// A member that was killed is missed after 6 s, the least a broker allows, instead of 45 s.
pub const CLASSIC: [(&str, &str); 2] = [
    ("session.timeout.ms", "6000"),
    ("heartbeat.interval.ms", "500"),
];
/// The exit code of a stop that left something to be done again.
pub const LEFT_OVER: i32 = dealpulse::cli::run::LEFT_OVER as i32;
/// The newer group protocol, in which the broker decides.
pub const BY_BROKER: [(&str, &str); 1] = [("group.protocol", "consumer")];

impl Setup {
    pub fn new(name: &str, brokers: &str, clickhouse: &str, topics: &[&str]) -> Self {
        claim(name, clickhouse);
        Setup {
            name: name.to_owned(),
            brokers: brokers.to_owned(),
            clickhouse: clickhouse.to_owned(),
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            max_message_bytes: None,
            shards: 3,
            flush_milliseconds: 200,
            flush_rows: 50_000,
            refresh_milliseconds: 500,
            time_zone: "Europe/Berlin".to_owned(),
            metrics: None,
            on_upgrade: None,
            namespace: None,
            feed: None,
            is_redacted: false,
            inputs: None,
            properties: CLASSIC.to_vec(),
        }
    }

    /// The metrics that are counted, as the definitions have them.
    pub fn metrics(&self) -> Option<Vec<String>> {
        let metrics = self.metrics?.iter();
        Some(metrics.map(|name| (*name).to_owned()).collect())
    }

    pub fn log_topic(&self) -> String {
        format!("{}.log.1", self.name)
    }

    pub fn dead_letters(&self) -> String {
        format!("{}.dead-letters", self.name)
    }

    /// The database's client; the database bears the pipeline's name.
    pub fn store(&self) -> ClickHouse {
        database(&self.clickhouse, &self.name)
    }

    pub fn to_toml(&self) -> String {
        let Setup {
            name,
            brokers,
            clickhouse,
            shards,
            flush_milliseconds,
            flush_rows,
            refresh_milliseconds,
            time_zone,
            ..
        } = self;
        let namespace = self.namespace.map_or_else(String::new, |namespace| {
            format!("id_namespace = \"{namespace}\"\n")
        });
        let limit = self.max_message_bytes.map_or_else(String::new, |bytes| {
            format!("max_message_bytes = {bytes}\n")
        });
        let feed = self.feed.map_or_else(String::new, |(format, mapping)| {
            format!("format = \"{format}\"\nmapping = \"{mapping}\"\n")
        });
        let (kept, personal_data) = if self.is_redacted {
            let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/hash-key");
            let section = format!("[personal_data]\nhash_key_file = \"{key}\"\n");
            ("dead_letters = \"redacted\"\n", section)
        } else {
            ("", String::new())
        };
        let topics: String = self
            .topics
            .iter()
            .map(|topic| format!("[[topics]]\nname = \"{topic}\"\n{namespace}{limit}{kept}{feed}"))
            .collect();
        let topics = self.inputs.as_ref().unwrap_or(&topics);
        let on_upgrade = self.on_upgrade.map_or_else(String::new, |on_upgrade| {
            format!("on_upgrade = \"{on_upgrade}\"\n")
        });
        let metrics = self
            .metrics
            .map_or_else(String::new, |metrics| format!("metrics = {metrics:?}\n"));
        let properties: String = self
            .properties
            .iter()
            .map(|(key, value)| format!("\"{key}\" = \"{value}\"\n"))
            .collect();
        format!(
            "version = 1\n[kafka]\nbrokers = \"{brokers}\"\ngroup = \"{name}\"\n[kafka.properties]\n{properties}{topics}\
             [log]\ntopic = \"{name}.log\"\npartitions = {shards}\n[dead_letters]\ntopic = \"{name}.dead-letters\"\n{personal_data}\
             [clickhouse]\nurl = \"{clickhouse}\"\ndatabase = \"{name}\"\n[definitions]\ntime_zone = \"{time_zone}\"\n{metrics}\
             [fold]\nflush_milliseconds = {flush_milliseconds}\nflush_rows = {flush_rows}\n{on_upgrade}\
             [serve]\nlisten = \"127.0.0.1:0\"\nrefresh_milliseconds = {refresh_milliseconds}\n"
        )
    }

    /// Starts an instance; returns when it answers.
    pub async fn start(&self) -> Pipeline {
        start(&self.name, self.to_toml()).await
    }

    /// Runs a command, or a command of a command, on this pipeline from outside, with its
    /// configuration, to its end.
    pub async fn ask(&self, command: &str, arguments: &[&str]) -> Output {
        let directory = tempfile::Builder::new()
            .prefix("dealpulse-ask-")
            .tempdir()
            .expect("a temporary directory");
        let path = directory.path().join("dealpulse.toml");
        fs::write(&path, self.to_toml()).expect("the configuration can be written");
        let mut asking = Command::new(DEALPULSE);
        asking
            .args(command.split(' '))
            .arg("--config")
            .arg(&path)
            .args(arguments)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        let output = blocking(move || asking.output())
            .await
            .expect("the command can be run");
        drop(directory);
        output
    }

    /// Starts a command that takes a while, with further arguments behind the configuration's.
    pub fn begin(&self, command_line: &[&str]) -> Work {
        Work(Instance::of(
            &self.name,
            command_line,
            &self.to_toml(),
            None,
        ))
    }

    /// Starts an instance that is expected to be refused.
    pub async fn refused(&self) -> Ended {
        refused(&self.to_toml()).await
    }

    /// Everything is routed, folded and flushed, and no link is on its way.
    pub async fn is_settled(&self) -> bool {
        matches!(
            self.pending(&self.store(), &Arc::new(self.consumer()))
                .await,
            Ok(None)
        )
    }

    /// Waits until everything is routed, folded and flushed, and no link is in flight; returns how
    /// long that took.
    pub async fn settled(&self) -> Duration {
        self.settled_looking_every(Duration::from_millis(50)).await
    }

    /// The same; each look asks ClickHouse some questions.
    pub async fn settled_looking_every(&self, pause: Duration) -> Duration {
        let (started, store, consumer) = (Instant::now(), self.store(), Arc::new(self.consumer()));
        loop {
            let pending = match self.pending(&store, &consumer).await {
                Ok(None) => return started.elapsed(),
                Ok(Some(pending)) => pending,
                Err(error) => error,
            };
            assert!(
                started.elapsed() < TIMEOUT,
                "{}: not settled after {TIMEOUT:?}: {pending}",
                self.name
            );
            tokio::time::sleep(pause).await;
        }
    }

    fn consumer(&self) -> BaseConsumer {
        clients::consumer(&self.brokers, &format!("{}.route.1", self.name))
    }

    /// What there is still to do. Asked in the order of the data: first how far the input is
    /// routed, then the checkpoints, then the ends of the log. Since each only grows, checkpoints
    /// that equal ends asked for *later* are at rest.
    async fn pending(
        &self,
        store: &ClickHouse,
        consumer: &Arc<BaseConsumer>,
    ) -> Result<Option<String>, String> {
        let epochs = store.epochs().await.map_err(|error| error.to_string())?;
        let Some(epoch) = current(&epochs) else {
            return Ok(Some("there is no epoch yet".to_owned()));
        };
        let group = |name: String| {
            Arc::new(clients::consumer(
                &self.brokers,
                &format!("{}.{name}", self.name),
            ))
        };
        let route = if epoch.reading == 1 {
            consumer.clone()
        } else {
            group(format!("route.{}", epoch.reading))
        };
        for topic in &self.topics {
            let lag = lag(&route, topic).await?;
            if lag > 0 {
                return Ok(Some(format!("{lag} messages of `{topic}` are not routed")));
            }
        }
        let log = |generation| format!("{}.log.{generation}", self.name);
        if epochs
            .iter()
            .any(|old| old.generation == epoch.feeds_on && old.stage != Stage::Dropped)
        {
            let lag = lag(
                &group(format!("carry.{}.{}", epoch.feeds_on, epoch.generation)),
                &log(epoch.feeds_on),
            )
            .await?;
            if lag > 0 {
                return Ok(Some(format!(
                    "{lag} messages of the old log are not carried over"
                )));
            }
        }
        let mut checkpoints = Vec::new();
        for shard in 0..epoch.partitions {
            let checkpoint = store
                .checkpoint(epoch.generation, shard)
                .await
                .map_err(|error| error.to_string())?;
            checkpoints.push(checkpoint.map_or(0, |checkpoint| checkpoint.next_offset as i64));
        }
        for (shard, checkpoint) in checkpoints.into_iter().enumerate() {
            let (_, end) = bounds(consumer, &log(epoch.generation), shard as i32).await?;
            if end != checkpoint {
                return Ok(Some(format!(
                    "shard {shard} is flushed to {checkpoint} of {end}"
                )));
            }
        }
        Ok(None)
    }

    /// Waits until there are so many epochs.
    pub async fn until_epochs(&self, count: usize) {
        let (store, deadline) = (self.store(), Instant::now() + TIMEOUT);
        while store
            .epochs()
            .await
            .is_ok_and(|epochs| epochs.len() < count)
        {
            assert!(
                Instant::now() < deadline,
                "{}: there are not {count} epochs",
                self.name
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until all of a topic is routed.
    pub async fn until_routed(&self, topic: &str) {
        let deadline = Instant::now() + TIMEOUT;
        while self.route_lag(topic).await > 0 {
            assert!(
                Instant::now() < deadline,
                "{}: `{topic}` is not routed",
                self.name
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Messages of the log that the fold group has not committed.
    pub async fn fold_lag(&self) -> i64 {
        let consumer = Arc::new(clients::consumer(
            &self.brokers,
            &format!("{}.fold.1", self.name),
        ));
        lag(&consumer, &self.log_topic())
            .await
            .expect("the fold group's lag")
    }

    /// Messages of an input topic that the route group has not committed.
    pub async fn route_lag(&self, topic: &str) -> i64 {
        lag(&Arc::new(self.consumer()), topic)
            .await
            .expect("the route group's lag")
    }
}

/// Starts an instance with a configuration; returns when it answers.
pub async fn start(name: &str, configuration: String) -> Pipeline {
    let name = name.to_owned();
    blocking(move || Instance::run(&name, &configuration).listening()).await
}

/// Starts an instance with a configuration that is expected to be refused.
pub async fn refused(configuration: &str) -> Ended {
    let text = configuration.to_owned();
    blocking(move || Instance::run("refused", &text).ended(TIMEOUT)).await
}

/// A database of ClickHouse.
pub fn database(url: &str, name: &str) -> ClickHouse {
    ClickHouse::new(&Access {
        url: url.to_owned(),
        database: name.to_owned(),
        ..Access::default()
    })
}

async fn bounds(
    consumer: &Arc<BaseConsumer>,
    topic: &str,
    partition: i32,
) -> Result<(i64, i64), String> {
    let (consumer, topic) = (consumer.clone(), topic.to_owned());
    blocking(move || {
        consumer
            .fetch_watermarks(&topic, partition, Duration::from_secs(10))
            .map_err(|error| error.to_string())
    })
    .await
}

/// High watermark − committed offset, over all partitions of a topic.
async fn lag(consumer: &Arc<BaseConsumer>, topic: &str) -> Result<i64, String> {
    let (consumer, topic) = (consumer.clone(), topic.to_owned());
    blocking(move || {
        let within = Duration::from_secs(10);
        let fail = |error: rdkafka::error::KafkaError| error.to_string();
        let metadata = consumer
            .fetch_metadata(Some(&topic), within)
            .map_err(fail)?;
        let mut list = TopicPartitionList::new();
        for partition in metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions())
        {
            list.add_partition(&topic, partition.id());
        }
        let mut lag = 0;
        for element in consumer
            .committed_offsets(list, within)
            .map_err(fail)?
            .elements()
        {
            let (_, high) = consumer
                .fetch_watermarks(&topic, element.partition(), within)
                .map_err(fail)?;
            lag += if let Offset::Offset(committed) = element.offset() {
                high - committed
            } else {
                high
            };
        }
        Ok(lag)
    })
    .await
}

/// Sends a process a signal, as `-TERM`.
pub fn signal(process: &Child, signal: &str) {
    let sent = Command::new("kill")
        .args([signal, &process.id().to_string()])
        .status()
        .expect("a signal can be sent");
    assert!(sent.success());
}

/// Runs what blocks, on a thread made for that.
pub async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(act)
        .await
        .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// How long it took from the signal, or from the start.
    pub took: Duration,
    /// What it had logged.
    pub log: String,
}

/// A process of `dealpulse run`, killed when it is dropped or when this process ends.
struct Instance {
    name: String,
    process: Child,
    watchdog: Watchdog,
    directory: TempDir,
    started: Instant,
}

impl Instance {
    fn run(name: &str, configuration: &str) -> Instance {
        Instance::of(name, &["run"], configuration, Some(Stdio::piped()))
    }

    /// A process of any command; without a standard output of its own it goes to the log.
    fn of(
        name: &str,
        command_line: &[&str],
        configuration: &str,
        stdout: Option<Stdio>,
    ) -> Instance {
        let directory = tempfile::Builder::new()
            .prefix("dealpulse-run-")
            .tempdir()
            .expect("a temporary directory");
        let path = directory.path().join("dealpulse.toml");
        fs::write(&path, configuration).expect("the configuration can be written");
        let log = File::create(directory.path().join("log")).expect("a log file");
        let mut command = Command::new(DEALPULSE);
        let stdout =
            stdout.unwrap_or_else(|| log.try_clone().expect("a second handle on the log").into());
        command
            .args(command_line)
            .arg("--config")
            .arg(&path)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(log);
        let process = command.spawn().expect("the pipeline can be started");
        let watchdog = Watchdog::over(&process);
        Instance {
            name: name.to_owned(),
            process,
            watchdog,
            directory,
            started: Instant::now(),
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    fn listening(mut self) -> Pipeline {
        let stdout = self
            .process
            .stdout
            .take()
            .expect("it was asked for as a pipe");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // The waiter has what it needs after the first.
                let _ = sender.send(line);
            }
        });
        loop {
            match lines.recv_timeout(TIMEOUT) {
                Ok(line) => {
                    if let Some(address) = line.strip_prefix("listening on http://") {
                        let address = address.parse().expect("an address");
                        return Pipeline {
                            instance: self,
                            address,
                        };
                    }
                }
                Err(RecvTimeoutError::Disconnected) => panic!(
                    "{}: the pipeline ended instead of listening:\n{}",
                    self.name,
                    self.log()
                ),
                Err(RecvTimeoutError::Timeout) => panic!(
                    "{}: the pipeline does not listen:\n{}",
                    self.name,
                    self.log()
                ),
            }
        }
    }

    fn ended(mut self, within: Duration) -> Ended {
        let since = Instant::now();
        while since.elapsed() < within {
            if let Some(status) = self
                .process
                .try_wait()
                .expect("the process can be asked for its end")
            {
                return Ended {
                    code: status.code(),
                    took: since.elapsed(),
                    log: self.log(),
                };
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!(
            "{}: the pipeline has not ended within {within:?}:\n{}",
            self.name,
            self.log()
        );
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.watchdog.dismiss();
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(40)..].join("\n");
            eprintln!(
                "{}, {:?} after its start; the end of its log:\n{tail}",
                self.name,
                self.started.elapsed()
            );
        }
    }
}

/// A command at work.
pub struct Work(Instance);

impl Work {
    /// Waits until it has logged something.
    pub async fn until_logged(&self, words: &str) {
        let deadline = Instant::now() + TIMEOUT;
        while !self.0.log().contains(words) {
            assert!(
                Instant::now() < deadline,
                "{}: `{words}` is not printed: {}",
                self.0.name,
                self.0.log()
            );
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    /// True once it has ended.
    pub fn has_ended(&mut self) -> bool {
        let status = self.0.process.try_wait();
        status
            .expect("the process can be asked for its end")
            .is_some()
    }

    /// Ends it as a crash would. Returns its log.
    pub fn kill_nine(mut self) -> String {
        self.0.process.kill().expect("it can be killed");
        self.0.process.wait().expect("it can be reaped");
        self.0.log()
    }

    /// Waits for its end.
    pub async fn ended(self) -> Ended {
        blocking(move || self.0.ended(TIMEOUT)).await
    }
}

/// An instance that listens.
pub struct Pipeline {
    instance: Instance,
    address: SocketAddr,
}

impl Pipeline {
    /// Ends it as a crash would.
    pub fn kill_nine(mut self) -> String {
        self.instance
            .process
            .kill()
            .expect("the pipeline can be killed");
        self.instance
            .process
            .wait()
            .expect("the pipeline can be reaped");
        self.instance.log()
    }

    /// Ends it as an orchestrator would, and waits for it.
    pub async fn sigterm(self) -> Ended {
        signal(&self.instance.process, "-TERM");
        blocking(move || self.instance.ended(Duration::from_secs(60))).await
    }

    /// Suspends it (SIGSTOP): it keeps its connections and does nothing.
    pub fn freeze(&self) {
        signal(&self.instance.process, "-STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        signal(&self.instance.process, "-CONT");
    }

    pub fn log(&self) -> String {
        self.instance.log()
    }

    /// The operating system's id of the process.
    pub fn pid(&self) -> u32 {
        self.instance.process.id()
    }

    /// The memory it has in use, in bytes.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.instance.process.id()))
            .expect("the process lives");
        let kilobytes = status.lines().find_map(|line| {
            line.strip_prefix("VmRSS:")?
                .trim()
                .strip_suffix(" kB")?
                .parse::<u64>()
                .ok()
        });
        kilobytes.expect("the resident size") * 1024
    }

    /// The status and body of a GET.
    pub fn get(&self, path: &str) -> (u16, String) {
        let answer = raw(
            self.address,
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        );
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("{path}: no answer: {answer}"));
        let status = head
            .split_whitespace()
            .nth(1)
            .and_then(|code| code.parse().ok());
        (
            status.unwrap_or_else(|| panic!("{path}: {head}")),
            body.to_owned(),
        )
    }

    pub fn metrics(&self) -> Metrics {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        Metrics(text)
    }

    /// Waits until the gauges satisfy a condition, which is checked every few milliseconds.
    pub async fn until(&self, what: &str, condition: impl Fn(&Metrics) -> bool) {
        self.wait(what, || condition(&self.metrics())).await;
    }

    /// Waits until `/readyz` answers with this status and a text that contains `reason`.
    pub async fn until_readyz(&self, status: u16, reason: &str) -> String {
        let what = format!(
            "/readyz answers {status} and `{reason}`; the answer is {:?}",
            self.get("/readyz")
        );
        self.wait(&what, || matches!(self.get("/readyz"), (found, text) if found == status && text.contains(reason))).await;
        self.get("/readyz").1
    }

    pub async fn wait(&self, what: &str, condition: impl Fn() -> bool) {
        self.wait_looking_every(Duration::from_millis(3), what, condition)
            .await;
    }

    pub async fn wait_looking_every(
        &self,
        pause: Duration,
        what: &str,
        condition: impl Fn() -> bool,
    ) {
        let deadline = Instant::now() + TIMEOUT;
        while !condition() {
            assert!(
                Instant::now() < deadline,
                "{}: waited in vain until {what}",
                self.instance.name
            );
            tokio::time::sleep(pause).await;
        }
    }
}

/// One scrape.
pub struct Metrics(pub String);

impl Metrics {
    /// The sum of all series of a family whose labels contain `labels`, as it is written in the
    /// text; 0 if there are none.
    pub fn sum(&self, name: &str, labels: &str) -> f64 {
        let series = self
            .0
            .lines()
            .filter_map(|line| line.strip_prefix(name))
            .filter(|rest| rest.starts_with(['{', ' ']) && rest.contains(labels));
        series
            .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// The lines of the business: one a figure, window and group.
    pub fn business(&self) -> Vec<String> {
        business_lines(&self.0)
    }
}

/// The lines of a scrape that are of the business, in order; not those of managers and teams, which
/// are derived from those of owners.
pub fn business_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| line.contains("{") && line.contains("window=\""))
        .filter(|line| {
            !["manager", "org_unit"]
                .iter()
                .any(|d| line.contains(&format!("dimension=\"{d}\"")))
        })
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}
