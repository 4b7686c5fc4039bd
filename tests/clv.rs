//! What customers pay: their value, revenue and retention follow every correction, refund, merge
//! and deletion.

use std::collections::BTreeMap;

use crate::support::pure::Pure;
use crate::support::steps::{self, at, event};
use dealpulse::definitions::{DefinitionsSpec, Exclusion};
use serde_json::{Value, json};

fn paid(id: &str, minute: usize, kind: &str, amount: &str, day: &str) -> String {
    let data = json!({"account_id": "A1", "kind": kind, "amount": amount, "currency": "EUR", "paid_at": day});
    event("payment", id, minute, data)
}

/// Compares the figures of all time after each step.
async fn follow(spec: DefinitionsSpec, paths: &[&str], steps: &[(String, Vec<Value>)]) {
    steps::follow(&spec, steps, |pure| {
        at(&pure.all_time()["clv"]["all"], paths)
    })
    .await;
}

#[tokio::test]
async fn a_refund_a_correction_a_move_and_a_deletion_correct_what_a_customer_is_worth() {
    let paths = [
        "/payments/EUR/customers",
        "/payments/EUR/value",
        "/payments/EUR/mean",
        "/revenue/EUR/earned",
    ];
    let worth = |customers: i64, total: &str, mean: &str| {
        vec![json!(customers), json!(total), json!(mean), json!(total)]
    };
    let of_another = json!({"account_id": "A2"});
    let steps = vec![
        (
            paid("P1", 1, "one_off", "100", "2026-03-01"),
            worth(1, "100.00", "100.00"),
        ),
        (
            paid("P2", 2, "one_off", "50", "2026-03-02"),
            worth(1, "150.00", "150.00"),
        ),
        // Given back, whichever sign the source writes.
        (
            paid("P3", 3, "refund", "20", "2026-03-03"),
            worth(1, "130.00", "130.00"),
        ),
        (
            paid("P4", 4, "credit", "-5", "2026-03-03"),
            worth(1, "125.00", "125.00"),
        ),
        (
            event("payment", "P2", 5, json!({"amount": "60"})),
            worth(1, "135.00", "135.00"),
        ),
        (
            event("payment", "P1", 6, json!({"margin": 0.5})),
            worth(1, "85.00", "85.00"),
        ),
        (
            event("payment", "P2", 7, of_another),
            worth(2, "85.00", "42.50"),
        ),
        (
            event("account.merged", "A2", 8, json!({"merged_into": "A1"})),
            worth(1, "85.00", "85.00"),
        ),
        (
            event("payment.deleted", "P3", 9, json!({})),
            worth(1, "105.00", "105.00"),
        ),
        (
            event("payment.restored", "P3", 10, json!({})),
            worth(1, "85.00", "85.00"),
        ),
        // All that is given back is a customer worth nothing, not one that is not there.
        (
            event("payment", "P2", 11, json!({"amount": "-25"})),
            worth(1, "0.00", "0.00"),
        ),
    ];
    follow(DefinitionsSpec::default(), &paths, &steps).await;
}

#[tokio::test]
async fn nobody_has_paid_is_no_number_rather_than_a_zero() {
    let paths = ["/customers", "/payments", "/bookings", "/revenue"];
    let nothing = |customers: i64| vec![json!(customers), json!({}), json!({}), json!({})];
    let steps = vec![
        (event("account", "A1", 1, json!({})), nothing(0)),
        (
            event(
                "account",
                "A1",
                2,
                json!({"became_customer_at": "2026-01-01"}),
            ),
            nothing(1),
        ),
        // A payment whose amount is not known yet.
        (
            event("payment", "P1", 3, json!({"account_id": "A1"})),
            nothing(1),
        ),
    ];
    follow(DefinitionsSpec::default(), &paths, &steps).await;
}

#[tokio::test]
async fn an_account_left_out_takes_its_payments_along_and_brings_them_back() {
    let of_tests = Exclusion {
        entity: "account".into(),
        field: "segment".into(),
        values: vec!["test".into()],
    };
    let excluded = vec![of_tests];
    let spec = DefinitionsSpec {
        exclude: BTreeMap::from([("clv".to_owned(), excluded)]),
        ..DefinitionsSpec::default()
    };
    let segment =
        |segment: &str, minute| event("account", "A1", minute, json!({"segment": segment}));
    let paths = ["/customers", "/payments/EUR/value"];
    let steps = vec![
        (
            paid("P1", 1, "recurring", "100", "2026-03-01"),
            vec![json!(1), json!("100.00")],
        ),
        (segment("test", 2), vec![json!(0), Value::Null]),
        (
            paid("P2", 3, "recurring", "20", "2026-04-01"),
            vec![json!(0), Value::Null],
        ),
        (segment("", 4), vec![json!(1), json!("120.00")]),
    ];
    follow(spec, &paths, &steps).await;
}

#[tokio::test]
async fn a_hundred_thousand_payments_are_nothing_special_for_an_account() {
    let mut pure = Pure::new(2, DefinitionsSpec::default()).await;
    // Each alone in its message: were one more to cost a walk over all, this would not end.
    let lines: Vec<String> = (0..100_000)
        .map(|number| {
            let day = format!("20{:02}-{:02}-01", number / 12 % 26, number % 12 + 1);
            paid(&format!("P{number}"), 1, "recurring", "1.5", &day)
        })
        .collect();
    let numbered = lines.iter().enumerate();
    pure.feed(numbered.map(|(n, line)| (n as u64, line.as_str())), 1)
        .await;
    let report = pure.all_time();
    let total = report["clv"]["all"].pointer("/payments/EUR/value");
    assert_eq!(total, Some(&json!("150000.00")));
}
