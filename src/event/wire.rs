//! The messages of the internal log: batches of assertions or of links, with a version byte first.

use std::borrow::Cow;

use super::batch::{self, Batch};
use super::{Assertion, Entity, Schema};
use crate::codec::{Damaged, Reader, Writer};

const VERSION: u8 = 2;
/// Its assertions write every text whole; the rest is alike.
const FIRST_VERSION: u8 = 1;
const ASSERTIONS: u8 = 1;
const LINKS: u8 = 2;
const RECORDS: u8 = 3;
const DERIVED: u8 = 4;

/// A message of the log that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Its bytes are damaged.
    #[error(
        "a message of the internal log can't be read: {0}; nothing but dealpulse may write to that topic"
    )]
    Damaged(#[from] Damaged),
    /// Written by another version.
    #[error(
        "a message of the internal log has format {0}; this version reads format {VERSION}: upgrade dealpulse"
    )]
    Version(u8),
    /// A record that came from another log can't be read.
    #[error(
        "a message of the internal log holds the {entity} `{id}`, which can't be read: {problem}"
    )]
    Record {
        /// What kind.
        entity: &'static str,
        /// Which.
        id: String,
        /// Why.
        problem: String,
    },
}

/// A message, read.
#[derive(Debug)]
pub enum Message<'a> {
    /// What sources said of records at home here, in order.
    Assertions(Batch<'a>),
    /// What follows from other records for records at home here, in the same form.
    Derived(Batch<'a>),
    /// Links from other records to records at home here.
    Links(Vec<LinkMessage<'a>>),
    /// Records, whole, that come from another log.
    Records(Vec<RecordMessage<'a>>),
}

/// Which record, by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name<'a> {
    /// What kind.
    pub entity: Entity,
    /// Its qualified id.
    pub id: Cow<'a, str>,
}

/// A link on its way.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkMessage<'a> {
    /// The epoch whose definitions it was made under.
    pub epoch: u32,
    /// The record that receives it.
    pub target: Name<'a>,
    /// The record that sends it.
    pub sender: Name<'a>,
    /// The offset, in the sender's log, of the state it was taken from.
    pub version: u64,
    /// The link as `record::link` writes it.
    pub content: Cow<'a, [u8]>,
}

/// A record on its way into another log: all that was ever asserted of it and still counts, with
/// clocks and origins.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordMessage<'a> {
    /// Which.
    pub name: Name<'a>,
    /// The record as `record` writes it.
    pub state: Cow<'a, [u8]>,
}

/// Writes a batch of assertions.
pub fn write_assertions<'a, 'b: 'a>(
    assertions: impl ExactSizeIterator<Item = &'a Assertion<'b>>,
) -> Vec<u8> {
    write_batch(ASSERTIONS, assertions)
}

/// Writes a batch of assertions that follow from records.
pub fn write_derived<'a, 'b: 'a>(
    assertions: impl ExactSizeIterator<Item = &'a Assertion<'b>>,
) -> Vec<u8> {
    write_batch(DERIVED, assertions)
}

fn write_batch<'a, 'b: 'a>(
    kind: u8,
    assertions: impl ExactSizeIterator<Item = &'a Assertion<'b>>,
) -> Vec<u8> {
    let mut writer = Writer {
        bytes: Vec::with_capacity(assertions.len() * 192), // about what one takes, so that few buffers grow
    };
    writer.byte(VERSION);
    writer.byte(kind);
    writer.number(assertions.len() as u64);
    batch::write(&mut writer, assertions);
    writer.bytes
}

/// Writes a batch of links.
pub fn write_links<'a, 'b: 'a>(
    links: impl ExactSizeIterator<Item = &'a LinkMessage<'b>>,
) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.byte(VERSION);
    writer.byte(LINKS);
    writer.number(links.len() as u64);
    for link in links {
        writer.number(u64::from(link.epoch));
        write_name(&mut writer, link.target.entity, &link.target.id);
        write_name(&mut writer, link.sender.entity, &link.sender.id);
        writer.number(link.version);
        writer.number(link.content.len() as u64);
        writer.bytes.extend_from_slice(&link.content);
    }
    writer.bytes
}

/// Writes a batch of whole records.
pub fn write_records<'a, 'b: 'a>(
    records: impl ExactSizeIterator<Item = &'a RecordMessage<'b>>,
) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.byte(VERSION);
    writer.byte(RECORDS);
    writer.number(records.len() as u64);
    for record in records {
        write_name(&mut writer, record.name.entity, &record.name.id);
        writer.number(record.state.len() as u64);
        writer.bytes.extend_from_slice(&record.state);
    }
    writer.bytes
}

/// Reads a message.
pub fn read<'a>(bytes: &'a [u8], schema: &Schema) -> Result<Message<'a>, WireError> {
    let mut reader = Reader::new(bytes);
    let version = reader.byte()?;
    if !matches!(version, FIRST_VERSION | VERSION) {
        return Err(WireError::Version(version));
    }
    let kind = reader.byte()?;
    let count = reader.count()?;
    let is_repeated = version != FIRST_VERSION;
    Ok(match kind {
        ASSERTIONS => Message::Assertions(Batch::read(&mut reader, count, is_repeated, schema)?),
        DERIVED => Message::Derived(Batch::read(&mut reader, count, is_repeated, schema)?),
        LINKS => Message::Links(
            (0..count)
                .map(|_| read_link(&mut reader, schema))
                .collect::<Result<_, _>>()?,
        ),
        RECORDS => Message::Records(
            (0..count)
                .map(|_| read_record(&mut reader, schema))
                .collect::<Result<_, _>>()?,
        ),
        _ => {
            return Err(Damaged {
                at: 1,
                what: "a kind of message",
            }
            .into());
        }
    })
}

fn read_link<'a>(reader: &mut Reader<'a>, schema: &Schema) -> Result<LinkMessage<'a>, Damaged> {
    let (epoch, target, sender, version) = (
        reader.narrow()?,
        read_name(reader, schema)?,
        read_name(reader, schema)?,
        reader.number()?,
    );
    Ok(LinkMessage {
        epoch,
        target,
        sender,
        version,
        content: Cow::Borrowed(reader.bytes()?),
    })
}

fn read_record<'a>(reader: &mut Reader<'a>, schema: &Schema) -> Result<RecordMessage<'a>, Damaged> {
    Ok(RecordMessage {
        name: read_name(reader, schema)?,
        state: Cow::Borrowed(reader.bytes()?),
    })
}

fn write_name(writer: &mut Writer, entity: Entity, id: &str) {
    writer.byte(entity.0);
    writer.text(id);
}

fn read_name<'a>(reader: &mut Reader<'a>, schema: &Schema) -> Result<Name<'a>, Damaged> {
    let number = reader.byte()?;
    let entity = schema
        .of_number(number)
        .ok_or(reader.damaged("an entity"))?;
    Ok(Name {
        entity,
        id: Cow::Borrowed(reader.text()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Clock, Origin, Stamp};
    use crate::event::{Decimal, Field, FieldName, Value, When};
    use crate::record::SCHEMA;
    use proptest::prelude::*;

    fn assertion() -> Assertion<'static> {
        Assertion {
            entity: Entity::DEAL,
            id: "eu/D-17".into(),
            stamp: Stamp {
                clock: Clock {
                    time: -5,
                    sequence: u64::MAX,
                },
                origin: Origin {
                    topic: u32::MAX,
                    partition: 3,
                    offset: 1 << 40,
                    index: 9,
                    attempt: 1,
                },
            },
            values: vec![
                (FieldName::Known(Field(5)), Value::Null),
                (FieldName::Custom("tier".into()), Value::Text("gold".into())),
                (FieldName::Known(Field(14)), Value::Decimal(Decimal(-1))),
                (FieldName::Known(Field(19)), Value::When(When::Date(-3))),
                (
                    FieldName::Known(Field(20)),
                    Value::When(When::Instant(i64::MIN)),
                ),
                (FieldName::Known(Field(0)), Value::Flag(true)),
            ],
        }
    }

    #[test]
    fn a_batch_comes_back_as_it_was_written() {
        let written = [
            assertion(),
            Assertion {
                values: Vec::new(),
                ..assertion()
            },
        ];
        let bytes = write_assertions(written.iter());
        let Message::Assertions(read) = read(&bytes, &SCHEMA).unwrap() else {
            panic!("not assertions")
        };
        assert_eq!(read.assertions().collect::<Vec<_>>(), written);
        assert_eq!(read.texts(), ["eu/D-17", "tier", "gold"], "each text once");
    }

    #[test]
    fn what_follows_from_records_is_told_apart_from_what_sources_said() {
        let bytes = write_derived([assertion()].iter());
        let Message::Derived(read) = read(&bytes, &SCHEMA).unwrap() else {
            panic!("not derived")
        };
        assert_eq!(read.assertions().collect::<Vec<_>>(), [assertion()]);
    }

    #[test]
    fn a_message_of_the_first_version_is_still_read() {
        let Assertion {
            entity,
            id,
            stamp,
            values,
        } = assertion();
        let mut writer = Writer::default();
        writer.bytes.extend([FIRST_VERSION, ASSERTIONS, 1]);
        write_name(&mut writer, entity, &id);
        writer.stamp(&stamp);
        writer.number(values.len() as u64);
        for (field, value) in &values {
            match field {
                FieldName::Known(field) => writer.byte(field.0 as u8),
                FieldName::Custom(name) => {
                    writer.byte(u8::MAX);
                    writer.text(name);
                }
            }
            writer.value(value);
        }
        let Message::Assertions(read) = read(&writer.bytes, &SCHEMA).unwrap() else {
            panic!("not assertions")
        };
        assert_eq!(read.assertions().collect::<Vec<_>>(), [assertion()]);
    }

    #[test]
    fn whole_records_come_back_as_they_were_written() {
        let written = [RecordMessage {
            name: Name {
                entity: Entity::DEAL,
                id: "D-1".into(),
            },
            state: vec![1, 0, 9].into(),
        }];
        let bytes = write_records(written.iter());
        let Message::Records(read) = read(&bytes, &SCHEMA).unwrap() else {
            panic!("not records")
        };
        assert_eq!(read, written);
    }

    #[test]
    fn another_version_is_refused_by_name() {
        assert_eq!(
            read(&[9, 1, 0], &SCHEMA).unwrap_err(),
            WireError::Version(9)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..100, flip in any::<u8>()) {
            let _ = read(&bytes, &SCHEMA);
            let mut damaged = write_assertions([assertion()].iter());
            let at = cut % damaged.len();
            damaged[at] ^= flip;
            let _ = read(&damaged, &SCHEMA);
            let _ = read(&damaged[..at], &SCHEMA);
        }
    }
}
