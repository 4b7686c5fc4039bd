//! Items: what a rule reads of a row. It is the row itself, or the items of an array in it, each a
//! row with the row it is in.

use serde_json::Value as Json;

use super::{Cell, Change, Row, cell};
use crate::event::decode::{Bad, Reason};
use crate::event::mapping::{Rule, is_mark};

/// How many items of a row a rule reads.
const ITEMS: usize = 10_000;
/// How many bytes the cells of all items may have together: each has those of the row it is in,
/// too.
const BYTES: usize = 8 << 20;

/// What a rule reads: a row, or an item in it.
pub(super) type Read<'r> = Option<&'r Json>;

/// The items that a rule reads of a row; the row alone (`None`) for a rule of rows. Where there is
/// no array, or null, there are no items.
///
/// # Errors
/// What is there is no array of objects, or a very long one.
pub(super) fn of<'r>(rule: &Rule, row: &'r Row) -> Result<Vec<Read<'r>>, Bad> {
    let Some(path) = rule.items() else {
        return Ok(vec![None]);
    };
    // Whose id the survivor is that the row names, the row says of itself alone.
    if matches!(row.change, Change::MergedInto(_)) {
        return Ok(Vec::new());
    }
    let wrong =
        |problem: String| Bad::new(Reason::WrongType, format!("{}.items: {problem}", rule.key));
    let mut found = vec![&row.columns];
    for pointer in path {
        let mut items = Vec::new();
        for holder in found {
            match holder.pointer(&pointer) {
                None | Some(Json::Null) => {}
                Some(Json::Array(of)) => items.extend(of),
                Some(_) => return Err(wrong(format!("`{pointer}` is no array"))),
            }
        }
        if items.len() > ITEMS {
            let problem = format!("`{pointer}` has more than {ITEMS} items");
            return Err(Bad::new(
                Reason::TooLarge,
                format!("{}.items: {problem}", rule.key),
            ));
        }
        if !items.iter().all(|item| item.is_object()) {
            return Err(wrong(format!("an item of `{pointer}` is no object")));
        }
        found = items;
    }
    Ok(found.into_iter().map(Some).collect())
}

/// How many bytes the cells of a row's items may still have.
pub(super) struct Budget(usize);

impl Budget {
    pub fn new() -> Budget {
        Budget(BYTES)
    }

    /// Takes off the cells of an item.
    ///
    /// # Errors
    /// It is used up.
    pub fn spend(&mut self, rule: &Rule, item: Read<'_>, cells: &[Cell]) -> Result<(), Bad> {
        if item.is_none() {
            return Ok(());
        }
        let texts = cells.iter().filter_map(|(.., text)| text.as_ref());
        let left = self.0.checked_sub(texts.map(String::len).sum());
        self.0 = left.ok_or_else(|| {
            let problem = format!("the columns of its items come to more than {BYTES} bytes");
            Bad::new(Reason::TooLarge, format!("{}.items: {problem}", rule.key))
        })?;
        Ok(())
    }
}

/// The cells of a row, or of an item in it, that a rule looks at.
///
/// # Errors
/// A value that has no text; one that was redacted and is read in the clear.
pub(super) fn cells(rule: &Rule, row: &Row, item: Read<'_>) -> Result<Vec<Cell>, Bad> {
    let columns = rule.columns();
    let cells = columns.map(|(key, column)| {
        let (holder, path) = match (item, rule.column_of_row(column)) {
            (Some(item), None) => (item, column),
            (_, of_row) => (&row.columns, of_row.unwrap_or(column)),
        };
        // What is hashed has to be found where a dead letter is redacted, so never inside of a
        // text.
        let is_hashed = rule.hashed().any(|hashed| hashed == column);
        let text = match cell::text(holder, path) {
            Ok(None) if !is_hashed => cell::text_within(holder, path),
            text => text,
        };
        let cell =
            text.map_err(|problem| Bad::new(Reason::WrongType, format!("{key}: {problem}")))?;
        if cell.as_deref().is_some_and(is_mark) && !is_hashed {
            let problem = format!("{key}: `{column}` was redacted; the mapping hashed it then, and reads it in the clear now");
            return Err(Bad::new(Reason::Redacted, problem));
        }
        Ok((key, column.to_owned(), cell))
    });
    cells.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::decode::Decoded;
    use crate::event::feed::tests::{context, said, values};
    use crate::event::feed::{Explained, Feed, Format, Message};
    use crate::event::mapping::{HashKey, Mapping, MappingError};
    use crate::record::SCHEMA;
    use crate::window::Calendar;

    const MAPPING: &str = r#"
[[records]]
table = "orders"
entity = "payment"
id = "id"
[records.fields]
amount = "total"
account_id = { column = "/buyer/mail", hash = true }

[[records]]
table = "orders"
items = "/refunds/*/parts"
entity = "payment"
id = "id"
time = { column = "../at", format = "epoch_us" }
when = { kind = "refund", "../paid" = "true" }
otherwise = "delete"
[records.fields]
kind = { value = "refund" }
amount = { column = "/money/amount", absolute = true }
account_id = { column = "../buyer/mail", hash = true }
"#;

    fn feed(mapping: &str, format: Format) -> Feed {
        let key = HashKey::new("00112233445566778899aabbccddeeff").unwrap();
        let mapping = Mapping::parse(mapping, &SCHEMA).unwrap();
        let mapping = mapping.with_key(Some(&key), "").unwrap();
        Feed::new(format, mapping, &Calendar::new(chrono_tz::Tz::UTC, 1))
    }

    fn message(value: &str) -> Message<'_> {
        let value = Some(value.as_bytes());
        Message { key: None, value }
    }

    fn decode(value: &str) -> Decoded<'_> {
        feed(MAPPING, Format::Json).decode("orders", message(value), &context())
    }

    fn part(id: u32, kind: &str) -> String {
        format!(r#"{{"id":{id},"kind":"{kind}","money":{{"amount":"-2.50"}}}}"#)
    }

    fn order(refunds: &str) -> String {
        format!(
            r#"{{"id":1,"at":7,"paid":true,"total":"9.00","buyer":{{"mail":"kim@x"}},"refunds":{refunds}}}"#
        )
    }

    #[test]
    fn the_items_of_an_array_are_records_with_columns_of_their_own_and_of_their_row() {
        let (refund, void) = (part(5, "refund"), part(6, "void"));
        let order = order(&format!(
            r#"[{{"parts":[{refund}]}},{{"parts":null}},{{}},{{"parts":[{void}]}}]"#
        ));
        let decoded = decode(&order);
        assert_eq!(decoded.rejected, []);
        let all: Vec<_> = decoded.assertions.iter().map(said).collect();
        let ids: Vec<_> = all.iter().map(|said| (said.1.as_str(), said.2)).collect();
        assert_eq!(ids, [("1", 99), ("5", 7), ("6", 7)]);
        let (paid, refund, void) = (&all[0].4, &all[1].4, &all[2].4);
        assert_eq!(refund["account_id"], paid["account_id"]);
        assert_eq!((&*refund["kind"], &*refund["amount"]), ("refund", "2.50"));
        assert_eq!(*void, values(&[("deleted", "true")]));
        let feed = feed(MAPPING, Format::Json);
        let explained = feed.explain("orders", message(&order), &context());
        let Explained::Read { cells, .. } = &explained[1] else {
            panic!("{explained:?}")
        };
        let cell = |named: &str| cells.iter().find(|(_, column, _)| column == named);
        assert_eq!(cell("../paid").unwrap().2.as_deref(), Some("true"));
        assert_eq!(cell("/money/amount").unwrap().2.as_deref(), Some("-2.50"));
    }

    #[test]
    fn a_row_without_items_says_nothing_of_any_and_one_with_something_else_is_refused() {
        for refunds in ["[]", "null", "[{}]", r#"[{"parts":[]}]"#] {
            let order = order(refunds);
            let decoded = decode(&order);
            assert_eq!((decoded.assertions.len(), decoded.rejected.len()), (1, 0));
        }
        for refunds in ["{}", "7", "[7]", r#"[{"parts":7}]"#, r#"[{"parts":[7]}]"#] {
            let order = order(refunds);
            let decoded = decode(&order);
            assert!(decoded.assertions.is_empty(), "{refunds}");
            assert_eq!(decoded.rejected[0].bad.reason, Reason::WrongType);
        }
    }

    #[test]
    fn a_long_row_is_not_repeated_for_each_of_very_many_items() {
        let many = |count: usize| vec![part(5, "refund"); count].join(",");
        let order = |count: usize, mail: &str| {
            let items = format!(r#"[{{"parts":[{}]}}]"#, many(count));
            order(&items).replace("kim@x", mail)
        };
        let reason = |order: &str| {
            let feed = feed(MAPPING, Format::Json);
            let limit = usize::MAX;
            let context = crate::event::decode::Context { limit, ..context() };
            let decoded = feed.decode("orders", message(order), &context);
            decoded.rejected.first().map(|rejected| rejected.bad.reason)
        };
        assert_eq!(reason(&order(ITEMS, "kim@x")), None);
        assert_eq!(reason(&order(ITEMS + 1, "kim@x")), Some(Reason::TooLarge));
        let long = "x".repeat(BYTES / 100);
        assert_eq!(reason(&order(90, &long)), None);
        assert_eq!(reason(&order(101, &long)), Some(Reason::TooLarge));
    }

    #[test]
    fn what_a_rows_items_read_of_it_is_redacted_with_it() {
        let order = order(&format!(r#"[{{"parts":[{}]}}]"#, part(5, "refund")));
        let feed = feed(MAPPING, Format::Json);
        let redacted = feed.redact("orders", message(&order)).unwrap();
        let text = String::from_utf8(redacted.value).unwrap();
        assert!(!text.contains("kim@x"), "{text}");
        let again = feed.decode("orders", message(&text), &context());
        assert_eq!(again.assertions, decode(&order).assertions);
    }

    #[test]
    fn a_mapping_of_items_that_could_not_be_read_is_refused() {
        let wrong = |from: &str, to: &str| {
            assert!(MAPPING.contains(from));
            match Mapping::parse(&MAPPING.replace(from, to), &SCHEMA) {
                Err(MappingError::Wrong { key, .. }) => key,
                other => panic!("{other:?}"),
            }
        };
        for pointer in [
            "", "refunds", "/", "/*", "/a/*", "/a/*/", "/*/a", "/a/*/*/b",
        ] {
            let to = format!("items = \"{pointer}\"");
            assert_eq!(
                wrong("items = \"/refunds/*/parts\"", &to),
                "records[1].items"
            );
        }
        let hashed = "kind = { value = \"refund\" }";
        let key = wrong(hashed, "invoice_id = { column = \"mail\", hash = true }");
        assert_eq!(key, "records[1].fields.invoice_id");
        let clear = "account_id = { column = \"../buyer/mail\", hash = true }";
        let key = wrong(clear, "account_id = \"../buyer/mail\"");
        assert_eq!(key, "records[1].fields.account_id");
    }

    #[test]
    fn the_items_of_an_image_that_was_deleted_are_gone_with_it() {
        let mapping = MAPPING.replace("hash = true", "");
        let mapping = mapping.replace(", }", " }");
        let feed = feed(&mapping, Format::Debezium);
        let before = order(&format!(r#"[{{"parts":[{}]}}]"#, part(5, "refund")));
        let value = format!(
            r#"{{"op":"d","before":{before},"after":null,"source":{{"table":"orders","ts_ms":4}}}}"#
        );
        let decoded = feed.decode("orders", message(&value), &context());
        let all: Vec<_> = decoded.assertions.iter().map(said).collect();
        assert_eq!(all.len(), 2);
        for one in all {
            assert_eq!(one.4, values(&[("deleted", "true")]));
        }
    }
}
