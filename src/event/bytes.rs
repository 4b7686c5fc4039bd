//! Values, clocks and origins as bytes of logs and facts.

use std::borrow::Cow;

use super::{Clock, Decimal, Origin, Stamp, Value, When};
use crate::codec::{Damaged, Reader, Writer};

const TEXT: u8 = 1;

impl Writer {
    /// A value with its kind.
    pub fn value(&mut self, value: &Value<'_>) {
        match value {
            Value::Null => self.byte(0),
            Value::Text(text) => {
                self.text_follows();
                self.text(text);
            }
            Value::When(when) => self.when(Some(*when)),
            Value::Decimal(Decimal(number)) => {
                self.byte(4);
                self.signed(*number);
            }
            Value::Flag(flag) => self.byte(5 + u8::from(*flag)),
        }
    }

    /// The kind of a value that is a text; the text has to follow.
    pub(super) fn text_follows(&mut self) {
        self.byte(TEXT);
    }

    /// An instant, a date or nothing; as [`Writer::value`] would write it.
    pub fn when(&mut self, when: Option<When>) {
        match when {
            None => self.byte(0),
            Some(When::Instant(time)) => {
                self.byte(2);
                self.signed(time);
            }
            Some(When::Date(day)) => {
                self.byte(3);
                self.signed(i64::from(day));
            }
        }
    }

    /// A clock.
    pub fn clock(&mut self, clock: Clock) {
        self.signed(clock.time);
        self.number(clock.sequence);
    }

    /// A clock and an origin.
    pub fn stamp(&mut self, stamp: &Stamp) {
        self.clock(stamp.clock);
        let Origin {
            topic,
            partition,
            offset,
            index,
            attempt,
        } = stamp.origin;
        for number in [
            u64::from(topic),
            u64::from(partition),
            offset,
            u64::from(index),
            u64::from(attempt),
        ] {
            self.number(number);
        }
    }
}

impl<'a> Reader<'a> {
    /// A value.
    pub fn value(&mut self) -> Result<Value<'a>, Damaged> {
        match self.scalar()? {
            Some(value) => Ok(value),
            None => Ok(Value::Text(Cow::Borrowed(self.text()?))),
        }
    }

    /// A value that is no text; `None` if a text follows.
    pub(super) fn scalar(&mut self) -> Result<Option<Value<'a>>, Damaged> {
        Ok(Some(match self.byte()? {
            0 => Value::Null,
            TEXT => return Ok(None),
            2 => Value::When(When::Instant(self.signed()?)),
            3 => Value::When(When::Date(self.day()?)),
            4 => Value::Decimal(Decimal(self.signed()?)),
            tag @ (5 | 6) => Value::Flag(tag == 6),
            _ => return Err(self.damaged("a kind of value")),
        }))
    }

    fn day(&mut self) -> Result<i32, Damaged> {
        i32::try_from(self.signed()?).map_err(|_| self.damaged("a day"))
    }

    /// An instant, a date or nothing.
    pub fn when(&mut self) -> Result<Option<When>, Damaged> {
        match self.value()? {
            Value::Null => Ok(None),
            Value::When(when) => Ok(Some(when)),
            _ => Err(self.damaged("an instant or a date")),
        }
    }

    /// A clock.
    pub fn clock(&mut self) -> Result<Clock, Damaged> {
        Ok(Clock {
            time: self.signed()?,
            sequence: self.number()?,
        })
    }

    /// A clock and an origin.
    pub fn stamp(&mut self) -> Result<Stamp, Damaged> {
        let clock = self.clock()?;
        let (topic, partition, offset) = (self.narrow()?, self.narrow()?, self.number()?);
        Ok(Stamp {
            clock,
            origin: Origin {
                topic,
                partition,
                offset,
                index: self.narrow()?,
                attempt: self.narrow()?,
            },
        })
    }
}
