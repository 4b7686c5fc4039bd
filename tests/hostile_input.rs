//! Hostile input: samples of every decoder, damaged in thousands of ways. What must hold of any
//! input is said once, for these and for the fuzz targets.

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::path::Path;

use dealpulse::event::feed::Format;
use dealpulse::event::feed::avro::{Schema, Schemas, to_json, unknown};
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

/// How often each sample is damaged.
const TIMES: u32 = 200;

/// The lines of a file.
fn lines(file: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = text.split(|byte| *byte == b'\n');
    lines
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

fn feeds(names: &[&str]) -> Vec<Vec<u8>> {
    let files = names
        .iter()
        .map(|name| format!("tests/fixtures/feeds/{name}.ndjson"));
    files.flat_map(|file| lines(&file)).collect()
}

/// What is put into a sample: what ends and begins things, what is large, and what only looks like
/// something.
const PIECES: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b",",
    b":",
    b"null",
    b"true",
    b"-",
    b"0",
    b"9999999999999999999999",
    b"1e400",
    b"-0.00005",
    b"\\u0000",
    b"\\ud800",
    b"\xff",
    b"\xc3\x28",
    b"\0",
    b"\n",
    b"\xef\xbb\xbf",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"\"__debezium_unavailable_value\"",
    b"{\"scale\":30,\"value\":\"ExLQ\"}",
    b"253402300800000",
    b"2026-02-30",
    b"hmac-sha256:0011223344556677:00112233445566778899aabbccddeeff",
];

/// Checks samples whole, then each of them damaged in a few places at a time, alike in every run.
fn damage(samples: &[Vec<u8>], check: impl Fn(&[u8])) {
    assert!(!samples.is_empty(), "there is nothing to damage");
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut number = |below: usize| (random.next_u64() % below.max(1) as u64) as usize;
    for sample in samples {
        check(sample);
        for _ in 0..TIMES {
            let mut bytes = sample.clone();
            for _ in 0..=number(4) {
                let (from, length) = (number(bytes.len() + 1), number(12));
                let to = (from + length).min(bytes.len());
                match number(6) {
                    0 => bytes.truncate(from),
                    1 => drop(bytes.drain(from..to)),
                    2 => {
                        let piece = PIECES[number(PIECES.len())];
                        bytes.splice(from..to, piece.iter().copied());
                    }
                    3 => {
                        let other = &samples[number(samples.len())];
                        let at = number(other.len());
                        let piece = &other[at..(at + number(200)).min(other.len())];
                        bytes.splice(from..to, piece.iter().copied());
                    }
                    4 => {
                        let piece = bytes[from..to].repeat(number(50));
                        bytes.splice(from..from, piece);
                    }
                    _ => {
                        if let Some(byte) = bytes.get_mut(from) {
                            *byte ^= 1 << number(8);
                        }
                    }
                }
            }
            check(&bytes);
        }
    }
}

#[test]
fn debezium_gives_assertions_or_reasons_for_any_input() {
    let samples = feeds(&["odoo", "suitecrm", "espocrm", "redmine"]);
    damage(&samples, |data| fuzz::feed(Format::Debezium, data));
}

#[test]
fn salesforces_feed_gives_assertions_or_reasons_for_any_input() {
    damage(&feeds(&["salesforce"]), |data| {
        fuzz::feed(Format::SalesforceCdc, data)
    });
}

#[test]
fn hubspots_feed_gives_assertions_or_reasons_for_any_input() {
    damage(&feeds(&["hubspot"]), |data| {
        fuzz::feed(Format::HubspotWebhook, data)
    });
}

#[test]
fn pipedrives_feed_gives_assertions_or_reasons_for_any_input() {
    damage(&feeds(&["pipedrive"]), |data| {
        fuzz::feed(Format::PipedriveWebhook, data)
    });
}

#[test]
fn track_events_give_assertions_or_reasons_for_any_input() {
    damage(&feeds(&["segment"]), |data| {
        fuzz::feed(Format::Segment, data)
    });
}

#[test]
fn any_json_gives_assertions_or_reasons_for_any_input() {
    let samples = feeds(&["web-form", "woocommerce", "shopify"]);
    damage(&samples, |data| fuzz::feed(Format::Json, data));
}

/// A message in Avro with its schema, as the fuzz target has it.
fn avro(schema: &str, value: &[u8]) -> Vec<u8> {
    let schema: serde_json::Value = serde_json::from_str(schema).expect("a schema");
    [schema.to_string().as_bytes(), b"\n", value].concat()
}

/// A schema of a record with one field.
fn avro_field(of: &str) -> String {
    format!(r#"{{"type":"record","name":"r","fields":[{{"name":"f","type":{of}}}]}}"#)
}

#[test]
fn messages_in_avro_give_assertions_or_reasons_for_any_input() {
    let seeds = ["crm_lead", "row"].map(|name| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/avro");
        std::fs::read(path.join(name)).expect(name)
    });
    for seed in &seeds {
        // What is damaged is a message that is read.
        let end = seed.iter().position(|byte| *byte == b'\n').expect("a line");
        let schema = std::str::from_utf8(&seed[..end]).expect("a schema");
        let mut schemas = Schemas::default();
        schemas.put(7, Schema::parse(schema, &[]).map_err(|_| unknown(7)));
        let message = [&[0, 0, 0, 0, 7], &seed[end + 1..]].concat();
        assert!(to_json(&message, &schemas).is_ok());
    }
    damage(&seeds, fuzz::avro);
}

#[test]
fn messages_in_protobuf_give_assertions_or_reasons_for_any_input() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/protobuf/row");
    let seed = std::fs::read(path).expect("a seed");
    damage(&vec![seed; 20], fuzz::protobuf);
}

#[test]
fn a_message_in_protobuf_of_few_bytes_cannot_fill_the_memory_or_the_stack() {
    let schema = r#"syntax = "proto3"; message R { R r = 1; repeated R l = 2; repeated bool b = 3; map<string, R> m = 4; string id = 5; }"#;
    let nested = [10, 0xff, 0xff, 0xff, 0xff, 0x07].repeat(100_000);
    for value in [
        [0x12, 0].repeat(250_000),
        [0x22, 0].repeat(250_000),
        [10, 2].repeat(100_000),
        nested,
    ] {
        fuzz::protobuf(&[schema.as_bytes(), b"\n\0", &value].concat());
    }
    let deep = "message M { ".repeat(100_000);
    fuzz::protobuf(format!("syntax = \"proto3\"; {deep}\n").as_bytes());
}

#[test]
fn a_message_in_avro_of_few_bytes_cannot_fill_the_memory_or_the_stack() {
    // The count of a block: as large as a whole number can be.
    let endless = [&[0xfe_u8][..], &[0xff; 7], &[0x01]].concat();
    for (field, value) in [
        (
            r#"{"type":"array","items":"null"}"#.to_owned(),
            endless.clone(),
        ),
        (
            r#"{"type":"array","items":{"type":"fixed","name":"n","size":0}}"#.to_owned(),
            endless.clone(),
        ),
        (
            format!(
                r#"{{"type":"array","items":{{"type":"record","name":"n","fields":[{{"name":"{}","type":"null"}}]}}}}"#,
                "n".repeat(100_000)
            ),
            endless.clone(),
        ),
        (r#"["null","r"]"#.to_owned(), vec![2; 100_000]),
        (
            r#"{"type":"fixed","name":"n","size":4611686018427387904}"#.to_owned(),
            vec![0; 10],
        ),
        (r#""bytes""#.to_owned(), endless),
    ] {
        fuzz::avro(&avro(&avro_field(&field), &value));
    }
    let deep = (0..100_000).fold("\"null\"".to_owned(), |of, _| of + "]");
    fuzz::avro(&[&b"[".repeat(100_000)[..], deep.as_bytes(), b"\n"].concat());
}

#[test]
fn events_of_ours_give_assertions_or_reasons_for_any_input() {
    let mut samples = lines("tests/fixtures/worked_example.ndjson");
    samples.push([b"[".as_slice(), &samples[..5].join(&b','), b"]"].concat());
    damage(&samples, fuzz::cloudevents);
}

#[test]
fn tables_and_mappings_are_read_or_refused_whatever_they_are() {
    let table =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/rows/deals.csv"));
    damage(&vec![table.unwrap(); 10], fuzz::rows);
    let mut mappings = vec![fuzz::MAPPING.as_bytes().to_vec()];
    let presets = dealpulse::config::presets::NAMES.into_iter();
    mappings
        .extend(presets.filter_map(|name| Some(dealpulse::config::presets::text(name)?.into())));
    damage(&mappings, fuzz::mapping);
}

#[test]
fn logs_and_facts_are_read_or_refused_whatever_they_are() {
    // Each is damaged as an event, and then as what it comes to.
    let samples = lines("tests/fixtures/worked_example.ndjson");
    let samples: Vec<Vec<u8>> = samples.into_iter().step_by(5).collect();
    damage(&samples, fuzz::log_message);
    damage(&samples, fuzz::record);
}

#[test]
fn an_event_of_salesforce_cannot_name_so_many_records_that_they_fill_the_memory() {
    let ids: Vec<String> = (0..20_000).map(|number| format!("\"D{number}\"")).collect();
    let (ids, name) = (ids.join(","), "x".repeat(500_000));
    let event = format!(
        r#"{{"ChangeEventHeader":{{"entityName":"Opportunity","recordIds":[{ids}],"changeType":"CREATE","commitTimestamp":1,"changedFields":[]}},"Name":"{name}"}}"#
    );
    fuzz::feed(Format::SalesforceCdc, event.as_bytes());
}
