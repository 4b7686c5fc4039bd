//! Daily counts: what a watched series is made of.

use std::ops::{AddAssign, Range, SubAssign};

use crate::window::Day;

/// One day, or the sum of several: how many were asked, and what they said.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    /// How many: deals decided, leads matured, deals won; of a volume, how many usual days.
    pub n: f64,
    /// The sum of what is watched: of a share how many are in it, of durations their logarithms, of
    /// a volume the count.
    pub x: f64,
    /// The sum of its squares, where single values differ: durations.
    pub xx: f64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.n += other.n;
        self.x += other.x;
        self.xx += other.xx;
    }
}

impl SubAssign for Tally {
    fn sub_assign(&mut self, other: Tally) {
        self.n -= other.n;
        self.x -= other.x;
        self.xx -= other.xx;
    }
}

impl Tally {
    /// What is watched, per one that was asked; `None` where nobody was.
    pub fn mean(&self) -> Option<f64> {
        (self.n > 0.0).then(|| self.x / self.n)
    }
}

/// A run of local days without a gap.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Daily {
    /// The first of them.
    pub first: Day,
    /// Day by day.
    pub days: Vec<Tally>,
}

impl Daily {
    /// The days from the first one in which there is anything up to `last`, from tallies in any
    /// order; several of one day are added. Empty where nothing was counted by then.
    pub fn of(tallies: impl IntoIterator<Item = (Day, Tally)>, last: Day) -> Daily {
        let mut tallies: Vec<(Day, Tally)> = tallies
            .into_iter()
            .filter(|(day, tally)| *day <= last && *tally != Tally::default())
            .collect();
        // Sums of floating-point numbers depend on their order; whole numbers, which counts are,
        // don't, and logarithms are put in one order.
        tallies.sort_by(|a, b| (a.0.cmp(&b.0)).then_with(|| a.1.x.total_cmp(&b.1.x)));
        let Some((first, _)) = tallies.first().copied() else {
            return Daily::default();
        };
        let length = usize::try_from(i64::from(last) - i64::from(first) + 1).unwrap_or_default();
        let mut days = vec![Tally::default(); length];
        for (day, tally) in tallies {
            days[(day - first) as usize] += tally;
        }
        Daily { first, days }
    }

    /// The day after the last one.
    pub fn end(&self) -> Day {
        self.first + self.days.len() as Day
    }

    /// The day at a position.
    pub fn day(&self, position: usize) -> Day {
        self.first + position as Day
    }

    /// The positions of the days of a range that are there.
    pub fn positions(&self, days: &Range<Day>) -> Range<usize> {
        let position = |day: Day| (day.clamp(self.first, self.end()) - self.first) as usize;
        let from = position(days.start);
        from..position(days.end).max(from)
    }

    /// A volume: every day counts as so many usual days as its weekday has, so that a Sunday
    /// without leads is no loss. The shares of the weekdays are those of the whole series.
    pub fn of_volume(mut self) -> Daily {
        let mut by_weekday = [Tally::default(); 7];
        for (position, tally) in self.days.iter().enumerate() {
            let weekday = self.day(position).rem_euclid(7) as usize;
            by_weekday[weekday].n += 1.0;
            by_weekday[weekday].x += tally.x;
        }
        let means = by_weekday.map(|weekday| weekday.mean().unwrap_or_default());
        let usual = means.iter().sum::<f64>() / 7.0;
        for position in 0..self.days.len() {
            let weekday = self.day(position).rem_euclid(7) as usize;
            self.days[position].n = if usual > 0.0 {
                means[weekday] / usual
            } else {
                1.0
            };
        }
        self
    }
}

/// Running sums, by which the sum of any run of days is a difference.
#[derive(Debug, Clone)]
pub struct Sums(Vec<Tally>);

impl Sums {
    /// The running sums of some days.
    pub fn of(days: &[Tally]) -> Sums {
        let mut sums = Vec::with_capacity(days.len() + 1);
        let mut sum = Tally::default();
        sums.push(sum);
        for day in days {
            sum += *day;
            sums.push(sum);
        }
        Sums(sums)
    }

    /// The sum of the days at some positions.
    pub fn over(&self, positions: &Range<usize>) -> Tally {
        let mut sum = self.0[positions.end];
        sum -= self.0[positions.start];
        sum
    }
}
