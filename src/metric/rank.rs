//! Ranks: who is ahead among the groups of one set.

use std::cmp::Reverse;

use super::{Figures, Group};

/// The place of each group, from 1: the greatest number first, of equals the first by name, so that
/// no place is shared. None for a group that has no number, and for what has no value: nobody takes
/// part in no race.
pub fn ranks(groups: &[Group], number: impl Fn(&Figures) -> Option<i128>) -> Vec<Option<i64>> {
    let taking_part = groups.iter().enumerate().filter_map(|(at, group)| {
        let is_somebody = group.values.iter().all(|value| !value.is_empty());
        let number = number(&group.figures).filter(|_| is_somebody)?;
        Some((Reverse(number), &group.values, at))
    });
    let mut in_order: Vec<_> = taking_part.collect();
    in_order.sort_unstable();
    let mut ranks = vec![None; groups.len()];
    for (rank, (_, _, at)) in (1..).zip(in_order) {
        ranks[at] = Some(rank);
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Figure;

    #[test]
    fn the_greatest_is_first_equals_go_by_name_and_nobody_takes_no_part() {
        let group = |value: &str, count| Group {
            set: 1,
            values: vec![value.into()],
            figures: vec![("done", Figure::Count(count))],
        };
        let groups = [
            group("", 9),
            group("ana", 3),
            group("ben", 5),
            group("cid", 0),
            group("dan", 5),
            group("eve", -1),
        ];
        let done = |figures: &Figures| match figures[..] {
            [("done", Figure::Count(0))] => None,
            [("done", Figure::Count(n))] => Some(n.into()),
            _ => panic!("{figures:?}"),
        };
        let expected = [None, Some(3), Some(1), None, Some(2), Some(4)];
        assert_eq!(ranks(&groups, done), expected);
        let mut backwards = groups.to_vec();
        backwards.reverse();
        let reversed: Vec<_> = expected.into_iter().rev().collect();
        assert_eq!(ranks(&backwards, done), reversed);
    }
}
