//! A pipeline's database in the embedded engine, filled by the protocol of production from a log in
//! memory: what commands look at that ask the database alone.

use std::process::Output;
use std::sync::Arc;

use dealpulse::clickhouse::{ClickHouse, migrate};
use dealpulse::definitions::DefinitionsSpec;
use dealpulse::event::decode::{Context, cloudevents};
use dealpulse::local::clickhouse_child::ClickhouseChild;
use dealpulse::local::generate::{Generator, GeneratorConfig};
use dealpulse::metric::{Catalogue, versions};
use dealpulse::pipeline::memory::MemoryLog;
use dealpulse::pipeline::owner::Owner;
use dealpulse::pipeline::restart::restore;
use dealpulse::pipeline::route::partition_by_home;
use dealpulse::pipeline::run_to_completion::run_to_completion;
use dealpulse::pipeline::{Epoch, Log, Store};
use dealpulse::record::Home;

use super::clickhouse::spawn;
use super::pipeline::Setup;
use super::pure::context;

pub struct Stored {
    pub setup: Setup,
    pub clickhouse: ClickHouse,
    pub definitions: Arc<Catalogue>,
    log: MemoryLog,
    owners: Vec<Owner>,
    next: u64,
    _child: ClickhouseChild,
}

impl Stored {
    /// An empty database of `name`, in an engine of its own.
    pub async fn new(name: &str) -> Stored {
        Stored::with(name, DefinitionsSpec::default()).await
    }

    /// The same with these definitions but for the time zone.
    pub async fn with(name: &str, definitions: DefinitionsSpec) -> Stored {
        let child = spawn(None);
        let setup = Setup::new(name, "127.0.0.1:1", &child.url(), &["crm.events"]);
        let clickhouse = setup.store();
        let spec = DefinitionsSpec {
            time_zone: setup.time_zone.clone(),
            ..definitions
        };
        let catalogue = Catalogue::new(spec.clone()).unwrap();
        migrate::migrate(&clickhouse, &catalogue)
            .await
            .expect("a database");
        clickhouse
            .put_epoch(&Epoch::first(spec.clone(), setup.shards))
            .await
            .expect("an epoch");
        let definitions = Arc::new(Catalogue::new(spec).expect("the test's definitions"));
        let mut stored = Stored {
            log: MemoryLog::new(setup.shards),
            setup,
            clickhouse,
            definitions,
            owners: Vec::new(),
            next: 0,
            _child: child,
        };
        stored.restart().await;
        stored
    }

    /// Forgets all owners and restores them from the database.
    pub async fn restart(&mut self) {
        self.owners.clear();
        for shard in 0..self.setup.shards {
            let restored = restore(shard, 1, &self.log, &self.clickhouse, versions).await;
            self.owners.push(restored.expect("a shard"));
        }
    }

    pub fn owners(&self) -> &[Owner] {
        &self.owners
    }

    /// Folds events and flushes them, and the links they lead to.
    pub async fn feed(&mut self, lines: &[String]) {
        let messages = self.messages(lines);
        self.log.append(messages).await.expect("the log");
        self.fold().await;
    }

    /// The same, the log taking them at an instant.
    pub async fn feed_at(&mut self, instant: &str, lines: &[String]) {
        let instant = chrono::DateTime::parse_from_rfc3339(instant).expect("an instant");
        let messages = self.messages(lines);
        self.log.append_at(messages, instant.timestamp_micros());
        self.fold().await;
    }

    fn messages(&mut self, lines: &[String]) -> Vec<(Home, Vec<u8>)> {
        let mut assertions = Vec::new();
        for line in lines {
            let context = Context {
                namespace: self.setup.namespace,
                ..context(self.next)
            };
            let decoded = cloudevents::decode(Some(line.as_bytes()), &[], &context);
            assert!(
                decoded.rejected.is_empty(),
                "{line}: {:?}",
                decoded.rejected
            );
            assertions.extend(decoded.assertions);
            self.next += 1;
        }
        partition_by_home(&assertions, self.setup.shards)
    }

    async fn fold(&mut self) {
        run_to_completion(&mut self.owners, 1, &self.log, &self.clickhouse, versions)
            .await
            .expect("settling");
    }

    /// Runs a statement.
    pub async fn execute(&self, sql: &str) {
        self.clickhouse
            .execute("tampering", sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// The only row of a query, as texts.
    pub async fn row(&self, sql: &str) -> Vec<String> {
        let text = self
            .clickhouse
            .fetch("asking for a test", sql, "TSV")
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        let text = String::from_utf8_lossy(&text).into_owned();
        assert_eq!(text.lines().count(), 1, "{sql}: {text}");
        text.trim_end().split('\t').map(str::to_owned).collect()
    }
}

/// The exit code of a command, and what it printed.
pub fn code_and_output(output: &Output) -> (i32, String) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let code = output
        .status
        .code()
        .unwrap_or_else(|| panic!("ended by a signal: {text}"));
    (
        code,
        if code == 1 {
            String::from_utf8_lossy(&output.stderr).into_owned()
        } else {
            text
        },
    )
}

/// The events of a generated organisation.
pub fn generated(deals: u64) -> Vec<String> {
    let config = GeneratorConfig {
        seed: 5,
        deals,
        ..GeneratorConfig::default()
    };
    Generator::new(config)
        .map(|event| String::from_utf8_lossy(&event.payload).into_owned())
        .collect()
}
