//! The hierarchy: a manager's and a team's numbers, as of the day; in reports as in the views, and
//! against a slow oracle.

use std::collections::BTreeSet;
use std::process::Command;

use crate::support::clickhouse::DEALPULSE;
use crate::support::stored::{Stored, generated};
use dealpulse::window::DERIVED;
use proptest::prelude::*;
use serde_json::{Value, json};

fn event(kind: &str, id: &str, time: &str, data: Value) -> String {
    json!({
        "specversion": "1.0", "id": "e", "source": "crm", "type": format!("crm.{kind}.upserted"), "subject": id,
        "time": time, "data": data,
    })
    .to_string()
}

fn user(id: &str, time: &str, data: Value) -> String {
    event("user", id, time, data)
}

fn won(id: &str, owner: &str, closed_at: &str, amount: u32) -> String {
    let data = json!({"status": "won", "owner_id": owner, "created_at": "2026-01-01", "closed_at": closed_at,
        "amount": amount.to_string(), "currency": "EUR"});
    event("deal", id, "2026-06-01T10:00:00Z", data)
}

/// Ana works for Dora until the 10th of March, late in the evening of Berlin's 9th by UTC; then for
/// Emil, who moves from Cora to Dora in May.
fn company() -> Vec<String> {
    vec![
        user(
            "ana",
            "2026-02-01T10:00:00Z",
            json!({"manager_id": "dora", "team": "north", "name": "Ana"}),
        ),
        user(
            "ana",
            "2026-03-09T23:30:00Z",
            json!({"manager_id": "emil", "team": "south"}),
        ),
        user(
            "emil",
            "2026-01-01T10:00:00Z",
            json!({"manager_id": "cora", "team": "south"}),
        ),
        user(
            "emil",
            "2026-05-01T10:00:00Z",
            json!({"manager_id": "dora"}),
        ),
        user(
            "dora",
            "2026-01-01T10:00:00Z",
            json!({"manager_id": "cora"}),
        ),
        event(
            "team",
            "T1",
            "2026-01-01T10:00:00Z",
            json!({"name": "north", "parent": "europe"}),
        ),
        event(
            "team",
            "T2",
            "2026-01-01T10:00:00Z",
            json!({"name": "south", "parent": "europe"}),
        ),
        event(
            "team",
            "T3",
            "2026-01-01T10:00:00Z",
            json!({"name": "europe"}),
        ),
        // Before anything is known of Ana: under the first manager that is.
        won("D1", "ana", "2026-01-20", 1),
        won("D2", "ana", "2026-03-09", 10),
        won("D3", "ana", "2026-03-10", 100),
        won("D4", "ana", "2026-05-02", 1_000),
        won("D5", "dora", "2026-03-10", 10_000),
        won("D6", "a stranger", "2026-03-10", 100_000),
        event(
            "deal",
            "D7",
            "2026-06-01T10:00:00Z",
            json!({"status": "open", "owner_id": "ana", "expected_close_date": "2026-03-01", "amount": "7", "currency": "EUR"}),
        ),
    ]
}

fn amounts(groups: &Value, path: &str, dimension: &str) -> BTreeSet<(String, String)> {
    let groups = groups.as_object().unwrap().iter();
    let of_dimension = groups.filter_map(|(label, figures)| {
        let value = label.strip_prefix(dimension)?.strip_prefix('=')?;
        let amount = figures.pointer(path)?.as_str()?;
        Some((value.to_owned(), amount.to_owned()))
    });
    of_dimension.collect()
}

fn expected(pairs: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    let owned = pairs
        .iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
    owned.collect()
}

#[test]
fn a_number_counts_for_the_managers_and_teams_of_its_day_and_an_open_deal_for_those_of_today() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events.ndjson");
    std::fs::write(&file, company().join("\n")).unwrap();
    let output = Command::new(DEALPULSE)
        .args(["report", "--json", "--time-zone", "Europe/Berlin"])
        .arg(&file)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let won = &report["metrics"]["win_rate"];
    let of = |window: &str, dimension: &str| amounts(&won[window], "/amount/EUR/won", dimension);
    // Dora's own count for her; the stranger's for nobody, and are not lost.
    let march = [
        ("", "100000.00"),
        ("cora", "10110.00"),
        ("dora", "10010.00"),
        ("emil", "100.00"),
    ];
    assert_eq!(of("2026-03", "manager"), expected(&march));
    let may = [
        ("cora", "1000.00"),
        ("dora", "1000.00"),
        ("emil", "1000.00"),
    ];
    assert_eq!(of("2026-05", "manager"), expected(&may));
    assert_eq!(
        of("2026-01", "manager"),
        expected(&[("cora", "1.00"), ("dora", "1.00")])
    );
    let march = [
        ("", "110000.00"),
        ("europe", "110.00"),
        ("north", "10.00"),
        ("south", "100.00"),
    ];
    assert_eq!(of("2026-03", "org_unit"), expected(&march));
    let open = amounts(
        &report["metrics"]["forecast"]["all"],
        "/amount/EUR/amount",
        "manager",
    );
    let today = [("cora", "7.00"), ("dora", "7.00"), ("emil", "7.00")];
    assert_eq!(open, expected(&today));
}

/// The only text of a query, without the escapes of TSV.
async fn texts(stored: &Stored, sql: &str) -> String {
    stored.row(sql).await[0].replace(r"\'", "'")
}

/// Views look the hierarchy up as it was a minute ago at the most.
async fn look_up_now(stored: &Stored) {
    stored
        .execute("SYSTEM REFRESH VIEW reporting_lines_by_minute")
        .await;
    stored
        .execute("SYSTEM WAIT VIEW reporting_lines_by_minute")
        .await;
}

#[tokio::test]
async fn the_forecast_of_a_past_day_counts_for_the_managers_and_teams_of_that_day() {
    let mut stored = Stored::new("hierarchy_forecast").await;
    stored
        .feed_at("2026-03-05T10:00:00Z", &company()[..8])
        .await;
    let data = json!({"status": "open", "owner_id": "ana", "expected_close_date": "2026-04-01", "amount": "7", "currency": "EUR"});
    let open = event("deal", "D8", "2026-03-05T10:00:00Z", data);
    stored.feed_at("2026-03-05T11:00:00Z", &[open]).await;
    let ask = |dimension: &'static str, day: &'static str| {
        let sql = format!(
            "SELECT arraySort(groupArray((value[1], toString(pipeline)))) FROM forecast_daily WHERE dimension = '{dimension}' AND day = '{day}'"
        );
        let stored = &stored;
        async move { texts(stored, &sql).await }
    };
    assert_eq!(
        ask("manager", "2026-03-09").await,
        "[]",
        "nobody has a manager before the hierarchy is looked up"
    );
    look_up_now(&stored).await;
    for (dimension, day, expected) in [
        ("owner", "2026-03-09", "[('ana','7')]"),
        ("manager", "2026-03-09", "[('cora','7'),('dora','7')]"),
        ("manager", "2026-03-10", "[('cora','7'),('emil','7')]"),
        ("org_unit", "2026-03-09", "[('europe','7'),('north','7')]"),
        ("org_unit", "2026-03-10", "[('europe','7'),('south','7')]"),
    ] {
        assert_eq!(ask(dimension, day).await, expected, "{dimension} {day}");
    }
}

#[tokio::test]
async fn the_views_count_for_managers_and_teams_as_the_report_does() {
    let mut stored = Stored::new("hierarchy_views").await;
    stored.feed(&company()).await;
    look_up_now(&stored).await;
    let ask = |dimension: &'static str, when: &'static str| {
        format!(
            "SELECT toString(groupArray((v, a))) FROM (SELECT value[1] AS v, toString(sum(won_amount)) AS a FROM win_rate_daily \
             WHERE dimension = '{dimension}' AND {when} AND won != 0 GROUP BY v ORDER BY v)"
        )
    };
    let march = "toStartOfMonth(day) = '2026-03-01'";
    assert_eq!(
        texts(&stored, &ask("manager", march)).await,
        "[('','100000'),('cora','10110'),('dora','10010'),('emil','100')]"
    );
    assert_eq!(
        texts(&stored, &ask("org_unit", march)).await,
        "[('','110000'),('europe','110'),('north','10'),('south','100')]"
    );
    let open = "SELECT toString(groupArray((v, a))) FROM (SELECT value[1] AS v, toString(sum(pipeline)) AS a FROM forecast \
                WHERE dimension = 'manager' GROUP BY v ORDER BY v)";
    assert_eq!(
        texts(&stored, open).await,
        "[('cora','7'),('dora','7'),('emil','7')]"
    );
    // Every group adds up still: those derived are beside the others, not among them.
    let owners = "SELECT toString(sum(won)), toString(sum(won_amount)) FROM win_rate_daily WHERE dimension = ";
    assert_eq!(
        stored.row(&format!("{owners}'owner'")).await,
        stored.row(&format!("{owners}''")).await
    );
}

#[tokio::test]
async fn values_are_called_as_labels_users_and_stages_say_and_a_new_name_moves_nothing() {
    let mut stored = Stored::new("value_names").await;
    let label = |id: &str, time: &str, value: &str, name: &str| {
        let data = json!({"dimension": "source", "value": value, "name": name});
        event("label", id, time, data)
    };
    let day = |day: u32| format!("2026-03-{day:02}T08:00:00Z");
    let first = [
        label("2", &day(1), "7", "Fairs"),
        label("1", &day(1), "7", "Trade fairs"),
        label("3", &day(1), "8", "Web"),
        user("u1", &day(1), json!({"name": "Ada"})),
        user("u2", &day(1), json!({"name": "Bo", "manager_id": "u1"})),
        event(
            "stage",
            "s",
            &day(1),
            json!({"stage": "4", "name": "Offer"}),
        ),
    ];
    stored.feed(&first).await;
    let before = stored.clickhouse.side_inputs(1, None, &[]).await.unwrap();
    let state = stored.clickhouse.side_inputs_state(1).await.unwrap();
    let called = |dimension, value| before.names.name(dimension, value);
    assert_eq!(
        called("source", "7"),
        Some("Trade fairs"),
        "the smallest id"
    );
    assert_eq!(called("source", "8"), Some("Web"));
    assert_eq!(called("owner", "u2"), Some("Bo"));
    assert_eq!(called("manager", "u1"), Some("Ada"));
    assert_eq!(called("stage", "4"), Some("Offer"));
    assert_eq!(called("product", "7"), None);
    assert_eq!(stored.clickhouse.side_inputs_state(1).await.unwrap(), state);

    // Renamed, deleted, and an owner's label, which goes before the user's name.
    let owner = json!({"dimension": "owner", "value": "u2", "name": "Bo Berg"});
    stored
        .feed(&[
            label("1", &day(2), "7", "Events"),
            event("label", "3", &day(2), json!({})).replace("upserted", "deleted"),
            event("label", "4", &day(2), owner),
        ])
        .await;
    let after = stored.clickhouse.side_inputs(1, None, &[]).await.unwrap();
    let called = |dimension, value| after.names.name(dimension, value);
    assert_eq!(called("source", "7"), Some("Events"));
    assert_eq!(called("source", "8"), None);
    assert_eq!(called("owner", "u2"), Some("Bo Berg"));
    assert_eq!(called("manager", "u2"), Some("Bo"));
    assert_ne!(stored.clickhouse.side_inputs_state(1).await.unwrap(), state);
    assert!(after != before && after.derives_as(&before));
}

#[tokio::test]
async fn the_whole_of_a_generated_company_is_under_its_director() {
    let mut stored = Stored::new("hierarchy_company").await;
    stored.feed(&generated(120)).await;
    look_up_now(&stored).await;
    let sum = "SELECT toString(sum(won)), toString(sum(lost)), toString(sum(won_amount)) FROM win_rate_daily WHERE dimension = ";
    let all = stored.row(&format!("{sum}''")).await;
    assert_ne!(all[0], "0");
    let director = format!("{sum}'manager' AND value = ['d01']");
    assert_eq!(stored.row(&director).await, all);
    let sales = format!("{sum}'org_unit' AND value = ['Sales']");
    assert_eq!(stored.row(&sales).await, all);
    let leaves = "SELECT toString(sum(won)), toString(sum(lost)), toString(sum(won_amount)) FROM win_rate_daily \
                  WHERE dimension = 'manager' AND value[1] LIKE 'm%'";
    assert_eq!(
        stored.row(leaves).await,
        all,
        "every rep has one manager a day"
    );
}

/// The year 2026 begins in Berlin (s), where the days of the tests' organisation are read.
const JANUARY: i64 = 1_767_225_600 - 3600;

/// A statement of a history, at an hour: 0, the manager of a user; 1, their team; 2, the team that
/// a team is a part of.
#[derive(Debug, Clone)]
struct Said {
    kind: usize,
    child: u8,
    parent: u8,
    hour: u16,
}

fn name(kind: usize, number: u8) -> String {
    match (kind, number) {
        (_, 0) => String::new(),
        (0, number) => format!("u{number}"),
        (_, number) => format!("t{number}"),
    }
}

fn said() -> impl Strategy<Value = Said> {
    (0..3_usize, 1..5_u8, 0..5_u8, 0..120_u16).prop_map(|(kind, child, parent, hour)| Said {
        kind,
        child,
        parent,
        hour,
    })
}

/// What holds on a day: what was said last up to its end, else what was said first. Of what is said
/// at one hour the later statement counts.
fn on_day(said: &[Said], kind: usize, child: &str, day: u16) -> Option<String> {
    let owner = |said: &Said| name(usize::from(kind == 2), said.child);
    let of_child = said.iter().filter(|s| s.kind == kind && owner(s) == child);
    let mut of_child: Vec<&Said> = of_child.collect();
    of_child.sort_by_key(|s| s.hour);
    let known = of_child.iter().rev().find(|s| s.hour / 24 <= day);
    let first = || {
        let hour = of_child.first()?.hour;
        of_child.iter().rev().find(|s| s.hour == hour)
    };
    let last = known.or_else(first)?;
    // Of several statements at one hour the first day counts the one that is its last.
    Some(name(usize::from(kind > 0), last.parent)).filter(|parent| !parent.is_empty())
}

/// All lines of a day, by walking up from everybody: (dimension, owner, value).
fn oracle(said: &[Said], day: u16) -> BTreeSet<(usize, String, String)> {
    let mut lines = BTreeSet::new();
    for number in 1..5 {
        let owner = name(0, number);
        let mut at = owner.clone();
        while let Some(manager) = on_day(said, 0, &at, day) {
            let line = (0, owner.clone(), manager.clone());
            if manager == owner || !lines.insert(line) {
                break;
            }
            at = manager;
        }
        let is_manager = said.iter().any(|s| {
            let holds = |day| on_day(said, 0, &name(0, s.child), day) == Some(owner.clone());
            s.kind == 0 && (0..6).any(holds)
        });
        if is_manager {
            lines.insert((0, owner.clone(), owner.clone()));
        }
        let mut team = on_day(said, 1, &owner, day);
        while let Some(unit) = team {
            if !lines.insert((1, owner.clone(), unit.clone())) {
                break;
            }
            team = on_day(said, 2, &unit, day);
        }
    }
    lines
}

#[test]
fn lines_are_those_that_walking_up_day_by_day_finds_with_moves_and_cycles() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut runner = proptest::test_runner::TestRunner::new_with_rng(
        ProptestConfig::with_cases(24),
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    let history = proptest::collection::vec(said(), 1..24);
    let mut stored = runtime.block_on(Stored::new("hierarchy_lines"));
    let stored = std::cell::RefCell::new(&mut stored);
    let cases = std::cell::Cell::new(0);
    runner
        .run(&history, |said| {
            let mut stored = stored.borrow_mut();
            cases.set(cases.get() + 1);
            runtime.block_on(async {
                // Nobody of an earlier case is left.
                for table in ["users", "teams"] {
                    stored.execute(&format!("TRUNCATE TABLE {table}")).await;
                }
            });
            let prefix = cases.get();
            let events: Vec<String> = said
                .iter()
                .map(|s| {
                    let time = chrono::DateTime::from_timestamp(i64::from(s.hour) * 3600 + JANUARY, 0)
                        .unwrap()
                        .to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
                    let parent = name(usize::from(s.kind > 0), s.parent);
                    let of_case = |name: &str| if name.is_empty() { String::new() } else { format!("{prefix}{name}") };
                    match s.kind {
                        0 => user(&of_case(&name(0, s.child)), &time, json!({"manager_id": of_case(&parent)})),
                        1 => user(&of_case(&name(0, s.child)), &time, json!({"team": of_case(&parent)})),
                        _ => {
                            let team = of_case(&name(1, s.child));
                            event("team", &team, &time, json!({"name": team, "parent": of_case(&parent)}))
                        }
                    }
                })
                .collect();
            let lines = runtime.block_on(async {
                stored.feed(&events).await;
                let sql = "SELECT toString(groupArray((dimension, owner, value, from_day, to_day))) FROM reporting_lines";
                texts(&stored, sql).await
            });
            let lines = parse(&lines, &prefix.to_string());
            for day in 0..6_u16 {
                let instant = 20_454 + i32::from(day);
                let of_day = lines.iter().filter(|(.., from, to)| (*from..*to).contains(&instant));
                let of_day: Vec<(usize, String, String)> = of_day.map(|(d, o, v, ..)| (*d, o.clone(), v.clone())).collect();
                let unique: BTreeSet<_> = of_day.iter().cloned().collect();
                prop_assert_eq!(of_day.len(), unique.len(), "a line twice on day {}", day);
                prop_assert_eq!(&unique, &oracle(&said, day), "day {} of {:?}", day, said);
            }
            Ok(())
        })
        .unwrap();
    assert!(cases.get() > 20, "only {} cases ran", cases.get());
}

/// Lines out of ClickHouse's text of an array of tuples, without the prefix of their names.
fn parse(text: &str, prefix: &str) -> Vec<(usize, String, String, i32, i32)> {
    let tuples = text.trim_matches(['[', ']']).split("),(");
    let lines = tuples.filter(|tuple| !tuple.is_empty()).map(|tuple| {
        let parts: Vec<&str> = tuple.trim_matches(['(', ')']).split(',').collect();
        let word = |i: usize| parts[i].trim_matches('\'');
        let plain = |i: usize| word(i).strip_prefix(prefix).unwrap_or(word(i)).to_owned();
        let dimension = DERIVED.iter().position(|(_, name)| *name == word(0));
        (
            dimension.unwrap(),
            plain(1),
            plain(2),
            word(3).parse().unwrap(),
            word(4).parse().unwrap(),
        )
    });
    lines.collect()
}
