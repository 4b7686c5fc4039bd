//! What the commands share that read the stored metrics of a pipeline, and how they end.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::clickhouse::ClickHouse;
use crate::config::Config;
use crate::metric;
use crate::pipeline::catalogue;
use crate::pipeline::epochs::{Stage, current};
use crate::pipeline::known::Live;
use crate::pipeline::{Epoch, Store};

/// The exit code where what was compared differs; 1 is an error, in which nothing is known.
pub const DIFFERS: u8 = 4;
/// The exit code where nothing differs, but not all of it could be compared.
pub const UNJUDGED: u8 = 5;

/// The configuration, and the database it names.
///
/// # Errors
/// If the configuration can't be used.
pub fn open(path: &Path) -> Result<(Config, ClickHouse)> {
    let config = Config::load(path, &std::env::vars().collect())?;
    let clickhouse = ClickHouse::new(&config.clickhouse);
    Ok((config, clickhouse))
}

/// An epoch of a database, or its current one.
///
/// # Errors
/// If there is none such, or ClickHouse can't be read.
pub async fn epoch(clickhouse: &ClickHouse, number: Option<u32>) -> Result<(Epoch, Live)> {
    let (database, epochs) = (clickhouse.database(), clickhouse.epochs().await?);
    let current = current(&epochs).with_context(|| {
        format!("the database `{database}` has no metrics yet: `dealpulse run` starts them")
    })?;
    let number = number.unwrap_or(current.epoch);
    let kept: Vec<&Epoch> = epochs
        .iter()
        .filter(|epoch| epoch.stage != Stage::Dropped)
        .collect();
    let found = kept
        .iter()
        .find(|epoch| epoch.epoch == number)
        .with_context(|| {
            let known = kept
                .iter()
                .map(|epoch| epoch.epoch.to_string())
                .collect::<Vec<_>>()
                .join(", ");
            format!("the database `{database}` has no epoch {number}; it has {known}")
        })?;
    let founding = epochs
        .iter()
        .find(|epoch| epoch.generation == found.generation);
    let live = Live {
        epoch: number,
        definitions: found.ready()?,
        is_founding: founding.is_some_and(|founding| founding.epoch == number),
    };
    Ok(((*found).clone(), live))
}

/// Refuses an epoch whose metrics this program can't compute from the facts: it counts by other
/// formulas, or the facts are further on.
///
/// # Errors
/// Which it is; or what ClickHouse answered.
pub async fn check_countable(clickhouse: &ClickHouse, epoch: &Epoch) -> Result<()> {
    catalogue::check_countable(epoch, metric::versions)?;
    if let Some(next) = catalogue::left_by(&clickhouse.epochs().await?, epoch.epoch) {
        bail!(
            "epoch {} has not been continued since another version began epoch {}: its metrics are older than the facts",
            epoch.epoch,
            next.epoch
        );
    }
    Ok(())
}
