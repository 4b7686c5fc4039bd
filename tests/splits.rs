//! Splits: a deal is credited to those who share it, whatever happens to its splits; and the races
//! that rank them.

// Shared with other tests, each of which uses a part.

use std::collections::BTreeMap;
use std::process::Command;

use crate::oracle::history::{Dice, deliver, histories};
use crate::support::clickhouse::DEALPULSE;
use crate::support::pure::Pure;
use crate::support::steps::{self, at, event, left_out};
use crate::support::stored::Stored;
use dealpulse::definitions::{Credit, DefinitionsSpec, Exclusion};
use dealpulse::event::When;
use dealpulse::metric::Catalogue;
use dealpulse::window::rolling::{Now, Window};
use futures::executor::block_on;
use proptest::prelude::*;
use serde_json::{Value, json};

fn deal(id: &str, minute: usize, data: Value) -> String {
    event("deal", id, minute, data)
}

/// A deal of an owner that is won in euro, on the 1st of May.
fn won(id: &str, minute: usize, owner: &str, amount: &str) -> String {
    let data = json!({"status": "won", "owner_id": owner, "created_at": "2026-04-01", "closed_at": "2026-05-01",
        "amount": amount, "currency": "EUR"});
    deal(id, minute, data)
}

fn split(id: &str, minute: usize, deal: &str, owner: &str, share: &str) -> String {
    let data = json!({"deal_id": deal, "owner_id": owner, "share": share.parse::<f64>().unwrap()});
    event("split", id, minute, data)
}

/// What each of three owners is credited with, deals and euro; in the total won deals and those
/// whose splits are not used.
const CREDITED: [&str; 8] = [
    "/sales_race/owner=u1/deals",
    "/sales_race/owner=u1/amount/EUR/won",
    "/sales_race/owner=u2/deals",
    "/sales_race/owner=u2/amount/EUR/won",
    "/sales_race/owner=u3/deals",
    "/sales_race/owner=u3/amount/EUR/won",
    "/sales_race/all/deals",
    "/sales_race/all/splits_off",
];

type Owner<'a> = Option<(f64, &'a str)>;

/// The figures of [`CREDITED`]: of an owner who is credited with nothing there are none.
fn credited(owners: [Owner<'_>; 3], won: f64, off: i64) -> Vec<Value> {
    let figures = owners.into_iter().flat_map(|owner| match owner {
        Some((deals, amount)) => [json!(deals), json!(amount)],
        None => [Value::Null, Value::Null],
    });
    figures.chain([json!(won), json!(off)]).collect()
}

async fn follow(spec: DefinitionsSpec, steps: Vec<(String, Vec<Value>)>) {
    steps::follow(&spec, &steps, |pure| at(&pure.all_time(), &CREDITED)).await;
}

#[tokio::test]
async fn a_deal_is_credited_by_its_splits_of_today_whatever_becomes_of_them() {
    let whole = |amount| credited([Some((1.0, amount)), None, None], 1.0, 0);
    let unused = |amount| credited([Some((1.0, amount)), None, None], 1.0, 1);
    let shared = || {
        let (one, other) = (Some((0.6, "60.00")), Some((0.4, "40.00")));
        credited([one, other, None], 1.0, 0)
    };
    let steps = vec![
        (won("D1", 0, "u1", "100.00"), whole("100.00")),
        (split("S1", 1, "D1", "u1", "0.6"), unused("100.00")),
        (split("S2", 2, "D1", "u2", "0.4"), shared()),
        (
            event("split", "S2", 3, json!({"share": 0.3})),
            unused("100.00"),
        ),
        (
            event("split", "S2", 4, json!({"share": 0.4, "owner_id": "u3"})),
            credited([Some((0.6, "60.00")), None, Some((0.4, "40.00"))], 1.0, 0),
        ),
        (event("split", "S2", 5, json!({"owner_id": "u2"})), shared()),
        (
            event("split", "S2", 6, json!({"deal_id": "D2"})),
            unused("100.00"),
        ),
        (event("split", "S2", 7, json!({"deal_id": "D1"})), shared()),
        (event("split.deleted", "S1", 8, json!({})), unused("100.00")),
        (event("split.restored", "S1", 9, json!({})), shared()),
        (
            deal("D1", 10, json!({"amount": "50.01"})),
            credited([Some((0.6, "30.006")), Some((0.4, "20.004")), None], 1.0, 0),
        ),
        // The own owner has no part of it any more.
        (
            deal("D1", 11, json!({"owner_id": "u3"})),
            credited([Some((0.6, "30.006")), Some((0.4, "20.004")), None], 1.0, 0),
        ),
        (
            deal("D1", 12, json!({"status": "lost"})),
            credited([None, None, None], 0.0, 0),
        ),
        (
            deal("D1", 13, json!({"status": "won"})),
            credited([Some((0.6, "30.006")), Some((0.4, "20.004")), None], 1.0, 0),
        ),
        (
            event("deal.deleted", "D1", 14, json!({})),
            credited([None, None, None], 0.0, 0),
        ),
    ];
    let current = DefinitionsSpec {
        credit: Credit::Current,
        ..DefinitionsSpec::default()
    };
    // An owner who is nobody's owner but has lost or split deals stays a group without anything
    // won.
    let read = |pure: &Pure| {
        let mut found = at(&pure.all_time(), &CREDITED);
        for owner in found[..6].chunks_mut(2) {
            if owner[0] == json!(0.0) {
                owner[0] = Value::Null;
            }
        }
        found
    };
    steps::follow(&current, &steps, read).await;
}

#[tokio::test]
async fn shares_may_be_off_by_their_rounding_and_amounts_add_up_all_the_same() {
    let three = |a, b, c, off| credited([a, b, c], 1.0, off);
    let steps = vec![
        (
            won("D1", 0, "u1", "100.00"),
            three(Some((1.0, "100.00")), None, None, 0),
        ),
        (
            split("S1", 1, "D1", "u3", "0.3333"),
            three(Some((1.0, "100.00")), None, None, 1),
        ),
        (
            split("S2", 2, "D1", "u2", "0.3333"),
            three(Some((1.0, "100.00")), None, None, 1),
        ),
        // Of three equal parts the first by name has what is missing.
        (
            split("S3", 3, "D1", "u1", "0.3333"),
            three(
                Some((0.3334, "33.34")),
                Some((0.3333, "33.33")),
                Some((0.3333, "33.33")),
                0,
            ),
        ),
        // 0.3 ten-thousandths each: the last whole one goes to the first.
        (
            deal("D1", 4, json!({"amount": "0.0001"})),
            three(
                Some((0.3334, "0.0001")),
                Some((0.3333, "0.00")),
                Some((0.3333, "0.00")),
                0,
            ),
        ),
        (
            deal("D1", 5, json!({"amount": "-100.00"})),
            three(
                Some((0.3334, "-33.34")),
                Some((0.3333, "-33.33")),
                Some((0.3333, "-33.33")),
                0,
            ),
        ),
        // Too much by as much as three may be off, and by more.
        (
            event("split", "S3", 6, json!({"share": 0.3337})),
            three(
                Some((0.3336, "-33.36")),
                Some((0.3332, "-33.32")),
                Some((0.3332, "-33.32")),
                0,
            ),
        ),
        (
            event("split", "S3", 7, json!({"share": 0.3338})),
            three(Some((1.0, "-100.00")), None, None, 1),
        ),
        // Several of one owner are added up, and one without a share is of nothing.
        (
            event("split", "S3", 8, json!({"share": 0.3334, "owner_id": "u2"})),
            three(None, Some((0.6667, "-66.67")), Some((0.3333, "-33.33")), 0),
        ),
        (
            event("split", "S4", 9, json!({"deal_id": "D1", "owner_id": "u1"})),
            three(None, Some((0.6667, "-66.67")), Some((0.3333, "-33.33")), 0),
        ),
        (
            event("split", "S2", 10, json!({"share": null})),
            three(Some((1.0, "-100.00")), None, None, 1),
        ),
    ];
    let read = |pure: &Pure| {
        let mut found = at(&pure.all_time(), &CREDITED);
        // What comes to no amount is not shown as one.
        for owner in found[..6].chunks_mut(2) {
            match (&owner[0], &owner[1]) {
                (deals, Value::Null) if *deals == json!(0.0) => owner[0] = Value::Null,
                (Value::Number(_), Value::Null) => owner[1] = json!("0.00"),
                _ => {}
            }
        }
        found
    };
    steps::follow(&DefinitionsSpec::default(), &steps, read).await;
}

#[tokio::test]
async fn splits_and_deals_that_are_left_out_take_no_part() {
    let overlay = |minute, kind: &str| {
        let data =
            json!({"deal_id": "D1", "owner_id": "u3", "share": 0.5, "custom": {"kind": kind}});
        event("split", "S3", minute, data)
    };
    let shared = || credited([Some((0.5, "50.00")), Some((0.5, "50.00")), None], 1.0, 0);
    let product = |minute, product: &str| deal("D1", minute, json!({"product": product}));
    let steps = vec![
        (
            won("D1", 0, "u1", "100.00"),
            credited([Some((1.0, "100.00")), None, None], 1.0, 0),
        ),
        (
            split("S1", 1, "D1", "u1", "0.5"),
            credited([Some((1.0, "100.00")), None, None], 1.0, 1),
        ),
        (split("S2", 2, "D1", "u2", "0.5"), shared()),
        (overlay(3, "overlay"), shared()),
        (
            overlay(4, "revenue"),
            credited([Some((1.0, "100.00")), None, None], 1.0, 1),
        ),
        (overlay(5, "overlay"), shared()),
        // What the win rate leaves out can't be corrected.
        (product(6, "a test"), credited([None, None, None], 0.0, 0)),
        (overlay(7, "revenue"), credited([None, None, None], 0.0, 0)),
        (overlay(8, "overlay"), credited([None, None, None], 0.0, 0)),
        (product(9, "core"), shared()),
    ];
    let spec = DefinitionsSpec {
        exclude: BTreeMap::from([
            (
                "sales_race".into(),
                vec![left_out("split", "custom.kind", "overlay")],
            ),
            (
                "win_rate".into(),
                vec![left_out("deal", "product", "a test")],
            ),
        ]),
        ..DefinitionsSpec::default()
    };
    follow(spec, steps).await;
}

#[test]
fn a_deal_is_left_out_of_the_race_where_it_is_counted() {
    let tests: Exclusion = left_out("deal", "product", "a test");
    let spec = DefinitionsSpec {
        exclude: BTreeMap::from([("sales_race".into(), vec![tests])]),
        ..DefinitionsSpec::default()
    };
    assert_eq!(
        Catalogue::new(spec).unwrap_err().to_string(),
        "exclude.sales_race[0].entity: `sales_race` is read from the cells of win_rate; leave out a deal there"
    );
}

#[tokio::test]
async fn the_splits_of_a_merged_deal_are_its_survivors() {
    let whole = |off| credited([Some((1.0, "100.00")), None, None], 1.0, off);
    let shared = || credited([Some((0.5, "50.00")), Some((0.5, "50.00")), None], 1.0, 0);
    let merged = event("deal.merged", "D2", 3, json!({"merged_into": "D1"}));
    let steps = vec![
        (won("D1", 0, "u1", "100.00"), whole(0)),
        (split("S1", 1, "D1", "u1", "0.5"), whole(1)),
        (split("S2", 2, "D2", "u2", "0.5"), whole(1)),
        (merged, shared()),
        (
            event(
                "deal",
                "D2",
                4,
                json!({"merged_into": null, "status": "open"}),
            ),
            whole(1),
        ),
    ];
    follow(DefinitionsSpec::default(), steps).await;
}

/// Ranks of the groups by owner: by deals, by euro, by dollars.
fn ranks(pure: &Pure, owner: &str) -> [Value; 3] {
    let all = pure.all_time();
    let of_owner = format!("/sales_race/owner={owner}");
    ["/rank", "/amount/EUR/rank", "/amount/USD/rank"]
        .map(|path| all.pointer(&format!("{of_owner}{path}")).cloned().into())
}

#[tokio::test]
async fn ranks_go_by_deals_and_by_amount_in_each_currency_and_equals_by_name() {
    let dollars = |id: &str, minute, owner: &str, amount: &str| {
        let data = json!({"status": "won", "owner_id": owner, "closed_at": "2026-05-01", "amount": amount, "currency": "USD"});
        deal(id, minute, data)
    };
    let lines = [
        won("D1", 0, "ben", "100.00"),
        won("D2", 1, "ana", "100.00"),
        won("D3", 2, "cid", "300.00"),
        dollars("D4", 3, "cid", "5.00"),
        dollars("D5", 4, "dan", "9.00"),
        // Nobody's, which is most.
        won("D6", 5, "", "900.00"),
        won("D7", 6, "", "900.00"),
        // Lost: there, with nothing.
        deal(
            "D8",
            7,
            json!({"status": "lost", "owner_id": "eve", "closed_at": "2026-05-01", "amount": "5", "currency": "EUR"}),
        ),
        // Dan has half of Ben's.
        split("S1", 8, "D1", "ben", "0.5"),
        split("S2", 9, "D1", "dan", "0.5"),
    ];
    for shards in [1, 4] {
        let mut pure = Pure::new(shards, DefinitionsSpec::default()).await;
        pure.feed((0..).zip(lines.iter().map(String::as_str)), 1)
            .await;
        let place = |deals: i64, euro: Option<i64>, dollars: Option<i64>| {
            [Some(deals), euro, dollars].map(Value::from)
        };
        assert_eq!(ranks(&pure, "cid"), place(1, Some(1), Some(2)));
        assert_eq!(ranks(&pure, "dan"), place(2, Some(4), Some(1)));
        assert_eq!(ranks(&pure, "ana"), place(3, Some(2), None));
        // Of the same 50.00 and one name before the other.
        assert_eq!(ranks(&pure, "ben"), place(4, Some(3), None));
        for nobody in ["", "eve"] {
            assert_eq!(
                ranks(&pure, nobody),
                [Value::Null, Value::Null, Value::Null]
            );
        }
        let all = pure.all_time();
        assert_eq!(
            all["sales_race"]["all"]["rank"],
            Value::Null,
            "nothing to compare with"
        );
        assert_eq!(all["sales_race"]["owner="]["deals"], 2.0);
        assert_eq!(all["sales_race"]["owner=eve"]["deals"], 0.0);
    }
}

#[tokio::test]
async fn the_activity_race_ranks_by_all_that_was_done() {
    let done = |id: &str, owner: &str| {
        let data = json!({"owner_id": owner, "kind": "call", "done_at": "2026-05-01"});
        event("activity", id, 1, data)
    };
    let lines = [
        done("T1", "ben"),
        done("T2", "ana"),
        done("T3", "cid"),
        done("T4", "cid"),
        done("T5", ""),
        done("T6", ""),
        done("T7", ""),
        event(
            "activity",
            "T8",
            1,
            json!({"owner_id": "dan", "due_at": "2026-06-01"}),
        ),
    ];
    let mut pure = Pure::new(2, DefinitionsSpec::default()).await;
    pure.feed((0..).zip(lines.iter().map(String::as_str)), 1)
        .await;
    let all = pure.all_time();
    let rank = |owner: &str| all["activities"][format!("owner={owner}")]["rank"].clone();
    let found = ["cid", "ana", "ben", "dan", ""].map(rank);
    let expected = [Some(1), Some(2), Some(3), None, None].map(Value::from);
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_quota_is_attained_by_what_its_owner_is_credited_with() {
    let quota = |id: &str, minute, owner: &str| {
        let data = json!({"owner_id": owner, "target": "200.00", "currency": "EUR", "period_start": "2026-04-01", "period_end": "2026-06-30"});
        event("quota", id, minute, data)
    };
    let mut pure = Pure::new(3, DefinitionsSpec::default()).await;
    let lines = [
        quota("Q1", 0, "u1"),
        quota("Q2", 1, "u2"),
        won("D1", 2, "u1", "100.00"),
        split("S1", 3, "D1", "u1", "0.25"),
        split("S2", 4, "D1", "u2", "0.75"),
    ];
    pure.feed((0..).zip(lines.iter().map(String::as_str)), 1)
        .await;
    let now = pure
        .definitions
        .calendar
        .instant(When::parse("2026-05-10").unwrap());
    let reading = pure.read(
        vec![Window::QuarterToDate],
        Now {
            now,
            watermark: now,
        },
    );
    let quota = reading.to_json(&pure.definitions)["quota"]["qtd"].clone();
    let booked = ["all", "owner=u1", "owner=u2"].map(|group| {
        let amount = &quota[group]["amount"]["EUR"];
        (amount["booked"].clone(), amount["attainment"].clone())
    });
    let expected = [("100.00", 0.25), ("25.00", 0.125), ("75.00", 0.375)];
    assert_eq!(
        booked,
        expected.map(|(money, ratio)| (json!(money), json!(ratio)))
    );
}

/// `dealpulse report --json` over lines, with further arguments: the metrics.
fn report(lines: &[String], arguments: &[&str]) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events.ndjson");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let output = Command::new(DEALPULSE)
        .args(["report", "--json"])
        .arg(&file)
        .args(arguments)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    report["metrics"].clone()
}

#[test]
fn a_deal_two_reps_of_a_manager_share_is_one_deal_there_and_one_of_another_manager_has_their_part()
{
    let user = |id: &str, manager: &str, team: &str| {
        event("user", id, 0, json!({"manager_id": manager, "team": team}))
    };
    let lines = [
        user("ana", "mia", "north"),
        user("ben", "mia", "north"),
        user("cid", "max", "south"),
        won("D1", 1, "ana", "100.00"),
        split("S1", 2, "D1", "ana", "0.5"),
        split("S2", 3, "D1", "ben", "0.5"),
        won("D2", 4, "ana", "100.00"),
        split("S3", 5, "D2", "ben", "0.7"),
        split("S4", 6, "D2", "cid", "0.3"),
    ];
    let race = report(&lines, &[])["sales_race"]["all"].clone();
    let of = |group: &str| {
        let figures = &race[group];
        (
            figures["deals"].clone(),
            figures["amount"]["EUR"]["won"].clone(),
            figures["rank"].clone(),
        )
    };
    let expected = |deals: f64, amount: &str, rank: i64| (json!(deals), json!(amount), json!(rank));
    assert_eq!(of("owner=ben"), expected(1.2, "120.00", 1));
    assert_eq!(of("owner=ana"), expected(0.5, "50.00", 2));
    assert_eq!(of("owner=cid"), expected(0.3, "30.00", 3));
    assert_eq!(of("manager=mia"), expected(1.7, "170.00", 1));
    assert_eq!(of("manager=max"), expected(0.3, "30.00", 2));
    assert_eq!(of("org_unit=north"), expected(1.7, "170.00", 1));
    assert_eq!(of("org_unit=south"), expected(0.3, "30.00", 2));
    assert_eq!(race["all"]["deals"], 2.0);
    assert_eq!(race["all"]["split"], 2);
    assert_eq!(race["all"]["amount"]["EUR"]["won"], "200.00");
}

#[test]
fn credited_amounts_are_converted_at_the_rate_of_the_close() {
    let rate = |id: &str, day: &str, rate: &str| {
        event(
            "rate",
            id,
            0,
            json!({"base": "EUR", "currency": "USD", "rate": rate, "day": day}),
        )
    };
    let closed = |id: &str, minute, day: &str, currency: &str| {
        let data = json!({"status": "won", "owner_id": "ana", "created_at": "2026-04-01", "closed_at": day, "amount": "100.00", "currency": currency});
        deal(id, minute, data)
    };
    let lines = [
        rate("R1", "2026-04-10", "2"),
        rate("R2", "2026-05-01", "1.25"),
        closed("D1", 1, "2026-04-20", "USD"),
        split("S1", 2, "D1", "ana", "0.2"),
        split("S2", 3, "D1", "ben", "0.8"),
        closed("D2", 4, "2026-05-01", "USD"),
        closed("D3", 5, "2026-05-01", "EUR"),
        split("S3", 6, "D3", "ben", "1"),
        // Without a rate on its day.
        closed("D4", 7, "2026-04-09", "USD"),
        split("S4", 8, "D4", "ben", "1"),
    ];
    let race = report(&lines, &["--reporting-currency", "EUR"])["sales_race"]["all"].clone();
    let of = |group: &str| {
        let reporting = &race[group]["amount"]["reporting"];
        (reporting["won"].clone(), reporting["rank"].clone())
    };
    // Ana: 20 ÷ 2 + 100 ÷ 1.25; Ben: 80 ÷ 2 + 100.
    assert_eq!(of("owner=ana"), (json!("90.00"), json!(2)));
    assert_eq!(of("owner=ben"), (json!("140.00"), json!(1)));
    assert_eq!(of("all"), (json!("230.00"), Value::Null));
    assert_eq!(race["all"]["without_rate"], 1);
    assert_eq!(race["all"]["deals"], 4.0);
    assert_eq!(race["owner=ben"]["deals"], 2.8);
    assert_eq!(race["owner=ben"]["amount"]["USD"]["won"], "180.00");
}

#[tokio::test]
async fn the_views_rank_what_is_credited_in_every_period() {
    let mut stored = Stored::new("splits").await;
    let closed = |id: &str, minute, owner: &str, day: &str, amount: &str| {
        let data = json!({"status": "won", "owner_id": owner, "created_at": "2025-12-01", "closed_at": day, "amount": amount, "currency": "EUR"});
        deal(id, minute, data)
    };
    let quota = json!({"owner_id": "u2", "target": "500.00", "currency": "EUR", "period_start": "2026-01-01", "period_end": "2026-01-31"});
    let lines = [
        // A Thursday, in the first week of 2026 by ISO 8601 as the days before it.
        closed("D1", 0, "u1", "2026-01-01", "100.00"),
        split("S1", 1, "D1", "u1", "0.5"),
        split("S2", 2, "D1", "u2", "0.5"),
        closed("D2", 3, "u3", "2025-12-30", "50.00"),
        closed("D3", 4, "u2", "2026-04-01", "10.00"),
        // Not used.
        split("S3", 5, "D3", "u3", "0.5"),
        // Nobody's: in no race.
        closed("D4", 6, "", "2026-04-01", "1000.00"),
        event("quota", "Q1", 7, quota),
    ];
    stored.feed(&lines).await;
    let sql = "SELECT period, label, rank, substring(owner, -2), toString(won), toString(won_amount) FROM sales_race ORDER BY period, start, rank";
    let text = stored
        .clickhouse
        .fetch("asking for a test", sql, "CSV")
        .await
        .unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap().replace('"', "");
    let found: Vec<&str> = text.lines().collect();
    let expected = [
        "month,2025-12-01,1,u3,1,50",
        "month,2026-01-01,1,u1,0.5,50",
        "month,2026-01-01,2,u2,0.5,50",
        "month,2026-04-01,1,u2,1,10",
        "quarter,2025-10-01,1,u3,1,50",
        "quarter,2026-01-01,1,u1,0.5,50",
        "quarter,2026-01-01,2,u2,0.5,50",
        "quarter,2026-04-01,1,u2,1,10",
        "week,2026-W01,1,u1,0.5,50",
        "week,2026-W01,2,u2,0.5,50",
        "week,2026-W01,3,u3,1,50",
        "week,2026-W14,1,u2,1,10",
        "year,2025-01-01,1,u3,1,50",
        "year,2026-01-01,1,u2,1.5,60",
        "year,2026-01-01,2,u1,0.5,50",
    ];
    assert_eq!(found, expected);
    let off = "SELECT toString(sum(split)), toString(sum(splits_off)) FROM sales_race_daily WHERE dimension = ''";
    assert_eq!(stored.row(off).await, ["1", "1"]);
    let booked =
        "SELECT toString(booked) FROM quota_monthly WHERE dimension = 'owner' AND target = 500";
    assert_eq!(stored.row(booked).await, ["50"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn corrections_add_up_to_nothing_wherever_no_owner_plays_a_part(
        events in histories(60), seed in any::<u64>(), shards in 1u32..=3
    ) {
        let mut pure = block_on(Pure::new(shards, DefinitionsSpec::default()));
        let lines = deliver(&events, &mut Dice(seed));
        block_on(pure.feed(lines.iter().map(|(offset, line)| (*offset, line.as_str())), 3));
        let mut by_owner: BTreeMap<String, Vec<i128>> = BTreeMap::new();
        for row in pure.store.cells().values().map(|row| &row.row) {
            if row.rollup != "sales_race.splits" {
                continue;
            }
            if row.grouping != "owner" {
                prop_assert!(row.cell.sums.iter().all(|sum| *sum == 0), "{:?}", row);
                continue;
            }
            let place = format!("{:?} {}", row.pane, row.currency);
            let sums = by_owner.entry(place).or_insert_with(|| vec![0; 2]);
            sums.iter_mut().zip(&row.cell.sums).for_each(|(sum, own)| *sum += own);
        }
        for (place, sums) in by_owner {
            prop_assert_eq!(sums, [0, 0], "{}", place);
        }
    }
}
