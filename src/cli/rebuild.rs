//! `dealpulse rebuild`: the metrics rebuilt beside the running pipeline, and the switch to them.

mod plan;
mod show;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use tokio::signal::unix::{SignalKind, signal};

use super::run::{AtStart, parts};
use crate::clickhouse::{ClickHouse, migrate};
use crate::config::Config;
use crate::kafka::instance::{LOOK_EVERY, Parts, Running};
use crate::kafka::rebuild::{Surroundings, check_whole, not_carried};
use crate::kafka::{KafkaLog, admin};
use crate::pipeline::epochs::{Epoch, Stage, building, current};
use crate::pipeline::flush::retrying;
use crate::pipeline::rebuild::{Form, is_whole, rebuild};
use crate::pipeline::{Log, Store};
use crate::telemetry::wall_clock;

/// Rebuild the metrics beside the running pipeline, and switch to them
///
/// Killed or stopped, it goes on with the same command. Instances that run take part by themselves;
/// this one does, too.
#[derive(Debug, clap::Args)]
pub struct Rebuild {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// By new definitions: those of [definitions] now
    Definitions(On),
    /// In a new log, filled from the facts: another number of partitions, or a log that was damaged
    Log {
        #[command(flatten)]
        on: On,
        /// How many partitions the new log has [default: `log.partitions`, else as many as now]
        #[arg(long, value_name = "N")]
        partitions: Option<u32>,
        /// Also if the log has that many partitions and is whole
        #[arg(long)]
        anyway: bool,
    },
    /// By a new reading of the input topics from their beginnings: as [[topics]] is now
    Mapping {
        #[command(flatten)]
        on: On,
        /// Also if the topics are read that way already
        #[arg(long)]
        anyway: bool,
    },
    /// Show the epochs and how far a rebuild is
    Status(On),
    /// Abandon the rebuild that was started
    Abandon(On),
    /// Remove what the current epoch has replaced
    Drop(On),
}

#[derive(Debug, Clone, clap::Args)]
struct On {
    /// The configuration
    #[arg(long, default_value = "dealpulse.toml")]
    config: PathBuf,
}

/// A database with metrics, and its epochs.
struct Place {
    config: Arc<Config>,
    parts: Parts<ClickHouse>,
    epochs: Vec<Epoch>,
    current: Epoch,
}

impl Place {
    async fn open(path: &Path) -> anyhow::Result<Place> {
        let config = Arc::new(Config::load(path, &std::env::vars().collect())?);
        let parts = parts(&config, wall_clock);
        retrying(&AtStart(Instant::now()), || migrate::tables(&parts.store)).await?;
        let epochs = parts.store.epochs().await?;
        let current = current(&epochs).cloned();
        let current = current.with_context(|| {
            format!(
                "the database `{}` has no metrics yet: `dealpulse run` starts them",
                parts.store.database()
            )
        })?;
        Ok(Place {
            config,
            parts,
            epochs,
            current,
        })
    }
}

/// Runs the command.
///
/// # Errors
/// What is refused, with the reason, or what Kafka or ClickHouse answered. Nothing is lost then.
pub async fn run(args: Rebuild) -> anyhow::Result<()> {
    match args.what {
        What::Definitions(on) => {
            make(
                Wish {
                    form: Form::Definitions,
                    partitions: None,
                    anyway: false,
                },
                &on.config,
            )
            .await
        }
        What::Log {
            on,
            partitions,
            anyway,
        } => {
            make(
                Wish {
                    form: Form::Log,
                    partitions,
                    anyway,
                },
                &on.config,
            )
            .await
        }
        What::Mapping { on, anyway } => {
            make(
                Wish {
                    form: Form::Mapping,
                    partitions: None,
                    anyway,
                },
                &on.config,
            )
            .await
        }
        What::Status(on) => show::status(&Place::open(&on.config).await?).await,
        What::Abandon(on) => abandon(&Place::open(&on.config).await?).await,
        What::Drop(on) => drop_replaced(&Place::open(&on.config).await?).await,
    }
}

/// The command.
struct Wish {
    form: Form,
    partitions: Option<u32>,
    /// Also where it makes no difference.
    anyway: bool,
}

/// Makes the next epoch, or goes on with it.
async fn make(wish: Wish, config: &Path) -> anyhow::Result<()> {
    let form = wish.form;
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let place = Place::open(config).await?;
    let Place {
        config,
        parts,
        current,
        ..
    } = &place;
    admin::check_inputs(config).await?;
    let old_log = parts.logs.of(current)?;
    if let Err(error) = old_log.ensure().await {
        ensure!(form != Form::Definitions, "{error}");
        tracing::warn!(%error, "the present log is not as it should be; the new one will be");
    }
    let next = plan::next(&wish, &place).await?;
    let new_log = parts.logs.of(&next)?;
    if next.generation != current.generation {
        new_log.ensure().await?;
    }
    println!("{}", show::beginning(form, current, &next));
    let mut epochs = place.epochs.clone();
    if form == Form::Definitions {
        // Before anything is folded here: this program may not have the formulas of the current
        // epoch.
        parts.store.put_epoch(&next).await?;
        epochs = parts.store.epochs().await?;
        ensure!(
            epochs.iter().any(|epoch| epoch.epoch == next.epoch
                && epoch.definitions == next.definitions
                && epoch.catalogue == next.catalogue),
            "another rebuild was begun at the same moment; see what it is: dealpulse rebuild status"
        );
    }
    let running = Running::start(parts.clone(), epochs).await?;
    let around = Surroundings::new(config, form, current, &next);
    let made = tokio::select! {
        made = rebuild(form, current, &next, (&old_log, &new_log), &parts.store, &around) => made.map_err(anyhow::Error::from),
        _ = terminate.recv() => Err(anyhow::anyhow!("stopped before it was done; the same command goes on")),
        _ = interrupt.recv() => Err(anyhow::anyhow!("stopped before it was done; the same command goes on")),
    };
    let made = match made {
        Ok(()) => migrate::views(&parts.store, &next.definitions, &next.catalogue)
            .await
            .map_err(anyhow::Error::from),
        failed => failed,
    };
    running.stop().await;
    made?;
    println!("{}", show::end(form, config, &next));
    Ok(())
}

/// Whether every shard's log is the one its checkpoint was made on.
async fn is_log_whole(place: &Place, log: &KafkaLog) -> anyhow::Result<bool> {
    for shard in 0..place.current.partitions {
        if !is_whole(place.current.generation, shard, log, &place.parts.store).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A new log must begin empty: a topic of that name may be left from another life.
async fn check_empty(place: &Place, next: &Epoch) -> anyhow::Result<()> {
    let topic = admin::log_topic(&place.config, next.generation);
    if admin::partitions(&place.config.kafka, &topic)
        .await?
        .is_none()
    {
        return Ok(());
    }
    let log = KafkaLog::new(&place.config, next.generation, next.partitions)?;
    for shard in 0..next.partitions {
        let (_, end) = log.bounds(shard).await?;
        ensure!(
            end == 0,
            "the topic `{topic}` of the new log is there already and holds messages of something else; delete it"
        );
    }
    Ok(())
}

/// Drops an epoch that is being built, with its log if it has one of its own.
async fn abandon(place: &Place) -> anyhow::Result<()> {
    let Some(next) = building(&place.epochs) else {
        bail!("no rebuild is under way")
    };
    let has_own_log = next.generation != place.current.generation;
    place.parts.store.drop_epoch(next, has_own_log).await?;
    if has_own_log {
        admin::delete(
            &place.config.kafka,
            &admin::log_topic(&place.config, next.generation),
        )
        .await?;
    }
    if next.stood_at.is_some() {
        println!(
            "epoch {} is abandoned; epoch {} is not continued, since shards were folded without it: rebuild its metrics with the version that is to run: dealpulse rebuild definitions",
            next.epoch, place.current.epoch
        );
    } else {
        println!(
            "epoch {} is abandoned; epoch {} continues unchanged",
            next.epoch, place.current.epoch
        );
    }
    Ok(())
}

/// Drops every epoch before the current one, and the logs that only they used.
async fn drop_replaced(place: &Place) -> anyhow::Result<()> {
    let Place {
        config,
        parts,
        epochs,
        current,
    } = place;
    let replaced: Vec<&Epoch> = epochs
        .iter()
        .filter(|epoch| epoch.epoch < current.epoch && epoch.stage != Stage::Dropped)
        .collect();
    if replaced.is_empty() {
        println!(
            "there is nothing to drop: epoch {} is the only one",
            current.epoch
        );
        return Ok(());
    }
    for epoch in &replaced {
        let has_own_log = epoch.generation != current.generation;
        if has_own_log {
            let left = if current.feeds_on == epoch.generation {
                not_carried(config, epoch.generation, current.generation).await?
            } else {
                0
            };
            ensure!(
                left == 0,
                "{left} messages of the old log are not carried over yet: let `dealpulse run` do that first"
            );
            // First the topic: an instance that still writes to it gets an error, and keeps what it
            // could not write.
            admin::delete(&config.kafka, &admin::log_topic(config, epoch.generation)).await?;
        }
        parts
            .store
            .put_epoch(&Epoch {
                stage: Stage::Dropped,
                ..(*epoch).clone()
            })
            .await?;
    }
    // Instances that flush for it once more would leave rows behind.
    println!("waiting until every instance knows");
    tokio::time::sleep(2 * LOOK_EVERY).await;
    for epoch in replaced {
        let has_own_log = epoch.generation != current.generation;
        parts.store.drop_epoch(epoch, has_own_log).await?;
        println!(
            "epoch {} is dropped{}",
            epoch.epoch,
            if has_own_log { ", and its log" } else { "" }
        );
    }
    Ok(())
}
