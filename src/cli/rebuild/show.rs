//! What a rebuild prints.

use chrono::DateTime;

use super::Place;
use crate::config::Config;
use crate::kafka::admin;
use crate::pipeline::catalogue::stood_at;
use crate::pipeline::epochs::{Epoch, Stage, current};
use crate::pipeline::rebuild::Form;
use crate::pipeline::{Log, Store};

/// What is about to be done.
pub fn beginning(form: Form, current: &Epoch, next: &Epoch) -> String {
    let how = match form {
        Form::Definitions if next.definitions == current.definitions => {
            "by the metrics of this version, in the same log".to_owned()
        }
        Form::Definitions => "by the new definitions, in the same log".to_owned(),
        Form::Log => format!(
            "in a new log of {} partitions, filled from the facts and fed by the old one",
            next.partitions
        ),
        Form::Mapping => format!(
            "by a new reading of the input topics, in a new log of {} partitions",
            next.partitions
        ),
    };
    format!(
        "building epoch {} beside epoch {}: {how}",
        next.epoch, current.epoch
    )
}

/// What has been done, and what is to be done now.
pub fn end(form: Form, config: &Config, next: &Epoch) -> String {
    let mut lines = vec![format!(
        "epoch {} is the current one: views, gauges and pages show it",
        next.epoch
    )];
    if config
        .log
        .partitions
        .is_some_and(|partitions| partitions != next.partitions)
    {
        lines.push(format!(
            "set [log] partitions = {} in the configuration",
            next.partitions
        ));
    }
    if form != Form::Log {
        lines.push("restart the running instances with this configuration, one by one".to_owned());
    }
    lines.push(
        "what it has replaced is kept and folded on until you remove it: dealpulse rebuild drop"
            .to_owned(),
    );
    lines.join("\n")
}

/// Prints every epoch, and how far the one is that is being built.
pub async fn status(place: &Place) -> anyhow::Result<()> {
    let current = current(&place.epochs).map_or(0, |epoch| epoch.epoch);
    println!(
        "{:>5}  {:<9}  {:<24}  {:>10}  {:>7}  {:<20}  not flushed yet",
        "epoch", "stage", "log", "partitions", "reading", "current since"
    );
    for epoch in &place.epochs {
        let stage = match epoch.stage {
            Stage::Building => "building",
            Stage::Live if epoch.epoch == current => "current",
            Stage::Live => "replaced",
            Stage::Dropped => "dropped",
        };
        let since = epoch
            .live_since
            .and_then(DateTime::from_timestamp_micros)
            .map_or_else(String::new, |at| {
                at.format("%Y-%m-%d %H:%M:%SZ").to_string()
            });
        let left = if epoch.stage == Stage::Dropped {
            String::new()
        } else {
            behind(place, epoch).await?
        };
        let log = admin::log_topic(&place.config, epoch.generation);
        println!(
            "{:>5}  {stage:<9}  {log:<24}  {:>10}  {:>7}  {since:<20}  {left}",
            epoch.epoch, epoch.partitions, epoch.reading
        );
    }
    if let Some(stood_at) = stood_at(&place.epochs, current) {
        let at = DateTime::from_timestamp_micros(stood_at).filter(|_| stood_at > 0);
        println!(
            "epoch {current} is not continued, because of an upgrade: its metrics are complete up to {}",
            at.map_or_else(
                || "an instant that is not known".to_owned(),
                |at| at.format("%Y-%m-%d %H:%M:%SZ").to_string()
            )
        );
    }
    Ok(())
}

/// How many messages of an epoch's log are not folded and flushed.
async fn behind(place: &Place, epoch: &Epoch) -> anyhow::Result<String> {
    if admin::partitions(
        &place.config.kafka,
        &admin::log_topic(&place.config, epoch.generation),
    )
    .await?
    .is_none()
    {
        return Ok("its log is not there".into());
    }
    let (log, mut left) = (place.parts.logs.of(epoch)?, 0);
    for shard in 0..epoch.partitions {
        let checkpoint = place
            .parts
            .store
            .checkpoint(epoch.generation, shard)
            .await?
            .map_or(0, |checkpoint| checkpoint.next_offset);
        left += log.bounds(shard).await?.1.saturating_sub(checkpoint);
    }
    Ok(left.to_string())
}
