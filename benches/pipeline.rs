//! What the pipeline can do, in figures: the pure path on one core, the whole of it through real Kafka, and memory a deal.
//!
//! `make bench` prints them. Each timing is the median of several runs with the least and the greatest beside it.

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use dealpulse::definitions::{Definitions, DefinitionsSpec};
use dealpulse::event::decode::{Context, cloudevents};
use dealpulse::local::generate::{GeneratedEvent, Generator, GeneratorConfig};
use dealpulse::record::Entity;
use dealpulse::shard::Shard;

const RUNS: usize = 5;

fn main() {
    let deals: u64 = std::env::var("DEALPULSE_BENCH_DEALS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(20_000);
    let events: Vec<GeneratedEvent> = Generator::new(GeneratorConfig {
        deals,
        ..GeneratorConfig::default()
    })
    .collect();
    println!(
        "{} events of about {deals} deals, {} bytes each in the mean",
        events.len(),
        events.iter().map(|e| e.payload.len()).sum::<usize>() / events.len()
    );

    let decoded = rates(events.len(), || decode_all(&events));
    report("decode, one core", &decoded);
    let folded = rates(events.len(), || drop(fold_all(&events)));
    report(
        "decode + fold + contributions, one core (goal to come: 800,000/s)",
        &folded,
    );
    memory(&fold_all(&events));
    if std::env::args().any(|argument| argument == "--whole") {
        whole::run(&events);
    }
}

fn definitions() -> Arc<Definitions> {
    let spec = DefinitionsSpec {
        time_zone: "Europe/Berlin".into(),
        ..DefinitionsSpec::default()
    };
    Arc::new(Definitions::new(spec).expect("the default definitions"))
}

fn context(offset: usize) -> Context<'static> {
    support::pure::context(offset as u64)
}

fn decode_all(events: &[GeneratedEvent]) {
    for (offset, event) in events.iter().enumerate() {
        std::hint::black_box(cloudevents::decode(
            Some(&event.payload),
            &[],
            &context(offset),
        ));
    }
}

/// Folds all events into one shard, in messages of a hundred events, and takes what was touched every ten thousand.
fn fold_all(events: &[GeneratedEvent]) -> Shard {
    let mut shard = Shard::new(&[(1, definitions())]);
    for (number, chunk) in events.chunks(100).enumerate() {
        let mut assertions = Vec::with_capacity(100);
        for (i, event) in chunk.iter().enumerate() {
            assertions.extend(
                cloudevents::decode(Some(&event.payload), &[], &context(number * 100 + i))
                    .assertions,
            );
        }
        shard.fold_assertions(number as u64 + 1, 0, &assertions);
        if number % 100 == 99 {
            std::hint::black_box(shard.take_touched());
        }
    }
    shard
}

fn rates(events: usize, run: impl Fn()) -> Vec<f64> {
    run(); // not counted: it fills caches and tables
    let mut rates: Vec<f64> = (0..RUNS)
        .map(|_| {
            let started = Instant::now();
            run();
            events as f64 / started.elapsed().as_secs_f64()
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    rates
}

fn report(what: &str, rates: &[f64]) {
    println!(
        "{what}: {:.0} events/s (median of {}, {:.0} to {:.0})",
        rates[rates.len() / 2],
        rates.len(),
        rates[0],
        rates[rates.len() - 1]
    );
}

fn memory(shard: &Shard) {
    let deals = shard.record_count(Entity::DEAL);
    println!(
        "records held: {} leads, {deals} deals, {} accounts",
        shard.record_count(Entity::LEAD),
        shard.record_count(Entity::ACCOUNT)
    );
    println!(
        "bytes a deal: {} in its record (goal to come: 400); all state ÷ deals: {}",
        shard.record_bytes(Entity::DEAL) / deals.max(1),
        shard.bytes() / deals.max(1)
    );
}

/// The whole pipeline, through Apache Kafka and the embedded ClickHouse.
mod whole {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(300);

    pub fn run(events: &[GeneratedEvent]) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let mut rates: Vec<f64> = (0..3).map(|_| runtime.block_on(once(events))).collect();
        rates.sort_by(f64::total_cmp);
        report(
            "through real Kafka into ClickHouse, from the start of `run` until all is folded and flushed (goal to come: 350,000/s)",
            &rates,
        );
    }

    async fn once(events: &[GeneratedEvent]) -> f64 {
        let kafka = support::kafka::Kafka::start().await;
        kafka.create_topic("crm.events", 4, &[]).await;
        kafka
            .produce(
                "crm.events",
                None,
                events
                    .iter()
                    .map(|event| (event.key.clone(), event.payload.clone())),
            )
            .await;
        let clickhouse = support::clickhouse::spawn(None);
        let config = format!(
            "version = 1\n[kafka]\nbrokers = \"{}\"\n[[topics]]\nname = \"crm.events\"\n[log]\npartitions = 4\nreplication = 1\n\
             [clickhouse]\nurl = \"{}\"\n[serve]\nlisten = \"127.0.0.1:0\"\n",
            kafka.bootstrap(),
            clickhouse.url()
        );
        let config = dealpulse::config::Config::parse(
            &config,
            std::path::Path::new("bench"),
            &Default::default(),
        )
        .expect("a configuration");
        let started = Instant::now();
        let pipeline =
            dealpulse::cli::run::Pipeline::start(config, dealpulse::telemetry::wall_clock)
                .await
                .expect("a pipeline");
        let telemetry = pipeline.telemetry().clone();
        let total = events.len() as u64;
        while telemetry.assertions_folded.get() < total {
            assert!(
                started.elapsed() < LIMIT,
                "the pipeline did not get through"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Stopping flushes the rest, so that what is counted is what is written.
        pipeline.stop().await.expect("an orderly end");
        total as f64 / started.elapsed().as_secs_f64()
    }
}
