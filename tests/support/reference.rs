//! What the same messages come to in memory: read back from Kafka, so that they bear the same
//! origins, and folded without any engine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dealpulse::clickhouse::{ClickHouse, migrate};
use dealpulse::config::Gauges;
use dealpulse::definitions::DefinitionsSpec;
use dealpulse::event::decode::{Context, cloudevents};
use dealpulse::metric::{QueryPlan, versions};
use dealpulse::pipeline::route::partition_by_home;
use dealpulse::pipeline::run_to_completion::run_to_completion;
use dealpulse::pipeline::{Epoch, Row, Store};
use dealpulse::record::{Entity, topic_number};
use dealpulse::serve::metrics::business;
use dealpulse::serve::model::{Snapshot, Top};
use dealpulse::telemetry::wall_clock;
use dealpulse::window::rolling::{Now, ROLLING};
use prometheus::TextEncoder;
use rdkafka::consumer::Consumer;
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::{Message, Timestamp};

use super::clients::{TIMEOUT, consumer, offsets};
use super::pipeline::{Setup, blocking, business_lines};
use super::pure::Pure;

/// The most values of a dimension that gauges show, as `[serve] top` has it by default.
const TOP: usize = 20;

/// A message as stored in Kafka.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredMessage {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub timestamp: Timestamp,
    pub key: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl StoredMessage {
    fn new(message: &BorrowedMessage<'_>) -> Self {
        let headers = message
            .headers()
            .into_iter()
            .flat_map(|headers| headers.iter());
        StoredMessage {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp(),
            key: message.key().map(<[u8]>::to_vec),
            payload: message.payload().map(<[u8]>::to_vec),
            headers: headers
                .map(|header| {
                    (
                        header.key.to_owned(),
                        header.value.unwrap_or_default().to_vec(),
                    )
                })
                .collect(),
        }
    }

    /// A header's value as text.
    pub fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }
}

/// Everything a topic holds, partition by partition.
pub async fn read_all(brokers: &str, topic: &str) -> Vec<StoredMessage> {
    let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
    blocking(move || {
        let consumer = consumer(&brokers, "reader");
        let metadata = consumer
            .fetch_metadata(Some(&topic), TIMEOUT)
            .expect("metadata");
        let partitions: Vec<i32> = metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions())
            .map(|partition| partition.id())
            .collect();
        let mut messages = Vec::new();
        for partition in partitions {
            let (low, high) = consumer
                .fetch_watermarks(&topic, partition, TIMEOUT)
                .expect("watermarks");
            consumer
                .assign(&offsets(&topic, [(partition, low)]))
                .expect("an assignment");
            let (mut next, deadline) = (low, Instant::now() + TIMEOUT);
            while next < high {
                assert!(
                    Instant::now() < deadline,
                    "{topic}/{partition}: read to {next} of {high}"
                );
                if let Some(message) = consumer.poll(Duration::from_millis(100)) {
                    let message = message.expect("a message");
                    next = message.offset() + 1;
                    messages.push(StoredMessage::new(&message));
                }
            }
        }
        messages
    })
    .await
}

/// A pipeline's input, folded in memory.
pub struct Reference {
    pub pure: Pure,
    /// Items that could be decoded.
    pub asserted: usize,
    /// Items that could not, as (topic, partition, offset, index).
    pub rejected: Vec<(String, i32, i64, u32)>,
}

impl Reference {
    /// Reads the messages of the input topics of a pipeline and folds it.
    pub async fn of(setup: &Setup) -> Reference {
        let mut messages = Vec::new();
        for topic in &setup.topics {
            messages.extend(read_all(&setup.brokers, topic).await);
        }
        let spec = DefinitionsSpec {
            time_zone: setup.time_zone.clone(),
            metrics: setup.metrics(),
            ..DefinitionsSpec::default()
        };
        let mut reference = Reference {
            pure: Pure::new(setup.shards, spec).await,
            asserted: 0,
            rejected: Vec::new(),
        };
        for chunk in messages.chunks(700) {
            let mut assertions = Vec::new();
            for message in chunk {
                let decoded = decode(message, setup.namespace);
                reference.asserted += decoded.assertions.len();
                let position = |index| {
                    (
                        message.topic.clone(),
                        message.partition,
                        message.offset,
                        index,
                    )
                };
                reference.rejected.extend(
                    decoded
                        .rejected
                        .iter()
                        .map(|rejected| position(rejected.index)),
                );
                assertions.extend(decoded.assertions);
            }
            let routed = partition_by_home(&assertions, reference.pure.log.partitions());
            // The broker's log takes them today, too: so the same hours are kept.
            reference.pure.log.append_at(routed, wall_clock());
        }
        let Pure {
            owners, log, store, ..
        } = &mut reference.pure;
        run_to_completion(owners, 1, log, store, versions)
            .await
            .expect("settling");
        reference
    }

    /// How many assertions its shards folded, aliases at every shard among them.
    pub fn folded(&self) -> u64 {
        self.pure
            .owners
            .iter()
            .map(|owner| owner.shard().counters().assertions)
            .sum()
    }

    /// Writes its cells and records into a database of their own, to be queried as the pipeline's
    /// are.
    pub async fn write(&self, clickhouse: &ClickHouse) {
        let definitions = self.pure.definitions.spec.clone();
        migrate::migrate(clickhouse, &self.pure.definitions)
            .await
            .expect("a database");
        let epoch = Epoch::first(definitions, self.pure.log.partitions());
        clickhouse.put_epoch(&epoch).await.expect("an epoch");
        let cells = self.pure.store.cells().into_values();
        let cells: Vec<Row<_>> = cells.map(Row::single).collect();
        clickhouse.insert_cells(&cells).await.expect("cells");
        let records: Vec<Row<_>> = self.pure.store.record_rows().into_values().collect();
        clickhouse
            .insert_records(1, &records)
            .await
            .expect("records");
    }

    /// The business gauges as they must be now.
    pub fn gauges(&self) -> Vec<String> {
        let (now, definitions) = (wall_clock(), self.pure.definitions.clone());
        let at = Now {
            now,
            watermark: now,
        };
        let plan = QueryPlan::new(ROLLING.to_vec(), at, &definitions);
        let mut sums = self.pure.sums(&plan);
        let mut reading = sums.read(&plan, &definitions);
        let top = Top::of(&reading, &definitions, TOP);
        let is_shown = |set: usize, values: &[String]| top.place(set, values).is_some();
        reading.add(sums.read_others(&plan, &definitions, is_shown));
        let snapshot = Snapshot {
            reading: Arc::new(reading),
            definitions,
            epoch: 1,
            as_of: now,
            watermark: Some(now),
            read_at: Instant::now(),
            top: Arc::new(top),
            gauges: Gauges::default(),
            side: Arc::default(),
        };
        business_lines(
            &TextEncoder::new()
                .encode_to_string(&business(&snapshot))
                .expect("text"),
        )
    }
}

fn decode<'m>(
    message: &'m StoredMessage,
    namespace: Option<&'m str>,
) -> dealpulse::event::decode::Decoded<'m> {
    let headers: Vec<(&str, &[u8])> = message
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_slice()))
        .collect();
    let (timestamp, is_append_time) = match message.timestamp {
        Timestamp::NotAvailable => (None, false),
        Timestamp::CreateTime(ms) => (Some(ms * 1_000), false),
        Timestamp::LogAppendTime(ms) => (Some(ms * 1_000), true),
    };
    let context = Context {
        schema: &dealpulse::record::SCHEMA,
        topic: topic_number(&message.topic),
        namespace,
        partition: message.partition as u32,
        offset: message.offset as u64,
        attempt: 0,
        timestamp,
        is_append_time,
        now: wall_clock(),
        limit: 1 << 20,
    };
    cloudevents::decode(message.payload.as_deref(), &headers, &context)
}

/// All readable columns of a database's facts and the whole state of each record, a line each, of
/// the log that is current.
pub async fn fact_lines(clickhouse: &ClickHouse) -> Vec<String> {
    let mut lines = Vec::new();
    for (_, table) in
        dealpulse::clickhouse::fact_tables().filter(|(entity, _)| *entity != Entity::EPOCH)
    {
        let sql = format!(
            "SELECT '{table}', * EXCEPT (generation, version, state), hex(state) FROM {table} FINAL \
             WHERE generation = (SELECT generation FROM current_epoch) ORDER BY shard, id"
        );
        let text = clickhouse
            .fetch("reading the facts", &sql, "TSV")
            .await
            .expect("the facts");
        lines.extend(String::from_utf8_lossy(&text).lines().map(str::to_owned));
    }
    lines
}

/// Panics with the first lines in which two answers differ.
pub fn assert_same(what: &str, expected: &[String], found: &[String]) {
    if expected == found {
        return;
    }
    let known: std::collections::BTreeSet<&String> = expected.iter().collect();
    let seen: std::collections::BTreeSet<&String> = found.iter().collect();
    let show = |lines: Vec<&&String>| {
        lines
            .iter()
            .take(6)
            .map(|line| format!("  {}", line.chars().take(400).collect::<String>()))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let (missing, extra): (Vec<_>, Vec<_>) = (
        known.difference(&seen).collect(),
        seen.difference(&known).collect(),
    );
    panic!(
        "{what}: {} lines expected, {} found; {} are missing:\n{}\n{} should not be there:\n{}",
        expected.len(),
        found.len(),
        missing.len(),
        show(missing),
        extra.len(),
        show(extra)
    );
}

/// `dealpulse reconcile` compares at least so many cells, and finds nothing that differs, nor
/// anything it could not judge.
pub async fn assert_reconciled(setup: &Setup, at_least: u64) {
    let output = setup.ask("reconcile", &["--json"]).await;
    let (stdout, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}: {stdout}\n{errors}",
        setup.name
    );
    let found: serde_json::Value =
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"));
    assert!(
        found["cells"]
            .as_u64()
            .is_some_and(|cells| cells >= at_least),
        "{}: {stdout}",
        setup.name
    );
    assert_eq!(
        (&found["differing"], &found["in_motion"]),
        (&0.into(), &0.into()),
        "{}: {stdout}",
        setup.name
    );
}
