//! The decoder against the slow one: sound, odd and damaged messages come out of both with the same
//! values or the same reason.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;

use super::{Header, decode, oracle};
use crate::event::decode::{Context, Decoded, Reason};
use crate::event::{Assertion, FieldName};

/// JSON values, sound and odd, written out.
const VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "7",
    "1772618400000",
    "-86400000",
    "12500.00",
    "90071992547409.9301",
    "1e3",
    "1E+2",
    "0.25",
    "1e999",
    "99999999999999999999999",
    r#""""#,
    r#"" ""#,
    r#""0""#,
    r#""D-17""#,
    r#""12500.00""#,
    r#""-3.5""#,
    r#""1,5""#,
    r#""0.5""#,
    r#""EUR""#,
    r#""usd""#,
    r#""euro""#,
    r#""open""#,
    r#""won""#,
    r#""cross_sell""#,
    r#""2026-03-04""#,
    r#""2026-03-04T10:00:00Z""#,
    r#""2026-03-04 10:00:00.25+0100""#,
    r#""2026-02-30""#,
    r#""2027-03-04T10:00:00Z""#,
    r#""crm.deal.upserted""#,
    r#""crm.lead.merged""#,
    r#""crm.account.deleted""#,
    r#""crm.deal.exploded""#,
    r#""1.0""#,
    r#""12""#,
    r#""Zo\u00eb \"x\" \ud83d\ude00""#,
    "\"Zoë 😀\u{2028}\"",
    r#""half \ud800""#,
    r#""half \udc00 \ud800\u0041""#,
    "{}",
    "[]",
    r#"[1, {"a":"]"}]"#,
    r#"{"tier":"gold","size":3,"tier":null}"#,
    r#"{"z":true,"a":[ 1 ],"m":-0.10,"\u0061":"\n"}"#,
    r#"{"\ud800":1}"#,
    // Not JSON.
    "NaN",
    "Infinity",
    "-Infinity",
    "01",
    "+1",
    ".5",
    "1.",
    "1e",
    "-",
    "nul",
    "tru",
    r#""\x""#,
    "\"tab\there\"",
    "'x'",
    "{,}",
    r#"{"a"}"#,
    "[1,]",
    "",
    "\u{feff}1",
];

const ATTRIBUTES: &[&str] = &[
    "specversion",
    "type",
    "subject",
    "time",
    "sequence",
    "data",
    "id",
    "source",
    "Data",
    r"\u0074ype",
    r"\ud800",
    "",
];

const FIELDS: &[&str] = &[
    "name",
    "account_id",
    "lead_source",
    "owner_id",
    "stage",
    "status",
    "probability",
    "amount",
    "currency",
    "deal_type",
    "created_at",
    "closed_at",
    "merged_into",
    "custom",
    "deleted",
    "ammount",
    r"am\u006funt",
    r"\ud800",
    "",
];

fn blank() -> impl Strategy<Value = &'static str> {
    prop_oneof![8 => Just(""), 1 => Just(" "), 1 => Just("\r\n\t ")]
}

fn value() -> impl Strategy<Value = String> {
    let deep = (1usize..400).prop_map(|depth| "[".repeat(depth) + &"]".repeat(depth));
    let digits = "-?[0-9]{1,20}(\\.[0-9]{1,6})?([eE][+-]?[0-9]{1,3})?";
    prop_oneof![
        8 => select(VALUES).prop_map(str::to_owned),
        1 => deep,
        1 => digits,
        1 => "\"[ -~]{0,12}\"",
    ]
}

fn object(members: Vec<(String, String, &str)>) -> String {
    let members: Vec<String> = members
        .into_iter()
        .map(|(name, value, blank)| format!("{blank}\"{name}\"{blank}:{blank}{value}{blank}"))
        .collect();
    format!("{{{}}}", members.join(","))
}

fn fields() -> impl Strategy<Value = String> {
    let name = select(FIELDS).prop_map(str::to_owned);
    vec((name, value(), blank()), 0..8).prop_map(object)
}

/// Fields with the values they should have, so that most of such an event is read.
fn sound_fields() -> impl Strategy<Value = String> {
    let member = select(vec![
        ("name", r#""Zoë & Co""#),
        ("name", r#""\u005a""#),
        ("account_id", "17"),
        ("owner_id", r#""U-1""#),
        ("stage", r#""proposal""#),
        ("status", r#""won""#),
        ("probability", "0.25"),
        ("amount", r#""12500.00""#),
        ("amount", "90071992547409.9301"),
        ("currency", r#""EUR""#),
        ("closed_at", r#""2026-03-04""#),
        ("created_at", "1772618400000"),
        ("merged_into", r#""D-2""#),
        ("custom", r#"{"tier":"gold","size":3.0,"b":[1]}"#),
        ("custom", r#"{"a":null,"tier":"silver"}"#),
        ("unknown", r#"{"x":["\ud800"]}"#),
    ]);
    vec((member, blank()), 0..12).prop_map(|members| {
        let members = members
            .into_iter()
            .map(|((name, value), blank)| (name.to_owned(), value.to_owned(), blank));
        object(members.collect())
    })
}

fn data() -> impl Strategy<Value = String> {
    prop_oneof![6 => sound_fields(), 2 => fields(), 1 => value()]
}

/// An event that is well-formed but for its data, some attributes replaced, left out or added, in
/// any order.
fn event() -> impl Strategy<Value = String> {
    let kind = select(vec![
        "crm.deal.upserted",
        "crm.deal.merged",
        "crm.lead.restored",
        "crm.account.deleted",
    ]);
    let odd = (select(ATTRIBUTES), value()).prop_map(|(name, value)| (name.to_owned(), value));
    (
        kind,
        data(),
        vec(odd, 0..=1),
        any::<bool>(),
        0usize..30,
        blank(),
    )
        .prop_flat_map(|(kind, data, odd, shuffled, left_out, blank)| {
            let mut members = vec![
                ("specversion".to_owned(), r#""1.0""#.to_owned()),
                ("id".to_owned(), r#""e-1""#.to_owned()),
                ("type".to_owned(), format!("\"{kind}\"")),
                ("subject".to_owned(), r#""D-17""#.to_owned()),
                ("time".to_owned(), r#""2026-03-04T10:00:00Z""#.to_owned()),
                ("data".to_owned(), data),
            ];
            if left_out < 6 {
                members.remove(left_out);
            }
            members.extend(odd);
            let ordered = Just(members.clone()).boxed();
            let members = if shuffled {
                Just(members).prop_shuffle().boxed()
            } else {
                ordered
            };
            members.prop_map(move |members| {
                object(members.into_iter().map(|(n, v)| (n, v, blank)).collect())
            })
        })
}

/// A message: an event, a batch or neither, with something before or after it now and then.
fn message() -> impl Strategy<Value = String> {
    let item = prop_oneof![6 => event(), 1 => value()];
    let batch = (vec(item, 0..4), blank())
        .prop_map(|(items, blank)| format!("{blank}[{blank}{}{blank}]", items.join(",")));
    let odd = select(vec![" ", "\n", "x", "\u{feff}", "{}", "\u{a0}", ","]);
    let around = prop_oneof![12 => Just(""), 1 => odd];
    let text = prop_oneof![4 => event(), 2 => batch, 1 => value()];
    (around.clone(), text, around)
        .prop_map(|(before, text, after)| before.to_owned() + &text + after)
}

/// Bytes cut out, doubled or replaced.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let damage = (any::<prop::sample::Index>(), 0usize..4, 0u8..3, any::<u8>());
    (message(), vec(damage, 1..4)).prop_map(|(text, damages)| {
        let mut bytes = text.into_bytes();
        for (at, length, how, byte) in damages {
            let at = at.index(bytes.len() + 1);
            let end = (at + length).min(bytes.len());
            match how {
                0 => drop(bytes.drain(at..end)),
                1 => bytes.insert(at, b"\"\\{}[],: 0-"[byte as usize % 11]),
                _ => bytes.insert(at, byte),
            }
        }
        bytes
    })
}

fn context(namespace: Option<&'static str>) -> Context<'static> {
    Context {
        schema: &crate::record::SCHEMA,
        topic: 7,
        namespace,
        partition: 1,
        offset: 42,
        attempt: 0,
        timestamp: None,
        is_append_time: false,
        now: 1_772_618_400_000_000,
        limit: 1 << 20,
    }
}

type Outcome<'a> = (Vec<Assertion<'a>>, Vec<(u32, Reason, &'a [u8])>, u32);

fn outcome(decoded: Decoded<'_>) -> Outcome<'_> {
    let mut assertions = decoded.assertions;
    for assertion in &mut assertions {
        // The slow decoder leaves fields as they are written.
        assertion
            .values
            .sort_by(|(a, _), (b, _)| order(a).cmp(&order(b)));
    }
    let rejected = decoded.rejected.into_iter();
    (
        assertions,
        rejected.map(|r| (r.index, r.bad.reason, r.raw)).collect(),
        decoded.unknown_fields,
    )
}

fn order<'n>(name: &'n FieldName<'_>) -> (u16, &'n str) {
    match name {
        FieldName::Known(field) => (field.0, ""),
        FieldName::Custom(name) => (u16::MAX, name),
    }
}

/// A subject that is a number, which only the present decoder takes.
fn has_numeric_subject(payload: &[u8]) -> bool {
    let text = String::from_utf8_lossy(payload);
    text.split("\"subject\"").skip(1).any(|rest| {
        let value = rest.trim_start().strip_prefix(':').unwrap_or_default();
        value.trim_start().starts_with(|c: char| c.is_ascii_digit())
    })
}

fn assert_same(payload: &[u8], headers: &[Header<'_>], namespace: Option<&'static str>) {
    if has_numeric_subject(payload) {
        return;
    }
    let context = context(namespace);
    let new = outcome(decode(Some(payload), headers, &context));
    let old = outcome(oracle::decode(Some(payload), headers, &context));
    // Of what is both broken and no event, a decoder names what it comes upon first: the slow one
    // sees that a key is there twice before it looks for the colon.
    if let ([(0, Reason::NotJson, _)], [(0, Reason::NotAnEvent, _)]) = (&new.1[..], &old.1[..])
        && serde_json::from_slice::<serde::de::IgnoredAny>(payload).is_err()
    {
        return;
    }
    assert_eq!(new, old, "{}", String::from_utf8_lossy(payload));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn sound_and_odd_messages_are_read_alike(message in message(), is_qualified in any::<bool>()) {
        assert_same(message.as_bytes(), &[], is_qualified.then_some("eu"));
    }

    #[test]
    fn damaged_messages_are_refused_alike(message in damaged()) {
        assert_same(&message, &[], None);
    }

    #[test]
    fn messages_in_binary_mode_are_read_alike(
        data in data(),
        kind in select(vec!["crm.deal.upserted", "crm.lead.merged", "crm.deal.deleted", "crm.x.y"]),
        sequence in select(vec!["12", "\"12\"", "x", " 5 ", "null", "-1", "1 2", ""]),
        headers in vec(any::<prop::sample::Index>(), 0..8),
        after in select(vec!["", "", "", " ", "x", "{}"]),
    ) {
        let all: [Header<'_>; 7] = [
            ("ce_specversion", b"1.0"),
            ("ce_type", kind.as_bytes()),
            ("ce_subject", b"D-1"),
            ("ce_time", b"2026-03-04T09:00:00Z"),
            ("ce_sequence", sequence.as_bytes()),
            ("ce_subject", b"\xff"),
            ("ce_time", b"\xff"),
        ];
        let mut chosen = all[..4].to_vec();
        chosen.extend(headers.iter().map(|index| all[index.index(all.len())]));
        assert_same((data + after).as_bytes(), &chosen, Some("eu"));
    }
}

/// Many of the messages hold something that is asserted, or the comparison would say little.
#[test]
fn what_is_compared_is_often_sound() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let read = (0..200).filter(|_| {
        let message = message()
            .new_tree(&mut runner)
            .expect("a message")
            .current();
        let decoded = decode(Some(message.as_bytes()), &[], &context(None));
        !decoded.assertions.is_empty()
    });
    let read = read.count();
    assert!(read >= 30, "{read} of 200");
}
