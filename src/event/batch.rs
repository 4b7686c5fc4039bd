//! A batch of assertions as a message of the log holds it: each text once or twice, not once an
//! assertion.
//!
//! Owners, stages and currencies are named by nearly every event. A batch numbers the texts it
//! meets, and whoever folds it looks up each of them once instead of once a value.

use std::borrow::Cow;
use std::hash::BuildHasher;

use rustc_hash::FxBuildHasher;

use super::schema::{Entity, Field};
use super::{Assertion, Decimal, FieldName, Schema, Stamp, Value, When};
use crate::codec::{Damaged, Reader, Writer};

const CUSTOM: u8 = u8::MAX;

/// The position of a text in [`Batch::texts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextNumber(u32);

impl TextNumber {
    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Assertions in order.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    texts: Vec<&'a str>,
    entries: Vec<Entry>,
    values: Vec<(BatchField, BatchValue)>,
}

/// One assertion of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// What kind of record.
    pub entity: Entity,
    /// Its id, qualified by the topic's namespace.
    pub id: TextNumber,
    /// When it was so, and where it was said.
    pub stamp: Stamp,
    from: u32,
    to: u32,
}

/// A field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchField {
    /// One of the entity's own.
    Known(Field),
    /// One the organisation added.
    Custom(TextNumber),
}

/// A value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchValue {
    /// Explicitly nothing.
    Null,
    /// Text, a keyword or a reference.
    Text(TextNumber),
    /// An instant or a date.
    When(When),
    /// Ten-thousandths.
    Decimal(Decimal),
    /// True or false.
    Flag(bool),
}

impl<'a> Batch<'a> {
    /// The texts that the assertions refer to.
    pub fn texts(&self) -> &[&'a str] {
        &self.texts
    }

    /// The assertions.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What one of its assertions says.
    pub fn values(&self, entry: &Entry) -> &[(BatchField, BatchValue)] {
        &self.values[entry.from as usize..entry.to as usize]
    }

    /// A text.
    pub fn text(&self, number: TextNumber) -> &'a str {
        self.texts[number.index()]
    }

    /// The assertions, each by itself.
    pub fn assertions(&self) -> impl ExactSizeIterator<Item = Assertion<'a>> {
        self.entries.iter().map(|entry| {
            let text = |number| Cow::Borrowed(self.text(number));
            let values = self.values(entry).iter().map(|(field, value)| {
                let field = match field {
                    BatchField::Known(field) => FieldName::Known(*field),
                    BatchField::Custom(name) => FieldName::Custom(text(*name)),
                };
                let value = match value {
                    BatchValue::Null => Value::Null,
                    BatchValue::Text(number) => Value::Text(text(*number)),
                    BatchValue::When(when) => Value::When(*when),
                    BatchValue::Decimal(decimal) => Value::Decimal(*decimal),
                    BatchValue::Flag(flag) => Value::Flag(*flag),
                };
                (field, value)
            });
            Assertion {
                entity: entry.entity,
                id: text(entry.id),
                stamp: entry.stamp,
                values: values.collect(),
            }
        })
    }

    /// Reads `count` assertions. Where texts are `repeated`, one that was there lately is written
    /// as its distance.
    pub(super) fn read(
        reader: &mut Reader<'a>,
        count: usize,
        repeated: bool,
        schema: &Schema,
    ) -> Result<Self, Damaged> {
        // A row image has some twenty values. Not more at once than the route's own batches need: a
        // count may be damaged.
        let expected = count.min(500);
        let mut batch = Batch {
            texts: Vec::with_capacity(expected * 4),
            entries: Vec::with_capacity(expected),
            values: Vec::with_capacity(expected * 20),
        };
        for _ in 0..count {
            let number = reader.byte()?;
            let entity = schema
                .of_number(number)
                .ok_or(reader.damaged("an entity"))?;
            let id = batch.read_text(reader, repeated)?;
            let stamp = reader.stamp()?;
            let from = batch.values.len() as u32;
            for _ in 0..reader.count()? {
                let field = match reader.byte()? {
                    CUSTOM => BatchField::Custom(batch.read_text(reader, repeated)?),
                    number => BatchField::Known(Field(u16::from(number))),
                };
                let value = match reader.scalar()? {
                    Some(Value::Null) => BatchValue::Null,
                    Some(Value::When(when)) => BatchValue::When(when),
                    Some(Value::Decimal(decimal)) => BatchValue::Decimal(decimal),
                    Some(Value::Flag(flag)) => BatchValue::Flag(flag),
                    Some(Value::Text(_)) | None => {
                        BatchValue::Text(batch.read_text(reader, repeated)?)
                    }
                };
                batch.values.push((field, value));
            }
            batch.entries.push(Entry {
                entity,
                id,
                stamp,
                from,
                to: batch.values.len() as u32,
            });
        }
        Ok(batch)
    }

    fn read_text(
        &mut self,
        reader: &mut Reader<'a>,
        repeated: bool,
    ) -> Result<TextNumber, Damaged> {
        if repeated {
            let distance: usize = reader.narrow()?;
            if distance > 0 {
                let number = self.texts.len().checked_sub(distance);
                let number = number.ok_or(reader.damaged("a text of the message"))?;
                return Ok(TextNumber(number as u32));
            }
        }
        self.texts.push(reader.text()?);
        Ok(TextNumber((self.texts.len() - 1) as u32))
    }
}

/// Writes assertions.
pub(super) fn write<'a, 'b: 'a>(
    writer: &mut Writer,
    assertions: impl ExactSizeIterator<Item = &'a Assertion<'b>>,
) {
    let mut texts = RecentTexts::new();
    for assertion in assertions {
        writer.byte(assertion.entity.0);
        texts.write(writer, &assertion.id);
        writer.stamp(&assertion.stamp);
        writer.number(assertion.values.len() as u64);
        for (field, value) in &assertion.values {
            match field {
                FieldName::Known(field) => writer.byte(field.0 as u8),
                FieldName::Custom(name) => {
                    writer.byte(CUSTOM);
                    texts.write(writer, name);
                }
            }
            match value {
                Value::Text(text) => {
                    writer.text_follows();
                    texts.write(writer, text);
                }
                other => writer.value(other),
            }
        }
    }
}

/// The texts written lately, by a hash of each: a text that finds its place taken is written once
/// more.
struct RecentTexts<'a> {
    slots: [(&'a str, u32); SLOTS],
    written: u32,
}

const SLOTS: usize = 256;

impl<'a> RecentTexts<'a> {
    fn new() -> Self {
        RecentTexts {
            slots: [("", u32::MAX); SLOTS],
            written: 0,
        }
    }

    /// Writes a text whole, or how many texts ago it was.
    fn write(&mut self, writer: &mut Writer, text: &'a str) {
        let slot = &mut self.slots[FxBuildHasher.hash_one(text) as usize % SLOTS];
        if slot.1 != u32::MAX && slot.0 == text {
            writer.number(u64::from(self.written - slot.1));
        } else {
            *slot = (text, self.written);
            self.written += 1;
            writer.number(0);
            writer.text(text);
        }
    }
}
