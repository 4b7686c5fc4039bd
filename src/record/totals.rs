//! Totals: running sums of what a record's links say, by period and currency or owner, so that one
//! link more costs no walk over all.

use super::sorted::Sorted;
use crate::symbol::Symbol;

/// Which total: its slot, which is the metric's; a period, such as a month, or 0 for all time; what
/// it is of, such as a currency.
pub type TotalKey = (u16, i64, Symbol);

/// A total and how many links are in it. Packed, as a sum aligned by itself would cost eight bytes.
#[derive(Debug, Clone, Copy)]
#[repr(Rust, packed(8))]
struct Total {
    key: TotalKey,
    sum: i128,
    count: u32,
}

/// What metrics add up of a record's links.
#[derive(Debug, Clone, Default)]
pub struct Totals(Sorted<Total>);

impl Totals {
    /// No totals.
    pub const NONE: Totals = Totals(Sorted::NONE);

    /// Adds what a link says, or takes it back. A total of no links is none, also if a zero would
    /// be left.
    pub fn add(&mut self, key: TotalKey, amount: i64, sign: i64) {
        let probe = |total: &Total| total.key.cmp(&key);
        let change = i128::from(amount) * i128::from(sign);
        let total = Total {
            key,
            sum: change,
            count: 1,
        };
        let known = if sign > 0 {
            self.0.insert(total, probe)
        } else {
            self.0.get_mut(probe)
        };
        if let Some(known) = known {
            known.sum += change;
            known.count = known.count.saturating_add_signed(sign as i32);
            if known.count == 0 {
                self.0.remove(probe);
            }
        }
    }

    /// The totals of a period, by what they are of.
    pub fn of(&self, slot: u16, period: i64) -> impl Iterator<Item = (Symbol, i128)> + Clone {
        let from = self.0.from(move |total| {
            let (of_slot, of_period, _) = total.key;
            (of_slot, of_period).cmp(&(slot, period)).then(GREATER)
        });
        from.take_while(move |total| (total.key.0, total.key.1) == (slot, period))
            .map(|total| (total.key.2, total.sum))
    }

    /// The periods of a slot that have a total, in order.
    pub fn periods(&self, slot: u16) -> impl Iterator<Item = i64> {
        let from = self
            .0
            .from(move |total| total.key.0.cmp(&slot).then(GREATER));
        let mut last = None;
        from.take_while(move |total| total.key.0 == slot)
            .map(|total| total.key.1)
            .filter(move |period| last.replace(*period) != Some(*period))
    }

    /// Bytes it holds outside its own struct.
    pub fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }
}

/// What is looked for lies before all of a kind.
const GREATER: std::cmp::Ordering = std::cmp::Ordering::Greater;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_the_sums_of_what_was_added_and_not_taken_back(
            links in prop::collection::vec((0u16..3, -2i64..3, 0u32..2, -5i64..6, any::<bool>()), 0..200)
        ) {
            let (mut totals, mut expected) = (Totals::default(), BTreeMap::<TotalKey, (i128, u32)>::new());
            for (slot, period, currency, amount, stays) in links {
                let key = (slot, period, Symbol(currency));
                totals.add(key, amount, 1);
                if stays {
                    let known = expected.entry(key).or_default();
                    *known = (known.0 + i128::from(amount), known.1 + 1);
                } else {
                    totals.add(key, amount, -1);
                }
            }
            for slot in 0..3 {
                let mut periods: Vec<i64> = expected.keys().filter(|k| k.0 == slot).map(|k| k.1).collect();
                periods.dedup();
                prop_assert!(totals.periods(slot).eq(periods));
                for period in -3..4 {
                    let of_period = expected.iter().filter(|(k, _)| (k.0, k.1) == (slot, period));
                    prop_assert!(totals.of(slot, period).eq(of_period.map(|(k, (sum, _))| (k.2, *sum))));
                }
            }
        }
    }
}
