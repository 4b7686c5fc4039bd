//! `dealpulse run`: the whole pipeline, until it is stopped.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::upgrade;
use crate::clickhouse::{ClickHouse, NewRows, RollupRow, migrate};
use crate::compatibility::{Refusal, check_compatible, disagreement, inputs};
use crate::config::{Config, OnUpgrade, PARTITIONS, read_rates};
use crate::health::Health;
use crate::kafka::instance::{Parts, Running};
use crate::kafka::route::Clock;
use crate::kafka::{Logs, admin};
use crate::metric;
use crate::metric::{Rate, SideInputs};
use crate::pipeline::catalogue::{VersionsOf, stood_at};
use crate::pipeline::epochs::{building, current};
use crate::pipeline::flush::{RetryPolicy, backoff, retrying};
use crate::pipeline::watermark::{Progress, progress};
use crate::pipeline::{Epoch, OutsideError, Store};
use crate::serve::alerts::{Schedule, watch_forever};
use crate::serve::model::Model;
use crate::serve::reach::Reach;
use crate::serve::refresh::{Refresh, Source, refresh_forever};
use crate::serve::{router, serve};
use crate::telemetry::{Telemetry, wall_clock};

/// How old the metrics may be before this instance is not ready.
const STALE: Duration = Duration::from_secs(30);
/// How long a stop may take: less than the 30 s after which an orchestrator kills.
const STOP: Duration = Duration::from_secs(25);

/// Run the pipeline
#[derive(Debug, clap::Args)]
pub struct Run {
    /// The configuration
    #[arg(long, default_value = "dealpulse.toml")]
    pub config: PathBuf,
}

/// The exit code of a stop that ran out of time: nothing is lost, and the next start does what was
/// left.
pub const LEFT_OVER: u8 = 3;

/// The organisation's time. It is everybody's, except in the demonstration, whose organisation
/// lives its last weeks in minutes.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// The organisation's present (µs).
    pub now: Clock,
    /// Up to when (µs) all that happened in the organisation had come to the log at an instant of
    /// ours; `None` if that is not known.
    pub in_the_organisation: fn(i64) -> Option<i64>,
}

impl Times {
    /// The time of this machine.
    pub const WALL: Times = Times {
        now: wall_clock,
        in_the_organisation: Some,
    };
}

/// How a pipeline stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Everything read is written.
    Drained,
    /// Time ran out, or a part was stopped: some of what was read will be read and folded again
    /// from the offsets and checkpoints, which changes nothing.
    LeftOver,
}

/// Runs until SIGTERM or Ctrl-C; what is folded is flushed first.
pub async fn run(args: Run) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config, &std::env::vars().collect())?;
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let pipeline = tokio::select! {
        started = Pipeline::start(config, Times::WALL) => started?,
        _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
        _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
    };
    println!("listening on http://{}", pipeline.address());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: flushing what is folded");
    Ok(match pipeline.stop().await? {
        Stopped::Drained => ExitCode::SUCCESS,
        Stopped::LeftOver => ExitCode::from(LEFT_OVER),
    })
}

/// A running pipeline.
pub struct Pipeline {
    address: std::net::SocketAddr,
    telemetry: Arc<Telemetry>,
    running: Running,
    stop: watch::Sender<bool>,
    server: JoinHandle<std::io::Result<()>>,
    /// What goes on beside: the read model, and an upgrade. Dropped, and so ended, with the
    /// pipeline.
    _beside: JoinSet<()>,
}

impl Pipeline {
    /// Starts everything; returns once the page answers.
    pub async fn start(config: Config, times: Times) -> anyhow::Result<Pipeline> {
        let (config, at_start) = (Arc::new(config), AtStart(Instant::now()));
        let parts = parts(&config, times.now);
        let Parts {
            store,
            logs,
            telemetry,
            health,
            catalogue,
            ..
        } = parts.clone();
        retrying(&at_start, || migrate::tables(&store)).await?;
        let epochs = store.epochs().await?;
        let must_upgrade = match check_compatible(&config, &epochs, catalogue) {
            Err(Refusal::Catalogue { mismatch, .. }) if config.on_upgrade == OnUpgrade::Rebuild => {
                tracing::info!(%mismatch, "the metrics are rebuilt by this version");
                true
            }
            checked => checked.map(|()| false)?,
        };
        let epoch = current(&epochs)
            .cloned()
            .unwrap_or_else(|| first_epoch(&config, catalogue));
        retrying(&at_start, || admin::check_inputs(&config)).await?;
        admin::ensure_dead_letters(&config).await?;
        let is_rebuilding = building(&epochs).is_some();
        match logs.of(&epoch)?.ensure().await {
            // A log that is being replaced may be as it is.
            Err(error) if is_rebuilding => {
                tracing::warn!(%error, "the log is not as it should be; it is being rebuilt")
            }
            checked => checked?,
        }
        // Only now: an epoch can't be taken back, and a log that is refused can still be fixed or
        // counted otherwise.
        if epochs.is_empty() {
            store.put_first_epoch(&epoch).await?;
        }
        if must_upgrade {
            upgrade::begin(&parts).await?;
        }
        // Another instance may have started at the same moment: the epoch that was written first
        // counts, and it may not be ours.
        let epochs = store.epochs().await?;
        check_compatible(&config, &epochs, catalogue)?;
        let current = current(&epochs).context("a current epoch")?;
        record_inputs(&store, &config, current).await?;
        migrate::views(&store, &current.definitions, &current.catalogue).await?;

        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("can't listen on {} ([serve] listen)", config.listen))?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let model = Model::new(STALE);
        let rates = config.rates_file.as_deref().map(read_rates).transpose();
        let rates = rates.map_err(|problem| anyhow!("[serve] rates_file: {problem}"))?;
        let rates = rates.unwrap_or_default();
        let watched = store.clone();
        let schedule = Schedule {
            most: config.top,
            ..Schedule::default()
        };
        let source = Rollups {
            clickhouse: store,
            logs,
            times,
            telemetry: telemetry.clone(),
            rates,
        };
        let mut beside = JoinSet::new();
        let refresh = Refresh {
            every: config.refresh,
            top: config.top,
            gauges: config.gauges,
            reporting_currency: config.reporting_currency.clone(),
            clock: times.now,
            catalogue,
            ..Refresh::default()
        };
        beside.spawn(refresh_forever(
            model.clone(),
            source,
            refresh,
            telemetry.clone(),
            until(stopped.clone()),
        ));
        beside.spawn(watch_forever(model.clone(), watched, schedule));
        let server = tokio::spawn(serve(
            listener,
            router(model, telemetry.clone(), health),
            until(stopped),
        ));
        let running = Running::start(parts.clone(), epochs.clone()).await?;
        if config.on_upgrade == OnUpgrade::Rebuild
            && let Some((current, next)) = upgrade::under_way(&epochs)
        {
            beside.spawn(upgrade::finish(parts, current.clone(), next.clone()));
        }
        Ok(Pipeline {
            address,
            telemetry,
            running,
            stop,
            server,
            _beside: beside,
        })
    }

    /// Where the page and the gauges are.
    pub fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    /// The pipeline's own metrics.
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    /// Stops in the order of the data: the route first, then the fold with its last flush, then
    /// what is served.
    pub async fn stop(self) -> anyhow::Result<Stopped> {
        // A request of Kafka's client can't be cancelled while its brokers are down.
        let is_drained = tokio::time::timeout(STOP, self.running.stop())
            .await
            .unwrap_or(false);
        if !is_drained {
            tracing::warn!(
                "not all that was read is written: time ran out, or a part was stopped; it is read and folded again from the offsets and checkpoints, nothing is lost"
            );
        }
        // Nobody may be listening any more.
        let _ = self.stop.send(true);
        self.server.await??;
        Ok(if is_drained {
            Stopped::Drained
        } else {
            Stopped::LeftOver
        })
    }
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is dropped, and with it the pipeline.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// What an instance with this configuration is made of.
pub(super) fn parts(config: &Arc<Config>, clock: Clock) -> Parts<ClickHouse> {
    let (store, logs) = (
        ClickHouse::new(&config.clickhouse),
        Logs::new(config.clone()),
    );
    let telemetry = Telemetry::new();
    for topic in &config.topics {
        telemetry.count_from_zero(&topic.name);
        let rules = topic.feed.iter().flat_map(|feed| &feed.mapping().rules);
        for (table, column) in rules.flat_map(|rule| rule.rounds()) {
            let rounded = &telemetry.amounts_rounded;
            rounded.with_label_values(&[topic.name.as_str(), table, column]);
        }
    }
    Parts {
        config: config.clone(),
        logs,
        store,
        catalogue: metric::versions,
        clock,
        telemetry,
        health: Health::default(),
    }
}

/// The epoch a database begins with.
fn first_epoch(config: &Config, catalogue: VersionsOf) -> Epoch {
    Epoch {
        catalogue: catalogue(&config.definitions),
        inputs: inputs(&config.topics),
        ..Epoch::first(
            config.definitions.clone(),
            config.log.partitions.unwrap_or(PARTITIONS),
        )
    }
}

/// Records in the current epoch how a topic is read that is new.
async fn record_inputs(
    store: &ClickHouse,
    config: &Config,
    epoch: &Epoch,
) -> Result<(), OutsideError> {
    let ours = inputs(&config.topics);
    let is_known = ours.keys().all(|topic| epoch.inputs.contains_key(topic));
    if !is_known && disagreement(&ours, &epoch.inputs).is_none() {
        let inputs = epoch.inputs.clone().into_iter().chain(ours).collect();
        store
            .put_epoch(&Epoch {
                inputs,
                ..epoch.clone()
            })
            .await?;
    }
    Ok(())
}

/// Waits half a minute for what is started at the same time as we are. It goes by the clock, since
/// a request to an absent Kafka takes long itself.
pub(super) struct AtStart(pub Instant);

impl RetryPolicy for AtStart {
    async fn should_retry(&self, attempt: u32, error: &OutsideError) -> bool {
        tracing::warn!(%error, attempt, "not there yet");
        tokio::time::sleep(backoff(attempt)).await;
        self.0.elapsed() < Duration::from_secs(30)
    }
}

/// What the read model reads: the rollups, and how far the log is folded.
struct Rollups {
    clickhouse: ClickHouse,
    logs: Logs,
    times: Times,
    telemetry: Arc<Telemetry>,
    /// The rates of the configuration's file.
    rates: Vec<Rate>,
}

impl Source for Rollups {
    async fn current(&self) -> Result<Epoch, OutsideError> {
        let epochs = self.clickhouse.epochs().await?;
        current(&epochs)
            .cloned()
            .ok_or_else(|| OutsideError::transient("reading the epochs", "there is none yet"))
    }

    async fn progress(&self, epoch: &Epoch) -> Result<Progress, OutsideError> {
        // The log is stamped by its broker's clock, so it is judged by ours and not by the
        // organisation's.
        let log = self.logs.of(epoch)?;
        let progress = progress(epoch, wall_clock(), &log, &self.clickhouse).await?;
        let complete = progress.watermark;
        // Of an epoch that is left, the shards go on without it. Asked after the checkpoints: an
        // epoch that leaves it was in the store before any shard went on.
        let stood_at = stood_at(&self.clickhouse.epochs().await?, epoch.epoch);
        let complete = match stood_at {
            Some(stood_at) => complete
                .map(|complete| complete.min(stood_at))
                .filter(|_| stood_at > 0),
            None => complete,
        };
        let watermark = complete.and_then(self.times.in_the_organisation);
        if let Some(watermark) = watermark {
            self.telemetry.set_watermark(watermark);
        }
        Ok(Progress {
            watermark,
            ..progress
        })
    }

    async fn rows(
        &self,
        epoch: &Epoch,
        reach: &Reach,
        take: &mut (dyn FnMut(RollupRow<'_>) + Send),
    ) -> Result<(), OutsideError> {
        self.clickhouse
            .rollup_rows(epoch.epoch, &reach.ranges(), take)
            .await
    }

    async fn new_rows(
        &self,
        epoch: &Epoch,
        new: &NewRows<'_>,
        take: &mut (dyn FnMut(RollupRow<'_>) + Send),
    ) -> Result<i64, OutsideError> {
        self.clickhouse
            .new_rollup_rows(epoch.epoch, new, take)
            .await
    }

    async fn side_inputs_state(&self, epoch: &Epoch) -> Result<u64, OutsideError> {
        self.clickhouse.side_inputs_state(epoch.generation).await
    }

    async fn side_inputs(
        &self,
        epoch: &Epoch,
        reporting: Option<&str>,
    ) -> Result<SideInputs, OutsideError> {
        let generation = epoch.generation;
        self.clickhouse
            .side_inputs(generation, reporting, &self.rates)
            .await
    }
}
