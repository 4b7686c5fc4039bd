//! The route: each assertion to its home, in batches. Stateless: a message read twice is written
//! twice, and folded once.

use std::collections::BTreeMap;

use crate::event::{Assertion, FieldName, wire};
use crate::record::{Entity, Field, Home, Placement, alias::alias_id, home};

/// How many assertions go into one message of the log at most: enough to make batching pay, few
/// enough to stay well below a broker's limits.
const BATCH: usize = 500;

/// Spreads assertions over the shards' partitions, in order, as messages of the log.
///
/// A merge in an event goes to every shard as well, as an alias, so that each finds the root of its
/// links' targets itself.
pub fn partition_by_home(assertions: &[Assertion<'_>], shards: u32) -> Vec<(Home, Vec<u8>)> {
    let aliases: Vec<Assertion<'_>> = assertions.iter().filter_map(alias).collect();
    let both = assertions.iter().chain(&aliases);
    let write = |chunk: &[&Assertion<'_>]| wire::write_assertions(chunk.iter().copied());
    spread(both, shards, write)
}

/// Spreads assertions over the shards they belong to, in order, and has messages written of them.
pub(super) fn spread<'a, 'b: 'a>(
    assertions: impl IntoIterator<Item = &'a Assertion<'b>>,
    shards: u32,
    write: impl Fn(&[&Assertion<'_>]) -> Vec<u8>,
) -> Vec<(Home, Vec<u8>)> {
    let mut by_home: BTreeMap<Home, Vec<&Assertion<'_>>> = BTreeMap::new();
    for assertion in assertions {
        match assertion.entity.placement() {
            Placement::Home => by_home
                .entry(home(assertion.entity, &assertion.id, shards))
                .or_default()
                .push(assertion),
            Placement::Everywhere(_) => {
                (0..shards).for_each(|shard| by_home.entry(shard).or_default().push(assertion))
            }
        }
    }
    let messages = by_home.into_iter().flat_map(|(shard, assertions)| {
        let chunks = assertions.chunks(BATCH).map(&write);
        chunks.map(|message| (shard, message)).collect::<Vec<_>>()
    });
    messages.collect()
}

/// The merge in an assertion, as an assertion of the alias. An alias, carried over from an older
/// log, is one already.
fn alias<'a>(assertion: &Assertion<'a>) -> Option<Assertion<'a>> {
    if assertion.entity.placement() != Placement::Home {
        return None;
    }
    let into = assertion
        .values
        .iter()
        .find(|(name, _)| *name == FieldName::Known(Field::MERGED_INTO))?;
    let id = alias_id(assertion.entity, &assertion.id).into();
    Some(Assertion {
        entity: Entity::ALIAS,
        id,
        stamp: assertion.stamp,
        values: vec![into.clone()],
    })
}
