//! Configuration: one file, the environment over it, defaults under it; validated into types that
//! can't be wrong.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::definitions::DefinitionsSpec;
use crate::event::feed::Feed;
use crate::event::mapping::HashKey;
use check::Checker;
use raw::{Raw, apply_environment};

mod check;
mod personal;
pub mod presets;
mod rates;
mod raw;

pub use personal::{HASH_KEY, hash_key, keyed};
pub use rates::{read_rates, reporting_currency};

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
    /// The file is no TOML, or has an unknown key.
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
        /// The line of the key, or that of its table.
        line: usize,
        /// The key.
        key: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}

/// What a program does at its start if the metrics were counted by another catalogue than its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUpgrade {
    /// It refuses to run and names the command.
    Refuse,
    /// It rebuilds the metrics beside the old ones, and switches to them.
    Rebuild,
}

/// Which figures of groups have a gauge. Of the total every figure has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gauges {
    /// Those that each metric names, a few of each.
    #[default]
    Main,
    /// Those that their tables show, too.
    All,
}

/// The configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Kafka.
    pub kafka: Kafka,
    /// The input topics.
    pub topics: Vec<Topic>,
    /// Where the schemas of topics in Avro are.
    pub schema_registry: Option<SchemaRegistry>,
    /// The internal log.
    pub log: LogTopic,
    /// The topic dead letters go to.
    pub dead_letters: String,
    /// The key that personal data is hashed with.
    pub hash_key: Option<HashKey>,
    /// ClickHouse.
    pub clickhouse: Access,
    /// The definitions of the metrics.
    pub definitions: DefinitionsSpec,
    /// How long the fold waits before it flushes again.
    pub flush_interval: Duration,
    /// How many touched rows make it flush sooner.
    pub flush_rows: usize,
    /// What is done about metrics of another catalogue.
    pub on_upgrade: OnUpgrade,
    /// Where gauges and the page are served.
    pub listen: SocketAddr,
    /// How often the read model is read.
    pub refresh: Duration,
    /// How many values of a dimension are shown.
    pub top: usize,
    /// Which figures of groups have a gauge.
    pub gauges: Gauges,
    /// The currency that amounts are converted into.
    pub reporting_currency: Option<String>,
    /// A file of exchange rates, besides those of the topics: see [`read_rates`].
    pub rates_file: Option<PathBuf>,
}

/// The address of ClickHouse and the user.
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

/// The address of a schema registry and the user.
#[derive(Clone)]
pub struct SchemaRegistry {
    /// `http://host:port` or `https://…`, with whatever its paths begin with.
    pub url: String,
    /// Blank if it needs none.
    pub username: String,
    /// Never printed.
    pub password: String,
    /// Certificates, in PEM, that are trusted besides those of the system.
    pub certificates: Option<String>,
}

impl std::fmt::Debug for SchemaRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} as {:?}", self.url, self.username)
    }
}

/// How the messages of a topic are encoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// JSON.
    #[default]
    Json,
    /// Avro in the wire format of schema registries.
    Avro,
    /// Protobuf in the same.
    Protobuf,
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
    /// How its messages are encoded.
    pub encoding: Encoding,
    /// How its messages are read, if they are no events of ours.
    pub feed: Option<Arc<Feed>>,
    /// The hash of its mapping, and of the key that it hashes with: another one reads the topic
    /// otherwise.
    pub mapping: Option<String>,
    /// What the dead letters keep of its messages.
    pub kept: Kept,
}

/// What the dead letters keep of a topic's messages.
#[derive(Debug, Clone)]
pub enum Kept {
    /// All of them, as they were read.
    Whole,
    /// All but what the mapping hashes, of which they keep the hash; what can't be read is
    /// withheld.
    Redacted(HashKey),
    /// Their length and a hash.
    Withheld(HashKey),
}

impl Topic {
    /// The name of its format.
    pub fn format(&self) -> &'static str {
        let feed = self.feed.as_ref();
        feed.map_or(CLOUDEVENTS, |feed| feed.format().name())
    }
}

/// The format of events of ours.
pub const CLOUDEVENTS: &str = "cloudevents";

/// How many partitions the first log gets if the configuration has none.
pub const PARTITIONS: u32 = 12;

/// The internal log.
#[derive(Debug, Clone)]
pub struct LogTopic {
    /// Its name without the generation.
    pub topic: String,
    /// How many partitions it has; by default as many as it has, and [`PARTITIONS`] for the first.
    pub partitions: Option<u32>,
    /// How many replicas a new one gets; -1 for the broker's default.
    pub replication: i32,
    /// How long it keeps messages at the least: longer than the longest outage.
    pub retention: Duration,
    /// Whether its settings are checked; false only for the local broker, which has none.
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

#[cfg(test)]
mod tests;
