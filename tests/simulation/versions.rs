//! Two versions of the program at work on one database: the one before counts the win rate by
//! another formula.

use dealpulse::definitions::DefinitionsSpec;
use dealpulse::metric::{Versions, versions};
use dealpulse::pipeline::OutsideError;
use dealpulse::pipeline::catalogue::VersionsOf;
use dealpulse::pipeline::epochs::{Epoch, Stage};
use dealpulse::pipeline::known::Known;
use dealpulse::shard::CellRow;

use super::Broken;

/// A version of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Before,
    Today,
}

impl Program {
    /// The metrics it counts, each with the version of its formula.
    pub fn catalogue(self) -> VersionsOf {
        match self {
            Program::Before => before,
            Program::Today => versions,
        }
    }

    /// The one an epoch is to be counted by.
    pub fn of(epoch: &Epoch) -> Program {
        if epoch.catalogue == versions(&epoch.definitions) {
            Program::Today
        } else {
            Program::Before
        }
    }

    /// A cell by its formulas. Every count of the win rate by the formula before is one that
    /// today's gives for no history.
    pub fn count(self, mut row: CellRow) -> CellRow {
        if self == Program::Before && row.rollup.starts_with("win_rate.") {
            row.cell.counts.iter_mut().for_each(|n| *n *= 1_000);
        }
        row
    }
}

/// The catalogue of the version before.
fn before(definitions: &DefinitionsSpec) -> Versions {
    let mut before = versions(definitions);
    before.insert("win_rate".into(), 0);
    before
}

/// The catalogue a program compares with those of the epochs; without the rule, one that fits them
/// all.
pub fn compared(program: Program, broken: Broken) -> VersionsOf {
    match broken {
        Broken::CataloguesIgnored => versions,
        _ => program.catalogue(),
    }
}

/// The epochs as a program sees them that looks at no catalogue: all are its own, and none was left
/// by another version.
pub fn without_catalogues(epochs: impl IntoIterator<Item = Epoch>) -> Vec<Epoch> {
    let ours = epochs.into_iter().map(|epoch| Epoch {
        catalogue: versions(&epoch.definitions),
        stood_at: None,
        ..epoch
    });
    ours.collect()
}

/// All epochs of a log, whoever may count them, and those that were given up.
pub fn all_of(epochs: &[Epoch], generation: u32) -> Result<Known, OutsideError> {
    let epochs = without_catalogues(epochs.iter().map(|epoch| Epoch {
        stage: Stage::Live,
        ..epoch.clone()
    }));
    Known::of(&epochs, generation, versions)
}
