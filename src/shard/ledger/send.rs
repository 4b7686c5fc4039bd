//! What a record tells others: the links that are queued when it says something else than before.

use super::{Ledger, NO_LINKS};
use crate::event::Entity;
use crate::record::{Key, Link, Reading};

impl Ledger {
    /// Queues the links that say something else than before: to the records it names, and to those
    /// it received links from.
    pub(super) fn send(
        &mut self,
        key: Key,
        [before, after]: [&Reading; 2],
        senders: &[(Key, bool)],
    ) {
        if before == after && senders.is_empty() {
            return;
        }
        let (mut old, mut new) = (Vec::new(), Vec::new());
        before.links_to_send(key, &mut old);
        after.links_to_send(key, &mut new);
        let inbox = self.inboxes.get(key).unwrap_or(&NO_LINKS);
        // Without links there is nobody to answer.
        let mut answered: Vec<Entity> = Vec::new();
        if before != after && !inbox.is_empty() {
            let answers = |entity: &Entity| before.replies(*entity) != after.replies(*entity);
            answered.extend(Entity::ALL.into_iter().filter(answers));
        }
        if old == new && senders.is_empty() && answered.is_empty() {
            return;
        }
        let mut targets: Vec<Key> = old.iter().chain(&new).map(|(target, _)| *target).collect();
        targets.extend(senders.iter().map(|(sender, _)| *sender));
        if !answered.is_empty() {
            let live = inbox.links().map(|(sender, _)| sender);
            targets.extend(live.filter(|sender| answered.contains(&sender.entity)));
        }
        // Of a sender with several links in the message the first says whether it had one before.
        // Sorted, since there may be many.
        let mut senders = senders.to_vec();
        senders.sort_by_key(|(sender, _)| *sender);
        senders.dedup_by_key(|(sender, _)| *sender);
        targets.sort_unstable();
        targets.dedup();
        for target in targets {
            let is_sender = inbox.link(target).is_some();
            let known = senders.binary_search_by_key(&target, |(sender, _)| *sender);
            let was_sender = known.map_or(is_sender, |at| senders[at].1);
            let was = said(target, &old, before, was_sender);
            let is = said(target, &new, after, is_sender);
            if was != is {
                self.tombstoned += usize::from(is.is_none());
                self.outbox.insert((target, key), is);
            }
        }
    }

    /// Queues all links that a record sends, as if none had been sent in this epoch yet.
    pub(in crate::shard) fn send_all(&mut self, key: Key, reading: &Reading) {
        let live: Vec<(Key, bool)> = self.inbox(key).links().map(|(s, _)| (s, false)).collect();
        self.send(key, [&Reading::Nothing, reading], &live);
    }
}

/// What a record says to another: what it says of itself to one it names, else its answer to one
/// whose link it holds.
fn said(target: Key, own: &[(Key, Link)], reading: &Reading, is_sender: bool) -> Option<Link> {
    match own.iter().find(|(named, _)| *named == target) {
        Some((_, link)) => Some(link.clone()),
        None if is_sender => reading.replies(target.entity),
        None => None,
    }
}
