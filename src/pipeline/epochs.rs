//! Epochs: the definitions of the metrics, the log of their records, and how the input is read into
//! it.
//!
//! The greatest live epoch is the current one. One that is being built becomes live by the switch
//! at the end of its rebuild, and is dropped when it is no longer read.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::OutsideError;
use crate::definitions::DefinitionsSpec;
use crate::metric::{self, Catalogue, Versions};

/// The stage of an epoch. It only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// Its metrics are being built beside the current ones.
    Building = 0,
    /// Its metrics may be read.
    Live = 1,
    /// It is no longer counted.
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
    /// The hash of its mapping, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<String>,
}

/// An epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Epoch {
    /// Its number, from 1.
    pub epoch: u32,
    /// Its definitions.
    pub definitions: DefinitionsSpec,
    /// The generation of its log, from 1.
    pub generation: u32,
    /// How many partitions that log has: homes are computed with it, not with the broker's count.
    pub partitions: u32,
    /// Which reading of the input topics, from 1, fills its log: a new one begins at the topics'
    /// beginnings.
    pub reading: u32,
    /// How that reading reads each topic, by name.
    pub inputs: BTreeMap<String, Input>,
    /// The generation whose log is one more input of this one's, so that late messages there aren't
    /// lost; 0 for none.
    pub feeds_on: u32,
    /// How far its life is.
    pub stage: Stage,
    /// Its metrics, each with the version of its formula.
    pub catalogue: Versions,
    /// Given if the program that began it doesn't count the epochs before it, so that no program
    /// does from then on: up to when (µs) they are complete, 0 if that is unknown.
    pub stood_at: Option<i64>,
    /// Since when (µs) it was the current one; `None` for the first, which always was.
    pub live_since: Option<i64>,
}

impl Epoch {
    /// The epoch a database begins with, by the formulas of this program.
    pub fn first(definitions: DefinitionsSpec, partitions: u32) -> Epoch {
        Epoch {
            epoch: 1,
            catalogue: metric::versions(&definitions),
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
    pub fn ready(&self) -> Result<Arc<Catalogue>, OutsideError> {
        let ready = Catalogue::new(self.definitions.clone());
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
