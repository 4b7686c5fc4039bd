//! Apache Kafka itself, started for one test on free loopback ports and removed after it.
//!
//! The jars come from `make kafka-engine`. A broker can be killed as a crash would kill it and be
//! started again on its data. When a test fails, the broker's directory with its log is kept and
//! its path printed.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tempfile::TempDir;

use super::clients;

/// The jars that make up the engine, as `sha256sum` wrote them.
const JARS: &str = include_str!("../kafka/jars.sha256");
/// A broker answers 2 s after its start on an idle machine; a busy one gets this long.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// Another program may take a free port between our looking and the broker's binding.
const START_ATTEMPTS: usize = 3;
/// The `log4j2.properties` of a server: everything to its standard output.
pub const LOGGING: &str = "rootLogger.level=INFO\n\
    rootLogger.appenderRef.console.ref=console\n\
    appender.console.type=Console\n\
    appender.console.name=console\n\
    appender.console.layout.type=PatternLayout\n\
    appender.console.layout.pattern=%d %p %m (%c)%n\n";
const CLUSTER_ID: &str = "ZGVhbHB1bHNlLXRlc3RzIQ";

/// One running broker, also its own controller.
pub struct Kafka {
    directory: Option<TempDir>,
    port: u16,
    process: Child,
    watchdog: Watchdog,
}

impl Kafka {
    /// Formats a directory and starts a broker on it; returns when it answers.
    ///
    /// # Panics
    /// When the jars or Java are missing, or when the broker does not answer.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// As [`Kafka::start`], with further lines of `server.properties`; a later line overrides the
    /// default ones.
    pub async fn start_with(properties: &[(&str, &str)]) -> Self {
        for attempt in 1.. {
            let directory = tempfile::Builder::new()
                .prefix("dealpulse-kafka-")
                .tempdir()
                .expect("a temporary directory");
            let port = free_port();
            write_configuration(directory.path(), port, free_port(), properties);
            format(directory.path()).await;
            let (process, watchdog) = launch(directory.path());
            let mut kafka = Self {
                directory: Some(directory),
                port,
                process,
                watchdog,
            };
            match kafka.until_ready().await {
                Ok(()) => return kafka,
                Err(reason) if attempt == START_ATTEMPTS => panic!("{reason}"),
                Err(_) => continue,
            }
        }
        unreachable!("the loop only ends by returning or by panicking")
    }

    /// The address clients connect to, as `bootstrap.servers` wants it.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A client configuration for this broker; see [`clients::client`].
    pub fn client(&self) -> ClientConfig {
        clients::client(&self.bootstrap())
    }

    /// Creates a topic and waits until every partition has a leader.
    pub async fn create_topic(&self, name: &str, partitions: i32, config: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> =
            self.client().create().expect("an admin client");
        let topic = config.iter().fold(
            NewTopic::new(name, partitions, TopicReplication::Fixed(1)),
            |topic, (key, value)| topic.set(key, value),
        );
        let results = admin
            .create_topics([&topic], &AdminOptions::new())
            .await
            .expect("the broker answers");
        for result in results {
            result.unwrap_or_else(|(topic, error)| panic!("creating {topic}: {error}"));
        }
        self.until(READY_WITHIN, move |topics| {
            topics
                .iter()
                .any(|(topic, leaders)| topic == name && *leaders == partitions)
        })
        .await
        .unwrap_or_else(|reason| panic!("topic {name}: {reason}"));
    }

    /// Changes settings of a topic.
    pub async fn alter_topic(&self, name: &str, config: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> =
            self.client().create().expect("an admin client");
        let change = config.iter().fold(
            AlterConfig::new(ResourceSpecifier::Topic(name)),
            |change, (key, value)| change.set(key, value),
        );
        let results = admin
            .alter_configs([&change], &AdminOptions::new())
            .await
            .expect("the broker answers");
        for result in results {
            result.unwrap_or_else(|(topic, error)| panic!("altering {topic:?}: {error}"));
        }
    }

    /// Adds partitions to a topic until it has so many.
    pub async fn add_partitions(&self, name: &str, partitions: i32) {
        let admin: AdminClient<DefaultClientContext> =
            self.client().create().expect("an admin client");
        let wanted = NewPartitions::new(name, partitions as usize);
        let results = admin
            .create_partitions([&wanted], &AdminOptions::new())
            .await
            .expect("the broker answers");
        for result in results {
            result.unwrap_or_else(|(topic, error)| panic!("growing {topic}: {error}"));
        }
        self.until(READY_WITHIN, move |topics| {
            topics
                .iter()
                .any(|(topic, leaders)| topic == name && *leaders == partitions)
        })
        .await
        .unwrap_or_else(|reason| panic!("topic {name}: {reason}"));
    }

    /// Lets go of the messages of a partition below an offset, as retention does.
    pub async fn delete_records(&self, name: &str, partition: i32, below: i64) {
        let admin: AdminClient<DefaultClientContext> =
            self.client().create().expect("an admin client");
        let offsets = super::clients::offsets(name, [(partition, below)]);
        let deleted = admin
            .delete_records(&offsets, &AdminOptions::new())
            .await
            .expect("the broker answers");
        deleted.elements().iter().for_each(|element| {
            element
                .error()
                .unwrap_or_else(|error| panic!("deleting records of {name}: {error}"))
        });
    }

    /// Deletes a topic and waits until it is no longer listed.
    pub async fn delete_topic(&self, name: &str) {
        let admin: AdminClient<DefaultClientContext> =
            self.client().create().expect("an admin client");
        let results = admin
            .delete_topics(&[name], &AdminOptions::new())
            .await
            .expect("the broker answers");
        for result in results {
            result.unwrap_or_else(|(topic, error)| panic!("deleting {topic}: {error}"));
        }
        self.until(READY_WITHIN, move |topics| {
            topics.iter().all(|(topic, _)| topic != name)
        })
        .await
        .unwrap_or_else(|reason| panic!("topic {name}: {reason}"));
    }

    /// Produces to this broker; see [`clients::produce`].
    pub async fn produce<K, V>(
        &self,
        topic: &str,
        partition: Option<i32>,
        messages: impl IntoIterator<Item = (K, V)>,
    ) -> Vec<(i32, i64)>
    where
        K: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        clients::produce(&self.bootstrap(), topic, partition, messages).await
    }

    /// Kills the broker as a crash would (SIGKILL); its data stays.
    pub fn kill_nine(&mut self) -> ExitStatus {
        self.watchdog.dismiss();
        self.process.kill().expect("the broker can be killed");
        self.process.wait().expect("the broker can be reaped")
    }

    /// Starts the broker again on its data and its ports; returns when every partition has its
    /// leader back.
    pub async fn restart(&mut self) {
        self.kill_nine();
        (self.process, self.watchdog) = launch(self.path());
        self.until_ready()
            .await
            .unwrap_or_else(|reason| panic!("{reason}"));
    }

    fn path(&self) -> &Path {
        self.directory
            .as_ref()
            .expect("the directory is only taken in drop")
            .path()
    }

    /// Waits for the broker to answer a metadata request in which no partition lacks a leader.
    async fn until_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if let Ok(Some(status)) = self.process.try_wait() {
                return Err(format!(
                    "the broker ended with {status}:\n{}",
                    self.log_tail()
                ));
            }
            match self.until(Duration::from_millis(500), |_| true).await {
                Ok(()) => return Ok(()),
                Err(_) if Instant::now() < deadline => continue,
                Err(reason) => return Err(format!("{reason}\n{}", self.log_tail())),
            }
        }
    }

    /// Waits for metadata that names a broker, gives every partition a leader, and satisfies
    /// `condition` on (topic, partitions led).
    async fn until(
        &self,
        within: Duration,
        condition: impl Fn(&[(String, i32)]) -> bool,
    ) -> Result<(), String> {
        let deadline = Instant::now() + within;
        let client: BaseConsumer = self.client().create().expect("a client");
        let client = std::sync::Arc::new(client);
        loop {
            let asking = client.clone();
            let led = tokio::task::spawn_blocking(move || partitions_led(&asking))
                .await
                .expect("asking does not panic");
            match led {
                Some(topics) if condition(&topics) => return Ok(()),
                _ if Instant::now() >= deadline => {
                    return Err(format!("the broker was not ready within {within:?}"));
                }
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.path().join("broker.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.watchdog.dismiss();
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let (true, Some(directory)) = (std::thread::panicking(), self.directory.take()) {
            let kept = directory.keep();
            eprintln!(
                "the broker's log is kept in {}",
                kept.join("broker.log").display()
            );
        }
    }
}

/// A shell that kills a child process when this one is killed and so can't do it itself: its
/// standard input ends then.
pub struct Watchdog(Child);

impl Watchdog {
    pub fn over(process: &Child) -> Self {
        let shell = Command::new("sh")
            .args(["-c", "cat >/dev/null; kill -9 \"$0\""])
            .arg(process.id().to_string())
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell");
        Self(shell)
    }

    /// Ends the watch; to be done before the child is reaped, lest its process number be another's
    /// by then.
    pub fn dismiss(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Each topic with the number of its partitions that have a leader; none if a broker or any leader
/// is missing.
fn partitions_led(client: &BaseConsumer) -> Option<Vec<(String, i32)>> {
    let metadata = client
        .fetch_metadata(None, Duration::from_millis(500))
        .ok()?;
    let led = metadata.topics().iter().map(|topic| {
        let complete = topic.partitions().iter().all(|p| p.leader() >= 0);
        let count = topic.partitions().len() as i32;
        complete.then(|| (topic.name().to_owned(), count))
    });
    let topics = led.collect::<Option<Vec<_>>>()?;
    (!metadata.brokers().is_empty()).then_some(topics)
}

/// A closed port, below the range the system takes for outgoing connections: a client that keeps
/// knocking at a dead broker's port in that range can be given the same port as its own and end up
/// connected to itself.
pub fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 10_000;
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    // Tests run as threads and as processes: the process number keeps the latter apart.
    let start = (std::process::id() % u32::from(COUNT / 20)) as u16 * 20;
    loop {
        let step = TAKEN.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start + step) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The directory of an engine, by its name in the cache; it has all of these files, a line each, as
/// `sha256sum` wrote them.
///
/// # Panics
/// When one is missing, with the target that installs it.
pub fn engine_directory(name: &str, files: &str, target: &str) -> PathBuf {
    let cache = std::env::var_os("DEALPULSE_CACHE")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache/dealpulse")))
        .expect("DEALPULSE_CACHE or a home directory");
    let directory = cache.join(name);
    let missing = files
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .find(|file| !directory.join(file).is_file());
    if let Some(file) = missing {
        panic!(
            "{file} is not in {}: run make {target}",
            directory.display()
        );
    }
    directory
}

/// Java in a directory with a `log4j2.properties`, with the settings that let a small server start
/// soon.
pub fn java(directory: &Path) -> Command {
    let mut command = Command::new("java");
    command
        .current_dir(directory)
        .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .args(["-Xms256m", "-Xmx512m"])
        .arg("-Dlog4j2.configurationFile=log4j2.properties")
        .stdin(Stdio::null());
    command
}

fn java_with_jars(directory: &Path) -> Command {
    let jars = engine_directory("kafka-4.4.0", JARS, "kafka-engine");
    let mut command = java(directory);
    command.arg("-cp").arg(jars.join("*"));
    command
}

async fn format(directory: &Path) {
    let mut command = java_with_jars(directory);
    command
        .args(["kafka.tools.StorageTool", "format", "--standalone"])
        .args(["-t", CLUSTER_ID, "-c", "server.properties"]);
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .expect("formatting does not panic")
        .unwrap_or_else(|error| panic!("java cannot be run ({error}): run make kafka-engine"));
    assert!(
        output.status.success(),
        "formatting the broker's directory: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn launch(directory: &Path) -> (Child, Watchdog) {
    let log = File::options()
        .create(true)
        .append(true)
        .open(directory.join("broker.log"))
        .expect("a log file");
    let broker = java_with_jars(directory)
        .args(["kafka.Kafka", "server.properties"])
        .stdout(log.try_clone().expect("a second handle on the log"))
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("java cannot be run ({error}): run make kafka-engine"));
    let watchdog = Watchdog::over(&broker);
    (broker, watchdog)
}

fn write_configuration(directory: &Path, port: u16, controller: u16, properties: &[(&str, &str)]) {
    let mut server = format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         log.dirs={data}\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n\
         auto.create.topics.enable=false\n\
         # A broker killed without warning is let back in when its session has run out: 5 s so, 12 s by default.\n\
         broker.session.timeout.ms=3000\n\
         broker.heartbeat.interval.ms=500\n\
         # Members of a group.protocol=consumer group learn of each other, and of a death, in a tenth of the default time.\n\
         group.consumer.min.heartbeat.interval.ms=500\n\
         group.consumer.heartbeat.interval.ms=500\n\
         group.consumer.min.session.timeout.ms=4500\n\
         group.consumer.session.timeout.ms=4500\n\
         # Test messages may bear old times; the default retention would delete them half a minute after the start.\n\
         log.retention.ms=-1\n",
        data = directory.join("data").display(),
    );
    for (key, value) in properties {
        server.push_str(&format!("{key}={value}\n"));
    }
    for (name, text) in [
        ("server.properties", server.as_str()),
        ("log4j2.properties", LOGGING),
    ] {
        fs::write(directory.join(name), text).expect("the broker's configuration can be written");
    }
}
