//! Which epochs a program may count: those of its own catalogue. One that continued under another
//! would leave untouched cells by the old formula beside touched ones by its own.
//!
//! The protocol of an upgrade: the program with the other catalogue writes the next epoch, whose
//! `stood_at` says that the epochs before it are left, *before* it folds anything. From then on no
//! program counts those: neither the new one, which lacks their formulas, nor an older one, since
//! another may have folded a shard without them in between. So their rollups stay as they are, each
//! shard at its last flush, until the switch makes the next epoch current. An older program stops
//! folding when it sees an epoch it can't count.

use std::fmt;

use super::epochs::{Epoch, building, current};
use crate::definitions::DefinitionsSpec;
use crate::metric::Versions;

/// The catalogue a program has under given definitions: [`crate::metric::versions`], or that of
/// another version in a test.
pub type VersionsOf = fn(&DefinitionsSpec) -> Versions;

/// How two catalogues differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Metrics that only the program has.
    new: Vec<String>,
    /// Metrics of which both have a formula, with the epoch's version and the program's.
    altered: Vec<(String, u32, u32)>,
    /// Metrics that only the epoch has.
    gone: Vec<String>,
}

impl Difference {
    /// The difference of a program's catalogue from an epoch's; `None` if there is none.
    pub fn between(epoch: &Versions, program: &Versions) -> Option<Difference> {
        let only = |ours: &Versions, theirs: &Versions| {
            let names = ours.keys().filter(|name| !theirs.contains_key(*name));
            names.cloned().collect()
        };
        let altered = epoch.iter().filter_map(|(name, before)| {
            let now = program.get(name).filter(|now| *now != before)?;
            Some((name.clone(), *before, *now))
        });
        (epoch != program).then(|| Difference {
            new: only(program, epoch),
            altered: altered.collect(),
            gone: only(epoch, program),
        })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |names: &[String]| {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            names.join(", ")
        };
        let altered: Vec<String> = self
            .altered
            .iter()
            .map(|(name, before, now)| format!("`{name}` (version {before} there, {now} here)"))
            .collect();
        let parts = [
            ("new", quoted(&self.new)),
            ("altered", altered.join(", ")),
            ("gone", quoted(&self.gone)),
        ];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| format!("{what}: {names}"))
            .collect();
        f.write_str(&parts.join("; "))
    }
}

/// Why a program may not count by the epochs there are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The epoch has other formulas.
    #[error(
        "epoch {epoch} is counted by another catalogue of metrics than this program has; {difference}"
    )]
    Catalogue {
        /// The epoch.
        epoch: u32,
        /// How the program's catalogue differs from the epoch's.
        difference: Difference,
    },
    /// The next epoch has other formulas.
    #[error(
        "epoch {epoch} is being built by another catalogue of metrics than this program has; {difference}; run the version that began it, or give it up: dealpulse rebuild abandon"
    )]
    Building {
        /// The epoch.
        epoch: u32,
        /// How the program's catalogue differs from the epoch's.
        difference: Difference,
    },
    /// Its shards have been folded without it.
    #[error(
        "epoch {epoch} is not continued: another version left it when it began epoch {by}, which was abandoned"
    )]
    Left {
        /// The epoch.
        epoch: u32,
        /// The epoch that another version began.
        by: u32,
    },
}

impl Mismatch {
    /// True if a rebuild of the definitions by this program fixes it.
    pub fn is_fixed_by_rebuild(&self) -> bool {
        !matches!(self, Mismatch::Building { .. })
    }
}

/// The first epoch that leaves an older one: whose program does not count it.
pub fn left_by(epochs: &[Epoch], epoch: u32) -> Option<&Epoch> {
    epochs
        .iter()
        .find(|later| later.epoch > epoch && later.stood_at.is_some())
}

/// Refuses an epoch of another catalogue than the program's.
///
/// # Errors
/// How they differ.
pub fn check_countable(epoch: &Epoch, catalogue: VersionsOf) -> Result<(), Mismatch> {
    match Difference::between(&epoch.catalogue, &catalogue(&epoch.definitions)) {
        None => Ok(()),
        Some(difference) => Err(Mismatch::Catalogue {
            epoch: epoch.epoch,
            difference,
        }),
    }
}

/// Refuses a program that can count neither for the current epoch nor for the one that is being
/// built in its place.
///
/// # Errors
/// What it can't count, and why.
pub fn check(epochs: &[Epoch], catalogue: VersionsOf) -> Result<(), Mismatch> {
    let Some(current) = current(epochs) else {
        return Ok(());
    };
    let next = building(epochs);
    if let Some(Mismatch::Catalogue { epoch, difference }) =
        next.and_then(|next| check_countable(next, catalogue).err())
    {
        return Err(Mismatch::Building { epoch, difference });
    }
    match left_by(epochs, current.epoch) {
        None => check_countable(current, catalogue),
        Some(_) if next.is_some() => Ok(()),
        Some(by) => check_countable(current, catalogue).and(Err(Mismatch::Left {
            epoch: current.epoch,
            by: by.epoch,
        })),
    }
}

/// Up to when (µs) an epoch is complete at the most, if no program continues it; `None` if one
/// does.
pub fn stood_at(epochs: &[Epoch], epoch: u32) -> Option<i64> {
    epochs
        .iter()
        .filter(|later| later.epoch > epoch)
        .filter_map(|later| later.stood_at)
        .min()
}

/// True if an epoch's number of a metric may be shown by a program with this catalogue: it is of
/// the same formula.
pub fn is_shown(epoch: &Epoch, metric: &str, program: &Versions) -> bool {
    epoch
        .catalogue
        .get(metric)
        .is_some_and(|version| program.get(metric) == Some(version))
}
