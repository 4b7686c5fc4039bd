//! Dead letters as text and as JSON. What a dead letter holds came from anywhere, so nothing of it
//! may steer a terminal.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use crate::kafka::dead_letter::read::{State, StoredDeadLetter};
use crate::kafka::dead_letter::{Items, Redaction};

/// How many characters of a dead letter's bytes are shown.
const START: usize = 160;

/// How many dead letters there are, by topic and reason, then by state.
pub type Counts = BTreeMap<(String, String), BTreeMap<State, u64>>;

/// Bytes as text on one line: what is no printable character is escaped, and bytes that are no
/// UTF-8 are written `\xNN`.
pub fn safe(bytes: &[u8]) -> String {
    let mut safe = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\'' => safe.push(c),
                c => safe.extend(c.escape_debug()),
            }
        }
        chunk
            .invalid()
            .iter()
            .for_each(|byte| safe.push_str(&format!("\\x{byte:02x}")));
    }
    safe
}

/// The start of bytes, safely.
fn start(bytes: &[u8]) -> String {
    // A character is four bytes at most, so this much holds the start whole.
    let head = safe(&bytes[..bytes.len().min(4 * START)]);
    let shown: String = head.chars().take(START).collect();
    if shown.len() < head.len() || bytes.len() > 4 * START {
        format!("{shown}… ({} bytes)", bytes.len())
    } else {
        shown
    }
}

/// A dead letter for people: three lines.
pub fn text(stored: &StoredDeadLetter) -> String {
    let (dead_letter, origin) = (&stored.dead_letter, stored.dead_letter.origin);
    let mut notes = Vec::new();
    if stored.state != State::Open {
        notes.push(stored.state.name());
    }
    notes.extend(dead_letter.redaction.map(Redaction::name));
    let notes = if notes.is_empty() {
        String::new()
    } else {
        format!(" ({})", notes.join(", "))
    };
    let item = match &dead_letter.items {
        Some(items) => format!("{} items", items.count()),
        None => format!("item {}", origin.index),
    };
    format!(
        "{}{notes}  {}  {}\n    of {} partition {} offset {} {item}, attempt {}: {}\n    {}",
        stored.at,
        time(origin.timestamp).unwrap_or_else(|| "no time".to_owned()),
        safe(dead_letter.reason.as_bytes()),
        safe(dead_letter.topic.as_bytes()),
        origin.partition,
        origin.offset,
        origin.attempt,
        safe(dead_letter.detail.as_bytes()),
        start(&dead_letter.raw),
    )
}

/// An instant (µs) in RFC 3339.
fn time(micros: Option<i64>) -> Option<String> {
    Some(DateTime::from_timestamp_micros(micros?)?.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// A dead letter for programs.
pub fn json(stored: &StoredDeadLetter) -> Value {
    let (dead_letter, origin) = (&stored.dead_letter, stored.dead_letter.origin);
    let headers: Vec<Value> = dead_letter
        .headers
        .iter()
        .map(|(name, value)| json!({"name": name, "value": bytes(value)}))
        .collect();
    json!({
        "dead_letter": stored.at.to_string(),
        "state": stored.state.name(),
        "topic": dead_letter.topic,
        "partition": origin.partition,
        "offset": origin.offset,
        "index": origin.index,
        "attempt": origin.attempt,
        "timestamp": time(origin.timestamp),
        "reason": dead_letter.reason,
        "detail": dead_letter.detail,
        "items": dead_letter.items.as_ref().map(Items::text),
        "redacted": dead_letter.redaction.map(Redaction::name),
        "key": dead_letter.key.as_deref().map(bytes),
        "headers": headers,
        "raw": bytes(&dead_letter.raw),
    })
}

/// All of the bytes: as they are if they are UTF-8, else in Base64.
fn bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!({ "text": text }),
        Err(_) => json!({ "base64": STANDARD.encode(bytes) }),
    }
}

/// How many there are by topic and reason; with `all`, in each state.
pub fn summary(counts: &Counts, topic: &str, unshown: usize, all: bool) -> String {
    if counts.is_empty() {
        return format!(
            "no {} of these in `{topic}`\n",
            if all {
                "dead letters"
            } else {
                "open dead letters"
            }
        );
    }
    let states: &[State] = if all {
        &[State::Open, State::Replayed, State::Repeated]
    } else {
        &[State::Open]
    };
    let mut rows = vec![
        ["topic", "reason"]
            .into_iter()
            .chain(states.iter().map(|state| state.name()))
            .map(str::to_owned)
            .collect(),
    ];
    for ((topic, reason), by_state) in counts {
        let numbers = states
            .iter()
            .map(|state| by_state.get(state).unwrap_or(&0).to_string());
        rows.push(
            [safe(topic.as_bytes()), safe(reason.as_bytes())]
                .into_iter()
                .chain(numbers)
                .collect(),
        );
    }
    let more = if unshown > 0 {
        format!("… and {unshown} more\n")
    } else {
        String::new()
    };
    format!("{more}\n{}", table(&rows))
}

/// Rows in columns: the first two to the left, numbers to the right.
fn table(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default()
    };
    let cell = |(column, text): (usize, &String)| match column {
        0 | 1 => format!("{text:<width$}", width = width(column)),
        _ => format!("{text:>width$}", width = width(column)),
    };
    rows.iter()
        .map(|row| {
            row.iter()
                .enumerate()
                .map(cell)
                .collect::<Vec<_>>()
                .join("  ")
                + "\n"
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::dead_letter::DeadLetter;
    use crate::kafka::dead_letter::read::At;
    use crate::kafka::origin::Origin;

    fn stored(raw: &[u8], state: State) -> StoredDeadLetter {
        let dead_letter = DeadLetter {
            topic: "crm".into(),
            origin: Origin {
                partition: 1,
                offset: 42,
                index: 3,
                attempt: 2,
                timestamp: Some(1_772_618_400_000_000),
                is_append_time: false,
            },
            key: Some(vec![0xff]),
            headers: vec![("ce_type".into(), b"crm.deal.upserted".to_vec())],
            reason: "bad_money".into(),
            detail: "`amount` is \u{1b}[31m12,50".into(),
            raw: raw.to_vec(),
            items: None,
            redaction: None,
        };
        StoredDeadLetter {
            at: At {
                partition: 0,
                offset: 17,
            },
            state,
            dead_letter,
        }
    }

    #[test]
    fn a_dead_letter_shows_its_position_its_origin_and_its_reason() {
        let shown = text(&stored(br#"{"amount":"12,50"}"#, State::Open));
        let expected = "0:17  2026-03-04T10:00:00.000Z  bad_money\n    of crm partition 1 offset 42 item 3, attempt 2: \
                        `amount` is \\u{1b}[31m12,50\n    {\"amount\":\"12,50\"}";
        assert_eq!(shown, expected);
        assert!(text(&stored(b"", State::Replayed)).starts_with("0:17 (replayed)  "));
        let mut redacted = stored(b"", State::Replayed);
        redacted.dead_letter.redaction = Some(Redaction::Hashed);
        assert!(text(&redacted).starts_with("0:17 (replayed, hashed)  "));
        assert_eq!(json(&redacted)["redacted"], "hashed");
    }

    #[test]
    fn nothing_in_a_dead_letter_steers_a_terminal() {
        let nasty = "\u{1b}]0;x\u{7}\u{9b}2J\r\n\u{202e}\u{2028}\u{0}\\".as_bytes();
        let shown = safe(&[nasty, &[0xc3, 0x28, 0x9b]].concat());
        assert_eq!(
            shown,
            r"\u{1b}]0;x\u{7}\u{9b}2J\r\n\u{202e}\u{2028}\0\\\xc3(\x9b"
        );
        assert_eq!(safe("Zürich 東京 '\"".as_bytes()), "Zürich 東京 '\"");
    }

    #[test]
    fn a_long_dead_letter_is_shown_by_its_start() {
        assert_eq!(start(&[b'a'; START]), "a".repeat(START));
        assert_eq!(
            start(&[b'a'; START + 1]),
            format!("{}… (161 bytes)", "a".repeat(START))
        );
        assert_eq!(
            start(&[0; 1_000_000]).chars().count(),
            START + "… (1000000 bytes)".chars().count()
        );
        let cut_within_a_character = "東".repeat(1_000);
        assert!(
            start(cut_within_a_character.as_bytes())
                .starts_with(&format!("{}… (3000", "東".repeat(START)))
        );
    }

    #[test]
    fn json_holds_all_of_the_bytes_and_their_encoding() {
        let shown = json(&stored(b"{\"a\":1}", State::Open));
        assert_eq!(
            (&shown["dead_letter"], &shown["state"], &shown["raw"]),
            (
                &json!("0:17"),
                &json!("open"),
                &json!({"text": "{\"a\":1}"})
            )
        );
        assert_eq!(
            (&shown["offset"], &shown["index"], &shown["key"]),
            (&json!(42), &json!(3), &json!({"base64": "/w=="}))
        );
        assert_eq!(
            shown["headers"],
            json!([{"name": "ce_type", "value": {"text": "crm.deal.upserted"}}])
        );
        assert_eq!(
            json(&stored(&[0xff, 0x00], State::Open))["raw"],
            json!({"base64": "/wA="})
        );
        let mut untimed = stored(b"", State::Open);
        untimed.dead_letter.origin.timestamp = Some(i64::MAX);
        assert_eq!(
            json(&untimed)["timestamp"],
            Value::Null,
            "a time out of any range is no time"
        );
    }

    #[test]
    fn the_summary_counts_by_topic_and_reason() {
        let one = |states: &[(State, u64)]| states.iter().copied().collect::<BTreeMap<_, _>>();
        let counts = Counts::from([
            (
                ("crm".into(), "bad_money".into()),
                one(&[(State::Open, 12)]),
            ),
            (
                ("crm.elsewhere".into(), "not_json".into()),
                one(&[(State::Open, 1), (State::Replayed, 2)]),
            ),
        ]);
        assert_eq!(
            summary(&counts, "dead", 11, false),
            "… and 11 more\n\ntopic          reason     open\ncrm            bad_money    12\ncrm.elsewhere  not_json      1\n"
        );
        assert!(
            summary(&counts, "dead", 0, true)
                .contains("crm.elsewhere  not_json      1         2         0\n")
        );
        assert_eq!(
            summary(&Counts::new(), "dead", 0, false),
            "no open dead letters of these in `dead`\n"
        );
    }
}
