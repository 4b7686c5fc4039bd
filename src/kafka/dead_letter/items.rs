//! The bad items of a message as dead letters. A few are set aside one by one; of many, the message
//! is set aside once and names them: a message that has a million bad items does not become a
//! million messages, each with its key and headers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rdkafka::Message;

use super::DeadLetter;
use crate::event::decode::cloudevents::Header;
use crate::event::decode::{DETAILED, Rejected};
use crate::kafka::origin::Origin;

/// How long the list of indices may be, in bytes.
const LISTED: usize = 2_000;

/// The bad items that one dead letter stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Items {
    /// How many there are of each reason.
    reasons: BTreeMap<String, u64>,
    /// Their indices, as ranges: `0-99,101`. Ends with `…` where there are too many.
    indices: String,
}

impl Items {
    /// The items that were rejected, in the order of their indices.
    pub fn of(rejected: &[Rejected<'_>]) -> Items {
        let mut reasons = BTreeMap::new();
        for rejected in rejected {
            let reason = rejected.bad.reason.name().to_owned();
            *reasons.entry(reason).or_default() += 1;
        }
        Items {
            reasons,
            indices: ranges(rejected.iter().map(|rejected| rejected.index)),
        }
    }

    /// Reads what [`Items::text`] wrote.
    pub fn read(text: &str) -> Option<Items> {
        let (reasons, indices) = text.rsplit_once(' ')?;
        let reasons = reasons.split(' ').map(|reason| {
            let (reason, count) = reason.split_once('=')?;
            Some((reason.to_owned(), count.parse().ok()?))
        });
        Some(Items {
            reasons: reasons.collect::<Option<_>>()?,
            indices: indices.to_owned(),
        })
    }

    /// As a header has it: `bad_money=120 missing_id=3 0-99,101-123`.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (reason, count) in &self.reasons {
            // Writing to a String can't fail.
            let _ = write!(text, "{reason}={count} ");
        }
        text + &self.indices
    }

    /// How many there are of each reason.
    pub fn reasons(&self) -> impl Iterator<Item = (&str, u64)> {
        let reasons = self.reasons.iter();
        reasons.map(|(reason, count)| (reason.as_str(), *count))
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.reasons.values().sum()
    }
}

/// Numbers in order as ranges.
fn ranges(numbers: impl Iterator<Item = u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let mut text = String::new();
    for (first, last) in ranges {
        if text.len() >= LISTED {
            return text + "…";
        }
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a String can't fail.
        let _ = match first == last {
            true => write!(text, "{comma}{first}"),
            false => write!(text, "{comma}{first}-{last}"),
        };
    }
    text
}

impl DeadLetter {
    /// The dead letters of what was rejected of a message of this `origin` that has these headers:
    /// one an item, or one for all of them.
    pub fn of(
        message: &impl Message,
        headers: &[Header<'_>],
        origin: Origin,
        rejected: Vec<Rejected<'_>>,
    ) -> Vec<DeadLetter> {
        let one = |rejected| DeadLetter::new(message, headers, origin, rejected);
        if rejected.len() <= DETAILED {
            return rejected.into_iter().map(one).collect();
        }
        let items = Items::of(&rejected);
        let detail = detail(&rejected, &items);
        let most = items.reasons().max_by_key(|(_, count)| *count);
        let reason = most.map(|(reason, _)| reason.to_owned());
        let whole = rejected.into_iter().next().map(|first| DeadLetter {
            origin,
            reason: reason.unwrap_or_default(),
            detail,
            raw: message.payload().unwrap_or_default().to_vec(),
            items: Some(items),
            ..one(first)
        });
        whole.into_iter().collect()
    }

    /// How many items it stands for, by reason.
    pub fn counts(&self) -> Vec<(&str, u64)> {
        match &self.items {
            Some(items) => items.reasons().collect(),
            None => vec![(self.reason.as_str(), 1)],
        }
    }
}

/// How many items are bad and which, and the first of each reason.
fn detail(rejected: &[Rejected<'_>], items: &Items) -> String {
    let mut detail = format!(
        "{} items of the message are bad, so it is here once and whole",
        items.count()
    );
    for (reason, count) in items.reasons() {
        let mut of_reason = rejected.iter().filter(|r| r.bad.reason.name() == reason);
        // Writing to a String can't fail.
        let _ = match of_reason.next() {
            Some(first) if !first.bad.detail.is_empty() => write!(
                detail,
                "; {count} {reason}, the first is item {}: {}",
                first.index, first.bad.detail
            ),
            _ => write!(detail, "; {count} {reason}"),
        };
    }
    detail + "; their indices: " + &items.indices
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::decode::{Bad, Reason};

    fn rejected(index: u32, reason: Reason) -> Rejected<'static> {
        let bad = Bad::new(reason, format!("no {index}"));
        let raw = b"";
        Rejected { index, bad, raw }
    }

    #[test]
    fn items_are_named_by_ranges_and_counted_by_reason_and_read_back() {
        let indices = [0, 1, 2, 5, 7, 8, u32::MAX];
        let mut all: Vec<_> = indices.map(|i| rejected(i, Reason::BadMoney)).into();
        all[3].bad.reason = Reason::MissingId;
        let items = Items::of(&all);
        assert_eq!(
            items.text(),
            "bad_money=6 missing_id=1 0-2,5,7-8,4294967295"
        );
        assert_eq!(Items::read(&items.text()), Some(items.clone()));
        assert_eq!(items.count(), 7);
        assert_eq!(
            detail(&all, &items),
            "7 items of the message are bad, so it is here once and whole; 6 bad_money, the first is item 0: no 0; \
             1 missing_id, the first is item 5: no 5; their indices: 0-2,5,7-8,4294967295"
        );
        for text in ["", "0-2", "bad_money 0", "bad_money=x 0"] {
            assert_eq!(Items::read(text), None, "{text}");
        }
    }

    #[test]
    fn a_list_of_indices_ends_where_it_gets_long() {
        let every_other = ranges((0..1_000_000).step_by(2));
        assert!(every_other.ends_with('…') && every_other.len() < LISTED + 20);
        assert_eq!(ranges(0..1_000_000), "0-999999");
    }
}
