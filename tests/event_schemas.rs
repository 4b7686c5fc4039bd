//! The schemas in `schemas/events` hold for every event that is generated, refuse what is not an
//! event, and are what `docs/events.md` describes.

use dealpulse::event::decode::{Context, cloudevents};
use dealpulse::local::generate::{Generator, GeneratorConfig};
use dealpulse::record::SCHEMA;
use jsonschema::{Registry, Validator};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;

/// Each kind of record with the names of its fields, which are promised never to change.
const FIELDS: [(&str, &str); 15] = [
    (
        "lead",
        "lead_source status owner_id team region account_id created_at qualified_at converted_at converted_deal_id \
         merged_into custom",
    ),
    (
        "deal",
        "name account_id lead_id lead_source owner_id team region pipeline stage stage_entered_at status probability \
         forecast_category amount upsell_amount currency product deal_type created_at expected_close_date closed_at \
         lost_reason merged_into custom",
    ),
    (
        "account",
        "name segment owner_id region became_customer_at churned_at merged_into custom",
    ),
    (
        "activity",
        "kind owner_id deal_id account_id contact_id lead_id done_at due_at done custom",
    ),
    ("contact", "account_id owner_id created_at custom"),
    (
        "payment",
        "account_id deal_id invoice_id kind amount currency paid_at margin custom",
    ),
    (
        "invoice",
        "account_id deal_id owner_id number amount currency issued_at due_at paid_at status custom",
    ),
    (
        "quota",
        "owner_id period_start period_end target currency team custom",
    ),
    ("split", "deal_id owner_id share custom"),
    ("user", "name team manager_id active custom"),
    ("team", "name parent custom"),
    ("rate", "base currency rate day custom"),
    ("stage", "stage name status probability custom"),
    ("field_value", "entity record_id field value custom"),
    ("label", "dimension value name custom"),
];

fn schema(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("schemas/events")
        .join(format!("{name}.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The validators, one a kind of record, built from the files alone.
struct Schemas(HashMap<&'static str, Validator>);

impl Schemas {
    fn load() -> Self {
        let envelope = schema("envelope");
        let registry = Registry::new()
            .add("json-schema:///envelope.json", envelope)
            .unwrap()
            .prepare()
            .unwrap();
        let validators = FIELDS.map(|(kind, _)| {
            let validator = jsonschema::options()
                .with_registry(&registry)
                .offline()
                .should_validate_formats(true)
                .build(&schema(kind))
                .unwrap();
            (kind, validator)
        });
        Self(validators.into())
    }

    /// What is wrong with an event, by the schema of the kind its type names.
    fn errors(&self, event: &Value) -> Vec<String> {
        let kind = event["type"]
            .as_str()
            .and_then(|name| name.split('.').nth(1));
        let validator = kind
            .and_then(|kind| self.0.get(kind))
            .unwrap_or(&self.0["deal"]);
        validator
            .iter_errors(event)
            .map(|error| format!("{} at {}", error, error.instance_path()))
            .collect()
    }

    /// Accepts an event, and so does the decoder if it reads that kind of record.
    fn accept(&self, event: &Value) {
        assert_eq!(self.errors(event), Vec::<String>::new(), "{event}");
        let kind = event["type"]
            .as_str()
            .and_then(|name| name.split('.').nth(1));
        if kind.and_then(|name| SCHEMA.of_name(name)).is_some() {
            let text = event.to_string();
            let decoded = cloudevents::decode(Some(text.as_bytes()), &[], &context());
            assert_eq!(decoded.rejected, [], "{event}");
            assert_eq!(decoded.unknown_fields, 0, "{event}");
        }
    }

    fn refuse(&self, event: &Value, why: &str) {
        assert!(
            !self.errors(event).is_empty(),
            "accepted though {why}: {event}"
        );
    }
}

fn context() -> Context<'static> {
    Context {
        schema: &SCHEMA,
        topic: 1,
        namespace: None,
        partition: 0,
        offset: 0,
        attempt: 0,
        timestamp: None,
        is_append_time: false,
        now: 2_000_000_000_000_000,
        limit: 1 << 20,
    }
}

/// A sound event of that type.
fn event(kind: &str, verb: &str, data: Value) -> Value {
    json!({
        "specversion": "1.0", "id": "e-1", "source": "crm/eu", "type": format!("crm.{kind}.{verb}"),
        "subject": "X-17", "time": "2026-03-04T10:00:00Z", "data": data
    })
}

fn deal(data: Value) -> Value {
    event("deal", "upserted", data)
}

#[test]
fn are_themselves_sound_json_schema_2020_12() {
    for name in FIELDS.map(|(kind, _)| kind).into_iter().chain(["envelope"]) {
        let schema = schema(name);
        assert_eq!(
            schema["$schema"],
            "https://json-schema.org/draft/2020-12/schema"
        );
        assert!(jsonschema::meta::is_valid(&schema), "{name}");
    }
}

#[test]
fn name_every_field_and_no_other() {
    for (kind, fields) in FIELDS {
        let schema = schema(kind);
        let named: Vec<&str> = schema["properties"]["data"]["properties"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(
            named,
            fields.split_whitespace().collect::<Vec<_>>(),
            "{kind}"
        );
    }
}

#[test]
fn hold_for_every_generated_event() {
    let schemas = Schemas::load();
    let config = GeneratorConfig {
        seed: 42,
        deals: 2000,
        ..GeneratorConfig::default()
    };
    let mut checked = HashMap::<String, usize>::new();
    for generated in Generator::new(config).take(30_000) {
        let event: Value = serde_json::from_slice(&generated.payload).unwrap();
        schemas.accept(&event);
        let kind = event["type"].as_str().and_then(|t| t.split('.').nth(1));
        *checked.entry(kind.unwrap().to_string()).or_default() += 1;
    }
    assert_eq!(checked.values().sum::<usize>(), 30_000);
    for (kind, _) in FIELDS {
        assert!(checked.contains_key(kind), "no {kind} occurred");
    }
}

#[test]
fn accept_what_the_documentation_shows() {
    let schemas = Schemas::load();
    let documentation = documentation();
    let mut shown = 0;
    for block in documentation.split("```json").skip(1) {
        let text = block.split("```").next().unwrap();
        let shown_here: Value = serde_json::from_str(text).unwrap();
        match &shown_here {
            Value::Array(batch) => batch.iter().for_each(|event| schemas.accept(event)),
            event => schemas.accept(event),
        }
        shown += 1;
    }
    assert!(shown >= 2);
}

#[test]
fn accept_every_form_of_a_value() {
    let schemas = Schemas::load();
    for closed_at in [
        json!("2026-03-04T10:00:00Z"),
        json!("2026-03-04T10:00:00.123456+05:30"),
        json!("2026-03-04"),
        json!(1_772_618_400_000_i64),
        json!(-86_400_000),
        json!("2026-03-04T10:00:00+0530"),
        json!("2026-03-04 10:00:00.5+01"),
        json!(""),
        Value::Null,
    ] {
        schemas.accept(&deal(json!({ "closed_at": closed_at })));
    }
    for field in [
        "amount",
        "currency",
        "probability",
        "status",
        "owner_id",
        "expected_close_date",
    ] {
        schemas.accept(&deal(json!({ field: "" })));
    }
    for currency in ["EUR", "eur"] {
        schemas.accept(&deal(json!({ "currency": currency })));
    }
    for amount in ["12500.00", "0", "-3.5", "899999999999999.9999"] {
        schemas.accept(&deal(json!({ "amount": amount, "currency": "JPY" })));
    }
    for custom in [
        json!({}),
        json!({"a": 1, "b": "x", "c": true, "d": null, "e": 1.5}),
        Value::Null,
    ] {
        schemas.accept(&deal(json!({ "custom": custom })));
    }
    schemas.accept(&deal(
        json!({ "lead_source": "", "account_id": "0", "lead_id": "" }),
    ));
}

#[test]
fn accept_a_null_in_every_field() {
    let schemas = Schemas::load();
    for (kind, fields) in FIELDS.iter().filter(|(kind, _)| *kind != "field_value") {
        for field in fields.split_whitespace() {
            schemas.accept(&event(kind, "upserted", json!({ field: null })));
        }
    }
}

#[test]
fn accept_a_field_value_that_says_all_of_it_or_is_deleted_and_no_other() {
    let schemas = Schemas::load();
    for example in schema("field_value")["examples"].as_array().unwrap() {
        schemas.accept(example);
    }
    let whole = json!({"entity": "deal", "record_id": "D-17", "field": "amount", "value": "5"});
    let with = |name: &str, value: Value| {
        let mut data = whole.clone();
        data[name] = value;
        data
    };
    for data in [
        whole.clone(),
        with("value", Value::Null),
        with("value", json!("")),
        with("field", json!("custom.tier")),
    ] {
        for verb in ["upserted", "restored"] {
            schemas.accept(&event("field_value", verb, data.clone()));
        }
    }
    let rejected = |event: &Value| {
        let text = event.to_string();
        let decoded = cloudevents::decode(Some(text.as_bytes()), &[], &context());
        let rejected = decoded.rejected.first().map(|item| item.bad.to_string());
        rejected.unwrap_or_else(|| panic!("the decoder takes {event}"))
    };
    for (data, expected) in [
        (
            with("entity", json!("stage")),
            "`entity` is `stage`; expected one of lead, deal,",
        ),
        (
            with("entity", json!("field_value")),
            "`entity` is `field_value`; expected one of",
        ),
        (
            with("record_id", json!("0")),
            "`record_id` is missing; every event of a field_value says all of",
        ),
        (
            with("field", json!("deleted")),
            "`field` is `deleted`; of a deal expected one of name,",
        ),
        (
            with("field", json!("merged_into")),
            "`field` is `merged_into`; of a deal expected",
        ),
        (with("field", Value::Null), "`field` is missing"),
    ] {
        let event = event("field_value", "upserted", data);
        schemas.refuse(&event, expected);
        assert!(rejected(&event).contains(expected), "{}", rejected(&event));
    }
    for name in ["entity", "record_id", "field", "value"] {
        let mut data = whole.clone();
        data.as_object_mut().unwrap().remove(name);
        let event = event("field_value", "upserted", data);
        schemas.refuse(&event, "something is missing");
        let why = rejected(&event);
        assert!(why.contains(&format!("`{name}` is missing")), "{why}");
    }
    // What only the decoder can know.
    for (data, expected) in [
        (
            with("field", json!("target")),
            "`field` is `target`; of a deal expected",
        ),
        (
            with("value", json!("soon")),
            "`amount` is `soon`; expected a decimal",
        ),
    ] {
        let why = rejected(&event("field_value", "upserted", data));
        assert!(why.contains(expected), "{why}");
    }
    let merged = json!({"merged_into": "X-1"});
    schemas.refuse(
        &event("field_value", "merged", merged.clone()),
        "it can't be merged",
    );
    let why = rejected(&event("field_value", "merged", merged));
    assert!(why.contains("can't be merged"), "{why}");
}

#[test]
fn accept_extensions_and_events_without_data() {
    let schemas = Schemas::load();
    for sequence in [json!("00042"), json!(42)] {
        let mut extended = deal(json!({}));
        extended["sequence"] = sequence;
        extended["sequencetype"] = json!("Integer");
        extended["traceparent"] = json!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        extended["datacontenttype"] = json!("application/json");
        schemas.accept(&extended);
    }
    for verb in ["deleted", "restored"] {
        let mut bare = event("lead", verb, json!({}));
        bare.as_object_mut().unwrap().remove("data");
        schemas.accept(&bare);
    }
    schemas.accept(&event("account", "merged", json!({"merged_into": "A-1"})));
    let mut encoded = event("lead", "upserted", json!({}));
    encoded.as_object_mut().unwrap().remove("data");
    encoded["data_base64"] = json!("eyJzdGF0dXMiOiJvcGVuIn0=");
    schemas.accept(&encoded);
    let mut numbered = deal(json!({}));
    numbered["subject"] = json!(17);
    numbered["time"] = json!("2026-03-04T10:00:00+0000");
    numbered["datacontenttype"] = json!("Application/vnd.crm+JSON; charset=utf-8");
    schemas.accept(&numbered);
}

#[test]
fn refuse_data_of_the_wrong_form() {
    let schemas = Schemas::load();
    for (data, why) in [
        (json!({"ammount": "1.00"}), "the field does not exist"),
        (
            json!({"paid_at": "2026-03-04"}),
            "the field is another kind's",
        ),
        (json!({"amount": 12500}), "money is a number"),
        (
            json!({"amount": "12,500.00"}),
            "money has a thousands separator",
        ),
        (json!({"amount": "1.23456"}), "money has five decimals"),
        (json!({"amount": "1e3"}), "money has an exponent"),
        (json!({"currency": "EURO"}), "the currency has four letters"),
        (json!({"probability": 75}), "the probability is in per cent"),
        (json!({"probability": "0.5"}), "the probability is a string"),
        (json!({"status": "closed"}), "the status does not exist"),
        (json!({"status": "Won"}), "the status is capitalised"),
        (
            json!({"deal_type": "cross-sell"}),
            "the deal type is misspelt",
        ),
        (json!({"closed_at": "2026-02-30"}), "the day does not exist"),
        (
            json!({"closed_at": "2026-03-04T25:00:00Z"}),
            "the hour does not exist",
        ),
        (
            json!({"closed_at": "2026-03-04T10:00:00"}),
            "the instant has no offset",
        ),
        (json!({"closed_at": "04.03.2026"}), "the date is not ISO"),
        (json!({"closed_at": 1.5}), "milliseconds are whole"),
        (
            json!({"closed_at": 1_772_618_400_000_000_i64}),
            "these are microseconds",
        ),
        (json!({"account_id": 17}), "the id is a number"),
        (json!({"name": ["a"]}), "the text is a list"),
        (
            json!({"custom": {"a": {"b": 1}}}),
            "a custom field is not a scalar",
        ),
        (json!({"custom": {"a": [1]}}), "a custom field is a list"),
        (json!({"custom": "x"}), "custom is not an object"),
        (json!([]), "data is a list"),
        (Value::Null, "data is null"),
    ] {
        schemas.refuse(&deal(data), why);
    }
    for (kind, data, why) in [
        ("lead", json!({"status": "won"}), "a lead is not won"),
        ("lead", json!({"amount": "1.00"}), "a lead has no amount"),
        (
            "activity",
            json!({"kind": "lunch"}),
            "there is no such activity",
        ),
        ("activity", json!({"done": "yes"}), "done is a boolean"),
        (
            "payment",
            json!({"kind": "gift"}),
            "there is no such payment",
        ),
        ("payment", json!({"margin": 1.2}), "the margin is above 1"),
        ("split", json!({"share": 50}), "the share is a percentage"),
        (
            "invoice",
            json!({"status": "overdue"}),
            "overdue is not a status",
        ),
        (
            "quota",
            json!({"period_start": "Q1"}),
            "a quarter is not a date",
        ),
        (
            "contact",
            json!({"name": "Ada"}),
            "a contact has no name here",
        ),
    ] {
        schemas.refuse(&event(kind, "upserted", data), why);
    }
}

#[test]
fn refuse_a_wrong_envelope() {
    let schemas = Schemas::load();
    for attribute in [
        "specversion",
        "id",
        "source",
        "type",
        "subject",
        "time",
        "data",
    ] {
        let mut lacking = deal(json!({"stage": "proposal"}));
        lacking.as_object_mut().unwrap().remove(attribute);
        schemas.refuse(&lacking, &format!("{attribute} is missing"));
    }
    for (attribute, value, why) in [
        ("specversion", json!("0.3"), "the version is old"),
        ("id", json!(""), "the id is empty"),
        ("subject", json!(""), "the subject is empty"),
        ("subject", json!("0"), "the subject is no record"),
        ("subject", json!(0), "the subject is no record"),
        ("subject", json!(-17), "the subject is negative"),
        ("subject", json!(17.5), "the subject is a fraction"),
        ("type", json!("crm.deal.updated"), "there is no such verb"),
        ("type", json!("crm.deal"), "there is no verb"),
        (
            "type",
            json!("crm.ticket.upserted"),
            "there is no such kind",
        ),
        ("time", json!("2026-03-04"), "the time is a date"),
        ("time", json!(1_772_618_400_000_i64), "the time is a number"),
        (
            "time",
            json!("2026-03-04 10:00"),
            "the time is not RFC 3339",
        ),
        (
            "sequence",
            json!("0/16B3748"),
            "the sequence is not a whole number",
        ),
        ("sequence", json!(-1), "the sequence is negative"),
        (
            "datacontenttype",
            json!("text/plain"),
            "the data are not JSON",
        ),
        ("traceId", json!("x"), "an attribute has a capital letter"),
        ("data_base64", json!("e30="), "the data are there twice"),
        ("trace", json!({"id": 1}), "an extension is an object"),
    ] {
        let mut wrong = deal(json!({"stage": "proposal"}));
        wrong[attribute] = value;
        schemas.refuse(&wrong, why);
    }
}

#[test]
fn refuse_a_merge_that_does_not_say_into_what() {
    let schemas = Schemas::load();
    for data in [
        json!({}),
        json!({"merged_into": null}),
        json!({"merged_into": ""}),
        json!({"merged_into": "0"}),
    ] {
        schemas.refuse(&event("account", "merged", data), "it names no survivor");
    }
    schemas.refuse(
        &event("payment", "merged", json!({})),
        "payments are not merged",
    );
}

#[test]
fn are_what_the_documentation_describes() {
    let documentation = documentation();
    for (kind, fields) in FIELDS {
        let heading = format!("### {kind}\n");
        let section = documentation
            .split(&heading)
            .nth(1)
            .unwrap_or_else(|| panic!("no section {kind}"));
        let section = section.split("\n#").next().unwrap();
        for field in fields.split_whitespace() {
            assert!(
                section.contains(&format!("`{field}`")),
                "{kind} does not describe {field}"
            );
        }
    }
}

fn documentation() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/events.md");
    std::fs::read_to_string(path).unwrap()
}
