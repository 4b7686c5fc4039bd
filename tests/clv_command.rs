//! `dealpulse clv`: payments in, what customers are expected to buy out.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::clickhouse::{DEALPULSE, spawn};
use crate::support::customers::{Market, Random};
use crate::support::pure::Pure;
use crate::support::stored::{Stored, code_and_output};
use dealpulse::clickhouse::{Access, ClickHouse};
use dealpulse::definitions::DefinitionsSpec;
use dealpulse::lifetime::{Estimate, Horizon, LifetimeError, estimate};
use dealpulse::pipeline::Epoch;
use dealpulse::pipeline::payments::payments;
use serde_json::Value as Json;

/// An event of a record.
fn event(kind: &str, id: &str, time: &str, data: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"1","source":"crm","type":"crm.{kind}","subject":"{id}","time":"{time}","data":{{{data}}}}}"#
    )
}

/// A payment in the words of the feed; `more` begins with a comma.
fn payment(id: &str, account: &str, paid_at: &str, amount: &str, more: &str) -> String {
    let data =
        format!(r#""account_id":"{account}","amount":"{amount}","paid_at":"{paid_at}"{more}"#);
    event("payment.upserted", id, "2026-01-01T00:00:00Z", &data)
}

fn clv(arguments: &[&str]) -> Output {
    let mut command = Command::new(DEALPULSE);
    command.arg("clv").args(arguments).output().unwrap()
}

fn printed(arguments: &[&str]) -> String {
    let (code, text) = code_and_output(&clv(arguments));
    assert_eq!(code, 0, "run make clickhouse-engine? {text}");
    text
}

fn json(arguments: &[&str]) -> Json {
    serde_json::from_str(&printed(&[arguments, &["--json"]].concat())).unwrap()
}

/// What is estimated from some events, in Berlin's days, without an engine.
async fn estimated(lines: &[String], end: Option<i32>) -> Vec<Estimate> {
    let spec = DefinitionsSpec {
        time_zone: "Europe/Berlin".into(),
        ..DefinitionsSpec::default()
    };
    let mut pure = Pure::new(3, spec.clone()).await;
    pure.feed((0..).zip(lines.iter().map(String::as_str)), 2)
        .await;
    let epoch = Epoch::first(spec, 3);
    let payments = payments(&epoch, &pure.definitions.calendar, &pure.store)
        .await
        .unwrap();
    let horizon = Horizon::new(52.0, 0.0).unwrap();
    estimate(payments, end, &horizon).map_or_else(Vec::new, |found| found.currencies)
}

/// Customers as account, repeat purchases, days from the first to the last and to the end, their
/// mean value, all value.
fn shown(estimate: &Estimate) -> Vec<(&str, u32, f64, f64, f64, i128)> {
    let show = |c: &'_ dealpulse::lifetime::Customer| {
        (
            c.summary.frequency,
            (7.0 * c.summary.recency).round(),
            (7.0 * c.summary.age).round(),
            c.spend.mean,
            c.value / 10_000,
        )
    };
    let with_account = estimate.customers.iter().map(|c| {
        let (frequency, recency, age, mean, value) = show(c);
        (c.account.as_str(), frequency, recency, age, mean, value)
    });
    with_account.collect()
}

const USD: &str = r#","currency":"USD""#;

#[tokio::test]
async fn payments_of_one_local_day_are_one_purchase() {
    let lines = [
        payment("1", "a", "2026-01-01T12:00:00Z", "10", USD),
        // The eleventh in Berlin, both; in UTC two days.
        payment("2", "a", "2026-01-10T23:30:00Z", "20", USD),
        payment("3", "a", "2026-01-11T10:00:00Z", "30", USD),
        payment("4", "a", "2026-01-21", "40", USD),
    ];
    let found = estimated(&lines, None).await;
    assert_eq!(shown(&found[0]), [("a", 2, 20.0, 20.0, 45.0, 100)]);
    assert_eq!(
        (found[0].so_far.purchases, found[0].so_far.value),
        (3, 1_000_000)
    );
}

#[tokio::test]
async fn what_is_given_back_reduces_the_purchase_before_it_and_is_none_itself() {
    let refund = |kind: &str| format!(r#"{USD},"kind":"{kind}""#);
    let lines = [
        payment("1", "a", "2026-01-01", "100", &refund("one_off")),
        payment("2", "a", "2026-01-11", "100", &refund("recurring")),
        payment("3", "a", "2026-01-21", "30", &refund("refund")),
        payment("4", "a", "2026-01-31", "-5", &refund("credit")),
        // Given back on the day of a purchase, which is the first of the account.
        payment("5", "b", "2026-01-05", "8", &refund("refund")),
        payment("6", "b", "2026-01-05", "10", USD),
        // Nothing was ever bought, or for nothing.
        payment("7", "c", "2026-01-05", "10", &refund("credit")),
        payment("8", "d", "2026-01-05", "0", USD),
    ];
    let found = estimated(&lines, None).await;
    assert_eq!(
        shown(&found[0]),
        [("a", 1, 10.0, 30.0, 65.0, 165), ("b", 0, 0.0, 26.0, 0.0, 2)]
    );
}

#[tokio::test]
async fn only_what_is_left_after_cost_is_value() {
    let lines = [
        payment("1", "a", "2026-01-01", "100", USD),
        payment(
            "2",
            "a",
            "2026-01-11",
            "100",
            &format!(r#"{USD},"margin":0.25"#),
        ),
    ];
    let found = estimated(&lines, None).await;
    assert_eq!(shown(&found[0]), [("a", 1, 10.0, 10.0, 25.0, 125)]);
}

#[tokio::test]
async fn a_merged_account_is_its_survivor_and_a_deleted_payment_is_none() {
    let later = "2026-02-01T00:00:00Z";
    let mut lines = vec![
        payment("1", "a", "2026-01-01", "10", USD),
        payment("2", "b", "2026-01-11", "20", USD),
        payment("3", "c", "2026-01-21", "30", USD),
        payment("4", "a", "2026-01-31", "40", USD),
        event("payment.deleted", "4", later, ""),
        event("account.merged", "b", later, r#""merged_into":"a""#),
        event("account.merged", "c", later, r#""merged_into":"b""#),
    ];
    let found = estimated(&lines, None).await;
    assert_eq!(shown(&found[0]), [("a", 2, 20.0, 20.0, 25.0, 60)]);
    lines.push(event("payment.restored", "4", "2026-02-02T00:00:00Z", ""));
    let found = estimated(&lines, None).await;
    assert_eq!(shown(&found[0])[0].1, 3);
}

#[tokio::test]
async fn currencies_are_apart_also_the_missing_one() {
    let lines = [
        payment("1", "a", "2026-01-01", "10", USD),
        payment("2", "a", "2026-01-02", "20", r#","currency":"EUR""#),
        payment("3", "a", "2026-01-03", "30", ""),
        payment("4", "a", "2026-01-04", "40", USD),
    ];
    let found = estimated(&lines, None).await;
    let by_currency: Vec<_> = found
        .iter()
        .map(|estimate| (estimate.currency.as_str(), shown(estimate)[0].5))
        .collect();
    assert_eq!(by_currency, [("EUR", 20), ("USD", 50), ("XXX", 30)]);
    for estimate in &found {
        let too_few = LifetimeError::TooFewCustomers { found: 1 };
        assert_eq!(estimate.purchase_model, Err(too_few));
        assert_eq!(estimate.predictions, Err(too_few));
        assert!(estimate.expected().is_none());
    }
}

#[tokio::test]
async fn payments_after_the_end_of_the_observation_do_not_count() {
    let lines = [
        payment("1", "a", "2026-01-01", "10", USD),
        payment("2", "a", "2026-01-05", "20", USD),
        payment("3", "b", "2026-01-09", "20", USD),
    ];
    // 5 January 2026.
    let found = estimated(&lines, Some(20_458)).await;
    assert_eq!(shown(&found[0]), [("a", 1, 4.0, 4.0, 20.0, 30)]);
    assert!(estimated(&lines, Some(20_000)).await.is_empty());
}

/// 1 January 2024.
const FIRST_DAY: i64 = 19_723;
const CUSTOMERS: usize = 23_570;
const WEEKS: f64 = 91.0;

/// The payments of a market's customers, who come in its first twelve weeks, up to the end of the
/// observation; and what they did in the year after it: purchases and their value.
fn simulated(market: &Market, random: &mut Random) -> (String, u64, (f64, f64)) {
    let (mut lines, mut count, mut later) = (String::new(), 0, (0.0, 0.0));
    for account in 0..CUSTOMERS {
        let begin = 12.0 * random.uniform();
        for (at, value) in market.customer(WEEKS + 52.0 - begin, random) {
            let at = begin + at;
            if at >= WEEKS {
                later = (later.0 + 1.0, later.1 + value);
                continue;
            }
            let seconds = FIRST_DAY * 86_400 + (at * 604_800.0) as i64;
            let paid_at = chrono::DateTime::from_timestamp(seconds, 0).unwrap();
            let paid_at = paid_at.format("%Y-%m-%dT%H:%M:%SZ");
            let amount = format!("{:.2}", value.max(0.01));
            let id = format!("p-{count}");
            let account = format!("a-{account}");
            let line = payment(&id, &account, &paid_at.to_string(), &amount, USD);
            writeln!(lines, "{line}").unwrap();
            count += 1;
        }
    }
    (lines, count, later)
}

fn number(json: &Json) -> f64 {
    json.as_f64()
        .unwrap_or_else(|| panic!("{json} is no number"))
}

#[track_caller]
fn near(found: f64, expected: f64, tolerance: f64) {
    let off = (found / expected - 1.0).abs();
    assert!(off <= tolerance, "{found} instead of {expected}");
}

/// The database a run has left in a directory.
async fn rows_of(directory: &Path, sql: &str) -> Vec<String> {
    let engine = spawn(Some(directory));
    let clickhouse = ClickHouse::new(&Access {
        url: engine.url(),
        database: "dealpulse".into(),
        ..Access::default()
    });
    let text = clickhouse.fetch("asking for a test", sql, "TSV").await;
    let text = String::from_utf8_lossy(&text.unwrap()).into_owned();
    text.trim_end().split('\t').map(str::to_owned).collect()
}

/// Drawn by the parameters the paper found for real customers. Days are coarser than the model's
/// time, so that two purchases of a day are one: it costs the rate of purchase some percent.
#[tokio::test]
async fn seventy_thousand_payments_give_back_the_parameters_they_were_drawn_by_in_one_go() {
    let market = Market {
        purchases: [0.243, 4.414, 0.793, 2.426],
        values: [6.25, 3.74, 15.44],
    };
    let (lines, count, later) = simulated(&market, &mut Random(7));
    let directory = tempfile::tempdir().unwrap();
    let (file, data) = (
        directory.path().join("p.ndjson"),
        directory.path().join("data"),
    );
    fs::write(&file, lines).unwrap();
    let names = [&file, &data].map(|path| path.to_str().unwrap());
    let found = json(&[
        names[0],
        "--data-dir",
        names[1],
        "--as-of",
        "2025-09-28",
        "--horizon",
        "52",
    ]);
    let of = &found["currencies"]["USD"];
    assert_eq!(found["input"]["lines"], count);
    assert_eq!(of["customers"], CUSTOMERS);
    let model = &of["purchase_model"];
    for (name, expected) in ["r", "alpha"].iter().zip([0.243, 4.414]) {
        near(number(&model[*name]), expected, 0.1);
    }
    for (name, expected) in ["a", "b"].iter().zip([0.793, 2.426]) {
        near(number(&model[*name]), expected, 0.2);
    }
    let model = &of["value_model"];
    for (name, expected) in ["p", "q", "gamma"].iter().zip([6.25, 3.74, 15.44]) {
        near(number(&model[*name]), expected, 0.15);
    }
    near(number(&model["mean_value"]), 6.25 * 15.44 / 2.74, 0.03);
    // What the simulation went on to do, which the fit has not seen.
    near(number(&of["expected"]["purchases"]), later.0, 0.05);
    near(number(&of["expected"]["value"]), later.1, 0.05);

    let row = rows_of(
        &data,
        "SELECT count(), uniqExact(account), sum(expected_value), min(p_alive) >= 0 AND max(p_alive) <= 1, any(currency), \
         (SELECT count() FROM clv_accounts), (SELECT any(b) FROM clv_runs) FROM clv_predicted",
    )
    .await;
    let customers = CUSTOMERS.to_string();
    assert_eq!(
        (&row[0], &row[1], &row[3], &row[4], &row[5]),
        (
            &customers,
            &customers,
            &"1".to_owned(),
            &"USD".to_owned(),
            &customers
        )
    );
    near(
        row[2].parse().unwrap(),
        number(&of["expected"]["value"]),
        1e-9,
    );
    assert_eq!(
        row[6].parse::<f64>().unwrap(),
        number(&of["purchase_model"]["b"])
    );
}

/// Payments of so many accounts that buy again, each a little differently.
fn regulars(accounts: u32, currency: &str) -> Vec<String> {
    let mut random = Random(3);
    let market = Market {
        purchases: [1.0, 4.0, 0.8, 2.4],
        values: [6.0, 4.0, 20.0],
    };
    let mut lines = Vec::new();
    for account in 0..accounts {
        for (at, value) in market.customer(40.0, &mut random) {
            let day = FIRST_DAY as i32 + (7.0 * at) as i32;
            let paid_at = dealpulse::window::calendar::civil(day).to_string();
            let id = format!("{currency}-{}", lines.len());
            let more = format!(r#","currency":"{currency}""#);
            let amount = format!("{value:.2}");
            lines.push(payment(
                &id,
                &format!("a-{account}"),
                &paid_at,
                &amount,
                &more,
            ));
        }
    }
    lines
}

#[tokio::test]
async fn the_database_of_a_pipeline_keeps_every_run_and_shows_the_newest_with_names() {
    let mut stored = Stored::new("clv").await;
    let (code, text) = code_and_output(&stored.setup.ask("clv", &[]).await);
    assert_eq!(
        (code, text.contains("no account has paid anything")),
        (1, true),
        "{text}"
    );

    let name = event(
        "account.upserted",
        "a-1",
        "2026-01-01T00:00:00Z",
        r#""name":"Aldermoor""#,
    );
    let lines = [regulars(300, "EUR"), regulars(5, "GBP"), vec![name]].concat();
    stored.feed(&lines).await;
    let (code, text) = code_and_output(&stored.setup.ask("clv", &["--json"]).await);
    assert_eq!(code, 0, "{text}");
    let found: Json = serde_json::from_str(&text).unwrap();
    assert_eq!(found["time_zone"], "Europe/Berlin");
    assert!(
        number(&found["currencies"]["EUR"]["expected"]["value"]) > 0.0,
        "{found:#}"
    );
    let problem = "too few customers for a fit: 5 of the 50 it needs";
    assert_eq!(found["currencies"]["GBP"]["expected"]["problem"], problem);
    assert_eq!(
        found["currencies"]["GBP"]["top_accounts"][0]["p_alive"],
        Json::Null
    );

    // With a discount everything is worth less; a namesake in another currency is another row.
    let (code, text) = code_and_output(
        &stored
            .setup
            .ask("clv", &["--json", "--discount", "0.1"])
            .await,
    );
    assert_eq!(code, 0, "{text}");
    let discounted: Json = serde_json::from_str(&text).unwrap();
    let value = |found: &Json| number(&found["currencies"]["EUR"]["expected"]["value"]);
    assert!(value(&discounted) < value(&found));
    let row = stored
        .row(
            "SELECT count(), countIf(account_name = 'Aldermoor'), countIf(currency = 'GBP' AND isNull(expected_value) AND isNull(p_alive)), \
             sum(expected_value), any(yearly_discount), (SELECT count() FROM clv_accounts), (SELECT uniqExact(run_at) FROM clv_runs) \
             FROM clv_predicted",
        )
        .await;
    assert_eq!(
        [&row[0], &row[1], &row[2], &row[4], &row[5], &row[6]],
        ["305", "2", "5", "0.1", "610", "2"]
    );
    near(row[3].parse().unwrap(), value(&discounted), 1e-9);
    let row = stored
        .row("SELECT purchase_problem, isNull(r), customers, repeat_customers > 0 FROM clv_runs WHERE currency = 'GBP' ORDER BY run_at DESC LIMIT 1")
        .await;
    assert_eq!(row, [problem, "1", "5", "1"]);
}

#[test]
fn a_table_names_the_models_the_past_and_the_future() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("p.ndjson");
    fs::write(&file, regulars(300, "EUR").join("\n")).unwrap();
    let text = printed(&[file.to_str().unwrap(), "--show", "3"]);
    for part in [
        "EUR\n  customers: 300 since 2024-01-01, of whom ",
        "purchases (BG/NBD): r ",
        "value (Gamma-Gamma): p ",
        "the last 52 weeks ",
        "the next 52 weeks, expected ",
    ] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
    assert_eq!(
        text.lines().filter(|line| line.starts_with("  a-")).count(),
        3,
        "{text}"
    );
}

#[test]
fn files_without_a_payment_are_refused_and_so_are_options_that_make_no_sense() {
    let directory = tempfile::tempdir().unwrap();
    let named = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (empty, deals) = (
        named("empty.ndjson", ""),
        named(
            "deals.ndjson",
            &event(
                "deal.upserted",
                "d",
                "2026-01-01T00:00:00Z",
                r#""amount":5"#,
            ),
        ),
    );
    let cases: [(&[&str], i32, &str); 5] = [
        (&[&empty], 1, "there was nothing in the files"),
        (&[&deals], 1, "no account has paid anything"),
        (
            &[&deals, "--horizon", "2000"],
            1,
            "a horizon must be 0 to 1044",
        ),
        (&[&deals, "--config", "x.toml"], 2, "cannot be used with"),
        (
            &["--mapping", "x.toml"],
            2,
            "required arguments were not provided",
        ),
    ];
    for (arguments, code, message) in cases {
        let output = clv(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(message), "{arguments:?}: {text}");
        assert!(output.stdout.is_empty());
    }
}
