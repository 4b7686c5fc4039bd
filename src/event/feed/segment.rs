//! Track events in Segment's form: each is a row of a table that is called like the event. Columns
//! are its properties, by name, and anything of the message by JSON pointer. Form:
//! <https://segment.com/docs/connections/spec/track/>.

use serde_json::{Map, Value as Json};

use super::{Change, Clock, Row, member, not_an_event, text_member};
use crate::event::When;
use crate::event::decode::{Bad, Reason, short};

pub(super) fn rows(item: Json) -> Result<Vec<Row>, Bad> {
    match text_member(&item, "type") {
        Some("track") => {}
        // Who somebody is, which page they looked at: no event of sales.
        Some("identify" | "page" | "screen" | "group" | "alias") => return Ok(Vec::new()),
        _ => {
            return Err(not_an_event(
                "`type` is none of Segment's; expected `track`",
            ));
        }
    }
    let event = text_member(&item, "event").ok_or_else(|| not_an_event("there is no `event`"))?;
    let time = time(&item)?;
    // A property is a column by its name; a pointer starts at the message.
    let mut columns = item.as_object().cloned().unwrap_or_default();
    let properties = member(&item, "properties").and_then(Json::as_object);
    add(&mut columns, properties);
    Ok(vec![Row {
        table: event.to_owned(),
        change: Change::Altered,
        columns: Json::Object(columns),
        clock: Clock { time, sequence: 0 },
    }])
}

fn add(columns: &mut Map<String, Json>, properties: Option<&Map<String, Json>>) {
    for (name, value) in properties.into_iter().flatten() {
        columns.insert(name.clone(), value.clone());
    }
}

fn time(item: &Json) -> Result<Option<i64>, Bad> {
    let Some(text) = text_member(item, "timestamp") else {
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
