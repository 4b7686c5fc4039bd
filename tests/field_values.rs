//! Values of fields that are records of their own: the records they are about hold them, wherever
//! they move, whatever order they come in, and no longer once they are deleted. The facts of both
//! are found complete and equal by `audit`, and the metrics by `reconcile`.

use std::collections::BTreeMap;
use std::fs;

use crate::support::pure::Pure;
use crate::support::stored::{Stored, code_and_output};
use dealpulse::definitions::DefinitionsSpec;
use dealpulse::event::Value;
use dealpulse::record::{CustomFields, Entity, Record, Symbols};
use futures::executor::block_on;
use serde_json::{Value as Json, json};

fn event(kind: &str, id: &str, minute: u32, data: &Json) -> String {
    let time = format!("2026-03-02T{:02}:{:02}:00Z", minute / 60, minute % 60);
    json!({ "specversion": "1.0", "id": "e", "source": "crm", "type": format!("crm.{kind}"), "subject": id, "time": time, "data": data }).to_string()
}

/// A value F of a deal, said at a minute.
fn said(minute: u32, deal: &str, field: &str, value: &str) -> String {
    let data = json!({"entity": "deal", "record_id": deal, "field": field, "value": value});
    event("field_value.upserted", "F", minute, &data)
}

fn gone(minute: u32) -> String {
    event("field_value.deleted", "F", minute, &json!({}))
}

fn back(minute: u32, deal: &str, value: &str) -> String {
    let data = json!({"entity": "deal", "record_id": deal, "field": "amount", "value": value});
    event("field_value.restored", "F", minute, &data)
}

/// A field of every deal that says something of it.
fn of_deals(pure: &Pure, field: &str) -> BTreeMap<String, String> {
    let (mut customs, mut symbols) = (CustomFields::default(), Symbols::default());
    let spec = Entity::DEAL.spec();
    let rows = pure.store.record_rows().into_values();
    let rows = rows.filter(|row| row.row.entity == Entity::DEAL);
    let mut found = BTreeMap::new();
    for row in rows {
        let record = Record::from_bytes(spec, row.row.state(), &mut customs, &mut symbols);
        let record = record.expect("what was written");
        let field = match field.strip_prefix("custom.") {
            Some(name) => customs.number(name),
            None => spec.field(field),
        };
        let value = match record.latest(field.expect("a field")).show(&symbols) {
            Value::Null => continue,
            Value::Text(text) => text.into_owned(),
            Value::Decimal(decimal) => decimal.to_string(),
            other => format!("{other:?}"),
        };
        found.insert(row.row.id().to_owned(), value);
    }
    found
}

fn amounts<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    let pairs = pairs.map(|(deal, amount)| (deal.to_owned(), amount.to_owned()));
    BTreeMap::from(pairs)
}

/// Lines as they come, so many a flush, with restarts of every shard in between or without.
fn fed(lines: &[(u64, &str)], at_a_time: usize, restarts: bool) -> Pure {
    let mut pure = block_on(Pure::new(3, DefinitionsSpec::default()));
    for chunk in lines.chunks(at_a_time) {
        block_on(pure.feed(chunk.iter().copied(), 1));
        if restarts {
            block_on(pure.restart());
        }
    }
    pure
}

#[test]
fn a_value_moves_with_its_record_to_another_deal_and_field_and_is_withdrawn_by_its_delete() {
    let steps = [
        (said(1, "D1", "amount", "100"), amounts([("D1", "100.00")])),
        (said(2, "D2", "amount", "100"), amounts([("D2", "100.00")])),
        (gone(3), amounts([])),
        (back(4, "D2", "70"), amounts([("D2", "70.00")])),
        (said(5, "D2", "product", "70"), amounts([])),
        (said(6, "D1", "amount", "5"), amounts([("D1", "5.00")])),
    ];
    let mut pure = block_on(Pure::new(3, DefinitionsSpec::default()));
    for (number, (line, expected)) in (0..).zip(&steps) {
        block_on(pure.feed([(number, line.as_str())].into_iter(), 1));
        assert_eq!(of_deals(&pure, "amount"), *expected, "after {line}");
    }
    assert_eq!(of_deals(&pure, "product"), amounts([]));
    let changes = pure.store.change_rows().into_iter();
    let changes: Vec<_> = changes.filter(|change| change.id == "D1").collect();
    assert_eq!(changes.len(), 3, "set, cleared and set again: {changes:?}");
}

#[test]
fn of_a_value_said_directly_and_by_a_field_value_the_later_counts() {
    let own =
        |minute, amount: &str| event("deal.upserted", "D1", minute, &json!({"amount": amount}));
    let lines = [
        own(1, "1"),
        said(2, "D1", "amount", "2"),
        own(3, "3"),
        gone(4),
        own(5, "5"),
    ];
    for (count, expected) in [
        (2, Some("2.00")),
        (3, Some("3.00")),
        (4, None),
        (5, Some("5.00")),
    ] {
        let lines: Vec<(u64, &str)> = (0..)
            .zip(lines[..count].iter().map(String::as_str))
            .collect();
        let found = of_deals(&fed(&lines, 2, false), "amount");
        assert_eq!(found.get("D1").map(String::as_str), expected, "{count}");
    }
}

#[test]
fn what_sources_said_is_counted_once_and_what_follows_from_it_apart() {
    let lines = [
        said(1, "D1", "amount", "1"),
        said(2, "D2", "amount", "2"),
        gone(3),
    ];
    let lines: Vec<(u64, &str)> = (0..).zip(lines.iter().map(String::as_str)).collect();
    let pure = fed(&lines, 3, false);
    let counters = || pure.owners.iter().map(|owner| owner.shard().counters());
    assert_eq!(counters().map(|c| c.assertions).sum::<u64>(), 3);
    assert_eq!(counters().map(|c| c.unchanged).sum::<u64>(), 0);
    // The two values; none of D1 since it was of D2, and of both since it is gone.
    assert_eq!(counters().map(|c| c.derived).sum::<u64>(), 5);
}

#[test]
fn a_custom_field_is_said_like_any_other() {
    let line = said(1, "D1", "custom.tier", "gold");
    let pure = fed(&[(0, line.as_str())], 1, false);
    assert_eq!(of_deals(&pure, "custom.tier"), amounts([("D1", "gold")]));
}

/// What is in the store in the end: every record.
fn rows(pure: &Pure) -> BTreeMap<String, String> {
    let rows = pure.store.record_rows().into_values();
    let text = |row: &dealpulse::shard::RecordRow| {
        (
            format!("{:?} {}", row.entity, row.id()),
            format!("{:?}", row.bytes()),
        )
    };
    rows.map(|row| text(&row.row)).collect()
}

#[test]
fn any_order_any_repetition_and_any_flushes_end_in_the_same_records() {
    let lines = [
        said(1, "D1", "amount", "100"),
        said(2, "D2", "status", "won"),
        gone(3),
        back(4, "D3", "7"),
        said(4, "D2", "amount", "9"),
        said(5, "D1", "stage", "offer"),
        event(
            "deal.upserted",
            "D1",
            2,
            &json!({"amount": "1", "status": "won", "currency": "EUR"}),
        ),
    ];
    let orderly: Vec<(u64, &str)> = (0..).zip(lines.iter().map(String::as_str)).collect();
    let expected = rows(&fed(&orderly, 7, false));
    for step in [1, 2, 3, 5] {
        for at_a_time in [1, 2, 4] {
            let mut lines: Vec<(u64, &str)> = (0..7).map(|i| orderly[(i * step + 3) % 7]).collect();
            lines.reverse();
            let again: Vec<_> = lines
                .iter()
                .map(|(offset, line)| (offset + 100, *line))
                .collect();
            lines.extend(again.into_iter().step_by(2));
            for restarts in [false, true] {
                let found = rows(&fed(&lines, at_a_time, restarts));
                assert_eq!(found, expected, "{step} {at_a_time} {restarts}");
            }
        }
    }
}

#[test]
fn a_history_that_is_cut_leaves_no_value_behind() {
    // First of D1, then often of D2 and D3, so that the beginning is cut off.
    let mut lines = vec![said(0, "D1", "amount", "1")];
    lines.extend((1..150).map(|minute| {
        let deal = if minute % 2 == 0 { "D2" } else { "D3" };
        said(minute, deal, "amount", &minute.to_string())
    }));
    let orderly: Vec<(u64, &str)> = (0..).zip(lines.iter().map(String::as_str)).collect();
    let backwards: Vec<(u64, &str)> = orderly.iter().rev().copied().collect();
    let expected = amounts([("D3", "149.00")]);
    for lines in [&orderly, &backwards] {
        for at_a_time in [1, 30, 150] {
            let pure = fed(lines, at_a_time, false);
            assert_eq!(of_deals(&pure, "amount"), expected, "{at_a_time}");
            let all = pure.all_time();
            assert_eq!(all["win_rate"]["all"]["opened"]["deals"], 3, "{at_a_time}");
        }
    }
}

/// Deals with values, some of them said by field values, which were moved and deleted.
fn organisation() -> Vec<String> {
    let mut lines = Vec::new();
    for number in 1..=12 {
        let deal = json!({"status": "won", "currency": "EUR", "closed_at": "2026-03-01T10:00:00Z", "created_at": "2026-02-01T10:00:00Z"});
        lines.push(event("deal.upserted", &format!("D{number}"), number, &deal));
        let value = |minute, deal: u32, amount: u32| {
            let data = json!({"entity": "deal", "record_id": format!("D{deal}"), "field": "amount", "value": amount.to_string()});
            event("field_value.upserted", &format!("F{number}"), minute, &data)
        };
        lines.push(value(30 + number, number, 100 * number));
        if number % 3 == 0 {
            lines.push(value(60 + number, number % 5 + 1, number));
        }
        if number % 4 == 0 {
            let id = format!("F{number}");
            lines.push(event("field_value.deleted", &id, 90 + number, &json!({})));
        }
    }
    lines
}

#[tokio::test]
async fn the_facts_are_complete_and_the_metrics_those_of_the_facts() {
    let mut stored = Stored::new("field_values").await;
    let lines = organisation();
    for lines in lines.chunks(7) {
        stored.feed(lines).await;
    }
    let (code, text) = code_and_output(&stored.setup.ask("reconcile", &["--json"]).await);
    assert_eq!(code, 0, "{text}");

    let directory = tempfile::tempdir().unwrap();
    let export = directory.path().join("all.ndjson");
    let export = export.to_str().unwrap();
    fs::write(export, lines.join("\n") + "\n").unwrap();
    let audit = ["--json", "--against", export];
    let (code, text) = code_and_output(&stored.setup.ask("audit", &audit).await);
    assert_eq!(code, 0, "{text}");
    let audited: Json = serde_json::from_str(&text).unwrap();
    assert_eq!(audited["failures"], 0, "{audited:#}");

    // An export in which a value was changed: the deal's own amount differs, too.
    let changed = lines
        .join("\n")
        .replace(r#""value":"100""#, r#""value":"101""#);
    fs::write(export, changed + "\n").unwrap();
    let (code, text) = code_and_output(&stored.setup.ask("audit", &audit).await);
    assert_eq!(code, 4, "{text}");
    assert!(
        text.contains(r#""amount""#) && text.contains(r#""D1""#),
        "{text}"
    );
}
