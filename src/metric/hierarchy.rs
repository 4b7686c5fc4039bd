//! The hierarchy: who reported to whom, and which teams were a part of which, day by day.
//!
//! Cells hold numbers by owner and day, and sums are linear: adding an owner's day to the managers
//! of that day is adding each record in it. So somebody who moves, or a move that is told late,
//! moves no record, and a team's numbers of last year stay those of last year's team.

use std::collections::HashMap;

use crate::window::{DERIVED, Day};

/// From one day up to before another, an owner's numbers count for a value of a derived dimension
/// too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// The dimension, by its place in [`DERIVED`].
    pub dimension: usize,
    /// Whose numbers.
    pub owner: String,
    /// The manager, or the team.
    pub value: String,
    /// The first day.
    pub from: Day,
    /// The first day not any more.
    pub to: Day,
}

/// Every line of an organisation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Hierarchy {
    lines: HashMap<String, Vec<Line>>,
}

impl Hierarchy {
    /// The hierarchy of these lines, of which no two of an owner and value share a day.
    pub fn new(mut lines: Vec<Line>) -> Hierarchy {
        lines.sort_unstable();
        let mut by_owner: HashMap<String, Vec<Line>> = HashMap::new();
        for line in lines {
            by_owner.entry(line.owner.clone()).or_default().push(line);
        }
        Hierarchy { lines: by_owner }
    }

    /// True if nobody has a manager or a team: then nothing is derived.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The stretches of days an owner's numbers count for other values in, each with the place of
    /// its dimension in [`DERIVED`]. On a day without a manager, or a team, they count for the
    /// blank value, so that nothing is missing.
    pub fn of(&self, owner: &str) -> Vec<(usize, &str, std::ops::Range<Day>)> {
        let mut all = Vec::new();
        if self.is_empty() {
            return all;
        }
        let lines = self.lines.get(owner).map(Vec::as_slice).unwrap_or_default();
        for dimension in 0..DERIVED.len() {
            let of_dimension = lines.iter().filter(|line| line.dimension == dimension);
            let mut covered: Vec<std::ops::Range<Day>> = Vec::new();
            for line in of_dimension {
                all.push((dimension, line.value.as_str(), line.from..line.to));
                covered.push(line.from..line.to);
            }
            covered.sort_unstable_by_key(|days| days.start);
            let mut next = Day::MIN;
            for days in covered {
                if next < days.start {
                    all.push((dimension, "", next..days.start));
                }
                next = next.max(days.end);
            }
            if next < Day::MAX {
                all.push((dimension, "", next..Day::MAX));
            }
        }
        all
    }
}

/// What stands beside the cells where they are read: it changes what is derived from them, never a
/// cell.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SideInputs {
    /// The exchange rates.
    pub rates: super::Rates,
    /// The hierarchy.
    pub hierarchy: Hierarchy,
    /// What values are called.
    pub names: super::ValueNames,
}

impl SideInputs {
    /// True if the same is derived by both.
    pub fn derives_as(&self, other: &SideInputs) -> bool {
        (&self.rates, &self.hierarchy) == (&other.rates, &other.hierarchy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(dimension: usize, owner: &str, value: &str, from: Day, to: Day) -> Line {
        Line {
            dimension,
            owner: owner.into(),
            value: value.into(),
            from,
            to,
        }
    }

    #[test]
    fn every_day_of_an_owner_counts_for_somebody_or_for_nobody() {
        let lines = vec![
            line(0, "ana", "dora", 10, 20),
            line(0, "ana", "emil", 15, 20),
            line(0, "ana", "emil", 30, Day::MAX),
            line(1, "ana", "north", Day::MIN, Day::MAX),
        ];
        let hierarchy = Hierarchy::new(lines);
        let on = |day: Day| {
            let all = hierarchy.of("ana").into_iter();
            let of_day = all.filter(|(.., days)| days.contains(&day));
            let mut of_day: Vec<(usize, &str)> = of_day.map(|(d, value, _)| (d, value)).collect();
            of_day.sort_unstable();
            of_day
        };
        assert_eq!(on(9), [(0, ""), (1, "north")]);
        assert_eq!(on(12), [(0, "dora"), (1, "north")]);
        assert_eq!(on(15), [(0, "dora"), (0, "emil"), (1, "north")]);
        assert_eq!(on(20), [(0, ""), (1, "north")]);
        assert_eq!(on(30), [(0, "emil"), (1, "north")]);
        let stranger = hierarchy.of("somebody unknown");
        assert_eq!(stranger.len(), DERIVED.len());
        assert!(stranger.iter().all(|(_, value, _)| value.is_empty()));
        assert!(Hierarchy::default().of("ana").is_empty());
    }
}
