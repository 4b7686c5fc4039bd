//! Pipedrive's webhooks, version 1 (`current`, `previous`) and 2 (`data`, `previous`):
//! <https://pipedrive.readme.io/docs/guide-for-webhooks> and
//! <https://pipedrive.readme.io/docs/guide-for-webhooks-v2>. A row has all columns of its object.
//! In version 1 a merged object names the one it became in `merged_to_id`; in version 2 a merge is
//! a deletion and a change.

use serde_json::{Map, Value as Json, json};

use super::{Change, Clock, Row, member, micros, not_an_event, text_member, whole};
use crate::event::When;
use crate::event::decode::{Bad, Reason, short};

pub(super) fn rows(item: Json) -> Result<Vec<Row>, Bad> {
    let meta = member(&item, "meta").ok_or_else(|| not_an_event("there is no `meta`"))?;
    let text = |names: [&str; 2]| names.into_iter().find_map(|name| text_member(meta, name));
    let table = text(["entity", "object"]).ok_or_else(|| not_an_event("`meta` names no entity"))?;
    let action =
        text(["action", "action"]).ok_or_else(|| not_an_event("`meta` names no action"))?;
    let id = meta
        .get("entity_id")
        .or_else(|| meta.get("id"))
        .and_then(whole);
    let present = member(&item, "data").or_else(|| member(&item, "current"));
    let columns = match present.or_else(|| member(&item, "previous")) {
        Some(Json::Object(columns)) => columns.clone(),
        _ => Map::new(),
    };
    let mut row = Row {
        table: table.to_owned(),
        change: Change::Written,
        columns: Json::Null,
        clock: Clock {
            time: time(meta)?,
            sequence: 0,
        },
    };
    let survivor = columns.get("merged_to_id").and_then(whole);
    row.change = match (action, survivor) {
        (_, Some(survivor)) => Change::MergedInto(survivor.to_string()),
        ("added" | "updated" | "create" | "change", None) => Change::Written,
        ("deleted" | "delete", None) => Change::Deleted,
        // What became of the survivor comes as an update of its own.
        ("merged", None) => Change::Written,
        _ => return Err(not_an_event(format!("`action` is `{}`", short(action)))),
    };
    let mut columns = columns;
    if let Some(id) = id {
        columns.entry("id").or_insert(json!(id));
    }
    row.columns = Json::Object(columns);
    Ok(vec![row])
}

/// When it happened: an instant in version 2, else µs or seconds since the epoch.
fn time(meta: &Json) -> Result<Option<i64>, Bad> {
    let number = |name: &str| meta.get(name).and_then(whole);
    // Version 1 counts the last digits of `timestamp_micro` in µs.
    let exact = number("timestamp_micro").or_else(|| number("timestamp_milli").and_then(micros));
    if let Some(time) = exact.or_else(|| micros(micros(number("timestamp")?)?)) {
        return Ok(Some(time));
    }
    let Some(text) = text_member(meta, "timestamp") else {
        return Ok(None);
    };
    match When::parse(text) {
        Some(When::Instant(micros)) => Ok(Some(micros)),
        _ => Err(Bad::new(
            Reason::BadTime,
            format!(
                "`timestamp` is `{}`; expected an RFC 3339 instant",
                short(text)
            ),
        )),
    }
}
