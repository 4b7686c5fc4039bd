//! Feeds: the change messages of CRMs and their databases as rows, which a mapping turns into assertions. One file per format.
//!
//! A format knows how its source says what: which table a row is of, when and in which order it was so, which of its columns are said at
//! all, and that a record is gone. What the columns mean, only the mapping knows.

mod cell;
mod debezium;
mod document;
mod hubspot;
mod pipedrive;
mod plain;
mod salesforce;
mod segment;

use std::collections::HashMap;

use serde_json::Value as Json;

use super::decode::{Bad, Context, Decoded, Reason, Rejected};
use super::mapping::{Applied, Mapping, RowClock, Rule};
use super::{Assertion, Field, FieldName, Value};
use crate::window::Calendar;

/// How a feed's messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Any JSON: an object, or an array of them, each a row; columns are members, or JSON pointers.
    Json,
    /// Debezium's change events, with or without schemas, wrapped or flattened.
    Debezium,
    /// Salesforce's Change Data Capture, as the platform sends it and as Confluent's connector writes it.
    SalesforceCdc,
    /// HubSpot's webhooks.
    HubspotWebhook,
    /// Pipedrive's webhooks, version 1 and 2.
    PipedriveWebhook,
    /// Track events in Segment's form.
    Segment,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 6] = [
        Format::Json,
        Format::Debezium,
        Format::SalesforceCdc,
        Format::HubspotWebhook,
        Format::PipedriveWebhook,
        Format::Segment,
    ];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::Debezium => "debezium",
            Format::SalesforceCdc => "salesforce-cdc",
            Format::HubspotWebhook => "hubspot-webhook",
            Format::PipedriveWebhook => "pipedrive-webhook",
            Format::Segment => "segment",
        }
    }

    /// The format of a name.
    pub fn of_name(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.name() == name)
    }
}

/// A message of a feed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Message<'m> {
    /// The topic: what a row is of where the message doesn't say it.
    pub topic: &'m str,
    /// Its key, if it has one.
    pub key: Option<&'m [u8]>,
    /// Its value; none of a tombstone.
    pub value: Option<&'m [u8]>,
}

/// What a message says of one thing.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    /// The table, object or event it is of.
    table: String,
    change: Change,
    /// Its columns. One that isn't there is not said; null says that there is nothing.
    columns: Json,
    clock: Clock,
}

/// When a row was so, as its feed says.
type Clock = RowClock;

/// What became of the thing.
#[derive(Debug, Clone, PartialEq)]
enum Change {
    /// It is there, and these are columns of it.
    Written,
    /// These are columns of it; whether it is there, others say.
    Altered,
    /// It is gone.
    Deleted,
    /// It is one with another, whose id this is.
    MergedInto(String),
}

/// An item of a message that is no row, with its index in the message.
type NoRow = (u32, Bad);

/// What a format makes of a message.
#[derive(Debug, Default)]
struct Rows {
    rows: Vec<(u32, Row)>,
    bad: Vec<NoRow>,
}

impl Rows {
    fn one(row: Row) -> Rows {
        Rows {
            rows: vec![(0, row)],
            bad: Vec::new(),
        }
    }

    /// Each item of an array by its index, or a single item.
    fn each(items: Json, read: impl Fn(Json) -> Result<Vec<Row>, Bad>) -> Rows {
        let items = match items {
            Json::Array(items) => items,
            item => vec![item],
        };
        let mut all = Rows::default();
        for (index, item) in items.into_iter().enumerate() {
            let index = index as u32;
            match read(item) {
                Ok(rows) => all.rows.extend(rows.into_iter().map(|row| (index, row))),
                Err(bad) => all.bad.push((index, bad)),
            }
        }
        all
    }
}

/// A feed as it is read: its format and its mapping.
#[derive(Debug)]
pub struct Feed {
    format: Format,
    mapping: Mapping,
    calendar: Calendar,
}

impl Feed {
    /// A feed of a format, read through a mapping; times without an offset are those of the mapping's zone, else of the organisation's.
    pub fn new(format: Format, mapping: Mapping, organisation: &Calendar) -> Feed {
        let calendar = match mapping.zone {
            Some(zone) if zone != organisation.zone() => Calendar::new(zone, 1),
            _ => organisation.clone(),
        };
        Feed {
            format,
            mapping,
            calendar,
        }
    }

    /// Its format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Its mapping.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// What a message asserts. Its items are rows; those that can't be read are rejected by their index, the others count.
    pub fn decode<'m>(&self, message: Message<'m>, context: &Context<'_>) -> Decoded<'m> {
        let raw = message.value.unwrap_or_default();
        let mut decoded = Decoded::default();
        let reject = |decoded: &mut Decoded<'m>, index, bad| {
            decoded.rejected.push(Rejected { index, bad, raw });
        };
        let rows = match self.rows(message, context) {
            Ok(rows) => rows,
            Err(bad) => {
                reject(&mut decoded, 0, bad);
                return decoded;
            }
        };
        for (index, bad) in rows.bad {
            reject(&mut decoded, index, bad);
        }
        for (index, row) in rows.rows {
            match self.assertions(&row, context, index) {
                Ok(assertions) => decoded.assertions.extend(assertions),
                Err(bad) => reject(&mut decoded, index, bad),
            }
        }
        decoded
    }

    fn rows(&self, message: Message<'_>, context: &Context<'_>) -> Result<Rows, Bad> {
        let size = message.value.map_or(0, <[u8]>::len);
        if size > context.limit {
            let detail = format!("{size} bytes; the topic's limit is {}", context.limit);
            return Err(Bad::new(Reason::TooLarge, detail));
        }
        let Some(value) = message.value else {
            // What is gone was said by the message before; a compacted topic then lets it go.
            return Ok(Rows::default());
        };
        let value = document::read(value)?;
        match self.format {
            Format::Json => Ok(plain::rows(value, message.topic)),
            Format::Debezium => debezium::rows(value, message),
            Format::SalesforceCdc => salesforce::rows(value),
            Format::HubspotWebhook => Ok(hubspot::rows(value)),
            Format::PipedriveWebhook => Ok(pipedrive::rows(value)),
            Format::Segment => Ok(segment::rows(value)),
        }
    }

    /// What the rules that read its table make of a row.
    fn assertions(
        &self,
        row: &Row,
        context: &Context<'_>,
        index: u32,
    ) -> Result<Vec<Assertion<'static>>, Bad> {
        let mut rules = self.mapping.rules.iter();
        let mut reading = rules
            .by_ref()
            .filter(|rule| rule.reads(&row.table))
            .peekable();
        if reading.peek().is_none() && !self.mapping.ignore.contains(&row.table) {
            let detail = format!(
                "no [[records]] of the mapping reads `{}`; add one, or list it under `ignore`",
                super::decode::short(&row.table)
            );
            return Err(Bad::new(Reason::UnknownEntity, detail));
        }
        let mut assertions = Vec::new();
        for rule in reading {
            assertions.extend(self.assertion(rule, row, context, index)?);
        }
        Ok(assertions)
    }

    fn assertion(
        &self,
        rule: &Rule,
        row: &Row,
        context: &Context<'_>,
        index: u32,
    ) -> Result<Option<Assertion<'static>>, Bad> {
        let mut cells: HashMap<&str, Option<String>> = HashMap::new();
        for (key, column) in rule.columns() {
            if !cells.contains_key(column) {
                let cell = cell::text(&row.columns, column)
                    .map_err(|problem| Bad::new(Reason::WrongType, format!("{key}: {problem}")))?;
                cells.insert(column, cell);
            }
        }
        let cells = &cells;
        let look_up = |column: &str| cells.get(column)?.as_deref();
        let at = (row.clock, index);
        let applied = if row.change == Change::Deleted {
            Some(rule.delete(look_up, context, at, &self.calendar)?)
        } else {
            rule.apply(look_up, context, at, &self.calendar)?
        };
        let Some(Applied { assertion, .. }) = applied else {
            return Ok(None);
        };
        let mut assertion = assertion.into_owned();
        let says = |field| {
            let named = FieldName::Known(field);
            assertion.values.iter().any(|(name, _)| *name == named)
        };
        match &row.change {
            // A row that is there was not deleted, or came back.
            Change::Written if !says(Field::DELETED) => assertion
                .values
                .push((FieldName::Known(Field::DELETED), Value::Flag(false))),
            Change::MergedInto(id) => {
                let survivor = context.qualify(id.as_str().into());
                let survivor =
                    survivor.map_or(Value::Null, |id| Value::Text(id.into_owned().into()));
                assertion.values = vec![(FieldName::Known(Field::MERGED_INTO), survivor)];
            }
            _ => {}
        }
        Ok(Some(assertion))
    }
}

/// A member of an object.
fn member<'j>(object: &'j Json, name: &str) -> Option<&'j Json> {
    object
        .as_object()?
        .get(name)
        .filter(|value| !value.is_null())
}

fn text_member<'j>(object: &'j Json, name: &str) -> Option<&'j str> {
    member(object, name)?.as_str()
}

/// A whole number; those of documents are texts.
fn whole(value: &Json) -> Option<i64> {
    match value {
        Json::Number(number) => number.as_i64(),
        Json::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Milliseconds as µs.
fn micros(millis: i64) -> Option<i64> {
    millis.checked_mul(1_000)
}

fn not_an_event(detail: impl Into<String>) -> Bad {
    Bad::new(Reason::NotAnEvent, detail)
}

#[cfg(test)]
mod tests;
