//! Dead letters: what could not be decoded, with where it was, why, and its raw bytes. Written
//! before the input offset moves.

mod items;
pub mod read;
mod redaction;
pub mod replay;

use rdkafka::Message;
use rdkafka::producer::FutureRecord;

pub use items::Items;
pub use redaction::Redaction;

use super::client::{self, outside};
use super::origin::{self, Origin, header::PREFIX, owned};
use super::producer::Producer;
use crate::config::{Kafka, Topic};
use crate::event::decode::cloudevents::Header;
use crate::event::decode::{Decoded, Rejected};
use crate::event::feed::avro::Schemas;
use crate::pipeline::OutsideError;

/// The names of the headers a dead letter carries besides those of its message and its
/// [`origin::header`]s.
pub mod header {
    /// The reason's name.
    pub const REASON: &str = "dealpulse-reason";
    /// What exactly was wrong.
    pub const DETAIL: &str = "dealpulse-detail";
    /// The items it stands for, if they are many: [`super::Items::text`].
    pub const ITEMS: &str = "dealpulse-items";
    /// What was taken out of it: [`super::Redaction::name`].
    pub const REDACTED: &str = "dealpulse-redacted";
    /// Makes a message without a value the mark that a dead letter was replayed: `partition:offset`
    /// of the dead letter.
    pub const REPLAYED: &str = "dealpulse-replayed";
}

/// The producers of dead letters, and of replays.
#[derive(Clone)]
pub struct Producers {
    together: Producer,
    alone: Producer,
}

impl Producers {
    /// Producers for a Kafka.
    ///
    /// # Errors
    /// If the properties make no producer.
    pub fn new(kafka: &Kafka) -> Result<Producers, OutsideError> {
        let fail = |error| outside("setting up the producers of dead letters", error);
        let mut config = client::aside(kafka);
        let together = Producer::new(&config).map_err(fail)?;
        config.set("batch.num.messages", "1").set("linger.ms", "0");
        let alone = Producer::new(&config).map_err(fail)?;
        Ok(Producers { together, alone })
    }

    /// The producer for attempt number `attempt`, from 0. A broker refuses a batch as a whole: what
    /// was refused together is tried alone, so that what can't be written does not keep back what
    /// can.
    pub fn attempt(&self, attempt: u32) -> &Producer {
        if attempt == 0 {
            &self.together
        } else {
            &self.alone
        }
    }
}

/// One dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The input topic.
    pub topic: String,
    /// Where the item was first read, and how often it was replayed before.
    pub origin: Origin,
    /// The message's key.
    pub key: Option<Vec<u8>>,
    /// The message's own headers: in binary mode they are half of the event.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Why: the name of a [`crate::event::decode::Reason`], of this version or another; of many
    /// items, that of the most.
    pub reason: String,
    /// What exactly was wrong.
    pub detail: String,
    /// The item's bytes; the message's, if it is not a batch.
    pub raw: Vec<u8>,
    /// The bad items of the message that it stands for, if they are too many for a dead letter
    /// each; its bytes are then the message's.
    pub items: Option<Items>,
    /// What was taken out of key, headers and bytes, if something was.
    pub redaction: Option<Redaction>,
}

impl DeadLetter {
    /// The dead letter of an item that was rejected, of a message of this `origin` that has these
    /// headers.
    fn new(
        message: &impl Message,
        headers: &[Header<'_>],
        origin: Origin,
        rejected: Rejected<'_>,
    ) -> Self {
        DeadLetter {
            topic: message.topic().to_owned(),
            origin: Origin {
                index: rejected.index,
                ..origin
            },
            key: message.key().map(<[u8]>::to_vec),
            headers: own(headers),
            reason: rejected.bad.reason.name().to_owned(),
            detail: rejected.bad.detail,
            raw: rejected.raw.to_vec(),
            items: None,
            redaction: None,
        }
    }

    /// The dead letter a message of the dead letters' topic is; `None` if it is none of ours.
    pub fn read(message: &impl Message) -> Option<DeadLetter> {
        let headers = origin::headers(message);
        let (topic, origin) = Origin::read(&headers)?;
        Some(DeadLetter {
            topic: topic.to_owned(),
            origin,
            key: message.key().map(<[u8]>::to_vec),
            headers: own(&headers),
            reason: origin::text(&headers, header::REASON)?.to_owned(),
            detail: origin::text(&headers, header::DETAIL)?.to_owned(),
            raw: message.payload().unwrap_or_default().to_vec(),
            items: origin::text(&headers, header::ITEMS).and_then(Items::read),
            redaction: origin::text(&headers, header::REDACTED).map(Redaction::of_name),
        })
    }

    /// The decoded item as it is replayed to its topic.
    pub fn decode(&self, topic: &Topic, schemas: &Schemas, now: i64) -> Decoded<'_> {
        let headers: Vec<Header<'_>> = self.own_headers().collect();
        self.origin.next_attempt().decode(
            topic,
            (self.key.as_deref(), Some(&self.raw)),
            &headers,
            schemas,
            now,
        )
    }

    /// Writes the dead letter; returns once it is acknowledged.
    ///
    /// # Errors
    /// What Kafka answered. The input offset must not move then.
    pub async fn write(&self, producer: &Producer, topic: &str) -> Result<(), OutsideError> {
        let origin = self.origin.headers(&self.topic);
        let why = [
            (header::REASON, self.reason.as_bytes()),
            (header::DETAIL, self.detail.as_bytes()),
        ];
        let items = self.items.as_ref().map(Items::text);
        let items = items.iter().map(|text| (header::ITEMS, text.as_bytes()));
        let redacted = self
            .redaction
            .map(|redaction| (header::REDACTED, redaction.name().as_bytes()));
        let headers = self
            .own_headers()
            .chain(why)
            .chain(items)
            .chain(redacted)
            .chain(origin.iter().map(|(name, value)| (*name, value.as_bytes())));
        let mut record: FutureRecord<'_, Vec<u8>, Vec<u8>> = FutureRecord::to(topic)
            .payload(&self.raw)
            .headers(owned(headers));
        record.key = self.key.as_ref();
        let sent = producer.send(record).await;
        sent.map_err(|error| outside(format!("writing to the dead letters `{topic}`"), error))
    }

    /// How many bytes it has, about.
    pub fn size(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        self.raw.len() + self.key.as_ref().map_or(0, Vec::len) + headers + self.detail.len()
    }

    fn own_headers(&self) -> impl Iterator<Item = Header<'_>> {
        self.headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()))
    }
}

/// The headers the source gave a message. Those of an earlier dead letter are left out: they are
/// set again.
fn own(headers: &[Header<'_>]) -> Vec<(String, Vec<u8>)> {
    let own = headers.iter().filter(|(name, _)| !name.starts_with(PREFIX));
    own.map(|(name, value)| ((*name).to_owned(), value.to_vec()))
        .collect()
}
