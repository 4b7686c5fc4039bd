//! Configuration: one file, the environment over it, defaults under it; validated into types that can't be wrong.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::definitions::DefinitionsSpec;
use crate::metric::Catalogue;
use crate::record::topic_number;

/// The configuration can't be used; the message names the file, the line and the fix.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{path}: {source}; give a configuration with --config FILE")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML, or has a key nobody knows.
    #[error("{path}: {problem}")]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Where and what, over several lines.
        problem: String,
    },
    /// A value contradicts another or itself.
    #[error("{path}:{line}: {key}: {problem}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The line the key stands on, or that of its table.
        line: usize,
        /// The key.
        key: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}

/// The file as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    version: u32,
    #[serde(default)]
    kafka: RawKafka,
    #[serde(default)]
    topics: Vec<RawTopic>,
    #[serde(default)]
    log: RawLog,
    #[serde(default)]
    dead_letters: RawDeadLetters,
    #[serde(default)]
    clickhouse: RawClickHouse,
    #[serde(default)]
    definitions: DefinitionsSpec,
    #[serde(default)]
    fold: RawFold,
    #[serde(default)]
    serve: RawServe,
}

/// Makes a table of the file with its defaults.
macro_rules! raw {
    ($name:ident { $($field:ident: $type:ty = $default:expr),* $(,)? }) => {
        #[derive(Debug, Clone, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        struct $name { $($field: $type),* }
        impl Default for $name {
            fn default() -> Self { $name { $($field: $default),* } }
        }
    };
}

raw!(RawKafka { brokers: String = "127.0.0.1:9092".into(), group: String = "dealpulse".into(), password_file: Option<PathBuf> = None, properties: BTreeMap<String, String> = BTreeMap::new() });
raw!(RawLog { topic: String = "dealpulse.log".into(), partitions: Option<u32> = None, replication: i32 = -1, retention_hours: u64 = 168, verify: bool = true });
raw!(RawDeadLetters {
    topic: String = "dealpulse.dead-letters".into()
});
raw!(RawClickHouse {
    url: String = "http://127.0.0.1:8123".into(),
    database: String = "dealpulse".into(),
    user: String = String::new(),
    password_file: Option<PathBuf> = None,
    insert_settings: BTreeMap<String, String> = BTreeMap::new(),
});
raw!(RawFold {
    flush_milliseconds: u64 = 1_000,
    flush_rows: usize = 50_000,
    on_upgrade: OnUpgrade = OnUpgrade::Refuse
});
raw!(RawServe {
    listen: String = "127.0.0.1:9464".into(),
    refresh_milliseconds: u64 = 2_000,
    top: usize = 20
});

/// What a program does at its start if the numbers are of another catalogue of metrics than its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUpgrade {
    /// It refuses to run and names the command.
    Refuse,
    /// It makes the numbers anew beside the old ones, and switches to them.
    Rebuild,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTopic {
    name: String,
    #[serde(default = "cloudevents")]
    format: String,
    #[serde(default)]
    id_namespace: Option<String>,
    #[serde(default = "one_mebibyte")]
    max_message_bytes: usize,
}

fn cloudevents() -> String {
    "cloudevents".into()
}

fn one_mebibyte() -> usize {
    1 << 20
}

/// The configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Kafka.
    pub kafka: Kafka,
    /// The input topics.
    pub topics: Vec<Topic>,
    /// The internal log.
    pub log: LogTopic,
    /// The topic dead letters go to.
    pub dead_letters: String,
    /// ClickHouse.
    pub clickhouse: Access,
    /// What the numbers mean.
    pub definitions: DefinitionsSpec,
    /// How long the fold waits before it flushes again.
    pub flush_interval: Duration,
    /// How many touched rows make it flush sooner.
    pub flush_rows: usize,
    /// What is done about numbers of another catalogue.
    pub on_upgrade: OnUpgrade,
    /// Where gauges and the page are served.
    pub listen: SocketAddr,
    /// How often the read model is read.
    pub refresh: Duration,
    /// How many values of a dimension are shown.
    pub top: usize,
}

/// Where ClickHouse is and as whom to speak to it.
#[derive(Clone, Default)]
pub struct Access {
    /// `http://host:port`.
    pub url: String,
    /// The database everything is in.
    pub database: String,
    /// Blank for the default user.
    pub user: String,
    /// Never printed.
    pub password: String,
    /// Settings sent with every insert, like `insert_quorum`.
    pub insert_settings: Vec<(String, String)>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{} as {:?}", self.url, self.database, self.user)
    }
}

/// How to reach Kafka.
#[derive(Clone)]
pub struct Kafka {
    /// `host:port,…`.
    pub brokers: String,
    /// What the names of the consumer groups begin with.
    pub group: String,
    /// librdkafka's own properties, secrets among them.
    pub properties: BTreeMap<String, String>,
}

impl std::fmt::Debug for Kafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&String> = self.properties.keys().collect();
        write!(
            f,
            "Kafka {{ brokers: {:?}, group: {:?}, properties: {names:?} }}",
            self.brokers, self.group
        )
    }
}

/// One input topic.
#[derive(Debug, Clone)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its number in origins.
    pub number: u32,
    /// What qualifies its ids.
    pub namespace: Option<String>,
    /// The longest message taken.
    pub max_message_bytes: usize,
}

/// How many partitions the first log gets where the configuration doesn't say.
pub const PARTITIONS: u32 = 12;

/// The internal log.
#[derive(Debug, Clone)]
pub struct LogTopic {
    /// Its name without the generation.
    pub topic: String,
    /// How many partitions it has; where nothing is said, as many as it has, and [`PARTITIONS`] for the first.
    pub partitions: Option<u32>,
    /// How many replicas a new one gets; -1 for the broker's default.
    pub replication: i32,
    /// How long it keeps messages at the least: longer than the longest outage.
    pub retention: Duration,
    /// Its settings are looked at; only the local broker, which has none, does without.
    pub verify: bool,
}

/// The environment, by name; given, not read, so that it can be tested.
pub type Environment = HashMap<String, String>;

impl Config {
    /// Reads and checks a file with the environment over it.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line and the fix.
    pub fn load(path: &Path, environment: &Environment) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::File {
            path: path.to_owned(),
            source,
        })?;
        Config::parse(&text, path, environment)
    }

    /// The same from text.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(
        text: &str,
        path: &Path,
        environment: &Environment,
    ) -> Result<Config, ConfigError> {
        let mut raw: Raw = toml::from_str(text).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            problem: error.to_string(),
        })?;
        let checker = Checker { text, path };
        apply_environment(&mut raw, environment);
        checker.check(raw, environment)
    }
}

/// What the environment overrides: DEALPULSE_ and the key, in capitals.
fn apply_environment(raw: &mut Raw, environment: &Environment) {
    let overrides: [(&str, &mut String); 7] = [
        ("DEALPULSE_KAFKA_BROKERS", &mut raw.kafka.brokers),
        ("DEALPULSE_KAFKA_GROUP", &mut raw.kafka.group),
        ("DEALPULSE_CLICKHOUSE_URL", &mut raw.clickhouse.url),
        (
            "DEALPULSE_CLICKHOUSE_DATABASE",
            &mut raw.clickhouse.database,
        ),
        ("DEALPULSE_CLICKHOUSE_USER", &mut raw.clickhouse.user),
        ("DEALPULSE_SERVE_LISTEN", &mut raw.serve.listen),
        ("DEALPULSE_TIME_ZONE", &mut raw.definitions.time_zone),
    ];
    for (name, value) in overrides {
        if let Some(given) = environment.get(name) {
            value.clone_from(given);
        }
    }
}

struct Checker<'a> {
    text: &'a str,
    path: &'a Path,
}

impl Checker<'_> {
    fn bad(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        ConfigError::Value {
            path: self.path.to_owned(),
            line: line_of(self.text, key),
            key: key.to_owned(),
            problem: problem.into(),
        }
    }

    fn check(&self, raw: Raw, environment: &Environment) -> Result<Config, ConfigError> {
        if raw.version != 1 {
            return Err(self.bad(
                "version",
                format!("{} is no version of this file; write 1", raw.version),
            ));
        }
        Catalogue::new(raw.definitions.clone())
            .map_err(|bad| self.bad(&format!("definitions.{}", bad.key), bad.problem))?;
        let topics = self.topics(&raw)?;
        if raw
            .log
            .partitions
            .is_some_and(|partitions| partitions == 0 || partitions > 10_000)
        {
            return Err(self.bad(
                "log.partitions",
                "write 1 to 10000; a few for every core of all instances",
            ));
        }
        if raw.log.retention_hours == 0 {
            return Err(self.bad(
                "log.retention_hours",
                "write how long the longest outage may be, 168 for a week",
            ));
        }
        for (key, name) in [
            ("log.topic", &raw.log.topic),
            ("dead_letters.topic", &raw.dead_letters.topic),
            ("kafka.group", &raw.kafka.group),
        ] {
            self.check_name(key, name)?;
        }
        if raw.kafka.brokers.trim().is_empty() {
            return Err(self.bad(
                "kafka.brokers",
                "write `host:port`, several joined by commas",
            ));
        }
        if !raw.clickhouse.url.starts_with("http://") {
            return Err(self.bad(
                "clickhouse.url",
                format!(
                    "`{}`; write ClickHouse's HTTP address like http://127.0.0.1:8123",
                    raw.clickhouse.url
                ),
            ));
        }
        let listen: SocketAddr = raw.serve.listen.parse().map_err(|_| {
            self.bad("serve.listen", format!("`{}` is no address; write `127.0.0.1:9464`, or `0.0.0.0:9464` for every interface", raw.serve.listen))
        })?;
        if !(100..=600_000).contains(&raw.fold.flush_milliseconds) {
            return Err(self.bad("fold.flush_milliseconds", "write 100 to 600000"));
        }
        if !(100..=600_000).contains(&raw.serve.refresh_milliseconds) {
            return Err(self.bad("serve.refresh_milliseconds", "write 100 to 600000"));
        }
        let mut properties = raw.kafka.properties.clone();
        if let Some(password) = self.secret(
            "kafka.password_file",
            "DEALPULSE_KAFKA_PASSWORD",
            raw.kafka.password_file.as_deref(),
            environment,
        )? {
            properties.insert("sasl.password".into(), password);
        }
        let password = self.secret(
            "clickhouse.password_file",
            "DEALPULSE_CLICKHOUSE_PASSWORD",
            raw.clickhouse.password_file.as_deref(),
            environment,
        )?;
        Ok(Config {
            kafka: Kafka {
                brokers: raw.kafka.brokers,
                group: raw.kafka.group,
                properties,
            },
            topics,
            log: LogTopic {
                topic: raw.log.topic,
                partitions: raw.log.partitions,
                replication: raw.log.replication,
                retention: Duration::from_secs(raw.log.retention_hours * 3_600),
                verify: raw.log.verify,
            },
            dead_letters: raw.dead_letters.topic,
            clickhouse: Access {
                url: raw.clickhouse.url,
                database: raw.clickhouse.database,
                user: raw.clickhouse.user,
                password: password.unwrap_or_default(),
                insert_settings: raw.clickhouse.insert_settings.into_iter().collect(),
            },
            definitions: raw.definitions,
            flush_interval: Duration::from_millis(raw.fold.flush_milliseconds),
            flush_rows: raw.fold.flush_rows.max(1),
            on_upgrade: raw.fold.on_upgrade,
            listen,
            refresh: Duration::from_millis(raw.serve.refresh_milliseconds),
            top: raw.serve.top.max(1),
        })
    }

    fn topics(&self, raw: &Raw) -> Result<Vec<Topic>, ConfigError> {
        if raw.topics.is_empty() {
            return Err(self.bad(
                "topics",
                "there is no input topic; add a table [[topics]] with a `name`",
            ));
        }
        let mut topics: Vec<Topic> = Vec::new();
        for (i, topic) in raw.topics.iter().enumerate() {
            let key = |part: &str| format!("topics[{i}].{part}");
            self.check_name(&key("name"), &topic.name)?;
            if topic.format != "cloudevents" {
                return Err(self.bad(
                    &key("format"),
                    format!(
                        "`{}` is no format; this version reads `cloudevents`",
                        topic.format
                    ),
                ));
            }
            if let Some(namespace) = &topic.id_namespace {
                let is_plain = !namespace.is_empty()
                    && namespace
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
                if !is_plain {
                    return Err(self.bad(
                        &key("id_namespace"),
                        format!("`{namespace}`; use letters, digits, _ and -"),
                    ));
                }
            }
            let number = topic_number(&topic.name);
            if topics.iter().any(|t| t.name == topic.name) {
                return Err(self.bad(&key("name"), format!("`{}` stands here twice", topic.name)));
            }
            if let Some(twin) = topics.iter().find(|t| t.number == number) {
                return Err(self.bad(
                    &key("name"),
                    format!(
                        "`{}` and `{}` happen to have one number in origins; rename one of them",
                        topic.name, twin.name
                    ),
                ));
            }
            topics.push(Topic {
                name: topic.name.clone(),
                number,
                namespace: topic.id_namespace.clone(),
                max_message_bytes: topic.max_message_bytes.max(1),
            });
        }
        // With all or none, no plain id can look like a qualified one.
        if let Some(i) = topics
            .iter()
            .position(|t| t.namespace.is_some() != topics[0].namespace.is_some())
        {
            return Err(self.bad(
                &format!("topics[{i}].id_namespace"),
                "either every topic has an `id_namespace` or none has; topics of one CRM share one",
            ));
        }
        Ok(topics)
    }

    fn check_name(&self, key: &str, name: &str) -> Result<(), ConfigError> {
        let is_legal = !name.is_empty()
            && name.len() < 240
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if is_legal {
            Ok(())
        } else {
            Err(self.bad(
                key,
                format!("`{name}`; Kafka takes letters, digits, `.`, `_` and `-`"),
            ))
        }
    }

    /// A secret, from the environment or a file; never from the configuration itself.
    fn secret(
        &self,
        key: &str,
        variable: &str,
        file: Option<&Path>,
        environment: &Environment,
    ) -> Result<Option<String>, ConfigError> {
        if let Some(secret) = environment.get(variable) {
            return Ok(Some(secret.clone()));
        }
        let Some(file) = file else { return Ok(None) };
        let text = std::fs::read_to_string(file).map_err(|error| {
            self.bad(
                key,
                format!(
                    "{}: {error}; put the password there, or into {variable}",
                    file.display()
                ),
            )
        })?;
        Ok(Some(text.trim_end_matches(['\n', '\r']).to_owned()))
    }
}

/// The line a key like `topics[1].name` stands on: that of its table where the key itself is not written.
fn line_of(text: &str, key: &str) -> usize {
    let (table, leaf) = key.rsplit_once('.').unwrap_or(("", key));
    let (table, nth) = match table.split_once('[') {
        Some((name, index)) => (name, index.trim_end_matches(']').parse().unwrap_or(0)),
        None => (table, 0),
    };
    let leaf = leaf.split('[').next().unwrap_or(leaf);
    let headers = [format!("[{table}]"), format!("[[{table}]]")];
    let (mut at_table, mut seen, mut found) = (table.is_empty(), 0usize, 1);
    for (number, line) in text
        .lines()
        .enumerate()
        .map(|(i, line)| (i + 1, line.trim()))
    {
        if line.starts_with('[') {
            let is_ours = headers
                .iter()
                .any(|header| line.starts_with(header.as_str()));
            at_table = is_ours && seen == nth;
            seen += usize::from(is_ours);
            if at_table {
                found = number;
            }
        } else if at_table
            && line
                .split('=')
                .next()
                .is_some_and(|name| name.trim().trim_matches('"') == leaf)
        {
            return number;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "version = 1\n\n[kafka]\nbrokers = \"k:9092\"\n\n[[topics]]\nname = \"crm.eu\"\nid_namespace = \"eu\"\n\n[[topics]]\nname = \"crm.us\"\nid_namespace = \"us\"\n\n[log]\npartitions = 4\n\n[serve]\nlisten = \"127.0.0.1:0\"\n";

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("dealpulse.toml"), &Environment::new())
    }

    fn problem(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from}");
        parse(&GOOD.replacen(from, to, 1)).unwrap_err().to_string()
    }

    #[test]
    fn a_good_file_is_taken_with_the_defaults_under_it() {
        let config = parse(GOOD).unwrap();
        assert_eq!(
            (
                config.log.partitions,
                config.top,
                config.definitions.time_zone.as_str()
            ),
            (Some(4), 20, "UTC")
        );
        assert_eq!(config.topics[1].namespace.as_deref(), Some("us"));
    }

    #[test]
    fn the_environment_goes_over_the_file_and_secrets_are_never_shown() {
        let environment = Environment::from([
            ("DEALPULSE_KAFKA_BROKERS".to_owned(), "other:1".to_owned()),
            ("DEALPULSE_KAFKA_PASSWORD".to_owned(), "hunter2".to_owned()),
            (
                "DEALPULSE_CLICKHOUSE_PASSWORD".to_owned(),
                "hunter3".to_owned(),
            ),
        ]);
        let config = Config::parse(GOOD, Path::new("x"), &environment).unwrap();
        assert_eq!(
            (
                config.kafka.brokers.as_str(),
                config.clickhouse.password.as_str()
            ),
            ("other:1", "hunter3")
        );
        assert_eq!(config.kafka.properties["sasl.password"], "hunter2");
        assert!(!format!("{config:?}").contains("hunter"));
    }

    #[test]
    fn every_contradiction_is_refused_with_its_line_and_the_fix() {
        for (from, to, expected) in [
            (
                "version = 1",
                "version = 2",
                "dealpulse.toml:1: version: 2 is no version",
            ),
            (
                "partitions = 4",
                "partitions = 0",
                "dealpulse.toml:15: log.partitions: write 1 to 10000",
            ),
            (
                "name = \"crm.us\"",
                "name = \"crm.eu\"",
                "dealpulse.toml:11: topics[1].name: `crm.eu` stands here twice",
            ),
            (
                "name = \"crm.us\"",
                "name = \"crm us\"",
                "dealpulse.toml:11: topics[1].name: `crm us`; Kafka takes",
            ),
            (
                "id_namespace = \"us\"\n",
                "",
                "topics[1].id_namespace: either every topic has",
            ),
            (
                "id_namespace = \"us\"",
                "id_namespace = \"u/s\"",
                "dealpulse.toml:12: topics[1].id_namespace",
            ),
            (
                "listen = \"127.0.0.1:0\"",
                "listen = \"9464\"",
                "dealpulse.toml:18: serve.listen: `9464` is no address",
            ),
            (
                "[log]",
                "[definitions]\ntime_zone = \"Mars\"\n[log]",
                "dealpulse.toml:15: definitions.time_zone: `Mars` is no IANA time zone",
            ),
            (
                "[log]",
                "[clickhouse]\nurl = \"tcp://x\"\n[log]",
                "clickhouse.url: `tcp://x`; write ClickHouse's HTTP address",
            ),
            (
                "[log]",
                "[clickhouse]\npassword_file = \"/nowhere/secret\"\n[log]",
                "put the password there, or into DEALPULSE_CLICKHOUSE_PASSWORD",
            ),
            (
                "[[topics]]\nname = \"crm.eu\"",
                "[[topics]]\nformat = \"xml\"\nname = \"crm.eu\"",
                "topics[0].format: `xml` is no format",
            ),
        ] {
            let problem = problem(from, to);
            assert!(
                problem.contains(expected),
                "{problem}\nexpected: {expected}"
            );
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place() {
        let problem = problem("brokers", "brokres");
        assert!(
            problem.contains("line 4") && problem.contains("unknown field `brokres`"),
            "{problem}"
        );
    }
}
