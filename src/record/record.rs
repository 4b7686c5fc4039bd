//! The record: one CRM entity as its sources described it, a join-semilattice of assertions.

mod cuts;
mod read;

use std::cmp::Ordering;
use std::ops::Range;

use smallvec::SmallVec;

use super::value::{Element, Held, Packed};
use super::words::{Full, PackedStamp, Words};
use crate::event::{Clock, EntitySpec, Field, Keep, Stamp};
use crate::symbol::Symbols;
pub use cuts::Cut;
use cuts::Cuts;
pub(super) use cuts::{Said, Sayings, last_run};

/// One CRM entity as its sources described it.
///
/// Folding is commutative, associative and idempotent: a record is a function of the *set* of
/// assertions it was given.
#[derive(Debug, Clone)]
pub struct Record {
    /// Values ordered by field, then stamp, then value: the last of a field is the one that counts.
    elements: Vec<Element>,
    /// The few distinct stamps the elements point to, and the values too wide for an element.
    words: Words,
    /// The smallest clock that ever asserted anything, at [`NEVER`] if none did.
    first: Clock,
    /// What was cut off histories: of few records anything.
    cuts: Option<Box<Cuts>>,
}

const NEVER: i64 = i64::MAX;

/// What an assertion did to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Effect {
    /// The record's state is another one.
    pub changed: bool,
    /// The canonical fields, a bit each, of which more than the clock of the value that counts may
    /// be another.
    pub values: u64,
    /// The canonical fields whose counting value was only asserted again, later.
    pub repeated: u64,
    /// A custom field changed.
    pub custom: bool,
    /// The record began earlier than was known.
    pub began: bool,
    /// How many values the record had no room for.
    pub overflowed: u32,
}

impl Effect {
    /// Adds what another assertion did.
    pub fn merge(&mut self, other: Effect) {
        self.changed |= other.changed;
        self.values |= other.values;
        self.repeated |= other.repeated;
        self.custom |= other.custom;
        self.began |= other.began;
        self.overflowed += other.overflowed;
    }

    fn note(&mut self, field: Field, outcome: Outcome) {
        match outcome {
            Outcome::Unchanged => {}
            Outcome::Repeated => {
                self.changed = true;
                self.repeated |= field.bit();
            }
            Outcome::Changed => {
                self.changed = true;
                self.values |= field.bit();
                self.custom |= field.0 >= Field::FIRST_CUSTOM;
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Known already, or out of date.
    Unchanged,
    /// The value that counts, asserted again at a later clock.
    Repeated,
    /// Anything else.
    Changed,
}

/// A stamp on its way into a record, and its position there once a value needed it.
struct Arriving {
    stamp: Stamp,
    packed: PackedStamp,
    at: Option<u16>,
}

impl Arriving {
    fn new(stamp: Stamp, symbols: &mut Symbols) -> Arriving {
        Arriving {
            stamp,
            packed: PackedStamp::of(stamp, symbols),
            at: None,
        }
    }
}

impl Default for Record {
    fn default() -> Self {
        Record {
            elements: Vec::new(),
            words: Words::default(),
            first: Clock {
                time: NEVER,
                sequence: 0,
            },
            cuts: None,
        }
    }
}

impl Record {
    /// Notes that something was asserted at `clock`, if only that the record exists. True if that
    /// changed the record.
    pub fn witness(&mut self, clock: Clock) -> bool {
        let clock = Clock {
            time: clock.time.min(NEVER - 1),
            ..clock
        };
        let earlier = self.first().is_none_or(|first| clock < first);
        if earlier {
            self.first = clock;
        }
        earlier
    }

    /// Folds one assertion in; a value whose field has no number is counted as having found no
    /// room. Values in order of field are folded in one walk.
    pub fn fold(
        &mut self,
        spec: &EntitySpec,
        stamp: Stamp,
        values: impl ExactSizeIterator<Item = (Option<Field>, Held)>,
        symbols: &mut Symbols,
    ) -> Effect {
        let began = self.witness(stamp.clock);
        let mut effect = Effect {
            began,
            changed: began,
            ..Effect::default()
        };
        if self.elements.capacity() == 0 {
            self.elements.reserve_exact(values.len());
        }
        let mut arriving = Arriving::new(stamp, symbols);
        let mut from = 0;
        for (field, held) in values {
            let Some(field) = field else {
                effect.overflowed += 1;
                continue;
            };
            let range = self.range_from(from, field);
            // What stands there is of this field, or of one before it.
            from = range.end.saturating_sub(1);
            let keep = spec.spec(field).keep;
            let renewed = self.renew(&range, keep, &arriving, held).map(Ok);
            match renewed
                .unwrap_or_else(|| self.assert_in(range, field, keep, &mut arriving, held, symbols))
            {
                Ok(outcome) => effect.note(field, outcome),
                Err(Full) => effect.overflowed += 1,
            }
        }
        effect
    }

    /// Folds one value in. True if the record changed; a value already known, or out of date,
    /// changes nothing.
    ///
    /// # Errors
    /// If there is no room for one more stamp.
    pub fn assert(
        &mut self,
        field: Field,
        keep: Keep,
        stamp: Stamp,
        held: Held,
        symbols: &mut Symbols,
    ) -> Result<bool, Full> {
        let range = self.range_from(0, field);
        let mut arriving = Arriving::new(stamp, symbols);
        let outcome = self.assert_in(range, field, keep, &mut arriving, held, symbols)?;
        Ok(outcome != Outcome::Unchanged)
    }

    /// Writes a newer value over the only one of a field, where that takes no more memory: most of
    /// what a row image says. `None`, and nothing done, where it is not as simple as that.
    fn renew(
        &mut self,
        range: &Range<usize>,
        keep: Keep,
        arriving: &Arriving,
        held: Held,
    ) -> Option<Outcome> {
        let stamp = arriving.at?;
        let [element] = self.elements.get_mut(range.clone())? else {
            return None;
        };
        let is_newer = self.words.time(element.stamp) < arriving.stamp.clock.time;
        if keep != Keep::Latest || !is_newer {
            return None;
        }
        let before = *element;
        let is_same = match Packed::of(held) {
            Packed::Inline(tag, bits) if !before.is_wide() => {
                *element = Element::new(before.field(), stamp, tag, bits);
                before.is_alike(*element)
            }
            Packed::Wide(tag, word) if before.is_wide() => {
                *element = Element::new(before.field(), stamp, tag, before.bits);
                let is_same_word = self.words.replace_value(before.bits, word) == word;
                is_same_word && before.is_alike(*element)
            }
            _ => return None,
        };
        Some(if is_same {
            Outcome::Repeated
        } else {
            Outcome::Changed
        })
    }

    fn assert_in(
        &mut self,
        range: Range<usize>,
        field: Field,
        keep: Keep,
        arriving: &mut Arriving,
        held: Held,
        symbols: &mut Symbols,
    ) -> Result<Outcome, Full> {
        let clock = arriving.stamp.clock;
        // The common case by far: newer than all that is kept.
        if let Some(last) = range.clone().last()
            && clock > self.clock(last)
        {
            let is_same = self.held(last) == held;
            let has_cut = match keep {
                Keep::Latest => {
                    self.put(last, field, arriving, held, false)?;
                    self.elements.drain(range.start..last);
                    false
                }
                Keep::History => {
                    self.put(range.end, field, arriving, held, true)?;
                    self.cut_history(range.start..range.end + 1, field, symbols)
                }
            };
            return Ok(if is_same && !has_cut {
                Outcome::Repeated
            } else {
                Outcome::Changed
            });
        }
        let known = range.clone();
        let same = known
            .into_iter()
            .find(|&i| self.clock(i) == clock && self.held(i) == held);
        let mut range = range;
        if let Some(same) = same {
            if self.stamp(same, symbols).origin <= arriving.stamp.origin {
                return Ok(Outcome::Unchanged);
            }
            // The same value, asserted earlier: its smallest origin moves, which may change who
            // wins a tie.
            self.elements.remove(same);
            range.end -= 1;
        } else {
            match keep {
                Keep::Latest if range.clone().next().is_some_and(|i| clock < self.clock(i)) => {
                    return Ok(Outcome::Unchanged);
                }
                Keep::History if self.is_below_cut(range.clone(), clock) => {
                    let changed = self.cut(Cut::of(field, held, arriving.stamp));
                    return Ok(if changed {
                        Outcome::Changed
                    } else {
                        Outcome::Unchanged
                    });
                }
                Keep::Latest | Keep::History => {}
            }
        }
        let at = range.start
            + self.elements[range.clone()].partition_point(|element| {
                let stamp = self.words.stamp(element.stamp, symbols);
                let order = stamp.cmp(&arriving.stamp);
                order.then_with(|| element.held(self.words.all()).order(held, symbols))
                    == Ordering::Less
            });
        self.put(at, field, arriving, held, true)?;
        if keep == Keep::History {
            self.cut_history(range.start..range.end + 1, field, symbols);
        }
        Ok(Outcome::Changed)
    }

    /// Writes an element: a new one before position `at`, or over the one that is there.
    fn put(
        &mut self,
        at: usize,
        field: Field,
        arriving: &mut Arriving,
        held: Held,
        is_new: bool,
    ) -> Result<(), Full> {
        let packed = Packed::of(held);
        let reused = (!is_new && self.elements[at].is_wide()).then(|| self.elements[at].bits);
        let of_stamp = arriving.at.map_or(arriving.packed.length(), |_| 0);
        let of_value = usize::from(matches!(packed, Packed::Wide(..)) && reused.is_none());
        let mut reused = reused;
        if of_stamp + of_value > 0 {
            let needed = of_stamp + of_value;
            self.words
                .reserve(needed, &mut self.elements, &mut arriving.at)?;
            reused = reused.map(|_| self.elements[at].bits);
        }
        let stamp = match arriving.at {
            Some(at) => at,
            None => self.words.push_stamp(&arriving.packed),
        };
        arriving.at = Some(stamp);
        let element = match (packed, reused) {
            (Packed::Inline(tag, bits), _) => Element::new(field, stamp, tag, bits),
            (Packed::Wide(tag, word), Some(bits)) => {
                self.words.replace_value(bits, word);
                Element::new(field, stamp, tag, bits)
            }
            (Packed::Wide(tag, word), None) => {
                Element::new(field, stamp, tag, self.words.push_value(word))
            }
        };
        if is_new {
            if self.elements.len() == self.elements.capacity() {
                self.elements
                    .reserve_exact((self.elements.len() / 8).max(2));
            }
            self.elements.insert(at, element);
        } else {
            self.elements[at] = element;
        }
        Ok(())
    }

    /// Fills an empty record with values in order of field, stamp and value, each with the position
    /// of its stamp, in memory that fits. False, and nothing done, if they are in another order.
    pub(super) fn fill(
        &mut self,
        stamps: &[Stamp],
        values: &[(Field, u16, Held)],
        symbols: &mut Symbols,
    ) -> Result<bool, Full> {
        let stamp_of = |value: &(Field, u16, Held)| &stamps[usize::from(value.1)];
        let in_order = |pair: &[(Field, u16, Held)]| {
            let [before, after] = pair else { return true };
            let order = before.0.cmp(&after.0);
            let order = order.then_with(|| stamp_of(before).cmp(stamp_of(after)));
            let order = order.then_with(|| before.2.order(after.2, symbols));
            order == Ordering::Less
        };
        if !values.windows(2).all(in_order) {
            return Ok(false);
        }
        let wide = |value: &&(Field, u16, Held)| matches!(Packed::of(value.2), Packed::Wide(..));
        let packed = stamps.iter();
        let packed = packed.map(|stamp| PackedStamp::of(*stamp, symbols));
        let packed: SmallVec<[PackedStamp; 12]> = packed.collect();
        let of_stamps = packed.iter().map(PackedStamp::length).sum::<usize>();
        let words = of_stamps + values.iter().filter(wide).count();
        self.words.reserve(words, &mut [], &mut None)?;
        let places = packed.iter().map(|stamp| self.words.push_stamp(stamp));
        let places: SmallVec<[u16; 12]> = places.collect();
        self.elements.reserve_exact(values.len());
        for (field, stamp, held) in values {
            let (tag, bits) = match Packed::of(*held) {
                Packed::Inline(tag, bits) => (tag, bits),
                Packed::Wide(tag, word) => (tag, self.words.push_value(word)),
            };
            let stamp = places[usize::from(*stamp)];
            self.elements.push(Element::new(*field, stamp, tag, bits));
        }
        Ok(true)
    }

    /// Takes in all that another copy of the record holds, as if every assertion behind it had been
    /// folded here.
    ///
    /// # Errors
    /// If there is no room for all of it.
    pub fn join(
        &mut self,
        other: &Record,
        spec: &EntitySpec,
        symbols: &mut Symbols,
    ) -> Result<bool, Full> {
        let mut changed = other.first().is_some_and(|first| self.witness(first));
        for cut in other.cuts() {
            changed |= self.cut(*cut);
        }
        for i in 0..other.elements.len() {
            let field = other.elements[i].field();
            let (stamp, held) = (other.stamp(i, symbols), other.held(i));
            changed |= self.assert(field, spec.spec(field).keep, stamp, held, symbols)?;
        }
        Ok(changed)
    }

    /// Reads a word of every 64 bytes it holds, for nothing but to have them at hand.
    pub fn fetch(&self) -> u64 {
        let elements = self.elements.iter().step_by(8);
        let elements = elements.fold(0, |read, element| read ^ u64::from(element.bits));
        let words = self.words.all().iter().step_by(8);
        words.fold(elements, |read, word| read ^ word)
    }

    /// Becomes a copy of another record, in the memory it already has.
    pub fn copy_from(&mut self, other: &Record) {
        self.elements.clone_from(&other.elements);
        self.words.copy_from(&other.words);
        self.first = other.first;
        self.cuts.clone_from(&other.cuts);
    }

    /// Bytes this record holds outside its own struct.
    pub fn heap_bytes(&self) -> usize {
        let cuts = self.cuts.as_ref();
        let cuts = cuts.map_or(0, |cuts| {
            size_of::<Cuts>() + cuts.0.capacity() * size_of::<Cut>()
        });
        self.elements.capacity() * size_of::<Element>() + self.words.heap_bytes() + cuts
    }

    pub(super) fn elements(&self) -> &[Element] {
        &self.elements
    }

    pub(super) fn word_count(&self) -> usize {
        self.words.all().len()
    }

    pub(super) fn held(&self, element: usize) -> Held {
        self.elements[element].held(self.words.all())
    }

    pub(super) fn stamp(&self, element: usize, symbols: &Symbols) -> Stamp {
        let at = self.elements[element].stamp;
        self.words.stamp(at, symbols)
    }

    fn clock(&self, element: usize) -> Clock {
        self.words.clock(self.elements[element].stamp)
    }

    /// The elements of a field, looked for from position `from` on if what stands there is of a
    /// field before it.
    fn range_from(&self, from: usize, field: Field) -> Range<usize> {
        let from = match self.elements.get(from) {
            Some(element) if element.field() < field => from,
            _ => 0, // not in order of field, or the same one again: from the beginning
        };
        let start = from
            + if self.elements.len() - from <= 64 {
                let rest = self.elements[from..].iter();
                rest.take_while(|e| e.field() < field).count()
            } else {
                self.elements[from..].partition_point(|e| e.field() < field)
            };
        let of_field = self.elements[start..].iter();
        let length = of_field.take_while(|e| e.field() == field).count();
        start..start + length
    }
}
