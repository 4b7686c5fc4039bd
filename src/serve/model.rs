//! The read model: the windows of the whole organisation, read every few seconds and held as one immutable snapshot.
//!
//! Every instance reads the same rollups, so every instance shows the same. When they can't be read the numbers stand still,
//! visibly old, and are never cleared.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::definitions::BadDefinition;
use crate::metric::{self, Catalogue, Group, MetricValues, QueryPlan, Sums};
use crate::pipeline::catalogue::{VersionsOf, is_shown};
use crate::pipeline::{Epoch, OutsideError};
use crate::telemetry::{Telemetry, wall_clock};
use crate::window::rolling::{Now, ROLLING, Window};

/// Where the numbers are read.
pub trait Source: Send + Sync {
    /// The current epoch.
    fn current(&self) -> impl Future<Output = Result<Epoch, OutsideError>> + Send;

    /// Up to when (µs) every shard of the epoch's log is folded and flushed; `None` before the first flush of all.
    fn watermark(
        &self,
        epoch: &Epoch,
    ) -> impl Future<Output = Result<Option<i64>, OutsideError>> + Send;

    /// The cells of the epoch, summed over shards and panes by the plan's ranges. `definitions` are the epoch's, made ready.
    fn sums(
        &self,
        epoch: &Epoch,
        definitions: &Catalogue,
        plan: &QueryPlan,
    ) -> impl Future<Output = Result<Sums, OutsideError>> + Send;
}

/// How the read model is kept.
#[derive(Debug, Clone)]
pub struct Refresh {
    /// The time between two readings.
    pub every: Duration,
    /// How many values of a dimension are shown.
    pub top: usize,
    /// The present (µs), which windows are cut at.
    pub clock: fn() -> i64,
    /// The metrics this program counts: those the epoch counts by the same formulas are shown.
    pub catalogue: VersionsOf,
}

impl Default for Refresh {
    fn default() -> Self {
        Refresh {
            every: Duration::from_secs(2),
            top: 20,
            clock: wall_clock,
            catalogue: metric::versions,
        }
    }
}

/// Every number of the organisation at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// The numbers, for [`ROLLING`].
    pub reading: MetricValues,
    /// What they mean.
    pub definitions: Arc<Catalogue>,
    /// The epoch they were read in.
    pub epoch: u32,
    /// The instant (µs) the windows were cut at.
    pub as_of: i64,
    /// Up to when (µs) everything was folded.
    pub watermark: Option<i64>,
    /// When the reading began: no number is younger.
    pub read_at: Instant,
    /// Which values are shown.
    pub top: Top,
}

/// The values of every grouping set that are shown, one list for all metrics and windows, so that a series does not come and go.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Top {
    ranks: Vec<HashMap<Vec<String>, usize>>,
}

impl Top {
    /// The `count` greatest of each set by what the metrics count in the last 90 days, such as leads and decided deals, ties by name.
    pub fn of(reading: &MetricValues, catalogue: &Catalogue, count: usize) -> Self {
        let sets = catalogue.sets.len();
        let quarter = reading.windows.iter().position(|w| *w == Window::Days(90));
        let mut sizes: Vec<BTreeMap<&[String], i64>> = vec![BTreeMap::new(); sets];
        for metric in &reading.metrics {
            for (window, groups) in metric.windows.iter().enumerate() {
                for group in groups.iter().filter(|g| g.set != 0 && g.set < sets) {
                    let size = sizes[group.set].entry(&group.values).or_default();
                    if Some(window) == quarter {
                        let metric = catalogue.metric(metric.name);
                        *size += metric.map_or(0, |metric| metric.weight(&group.figures));
                    }
                }
            }
        }
        let rank = |sizes: BTreeMap<&[String], i64>| {
            // The map is in order of name and the sort is stable.
            let mut values: Vec<_> = sizes.into_iter().collect();
            values.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
            values
                .into_iter()
                .take(count)
                .enumerate()
                .map(|(rank, (values, _))| (values.to_vec(), rank))
                .collect()
        };
        Top {
            ranks: sizes.into_iter().map(rank).collect(),
        }
    }

    /// The place of a group's values in the list of its set; `None` if they are not shown. The total always is.
    pub fn rank(&self, group: &Group) -> Option<usize> {
        if group.set == 0 {
            Some(0)
        } else {
            self.ranks.get(group.set)?.get(&group.values).copied()
        }
    }
}

/// The present snapshot, shared by everything that shows it. Cheap to clone.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

struct Inner {
    state: watch::Sender<State>,
    /// Since when there could have been numbers.
    started: Instant,
    stale_after: Duration,
}

#[derive(Default)]
struct State {
    snapshot: Option<Arc<Snapshot>>,
    problem: Option<String>,
}

impl Model {
    /// An empty model, whose numbers are called stale when older than `stale_after`.
    pub fn new(stale_after: Duration) -> Self {
        Model(Arc::new(Inner {
            state: watch::Sender::default(),
            started: Instant::now(),
            stale_after,
        }))
    }

    /// What was read last.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.0.state.borrow().snapshot.clone()
    }

    /// How old the numbers are; before there are any, how long they have been missing.
    pub fn age(&self) -> Duration {
        self.0
            .state
            .borrow()
            .snapshot
            .as_ref()
            .map_or(self.0.started, |s| s.read_at)
            .elapsed()
    }

    /// Why the numbers should not be relied on: there are none yet, or they are old.
    pub fn problem(&self) -> Option<String> {
        let state = self.0.state.borrow();
        let why = state
            .problem
            .as_ref()
            .map(|problem| format!(": {problem}"))
            .unwrap_or_default();
        match &state.snapshot {
            None => Some(format!("no numbers have been read yet{why}")),
            Some(snapshot) => {
                let age = snapshot.read_at.elapsed();
                (age > self.0.stale_after)
                    .then(|| format!("the numbers have stood still for {} s{why}", age.as_secs()))
            }
        }
    }

    /// Waits for the outcome of the next reading, good or bad.
    pub async fn changed(&self) {
        // The sender lives as long as we do.
        let _ = self.0.state.subscribe().changed().await;
    }

    /// Puts a new snapshot in place; true if the reading before it had failed.
    fn publish(&self, snapshot: Snapshot) -> bool {
        let before = self.0.state.send_replace(State {
            snapshot: Some(Arc::new(snapshot)),
            problem: None,
        });
        before.problem.is_some()
    }

    /// Notes why there is no new snapshot; true if that was not known before.
    fn fail(&self, problem: String) -> bool {
        let mut is_news = false;
        self.0.state.send_modify(|state| {
            is_news = state.problem.replace(problem.clone()).as_ref() != Some(&problem)
        });
        is_news
    }
}

/// A reading that takes longer than this is given up: a source that hangs must not look like one that is slow.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why there is no new snapshot.
#[derive(Debug, thiserror::Error)]
enum RefreshError {
    #[error(transparent)]
    Outside(#[from] OutsideError),
    #[error(
        "the definitions of epoch {epoch} are not understood by this version ({problem}); run the version that wrote them, or a newer one"
    )]
    Catalogue { epoch: u32, problem: BadDefinition },
    #[error("reading the windows took longer than {} s; look at ClickHouse's load", PATIENCE.as_secs())]
    TooSlow,
}

/// Reads the windows again and again until `shutdown`. What fails is tried again; until then the last snapshot stands.
pub async fn refresh_forever(
    model: Model,
    source: impl Source,
    refresh: Refresh,
    telemetry: Arc<Telemetry>,
    shutdown: impl Future<Output = ()>,
) {
    let reading = async {
        let mut definitions = None;
        let mut ticks = tokio::time::interval(refresh.every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let read = tokio::time::timeout(PATIENCE, read(&source, &refresh, &mut definitions))
                .await
                .unwrap_or(Err(RefreshError::TooSlow));
            telemetry
                .read_model_refreshes
                .with_label_values(&[if read.is_ok() { "ok" } else { "failed" }])
                .inc();
            // An outage is told once, not with every reading.
            match read {
                Ok(snapshot) => {
                    if model.publish(snapshot) {
                        tracing::info!("the windows can be read again");
                    }
                }
                Err(error) => {
                    if model.fail(error.to_string()) {
                        tracing::warn!(%error, "the windows could not be read; the last numbers stand");
                    }
                }
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = shutdown => {}
    }
}

/// Catalogue made ready, with the epoch they are of: a calendar takes a while to lay out.
type Ready = Option<(Epoch, Arc<Catalogue>)>;

async fn read(
    source: &impl Source,
    refresh: &Refresh,
    ready: &mut Ready,
) -> Result<Snapshot, RefreshError> {
    let read_at = Instant::now();
    let epoch = source.current().await?;
    let definitions = match ready {
        Some((known, definitions)) if *known == epoch => definitions.clone(),
        _ => {
            let made = Catalogue::new(epoch.definitions.clone());
            let made = Arc::new(made.map_err(|problem| RefreshError::Catalogue {
                epoch: epoch.epoch,
                problem,
            })?);
            *ready = Some((epoch.clone(), made.clone()));
            made
        }
    };
    // The watermark first: numbers read after it hold at least what it promises.
    let watermark = source.watermark(&epoch).await?;
    let as_of = (refresh.clock)();
    let plan = QueryPlan::new(
        ROLLING.to_vec(),
        Now {
            now: as_of,
            watermark: watermark.unwrap_or_default(),
        },
        &definitions,
    );
    let sums = source.sums(&epoch, &definitions, &plan).await?;
    let mut reading = sums.read(&plan, &definitions, definitions.sets.len());
    let program = (refresh.catalogue)(&epoch.definitions);
    reading
        .metrics
        .retain(|metric| is_shown(&epoch, metric.name, &program));
    let top = Top::of(&reading, &definitions, refresh.top);
    Ok(Snapshot {
        reading,
        definitions,
        epoch: epoch.epoch,
        as_of,
        watermark,
        read_at,
        top,
    })
}
