//! Upgrades: the metrics rebuilt by this program's catalogue, beside those of another one.

use anyhow::Context;

use crate::clickhouse::{ClickHouse, migrate};
use crate::compatibility::inputs;
use crate::kafka::instance::Parts;
use crate::kafka::rebuild::Surroundings;
use crate::pipeline::catalogue::{VersionsOf, check_countable, left_by, stood_at};
use crate::pipeline::epochs::{Epoch, Stage, building, current};
use crate::pipeline::flush::retrying;
use crate::pipeline::rebuild::{Form, rebuild};
use crate::pipeline::watermark::progress;
use crate::pipeline::{OutsideError, Store};
use crate::telemetry::wall_clock;

/// True if a program with this catalogue can't count an epoch on, so that the next one leaves it.
pub(super) fn leaves(epochs: &[Epoch], epoch: &Epoch, catalogue: VersionsOf) -> bool {
    left_by(epochs, epoch.epoch).is_some() || check_countable(epoch, catalogue).is_err()
}

/// Up to when (µs) an epoch that is about to be left is complete; 0 if that is unknown. Only a
/// watermark read *before* it was left is true of it: the caller checks afterwards that it still is
/// not left.
///
/// # Errors
/// If log or store can't be read at present.
pub(super) async fn complete_up_to(
    parts: &Parts<ClickHouse>,
    epochs: &[Epoch],
    epoch: &Epoch,
) -> Result<i64, OutsideError> {
    if let Some(stood_at) = stood_at(epochs, epoch.epoch) {
        return Ok(stood_at);
    }
    let log = parts.logs.of(epoch)?;
    match progress(epoch, wall_clock(), &log, &parts.store).await {
        Ok(progress) => Ok(progress.watermark.unwrap_or_default()),
        Err(error) if error.is_transient => Err(error),
        // A log that is damaged or deleted has no watermark.
        Err(_) => Ok(0),
    }
}

/// Writes the epoch that is counted by this program's catalogue, with the current definitions. If
/// another instance was faster, its epoch counts.
///
/// # Errors
/// What log or store answered.
pub(super) async fn begin(parts: &Parts<ClickHouse>) -> anyhow::Result<()> {
    let before = parts.store.epochs().await?;
    let current = current(&before).context("a current epoch")?;
    let stood_at = complete_up_to(parts, &before, current).await?;
    let epochs = parts.store.epochs().await?;
    if epochs.len() > before.len() {
        return Ok(());
    }
    let mut next = Epoch {
        epoch: epochs.last().map_or(0, |epoch| epoch.epoch) + 1,
        stage: Stage::Building,
        live_since: None,
        catalogue: (parts.catalogue)(&current.definitions),
        stood_at: Some(stood_at),
        ..current.clone()
    };
    next.inputs.extend(inputs(&parts.config.topics));
    parts.store.put_epoch(&next).await?;
    Ok(())
}

/// The current epoch and the one that takes its place by an upgrade in the same log, if one is
/// under way.
pub(super) fn under_way(epochs: &[Epoch]) -> Option<(&Epoch, &Epoch)> {
    let (current, next) = (current(epochs)?, building(epochs)?);
    (next.stood_at.is_some() && next.generation == current.generation).then_some((current, next))
}

/// Builds the metrics of an upgrade and switches to them, while the owners of the shards fold them.
/// Several instances may do it at once: every step may be repeated.
pub(super) async fn finish(parts: Parts<ClickHouse>, current: Epoch, next: Epoch) {
    let made = make(&parts, &current, &next).await;
    if let Err(error) = &made {
        tracing::error!(%error, "the upgrade can't be finished; start again, or use the command: dealpulse rebuild definitions");
    }
    let problem = made.err().map(|error| error.to_string());
    parts.health.set("upgrade", problem);
}

async fn make(parts: &Parts<ClickHouse>, before: &Epoch, next: &Epoch) -> Result<(), OutsideError> {
    let (form, log) = (Form::Definitions, parts.logs.of(next)?);
    let around = Surroundings::new(&parts.config, form, before, next);
    tracing::info!(
        "building epoch {} beside epoch {}, which is not continued until the switch",
        next.epoch,
        before.epoch
    );
    rebuild(form, before, next, (&log, &log), &parts.store, &around).await?;
    // It may have been given up meanwhile.
    let epochs = retrying(&around, || parts.store.epochs()).await?;
    if let Some(current) = current(&epochs) {
        retrying(&around, || {
            migrate::views(&parts.store, &current.definitions, &current.catalogue)
        })
        .await?;
        tracing::info!("epoch {} is the current one", current.epoch);
    }
    Ok(())
}
