//! Documents: JSON whose numbers stay the texts they were written as. A number of a document may be an amount, and an amount is never a float.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json};

use crate::event::decode::{Bad, Reason};

/// How deep objects and arrays may lie in each other: no feed needs as much, and a message that does costs more than it says.
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
        Some(b'-' | b'0'..=b'9') => Ok(Json::String(text.to_owned())),
        _ => serde_json::from_str(text).map_err(not_json),
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
        let text = r#" {"a": 12.300000000000001, "b": [1, 99999999999999999999.5, null, true, "5"], "c": {"d": -1e3}, "a\u0062": "x"} "#;
        let expected = json!({
            "a": "12.300000000000001", "b": ["1", "99999999999999999999.5", null, true, "5"], "c": {"d": "-1e3"}, "ab": "x",
        });
        assert_eq!(read(text.as_bytes()).unwrap(), expected);
        assert_eq!(read(b"7").unwrap(), json!("7"));
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
