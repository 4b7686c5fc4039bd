//! Feeds: what the messages of a CRM's own feed come to. In memory in any order and however often,
//! in a report over a dump, and through the real engines.

use std::process::Command;

use crate::support::clickhouse::DEALPULSE;
use crate::support::feeds::{Sent, converges, dump, feed, preset, sent};
use crate::support::pipeline::{Setup, engines};
use dealpulse::event::feed::Format;
use serde_json::{Value, json};

#[tokio::test]
async fn a_redmine_converges_a_lead_becomes_a_deal_and_a_reopened_deal_is_open() {
    let mapping = include_str!("../schemas/presets/redmine.toml");
    let figures = converges(&feed(Format::Debezium, mapping), &dump("redmine")).await;
    let closed = &figures["win_rate"]["all"];
    // By hand: deals 1 and 3 are won, 2 was and is open again, 5 is new, 4 is gone.
    assert_eq!(
        closed["opened"],
        json!({"deals": 4, "open": 2, "won": 2, "lost": 0})
    );
    assert_eq!(closed["amount"]["USD"]["won"], "150.50");
    assert_eq!(closed["amount"]["EUR"]["won"], "300.00");
    assert_eq!(
        figures["forecast"]["all"]["amount"]["EUR"]["amount"],
        "212.55"
    );
    assert_eq!(figures["lead_source"]["all"]["leads"], 0);
}

#[tokio::test]
async fn a_custom_value_of_a_redmine_that_is_deleted_alone_is_withdrawn() {
    let mapping = include_str!("../schemas/presets/redmine.toml");
    let mut messages = dump("redmine");
    // The amount of deal 1, by the row's own id: all that such a message says.
    messages.push(sent(
        "rm.public.custom_values",
        &json!({"id": 101}),
        &json!({
            "before": {"id": 101, "customized_type": "", "customized_id": 0, "custom_field_id": 0, "value": null}, "after": null, "op": "d",
            "source": {"table": "custom_values", "ts_us": 1_772_700_000_000_000_u64, "lsn": 9000}, "ts_ms": 1_772_700_000_000_u64,
        }),
    ));
    let figures = converges(&feed(Format::Debezium, mapping), &messages).await;
    let closed = &figures["win_rate"]["all"];
    assert_eq!(closed["won"], 2);
    assert_eq!(closed["amount"]["EUR"]["won"], "300.00");
    let left = closed["amount"]["USD"]["won"].as_str();
    assert!(matches!(left, None | Some("0.00")), "{left:?}");
}

fn salesforce(entity: &str, id: &str, kind: &str, commit: u64, fields: Value) -> Sent {
    let mut payload = fields;
    payload["ChangeEventHeader"] = json!({
        "entityName": entity, "recordIds": [id], "changeType": kind, "changeOrigin": "com/salesforce/api/rest/62.0",
        "transactionKey": "0002ff1b", "sequenceNumber": 1, "commitTimestamp": 1_772_618_400_000_u64 + commit, "commitUser": "005000000000001",
        "commitNumber": 10_735_374_846_u64 + commit, "nulledFields": [], "diffFields": [],
        "changedFields": payload.as_object().unwrap().keys().cloned().collect::<Vec<_>>(),
    });
    sent(
        "crm.sf",
        &Value::Null,
        &json!({"schema": "IeRuaY6cbI_HsV8Rv1Mc5g", "payload": payload, "event": {"replayId": commit}}),
    )
}

#[tokio::test]
async fn salesforces_objects_converge() {
    let stages = |commit, stage: &str| {
        let fields = json!({"StageName": stage, "Probability": 100.0, "LastModifiedDate": "2026-03-04T10:00:00.000Z"});
        salesforce(
            "Opportunity",
            "0065g00000ABCdeAAH",
            "UPDATE",
            commit,
            fields,
        )
    };
    let messages = [
        salesforce(
            "Account",
            "0015g00000XYZabAAH",
            "CREATE",
            1,
            json!({"Name": "Acme", "Industry": "Energy"}),
        ),
        salesforce(
            "Opportunity",
            "0065g00000ABCde",
            "CREATE",
            2,
            json!({
                "Name": "Acme 1", "AccountId": "0015g00000XYZabAAH", "StageName": "Prospecting", "Amount": 12500.5, "CloseDate": "2026-03-20",
                "CreatedDate": "2026-03-01T10:00:00.000Z", "Probability": 10.0, "Type": null,
            }),
        ),
        stages(3, "Closed Won"),
        // The same again by Confluent's connector, in which what did not change is null.
        sent(
            "crm.sf",
            &Value::Null,
            &json!({
                "ChangeEventHeader": {"entityName": "Opportunity", "recordIds": ["0065g00000ABCdeAAH"], "changeType": "UPDATE",
                    "commitTimestamp": 1_772_618_400_004_u64, "commitNumber": 10_735_374_850_u64, "sequenceNumber": 1, "changedFields": ["Amount"]},
                "Amount": 13000.25, "Name": null, "StageName": null, "AccountId": null, "CloseDate": null,
            }),
        ),
        salesforce(
            "Opportunity",
            "0065g00000ABCdfAAH",
            "CREATE",
            5,
            json!({"StageName": "Closed Lost", "CloseDate": "2026-03-21"}),
        ),
        salesforce("Opportunity", "0065g00000ABCdfAAH", "DELETE", 6, json!({})),
    ];
    let figures = converges(
        &feed(Format::SalesforceCdc, preset("salesforce")),
        &messages,
    )
    .await;
    let closed = &figures["win_rate"]["all"];
    assert_eq!(
        closed["opened"],
        json!({"deals": 1, "open": 0, "won": 1, "lost": 0})
    );
    assert_eq!(closed["amount"]["XXX"]["won"], "13000.25");
    assert_eq!(figures["upsell"]["all"]["deals"], json!(null));
}

#[tokio::test]
async fn hubspots_webhooks_converge() {
    let event = |kind: &str, at: u64, more: Value| {
        let mut event = more;
        event["subscriptionType"] = json!(kind);
        event["occurredAt"] = json!(1_772_618_400_000_u64 + at);
        event["eventId"] = json!(1);
        event["portalId"] = json!(62515);
        event
    };
    let deal = |id: u64, at, name: &str, value: &str| {
        event(
            "deal.propertyChange",
            at,
            json!({"objectId": id, "propertyName": name, "propertyValue": value}),
        )
    };
    let messages = [
        json!([
            deal(7, 1, "dealstage", "contractsent"),
            deal(7, 2, "amount", "100"),
            deal(7, 3, "deal_currency_code", "EUR")
        ]),
        json!([
            deal(7, 4, "dealstage", "closedwon"),
            deal(7, 4, "closedate", "1772618400000"),
            deal(7, 9, "amount", "250.75")
        ]),
        json!([
            deal(7, 8, "amount", "200"),
            event(
                "object.propertyChange",
                8,
                json!({"objectTypeId": "0-3", "objectId": 8, "propertyName": "dealstage", "propertyValue": "closedlost"})
            )
        ]),
        json!([
            event("company.creation", 5, json!({"objectId": 3})),
            event("company.creation", 5, json!({"objectId": 4}))
        ]),
        json!([event(
            "deal.associationChange",
            6,
            json!({"associationType": "DEAL_TO_COMPANY", "fromObjectId": 7, "toObjectId": 4, "associationRemoved": false})
        )]),
        json!([event(
            "company.merge",
            7,
            json!({"objectId": 3, "primaryObjectId": 3, "mergedObjectIds": [4], "newObjectId": null})
        )]),
    ];
    let messages: Vec<Sent> = messages
        .iter()
        .map(|value| sent("crm.hs", &Value::Null, value))
        .collect();
    let figures = converges(&feed(Format::HubspotWebhook, preset("hubspot")), &messages).await;
    let closed = &figures["win_rate"]["all"];
    assert_eq!((&closed["won"], &closed["lost"]), (&json!(1), &json!(1)));
    assert_eq!(closed["amount"]["EUR"]["won"], "250.75");
}

#[tokio::test]
async fn pipedrives_webhooks_converge() {
    let two = |entity: &str, action: &str, second: u32, data: Value, previous: Value| {
        let id = data["id"]
            .as_i64()
            .or(previous["id"].as_i64())
            .unwrap()
            .to_string();
        let meta = json!({"version": "2.0", "action": action, "entity": entity, "entity_id": id, "timestamp": format!("2026-03-04T10:00:{second:02}.000Z")});
        json!({"meta": meta, "data": data, "previous": previous})
    };
    let deal = |status: &str, value: f64| {
        json!({"id": 5, "title": "Acme", "value": value, "currency": "EUR", "status": status, "owner_id": 9, "org_id": 3, "stage_id": 2, "pipeline_id": 1,
            "probability": 50, "add_time": "2026-03-01T10:00:00Z", "close_time": if status == "won" { json!("2026-03-04 09:00:00") } else { Value::Null }})
    };
    let messages = [
        two("deal", "create", 1, deal("open", 100.0), Value::Null),
        two(
            "deal",
            "change",
            2,
            deal("won", 100.0),
            json!({"status": "open"}),
        ),
        two(
            "deal",
            "change",
            3,
            deal("won", 110.5),
            json!({"value": 100.0}),
        ),
        two(
            "organization",
            "create",
            1,
            json!({"id": 3, "name": "Acme"}),
            Value::Null,
        ),
        two(
            "deal",
            "delete",
            4,
            Value::Null,
            json!({"id": 6, "status": "open"}),
        ),
        json!({"v": 1, "event": "updated.deal", "meta": {"action": "updated", "object": "deal", "id": 8, "timestamp": 1772618405},
            "current": {"id": 8, "status": "lost", "value": 7, "currency": "EUR", "add_time": "2026-03-02 10:00:00", "close_time": "2026-03-04 10:00:05"}}),
    ];
    let messages: Vec<Sent> = messages
        .iter()
        .map(|value| sent("crm.pd", &Value::Null, value))
        .collect();
    let figures = converges(
        &feed(Format::PipedriveWebhook, preset("pipedrive")),
        &messages,
    )
    .await;
    let closed = &figures["win_rate"]["all"];
    assert_eq!((&closed["won"], &closed["lost"]), (&json!(1), &json!(1)));
    assert_eq!(closed["amount"]["EUR"]["won"], "110.50");
    assert_eq!(closed["amount"]["EUR"]["lost"], "7.00");
}

/// A command over the dump of the Redmine, and how it ended.
fn over_the_dump(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(DEALPULSE)
        .args(arguments)
        .args([
            "--format",
            "debezium",
            "--mapping",
            "schemas/presets/redmine.toml",
        ])
        .arg("tests/fixtures/feeds/redmine.ndjson")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (
        output.status.code().unwrap(),
        text + &String::from_utf8_lossy(&output.stderr),
    )
}

#[test]
fn a_dump_is_reported_before_anything_is_installed() {
    let output = Command::new(DEALPULSE)
        .args([
            "report",
            "--json",
            "--format",
            "debezium",
            "--mapping",
            "schemas/presets/redmine.toml",
        ])
        .arg("tests/fixtures/feeds/redmine.ndjson")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        report["records"],
        json!({"leads": 0, "deals": 4, "accounts": 0})
    );
    assert_eq!(report["input"]["rejected"], json!({}));
    assert_eq!(
        report["metrics"]["win_rate"]["all"]["all"]["amount"]["USD"]["won"],
        "150.50"
    );
}

#[test]
fn explain_shows_what_a_message_asserts_from_which_columns_and_what_was_never_seen() {
    let (code, text) = over_the_dump(&["explain", "--show", "1000"]);
    assert_eq!(code, 0, "{text}");
    for expected in [
        "issues, records[0]: deal 1 as of 2026-03-04T10:05:00Z, sequence 1008",
        "status = \"won\"    from status_id = \"9\"",
        "custom_values, records[2]: field_value deal/custom_values/",
        "field = \"amount\"",
        "value = \"12.30\"    from custom_field_id = \"1\", value = \"12.300000000000001\", rounded to four places",
        "deleted = true    from the change itself, or a constant",
        "trackers: ignored, as the mapping says",
        "41 messages:",
    ] {
        assert!(text.contains(expected), "{expected} is not in:\n{text}");
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.ndjson");
    std::fs::write(&file, "{\"op\":\"u\",\"source\":{\"table\":\"issues\",\"ts_ms\":1772618400000},\"after\":{\"id\":1,\"tracker_id\":4,\"created_on\":\"soon\"}}\n").unwrap();
    let output = Command::new(DEALPULSE)
        .args([
            "explain",
            "--format",
            "debezium",
            "--mapping",
            "schemas/presets/redmine.toml",
        ])
        .arg(&file)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(
        text.contains("item 0 is rejected: bad_time: `created_at` is `soon`"),
        "{text}"
    );
    assert!(
        text.contains(
            "no message that is read has `status_id`, which records[0].fields.stage names"
        ),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_goes_through_kafka_and_clickhouse_and_what_it_cannot_read_is_a_dead_letter() {
    let engines = engines().await;
    let messages = dump("redmine");
    let mut topics: Vec<String> = messages
        .iter()
        .map(|message| message.topic.clone())
        .collect();
    topics.sort_unstable();
    topics.dedup();
    for topic in &topics {
        engines.kafka.create_topic(topic, 1, &[]).await;
    }
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    let mut setup = Setup::new(
        "feeds",
        &engines.kafka.bootstrap(),
        &engines.clickhouse.url(),
        &names,
    );
    setup.namespace = Some("redmine");
    setup.feed = Some((
        "debezium",
        concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/presets/redmine.toml"),
    ));
    // In the order of each topic; a tombstone can't be produced by this client, and asserts
    // nothing.
    for topic in &topics {
        let of_topic = messages.iter().filter(|message| message.topic == *topic);
        let values =
            of_topic.filter_map(|message| Some((message.key.clone(), message.value.clone()?)));
        let broken = [(
            b"{}".to_vec(),
            br#"{"op":"t","source":{"table":"issues"}}"#.to_vec(),
        )];
        let is_issues = topic.ends_with(".issues");
        let values: Vec<_> = values
            .chain(broken.into_iter().filter(|_| is_issues))
            .collect();
        engines.kafka.produce(topic, Some(0), values).await;
    }
    let pipeline = setup.start().await;
    setup.settled().await;
    let sql = "SELECT toString(groupArray((id, status, toString(amount), currency))) FROM (SELECT id, status, amount, currency FROM deals FINAL \
               WHERE deleted = 0 AND merged_into = '' AND status != '' ORDER BY id)";
    let found = setup.store().fetch("the deals", sql, "TSV").await.unwrap();
    assert_eq!(
        found
            .trim_ascii_end()
            .to_vec()
            .iter()
            .map(|b| *b as char)
            .collect::<String>()
            .replace(r"\'", "'"),
        "[('redmine/1','won','150.5','USD'),('redmine/2','open','200.25','EUR'),('redmine/3','won','300','EUR'),('redmine/5','open','12.3','EUR')]"
    );
    let metrics = pipeline.metrics();
    assert_eq!(
        metrics.sum("dealpulse_dead_letters_total", "reason=\"not_an_event\""),
        1.0
    );
    let of_values = "table=\"custom_values\",topic=\"rm.public.custom_values\"";
    assert_eq!(
        metrics.sum("dealpulse_amounts_rounded_total", of_values),
        1.0
    );
    drop(pipeline);
}
