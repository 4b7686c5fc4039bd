//! The epochs an owner counts, and those it does not.

use std::sync::Arc;

use super::OutsideError;
use super::catalogue::{VersionsOf, check_countable, left_by};
use super::epochs::{Epoch, Stage};
use crate::metric::Catalogue;

/// An epoch made ready to fold for.
#[derive(Debug, Clone)]
pub struct Live {
    /// Its number.
    pub epoch: u32,
    /// Its definitions.
    pub definitions: Arc<Catalogue>,
    /// It began with its log; any other begins with its start message.
    pub is_founding: bool,
}

/// The epochs of one generation of the log, as its owners need them.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Those that are counted.
    pub live: Vec<Live>,
    /// Those no longer counted: dropped, or left by a program with another catalogue.
    pub unkept: Vec<u32>,
}

impl Known {
    /// Of all epochs, those of a generation, for a program with this catalogue.
    ///
    /// # Errors
    /// If definitions can't be read by this version, or one of the epochs is to be counted by other
    /// formulas than this program's.
    pub fn of(
        epochs: &[Epoch],
        generation: u32,
        catalogue: VersionsOf,
    ) -> Result<Known, OutsideError> {
        let mut known = Known::default();
        let ours = epochs.iter().filter(|epoch| epoch.generation == generation);
        for (number, epoch) in ours.enumerate() {
            if epoch.stage == Stage::Dropped || left_by(epochs, epoch.epoch).is_some() {
                known.unkept.push(epoch.epoch);
            } else {
                check_countable(epoch, catalogue).map_err(|mismatch| {
                    OutsideError::fatal("folding for the epochs there are", mismatch)
                })?;
                known.live.push(Live {
                    epoch: epoch.epoch,
                    definitions: epoch.ready()?,
                    is_founding: number == 0,
                });
            }
        }
        Ok(known)
    }
}
