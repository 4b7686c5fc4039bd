//! The words of a record: its stamps and the values that don't fit an element, in one allocation.
//!
//! A stamp takes two words: its time, then offset, source and index in one. With a source's own
//! sequence it takes three; with a number too great for its bits, five.

use smallvec::{SmallVec, smallvec};

use super::value::Element;
use crate::event::{Clock, Origin, Stamp};
use crate::symbol::Symbols;

/// What the second word of a stamp holds, from its lowest bit: index, source, offset, and two
/// flags.
const INDEX_BITS: u32 = 15;
const SOURCE_BITS: u32 = 12;
const OFFSET_BITS: u32 = 35;
/// The sequence follows in a word of its own.
const SEQUENCED: u64 = 1 << 62;
/// Sequence, offset, and source with index follow, a word each.
const WIDE: u64 = 1 << 63;

/// The record has no room for one more stamp. Nothing real comes near it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a record holds more than 12,000 tied values; its source stamps every change with one time, give it a sequence"
)]
pub struct Full;

/// A stamp as the words of a shard.
#[derive(Debug, Clone, Copy)]
pub(super) struct PackedStamp {
    words: [u64; 5],
    length: u8,
}

impl PackedStamp {
    pub fn of(stamp: Stamp, symbols: &mut Symbols) -> PackedStamp {
        let Origin {
            topic,
            partition,
            offset,
            index,
            attempt,
        } = stamp.origin;
        let source = symbols.source_number((topic, partition, attempt));
        let (time, sequence) = (stamp.clock.time as u64, stamp.clock.sequence);
        let fits =
            offset < 1 << OFFSET_BITS && source < 1 << SOURCE_BITS && index < 1 << INDEX_BITS;
        let packed = offset << (SOURCE_BITS + INDEX_BITS)
            | u64::from(source) << INDEX_BITS
            | u64::from(index);
        let (words, length) = match (fits, sequence) {
            (true, 0) => ([time, packed, 0, 0, 0], 2),
            (true, _) => ([time, packed | SEQUENCED, sequence, 0, 0], 3),
            (false, _) => {
                let rest = u64::from(source) << 32 | u64::from(index);
                ([time, WIDE, sequence, offset, rest], 5)
            }
        };
        PackedStamp { words, length }
    }

    /// How many words it takes.
    pub fn length(&self) -> usize {
        usize::from(self.length)
    }
}

/// How many words a stamp takes whose second word this is.
fn length(packed: u64) -> usize {
    if packed & WIDE != 0 {
        5
    } else if packed & SEQUENCED != 0 {
        3
    } else {
        2
    }
}

/// Stamps and wide values, by position.
#[derive(Debug, Clone, Default)]
pub(super) struct Words {
    words: Vec<u64>,
}

impl Words {
    #[inline]
    pub fn all(&self) -> &[u64] {
        &self.words
    }

    /// The time (µs) of the stamp at a position: what decides nearly every comparison.
    #[inline]
    pub fn time(&self, at: u16) -> i64 {
        self.words[usize::from(at)] as i64
    }

    #[inline]
    pub fn clock(&self, at: u16) -> Clock {
        let has_sequence = self.words[usize::from(at) + 1] & (SEQUENCED | WIDE) != 0;
        Clock {
            time: self.time(at),
            sequence: if has_sequence {
                self.words[usize::from(at) + 2]
            } else {
                0
            },
        }
    }

    pub fn stamp(&self, at: u16, symbols: &Symbols) -> Stamp {
        let packed = self.words[usize::from(at) + 1];
        let (offset, source, index) = if packed & WIDE == 0 {
            let offset = (packed & !SEQUENCED) >> (SOURCE_BITS + INDEX_BITS);
            let source = (packed >> INDEX_BITS) as u32 & ((1 << SOURCE_BITS) - 1);
            (offset, source, packed as u32 & ((1 << INDEX_BITS) - 1))
        } else {
            let rest = self.words[usize::from(at) + 4];
            (
                self.words[usize::from(at) + 3],
                (rest >> 32) as u32,
                rest as u32,
            )
        };
        let (topic, partition, attempt) = symbols.source(source);
        Stamp {
            clock: self.clock(at),
            origin: Origin {
                topic,
                partition,
                offset,
                index,
                attempt,
            },
        }
    }

    fn stamp_words(&self, at: u16) -> &[u64] {
        let at = usize::from(at);
        &self.words[at..at + length(self.words[at + 1])]
    }

    /// Makes room for `more` words, after dropping those no element uses. `pinned` is a stamp in
    /// use that no element holds yet.
    pub fn reserve(
        &mut self,
        more: usize,
        elements: &mut [Element],
        pinned: &mut Option<u16>,
    ) -> Result<(), Full> {
        if self.words.len() + more <= self.words.capacity() {
            return Ok(());
        }
        self.compact(elements, pinned);
        let needed = self.words.len() + more;
        if needed > usize::from(u16::MAX) {
            return Err(Full);
        }
        if needed > self.words.capacity() {
            self.words.reserve_exact(more.max(self.words.len() / 4));
        }
        Ok(())
    }

    /// True if there is a word that no element uses: of a record that grows with every change there
    /// is none.
    fn has_unused(&self, elements: &[Element], pinned: Option<u16>) -> bool {
        let mut is_used: SmallVec<[u64; 4]> = smallvec![0; self.words.len().div_ceil(64)];
        let mut used = 0;
        let mut mark = |at: usize, words: usize| {
            let (word, bit) = (&mut is_used[at / 64], 1 << (at % 64));
            used += if *word & bit == 0 { words } else { 0 };
            *word |= bit;
        };
        for element in elements {
            mark(
                usize::from(element.stamp),
                self.stamp_words(element.stamp).len(),
            );
            if element.is_wide() {
                mark(element.bits as usize, 1);
            }
        }
        if let Some(at) = pinned {
            mark(usize::from(at), self.stamp_words(at).len());
        }
        used < self.words.len()
    }

    fn compact(&mut self, elements: &mut [Element], pinned: &mut Option<u16>) {
        if self.words.is_empty() || !self.has_unused(elements, *pinned) {
            return;
        }
        let mut kept: Vec<u64> = Vec::with_capacity(self.words.len());
        let mut moved = vec![u16::MAX; self.words.len()];
        let mut stamp = |at: u16, kept: &mut Vec<u64>| {
            let to = &mut moved[usize::from(at)];
            if *to == u16::MAX {
                *to = kept.len() as u16;
                kept.extend_from_slice(self.stamp_words(at));
            }
            *to
        };
        for element in elements {
            element.stamp = stamp(element.stamp, &mut kept);
            if element.is_wide() {
                kept.push(self.words[element.bits as usize]);
                element.bits = (kept.len() - 1) as u32;
            }
        }
        if let Some(at) = pinned {
            *at = stamp(*at, &mut kept);
        }
        // In place, so that the capacity stays what it was.
        self.words.clear();
        self.words.extend_from_slice(&kept);
    }

    /// Appends a stamp; room was made for its words.
    pub fn push_stamp(&mut self, stamp: &PackedStamp) -> u16 {
        let at = self.words.len() as u16;
        self.words.extend_from_slice(&stamp.words[..stamp.length()]);
        at
    }

    /// Appends a wide value; room was made for it.
    pub fn push_value(&mut self, word: u64) -> u32 {
        self.words.push(word);
        (self.words.len() - 1) as u32
    }

    /// Overwrites a wide value. Gives back what was there.
    pub fn replace_value(&mut self, at: u32, word: u64) -> u64 {
        std::mem::replace(&mut self.words[at as usize], word)
    }

    pub fn copy_from(&mut self, other: &Words) {
        self.words.clone_from(&other.words);
    }

    pub fn heap_bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Field;
    use crate::record::value::Packed;

    fn stamp(sequence: u64, offset: u64, index: u32) -> Stamp {
        Stamp {
            clock: Clock { time: -7, sequence },
            origin: Origin {
                topic: 3,
                partition: 1,
                offset,
                index,
                attempt: 2,
            },
        }
    }

    #[test]
    fn every_stamp_comes_back_in_as_few_words_as_hold_it() {
        let mut symbols = Symbols::default();
        for (stamp, expected) in [
            (stamp(0, (1 << OFFSET_BITS) - 1, (1 << INDEX_BITS) - 1), 2),
            (stamp(u64::MAX, 5, 0), 3),
            (stamp(0, 1 << OFFSET_BITS, 0), 5),
            (stamp(9, u64::MAX, u32::MAX), 5),
        ] {
            let packed = PackedStamp::of(stamp, &mut symbols);
            assert_eq!(packed.length(), expected, "{stamp:?}");
            let mut words = Words::default();
            words.push_value(1);
            let at = words.push_stamp(&packed);
            assert_eq!(words.stamp(at, &symbols), stamp);
            assert_eq!(words.clock(at), stamp.clock);
        }
    }

    #[test]
    fn room_is_made_by_dropping_what_no_element_uses() {
        let mut symbols = Symbols::default();
        let mut words = Words::default();
        words.reserve(10, &mut [], &mut None).unwrap();
        let stamps = [stamp(1, 1, 0), stamp(2, u64::MAX, 0), stamp(0, 3, 0)];
        let places = stamps.map(|s| words.push_stamp(&PackedStamp::of(s, &mut symbols)));
        let Packed::Inline(tag, bits) = Packed::of(crate::record::Held::Null) else {
            panic!("nothing takes no word");
        };
        let mut elements = [Element::new(Field(4), places[2], tag, bits)];
        let mut pinned = Some(places[1]);
        words.reserve(5, &mut elements, &mut pinned).unwrap();
        assert_eq!(words.all().len(), 7, "the first stamp is gone");
        assert_eq!(words.stamp(elements[0].stamp, &symbols), stamps[2]);
        assert_eq!(words.stamp(pinned.unwrap(), &symbols), stamps[1]);
    }
}
