//! Salesforce's Change Data Capture:
//! <https://developer.salesforce.com/docs/atlas.en-us.change_data_capture.meta/change_data_capture/cdc_message_structure.htm>.
//! As the platform sends it, and as Confluent's source connector writes it, where fields that did
//! not change are null: only what the header lists as changed is said.
//!
//! One event may name many records. Gap events say that something changed, not what: they are
//! rejected, to be counted, listed and alerted on.

use serde_json::{Map, Value as Json};

use super::{Change, Clock, Row, member, micros, not_an_event, text_member, whole};
use crate::event::decode::{Bad, Reason, short};

/// What the records of one event may come to together: far more than any does, as each has all
/// fields of the event.
const MOST_BYTES: usize = 4 << 20;

pub(super) fn rows(value: Json) -> Result<Vec<Row>, Bad> {
    let value = envelope(value);
    let Some(header) = member(&value, "ChangeEventHeader").filter(|header| header.is_object())
    else {
        return Err(not_an_event("there is no `ChangeEventHeader`"));
    };
    let entity = text_member(header, "entityName")
        .ok_or_else(|| not_an_event("the header names no entity"))?;
    let kind = text_member(header, "changeType")
        .ok_or_else(|| not_an_event("the header names no change"))?;
    let ids = texts(header, "recordIds");
    if kind.starts_with("GAP_") {
        let ids: Vec<&str> = ids.iter().take(10).map(String::as_str).collect();
        return Err(Bad::new(
            Reason::Gap,
            format!(
                "{kind} of {entity} {}: what changed isn't said; read these records again",
                short(&ids.join(" "))
            ),
        ));
    }
    if ids.is_empty() {
        return Err(Bad::new(Reason::MissingId, "`recordIds` is empty"));
    }
    if ids.iter().any(|id| id.contains('*')) {
        return Err(Bad::new(
            Reason::Gap,
            format!("{kind} of all {entity}: which records isn't said; read them again"),
        ));
    }
    let change = match kind {
        "CREATE" | "UNDELETE" | "SNAPSHOT" => Change::Written,
        "UPDATE" => Change::Altered,
        "DELETE" => Change::Deleted,
        _ => return Err(not_an_event(format!("`changeType` is `{}`", short(kind)))),
    };
    let clock = Clock {
        time: header
            .get("commitTimestamp")
            .and_then(whole)
            .and_then(micros),
        sequence: sequence(header),
    };
    let columns = said(&value, header, &change);
    if ids.len() > 1 {
        let size = Json::Object(columns.clone()).to_string().len();
        if ids.len().saturating_mul(size) > MOST_BYTES {
            let detail = format!(
                "{kind} of {} records of {entity} with {size} bytes each: more than {MOST_BYTES} together; read these records again",
                ids.len()
            );
            return Err(Bad::new(Reason::TooLarge, detail));
        }
    }
    let rows = ids.into_iter().map(|id| {
        let mut columns = columns.clone();
        columns.insert("Id".into(), Json::String(long_id(&id)));
        Row {
            table: entity.to_owned(),
            change: change.clone(),
            columns: Json::Object(columns),
            clock,
        }
    });
    Ok(rows.collect())
}

/// What is inside the envelopes of the streaming API (`payload`) and of the Pub/Sub API's clients
/// (`payload` beside `replayId`).
fn envelope(value: Json) -> Json {
    let inner = |value: &Json| {
        let paths = ["/data/payload", "/payload"];
        let mut found = paths.iter().filter_map(|path| value.pointer(path));
        found.find(|payload| payload.is_object()).cloned()
    };
    match member(&value, "ChangeEventHeader") {
        Some(_) => value,
        None => inner(&value).unwrap_or(value),
    }
}

/// The fields that an event says something of.
fn said(value: &Json, header: &Json, change: &Change) -> Map<String, Json> {
    let changed = texts(header, "changedFields");
    let nulled = texts(header, "nulledFields");
    let mut columns = Map::new();
    for (name, content) in value.as_object().into_iter().flatten() {
        let is_named = |list: &[String]| {
            let is_in = |path: &String| {
                path == name
                    || path
                        .strip_prefix(name.as_str())
                        .is_some_and(|rest| rest.starts_with('.'))
            };
            list.iter().any(is_in)
        };
        let is_said = match change {
            // What a new record doesn't have is null or left out.
            Change::Written => !content.is_null(),
            // What is null and not named did not change.
            _ => !content.is_null() || is_named(&changed) || is_named(&nulled),
        };
        if name != "ChangeEventHeader" && is_said {
            columns.insert(name.clone(), ids_in(content.clone()));
        }
    }
    for name in nulled {
        if !name.contains('.') {
            columns.entry(name).or_insert(Json::Null);
        }
    }
    columns
}

/// References are ids too.
fn ids_in(value: Json) -> Json {
    match value {
        Json::String(text) if is_id(&text) => Json::String(long_id(&text)),
        value => value,
    }
}

fn is_id(text: &str) -> bool {
    // Three characters of the object's kind, then a number that begins with the instance; words of
    // fifteen letters are none.
    text.len() == 15
        && text.bytes().all(|b| b.is_ascii_alphanumeric())
        && text.bytes().any(|b| b.is_ascii_digit())
}

/// The id with eighteen characters of one with fifteen: a character more for five, that says which
/// of them are capital letters.
fn long_id(id: &str) -> String {
    if !is_id(id) {
        return id.to_owned();
    }
    const SUFFIX: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
    let capitals = |five: &[u8]| {
        let bits = five.iter().enumerate();
        bits.fold(0, |sum, (at, byte)| {
            sum | usize::from(byte.is_ascii_uppercase()) << at
        })
    };
    let suffix = id
        .as_bytes()
        .chunks(5)
        .map(|five| char::from(SUFFIX[capitals(five)]));
    id.chars().chain(suffix).collect()
}

/// The order of commits, and of the changes of one.
fn sequence(header: &Json) -> u64 {
    let number = |name: &str| {
        header
            .get(name)
            .and_then(whole)
            .and_then(|n| u64::try_from(n).ok())
    };
    let (commit, change) = (
        number("commitNumber").unwrap_or_default(),
        number("sequenceNumber").unwrap_or_default(),
    );
    (commit & ((1 << 48) - 1)) << 16 | change.min(0xffff)
}

fn texts(object: &Json, name: &str) -> Vec<String> {
    let items = object.get(name).and_then(Json::as_array);
    let items = items.into_iter().flatten();
    items
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}
