//! The watched series of alerts: their history is read from the rollups, in the background and on a
//! schedule of its own, and what it says is put beside the read model for `/metrics`.

use std::time::{Duration, Instant};

use super::model::{Model, Snapshot};
use super::watched::{Alerts, causes, is_suspect, statuses};
use crate::alert::baseline::REACH;
use crate::alert::history::newest_day;
use crate::alert::{History, Watch};
use crate::clickhouse::ClickHouse;
use crate::pipeline::OutsideError;
use crate::window::Day;
use crate::window::rolling::Now;

/// Days of history before the year whose dispersion and thresholds count: as much as a baseline
/// needs.
pub const HISTORY: Day = 2 * REACH + 90;
/// A reading that takes longer than this is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often it is looked, and read again although no new day has come: corrections change past
/// days, too.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// The time between two looks for a new day or epoch.
    pub look_every: Duration,
    /// The time between two readings.
    pub read_every: Duration,
    /// How many values of a dimension are watched.
    pub most: usize,
}

impl Default for Schedule {
    fn default() -> Self {
        Schedule {
            look_every: Duration::from_secs(5),
            read_every: Duration::from_secs(10 * 60),
            most: 20,
        }
    }
}

/// Reads again and again until the model is gone or this is dropped. What fails is tried again;
/// until then the last reading is shown.
pub async fn watch_forever(model: Model, clickhouse: ClickHouse, schedule: Schedule) {
    let mut ticks = tokio::time::interval(schedule.look_every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last: Option<(Key, Instant)> = None;
    let mut is_failing = false;
    loop {
        ticks.tick().await;
        let Some(snapshot) = model.snapshot() else {
            continue;
        };
        let Some(key) = Key::of(&snapshot) else {
            continue;
        };
        let is_new = last.as_ref().is_none_or(|(known, read_at)| {
            *known != key || read_at.elapsed() >= schedule.read_every
        });
        if !is_new {
            continue;
        }
        let reading = evaluate(&clickhouse, &snapshot, key.now, schedule.most);
        let read = tokio::time::timeout(PATIENCE, reading)
            .await
            .unwrap_or_else(|_| {
                let problem = format!("took longer than {} s", PATIENCE.as_secs());
                Err(OutsideError::transient("reading the watched days", problem))
            });
        match read {
            Ok(alerts) => {
                model.publish_alerts(alerts);
                last = Some((key, Instant::now()));
                is_failing = false;
            }
            // An outage is logged once, not with every attempt.
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(%error, "the watched series could not be read; what they said last stays");
                }
            }
        }
    }
}

/// What makes another reading necessary.
#[derive(Debug, Clone, Copy)]
struct Key {
    epoch: u32,
    newest: [Day; Watch::ALL.len()],
    now: Now,
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        (self.epoch, self.newest) == (other.epoch, other.newest)
    }
}

impl Key {
    /// `None` while it is not known up to when everything is folded: no day is full then.
    fn of(snapshot: &Snapshot) -> Option<Key> {
        let now = Now {
            now: snapshot.as_of,
            watermark: snapshot.watermark?,
        };
        Some(Key {
            epoch: snapshot.epoch,
            newest: Watch::ALL.map(|watch| newest_day(&snapshot.definitions, watch, now)),
            now,
        })
    }
}

/// Reads the history up to the newest full days and says where each series is.
async fn evaluate(
    clickhouse: &ClickHouse,
    snapshot: &Snapshot,
    now: Now,
    most: usize,
) -> Result<Alerts, OutsideError> {
    let catalogue = &snapshot.definitions;
    // A metric that the epoch doesn't count by this program's formula is not shown, so it isn't
    // watched.
    let is_shown = |metric: &str| snapshot.reading.metrics.iter().any(|m| m.name == metric);
    let mut history = History::new(catalogue, is_shown);
    let from = newest_day(catalogue, Watch::WinRate, now) - HISTORY;
    clickhouse
        .watched_days(snapshot.epoch, from, &mut history)
        .await?;
    let series = history.series(|watch| newest_day(catalogue, watch, now), most);
    let calibrated = clickhouse.thresholds(snapshot.epoch).await?;
    let mut watched = statuses(catalogue, &series, &calibrated);
    for watched in watched
        .iter_mut()
        .filter(|watched| is_suspect(&watched.status))
    {
        watched.causes = causes(clickhouse, snapshot.epoch, catalogue, watched).await?;
    }
    Ok(Alerts {
        watched,
        catalogue: catalogue.clone(),
    })
}
