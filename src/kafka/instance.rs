//! An instance: what runs in one process for the epochs there are. A fold for every log, a route
//! for every reading of the input topics, a carrier for every old log that still feeds a newer one.
//! It follows the epochs as they come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::fold::{Fold, Folding};
use super::route::{Clock, Route, Routing};
use super::{Logs, admin, fold, watch_lag};
use crate::compatibility::{disagreement, inputs, outdated};
use crate::config::Config;
use crate::health::Health;
use crate::pipeline::catalogue::{self, VersionsOf};
use crate::pipeline::epochs::{Stage, building, current};
use crate::pipeline::known::Known;
use crate::pipeline::{Epoch, OutsideError, Store};
use crate::telemetry::Telemetry;

/// How often is looked whether the epochs have changed.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What an instance is made of.
#[derive(Clone)]
pub struct Parts<S> {
    /// The configuration.
    pub config: Arc<Config>,
    /// The metrics this program counts.
    pub catalogue: VersionsOf,
    /// The logs.
    pub logs: Logs,
    /// Where everything is written.
    pub store: S,
    /// The present.
    pub clock: Clock,
    /// The pipeline's own metrics.
    pub telemetry: Arc<Telemetry>,
    /// Where problems are reported.
    pub health: Health,
}

/// Which group reads what into which log. The order is that of stopping: what reads first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// A reading of the input topics into the log of a generation.
    Reading(u32, u32),
    /// The log of an older generation into that of a newer one.
    Carrying(u32, u32),
}

/// The group that carries the log of a generation over into a newer one.
pub fn carry_group(from: u32, into: u32) -> String {
    format!("carry.{from}.{into}")
}

/// The group of a reading of the input topics.
pub fn route_group(reading: u32) -> String {
    format!("route.{reading}")
}

/// What runs.
pub struct Instance<S> {
    parts: Parts<S>,
    epochs: watch::Sender<Vec<Epoch>>,
    folds: BTreeMap<u32, Watched<Fold>>,
    routes: BTreeMap<Way, Watched<Route>>,
    /// The last epoch that a warning was logged for: the configuration is not the one it is of.
    warned: Option<u32>,
}

/// A part with the watch over its lag, which ends with it.
struct Watched<T> {
    part: T,
    _lag: JoinSet<()>,
}

impl<S: Store + Clone + 'static> Instance<S> {
    /// Nothing runs yet.
    pub fn new(parts: Parts<S>) -> Self {
        Instance {
            parts,
            epochs: watch::Sender::new(Vec::new()),
            folds: BTreeMap::new(),
            routes: BTreeMap::new(),
            warned: None,
        }
    }

    /// Starts what these epochs need and stops what they need no more. Call it within a tokio
    /// runtime.
    ///
    /// # Errors
    /// What can't be started; what could be goes on. The next call tries again.
    pub async fn follow(&mut self, epochs: Vec<Epoch>) -> Result<(), OutsideError> {
        self.report_outdated(&epochs);
        let generations = self.countable(&epochs);
        let ways = self.ways(&epochs, &generations.keys().copied().collect());
        let (routes, running) = std::mem::take(&mut self.routes)
            .into_iter()
            .partition(|(way, _)| !ways.contains_key(way));
        self.routes = running;
        let (folds, running) = std::mem::take(&mut self.folds)
            .into_iter()
            .partition(|(generation, _)| !generations.contains_key(generation));
        self.folds = running;
        stop(routes, folds).await;
        // The shards that go on hear of it only now: those that were to stop have flushed what they
        // had.
        self.epochs
            .send_if_modified(|known| std::mem::replace(known, epochs.clone()) != epochs);

        let mut failed = None;
        for (generation, epoch) in &generations {
            if !self.folds.contains_key(generation) {
                match self.fold(epoch).await {
                    Ok(fold) => drop(self.folds.insert(*generation, fold)),
                    Err(error) => failed = Some(error),
                }
            }
        }
        for (way, target) in ways {
            if !self.routes.contains_key(&way) && self.folds.contains_key(&target.generation) {
                match self.route(&way, target) {
                    Ok(route) => drop(self.routes.insert(way, route)),
                    Err(error) => failed = Some(error),
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Reports a configuration that the current epoch is not of: a rebuild has replaced the epoch
    /// it is of. The instance goes on by the epochs, but it couldn't be started again once the old
    /// epoch is dropped.
    fn report_outdated(&mut self, epochs: &[Epoch]) {
        let Parts {
            config,
            catalogue,
            telemetry,
            health,
            ..
        } = &self.parts;
        let outdated = outdated(config, epochs, *catalogue);
        if let Some(outdated) = &outdated
            && self.warned != Some(outdated.epoch)
        {
            tracing::warn!("{outdated}");
            self.warned = Some(outdated.epoch);
        }
        let is_outdated = i64::from(outdated.is_some());
        telemetry.configuration_outdated.set(is_outdated);
        health.notice(
            "configuration",
            outdated.map(|outdated| outdated.to_string()),
        );
    }

    /// The generations of the log that are to be folded, with an epoch of each. One with an epoch
    /// of another catalogue than this program's is left to those that have it.
    fn countable<'e>(&self, epochs: &'e [Epoch]) -> BTreeMap<u32, &'e Epoch> {
        let mut problem = catalogue::check(epochs, self.parts.catalogue)
            .err()
            .map(|mismatch| mismatch.to_string());
        let kept = epochs
            .iter()
            .filter(|epoch| epoch.stage != Stage::Dropped)
            .map(|epoch| (epoch.generation, epoch));
        let mut generations: BTreeMap<u32, &Epoch> = kept.collect();
        generations.retain(|generation, _| {
            let known = Known::of(epochs, *generation, self.parts.catalogue);
            let is_countable = known.is_ok();
            problem = problem
                .take()
                .or(known.err().map(|error| error.to_string()));
            is_countable
        });
        self.parts.health.set("catalogue", problem);
        generations
    }

    /// Which ways there have to be, with an epoch whose log each leads into.
    fn ways<'e>(
        &self,
        epochs: &'e [Epoch],
        generations: &BTreeSet<u32>,
    ) -> BTreeMap<Way, &'e Epoch> {
        let (mut ways, ours) = (BTreeMap::new(), inputs(&self.parts.config.topics));
        let current = current(epochs);
        let other = building(epochs)
            .filter(|next| current.is_none_or(|current| current.reading != next.reading));
        for epoch in current.into_iter().chain(other) {
            // Whoever reads a topic otherwise than the others would make two records of one.
            let problem = disagreement(&ours, &epoch.inputs).map(|topic| {
                let (read, now) = (&epoch.inputs[topic], &ours[topic]);
                format!("`{topic}` is read as {read:?} and [[topics]] has {now:?}: start this instance with the present configuration")
            });
            let is_fit = problem.is_none();
            if Some(epoch) == current {
                self.parts.health.set("mapping", problem);
            }
            if is_fit {
                ways.insert(Way::Reading(epoch.reading, epoch.generation), epoch);
            }
        }
        for epoch in epochs
            .iter()
            .filter(|epoch| epoch.stage != Stage::Dropped && generations.contains(&epoch.feeds_on))
        {
            ways.insert(Way::Carrying(epoch.feeds_on, epoch.generation), epoch);
        }
        ways
    }

    async fn fold(&self, epoch: &Epoch) -> Result<Watched<Fold>, OutsideError> {
        let Parts {
            config,
            logs,
            store,
            telemetry,
            health,
            catalogue,
            ..
        } = self.parts.clone();
        let log = logs.of(epoch)?;
        log.ensure().await?;
        let lag = self.watch(fold::group(epoch.generation), vec![log.topic().to_owned()]);
        let started = Fold::start(Folding {
            kafka: config.kafka.clone(),
            log,
            store,
            generation: epoch.generation,
            partitions: epoch.partitions,
            catalogue,
            epochs: self.epochs.subscribe(),
            flush_interval: config.flush_interval,
            flush_rows: config.flush_rows,
            telemetry,
            health,
        });
        Ok(Watched {
            part: started?,
            _lag: lag,
        })
    }

    fn watch(&self, group: String, topics: Vec<String>) -> JoinSet<()> {
        let lag = watch_lag(
            self.parts.config.kafka.clone(),
            group,
            topics,
            self.parts.telemetry.clone(),
        );
        let mut watch = JoinSet::new();
        watch.spawn(async move {
            if let Err(error) = lag.await {
                tracing::warn!(%error, "lag is not watched");
            }
        });
        watch
    }

    fn route(&self, way: &Way, target: &Epoch) -> Result<Watched<Route>, OutsideError> {
        let Parts {
            config,
            logs,
            clock,
            telemetry,
            health,
            ..
        } = self.parts.clone();
        let (group, topics, old_log) = match way {
            Way::Reading(reading, _) => (route_group(*reading), config.topics.clone(), None),
            Way::Carrying(from, into) => (
                carry_group(*from, *into),
                Vec::new(),
                Some(admin::log_topic(&config, *from)),
            ),
        };
        let read = topics
            .iter()
            .map(|topic| topic.name.clone())
            .chain(old_log.clone())
            .collect();
        let lag = self.watch(group.clone(), read);
        let started = Route::start(Routing {
            kafka: config.kafka.clone(),
            group,
            topics,
            schema_registry: config.schema_registry.clone(),
            old_log,
            log: logs.of(target)?,
            partitions: target.partitions,
            dead_letters: config.dead_letters.clone(),
            clock,
            telemetry,
            health,
        });
        Ok(Watched {
            part: started?,
            _lag: lag,
        })
    }

    /// Stops in the order of the data: what reads first, then the folds with their last flush. True
    /// if everything read is flushed.
    pub async fn stop(mut self) -> bool {
        stop(
            std::mem::take(&mut self.routes),
            std::mem::take(&mut self.folds),
        )
        .await
    }
}

async fn stop(routes: BTreeMap<Way, Watched<Route>>, folds: BTreeMap<u32, Watched<Fold>>) -> bool {
    if routes.is_empty() && folds.is_empty() {
        return true;
    }
    let stopping = tokio::task::spawn_blocking(move || {
        let mut is_drained = true;
        for route in routes.into_values() {
            is_drained &= route.part.stop();
        }
        for fold in folds.into_values() {
            is_drained &= fold.part.stop();
        }
        is_drained
    });
    stopping.await.unwrap_or_else(|error| {
        tracing::error!(%error, "stopping");
        false
    })
}

/// An instance that runs, following the epochs of its store.
pub struct Running {
    stop: watch::Sender<bool>,
    following: JoinHandle<bool>,
}

impl Running {
    /// Starts what the epochs need.
    ///
    /// # Errors
    /// What can't be started, unless a running rebuild will fix it.
    pub async fn start<S: Store + Clone + 'static>(
        parts: Parts<S>,
        epochs: Vec<Epoch>,
    ) -> Result<Running, OutsideError> {
        let is_rebuilding = building(&epochs).is_some();
        let (store, health) = (parts.store.clone(), parts.health.clone());
        let mut instance = Instance::new(parts);
        match instance.follow(epochs).await {
            Err(error) if is_rebuilding => health.set("epochs", Some(error.to_string())),
            followed => followed?,
        }
        let (stop, mut stopped) = watch::channel(false);
        let following = tokio::spawn(async move {
            // An error means that the sender is dropped: the process ends.
            while tokio::time::timeout(LOOK_EVERY, stopped.wait_for(|stopped| *stopped))
                .await
                .is_err()
            {
                // A store that is down may take long to answer, and a stop has no time for that.
                let asked = tokio::select! {
                    asked = store.epochs() => asked,
                    () = until_stopped(&mut stopped) => break,
                };
                let followed = match asked {
                    Ok(epochs) => instance.follow(epochs).await,
                    // The read model reports it as well, and the parts go on as they are.
                    Err(error) if error.is_transient => continue,
                    Err(error) => Err(error),
                };
                health.set("epochs", followed.err().map(|error| error.to_string()));
            }
            instance.stop().await
        });
        Ok(Running { stop, following })
    }

    /// Stops everything, in the order of the data. True if everything read is flushed.
    pub async fn stop(self) -> bool {
        // Nobody may be following any more.
        let _ = self.stop.send(true);
        self.following.await.unwrap_or_else(|error| {
            tracing::error!(%error, "stopping");
            false
        })
    }
}

/// Ready when it is to stop.
async fn until_stopped(stopped: &mut watch::Receiver<bool>) {
    // An error means that the sender is dropped: the process ends.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
