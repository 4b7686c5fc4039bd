//! The words of a record: its stamps and the values that don't fit an element, in one allocation.
//!
//! A stamp takes two words: its time, then offset, source and index in one. What doesn't fit (a source's own sequence, above all)
//! is spilled, whole, to a list that most records don't have.

use smallvec::{SmallVec, smallvec};

use super::value::Element;
use crate::event::{Clock, Origin, Stamp};
use crate::symbol::Symbols;

const SPILLED: u64 = 1 << 63;
const OFFSET_BITS: u32 = 36;
const SOURCE_BITS: u32 = 12;
const INDEX_BITS: u32 = 15;

/// The record has no room for one more stamp. Nothing real comes near it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a record holds more than 20,000 tied values; its source stamps every change with one time, give it a sequence"
)]
pub struct Full;

/// A stamp that two words can't hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spilled {
    sequence: u64,
    offset: u64,
    source: u32,
    index: u32,
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
    pub fn clock(&self, at: u16, spilled: &[Spilled]) -> Clock {
        let packed = self.words[usize::from(at) + 1];
        let sequence = if packed & SPILLED == 0 {
            0
        } else {
            spilled[(packed & !SPILLED) as usize].sequence
        };
        Clock {
            time: self.time(at),
            sequence,
        }
    }

    pub fn stamp(&self, at: u16, spilled: &[Spilled], symbols: &Symbols) -> Stamp {
        let packed = self.words[usize::from(at) + 1];
        let (sequence, offset, source, index) = if packed & SPILLED == 0 {
            let offset = packed >> (SOURCE_BITS + INDEX_BITS);
            let source = (packed >> INDEX_BITS) as u32 & ((1 << SOURCE_BITS) - 1);
            (0, offset, source, packed as u32 & ((1 << INDEX_BITS) - 1))
        } else {
            let s = &spilled[(packed & !SPILLED) as usize];
            (s.sequence, s.offset, s.source, s.index)
        };
        let (topic, partition, attempt) = symbols.source(source);
        Stamp {
            clock: Clock {
                time: self.time(at),
                sequence,
            },
            origin: Origin {
                topic,
                partition,
                offset,
                index,
                attempt,
            },
        }
    }

    /// Makes room for `more` words, after dropping those no element uses. `pinned` is a stamp in use that no element holds yet.
    pub fn reserve(
        &mut self,
        more: usize,
        elements: &mut [Element],
        spilled: &mut Vec<Spilled>,
        pinned: &mut Option<u16>,
    ) -> Result<(), Full> {
        if self.words.len() + more <= self.words.capacity() {
            return Ok(());
        }
        self.compact(elements, spilled, pinned);
        let needed = self.words.len() + more;
        if needed > usize::from(u16::MAX) {
            return Err(Full);
        }
        if needed > self.words.capacity() {
            self.words.reserve_exact(more.max(self.words.len() / 4));
        }
        Ok(())
    }

    /// True if there is a word that no element uses: of a record that grows with every change there is none.
    fn has_unused(&self, elements: &[Element], pinned: Option<u16>) -> bool {
        let mut is_used: SmallVec<[u64; 4]> = smallvec![0; self.words.len().div_ceil(64)];
        let mut used = 0;
        let mut mark = |at: usize, words: usize| {
            let (word, bit) = (&mut is_used[at / 64], 1 << (at % 64));
            used += if *word & bit == 0 { words } else { 0 };
            *word |= bit;
        };
        for element in elements {
            mark(usize::from(element.stamp), 2);
            if element.is_wide() {
                mark(element.bits as usize, 1);
            }
        }
        if let Some(at) = pinned {
            mark(usize::from(at), 2);
        }
        used < self.words.len()
    }

    fn compact(
        &mut self,
        elements: &mut [Element],
        spilled: &mut Vec<Spilled>,
        pinned: &mut Option<u16>,
    ) {
        if self.words.is_empty() || !self.has_unused(elements, *pinned) {
            return;
        }
        let mut kept: Vec<u64> = Vec::with_capacity(self.words.len());
        let mut moved = vec![u16::MAX; self.words.len()];
        let mut still_spilled = Vec::new();
        let mut stamp = |at: u16, kept: &mut Vec<u64>| {
            let at = usize::from(at);
            if moved[at] == u16::MAX {
                moved[at] = kept.len() as u16;
                let mut packed = self.words[at + 1];
                if packed & SPILLED != 0 {
                    still_spilled.push(spilled[(packed & !SPILLED) as usize].clone());
                    packed = SPILLED | (still_spilled.len() - 1) as u64;
                }
                kept.extend([self.words[at], packed]);
            }
            moved[at]
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
        *spilled = still_spilled;
        // In place, so that the capacity stays what it was.
        self.words.clear();
        self.words.extend_from_slice(&kept);
    }

    /// Appends a stamp; room was made for its two words.
    pub fn push_stamp(
        &mut self,
        stamp: Stamp,
        spilled: &mut Vec<Spilled>,
        symbols: &mut Symbols,
    ) -> u16 {
        let Origin {
            topic,
            partition,
            offset,
            index,
            attempt,
        } = stamp.origin;
        let source = symbols.source_number((topic, partition, attempt));
        let fits = stamp.clock.sequence == 0
            && offset < 1 << OFFSET_BITS
            && source < 1 << SOURCE_BITS
            && index < 1 << INDEX_BITS;
        let packed = if fits {
            offset << (SOURCE_BITS + INDEX_BITS)
                | u64::from(source) << INDEX_BITS
                | u64::from(index)
        } else {
            spilled.push(Spilled {
                sequence: stamp.clock.sequence,
                offset,
                source,
                index,
            });
            SPILLED | (spilled.len() - 1) as u64
        };
        let at = self.words.len() as u16;
        self.words.extend([stamp.clock.time as u64, packed]);
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
