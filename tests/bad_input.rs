//! Bad input through Apache Kafka: it is dead-lettered with its origin, reason and bytes, and the
//! pipeline goes on.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::clients;
use crate::support::events::{deal, event, ids, lead, noise};
use crate::support::pipeline::{Engines, LEFT_OVER, Setup, engines};
use crate::support::reference::{Reference, StoredMessage, assert_reconciled, read_all};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

const LARGE: usize = 20 << 20;

fn binary(kind: &str, subject: &str) -> Vec<(&'static str, String)> {
    let time = "2026-03-04T10:00:00Z".to_owned();
    let names = [
        "ce_specversion",
        "ce_type",
        "ce_subject",
        "ce_time",
        "ce_id",
        "ce_source",
    ];
    names
        .into_iter()
        .zip([
            "1.0".to_owned(),
            kind.to_owned(),
            subject.to_owned(),
            time,
            "1".to_owned(),
            "crm".to_owned(),
        ])
        .collect()
}

/// A message to be sent, and for what of it is bad the reasons with the items' index and bytes.
struct Sent {
    payload: Option<Vec<u8>>,
    headers: Vec<(&'static str, String)>,
    bad: Vec<(&'static str, u32, Vec<u8>)>,
}

fn good(payload: Vec<u8>) -> Sent {
    Sent {
        payload: Some(payload),
        headers: Vec::new(),
        bad: Vec::new(),
    }
}

fn bad(reason: &'static str, payload: Vec<u8>) -> Sent {
    Sent {
        bad: vec![(reason, 0, payload.clone())],
        ..good(payload)
    }
}

/// Each kind of bad message between good ones.
fn messages() -> Vec<Sent> {
    let ten_megabytes = deal("D-long", &format!(r#""name":"{}""#, "x".repeat(10 << 20)));
    let bad_item = deal("D-batch", r#""status":"nearly""#);
    let batch = [
        &b"[ "[..],
        &lead("L-batch-1"),
        b" ,\n ",
        &bad_item,
        b", ",
        &lead("L-batch-2"),
        b"]",
    ]
    .concat();
    let in_headers = |kind: &str, id: &str| Sent {
        headers: binary(kind, id),
        ..good(br#"{"status":"open","lead_source":"fair"}"#.to_vec())
    };
    let odd = in_headers("crm.shipment.upserted", "S-1");
    vec![
        good(lead("L-1")),
        bad("not_json", b"{not json".to_vec()),
        bad("not_json", vec![0xff, 0xfe, 0x00]),
        bad("not_an_event", br#"{"hello":1}"#.to_vec()),
        good(lead("L-2")),
        bad(
            "wrong_type",
            deal("D-typed", r#""stage":"proposal","created_at":true"#),
        ),
        bad(
            "unknown_entity",
            event("shipment.upserted", "S-2", "2026-03-04T10:00:00Z", ""),
        ),
        bad(
            "bad_money",
            deal("D-money", r#""amount":"12,50","currency":"EUR""#),
        ),
        bad("missing_id", lead("")),
        bad(
            "not_an_event",
            br#"{"specversion":"1.0","id":"1","source":"crm","type":"crm.deal.upserted","subject":"D-ref","time":"2026-03-04T10:00:00Z","dataref":"s3://bucket/1"}"#.to_vec(),
        ),
        bad(
            "bad_time",
            event("lead.upserted", "L-time", "yesterday", ""),
        ),
        good(deal(
            "D-1",
            r#""amount":"12.50","currency":"EUR","created_at":"2026-03-04""#,
        )),
        bad(
            "future_time",
            event("lead.upserted", "L-future", "2999-01-01T00:00:00Z", ""),
        ),
        // A tombstone: nothing is asserted and nothing is wrong.
        Sent {
            payload: None,
            headers: Vec::new(),
            bad: Vec::new(),
        },
        bad("too_large", ten_megabytes),
        Sent {
            bad: vec![("wrong_type", 1, bad_item)],
            ..good(batch)
        },
        in_headers("crm.lead.upserted", "L-binary"),
        Sent {
            bad: vec![("unknown_entity", 0, odd.payload.clone().unwrap_or_default())],
            ..odd
        },
        good(lead("L-last")),
    ]
}

async fn send(engines: &Engines, topic: &str, partition: i32, messages: &[Sent]) -> Vec<i64> {
    let mut config = clients::client(&engines.kafka.bootstrap());
    let producer: FutureProducer = config
        .set("enable.idempotence", "true")
        .set("message.max.bytes", LARGE.to_string())
        .create()
        .expect("a producer");
    let mut offsets = Vec::new();
    for message in messages {
        let mut record = FutureRecord::to(topic).partition(partition).key("the key");
        record.payload = message.payload.as_ref();
        if !message.headers.is_empty() {
            let add = |headers: OwnedHeaders, (key, value): &(&str, String)| {
                headers.insert(Header {
                    key,
                    value: Some(value),
                })
            };
            record = record.headers(message.headers.iter().fold(OwnedHeaders::new(), add));
        }
        let delivered = producer
            .send(record, Duration::from_secs(60))
            .await
            .unwrap_or_else(|(error, _)| panic!("producing: {error}"));
        offsets.push(delivered.offset);
    }
    offsets
}

/// A pipeline over one topic of two partitions that takes long messages.
async fn setup(engines: &Engines, name: &str) -> Setup {
    let topic = format!("{name}.crm");
    engines
        .kafka
        .create_topic(&topic, 2, &[("max.message.bytes", &LARGE.to_string())])
        .await;
    Setup::new(
        name,
        &engines.kafka.bootstrap(),
        &engines.clickhouse.url(),
        &[&topic],
    )
}

/// The origin of a dead letter: reason, partition, offset, index.
fn origin(dead_letter: &StoredMessage) -> (String, String, String, String) {
    let header = |name: &str| {
        dead_letter
            .header(&format!("dealpulse-{name}"))
            .unwrap_or_else(|| panic!("no header {name} in {:?}", dead_letter.headers))
    };
    (
        header("reason"),
        header("partition"),
        header("offset"),
        header("index"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_item_is_dead_lettered_with_its_origin_reason_and_bytes_and_the_good_ones_are_folded()
 {
    let engines = engines().await;
    let setup = setup(&engines, "bad").await;
    let topic = setup.topics[0].clone();
    let sent = messages();
    let before = dealpulse::telemetry::wall_clock() / 1_000;
    let offsets = send(&engines, &topic, 1, &sent).await;
    let pipeline = setup.start().await;
    setup.settled().await;

    let dead_letters = read_all(&setup.brokers, &setup.dead_letters()).await;
    let expected: Vec<(String, String, String, String)> = sent
        .iter()
        .zip(&offsets)
        .flat_map(|(message, offset)| {
            message.bad.iter().map(move |(reason, index, _)| {
                (
                    (*reason).to_owned(),
                    "1".to_owned(),
                    offset.to_string(),
                    index.to_string(),
                )
            })
        })
        .collect();
    let mut origins: Vec<_> = dead_letters.iter().map(origin).collect();
    // Dead letters of different batches may overtake each other.
    origins.sort_by_key(|(_, _, offset, index)| (offset.parse::<i64>().unwrap(), index.clone()));
    assert_eq!(origins, expected);
    for dead_letter in &dead_letters {
        let (reason, _, offset, index) = origin(dead_letter);
        let at = offsets
            .iter()
            .position(|known| known.to_string() == offset)
            .expect("an offset that was sent");
        let (_, _, raw) = sent[at]
            .bad
            .iter()
            .find(|(_, i, _)| i.to_string() == index)
            .expect("an item that is bad");
        assert!(
            dead_letter.payload.as_ref() == Some(raw),
            "{reason}: the bytes differ"
        );
        assert_eq!(dead_letter.key.as_deref(), Some(&b"the key"[..]));
        assert_eq!(dead_letter.header("dealpulse-topic"), Some(topic.clone()));
        assert_eq!(
            dead_letter.header("dealpulse-attempt").as_deref(),
            Some("0")
        );
        assert!(
            dead_letter
                .header("dealpulse-detail")
                .is_some_and(|detail| !detail.is_empty()),
            "{reason}: no detail"
        );
        let timestamp: i64 = dead_letter
            .header("dealpulse-timestamp")
            .and_then(|text| text.parse().ok())
            .expect("a timestamp");
        assert!(timestamp >= before, "{reason}: {timestamp}");
        for (name, value) in &sent[at].headers {
            assert_eq!(
                dead_letter.header(name).as_ref(),
                Some(value),
                "{reason}: the event's own header {name}"
            );
        }
    }

    assert_eq!(
        ids(&setup, "leads").await,
        ["L-1", "L-2", "L-batch-1", "L-batch-2", "L-binary", "L-last"]
    );
    assert_eq!(
        ids(&setup, "deals").await,
        ["D-1"],
        "of a rejected item nothing is folded"
    );

    // Asserted = folded + dead-lettered, by items.
    let reference = Reference::of(&setup).await;
    let distinct: BTreeSet<_> = reference.rejected.iter().collect();
    let metrics = pipeline.metrics();
    let by_reason = |reason: &str| {
        metrics.sum(
            "dealpulse_dead_letters_total",
            &format!("reason=\"{reason}\""),
        ) as usize
    };
    assert_eq!(
        (
            distinct.len(),
            metrics.sum("dealpulse_dead_letters_total", "") as usize
        ),
        (dead_letters.len(), dead_letters.len())
    );
    assert_eq!(
        (
            by_reason("not_json"),
            by_reason("unknown_entity"),
            by_reason("too_large")
        ),
        (2, 2, 1)
    );
    assert_eq!((reference.asserted, reference.folded()), (7, 7));
    assert_eq!(metrics.sum("dealpulse_assertions_folded_total", ""), 7.0);
    assert_eq!(
        metrics.sum("dealpulse_events_routed_total", "") as usize,
        sent.len()
    );
    // The input has moved past all of it, or it would not have settled; and it goes on.
    assert_eq!(setup.route_lag(&topic).await, 0);
    assert_eq!(pipeline.get("/readyz").0, 200);
    send(&engines, &topic, 0, &[good(lead("L-after"))]).await;
    setup.settled().await;
    assert!(ids(&setup, "leads").await.contains(&"L-after".to_owned()));

    // A restart sets nothing aside again.
    assert_eq!(pipeline.sigterm().await.code, Some(0));
    let _again = setup.start().await;
    setup.settled().await;
    assert_eq!(
        read_all(&setup.brokers, &setup.dead_letters()).await.len(),
        dead_letters.len()
    );
    assert_reconciled(&setup, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_input_stops_rather_than_skip_what_can_not_be_dead_lettered() {
    let engines = engines().await;
    let setup = setup(&engines, "strict").await;
    let topic = setup.topics[0].clone();
    // Somebody made the topic of the dead letters, and too small.
    engines
        .kafka
        .create_topic(&setup.dead_letters(), 1, &[("max.message.bytes", "2000")])
        .await;
    let long = bad("not_json", noise(100_000));
    send(
        &engines,
        &topic,
        0,
        &[good(lead("L-1")), long, good(lead("L-2"))],
    )
    .await;
    let pipeline = setup.start().await;
    let reason = pipeline.until_readyz(503, "max.message.bytes").await;
    assert!(
        reason.contains(&format!(
            "input {topic}/0: it waits at offset 1 until its dead letters can be written"
        )),
        "{reason}"
    );
    assert!(
        setup.route_lag(&topic).await >= 2,
        "the input offset moved past a message that is nowhere"
    );
    assert_eq!(pipeline.get("/healthz").0, 200);
    assert_eq!(pipeline.sigterm().await.code, Some(LEFT_OVER));

    // Once the topic takes it, all is as if nothing had been.
    engines
        .kafka
        .alter_topic(
            &setup.dead_letters(),
            &[("max.message.bytes", &LARGE.to_string())],
        )
        .await;
    let _pipeline = setup.start().await;
    setup.settled().await;
    assert_eq!(ids(&setup, "leads").await, ["L-1", "L-2"]);
    let dead_letters = read_all(&setup.brokers, &setup.dead_letters()).await;
    assert_eq!(
        dead_letters
            .iter()
            .map(origin)
            .collect::<BTreeSet<_>>()
            .len(),
        1
    );
    assert_reconciled(&setup, 10).await;
}
