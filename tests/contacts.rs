//! Contacts: an entity of its own, known at its account by a link.

mod support;

use dealpulse::definitions::DefinitionsSpec;
use dealpulse::event::{Entity, Value, When};
use dealpulse::shard::RecordRow;
use serde_json::json;
use support::pure::Pure;

fn event(entity: &str, id: &str, action: &str, minute: u32, data: serde_json::Value) -> String {
    json!({
        "specversion": "1.0", "id": "e", "source": "crm", "type": format!("crm.{entity}.{action}"), "subject": id,
        "time": format!("2026-03-02T10:{minute:02}:00Z"), "data": data,
    })
    .to_string()
}

async fn folded(shards: u32, events: &[String]) -> Pure {
    let mut pure = Pure::new(shards, DefinitionsSpec::default()).await;
    let lines = events.iter().enumerate();
    pure.feed(
        lines.map(|(offset, line)| (offset as u64, line.as_str())),
        1,
    )
    .await;
    pure
}

#[tokio::test]
async fn a_contact_is_a_record_with_its_fields_as_columns() {
    let contact = json!({"account_id": "A1", "owner_id": "u1", "created_at": "2026-03-01"});
    let pure = folded(3, &[event("contact", "C1", "upserted", 1, contact)]).await;
    let rows = pure.store.record_rows();
    let rows: Vec<_> = rows
        .values()
        .filter(|row| row.row.entity == Entity::CONTACT)
        .collect();
    let [row] = rows[..] else {
        panic!("one contact: {rows:?}")
    };
    let spec = Entity::CONTACT.spec();
    let shown = spec.fields.iter().map(|field| match field.name {
        "account_id" => Value::Text("A1".into()),
        "owner_id" => Value::Text("u1".into()),
        "created_at" => Value::When(When::Date(20_513)),
        _ => Value::Null,
    });
    let expected = RecordRow::new(Entity::CONTACT, "C1", shown, &[], row.row.state());
    assert_eq!(row.row, expected);
}

#[tokio::test]
async fn a_contact_is_known_at_its_account_until_it_moves_or_is_deleted() {
    let at = |account: &str, minute| {
        event(
            "contact",
            "C1",
            "upserted",
            minute,
            json!({"account_id": account}),
        )
    };
    let mut events = vec![at("A1", 1)];
    let links = |pure: &Pure| {
        let mut links: Vec<(String, bool)> = pure
            .store
            .link_rows()
            .into_iter()
            .map(|row| (row.row.target.1, row.row.withdrawn))
            .collect();
        links.sort();
        links
    };
    let known = |id: &str, withdrawn| (id.to_owned(), withdrawn);
    assert_eq!(links(&folded(3, &events).await), [known("A1", false)]);
    events.push(at("A2", 2));
    assert_eq!(
        links(&folded(3, &events).await),
        [known("A1", true), known("A2", false)]
    );
    events.push(event(
        "account",
        "A2",
        "merged",
        3,
        json!({"merged_into": "A3"}),
    ));
    let merged = links(&folded(3, &events).await);
    assert!(
        merged.contains(&known("A2", true)) && merged.contains(&known("A3", false)),
        "{merged:?}"
    );
    events.push(event("contact", "C1", "deleted", 4, json!({})));
    let deleted = links(&folded(3, &events).await);
    assert!(deleted.contains(&known("A3", true)), "{deleted:?}");
}
