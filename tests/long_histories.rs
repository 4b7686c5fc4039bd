//! Histories longer than what is kept of them. A source that sends a whole row whenever anything of
//! it changes says the same a hundred times, and what a record says of its past must stay.

use crate::support::pure::Pure;
use dealpulse::definitions::{DefinitionsSpec, StageMeaning};
use serde_json::{Value, json};

/// An entity, a record of it, and its rows: the day each is sent, and what it says.
type Rows<'t> = (&'t str, &'t str, Vec<(i64, Value)>);

/// The cells that these rows make, and those they make when the last is sent again on a hundred
/// days. What is counted of histories that were cut is left out.
async fn cells(spec: &DefinitionsSpec, (entity, id, rows): &Rows<'_>) -> [Vec<String>; 2] {
    let row = |day: i64, data: &Value| {
        let time = chrono::DateTime::from_timestamp(1_767_225_600 + day * 86_400, 0);
        let kind = format!("crm.{entity}.upserted");
        let time = time.expect("a time").to_rfc3339();
        json!({"specversion": "1.0", "id": "e", "source": "crm", "type": kind, "subject": id, "time": time, "data": data}).to_string()
    };
    let (_, last) = rows.last().expect("rows");
    let once = rows.iter().map(|(day, data)| row(*day, data));
    let again = (200..300).map(|day| row(day, last));
    let lines: Vec<String> = once.chain(again).collect();
    let lines = || (0..).zip(lines.iter().map(String::as_str));
    let (mut short, mut long) = (
        Pure::new(3, spec.clone()).await,
        Pure::new(3, spec.clone()).await,
    );
    short.feed(lines().take(rows.len()), 1).await;
    long.feed(lines(), 1).await;
    long.restart().await;
    [short, long].map(|pure| {
        let rows = pure.store.cells().into_values().map(|row| row.row);
        let counted = rows.filter(|row| row.rollup != "win_rate.opened");
        let shown = counted.map(|row| format!("{row:?}"));
        shown.collect()
    })
}

async fn stays(spec: &DefinitionsSpec, rows: Rows<'_>, says: &[&str]) {
    let [short, long] = cells(spec, &rows).await;
    for said in says {
        assert!(
            short.iter().any(|cell| cell.contains(said)),
            "{said}: {short:#?}"
        );
    }
    assert_eq!(short, long);
}

#[tokio::test]
async fn a_deal_stays_with_whoever_had_it_when_it_was_closed() {
    let said = |owner: &str, team: &str, status: &str| json!({"owner_id": owner, "team": team, "status": status, "created_at": "2026-01-02", "closed_at": "2026-01-20", "amount": "100", "currency": "EUR"});
    let rows = vec![
        (1, said("u1", "north", "open")),
        // At one time; the later message counts.
        (19, said("u0", "north", "won")),
        (19, said("u2", "south", "won")),
        (40, said("u3", "east", "won")),
    ];
    stays(
        &DefinitionsSpec::default(),
        ("deal", "D1", rows),
        &["u2", "south"],
    )
    .await;
}

#[tokio::test]
async fn a_deal_stays_closed_when_it_was_whatever_its_stage_is_called() {
    let mut spec = DefinitionsSpec::default();
    for (stage, status) in [("talks", "open"), ("signed", "won")] {
        let status = Some(status.into());
        let meaning = StageMeaning {
            status,
            probability: None,
        };
        spec.stages.insert(stage.into(), meaning);
    }
    let amount = |stage: &str, status: Option<&str>| {
        let mut said = json!({"stage": stage, "amount": "100", "currency": "EUR"});
        if let Some(status) = status {
            said["status"] = status.into();
        }
        said
    };
    // Its source says that it is won and leaves it in the stage it was won in.
    let contradicted = vec![
        (1, amount("talks", Some("open"))),
        (19, amount("talks", Some("won"))),
    ];
    stays(&spec, ("deal", "D1", contradicted), &["win_rate.closed"]).await;
    // A stage that stands for won, then one that stands for nothing.
    let by_stage = vec![
        (1, amount("talks", None)),
        (19, amount("signed", None)),
        (30, amount("delivered", None)),
    ];
    stays(&spec, ("deal", "D1", by_stage), &["win_rate.closed"]).await;
    // A stage that stands for won, and never was more than the name of one.
    let open = vec![
        (1, amount("talks", Some("open"))),
        (19, amount("signed", Some("open"))),
        (30, amount("talks", Some("open"))),
    ];
    stays(&spec, ("deal", "D1", open), &[]).await;
}

#[tokio::test]
async fn a_lead_stays_converted_and_an_invoice_paid_since_it_was() {
    let lead =
        |status: &str| json!({"status": status, "created_at": "2026-01-02", "lead_source": "web"});
    let rows = vec![(1, lead("open")), (9, lead("converted"))];
    stays(&DefinitionsSpec::default(), ("lead", "L1", rows), &["web"]).await;
    let invoice = |status: &str| json!({"status": status, "issued_at": "2026-01-02", "amount": "100", "currency": "EUR", "owner_id": "u1"});
    let rows = vec![(1, invoice("issued")), (9, invoice("paid"))];
    stays(
        &DefinitionsSpec::default(),
        ("invoice", "I1", rows),
        &["invoices.paid"],
    )
    .await;
}
