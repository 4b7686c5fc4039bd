use super::*;
use crate::event::{Decimal, When};
use crate::record::{Clock, Entity, deal};

const NOW: i64 = 1_772_618_400_000_000; // 2026-03-04T10:00:00Z

fn context() -> Context<'static> {
    Context {
        schema: &crate::record::SCHEMA,
        topic: 7,
        namespace: None,
        partition: 1,
        offset: 42,
        attempt: 0,
        timestamp: Some(NOW + 1),
        is_append_time: false,
        now: NOW,
        limit: 1 << 20,
    }
}

fn event(kind: &str, subject: &str, data: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"1","source":"crm","type":"{kind}","subject":"{subject}","time":"2026-03-04T10:00:00Z","data":{data}}}"#
    )
}

fn decode_text<'a>(text: &'a str, context: &Context<'_>) -> Decoded<'a> {
    decode(Some(text.as_bytes()), &[], context)
}

fn reason(text: &str) -> Reason {
    let decoded = decode_text(text, &context());
    assert!(decoded.assertions.is_empty(), "{text}");
    decoded.rejected[0].bad.reason
}

#[test]
fn the_canonical_example_becomes_an_assertion() {
    let text = event(
        "crm.deal.upserted",
        "D-17",
        r#"{"stage":"nego\u0074iation","amount":"12500.00","currency":"EUR","closed_at":null,"lead_id":"0","custom":{"tier":3}}"#,
    );
    let decoded = decode_text(&text, &context());
    let assertion = &decoded.assertions[0];
    assert_eq!((assertion.entity, &*assertion.id), (Entity::DEAL, "D-17"));
    assert_eq!(
        assertion.stamp.clock,
        Clock {
            time: NOW,
            sequence: 0
        }
    );
    assert_eq!(
        (
            assertion.stamp.origin.offset,
            assertion.stamp.origin.partition
        ),
        (42, 1)
    );
    let of = |field| {
        assertion
            .values
            .iter()
            .find(|(f, _)| *f == FieldName::Known(field))
            .map(|(_, v)| v.clone())
    };
    assert_eq!(of(deal::STAGE), Some(Value::Text("negotiation".into())));
    assert_eq!(of(deal::AMOUNT), Some(Value::Decimal(Decimal(125_000_000))));
    assert_eq!(
        of(deal::CLOSED_AT),
        Some(Value::Null),
        "an explicit null clears"
    );
    assert_eq!(of(deal::LEAD_ID), Some(Value::Null), "the id 0 means none");
    assert!(
        assertion
            .values
            .contains(&(FieldName::Custom("tier".into()), Value::Text("3".into())))
    );
}

#[test]
fn every_bad_input_has_its_reason() {
    let deal = |data: &str| event("crm.deal.upserted", "D-1", data);
    for (text, expected) in [
        ("garbage".to_owned(), Reason::NotJson),
        ("{\"specversion\":\"1.0\",".to_owned(), Reason::NotJson),
        ("[{]".to_owned(), Reason::NotJson),
        ("\"text\"".to_owned(), Reason::NotAnEvent),
        ("{}".to_owned(), Reason::NotAnEvent),
        (deal("{}").replace("1.0", "0.3"), Reason::NotAnEvent),
        (
            deal("{}").replace("\"subject\":\"D-1\"", "\"subject\":17.5"),
            Reason::NotAnEvent,
        ),
        (
            event("crm.robot.upserted", "R-1", "{}"),
            Reason::UnknownEntity,
        ),
        (
            event("crm.alias.upserted", "R-1", "{}"),
            Reason::UnknownEntity,
        ),
        (
            event("crm.deal.exploded", "D-1", "{}"),
            Reason::UnknownEntity,
        ),
        (event("deal", "D-1", "{}"), Reason::UnknownEntity),
        (event("crm.deal.upserted", "", "{}"), Reason::MissingId),
        (event("crm.deal.upserted", "0", "{}"), Reason::MissingId),
        (deal("[1]"), Reason::WrongType),
        (deal(r#"{"status":"closed"}"#), Reason::WrongType),
        (deal(r#"{"stage":5}"#), Reason::WrongType),
        (deal(r#"{"amount":{}}"#), Reason::WrongType),
        (deal(r#"{"amount":true}"#), Reason::WrongType),
        (deal(r#"{"probability":"1.5"}"#), Reason::WrongType),
        (deal(r#"{"custom":5}"#), Reason::WrongType),
        (deal(r#"{"amount":"12,500"}"#), Reason::BadMoney),
        (deal(r#"{"amount":1e300}"#), Reason::BadMoney),
        (deal(r#"{"currency":"euro"}"#), Reason::BadMoney),
        (deal(r#"{"closed_at":"tomorrow"}"#), Reason::BadTime),
        (deal(r#"{"closed_at":1.5}"#), Reason::BadTime),
        (
            deal(r#"{"closed_at":99999999999999999999}"#),
            Reason::BadTime,
        ),
        (
            deal("{}").replace("2026-03-04T10:00:00Z", "now"),
            Reason::BadTime,
        ),
        (
            deal("{}").replace("2026-03-04T10:00:00Z", "2026-03-04"),
            Reason::BadTime,
        ),
        (
            deal("{}").replace("2026-03-04", "2026-03-06"),
            Reason::FutureTime,
        ),
        (event("crm.account.merged", "A-1", "{}"), Reason::WrongType),
        (
            event("crm.account.merged", "A-1", r#"{"merged_into":"0"}"#),
            Reason::WrongType,
        ),
        (
            format!("{}{}", deal("{}"), " ".repeat(1 << 20)),
            Reason::TooLarge,
        ),
    ] {
        assert_eq!(reason(&text), expected, "{}", short(&text));
    }
    let decoded = decode(Some(b"\xff\xfe"), &[], &context());
    assert_eq!(decoded.rejected[0].bad.reason, Reason::NotJson);
}

#[test]
fn a_number_is_taken_digit_by_digit() {
    let text = event(
        "crm.deal.upserted",
        "D-1",
        r#"{"amount":90071992547409.9301,"created_at":1772618400000,"account_id":7}"#,
    );
    let values = &decode_text(&text, &context()).assertions[0].values;
    assert_eq!(values[0].1, Value::Text("7".into()));
    assert_eq!(
        values[1].1,
        Value::Decimal(Decimal(900_719_925_474_099_301)),
        "a float would have lost the last digits"
    );
    assert_eq!(values[2].1, Value::When(When::Instant(NOW)));
}

#[test]
fn one_bad_item_of_a_batch_leaves_the_others_standing() {
    let (good, bad) = (
        event("crm.deal.upserted", "D-1", "{}"),
        event("crm.deal.upserted", "", "{}"),
    );
    let text = format!("[{good},{bad},{good}]");
    let decoded = decode_text(&text, &context());
    assert_eq!(
        decoded
            .assertions
            .iter()
            .map(|a| a.stamp.origin.index)
            .collect::<Vec<_>>(),
        [0, 2]
    );
    assert_eq!(
        (decoded.rejected[0].index, decoded.rejected[0].raw),
        (1, bad.as_bytes())
    );
}

#[test]
fn binary_mode_takes_its_attributes_from_headers() {
    let headers: [Header<'_>; 5] = [
        ("ce_specversion", b"1.0"),
        ("ce_type", b"crm.lead.deleted"),
        ("ce_subject", b"L-1"),
        ("ce_time", b"2026-03-04T09:00:00Z"),
        ("ce_sequence", b"12"),
    ];
    let decoded = decode(None, &headers, &context());
    let assertion = &decoded.assertions[0];
    assert_eq!(
        assertion.values,
        [(FieldName::Known(Field::DELETED), Value::Flag(true))]
    );
    assert_eq!(assertion.stamp.clock.sequence, 12);
}

#[test]
fn a_tombstone_says_nothing() {
    let decoded = decode(None, &[], &context());
    assert!(decoded.assertions.is_empty() && decoded.rejected.is_empty());
}

#[test]
fn ids_and_references_are_qualified_by_the_namespace() {
    let context = Context {
        namespace: Some("eu"),
        ..context()
    };
    let text = event(
        "crm.deal.upserted",
        "7",
        r#"{"account_id":"7","owner_id":"","stage":"7"}"#,
    );
    let assertion = &decode_text(&text, &context).assertions[0];
    assert_eq!(assertion.id, "eu/7");
    assert_eq!(assertion.values[0].1, Value::Text("eu/7".into()));
    assert_eq!(assertion.values[1].1, Value::Null);
    assert_eq!(
        assertion.values[2].1,
        Value::Text("7".into()),
        "a stage is no reference"
    );
}

#[test]
fn the_broker_knows_that_nothing_happened_after_it_arrived() {
    let late = event("crm.deal.upserted", "D-1", "{}").replace("2026-03-04", "2027-03-04");
    let context = Context {
        is_append_time: true,
        ..context()
    };
    assert_eq!(
        decode_text(&late, &context).assertions[0].stamp.clock.time,
        NOW + 1
    );
}

#[test]
fn an_event_without_time_is_of_its_messages_time() {
    let text =
        event("crm.deal.upserted", "D-1", "{}").replace(r#""time":"2026-03-04T10:00:00Z","#, "");
    assert_eq!(
        decode_text(&text, &context()).assertions[0]
            .stamp
            .clock
            .time,
        NOW + 1
    );
    let nothing = Context {
        timestamp: None,
        ..context()
    };
    assert_eq!(
        decode_text(&text, &nothing).rejected[0].bad.reason,
        Reason::MissingTime
    );
}

#[test]
fn fields_come_in_order_of_their_numbers_and_custom_ones_after_them() {
    let text = event(
        "crm.deal.restored",
        "D-1",
        r#"{"custom":{"z":1,"a":2,"z":3},"amount":"1","name":"x","stage":"s","name":"y","custom":{"a":"4"}}"#,
    );
    let known = |field, value: &'static str| (FieldName::Known(field), Value::Text(value.into()));
    let custom = |name: &'static str, value: &'static str| {
        (FieldName::Custom(name.into()), Value::Text(value.into()))
    };
    assert_eq!(
        decode_text(&text, &context()).assertions[0].values,
        [
            (FieldName::Known(Field::DELETED), Value::Flag(false)),
            known(deal::NAME, "y"),
            known(deal::STAGE, "s"),
            (
                FieldName::Known(deal::AMOUNT),
                Value::Decimal(Decimal(10_000))
            ),
            custom("a", "4"),
            custom("z", "3"),
        ]
    );
}

/// An event whose attributes besides the usual ones are `more`.
fn with(kind: &str, more: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","type":"{kind}","subject":"D-1","time":"2026-03-04T10:00:00Z",{more}}}"#
    )
}

#[test]
fn data_in_base64_are_read_like_any() {
    let plain = event(
        "crm.deal.upserted",
        "D-1",
        r#"{"stage":"won","x":1,"custom":{"a":2}}"#,
    );
    let plain = decode_text(&plain, &context());
    for encoded in [
        "eyJzdGFnZSI6IndvbiIsIngiOjEsImN1c3RvbSI6eyJhIjoyfX0=",
        "eyJzdGFnZSI6IndvbiIsIngiOjEsImN1c3RvbSI6eyJhIjoyfX0",
    ] {
        for rest in ["", r#","data":null"#] {
            let more = format!(r#""data_base64":"{encoded}"{rest}"#);
            let text = with("crm.deal.upserted", &more);
            let decoded = decode_text(&text, &context());
            assert_eq!(decoded.rejected, []);
            assert_eq!(decoded.assertions, plain.assertions);
            assert_eq!(decoded.unknown_fields, 1);
        }
    }
}

#[test]
fn data_that_cannot_be_read_are_never_passed_over() {
    for (more, expected) in [
        (r#""data":{},"data_base64":"e30=""#, Reason::NotAnEvent),
        (
            r#""data_base64":"e30=","data":{"stage":"x"}"#,
            Reason::NotAnEvent,
        ),
        (r#""data_base64":"e3!=""#, Reason::NotAnEvent),
        (r#""data_base64":{}"#, Reason::NotAnEvent),
        (r#""data_base64":"/w==""#, Reason::NotJson),
        (r#""data_base64":"e30x""#, Reason::NotJson),
        (r#""data_base64":"""#, Reason::NotJson),
        (r#""data_base64":"W10=""#, Reason::WrongType),
        (r#""data":"{}""#, Reason::WrongType),
        (r#""data":[{}]"#, Reason::WrongType),
        (r#""data":0"#, Reason::WrongType),
        (r#""dataref":"https://crm.example/1""#, Reason::NotAnEvent),
        (r#""dataref":"x","data":null"#, Reason::NotAnEvent),
        (r#""dataref":7"#, Reason::NotAnEvent),
        (
            r#""datacontenttype":"application/xml","data":{}"#,
            Reason::NotAnEvent,
        ),
        (
            r#""data":{},"datacontenttype":"application/avro""#,
            Reason::NotAnEvent,
        ),
        (
            r#""data_base64":"e30=","datacontenttype":"text/plain""#,
            Reason::NotAnEvent,
        ),
        (
            r#""datacontenttype":["application/json"],"data":{}"#,
            Reason::NotAnEvent,
        ),
    ] {
        assert_eq!(reason(&with("crm.deal.upserted", more)), expected, "{more}");
    }
}

#[test]
fn data_attributes_that_hide_nothing_are_allowed() {
    for more in [
        r#""dataref":"https://crm.example/1","data":{}"#,
        r#""dataref":"","data_base64":null"#,
        r#""datacontenttype":"Application/JSON; charset=utf-8","data":{}"#,
        r#""datacontenttype":"application/vnd.crm+json","data":{}"#,
        r#""datacontenttype":null,"data":{}"#,
        r#""datacontenttype":"application/xml""#,
        r#""dataschema":"https://crm.example/deal.xsd","data":{}"#,
    ] {
        let text = with("crm.deal.upserted", more);
        assert_eq!(decode_text(&text, &context()).rejected, [], "{more}");
    }
    // Of a deleted record nothing is read but that it is.
    for more in [
        r#""dataref":"x""#,
        r#""data":[1]"#,
        r#""datacontenttype":"a/b","data_base64":"!""#,
    ] {
        let text = with("crm.deal.deleted", more);
        assert_eq!(decode_text(&text, &context()).rejected, [], "{more}");
    }
}

#[test]
fn data_may_come_before_their_type() {
    let text = r#"{"data":{"stage":"won"},"specversion":"1.0","subject":"D-1","type":"crm.deal.upserted"}"#;
    assert_eq!(
        decode_text(text, &context()).assertions[0].values,
        [(FieldName::Known(deal::STAGE), Value::Text("won".into()))]
    );
}

#[test]
fn a_number_is_a_subject_by_its_digits() {
    let numbered =
        |number: &str| event("crm.deal.upserted", "D-1", "{}").replace(r#""D-1""#, number);
    for (number, digits) in [
        ("17", "17"),
        ("18446744073709551616", "18446744073709551616"),
        ("1.25E7", "12500000"),
    ] {
        assert_eq!(
            decode_text(&numbered(number), &context()).assertions[0].id,
            digits
        );
    }
    for (number, expected) in [
        ("0", Reason::MissingId),
        ("17.0", Reason::NotAnEvent),
        ("1e-3", Reason::NotAnEvent),
        ("1e99", Reason::NotAnEvent),
        ("-1", Reason::NotAnEvent),
        ("true", Reason::NotAnEvent),
        ("017", Reason::NotJson),
    ] {
        assert_eq!(reason(&numbered(number)), expected, "{number}");
    }
}

#[test]
fn numbers_with_exponents_are_read_as_if_they_were_written_out() {
    let floating = r#"{"account_id":1.25E7,"probability":5.0E-1,"amount":1.2345678E7,"closed_at":1.7726184E12}"#;
    let plain =
        r#"{"account_id":12500000,"probability":0.5,"amount":12345678,"closed_at":1772618400000}"#;
    let [floating, plain] = [floating, plain].map(|data| {
        let text = event("crm.deal.upserted", "D-1", data);
        decode_text(&text, &context()).assertions[0]
            .clone()
            .into_owned()
    });
    assert_eq!(floating, plain);
    for (data, expected) in [
        (r#"{"closed_at":1.7726184001E9}"#, Reason::BadTime),
        (r#"{"closed_at":1e-3}"#, Reason::BadTime),
        (r#"{"amount":1.23456E-1}"#, Reason::BadMoney),
        (r#"{"probability":1.5E0}"#, Reason::WrongType),
    ] {
        assert_eq!(
            reason(&event("crm.deal.upserted", "D-1", data)),
            expected,
            "{data}"
        );
    }
}

#[test]
fn blank_means_none_where_it_can_mean_nothing_else() {
    for blank in ["", "  ", "\\t"] {
        let data = format!(
            r#"{{"account_id":"{blank}","status":"{blank}","probability":"{blank}","amount":"{blank}","currency":"{blank}","closed_at":"{blank}"}}"#
        );
        let text = event("crm.deal.upserted", "D-1", &data);
        let decoded = decode_text(&text, &context());
        assert_eq!(decoded.assertions[0].values.len(), 6);
        for (field, value) in &decoded.assertions[0].values {
            assert_eq!(*value, Value::Null, "{field:?}");
        }
    }
    let text = event("crm.deal.upserted", "D-1", r#"{"stage":""}"#);
    assert_eq!(
        decode_text(&text, &context()).assertions[0].values[0].1,
        Value::Text("".into()),
        "a blank text is a value of its own"
    );
}

#[test]
fn a_currency_is_its_code_in_capitals() {
    for code in ["usd", "Usd", " USD "] {
        let text = event(
            "crm.deal.upserted",
            "D-1",
            &format!(r#"{{"currency":"{code}"}}"#),
        );
        let value = &decode_text(&text, &context()).assertions[0].values[0].1;
        assert_eq!(*value, Value::Text("USD".into()));
    }
    for other in ["us", "us$", "euro", "€"] {
        let text = event(
            "crm.deal.upserted",
            "D-1",
            &format!(r#"{{"currency":"{other}"}}"#),
        );
        assert_eq!(reason(&text), Reason::BadMoney, "{other}");
    }
}

#[test]
fn binary_mode_reads_json_and_nothing_else() {
    let attributes: [Header<'_>; 3] = [
        ("ce_specversion", b"1.0"),
        ("ce_type", b"crm.lead.upserted"),
        ("ce_subject", b"L-1"),
    ];
    let with = |more: &[Header<'static>]| [&attributes[..], more].concat();
    let rejected = |payload: &'static str, more: &[Header<'static>]| {
        let decoded = decode(Some(payload.as_bytes()), &with(more), &context());
        decoded.rejected.first().map(|rejected| rejected.bad.reason)
    };
    for header in ["content-type", "Content-Type", "ce_datacontenttype"] {
        for json in [&b"application/json"[..], b"APPLICATION/x+JSON;v=1", b""] {
            assert_eq!(rejected("{}", &[(header, json)]), None);
        }
        let xml = [(header, &b"application/xml"[..])];
        assert_eq!(rejected("{}", &xml), Some(Reason::NotAnEvent));
        assert_eq!(rejected("", &xml), None, "there are no data");
    }
    let other_one: [Header<'_>; 2] = [
        ("content-type", b"application/json"),
        ("ce_datacontenttype", b"application/avro"),
    ];
    assert_eq!(rejected("{}", &other_one), Some(Reason::NotAnEvent));
    let elsewhere: [Header<'_>; 1] = [("ce_dataref", b"s3://bucket/1")];
    assert_eq!(rejected("", &elsewhere), Some(Reason::NotAnEvent));
    assert_eq!(rejected("{}", &elsewhere), None);
}

#[test]
fn a_whole_event_is_no_data_whatever_its_headers_say() {
    let headers: [Header<'_>; 2] = [
        (
            "content-type",
            b"application/cloudevents+json; charset=utf-8",
        ),
        ("ce_type", b"crm.lead.upserted"),
    ];
    let text = event("crm.deal.upserted", "D-1", r#"{"stage":"won"}"#);
    let decoded = decode(Some(text.as_bytes()), &headers, &context());
    assert_eq!(decoded.assertions[0].entity, Entity::DEAL);
}
