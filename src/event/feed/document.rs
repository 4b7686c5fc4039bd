//! Documents: JSON whose numbers stay the texts they were written as, an exponent written out. A
//! number of a document may be an amount, and an amount is never a float.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json};

use crate::event::decode::{Bad, Reason};
use crate::event::without_exponent;

/// How deep objects and arrays may lie in each other: no feed needs as much, and a message that
/// does costs more than it says.
pub(super) const DEPTH: usize = 32;

/// An item of a message: its bytes, and what they say or why they say nothing.
pub(super) type Item<'m> = (&'m [u8], Result<Json, Bad>);

/// The items of a message: those of an array, or the document itself.
///
/// # Errors
/// [`Reason::NotJson`] for what is no JSON.
pub(super) fn items(bytes: &[u8]) -> Result<Vec<Item<'_>>, Bad> {
    if bytes.trim_ascii_start().first() != Some(&b'[') {
        return Ok(vec![(bytes, read(bytes))]);
    }
    let items: Vec<&RawValue> = serde_json::from_slice(bytes).map_err(not_json)?;
    let items = items.into_iter();
    Ok(items
        .map(|raw| (raw.get().as_bytes(), tree(raw, DEPTH)))
        .collect())
}

fn not_json(error: serde_json::Error) -> Bad {
    Bad::new(Reason::NotJson, format!("not JSON: {error}"))
}

/// Reads a document; its numbers are texts.
///
/// # Errors
/// [`Reason::NotJson`] for what is no JSON, or too deep.
pub(super) fn read(bytes: &[u8]) -> Result<Json, Bad> {
    let not_json =
        |error: serde_json::Error| Bad::new(Reason::NotJson, format!("not JSON: {error}"));
    let raw: &RawValue = serde_json::from_slice(bytes).map_err(not_json)?;
    tree(raw, DEPTH)
}

fn tree(raw: &RawValue, depth: usize) -> Result<Json, Bad> {
    let text = raw.get();
    if depth == 0 {
        return Err(Bad::new(
            Reason::NotJson,
            format!("deeper than {DEPTH} objects and arrays"),
        ));
    }
    match text.as_bytes().first() {
        Some(b'{') => {
            let Members(members) = serde_json::from_str(text).map_err(not_json)?;
            let members = members
                .into_iter()
                .map(|(name, raw)| Ok((name, tree(raw, depth - 1)?)));
            Ok(Json::Object(members.collect::<Result<Map<_, _>, Bad>>()?))
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(not_json)?;
            let items = items.into_iter().map(|raw| tree(raw, depth - 1));
            Ok(Json::Array(items.collect::<Result<_, Bad>>()?))
        }
        // An id in a number with an exponent is the same id as without.
        Some(b'-' | b'0'..=b'9') => {
            let plain = without_exponent(text).unwrap_or(text.into());
            Ok(Json::String(plain.into_owned()))
        }
        _ => serde_json::from_str(text).map_err(not_json),
    }
}

/// Where, in the bytes of a message, the value is that a JSON pointer leads to in one of its items:
/// several places where members of one name are repeated.
pub(super) fn spans(message: &[u8], item: &[u8], pointer: &str) -> Vec<Range<usize>> {
    let tokens = pointer.split('/').skip(1);
    let tokens = tokens.map(|token| token.replace("~1", "/").replace("~0", "~"));
    let mut found: Vec<&RawValue> = serde_json::from_slice(item).into_iter().collect();
    for token in tokens {
        found = found
            .into_iter()
            .flat_map(|raw| children(raw))
            .filter_map(|(name, raw)| (name == token).then_some(raw))
            .collect();
    }
    // The values are parts of the message: their addresses lie in it.
    let start = |raw: &RawValue| raw.get().as_ptr() as usize - message.as_ptr() as usize;
    let spans = found.into_iter();
    spans
        .map(|raw| start(raw)..start(raw) + raw.get().len())
        .collect()
}

/// The members of an object, or the items of an array by their numbers.
fn children(raw: &RawValue) -> Vec<(String, &RawValue)> {
    match raw.get().as_bytes().first() {
        Some(b'{') => {
            serde_json::from_str(raw.get()).map_or(Vec::new(), |Members(members)| members)
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
            let items = items.into_iter().enumerate();
            items.map(|(index, raw)| (index.to_string(), raw)).collect()
        }
        _ => Vec::new(),
    }
}

/// The JSON pointers of all values of a document that are neither objects nor arrays.
pub(super) fn leaves(document: &Json) -> Vec<String> {
    let under = |token: &str, value: &Json| {
        let token = token.replace('~', "~0").replace('/', "~1");
        let leaves = leaves(value).into_iter();
        leaves
            .map(|rest| format!("/{token}{rest}"))
            .collect::<Vec<_>>()
    };
    match document {
        Json::Object(members) => members
            .iter()
            .flat_map(|(name, v)| under(name, v))
            .collect(),
        Json::Array(items) => {
            let items = items.iter().enumerate();
            items
                .flat_map(|(index, v)| under(&index.to_string(), v))
                .collect()
        }
        _ => vec![String::new()],
    }
}

/// The members of an object, each as it is written; of two with one name the last counts.
struct Members<'d>(Vec<(String, &'d RawValue)>);

impl<'d> serde::Deserialize<'d> for Members<'d> {
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'d> Visitor<'d> for MembersVisitor {
            type Value = Members<'d>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'d>>(self, mut map: A) -> Result<Members<'d>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_stay_as_they_are_written() {
        let text = r#" {"a": 12.300000000000001, "b": [1, 99999999999999999999.5, null, true, "5"], "c": {"d": -1e3, "e": 1.25E7, "f": 1e999, "g": "1e3"}, "a\u0062": "x"} "#;
        let expected = json!({
            "a": "12.300000000000001", "b": ["1", "99999999999999999999.5", null, true, "5"], "c": {"d": "-1000", "e": "12500000", "f": "1e999", "g": "1e3"}, "ab": "x",
        });
        assert_eq!(read(text.as_bytes()).unwrap(), expected);
        assert_eq!(read(b"7").unwrap(), json!("7"));
    }

    #[test]
    fn a_value_is_found_in_the_bytes_wherever_its_name_is_repeated() {
        let text = r#"[ 7, {"a": {"b/c": [1, "x\u0041"], "d": 2}, "a": {"b/c": [3]}} ]"#;
        let items = items(text.as_bytes()).unwrap();
        let at = |pointer: &str| {
            let spans = spans(text.as_bytes(), items[1].0, pointer).into_iter();
            spans.map(|span| &text[span]).collect::<Vec<_>>()
        };
        assert_eq!(at("/a/b~1c/1"), [r#""x\u0041""#]);
        assert_eq!(at("/a/b~1c/0"), ["1", "3"]);
        assert_eq!(at("/a/d"), ["2"]);
        assert_eq!(at("/a/x"), [""; 0]);
        let leaves = leaves(&json!({"a": {"b/c": [1, "x"]}, "d": null}));
        assert_eq!(leaves, ["/a/b~1c/0", "/a/b~1c/1", "/d"]);
    }

    #[test]
    fn what_is_no_json_or_too_deep_is_refused() {
        for text in [
            "",
            "{",
            r#"{"a":1,}"#,
            "[1 2]",
            "01",
            "\u{feff}{}",
            r#"{"a":1}{}"#,
        ] {
            assert_eq!(
                read(text.as_bytes()).unwrap_err().reason,
                Reason::NotJson,
                "{text}"
            );
        }
        assert_eq!(
            read(b"{\"a\":\"\xff\"}").unwrap_err().reason,
            Reason::NotJson
        );
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(read(deep(DEPTH - 1).as_bytes()).is_ok());
        for levels in [DEPTH + 1, 100_000] {
            assert_eq!(
                read(deep(levels).as_bytes()).unwrap_err().reason,
                Reason::NotJson,
                "{levels}"
            );
        }
    }
}
