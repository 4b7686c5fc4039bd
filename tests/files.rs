//! Files as people have them: packed, in other encodings, with other delimiters. Each gives what
//! the plain one gives, and what was found out is said.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::clickhouse::DEALPULSE;
use crate::support::stored::{Stored, code_and_output};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

const DEALS: &str = "Ref;Verkäufer;Phase;Worth;Begun;Ended
D-1;Jürgen;Signed;1000.5;2026-01-05;2026-01-25
D-2;Zoë;Signed;2000.00005;2026-01-10;2026-02-09
D-3;Jürgen;Gone;500;2026-02-01;2026-02-11
";
const MAPPING: &str = r#"
[[records]]
file = "deals.csv"
entity = "deal"
id = "Ref"
[records.fields]
owner_id = "Verkäufer"
currency = { value = "EUR" }
status = { column = "Phase", map = { Signed = "won", Gone = "lost" } }
amount = { column = "Worth", round = true }
created_at = "Begun"
closed_at = "Ended"
"#;

/// A directory with files.
struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &[u8])]) -> Files {
        let of = Files(tempfile::tempdir().unwrap());
        files.iter().for_each(|(name, bytes)| of.write(name, bytes));
        of
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }
}

fn dealpulse(arguments: &[&str], input: Option<&[u8]>) -> Output {
    let mut child = Command::new(DEALPULSE)
        .args(arguments)
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    if let Some(input) = input {
        child.stdin.take().unwrap().write_all(input).unwrap();
    }
    child.wait_with_output().unwrap()
}

/// The report of a table, without the names of files, and what was said.
fn report(name: &str, bytes: &[u8], mapping: &str) -> (Json, String) {
    let files = Files::new(&[(name, bytes), ("mapping.toml", mapping.as_bytes())]);
    let (table, mapping) = (files.path(name), files.path("mapping.toml"));
    let arguments = ["report", &table, "--mapping", &mapping];
    let output = dealpulse(
        &[&arguments[..], &["--as-of", "2026-03-01", "--json"]].concat(),
        None,
    );
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{name}: {said}");
    let mut report: Json = serde_json::from_slice(&output.stdout).unwrap();
    report["input"]["files"] = Json::Null;
    (report, said)
}

/// What is said of a report that is refused.
fn refused(table: &str, mapping: &str) -> String {
    let files = Files::new(&[
        ("deals.csv", table.as_bytes()),
        ("mapping.toml", mapping.as_bytes()),
    ]);
    let (table, mapping) = (files.path("deals.csv"), files.path("mapping.toml"));
    let output = dealpulse(
        &[
            "report",
            &table,
            "--mapping",
            &mapping,
            "--as-of",
            "2026-03-01",
        ],
        None,
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn utf16(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let units = std::iter::once(0xfeff).chain(text.encode_utf16());
    units.flat_map(order).collect()
}

fn windows_1252(text: &str) -> Vec<u8> {
    encoding_rs::WINDOWS_1252.encode(text).0.into_owned()
}

#[test]
fn a_table_gives_the_same_however_it_is_packed_and_encoded() {
    let (plain, said) = report("deals.csv", DEALS.as_bytes(), MAPPING);
    assert!(
        said.contains("deals.csv: its cells are separated by `;`"),
        "{said}"
    );
    assert!(!said.contains("read as"), "{said}");
    assert_eq!(
        plain["metrics"]["win_rate"]["all"]["owner=Jürgen"]["won"], 1,
        "{plain:#}"
    );
    for (name, bytes, expected) in [
        ("deals.csv.gz", gz(DEALS.as_bytes()), None),
        ("deals.csv", gz(DEALS.as_bytes()), None),
        (
            "deals.csv.zst",
            zstd::encode_all(DEALS.as_bytes(), 3).unwrap(),
            None,
        ),
        (
            "deals.csv",
            [b"\xef\xbb\xbf", DEALS.as_bytes()].concat(),
            Some("deals.csv: read as UTF-8, as its byte order mark says"),
        ),
        (
            "deals.csv",
            utf16(DEALS, u16::to_le_bytes),
            Some("deals.csv: read as UTF-16LE, as its byte order mark says"),
        ),
        (
            "deals.csv",
            utf16(DEALS, u16::to_be_bytes),
            Some("deals.csv: read as UTF-16BE, as its byte order mark says"),
        ),
        (
            "deals.csv",
            windows_1252(DEALS),
            Some("deals.csv: read as Windows-1252"),
        ),
        (
            "deals.csv.gz",
            gz(&windows_1252(DEALS)),
            Some("deals.csv.gz: read as Windows-1252"),
        ),
    ] {
        let (found, said) = report(name, &bytes, MAPPING);
        assert_eq!(found, plain, "{name} {expected:?}");
        match expected {
            Some(expected) => assert!(said.contains(expected), "{said}"),
            None => assert!(!said.contains("read as"), "{said}"),
        }
    }
}

#[test]
fn an_encoding_in_the_mapping_counts_and_nothing_is_guessed_then() {
    let table = DEALS.replace("Zoë", "Zoś");
    let polish = encoding_rs::ISO_8859_2.encode(&table).0;
    let mapping = format!("encoding = \"iso-8859-2\"\n{MAPPING}");
    let (found, said) = report("deals.csv", &polish, &mapping);
    assert_eq!(found["metrics"]["win_rate"]["all"]["owner=Zoś"]["won"], 1);
    assert!(!said.contains("Windows-1252"), "{said}");

    // Said to be UTF-8, a file that isn't is no other.
    let ascii = MAPPING.replace("Verkäufer", "Seller");
    let mapping = format!("[files.\"deals.csv\"]\nencoding = \"utf-8\"\n{ascii}");
    let table = windows_1252(&DEALS.replace("Verkäufer", "Seller"));
    let (found, said) = report(
        "deals.csv",
        &[&table[..], b"D-4;Ann;Gone;1;2026-01-05;2026-01-06\n"].concat(),
        &mapping,
    );
    assert_eq!(
        found["input"]["rejected"],
        json!({"not_an_event": 3}),
        "{said}"
    );
    assert!(said.contains("cell 2 is not UTF-8"), "{said}");

    let mapping = format!("encoding = \"shift_jis\"\n{ascii}");
    let (_, said) = report(
        "deals.csv",
        b"Ref;Seller;Phase;Worth;Begun;Ended\nD-1;J\xfd;Gone;1;2026-01-05;2026-01-06\n",
        &mapping,
    );
    assert!(
        said.contains("a character of line 2 is no Shift_JIS"),
        "{said}"
    );
}

#[test]
fn the_delimiter_is_found_in_the_header_and_an_ambiguous_one_is_refused() {
    let (plain, _) = report("deals.csv", DEALS.as_bytes(), MAPPING);
    for (delimiter, expected) in [
        (",", None),
        ("\t", Some("its cells are separated by tabs")),
        ("|", Some("its cells are separated by `|`")),
    ] {
        let (found, said) = report(
            "deals.csv",
            DEALS.replace(';', delimiter).as_bytes(),
            MAPPING,
        );
        assert_eq!(found, plain, "{delimiter}");
        match expected {
            Some(expected) => assert!(said.contains(expected), "{said}"),
            None => assert_eq!(said, ""),
        }
    }
    // Commas within quotes are no delimiter, and the mapped columns tell which of two it is.
    let quoted = DEALS
        .replace("Ref;", "\"Ref, or number\";")
        .replace(";Begun", ";Begun, local");
    let mapping = MAPPING
        .replace("\"Ref\"", "\"Ref, or number\"")
        .replace("\"Begun\"", "\"Begun, local\"");
    let (found, _) = report("deals.csv", quoted.as_bytes(), &mapping);
    assert_eq!(found, plain);

    let table = "a,b;c\n1,2;3\n";
    let said = refused(table, MAPPING);
    assert!(said.contains("its header may be separated by `,` (2 columns) or `;` (2 columns): write `delimiter = \",\"` in the mapping"), "{said}");
    let said = refused(table, &format!("delimiter = \";\"\n{MAPPING}"));
    assert!(
        said.contains("there is no column `Ref` in deals.csv; there are a,b, c"),
        "{said}"
    );
    let wide: Vec<u8> = table.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let said = refused(&String::from_utf8(wide).unwrap(), MAPPING);
    assert!(said.contains("write `encoding = \"utf-16le\"`"), "{said}");
}

#[test]
fn a_duplicate_header_is_refused_only_if_it_is_mapped() {
    let twice = DEALS.replace("Ended\n", "Ended;Note;Note\n");
    let (plain, _) = report("deals.csv", DEALS.as_bytes(), MAPPING);
    let (found, _) = report("deals.csv", twice.as_bytes(), MAPPING);
    assert_eq!(found, plain);
    let mapping = format!("{MAPPING}\n[records.custom]\nnote = \"Note\"\n");
    let said = refused(&twice, &mapping);
    assert!(said.contains("records[0].custom.note: the header of deals.csv has `Note` twice: rename one of the two"), "{said}");
}

#[test]
fn a_joined_table_is_read_in_the_same_way_and_may_be_records_of_its_own() {
    let mapping = format!(
        "{}\n[[records]]\nfile = \"people.csv\"\nentity = \"user\"\nid = \"Name\"\n[records.fields]\nteam = \"Group\"\n",
        MAPPING
            .replace("id = \"Ref\"", "id = \"Ref\"\njoin = [{ file = \"people.csv\", on = \"Verkäufer\", key = \"Name\" }]")
            .replace("currency =", "team = \"Group\"\ncurrency =")
    );
    let people = gz(&windows_1252("Name\tGroup\nJürgen\tNorth\nZoë\tSouth\n"));
    let files = Files::new(&[
        ("deals.csv", DEALS.as_bytes()),
        ("people.csv.gz", &people),
        ("mapping.toml", mapping.as_bytes()),
    ]);
    let paths = ["deals.csv", "people.csv.gz", "mapping.toml"].map(|name| files.path(name));
    let output = dealpulse(
        &[
            "report",
            &paths[0],
            &paths[1],
            "--mapping",
            &paths[2],
            "--as-of",
            "2026-03-01",
            "--json",
        ],
        None,
    );
    let said = String::from_utf8(output.stderr).unwrap();
    let found: Json = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
    assert_eq!(found["metrics"]["win_rate"]["all"]["team=North"]["won"], 1);
    assert_eq!(found["metrics"]["win_rate"]["all"]["team=South"]["won"], 1);
    assert_eq!(found["input"]["rows"], 5);
    assert!(
        said.contains("people.csv.gz: read as Windows-1252"),
        "{said}"
    );
    assert_eq!(said.matches("read as").count(), 1, "said once: {said}");
}

/// A deal of Salesforce's feed.
fn change(id: &str, amount: &str, day: u32) -> String {
    json!({
        "ChangeEventHeader": {"entityName": "Opportunity", "changeType": "CREATE", "recordIds": [id], "commitTimestamp": 1_772_618_400_000_i64 + i64::from(day), "commitNumber": day, "sequenceNumber": 1},
        "StageName": "Closed Won", "Amount": amount, "CurrencyIsoCode": "EUR", "CreatedDate": "2026-03-01T00:00:00Z", "CloseDate": "2026-03-04", "Name": "Müller",
    })
    .to_string()
}

#[test]
fn a_dump_gives_the_same_however_it_is_packed_and_encoded_also_from_a_pipe() {
    let dump = format!(
        "{}\n{}\n",
        change("006000000000001AAA", "10", 1),
        change("006000000000002AAA", "20", 2)
    );
    let options = [
        "--json",
        "--format",
        "salesforce-cdc",
        "--preset",
        "salesforce",
    ];
    let report = |name: &str, bytes: &[u8], input: Option<&[u8]>| -> (Json, String) {
        let files = Files::new(&[("dump.ndjson", bytes)]);
        let path = if name == "-" {
            name.to_owned()
        } else {
            files.path(name)
        };
        let output = dealpulse(&[&["report", &path], &options[..]].concat(), input);
        let said = String::from_utf8(output.stderr).unwrap();
        let mut found: Json =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
        found["input"]["files"] = Json::Null;
        (found, said)
    };
    let (plain, said) = report("dump.ndjson", dump.as_bytes(), None);
    assert_eq!(said, "");
    assert_eq!(
        plain["metrics"]["win_rate"]["all"]["all"]["amount"]["EUR"]["won"],
        "30.00"
    );
    for bytes in [
        gz(dump.as_bytes()),
        zstd::encode_all(dump.as_bytes(), 3).unwrap(),
        utf16(&dump, u16::to_le_bytes),
        windows_1252(&dump),
    ] {
        assert_eq!(report("dump.ndjson", &bytes, None).0, plain);
        assert_eq!(report("-", b"", Some(&bytes)).0, plain);
    }
    // In a file the format is recognised, and said.
    let packed = gz(dump.as_bytes());
    let files = Files::new(&[("dump.ndjson.gz", &packed)]);
    let path = files.path("dump.ndjson.gz");
    let arguments = ["report", &path, "--preset", "salesforce", "--json"];
    let output = dealpulse(&arguments, None);
    let said = String::from_utf8(output.stderr).unwrap();
    let mut found: Json =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
    found["input"]["files"] = Json::Null;
    assert_eq!(found, plain);
    assert!(
        said.contains("dump.ndjson.gz: its messages are read as salesforce-cdc"),
        "{said}"
    );
    let output = dealpulse(&["report", "-", "--preset", "salesforce"], Some(&packed));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("name the --format of its messages"), "{said}");
    let files = Files::new(&[("cut.ndjson.gz", &packed[..packed.len() - 10])]);
    let output = dealpulse(
        &[&["report", &files.path("cut.ndjson.gz")], &options[..]].concat(),
        None,
    );
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("cut.ndjson.gz can't be read on"), "{said}");
}

/// The most memory that `explain` of a dump takes, in kB.
fn peak(files: &Files, messages: usize) -> u64 {
    let long = change("006000000000001AAA", "10", 1).replace("Müller", &"x".repeat(10_000)) + "\n";
    let mut encoder =
        zstd::Encoder::new(fs::File::create(files.path("big.zst")).unwrap(), 1).unwrap();
    (0..messages).for_each(|_| encoder.write_all(long.as_bytes()).unwrap());
    encoder.finish().unwrap();
    let mut child = Command::new(DEALPULSE)
        .args([
            "explain",
            "--format",
            "salesforce-cdc",
            "--preset",
            "salesforce",
            "--show",
            "1",
        ])
        .arg(files.path("big.zst"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(Path::new(&status)).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        most = most.max(peak.unwrap_or(0));
        std::thread::yield_now();
    }
    let text = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert!(text.contains(&format!("{messages} messages")), "{text}");
    assert!(most > 0);
    most
}

#[test]
fn memory_does_not_grow_with_a_file() {
    let files = Files::new(&[]);
    let (small, large) = (peak(&files, 3_000), peak(&files, 15_000));
    // 120 MB more are read.
    assert!(large < small + 40_000, "{small} kB and {large} kB");
}

#[test]
fn rounded_amounts_are_counted_by_their_column() {
    let (found, _) = report("deals.csv", DEALS.as_bytes(), MAPPING);
    assert_eq!(
        found["input"]["rounded"],
        json!({"deals.csv": {"Worth": 1}})
    );
    let dump = format!(
        "{}\n{}\n{}\n",
        change("006000000000001AAA", "10.30000000001", 1),
        change("006000000000002AAA", "20", 2),
        change("006000000000003AAA", "5.00001", 3)
    );
    let files = Files::new(&[("dump.ndjson", dump.as_bytes())]);
    let options = ["--format", "salesforce-cdc", "--preset", "salesforce"];
    let run = |command: &str| {
        let output = dealpulse(
            &[&[command, &files.path("dump.ndjson")], &options[..]].concat(),
            None,
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let text = run("explain");
    assert!(
        text.contains("2 amounts of Opportunity `Amount` were rounded to four places"),
        "{text}"
    );
    assert!(
        text.contains("amount = 10.30    from Amount = \"10.30000000001\", rounded to four places"),
        "{text}"
    );
    let text = run("report");
    assert!(
        text.contains("amounts rounded to four places: 2 in Opportunity Amount"),
        "{text}"
    );
}

#[tokio::test]
async fn the_dump_of_a_feed_is_audited_like_any_export() {
    let mut stored = Stored::new("dumped").await;
    let event = |id: &str, amount: &str| {
        let data = json!({"name": "Müller", "stage": "Closed Won", "status": "won", "amount": amount, "currency": "EUR", "created_at": "2026-03-01T00:00:00Z", "closed_at": "2026-03-04", "expected_close_date": "2026-03-04"});
        json!({"specversion": "1.0", "id": "e", "source": "crm", "type": "crm.deal.upserted", "subject": id, "time": "2026-03-04T10:00:00Z", "data": data}).to_string()
    };
    stored
        .feed(&[
            event("006000000000001AAA", "10"),
            event("006000000000002AAA", "20"),
        ])
        .await;
    let complete = format!(
        "{}\n{}\n",
        change("006000000000001AAA", "10", 1),
        change("006000000000002", "20", 2)
    );
    let files = Files::new(&[("dump.ndjson.gz", &gz(complete.as_bytes()))]);
    let dump = files.path("dump.ndjson.gz");
    let arguments = [
        "--against",
        &dump,
        "--format",
        "salesforce-cdc",
        "--preset",
        "salesforce",
        "--json",
        "--as-of",
        "2026-04-01",
    ];
    let (code, text) = code_and_output(&stored.setup.ask("audit", &arguments).await);
    let audit: Json = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
    assert_eq!((code, &audit["failures"]), (0, &json!(0)), "{audit:#}");
    assert_eq!(audit["records"]["deal"]["exported"], 2);
    assert_eq!(audit["values"]["deal.amount"]["compared"], 2);

    let differs = complete.replace("\"20\"", "\"21\"");
    let gone = json!({"ChangeEventHeader": {"entityName": "Opportunity", "changeType": "DELETE", "recordIds": ["006000000000001AAA"], "commitTimestamp": 1_772_618_500_000_i64, "commitNumber": 9, "sequenceNumber": 1}});
    files.write("dump.ndjson.gz", format!("{differs}{gone}\n").as_bytes());
    let (code, text) = code_and_output(&stored.setup.ask("audit", &arguments).await);
    let audit: Json = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
    assert_eq!(code, 4, "{audit:#}");
    assert_eq!(audit["surplus"][0]["id"], "006000000000001AAA", "{audit:#}");
    assert_eq!(audit["different"][0]["field"], "amount", "{audit:#}");
}

#[test]
fn check_names_every_mapped_field_that_no_sample_has() {
    let mapping = "[[records]]\ntable = \"Opportunity\"\nentity = \"deal\"\nid = \"Id\"\n[records.fields]\namount = { column = \"Amount\", round = true }\nname = \"Titel\"\n";
    let config = "version = 1\n[[topics]]\nname = \"crm.sf\"\nformat = \"salesforce-cdc\"\nmapping = \"sf.toml\"\n[[topics]]\nname = \"crm.sf2\"\nformat = \"salesforce-cdc\"\nmapping = \"sf.toml\"\n[[topics]]\nname = \"crm.events\"\n";
    let line = |topic: &str, value: &str| format!("{{\"topic\":\"{topic}\",\"value\":{value}}}\n");
    let event = r#"{"specversion":"1.0","type":"crm.deal.upserted","subject":"D","time":"2026-03-04T10:00:00Z","data":{}}"#;
    let sample = line("crm.sf", &change("006000000000001AAA", "1.00001", 1))
        + &line("crm.events", event)
        + &line("crm.other", "{}");
    let files = Files::new(&[
        ("sf.toml", mapping.as_bytes()),
        ("dealpulse.toml", config.as_bytes()),
        ("sample.ndjson.gz", &gz(sample.as_bytes())),
    ]);
    let (config, sample) = (files.path("dealpulse.toml"), files.path("sample.ndjson.gz"));
    let check = |more: &[&str]| {
        let arguments = [
            &[
                "check",
                "--offline",
                "--config",
                &config,
                "--sample",
                &sample,
            ],
            more,
        ]
        .concat();
        code_and_output(&dealpulse(&arguments, None))
    };
    let (code, text) = check(&[]);
    assert_eq!(code, 0, "{text}");
    for expected in [
        "crm.sf, crm.sf2, salesforce-cdc: 1 messages: 1 records asserted, 0 items rejected",
        "1 amounts of Opportunity `Amount` were rounded",
        "no message that is read has `Titel`, which records[0].fields.name names",
        "events: 1 messages, 0 items rejected",
        "the samples' topic crm.other is not in the configuration",
    ] {
        assert!(text.contains(expected), "no {expected} in\n{text}");
    }
    assert!(!text.contains("has `Amount`"), "{text}");
    let (code, text) = check(&["--json"]);
    let found: Json = serde_json::from_str(&text).unwrap();
    assert_eq!(code, 0);
    assert_eq!(
        found["samples"]["feeds"][0]["unseen"],
        json!([{"key": "records[0].fields.name", "column": "Titel"}])
    );

    files.write("sample.ndjson.gz", line("crm.sf", "{}").as_bytes());
    let (code, text) = check(&[]);
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("1 not_an_event"), "{text}");
    files.write("sample.ndjson.gz", b"{}\n");
    let (code, text) = check(&[]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("the line names no topic"), "{text}");
}
