//! Records that a metric leaves out by `definitions.exclude`: what they contribute goes and comes
//! back with the field that decides it.

use std::collections::BTreeMap;

use crate::support::pure::Pure;
use dealpulse::definitions::{DefinitionsSpec, Exclusion};
use serde_json::{Value, json};

fn event(kind: &str, id: &str, minute: usize, data: Value) -> String {
    let (entity, action) = kind.split_once('.').unwrap_or((kind, "upserted"));
    json!({
        "specversion": "1.0", "id": "e", "source": "crm", "type": format!("crm.{entity}.{action}"), "subject": id,
        "time": format!("2026-03-02T10:{minute:02}:00Z"), "data": data,
    })
    .to_string()
}

/// Test accounts are left out of the metric.
fn without_test_accounts(metric: &str) -> DefinitionsSpec {
    let of_tests = Exclusion {
        entity: "account".into(),
        field: "segment".into(),
        values: vec!["test".into()],
    };
    DefinitionsSpec {
        exclude: BTreeMap::from([(metric.to_owned(), vec![of_tests])]),
        ..DefinitionsSpec::default()
    }
}

fn won(id: &str, minute: usize) -> String {
    let data =
        json!({"account_id": "A-1", "status": "won", "closed_at": "2026-03-01", "product": id});
    event("deal", id, minute, data)
}

fn segment(segment: &str, minute: usize) -> String {
    event("account", "A-1", minute, json!({"segment": segment}))
}

/// Compares counts of the metric's total after each event, folded one by one with a restart after
/// each, and all so far at once.
async fn follow<const N: usize>(metric: &str, names: [&str; N], steps: &[(String, [i64; N])]) {
    let spec = without_test_accounts(metric);
    let counted = |pure: &Pure| {
        let report = pure.all_time();
        names.map(|name| report[metric]["all"][name].clone())
    };
    for shards in [1, 3] {
        let mut pure = Pure::new(shards, spec.clone()).await;
        for (number, (line, expected)) in steps.iter().enumerate() {
            let expected = expected.map(Value::from);
            pure.feed([(number as u64, line.as_str())].into_iter(), 1)
                .await;
            assert_eq!(counted(&pure), expected, "step {number}, {shards} shards");
            pure.restart().await;

            let mut at_once = Pure::new(shards, spec.clone()).await;
            let so_far = steps[..=number].iter().enumerate().rev();
            let lines = so_far.map(|(offset, (line, _))| (offset as u64, line.as_str()));
            at_once.feed(lines, 3).await;
            assert_eq!(counted(&at_once), expected, "all up to step {number}");
        }
    }
}

#[tokio::test]
async fn an_account_left_out_takes_its_wins_along_and_brings_them_back() {
    let steps = [
        (won("D-1", 0), [1, 1, 0]),
        (won("D-2", 1), [2, 1, 1]),
        (segment("test", 2), [0, 0, 0]),
        (won("D-3", 3), [0, 0, 0]),
        (segment("smb", 4), [3, 1, 2]),
        (won("D-4", 5), [4, 1, 3]),
        (segment("test", 6), [0, 0, 0]),
        (segment("smb", 7), [4, 1, 3]),
    ];
    follow("upsell", ["won", "new", "cross_sell"], &steps).await;
}

#[tokio::test]
async fn what_links_say_while_their_target_is_left_out_is_known_when_it_is_back() {
    let steps = [
        (won("D-1", 0), [1, 0]),
        (segment("test", 1), [0, 0]),
        (
            event("contact", "C-1", 2, json!({"account_id": "A-1"})),
            [0, 0],
        ),
        (won("D-2", 3), [0, 0]),
        (segment("smb", 4), [2, 2]),
        (segment("test", 5), [0, 0]),
        (event("contact.deleted", "C-1", 6, json!({})), [0, 0]),
        (segment("smb", 7), [2, 0]),
    ];
    follow("contacted_wins", ["won", "with_contact"], &steps).await;
}
