//! Refreshing: every few seconds the rows written since the last time are read, and a snapshot is
//! cut from the cells in memory.
//!
//! All rows are read at the start, at an epoch's switch, where windows have moved beyond what is
//! held, and now and then to compare: then the cells must be those that came row by row.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cells::Cells;
use super::model::{Model, Snapshot, Top};
use super::reach::Reach;
use crate::clickhouse::{NewRows, RollupRow};
use crate::config::Gauges;
use crate::definitions::BadDefinition;
use crate::metric::{Catalogue, MetricValues, QueryPlan, SideInputs, versions};
use crate::pipeline::catalogue::{VersionsOf, is_shown};
use crate::pipeline::watermark::Progress;
use crate::pipeline::{Epoch, OutsideError};
use crate::record::Home;
use crate::telemetry::{Telemetry, wall_clock};
use crate::window::rolling::{Now, PaneRange, ROLLING};

/// A reading that takes longer than this is given up: a source that hangs must not look like one
/// that is slow.
const PATIENCE: Duration = Duration::from_secs(20);
/// After a reading nothing is read for so many times as long as it took, so that however many rows
/// are written, while an input is caught up, ClickHouse is not kept busy with reading them.
const REST: u32 = 4;
/// The longest such rest.
const LONGEST_REST: Duration = Duration::from_secs(8);
/// How far before the newest row seen rows are read again (µs): an insert is seen some time after
/// it was stamped, on another replica later still.
pub const OVERLAP: i64 = 5_000_000;

/// Where the cells are read.
pub trait Source: Send + Sync {
    /// The current epoch.
    fn current(&self) -> impl Future<Output = Result<Epoch, OutsideError>> + Send;

    /// How far the shards of the epoch's log are folded and flushed.
    fn progress(
        &self,
        epoch: &Epoch,
    ) -> impl Future<Output = Result<Progress, OutsideError>> + Send;

    /// Hands over the rows of the epoch within `reach`, at one moment. Several rows of one key may
    /// come, in any order.
    fn rows(
        &self,
        epoch: &Epoch,
        reach: &Reach,
        take: &mut (dyn FnMut(RollupRow<'_>) + Send),
    ) -> impl Future<Output = Result<(), OutsideError>> + Send;

    /// Hands over the rows of the epoch that are new, perhaps others as well, as [`Source::rows`]
    /// does. Returns when the newest row was written, be it left out or not (µs by the source's
    /// clock); 0 if there is none.
    fn new_rows(
        &self,
        epoch: &Epoch,
        new: &NewRows<'_>,
        take: &mut (dyn FnMut(RollupRow<'_>) + Send),
    ) -> impl Future<Output = Result<i64, OutsideError>> + Send;

    /// A number that is another one as soon as what stands beside the cells is, and costs little to
    /// ask for.
    fn side_inputs_state(
        &self,
        epoch: &Epoch,
    ) -> impl Future<Output = Result<u64, OutsideError>> + Send;

    /// What stands beside the cells; amounts are converted into `reporting`, if there is one.
    fn side_inputs(
        &self,
        epoch: &Epoch,
        reporting: Option<&str>,
    ) -> impl Future<Output = Result<SideInputs, OutsideError>> + Send;
}

/// How the read model is kept.
#[derive(Debug, Clone)]
pub struct Refresh {
    /// The time between two readings, unless they take long.
    pub every: Duration,
    /// The time between two readings of all rows, to compare.
    pub compare_every: Duration,
    /// When nothing was flushed, and no new row was seen, for so long, what had been under way is
    /// there.
    pub quiet: Duration,
    /// How many values of a dimension are shown.
    pub top: usize,
    /// Which figures of groups have a gauge.
    pub gauges: Gauges,
    /// The currency that amounts are converted into.
    pub reporting_currency: Option<String>,
    /// The time between two looks whether exchange rates, the hierarchy or names have changed.
    pub side_inputs_every: Duration,
    /// The present (µs), which windows are cut at.
    pub clock: fn() -> i64,
    /// What this program counts: metrics of another formula are not shown.
    pub catalogue: VersionsOf,
}

impl Default for Refresh {
    fn default() -> Self {
        Refresh {
            every: Duration::from_secs(2),
            compare_every: Duration::from_secs(15 * 60),
            quiet: Duration::from_secs(60),
            top: 20,
            gauges: Gauges::default(),
            reporting_currency: None,
            side_inputs_every: Duration::from_secs(6),
            clock: wall_clock,
            catalogue: versions,
        }
    }
}

/// Why there is no new snapshot.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// What the source answered.
    #[error(transparent)]
    Outside(#[from] OutsideError),
    /// Somebody must run another version.
    #[error(
        "the definitions of epoch {epoch} are not understood by this version ({problem}); run the version that wrote them, or a newer one"
    )]
    Definitions {
        /// Which epoch.
        epoch: u32,
        /// What is not understood.
        problem: BadDefinition,
    },
    /// The source is slow or hangs.
    #[error("reading the windows took longer than {} s; look at ClickHouse's load", PATIENCE.as_secs())]
    TooSlow,
}

/// Refreshes the model again and again until `shutdown`. What fails is tried again; until then the
/// last snapshot is shown.
pub async fn refresh_forever(
    model: Model,
    source: impl Source,
    refresh: Refresh,
    telemetry: Arc<Telemetry>,
    shutdown: impl Future<Output = ()>,
) {
    let reading = async {
        let mut ticks = tokio::time::interval(refresh.every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut refresher = Refresher::new(source, refresh, telemetry.clone());
        loop {
            ticks.tick().await;
            let began = Instant::now();
            let read = tokio::time::timeout(PATIENCE, refresher.snapshot())
                .await
                .unwrap_or(Err(RefreshError::TooSlow));
            telemetry
                .read_model_refreshes
                .with_label_values(&[if read.is_ok() { "ok" } else { "failed" }])
                .inc();
            // An outage is logged once, not with every reading.
            match read {
                Ok(snapshot) => {
                    if model.publish(snapshot) {
                        tracing::info!("the windows can be read again");
                    }
                }
                Err(error) => {
                    if model.fail(error.to_string()) {
                        tracing::warn!(%error, "the windows could not be read; the last snapshot stays");
                    }
                }
            }
            tokio::time::sleep((began.elapsed() * REST).min(LONGEST_REST)).await;
        }
    };
    tokio::select! {
        () = reading => {}
        () = shutdown => {}
    }
}

/// What makes one snapshot after the other.
pub struct Refresher<S> {
    source: S,
    refresh: Refresh,
    telemetry: Arc<Telemetry>,
    /// The epoch with its definitions compiled: a calendar takes a while to lay out.
    epoch: Option<(Epoch, Arc<Catalogue>)>,
    side: Option<Side>,
    held: Option<Held>,
}

/// What stands beside the cells.
struct Side {
    inputs: Arc<SideInputs>,
    /// The epoch they were read for, and their state then.
    state: (u32, u64),
    looked_at: Instant,
}

/// The cells of an epoch, and how far they are read.
struct Held {
    epoch: u32,
    cells: Cells,
    /// When the newest row was written that was seen (µs by the source's clock).
    newest: i64,
    /// When a row newer than all before was last seen.
    newest_seen_at: Instant,
    all_read_at: Instant,
    /// How far the shards were flushed before the last reading, and since when.
    flushed: Vec<(Home, u64)>,
    flushed_at: Instant,
    /// What was last cut, by the ranges it was cut for.
    cut: Option<(Vec<PaneRange>, Arc<MetricValues>, Arc<Top>)>,
}

impl<S: Source> Refresher<S> {
    /// Nothing is read yet.
    pub fn new(source: S, refresh: Refresh, telemetry: Arc<Telemetry>) -> Self {
        Refresher {
            source,
            refresh,
            telemetry,
            epoch: None,
            side: None,
            held: None,
        }
    }

    /// How many rows are held in memory.
    pub fn rows_held(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.cells.len())
    }

    /// Reads what is new and cuts a snapshot. It may be dropped and called again at any time: rows
    /// taken twice change nothing.
    ///
    /// # Errors
    /// What the source answered, or definitions that are not understood.
    pub async fn snapshot(&mut self) -> Result<Snapshot, RefreshError> {
        let read_at = Instant::now();
        let epoch = self.source.current().await?;
        let definitions = self.definitions(&epoch)?;
        // The watermark first: cells read after it are complete at least up to it.
        let progress = self.source.progress(&epoch).await?;
        let watermark = progress.watermark;
        let first_hour = definitions.spec.hours_kept.first(progress.append_time);
        let as_of = (self.refresh.clock)();
        let plan_at = |watermark| {
            let now = Now {
                now: as_of,
                watermark,
            };
            QueryPlan::of_hours_from(first_hour, ROLLING.to_vec(), now, &definitions)
        };
        let plan = plan_at(watermark.unwrap_or_default());
        let plans = [&plan, &plan_at(as_of)];
        self.read(&epoch, &definitions, progress, plans).await?;
        // `read` leaves cells or an error.
        let Some(held) = &mut self.held else {
            return Err(
                OutsideError::transient("reading the windows", "no cells were read").into(),
            );
        };
        let has_changed = held.cells.move_to(&plan);
        let (reading, top) = match &held.cut {
            Some((ranges, reading, top)) if !has_changed && *ranges == plan.ranges => {
                (reading.clone(), top.clone())
            }
            _ => {
                let mut sums = held.cells.sums();
                let mut reading = sums.read(&plan, &definitions);
                let program = (self.refresh.catalogue)(&epoch.definitions);
                reading.metrics.retain(|metric| {
                    let sources = definitions
                        .metric(metric.name)
                        .map(|m| definitions.sources(m));
                    let mut sources = sources.into_iter().flatten();
                    sources.all(|source| is_shown(&epoch, source.name(), &program))
                });
                let top = Top::of(&reading, &definitions, self.refresh.top);
                reading.add(sums.read_others(&plan, &definitions, |set, values| {
                    top.place(set, values).is_some()
                }));
                let (reading, top) = (Arc::new(reading), Arc::new(top));
                held.cut = Some((plan.ranges.clone(), reading.clone(), top.clone()));
                (reading, top)
            }
        };
        Ok(Snapshot {
            reading,
            definitions,
            epoch: epoch.epoch,
            as_of,
            watermark,
            read_at,
            top,
            gauges: self.refresh.gauges,
            side: self
                .side
                .as_ref()
                .map(|side| side.inputs.clone())
                .unwrap_or_default(),
        })
    }

    fn definitions(&mut self, epoch: &Epoch) -> Result<Arc<Catalogue>, RefreshError> {
        if let Some((known, definitions)) = &self.epoch
            && known == epoch
        {
            return Ok(definitions.clone());
        }
        let made = Catalogue::new(epoch.definitions.clone());
        let made = Arc::new(made.map_err(|problem| RefreshError::Definitions {
            epoch: epoch.epoch,
            problem,
        })?);
        if self
            .epoch
            .as_ref()
            .is_some_and(|(known, _)| known.definitions != epoch.definitions)
        {
            self.held = None;
        }
        self.epoch = Some((epoch.clone(), made.clone()));
        Ok(made)
    }

    /// What stands beside the cells; if something else is derived by it than before, all is summed
    /// anew.
    async fn side_inputs(&mut self, epoch: &Epoch) -> Result<Arc<SideInputs>, RefreshError> {
        if let Some(side) = &self.side
            && side.state.0 == epoch.epoch
            && side.looked_at.elapsed() < self.refresh.side_inputs_every
        {
            return Ok(side.inputs.clone());
        }
        // Asked for before they are read: what comes meanwhile is read the next time.
        let looked_at = Instant::now();
        let state = (epoch.epoch, self.source.side_inputs_state(epoch).await?);
        if let Some(side) = &mut self.side
            && side.state == state
        {
            side.looked_at = looked_at;
            return Ok(side.inputs.clone());
        }
        let reporting = self.refresh.reporting_currency.as_deref();
        let inputs = Arc::new(self.source.side_inputs(epoch, reporting).await?);
        // A new name moves nothing.
        if !(self.side.as_ref()).is_some_and(|known| known.inputs.derives_as(&inputs)) {
            self.held = None;
        }
        self.side = Some(Side {
            inputs: inputs.clone(),
            state,
            looked_at,
        });
        Ok(inputs)
    }

    /// Reads what is new, or all.
    async fn read(
        &mut self,
        epoch: &Epoch,
        definitions: &Catalogue,
        progress: Progress,
        plans: [&QueryPlan; 2],
    ) -> Result<(), RefreshError> {
        // A watermark that comes back to the present must not find its cohorts missing: all that is
        // read reaches as far without its lag.
        let [plan, _] = plans;
        let side = self.side_inputs(epoch).await?;
        let is_usable = self
            .held
            .as_ref()
            .is_some_and(|held| held.epoch == epoch.epoch && held.cells.reach().covers(plan));
        let is_due = self
            .held
            .as_ref()
            .is_some_and(|held| held.all_read_at.elapsed() >= self.refresh.compare_every);
        if is_usable && !is_due {
            // The new rows are taken into the cells at once; a reading that is cut short is done
            // again from the same time.
            if let Some(held) = &mut self.held
                && !held.is_quiet(&progress, self.refresh.quiet)
            {
                held.read_new(&self.source, epoch, self.refresh.quiet, None)
                    .await?;
                held.follow(progress);
            }
            return Ok(());
        }
        let reach = Reach::around(&plans);
        let mut all = Held::read_all(&self.source, epoch, definitions, reach, side).await?;
        all.follow(progress);
        if is_usable && let Some(before) = &mut self.held {
            // Both take what has come since: what differs then was missed for good.
            let since = before
                .read_new(&self.source, epoch, self.refresh.quiet, Some(&mut all))
                .await?;
            let differences = before.cells.differences(&all.cells, since);
            if differences > 0 {
                self.telemetry
                    .read_model_differences
                    .inc_by(differences as u64);
                tracing::error!(
                    differences,
                    "cells of the read model differed from the rollups and have been corrected; if this comes again, compare the clocks of the ClickHouse servers and how far their replicas are behind"
                );
            }
        }
        self.held = Some(all);
        Ok(())
    }
}

impl Held {
    async fn read_all(
        source: &impl Source,
        epoch: &Epoch,
        definitions: &Catalogue,
        reach: Reach,
        side: Arc<SideInputs>,
    ) -> Result<Held, OutsideError> {
        let all_read_at = Instant::now();
        let mut cells = Cells::new(definitions, reach.clone(), side);
        let mut newest = 0;
        let mut take = |row: RollupRow<'_>| {
            newest = newest.max(row.written_at);
            cells.put(&row);
        };
        source.rows(epoch, &reach, &mut take).await?;
        Ok(Held {
            epoch: epoch.epoch,
            cells,
            newest,
            newest_seen_at: all_read_at,
            all_read_at,
            flushed: Vec::new(),
            flushed_at: all_read_at,
            cut: None,
        })
    }

    /// True if nothing can have been written that is not read: nothing was flushed since the last
    /// reading, and that long enough ago for rows that were still under way to a replica.
    fn is_quiet(&self, progress: &Progress, quiet: Duration) -> bool {
        self.flushed == progress.flushed
            && self.flushed_at.elapsed() >= quiet
            && self.newest_seen_at.elapsed() >= quiet
    }

    /// Notes how far the shards were flushed before what was read.
    fn follow(&mut self, progress: Progress) {
        if self.flushed != progress.flushed {
            self.flushed = progress.flushed;
            self.flushed_at = Instant::now();
        }
    }

    /// Takes what was written since the last time, into `also` as well; returns since when that is.
    /// Rows older than the column `written_at` have the time 0, and were read with all.
    async fn read_new(
        &mut self,
        source: &impl Source,
        epoch: &Epoch,
        quiet: Duration,
        mut also: Option<&mut Held>,
    ) -> Result<i64, OutsideError> {
        let after = if self.newest_seen_at.elapsed() >= quiet {
            self.newest
        } else {
            (self.newest - OVERLAP).max(0)
        };
        let new = NewRows {
            after,
            newest: self.newest,
            seen: &self.flushed,
            // The cells of a comparison have a reach of their own.
            panes: also.is_none().then(|| self.cells.reach().panes()),
        };
        let cells = &mut self.cells;
        let mut take = |row: RollupRow<'_>| {
            if let Some(other) = &mut also {
                other.cells.put(&row);
            }
            cells.put(&row);
        };
        let newest = source.new_rows(epoch, &new, &mut take).await?;
        // Only now: rows of a reading that failed are read again.
        if let Some(other) = also {
            other.newest = other.newest.max(newest);
        }
        if newest > self.newest {
            self.newest = newest;
            self.newest_seen_at = Instant::now();
        }
        Ok(after)
    }
}
