//! Telemetry: every metric of the pipeline itself, named once. The gauges of the business are in
//! [`crate::serve::metrics`].

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

use crate::event::decode::Reason;

/// From the log to the rollup, in seconds: a flush a second is the least there can be, an outage
/// the most.
const LATENCY_BUCKETS: [f64; 12] = [
    0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3_600.0,
];
/// One step of a flush, in seconds.
const FLUSH_BUCKETS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
];

/// The present instant (µs). Only the outer layers may call this; nothing that folds does.
pub fn wall_clock() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// The metrics of one instance. Every field is safe to use from any thread.
pub struct Telemetry {
    registry: Registry,
    /// Messages of the input topics that were decoded and sent on, by topic.
    pub events_routed: IntCounterVec,
    /// The time of the newest event of each input topic, in seconds; of the partitions this
    /// instance reads, since it started.
    pub newest_event: GaugeVec,
    /// Assertions acknowledged by the log.
    pub assertions_routed: IntCounter,
    /// Messages, or items of them, that were set aside, by topic and reason.
    pub dead_letters: IntCounterVec,
    /// Unknown fields, by topic. They are not stored in the records.
    pub unknown_fields: IntCounterVec,
    /// Amounts that were rounded to four places, as a mapping allows, by topic, table and column.
    pub amounts_rounded: IntCounterVec,
    /// High watermark − committed offset, by consumer group, topic and partition.
    pub consumer_lag: IntGaugeVec,
    /// Assertions folded, also those that changed nothing.
    pub assertions_folded: IntCounter,
    /// Assertions folded that changed nothing: duplicates, replays, outdated ones.
    pub assertions_unchanged: IntCounter,
    /// Assertions folded that follow from other records, which are not among the others.
    pub derived_folded: IntCounter,
    /// Links folded.
    pub links_folded: IntCounter,
    /// Values above a limit of a record or its shard, which were left out.
    pub values_refused: IntCounter,
    /// Seconds from a message's append to the log to its acknowledgement in the rollups.
    pub end_to_end_latency: Histogram,
    /// Seconds one step of a flush took, by step.
    pub flush: HistogramVec,
    /// Rows handed to the writer, by table; what fails is tried again and counted once.
    pub flush_rows: IntCounterVec,
    /// Steps of flushes that failed for now and were tried again.
    pub flush_retries: IntCounter,
    /// Rows waiting to be written that later ones don't replace.
    pub append_only_rows: IntGauge,
    /// Shards that don't fold because so many rows wait.
    pub shards_backpressured: IntGauge,
    /// Bytes all records, links and cells of the shards owned take in memory.
    pub state_bytes: IntGauge,
    /// Records held, by entity.
    pub records: IntGaugeVec,
    /// Shards this instance owns and folds.
    pub shards_owned: IntGauge,
    /// Shards it owns that stopped and need an operator.
    pub shards_stopped: IntGauge,
    /// 1 while the instance's configuration or version is not the one the current epoch is of, else
    /// 0.
    pub configuration_outdated: IntGauge,
    /// Readings of the read model, by result: `ok`, `failed`.
    pub read_model_refreshes: IntCounterVec,
    /// Cells in which the read model differed from the rollups when all of them were read again.
    pub read_model_differences: IntCounter,
    watermark: Arc<AtomicI64>,
}

impl Telemetry {
    /// All metrics, at zero.
    pub fn new() -> Arc<Telemetry> {
        let registry = Registry::new();
        let names = Names(&registry);
        let watermark = Arc::new(AtomicI64::new(WatermarkAge::UNKNOWN));
        names.register(WatermarkAge::new(watermark.clone()));
        let build = Opts::new(
            "dealpulse_build_info",
            "The version that is running; always 1.",
        )
        .const_label("version", env!("CARGO_PKG_VERSION"));
        names.register(must(Gauge::with_opts(build))).set(1.0);
        let start = names.gauge("start_timestamp_seconds", "When this process started.");
        start.set(wall_clock() / 1_000_000);
        let telemetry = Telemetry {
            events_routed: names.counters(
                "events_routed_total",
                "Messages of the input topics that were decoded and sent on.",
                &["topic"],
            ),
            newest_event: names.gauges_of_seconds(
                "newest_event_timestamp_seconds",
                "The time of the newest event read from the topic since the start.",
                &["topic"],
            ),
            assertions_routed: names.counter(
                "assertions_routed_total",
                "Assertions acknowledged by the log.",
            ),
            dead_letters: names.counters(
                "dead_letters_total",
                "Messages, or items of them, that were set aside.",
                &["topic", "reason"],
            ),
            unknown_fields: names.counters(
                "unknown_fields_total",
                "Fields that no mapping knows.",
                &["topic"],
            ),
            amounts_rounded: names.counters(
                "amounts_rounded_total",
                "Amounts rounded to four places, as the mapping allows.",
                &["topic", "table", "column"],
            ),
            consumer_lag: names.gauges(
                "consumer_lag",
                "Messages not yet committed: high watermark - committed offset.",
                &["group", "topic", "partition"],
            ),
            assertions_folded: names.counter(
                "assertions_folded_total",
                "Assertions folded, also those that changed nothing.",
            ),
            assertions_unchanged: names.counter(
                "assertions_unchanged_total",
                "Assertions that changed nothing: duplicates, replays, outdated ones.",
            ),
            derived_folded: names.counter(
                "derived_folded_total",
                "Assertions folded that follow from other records (field values); not among assertions_folded.",
            ),
            links_folded: names.counter(
                "links_folded_total",
                "Links between records that were folded.",
            ),
            values_refused: names.counter(
                "values_refused_total",
                "Values above a limit of a record or its shard, which were left out.",
            ),
            end_to_end_latency: names.histogram(
                "end_to_end_latency_seconds",
                "From a message's append to the log to its acknowledgement in the rollups.",
                &LATENCY_BUCKETS,
            ),
            flush: names.histograms(
                "flush_seconds",
                "How long a step of a flush took.",
                &["step"],
                &FLUSH_BUCKETS,
            ),
            flush_rows: names.counters(
                "flush_rows_total",
                "Rows handed to the writer.",
                &["table"],
            ),
            flush_retries: names.counter(
                "flush_retries_total",
                "Steps of flushes that failed for now and were tried again.",
            ),
            append_only_rows: names.gauge(
                "append_only_rows",
                "Rows waiting to be written that later ones don't replace.",
            ),
            shards_backpressured: names.gauge(
                "shards_backpressured",
                "Shards that don't fold until ClickHouse has taken the rows that wait.",
            ),
            state_bytes: names.gauge(
                "state_bytes",
                "Bytes the records, links and cells of the shards owned take in memory.",
            ),
            records: names.gauges("records", "Records held.", &["entity"]),
            shards_owned: names.gauge("shards_owned", "Shards this instance owns and folds."),
            shards_stopped: names.gauge(
                "shards_stopped",
                "Shards owned that stopped and need an operator.",
            ),
            configuration_outdated: names.gauge(
                "configuration_outdated",
                "1 while the configuration or version is not the one the current epoch is of.",
            ),
            read_model_differences: names.counter(
                "read_model_differences_total",
                "Cells in which the read model differed from the rollups; it has been corrected.",
            ),
            read_model_refreshes: names.counters(
                "read_model_refreshes_total",
                "Readings of the windows from the rollups.",
                &["result"],
            ),
            watermark,
            registry,
        };
        // A rate of failures needs a zero to rise from.
        for result in ["ok", "failed"] {
            telemetry.read_model_refreshes.with_label_values(&[result]);
        }
        Arc::new(telemetry)
    }

    /// An input topic counts from zero, its events and its dead letters of every reason: a first
    /// burst has a zero to rise from.
    pub fn count_from_zero(&self, topic: &str) {
        self.events_routed.with_label_values(&[topic]);
        for reason in Reason::ALL {
            self.dead_letters.with_label_values(&[topic, reason.name()]);
        }
    }

    /// Up to when (µs) all shards owned here are folded. Its age is computed at every scrape, so
    /// that it grows while nothing moves.
    pub fn set_watermark(&self, micros: i64) {
        self.watermark.store(micros, Ordering::Relaxed);
    }

    /// Events of a topic up to this time (µs) have been read.
    pub fn saw_event(&self, topic: &str, micros: i64) {
        let newest = self.newest_event.with_label_values(&[topic]);
        // Only the thread that routes a topic's messages sets it; several of them may lose a step,
        // which the next event makes good.
        newest.set(newest.get().max(micros as f64 / 1e6));
    }

    /// Every metric that has a value, in order of name.
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}

/// Makes metrics of the family `dealpulse_…` and registers them.
struct Names<'r>(&'r Registry);

impl Names<'_> {
    fn register<C: Collector + Clone + 'static>(&self, collector: C) -> C {
        must(self.0.register(Box::new(collector.clone())));
        collector
    }

    fn opts(name: &str, help: &str) -> Opts {
        Opts::new(format!("dealpulse_{name}"), help)
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(must(IntCounter::with_opts(Self::opts(name, help))))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(must(IntCounterVec::new(Self::opts(name, help), labels)))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(must(IntGauge::with_opts(Self::opts(name, help))))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(must(IntGaugeVec::new(Self::opts(name, help), labels)))
    }

    fn gauges_of_seconds(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.register(must(GaugeVec::new(Self::opts(name, help), labels)))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let opts = HistogramOpts::from(Self::opts(name, help)).buckets(buckets.to_vec());
        self.register(must(Histogram::with_opts(opts)))
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        let opts = HistogramOpts::from(Self::opts(name, help)).buckets(buckets.to_vec());
        self.register(must(HistogramVec::new(opts, labels)))
    }
}

/// Names, labels and buckets are constants of this file, each used once: if the crate takes them in
/// one run, it does in all.
fn must<T>(made: prometheus::Result<T>) -> T {
    made.expect("the names in this file are valid and each is here once")
}

/// How long ago the watermark was, computed when it is read; nothing before there is one.
#[derive(Clone)]
struct WatermarkAge {
    watermark: Arc<AtomicI64>,
    age: Gauge,
}

impl WatermarkAge {
    const UNKNOWN: i64 = i64::MIN;

    fn new(watermark: Arc<AtomicI64>) -> Self {
        let help = "How long ago the time was up to which everything owned here is folded.";
        WatermarkAge {
            watermark,
            age: must(Gauge::with_opts(Names::opts("watermark_age_seconds", help))),
        }
    }
}

impl Collector for WatermarkAge {
    fn desc(&self) -> Vec<&Desc> {
        self.age.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let watermark = self.watermark.load(Ordering::Relaxed);
        if watermark == Self::UNKNOWN {
            return Vec::new();
        }
        self.age
            .set(wall_clock().saturating_sub(watermark) as f64 / 1e6);
        self.age.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_counts_from_zero() {
        let telemetry = Telemetry::new();
        telemetry.count_from_zero("crm.events");
        let zeros = |name: &str| {
            let families = telemetry.gather();
            let family = families.iter().find(|family| family.name() == name);
            family.map_or(0, |family| {
                let counters = family.get_metric().iter();
                counters
                    .filter(|metric| metric.get_counter().get_value() == 0.0)
                    .count()
            })
        };
        assert_eq!(zeros("dealpulse_events_routed_total"), 1);
        assert_eq!(zeros("dealpulse_dead_letters_total"), Reason::ALL.len());
    }

    #[test]
    fn the_newest_event_of_a_topic_never_goes_back() {
        let telemetry = Telemetry::new();
        for micros in [5_000_000, 9_500_000, 7_000_000] {
            telemetry.saw_event("crm.events", micros);
        }
        let newest = telemetry.newest_event.with_label_values(&["crm.events"]);
        assert_eq!(newest.get(), 9.5);
    }

    #[test]
    fn the_age_of_the_watermark_grows_by_itself() {
        let telemetry = Telemetry::new();
        let age = || {
            telemetry
                .gather()
                .iter()
                .find(|f| f.name() == "dealpulse_watermark_age_seconds")
                .map(|f| f.get_metric()[0].get_gauge().get_value())
        };
        assert_eq!(age(), None, "nothing is known before anything was folded");
        telemetry.set_watermark(wall_clock() - 5_000_000);
        let first = age().unwrap();
        assert!((5.0..60.0).contains(&first), "{first}");
        while age().unwrap() <= first {}
    }
}
