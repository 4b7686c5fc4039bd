//! Amounts in the reporting currency: at the rate of their own day, in reports as in the read
//! model, and never guessed.

use std::process::Command;
use std::sync::Arc;

use crate::support::clickhouse::{DEALPULSE, spawn};
use crate::support::pure::context;
use crate::support::read_model::Database;
use dealpulse::clickhouse::migrate::migrate;
use dealpulse::clickhouse::{Access, ClickHouse};
use dealpulse::definitions::DefinitionsSpec;
use dealpulse::event::decode::cloudevents;
use dealpulse::local::generate::{Generator, GeneratorConfig};
use dealpulse::metric::{Catalogue, QueryPlan, versions};
use dealpulse::pipeline::memory::MemoryLog;
use dealpulse::pipeline::restart::restore;
use dealpulse::pipeline::route::partition_by_home;
use dealpulse::pipeline::run_to_completion::run_to_completion;
use dealpulse::pipeline::{Epoch, Log, Store};
use dealpulse::serve::refresh::{Refresh, Refresher};
use dealpulse::telemetry::Telemetry;
use dealpulse::window::rolling::{Now, ROLLING};
use serde_json::{Value, json};

fn event(kind: &str, id: &str, data: Value) -> String {
    json!({
        "specversion": "1.0", "id": "e", "source": "crm", "type": format!("crm.{kind}.upserted"), "subject": id,
        "time": "2026-03-30T10:00:00Z", "data": data,
    })
    .to_string()
}

fn won(id: &str, closed_at: &str, amount: &str, currency: &str) -> String {
    let data = json!({"status": "won", "created_at": "2026-01-01", "closed_at": closed_at, "amount": amount, "currency": currency});
    event("deal", id, data)
}

fn rate(id: &str, currency: &str, day: &str, rate: &str) -> String {
    let data = json!({"base": "EUR", "currency": currency, "rate": rate, "day": day});
    event("rate", id, data)
}

/// `dealpulse report --json` over lines, with further arguments.
fn report(lines: &[String], arguments: &[&str]) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events.ndjson");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let output = Command::new(DEALPULSE)
        .arg("report")
        .arg(&file)
        .arg("--json")
        .args(arguments)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn deals() -> Vec<String> {
    vec![
        won("D1", "2026-03-10T10:00:00Z", "100.00", "EUR"),
        // Late in the evening of Berlin's 15th: the rate of the 15th, not of the 14th.
        won("D2", "2026-03-14T23:30:00Z", "100.00", "USD"),
        won("D3", "2026-03-20", "100.00", "USD"),
        won("D4", "2026-03-20", "9000.00", "JPY"),
        rate("R1", "USD", "2026-03-01", "2"),
        rate("R2", "USD", "2026-03-15", "1.25"),
        rate("R3", "USD", "2026-03-21", "50"),
    ]
}

#[test]
fn an_amount_is_converted_at_the_rate_of_its_own_day_and_one_without_a_rate_leaves_both_sides() {
    let in_euro = [
        "--reporting-currency",
        "eur",
        "--time-zone",
        "Europe/Berlin",
    ];
    let all = report(&deals(), &in_euro)["metrics"].clone();
    let results = &all["sales_results"]["all"]["all"];
    // 100 + 100 ÷ 1.25 + 100 ÷ 1.25, over three deals: not four.
    assert_eq!(results["amount"]["reporting"]["won"], "260.00");
    assert_eq!(results["amount"]["reporting"]["average"], "86.6667");
    assert_eq!(results["without_rate"], 1);
    assert_eq!(
        results["won"], 4,
        "a deal is counted once, whatever its currencies"
    );
    let rate_by_amount = &all["win_rate"]["all"]["all"]["amount"]["reporting"]["rate"];
    assert_eq!(*rate_by_amount, 1.0);
    assert_eq!(results["amount"]["USD"]["won"], "200.00");

    let plain = report(&deals(), &["--time-zone", "Europe/Berlin"])["metrics"].clone();
    let results = &plain["sales_results"]["all"]["all"];
    assert_eq!(results["amount"]["reporting"], Value::Null);
    assert_eq!(results["without_rate"], Value::Null);
}

fn payment(id: &str, account: &str, paid_at: &str, amount: &str, currency: &str) -> String {
    let data = json!({"account_id": account, "paid_at": paid_at, "amount": amount, "currency": currency, "kind": "recurring"});
    event("payment", id, data)
}

#[test]
fn what_customers_are_worth_is_converted_as_of_their_acquisition_and_each_is_counted_once() {
    let lines = vec![
        payment("P1", "A", "2026-01-10", "100.00", "EUR"),
        payment("P2", "A", "2026-03-05", "50.00", "USD"),
        payment("P3", "B", "2026-03-05", "100.00", "USD"),
        payment("P4", "C", "2026-03-05", "9000.00", "JPY"),
        rate("R1", "USD", "2025-12-01", "2"),
        rate("R2", "USD", "2026-03-01", "1.25"),
    ];
    let all = report(&lines, &["--reporting-currency", "EUR"])["metrics"].clone();
    let clv = &all["clv"]["all"]["all"];
    // 100 + 50 ÷ 2 of A, acquired in January, and 100 ÷ 1.25 of B; C has no rate.
    let paid = &clv["lifetime"]["payments"];
    let in_euro = &paid["reporting"];
    assert_eq!(
        (&in_euro["customers"], &in_euro["value"], &in_euro["mean"]),
        (&json!(2), &json!("205.00"), &json!("102.50"))
    );
    assert_eq!(in_euro["median"], Value::Null);
    assert_eq!(paid["USD"]["customers"], 2);
    // Revenue is of the day it was paid: 100 + 50 ÷ 1.25 + 80.
    assert_eq!(clv["revenue"]["reporting"]["earned"], "220.00");
    assert_eq!(clv["without_rate"], 1, "the payment in yen");
}

#[test]
fn a_rate_that_moves_is_not_taken_for_customers_who_pay_less() {
    let lines = vec![
        payment("P1", "A", "2026-02-10", "100.00", "EUR"),
        payment("P2", "A", "2026-03-10", "100.00", "EUR"),
        payment("P3", "B", "2026-02-10", "100.00", "USD"),
        payment("P4", "B", "2026-03-10", "80.00", "USD"),
        // The first day of the next month makes March a full one.
        won("D1", "2026-04-01T10:00:00Z", "1.00", "EUR"),
        rate("R1", "USD", "2025-12-01", "2"),
        rate("R2", "USD", "2026-03-01", "1.25"),
        rate("R3", "USD", "2026-03-05", "4"),
    ];
    let all = report(&lines, &["--reporting-currency", "EUR"])["metrics"].clone();
    let retention = &all["retention"]["2026-03"]["all"]["amount"]["reporting"];
    // Both months at the first of March's 1.25: 100 + 80 before, 100 + 64 again.
    assert_eq!(
        (&retention["base"], &retention["again"], &retention["kept"]),
        (&json!("180.00"), &json!("164.00"), &json!("164.00"))
    );
    assert_eq!(retention["net"], 0.911111);
}

#[test]
fn rates_can_come_from_a_file_whose_mistakes_are_named_with_their_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rates.csv");
    let path = file.to_str().unwrap();
    let arguments = ["--reporting-currency", "EUR", "--rates", path];
    std::fs::write(&file, "day,base,currency,rate\n2026-03-01,JPY,EUR,0.01\n").unwrap();
    let all = report(&deals(), &arguments)["metrics"].clone();
    let results = &all["sales_results"]["all"]["all"];
    assert_eq!(results["without_rate"], 0);
    // In UTC D2 closed on the 14th, at 2 dollars a euro.
    assert_eq!(results["amount"]["reporting"]["won"], "320.00");

    for (text, problem) in [
        ("day,base,currency\n", "there is no column `rate`"),
        (
            "day,base,currency,rate\n2026-03-01,EUR,USD,-1\n",
            ":2: rate is `-1`",
        ),
        (
            "day,base,currency,rate\n2026-03-01,EUR,US,1\n",
            ":2: currency is `US`",
        ),
        (
            "day,base,currency,rate\nyesterday,EUR,USD,1\n",
            ":2: day is `yesterday`",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let output = Command::new(DEALPULSE)
            .arg("report")
            .arg(&file)
            .args(arguments)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && errors.contains(problem),
            "{errors}"
        );
    }
}

const END: i64 = 1_767_222_000_000_000;

#[tokio::test]
async fn the_read_model_converts_and_sums_up_the_hierarchy_as_the_database_does_while_people_move()
{
    let spec = DefinitionsSpec {
        time_zone: "America/New_York".into(),
        ..DefinitionsSpec::default()
    };
    let catalogue = Arc::new(Catalogue::new(spec.clone()).unwrap());
    let child = spawn(None);
    let clickhouse = ClickHouse::new(&Access {
        url: child.url(),
        database: "sales".into(),
        ..Access::default()
    });
    migrate(&clickhouse, &catalogue).await.unwrap();
    clickhouse.put_epoch(&Epoch::first(spec, 2)).await.unwrap();
    let log = MemoryLog::new(2);
    let mut owners = Vec::new();
    for shard in 0..2 {
        owners.push(
            restore(shard, 1, &log, &clickhouse, versions)
                .await
                .unwrap(),
        );
    }
    let events: Vec<_> = Generator::new(GeneratorConfig {
        seed: 3,
        deals: 300,
        ..GeneratorConfig::default()
    })
    .collect();
    let mut refresher = Refresher::new(
        Database(clickhouse.clone()),
        Refresh {
            reporting_currency: Some("EUR".into()),
            side_inputs_every: std::time::Duration::ZERO,
            clock: || END,
            // What the database is asked for has no others.
            top: usize::MAX,
            ..Refresh::default()
        },
        Telemetry::new(),
    );
    let (mut converted, mut managed) = (0, 0);
    for (part, events) in events.chunks(events.len().div_ceil(3)).enumerate() {
        for (offset, event) in events.iter().enumerate() {
            let offset = (part * 1_000_000 + offset) as u64;
            let decoded = cloudevents::decode(Some(&event.payload), &[], &context(offset));
            log.append(partition_by_home(&decoded.assertions, 2))
                .await
                .unwrap();
        }
        run_to_completion(&mut owners, 1, &log, &clickhouse, versions)
            .await
            .unwrap();
        let snapshot = refresher.snapshot().await.unwrap();
        let side = clickhouse.side_inputs(1, Some("EUR"), &[]).await.unwrap();
        let now = Now {
            now: END,
            watermark: END,
        };
        let plan = QueryPlan::new(ROLLING.to_vec(), now, &catalogue);
        let mut sums = clickhouse.sums(1, &catalogue, &plan, &side).await.unwrap();
        let expected = sums.read(&plan, &catalogue).to_json(&catalogue);
        let found = snapshot.reading.to_json(&catalogue);
        assert_eq!(found, expected, "part {part}");
        converted += found.to_string().matches("\"reporting\"").count();
        managed += found.to_string().matches("\"manager=m").count();
    }
    assert!(converted > 100, "only {converted} figures were converted");
    assert!(managed > 100, "only {managed} groups are a manager's");
}
