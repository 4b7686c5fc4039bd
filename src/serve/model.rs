//! The read model: every number of the organisation at one moment, as one immutable snapshot for
//! all who show it.
//!
//! Every instance reads the same rollups, so every instance shows the same. When they can't be read
//! the values stay as they are, visibly old, and are never cleared.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::watched::Alerts;
use crate::config::Gauges;
use crate::metric::{Catalogue, Group, MetricValues, SideInputs};
use crate::window::rolling::Window;

/// Every number of the organisation at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The metrics, for [`ROLLING`](crate::window::rolling::ROLLING).
    pub reading: Arc<MetricValues>,
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
    pub top: Arc<Top>,
    /// Which figures of groups have a gauge.
    pub gauges: Gauges,
    /// What was read beside the cells.
    pub side: Arc<SideInputs>,
}

/// The values of every grouping set that are shown, one list for all metrics and windows, so that a
/// series does not come and go.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Top {
    ranks: Vec<HashMap<Vec<String>, usize>>,
    /// How many values of each set are not shown.
    beyond: Vec<usize>,
}

impl Top {
    /// The `count` greatest of each set by what the metrics count in the last 90 days, such as
    /// leads and decided deals, ties by name.
    pub fn of(reading: &MetricValues, catalogue: &Catalogue, count: usize) -> Self {
        let sets = catalogue.readable_sets().end;
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
        let beyond = sizes.iter().map(|sizes| sizes.len().saturating_sub(count));
        let beyond = beyond.collect();
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
            beyond,
        }
    }

    /// The values of a set that are shown.
    pub fn values(&self, set: usize) -> impl Iterator<Item = &Vec<String>> {
        self.ranks
            .get(set)
            .into_iter()
            .flat_map(|ranks| ranks.keys())
    }

    /// True if anything is shown of a set.
    pub fn shows(&self, set: usize) -> bool {
        self.ranks.get(set).is_some_and(|ranks| !ranks.is_empty())
    }

    /// How many values of a set are not shown one by one, of those any metric has in any window.
    pub fn beyond(&self, set: usize) -> usize {
        self.beyond.get(set).copied().unwrap_or_default()
    }

    /// The place of values in the list of their set; `None` if they are not in it.
    pub fn place(&self, set: usize, values: &[String]) -> Option<usize> {
        self.ranks.get(set)?.get(values).copied()
    }

    /// The place of a group in the list of its set; `None` if it is not shown. The total always is,
    /// and so are the others together, behind all.
    pub fn rank(&self, group: &Group) -> Option<usize> {
        match group.set {
            0 => Some(0),
            _ if group.is_others() => Some(usize::MAX),
            set => self.place(set, &group.values),
        }
    }
}

/// The present snapshot, shared by everything that shows it. Cheap to clone.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

struct Inner {
    state: watch::Sender<State>,
    alerts: watch::Sender<Option<Arc<Alerts>>>,
    /// Since when there could have been a snapshot.
    started: Instant,
    stale_after: Duration,
}

#[derive(Default)]
struct State {
    snapshot: Option<Arc<Snapshot>>,
    problem: Option<String>,
}

impl Model {
    /// An empty model, whose snapshots are stale when older than `stale_after`.
    pub fn new(stale_after: Duration) -> Self {
        Model(Arc::new(Inner {
            state: watch::Sender::default(),
            alerts: watch::Sender::default(),
            started: Instant::now(),
            stale_after,
        }))
    }

    /// What was read last.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.0.state.borrow().snapshot.clone()
    }

    /// How old the snapshot is; before there is one, how long it has been missing.
    pub fn age(&self) -> Duration {
        self.0
            .state
            .borrow()
            .snapshot
            .as_ref()
            .map_or(self.0.started, |s| s.read_at)
            .elapsed()
    }

    /// Why the metrics should not be relied on: there are none yet, or they are old.
    pub fn problem(&self) -> Option<String> {
        let state = self.0.state.borrow();
        let why = state
            .problem
            .as_ref()
            .map(|problem| format!(": {problem}"))
            .unwrap_or_default();
        match &state.snapshot {
            None => Some(format!("no metrics have been read yet{why}")),
            Some(snapshot) => {
                let age = snapshot.read_at.elapsed();
                (age > self.0.stale_after).then(|| {
                    format!(
                        "the metrics have not been refreshed for {} s{why}",
                        age.as_secs()
                    )
                })
            }
        }
    }

    /// Waits for the outcome of the next reading, good or bad.
    pub async fn changed(&self) {
        // The sender lives as long as we do.
        let _ = self.0.state.subscribe().changed().await;
    }

    /// What the watched series said last.
    pub fn alerts(&self) -> Option<Arc<Alerts>> {
        self.0.alerts.borrow().clone()
    }

    /// Puts what the watched series say in place.
    pub fn publish_alerts(&self, alerts: Alerts) {
        self.0.alerts.send_replace(Some(Arc::new(alerts)));
    }

    /// Puts a new snapshot in place; true if the reading before it had failed.
    pub fn publish(&self, snapshot: Snapshot) -> bool {
        let before = self.0.state.send_replace(State {
            snapshot: Some(Arc::new(snapshot)),
            problem: None,
        });
        before.problem.is_some()
    }

    /// Notes why there is no new snapshot; true if that was not known before.
    pub(super) fn fail(&self, problem: String) -> bool {
        let mut is_news = false;
        self.0.state.send_modify(|state| {
            is_news = state.problem.replace(problem.clone()).as_ref() != Some(&problem)
        });
        is_news
    }
}
