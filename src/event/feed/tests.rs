use std::collections::BTreeMap;

use super::*;
use crate::record::SCHEMA;

const MAPPING: &str = r#"
ignore = ["projects", "ticket"]
[[records]]
table = "deals"
entity = "deal"
id = "id"
when = { tracker_id = "4" }
otherwise = "delete"
[records.fields]
amount = { column = "value", round = true }
owner_id = "assigned_to_id"
status = { cases = [{ when = { active = "false", probability = "0" }, value = "lost" }, { when = { stage = ["4", "Won"] }, value = "won" }, { value = "open" }] }
closed_at = { cases = [{ when = { active = "false" }, column = "closed_on" }, { value = "" }], format = "epoch_us" }

[[records]]
table = "deals"
entity = "lead"
id = "id"
when = { tracker_id = "5" }
otherwise = "delete"
[records.fields]
lead_source = { column = "source", map = { "WEB SITE" = "web" }, ignore_case = true }

[[records]]
table = "values"
entity = "deal"
id = "of"
partial = true
[records.fields]
amount = { cases = [{ when = { field = "1" }, column = "value" }] }
product = { cases = [{ when = { field = "2" }, column = "value" }] }

[[records]]
table = "rows"
entity = "deal"
id = "of"
when = { kind = "Issue" }
partial = true
row_id = "id"
[records.fields]
amount = { cases = [{ when = { field = ["1", "12"] }, column = "value" }], round = true }
account_id = { cases = [{ when = { field = ["2", "12"] }, column = "value" }] }
[records.custom]
tier = { cases = [{ when = { field = "3" }, column = "value" }] }

[[records]]
table = "deal"
entity = "deal"
id = "objectId"
[records.fields]
amount = "amount"
account_id = "deal_to_company"

[[records]]
table = "company"
entity = "account"
id = "objectId"

[[records]]
table = "Opportunity"
entity = "deal"
id = "Id"
[records.fields]
amount = "Amount"
stage = "StageName"
account_id = "AccountId"
expected_close_date = "CloseDate"

[[records]]
table = "organization"
entity = "account"
id = "id"
[records.fields]
name = "name"

[[records]]
table = "Signed Up"
entity = "lead"
id = "/userId"
[records.fields]
lead_source = "utm_source"

[[records]]
table = "orders"
entity = "payment"
id = "/order/number"
[records.fields]
amount = { column = "/order/total", decimal = ",", grouping = "." }
"#;

fn feed(format: Format) -> Feed {
    let mapping = Mapping::parse(MAPPING, &SCHEMA).unwrap();
    Feed::new(format, mapping, &Calendar::new(chrono_tz::Tz::UTC, 1))
}

pub(super) fn context() -> Context<'static> {
    Context {
        schema: &SCHEMA,
        topic: 7,
        namespace: None,
        partition: 0,
        offset: 12,
        attempt: 0,
        timestamp: Some(99),
        is_append_time: false,
        now: i64::MAX / 2,
        limit: 100_000,
    }
}

pub(super) type Said = (String, String, i64, u64, BTreeMap<String, String>);

pub(super) fn said(assertion: &Assertion<'_>) -> Said {
    let spec = assertion.entity.spec();
    let values = assertion.values.iter().map(|(name, value)| {
        let name = match name {
            FieldName::Known(field) => spec.spec(*field).name.to_owned(),
            FieldName::Custom(name) => format!("custom.{name}"),
        };
        let value = match value {
            Value::Null => "-".to_owned(),
            Value::Text(text) => text.clone().into_owned(),
            Value::Decimal(decimal) => decimal.to_string(),
            Value::Flag(flag) => flag.to_string(),
            Value::When(when) => format!("{when:?}"),
        };
        (name, value)
    });
    let clock = assertion.stamp.clock;
    (
        spec.name.to_owned(),
        assertion.id.clone().into_owned(),
        clock.time,
        clock.sequence,
        values.collect(),
    )
}

fn decode_with(format: Format, key: Option<&str>, value: &str) -> (Vec<Said>, Vec<(u32, Reason)>) {
    let feed = feed(format);
    let message = Message {
        key: key.map(str::as_bytes),
        value: Some(value.as_bytes()),
    };
    let decoded = feed.decode("orders", message, &context());
    let rejected = decoded.rejected.iter();
    (
        decoded.assertions.iter().map(said).collect(),
        rejected
            .map(|rejected| (rejected.index, rejected.bad.reason))
            .collect(),
    )
}

fn decode(format: Format, value: &str) -> Vec<Said> {
    let (said, rejected) = decode_with(format, None, value);
    assert_eq!(rejected, [], "{value}");
    said
}

fn refused(format: Format, value: &str) -> Reason {
    let (said, rejected) = decode_with(format, None, value);
    assert!(said.is_empty(), "{value}: {said:?}");
    assert_eq!(rejected.len(), 1, "{value}");
    rejected[0].1
}

pub(super) fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = pairs
        .iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
    owned.collect()
}

fn debezium(op: &str, before: &str, after: &str) -> String {
    format!(
        r#"{{"before":{before},"after":{after},"op":"{op}","ts_ms":5000,"source":{{"table":"deals","ts_ms":4000,"ts_us":4000123,"lsn":77}}}}"#
    )
}

const ROW: &str = r#"{"id":7,"tracker_id":4,"value":12.300000000000001,"assigned_to_id":null,"stage":"Won","active":true,"probability":100.0,"closed_on":1000}"#;

#[test]
fn a_row_of_debezium_says_its_columns_as_of_its_place_in_the_log() {
    let said = decode(Format::Debezium, &debezium("u", "null", ROW));
    assert_eq!(said.len(), 2, "a deal, and no lead any more");
    assert_eq!(said[0].0, "deal");
    assert_eq!((said[0].2, said[0].3), (4_000_123, 77));
    let expected = [
        ("amount", "12.30"),
        ("closed_at", "-"),
        ("deleted", "false"),
        ("owner_id", "-"),
        ("status", "won"),
    ];
    assert_eq!(said[0].4, values(&expected));
    assert_eq!(said[1].0, "lead");
    assert_eq!(said[1].4, values(&[("deleted", "true")]));
}

#[test]
fn with_a_schema_flattened_or_plain_a_row_is_the_same() {
    let plain = decode(Format::Debezium, &debezium("c", "null", ROW));
    let with_schema = format!(
        r#"{{"schema":{{"type":"struct","fields":[]}},"payload":{}}}"#,
        debezium("c", "null", ROW)
    );
    assert_eq!(decode(Format::Debezium, &with_schema), plain);
    let flat = ROW.replacen(
        '{',
        r#"{"__table":"deals","__deleted":"false","__source_lsn":77,"__source_ts_us":4000123,"#,
        1,
    );
    assert_eq!(decode(Format::Debezium, &flat), plain);
}

#[test]
fn a_delete_is_known_by_its_key_and_says_nothing_else() {
    let blank = r#"{"id":0,"tracker_id":0,"value":null}"#;
    let value = debezium("d", blank, "null");
    let (said, rejected) = decode_with(Format::Debezium, Some(r#"{"id":7}"#), &value);
    assert_eq!(rejected, []);
    let gone: Vec<(&str, &str)> = said.iter().map(|s| (s.0.as_str(), s.1.as_str())).collect();
    assert_eq!(gone, [("deal", "7"), ("lead", "7")]);
    assert!(said.iter().all(|s| s.4 == values(&[("deleted", "true")])));
    let tombstone = Message {
        key: Some(br#"{"id":7}"#),
        ..Message::default()
    };
    let decoded = feed(Format::Debezium).decode("orders", tombstone, &context());
    assert!(decoded.assertions.is_empty() && decoded.rejected.is_empty());
}

#[test]
fn a_value_debezium_did_not_read_and_a_decimal_with_a_schema_are_no_texts() {
    let row = ROW.replace("12.300000000000001", r#""__debezium_unavailable_value""#);
    let said = decode(Format::Debezium, &debezium("u", "null", &row));
    assert!(!said[0].4.contains_key("amount"));
    let row = ROW.replace("12.300000000000001", r#""ExLQ""#);
    let decimal = r#"{"field":"value","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}}"#;
    let value = format!(
        r#"{{"schema":{{"fields":[{{"field":"after","fields":[{decimal}]}}]}},"payload":{}}}"#,
        debezium("u", "null", &row)
    );
    assert_eq!(decode(Format::Debezium, &value)[0].4["amount"], "12500.00");
    // Without its scale it is no amount, and not taken for one.
    assert_eq!(
        refused(Format::Debezium, &debezium("u", "null", &row)),
        Reason::BadMoney
    );
}

#[test]
fn conditions_look_at_several_columns_and_numbers_are_numbers() {
    let of = |stage: &str, active: &str, probability: &str| {
        let row = ROW
            .replace("\"Won\"", stage)
            .replace(":true", &format!(":{active}"))
            .replace("100.0", probability);
        let said = decode(Format::Debezium, &debezium("u", "null", &row));
        (said[0].4["status"].clone(), said[0].4["closed_at"].clone())
    };
    assert_eq!(
        of("\"New\"", "false", "0.0"),
        ("lost".into(), "Instant(1000)".into())
    );
    assert_eq!(
        of("4", "false", "100"),
        ("won".into(), "Instant(1000)".into())
    );
    assert_eq!(of("\"New\"", "true", "0"), ("open".into(), "-".into()));
}

#[test]
fn a_row_that_becomes_another_entitys_is_deleted_where_it_was() {
    let lead = r#"{"id":7,"tracker_id":5,"source":" Web Site "}"#;
    let said = decode(Format::Debezium, &debezium("u", "null", lead));
    assert_eq!(said[0].0, "deal");
    assert_eq!(said[0].4, values(&[("deleted", "true")]));
    assert_eq!(
        said[1].4,
        values(&[("deleted", "false"), ("lead_source", "web")])
    );
    // Where it isn't said which it is, nothing is concluded.
    assert_eq!(
        decode(Format::Debezium, &debezium("u", "null", r#"{"id":7}"#)),
        []
    );
}

#[test]
fn a_part_of_a_record_says_its_own_field_alone_and_not_whether_the_record_is_there() {
    let part = |op, row: &str| {
        let value = debezium(op, "null", row).replace("\"deals\"", "\"values\"");
        decode(Format::Debezium, &value)
    };
    let amount = part("c", r#"{"id":1,"of":7,"field":1,"value":"12.50"}"#);
    assert_eq!((amount[0].0.as_str(), amount[0].1.as_str()), ("deal", "7"));
    assert_eq!(amount[0].4, values(&[("amount", "12.50")]));
    let product = part("u", r#"{"id":2,"of":7,"field":2,"value":""}"#);
    assert_eq!(product[0].4, values(&[("product", "-")]));
    assert_eq!(
        part("u", r#"{"id":3,"of":7,"field":9,"value":"x"}"#)[0].4,
        values(&[])
    );
}

#[test]
fn a_deleted_part_clears_what_it_said_if_its_message_has_the_old_row_and_is_a_gap_else() {
    let gone = |row: &str| debezium("d", row, "null").replace("\"deals\"", "\"values\"");
    let whole = decode(
        Format::Debezium,
        &gone(r#"{"id":1,"of":7,"field":1,"value":"5"}"#),
    );
    assert_eq!((whole[0].0.as_str(), whole[0].1.as_str()), ("deal", "7"));
    assert_eq!(whole[0].4, values(&[("amount", "-")]));
    let other = gone(r#"{"id":1,"of":7,"field":9,"value":"5"}"#);
    assert_eq!(
        decode(Format::Debezium, &other),
        [],
        "of a field that is not read"
    );
    for row in [
        r#"{"id":1,"of":0,"field":0,"value":null}"#,
        r#"{"id":1,"of":0,"field":1,"value":null}"#,
        r#"{"id":1}"#,
    ] {
        assert_eq!(refused(Format::Debezium, &gone(row)), Reason::Gap, "{row}");
    }
    let lost = gone(r#"{"id":1}"#);
    let message = Message {
        value: Some(lost.as_bytes()),
        ..Message::default()
    };
    let decoded = feed(Format::Debezium).decode("x", message, &context());
    let why = &decoded.rejected[0].bad.detail;
    let expected = "a row of `values` is gone, and the message doesn't say which field of which deal it was; name the column of the row's own id \
        as `row_id` in the mapping, or have the source send whole rows (PostgreSQL: ALTER TABLE values REPLICA IDENTITY FULL)";
    assert_eq!(why, expected);
}

#[test]
fn a_part_with_an_id_of_its_own_is_a_record_that_says_one_field_and_is_withdrawn_by_that_id() {
    let row = |op, before: &str, after: &str| {
        debezium(op, before, after).replace("\"deals\"", "\"rows\"")
    };
    let part = |op, after: &str| decode(Format::Debezium, &row(op, "null", after));
    let amount = part(
        "c",
        r#"{"id":1,"kind":"Issue","of":7,"field":1,"value":"12.300000000000001"}"#,
    );
    let identity = |said: &[Said]| (said[0].0.clone(), said[0].1.clone());
    let own = ("field_value".to_owned(), "deal/rows/1".to_owned());
    assert_eq!((amount.len(), identity(&amount)), (1, own.clone()));
    let expected = [
        ("deleted", "false"),
        ("entity", "deal"),
        ("record_id", "7"),
        ("field", "amount"),
        ("value", "12.30"),
        ("assignment", r#"["deal","7","amount",123000]"#),
    ];
    assert_eq!(amount[0].4, values(&expected));
    let tier = part(
        "u",
        r#"{"id":1,"kind":"Issue","of":8,"field":3,"value":""}"#,
    );
    let expected = [
        ("deleted", "false"),
        ("entity", "deal"),
        ("record_id", "8"),
        ("field", "custom.tier"),
        ("value", "-"),
        ("assignment", r#"["deal","8","custom.tier",null]"#),
    ];
    assert_eq!(tier[0].4, values(&expected));

    let withdrawn = values(&[
        ("deleted", "true"),
        ("entity", "-"),
        ("record_id", "-"),
        ("field", "-"),
        ("value", "-"),
        ("assignment", "-"),
    ]);
    let blank = r#"{"id":1,"kind":"","of":0,"field":0,"value":null}"#;
    let gone = decode(Format::Debezium, &row("d", blank, "null"));
    assert_eq!((identity(&gone), &gone[0].4), (own, &withdrawn));
    // A row that says no field is nothing new; one that no longer says any is withdrawn.
    for other in [
        r#"{"id":1,"kind":"Issue","of":7,"field":9,"value":"x"}"#,
        r#"{"id":1,"kind":"Project","of":7,"field":1,"value":"x"}"#,
    ] {
        assert_eq!(part("c", other), []);
        assert_eq!(part("u", other)[0].4, withdrawn);
    }
    assert_eq!(part("u", r#"{"id":1,"of":7,"field":1,"value":"x"}"#), []);

    let refused = |after: &str| refused(Format::Debezium, &row("u", "null", after));
    let two = r#"{"id":1,"kind":"Issue","of":7,"field":12,"value":"5"}"#;
    assert_eq!(refused(two), Reason::WrongType, "two fields");
    let unsent = r#"{"id":1,"kind":"Issue","of":7,"field":1}"#;
    assert_eq!(refused(unsent), Reason::Gap, "a value that isn't sent");
    let nobody = r#"{"id":1,"kind":"Issue","of":0,"field":1,"value":"5"}"#;
    assert_eq!(refused(nobody), Reason::MissingId);
    let nameless = r#"{"id":0,"kind":"Issue","of":7,"field":1,"value":"5"}"#;
    assert_eq!(refused(nameless), Reason::MissingId);
    let soon = r#"{"id":1,"kind":"Issue","of":7,"field":1,"value":"soon"}"#;
    assert_eq!(refused(soon), Reason::BadMoney);
}

#[test]
fn what_debezium_says_that_is_no_row_is_refused_or_known() {
    let bad = |value: &str| refused(Format::Debezium, value);
    assert_eq!(bad(&debezium("t", "null", "null")), Reason::NotAnEvent);
    assert_eq!(bad(&debezium("x", "null", ROW)), Reason::NotAnEvent);
    assert_eq!(bad(&debezium("u", "null", "null")), Reason::NotAnEvent);
    assert_eq!(
        bad(&debezium("u", "null", r#"{"id":null,"tracker_id":4}"#)),
        Reason::MissingId
    );
    assert_eq!(
        bad(&debezium("u", "null", ROW).replace("deals", "users")),
        Reason::UnknownEntity
    );
    assert_eq!(bad("[1"), Reason::NotJson);
    assert_eq!(bad("7"), Reason::NotAnEvent);
    assert_eq!(
        decode(
            Format::Debezium,
            &debezium("u", "null", ROW).replace("deals", "projects")
        ),
        []
    );
    assert_eq!(decode(Format::Debezium, &debezium("m", "null", "null")), []);
}

#[test]
fn binlogs_are_ordered_by_file_position_and_row() {
    let at = |file: &str, pos: u64, row: u64| {
        let source = format!(r#""file":"{file}","pos":{pos},"row":{row}"#);
        let value = debezium("u", "null", ROW).replace(r#""lsn":77"#, &source);
        decode(Format::Debezium, &value)[0].3
    };
    let places = [
        at("mysql-bin.000009", 4_000_000_000, 0),
        at("mysql-bin.000010", 4, 0),
        at("mysql-bin.000010", 4, 1),
        at("mysql-bin.000010", 5, 0),
    ];
    assert!(places.is_sorted() && places[0] > 0, "{places:?}");
}

fn salesforce(kind: &str, ids: &str, more: &str, fields: &str) -> String {
    format!(
        r#"{{"schema":"x","payload":{{"ChangeEventHeader":{{"entityName":"Opportunity","recordIds":{ids},"changeType":"{kind}","commitTimestamp":5000,"commitNumber":10,"sequenceNumber":2{more}}}{fields}}},"event":{{"replayId":1}}}}"#
    )
}

#[test]
fn salesforce_says_only_what_changed_and_ids_of_both_lengths_are_one() {
    let value = salesforce(
        "UPDATE",
        r#"["0065g00000ABCde","0065g00000ABCdeAAG"]"#,
        r#","changedFields":["Amount","CloseDate"],"nulledFields":["CloseDate"]"#,
        r#","Amount":12.5,"StageName":null,"AccountId":null,"CloseDate":null"#,
    );
    let said = decode(Format::SalesforceCdc, &value);
    let ids: Vec<&str> = said.iter().map(|s| s.1.as_str()).collect();
    assert_eq!(ids[1], "0065g00000ABCdeAAG");
    assert_eq!(ids[0].len(), 18);
    assert_eq!((said[0].2, said[0].3), (5_000_000, 10 << 16 | 2));
    let expected = [("amount", "12.50"), ("expected_close_date", "-")];
    assert_eq!(said[0].4, values(&expected));
}

#[test]
fn eighteen_characters_say_which_of_fifteen_are_capitals() {
    // From Salesforce's own account of the two forms: the case of the first fifteen decides the
    // last three.
    let long = |id: &str| {
        let value = salesforce("DELETE", &format!(r#"["{id}"]"#), "", "");
        decode(Format::SalesforceCdc, &value)[0].1.clone()
    };
    assert_eq!(long("001A0000006Vm9r"), "001A0000006Vm9rIAC");
    assert_eq!(long("001A0000006Vm9rIAC"), "001A0000006Vm9rIAC");
}

#[test]
fn a_record_of_salesforce_is_made_deleted_and_comes_back() {
    let fields = r#","Amount":1,"StageName":"New","AccountId":null"#;
    let said = decode(
        Format::SalesforceCdc,
        &salesforce("CREATE", r#"["D1"]"#, "", fields),
    );
    assert_eq!(
        said[0].4,
        values(&[("amount", "1.00"), ("deleted", "false"), ("stage", "New")])
    );
    let said = decode(
        Format::SalesforceCdc,
        &salesforce("UNDELETE", r#"["D1"]"#, "", fields),
    );
    assert_eq!(said[0].4["deleted"], "false");
    let said = decode(
        Format::SalesforceCdc,
        &salesforce("DELETE", r#"["D1"]"#, "", ""),
    );
    assert_eq!(said[0].4, values(&[("deleted", "true")]));
    let flat = r#"{"ChangeEventHeader":{"entityName":"Opportunity","recordIds":["D1"],"changeType":"UPDATE","commitTimestamp":1,"changedFields":["StageName"]},"StageName":"Won","Amount":null}"#;
    assert_eq!(
        decode(Format::SalesforceCdc, flat)[0].4,
        values(&[("stage", "Won")])
    );
}

#[test]
fn gaps_of_salesforce_are_gaps() {
    for (kind, ids) in [
        ("GAP_UPDATE", r#"["D1"]"#),
        ("GAP_OVERFLOW", "[]"),
        ("UPDATE", r#"["006*"]"#),
    ] {
        assert_eq!(
            refused(Format::SalesforceCdc, &salesforce(kind, ids, "", "")),
            Reason::Gap,
            "{kind}"
        );
    }
    assert_eq!(
        refused(Format::SalesforceCdc, &salesforce("UPDATE", "[]", "", "")),
        Reason::MissingId
    );
    assert_eq!(
        refused(Format::SalesforceCdc, r#"{"payload":{}}"#),
        Reason::NotAnEvent
    );
}

#[test]
fn hubspots_events_are_read_one_by_one_under_either_name() {
    let value = r#"[
        {"eventId":1,"subscriptionType":"deal.propertyChange","objectId":7,"occurredAt":5000,"propertyName":"amount","propertyValue":"12.50"},
        {"eventId":1,"subscriptionType":"object.propertyChange","objectTypeId":"0-3","objectId":7,"occurredAt":5001,"propertyName":"amount","propertyValue":""},
        {"subscriptionType":"object.deletion","objectTypeId":"0-3","objectId":8,"occurredAt":5002},
        {"subscriptionType":"deal.restore","objectId":8,"occurredAt":5003},
        {"subscriptionType":"company.merge","objectId":1,"occurredAt":5004,"primaryObjectId":1,"mergedObjectIds":[2,3],"newObjectId":9},
        {"subscriptionType":"deal.associationChange","occurredAt":5005,"associationType":"DEAL_TO_COMPANY","fromObjectId":7,"toObjectId":9,"associationRemoved":false},
        {"subscriptionType":"deal.associationChange","occurredAt":5006,"associationType":"DEAL_TO_COMPANY","fromObjectId":7,"toObjectId":9,"associationRemoved":true},
        {"subscriptionType":"ticket.creation","objectId":3,"occurredAt":5007},
        {"subscriptionType":"deal.dance","objectId":3,"occurredAt":5008}
    ]"#;
    let (said, rejected) = decode_with(Format::HubspotWebhook, None, value);
    assert_eq!(rejected, [(8, Reason::NotAnEvent)]);
    let short: Vec<(&str, &str, i64, String)> = said
        .iter()
        .map(|s| (s.0.as_str(), s.1.as_str(), s.2, format!("{:?}", s.4)))
        .collect();
    let expected = [
        ("deal", "7", 5_000_000, r#"{"amount": "12.50"}"#),
        ("deal", "7", 5_001_000, r#"{"amount": "-"}"#),
        ("deal", "8", 5_002_000, r#"{"deleted": "true"}"#),
        ("deal", "8", 5_003_000, r#"{"deleted": "false"}"#),
        ("account", "1", 5_004_000, r#"{"merged_into": "9"}"#),
        ("account", "2", 5_004_000, r#"{"merged_into": "9"}"#),
        ("account", "3", 5_004_000, r#"{"merged_into": "9"}"#),
        ("deal", "7", 5_005_000, r#"{"account_id": "9"}"#),
        ("deal", "7", 5_006_000, r#"{"account_id": "-"}"#),
    ];
    let expected: Vec<(&str, &str, i64, String)> =
        expected.map(|(a, b, c, d)| (a, b, c, d.to_owned())).into();
    assert_eq!(short, expected);
}

#[test]
fn pipedrives_two_versions_say_the_same() {
    let one = r#"{"v":1,"event":"updated.organization","meta":{"action":"updated","object":"organization","id":5,"timestamp":6,"timestamp_micro":6000001},"current":{"id":5,"name":"Acme"},"previous":{"id":5,"name":"A"}}"#;
    let two = r#"{"meta":{"version":"2.0","action":"change","entity":"organization","entity_id":"5","timestamp":"1970-01-01T00:00:06.000001Z"},"data":{"id":5,"name":"Acme"},"previous":{"name":"A"}}"#;
    assert_eq!(
        decode(Format::PipedriveWebhook, one),
        decode(Format::PipedriveWebhook, two)
    );
    assert_eq!(
        decode(Format::PipedriveWebhook, two)[0].4,
        values(&[("deleted", "false"), ("name", "Acme")])
    );
    let deleted = two
        .replace("change", "delete")
        .replace(r#"{"id":5,"name":"Acme"}"#, "null");
    assert_eq!(
        decode(Format::PipedriveWebhook, &deleted)[0].4,
        values(&[("deleted", "true")])
    );
    let merged = one
        .replace("updated", "merged")
        .replace(r#""name":"Acme""#, r#""name":"Acme","merged_to_id":6"#);
    assert_eq!(
        decode(Format::PipedriveWebhook, &merged)[0].4,
        values(&[("merged_into", "6")])
    );
    assert_eq!(
        refused(Format::PipedriveWebhook, &two.replace("change", "dance")),
        Reason::NotAnEvent
    );
}

#[test]
fn track_events_and_plain_documents_are_rows() {
    let track = r#"{"type":"track","event":"Signed Up","userId":"u1","timestamp":"1970-01-01T00:00:05Z","properties":{"utm_source":"fair"}}"#;
    let said = decode(Format::Segment, track);
    assert_eq!((said[0].1.as_str(), said[0].2), ("u1", 5_000_000));
    assert_eq!(said[0].4, values(&[("lead_source", "fair")]));
    assert_eq!(
        decode(Format::Segment, r#"{"type":"page","name":"Home"}"#),
        []
    );
    assert_eq!(
        refused(Format::Segment, &track.replace("track", "dance")),
        Reason::NotAnEvent
    );
    assert_eq!(
        refused(Format::Segment, &track.replace("Signed Up", "Left")),
        Reason::UnknownEntity
    );

    let orders =
        r#"[{"order":{"number":7,"total":"1.234,50 €"}},{"order":{"number":8,"total":"1.2.3"}},5]"#;
    let (said, rejected) = decode_with(Format::Json, None, orders);
    assert_eq!(said.len(), 1);
    assert_eq!(
        said[0].4,
        values(&[("amount", "1234.50"), ("deleted", "false")])
    );
    assert_eq!(
        said[0].2, 99,
        "without a time of its own, that of its message"
    );
    let mut rejected = rejected;
    rejected.sort_unstable();
    assert_eq!(rejected, [(1, Reason::BadMoney), (2, Reason::NotAnEvent)]);
}

#[test]
fn no_input_is_a_panic() {
    use proptest::prelude::*;
    let documents = [
        debezium("u", "null", ROW),
        salesforce("UPDATE", r#"["D1"]"#, r#","changedFields":["Amount"]"#, r#","Amount":1"#),
        r#"[{"subscriptionType":"deal.merge","objectId":7,"occurredAt":5000,"primaryObjectId":1,"mergedObjectIds":[2]}]"#.to_owned(),
        r#"{"meta":{"action":"change","entity":"organization","entity_id":"5","timestamp":"x"},"data":{"id":5}}"#.to_owned(),
        r#"{"type":"track","event":"Signed Up","userId":"u1","properties":{"utm_source":[{}]}}"#.to_owned(),
    ];
    let feeds = Format::ALL.map(feed);
    // Any byte changed, cut out or repeated, and any two numbers grown out of bounds.
    let damage = (
        0..documents.len(),
        0..600_usize,
        0..6_usize,
        any::<u8>(),
        any::<bool>(),
    );
    proptest!(ProptestConfig::with_cases(2_000), |((which, at, length, byte, grows) in damage)| {
        let mut bytes = documents[which].clone().into_bytes();
        let at = at % bytes.len();
        let end = (at + length).min(bytes.len());
        bytes.splice(at..end, std::iter::repeat_n(byte, usize::from(byte) % 4));
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        if grows {
            text = text.replace('5', "99999999999999999999");
        }
        for feed in &feeds {
            let message = Message { key: Some(text.as_bytes()), value: Some(text.as_bytes()) };
            let decoded = feed.decode("orders", message, &context());
            prop_assert!(decoded.rejected.iter().all(|rejected| !rejected.bad.detail.is_empty()));
        }
    });
}
