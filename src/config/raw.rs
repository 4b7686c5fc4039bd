//! The configuration as it is written, with its defaults, and what the environment overrides.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::{CLOUDEVENTS, Encoding, Environment, Gauges, OnUpgrade};
use crate::definitions::DefinitionsSpec;

/// The file as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub version: u32,
    #[serde(default)]
    pub kafka: RawKafka,
    #[serde(default)]
    pub topics: Vec<RawTopic>,
    #[serde(default)]
    pub schema_registry: RawSchemaRegistry,
    #[serde(default)]
    pub log: RawLog,
    #[serde(default)]
    pub dead_letters: RawDeadLetters,
    #[serde(default)]
    pub personal_data: RawPersonalData,
    #[serde(default)]
    pub clickhouse: RawClickHouse,
    #[serde(default)]
    pub definitions: DefinitionsSpec,
    #[serde(default)]
    pub fold: RawFold,
    #[serde(default)]
    pub serve: RawServe,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTopic {
    pub name: String,
    #[serde(default = "cloudevents")]
    pub format: String,
    #[serde(default)]
    pub encoding: Encoding,
    #[serde(default)]
    pub mapping: Option<PathBuf>,
    #[serde(default)]
    pub preset: Option<String>,
    #[serde(default)]
    pub id_namespace: Option<String>,
    #[serde(default = "one_mebibyte")]
    pub max_message_bytes: usize,
    #[serde(default)]
    pub dead_letters: RawKept,
}

/// What the dead letters keep of a topic's messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawKept {
    #[default]
    Whole,
    Redacted,
    Withheld,
}

fn cloudevents() -> String {
    CLOUDEVENTS.into()
}

fn one_mebibyte() -> usize {
    1 << 20
}

/// Makes a table of the file with its defaults.
macro_rules! raw {
    ($name:ident { $($field:ident: $type:ty = $default:expr),* $(,)? }) => {
        #[derive(Debug, Clone, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(super) struct $name { $(pub $field: $type),* }
        impl Default for $name {
            fn default() -> Self { $name { $($field: $default),* } }
        }
    };
}

raw!(RawKafka { brokers: String = "127.0.0.1:9092".into(), group: String = "dealpulse".into(), password_file: Option<PathBuf> = None, properties: BTreeMap<String, String> = BTreeMap::new() });
raw!(RawSchemaRegistry { url: Option<String> = None, username: String = String::new(), password_file: Option<PathBuf> = None, ca_file: Option<PathBuf> = None });
raw!(RawLog { topic: String = "dealpulse.log".into(), partitions: Option<u32> = None, replication: i32 = -1, retention_hours: u64 = 168, verify: bool = true });
raw!(RawDeadLetters {
    topic: String = "dealpulse.dead-letters".into()
});
raw!(RawPersonalData {
    hash_key_file: Option<PathBuf> = None
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
    top: usize = 20,
    gauges: Gauges = Gauges::Main,
    reporting_currency: Option<String> = None,
    rates_file: Option<PathBuf> = None
});

/// What the environment overrides: DEALPULSE_ and the key, in capitals.
pub(super) fn apply_environment(raw: &mut Raw, environment: &Environment) {
    let overrides: [(&str, &mut String); 8] = [
        ("DEALPULSE_KAFKA_BROKERS", &mut raw.kafka.brokers),
        ("DEALPULSE_KAFKA_GROUP", &mut raw.kafka.group),
        (
            "DEALPULSE_SCHEMA_REGISTRY_USERNAME",
            &mut raw.schema_registry.username,
        ),
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
    if let Some(url) = environment.get("DEALPULSE_SCHEMA_REGISTRY_URL") {
        raw.schema_registry.url = Some(url.clone());
    }
}
