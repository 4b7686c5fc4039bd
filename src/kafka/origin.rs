//! Origins: where an item was first read. A message that was replayed from the dead letters carries
//! its origin in its headers, and keeps it however often it is dead-lettered again.

use rdkafka::message::{Headers, OwnedHeaders};
use rdkafka::{Message, Timestamp};

use crate::config::{Encoding, Topic};
use crate::event::decode::cloudevents::{self, Header};
use crate::event::decode::{Context, Decoded};
use crate::event::feed::{self, avro::Schemas};

/// The names of the headers that hold an origin.
pub mod header {
    /// What all headers of ours begin with.
    pub const PREFIX: &str = "dealpulse-";
    /// The input topic.
    pub const TOPIC: &str = "dealpulse-topic";
    /// Its partition.
    pub const PARTITION: &str = "dealpulse-partition";
    /// The offset there.
    pub const OFFSET: &str = "dealpulse-offset";
    /// The index within the message.
    pub const INDEX: &str = "dealpulse-index";
    /// How often it was replayed.
    pub const ATTEMPT: &str = "dealpulse-attempt";
    /// The timestamp of the message in ms since the epoch; empty if it had none.
    pub const TIMESTAMP: &str = "dealpulse-timestamp";
    /// Whose timestamp that is: `create`, the producer's, or `append`, the broker's. The
    /// producer's, if the header is missing.
    pub const TIMESTAMP_TYPE: &str = "dealpulse-timestamp-type";
}

/// The value of [`header::TIMESTAMP_TYPE`] for a broker's timestamp.
const APPEND: &str = "append";
/// Its value for a producer's.
const CREATE: &str = "create";

/// Where an item was first read in its topic, the time it had there, and how often it was replayed
/// since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The partition.
    pub partition: u32,
    /// The offset of its message.
    pub offset: u64,
    /// Its index in the message; of a whole message, that of its first item.
    pub index: u32,
    /// How often it was replayed.
    pub attempt: u32,
    /// The message's timestamp (µs), if it had one.
    pub timestamp: Option<i64>,
    /// The timestamp is the broker's.
    pub is_append_time: bool,
}

impl Origin {
    /// The origin of a message of an input topic: that in its headers if it was replayed to this
    /// topic, else its own position.
    ///
    /// Headers that are incomplete or malformed are ignored: the message then counts as a new one.
    pub fn of(message: &impl Message, headers: &[Header<'_>]) -> Origin {
        match Origin::read(headers) {
            Some((topic, origin)) if topic == message.topic() => origin,
            _ => Origin {
                partition: message.partition() as u32,
                offset: message.offset() as u64,
                index: 0,
                attempt: 0,
                timestamp: message
                    .timestamp()
                    .to_millis()
                    .map(|ms| ms.saturating_mul(1_000)),
                is_append_time: matches!(message.timestamp(), Timestamp::LogAppendTime(_)),
            },
        }
    }

    /// The topic and the origin that headers name; `None` if one is missing or malformed.
    pub fn read<'h>(headers: &[Header<'h>]) -> Option<(&'h str, Origin)> {
        let text = |name| text(headers, name);
        let timestamp = match text(header::TIMESTAMP)? {
            "" => None,
            millis => Some(millis.parse::<i64>().ok()?.saturating_mul(1_000)),
        };
        let origin = Origin {
            partition: text(header::PARTITION)?.parse().ok()?,
            offset: text(header::OFFSET)?.parse().ok()?,
            index: text(header::INDEX)?.parse().ok()?,
            attempt: text(header::ATTEMPT)?.parse().ok()?,
            timestamp,
            is_append_time: text(header::TIMESTAMP_TYPE) == Some(APPEND),
        };
        Some((text(header::TOPIC)?, origin))
    }

    /// The headers that [`Origin::read`] reads.
    pub fn headers(&self, topic: &str) -> [(&'static str, String); 7] {
        [
            (header::TOPIC, topic.to_owned()),
            (header::PARTITION, self.partition.to_string()),
            (header::OFFSET, self.offset.to_string()),
            (header::INDEX, self.index.to_string()),
            (header::ATTEMPT, self.attempt.to_string()),
            (
                header::TIMESTAMP,
                self.timestamp
                    .map_or_else(String::new, |micros| (micros / 1_000).to_string()),
            ),
            (
                header::TIMESTAMP_TYPE,
                if self.is_append_time { APPEND } else { CREATE }.to_owned(),
            ),
        ]
    }

    /// The same origin, replayed once more.
    pub fn next_attempt(self) -> Origin {
        Origin {
            attempt: self.attempt.saturating_add(1),
            ..self
        }
    }

    /// Decodes a message of this origin, one in Avro by the schemas that are known. An item of a
    /// batch that comes back alone keeps its index.
    pub fn decode<'m>(
        &self,
        topic: &Topic,
        (key, payload): (Option<&'m [u8]>, Option<&'m [u8]>),
        headers: &[Header<'m>],
        schemas: &Schemas,
        now: i64,
    ) -> Decoded<'m> {
        let context = Context {
            schema: &crate::record::SCHEMA,
            topic: topic.number,
            namespace: topic.namespace.as_deref(),
            partition: self.partition,
            offset: self.offset,
            attempt: self.attempt,
            timestamp: self.timestamp,
            is_append_time: self.is_append_time,
            now,
            limit: topic.max_message_bytes,
        };
        let mut decoded = match &topic.feed {
            None => cloudevents::decode(payload, headers, &context),
            Some(feed) => {
                let message = feed::Message {
                    key,
                    value: payload,
                };
                match topic.encoding {
                    Encoding::Json => feed.decode(&topic.name, message, &context),
                    Encoding::Avro | Encoding::Protobuf => {
                        feed.decode_by_schemas(&topic.name, message, schemas, &context)
                    }
                }
            }
        };
        if self.index > 0 {
            let assertions = decoded
                .assertions
                .iter_mut()
                .map(|assertion| &mut assertion.stamp.origin.index);
            let indices = assertions.chain(
                decoded
                    .rejected
                    .iter_mut()
                    .map(|rejected| &mut rejected.index),
            );
            indices.for_each(|index| *index = index.saturating_add(self.index));
        }
        decoded
    }
}

/// A header's value, if it is there and is text.
pub fn text<'h>(headers: &[Header<'h>], name: &str) -> Option<&'h str> {
    let (_, value) = headers.iter().find(|(known, _)| *known == name)?;
    std::str::from_utf8(value).ok()
}

/// All headers of a message.
pub fn headers(message: &impl Message) -> Vec<Header<'_>> {
    message.headers().map_or_else(Vec::new, |headers| {
        headers
            .iter()
            .map(|header| (header.key, header.value.unwrap_or_default()))
            .collect()
    })
}

/// Headers to be sent.
pub fn owned<'h>(headers: impl IntoIterator<Item = (&'h str, &'h [u8])>) -> OwnedHeaders {
    let add = |all: OwnedHeaders, (key, value)| {
        all.insert(rdkafka::message::Header {
            key,
            value: Some(value),
        })
    };
    headers.into_iter().fold(OwnedHeaders::new(), add)
}

#[cfg(test)]
mod tests {
    use rdkafka::message::OwnedMessage;

    use super::*;
    use crate::event::decode::Reason;
    use crate::record::topic_number;

    const PLACE: Origin = Origin {
        partition: 3,
        offset: 41,
        index: 2,
        attempt: 1,
        timestamp: Some(1_772_618_400_000_000),
        is_append_time: true,
    };

    fn message(topic: &str, headers: &[(&str, String)]) -> OwnedMessage {
        let headers = owned(
            headers
                .iter()
                .map(|(name, value)| (*name, value.as_bytes())),
        );
        OwnedMessage::new(
            None,
            None,
            topic.to_owned(),
            Timestamp::CreateTime(5),
            7,
            900,
            Some(headers),
        )
    }

    fn origin(topic: &str, named: &[(&str, String)]) -> Origin {
        let message = message(topic, named);
        Origin::of(&message, &headers(&message))
    }

    const LYING: Origin = Origin {
        partition: 7,
        offset: 900,
        index: 0,
        attempt: 0,
        timestamp: Some(5_000),
        is_append_time: false,
    };

    fn topic() -> Topic {
        Topic {
            name: "crm".into(),
            number: topic_number("crm"),
            namespace: None,
            max_message_bytes: 1_000,
            encoding: Encoding::Json,
            feed: None,
            mapping: None,
            kept: crate::config::Kept::Whole,
        }
    }

    #[test]
    fn a_replayed_message_has_the_origin_of_its_headers() {
        assert_eq!(origin("crm", &PLACE.headers("crm")), PLACE);
        for place_without_time in [
            Origin {
                timestamp: None,
                ..PLACE
            },
            Origin {
                is_append_time: false,
                ..PLACE
            },
        ] {
            assert_eq!(
                origin("crm", &place_without_time.headers("crm")),
                place_without_time
            );
        }
        assert_eq!(
            origin("crm", &PLACE.next_attempt().headers("crm")).attempt,
            2
        );
        assert_eq!(
            Origin {
                attempt: u32::MAX,
                ..PLACE
            }
            .next_attempt()
            .attempt,
            u32::MAX
        );
    }

    #[test]
    fn a_message_of_its_own_or_of_another_topic_has_its_position_as_origin() {
        assert_eq!(origin("crm", &[]), LYING);
        assert_eq!(origin("crm", &PLACE.headers("elsewhere")), LYING);
    }

    #[test]
    fn headers_that_are_malformed_in_any_way_are_ignored() {
        let whole = PLACE.headers("crm");
        for (i, (name, value)) in whole.iter().enumerate() {
            let mut headers = whole.to_vec();
            headers.remove(i);
            // Dead letters of earlier versions don't state whose timestamp it is.
            let without = if *name == header::TIMESTAMP_TYPE {
                Origin {
                    is_append_time: false,
                    ..PLACE
                }
            } else {
                LYING
            };
            assert_eq!(origin("crm", &headers), without, "without {name}");
            for wrong in [
                format!("-{value}"),
                format!("{value}x"),
                "99999999999999999999999".into(),
                "\u{0}".into(),
            ] {
                let mut headers = whole.clone();
                headers[i].1.clone_from(&wrong);
                let found = origin("crm", &headers);
                let is_a_time = *name == header::TIMESTAMP && wrong.parse::<i64>().is_ok();
                assert!(
                    is_a_time || *name == header::TIMESTAMP_TYPE || found == LYING,
                    "{name} = {wrong}: {found:?}"
                );
            }
        }
        let bytes: Vec<Header<'_>> = vec![(header::TOPIC, &[0xff]), (header::PARTITION, &[0x80])];
        assert_eq!(Origin::read(&bytes), None);
    }

    #[test]
    fn an_item_that_comes_back_alone_keeps_its_index_and_its_time() {
        let item = br#"{"specversion":"1.0","type":"crm.lead.upserted","subject":"L-1","data":{"status":"open"}}"#;
        let decoded = PLACE.decode(
            &topic(),
            (None, Some(item)),
            &[],
            &Schemas::default(),
            i64::MAX,
        );
        let stamp = decoded.assertions[0].stamp;
        assert_eq!(
            (
                stamp.origin.partition,
                stamp.origin.offset,
                stamp.origin.index,
                stamp.origin.attempt
            ),
            (3, 41, 2, 1)
        );
        assert_eq!(
            (stamp.origin.topic, stamp.clock.time),
            (topic_number("crm"), 1_772_618_400_000_000)
        );

        let bad = PLACE.decode(
            &topic(),
            (None, Some(b"{")),
            &[],
            &Schemas::default(),
            i64::MAX,
        );
        assert_eq!(
            (bad.rejected[0].index, bad.rejected[0].bad.reason),
            (2, Reason::NotJson)
        );
    }
}
