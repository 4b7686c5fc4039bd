//! The outbox: what the records of shards tell others, as messages of the log to the homes of
//! those.

use std::collections::BTreeMap;

use super::route::spread;
use crate::event::Assertion;
use crate::event::wire::{LinkMessage, Name, write_derived, write_links};
use crate::record::{Home, home};
use crate::shard::Outbox;

/// How many links go into one message of the log at most.
const BATCH: usize = 500;

/// Spreads what shards have to tell over the partitions of the log, as messages of it. Each outbox
/// comes with the offset of the state it was taken from.
pub fn messages<'o>(
    outboxes: impl Iterator<Item = (u64, &'o Outbox)>,
    partitions: u32,
) -> Vec<(Home, Vec<u8>)> {
    let mut by_home: BTreeMap<Home, Vec<LinkMessage<'_>>> = BTreeMap::new();
    let mut derived: Vec<&Assertion<'static>> = Vec::new();
    for (version, outbox) in outboxes {
        for link in &outbox.links {
            by_home
                .entry(home(link.target.0, &link.target.1, partitions))
                .or_default()
                .push(LinkMessage {
                    epoch: link.epoch,
                    target: Name {
                        entity: link.target.0,
                        id: link.target.1.as_str().into(),
                    },
                    sender: Name {
                        entity: link.sender.0,
                        id: link.sender.1.as_str().into(),
                    },
                    version,
                    content: link.content.as_slice().into(),
                });
        }
        derived.extend(&outbox.derived);
    }
    let links = by_home.into_iter().flat_map(|(shard, links)| {
        links
            .chunks(BATCH)
            .map(|chunk| (shard, write_links(chunk.iter())))
            .collect::<Vec<_>>()
    });
    let mut messages: Vec<_> = links.collect();
    // Most flushes have none.
    if !derived.is_empty() {
        let write = |chunk: &[&Assertion<'_>]| write_derived(chunk.iter().copied());
        messages.extend(spread(derived, partitions, write));
    }
    messages
}
