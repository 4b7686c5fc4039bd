//! The next epoch: from the command, the configuration and the present epochs.

use anyhow::{bail, ensure};

use super::super::upgrade::{complete_up_to, leaves};
use super::{Place, Wish, check_empty, check_whole, is_log_whole};
use crate::compatibility::{disagreement, inputs};
use crate::pipeline::Store;
use crate::pipeline::epochs::{Epoch, Stage, building};
use crate::pipeline::rebuild::Form;

/// The next epoch: the one that is being built, if it is the one the command asks for, else a new
/// one.
///
/// # Errors
/// If another one is being built, or what is asked for makes no difference or can't be done.
pub async fn next(wish: &Wish, place: &Place) -> anyhow::Result<Epoch> {
    let Wish {
        form,
        partitions,
        anyway,
    } = *wish;
    let Place {
        config,
        parts,
        epochs,
        current,
    } = place;
    let catalogue = (parts.catalogue)(&config.definitions);
    let wanted = partitions
        .or(config.log.partitions)
        .unwrap_or(current.partitions);
    ensure!(
        (1..=10_000).contains(&wanted),
        "--partitions {wanted}: write 1 to 10000"
    );
    if let Some(begun) = building(epochs) {
        let is_same = form_of(begun, current) == form
            && begun.definitions == config.definitions
            && begun.catalogue == catalogue
            && (form == Form::Definitions || begun.partitions == wanted)
            && disagreement(&inputs(&config.topics), &begun.inputs).is_none();
        ensure!(
            is_same,
            "epoch {} is being built already, and it is not what is asked for now; let it finish with the command and the configuration it was begun with, or give it up: dealpulse rebuild abandon",
            begun.epoch
        );
        return Ok(begun.clone());
    }
    let last = epochs.last().map_or(0, |epoch| epoch.epoch);
    let generation = 1 + epochs
        .iter()
        .map(|epoch| epoch.generation)
        .max()
        .unwrap_or_default();
    let ours = inputs(&config.topics);
    if let (Some(topic), Form::Definitions | Form::Log) =
        (disagreement(&ours, &current.inputs), form)
    {
        bail!(
            "[[topics]] reads `{topic}` otherwise than it was read: that takes `dealpulse rebuild mapping`, which rebuilds everything else as well"
        );
    }
    let is_upgrade = leaves(epochs, current, parts.catalogue);
    let stood_at = if is_upgrade {
        let stood_at = complete_up_to(parts, epochs, current).await?;
        ensure!(
            parts.store.epochs().await?.len() == epochs.len(),
            "another rebuild was begun at the same moment; see what it is: dealpulse rebuild status"
        );
        Some(stood_at)
    } else {
        None
    };
    let mut next = Epoch {
        epoch: last + 1,
        stage: Stage::Building,
        live_since: None,
        catalogue,
        stood_at,
        definitions: config.definitions.clone(),
        ..current.clone()
    };
    next.inputs.extend(ours.clone());
    match form {
        Form::Definitions => {
            ensure!(
                is_upgrade || config.definitions != current.definitions,
                "[definitions] are those of epoch {} already: there is nothing to rebuild",
                current.epoch
            );
            return Ok(next);
        }
        Form::Log => {
            (next.generation, next.partitions, next.feeds_on) =
                (generation, wanted, current.generation);
            let is_whole = is_log_whole(place, &parts.logs.of(current)?).await?;
            ensure!(
                anyway
                    || !is_whole
                    || wanted != current.partitions
                    || is_upgrade
                    || config.definitions != current.definitions,
                "the log has {wanted} partitions already and is whole: there is nothing to rebuild; to rebuild it all the same, add --anyway"
            );
            if !is_whole {
                tracing::warn!(
                    "the log was recreated or cut short: what was routed and never folded is missing in it, so the input topics are read again"
                );
                if let Err(error) = check_whole(config).await {
                    tracing::warn!(%error, "the assertions of these messages may be missing; compare with the CRM: dealpulse audit");
                }
                next.reading = generation;
            }
        }
        Form::Mapping => {
            ensure!(
                anyway || disagreement(&ours, &current.inputs).is_some(),
                "[[topics]] are read that way already: there is nothing to rebuild; to read everything again all the same, add --anyway"
            );
            check_whole(config).await?;
            (
                next.generation,
                next.partitions,
                next.feeds_on,
                next.reading,
            ) = (generation, wanted, 0, generation);
            next.inputs = ours;
        }
    }
    check_empty(place, &next).await?;
    Ok(next)
}

/// In which form an epoch is being built beside another.
fn form_of(next: &Epoch, current: &Epoch) -> Form {
    if next.generation == current.generation {
        Form::Definitions
    } else if next.feeds_on == current.generation {
        Form::Log
    } else {
        Form::Mapping
    }
}
