use std::collections::HashMap;

use chrono_tz::Tz;

use super::*;
use crate::event::decode::{Bad, Context, Reason};
use crate::event::{FieldName, When};
use crate::window::Calendar;

const DEALS: &str = r#"
[[records]]
file = "deals.csv"
entity = "deal"
id = "key"
time = { column = "changed", format = "%d.%m.%Y %H:%M" }
join = [{ file = "people.csv", on = "seller" }]
[records.fields]
owner_id = "seller"
currency = { value = "EUR" }
status = { column = "phase", map = { Signed = "won", Gone = "lost", "" = "open" } }
amount = "worth"
created_at = { column = "begun", format = "%d/%m/%y" }
closed_at = { column = "ended", format = "epoch_ms" }
[records.custom]
tier = "tier"
"#;

fn context() -> Context<'static> {
    Context {
        schema: &crate::record::SCHEMA,
        topic: 7,
        namespace: None,
        partition: 0,
        offset: 12,
        attempt: 0,
        timestamp: Some(99),
        is_append_time: false,
        now: i64::MAX / 2,
        limit: 1000,
    }
}

fn calendar() -> Calendar {
    Calendar::new(Tz::Europe__Berlin, 1)
}

fn problem(mapping: &str) -> String {
    Mapping::parse(mapping, &crate::record::SCHEMA)
        .map(|_| ())
        .unwrap_err()
        .to_string()
}

/// What a row of these cells says, by field.
fn read(
    mapping: &Mapping,
    cells: &[(&'static str, &'static str)],
) -> Result<HashMap<String, String>, Bad> {
    let rule = &mapping.rules[0];
    let cell = |name: &str| {
        cells
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, text)| *text)
    };
    let applied = rule.apply(cell, &context(), (RowClock::default(), 0), &calendar())?;
    let assertion = applied.expect("the rule reads every row").assertion;
    let name = |name: &FieldName<'_>| match name {
        FieldName::Known(field) => rule.entity().spec(*field).name.to_owned(),
        FieldName::Custom(name) => format!("custom.{name}"),
    };
    let mut said: HashMap<String, String> = assertion
        .values
        .iter()
        .map(|(field, value)| (name(field), format!("{value:?}")))
        .collect();
    said.insert("time".into(), assertion.stamp.clock.time.to_string());
    said.insert("id".into(), assertion.id.into_owned());
    Ok(said)
}

#[test]
fn a_row_says_what_its_columns_map_to() {
    let mapping = Mapping::parse(DEALS, &crate::record::SCHEMA).unwrap();
    let cells = [
        ("key", " D-1 "),
        ("changed", "29.03.2026 12:00"),
        ("seller", "Ana"),
        ("phase", "Signed"),
        ("worth", "12.50"),
        ("begun", "02/01/26"),
        ("ended", "1000"),
    ];
    let said = read(&mapping, &cells).unwrap();
    assert_eq!(said["id"], "D-1");
    // Noon in Berlin, which is in summer time since that morning.
    assert_eq!(
        said["time"],
        calendar()
            .instant(When::parse("2026-03-29T10:00:00Z").unwrap())
            .to_string()
    );
    assert_eq!(said["owner_id"], r#"Text("Ana")"#);
    assert_eq!(said["currency"], r#"Text("EUR")"#);
    assert_eq!(said["status"], r#"Text("won")"#);
    assert_eq!(said["amount"], "Decimal(Decimal(125000))");
    assert_eq!(
        said["created_at"],
        format!("When({:?})", When::parse("2026-01-02").unwrap())
    );
    assert_eq!(said["closed_at"], "When(Instant(1000000))");
    assert!(
        !said.contains_key("custom.tier"),
        "a cell that isn't there says nothing"
    );
}

#[test]
fn an_empty_cell_clears_and_a_row_without_a_time_is_of_its_source() {
    let mapping = Mapping::parse(DEALS, &crate::record::SCHEMA).unwrap();
    let said = read(
        &mapping,
        &[
            ("key", "D-1"),
            ("changed", ""),
            ("phase", " "),
            ("worth", ""),
            ("tier", ""),
        ],
    )
    .unwrap();
    assert_eq!(said["time"], "99");
    assert_eq!(
        (said["amount"].as_str(), said["custom.tier"].as_str()),
        ("Null", "Null")
    );
    assert_eq!(
        said["status"], r#"Text("open")"#,
        "the map may say what an empty cell means"
    );
}

#[test]
fn bad_cells_are_refused_with_their_reason() {
    let mapping = Mapping::parse(DEALS, &crate::record::SCHEMA).unwrap();
    let reason = |cells: &[(&'static str, &'static str)]| read(&mapping, cells).unwrap_err().reason;
    for id in ["", "0", " "] {
        assert_eq!(reason(&[("key", id)]), Reason::MissingId);
    }
    assert_eq!(reason(&[("seller", "Ana")]), Reason::MissingId);
    assert_eq!(
        reason(&[("key", "D"), ("phase", "Lost")]),
        Reason::WrongType,
        "a word that isn't in the map passes through and is no status"
    );
    assert_eq!(
        reason(&[("key", "D"), ("worth", "1,000")]),
        Reason::BadMoney
    );
    assert_eq!(
        reason(&[("key", "D"), ("begun", "2026-01-02")]),
        Reason::BadTime
    );
    assert_eq!(
        reason(&[("key", "D"), ("changed", "29.03.2026 02:30")]),
        Reason::BadTime,
        "an hour the zone skips"
    );
    let untimed = Context {
        timestamp: None,
        ..context()
    };
    assert_eq!(
        mapping.rules[0]
            .apply(
                |_| Some("1"),
                &untimed,
                (RowClock::default(), 0),
                &calendar()
            )
            .unwrap_err()
            .reason,
        Reason::BadTime
    );
    assert_eq!(
        mapping.rules[0]
            .apply(
                |name| (name == "key").then_some("1"),
                &untimed,
                (RowClock::default(), 0),
                &calendar()
            )
            .unwrap_err()
            .reason,
        Reason::MissingTime
    );
}

#[test]
fn a_wrong_mapping_is_refused_with_the_key_and_the_fix() {
    assert!(problem("").starts_with("records: there is none"));
    assert!(problem("colour = 1").contains("unknown field `colour`"));
    let with = |from: &str, to: &str| problem(&DEALS.replace(from, to));
    assert!(with("\"deal\"", "\"shipment\"").starts_with(
        "records[0].entity: there is no entity `shipment`; write one of lead, deal, account"
    ));
    assert!(with("amount =", "value_eur =").starts_with(
        "records[0].fields.value_eur: a deal has no field `value_eur`; it has deleted,"
    ));
    assert!(
        with("Signed = \"won\"", "Signed = \"wonn\"").starts_with(
            "records[0].fields.status.map.Signed: `status` is `wonn`; expected one of"
        )
    );
    assert!(with("\"EUR\"", "\"euro\"").starts_with(
        "records[0].fields.currency.value: `currency` is `euro`; expected an ISO 4217"
    ));
    assert!(
        with("{ value = \"EUR\" }", "{}").starts_with("records[0].fields.currency: write either")
    );
    assert!(
        with("value = \"EUR\"", "value = \"EUR\", map = { a = \"USD\" }")
            .starts_with("records[0].fields.currency.map")
    );
    assert!(
        with("%d/%m/%y", "day")
            .starts_with("records[0].fields.created_at.format: `day` is no format")
    );
    assert!(
        with("\"worth\"", "{ column = \"worth\", format = \"%d\" }")
            .starts_with("records[0].fields.amount.format: `amount` is no time")
    );
    assert!(with("id = \"key\"", "").contains("missing field `id`"));
    assert!(with("id = \"key\"", "id = \"key\"\nidd = \"x\"").contains("unknown field `idd`"));
    assert!(with("\"worth\"", "7").contains("the name of a column, or a table like"));
    assert!(problem(&format!("delimiter = \"→\"\n{DEALS}")).starts_with("delimiter"));
}

fn keyed(mapping: &str) -> Mapping {
    let key = HashKey::new("00112233445566778899aabbccddeeff").unwrap();
    let mapping = Mapping::parse(mapping, &crate::record::SCHEMA).unwrap();
    mapping.with_key(Some(&key), "").unwrap()
}

#[test]
fn of_a_hashed_column_only_the_hash_is_kept() {
    let mapping = DEALS
        .replace(
            "\"seller\"\ncurrency",
            "{ column = \"seller\", hash = true }\ncurrency",
        )
        .replace(
            "tier = \"tier\"",
            "tier = { column = \"tier\", hash = true, ignore_case = true }",
        );
    let mapping = keyed(&mapping);
    let kept = |seller, tier| {
        let cells = [("key", "D"), ("seller", seller), ("tier", tier)];
        let said = read(&mapping, &cells).unwrap();
        (said["owner_id"].clone(), said["custom.tier"].clone())
    };
    let (owner, tier) = kept(" Ana", " GOLD ");
    assert_eq!(owner.len(), "Text(\"\")".len() + 32);
    assert!(!owner.contains("Ana") && !tier.to_lowercase().contains("gold"));
    assert_eq!(kept("Ana", "gold"), (owner.clone(), tier.clone()));
    assert_ne!(
        kept("ana", "gold").0,
        owner,
        "case counts unless it is said"
    );
    assert_eq!(kept("gold", "gold").0, tier, "a text has one hash");
    assert_eq!(
        kept("", " "),
        ("Null".into(), "Null".into()),
        "nothing stays nothing"
    );
    assert_eq!(kept("0", "x").0, "Null", "an id that means none");
}

#[test]
fn an_id_may_be_hashed_and_a_case_alone() {
    let mapping = keyed(
        &DEALS
            .replace("id = \"key\"", "id = { column = \"key\", hash = true, ignore_case = true }")
            .replace("amount = \"worth\"", "account_id = { cases = [{ when = { phase = \"x\" }, column = \"worth\", hash = true }, { column = \"ended\" }] }")
            .replace("closed_at = { column = \"ended\", format = \"epoch_ms\" }", ""),
    );
    let of = |key, phase| {
        let cells = [
            ("key", key),
            ("phase", phase),
            ("worth", "w"),
            ("ended", "e"),
        ];
        let said = read(&mapping, &cells);
        said.map(|said| (said["id"].clone(), said["account_id"].clone()))
    };
    let (id, account) = of("Kim@x", "won").unwrap();
    assert_eq!((id.len(), account.as_str()), (32, "Text(\"e\")"));
    assert_eq!(of("KIM@x ", "won").unwrap().0, id);
    assert_eq!(of("0", "won").unwrap_err().reason, Reason::MissingId);
    let hashed = DEALS.replace("amount = \"worth\"", "account_id = { cases = [{ when = { phase = \"Signed\" }, column = \"worth\", hash = true }, { column = \"ended\" }] }");
    let mapping = keyed(&hashed);
    let said = read(
        &mapping,
        &[("key", "D"), ("phase", "Signed"), ("worth", "w")],
    )
    .unwrap();
    assert_eq!(said["account_id"].len(), "Text(\"\")".len() + 32);
}

#[test]
fn a_prefix_tells_rows_of_two_tables_with_the_same_ids_apart() {
    let mapping = DEALS.replace("id = \"key\"", "id = \"key\"\nid_prefix = \"call-\"");
    let mapping = Mapping::parse(&mapping, &crate::record::SCHEMA).unwrap();
    assert_eq!(read(&mapping, &[("key", "7")]).unwrap()["id"], "call-7");
    assert_eq!(mapping.rules[0].id_of("7").unwrap(), "call-7");
    for none in ["", "0"] {
        let bad = read(&mapping, &[("key", none)]).unwrap_err();
        assert_eq!(bad.reason, Reason::MissingId, "{none:?} means none still");
    }
}

#[test]
fn hashes_that_could_not_be_kept_are_refused() {
    let with = |to: &str| problem(&DEALS.replace("owner_id = \"seller\"", to));
    assert!(
        with("probability = { column = \"p\", hash = true }")
            .starts_with("records[0].fields.probability.hash: `probability` is no text and no id")
    );
    assert!(
        with("name = { value = \"x\", hash = true }")
            .starts_with("records[0].fields.name.hash: a constant")
    );
    assert!(
        with("name = { column = \"worth\", hash = true }").starts_with(
            "records[0].fields.amount: `worth` is hashed for records[0].fields.name, so it can't be read in the clear here"
        )
    );
    assert!(
        with("name = { column = \"n\", hash = true }\nproduct = { column = \"/n\", hash = true, ignore_case = true }")
            .contains("hashed otherwise for records[0].fields.name")
    );
    assert!(
        problem(&DEALS.replace("\"key\"", "{ column = \"key\", ignore_case = true }"))
            .starts_with("records[0].id: an id is a column")
    );
    let mapping = DEALS.replace(
        "tier = \"tier\"",
        "tier = { column = \"tier\", hash = true }",
    );
    let mapping = Mapping::parse(&mapping, &crate::record::SCHEMA).unwrap();
    let cells = [("key", "D"), ("tier", "gold")];
    let bad = read(&mapping, &cells).unwrap_err();
    assert_eq!(
        bad.reason,
        Reason::Redacted,
        "without a key nothing is kept"
    );
    let refused = mapping.with_key(None, "write one").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "records[0].custom.tier: `hash` needs a key to hash with; write one"
    );
}

#[test]
fn names_every_column_it_reads() {
    let mapping = Mapping::parse(
        &format!("delimiter = \";\"\n[definitions]\ntime_zone = \"Europe/Berlin\"\n{DEALS}"),
        &crate::record::SCHEMA,
    )
    .unwrap();
    let columns: Vec<(String, &str)> = mapping.rules[0].columns().collect();
    assert_eq!(columns.len(), 8);
    assert!(columns.contains(&("records[0].fields.owner_id".into(), "seller")));
    assert!(
        mapping.names("people.csv") && mapping.names("deals.csv") && !mapping.names("other.csv")
    );
    assert_eq!(
        (
            mapping.form("deals.csv").delimiter,
            mapping.definitions.as_ref().unwrap()["time_zone"]
                .as_str()
                .unwrap()
        ),
        (Some(b';'), "Europe/Berlin")
    );
    assert_eq!(
        mapping.columns_of("people.csv"),
        [
            "begun", "changed", "ended", "key", "phase", "seller", "tier", "worth"
        ]
        .into()
    );
}

#[test]
fn how_files_are_written_is_said_of_all_and_of_each() {
    let mapping = format!(
        "delimiter = \"\\t\"\nencoding = \"Latin1\"\n[files.\"people.csv\"]\ndelimiter = \"|\"\n[files.\"deals.csv\"]\nencoding = \"utf-8\"\n{DEALS}"
    );
    let mapping = Mapping::parse(&mapping, &crate::record::SCHEMA).unwrap();
    let form = |file: &str| {
        let form = mapping.form(file);
        (
            form.delimiter,
            form.encoding.map(|encoding| encoding.name()),
        )
    };
    assert_eq!(form("people.csv"), (Some(b'|'), Some("windows-1252")));
    assert_eq!(form("deals.csv"), (Some(b'\t'), Some("UTF-8")));
    assert_eq!(form("another"), (Some(b'\t'), Some("windows-1252")));
    let of = |file: &str, line: &str| problem(&format!("[files.\"{file}\"]\n{line}\n{DEALS}"));
    assert!(of("deals.csv", "encoding = \"ebcdic\"").starts_with(
        "files.\"deals.csv\".encoding: `ebcdic` is no encoding; write one like `utf-8`"
    ));
    assert!(of("deals.csv", "delimiter = '\"'").starts_with("files.\"deals.csv\".delimiter"));
    assert!(of("deal.csv", "").contains("files.\"deal.csv\": no rule reads or joins"));
}

#[test]
fn what_the_guide_says_of_personal_data_can_be_written() {
    let guide = include_str!("../../../docs/mapping.md");
    let (_, after) = guide.split_once("## Personal data").unwrap();
    let example = after.split("```").nth(1).unwrap();
    let example = example.strip_prefix("toml").unwrap();
    let mapping = format!("[[records]]\ntable = \"orders\"\nentity = \"payment\"{example}");
    let mapping = Mapping::parse(&mapping, &crate::record::SCHEMA).unwrap();
    assert_eq!(mapping.rules[0].hashed().count(), 3);
}

#[test]
fn the_mapping_of_the_guide_is_a_mapping() {
    let guide = include_str!("../../../docs/mapping.md");
    let example: Vec<&str> = guide
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .collect();
    let mapping = Mapping::parse(&example.join("\n"), &crate::record::SCHEMA).unwrap();
    assert_eq!(mapping.rules[0].columns().count(), 8);
}

#[test]
fn only_a_part_of_a_record_has_a_row_id_and_it_says_no_delete() {
    let rule = |more: &str| {
        problem(&format!(
            "[[records]]\ntable = \"values\"\nid = \"of\"\nrow_id = \"id\"\n{more}"
        ))
    };
    assert_eq!(
        rule("entity = \"deal\"\n[records.fields]\namount = \"value\""),
        "records[0].row_id: only a row that is a part of a record has an id besides the record's; write `partial = true`, or leave it out"
    );
    assert_eq!(
        rule("entity = \"stage\"\npartial = true\n[records.fields]\nname = \"value\""),
        "records[0].row_id: a stage has no parts; leave it out"
    );
    assert_eq!(
        rule("entity = \"deal\"\npartial = true\n[records.fields]\ndeleted = \"value\""),
        "records[0].fields.deleted: a part can't say `deleted`; only a row of the record itself can"
    );
}
