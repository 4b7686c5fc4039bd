//! Personal data through the real engines: what is hashed is nowhere in the clear, neither in the
//! facts nor in the dead letters, and what is replayed has the hash.

use std::collections::BTreeSet;

use crate::support::pipeline::{Setup, engines};
use crate::support::reference::read_all;
use dealpulse::event::mapping::HashKey;
use serde_json::Value;

const KEY: &str = include_str!("fixtures/hash-key");
/// The longest message taken at first.
const STRICT: usize = 200;

fn form(id: &str, email: &str, note: &str) -> String {
    format!(
        r#"{{"id":"{id}","at":"2026-03-04T10:00:00Z","source":"web","email":"{email}","note":"{note}"}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redacted_dead_letter_holds_nobody_and_is_replayed_into_the_record_of_its_message() {
    let engines = engines().await;
    let topic = "personal.forms";
    engines.kafka.create_topic(topic, 1, &[]).await;
    let mut setup = Setup::new(
        "personal",
        &engines.kafka.bootstrap(),
        &engines.clickhouse.url(),
        &[topic],
    );
    setup.feed = Some((
        "json",
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/personal.toml"),
    ));
    setup.is_redacted = true;
    let strict = Setup {
        max_message_bytes: Some(STRICT),
        ..setup.clone()
    };
    let messages = [
        form("1", "kim@example.com", ""),
        form("2", " KIM@example.com", &"x".repeat(STRICT)),
        form("3", "kim@example.com", "").replace('}', ""),
    ];
    let sent = messages.map(|message| (b"kim@example.com".to_vec(), message.into_bytes()));
    engines.kafka.produce(topic, Some(0), sent.to_vec()).await;
    let pipeline = strict.start().await;
    strict.settled().await;

    let dead_letters = read_all(&setup.brokers, &setup.dead_letters()).await;
    assert_eq!(dead_letters.len(), 2);
    for dead_letter in &dead_letters {
        let headers = dead_letter.headers.iter().map(|(_, value)| value);
        let parts = [&dead_letter.key, &dead_letter.payload];
        let parts: Vec<&Vec<u8>> = parts.into_iter().flatten().chain(headers).collect();
        assert!(parts.len() > 5);
        for part in parts {
            let text = String::from_utf8_lossy(part).to_lowercase();
            assert!(!text.contains("kim@"), "{text}");
        }
    }
    let ask = async |setup: &Setup, command: &str, arguments: &[&str]| {
        let output = setup.ask(command, arguments).await;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{errors}");
        String::from_utf8(output.stdout).unwrap()
    };
    let listed = ask(&strict, "dlq list", &["--json"]).await;
    let listed = listed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    // One without a key may be in any partition, so they are listed in any order.
    let redacted = listed.map(|line: Value| line["redacted"].as_str().unwrap().to_owned());
    let redacted: BTreeSet<String> = redacted.collect();
    assert_eq!(redacted, ["hashed", "withheld"].map(str::to_owned).into());
    let replayed = ask(&strict, "dlq replay", &[]).await;
    assert!(
        replayed.contains("are still bad and stay: too_large"),
        "{replayed}"
    );
    assert!(
        replayed.contains("stay: their bytes were withheld"),
        "{replayed}"
    );
    drop(pipeline);

    let pipeline = setup.start().await;
    let replayed = ask(&setup, "dlq replay", &[]).await;
    assert!(
        replayed.contains("1 of `personal.forms` were replayed"),
        "{replayed}"
    );
    setup.settled().await;
    let hash = HashKey::new(KEY).unwrap().hash("kim@example.com");
    let sql = "SELECT id, custom['email'] FROM leads FINAL ORDER BY id";
    let found = setup.store().fetch("the leads", sql, "TSV").await.unwrap();
    let found = String::from_utf8(found.to_vec()).unwrap();
    assert_eq!(found, format!("1\t{hash}\n2\t{hash}\n"));
    drop(pipeline);
}
