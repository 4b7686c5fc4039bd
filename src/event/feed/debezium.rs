//! Debezium's change events of PostgreSQL and MySQL:
//! <https://debezium.io/documentation/reference/stable/connectors/postgresql.html>. With a schema
//! beside the payload or without, as JSON or Avro, wrapped in an envelope or flattened by
//! `ExtractNewRecordState`.
//!
//! The order of the changes of one instant is the log's own: the LSN, or file and position of the
//! binlog. A delete names the key alone, whatever else it shows: of a table without `REPLICA
//! IDENTITY FULL` the other columns are blanks and zeros. A row of a snapshot is of the snapshot's
//! time.

use serde_json::{Map, Value as Json};

use super::cell::unscaled;
use super::{Change, Clock, Key, Row, member, micros, not_an_event, text_member, whole};
use crate::event::decode::{Bad, Reason};

pub(super) fn rows(value: Json, topic: &str, key: Key<'_>) -> Result<Vec<Row>, Bad> {
    let (schema, value) = payload(value);
    if !value.is_object() {
        return Err(not_an_event("the payload is no object"));
    }
    let row = match text_member(&value, "op") {
        Some(op) if member(&value, "source").is_some() => {
            wrapped(op, &value, schema.as_ref(), key)?
        }
        _ => Some(flattened(value, schema.as_ref(), topic, key)?),
    };
    Ok(row.into_iter().collect())
}

/// What is inside `{"schema": …, "payload": …}`, and the schema; or the value itself.
fn payload(value: Json) -> (Option<Json>, Json) {
    match value {
        Json::Object(mut members)
            if members.len() == 2
                && members.contains_key("schema")
                && members.contains_key("payload") =>
        {
            let payload = members.remove("payload").unwrap_or_default();
            (members.remove("schema"), payload)
        }
        value => (None, value),
    }
}

fn wrapped(
    op: &str,
    value: &Json,
    schema: Option<&Json>,
    key: Key<'_>,
) -> Result<Option<Row>, Bad> {
    let source = member(value, "source").cloned().unwrap_or_default();
    let table = text_member(&source, "table").or_else(|| text_member(&source, "collection"));
    let table = table
        .ok_or_else(|| not_an_event("`source` names no table"))?
        .to_owned();
    let clock = Clock {
        time: time(&source, value),
        sequence: sequence(&source),
    };
    let image = |name: &str| {
        let mut columns = member(value, name).cloned().unwrap_or_default();
        scale(&mut columns, schema.and_then(|schema| field(schema, name)));
        columns
    };
    let (change, columns) = match op {
        "r" | "c" => (Change::Written, image("after")),
        "u" => (Change::Rewritten, image("after")),
        "d" => (Change::Deleted, with_key(image("before"), key)),
        "t" => {
            return Err(Bad::new(
                Reason::NotAnEvent,
                format!(
                    "`{table}` was truncated: which rows are gone isn't said; take a new snapshot of it and delete what it no longer has"
                ),
            ));
        }
        // A message that a program wrote into the database's log.
        "m" => return Ok(None),
        _ => {
            return Err(not_an_event(format!(
                "`op` is `{op}`; expected one of c, u, d, r, t, m"
            )));
        }
    };
    if !columns.is_object() {
        return Err(not_an_event(format!(
            "a change of `{table}` without its row"
        )));
    }
    Ok(Some(Row {
        table,
        change,
        columns,
        clock,
    }))
}

/// A row alone, with what `ExtractNewRecordState` was told to add: `__deleted`, `__op`, `__table`,
/// `__lsn`, `__source_ts_ms`.
fn flattened(
    mut value: Json,
    schema: Option<&Json>,
    topic: &str,
    key: Key<'_>,
) -> Result<Row, Bad> {
    scale(&mut value, schema);
    let text = |name: &str| text_member(&value, name).map(str::to_owned);
    let table = text("__table").or_else(|| text("__source_table"));
    // `server.schema.table` is how Debezium names a topic.
    let table = table.unwrap_or_else(|| topic.rsplit('.').next().unwrap_or_default().to_owned());
    let number = |names: &[&str]| names.iter().find_map(|name| whole(value.get(*name)?));
    let time = number(&["__source_ts_us", "__ts_us"]);
    let time = time.or_else(|| micros(number(&["__source_ts_ms", "__ts_ms"])?));
    let sequence = number(&["__source_lsn", "__lsn"]).and_then(|lsn| u64::try_from(lsn).ok());
    let sequence = sequence.or_else(|| {
        let position = number(&["__source_pos", "__pos"])?;
        Some(binlog(
            &text("__source_file").or_else(|| text("__file"))?,
            position,
            0,
        ))
    });
    let is_deleted = text("__deleted").is_some_and(|deleted| deleted == "true")
        || value.get("__deleted") == Some(&Json::Bool(true))
        || text("__op").is_some_and(|op| op == "d");
    let is_rewritten = text("__op").is_some_and(|op| op == "u");
    Ok(Row {
        table,
        change: if is_deleted {
            Change::Deleted
        } else if is_rewritten {
            Change::Rewritten
        } else {
            Change::Written
        },
        columns: if is_deleted {
            with_key(value, key)
        } else {
            value
        },
        clock: Clock {
            time,
            sequence: sequence.unwrap_or_default(),
        },
    })
}

/// A row with the columns of the message's key, which are right also where the row's are not.
fn with_key(row: Json, key: Key<'_>) -> Json {
    let key = key.read().map(|key| payload(key).1);
    let mut columns = match row {
        Json::Object(columns) => columns,
        _ => Map::new(),
    };
    if let Some(Json::Object(key)) = key {
        columns.extend(key);
    }
    Json::Object(columns)
}

/// When the change was made, as exactly as it is said (µs); the time it was read at stands in.
fn time(source: &Json, value: &Json) -> Option<i64> {
    let of = |object: &Json| {
        let number = |name: &str| whole(object.get(name)?);
        number("ts_us").or_else(|| micros(number("ts_ms")?))
    };
    of(source).filter(|time| *time > 0).or_else(|| of(value))
}

/// The place of a change in its database's log.
fn sequence(source: &Json) -> u64 {
    let number = |name: &str| whole(source.get(name)?);
    if let Some(lsn) = number("lsn").and_then(|lsn| u64::try_from(lsn).ok()) {
        return lsn;
    }
    match (text_member(source, "file"), number("pos")) {
        (Some(file), Some(position)) => binlog(file, position, number("row").unwrap_or_default()),
        _ => 0,
    }
}

/// The number of a binlog file, the position in it and the row of the event, in an order: a file
/// has less than 4 GiB.
fn binlog(file: &str, position: i64, row: i64) -> u64 {
    let number = file
        .rsplit('.')
        .next()
        .and_then(|number| number.parse::<u64>().ok());
    let (position, row) = (
        position.clamp(0, u32::MAX.into()) as u64,
        row.clamp(0, 0xfff) as u64,
    );
    (number.unwrap_or_default() & 0xf_ffff) << 44 | position << 12 | row
}

/// The schema of a member.
fn field<'s>(schema: &'s Json, name: &str) -> Option<&'s Json> {
    let fields = schema.get("fields")?.as_array()?.iter();
    let mut named = fields.filter(|field| field.get("field").and_then(Json::as_str) == Some(name));
    named.next()
}

/// Decimals whose scale the schema states become decimals.
fn scale(columns: &mut Json, schema: Option<&Json>) {
    let Some(fields) = schema.and_then(|schema| schema.get("fields")?.as_array()) else {
        return;
    };
    let Some(columns) = columns.as_object_mut() else {
        return;
    };
    for field in fields {
        let text = |name: &str| field.get(name).and_then(Json::as_str);
        if text("name") != Some("org.apache.kafka.connect.data.Decimal") {
            continue;
        }
        let scale = field.pointer("/parameters/scale").and_then(whole);
        let Some((scale, value)) = scale.zip(text("field").and_then(|name| columns.get_mut(name)))
        else {
            continue;
        };
        if let Some(decimal) = value.as_str().and_then(|base64| unscaled(base64, scale)) {
            *value = Json::String(decimal);
        }
    }
}
