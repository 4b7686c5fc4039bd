//! `dealpulse report` as a process: files in, figures out, through the real engine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::clickhouse::{DEALPULSE, post, spawn};
use crate::support::figures::{differences, listed};
use serde_json::Value as Json;
use tempfile::TempDir;

fn report(arguments: &[&str]) -> Output {
    Command::new(DEALPULSE)
        .arg("report")
        .args(arguments)
        .output()
        .unwrap()
}

/// What a report that ends well prints.
fn printed(arguments: &[&str]) -> String {
    let output = report(arguments);
    assert!(
        output.status.success(),
        "run make clickhouse-engine? {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn json(arguments: &[&str]) -> Json {
    serde_json::from_str(&printed(&[arguments, &["--json"]].concat())).unwrap()
}

/// The error of a report that is refused; nothing is on its standard output.
fn refused(arguments: &[&str]) -> String {
    let output = report(arguments);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

/// Files of a directory of their own.
struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Files {
        let files_of = Files(tempfile::tempdir().unwrap());
        files
            .iter()
            .for_each(|(name, text)| fs::write(files_of.path(name), text).unwrap());
        files_of
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn named(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }
}

const DEALS: &str = "\u{feff}Ref;Seller;Customer;Phase;Worth;Begun;Ended;Note
D-1;ana;C1;Signed;1000,50;2026-01-05;2026-01-25;first
D-2;ben;C1;Signed;2000;2026-01-10;2026-02-09;\"a note
over two lines; and a separator\"
D-3;ana;C2;Gone;500;2026-02-01;2026-02-11;
D-4;cat;C2;;;2026-02-20;;
";
const PEOPLE: &str = "Seller;Group\nana;North\nben;South\n";
const CUSTOMERS: &str = "Number;Name\nC1;Aldermoor\nC2;Brightwell\n";
const MAPPING: &str = r#"
delimiter = ";"
[[records]]
file = "deals.csv"
entity = "deal"
id = "Ref"
join = [{ file = "people.csv", on = "Seller" }]
[records.fields]
owner_id = "Seller"
team = "Group"
account_id = "Customer"
currency = { value = "EUR" }
status = { column = "Phase", map = { Signed = "won", Gone = "lost", "" = "open" } }
amount = { column = "Worth", map = { "1000,50" = "1000.50" } }
created_at = "Begun"
closed_at = { column = "Ended", format = "%Y-%m-%d" }
[records.custom]
note = "Note"

[[records]]
file = "customers.csv"
entity = "account"
id = "Number"
[records.fields]
name = "Name"
"#;

fn tables() -> Files {
    Files::new(&[
        ("deals.csv", DEALS),
        ("people.csv", PEOPLE),
        ("customers.csv", CUSTOMERS),
        ("mapping.toml", MAPPING),
    ])
}

/// The arguments for the tables of `files`, with a mapping.
fn of(files: &Files, mapping: &str, more: &[&str]) -> Vec<String> {
    let tables = ["deals.csv", "people.csv", "customers.csv"].map(|name| files.named(name));
    let rest = ["--mapping".to_owned(), files.named(mapping)];
    tables
        .into_iter()
        .chain(rest)
        .chain(more.iter().map(|text| (*text).to_owned()))
        .collect()
}

fn borrowed(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

#[test]
fn worked_example_gives_every_figure_computed_by_hand() {
    let expected: Json = serde_json::from_str(
        &fs::read_to_string("tests/fixtures/worked_example.expected.json").unwrap(),
    )
    .unwrap();
    let definitions = Files::new(&[(
        "definitions.toml",
        "[definitions]\nstage_order = [\"qualification\", \"discovery\", \"proposal\", \"negotiation\"]\n\
         stages = { closed_won = { status = \"won\" }, closed_lost = { status = \"lost\" } }\n",
    )]);
    let mut found = json(&[
        "tests/fixtures/worked_example.ndjson",
        "--time-zone",
        "Europe/Berlin",
        "--mapping",
        &definitions.named("definitions.toml"),
    ]);
    let lines = fs::read_to_string("tests/fixtures/worked_example.ndjson")
        .unwrap()
        .lines()
        .count();
    assert_eq!(found["input"]["lines"], lines);
    assert_eq!(found["input"]["rejected"], serde_json::json!({}));
    listed(&expected, &mut found);
    let different = differences(&expected, &found);
    assert!(
        different.is_empty(),
        "{} figures differ:\n{}",
        different.len(),
        different.join("\n")
    );
}

#[test]
fn tables_are_read_through_a_mapping_and_the_database_can_be_kept() {
    let files = tables();
    let kept = files.named("kept");
    let arguments = of(
        &files,
        "mapping.toml",
        &["--as-of", "2026-03-01", "--data-dir", &kept],
    );
    let found = json(&borrowed(&arguments));
    assert_eq!(found["as_of"], "2026-02-20T00:00:00Z");
    assert_eq!(
        (&found["input"]["rows"], &found["input"]["assertions"]),
        (&6.into(), &6.into())
    );
    assert_eq!(
        found["records"],
        serde_json::json!({ "leads": 0, "deals": 4, "accounts": 2 })
    );
    let all = |metric: &str, group: &str| found["metrics"][metric]["all"][group].clone();
    let closed = all("win_rate", "all");
    assert_eq!(
        (&closed["won"], &closed["lost"], &closed["opened"]["open"]),
        (&2.into(), &1.into(), &1.into())
    );
    assert_eq!(closed["amount"]["EUR"]["won"], "3000.50");
    assert_eq!(found["metrics"]["win_rate"]["2026-02"]["all"]["rate"], 0.5);
    assert_eq!(
        all("win_rate", "team=North")["won"],
        1,
        "the team comes from the joined table"
    );
    assert_eq!(
        all("win_rate", "team=")["opened"]["open"],
        1,
        "cat is in no row of it"
    );
    let upsell = all("upsell", "all");
    assert_eq!(
        (
            &upsell["new"],
            &upsell["repeat"],
            &upsell["accounts"]["active"]
        ),
        (&1.into(), &1.into(), &1.into())
    );
    assert_eq!(all("cycle_length", "all")["won"]["mean_days"], 25.0);
    let account = serde_json::json!({ "account": "C1", "name": "Aldermoor", "currency": "EUR", "won": 2, "amount": "3000.50" });
    assert_eq!(found["top_accounts"], serde_json::json!([account]));

    let again = refused(&borrowed(&arguments));
    assert!(
        again.contains("is not empty") && again.contains("choose a new directory"),
        "{again}"
    );
    let engine = spawn(Some(Path::new(&kept)));
    let answer = |sql: &str| post(engine.address(), "/?database=dealpulse", "", sql.as_bytes());
    assert!(
        answer(
            "SELECT 'kept', count() FROM deals FINAL WHERE custom['note'] LIKE 'a note\\nover%'"
        )
        .contains("kept\t1")
    );
    assert!(answer("SELECT 'won', sum(won) FROM win_rate_daily WHERE dimension = 'owner' AND value = ['ana']").contains("won\t1"));
}

#[test]
fn tables_are_printed_to_be_read() {
    let files = tables();
    let shown = printed(&borrowed(&of(
        &files,
        "mapping.toml",
        &["--as-of", "2026-03-01"],
    )));
    assert!(
        shown.lines().all(|line| line.chars().count() <= 100),
        "{shown}"
    );
    let has = |words: &[&str]| {
        let found = shown.lines().any(|line| {
            let line: Vec<&str> = line.split_whitespace().collect();
            line.windows(words.len()).any(|window| window == words)
        });
        assert!(found, "no {words:?} in\n{shown}");
    };
    has(&[
        "4", "deals:", "2", "won,", "1", "lost,", "1", "open;", "2", "accounts",
    ]);
    has(&[
        "rate", "–", "–", "66.67", "%", "66.67", "%", "66.67", "%", "66.67", "%",
    ]);
    has(&["amount:", "won,", "EUR"]);
    has(&["3,000.50"]);
    has(&["won:", "mean", "days"]);
    has(&["25.00"]);
    has(&["North", "1", "1", "50.00", "%"]);
    has(&["(none)"]);
    has(&["2026-02", "1", "1", "50.00", "%", "2,000", "EUR"]);
    has(&["Aldermoor", "(C1)", "2", "3,000.50", "EUR"]);
    has(&["Sales", "race,", "all", "time"]);
    has(&["ben", "1", "1", "2,000", "EUR"]);
}

#[test]
fn a_mapping_that_does_not_fit_is_refused_with_the_key_and_the_fix() {
    let files = tables();
    let with = |from: &str, to: &str| {
        assert!(MAPPING.contains(from));
        fs::write(files.path("wrong.toml"), MAPPING.replacen(from, to, 1)).unwrap();
        refused(&borrowed(&of(
            &files,
            "wrong.toml",
            &["--as-of", "2026-03-01"],
        )))
    };
    let is = |found: String, expected: &str| {
        assert!(found.contains(expected), "no `{expected}` in {found}")
    };
    is(
        with("team = \"Group\"", "team = \"Grupp\""),
        "records[0].fields.team: there is no column `Grupp` in deals.csv or the files joined to it; there are Begun,",
    );
    is(
        with("team =", "crew ="),
        "records[0].fields.crew: a deal has no field `crew`",
    );
    is(with("id = \"Ref\"", ""), "missing field `id`");
    is(
        with("file = \"deals.csv\"", "file = \"offers.csv\""),
        "records[0].file: there is no file `offers.csv` among those to read",
    );
    is(
        with("on = \"Seller\"", "on = \"Person\""),
        "records[0].join[0].on: there is no column `Person`",
    );
    is(
        with("on = \"Seller\"", "on = \"Seller\", key = \"Name\""),
        "records[0].join[0].key: there is no column `Name` in people.csv; there are Seller, Group",
    );
    fs::write(
        files.path("people.csv"),
        "Seller;Group\nana;North\nana;South\n",
    )
    .unwrap();
    is(
        with("delimiter", "delimiter"),
        "`ana` is twice in column `Seller` of people.csv",
    );
    is(
        refused(&borrowed(&of(&files, "mapping.toml", &[]))),
        "records[0].time: deals.csv has no time column",
    );
    is(
        refused(&borrowed(&of(
            &files,
            "mapping.toml",
            &["--as-of", "today"],
        ))),
        "--as-of `today` is no time",
    );
    is(
        refused(&[&files.named("deals.csv")]),
        "is a table: give the meaning of its columns with --mapping",
    );
    is(
        refused(&[
            "tests/fixtures/worked_example.ndjson",
            "--time-zone",
            "Berlin",
        ]),
        "`Berlin` is no IANA time zone",
    );
}

#[test]
fn bad_lines_are_counted_shown_and_written_while_the_rest_is_read() {
    let good = |id: &str| {
        let data = r#"{"status":"won","amount":"10","currency":"EUR","created_at":"2026-01-01","closed_at":"2026-01-03"}"#;
        format!(
            r#"{{"specversion":"1.0","type":"crm.deal.upserted","subject":"{id}","time":"2026-01-04T00:00:00Z","data":{data}}}"#
        )
    };
    let batch = format!(
        "[{},{}]",
        good("D-2"),
        good("D-3").replace("\"10\"", "\"ten\"")
    );
    let text = format!(
        "{}\n\nnonsense\n{batch}\n{}\n{}\n",
        good("D-1"),
        good("0"),
        "{}\n".repeat(5)
    );
    let files = Files::new(&[("events.ndjson", text.as_str()), ("empty.ndjson", "\n")]);
    let (events, rejects) = (files.named("events.ndjson"), files.named("rejects.ndjson"));
    let output = report(&[&events, "--json", "--rejects", &rejects]);
    assert!(output.status.success());
    let found: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["input"]["lines"], 9);
    assert_eq!(found["input"]["assertions"], 2);
    assert_eq!(
        found["input"]["rejected"],
        serde_json::json!({ "not_json": 1, "bad_money": 1, "missing_id": 1, "not_an_event": 5 })
    );
    assert_eq!(found["metrics"]["win_rate"]["all"]["all"]["won"], 2);

    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains(&format!("{events}:3: not_json")),
        "{stderr}"
    );
    assert!(
        stderr.contains(&format!("{events}:4: bad_money: `amount` is `ten`"))
            && stderr.contains("and 3 more rejected"),
        "{stderr}"
    );
    let written: Vec<Json> = fs::read_to_string(&rejects)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(written.len(), 8);
    assert_eq!(
        (
            &written[0]["line"],
            &written[0]["reason"],
            &written[0]["raw"]
        ),
        (&3.into(), &"not_json".into(), &"nonsense".into())
    );
    assert_eq!(
        (&written[1]["line"], &written[1]["index"]),
        (&4.into(), &1.into())
    );

    assert!(refused(&[&files.named("empty.ndjson")]).contains("there was nothing in the files"));
    fs::write(files.path("bad.ndjson"), "no\n").unwrap();
    assert!(
        refused(&[&files.named("bad.ndjson")])
            .contains("none of 1 lines and 0 rows could be read: 1 not_json")
    );
    assert!(refused(&[&events, &files.named("missing.ndjson")]).contains("can't open"));
}

#[test]
fn bad_rows_are_counted_and_rows_that_were_shifted_are_not_guessed_at() {
    let files = tables();
    let mut deals = DEALS.as_bytes().to_vec();
    deals.extend(b"D-5;ana;C1;Sold;1;2026-01-05;2026-01-06;\n");
    deals.extend(b";ana;C1;Signed;1;2026-01-05;2026-01-06;\n");
    deals.extend(b"D-6;ana;C1;Signed;1;2026-01-05;2026-01-06;one;two\n");
    deals.extend(b"D-7;an\xe4;C1;Signed;1;2026-01-05;2026-01-06;\n");
    deals.extend(b"D-8;ana;C1;Signed;1;2026-01-05\n");
    fs::write(files.path("deals.csv"), deals).unwrap();
    let found = json(&borrowed(&of(
        &files,
        "mapping.toml",
        &["--as-of", "2026-03-01"],
    )));
    assert_eq!(
        found["input"]["rejected"],
        serde_json::json!({ "wrong_type": 1, "missing_id": 1, "not_an_event": 2 })
    );
    assert_eq!(
        found["records"]["deals"], 5,
        "a row that is too short asserts what it has"
    );
}

#[test]
fn events_come_from_standard_input_too() {
    let input = fs::File::open("tests/fixtures/worked_example.ndjson").unwrap();
    let output = Command::new(DEALPULSE)
        .args(["report", "-", "--json"])
        .stdin(input)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let found: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["input"]["files"], serde_json::json!(["-"]));
    assert_eq!(found["time_zone"], "UTC");
}
