//! Replay: dead letters that can be decoded now go back to their topics, with their origins; then
//! each is marked as replayed.

use futures::future::join_all;
use rdkafka::producer::FutureRecord;

use super::read::{At, StoredDeadLetter};
use super::{DeadLetter, Items, Producers, Redaction, header};
use crate::config::{Config, Topic};
use crate::event::decode::{Bad, Reason};
use crate::event::feed::avro::Schemas;
use crate::kafka::client::outside;
use crate::kafka::origin::owned;
use crate::pipeline::OutsideError;

/// What the present configuration makes of a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It decodes; of a batch, at least some items: those still bad become dead letters again.
    Readable,
    /// It is still bad, for this reason.
    StillBad(Bad),
    /// Its bytes were withheld, so that there is nothing to replay.
    Withheld,
    /// Its topic is not in the configuration any more.
    NoTopic,
}

/// Decides what the route would do with a dead letter at `now` (µs), by the schemas that are known.
pub fn judge(dead_letter: &DeadLetter, topics: &[Topic], schemas: &Schemas, now: i64) -> Verdict {
    if dead_letter.reason == Reason::Gone.name() {
        return Verdict::StillBad(Bad::new(Reason::Gone, dead_letter.detail.clone())); // there are no bytes to replay
    }
    if dead_letter.redaction == Some(Redaction::Withheld) {
        return Verdict::Withheld;
    }
    let Some(topic) = topics.iter().find(|topic| topic.name == dead_letter.topic) else {
        return Verdict::NoTopic;
    };
    let decoded = dead_letter.decode(topic, schemas, now);
    // The good items of a message that is here for its bad ones are counted already.
    let same = |items: &Items| *items == Items::of(&decoded.rejected);
    let is_as_bad = dead_letter.items.as_ref().is_some_and(same);
    match decoded.rejected.into_iter().next() {
        Some(rejected) if decoded.assertions.is_empty() || is_as_bad => {
            Verdict::StillBad(rejected.bad)
        }
        _ => Verdict::Readable,
    }
}

/// Replays dead letters.
pub struct Replay {
    producers: Producers,
    dead_letters: String,
}

impl Replay {
    /// A replay from the dead letters of a configuration.
    ///
    /// # Errors
    /// If the properties make no producer.
    pub fn new(config: &Config) -> Result<Replay, OutsideError> {
        Ok(Replay {
            producers: Producers::new(&config.kafka)?,
            dead_letters: config.dead_letters.clone(),
        })
    }

    /// Sends dead letters back to their topics, then marks those that Kafka took; returns its
    /// answer for each.
    ///
    /// # Errors
    /// A dead letter was replayed and can't be marked. The next replay sends it once more, which
    /// changes nothing.
    pub async fn send_back(
        &self,
        dead_letters: &[StoredDeadLetter],
    ) -> Result<Vec<Result<(), OutsideError>>, OutsideError> {
        let sent = join_all(
            dead_letters
                .iter()
                .map(|stored| twice(|attempt| self.send(&stored.dead_letter, attempt))),
        )
        .await;
        let taken = dead_letters
            .iter()
            .zip(&sent)
            .filter(|(_, sent)| sent.is_ok());
        let marked =
            join_all(taken.map(|(stored, _)| twice(|attempt| self.mark(stored.at, attempt)))).await;
        marked.into_iter().collect::<Result<(), OutsideError>>()?;
        Ok(sent)
    }

    async fn send(&self, dead_letter: &DeadLetter, attempt: u32) -> Result<(), OutsideError> {
        let origin = dead_letter
            .origin
            .next_attempt()
            .headers(&dead_letter.topic);
        let headers = dead_letter
            .own_headers()
            .chain(origin.iter().map(|(name, value)| (*name, value.as_bytes())));
        let mut record: FutureRecord<'_, Vec<u8>, Vec<u8>> = FutureRecord::to(&dead_letter.topic)
            .payload(&dead_letter.raw)
            .headers(owned(headers));
        record.key = dead_letter.key.as_ref();
        // Whoever else reads the topic may rely on which partition a key is in.
        record.partition = i32::try_from(dead_letter.origin.partition).ok();
        let sent = self.producers.attempt(attempt).send(record).await;
        sent.map_err(|error| outside(format!("writing to `{}`", dead_letter.topic), error))
    }

    async fn mark(&self, at: At, attempt: u32) -> Result<(), OutsideError> {
        let origin = at.to_string();
        let headers = owned([(header::REPLAYED, origin.as_bytes())]);
        let record: FutureRecord<'_, (), ()> = FutureRecord::to(&self.dead_letters)
            .partition(at.partition)
            .headers(headers);
        let sent = self.producers.attempt(attempt).send(record).await;
        sent.map_err(|error| {
            let answer = outside(format!("marking {at} of `{}`", self.dead_letters), error);
            OutsideError {
                message: format!(
                    "{}; it was replayed, and to replay it once more changes nothing",
                    answer.message
                ),
                ..answer
            }
        })
    }
}

/// Does something with the first attempt, and with the second if that failed.
async fn twice<F: Future<Output = Result<(), OutsideError>>>(
    act: impl Fn(u32) -> F,
) -> Result<(), OutsideError> {
    match act(0).await {
        Ok(()) => Ok(()),
        Err(_) => act(1).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Encoding, Kept};
    use crate::kafka::origin::Origin;
    use crate::record::topic_number;

    const GOOD: &str = r#"{"specversion":"1.0","type":"crm.lead.upserted","subject":"L-1","time":"2026-03-04T10:00:00Z"}"#;

    fn dead_letter(raw: &str) -> DeadLetter {
        let origin = Origin {
            partition: 0,
            offset: 5,
            index: 0,
            attempt: 0,
            timestamp: None,
            is_append_time: false,
        };
        let (key, headers, detail) = (None, Vec::new(), String::new());
        DeadLetter {
            topic: "crm".into(),
            origin,
            key,
            headers,
            reason: "too_large".into(),
            detail,
            raw: raw.into(),
            items: None,
            redaction: None,
        }
    }

    fn judged(dead_letter: &DeadLetter, limit: usize, now: i64) -> Verdict {
        judge(dead_letter, &[topic(limit)], &Schemas::default(), now)
    }

    fn topic(limit: usize) -> Topic {
        Topic {
            name: "crm".into(),
            number: topic_number("crm"),
            namespace: None,
            max_message_bytes: limit,
            encoding: Encoding::Json,
            feed: None,
            mapping: None,
            kept: Kept::Whole,
        }
    }

    #[test]
    fn a_dead_letter_is_judged_by_the_present_configuration_and_clock() {
        let good = dead_letter(GOOD);
        assert_eq!(judged(&good, 1_000, i64::MAX), Verdict::Readable);
        let Verdict::StillBad(bad) = judged(&good, 10, i64::MAX) else {
            panic!("it is too long")
        };
        assert_eq!(bad.reason, Reason::TooLarge);
        let Verdict::StillBad(bad) = judged(&good, 1_000, 0) else {
            panic!("it is in the future")
        };
        assert_eq!(bad.reason, Reason::FutureTime);
        assert_eq!(judge(&good, &[], &Schemas::default(), 0), Verdict::NoTopic);
    }

    #[test]
    fn a_message_that_is_here_for_many_items_goes_back_when_others_are_bad_than_before() {
        let event = |day: u32| GOOD.replace("03-04", &format!("03-{day:02}"));
        let raw = format!("[{}, {}, {}, 1]", event(4), event(8), event(9));
        let now = |day: i64| (1_772_582_400 + (day - 4) * 86_400) * 1_000_000;
        let whole = |now| {
            let dead_letter = dead_letter(&raw);
            let topics = [topic(1_000)];
            let decoded = dead_letter.decode(&topics[0], &Schemas::default(), now);
            let items = Some(Items::of(&decoded.rejected));
            DeadLetter {
                items,
                ..dead_letter.clone()
            }
        };
        let stored = whole(now(4));
        assert_eq!(
            stored.items.as_ref().unwrap().text(),
            "future_time=2 not_an_event=1 1-3"
        );
        let as_bad = judged(&stored, 1_000, now(4));
        assert!(matches!(as_bad, Verdict::StillBad(_)), "{as_bad:?}");
        assert_eq!(judged(&stored, 1_000, now(8)), Verdict::Readable);
        // What was good and comes back is the same, but for its attempt.
        let first = Origin {
            attempt: 0,
            ..stored.origin
        };
        let (topic, headers) = (topic(1_000), Vec::new());
        let message = (None, Some(raw.as_bytes()));
        let schemas = Schemas::default();
        let before = first.decode(&topic, message, &headers, &schemas, now(4));
        let after = stored.decode(&topic, &schemas, now(8));
        assert_eq!((before.assertions.len(), after.assertions.len()), (1, 2));
        let mut same = after.assertions[0].clone();
        same.stamp.origin.attempt = 0;
        assert_eq!(same, before.assertions[0]);
    }

    #[test]
    fn a_batch_goes_back_when_any_of_it_can_be_read() {
        assert_eq!(
            judged(&dead_letter(&format!("[{GOOD}, 1]")), 1_000, i64::MAX),
            Verdict::Readable
        );
        assert!(matches!(
            judged(&dead_letter("[1, 2]"), 1_000, i64::MAX),
            Verdict::StillBad(_)
        ));
    }
}
