//! The feed: generated events into a topic, for demonstrations and tests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext};

use super::client::{self, heard, outside};
use super::producer::Polled;
use crate::config::Kafka;
use crate::local::generate::GeneratedEvent;
use crate::pipeline::OutsideError;

/// Counts what Kafka did not take.
#[derive(Default)]
struct Deliveries {
    failed: AtomicU64,
}

heard!(Deliveries);

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result
            && self.failed.fetch_add(1, Ordering::Relaxed) == 0
        {
            tracing::warn!(%error, "an event was not taken; others may follow it");
        }
    }
}

/// A producer of events to one topic.
pub struct Feed {
    producer: Polled<Deliveries>,
    topic: String,
}

impl Feed {
    /// A feed of `topic`.
    ///
    /// # Errors
    /// If the properties make no producer.
    pub fn new(kafka: &Kafka, topic: &str) -> Result<Feed, OutsideError> {
        let producer = Polled::new(&client::producer(kafka), Deliveries::default())
            .map_err(|error| outside("setting up the feed", error))?;
        Ok(Feed {
            producer,
            topic: topic.to_owned(),
        })
    }

    /// Sends one event, keyed by its record. Waits while the queue is full.
    ///
    /// # Errors
    /// What Kafka refuses for good.
    pub fn send(&self, event: &GeneratedEvent) -> Result<(), OutsideError> {
        loop {
            let record = BaseRecord::to(&self.topic)
                .key(&event.key)
                .payload(&event.payload)
                .timestamp(event.emitted_at / 1_000);
            match self.producer.client().send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    std::thread::sleep(Duration::from_millis(5))
                }
                Err((error, _)) => {
                    return Err(outside(format!("writing to `{}`", self.topic), error));
                }
            }
        }
    }

    /// Waits until everything sent is acknowledged.
    ///
    /// # Errors
    /// If it is not within a minute, or something was refused.
    pub fn finish(&self) -> Result<(), OutsideError> {
        let doing = || format!("writing to `{}`", self.topic);
        let client = self.producer.client();
        client
            .flush(Duration::from_secs(60))
            .map_err(|error| outside(doing(), error))?;
        match client.context().failed.load(Ordering::Relaxed) {
            0 => Ok(()),
            failed => Err(OutsideError::transient(
                doing(),
                format!("{failed} events were not taken"),
            )),
        }
    }
}
