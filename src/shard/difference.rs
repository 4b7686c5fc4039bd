//! The difference between what a record contributed before a message and what it contributes after
//! it.

use rustc_hash::FxHashMap;

use crate::metric::{Contribution, Contributions};

/// Lists shorter than this are compared item by item.
const FEW: usize = 12;

/// Contributions to one rollup: one to be taken back, one to be added, or both, whose cells are
/// mostly the same.
#[derive(Clone, Copy)]
pub(super) struct Change<'a> {
    /// Before.
    pub minus: Option<&'a Contribution>,
    /// After.
    pub plus: Option<&'a Contribution>,
}

/// What of a change goes to a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// What is taken back.
    Minus,
    /// What is added.
    Plus,
    /// Both.
    Both,
}

impl<'a> Change<'a> {
    /// The rollup.
    pub fn rollup(&self) -> Option<u8> {
        self.plus.or(self.minus).map(|change| change.rollup)
    }

    /// What of it goes to a cell.
    pub fn part(&self, part: Part) -> Change<'a> {
        Change {
            minus: self.minus.filter(|_| part != Part::Plus),
            plus: self.plus.filter(|_| part != Part::Minus),
        }
    }

    /// Each with its sign.
    pub fn signed(&self) -> impl Iterator<Item = (&'a Contribution, i64)> {
        let minus = self.minus.map(|contribution| (contribution, -1));
        minus.into_iter().chain(self.plus.map(|c| (c, 1)))
    }
}

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

    /// Hands over what is left once equal contributions of both sides are struck out, so that no
    /// cell is touched by what did not change.
    pub fn net(&mut self, mut apply: impl FnMut(Change<'_>)) {
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
            for contribution in plus.iter() {
                // A deal whose stage changes stays in the cells of every other group: one look-up
                // for both.
                let of_rollup = |old: &Contribution| old.rollup == contribution.rollup;
                let beside = minus.iter().position(of_rollup);
                let old = beside.map(|at| minus.swap_remove(at));
                apply(Change {
                    minus: old.as_ref(),
                    plus: Some(contribution),
                });
            }
            for contribution in minus.iter() {
                apply(Change {
                    minus: Some(contribution),
                    plus: None,
                });
            }
        } else {
            let mut sums: FxHashMap<&Contribution, i64> = FxHashMap::default();
            for contribution in minus.iter() {
                *sums.entry(contribution).or_default() -= 1;
            }
            for contribution in plus.iter() {
                *sums.entry(contribution).or_default() += 1;
            }
            for (contribution, count) in sums {
                let change = Change {
                    minus: (count < 0).then_some(contribution),
                    plus: (count > 0).then_some(contribution),
                };
                (0..count.abs()).for_each(|_| apply(change));
            }
        }
    }
}
