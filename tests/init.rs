//! `dealpulse init`: of each format's samples it makes a configuration that `check` accepts, or
//! says what is left to be decided.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::support::clickhouse::DEALPULSE;
use crate::support::kafka::Kafka;
use crate::support::stored::code_and_output;
use dealpulse::config::presets::{NAMES, TEMPLATES};
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

fn dealpulse(arguments: &[&str]) -> Output {
    Command::new(DEALPULSE)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// What `init` makes of messages: its exit code, what it said, and the directory with
/// dealpulse.toml in it.
struct Made {
    code: i32,
    said: String,
    directory: TempDir,
}

impl Made {
    fn of(lines: &[String], more: &[&str]) -> Made {
        let directory = tempfile::tempdir().unwrap();
        let sample = directory.path().join("sample.ndjson");
        fs::write(&sample, lines.join("\n")).unwrap();
        Made::of_file(&sample, more, directory)
    }

    fn of_file(sample: &Path, more: &[&str], directory: TempDir) -> Made {
        let output = directory.path().join("dealpulse.toml");
        let arguments = [
            "init",
            "--sample",
            sample.to_str().unwrap(),
            "--output",
            output.to_str().unwrap(),
        ];
        let made = dealpulse(&[&arguments[..], more].concat());
        Made {
            code: made.status.code().unwrap(),
            said: String::from_utf8(made.stderr).unwrap(),
            directory,
        }
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.directory.path().join(name))
            .unwrap_or_else(|_| panic!("no {name}: {}", self.said))
    }

    /// `check` of what was written, with the sample.
    fn check(&self, sample: Option<&Path>) -> (i32, String) {
        let config = self.directory.path().join("dealpulse.toml");
        let mut arguments = vec!["check", "--offline", "--config", config.to_str().unwrap()];
        if let Some(sample) = sample {
            arguments.extend(["--sample", sample.to_str().unwrap()]);
        }
        code_and_output(&dealpulse(&arguments))
    }

    /// The configuration is complete, says this of the topic, and `check` accepts it and reads the
    /// sample by it.
    fn is_complete(&self, expected: &str) {
        assert_eq!(self.code, 0, "{}", self.said);
        let text = self.file("dealpulse.toml");
        assert!(text.contains(expected), "no {expected} in\n{text}");
        let (code, checked) = self.check(Some(&self.directory.path().join("sample.ndjson")));
        assert_eq!(code, 0, "{checked}");
        assert!(checked.contains(": sound"), "{checked}");
    }
}

fn line(topic: &str, value: &Json) -> String {
    json!({"topic": topic, "timestamp": 1_772_618_400_000_i64, "key": null, "value": value})
        .to_string()
}

fn opportunity(stage: &str) -> Json {
    json!({
        "ChangeEventHeader": {"entityName": "Opportunity", "changeType": "CREATE", "recordIds": ["006000000000001AAA"], "commitTimestamp": 1_772_618_400_000_i64, "commitNumber": 1, "sequenceNumber": 1, "changedFields": []},
        "StageName": stage, "Amount": 10.5, "CurrencyIsoCode": "EUR", "CreatedDate": "2026-03-01T00:00:00Z", "CloseDate": "2026-03-04",
    })
}

#[test]
fn the_feeds_of_crms_are_recognised_with_their_presets() {
    let salesforce =
        "[[topics]]\nname = \"crm.sf\"\nformat = \"salesforce-cdc\"\npreset = \"salesforce\"\n";
    let raw = opportunity("Closed Won");
    Made::of(&[line("crm.sf", &raw)], &[]).is_complete(salesforce);
    let enveloped = json!({"schema": "s", "payload": raw, "event": {"replayId": 5}});
    Made::of(&[line("crm.sf", &enveloped)], &[]).is_complete(salesforce);
    // As Confluent's connector writes it: what didn't change is null.
    let mut confluent = raw.clone();
    confluent["ChangeEventHeader"]["changeType"] = "UPDATE".into();
    confluent["ChangeEventHeader"]["changedFields"] = json!(["Amount"]);
    confluent["StageName"] = Json::Null;
    let gap = json!({"ChangeEventHeader": {"entityName": "Account", "changeType": "GAP_UPDATE", "recordIds": ["001000000000001AAA"], "commitTimestamp": 1, "commitNumber": 1, "sequenceNumber": 1}});
    let made = Made::of(
        &[line("crm.sf", &confluent), line("crm.sf", &gap)],
        &["--brokers", "kafka-1:9092"],
    );
    assert_eq!(
        made.code, 0,
        "a gap is nothing to be decided: {}",
        made.said
    );
    assert!(
        made.file("dealpulse.toml")
            .contains("brokers = \"kafka-1:9092\"\n")
    );

    let hubspot = json!([
        {"eventId": 1, "subscriptionType": "deal.creation", "objectId": 7, "occurredAt": 1_772_618_400_000_i64},
        {"eventId": 2, "subscriptionType": "deal.propertyChange", "objectId": 7, "propertyName": "dealname", "propertyValue": "Acme", "occurredAt": 1_772_618_400_000_i64},
        {"eventId": 3, "subscriptionType": "object.propertyChange", "objectTypeId": "0-2", "objectId": 8, "propertyName": "name", "propertyValue": "Acme", "occurredAt": 1_772_618_400_000_i64},
    ]);
    Made::of(&[line("crm.hs", &hubspot)], &[])
        .is_complete("format = \"hubspot-webhook\"\npreset = \"hubspot\"\n");

    let pipedrive = "format = \"pipedrive-webhook\"\npreset = \"pipedrive\"\n";
    let two = json!({"meta": {"version": "2.0", "action": "create", "entity": "deal", "entity_id": "5", "timestamp": "2026-03-04T10:00:00.000Z"},
        "data": {"id": 5, "title": "Acme", "value": 7, "currency": "EUR", "status": "open", "owner_id": 9, "add_time": "2026-03-01T10:00:00Z"}, "previous": null});
    let one = json!({"v": 1, "event": "updated.deal", "meta": {"action": "updated", "object": "deal", "id": 8, "timestamp": 1772618405},
        "current": {"id": 8, "status": "lost", "value": 7, "currency": "EUR", "add_time": "2026-03-02 10:00:00"}});
    Made::of(&[line("crm.pd", &two)], &[]).is_complete(pipedrive);
    Made::of(&[line("crm.pd", &one)], &[]).is_complete(pipedrive);
}

#[test]
fn every_sample_of_a_preset_is_recognised_as_that_preset() {
    let mut seen = 0;
    for entry in fs::read_dir("tests/fixtures/feeds").unwrap() {
        let sample = entry.unwrap().path();
        // What else is there is not a sample of a preset.
        if sample.extension().is_none_or(|ending| ending != "ndjson") {
            continue;
        }
        let name = sample.file_stem().unwrap().to_str().unwrap();
        let made = Made::of_file(&sample, &[], tempfile::tempdir().unwrap());
        let config = made.file("dealpulse.toml");
        if NAMES.contains(&name) {
            assert_eq!(made.code, 0, "{name}: {}", made.said);
            let expected = format!("preset = \"{name}\"\n");
            let topics = config.matches("[[topics]]").count();
            assert_eq!(config.matches(&expected).count(), topics, "{config}");
        } else if TEMPLATES.contains(&name) {
            assert_eq!(made.code, 5, "{name}: {}", made.said);
            assert!(config.contains(&format!("mapping = \"{name}.toml\"\n")));
        } else {
            assert_eq!(made.code, 5, "{name}: {}", made.said);
            assert!(made.said.contains("no preset has these tables"));
            continue;
        }
        let (code, checked) = made.check(None);
        assert_eq!(code, 0, "{name}: {checked}");
        seen += 1;
    }
    assert!(seen > 0);
}

#[test]
fn events_of_ours_need_no_mapping_and_topics_may_differ() {
    let directory = tempfile::tempdir().unwrap();
    let made = Made::of_file(
        Path::new("tests/fixtures/worked_example.ndjson"),
        &["--topic", "crm.events"],
        directory,
    );
    assert_eq!(made.code, 0, "{}", made.said);
    assert!(
        made.file("dealpulse.toml")
            .contains("[[topics]]\nname = \"crm.events\"\n\n[clickhouse]")
    );
    let (code, checked) = made.check(Some(Path::new("tests/fixtures/worked_example.ndjson")));
    assert_eq!(code, 0, "{checked}");

    let event = json!({"specversion": "1.0", "type": "crm.lead.upserted", "subject": "L", "time": "2026-03-04T10:00:00Z", "data": {}});
    let made = Made::of(
        &[
            line("ours", &event),
            line("crm.sf", &opportunity("Closed Won")),
        ],
        &[],
    );
    made.is_complete("[[topics]]\nname = \"ours\"\n\n[[topics]]\nname = \"crm.sf\"\nformat = \"salesforce-cdc\"\npreset = \"salesforce\"\n");
}

#[test]
fn a_redmine_is_recognised_and_its_own_numbers_are_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let sample = Path::new("tests/fixtures/feeds/redmine.ndjson");
    let made = Made::of_file(sample, &[], directory);
    assert_eq!(made.code, 5, "{}", made.said);
    assert!(
        made.said.contains("read by the preset redmine"),
        "{}",
        made.said
    );
    assert!(
        made.said
            .contains("to be decided: rm.public.custom_values, rm.public.issues, rm.public.trackers and 1 more: in the preset redmine"),
        "{}",
        made.said
    );
    assert_eq!(
        made.file("redmine.toml"),
        include_str!("../schemas/presets/redmine.toml")
    );
    let (code, checked) = made.check(Some(sample));
    assert_eq!(code, 0, "{checked}");
    assert!(checked.contains("41 messages"), "{checked}");

    // The same rows flattened, without anything that Debezium adds: the table's name is in the
    // topic's.
    let flat: Vec<String> = fs::read_to_string(sample)
        .unwrap()
        .lines()
        .map(|text| serde_json::from_str::<Json>(text).unwrap())
        .filter(|message| message["value"]["after"].is_object())
        .map(|message| {
            line(
                message["topic"].as_str().unwrap(),
                &message["value"]["after"],
            )
        })
        .collect();
    let made = Made::of(&flat, &[]);
    assert_eq!(made.code, 5, "{}", made.said);
    assert!(made.file("dealpulse.toml").contains(
        "name = \"rm.public.issues\"\nformat = \"debezium\"\nmapping = \"redmine.toml\"\n"
    ));
}

#[test]
fn what_is_not_known_is_listed_by_its_columns_and_not_by_its_values() {
    let invoice = json!({"number": "R-17", "total": 1200.5, "opened": "2026-03-04", "at": 1_772_618_400_000_i64, "buyer": {"name": "Secret Ltd"}});
    let made = Made::of(&[line("shop.invoices", &invoice)], &[]);
    assert_eq!(made.code, 5, "{}", made.said);
    assert!(made.said.contains("to be decided: shop.invoices: no preset has these tables; json.toml lists their columns"), "{}", made.said);
    let mapping = made.file("json.toml");
    for expected in [
        "# table = \"shop.invoices\"",
        "# entity = \"…\"",
        "# … = \"total\"  # number",
        "# … = \"opened\"  # date",
        "# … = \"at\"  # number like milliseconds since 1970",
        "# … = \"/buyer/name\"  # text",
    ] {
        assert!(mapping.contains(expected), "no {expected} in\n{mapping}");
    }
    assert!(
        !mapping.contains("Secret") && !mapping.contains("R-17"),
        "{mapping}"
    );
    let (code, checked) = made.check(None);
    assert_eq!(code, 1, "nothing is decided yet: {checked}");
    assert!(
        checked.contains("json.toml is refused: records: there is none"),
        "{checked}"
    );

    // Decided, it is accepted.
    let decided: String = mapping
        .lines()
        .map(|line| line.strip_prefix("# ").unwrap_or(line))
        .filter(|line| {
            ["[[records]]", "table =", "[records.fields]"]
                .iter()
                .any(|start| line.starts_with(start))
                || line.contains("\"total\"")
        })
        .map(|line| line.replace("…", "amount") + "\n")
        .collect::<String>()
        .replace(
            "[records.fields]",
            "entity = \"invoice\"\nid = \"number\"\n[records.fields]",
        );
    fs::write(made.directory.path().join("json.toml"), decided).unwrap();
    let (code, checked) = made.check(Some(&made.directory.path().join("sample.ndjson")));
    assert_eq!(code, 0, "{checked}");

    // A preset that doesn't know all of it is copied, with the rest at its end.
    let campaign = json!({"ChangeEventHeader": {"entityName": "Campaign", "changeType": "CREATE", "recordIds": ["701000000000001AAA"], "commitTimestamp": 1, "commitNumber": 1, "sequenceNumber": 1}, "Title": "x"});
    let made = Made::of(
        &[
            line("crm.sf", &opportunity("Closed Won")),
            line("crm.sf", &campaign),
        ],
        &[],
    );
    assert_eq!(made.code, 5, "{}", made.said);
    assert!(
        made.said
            .contains("to be decided: Campaign: the preset salesforce doesn't read it"),
        "{}",
        made.said
    );
    assert!(
        made.file("salesforce.toml")
            .contains("# … = \"Title\"  # text")
    );
    assert_eq!(made.check(None).0, 0);
}

#[test]
fn what_would_be_rejected_is_asked_about() {
    let made = Made::of(&[line("crm.sf", &opportunity("Our own stage"))], &[]);
    assert_eq!(made.code, 5, "{}", made.said);
    assert!(
        made.said.contains(
            "items of the sample would be rejected (1 wrong_type); `dealpulse explain` shows which"
        ),
        "{}",
        made.said
    );
    let avro = [0_u8, 0, 0, 0, 7, b'x', b'y'];
    let made = Made::of(
        &[
            line("crm.sf", &opportunity("Closed Won")),
            json!({"topic": "crm.avro", "value": String::from_utf8_lossy(&avro)}).to_string(),
        ],
        &[],
    );
    assert_eq!(made.code, 5, "{}", made.said);
    assert!(
        made.said
            .contains("to be decided: crm.avro: written by the serializer of a schema registry"),
        "{}",
        made.said
    );
    let made = Made::of(&["no".into()], &[]);
    assert_eq!(made.code, 1);
    assert!(
        made.said
            .contains("nothing was recognised:\nsample: no JSON object"),
        "{}",
        made.said
    );
    assert!(!made.directory.path().join("dealpulse.toml").exists());
}

#[test]
fn nothing_is_overwritten_and_one_page_has_all_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("redmine.toml"), "mine").unwrap();
    let sample = "tests/fixtures/feeds/redmine.ndjson";
    let (code, said) = code_and_output(&dealpulse(&[
        "init",
        "--sample",
        sample,
        "--output",
        &path("dealpulse.toml"),
    ]));
    assert_eq!(code, 1);
    assert!(
        said.contains("redmine.toml is there already; nothing was written"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(path("redmine.toml")).unwrap(), "mine");
    assert!(!Path::new(&path("dealpulse.toml")).exists());

    let output = dealpulse(&[
        "init",
        "--sample",
        sample,
        "--property",
        "security.protocol=SASL_SSL",
        "--property",
        "sasl.password=hunter2",
    ]);
    assert_eq!(output.status.code(), Some(5));
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(
        page.contains("\n# The file redmine.toml, to be put beside this one")
            && page.contains("\n# table = \"issues\"\n"),
        "{page}"
    );
    assert!(
        page.contains("\"security.protocol\" = \"SASL_SSL\"") && !page.contains("hunter2"),
        "{page}"
    );
    fs::write(
        path("redmine.toml"),
        include_str!("../schemas/presets/redmine.toml"),
    )
    .unwrap();
    fs::write(path("dealpulse.toml"), page).unwrap();
    let (code, checked) = code_and_output(&dealpulse(&[
        "check",
        "--offline",
        "--config",
        &path("dealpulse.toml"),
    ]));
    assert_eq!(code, 0, "{checked}");
}

/// A registry that has one schema, whichever is asked for.
fn registry_of(schema: &str) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/ccompat/", listener.local_addr().unwrap());
    let answer = json!({"schema": schema}).to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut asked) = (stream.unwrap(), [0; 4096]);
            let _ = stream.read(&mut asked);
            let length = answer.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{answer}"
            );
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_in_avro_are_recognised_by_the_schemas_of_their_registry() {
    let hex = include_str!("fixtures/feeds/crm_lead.avro.hex");
    let hex: String = hex.split_whitespace().collect();
    let digits = |at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
    let message: Vec<u8> = (0..hex.len() / 2).map(digits).collect();
    let kafka = Kafka::start().await;
    let topic = "od.public.crm_lead";
    kafka.create_topic(topic, 1, &[]).await;
    let messages = vec![(b"k".to_vec(), message)];
    kafka.produce(topic, None, messages).await;
    let brokers = kafka.bootstrap();
    let init = |more: &[&str]| {
        let arguments = ["init", "--brokers", &brokers, "--topic", topic];
        let output = dealpulse(&[&arguments[..], more].concat());
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap();
        (code, text(output.stdout), text(output.stderr))
    };
    let (code, _, said) = init(&[]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("name the registry with --schema-registry URL"),
        "{said}"
    );
    let url = registry_of(include_str!("fixtures/feeds/crm_lead.avsc"));
    let (code, text, said) = init(&["--schema-registry", &url]);
    assert_eq!(code, 0, "{said}");
    for expected in [
        format!("[schema_registry]\nurl = \"{url}\"\n"),
        format!(
            "name = \"{topic}\"\nformat = \"debezium\"\nencoding = \"avro\"\npreset = \"odoo\"\n"
        ),
    ] {
        assert!(text.contains(&expected), "no {expected} in\n{text}");
    }
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("dealpulse.toml");
    fs::write(&config, text).unwrap();
    let arguments = ["check", "--offline", "--config", config.to_str().unwrap()];
    let (code, checked) = code_and_output(&dealpulse(&arguments));
    assert_eq!(code, 0, "{checked}");

    // A registry that isn't there is no reason to leave the topic out in silence, and neither is a
    // schema of something else.
    let (code, _, said) = init(&["--schema-registry", "http://127.0.0.1:1"]);
    assert_eq!(code, 1);
    assert!(said.contains("is --schema-registry right?"), "{said}");
    let (code, _, said) = init(&["--schema-registry", &registry_of("\"string\"")]);
    assert_eq!(code, 1);
    assert!(
        said.contains("none of its messages can be decoded: not_avro"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topics_of_a_broker_are_looked_at_without_a_trace_in_its_groups() {
    let kafka = Kafka::start().await;
    kafka.create_topic("crm.sf", 3, &[]).await;
    kafka.create_topic("empty", 1, &[]).await;
    let values = ["Closed Won", "Prospecting", "Closed Lost"]
        .map(|stage| (b"k".to_vec(), opportunity(stage).to_string().into_bytes()));
    for (partition, value) in (0..3).zip(values) {
        kafka.produce("crm.sf", Some(partition), vec![value]).await;
    }
    let brokers = kafka.bootstrap();
    let init = |topics: &[&str]| {
        let topics = topics.iter().flat_map(|topic| ["--topic", topic]);
        let arguments: Vec<&str> = ["init", "--brokers", &brokers]
            .into_iter()
            .chain(topics)
            .collect();
        let output = dealpulse(&arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        (
            output.status.code().unwrap(),
            text,
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, text, said) = init(&["crm.sf"]);
    assert_eq!(code, 0, "{said}");
    assert!(text.contains("which looked at 3 messages"), "{text}");
    assert!(text.contains(&format!("brokers = \"{brokers}\"")), "{text}");
    assert!(
        text.contains("name = \"crm.sf\"\nformat = \"salesforce-cdc\"\npreset = \"salesforce\""),
        "{text}"
    );
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("dealpulse.toml");
    fs::write(&config, text).unwrap();
    let (code, checked) = code_and_output(&dealpulse(&[
        "check",
        "--offline",
        "--config",
        config.to_str().unwrap(),
    ]));
    assert_eq!(code, 0, "{checked}");

    let (code, _, said) = init(&["crm.sf", "empty"]);
    assert_eq!(code, 5);
    assert!(
        said.contains("to be decided: empty: no message was seen, so it is left out"),
        "{said}"
    );
    let (code, text, said) = init(&["nowhere"]);
    assert_eq!((code, text.as_str()), (1, ""));
    assert!(
        said.contains("looking at the topic `nowhere`: there is no such topic"),
        "{said}"
    );
    let onlooker: BaseConsumer = kafka.client().create().unwrap();
    let groups = onlooker.fetch_group_list(None, Duration::from_secs(20));
    assert_eq!(groups.unwrap().groups().len(), 0);
}
