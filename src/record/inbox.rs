//! The inbox: the links a record received in one epoch, and what is kept of them so that one link
//! more costs no walk over all.

use std::cmp::Ordering;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;
use smallvec::SmallVec;
use std::hash::BuildHasher;

use super::link::Link;
use super::sorted::Sorted;
use super::totals::Totals;
use super::{Key, ReadContext, declared};
use crate::symbol::{Symbol, Symbols};

/// A link as its target's home holds it. A withdrawn one is kept, so that an older one can't come
/// back.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// Who sent it.
    pub sender: Key,
    /// The offset, in the sender's log, of the state it was taken from: a newer one replaces an
    /// older one.
    pub version: u64,
    /// What it says; `None` if it was withdrawn.
    pub link: Option<Link>,
}

/// From how many links on they are found by an index instead of a search.
const INDEXED: usize = 16;

/// The links of one record.
#[derive(Debug, Clone, Default)]
pub struct Inbox {
    links: SmallVec<[Received; 1]>,
    kept: Option<Box<Kept>>,
}

/// What is kept of the links of a record, apart as few records have all of it.
#[derive(Debug, Clone, Default)]
struct Kept {
    marks: Marks,
    totals: Option<Box<Totals>>,
    order: Option<Box<Order>>,
    many: Option<Box<Many>>,
}

/// The links that are kept in order.
#[derive(Debug, Clone, Default)]
struct Order {
    by_time: Sorted<Timed>,
    by_group: Sorted<Grouped>,
}

/// Where links are, of a record that has many or was merged with others.
#[derive(Debug, Clone, Default)]
struct Many {
    by_sender: HashTable<u32>,
    /// Positions of the links that records of the target's own kind sent: those merged into it.
    members: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Timed {
    instant: i64,
    sender: Key,
}

#[derive(Debug, Clone, Copy)]
struct Grouped {
    group: Symbol,
    timed: Timed,
}

impl Timed {
    /// By time; at one instant by the id's text, which every shard orders alike.
    fn order(&self, other: &Timed, symbols: &Symbols) -> Ordering {
        let by_time = self.instant.cmp(&other.instant);
        by_time
            .then_with(|| {
                symbols
                    .text(self.sender.id)
                    .cmp(symbols.text(other.sender.id))
            })
            .then_with(|| self.sender.entity.cmp(&other.sender.entity))
    }
}

impl Grouped {
    fn order(&self, other: &Grouped, symbols: &Symbols) -> Ordering {
        let by_group = self.group.cmp(&other.group);
        by_group.then_with(|| self.timed.order(&other.timed, symbols))
    }
}

/// Senders whose place in the order may be another after a change.
pub type Affected = SmallVec<[Key; 6]>;

impl Inbox {
    /// What was received from a sender last.
    pub fn get(&self, sender: Key) -> Option<&Received> {
        self.position(sender).map(|at| &self.links[at])
    }

    /// The link of a sender, unless it is withdrawn.
    pub fn link(&self, sender: Key) -> Option<&Link> {
        self.get(sender)?.link.as_ref()
    }

    /// All that was received, withdrawn links included.
    pub fn received(&self) -> &[Received] {
        &self.links
    }

    /// The links that are not withdrawn, with their senders.
    pub fn links(&self) -> impl Iterator<Item = (Key, &Link)> {
        self.links
            .iter()
            .filter_map(|received| Some((received.sender, received.link.as_ref()?)))
    }

    /// The links of records of the target's own kind: those merged into it.
    pub fn members(&self) -> impl Iterator<Item = &Link> {
        let positions = self.many().into_iter().flat_map(|many| &many.members);
        positions.filter_map(|at| self.links[*at as usize].link.as_ref())
    }

    /// True if nothing was ever received.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// The senders in order of the links that are kept in order.
    pub fn in_order(&self) -> impl Iterator<Item = Key> {
        let order = self.order().into_iter();
        order.flat_map(|order| order.by_time.iter().map(|timed| timed.sender))
    }

    /// The latest instant (µs) in order.
    pub fn last_in_order(&self) -> Option<i64> {
        let mut from_end = self.order()?.by_time.before(|_| Ordering::Less);
        from_end.next().map(|timed| timed.instant)
    }

    /// The senders in order whose links are of one group.
    pub fn in_group(&self, group: Symbol) -> impl Iterator<Item = Key> {
        let order = self.order().into_iter();
        order.flat_map(move |order| {
            let from = order.by_group.from(move |g| match g.group.cmp(&group) {
                Ordering::Less => Ordering::Less,
                Ordering::Equal | Ordering::Greater => Ordering::Greater,
            });
            from.take_while(move |g| g.group == group)
                .map(|g| g.timed.sender)
        })
    }

    /// The senders whose place among the first changes when a link of this group comes or goes: the
    /// first two of all and of the group.
    pub fn leading(&self, group: Option<Symbol>, out: &mut Affected) {
        let of_group = group
            .into_iter()
            .flat_map(|group| self.in_group(group).take(2));
        for sender in self.in_order().take(2).chain(of_group) {
            if !out.contains(&sender) {
                out.push(sender);
            }
        }
    }

    /// The marks that the metrics keep of the links.
    pub fn marks(&self) -> &Marks {
        static NONE: Marks = Marks(Sorted::NONE);
        self.kept.as_ref().map_or(&NONE, |kept| &kept.marks)
    }

    /// The same, to be changed.
    pub fn marks_mut(&mut self) -> &mut Marks {
        &mut self.kept.get_or_insert_default().marks
    }

    /// The totals that the metrics keep of the links.
    pub fn totals(&self) -> &Totals {
        static NONE: Totals = Totals::NONE;
        let totals = self.kept.as_ref().and_then(|kept| kept.totals.as_deref());
        totals.unwrap_or(&NONE)
    }

    /// The same, to be changed.
    pub fn totals_mut(&mut self) -> &mut Totals {
        let kept = self.kept.get_or_insert_default();
        kept.totals.get_or_insert_default()
    }

    /// Forgets all marks and totals, so that they can be worked out anew.
    pub fn clear_notes(&mut self) {
        if let Some(kept) = &mut self.kept {
            (kept.marks, kept.totals) = (Marks::default(), None);
        }
    }

    /// True if a link of this version would replace what is there.
    pub fn is_news(&self, sender: Key, version: u64) -> bool {
        self.get(sender).is_none_or(|known| known.version < version)
    }

    /// Keeps a link that [`Inbox::is_news`].
    pub fn receive(&mut self, target: Key, received: Received, context: ReadContext<'_>) {
        let order = declared(target.entity).order;
        let place = |link: &Option<Link>| link.as_ref().and_then(|link| order(link, context));
        let sender = received.sender;
        let (new, known) = (place(&received.link), self.position(sender));
        let old = known.and_then(|at| place(&self.links[at].link));
        let at = match known {
            Some(at) => {
                self.links[at] = received;
                at
            }
            None => {
                if !self.links.is_empty() && self.links.len() == self.links.capacity() {
                    self.links.reserve_exact((self.links.len() / 4).max(2));
                }
                self.links.push(received);
                self.links.len() - 1
            }
        };
        if known.is_none() {
            self.index(at, target);
        }
        if old != new {
            let kept = self.kept.get_or_insert_default();
            let order = kept.order.get_or_insert_default();
            if let Some((instant, group)) = old {
                order.leave(Timed { instant, sender }, group, context.symbols);
            }
            if let Some((instant, group)) = new {
                order.enter(Timed { instant, sender }, group, context.symbols);
            }
        }
    }

    fn order(&self) -> Option<&Order> {
        self.kept.as_ref()?.order.as_deref()
    }

    fn many(&self) -> Option<&Many> {
        self.kept.as_ref()?.many.as_deref()
    }

    fn position(&self, sender: Key) -> Option<usize> {
        match self.many() {
            Some(many) if !many.by_sender.is_empty() => {
                let found = many.by_sender.find(FxBuildHasher.hash_one(sender), |at| {
                    self.links[*at as usize].sender == sender
                });
                found.map(|at| *at as usize)
            }
            _ => self.links.iter().position(|l| l.sender == sender),
        }
    }

    /// Takes a new link into the indices.
    fn index(&mut self, at: usize, target: Key) {
        let Inbox { links, kept } = self;
        let hash = |at: &u32| FxBuildHasher.hash_one(links[*at as usize].sender);
        let is_member = links[at].sender.entity == target.entity;
        if !is_member && links.len() <= INDEXED {
            return;
        }
        let many = kept.get_or_insert_default().many.get_or_insert_default();
        if is_member {
            many.members.push(at as u32);
        }
        if links.len() > INDEXED {
            let by_sender = &mut many.by_sender;
            let from = if by_sender.is_empty() { 0 } else { at };
            for at in from as u32..links.len() as u32 {
                by_sender.insert_unique(hash(&at), at, hash);
            }
        }
    }

    /// Bytes its links take outside its own struct.
    pub fn link_bytes(&self) -> usize {
        let spilled = if self.links.spilled() {
            self.links.capacity() * size_of::<Received>()
        } else {
            0
        };
        let contents = self.links().map(|(_, link)| link.heap_bytes());
        spilled + contents.sum::<usize>()
    }

    /// Bytes taken by what is kept of its links.
    pub fn kept_bytes(&self) -> usize {
        let Some(kept) = &self.kept else { return 0 };
        let totals = kept
            .totals
            .as_ref()
            .map_or(0, |totals| size_of::<Totals>() + totals.heap_bytes());
        let order = kept.order.as_ref().map_or(0, |order| {
            size_of::<Order>() + order.by_time.heap_bytes() + order.by_group.heap_bytes()
        });
        let many = kept.many.as_ref().map_or(0, |many| {
            size_of::<Many>() + many.by_sender.capacity() * 5 + many.members.capacity() * 4
        });
        size_of::<Kept>() + kept.marks.0.heap_bytes() + totals + order + many
    }
}

impl Order {
    fn enter(&mut self, timed: Timed, group: Symbol, symbols: &Symbols) {
        self.by_time.insert(timed, |t| t.order(&timed, symbols));
        let grouped = Grouped { group, timed };
        self.by_group
            .insert(grouped, |g| g.order(&grouped, symbols));
    }

    fn leave(&mut self, timed: Timed, group: Symbol, symbols: &Symbols) {
        self.by_time.remove(|t| t.order(&timed, symbols));
        let grouped = Grouped { group, timed };
        self.by_group.remove(|g| g.order(&grouped, symbols));
    }
}

/// What metrics keep of a record's links: how many of them set a mark. A mark has a slot, which is
/// the metric's, and a number, such as an instant or a month; the least, the greatest and the
/// number of distinct ones are found without looking at the links.
#[derive(Debug, Clone, Default)]
pub struct Marks(Sorted<Marked>);

/// A slot and a number.
pub type Mark = (u16, i64);

/// A mark and how many links set it.
#[derive(Debug, Clone, Copy)]
struct Marked {
    number: i64,
    count: u32,
    slot: u16,
}

impl Marked {
    fn mark(&self) -> Mark {
        (self.slot, self.number)
    }
}

impl Marks {
    /// The least number of a slot.
    pub fn least(&self, slot: u16) -> Option<i64> {
        let mut from = self.0.from(|marked| marked.mark().cmp(&(slot, i64::MIN)));
        from.next()
            .filter(|first| first.slot == slot)
            .map(|first| first.number)
    }

    /// The greatest number of a slot.
    pub fn greatest(&self, slot: u16) -> Option<i64> {
        let mut before = self.0.before(|marked| {
            // Nothing of the slot lies after what is looked for.
            if marked.slot <= slot {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        });
        before
            .next()
            .filter(|last| last.slot == slot)
            .map(|last| last.number)
    }

    /// The distinct numbers of a slot, in order.
    pub fn distinct(&self, slot: u16) -> impl Iterator<Item = i64> {
        let from = self
            .0
            .from(move |marked| marked.mark().cmp(&(slot, i64::MIN)));
        from.take_while(move |marked| marked.slot == slot)
            .map(|marked| marked.number)
    }

    /// Sets a mark `by` times, or takes it back.
    pub fn add(&mut self, mark: Mark, by: i64) {
        let probe = |known: &Marked| known.mark().cmp(&mark);
        let known = if by > 0 {
            let (slot, number) = mark;
            let count = by as u32;
            let marked = Marked {
                number,
                count,
                slot,
            };
            self.0.insert(marked, probe)
        } else {
            self.0.get_mut(probe)
        };
        if let Some(known) = known {
            known.count = (i64::from(known.count) + by).max(0) as u32;
            if known.count == 0 {
                self.0.remove(probe);
            }
        }
    }
}
