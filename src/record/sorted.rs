//! A list in order, by an order that needs something outside it (the texts of a shard): found by
//! halving, changed a chunk at a time.

use std::cmp::Ordering;

/// A chunk this long is split in two.
const CHUNK: usize = 128;

/// Items in order. The caller gives the order, the same each time.
#[derive(Debug, Clone)]
pub struct Sorted<T> {
    /// The first chunk is apart, so that a short list is one allocation.
    head: Vec<T>,
    more: Option<Box<Chunks<T>>>,
}

/// The other chunks: most lists have none.
#[derive(Debug, Clone)]
struct Chunks<T>(Vec<Chunk<T>>);

/// A chunk, never empty, with its first item beside it: chunks are searched without a look into
/// them.
#[derive(Debug, Clone)]
struct Chunk<T> {
    first: T,
    items: Vec<T>,
}

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Sorted::NONE
    }
}

impl<T> Sorted<T> {
    /// No items.
    pub const NONE: Sorted<T> = Sorted {
        head: Vec::new(),
        more: None,
    };

    fn more(&self) -> &[Chunk<T>] {
        self.more.as_ref().map_or(&[], |more| &more.0)
    }

    fn more_mut(&mut self) -> &mut Vec<Chunk<T>> {
        let more = self
            .more
            .get_or_insert_with(|| Box::new(Chunks(Vec::new())));
        &mut more.0
    }
}

impl<T: Copy> Sorted<T> {
    /// The chunk that holds, or would hold, what `probe` looks for. `probe` says how an item lies
    /// to it.
    fn chunk(&self, probe: &impl Fn(&T) -> Ordering) -> usize {
        self.more()
            .partition_point(|chunk| probe(&chunk.first) != Ordering::Greater)
    }

    fn at(&self, chunk: usize) -> &Vec<T> {
        if chunk == 0 {
            &self.head
        } else {
            &self.more()[chunk - 1].items
        }
    }

    fn at_mut(&mut self, chunk: usize) -> &mut Vec<T> {
        if chunk == 0 {
            &mut self.head
        } else {
            &mut self.more_mut()[chunk - 1].items
        }
    }

    /// The item that `probe` calls equal.
    pub fn get_mut(&mut self, probe: impl Fn(&T) -> Ordering) -> Option<&mut T> {
        let chunk = self.chunk(&probe);
        let items = self.at_mut(chunk);
        let at = items.binary_search_by(&probe).ok()?;
        items.get_mut(at)
    }

    /// Adds an item, unless there is one that `probe` calls equal: that one is returned instead.
    pub fn insert(&mut self, item: T, probe: impl Fn(&T) -> Ordering) -> Option<&mut T> {
        let chunk = self.chunk(&probe);
        let items = self.at_mut(chunk);
        // Most lists grow at their end.
        let found = match items.last() {
            Some(last) if probe(last) != Ordering::Less => items.binary_search_by(&probe),
            _ => Err(items.len()),
        };
        let at = match found {
            Ok(at) => return self.at_mut(chunk).get_mut(at),
            // Never before the first of a chunk, which is not greater than what is added: the
            // firsts stay.
            Err(at) => at,
        };
        if items.len() == items.capacity() && items.len() < 8 {
            items.reserve_exact(1 + items.len() / 2);
        }
        items.insert(at, item);
        if items.len() > CHUNK {
            let items = items.split_off(CHUNK / 2);
            let first = items[0];
            self.more_mut().insert(chunk, Chunk { first, items });
        }
        None
    }

    /// Takes the item out that `probe` calls equal.
    pub fn remove(&mut self, probe: impl Fn(&T) -> Ordering) -> Option<T> {
        let chunk = self.chunk(&probe);
        let items = self.at_mut(chunk);
        let at = items.binary_search_by(&probe).ok()?;
        let item = items.remove(at);
        if chunk > 0 {
            match items.first().copied() {
                Some(first) => self.more_mut()[chunk - 1].first = first,
                None => drop(self.more_mut().remove(chunk - 1)),
            }
        }
        Some(item)
    }

    /// The items from the first one that does not lie before what `probe` looks for.
    pub fn from(&self, probe: impl Fn(&T) -> Ordering) -> impl Iterator<Item = &T> + Clone {
        let chunk = self
            .more()
            .partition_point(|chunk| probe(&chunk.first) == Ordering::Less);
        let at = self
            .at(chunk)
            .partition_point(|i| probe(i) == Ordering::Less);
        let rest = self.more()[chunk..].iter().flat_map(|chunk| &chunk.items);
        self.at(chunk)[at..].iter().chain(rest)
    }

    /// The items before the first one that does not lie before what `probe` looks for, last first.
    pub fn before(&self, probe: impl Fn(&T) -> Ordering) -> impl Iterator<Item = &T> {
        let chunk = self
            .more()
            .partition_point(|chunk| probe(&chunk.first) == Ordering::Less);
        let at = self
            .at(chunk)
            .partition_point(|i| probe(i) == Ordering::Less);
        let head = (chunk > 0)
            .then_some(&self.head)
            .into_iter()
            .flatten()
            .rev();
        let earlier = self.more()[..chunk.saturating_sub(1)].iter().rev();
        let earlier = earlier.flat_map(|chunk| chunk.items.iter().rev());
        self.at(chunk)[..at].iter().rev().chain(earlier).chain(head)
    }

    /// All items in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let more = self.more().iter().flat_map(|chunk| &chunk.items);
        self.head.iter().chain(more)
    }

    /// Bytes it holds outside its own struct.
    pub fn heap_bytes(&self) -> usize {
        let more = self.more().iter().map(|chunk| chunk.items.capacity());
        let chunks = more.sum::<usize>() + self.head.capacity();
        chunks * size_of::<T>() + size_of_val(self.more())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_tree_holds(steps in prop::collection::vec((any::<bool>(), 0u16..600), 0..1_500), probes in prop::collection::vec(0u16..600, 1..20)) {
            let (mut sorted, mut tree) = (Sorted::default(), BTreeSet::new());
            for (add, number) in steps {
                if add {
                    let known = sorted.insert(number, |i| i.cmp(&number)).copied();
                    prop_assert_eq!(known, (!tree.insert(number)).then_some(number));
                } else {
                    prop_assert_eq!(sorted.remove(|i: &u16| i.cmp(&number)), tree.take(&number));
                }
            }
            prop_assert!(sorted.iter().eq(tree.iter()));
            for probe in probes {
                prop_assert!(sorted.from(|i| i.cmp(&probe)).eq(tree.range(probe..)));
                prop_assert!(sorted.before(|i| i.cmp(&probe)).eq(tree.range(..probe).rev()));
                prop_assert_eq!(sorted.get_mut(|i| i.cmp(&probe)).copied(), tree.get(&probe).copied());
            }
        }
    }
}
