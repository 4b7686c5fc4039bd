//! Symbols: every distinct text of a shard is stored once under a number; so is every source of its
//! assertions.
//!
//! A symbol means something only inside its own shard and run; whatever leaves the shard carries
//! the text.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

/// The number of a text within one shard. [`Symbol::BLANK`] is the empty text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Symbol(pub u32);

/// The words the metrics reason with, at the same number in every shard.
macro_rules! words {
    ($($name:ident = $text:literal),* $(,)?) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        #[repr(u32)]
        enum Word { $($name),* }
        impl Symbol { $(#[doc = concat!("`", $text, "`")] pub const $name: Symbol = Symbol(Word::$name as u32);)* }
        const WORDS: &[&str] = &[$($text),*];
    };
}
words! {
    BLANK = "", OPEN = "open", WON = "won", LOST = "lost",
    QUALIFIED = "qualified", DISQUALIFIED = "disqualified", CONVERTED = "converted",
    NEW = "new", UPSELL = "upsell", CROSS_SELL = "cross_sell", RENEWAL = "renewal",
}

impl Symbol {
    /// True for the empty text: no value was given.
    pub fn is_blank(self) -> bool {
        self == Self::BLANK
    }
}

/// The texts of one shard. Texts are never forgotten: their number is bounded by the distinct ids
/// and values of the records.
#[derive(Clone)]
pub struct Symbols {
    text: String,
    ends: Vec<usize>,
    /// Symbols with the hashes of their texts, so that growing reads no text.
    index: HashTable<(u32, u32)>,
    sources: Vec<Source>,
}

/// Where assertions come from, apart from the offset: topic number, partition, replay attempt. A
/// shard sees few of them.
pub type Source = (u32, u32, u32);

impl Default for Symbols {
    fn default() -> Self {
        let mut symbols = Symbols {
            text: String::new(),
            ends: Vec::new(),
            index: HashTable::new(),
            sources: Vec::new(),
        };
        for word in WORDS {
            symbols.intern(word);
        }
        symbols
    }
}

impl Symbols {
    /// The symbol of `text`, new or existing.
    pub fn intern(&mut self, text: &str) -> Symbol {
        let hash = hash(text);
        if let Some(known) = self.find_hashed(text, hash) {
            return known;
        }
        let symbol = self.ends.len() as u32;
        self.text.push_str(text);
        self.ends.push(self.text.len());
        self.index
            .insert_unique(spread(hash), (symbol, hash), |(_, hash)| spread(*hash));
        Symbol(symbol)
    }

    /// The symbol of `text` if it was ever interned.
    pub fn find(&self, text: &str) -> Option<Symbol> {
        self.find_hashed(text, hash(text))
    }

    #[inline]
    fn find_hashed(&self, text: &str, hash: u32) -> Option<Symbol> {
        let (all, ends) = (&self.text, &self.ends);
        let found = self.index.find(spread(hash), |(symbol, other)| {
            *other == hash && slice(all, ends, *symbol as usize) == text
        });
        found.map(|(symbol, _)| Symbol(*symbol))
    }

    /// The text of a symbol of this shard; blank for a number this shard never gave out.
    #[inline]
    pub fn text(&self, symbol: Symbol) -> &str {
        if (symbol.0 as usize) < self.ends.len() {
            slice(&self.text, &self.ends, symbol.0 as usize)
        } else {
            ""
        }
    }

    /// The number of a source, new or existing.
    pub fn source_number(&mut self, source: Source) -> u32 {
        // The newest first: messages of one partition come in runs.
        if let Some(known) = self.sources.iter().rposition(|s| *s == source) {
            return known as u32;
        }
        self.sources.push(source);
        (self.sources.len() - 1) as u32
    }

    /// The source of a number of this shard.
    pub fn source(&self, number: u32) -> Source {
        self.sources
            .get(number as usize)
            .copied()
            .unwrap_or_default()
    }

    /// How many distinct texts are held.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// Bytes held, for the state-size gauge and the bench.
    pub fn bytes(&self) -> usize {
        self.text.capacity()
            + self.ends.capacity() * size_of::<usize>()
            + self.index.capacity() * (size_of::<(u32, u32)>() + 1)
    }
}

#[inline]
fn hash(text: &str) -> u32 {
    halve(FxBuildHasher.hash_one(text))
}

/// Half of a hash, to be kept. FxHash has its entropy in neither half alone.
#[inline]
pub(crate) fn halve(hash: u64) -> u32 {
    (hash ^ hash >> 32) as u32
}

/// A kept hash for hashbrown, which asks for one whose upper bits differ as much as its lower ones.
#[inline]
pub(crate) fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[inline]
fn slice<'a>(text: &'a str, ends: &[usize], i: usize) -> &'a str {
    let start = if i == 0 { 0 } else { ends[i - 1] };
    &text[start..ends[i]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_words_have_fixed_numbers() {
        let symbols = Symbols::default();
        assert_eq!(symbols.text(Symbol::WON), "won");
        assert_eq!(symbols.text(Symbol::CROSS_SELL), "cross_sell");
        assert_eq!(symbols.find(""), Some(Symbol::BLANK));
    }

    #[test]
    fn a_text_gets_one_symbol() {
        let mut symbols = Symbols::default();
        let (a, b) = (symbols.intern("référence"), symbols.intern("x"));
        assert_ne!(a, b);
        assert_eq!(symbols.intern("référence"), a);
        assert_eq!(symbols.text(a), "référence");
        assert_eq!(symbols.text(Symbol(9_999)), "");
    }
}
