//! Entities: each one's facts hold every field it declares, in the real engine, and a restart reads
//! them back.

use std::sync::Arc;

use crate::support::clickhouse::spawn;
use crate::support::pure::{Pure, context};
use dealpulse::clickhouse::migrate::migrate;
use dealpulse::clickhouse::{Access, ClickHouse};
use dealpulse::definitions::DefinitionsSpec;
use dealpulse::event::decode::cloudevents;
use dealpulse::event::{EntitySpec, FieldSpec, Kind};
use dealpulse::metric::{Catalogue, versions};
use dealpulse::pipeline::memory::MemoryLog;
use dealpulse::pipeline::restart::restore;
use dealpulse::pipeline::route::partition_by_home;
use dealpulse::pipeline::run_to_completion::run_to_completion;
use dealpulse::pipeline::{Epoch, Log, Store};
use dealpulse::record::{Entity, SCHEMA};
use serde_json::{Map, Value, json};

/// A value for a field, and how its column shows it.
fn value_and_column(spec: &FieldSpec) -> (Value, String) {
    let same = |text: &str| (json!(text), text.to_owned());
    match spec.kind {
        Kind::Text => same("some text"),
        Kind::Keyword(words) => same(words[words.len() - 1]),
        Kind::Reference => same("X1"),
        Kind::When => (json!("2026-03-04T10:00:00Z"), "2026-03-04 10:00:00".into()),
        Kind::Money => same("12500.5"),
        Kind::Currency => same("EUR"),
        Kind::Fraction => (json!(0.25), "0.25".into()),
        Kind::Rate => same("1.08125"),
        Kind::Flag => (json!(true), "1".into()),
    }
}

/// What a field value says, and how its columns show it: it must be of a field there is.
fn field_value(name: &str) -> Option<&'static str> {
    let said = [
        ("entity", "deal"),
        ("record_id", "X1"),
        ("field", "name"),
        ("value", "some text"),
        ("assignment", r#"["deal","X1","name","some text"]"#),
    ];
    let known = said.into_iter().find(|(known, _)| *known == name);
    known.map(|(_, text)| text)
}

/// A value for a field of an entity, and how its column shows it.
fn value_and_column_of(entity: &EntitySpec, spec: &FieldSpec) -> (Value, String) {
    let own = (entity.entity == Entity::FIELD_VALUE).then(|| field_value(spec.name));
    match own.flatten() {
        Some(text) => (json!(text), text.to_owned()),
        None => value_and_column(spec),
    }
}

/// The fields that a source asserts one by one: not those that deleting and merging set.
fn own_fields(spec: &EntitySpec) -> impl Iterator<Item = &'static FieldSpec> {
    spec.fields.iter().skip(2)
}

fn event(spec: &EntitySpec) -> String {
    let fields = own_fields(spec);
    let data: Map<String, Value> = fields
        .map(|field| (field.name.to_owned(), value_and_column_of(spec, field).0))
        .collect();
    json!({
        "specversion": "1.0", "id": "e", "source": "crm", "type": format!("crm.{}.upserted", spec.name), "subject": "it",
        "time": "2026-03-05T10:00:00Z", "data": data,
    })
    .to_string()
}

#[tokio::test]
async fn every_field_of_every_entity_is_a_column_and_is_restored() {
    let catalogue = Arc::new(Catalogue::new(DefinitionsSpec::default()).unwrap());
    let child = spawn(None);
    let clickhouse = ClickHouse::new(&Access {
        url: child.url(),
        database: "sales".into(),
        ..Access::default()
    });
    migrate(&clickhouse, &catalogue).await.unwrap();
    let epoch = Epoch::first(catalogue.spec.clone(), 1);
    clickhouse.put_epoch(&epoch).await.unwrap();
    let log = MemoryLog::new(1);
    let owner = || restore(0, 1, &log, &clickhouse, versions);
    let mut owners = vec![owner().await.unwrap()];
    for (offset, spec) in SCHEMA.of_sources().enumerate() {
        let line = event(spec);
        let decoded = cloudevents::decode(Some(line.as_bytes()), &[], &context(offset as u64));
        assert_eq!(decoded.rejected, [], "{line}");
        assert_eq!(decoded.unknown_fields, 0, "{line}");
        log.append(partition_by_home(&decoded.assertions, 1))
            .await
            .unwrap();
    }
    run_to_completion(&mut owners, 1, &log, &clickhouse, versions)
        .await
        .unwrap();

    for spec in SCHEMA.of_sources() {
        let columns: Vec<String> = own_fields(spec)
            .map(|field| match field.kind {
                Kind::When => format!("toString(toDateTime({}, 'UTC'))", field.name),
                _ => format!("toString({})", field.name),
            })
            .collect();
        let sql = format!(
            "SELECT {} FROM {} FINAL WHERE deleted = 0 AND id = 'it'",
            columns.join(", "),
            spec.table
        );
        let text = clickhouse
            .fetch("asking for a test", &sql, "JSONCompactEachRow")
            .await
            .unwrap();
        let shown: Vec<String> = serde_json::from_slice(&text).expect(spec.table);
        let expected: Vec<String> = own_fields(spec)
            .map(|field| value_and_column_of(spec, field).1)
            .collect();
        assert_eq!(shown, expected, "{}", spec.table);
    }

    let restored = owner().await.unwrap();
    for spec in SCHEMA.of_sources() {
        let count = restored.shard().record_count(spec.entity);
        assert!(count > 0, "no {} was restored", spec.name);
    }
    assert_eq!(
        restored.shard().last_instant(),
        owners[0].shard().last_instant()
    );
}

/// What was sent to whom: the target, and whether it was withdrawn.
fn links(pure: &Pure) -> Vec<(String, bool)> {
    let rows = pure.store.link_rows().into_iter();
    let mut links: Vec<(String, bool)> = rows
        .map(|row| (row.row.target.1, row.row.withdrawn))
        .collect();
    links.sort();
    links
}

#[tokio::test]
async fn an_activity_is_known_at_its_contact_once_it_is_done_and_a_payment_at_account_and_invoice()
{
    let event = |entity: &str, action: &str, minute: u32, data: Value| {
        json!({
            "specversion": "1.0", "id": "e", "source": "crm", "type": format!("crm.{entity}.{action}"), "subject": "S",
            "time": format!("2026-03-02T10:{minute:02}:00Z"), "data": data,
        })
        .to_string()
    };
    let known = |id: &str, withdrawn| (id.to_owned(), withdrawn);
    let planned = json!({"kind": "call", "contact_id": "C1", "due_at": "2026-03-03"});
    let steps = [
        (event("activity", "upserted", 1, planned), vec![]),
        (
            event("activity", "upserted", 2, json!({"done": true})),
            vec![known("C1", false)],
        ),
        (
            event("activity", "upserted", 3, json!({"contact_id": "C2"})),
            vec![known("C1", true), known("C2", false)],
        ),
        (
            event(
                "payment",
                "upserted",
                4,
                json!({"account_id": "A", "invoice_id": "I", "amount": "5"}),
            ),
            vec![
                known("A", false),
                known("C1", true),
                known("C2", false),
                known("I", false),
            ],
        ),
        (
            event("payment", "deleted", 5, json!({})),
            vec![
                known("A", true),
                known("C1", true),
                known("C2", false),
                known("I", true),
            ],
        ),
    ];
    let mut pure = Pure::new(3, DefinitionsSpec::default()).await;
    for (number, (line, expected)) in steps.iter().enumerate() {
        pure.feed([(number as u64, line.as_str())].into_iter(), 1)
            .await;
        assert_eq!(links(&pure), *expected, "after {line}");
    }
}
