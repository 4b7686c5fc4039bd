//! Writes a canonical event as JSON, field by field, straight into its bytes.

use super::calendar::utc;
use super::company::Currency;
use chrono::{Datelike, Timelike};
use std::io::Write;

/// An event being written. Fields go into its `data` in the order they are called.
pub(super) struct Event {
    /// The entity's id: the event's subject and its Kafka key.
    pub(super) key: String,
    /// The event time, unix ms.
    pub(super) at: i64,
    json: Vec<u8>,
}

impl Event {
    /// Opens an event of `crm.<kind>.<verb>`. The sequence is the source's commit number, and the
    /// event's id.
    pub(super) fn new(kind: &str, verb: &str, key: String, at: i64, sequence: u64) -> Self {
        let mut event = Self {
            key,
            at,
            json: Vec::with_capacity(512),
        };
        event.raw(r#"{"specversion":"1.0","id":"e-"#);
        event.display(sequence);
        event.raw(r#"","source":"crm/demo","type":"crm."#);
        event.raw(kind);
        event.raw(".");
        event.raw(verb);
        event.raw(r#"","subject":""#);
        event.json.extend_from_slice(event.key.as_bytes());
        event.raw(r#"","time":""#);
        event.rfc3339(at);
        event.raw(r#"","sequence":""#);
        event.display(sequence);
        event.raw(r#"","data":{"#);
        event
    }

    pub(super) fn finish(mut self) -> (String, Vec<u8>) {
        self.raw("}}");
        (self.key, self.json)
    }

    /// A text. All of them come from this module's tables and are written as they are.
    pub(super) fn text(mut self, name: &str, value: &str) -> Self {
        debug_assert!(!value.contains(['"', '\\']) && !value.chars().any(char::is_control));
        self.name(name);
        self.raw("\"");
        self.raw(value);
        self.raw("\"");
        self
    }

    /// A text, or no field at all.
    pub(super) fn maybe_text(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    pub(super) fn number(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.name(name);
        self.display(value);
        self
    }

    /// An explicit null: clears the field.
    pub(super) fn null(mut self, name: &str) -> Self {
        self.name(name);
        self.raw("null");
        self
    }

    /// An instant, unix ms, as RFC 3339.
    pub(super) fn instant(mut self, name: &str, at: i64) -> Self {
        self.name(name);
        self.raw("\"");
        self.rfc3339(at);
        self.raw("\"");
        self
    }

    /// The day of an instant, `offset` hours east of UTC.
    pub(super) fn date(mut self, name: &str, at: i64, offset: i64) -> Self {
        self.name(name);
        self.raw("\"");
        self.day(at + offset * super::calendar::HOUR);
        self.raw("\"");
        self
    }

    /// An amount in the currency's smallest unit, without the currency.
    pub(super) fn money(mut self, name: &str, amount: i64, currency: Currency) -> Self {
        self.name(name);
        self.raw("\"");
        match currency {
            Currency::Jpy => self.display(amount),
            Currency::Eur | Currency::Usd | Currency::Gbp => {
                self.display(amount / 100);
                self.raw(".");
                self.digits(amount % 100, 2);
            }
        }
        self.raw("\"");
        self
    }

    /// The `custom` object, its fields written by `fields`.
    pub(super) fn custom(mut self, fields: impl FnOnce(Self) -> Self) -> Self {
        self.name("custom");
        self.raw("{");
        let mut event = fields(self);
        event.raw("}");
        event
    }

    fn name(&mut self, name: &str) {
        if self.json.last() != Some(&b'{') {
            self.raw(",");
        }
        self.raw("\"");
        self.raw(name);
        self.raw("\":");
    }

    fn raw(&mut self, text: &str) {
        self.json.extend_from_slice(text.as_bytes());
    }

    fn display(&mut self, value: impl std::fmt::Display) {
        // Writing to a Vec cannot fail.
        let _ = write!(self.json, "{value}");
    }

    fn rfc3339(&mut self, at: i64) {
        self.day(at);
        let time = utc(at);
        self.raw("T");
        self.digits(i64::from(time.hour()), 2);
        self.raw(":");
        self.digits(i64::from(time.minute()), 2);
        self.raw(":");
        self.digits(i64::from(time.second()), 2);
        self.raw(".");
        self.digits(i64::from(time.timestamp_subsec_millis()), 3);
        self.raw("Z");
    }

    fn day(&mut self, at: i64) {
        let time = utc(at);
        self.digits(i64::from(time.year()), 4);
        self.raw("-");
        self.digits(i64::from(time.month()), 2);
        self.raw("-");
        self.digits(i64::from(time.day()), 2);
    }

    /// A number with leading zeros, `width` digits of it.
    fn digits(&mut self, value: i64, width: u32) {
        for place in (0..width).rev() {
            let digit = value / 10_i64.pow(place) % 10;
            self.json.push(b'0' + digit as u8);
        }
    }
}
