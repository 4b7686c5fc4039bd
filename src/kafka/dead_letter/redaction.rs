//! Redaction: what the dead letters keep of a topic's messages, where they hold personal data.

use serde_json::json;

use super::DeadLetter;
use crate::config::{Kept, Topic};
use crate::event::feed::Message;
use crate::event::mapping::HashKey;

/// What was taken out of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redaction {
    /// What the mapping hashes is replaced by its hashes. It can be replayed.
    Hashed,
    /// Everything but the length and a hash. There is nothing to replay.
    Withheld,
}

impl Redaction {
    /// Its name in the dead letter.
    pub fn name(self) -> &'static str {
        match self {
            Redaction::Hashed => "hashed",
            Redaction::Withheld => "withheld",
        }
    }

    /// The redaction of a name. One that this version doesn't know took out more than it knows of.
    pub fn of_name(name: &str) -> Redaction {
        match name {
            "hashed" => Redaction::Hashed,
            _ => Redaction::Withheld,
        }
    }
}

impl DeadLetter {
    /// The dead letter as its topic wants it kept. What can't be redacted is withheld.
    pub fn kept_by(self, topic: &Topic) -> DeadLetter {
        let (key, redacted) = match &topic.kept {
            Kept::Whole => return self,
            Kept::Withheld(key) => (key, None),
            Kept::Redacted(key) => {
                let message = Message {
                    key: self.key.as_deref(),
                    value: Some(&self.raw),
                };
                let feed = topic.feed.as_ref();
                (key, feed.and_then(|feed| feed.redact(&topic.name, message)))
            }
        };
        match redacted {
            None => self.withheld(key),
            // A feed's messages are read without their headers, which may hold anything.
            Some(redacted) => DeadLetter {
                key: redacted.key,
                headers: Vec::new(),
                raw: redacted.value,
                redaction: Some(Redaction::Hashed),
                ..self
            },
        }
    }

    fn withheld(self, key: &HashKey) -> DeadLetter {
        let rest = json!({"bytes": self.raw.len(), "hmac_sha256": key.whole_hash(&self.raw)});
        DeadLetter {
            key: None,
            headers: Vec::new(),
            raw: rest.to_string().into_bytes(),
            redaction: Some(Redaction::Withheld),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::Encoding;
    use crate::event::Assertion;
    use crate::event::decode::Reason;
    use crate::event::feed::avro::Schemas;
    use crate::event::feed::{Feed, Format};
    use crate::event::mapping::Mapping;
    use crate::kafka::dead_letter::replay::{Verdict, judge};
    use crate::kafka::origin::Origin;
    use crate::record::{SCHEMA, topic_number};
    use crate::window::Calendar;

    const MAPPING: &str = r#"
[[records]]
table = "forms"
entity = "lead"
id = "id"
[records.fields]
created_at = "at"
[records.custom]
email = { column = "email", hash = true, ignore_case = true }
"#;

    fn key(secret: &str) -> HashKey {
        HashKey::new(secret).unwrap()
    }

    fn topic(mapping: &str, key: &HashKey, kept: Kept) -> Topic {
        let mapping = Mapping::parse(mapping, &SCHEMA).unwrap();
        let mapping = mapping.with_key(Some(key), "").unwrap();
        let feed = Feed::new(Format::Json, mapping, &Calendar::new(chrono_tz::Tz::UTC, 1));
        Topic {
            encoding: Encoding::Json,
            name: "forms".into(),
            number: topic_number("forms"),
            namespace: None,
            max_message_bytes: 1_000,
            feed: Some(Arc::new(feed)),
            mapping: None,
            kept,
        }
    }

    fn dead_letter(raw: &str) -> DeadLetter {
        DeadLetter {
            topic: "forms".into(),
            origin: Origin {
                partition: 0,
                offset: 5,
                index: 0,
                attempt: 0,
                timestamp: Some(1_772_618_400_000_000),
                is_append_time: false,
            },
            key: Some(b"Kim@x.example".to_vec()),
            headers: vec![("from".into(), b"Kim@x.example".to_vec())],
            reason: Reason::BadTime.name().into(),
            detail: String::new(),
            raw: raw.into(),
            items: None,
            redaction: None,
        }
    }

    const RAW: &str = r#"{"id":1,"at":"soon","email":" KIM@x.example","more":[1.50]}"#;

    #[test]
    fn what_is_redacted_is_replayed_as_the_message_would_have_been() {
        let key = key("00112233445566778899aabbccddeeff");
        let lenient = MAPPING.replace("created_at = \"at\"", "region = \"at\"");
        let as_read = topic(&lenient, &key, Kept::Whole);
        let redacting = topic(MAPPING, &key, Kept::Redacted(key.clone()));
        let whole = dead_letter(RAW);
        let redacted = whole.clone().kept_by(&redacting);
        let text = String::from_utf8(redacted.raw.clone()).unwrap();
        assert!(!text.to_lowercase().contains("kim"), "{text}");
        assert!(
            text.contains(r#""at":"soon""#) && text.contains("[1.50]"),
            "{text}"
        );
        assert_eq!(redacted.redaction, Some(Redaction::Hashed));
        assert!(redacted.headers.is_empty());
        // Once the mapping reads it, both say the same.
        let said = |dead_letter: &DeadLetter| {
            let decoded = dead_letter
                .decode(&as_read, &Schemas::default(), i64::MAX)
                .assertions;
            decoded
                .into_iter()
                .map(Assertion::into_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(said(&redacted), said(&whole));
        assert_eq!(
            judge(
                &redacted,
                std::slice::from_ref(&as_read),
                &Schemas::default(),
                i64::MAX
            ),
            Verdict::Readable
        );
        assert_eq!(
            redacted.clone().kept_by(&redacting),
            redacted,
            "it is redacted once"
        );
    }

    #[test]
    fn a_redacted_dead_letter_is_not_replayed_into_something_else() {
        let old = key("00112233445566778899aabbccddeeff");
        let redacted = dead_letter(RAW).kept_by(&topic(MAPPING, &old, Kept::Redacted(old.clone())));
        let judged = |mapping: &str, key: &HashKey| {
            judge(
                &redacted,
                &[topic(mapping, key, Kept::Whole)],
                &Schemas::default(),
                i64::MAX,
            )
        };
        let lenient = MAPPING.replace("created_at = \"at\"", "region = \"at\"");
        for (mapping, key, expected) in [
            (
                lenient.as_str(),
                key("another key of at least 32 characters"),
                "the key",
            ),
            (
                &lenient.replace("hash = true, ignore_case = true", "map = {}"),
                old.clone(),
                "in the clear",
            ),
        ] {
            let Verdict::StillBad(bad) = judged(mapping, &key) else {
                panic!("it is replayed: {mapping}")
            };
            assert_eq!(bad.reason, Reason::Redacted);
            assert!(bad.detail.contains(expected), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_withheld_and_not_replayed() {
        let key = key("00112233445566778899aabbccddeeff");
        let redacting = topic(MAPPING, &key, Kept::Redacted(key.clone()));
        let withholding = topic(MAPPING, &key, Kept::Withheld(key.clone()));
        for (raw, topic) in [
            (r#"{"id":1,"email":"kim@x.example""#, &redacting),
            (r#"{"id":1,"email":["kim@x.example"]}"#, &redacting),
            (RAW, &withholding),
        ] {
            let withheld = dead_letter(raw).kept_by(topic);
            let text = String::from_utf8(withheld.raw.clone()).unwrap();
            assert!(!text.contains("kim") && text.contains(&format!("\"bytes\":{}", raw.len())));
            assert_eq!((&withheld.key, withheld.headers.len()), (&None, 0));
            assert_eq!(
                judge(
                    &withheld,
                    std::slice::from_ref(topic),
                    &Schemas::default(),
                    i64::MAX
                ),
                Verdict::Withheld
            );
        }
    }
}
