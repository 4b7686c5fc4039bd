//! Cells: a column of a JSON row as the text that a mapping reads.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

use super::document;

/// What Debezium writes in place of a large value that did not change.
const UNAVAILABLE: &str = "__debezium_unavailable_value";

/// The text of a column: a member by its name, or whatever a JSON pointer leads to. `None` where it
/// isn't there; blank for null.
///
/// # Errors
/// What is wrong with a value that has no text.
pub(super) fn text(row: &Json, column: &str) -> Result<Option<String>, String> {
    let value = if column.starts_with('/') {
        row.pointer(column)
    } else {
        row.as_object().and_then(|members| members.get(column))
    };
    text_of(value, column)
}

/// The text of what a JSON pointer leads to through a text that is JSON itself, as databases'
/// columns of JSON come. `None` where it leads through none.
///
/// # Errors
/// As [`text`].
pub(super) fn text_within(row: &Json, column: &str) -> Result<Option<String>, String> {
    let ends = column.match_indices('/').map(|(end, _)| end).skip(1);
    let within = ends.map(|end| column.split_at(end));
    let inner = within.into_iter().find_map(|(head, rest)| {
        let text = row.pointer(head)?.as_str()?;
        Some((document::read(text.as_bytes()).ok()?, rest))
    });
    match &inner {
        Some((inner, rest)) => text_of(inner.pointer(rest), column),
        None => Ok(None),
    }
}

fn text_of(value: Option<&Json>, column: &str) -> Result<Option<String>, String> {
    Ok(Some(match value {
        None => return Ok(None),
        Some(Json::Null) => String::new(),
        Some(Json::String(text)) if text == UNAVAILABLE => return Ok(None),
        Some(Json::String(text)) => text.clone(),
        Some(Json::Bool(flag)) => flag.to_string(),
        Some(Json::Number(number)) => number.to_string(),
        Some(object @ Json::Object(_)) => decimal(object).ok_or_else(|| {
            format!(
                "`{column}` is an object; write a JSON pointer like `/{column}/…` to a member of it"
            )
        })?,
        Some(Json::Array(_)) => {
            return Err(format!(
                "`{column}` is an array; write a JSON pointer like `/{column}/0` to an item of it"
            ));
        }
    }))
}

/// A decimal of Kafka Connect with a scale of its own: `{"scale": 2, "value": "<base64>"}`.
fn decimal(object: &Json) -> Option<String> {
    let scale = super::whole(object.get("scale")?)?;
    unscaled(object.get("value")?.as_str()?, scale)
}

/// The bytes of a whole number, the greatest first, in two's complement, as a decimal of so many
/// places.
pub(super) fn unscaled(base64: &str, scale: i64) -> Option<String> {
    decimal_of(&STANDARD.decode(base64).ok()?, scale)
}

/// The same of the bytes themselves.
pub(super) fn decimal_of(bytes: &[u8], scale: i64) -> Option<String> {
    if bytes.is_empty() || bytes.len() > 16 || !(0..=30).contains(&scale) {
        return None;
    }
    let sign = if bytes[0] & 0x80 == 0 { 0 } else { 0xff };
    let mut all = [sign; 16];
    all[16 - bytes.len()..].copy_from_slice(bytes);
    let number = i128::from_be_bytes(all);
    let digits = format!(
        "{:0>width$}",
        number.unsigned_abs(),
        width = scale as usize + 1
    );
    let (whole, places) = digits.split_at(digits.len() - scale as usize);
    let sign = if number < 0 { "-" } else { "" };
    Some(if places.is_empty() {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{places}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn decimals_of_kafka_connect_are_read_exactly() {
        // The first is what Debezium wrote of 12500.00.
        for (base64, scale, expected) in [
            ("ExLQ", 2, "12500.00"),
            ("/w==", 2, "-0.01"),
            ("AA==", 0, "0"),
            ("gA==", 1, "-12.8"),
            ("AIA=", 1, "12.8"),
        ] {
            assert_eq!(
                unscaled(base64, scale).as_deref(),
                Some(expected),
                "{base64}"
            );
        }
        assert_eq!(unscaled("", 2), None);
        assert_eq!(unscaled("not base64!", 2), None);
        assert_eq!(unscaled("AAAAAAAAAAAAAAAAAAAAAAAAAAA=", 2), None);
        assert_eq!(unscaled("ExLQ", 31), None);
        let row = json!({"amount": {"scale": 2, "value": "ExLQ"}});
        assert_eq!(text(&row, "amount"), Ok(Some("12500.00".into())));
    }

    #[test]
    fn a_pointer_leads_through_a_text_that_is_json() {
        let row = json!({"name": r#"{"en_US": "Won", "order": [1.50]}"#, "plain": "Won", "off": UNAVAILABLE, "deep": {"x": "{\"y\":null}"}});
        let found = |column| text_within(&row, column);
        assert_eq!(found("/name/en_US"), Ok(Some("Won".into())));
        assert_eq!(found("/name/order/0"), Ok(Some("1.50".into())));
        assert_eq!(found("/deep/x/y"), Ok(Some(String::new())));
        for none in [
            "/name/de_DE",
            "/plain/en_US",
            "/off/en_US",
            "/x/y",
            "name",
            "/name",
        ] {
            assert_eq!(found(none), Ok(None), "{none}");
        }
        assert!(found("/name/order").is_err());
    }

    #[test]
    fn a_cell_that_is_not_there_says_nothing_and_null_says_there_is_nothing() {
        let row = json!({"a": null, "b": UNAVAILABLE, "c": {"d": [7]}, "e": "12.300000000000001", "f": true, "/": 1});
        assert_eq!(text(&row, "a"), Ok(Some(String::new())));
        assert_eq!(text(&row, "b"), Ok(None));
        assert_eq!(text(&row, "x"), Ok(None));
        assert_eq!(text(&row, "/c/d/0"), Ok(Some("7".into())));
        assert_eq!(text(&row, "/c/x"), Ok(None));
        assert_eq!(text(&row, "e"), Ok(Some("12.300000000000001".into())));
        assert_eq!(text(&row, "f"), Ok(Some("true".into())));
        assert!(text(&row, "c").is_err() && text(&row, "/c/d").is_err());
    }
}
