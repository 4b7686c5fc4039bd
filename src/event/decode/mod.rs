//! Decoding: messages of any format into assertions, or into the reason why not. One file per
//! format.

pub mod cloudevents;
mod json;
mod scalar;

use std::borrow::Cow;

use super::{Assertion, Clock, EntityRef, Origin, Schema, Stamp, When};

pub use scalar::read_text;

/// Why a message, or an item of it, is put among the dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Not JSON at all.
    NotJson,
    /// JSON, but not an event of the topic's format.
    NotAnEvent,
    /// An entity or action that does not exist.
    UnknownEntity,
    /// No id, or one that means none.
    MissingId,
    /// No time anywhere.
    MissingTime,
    /// A value of the wrong type or outside its words.
    WrongType,
    /// Money that is no exact decimal.
    BadMoney,
    /// A time that is no instant and no date.
    BadTime,
    /// More than a day ahead of the route's clock.
    FutureTime,
    /// Larger than the limit.
    TooLarge,
    /// Messages that the topic's retention took before they were read: nothing is left of them but
    /// their offsets.
    Gone,
    /// The source says that something changed, and not what.
    Gap,
    /// A dead letter was redacted, and what is left of it is not enough.
    Redacted,
    /// Not Avro in the wire format of schema registries, or not as its schema says.
    NotAvro,
    /// Not Protobuf as its schema says.
    NotProtobuf,
    /// Avro or Protobuf by a schema that the registry doesn't have, or that can't be used.
    UnknownSchema,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 16] = [
        Reason::NotJson,
        Reason::NotAnEvent,
        Reason::UnknownEntity,
        Reason::MissingId,
        Reason::MissingTime,
        Reason::WrongType,
        Reason::BadMoney,
        Reason::BadTime,
        Reason::FutureTime,
        Reason::TooLarge,
        Reason::Gone,
        Reason::Gap,
        Reason::Redacted,
        Reason::NotAvro,
        Reason::NotProtobuf,
        Reason::UnknownSchema,
    ];

    /// Its name in dead letters and gauges.
    pub fn name(self) -> &'static str {
        match self {
            Reason::NotJson => "not_json",
            Reason::NotAnEvent => "not_an_event",
            Reason::UnknownEntity => "unknown_entity",
            Reason::MissingId => "missing_id",
            Reason::MissingTime => "missing_time",
            Reason::WrongType => "wrong_type",
            Reason::BadMoney => "bad_money",
            Reason::BadTime => "bad_time",
            Reason::FutureTime => "future_time",
            Reason::TooLarge => "too_large",
            Reason::Gone => "gone",
            Reason::Gap => "gap",
            Reason::Redacted => "redacted",
            Reason::NotAvro => "not_avro",
            Reason::NotProtobuf => "not_protobuf",
            Reason::UnknownSchema => "unknown_schema",
        }
    }

    /// The reason of this name, if there is one.
    pub fn from_name(name: &str) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

/// A reason with what exactly is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", reason.name())]
pub struct Bad {
    /// The reason.
    pub reason: Reason,
    /// Which field or value, and what would be right.
    pub detail: String,
}

impl Bad {
    /// A reason with its detail.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Bad {
            reason,
            detail: detail.into(),
        }
    }
}

/// An item that could not be decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejected<'a> {
    /// Its index in the message.
    pub index: u32,
    /// Why.
    pub bad: Bad,
    /// Its bytes: the item's own in a batch, else the message's.
    pub raw: &'a [u8],
}

/// Where a message was read and what times belong to it. Everything a decoder may know besides the
/// message.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The entities and fields there are.
    pub schema: &'static Schema,
    /// [`crate::event::topic_number`] of the topic.
    pub topic: u32,
    /// What qualifies its ids.
    pub namespace: Option<&'a str>,
    /// The partition.
    pub partition: u32,
    /// The offset.
    pub offset: u64,
    /// How often the message was replayed from the dead letters.
    pub attempt: u32,
    /// The message's timestamp (µs), if it has one.
    pub timestamp: Option<i64>,
    /// The timestamp is the broker's, so no event can be later.
    pub is_append_time: bool,
    /// The route's clock (µs).
    pub now: i64,
    /// The longest message taken, in bytes.
    pub limit: usize,
}

/// How far ahead of the route's clock an event may be: a day (µs).
const FUTURE: i64 = 86_400_000_000;

impl Context<'_> {
    /// The stamp of item `index`, said to be of `time`.
    ///
    /// # Errors
    /// [`Reason::MissingTime`] if neither event nor message has a time; [`Reason::FutureTime`] if
    /// it lies too far ahead.
    pub fn stamp(&self, time: Option<i64>, sequence: u64, index: u32) -> Result<Stamp, Bad> {
        let time = match (time, self.timestamp) {
            (Some(event), Some(broker)) if self.is_append_time => event.min(broker),
            (Some(event), _) => event,
            (None, Some(message)) => message,
            (None, None) => {
                return Err(Bad::new(
                    Reason::MissingTime,
                    "the event has no `time` and its message no timestamp",
                ));
            }
        };
        if time > self.now.saturating_add(FUTURE) {
            return Err(Bad::new(
                Reason::FutureTime,
                "its time lies more than 24 h ahead of the clock here; mend the source's clock",
            ));
        }
        let origin = Origin {
            topic: self.topic,
            partition: self.partition,
            offset: self.offset,
            index,
            attempt: self.attempt,
        };
        Ok(Stamp {
            clock: Clock { time, sequence },
            origin,
        })
    }

    /// An id as records are known by: qualified by the topic's namespace. `None` for ids that mean
    /// none.
    pub fn qualify<'t>(&self, id: Cow<'t, str>) -> Option<Cow<'t, str>> {
        qualify(self.namespace, id)
    }
}

/// True for ids that mean none.
pub(crate) fn is_none(id: &str) -> bool {
    matches!(id.trim(), "" | "0")
}

fn qualify<'t>(namespace: Option<&str>, id: Cow<'t, str>) -> Option<Cow<'t, str>> {
    match namespace {
        _ if is_none(&id) => None,
        None => Some(id),
        Some(namespace) => Some([namespace, "/", id.trim()].concat().into()),
    }
}

/// What came out of a message.
#[derive(Debug, Default)]
pub struct Decoded<'a> {
    /// What it asserts.
    pub assertions: Vec<Assertion<'a>>,
    /// What of it could not be decoded.
    pub rejected: Vec<Rejected<'a>>,
    /// Fields no entity has; passed over, so that a source may say more than is asked.
    pub unknown_fields: u32,
    /// Amounts that were rounded, as a mapping allows.
    pub rounded: Vec<Rounded>,
}

/// How many items of a message are rejected each with what exactly is wrong with it; of the others
/// the reason is known.
pub const DETAILED: usize = 100;

impl<'a> Decoded<'a> {
    /// Rejects an item.
    pub(in crate::event) fn reject(&mut self, index: u32, mut bad: Bad, raw: &'a [u8]) {
        if self.rejected.len() >= DETAILED {
            bad.detail = String::new();
        }
        self.rejected.push(Rejected { index, bad, raw });
    }
}

/// An amount that was rounded to four places.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rounded {
    /// The file or table it is of.
    pub table: String,
    /// Its column there.
    pub column: String,
    /// The field it became.
    pub field: &'static str,
}

/// What every decoder turns times into: µs since the epoch. A date alone is no time of an event.
fn event_time(text: &str) -> Result<i64, Bad> {
    match When::parse(text) {
        Some(When::Instant(micros)) => Ok(micros),
        Some(When::Date(_)) => Err(Bad::new(
            Reason::BadTime,
            format!(
                "`time` is `{}`, a date; write an instant like 2026-03-04T10:00:00Z",
                short(text)
            ),
        )),
        None => Err(Bad::new(
            Reason::BadTime,
            format!(
                "`time` is `{}`; write an RFC 3339 instant like 2026-03-04T10:00:00Z",
                short(text)
            ),
        )),
    }
}

/// The start of a text, for messages.
pub(in crate::event) fn short(text: &str) -> String {
    let start: String = text.chars().take(40).collect();
    if start.len() < text.len() {
        start + "…"
    } else {
        start
    }
}

fn entity(name: &str, schema: &'static Schema) -> Result<EntityRef, Bad> {
    schema.look_up(name).ok_or_else(|| {
        let known: Vec<&str> = schema.of_sources().map(|entity| entity.name).collect();
        Bad::new(
            Reason::UnknownEntity,
            format!(
                "there is no entity `{}`; there are {}",
                short(name),
                known.join(", ")
            ),
        )
    })
}
