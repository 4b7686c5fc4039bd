//! Any JSON: each object is the row of a table that is called like the topic.

use serde_json::Value as Json;

use super::{Change, Clock, Row, not_an_event};
use crate::event::decode::Bad;

pub(super) fn rows(item: Json, topic: &str) -> Result<Vec<Row>, Bad> {
    if !item.is_object() {
        return Err(not_an_event("it is no object; each row is one"));
    }
    Ok(vec![Row {
        table: topic.to_owned(),
        change: Change::Written,
        columns: item,
        clock: Clock::default(),
    }])
}
