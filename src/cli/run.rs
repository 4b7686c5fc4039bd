//! `dealpulse run`: the whole pipeline, until it is told to stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::clickhouse::{ClickHouse, migrate};
use crate::config::Config;
use crate::definitions::{Definitions, DefinitionsSpec};
use crate::kafka::fold::{Fold, Folding};
use crate::kafka::route::{Clock, Route, Routing};
use crate::kafka::{KafkaLog, admin, watch_lag};
use crate::metric::{Plan, Sums};
use crate::pipeline::flush::{KeepTrying, backoff, retrying};
use crate::pipeline::restart::Live;
use crate::pipeline::{Epoch, Log, OutsideError, Store};
use crate::serve::model::{Model, Refresh, Source, refresh_forever};
use crate::serve::{Health, router, serve};
use crate::telemetry::{Telemetry, wall_clock};

/// How old numbers may be before this instance calls itself not ready.
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

/// Runs until SIGTERM or Ctrl-C; what is folded is flushed first.
pub async fn run(args: Run) -> anyhow::Result<()> {
    let config = Config::load(&args.config, &std::env::vars().collect())?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let pipeline = tokio::select! {
        started = Pipeline::start(config, wall_clock) => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    println!("listening on http://{}", pipeline.address());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: flushing what is folded");
    pipeline.stop().await
}

/// A running pipeline.
pub struct Pipeline {
    address: std::net::SocketAddr,
    telemetry: Arc<Telemetry>,
    route: Route,
    fold: Fold,
    stop: watch::Sender<bool>,
    server: JoinHandle<std::io::Result<()>>,
    /// Dropped, and so ended, with the pipeline.
    _watchers: JoinSet<()>,
}

impl Pipeline {
    /// Starts everything; returns once the page answers.
    pub async fn start(config: Config, clock: Clock) -> anyhow::Result<Pipeline> {
        let (telemetry, health) = (Telemetry::new(), Health::default());
        let clickhouse = ClickHouse::new(&config.clickhouse);
        let at_start = AtStart(Instant::now());
        retrying(&at_start, || migrate::migrate(&clickhouse, &config.definitions)).await?;
        let known = current_epoch(&clickhouse, &config).await?;
        let epoch = known.clone().unwrap_or_else(|| first_epoch(&config));
        let definitions = Arc::new(Definitions::new(epoch.definitions.clone()).context("the definitions of the current epoch")?);

        retrying(&at_start, || admin::check_inputs(&config)).await?;
        admin::ensure_log(&config, epoch.generation, epoch.partitions).await?;
        admin::ensure_dead_letters(&config).await?;
        if known.is_none() {
            // Only now: an epoch stands for good, and a log that is refused can still be mended or counted otherwise.
            clickhouse.add_epoch(&epoch).await?;
        }
        let log = KafkaLog::new(&config.kafka, &admin::log_topic(&config, epoch.generation))?;

        let listener = TcpListener::bind(config.listen).await.with_context(|| format!("can't listen on {} ([serve] listen)", config.listen))?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let model = Model::new(STALE);
        let source = Rollups { clickhouse: clickhouse.clone(), log: log.clone(), clock, telemetry: telemetry.clone() };
        let mut watchers = JoinSet::new();
        let refresh = Refresh { every: config.refresh, top: config.top, clock };
        watchers.spawn(refresh_forever(model.clone(), source, refresh, telemetry.clone(), until(stopped.clone())));
        let server = tokio::spawn(serve(listener, router(model, telemetry.clone(), health.clone()), until(stopped)));

        let topics: Vec<String> = config.topics.iter().map(|topic| topic.name.clone()).collect();
        for (name, topics) in [("route", topics), ("fold", vec![log.topic().to_owned()])] {
            let lag = watch_lag(config.kafka.clone(), name, topics, telemetry.clone());
            watchers.spawn(async move {
                if let Err(error) = lag.await {
                    tracing::warn!(%error, "lag is not watched");
                }
            });
        }
        let fold = Fold::start(Folding {
            kafka: config.kafka.clone(),
            log: log.clone(),
            store: clickhouse,
            generation: epoch.generation,
            partitions: epoch.partitions,
            epochs: vec![Live { epoch: epoch.epoch, definitions }],
            flush_interval: config.flush_interval,
            flush_rows: config.flush_rows,
            telemetry: telemetry.clone(),
            health: health.clone(),
        })?;
        let route = Route::start(Routing {
            kafka: config.kafka,
            topics: config.topics,
            log,
            partitions: epoch.partitions,
            dead_letters: config.dead_letters,
            clock,
            telemetry: telemetry.clone(),
            health,
        })?;
        Ok(Pipeline { address, telemetry, route, fold, stop, server, _watchers: watchers })
    }

    /// Where the page and the gauges are.
    pub fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    /// The pipeline's own metrics.
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    /// Stops in the order of the data: the route first, then the fold with its last flush, then what is served.
    pub async fn stop(self) -> anyhow::Result<()> {
        let (route, fold) = (self.route, self.fold);
        let stopping = tokio::task::spawn_blocking(move || {
            route.stop();
            fold.stop();
        });
        // Kafka's client can't be called off while its brokers are away.
        match tokio::time::timeout(STOP, stopping).await {
            Ok(stopped) => stopped?,
            Err(_) => tracing::warn!("not all could be flushed in time; it is folded again from the checkpoints, nothing is lost"),
        }
        // Nobody may be listening any more.
        let _ = self.stop.send(true);
        self.server.await??;
        Ok(())
    }
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it the pipeline.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// The epoch of the database, if there is one. Definitions that differ from the epoch's are refused: they would be counted wrongly, silently.
async fn current_epoch(clickhouse: &ClickHouse, config: &Config) -> anyhow::Result<Option<Epoch>> {
    let current = clickhouse.epochs().await?.pop();
    if let Some(current) = current.as_ref().filter(|current| current.definitions != config.definitions) {
        bail!(
            "[definitions] differ from those the numbers in the database `{}` were counted by: {}; put them back, or count anew: a new [log] topic, [clickhouse] database and [kafka] group, and the input is routed again",
            clickhouse.database(),
            difference(&current.definitions, &config.definitions)
        );
    }
    Ok(current)
}

/// The epoch a database begins with.
fn first_epoch(config: &Config) -> Epoch {
    Epoch { epoch: 1, definitions: config.definitions.clone(), generation: 1, partitions: config.log.partitions }
}

/// Which keys of two definitions differ, and how.
fn difference(before: &DefinitionsSpec, now: &DefinitionsSpec) -> String {
    let json = |spec| serde_json::to_value(spec).unwrap_or_default();
    let (before, now) = (json(before), json(now));
    let keys = before.as_object().into_iter().flat_map(|object| object.keys()).filter(|key| before[*key] != now[*key]);
    keys.map(|key| format!("`{key}` was {} and is {}", before[key], now[key])).collect::<Vec<_>>().join(", ")
}

/// Waits half a minute for what is started at the same time as we are. It goes by the clock, since to ask an absent Kafka takes long itself.
struct AtStart(Instant);

impl KeepTrying for AtStart {
    async fn again(&self, attempt: u32, error: &OutsideError) -> bool {
        tracing::warn!(%error, attempt, "not there yet");
        tokio::time::sleep(backoff(attempt)).await;
        self.0.elapsed() < Duration::from_secs(30)
    }
}

/// What the read model reads: the rollups, and how far the log is folded.
struct Rollups {
    clickhouse: ClickHouse,
    log: KafkaLog,
    clock: Clock,
    telemetry: Arc<Telemetry>,
}

impl Source for Rollups {
    async fn current(&self) -> Result<Epoch, OutsideError> {
        let epochs = self.clickhouse.epochs().await?;
        epochs.into_iter().next_back().ok_or_else(|| OutsideError::transient("reading the epochs", "there is none yet"))
    }

    /// A shard that has folded all there is holds nobody back: up to now it is complete.
    async fn watermark(&self, epoch: &Epoch) -> Result<Option<i64>, OutsideError> {
        let mut watermark = (self.clock)();
        for shard in 0..epoch.partitions {
            let checkpoint = self.clickhouse.checkpoint(epoch.generation, shard).await?;
            let (_, end) = self.log.bounds(shard).await?;
            match checkpoint {
                Some(checkpoint) if checkpoint.next_offset >= end => {}
                Some(checkpoint) => watermark = watermark.min(checkpoint.append_time),
                None if end == 0 => {}
                None => return Ok(None),
            }
        }
        self.telemetry.set_watermark(watermark);
        Ok(Some(watermark))
    }

    async fn sums(&self, epoch: &Epoch, definitions: &Definitions, plan: &Plan) -> Result<Sums, OutsideError> {
        self.clickhouse.sums(epoch.epoch, definitions, plan).await
    }
}
