//! Gaps: messages that an input topic's retention took before they were read. Nothing can bring
//! them back, but they are never stepped over in silence: a dead letter names them, before the
//! input offset moves past them.

use std::collections::BTreeMap;

use rdkafka::Message;

use super::group::Input;
use crate::event::decode::Reason;
use crate::kafka::dead_letter::DeadLetter;
use crate::kafka::origin::Origin;

/// Offsets that were skipped, from the first up to, and without, the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The partition.
    pub input: Input,
    /// The first offset that is missing.
    pub from: i64,
    /// The offset after the last one.
    pub to: i64,
}

impl Gap {
    /// The part of it below the oldest offset that its partition keeps: what retention took. What
    /// else is missing in a topic (markers of transactions, messages that were compacted away or
    /// never committed) was never there to be read.
    pub fn below(self, lows: &BTreeMap<Input, i64>) -> Option<Gap> {
        let to = self.to.min(*lows.get(&self.input)?);
        (self.from < to).then_some(Gap { to, ..self })
    }

    /// The dead letter that records it.
    pub fn dead_letter(&self) -> DeadLetter {
        let (topic, partition) = self.input.name();
        DeadLetter {
            topic: topic.to_owned(),
            origin: Origin {
                partition: partition as u32,
                offset: self.from as u64,
                index: 0,
                attempt: 0,
                timestamp: None,
                is_append_time: false,
            },
            key: None,
            headers: Vec::new(),
            reason: Reason::Gone.name().to_owned(),
            detail: format!(
                "offsets {} to {} were taken by the topic's retention before they were read; let the source send again what changed, and compare with the CRM: dealpulse audit",
                self.from,
                self.to - 1
            ),
            raw: Vec::new(),
            items: None,
            redaction: None,
        }
    }
}

/// Messages of one partition that follow each other without a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The partition.
    pub input: Input,
    /// The first offset.
    pub from: i64,
    /// The offset after the last one.
    pub to: i64,
}

/// Messages, in the order they were read, as runs: few, where there are many messages.
pub fn runs(messages: &[impl Message]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for message in messages {
        let offset = message.offset();
        match runs.last_mut() {
            Some(last) if last.to == offset && last.input.is_of(message) => last.to += 1,
            _ => runs.push(Run {
                input: Input::of(message),
                from: offset,
                to: offset + 1,
            }),
        }
    }
    runs
}

/// What runs leave out. `next` has, by partition, the next offset expected, and is updated. A
/// smaller offset than that is no gap: the topic was recreated, or is read again.
pub fn jumps(runs: Vec<Run>, next: &mut BTreeMap<Input, i64>) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for Run {
        input,
        from: found,
        to,
    } in runs
    {
        if let Some(from) = next
            .insert(input.clone(), to)
            .filter(|expected| *expected < found)
        {
            gaps.push(Gap {
                input,
                from,
                to: found,
            });
        }
    }
    gaps
}

#[cfg(test)]
mod tests {
    use rdkafka::Timestamp;
    use rdkafka::message::OwnedMessage;

    use super::*;

    fn gaps(expected: Option<i64>, offsets: &[i64]) -> (Vec<(i64, i64)>, i64) {
        let input = Input::new("crm", 1);
        let mut next: BTreeMap<Input, i64> = expected
            .map(|offset| (input.clone(), offset))
            .into_iter()
            .collect();
        let message = |offset: &i64| {
            OwnedMessage::new(
                None,
                None,
                "crm".to_owned(),
                Timestamp::NotAvailable,
                1,
                *offset,
                None,
            )
        };
        let found = jumps(
            runs(&offsets.iter().map(message).collect::<Vec<_>>()),
            &mut next,
        );
        (
            found.into_iter().map(|gap| (gap.from, gap.to)).collect(),
            next[&input],
        )
    }

    #[test]
    fn what_is_left_out_between_two_messages_or_before_the_first_is_found() {
        assert_eq!(gaps(Some(3), &[3, 4, 5]), (vec![], 6));
        assert_eq!(gaps(Some(3), &[7, 8, 12]), (vec![(3, 7), (9, 12)], 13));
        assert_eq!(
            gaps(None, &[7, 8]),
            (vec![], 9),
            "a partition that was never read has no gap at its beginning"
        );
        assert_eq!(
            gaps(Some(30), &[0, 1]),
            (vec![], 2),
            "the topic was recreated"
        );
    }

    #[test]
    fn messages_of_several_partitions_are_kept_apart() {
        let message = |(partition, offset): &(i32, i64)| {
            OwnedMessage::new(
                None,
                None,
                "crm".to_owned(),
                Timestamp::NotAvailable,
                *partition,
                *offset,
                None,
            )
        };
        let read: Vec<OwnedMessage> = [(0, 4), (0, 5), (1, 6), (0, 6)]
            .iter()
            .map(message)
            .collect();
        let run = |partition, from, to| Run {
            input: Input::new("crm", partition),
            from,
            to,
        };
        assert_eq!(runs(&read), [run(0, 4, 6), run(1, 6, 7), run(0, 6, 7)]);
        assert_eq!(
            jumps(
                runs(&read),
                &mut BTreeMap::from([(Input::new("crm", 0), 4), (Input::new("crm", 1), 6)])
            ),
            []
        );
    }

    #[test]
    fn only_offsets_below_the_oldest_one_kept_are_lost() {
        let gap = |from, to| Gap {
            input: Input::new("crm", 1),
            from,
            to,
        };
        let below = |low| gap(3, 7).below(&BTreeMap::from([(Input::new("crm", 1), low)]));
        assert_eq!((below(7), below(100)), (Some(gap(3, 7)), Some(gap(3, 7))));
        assert_eq!(below(5), Some(gap(3, 5)), "the rest of it are markers");
        assert_eq!((below(3), below(0)), (None, None));
    }
}
