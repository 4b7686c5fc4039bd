//! Contacts: an entity of its own, known at its account by a link, and what is counted of them.

use crate::support::pure::Pure;
use dealpulse::definitions::DefinitionsSpec;
use dealpulse::event::{self, Entity, When};
use dealpulse::shard::RecordRow;
use serde_json::{Value, json};

fn event(entity: &str, id: &str, action: &str, minute: u32, data: Value) -> String {
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
        "account_id" => event::Value::Text("A1".into()),
        "owner_id" => event::Value::Text("u1".into()),
        "created_at" => event::Value::When(When::Date(20_513)),
        _ => event::Value::Null,
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

/// Folds events one by one, and after each compares the named figures of all time.
async fn follow(paths: &[&str], steps: &[(String, &[i64])]) {
    for shards in [1, 3] {
        let mut pure = Pure::new(shards, DefinitionsSpec::default()).await;
        for (number, (line, expected)) in steps.iter().enumerate() {
            pure.feed([(number as u64, line.as_str())].into_iter(), 1)
                .await;
            let report = pure.all_time();
            // A group in which nothing is counted is not there.
            let counted = paths.iter().map(|path| {
                let figure = report.pointer(path);
                figure.map_or(0, |figure| figure.as_i64().expect("a count"))
            });
            let counted: Vec<i64> = counted.collect();
            assert_eq!(counted, *expected, "step {number}, {shards} shards");
        }
    }
}

#[tokio::test]
async fn a_new_contact_counts_under_its_own_owner_and_the_region_of_its_account() {
    let contact = |data, minute| event("contact", "C1", "upserted", minute, data);
    let account = |id: &str, region: &str, minute| {
        event("account", id, "upserted", minute, json!({"region": region}))
    };
    let paths = [
        "/contacts/all/new",
        "/contacts/region=/new",
        "/contacts/region=north/new",
        "/contacts/region=south/new",
        "/contacts/owner=u1/new",
        "/contacts/owner=u2/new",
    ];
    let steps: Vec<(String, &[i64])> = vec![
        (contact(json!({"owner_id": "u1"}), 0), &[1, 1, 0, 0, 1, 0]),
        // The account is not known yet.
        (contact(json!({"account_id": "A1"}), 1), &[1, 1, 0, 0, 1, 0]),
        (account("A1", "north", 2), &[1, 0, 1, 0, 1, 0]),
        (account("A1", "south", 3), &[1, 0, 0, 1, 1, 0]),
        (contact(json!({"owner_id": "u2"}), 4), &[1, 0, 0, 1, 0, 1]),
        (account("A2", "north", 5), &[1, 0, 0, 1, 0, 1]),
        (
            event("account", "A1", "merged", 6, json!({"merged_into": "A2"})),
            &[1, 0, 1, 0, 0, 1],
        ),
        (
            event("account", "A2", "deleted", 7, json!({})),
            &[1, 1, 0, 0, 0, 1],
        ),
        (contact(json!({"account_id": null}), 8), &[1, 1, 0, 0, 0, 1]),
        (
            event("contact", "C1", "deleted", 9, json!({})),
            &[0, 0, 0, 0, 0, 0],
        ),
        (
            event("contact", "C1", "restored", 10, json!({})),
            &[1, 1, 0, 0, 0, 1],
        ),
    ];
    follow(&paths, &steps).await;
}

#[tokio::test]
async fn the_wins_of_an_account_have_a_contact_as_long_as_one_is_there() {
    let won = |id: &str, data: Value, minute| {
        let mut all = json!({"status": "won", "closed_at": "2026-03-01"});
        let further = data.as_object().expect("fields").clone();
        all.as_object_mut().expect("fields").extend(further);
        event("deal", id, "upserted", minute, all)
    };
    let at = |id: &str, account: &str, minute| {
        let data = json!({"account_id": account});
        event("contact", id, "upserted", minute, data)
    };
    let paths = [
        "/contacted_wins/all/won",
        "/contacted_wins/all/with_contact",
        "/contacted_wins/product=p1/with_contact",
    ];
    let steps: Vec<(String, &[i64])> = vec![
        (won("D0", json!({}), 0), &[1, 0, 0]),
        (
            won("D1", json!({"account_id": "A1", "product": "p1"}), 1),
            &[2, 0, 0],
        ),
        (won("D2", json!({"account_id": "A1"}), 2), &[3, 0, 0]),
        (at("C1", "A1", 3), &[3, 2, 1]),
        (at("C2", "A1", 4), &[3, 2, 1]),
        (
            won("D3", json!({"account_id": "A1", "product": "p1"}), 5),
            &[4, 3, 2],
        ),
        (event("contact", "C1", "deleted", 6, json!({})), &[4, 3, 2]),
        (at("C2", "A2", 7), &[4, 0, 0]),
        (
            event("account", "A1", "merged", 8, json!({"merged_into": "A2"})),
            &[4, 3, 2],
        ),
        (
            event("deal", "D3", "upserted", 9, json!({"status": "lost"})),
            &[3, 2, 1],
        ),
        (event("contact", "C2", "deleted", 10, json!({})), &[3, 0, 0]),
        (
            event("contact", "C1", "restored", 11, json!({})),
            &[3, 2, 1],
        ),
    ];
    follow(&paths, &steps).await;
}
