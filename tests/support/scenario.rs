//! A pipeline's way through the engines, from events sent to metrics compared, and a ClickHouse
//! that can be killed and suspended meanwhile.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta};
use dealpulse::clickhouse::ClickHouse;
use dealpulse::local::generate::{Faults, GeneratedEvent, Generator, GeneratorConfig};
use dealpulse::pipeline::Store;
use dealpulse::pipeline::epochs::current;
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::clickhouse::DEALPULSE;
use super::clients;
use super::kafka::Watchdog;
use super::pipeline::{Engines, Pipeline, Setup, database, engines, signal};
use super::reference::{Reference, assert_reconciled, assert_same, fact_lines};

/// Half a year of an organisation up to now, with every fault a feed can have: so many events, in
/// the order of publication.
pub fn events(count: usize) -> Vec<GeneratedEvent> {
    let now =
        DateTime::from_timestamp_micros(dealpulse::telemetry::wall_clock()).expect("the present");
    let organisation = Generator::new(GeneratorConfig {
        seed: 11,
        // About 22 events come of a deal; a few more than needed, of which the last are taken.
        deals: count as u64 / 19,
        start: now - TimeDelta::days(180),
        end: now,
        faults: Faults {
            late: 50,
            disordered: 100,
            duplicate: 50,
            corrected: 100,
            reopened: 100,
        },
        ..GeneratorConfig::default()
    });
    let mut all: Vec<GeneratedEvent> = organisation.collect();
    assert!(all.len() >= count, "{} events of {count}", all.len());
    all.split_off(all.len() - count)
}

/// A part of events, in as many parts as there are stages.
pub fn stage(events: &[GeneratedEvent], number: usize, of: usize) -> &[GeneratedEvent] {
    let length = events.len().div_ceil(of);
    &events[(number * length).min(events.len())..((number + 1) * length).min(events.len())]
}

/// A pipeline's way through the engines: its topics, and its settings.
pub struct Scenario {
    /// Kept for as long as the scenario is run.
    engines: Arc<Engines>,
    pub setup: Setup,
}

impl Scenario {
    /// Two input topics, one of them stamped by the broker, several partitions each.
    pub async fn new(name: &str) -> Scenario {
        let engines = engines().await;
        let topics = [format!("{name}.eu"), format!("{name}.us")];
        engines.kafka.create_topic(&topics[0], 3, &[]).await;
        engines
            .kafka
            .create_topic(
                &topics[1],
                2,
                &[("message.timestamp.type", "LogAppendTime")],
            )
            .await;
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let setup = Setup::new(
            name,
            &engines.kafka.bootstrap(),
            &engines.clickhouse.url(),
            &names,
        );
        Scenario { engines, setup }
    }

    /// Sends events to either topic and any partition, whatever record they are of.
    pub async fn send(&self, events: &[GeneratedEvent]) {
        let producer: FutureProducer = clients::client(&self.setup.brokers)
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .create()
            .expect("a producer");
        // Below what the producer's queue holds.
        for (number, part) in events.chunks(50_000).enumerate() {
            let deliveries = part.iter().enumerate().map(|(i, event)| {
                let (topic, partition) =
                    [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2)][(i + number) * 7 % 5];
                let record = FutureRecord::to(&self.setup.topics[topic])
                    .partition(partition)
                    .key("any")
                    .payload(&event.payload);
                producer
                    .send_result(record.timestamp(event.emitted_at / 1_000))
                    .unwrap_or_else(|(error, _)| panic!("{error}"))
            });
            for delivered in deliveries.collect::<Vec<_>>() {
                delivered
                    .await
                    .expect("the producer lives")
                    .expect("a delivery");
            }
        }
    }

    /// The first log is deleted with all its messages, and created again.
    pub async fn recreate_log(&self) {
        let settings = [
            ("cleanup.policy", "delete"),
            ("message.timestamp.type", "LogAppendTime"),
            ("retention.ms", "-1"),
        ];
        self.engines
            .kafka
            .delete_topic(&self.setup.log_topic())
            .await;
        self.engines
            .kafka
            .create_topic(&self.setup.log_topic(), self.setup.shards as i32, &settings)
            .await;
    }

    /// Cells, records and the gauges of an instance are those of the reference.
    pub async fn assert_as_in_memory(&self, pipeline: &Pipeline) -> Reference {
        let Setup {
            name, clickhouse, ..
        } = &self.setup;
        let (reference, store) = (Reference::of(&self.setup).await, self.setup.store());
        assert!(
            reference.asserted > 0 && reference.rejected.is_empty(),
            "{} items can't be decoded",
            reference.rejected.len()
        );
        let expected = database(clickhouse, &format!("{name}_expected"));
        // What was expected at an earlier time had other versions.
        let forget = format!("DROP DATABASE IF EXISTS {name}_expected");
        store
            .execute("forgetting", &forget)
            .await
            .expect("the engine answers");
        reference.write(&expected).await;
        let lines = async |database: &ClickHouse| {
            let epochs = database.epochs().await.expect("the epochs");
            database
                .cell_lines(current(&epochs).expect("a current epoch").epoch)
                .await
                .expect("the cells")
        };
        assert_same(
            &format!("{name}: cells"),
            &lines(&expected).await,
            &lines(&store).await,
        );
        assert_same(
            &format!("{name}: facts"),
            &fact_lines(&expected).await,
            &fact_lines(&store).await,
        );
        assert_reconciled(&self.setup, 1_000).await;
        self.assert_gauges(&reference, pipeline).await;
        reference
    }

    /// The gauges are read every half second and cut at the hour, so they may be a moment behind.
    async fn assert_gauges(&self, reference: &Reference, pipeline: &Pipeline) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let (expected, found) = (reference.gauges(), pipeline.metrics().business());
            assert!(expected.len() > 500, "only {} gauges", expected.len());
            if expected == found {
                return;
            }
            if Instant::now() > deadline {
                assert_same(&format!("{}: gauges", self.setup.name), &expected, &found);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// A ClickHouse of its own, on a port and a directory that outlive it.
pub struct Clickhouse {
    process: Child,
    watchdog: Watchdog,
}

impl Clickhouse {
    pub fn start(port: u16, directory: &Path) -> Clickhouse {
        let mut command = Command::new(DEALPULSE);
        command
            .args([
                "clickhouse-local",
                "--port",
                &port.to_string(),
                "--data-dir",
            ])
            .arg(directory)
            .stdout(Stdio::null());
        let process = command.spawn().expect("the engine can be started");
        let watchdog = Watchdog::over(&process);
        Clickhouse { process, watchdog }
    }

    /// Suspends it (SIGSTOP): its connections stay, and nothing is answered.
    pub fn freeze(&self) {
        signal(&self.process, "-STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        signal(&self.process, "-CONT");
    }
}

impl Drop for Clickhouse {
    /// As a crash would end it.
    fn drop(&mut self) {
        self.watchdog.dismiss();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
