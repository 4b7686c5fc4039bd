//! Feeds: the change messages of CRMs and their databases as rows, which a mapping turns into
//! assertions. One file per format.
//!
//! A format knows how its source says what: which table a row is of, when and in which order it was
//! so, which of its columns are said at all, and that a record is gone. What the columns mean, only
//! the mapping knows.

pub mod avro;
mod bounds;
mod cell;
mod debezium;
mod document;
mod hubspot;
mod items;
mod pipedrive;
mod plain;
mod protobuf;
pub mod recognise;
mod redact;
mod salesforce;
mod segment;

pub use redact::Redacted;
use serde_json::Value as Json;

use super::decode::{Bad, Context, Decoded, Reason, Rounded};
use super::mapping::{Applied, Mapping, RowClock, Rule};
use super::{Assertion, Field, FieldName, Value, field_value};
use crate::window::Calendar;
use avro::Schemas;
use items::{Budget, cells};

/// How a feed's messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// Any JSON: an object, or an array of them, each a row; columns are members, or JSON pointers.
    Json,
    /// Debezium's change events, with or without schemas, wrapped or flattened.
    Debezium,
    /// Salesforce's Change Data Capture, as the platform sends it and as Confluent's connector
    /// writes it.
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

    /// The rows of an item of a message.
    fn rows(self, (topic, key): (&str, Key<'_>), item: Json) -> Result<Vec<Row>, Bad> {
        match self {
            Format::Json => plain::rows(item, topic),
            Format::Debezium => debezium::rows(item, topic, key),
            Format::SalesforceCdc => salesforce::rows(item),
            Format::HubspotWebhook => hubspot::rows(item),
            Format::PipedriveWebhook => pipedrive::rows(item),
            Format::Segment => segment::rows(item),
        }
    }
}

/// A message of a feed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Message<'m> {
    /// Its key, if it has one.
    pub key: Option<&'m [u8]>,
    /// Its value; none of a tombstone.
    pub value: Option<&'m [u8]>,
}

impl<'m> Message<'m> {
    fn key(self) -> Key<'m> {
        Key {
            bytes: self.key,
            schemas: None,
        }
    }
}

/// A message's key, as it is encoded. Beside a value in Avro there may be a key in JSON.
#[derive(Debug, Clone, Copy)]
struct Key<'m> {
    bytes: Option<&'m [u8]>,
    schemas: Option<&'m Schemas>,
}

impl Key<'_> {
    /// The document it is; none if it can't be read.
    fn read(self) -> Option<Json> {
        let bytes = self.bytes?;
        let avro = self.schemas.map(|schemas| avro::read(bytes, schemas));
        avro.and_then(Result::ok)
            .or_else(|| document::read(bytes).ok())
    }
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
    /// The same of one that was there before, perhaps with other columns.
    Rewritten,
    /// These are columns of it; whether it is there, others say.
    Altered,
    /// It is gone.
    Deleted,
    /// It is one with another, whose id this is.
    MergedInto(String),
}

/// A feed as it is read: its format and its mapping.
#[derive(Debug)]
pub struct Feed {
    format: Format,
    mapping: Mapping,
    calendar: Calendar,
}

impl Feed {
    /// A feed of a format, read through a mapping; times without an offset are those of the
    /// mapping's zone, else of the organisation's.
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

    /// What a message of a topic asserts. It may be an array, of which each item is read by itself:
    /// those that can't be are rejected by their index, the others count. A tombstone asserts
    /// nothing: what is gone was said by the message before it.
    pub fn decode<'m>(
        &self,
        topic: &str,
        message: Message<'m>,
        context: &Context<'_>,
    ) -> Decoded<'m> {
        let mut decoded = Decoded::default();
        let Some(value) = message.value else {
            return decoded;
        };
        let items = within_limit(value, context).and_then(|()| document::items(value));
        let items = items.unwrap_or_else(|bad| vec![(value, Err(bad))]);
        for (index, (raw, item)) in (0..).zip(items) {
            let read =
                item.and_then(|item| self.item((topic, message.key()), item, context, index));
            match read {
                Ok(read) => {
                    decoded.assertions.extend(read.assertions);
                    decoded.rounded.extend(read.rounded);
                }
                Err(bad) => decoded.reject(index, bad, raw),
            }
        }
        decoded
    }

    /// The same of a message in Avro or Protobuf, which is one item, by the schemas that its value
    /// and its key name.
    pub fn decode_by_schemas<'m>(
        &self,
        topic: &str,
        message: Message<'m>,
        schemas: &Schemas,
        context: &Context<'_>,
    ) -> Decoded<'m> {
        let mut decoded = Decoded::default();
        let Some(raw) = message.value else {
            return decoded;
        };
        let key = Key {
            schemas: Some(schemas),
            ..message.key()
        };
        let read = within_limit(raw, context)
            .and_then(|()| avro::read(raw, schemas))
            .and_then(|item| self.item((topic, key), item, context, 0));
        match read {
            Ok(read) => {
                decoded.assertions = read.assertions;
                decoded.rounded = read.rounded;
            }
            Err(bad) => decoded.reject(0, bad, raw),
        }
        decoded
    }

    /// What one item asserts: all of it, or nothing.
    fn item(
        &self,
        at: (&str, Key<'_>),
        item: Json,
        context: &Context<'_>,
        index: u32,
    ) -> Result<Decoded<'static>, Bad> {
        let mut decoded = Decoded::default();
        for row in self.format.rows(at, item)? {
            for rule in self.rules(&row)? {
                let mut budget = Budget::new();
                for part in items::of(rule, &row)? {
                    let cells = cells(rule, &row, part)?;
                    budget.spend(rule, part, &cells)?;
                    if let Some(said) = self.assertion(rule, &row, &cells, context, index)? {
                        decoded.assertions.push(said.0);
                        decoded.rounded.extend(said.1);
                    }
                }
            }
        }
        Ok(decoded)
    }

    /// The rules that read a row's table; none of one that the mapping ignores.
    fn rules(&self, row: &Row) -> Result<Vec<&Rule>, Bad> {
        let rules = self.mapping.rules.iter();
        let rules: Vec<&Rule> = rules.filter(|rule| rule.reads(&row.table)).collect();
        if rules.is_empty() && !self.mapping.ignore.contains(&row.table) {
            let detail = format!(
                "no [[records]] of the mapping reads `{}`; add one, or list it under `ignore`",
                super::decode::short(&row.table)
            );
            return Err(Bad::new(Reason::UnknownEntity, detail));
        }
        Ok(rules)
    }

    /// What a rule makes of a row whose cells are looked up, and the amounts it rounded; none if it
    /// doesn't read it.
    fn assertion(
        &self,
        rule: &Rule,
        row: &Row,
        cells: &[Cell],
        context: &Context<'_>,
        index: u32,
    ) -> Result<Option<(Assertion<'static>, Vec<Rounded>)>, Bad> {
        let look_up = |name: &str| {
            let (.., cell) = cells.iter().find(|(_, column, _)| column == name)?;
            cell.as_deref()
        };
        let at = (row.clock, index);
        let applied = match row.change {
            Change::MergedInto(_) if rule.partial => None,
            // That the record is gone the rule says that reads the whole of it.
            Change::Deleted if self.mapping.rules.iter().any(|of| rule.is_part_of(of)) => None,
            Change::Deleted if rule.partial => {
                rule.delete_part(look_up, context, at, &self.calendar)?
            }
            Change::Deleted => Some(rule.delete(look_up, context, at, &self.calendar)?),
            Change::Rewritten => rule.apply_again(look_up, context, at, &self.calendar)?,
            _ => rule.apply(look_up, context, at, &self.calendar)?,
        };
        let Some(Applied {
            assertion,
            mut rounded,
        }) = applied
        else {
            return Ok(None);
        };
        let mut assertion = assertion.into_owned();
        let says = |field| {
            let named = FieldName::Known(field);
            assertion.values.iter().any(|(name, _)| *name == named)
        };
        match &row.change {
            // A row that is there was not deleted, or came back.
            Change::Written | Change::Rewritten if !rule.partial && !says(Field::DELETED) => {
                assertion
                    .values
                    .push((FieldName::Known(Field::DELETED), Value::Flag(false)))
            }
            Change::MergedInto(id) => {
                let survivor = context.qualify(rule.id_of(id)?.into());
                let survivor =
                    survivor.map_or(Value::Null, |id| Value::Text(id.into_owned().into()));
                assertion.values = vec![(FieldName::Known(Field::MERGED_INTO), survivor)];
                // Not every kind of record can be merged.
                field_value::complete(&mut assertion, context.schema, context.namespace)?;
                rounded.clear();
            }
            _ => {}
        }
        Ok(Some((assertion, rounded)))
    }

    /// What a message would assert, rule by rule and with the cells that were looked at.
    pub fn explain(
        &self,
        topic: &str,
        message: Message<'_>,
        context: &Context<'_>,
    ) -> Vec<Explained> {
        let Some(value) = message.value else {
            return Vec::new();
        };
        let items = document::items(value).unwrap_or_else(|bad| vec![(value, Err(bad))]);
        let mut explained = Vec::new();
        for (index, (_, item)) in (0..).zip(items) {
            let rows = item.and_then(|item| self.format.rows((topic, message.key()), item));
            match rows {
                Err(bad) => explained.push(Explained::Rejected { index, bad }),
                Ok(rows) => {
                    for row in rows {
                        self.explain_row(&row, context, index, &mut explained);
                    }
                }
            }
        }
        explained
    }

    fn explain_row(&self, row: &Row, context: &Context<'_>, index: u32, out: &mut Vec<Explained>) {
        let table = || row.table.clone();
        let rules = match self.rules(row) {
            Ok(rules) if rules.is_empty() => {
                return out.push(Explained::Ignored { table: table() });
            }
            Ok(rules) => rules,
            Err(bad) => return out.push(Explained::Rejected { index, bad }),
        };
        for rule in rules {
            let not_read = || Explained::NotRead {
                rule: rule.key.clone(),
                table: table(),
            };
            let parts = match items::of(rule, row) {
                Ok(parts) => parts,
                Err(bad) => return out.push(Explained::Rejected { index, bad }),
            };
            if parts.is_empty() {
                out.push(not_read());
            }
            for part in parts {
                let read = cells(rule, row, part).and_then(|cells| {
                    let said = self.assertion(rule, row, &cells, context, index)?;
                    Ok((said, cells))
                });
                out.push(match read {
                    Err(bad) => Explained::Rejected { index, bad },
                    Ok((None, _)) => not_read(),
                    Ok((Some((assertion, rounded)), cells)) => Explained::Read {
                        rule: rule.key.clone(),
                        table: table(),
                        assertion,
                        cells,
                        rounded,
                    },
                });
            }
        }
    }
}

/// A cell that a rule looks at: the key that names its column, the column, and its text if it is
/// there.
pub type Cell = (String, String, Option<String>);

/// What a message would assert, and why.
#[derive(Debug)]
pub enum Explained {
    /// An item that can't be read.
    Rejected {
        /// Its index in the message.
        index: u32,
        /// Why.
        bad: Bad,
    },
    /// A row of a table that the mapping ignores.
    Ignored {
        /// Which.
        table: String,
    },
    /// A row that a rule doesn't read, as its condition doesn't hold or the row has no such items.
    NotRead {
        /// The key of the rule.
        rule: String,
        /// The row's table.
        table: String,
    },
    /// A row that a rule reads.
    Read {
        /// The key of the rule.
        rule: String,
        /// The row's table.
        table: String,
        /// What it asserts.
        assertion: Assertion<'static>,
        /// The cells that were looked at.
        cells: Vec<Cell>,
        /// The amounts that were rounded.
        rounded: Vec<Rounded>,
    },
}

fn within_limit(value: &[u8], context: &Context<'_>) -> Result<(), Bad> {
    let (size, limit) = (value.len(), context.limit);
    if size > limit {
        let detail = format!("{size} bytes; the topic's limit is {limit}");
        return Err(Bad::new(Reason::TooLarge, detail));
    }
    Ok(())
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
