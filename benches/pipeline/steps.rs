//! The steps of the path, by the library's own functions: what changes there is followed here and
//! in no other file of the benchmark.

use std::sync::Arc;

use dealpulse::definitions::DefinitionsSpec;
use dealpulse::event::Assertion;
use dealpulse::event::decode::cloudevents;
use dealpulse::local::generate::{GeneratedEvent, Generator, GeneratorConfig};
use dealpulse::metric::Catalogue;
use dealpulse::pipeline::outbox;
use dealpulse::pipeline::route::partition_by_home;
use dealpulse::shard::{OutLink, Outbox, Shard, Touched};

use crate::support;

/// Events in one message of the log; as many as the route puts there at most.
pub const EVENTS_A_MESSAGE: usize = 500;
/// Links in one message of the log; as many as a flush puts there at most.
pub const LINKS_A_MESSAGE: usize = 500;
/// Events between two flushes.
pub const EVENTS_A_FLUSH: usize = 50_000;

/// The definitions of the metrics.
pub fn spec() -> DefinitionsSpec {
    DefinitionsSpec {
        time_zone: "Europe/Berlin".into(),
        ..DefinitionsSpec::default()
    }
}

/// The same, made ready.
pub fn definitions() -> Arc<Catalogue> {
    Arc::new(Catalogue::new(spec()).expect("the default definitions"))
}

/// The metrics that the goals were set with.
pub const FIRST_METRICS: &[&str] = &[
    "lead_source",
    "close_rate",
    "win_rate",
    "upsell",
    "cycle_length",
];

/// The definitions with these metrics only.
pub fn first_metrics() -> Arc<Catalogue> {
    let metrics = FIRST_METRICS.iter().map(|name| (*name).to_owned());
    let spec = DefinitionsSpec {
        metrics: Some(metrics.collect()),
        ..spec()
    };
    Arc::new(Catalogue::new(spec).expect("metrics of this program"))
}

/// The generated workload: what `dealpulse generate` writes.
pub fn generated(deals: u64) -> Vec<GeneratedEvent> {
    let config = GeneratorConfig {
        deals,
        ..GeneratorConfig::default()
    };
    Generator::new(config).collect()
}

/// Leaves the events of leads, deals and accounts, the kinds of records that the goals were set with.
pub fn retain_first_entities(events: &mut Vec<GeneratedEvent>) {
    events.retain(|event| {
        let text = String::from_utf8_lossy(&event.payload);
        ["lead", "deal", "account"]
            .map(|kind| text.contains(&format!(r#""type":"crm.{kind}."#)))
            .contains(&true)
    });
}

/// Decodes events; `first` is the offset of the first.
pub fn decode(events: &[GeneratedEvent], first: usize) -> Vec<Assertion<'_>> {
    let mut assertions = Vec::with_capacity(events.len());
    for (number, event) in events.iter().enumerate() {
        let context = support::pure::context((first + number) as u64);
        assertions.extend(cloudevents::decode(Some(&event.payload), &[], &context).assertions);
    }
    assertions
}

/// Makes messages of the log of what was decoded, all for one shard.
pub fn write(assertions: &[Assertion<'_>]) -> Vec<Vec<u8>> {
    partition_by_home(assertions, 1)
        .into_iter()
        .map(|(_, message)| message)
        .collect()
}

/// Encodes what a shard has to tell as messages of the log, all for one shard, as a flush does.
pub fn messages(outbox: &Outbox, version: u64) -> Vec<Vec<u8>> {
    outbox::messages(std::iter::once((version, outbox)), 1)
        .into_iter()
        .map(|(_, message)| message)
        .collect()
}

/// The same of links alone, so many a message.
pub fn link_messages(links: &[OutLink], version: u64, links_a_message: usize) -> Vec<Vec<u8>> {
    let message = |links: &[OutLink]| {
        let outbox = Outbox {
            links: links.to_vec(),
            ..Outbox::default()
        };
        messages(&outbox, version)
    };
    links.chunks(links_a_message).flat_map(message).collect()
}

/// One shard that is the home of everything, with the offset it is at.
pub struct Fold {
    pub shard: Shard,
    pub version: u64,
    /// When the log took what comes (µs).
    append_time: i64,
}

impl Fold {
    pub fn new() -> Self {
        Fold::with(definitions())
    }

    pub fn with(catalogue: Arc<Catalogue>) -> Self {
        Fold {
            shard: Shard::new(&[(1, catalogue)]),
            version: 0,
            append_time: 0,
        }
    }

    /// The log takes what comes now as soon as these events happened, as it does beside a live
    /// source. History that is read from a topic costs less: its hours are over.
    pub fn come_to(&mut self, events: &[GeneratedEvent]) {
        let last = events.last().map_or(0, |event| event.emitted_at);
        self.append_time = last.max(self.append_time);
    }

    /// Reads and folds one message.
    pub fn fold(&mut self, message: &[u8]) {
        self.version += 1;
        let folded = self.shard.fold(self.version, self.append_time, message);
        folded.expect("a message that was just written");
    }

    /// Decodes and folds events without measuring anything.
    pub fn feed(&mut self, events: &[GeneratedEvent], first: usize) {
        for (number, chunk) in events.chunks(EVENTS_A_MESSAGE).enumerate() {
            self.come_to(chunk);
            let assertions = decode(chunk, first + number * EVENTS_A_MESSAGE);
            for message in write(&assertions) {
                self.fold(&message);
            }
        }
    }

    /// Folds what a flush took out to be told, all of it at home here.
    pub fn fold_outbox(&mut self, outbox: &Outbox) {
        for message in messages(outbox, self.version) {
            self.fold(&message);
        }
    }

    /// Takes flush after flush, and folds what they have to tell, until there is nothing more.
    /// `row` sees all that was taken.
    pub fn settle(&mut self, mut row: impl FnMut(Touched, u64)) {
        loop {
            let mut touched = self.shard.take_touched();
            let outbox = std::mem::take(&mut touched.outbox);
            row(touched, self.version);
            if outbox.is_empty() {
                return;
            }
            self.fold_outbox(&outbox);
        }
    }
}

/// Folds all events with their links, a flush every [`EVENTS_A_FLUSH`]; `row` sees all that was
/// taken.
pub fn fold_all(
    catalogue: Arc<Catalogue>,
    events: &[GeneratedEvent],
    mut row: impl FnMut(Touched, u64),
) -> Shard {
    let mut fold = Fold::with(catalogue);
    for (number, chunk) in events.chunks(EVENTS_A_FLUSH).enumerate() {
        fold.feed(chunk, number * EVENTS_A_FLUSH);
        fold.settle(&mut row);
    }
    fold.shard
}
