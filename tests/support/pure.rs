//! The pipeline over a log and a store in memory: the whole protocol, without an engine.

use std::collections::HashMap;
use std::sync::Arc;

use dealpulse::definitions::DefinitionsSpec;
use dealpulse::event::decode::{Context, cloudevents};
use dealpulse::metric::{Catalogue, MetricValues, QueryPlan, Sums, versions};
use dealpulse::pipeline::memory::{MemoryLog, MemoryStore};
use dealpulse::pipeline::owner::Owner;
use dealpulse::pipeline::restart::restore;
use dealpulse::pipeline::route::partition_by_home;
use dealpulse::pipeline::run_to_completion::run_to_completion;
use dealpulse::pipeline::{Epoch, Log, Store};
use dealpulse::record::topic_number;
use dealpulse::window::rolling::{Now, Window};

/// A settled pipeline.
pub struct Pure {
    pub definitions: Arc<Catalogue>,
    pub log: MemoryLog,
    pub store: MemoryStore,
    pub owners: Vec<Owner>,
}

/// Where a test's line was read, so that duplicates can come at new offsets.
pub fn context(offset: u64) -> Context<'static> {
    Context {
        schema: &dealpulse::record::SCHEMA,
        topic: topic_number("test"),
        namespace: None,
        partition: 0,
        offset,
        attempt: 0,
        timestamp: None,
        is_append_time: false,
        now: i64::MAX / 2,
        limit: 1 << 20,
    }
}

impl Pure {
    pub async fn new(shards: u32, spec: DefinitionsSpec) -> Pure {
        Pure::with(
            shards,
            &Arc::new(Catalogue::new(spec).expect("the test's definitions")),
        )
        .await
    }

    pub async fn with(shards: u32, definitions: &Arc<Catalogue>) -> Pure {
        let definitions = definitions.clone();
        let mut pure = Pure {
            definitions,
            log: MemoryLog::new(shards),
            store: MemoryStore::default(),
            owners: Vec::new(),
        };
        pure.store
            .put_epoch(&Epoch::first(pure.definitions.spec.clone(), shards))
            .await
            .expect("an epoch");
        pure.restart().await;
        pure
    }

    /// Forgets all owners and restores them from the store.
    pub async fn restart(&mut self) {
        self.owners.clear();
        for shard in 0..self.log.partitions() {
            self.owners.push(
                restore(shard, 1, &self.log, &self.store, versions)
                    .await
                    .expect("a restart"),
            );
        }
    }

    /// Routes lines, a log message for so many at a time, and folds all.
    pub async fn feed<'l>(
        &mut self,
        lines: impl Iterator<Item = (u64, &'l str)>,
        at_a_time: usize,
    ) {
        let lines: Vec<(u64, &str)> = lines.collect();
        for chunk in lines.chunks(at_a_time.max(1)) {
            let mut assertions = Vec::new();
            for (offset, line) in chunk {
                let decoded = cloudevents::decode(Some(line.as_bytes()), &[], &context(*offset));
                assert!(
                    decoded.rejected.is_empty(),
                    "{line}: {:?}",
                    decoded.rejected
                );
                assertions.extend(decoded.assertions);
            }
            self.log
                .append(partition_by_home(&assertions, self.log.partitions()))
                .await
                .expect("the log");
        }
        run_to_completion(&mut self.owners, 1, &self.log, &self.store, versions)
            .await
            .expect("settling");
    }

    /// The last instant of history (µs).
    pub fn last_instant(&self) -> i64 {
        self.owners
            .iter()
            .filter_map(|o| o.shard().last_instant())
            .max()
            .unwrap_or_default()
    }

    /// Every figure of all time: metric, group, figure.
    pub fn all_time(&self) -> serde_json::Value {
        let end = self.last_instant();
        let mut report = self
            .read(
                vec![Window::All],
                Now {
                    now: end,
                    watermark: end,
                },
            )
            .to_json(&self.definitions);
        let metrics = report
            .as_object_mut()
            .expect("an object of metrics")
            .values_mut();
        metrics.for_each(|windows| *windows = windows["all"].take());
        report
    }

    /// What all metrics read out of the stored rollups.
    pub fn read(&self, windows: Vec<Window>, now: Now) -> MetricValues {
        let plan = QueryPlan::new(windows, now, &self.definitions);
        self.sums(&plan).read(&plan, &self.definitions)
    }

    /// The sums that all metrics are read from.
    pub fn sums(&self, plan: &QueryPlan) -> Sums {
        let rollups: HashMap<&str, u8> = self
            .definitions
            .rollups()
            .iter()
            .enumerate()
            .map(|(i, r)| (&*r.name, i as u8))
            .collect();
        let sets: HashMap<String, u8> = (0..self.definitions.sets.len())
            .map(|i| (self.definitions.set_name(i), i as u8))
            .collect();
        let mut sums = Sums::default();
        for row in self.store.cells().values() {
            for range in plan.ranges_of(row.row.pane) {
                sums.add(
                    range,
                    rollups[row.row.rollup.as_str()],
                    sets[&row.row.grouping],
                    row.row.values.clone(),
                    row.row.currency.clone(),
                    &row.row.cell,
                );
            }
        }
        sums
    }
}
