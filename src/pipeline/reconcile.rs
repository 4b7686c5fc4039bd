//! Reconciling: the cells of an epoch recomputed from the facts, and compared with those that are
//! stored.
//!
//! It is right beside a running pipeline. What is read at different moments need not belong
//! together, so a record counts only as it was read in a state at or before the checkpoint read
//! first: it is then the state at that checkpoint, since a checkpoint is written last. Records that
//! were found newer are read again when the checkpoint has passed them. A stored cell that is read
//! after all this, at a version no checkpoint used lies before, was not touched all the while, so
//! the contributions of each record to it were the same at all those checkpoints: it must be their
//! sum. Any other cell that differs is in motion, and is compared again.

use std::collections::{BTreeMap, BTreeSet};

use super::known::{Known, Live};
use super::restart::{Facts, RestartError, facts};
use super::{CellName, Epoch, OutsideError, Store, StoredCell};
use crate::event::{Placement, SideInput, When};
use crate::metric::Catalogue;
use crate::record::{Entity, Home};
use crate::window::calendar::Day;
use crate::window::{Cell, Grain, Pane};

/// How often a shard is read before its cells that still change are reported as in motion.
const LOOKS: usize = 5;
/// How often the facts are read in one look, to find every record at rest once.
const READINGS: usize = 5;

/// Waits for a pipeline that is running. A trait, so that tests need no clock.
pub trait Pace: Sync {
    /// Called when a checkpoint was found before what is waited for, for the `attempt`th time in a
    /// row (from 1); waits a little, then returns whether to go on waiting.
    fn wait(&self, attempt: u32) -> impl Future<Output = bool> + Send;
}

/// A cell whose stored values are not those computed from the facts.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The shard.
    pub shard: Home,
    /// The cell.
    pub name: CellName,
    /// The values stored; all zero if there is no row.
    pub stored: Cell,
    /// The version of the row; 0 if there is none.
    pub version: u64,
    /// The values computed from the facts; all zero if there are none.
    pub recomputed: Cell,
    /// False if no definition of this version makes such a cell.
    pub is_defined: bool,
}

/// True if other records of every shard are read by it.
fn is_read_by_others(entity: Entity) -> bool {
    matches!(
        entity.placement(),
        Placement::Everywhere(SideInput::Alias | SideInput::Stage)
    )
}

/// What was found in a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Cells compared.
    pub cells: u64,
    /// Those that differ for certain.
    pub differing: u64,
    /// Those that differed at every reading, but never with the same values.
    pub in_motion: u64,
}

/// What was found in one shard or in several.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Findings {
    /// By the first day of the local month; `None` for cells without a date.
    pub months: BTreeMap<Option<Day>, Tally>,
    /// The cells that differ for certain.
    pub drift: Vec<Difference>,
    /// The cells that differed, but never with the same values.
    pub in_motion: Vec<Difference>,
}

impl Findings {
    /// Adds what was found in another shard.
    pub fn merge(&mut self, other: Findings) {
        for (month, tally) in other.months {
            let sum = self.months.entry(month).or_default();
            sum.cells += tally.cells;
            sum.differing += tally.differing;
            sum.in_motion += tally.in_motion;
        }
        self.drift.extend(other.drift);
        self.in_motion.extend(other.in_motion);
    }

    /// Sums of all months.
    pub fn total(&self) -> Tally {
        self.months
            .values()
            .fold(Tally::default(), |sum, tally| Tally {
                cells: sum.cells + tally.cells,
                differing: sum.differing + tally.differing,
                in_motion: sum.in_motion + tally.in_motion,
            })
    }
}

/// The shards that have something to reconcile in an epoch: those of its log, and any other that
/// has rows.
///
/// # Errors
/// If the store can't be read.
pub async fn shards(epoch: &Epoch, store: &impl Store) -> Result<Vec<Home>, OutsideError> {
    let strays = store
        .rollup_shards(epoch.epoch)
        .await?
        .into_iter()
        .filter(|shard| *shard >= epoch.partitions);
    Ok((0..epoch.partitions).chain(strays).collect())
}

/// Reconciles one shard of an epoch; its records are in memory while it does.
///
/// # Errors
/// If the store can't be read, or what is stored can't be.
pub async fn reconcile(
    shard: Home,
    epoch: &Epoch,
    live: &Live,
    store: &impl Store,
    pace: &impl Pace,
) -> Result<Findings, RestartError> {
    let mut reader = Reader {
        shard,
        generation: epoch.generation,
        live,
        store,
        pace,
        is_stuck: false,
    };
    if shard >= epoch.partitions {
        // No record is at home there, so its rows need no second look.
        let look = compare(
            reader.stored().await?,
            BTreeMap::new(),
            Some(u64::MAX),
            shard,
            &live.definitions,
        );
        return Ok(findings(
            look.months,
            look.differences,
            Vec::new(),
            &live.definitions,
        ));
    }
    let mut before: BTreeMap<CellName, Difference> = BTreeMap::new();
    let mut looks = 1;
    loop {
        let last = looks == LOOKS || reader.is_stuck;
        let look = reader.look().await?;
        let is_stable =
            |found: &Difference| look.is_judged(found) && before.get(&found.name) == Some(found);
        let (drift, rest): (Vec<_>, Vec<_>) = look.differences.iter().cloned().partition(is_stable);
        if last || rest.is_empty() {
            return Ok(findings(look.months, drift, rest, &live.definitions));
        }
        let newest = rest
            .iter()
            .filter(|found| !look.is_judged(found))
            .map(|found| found.version)
            .max();
        before = look
            .differences
            .into_iter()
            .map(|found| (found.name.clone(), found))
            .collect();
        reader.passes(newest.unwrap_or_default()).await?;
        looks += 1;
    }
}

fn findings(
    cells: BTreeMap<Option<Day>, u64>,
    drift: Vec<Difference>,
    in_motion: Vec<Difference>,
    definitions: &Catalogue,
) -> Findings {
    let mut months: BTreeMap<Option<Day>, Tally> = cells
        .into_iter()
        .map(|(month, cells)| {
            (
                month,
                Tally {
                    cells,
                    ..Tally::default()
                },
            )
        })
        .collect();
    drift.iter().for_each(|found| {
        months
            .entry(month(found.name.pane, definitions))
            .or_default()
            .differing += 1
    });
    in_motion.iter().for_each(|found| {
        months
            .entry(month(found.name.pane, definitions))
            .or_default()
            .in_motion += 1
    });
    Findings {
        months,
        drift,
        in_motion,
    }
}

/// Reads one shard.
struct Reader<'a, S, P> {
    shard: Home,
    generation: u32,
    live: &'a Live,
    store: &'a S,
    pace: &'a P,
    /// The checkpoint has not moved for as long as one is waited for: it is not waited for again.
    is_stuck: bool,
}

/// The cells as all records make them.
struct Recomputed {
    cells: BTreeMap<CellName, Cell>,
    /// The earliest offset a record was read at; `None` if some never rested, so that no difference
    /// is certain.
    since: Option<u64>,
}

impl<S: Store, P: Pace> Reader<'_, S, P> {
    async fn stored(&self) -> Result<Vec<StoredCell>, OutsideError> {
        self.store.rollups(self.live.epoch, self.shard).await
    }

    async fn checkpoint(&self) -> Result<u64, OutsideError> {
        let checkpoint = self.store.checkpoint(self.generation, self.shard).await?;
        Ok(checkpoint.map_or(0, |checkpoint| checkpoint.next_offset))
    }

    /// Waits until the checkpoint has passed `version`. False if it doesn't.
    async fn passes(&mut self, version: u64) -> Result<bool, OutsideError> {
        let mut attempt = 0;
        while self.checkpoint().await? < version {
            attempt += 1;
            self.is_stuck = self.is_stuck || !self.pace.wait(attempt).await;
            if self.is_stuck {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn look(&mut self) -> Result<Look, RestartError> {
        let mut recomputed = self.recompute().await?;
        let mut stored = self.stored().await?;
        // Only now: what was kept when it was read may not be any more when the next was.
        let checkpoint = self.store.checkpoint(self.generation, self.shard).await?;
        let append_time = checkpoint.map_or(0, |known| known.append_time);
        let numbers = self.live.definitions.numbers_of_rollups();
        let is_kept = |name: &CellName| {
            let rollup = numbers.get(&name.series).copied();
            rollup.is_none_or(|r| self.live.definitions.keeps_pane(r, name.pane, append_time))
        };
        recomputed.cells.retain(|name, _| is_kept(name));
        stored.retain(|cell| is_kept(&cell.name));
        Ok(compare(
            stored,
            recomputed.cells,
            recomputed.since,
            self.shard,
            &self.live.definitions,
        ))
    }

    /// Works the cells out from the facts, every record taken where it was found at rest.
    async fn recompute(&mut self) -> Result<Recomputed, RestartError> {
        let (mut cells, mut since) = (BTreeMap::new(), None);
        // The records still to be found at rest; `None` for all.
        let mut open: Option<BTreeSet<(Entity, String)>> = None;
        for remaining in (0..READINGS).rev() {
            let checkpoint = self.checkpoint().await?;
            let known = Known {
                live: vec![self.live.clone()],
                unkept: Vec::new(),
            };
            let Facts {
                mut state,
                version,
                newer,
            } = facts(self.shard, self.generation, &known, checkpoint, self.store).await?;
            // A merge, or what a stage stands for, may change the contributions of any record, so a
            // reading with a newer one shows none at rest.
            let is_usable = !newer.iter().any(|(entity, _)| is_read_by_others(*entity));
            if is_usable {
                add(
                    &mut cells,
                    state.cells_of(self.live.epoch, |entity, id| {
                        is_in(open.as_ref(), entity, id) && !is_in(Some(&newer), entity, id)
                    }),
                );
                since = since.or(Some(checkpoint));
                open = Some(open.map_or_else(
                    || newer.clone(),
                    |open| open.intersection(&newer).cloned().collect(),
                ));
                if open.as_ref().is_some_and(BTreeSet::is_empty) {
                    return Ok(Recomputed { cells, since });
                }
            }
            if remaining == 0 || !self.passes(version).await? {
                // Taken as they are: what is equal so is equal, but what differs shows nothing.
                add(
                    &mut cells,
                    state.cells_of(self.live.epoch, |entity, id| {
                        is_in(open.as_ref(), entity, id)
                    }),
                );
                break;
            }
        }
        Ok(Recomputed { cells, since: None })
    }
}

fn is_in(records: Option<&BTreeSet<(Entity, String)>>, entity: Entity, id: &str) -> bool {
    records.is_none_or(|records| !records.is_empty() && records.contains(&(entity, id.to_owned())))
}

fn add(cells: &mut BTreeMap<CellName, Cell>, rows: Vec<crate::shard::CellRow>) {
    for row in rows {
        cells
            .entry(CellName::of(&row))
            .or_default()
            .merge(&row.cell);
    }
}

/// What one look at a shard showed.
struct Look {
    /// How many cells were compared, by month.
    months: BTreeMap<Option<Day>, u64>,
    differences: Vec<Difference>,
    since: Option<u64>,
}

impl Look {
    /// The cell was not touched while the facts were read, so it can't differ by chance.
    fn is_judged(&self, found: &Difference) -> bool {
        self.since.is_some_and(|since| found.version <= since)
    }
}

fn compare(
    stored: Vec<StoredCell>,
    mut recomputed: BTreeMap<CellName, Cell>,
    since: Option<u64>,
    shard: Home,
    definitions: &Catalogue,
) -> Look {
    let mut look = Look {
        months: BTreeMap::new(),
        differences: Vec::new(),
        since,
    };
    let mut see = |name: CellName, stored: Cell, version: u64, recomputed: Cell| {
        *look
            .months
            .entry(month(name.pane, definitions))
            .or_default() += 1;
        if !is_same(&stored, &recomputed) {
            let is_defined = is_defined(&name, definitions);
            look.differences.push(Difference {
                shard,
                name,
                stored,
                version,
                recomputed,
                is_defined,
            });
        }
    };
    for row in stored {
        let made = recomputed.remove(&row.name).unwrap_or_default();
        see(row.name, row.cell, row.version, made);
    }
    for (name, made) in recomputed {
        see(name, Cell::default(), 0, made);
    }
    look
}

/// Equal values; a measure that isn't there is zero.
fn is_same(one: &Cell, other: &Cell) -> bool {
    let counts =
        (0..one.counts.len().max(other.counts.len())).all(|i| one.counted(i) == other.counted(i));
    let sums = (0..one.sums.len().max(other.sums.len())).all(|i| one.summed(i) == other.summed(i));
    counts && sums && one.sketch == other.sketch
}

/// Some metric and group of this catalogue keep such a cell.
fn is_defined(name: &CellName, catalogue: &Catalogue) -> bool {
    let mut rollups = catalogue.rollups().iter();
    let Some(rollup) = rollups.position(|rollup| rollup.name == name.series) else {
        return false;
    };
    let mut placements = catalogue.placements(rollup as u8).iter();
    placements.any(|(set, grains)| {
        catalogue.set_name(usize::from(*set)) == name.dimension
            && (name.pane.grain == Grain::Undated || grains.contains(&name.pane.grain))
    })
}

/// The first day of the local month a pane lies in; `None` without a date.
pub fn month(pane: Pane, definitions: &Catalogue) -> Option<Day> {
    let calendar = &definitions.calendar;
    match pane.grain {
        Grain::Undated => None,
        Grain::Hour => Some(
            calendar.month_start(calendar.day(When::Instant(pane.start.saturating_mul(1_000_000)))),
        ),
        Grain::Day | Grain::Month => {
            Some(calendar.month_start(pane.start.div_euclid(crate::window::calendar::DAY) as Day))
        }
    }
}
