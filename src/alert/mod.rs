//! Alerts: has a watched number really fallen, or is it the quarter, the weekend, a handful of
//! deals?
//!
//! A series of daily counts ([`daily`]) is compared with the like days of the last four quarters
//! ([`phase`], [`baseline`]). Every day adds to the evidence of a fall what the counts say for it
//! and against it ([`likelihood`]), scaled by how much more days differ than chance alone would
//! have them ([`fit`]); below nothing the evidence doesn't go ([`cusum`]). It is held against a
//! threshold that keeps a promise about false alarms: from the series' own history ([`calibrate`]),
//! or from simulation ([`threshold`]).
//!
//! All of this is arithmetic: the same counts give the same evidence, on every instance.

pub mod baseline;
pub mod calibrate;
pub mod cause;
pub mod cusum;
pub mod daily;
pub mod fit;
pub mod history;
pub mod likelihood;
pub mod phase;
mod random;
pub mod status;
pub mod threshold;
mod watch;

pub use daily::{Daily, Tally};
pub use history::History;
pub use likelihood::Likelihood;
pub use phase::Phases;
pub use random::Random;
pub use status::{Status, Threshold};
pub use watch::{TOTAL, Watch, WatchedSeries};

/// The days within which an alert has to come for a change to count as caught.
pub const CAUGHT_WITHIN: usize = 28;
/// The chance with which a series must catch the change that is looked for, to be judged.
pub const POWER: f64 = 0.8;
/// False episodes a series and year that thresholds are set for.
pub const FALSE_A_YEAR: f64 = 0.25;
/// Quiet days that end an episode.
pub const QUIET_DAYS: usize = 7;

#[cfg(test)]
mod tests;
