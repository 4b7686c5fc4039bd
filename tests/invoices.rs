//! Invoices: what is issued, paid, open and collected follows every payment, refund, move, merge
//! and deletion.

use std::collections::BTreeMap;

use crate::support::steps::{self, at, event, left_out};
use crate::support::stored::Stored;
use dealpulse::definitions::DefinitionsSpec;
use serde_json::{Value, json};

fn invoice(id: &str, minute: usize, data: Value) -> String {
    event("invoice", id, minute, data)
}

fn payment(id: &str, minute: usize, data: Value) -> String {
    event("payment", id, minute, data)
}

/// Compares figures of all time after each step.
async fn follow(spec: DefinitionsSpec, paths: &[&str], steps: &[(String, Vec<Value>)]) {
    steps::follow(&spec, steps, |pure| at(&pure.all_time()["invoices"], paths)).await;
}

fn values<const N: usize>(values: [Value; N]) -> Vec<Value> {
    values.into()
}

#[tokio::test]
async fn an_invoice_is_open_until_it_is_paid_and_overdue_from_the_day_after_it_was_due() {
    let paths = [
        "/all/issued/invoices",
        "/all/issued/amount",
        "/all/open/amount",
        "/all/overdue/invoices",
        "/all/paid/amount",
        "/all/time_to_pay/mean_days",
        "/owner=u1/issued/invoices",
    ];
    let nothing = json!({});
    let issued = |n: i64, amount: &Value, open: &Value, overdue: i64| {
        values([
            json!(n),
            amount.clone(),
            open.clone(),
            json!(overdue),
            json!({}),
            Value::Null,
            Value::Null,
        ])
    };
    let eur = |amount: &str| json!({"EUR": amount});
    let steps = vec![
        (
            invoice(
                "I1",
                0,
                json!({"status": "draft", "amount": "100", "currency": "EUR", "issued_at": "2026-03-01"}),
            ),
            issued(0, &nothing, &nothing, 0),
        ),
        // An amount that is not known is no amount of zero.
        (
            invoice(
                "I1",
                1,
                json!({"status": "issued", "amount": null, "due_at": "2026-03-02"}),
            ),
            issued(1, &nothing, &nothing, 0),
        ),
        (
            invoice("I1", 2, json!({"amount": "0"})),
            issued(1, &eur("0.00"), &eur("0.00"), 0),
        ),
        (
            invoice("I1", 3, json!({"amount": "120.5"})),
            issued(1, &eur("120.50"), &eur("120.50"), 0),
        ),
        // The last thing that happened is what today is here.
        (
            payment("P1", 4, json!({"paid_at": "2026-03-02"})),
            issued(1, &eur("120.50"), &eur("120.50"), 0),
        ),
        (
            payment("P1", 5, json!({"paid_at": "2026-03-03"})),
            issued(1, &eur("120.50"), &eur("120.50"), 1),
        ),
        (
            invoice(
                "I1",
                6,
                json!({"status": "paid", "paid_at": "2026-03-05", "owner_id": "u1"}),
            ),
            values([
                json!(1),
                eur("120.50"),
                nothing.clone(),
                json!(0),
                eur("120.50"),
                json!(4.0),
                json!(1),
            ]),
        ),
        // Paid before it was issued: in no mean.
        (
            invoice("I1", 7, json!({"issued_at": "2026-03-06"})),
            values([
                json!(1),
                eur("120.50"),
                nothing.clone(),
                json!(0),
                eur("120.50"),
                Value::Null,
                json!(1),
            ]),
        ),
        (
            invoice("I1", 8, json!({"status": "cancelled"})),
            issued(0, &nothing, &nothing, 0),
        ),
        (
            invoice("I1", 9, json!({"status": "issued"})),
            values([
                json!(1),
                eur("120.50"),
                eur("120.50"),
                json!(1),
                nothing.clone(),
                Value::Null,
                json!(1),
            ]),
        ),
        (
            event("invoice.deleted", "I1", 10, json!({})),
            issued(0, &nothing, &nothing, 0),
        ),
    ];
    follow(DefinitionsSpec::default(), &paths, &steps).await;
}

#[tokio::test]
async fn an_invoice_without_a_time_of_payment_is_paid_since_it_has_that_status() {
    let paths = ["/all/paid/invoices", "/all/time_to_pay/mean_days"];
    let issued_at = json!({"issued_at": "2026-05-01T10:03:00Z", "status": "issued"});
    let status = |minute, status: &str| invoice("I1", minute, json!({"status": status}));
    let steps = vec![
        (invoice("I1", 1, issued_at), values([json!(0), Value::Null])),
        (status(3, "paid"), values([json!(1), json!(1.0)])),
        // That it is still paid says nothing new.
        (status(9, "paid"), values([json!(1), json!(1.0)])),
        (status(10, "issued"), values([json!(0), Value::Null])),
        (
            event(
                "invoice",
                "I1",
                43,
                json!({"status": "paid", "issued_at": "2026-05-01T10:43:00Z"}),
            ),
            values([json!(1), json!(1.0)]),
        ),
    ];
    follow(DefinitionsSpec::default(), &paths, &steps).await;
}

#[tokio::test]
async fn what_was_collected_follows_refunds_moves_merges_and_deletions() {
    let paths = [
        "/all/collected/payments",
        "/all/collected/without_amount",
        "/all/collected/amount",
        "/owner=u1/collected/amount/EUR",
        "/owner=u2/collected/amount/EUR",
    ];
    let collected = |count: i64, without: i64, amount: Value, u1: &str, u2: &str| {
        let of = |amount: &str| match amount {
            "" => Value::Null,
            amount => json!(amount),
        };
        values([json!(count), json!(without), amount, of(u1), of(u2)])
    };
    let eur = |amount: &str| json!({"EUR": amount});
    let paid = |id: &str, minute, kind: &str, amount: &str| {
        payment(
            id,
            minute,
            json!({"invoice_id": "I1", "kind": kind, "amount": amount, "currency": "EUR", "paid_at": "2026-03-01"}),
        )
    };
    let steps = vec![
        // Before anything is known of the invoice.
        (
            paid("P1", 0, "one_off", "100"),
            collected(1, 0, eur("100.00"), "", ""),
        ),
        (
            invoice("I1", 1, json!({"owner_id": "u1", "status": "draft"})),
            collected(1, 0, eur("100.00"), "100.00", ""),
        ),
        (
            paid("P2", 2, "refund", "30"),
            collected(2, 0, eur("70.00"), "70.00", ""),
        ),
        (
            payment("P3", 3, json!({"invoice_id": "I1"})),
            collected(3, 1, eur("70.00"), "70.00", ""),
        ),
        (
            payment("P3", 4, json!({"amount": "5", "currency": "USD"})),
            collected(3, 0, json!({"EUR": "70.00", "USD": "5.00"}), "70.00", ""),
        ),
        (
            event("payment.deleted", "P3", 5, json!({})),
            collected(2, 0, eur("70.00"), "70.00", ""),
        ),
        (
            invoice("I2", 6, json!({"owner_id": "u2"})),
            collected(2, 0, eur("70.00"), "70.00", ""),
        ),
        (
            payment("P2", 7, json!({"invoice_id": "I2"})),
            collected(2, 0, eur("70.00"), "100.00", "-30.00"),
        ),
        (
            event("invoice.merged", "I1", 8, json!({"merged_into": "I2"})),
            collected(2, 0, eur("70.00"), "", "70.00"),
        ),
        (
            event("invoice.deleted", "I2", 9, json!({})),
            collected(2, 0, eur("70.00"), "", ""),
        ),
        (
            event("invoice.restored", "I2", 10, json!({"owner_id": "u1"})),
            collected(2, 0, eur("70.00"), "70.00", ""),
        ),
        (
            payment("P2", 11, json!({"invoice_id": null})),
            collected(1, 0, eur("100.00"), "100.00", ""),
        ),
    ];
    follow(DefinitionsSpec::default(), &paths, &steps).await;
}

#[tokio::test]
async fn an_invoice_left_out_takes_its_payments_along_and_brings_them_back() {
    let of_tests = vec![
        left_out("invoice", "owner_id", "test"),
        left_out("payment", "kind", "credit"),
    ];
    let spec = DefinitionsSpec {
        exclude: BTreeMap::from([("invoices".to_owned(), of_tests)]),
        ..DefinitionsSpec::default()
    };
    let paths = ["/all/issued/invoices", "/all/collected/amount"];
    let owner = |owner: &str, minute| invoice("I1", minute, json!({"owner_id": owner}));
    let paid = |id: &str, minute, kind: &str| {
        let data = json!({"invoice_id": "I1", "kind": kind, "amount": "7", "currency": "EUR"});
        payment(id, minute, data)
    };
    let found = |issued: i64, amount: Value| values([json!(issued), amount]);
    let steps = vec![
        (owner("u1", 0), found(1, json!({}))),
        (paid("P1", 1, "one_off"), found(1, json!({"EUR": "7.00"}))),
        (owner("test", 2), found(0, json!({}))),
        (paid("P2", 3, "one_off"), found(0, json!({}))),
        (paid("P3", 4, "credit"), found(0, json!({}))),
        (owner("u1", 5), found(1, json!({"EUR": "14.00"}))),
        (paid("P2", 6, "credit"), found(1, json!({"EUR": "7.00"}))),
    ];
    follow(spec, &paths, &steps).await;
}

#[tokio::test]
async fn invoices_by_account_follow_merges_and_show_what_is_overdue_now() {
    let mut stored = Stored::new("invoices").await;
    let billed = |id: &str, account: &str, amount: Value, further: Value| {
        let mut data = json!({"account_id": account, "amount": amount, "currency": "EUR", "issued_at": "2026-03-01"});
        let further = further.as_object().expect("fields").clone();
        data.as_object_mut().expect("fields").extend(further);
        invoice(id, 1, data)
    };
    let merged =
        |id: &str, into: &str| event("account.merged", id, 2, json!({"merged_into": into}));
    // Merged twice: to the survivor of the survivor. Today in the organisation's time zone is not
    // over anywhere it matters here.
    let lines = [
        merged("A1", "A2"),
        merged("A2", "A3"),
        event("account", "A3", 1, json!({"name": "Survivor"})),
        billed("I1", "A1", json!("100"), json!({"status": "paid"})),
        billed("I2", "A2", json!("20"), json!({"due_at": "2026-03-02"})),
        billed("I3", "A3", json!("3"), json!({"due_at": "2099-03-02"})),
        billed("I4", "A3", Value::Null, json!({})),
        billed("I5", "A3", json!("7"), json!({"status": "draft"})),
        billed("I6", "A4", Value::Null, json!({"currency": null})),
        billed("I7", "A3", json!("9"), json!({})),
        event("invoice.deleted", "I7", 3, json!({})),
    ];
    stored.feed(&lines).await;
    let sql = "SELECT account, currency, issued, issued_amount, paid, paid_amount, open, open_amount, overdue, overdue_amount, without_amount
        FROM invoices_by_account ORDER BY account";
    let text = stored
        .clickhouse
        .fetch("asking for a test", sql, "TSV")
        .await
        .unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap().replace('\t', " ");
    let found: Vec<&str> = text.lines().collect();
    let expected = [
        "A3 EUR 4 123 1 100 3 23 1 20 1",
        r"A4 XXX 1 \N 0 \N 1 \N 0 \N 1",
    ];
    assert_eq!(found, expected);
}
