//! Redaction: messages for the dead letters, in which the columns that the mapping hashes are
//! replaced by marks of their hashes. Everything else stays byte by byte.
//!
//! What is left says the same to the mapping as the message did: this is checked, not hoped for.
//! Where it can't be shown, as in a message that can't be read, there is no redaction, and the
//! message has to be withheld.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde_json::Value as Json;

use super::document::{self, Item};
use super::{Change, Feed, Format, Message, Row, cell, items, text_member};
use crate::event::decode::Bad;
use crate::event::mapping::{Rule, pointer};

/// A message, redacted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redacted {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Vec<u8>,
}

/// What is replaced: where it ends and what by, by where it starts.
type Splices = BTreeMap<usize, (usize, String)>;

impl Feed {
    /// A message of a topic, or an item of one, without what its mapping hashes. `None` if it can't
    /// be known what that is, or if what is left would say something else.
    pub fn redact(&self, topic: &str, message: Message<'_>) -> Option<Redacted> {
        let value = message.value?;
        let items = document::items(value).ok()?;
        let (mut splices, mut marks) = (Splices::new(), BTreeSet::new());
        for (raw, item) in &items {
            let item = item.as_ref().ok()?;
            let rows = self
                .format
                .rows((topic, message.key()), item.clone())
                .ok()?;
            for (rule, column) in self.hashed(&rows) {
                // A delete's columns may be those of the key alone.
                for row in &rows {
                    let text = cell::text(&row.columns, column).ok()?;
                    marks.extend(mark(rule, column, text).ok()?);
                }
                for place in self.format.places(item, column) {
                    let text = cell::text(item, &place).ok()?;
                    if let Some(mark) = mark(rule, column, text).ok()? {
                        splice(&mut splices, document::spans(value, raw, &place), &mark);
                        marks.insert(mark);
                    }
                }
            }
        }
        let redacted = Redacted {
            key: message.key.map(|key| self.key(key, &marks)),
            value: spliced(value, &splices),
        };
        self.says_the_same(topic, message, &items, &redacted)
            .then_some(redacted)
    }

    /// The hashed columns of rows, each with a rule that hashes it. Of a table that no rule reads
    /// nothing is known: the columns of all rules.
    fn hashed<'f>(&'f self, rows: &[Row]) -> Vec<(&'f Rule, &'f str)> {
        let is_known = |row: &Row| self.mapping.rules.iter().any(|rule| rule.reads(&row.table));
        let is_any = rows.is_empty() || !rows.iter().all(is_known);
        let rules = self.mapping.rules.iter();
        let rules = rules.filter(|rule| is_any || rows.iter().any(|row| rule.reads(&row.table)));
        rules
            .flat_map(|rule| hashed(rule).map(move |column| (rule, column)))
            .collect()
    }

    /// A key without the texts that its message hashes: the key itself may be one, or have one as a
    /// member, blanks and capitals aside.
    fn key(&self, key: &[u8], marks: &BTreeSet<String>) -> Vec<u8> {
        let rules = || self.mapping.rules.iter();
        let mark = |text: &str| {
            let columns = rules().flat_map(|rule| hashed(rule).map(move |column| (rule, column)));
            let mut known = columns.filter_map(|(rule, column)| rule.mark(column, text).ok()?);
            known.find(|mark| marks.contains(mark))
        };
        if let Some(mark) = std::str::from_utf8(key).ok().and_then(mark) {
            return mark.into_bytes();
        }
        let mut splices = Splices::new();
        if let Ok(document) = document::read(key) {
            for place in document::leaves(&document) {
                let text = document.pointer(&place).and_then(Json::as_str);
                if let Some(mark) = text.and_then(mark) {
                    splice(&mut splices, document::spans(key, key, &place), &mark);
                }
            }
        }
        spliced(key, &splices)
    }

    /// True if what is left is read as the message was, but for the hashed columns, which have the
    /// marks of what they had.
    fn says_the_same(
        &self,
        topic: &str,
        message: Message<'_>,
        items: &[Item<'_>],
        redacted: &Redacted,
    ) -> bool {
        let after = Message {
            key: redacted.key.as_deref(),
            value: Some(&redacted.value),
        };
        let Ok(left) = document::items(&redacted.value) else {
            return false;
        };
        let same = |before: &Item<'_>, left: &Item<'_>| {
            let (Ok(before), Ok(left)) = (&before.1, &left.1) else {
                return false;
            };
            let rows = self.format.rows((topic, message.key()), before.clone());
            let left = self.format.rows((topic, after.key()), left.clone());
            let (Ok(rows), Ok(left)) = (rows, left) else {
                return false;
            };
            rows.len() == left.len()
                && rows
                    .iter()
                    .zip(&left)
                    .all(|(row, left)| self.is_same_row(row, left))
        };
        items.len() == left.len() && items.iter().zip(&left).all(|(a, b)| same(a, b))
    }

    fn is_same_row(&self, row: &Row, left: &Row) -> bool {
        let mut rules = self
            .mapping
            .rules
            .iter()
            .filter(|rule| rule.reads(&row.table));
        let is_same_cell = |rule: &Rule, column: &str| {
            let text = |row: &Row| cell::text(&row.columns, column);
            match (text(row), text(left)) {
                (Ok(Some(before)), Ok(Some(after))) if !before.is_empty() => {
                    match rule.mark(column, &before) {
                        Ok(mark) => mark.unwrap_or(before) == after,
                        Err(_) => false,
                    }
                }
                (before, after) => before == after,
            }
        };
        // The survivor of a merge is an id in the clear, wherever the format has it.
        let is_merge = matches!(row.change, Change::MergedInto(_));
        (&row.table, &row.change, row.clock) == (&left.table, &left.change, left.clock)
            && rules.all(|rule| {
                let columns = rule.columns();
                let mut of_row = columns.filter_map(|(_, column)| rule.column_of_row(column));
                !(is_merge && rule.hashes_id())
                    && of_row.all(|column| is_same_cell(rule, column))
                    && items::of(rule, row) == items::of(rule, left)
            })
    }
}

impl Format {
    /// Where a message may have a column, as JSON pointers.
    fn places(self, item: &Json, column: &str) -> Vec<String> {
        let images: &[&str] = match self {
            Format::Json => &[""],
            Format::Debezium => &[
                "",
                "/after",
                "/before",
                "/payload",
                "/payload/after",
                "/payload/before",
            ],
            Format::SalesforceCdc => &["", "/payload", "/data/payload"],
            Format::HubspotWebhook if text_member(item, "propertyName") == Some(column) => {
                return vec!["/propertyValue".to_owned()];
            }
            Format::HubspotWebhook => &[""],
            Format::PipedriveWebhook => &["/data", "/current", "/previous"],
            Format::Segment => &["", "/properties"],
        };
        let column = pointer(column);
        let places = images.iter().map(|image| format!("{image}{column}"));
        places
            .filter(|place| item.pointer(place).is_some())
            .collect()
    }
}

/// The columns of its rows that a rule hashes.
fn hashed(rule: &Rule) -> impl Iterator<Item = &str> {
    let hashed = rule.hashed();
    hashed.filter_map(|column| rule.column_of_row(column))
}

/// What replaces the text of a hashed column; nothing for one that is blank, or a mark already.
///
/// # Errors
/// There is no key to hash with.
fn mark(rule: &Rule, column: &str, text: Option<String>) -> Result<Option<String>, Bad> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let mark = rule.mark(column, &text)?;
    Ok(mark.filter(|mark| *mark != text))
}

fn splice(splices: &mut Splices, spans: Vec<Range<usize>>, mark: &str) {
    let json = Json::from(mark).to_string();
    splices.extend(
        spans
            .into_iter()
            .map(|span| (span.start, (span.end, json.clone()))),
    );
}

fn spliced(bytes: &[u8], splices: &Splices) -> Vec<u8> {
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    for (start, (end, text)) in splices {
        out.extend_from_slice(&bytes[at..*start]);
        out.extend_from_slice(text.as_bytes());
        at = *end;
    }
    out.extend_from_slice(&bytes[at..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::feed::tests::context;
    use crate::event::mapping::{HashKey, Mapping, is_mark};
    use crate::record::SCHEMA;
    use crate::window::Calendar;

    const MAPPING: &str = r#"
[[records]]
table = "deal"
entity = "deal"
id = { column = "id", hash = true }
[records.fields]
amount = { column = "amount", round = true }
[records.custom]
email = { column = "email", hash = true, ignore_case = true }
city = { column = "/address/city", hash = true }

[[records]]
table = "plain"
entity = "deal"
id = "id"
[records.custom]
email = "email"
"#;

    fn feed(format: Format) -> Feed {
        let key = HashKey::new("00112233445566778899aabbccddeeff").unwrap();
        let mapping = match format {
            Format::HubspotWebhook => {
                MAPPING.replace("{ column = \"id\", hash = true }", "\"objectId\"")
            }
            Format::SalesforceCdc => MAPPING.replace("{ column = \"id\", hash = true }", "\"Id\""),
            _ => MAPPING.to_owned(),
        };
        let mapping = Mapping::parse(&mapping, &SCHEMA).unwrap();
        let mapping = mapping.with_key(Some(&key), "").unwrap();
        Feed::new(format, mapping, &Calendar::new(chrono_tz::Tz::UTC, 1))
    }

    /// What is left of a message says what the message said, and is redacted once.
    fn left(format: Format, key: &str, value: &str) -> (String, String) {
        let feed = feed(format);
        let message = Message {
            key: Some(key.as_bytes()),
            value: Some(value.as_bytes()),
        };
        let redacted = feed.redact("deal", message).expect(value);
        let again = Message {
            key: redacted.key.as_deref(),
            value: Some(&redacted.value),
        };
        let said = |message| feed.decode("deal", message, &context());
        assert_eq!(said(message).assertions, said(again).assertions, "{value}");
        assert!(said(message).rejected.is_empty(), "{value}");
        assert_eq!(feed.redact("deal", again).as_ref(), Some(&redacted));
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(redacted.key.unwrap()), text(redacted.value))
    }

    #[test]
    fn every_format_is_redacted_wherever_it_has_a_column() {
        let row =
            r#"{"id":7007,"amount":1.50,"email":"KIM@x","address":{"city":"Ulm"},"note":"a  b"}"#;
        let source = r#""source":{"table":"deal","ts_ms":4000,"lsn":77}"#;
        let cdc = |payload: &str| {
            let fields = &row[1..];
            format!(
                r#"{payload}{{"ChangeEventHeader":{{"entityName":"deal","recordIds":["0065g00000ABCdeAAH"],"changeType":"CREATE","commitTimestamp":5,"changedFields":["email"]}},{fields}"#
            )
        };
        for (format, value) in [
            (Format::Json, row.to_owned()),
            (Format::Json, format!("[{row}, {row}]")),
            (Format::Debezium, format!(r#"{{"before":{row},"after":{row},"op":"u",{source}}}"#)),
            (
                Format::Debezium,
                format!(r#"{{"schema":{{"fields":[]}},"payload":{{"before":null,"after":{row},"op":"c",{source}}}}}"#),
            ),
            (Format::Debezium, row.replacen('{', r#"{"__table":"deal","#, 1)),
            (Format::SalesforceCdc, cdc("")),
            (Format::SalesforceCdc, format!("{}}}", cdc(r#"{"payload":"#))),
            (
                Format::PipedriveWebhook,
                format!(r#"{{"meta":{{"entity":"deal","action":"change","timestamp":1}},"data":{row},"previous":{row}}}"#),
            ),
            (Format::Segment, format!(r#"{{"type":"track","event":"deal","properties":{row},"address":{{"city":"Ulm"}}}}"#)),
            (
                Format::HubspotWebhook,
                r#"[{"subscriptionType":"deal.propertyChange","objectId":5,"occurredAt":1,"propertyName":"email","propertyValue":"KIM@x"}]"#.into(),
            ),
        ] {
            let (_, left) = left(format, "{}", &value);
            let lower = left.to_lowercase();
            assert!(!lower.contains("kim@x") && !lower.contains("\"city\":\"ulm"), "{left}");
            if format != Format::HubspotWebhook {
                assert!(left.contains("\"amount\":1.50") && left.contains("a  b"), "{left}");
            }
        }
    }

    #[test]
    fn a_key_is_redacted_like_its_message() {
        let value =
            r#"{"before":null,"after":null,"op":"d","source":{"table":"deal","ts_ms":4000}}"#;
        let (key, _) = left(Format::Debezium, r#"{"id": 7007}"#, value);
        let mark = key
            .strip_prefix("{\"id\": \"")
            .and_then(|rest| rest.strip_suffix("\"}"));
        assert!(mark.is_some_and(is_mark), "{key}");
        let row = r#"{"id":"D-7","email":"kim@x"}"#;
        for key in ["kim@x", " KIM@x ", "\"Kim@x\""] {
            let (key, _) = left(Format::Json, key, row);
            assert!(is_mark(key.trim_matches('"')), "{key}");
        }
        assert_eq!(left(Format::Json, "other", row).0, "other");
        assert_eq!(left(Format::Json, "{\"n\": 1.50}", row).0, "{\"n\": 1.50}");
    }

    #[test]
    fn what_is_not_there_or_blank_stays_so_and_a_table_hashes_only_its_own_columns() {
        let row = r#"{"id":"D-7","email":null,"address":{"city":""}}"#;
        let (_, left_over) = left(Format::Json, "{}", row);
        assert!(
            left_over.ends_with(r#","email":null,"address":{"city":""}}"#),
            "{left_over}"
        );
        let other = r#"{"op":"c","source":{"table":"plain","ts_ms":4000},"after":{"id":7,"email":"kim@x"}}"#;
        assert_eq!(left(Format::Debezium, "{}", other).1, other);
        let unknown = other.replace("plain", "nobodys");
        let message = Message {
            key: None,
            value: Some(unknown.as_bytes()),
        };
        let redacted = feed(Format::Debezium).redact("deal", message).unwrap();
        assert!(!String::from_utf8(redacted.value).unwrap().contains("kim@x"));
    }

    #[test]
    fn what_cannot_be_read_or_would_say_something_else_is_not_redacted() {
        let decimal = r#"{"schema":{"fields":[{"field":"after","fields":[{"field":"email","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}}]}]},"payload":{"op":"c","source":{"table":"deal","ts_ms":1},"after":{"id":1,"email":"ExLQ"}}}"#;
        for (format, value) in [
            (Format::Json, r#"{"email":"kim@x""#),
            (Format::Json, r#"{"id":1,"email":{"of":"kim@x"}}"#),
            (Format::Json, r#"[{"id":1,"email":"kim@x"},7]"#),
            (
                Format::Debezium,
                r#"{"op":"t","source":{"table":"deal"},"before":{"email":"kim@x"}}"#,
            ),
            (Format::Debezium, decimal),
            (Format::Segment, r#"{"email":"kim@x"}"#),
        ] {
            let message = Message {
                key: None,
                value: Some(value.as_bytes()),
            };
            assert_eq!(feed(format).redact("deal", message), None, "{value}");
        }
        assert_eq!(feed(Format::Json).redact("deal", Message::default()), None);
    }
}
