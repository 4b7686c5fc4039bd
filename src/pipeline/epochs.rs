//! Epochs: under which definitions the numbers are kept, in which log their records are, and how the input is read into it.
//!
//! The greatest live epoch is the current one. One that is being built becomes live by the switch at the end of its rebuild, and is
//! dropped when nobody reads it any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::catalogue::{CatalogueOf, check_countable, left_by};
use super::owner::{FoldError, Owner};
use super::{Entry, OutsideError, Store};
use crate::definitions::{Definitions, DefinitionsSpec};
use crate::metric::{self, Catalogue};

/// How far an epoch's life is. It only ever goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// Its numbers are being made beside the current ones.
    Building = 0,
    /// Its numbers may be read.
    Live = 1,
    /// Nothing is kept for it any more.
    Dropped = 2,
}

/// How an input topic is read: what decides which record a message is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The format of its messages.
    pub format: String,
    /// What qualifies its ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_namespace: Option<String>,
}

/// An epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Epoch {
    /// Its number, from 1.
    pub epoch: u32,
    /// What its numbers mean.
    pub definitions: DefinitionsSpec,
    /// The generation of its log, from 1.
    pub generation: u32,
    /// How many partitions that log has: what homes are counted by, whatever the broker says.
    pub partitions: u32,
    /// Which reading of the input topics, from 1, fills its log: a new one begins at the topics' beginnings.
    pub reading: u32,
    /// How that reading reads each topic, by name.
    pub inputs: BTreeMap<String, Input>,
    /// The generation whose log is one more input of this one's, so that what still comes there isn't lost; 0 for none.
    pub feeds_on: u32,
    /// How far its life is.
    pub stage: Stage,
    /// The metrics its numbers are of, each with the version of its formula.
    pub catalogue: Catalogue,
    /// Given if the program that began it doesn't count the epochs before it, so that nobody does from then on: up to when (µs) they are
    /// complete, 0 if that is not known.
    pub stood_at: Option<i64>,
    /// Since when (µs) it was the current one; `None` for the first, which always was.
    pub live_since: Option<i64>,
}

impl Epoch {
    /// The epoch a database begins with, by the formulas of this program.
    pub fn first(definitions: DefinitionsSpec, partitions: u32) -> Epoch {
        Epoch {
            epoch: 1,
            catalogue: metric::catalogue(&definitions),
            stood_at: None,
            definitions,
            generation: 1,
            partitions,
            reading: 1,
            inputs: BTreeMap::new(),
            feeds_on: 0,
            stage: Stage::Live,
            live_since: None,
        }
    }

    /// Its definitions, made ready.
    ///
    /// # Errors
    /// If they can't be read by this version.
    pub fn ready(&self) -> Result<Arc<Definitions>, OutsideError> {
        let ready = Definitions::new(self.definitions.clone());
        ready.map(Arc::new).map_err(|bad| {
            OutsideError::fatal(
                format!("reading the definitions of epoch {}", self.epoch),
                bad,
            )
        })
    }
}

/// The current epoch: the greatest that is live.
pub fn current(epochs: &[Epoch]) -> Option<&Epoch> {
    epochs.iter().rfind(|epoch| epoch.stage == Stage::Live)
}

/// The epoch that is being built, if one is.
pub fn building(epochs: &[Epoch]) -> Option<&Epoch> {
    epochs.iter().rfind(|epoch| epoch.stage == Stage::Building)
}

/// An epoch made ready to fold for.
#[derive(Debug, Clone)]
pub struct Live {
    /// Its number.
    pub epoch: u32,
    /// What its numbers mean.
    pub definitions: Arc<Definitions>,
    /// It began with its log; any other begins with its start message.
    pub is_founding: bool,
}

/// The epochs of one generation of the log, as its owners need them.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Those numbers are kept for.
    pub live: Vec<Live>,
    /// Those nothing is kept for any more: dropped, or left by a program with another catalogue.
    pub unkept: Vec<u32>,
}

impl Known {
    /// Of all epochs, those of a generation, for a program with this catalogue.
    ///
    /// # Errors
    /// If definitions can't be read by this version, or one of the epochs is to be counted by other formulas than this program's.
    pub fn of(
        epochs: &[Epoch],
        generation: u32,
        catalogue: CatalogueOf,
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

/// Why folding stops.
#[derive(Debug, thiserror::Error)]
pub enum FoldingError {
    /// A message can't be folded.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The log or the store refused.
    #[error(transparent)]
    Outside(#[from] OutsideError),
}

/// Folds a message. If it is of an epoch the owner doesn't know yet, the store is asked for it first: it stood there before.
///
/// # Errors
/// If the message can't be folded, or the store not be asked.
pub async fn fold(
    owner: &mut Owner,
    entry: &Entry,
    generation: u32,
    store: &impl Store,
    catalogue: CatalogueOf,
) -> Result<(), FoldingError> {
    if let Err(error) = owner.fold(entry) {
        if !matches!(error, FoldError::UnknownEpoch { .. }) {
            return Err(error.into());
        }
        let epochs = store.epochs().await?;
        owner.learn(&Known::of(&epochs, generation, catalogue)?);
        owner.fold(entry)?;
    }
    Ok(())
}
