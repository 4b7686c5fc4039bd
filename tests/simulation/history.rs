//! A history: all that is needed to run it again, and to find a shorter one that fails as well.

use std::fmt;
use std::str::FromStr;

/// What may go wrong in a history; a shorter history does with less of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mischief {
    Crashes = 1,
    Zombies = 2,
    LateArrivals = 4,
    Failures = 8,
    RouterCrashes = 16,
    Rebuild = 32,
    LastRestart = 64,
    Burst = 128,
}

impl Mischief {
    pub const ALL: [Mischief; 8] = [
        Mischief::Crashes,
        Mischief::Zombies,
        Mischief::LateArrivals,
        Mischief::Failures,
        Mischief::RouterCrashes,
        Mischief::Rebuild,
        Mischief::LastRestart,
        Mischief::Burst,
    ];
}

/// How many steps a history has at most before it comes to rest.
const STEPS: usize = 540;

/// One history. As text: `seed.dice.events.steps.without`, the numbers in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// What the events are made of.
    pub seed: u64,
    /// What everything else is decided by.
    pub dice: u64,
    /// Which of the events are used, a bit each.
    pub events: u64,
    /// How many steps may be made before everything comes to rest.
    pub steps: usize,
    /// What does not go wrong in it, a bit each.
    pub without: u8,
}

impl History {
    pub fn new(seed: u64) -> History {
        History {
            seed,
            dice: seed,
            events: u64::MAX,
            steps: STEPS,
            without: 0,
        }
    }

    pub fn has(&self, mischief: Mischief) -> bool {
        self.without & mischief as u8 == 0
    }

    /// A shorter history of which `fails` is true as well, with some of its `events` only. It is
    /// true of this one.
    pub fn shrink(self, events: usize, fails: impl Fn(&History) -> bool) -> History {
        let events = events.min(63); // those of a burst go together
        let mut least = History {
            events: self.events & !(u64::MAX << events),
            ..self
        };
        // There is seldom anything left to remove after the second round.
        for _ in 0..3 {
            let before = least;
            for mischief in Mischief::ALL {
                least = least.if_still(&fails, |h| h.without |= mischief as u8);
            }
            for width in [8, 4, 2, 1] {
                for start in (0..events).step_by(width) {
                    let mask = (u64::MAX >> (64 - width)) << start;
                    least = least.if_still(&fails, |h| h.events &= !mask);
                }
            }
            for part in [2, 4] {
                least = least.if_still(&fails, |h| h.steps -= h.steps / part);
            }
            if least == before {
                break;
            }
        }
        least
    }

    /// The history with a change, if it still fails: with these dice or others.
    fn if_still(self, fails: &impl Fn(&History) -> bool, change: impl Fn(&mut History)) -> History {
        let mut changed = self;
        change(&mut changed);
        if changed == self {
            return self;
        }
        let others = (0..4).map(|i| History {
            dice: changed.dice.wrapping_add(i),
            ..changed
        });
        others.into_iter().find(fails).unwrap_or(self)
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:x}.{:x}.{:x}.{:x}.{:x}",
            self.seed, self.dice, self.events, self.steps, self.without
        )
    }
}

impl FromStr for History {
    type Err = String;

    /// A whole history, or the number of a seed.
    fn from_str(text: &str) -> Result<History, String> {
        let bad =
            || format!("`{text}` is no history: give a seed's number, or what a failure printed");
        let parts: Vec<&str> = text.split('.').collect();
        let number = |at: usize| u64::from_str_radix(parts[at], 16).map_err(|_| bad());
        match parts.len() {
            1 => text.parse().map(History::new).map_err(|_| bad()),
            5 => Ok(History {
                seed: number(0)?,
                dice: number(1)?,
                events: number(2)?,
                steps: number(3)? as usize,
                without: number(4)? as u8,
            }),
            _ => Err(bad()),
        }
    }
}
