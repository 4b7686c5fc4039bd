//! The checks of a configuration: what contradicts itself is refused with its line and the fix.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::rates::reporting_currency;
use super::raw::{Raw, RawKept, RawTopic};
use super::{
    Access, CLOUDEVENTS, Config, ConfigError, Encoding, Environment, HASH_KEY, Kafka, Kept,
    LogTopic, SchemaRegistry, Topic, keyed, presets,
};
use crate::event::feed::{Feed, Format};
use crate::event::mapping::{HashKey, Mapping};
use crate::metric::Catalogue;
use crate::record::{SCHEMA, topic_number};
use crate::window::Calendar;

/// Checks the configuration of a file.
pub(super) struct Checker<'a> {
    pub text: &'a str,
    pub path: &'a Path,
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

    /// The checked configuration.
    pub fn check(&self, raw: Raw, environment: &Environment) -> Result<Config, ConfigError> {
        if raw.version != 1 {
            return Err(self.bad(
                "version",
                format!("{} is no version of this file; write 1", raw.version),
            ));
        }
        let catalogue = Catalogue::new(raw.definitions.clone())
            .map_err(|bad| self.bad(&format!("definitions.{}", bad.key), bad.problem))?;
        let hash_key = self.secret(
            "personal_data.hash_key_file",
            HASH_KEY,
            raw.personal_data.hash_key_file.as_deref(),
            environment,
        )?;
        let hash_key = hash_key.map(|secret| HashKey::new(&secret)).transpose();
        let hash_key =
            hash_key.map_err(|problem| self.bad("personal_data.hash_key_file", problem))?;
        let topics = self.topics(&raw, &catalogue.calendar, hash_key.as_ref())?;
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
        let schema_registry = self.schema_registry(&raw, environment)?;
        Ok(Config {
            kafka: Kafka {
                brokers: raw.kafka.brokers,
                group: raw.kafka.group,
                properties,
            },
            topics,
            schema_registry,
            log: LogTopic {
                topic: raw.log.topic,
                partitions: raw.log.partitions,
                replication: raw.log.replication,
                retention: Duration::from_secs(raw.log.retention_hours * 3_600),
                verify: raw.log.verify,
            },
            dead_letters: raw.dead_letters.topic,
            hash_key,
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
            gauges: raw.serve.gauges,
            reporting_currency: raw
                .serve
                .reporting_currency
                .map(|text| reporting_currency(&text))
                .transpose()
                .map_err(|problem| self.bad("serve.reporting_currency", problem))?,
            rates_file: raw.serve.rates_file,
        })
    }

    fn topics(
        &self,
        raw: &Raw,
        calendar: &Calendar,
        hash_key: Option<&HashKey>,
    ) -> Result<Vec<Topic>, ConfigError> {
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
            let (feed, mapping) = self.feed(topic, &key, calendar, hash_key)?;
            let kept = self.kept(topic, &key, feed.as_deref(), hash_key)?;
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
                return Err(self.bad(&key("name"), format!("`{}` is listed twice", topic.name)));
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
                encoding: topic.encoding,
                feed,
                mapping,
                kept,
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

    /// How a topic's messages are read, and the hash of the mapping; nothing for events of ours.
    fn feed(
        &self,
        topic: &RawTopic,
        key: &dyn Fn(&str) -> String,
        calendar: &Calendar,
        hash_key: Option<&HashKey>,
    ) -> Result<(Option<Arc<Feed>>, Option<String>), ConfigError> {
        let source = match (&topic.mapping, &topic.preset) {
            (Some(_), Some(_)) => {
                return Err(self.bad(&key("preset"), "write either a `mapping` or a `preset`"));
            }
            (Some(mapping), None) => Some(("mapping", mapping.display().to_string())),
            (None, Some(preset)) => Some(("preset", preset.clone())),
            (None, None) => None,
        };
        if topic.format == CLOUDEVENTS {
            if topic.encoding != Encoding::Json {
                let problem = "events of ours are JSON; write the topic's `format`";
                return Err(self.bad(&key("encoding"), problem));
            }
            return match source {
                None => Ok((None, None)),
                Some((part, _)) => Err(self.bad(
                    &key(part),
                    "events of ours need none; write the topic's `format`",
                )),
            };
        }
        let Some(format) = Format::of_name(&topic.format) else {
            let known = Format::ALL.map(Format::name).join("`, `");
            let problem = format!(
                "`{}` is no format; this version reads `{CLOUDEVENTS}`, `{known}`",
                topic.format
            );
            return Err(self.bad(&key("format"), problem));
        };
        let Some((part, name)) = source else {
            let problem = format!(
                "messages of `{}` need a `mapping` (docs/mapping.md) or a `preset`, one of `{}`",
                topic.format,
                presets::NAMES.join("`, `")
            );
            return Err(self.bad(&key("format"), problem));
        };
        let text = match &topic.mapping {
            None => match presets::text(&name) {
                Some(text) => text.to_owned(),
                None => {
                    let known = presets::NAMES.join("`, `");
                    let problem = format!("`{name}` is no preset; write one of `{known}`");
                    return Err(self.bad(&key("preset"), problem));
                }
            },
            Some(path) => {
                let beside = self.path.parent().unwrap_or(Path::new(""));
                std::fs::read_to_string(beside.join(path)).map_err(|error| {
                    self.bad(&key(part), format!("{name} can't be read: {error}"))
                })?
            }
        };
        let mapping = Mapping::parse(&text, &SCHEMA).and_then(|mapping| keyed(mapping, hash_key));
        let mapping =
            mapping.map_err(|error| self.bad(&key(part), format!("{name} is refused: {error}")))?;
        let mut hash = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
        // Another key makes other values, as another mapping does.
        if let Some(hash_key) = hash_key.filter(|_| mapping.hashes().is_some()) {
            hash = format!("{hash}-{}", hash_key.fingerprint());
        }
        let feed = Feed::new(format, mapping, calendar);
        Ok((Some(Arc::new(feed)), Some(hash)))
    }

    /// What the dead letters keep of a topic's messages.
    fn kept(
        &self,
        topic: &RawTopic,
        key: &dyn Fn(&str) -> String,
        feed: Option<&Feed>,
        hash_key: Option<&HashKey>,
    ) -> Result<Kept, ConfigError> {
        if topic.dead_letters == RawKept::Whole {
            return Ok(Kept::Whole);
        }
        let bad = |problem: String| Err(self.bad(&key("dead_letters"), problem));
        let hashes = feed.is_some_and(|feed| feed.mapping().hashes().is_some());
        match (topic.dead_letters, hash_key.cloned()) {
            (RawKept::Redacted, _) if !hashes => bad("`redacted` keeps hashes of what the mapping hashes, and it hashes nothing; write `hash = true` in the mapping (docs/mapping.md), or `withheld`".into()),
            (_, None) => bad(format!("what is left out is known by a keyed hash; put a key of at least 32 characters into {HASH_KEY}, or into a file that [personal_data] hash_key_file names")),
            (RawKept::Withheld, Some(key)) => Ok(Kept::Withheld(key)),
            (_, Some(key)) => Ok(Kept::Redacted(key)),
        }
    }

    /// The schema registry, which topics in Avro need.
    fn schema_registry(
        &self,
        raw: &Raw,
        environment: &Environment,
    ) -> Result<Option<SchemaRegistry>, ConfigError> {
        let mut topics = raw.topics.iter();
        let encoded = topics.position(|topic| topic.encoding != Encoding::Json);
        let Some(url) = &raw.schema_registry.url else {
            return match encoded {
                None => Ok(None),
                Some(i) => Err(self.bad(
                    &format!("topics[{i}].encoding"),
                    "messages in Avro or Protobuf need the `url` of a [schema_registry]",
                )),
            };
        };
        let is_address = ["http://", "https://"].iter().any(|scheme| {
            let rest = url.strip_prefix(scheme);
            rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['@', '?', '#', ' ']))
        });
        if !is_address {
            return Err(self.bad(
                "schema_registry.url",
                // Not what was written, where it may hold a password.
                match url.contains('@') {
                    true => "write the registry's address like http://127.0.0.1:8081, and the user beside it, as `username` and `password_file`".to_owned(),
                    false => format!("`{url}`; write the registry's address like http://127.0.0.1:8081"),
                },
            ));
        }
        let password = self.secret(
            "schema_registry.password_file",
            "DEALPULSE_SCHEMA_REGISTRY_PASSWORD",
            raw.schema_registry.password_file.as_deref(),
            environment,
        )?;
        let certificates = match &raw.schema_registry.ca_file {
            None => None,
            Some(file) => Some(std::fs::read_to_string(file).map_err(|error| {
                let problem = format!(
                    "{}: {error}; write certificates there, in PEM",
                    file.display()
                );
                self.bad("schema_registry.ca_file", problem)
            })?),
        };
        Ok(Some(SchemaRegistry {
            certificates,
            url: url.trim_end_matches('/').to_owned(),
            username: raw.schema_registry.username.clone(),
            password: password.unwrap_or_default(),
        }))
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
                    "{}: {error}; put it there, or into {variable}",
                    file.display()
                ),
            )
        })?;
        Ok(Some(text.trim_end_matches(['\n', '\r']).to_owned()))
    }
}

/// The line a key like `topics[1].name` is on: that of its table where the key itself is not
/// written.
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
