//! Any JSON: each object is the row of a table that is called like the topic.

use serde_json::Value as Json;

use super::{Change, Clock, Row, Rows, not_an_event};

pub(super) fn rows(value: Json, topic: &str) -> Rows {
    Rows::each(value, |item| {
        if !item.is_object() {
            return Err(not_an_event("an item that is no object; each row is one"));
        }
        Ok(vec![Row {
            table: topic.to_owned(),
            change: Change::Written,
            columns: item,
            clock: Clock::default(),
        }])
    })
}
