//! Topics in Avro, through real Kafka and ClickHouse: a schema registry that is away, slow to know
//! or wrong loses no message and holds up no other topic.

use dealpulse::config::SchemaRegistry;
use dealpulse::kafka::registry::Registry;
use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::kafka::free_port;
use crate::support::pipeline::{Setup, engines};
use crate::support::pure::context;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use dealpulse::event::decode::Context;
use dealpulse::event::feed::avro::{Schema, Schemas};
use dealpulse::event::feed::{Feed, Format, Message};
use dealpulse::event::mapping::Mapping;
use dealpulse::record::SCHEMA;
use dealpulse::window::Calendar;
use serde_json::json;

const DEAL: &str = r#"{"type":"record","name":"Deal","fields":[{"name":"id","type":"string"},
    {"name":"amount","type":["null",{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}]}]}"#;
const MAPPING: &str = "time_zone = \"UTC\"\n[[records]]\ntable = \"TABLE\"\nentity = \"deal\"\nid = \"id\"\n[records.fields]\namount = \"amount\"\n";

/// A registry for a test: what it answers at which path to whoever has the password, and how often
/// it was asked.
#[derive(Clone, Default)]
struct FakeRegistry {
    answers: Arc<Mutex<BTreeMap<String, String>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl FakeRegistry {
    fn has(&self, id: u32, answer: serde_json::Value) {
        let path = format!("/ccompat/schemas/ids/{id}");
        self.answers
            .lock()
            .unwrap()
            .insert(path, answer.to_string());
    }

    /// It has a version of a subject, whose name is written as in a path.
    fn has_subject(&self, subject: &str, version: u32, answer: serde_json::Value) {
        let path = format!("/ccompat/subjects/{subject}/versions/{version}");
        let answer = answer.to_string();
        self.answers.lock().unwrap().insert(path, answer);
    }

    fn asked_for(&self, id: u32) -> usize {
        let path = format!("/ccompat/schemas/ids/{id}");
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| **asked == path).count()
    }

    async fn answer(
        State(registry): State<FakeRegistry>,
        headers: HeaderMap,
        uri: Uri,
    ) -> (StatusCode, String) {
        // `dealpulse:hunter2`
        let is_known = headers
            .get("authorization")
            .is_some_and(|given| given == "Basic ZGVhbHB1bHNlOmh1bnRlcjI=");
        if !is_known {
            return (StatusCode::UNAUTHORIZED, String::new());
        }
        registry.asked.lock().unwrap().push(uri.path().to_owned());
        match registry.answers.lock().unwrap().get(uri.path()) {
            Some(answer) => (StatusCode::OK, answer.clone()),
            None if uri.path().starts_with("/ccompat/schemas/ids/") => (
                StatusCode::NOT_FOUND,
                json!({"error_code": 40403, "message": "Schema not found"}).to_string(),
            ),
            None => (StatusCode::NOT_FOUND, "no such page".to_owned()),
        }
    }

    async fn listen(&self, port: u16) {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port));
        let listener = listener.await.expect("the port was free");
        let router = Router::new()
            .fallback(FakeRegistry::answer)
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
    }
}

/// A deal in the wire format, written with a schema.
fn deal(schema: u32, id: &str, cents: i16) -> Vec<u8> {
    let mut message = vec![0];
    message.extend(schema.to_be_bytes());
    message.push(id.len() as u8 * 2);
    message.extend(id.bytes());
    message.extend([2, 4]);
    message.extend(cents.to_be_bytes());
    message
}

async fn deals(setup: &Setup) -> String {
    let sql = "SELECT arrayStringConcat(groupArray(concat(id, '=', ifNull(toString(amount), '?'))), ' ') FROM \
               (SELECT id, amount FROM deals FINAL WHERE deleted = 0 ORDER BY id)";
    let found = setup.store().fetch("the deals", sql, "TSVRaw").await;
    String::from_utf8(found.unwrap().trim_ascii().to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_waits_for_its_schema_and_others_go_on() {
    let engines = engines().await;
    let (port, files) = (free_port(), tempfile::tempdir().unwrap());
    let (encoded, plain) = ("waiting.avro", "waiting.plain");
    let mut inputs = format!(
        "[schema_registry]\nurl = \"http://127.0.0.1:{port}/ccompat/\"\nusername = \"dealpulse\"\npassword_file = \"{}\"\n",
        files.path().join("password").display()
    );
    std::fs::write(files.path().join("password"), "hunter2\n").unwrap();
    for (topic, encoding, partitions) in [(encoded, "avro", 2), (plain, "json", 1)] {
        let mapping = files.path().join(topic);
        std::fs::write(&mapping, MAPPING.replace("TABLE", topic)).unwrap();
        inputs += &format!(
            "[[topics]]\nname = \"{topic}\"\nformat = \"json\"\nencoding = \"{encoding}\"\nmapping = \"{}\"\n",
            mapping.display()
        );
        engines.kafka.create_topic(topic, partitions, &[]).await;
    }
    let brokers = engines.kafka.bootstrap();
    let mut setup = Setup::new(
        "waiting",
        &brokers,
        &engines.clickhouse.url(),
        &[encoded, plain],
    );
    setup.inputs = Some(inputs);
    let send = async |topic: &str, partition, message: Vec<u8>| {
        let message = [(b"key".to_vec(), message)];
        engines.kafka.produce(topic, Some(partition), message).await;
    };
    for number in 0..30 {
        send(encoded, number % 2, deal(7, &format!("A-{number:02}"), 100)).await;
    }
    send(plain, 0, br#"{"id":"P-1","amount":1.5}"#.to_vec()).await;

    let pipeline = setup.start().await;
    setup.until_routed(plain).await;
    let unready = pipeline
        .until_readyz(503, "until its schema can be fetched")
        .await;
    for partition in 0..2 {
        let expected = format!(
            "input {encoded}/{partition}: it waits at offset 0 until its schema can be fetched: fetching http://127.0.0.1:{port}/ccompat/schemas/ids/7"
        );
        assert!(unready.contains(&expected), "{unready}");
    }
    assert_eq!(setup.route_lag(encoded).await, 30);

    let registry = FakeRegistry::default();
    registry.has(7, json!({"schema": DEAL}));
    registry.listen(port).await;
    setup.settled().await;
    pipeline.until_readyz(200, "").await;
    assert_eq!(registry.asked_for(7), 1);
    let expected: Vec<String> = (0..30).map(|n| format!("A-{n:02}=1")).collect();
    assert_eq!(deals(&setup).await, expected.join(" ") + " P-1=1.5");

    // What can't be read for good is a dead letter, and what follows it is read.
    registry.has(
        9,
        json!({"schema": r#"{"type":"object"}"#, "schemaType": "JSON"}),
    );
    registry.has(10, json!({"schema": r#"{"type":"record","name":"List","fields":[{"name":"next","type":"List"}]}"#}));
    for bad in [
        deal(8, "B-1", 1),
        deal(9, "B-2", 1),
        deal(10, "B-3", 1),
        b"{}".to_vec(),
        deal(7, "B-4", 1)[..9].to_vec(),
    ] {
        send(encoded, 0, bad).await;
    }
    send(encoded, 0, deal(7, "A-00", -1)).await;
    // One that refers to another subject's.
    registry.has(
        11,
        json!({"schema": r#"{"type":"record","name":"Deal","fields":[{"name":"id","type":"string"},{"name":"amount","type":["null","Money"]}]}"#,
            "references": [{"name": "Money", "subject": "money/eu", "version": 3}]}),
    );
    registry.has_subject(
        "money%2Feu",
        3,
        json!({"schema": r#"{"type":"fixed","name":"Money","size":2,"logicalType":"decimal","precision":4,"scale":1}"#}),
    );
    let mut referring = deal(11, "A-01", 25);
    referring.remove(11); // a fixed has no length
    send(encoded, 1, referring).await;
    setup.settled().await;
    let metrics = pipeline.metrics();
    for (reason, count) in [("unknown_schema", 3.0), ("not_avro", 2.0)] {
        let label = format!("reason=\"{reason}\"");
        assert_eq!(metrics.sum("dealpulse_dead_letters_total", &label), count);
    }
    assert!(
        deals(&setup)
            .await
            .starts_with("A-00=-0.01 A-01=2.5 A-02=1 ")
    );

    // Once the registry has the schema, the dead letter can be replayed.
    let listed = setup.ask("dlq list", &["--json"]).await;
    let listed = String::from_utf8(listed.stdout).unwrap();
    for expected in [
        "the schema registry has no schema 8",
        "it is JSON, neither Avro nor Protobuf",
        "it contains itself",
        "it begins with the byte 123",
        "it ends too early",
    ] {
        assert!(listed.contains(expected), "{expected} is not in {listed}");
    }
    registry.has(8, json!({"schema": DEAL, "schemaType": "AVRO"}));
    let replayed = setup.ask("dlq replay", &["--dry-run"]).await;
    let replayed = String::from_utf8(replayed.stdout).unwrap();
    assert!(
        replayed.contains("1 of `waiting.avro` would be replayed"),
        "{replayed}"
    );
    drop(pipeline);
}

/// A registry that answers anything over TLS, as `localhost`, with a certificate that nobody has
/// signed but itself; and that certificate.
fn registry_with_tls(answer: String) -> (u16, String) {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "localhost").unwrap();
    let name = name.build();
    let mut certificate = X509::builder().unwrap();
    certificate.set_version(2).unwrap();
    certificate.set_subject_name(&name).unwrap();
    certificate.set_issuer_name(&name).unwrap();
    certificate.set_pubkey(&key).unwrap();
    let day = |days| Asn1Time::days_from_now(days).unwrap();
    certificate.set_not_before(&day(0)).unwrap();
    certificate.set_not_after(&day(1)).unwrap();
    let names = SubjectAlternativeName::new()
        .dns("localhost")
        .build(&certificate.x509v3_context(None, None));
    certificate.append_extension(names.unwrap()).unwrap();
    let authority = BasicConstraints::new().ca().build().unwrap();
    certificate.append_extension(authority).unwrap();
    certificate.sign(&key, MessageDigest::sha256()).unwrap();
    let certificate = certificate.build();
    let pem = String::from_utf8(certificate.to_pem().unwrap()).unwrap();
    let mut tls = SslAcceptor::mozilla_intermediate(SslMethod::tls()).unwrap();
    tls.set_private_key(&key).unwrap();
    tls.set_certificate(&certificate).unwrap();
    let (tls, listener) = (
        tls.build(),
        std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
    );
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // Who doesn't trust the certificate hangs up.
            let Ok(mut stream) = tls.accept(stream.unwrap()) else {
                continue;
            };
            let mut asked = [0; 4096];
            let _ = stream.read(&mut asked);
            let length = answer.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{answer}"
            );
        }
    });
    (port, pem)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_with_a_certificate_of_its_own_is_asked_once_its_authority_is_named() {
    let (port, certificate) = registry_with_tls(json!({"schema": DEAL}).to_string());
    let access = |certificates: Option<&str>| SchemaRegistry {
        url: format!("https://localhost:{port}"),
        username: String::new(),
        password: String::new(),
        certificates: certificates.map(str::to_owned),
    };
    let soon = || Instant::now() + Duration::from_secs(20);
    let mut trusting = Registry::new(Some(&access(Some(&certificate)))).unwrap();
    trusting.fetch(&[7], soon()).await.expect("the schema");
    assert!(trusting.schemas().knows(7));

    let mut careful = Registry::new(Some(&access(None))).unwrap();
    let waiting = careful.fetch(&[7], soon()).await.unwrap_err();
    assert!(
        waiting.why.contains("certificate verify failed"),
        "{}",
        waiting.why
    );
    assert!(
        waiting
            .why
            .ends_with("name the file of its authority as schema_registry.ca_file"),
        "{}",
        waiting.why
    );
    assert!(!careful.schemas().knows(7));

    let broken = certificate.replace("MI", "!!");
    assert!(Registry::new(Some(&access(Some(&broken)))).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_in_protobuf_are_read_by_their_schema_and_those_it_imports() {
    let (port, registry) = (free_port(), FakeRegistry::default());
    let reference = json!({"name": "money.proto", "subject": "shop/money", "version": 2});
    let schema = "syntax = \"proto3\"; import \"money.proto\"; message Deal { string id = 1; Money amount = 2; }";
    registry.has(
        8,
        json!({"schema": schema, "schemaType": "PROTOBUF", "references": [reference]}),
    );
    let money = "syntax = \"proto3\"; message Money { string value = 1; }";
    registry.has_subject(
        "shop%2Fmoney",
        2,
        json!({"schema": money, "schemaType": "PROTOBUF"}),
    );
    registry.listen(port).await;
    let access = SchemaRegistry {
        url: format!("http://127.0.0.1:{port}/ccompat"),
        username: "dealpulse".to_owned(),
        password: "hunter2".to_owned(),
        certificates: None,
    };
    let mut known = Registry::new(Some(&access)).unwrap();
    let soon = Instant::now() + Duration::from_secs(20);
    known.fetch(&[8], soon).await.expect("the schema");
    assert_eq!(known.schemas().encoding(8), Some("protobuf"));
    let mapping = MAPPING
        .replace("TABLE", "deals")
        .replace("\"amount\"", "\"/amount/value\"");
    let mapping = Mapping::parse(&mapping, &SCHEMA).unwrap();
    let feed = Feed::new(Format::Json, mapping, &Calendar::new(chrono_tz::Tz::UTC, 1));
    let value = [&[0, 0, 0, 0, 8, 0, 10, 1, b'D', 18, 6, 10, 4][..], b"12.5"].concat();
    let decode = |value| {
        let message = Message {
            key: None,
            value: Some(value),
        };
        let context = Context {
            timestamp: Some(7),
            ..context(0)
        };
        feed.decode_by_schemas("deals", message, known.schemas(), &context)
    };
    let decoded = decode(&value);
    assert_eq!(decoded.rejected, []);
    let shown = format!("{:?}", decoded.assertions);
    assert!(
        shown.contains("id: \"D\"") && shown.contains("Decimal(125000)"),
        "{shown}"
    );
    let damaged = decode(&value[..value.len() - 1]).rejected;
    assert_eq!(damaged[0].bad.reason.name(), "not_protobuf", "{damaged:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registrys_errors_are_named_and_nothing_is_lost_by_them() {
    let engines = engines().await;
    let (port, files) = (free_port(), tempfile::tempdir().unwrap());
    let (topic, registry) = ("wrong.avro", FakeRegistry::default());
    registry.has(7, json!({"schema": DEAL}));
    registry.listen(port).await;
    engines.kafka.create_topic(topic, 1, &[]).await;
    engines
        .kafka
        .produce(topic, Some(0), [(b"key".to_vec(), deal(7, "A-1", 250))])
        .await;
    let mapping = files.path().join("mapping.toml");
    std::fs::write(&mapping, MAPPING.replace("TABLE", topic)).unwrap();
    let brokers = engines.kafka.bootstrap();
    let mut setup = Setup::new("wrong", &brokers, &engines.clickhouse.url(), &[topic]);
    let inputs = |url: &str, password: &str| {
        let file = files.path().join(password);
        std::fs::write(&file, password).unwrap();
        format!(
            "[schema_registry]\nurl = \"http://127.0.0.1:{port}{url}\"\nusername = \"dealpulse\"\npassword_file = \"{}\"\n\
             [[topics]]\nname = \"{topic}\"\nformat = \"json\"\nencoding = \"avro\"\nmapping = \"{}\"\n",
            file.display(),
            mapping.display()
        )
    };
    for (url, password, expected) in [
        (
            "/ccompat",
            "wrong",
            "401 Unauthorized; look at the user and the password of [schema_registry]",
        ),
        (
            "/elsewhere",
            "hunter2",
            "404 Not Found, and not as a schema registry says it; look at schema_registry.url",
        ),
    ] {
        setup.inputs = Some(inputs(url, password));
        let pipeline = setup.start().await;
        pipeline.until_readyz(503, expected).await;
        assert_eq!(setup.route_lag(topic).await, 1);
        drop(pipeline);
    }
    setup.inputs = Some(inputs("/ccompat", "hunter2"));
    let pipeline = setup.start().await;
    setup.settled().await;
    assert_eq!(deals(&setup).await, "A-1=2.5");
    drop(pipeline);
}

/// What Debezium wrote of one change of Odoo's `crm_lead`: as JSON with its schema, and in Avro.
#[test]
fn a_change_in_avro_asserts_what_it_does_in_json() {
    const JSON: &str = include_str!("fixtures/feeds/crm_lead.json");
    const AVRO: &str = include_str!("fixtures/feeds/crm_lead.avro.hex");
    const AVRO_SCHEMA: &str = include_str!("fixtures/feeds/crm_lead.avsc");
    let mapping = "[[records]]\ntable = \"crm_lead\"\nentity = \"deal\"\nid = \"id\"\n[records.fields]\namount = \"expected_revenue\"\n\
        probability = { column = \"probability\", percent = true }\nexpected_close_date = { column = \"date_deadline\", format = \"epoch_days\" }\n\
        closed_at = { column = \"date_closed\", format = \"epoch_us\" }\ncreated_at = { column = \"tz_date\", format = \"rfc3339\" }\n\
        [records.custom]\nprorated = \"prorated_revenue\"\nactive = \"active\"\nuser = \"user_id\"\n";
    let mapping = Mapping::parse(mapping, &SCHEMA).unwrap();
    let feed = Feed::new(
        Format::Debezium,
        mapping,
        &Calendar::new(chrono_tz::Tz::UTC, 1),
    );
    let context = Context {
        now: i64::MAX / 2,
        ..context(1)
    };
    let digits: Vec<char> = AVRO.chars().filter(char::is_ascii_hexdigit).collect();
    let bytes = digits.chunks(2).map(|pair| {
        let pair: String = pair.iter().collect();
        u8::from_str_radix(&pair, 16).unwrap()
    });
    let avro: Vec<u8> = bytes.collect();
    let mut schemas = Schemas::default();
    schemas.put(
        6,
        Schema::parse(AVRO_SCHEMA, &[]).map_err(|problem| panic!("{problem}")),
    );
    let message = |value| Message {
        key: None,
        value: Some(value),
    };

    let of_json = feed.decode("x", message(JSON.as_bytes()), &context);
    let of_avro = feed.decode_by_schemas("x", message(&avro), &schemas, &context);
    assert_eq!(
        (of_json.rejected.len(), of_avro.rejected.len()),
        (0, 0),
        "{:?}",
        of_avro.rejected
    );
    assert_eq!(of_json.assertions.len(), 1);
    assert_eq!(of_avro.assertions, of_json.assertions);
    let text = format!("{:?}", of_avro.assertions);
    // −12500.1000 and 0.1230, in ten thousandths, and a text.
    for expected in ["Decimal(-125001000)", "Decimal(1230)", "\"-0.01\""] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
}
