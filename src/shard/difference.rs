//! The difference between what a record contributed before a message and what it contributes after it.

use rustc_hash::FxHashMap;

use crate::metric::{Contribution, Contributions};

/// Lists shorter than this are compared item by item.
const FEW: usize = 12;

/// What is to be taken back and what is to be added.
#[derive(Default)]
pub(super) struct Difference {
    /// Before.
    pub minus: Contributions,
    /// After.
    pub plus: Contributions,
}

impl Difference {
    /// Nothing, ready to be used again.
    pub fn clear(&mut self) {
        self.minus.clear();
        self.plus.clear();
    }

    /// Hands over what is left once equal contributions of both sides are struck out, so that no cell is touched by what did not change.
    pub fn net(&mut self, mut apply: impl FnMut(&Contribution, i64)) {
        let (minus, plus) = (&mut self.minus.items, &mut self.plus.items);
        if minus.len().min(plus.len()) <= FEW {
            let mut at = 0;
            while at < plus.len() {
                match minus.iter().position(|old| *old == plus[at]) {
                    Some(same) => {
                        minus.swap_remove(same);
                        plus.swap_remove(at);
                    }
                    None => at += 1,
                }
            }
            minus
                .iter()
                .for_each(|contribution| apply(contribution, -1));
            plus.iter().for_each(|contribution| apply(contribution, 1));
        } else {
            let mut sums: FxHashMap<&Contribution, i64> = FxHashMap::default();
            for contribution in minus.iter() {
                *sums.entry(contribution).or_default() -= 1;
            }
            for contribution in plus.iter() {
                *sums.entry(contribution).or_default() += 1;
            }
            for (contribution, count) in sums {
                let sign = count.signum();
                (0..count.abs()).for_each(|_| apply(contribution, sign));
            }
        }
    }
}
