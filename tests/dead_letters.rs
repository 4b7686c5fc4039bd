//! Dead letters through Apache Kafka: listed, replayed to where they came from, and never blocking
//! good messages.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use crate::support::clickhouse::DEALPULSE;
use crate::support::clients::{self, offsets};
use crate::support::events::{deal, event, ids, lead, noise};
use crate::support::pipeline::{Engines, Pipeline, Setup, TIMEOUT, blocking, engines};
use crate::support::reference::{StoredMessage, assert_reconciled, fact_lines, read_all};
use dealpulse::pipeline::Store;
use dealpulse::record::{CustomFields, Field, Record, Symbols};
use rdkafka::Offset;
use rdkafka::consumer::Consumer;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};

/// The longest message a strict pipeline takes.
const STRICT: usize = 400;
const PARTITIONS: i32 = 4;

/// A pipeline over a topic of its own.
async fn setup(engines: &Engines, name: &str) -> Setup {
    let topic = format!("{name}.crm");
    engines.kafka.create_topic(&topic, PARTITIONS, &[]).await;
    Setup::new(
        name,
        &engines.kafka.bootstrap(),
        &engines.clickhouse.url(),
        &[&topic],
    )
}

fn strict(setup: &Setup) -> Setup {
    Setup {
        max_message_bytes: Some(STRICT),
        ..setup.clone()
    }
}

/// A message to be sent.
#[derive(Default)]
struct Sent {
    payload: Vec<u8>,
    headers: Vec<(String, Vec<u8>)>,
}

fn plain(payload: Vec<u8>) -> Sent {
    Sent {
        payload,
        headers: Vec::new(),
    }
}

fn with_headers(payload: Vec<u8>, headers: &[(&str, &str)]) -> Sent {
    Sent {
        payload,
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
            .collect(),
    }
}

async fn send(
    setup: &Setup,
    topic: &str,
    partition: i32,
    messages: impl IntoIterator<Item = Sent>,
) -> Vec<i64> {
    let producer: FutureProducer = clients::client(&setup.brokers)
        .set("enable.idempotence", "true")
        .create()
        .expect("a producer");
    let mut offsets = Vec::new();
    for message in messages {
        let add = |all: OwnedHeaders, (key, value): &(String, Vec<u8>)| {
            all.insert(Header {
                key,
                value: Some(value),
            })
        };
        let headers = message.headers.iter().fold(OwnedHeaders::new(), add);
        let record = FutureRecord::to(topic)
            .partition(partition)
            .key("the key")
            .payload(&message.payload)
            .headers(headers);
        offsets.push(
            producer
                .send(record, TIMEOUT)
                .await
                .unwrap_or_else(|(error, _)| panic!("producing: {error}"))
                .offset,
        );
    }
    offsets
}

/// What a command answered.
#[derive(Debug)]
struct Answer {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs `dealpulse dlq` with a pipeline's configuration.
async fn dlq(setup: &Setup, args: &[&str]) -> Answer {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let config = directory.path().join("dealpulse.toml");
    std::fs::write(&config, setup.to_toml()).expect("the configuration can be written");
    let mut command = Command::new(DEALPULSE);
    command
        .arg("dlq")
        .args(args)
        .arg("--config")
        .arg(&config)
        .env("NO_COLOR", "1");
    let output = blocking(move || command.output().expect("it can be run")).await;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the output is text");
    Answer {
        code: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// Runs it, and it succeeds.
async fn output_of(setup: &Setup, args: &[&str]) -> String {
    let answer = dlq(setup, args).await;
    assert_eq!(answer.code, Some(0), "{args:?}: {answer:?}");
    answer.out
}

async fn listed(setup: &Setup, args: &[&str]) -> Vec<Value> {
    let out = output_of(setup, &[&["list", "--json"], args].concat()).await;
    out.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// How many messages are in the topics of a pipeline's input and dead letters.
async fn stored(setup: &Setup) -> (usize, usize) {
    (
        read_all(&setup.brokers, &setup.topics[0]).await.len(),
        read_all(&setup.brokers, &setup.dead_letters()).await.len(),
    )
}

/// The records of a pipeline with every clock and origin, as if nothing had ever been replayed; and
/// the greatest attempt among them.
async fn records(setup: &Setup) -> (BTreeMap<String, String>, u32) {
    let (mut records, mut greatest) = (BTreeMap::new(), 0);
    for shard in 0..setup.shards {
        for stored in setup.store().records(1, shard).await.expect("records") {
            let (mut customs, mut symbols) = (CustomFields::default(), Symbols::default());
            let record = Record::from_bytes(
                stored.entity.spec(),
                &stored.state,
                &mut customs,
                &mut symbols,
            )
            .expect("a record");
            let spec = stored.entity.spec();
            let fields = (0..spec.fields.len() as u16).map(Field);
            let mut text = format!("{:?}", record.first());
            for field in fields.chain(record.custom_fields()) {
                for value in record.stamped(field, &symbols) {
                    let shown = value.held.show(&symbols);
                    text += &format!(" {field:?} {:?} {shown:?}", value.stamp);
                }
            }
            for attempt in 1..5 {
                let here = format!("attempt: {attempt} }}");
                greatest = if text.contains(&here) {
                    attempt
                } else {
                    greatest
                };
                text = text.replace(&here, "attempt: 0 }");
            }
            records.insert(format!("{} {}", stored.entity.name(), stored.id), text);
        }
    }
    (records, greatest)
}

async fn committed(setup: &Setup, partition: i32) -> i64 {
    let (brokers, group, topic) = (
        setup.brokers.clone(),
        format!("{}.route.1", setup.name),
        setup.topics[0].clone(),
    );
    blocking(move || {
        let asked = clients::consumer(&brokers, &group)
            .committed_offsets(offsets(&topic, [(partition, 0)]), TIMEOUT)
            .expect("an answer");
        if let Offset::Offset(offset) = asked.elements()[0].offset() {
            offset
        } else {
            0
        }
    })
    .await
}

async fn until_committed(setup: &Setup, partition: i32, offset: i64) {
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    loop {
        match committed(setup, partition).await {
            found if found == offset => return,
            found => assert!(
                tokio::time::Instant::now() < deadline && found < offset,
                "partition {partition} is committed to {found} of {offset}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn long_deal(id: &str) -> Vec<u8> {
    let data = format!(
        r#""stage":"proposal","amount":"12.50","currency":"EUR","name":"{}""#,
        "x".repeat(STRICT)
    );
    deal(id, &data)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_replayed_keeps_its_origin_and_is_counted_once() {
    let engines = engines().await;
    let lenient = setup(&engines, "back").await;
    let setup = strict(&lenient);
    let topic = setup.topics[0].clone();
    let binary = [
        ("ce_specversion", "1.0"),
        ("ce_type", "crm.lead.upserted"),
        ("ce_subject", "L-binary"),
        ("ce_time", "2026-03-05T10:00:00Z"),
    ];
    let long_data = format!(
        r#"{{"status":"open","lead_source":"{}"}}"#,
        "y".repeat(STRICT)
    );
    // One has no time of its own: it is that of its message, also when it is replayed.
    let untimed = String::from_utf8(long_deal("D-untimed"))
        .unwrap()
        .replace(r#""time":"2026-03-04T10:00:00Z","#, "");
    let batch = [
        &b"["[..],
        &lead("L-batch"),
        b",",
        &deal("D-batch", r#""amount":"1,5","currency":"EUR""#),
        b",",
        &long_deal("D-last"),
        b"]",
    ]
    .concat();
    let mut messages = vec![
        plain(lead("L-1")),
        plain(long_deal("D-long")),
        plain(untimed.into_bytes()),
        plain(batch),
    ];
    messages.push(with_headers(long_data.into_bytes(), &binary));
    messages.push(plain(deal("D-bad", r#""amount":"12,50","currency":"EUR""#)));
    let at = send(&setup, &topic, 1, messages).await;

    let pipeline = setup.start().await;
    setup.settled().await;
    assert_eq!(pipeline.sigterm().await.code, Some(0));
    assert_eq!(
        (ids(&setup, "leads").await, ids(&setup, "deals").await),
        (vec!["L-1".to_owned()], Vec::<String>::new())
    );

    // Good from the start, for another pipeline over the same topic.
    let mut good = Setup {
        name: "good".into(),
        ..lenient.clone()
    };
    good.properties.clone_from(&setup.properties);
    let other = good.start().await;
    good.settled().await;
    let (expected, untouched) = (records(&good).await, fact_lines(&good.store()).await);
    assert_eq!((expected.0.len(), expected.1), (6, 0));

    // Listed: all, by reason, by topic, the first.
    let open = listed(&setup, &[]).await;
    let origin = |dead_letter: &Value| {
        (
            dead_letter["offset"].as_i64().unwrap(),
            dead_letter["reason"].as_str().unwrap().to_owned(),
        )
    };
    let expected_letters = [
        (1, "too_large"),
        (2, "too_large"),
        (3, "too_large"),
        (4, "too_large"),
        (5, "bad_money"),
    ];
    let found: BTreeSet<_> = open.iter().map(origin).collect();
    assert_eq!(
        found,
        expected_letters
            .iter()
            .map(|(i, reason)| (at[*i], (*reason).to_owned()))
            .collect()
    );
    let binary_letter = open
        .iter()
        .find(|dead_letter| dead_letter["offset"] == at[4])
        .expect("the dead letter in binary mode");
    assert_eq!(
        binary_letter["headers"][2],
        json!({"name": "ce_subject", "value": {"text": "L-binary"}})
    );
    assert_eq!(
        (
            &binary_letter["partition"],
            &binary_letter["key"],
            &binary_letter["state"]
        ),
        (&json!(1), &json!({"text": "the key"}), &json!("open"))
    );
    let bad = listed(&setup, &["--reason", "bad_money", "--topic", &topic]).await;
    assert_eq!(
        bad.iter().map(origin).collect::<Vec<_>>(),
        [(at[5], "bad_money".to_owned())]
    );
    assert!(listed(&setup, &["--topic", "elsewhere"]).await.is_empty());
    assert_eq!(listed(&setup, &["--limit", "2"]).await.len(), 2);
    let shown = output_of(
        &setup,
        &["list", "--reason", "bad_money", "--reason", "not_json"],
    )
    .await;
    assert!(
        shown.contains(&format!(
            "of {topic} partition 1 offset {} item 0, attempt 0: ",
            at[5]
        )) && shown.contains("12,50"),
        "{shown}"
    );
    assert!(
        shown.ends_with(&format!(
            "\ntopic     reason     open\n{topic}  bad_money     1\n"
        )),
        "{shown}"
    );

    // Tried: nothing is written.
    let before = stored(&setup).await;
    let would = output_of(&lenient, &["replay", "--dry-run"]).await;
    assert_eq!(
        would,
        format!(
            "4 of `{topic}` would be replayed\n1 of `{topic}` are still bad and stay: bad_money\n"
        )
    );
    let wont = output_of(&setup, &["replay"]).await;
    assert_eq!(
        wont,
        format!(
            "1 of `{topic}` are still bad and stay: bad_money\n4 of `{topic}` are still bad and stay: too_large\n"
        )
    );
    assert_eq!(stored(&setup).await, before);

    // Replayed: one that is named, then the rest; then there is nothing left to do.
    let named = binary_letter["dead_letter"].as_str().unwrap();
    assert_eq!(
        output_of(&lenient, &["replay", "--dead-letter", named]).await,
        format!("1 of `{topic}` were replayed\n")
    );
    assert_eq!(listed(&setup, &[]).await.len(), 4);
    assert_eq!(
        output_of(&lenient, &["replay", "--reason", "too_large"]).await,
        format!("3 of `{topic}` were replayed\n")
    );
    let after = stored(&setup).await;
    assert_eq!(
        after,
        (before.0 + 4, before.1 + 4),
        "a mark for each that was replayed"
    );
    assert_eq!(
        output_of(&lenient, &["replay"]).await,
        format!("1 of `{topic}` are still bad and stay: bad_money\n")
    );
    assert_eq!(stored(&setup).await, after);
    let answer = dlq(&lenient, &["replay", "--dead-letter", named]).await;
    assert_eq!(answer.code, Some(1));
    assert!(
        answer
            .err
            .contains(&format!("there is no open dead letter at {named}")),
        "{answer:?}"
    );
    let states: Vec<Value> = listed(&setup, &["--all"])
        .await
        .into_iter()
        .map(|dead_letter| dead_letter["state"].clone())
        .collect();
    assert_eq!(
        (
            states.len(),
            states.iter().filter(|state| **state == "replayed").count()
        ),
        (5, 4)
    );

    // Folded: as if they had been good from the start, and where they were good from the start as
    // if nothing had been.
    let pipeline = lenient.start().await;
    lenient.settled().await;
    let found = records(&lenient).await;
    assert_eq!((&found.0, found.1), (&expected.0, 1));
    good.settled().await;
    assert_eq!(
        fact_lines(&good.store()).await,
        untouched,
        "what was counted already is not changed by a replay"
    );
    drop(other);
    // The bad item of the batch became a dead letter again, alone and at its own index.
    let open: BTreeSet<_> = listed(&lenient, &[])
        .await
        .iter()
        .map(|l| {
            (
                l["offset"].clone().to_string(),
                l["index"].clone().to_string(),
                l["attempt"].to_string(),
            )
        })
        .collect();
    let of = |offset: i64, index: u32, attempt: u32| {
        (offset.to_string(), index.to_string(), attempt.to_string())
    };
    assert_eq!(open, BTreeSet::from([of(at[3], 1, 1), of(at[5], 0, 0)]));

    // Sent once more, as if a mark had been lost.
    let facts = fact_lines(&lenient.store()).await;
    let again = read_all(&setup.brokers, &topic)
        .await
        .into_iter()
        .skip(before.0);
    let again = again.map(
        |StoredMessage {
             payload, headers, ..
         }| Sent {
            payload: payload.unwrap_or_default(),
            headers,
        },
    );
    send(&setup, &topic, 1, again.collect::<Vec<_>>()).await;
    lenient.settled().await;
    assert_eq!(fact_lines(&lenient.store()).await, facts);
    assert_eq!(
        listed(&lenient, &[]).await.len(),
        2,
        "a dead letter that is there twice counts once"
    );
    assert!(
        listed(&lenient, &["--all"])
            .await
            .iter()
            .any(|dead_letter| dead_letter["state"] == "repeated")
    );
    assert_reconciled(&lenient, 20).await;
    drop(pipeline);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_fails_again_keeps_its_origin_and_counts_its_attempts() {
    let engines = engines().await;
    let lenient = setup(&engines, "again").await;
    let setup = strict(&lenient);
    let topic = setup.topics[0].clone();
    let at = send(
        &setup,
        &topic,
        2,
        [plain(lead("L-0")), plain(long_deal("D-long"))],
    )
    .await[1];
    let pipeline = setup.start().await;
    setup.settled().await;
    for attempt in 0..3 {
        let open = listed(&setup, &[]).await;
        let origin = |name: &str| open[0][name].as_i64().unwrap_or_else(|| panic!("{open:?}"));
        assert_eq!(
            (
                open.len(),
                origin("partition"),
                origin("offset"),
                origin("index"),
                origin("attempt")
            ),
            (1, 2, at, 0, attempt)
        );
        // The running pipeline is still as strict as it was.
        assert_eq!(
            output_of(&lenient, &["replay"]).await,
            format!("1 of `{topic}` were replayed\n")
        );
        setup.settled().await;
    }
    assert_eq!(ids(&setup, "deals").await, Vec::<String>::new());

    // Headers of ours that are malformed, or of another topic, are as good as none.
    let odd = [
        ("dealpulse-topic", topic.as_str()),
        ("dealpulse-partition", "-1"),
        ("dealpulse-offset", "18446744073709551616"),
    ];
    let astray = [
        ("dealpulse-topic", "elsewhere"),
        ("dealpulse-attempt", "7"),
        ("dealpulse-offset", "3"),
        ("dealpulse-partition", "0"),
    ];
    let messages = [
        with_headers(lead("L-odd"), &odd),
        with_headers(lead("L-astray"), &astray),
        with_headers(b"{".to_vec(), &odd),
    ];
    let sent = send(&setup, &topic, 0, messages).await;
    setup.settled().await;
    assert_eq!(ids(&setup, "leads").await, ["L-0", "L-astray", "L-odd"]);
    let bad = listed(&setup, &["--reason", "not_json"]).await;
    assert_eq!(
        (
            bad.len(),
            &bad[0]["partition"],
            &bad[0]["offset"],
            &bad[0]["attempt"]
        ),
        (1, &json!(0), &json!(sent[2]), &json!(0))
    );
    assert_eq!(pipeline.sigterm().await.code, Some(0));

    // An item of a batch, dead-lettered by a version that could not read it, is replayed alone at
    // its own index.
    let dead_letter = |topic: &str, id: &str| {
        let origin = [
            ("topic", topic),
            ("partition", "3"),
            ("offset", "77"),
            ("index", "5"),
            ("attempt", "0"),
            ("timestamp", "1772618400000"),
        ];
        let names = origin
            .iter()
            .chain(&[("reason", "an_older_one"), ("detail", "\u{1b}[2J")]);
        let headers = names
            .map(|(name, value)| (format!("dealpulse-{name}"), value.as_bytes().to_vec()))
            .collect();
        Sent {
            payload: lead(id),
            headers,
        }
    };
    let dead_letters = [
        dead_letter(&topic, "L-item"),
        dead_letter("gone", "L-gone"),
        plain(b"of somebody else".to_vec()),
    ];
    send(&setup, &setup.dead_letters(), 0, dead_letters).await;
    let shown = dlq(&lenient, &["list", "--topic", &topic]).await;
    assert!(
        shown.out.contains("an_older_one")
            && shown.out.contains(r"\u{1b}[2J")
            && !shown.out.contains('\u{1b}'),
        "{shown:?}"
    );
    assert!(
        shown
            .err
            .contains("1 messages of `again.dead-letters` are no dead letters of Dealpulse"),
        "{shown:?}"
    );
    let outcome = output_of(&lenient, &["replay"]).await;
    assert!(
        outcome.contains(&format!("2 of `{topic}` were replayed\n")),
        "{outcome}"
    );
    assert!(
        outcome.contains("1 of `gone` stay: the topic is not in the configuration"),
        "{outcome}"
    );
    assert!(
        outcome.contains("are still bad and stay: not_json"),
        "{outcome}"
    );

    let _pipeline = lenient.start().await;
    lenient.settled().await;
    assert_eq!(
        (
            ids(&lenient, "deals").await,
            ids(&lenient, "leads").await.len()
        ),
        (vec!["D-long".to_owned()], 4)
    );
    let (records, attempt) = records(&lenient).await;
    assert_eq!(attempt, 4);
    let stands_at =
        |id: &str, origin: &str| assert!(records[id].contains(origin), "{id}: {}", records[id]);
    stands_at(
        "deal D-long",
        &format!("partition: 2, offset: {at}, index: 0"),
    );
    stands_at("lead L-item", "partition: 3, offset: 77, index: 5");
    stands_at(
        "lead L-astray",
        &format!("partition: 0, offset: {}, index: 0", sent[1]),
    );
    assert_reconciled(&lenient, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_many_bad_items_is_one_dead_letter_and_its_replay_changes_nothing() {
    let engines = engines().await;
    let setup = setup(&engines, "many").await;
    let topic = setup.topics[0].clone();
    let item = |number: usize| match number % 4 {
        0 => lead(&format!("L-{number}")),
        _ => b"1".to_vec(),
    };
    let array = |items: usize| {
        let items: Vec<Vec<u8>> = (0..items).map(item).collect();
        [b"[".as_slice(), &items.join(&b","[..]), b"]"].concat()
    };
    // Of the first 99 items are bad, of the second 300.
    let (few, many) = (array(132), array(400));
    let at = send(&setup, &topic, 1, [plain(few), plain(many.clone())]).await;
    let pipeline = setup.start().await;
    setup.settled().await;
    let open = listed(&setup, &[]).await;
    assert_eq!(open.len(), 99 + 1);
    let whole: Vec<&Value> = open.iter().filter(|one| one["offset"] == at[1]).collect();
    let [whole] = whole[..] else {
        panic!("{whole:?}")
    };
    assert_eq!(
        whole["raw"]["text"],
        String::from_utf8_lossy(&many).as_ref()
    );
    let items = whole["items"].as_str().unwrap();
    assert!(
        items.starts_with("not_an_event=300 1-3,5-7,9-11"),
        "{items}"
    );
    let detail = whole["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("300 items of the message are bad"),
        "{detail}"
    );
    let summary = output_of(&setup, &["list", "--limit", "0"]).await;
    assert!(summary.contains("not_an_event   399"), "{summary}");
    let before = (records(&setup).await, ids(&setup, "leads").await);
    assert_eq!(before.1.len(), 100);
    let kept = output_of(&setup, &["replay"]).await;
    assert!(
        kept.contains("100 of `many.crm` are still bad and stay: not_an_event"),
        "{kept}"
    );

    // What a replay sends, for example by a version that reads one item more.
    let (offset, attempt) = (at[1].to_string(), "1");
    let origin = [
        ("dealpulse-topic", topic.as_str()),
        ("dealpulse-partition", "1"),
        ("dealpulse-offset", &offset),
        ("dealpulse-index", "0"),
        ("dealpulse-attempt", attempt),
        ("dealpulse-timestamp", ""),
    ];
    send(&setup, &topic, 1, [with_headers(many, &origin)]).await;
    setup.settled().await;
    assert_eq!((records(&setup).await, ids(&setup, "leads").await), before);
    let again = listed(&setup, &[]).await;
    let again = again.iter().filter(|one| one["attempt"] == 1);
    assert_eq!(again.map(|one| &one["items"]).collect::<Vec<_>>(), [items]);
    assert_eq!(pipeline.sigterm().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_asked_of_dead_letters_is_refused_with_the_reason() {
    let engines = engines().await;
    let setup = setup(&engines, "refusing").await;
    let refused = async |args: &[&str], words: &[&str]| {
        let answer = dlq(&setup, args).await;
        assert!(answer.code.is_some_and(|code| code > 0), "{answer:?}");
        words.iter().for_each(|words| {
            assert!(answer.err.contains(words), "`{words}` is not in {answer:?}")
        });
    };
    refused(
        &["list", "--reason", "bad_mood"],
        &["bad_mood", "there are not_json, not_an_event", "too_large"],
    )
    .await;
    refused(
        &["replay", "--reason", "bad_mood"],
        &["bad_mood", "there are not_json"],
    )
    .await;
    refused(
        &["replay", "--dead-letter", "17"],
        &["write partition:offset"],
    )
    .await;
    refused(
        &["list"],
        &["refusing.dead-letters", "there is no such topic"],
    )
    .await;
    engines
        .kafka
        .create_topic(&setup.dead_letters(), 1, &[])
        .await;
    refused(
        &["replay", "--dead-letter", "0:17"],
        &["there is no open dead letter at 0:17"],
    )
    .await;
    assert_eq!(
        output_of(&setup, &["list"]).await,
        "no open dead letters of these in `refusing.dead-letters`\n"
    );
    assert_eq!(
        output_of(&setup, &["replay"]).await,
        "no open dead letter is meant\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_bad_messages_delays_no_other_partition() {
    const FLOOD: usize = 30_000;
    const GOOD: usize = 300;
    let engines = engines().await;
    let setup = setup(&engines, "flood").await;
    let topic = setup.topics[0].clone();
    let flood = (0..FLOOD).map(|i| ("k", format!("bad message number {i}")));
    engines.kafka.produce(&topic, Some(0), flood).await;
    engines
        .kafka
        .produce(
            &topic,
            Some(1),
            (0..GOOD).map(|i| ("k", lead(&format!("L-{i}")))),
        )
        .await;
    let pipeline = setup.start().await;
    until_committed(&setup, 1, GOOD as i64).await;
    let drained = committed(&setup, 0).await;
    assert!(
        drained < FLOOD as i64,
        "the good ones came after the flood, or the flood was too small to show it"
    );
    setup.settled().await;
    assert_eq!(ids(&setup, "leads").await.len(), GOOD);
    // Pausing and resuming has skipped nothing and set nothing aside twice.
    let dead_letters = read_all(&setup.brokers, &setup.dead_letters()).await;
    let distinct: BTreeSet<Option<String>> = dead_letters
        .iter()
        .map(|dead_letter| dead_letter.header("dealpulse-offset"))
        .collect();
    assert_eq!((dead_letters.len(), distinct.len()), (FLOOD, FLOOD));
    assert_eq!(
        pipeline
            .metrics()
            .sum("dealpulse_dead_letters_total", "reason=\"not_json\""),
        FLOOD as f64
    );
    assert_eq!(pipeline.get("/readyz").0, 200);
    assert_reconciled(&setup, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_partition_whose_dead_letters_can_not_be_written_is_paused_until_they_can() {
    let engines = engines().await;
    let setup = setup(&engines, "still").await;
    let topic = setup.topics[0].clone();
    engines
        .kafka
        .create_topic(&setup.dead_letters(), 1, &[("max.message.bytes", "2000")])
        .await;
    send(
        &setup,
        &topic,
        0,
        [plain(lead("L-0")), plain(noise(100_000))],
    )
    .await;
    let small = [plain(b"bad, and small".to_vec()), plain(lead("L-2"))];
    send(&setup, &topic, 1, small).await;
    let pipeline = setup.start().await;
    let reason = pipeline.until_readyz(503, "max.message.bytes").await;
    assert_eq!(
        reason
            .lines()
            .filter(|line| line.starts_with("input "))
            .count(),
        1,
        "{reason}"
    );
    assert!(
        reason.contains(&format!(
            "input {topic}/0: it waits at offset 1 until its dead letters can be written: "
        )),
        "{reason}"
    );
    until_committed(&setup, 0, 1).await;
    until_committed(&setup, 1, 2).await;
    // It is not read on, and the others are: routed, committed, folded.
    send(&setup, &topic, 0, [plain(lead("L-1"))]).await;
    engines
        .kafka
        .produce(
            &topic,
            Some(2),
            (0..50).map(|i| ("k", lead(&format!("L-more-{i}")))),
        )
        .await;
    until_committed(&setup, 2, 50).await;
    pipeline
        .until("the others are folded", |metrics| {
            metrics.sum("dealpulse_assertions_folded_total", "") == 52.0
        })
        .await;
    assert_eq!(committed(&setup, 0).await, 1);
    let metrics = pipeline.metrics();
    assert_eq!(
        (
            metrics.sum("dealpulse_dead_letters_total", ""),
            metrics.sum("dealpulse_events_routed_total", "")
        ),
        (1.0, 54.0)
    );

    // It heals by itself.
    engines
        .kafka
        .alter_topic(&setup.dead_letters(), &[("max.message.bytes", "1000000")])
        .await;
    pipeline.until_readyz(200, "ready").await;
    setup.settled().await;
    assert_eq!(ids(&setup, "leads").await.len(), 53);
    assert_eq!(
        read_all(&setup.brokers, &setup.dead_letters()).await.len(),
        2
    );

    // The same, when the topic is deleted.
    engines.kafka.delete_topic(&setup.dead_letters()).await;
    send(&setup, &topic, 3, [plain(b"bad".to_vec())]).await;
    let reason = pipeline
        .until_readyz(503, &format!("input {topic}/3: it waits at offset 0"))
        .await;
    assert!(reason.contains(&setup.dead_letters()), "{reason}");
    send(&setup, &topic, 1, [plain(lead("L-3"))]).await;
    until_committed(&setup, 1, 3).await;
    assert_eq!(committed(&setup, 3).await, 0);
    engines
        .kafka
        .create_topic(&setup.dead_letters(), 1, &[])
        .await;
    pipeline.until_readyz(200, "ready").await;
    setup.settled().await;
    assert_eq!(listed(&setup, &[]).await.len(), 1);
    assert_reconciled(&setup, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_partitions_can_move_and_lose_nothing() {
    let engines = engines().await;
    let setup = setup(&engines, "moving").await;
    let topic = setup.topics[0].clone();
    engines
        .kafka
        .create_topic(&setup.dead_letters(), 1, &[("max.message.bytes", "2000")])
        .await;
    for partition in 0..PARTITIONS {
        let good = |i: usize| plain(lead(&format!("L-{partition}-{i}")));
        let messages = [
            good(0),
            plain(b"bad, and small".to_vec()),
            plain(noise(50_000)),
            good(1),
            plain(noise(60_000)),
            good(2),
        ];
        send(&setup, &topic, partition, messages).await;
    }
    let standing = |readyz: &str| {
        readyz
            .lines()
            .filter(|line| line.starts_with(&format!("input {topic}/")))
            .count()
    };
    let first = setup.start().await;
    let until_standing = async |pipeline: &Pipeline, count: usize| {
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        while standing(&pipeline.get("/readyz").1) != count {
            assert!(
                tokio::time::Instant::now() < deadline,
                "not {count}: {:?}",
                pipeline.get("/readyz")
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    until_standing(&first, 4).await;
    let second = setup.start().await;
    until_standing(&second, 2).await;
    until_standing(&first, 2).await;
    first.kill_nine();
    until_standing(&second, 4).await;
    for partition in 0..PARTITIONS {
        until_committed(&setup, partition, 2).await;
    }

    let third = setup.start().await;
    until_standing(&third, 2).await;
    engines
        .kafka
        .alter_topic(&setup.dead_letters(), &[("max.message.bytes", "1000000")])
        .await;
    second.until_readyz(200, "ready").await;
    third.until_readyz(200, "ready").await;
    setup.settled().await;
    assert_eq!(ids(&setup, "leads").await.len(), 3 * PARTITIONS as usize);
    let open = listed(&setup, &[]).await;
    let origins: BTreeSet<(i64, i64)> = open
        .iter()
        .map(|l| {
            (
                l["partition"].as_i64().unwrap(),
                l["offset"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        (open.len(), origins.len()),
        (12, 12),
        "each item once, however often it was read"
    );
    // What came after goes on where it should.
    send(
        &setup,
        &topic,
        3,
        [plain(event(
            "lead.upserted",
            "L-after",
            "2026-03-04T10:00:00Z",
            "",
        ))],
    )
    .await;
    setup.settled().await;
    assert!(ids(&setup, "leads").await.contains(&"L-after".to_owned()));
    assert_reconciled(&setup, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_retention_deleted_before_it_was_read_is_reported_and_the_rest_goes_on() {
    let engines = engines().await;
    let setup = setup(&engines, "overtaken").await;
    let topic = setup.topics[0].clone();
    let leads = |from: usize, to: usize| (from..to).map(|i| plain(lead(&format!("L-{i:02}"))));
    // A partition that was never read may have lost its beginning: it has no gap there.
    send(&setup, &topic, 0, leads(0, 5)).await;
    engines.kafka.delete_records(&topic, 0, 2).await;
    let pipeline = setup.start().await;
    setup.settled().await;
    assert_eq!(listed(&setup, &[]).await, Vec::<Value>::new());

    // While it is suspended, and while it does not run.
    pipeline.freeze();
    send(&setup, &topic, 0, leads(5, 12)).await;
    engines.kafka.delete_records(&topic, 0, 8).await;
    pipeline.thaw();
    setup.settled().await;
    assert_eq!(pipeline.sigterm().await.code, Some(0));
    send(&setup, &topic, 0, leads(12, 20)).await;
    engines.kafka.delete_records(&topic, 0, 15).await;
    let pipeline = setup.start().await;
    setup.settled().await;

    // Each offset is either folded or reported.
    let dead_letters = listed(&setup, &["--reason", "gone"]).await;
    let range = |dead_letter: &Value| {
        let detail = dead_letter["detail"].as_str().unwrap();
        let words: Vec<&str> = detail.split(' ').collect();
        assert!(
            detail.contains("were taken by the topic's retention before they were read"),
            "{detail}"
        );
        assert_eq!(dead_letter["offset"].to_string(), words[1]);
        words[1].parse::<usize>().unwrap()..words[3].parse::<usize>().unwrap() + 1
    };
    let gone: Vec<std::ops::Range<usize>> = dead_letters.iter().map(range).collect();
    // Its last request for messages may have been answered while it was suspended: with the first
    // of them.
    assert!(
        gone.len() == 2
            && (5..7).contains(&gone[0].start)
            && gone[0].end == 8
            && gone[1] == (12..15),
        "{gone:?}"
    );
    let kept = (2..20)
        .filter(|i| gone.iter().all(|range| !range.contains(i)))
        .map(|i| format!("L-{i:02}"));
    assert_eq!(ids(&setup, "leads").await, kept.collect::<Vec<_>>());
    assert_eq!(
        pipeline
            .metrics()
            .sum("dealpulse_dead_letters_total", "reason=\"gone\""),
        1.0
    );
    assert!(
        pipeline
            .log()
            .contains("messages were deleted that were never read"),
        "{}",
        pipeline.log()
    );
    // There is nothing to replay.
    assert_eq!(
        output_of(&setup, &["replay"]).await,
        format!("2 of `{topic}` are still bad and stay: gone\n")
    );
    assert_reconciled(&setup, 20).await;
}
