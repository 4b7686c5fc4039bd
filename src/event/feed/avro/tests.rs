use apache_avro::schema::Schema as Parsed;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::*;
use serde_json::json;

use super::*;

/// What Debezium registered for Odoo's `crm_lead`, and a change of a row that it wrote by it.
const CRM_LEAD: &str = include_str!("../../../../tests/fixtures/feeds/crm_lead.avsc");
const MESSAGE: &str = include_str!("../../../../tests/fixtures/feeds/crm_lead.avro.hex");

fn schemas(text: &str) -> Schemas {
    let mut schemas = Schemas::default();
    let schema = Schema::parse(text, &[]).unwrap_or_else(|problem| panic!("{problem}: {text}"));
    schemas.put(7, Ok(schema));
    schemas
}

fn message(body: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 0, 7], body].concat()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// What is read of a value that the library has written.
fn read_back(schema: &str, value: impl Into<Value>) -> Json {
    let parsed = Parsed::parse_str(schema).unwrap();
    let writer = GenericDatumWriter::builder(&parsed).build().unwrap();
    let body = writer.write_value_to_vec(value.into()).unwrap();
    read(&message(&body), &schemas(schema)).unwrap()
}

fn refused(schema: &str, body: &[u8]) -> String {
    let bad = read(&message(body), &schemas(schema)).unwrap_err();
    assert_eq!(bad.reason, Reason::NotAvro);
    bad.detail
}

#[test]
fn every_type_is_read_as_json_has_it() {
    let fixed = r#"{"type":"fixed","name":"f","size":16}"#;
    let bytes: Vec<u8> = (0..16).collect();
    let cases = [
        (r#""null""#, Value::Null, json!(null)),
        (r#""boolean""#, Value::Boolean(true), json!(true)),
        (r#""int""#, Value::Int(i32::MIN), json!("-2147483648")),
        (
            r#""long""#,
            Value::Long(i64::MAX),
            json!("9223372036854775807"),
        ),
        (
            r#""long""#,
            Value::Long(i64::MIN),
            json!("-9223372036854775808"),
        ),
        (r#""float""#, Value::Float(0.1), json!("0.1")),
        (
            r#""double""#,
            Value::Double(12.300000000000001e1),
            json!("123.00000000000001"),
        ),
        (r#""double""#, Value::Double(100.0), json!("100.0")),
        (r#""double""#, Value::Double(-2.5e8), json!("-250000000.0")),
        (r#""double""#, Value::Double(f64::NAN), json!("NaN")),
        (
            r#""bytes""#,
            Value::Bytes(vec![0x13, 0x12, 0xd0]),
            json!("ExLQ"),
        ),
        (r#""string""#, Value::String("Zoë".into()), json!("Zoë")),
        (
            fixed,
            Value::Fixed(16, bytes.clone()),
            json!("AAECAwQFBgcICQoLDA0ODw=="),
        ),
        (
            r#"{"type":"enum","name":"e","symbols":["A","B"]}"#,
            Value::Enum(1, "B".into()),
            json!("B"),
        ),
        (
            r#"{"type":"int","logicalType":"date"}"#,
            Value::Date(20_578),
            json!("20578"),
        ),
        (
            r#"{"type":"long","logicalType":"timestamp-millis"}"#,
            Value::TimestampMillis(-1),
            json!("-1"),
        ),
        (
            r#"{"type":"long","connect.name":"io.debezium.time.MicroTimestamp"}"#,
            Value::Long(1_772_359_200_123_456),
            json!("1772359200123456"),
        ),
        (
            r#"{"type":"array","items":"int"}"#,
            Value::Array(vec![Value::Int(1), Value::Int(-2)]),
            json!(["1", "-2"]),
        ),
        (
            r#"{"type":"map","values":"int"}"#,
            Value::Map([("a".to_owned(), Value::Int(1))].into()),
            json!({"a": "1"}),
        ),
        (
            r#"["null","int"]"#,
            Value::Union(1, Box::new(Value::Int(5))),
            json!("5"),
        ),
        (
            r#"["null","int"]"#,
            Value::Union(0, Box::new(Value::Null)),
            json!(null),
        ),
    ];
    for (schema, value, expected) in cases {
        assert_eq!(read_back(schema, value), expected, "{schema}");
    }
    let uuid = r#"{"type":"fixed","name":"u","size":16,"logicalType":"uuid"}"#;
    let found = read(&message(&bytes), &schemas(uuid)).unwrap();
    assert_eq!(found, json!("00010203-0405-0607-0809-0a0b0c0d0e0f"));
}

#[test]
fn decimals_are_decimals_of_any_form_and_never_floats() {
    let decimal = |of: &str, scale: u32| {
        format!(r#"{{{of},"logicalType":"decimal","precision":38,"scale":{scale}}}"#)
    };
    let fixed = decimal(r#""type":"fixed","name":"d","size":4"#, 2);
    assert_eq!(
        read(&message(&[0xff, 0xff, 0xff, 0xff]), &schemas(&fixed)),
        Ok(json!("-0.01"))
    );
    for (scale, body, expected) in [
        (2, "061312d0", "12500.00"),
        (2, "02ff", "-0.01"),
        (4, "0a0123456789", "488671.8345"),
        (0, "0200", "0"),
    ] {
        let schema = decimal(r#""type":"bytes""#, scale);
        assert_eq!(
            read(&message(&hex(body)), &schemas(&schema)),
            Ok(json!(expected))
        );
    }
    // One of more bytes than any amount has stays base64, as in JSON, and is refused as an amount.
    let long = [&[34_u8][..], &[1; 17]].concat();
    let found = read(&message(&long), &schemas(&decimal(r#""type":"bytes""#, 2))).unwrap();
    assert_eq!(found, json!("AQEBAQEBAQEBAQEBAQEBAQE="));
}

#[test]
fn what_debezium_writes_is_read_whole() {
    let read = read(&message(&hex(MESSAGE)[5..]), &schemas(CRM_LEAD)).unwrap();
    let row = json!({
        "id": "1", "name": "c", "active": true, "probability": "12.3", "expected_revenue": {"scale": "1", "value": "/he3"}, "prorated_revenue": "-0.01",
        "stage_id": "4", "user_id": null, "date_deadline": "20578", "date_closed": "1778061600500000", "create_date": "1772359200000000",
        "tz_date": "2026-03-01T08:00:00.000000Z",
    });
    assert_eq!((&read["before"], &read["after"]), (&Json::Null, &row));
    assert_eq!(
        (&read["op"], &read["source"]["lsn"]),
        (&json!("u"), &json!("22589960"))
    );
}

#[test]
fn a_message_that_is_no_avro_says_so() {
    let bad = |bytes: &[u8]| read(bytes, &schemas(r#""int""#)).unwrap_err();
    for (bytes, words) in [
        (&b"{\"a\":1}"[..], "it begins with the byte 123"),
        (b"", "it is empty"),
        (b"\0\0\0\0", "it has 4 bytes"),
        (b"\0\0\0\0\x07", "it ends too early"),
        (b"\0\0\0\0\x07\x02\x02", "1 bytes are left"),
    ] {
        let bad = bad(bytes);
        assert_eq!(bad.reason, Reason::NotAvro);
        assert!(bad.detail.contains(words), "{}", bad.detail);
    }
    assert_eq!(bad(b"\0\0\0\0\x08\x02").reason, Reason::UnknownSchema);
    assert!(refused(r#""string""#, &[4, 0xff, 0xff]).contains("UTF-8"));
    assert!(refused(r#""string""#, &[1]).contains("a length of -1"));
    assert!(refused(r#""boolean""#, &[2]).contains("2 as true or false"));
    assert!(refused(r#"["null","int"]"#, &[4]).contains("number 2 of 2"));
    assert!(refused(r#""long""#, &[0xff; 11]).contains("64 bits"));
    let record = r#"{"type":"record","name":"r","fields":[{"name":"amount","type":"int"}]}"#;
    assert!(refused(record, &[]).contains("`amount`: it ends too early"));
}

#[test]
fn a_body_that_ends_too_early_is_never_read_as_nulls() {
    let whole = message(&hex(MESSAGE)[5..]);
    let schemas = schemas(CRM_LEAD);
    for length in 0..whole.len() {
        assert!(read(&whole[..length], &schemas).is_err(), "{length} bytes");
    }
}

#[test]
fn few_bytes_never_become_many_values() {
    let nulls = r#"{"type":"array","items":"null"}"#;
    // Two thousand million nulls, a block of so many again and again, and a length that no memory
    // holds.
    for body in ["ffffffff0f", "80808080088080808008", "fcffffffffffffffff01"] {
        let body = [hex(body), vec![0; 20]].concat();
        let _ = read(&message(&body), &schemas(nulls)).unwrap_err();
    }
    let empty = r#"{"type":"array","items":{"type":"record","name":"r","fields":[]}}"#;
    let detail = refused(empty, &hex("80808080800100"));
    assert!(detail.contains("100000 values"), "{detail}");
    assert!(refused(r#""bytes""#, &hex("feffffffffffffffff01")).contains("too early"));
}

#[test]
fn a_schema_that_is_endless_or_huge_is_refused() {
    let problem = |text: &str| Schema::parse(text, &[]).unwrap_err();
    let list =
        r#"{"type":"record","name":"List","fields":[{"name":"next","type":["null","List"]}]}"#;
    assert!(problem(list).contains("contains itself"));
    let mut nested = r#""int""#.to_owned();
    for _ in 0..40 {
        nested = format!(r#"{{"type":"array","items":{nested}}}"#);
    }
    assert!(problem(&nested).contains("deeper than 32"));
    // Each record has the one before it twice.
    let mut fields = r#"{"name":"x","type":"null"}"#.to_owned();
    for level in 0..25 {
        let record = format!(r#"{{"type":"record","name":"R{level}","fields":[{fields}]}}"#);
        fields = format!(r#"{{"name":"a","type":{record}}},{{"name":"b","type":"R{level}"}}"#);
    }
    let doubled = format!(r#"{{"type":"record","name":"Root","fields":[{fields}]}}"#);
    let problem_of_doubled = problem(&doubled);
    assert!(
        problem_of_doubled.contains("more than 20000 types"),
        "{problem_of_doubled}"
    );
    for text in [
        "",
        "{",
        "7",
        r#""nonsense""#,
        r#"{"type":"record"}"#,
        r#"{"type":"fixed","name":"f","size":-1}"#,
    ] {
        assert!(!problem(text).is_empty(), "{text}");
    }
}

#[test]
fn a_schema_may_refer_to_others_and_has_defaults_of_any_kind() {
    let other = r#"{"type":"record","name":"Money","namespace":"x","fields":[{"name":"cents","type":"long","default":"none"}]}"#;
    let root = r#"{"type":"record","name":"Row","namespace":"x","fields":[{"name":"default","type":"Money"},{"name":"b","type":["null","x.Money"],"default":"\u0000"}]}"#;
    let mut schemas = Schemas::default();
    schemas.put(7, Ok(Schema::parse(root, &[other.to_owned()]).unwrap()));
    let found = read(&message(&[2, 2, 4]), &schemas).unwrap();
    assert_eq!(
        found,
        json!({"default": {"cents": "1"}, "b": {"cents": "2"}})
    );
    assert!(Schema::parse(root, &[]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn no_bytes_are_a_panic(at in 0..400_usize, length in 0..40_usize, bytes in prop::collection::vec(any::<u8>(), 0..12)) {
        let mut body = hex(MESSAGE)[5..].to_vec();
        let at = at % body.len();
        let end = (at + length).min(body.len());
        body.splice(at..end, bytes.iter().copied());
        let schemas = schemas(CRM_LEAD);
        for message in [message(&body), message(&bytes), bytes] {
            if let Err(bad) = read(&message, &schemas) {
                prop_assert!(!bad.detail.is_empty());
            }
        }
    }
}
