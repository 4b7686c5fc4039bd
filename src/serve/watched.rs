//! The watched series with what their days say, and the records behind it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::alert::cause::{BY, Cause, Moved, REASONS, cause, moved};
use crate::alert::status::Series;
use crate::alert::{Daily, Phases, Status, TOTAL, Watch, WatchedSeries};
use crate::clickhouse::{Calibrated, CellOfDays, ClickHouse};
use crate::metric::Catalogue;
use crate::pipeline::OutsideError;
use crate::window::{Cell, Day};

/// Days before a run that tell how many leads each value usually has.
const USUAL: Day = 28;

/// A watched series, its state and what is behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct Watched {
    /// Which.
    pub series: WatchedSeries,
    /// Where it is.
    pub status: Status,
    /// The records that moved it, where there is evidence enough to ask.
    pub causes: Vec<Cause>,
}

/// All watched series at one moment.
#[derive(Debug)]
pub struct Alerts {
    /// The series in order of name, totals first.
    pub watched: Vec<Watched>,
    /// The definitions they were read by: days are those of its calendar.
    pub catalogue: Arc<Catalogue>,
}

/// True if there is more than half the evidence an alert takes.
pub fn is_suspect(status: &Status) -> bool {
    let half = |nats: f64| status.evidence > nats / 2.0;
    status.threshold.nats.is_some_and(half)
}

/// The days of some series among their like.
pub fn phases_of(catalogue: &Catalogue, series: &[(WatchedSeries, Daily)]) -> Phases {
    let first = series.iter().map(|(_, daily)| daily.first).min();
    let end = series.iter().map(|(_, daily)| daily.end()).max();
    let days = first.unwrap_or_default()..end.unwrap_or_default();
    Phases::new(&catalogue.calendar, days)
}

/// Where every series is, with the thresholds of those that are calibrated.
pub fn statuses(
    catalogue: &Catalogue,
    series: &[(WatchedSeries, Daily)],
    calibrated: &[Calibrated],
) -> Vec<Watched> {
    let phases = phases_of(catalogue, series);
    let of_series = calibrated.iter().map(|row| (&row.series, row.calibration));
    let of_series: HashMap<_, _> = of_series.collect();
    let status = |(name, daily): &(WatchedSeries, Daily)| {
        let series = Series::new(name.watch, daily, &phases)?;
        let threshold = series.threshold(of_series.get(name).copied());
        Some(Watched {
            series: name.clone(),
            status: series.status(threshold)?,
            causes: Vec::new(),
        })
    };
    series.iter().filter_map(status).collect()
}

/// What moved a series since its evidence began. A value of a dimension has causes only where the
/// rollups are grouped by both, as by team and owner.
pub async fn causes(
    clickhouse: &ClickHouse,
    epoch: u32,
    catalogue: &Catalogue,
    watched: &Watched,
) -> Result<Vec<Cause>, OutsideError> {
    let Watched { series, status, .. } = watched;
    let watch = series.watch;
    let (Some(since), Some(expected), Some(reader)) =
        (status.since, status.expected, watch.reader(catalogue))
    else {
        return Ok(Vec::new());
    };
    let days = since - watch.delay()..status.newest + 1 - watch.delay();
    let sets: Vec<(usize, &'static str, Option<usize>)> = (1..catalogue.sets.len())
        .filter_map(|set| grouped(catalogue, set, series))
        .collect();
    let names: Vec<String> = sets
        .iter()
        .map(|(set, ..)| catalogue.set_name(*set))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let rollups = [watch.rollup(), REASONS];
    let length = f64::from(days.end - days.start);
    let usual = days.start - USUAL..days.start;
    let cells = clickhouse
        .cells_of_days(epoch, &rollups, &names, days)
        .await?;
    let before = match watch {
        Watch::LeadVolume => {
            clickhouse
                .cells_of_days(epoch, &rollups, &names, usual)
                .await?
        }
        _ => Vec::new(),
    };
    let mut found = Vec::new();
    for by in BY {
        let Some(&(set, _, of)) = sets.iter().find(|(_, name, _)| *name == by) else {
            continue;
        };
        let set_name = catalogue.set_name(set);
        // Of all, only the lost deals' rollup has the reasons.
        let rollup = if by == "lost_reason" {
            REASONS
        } else {
            watch.rollup()
        };
        if by == "lost_reason" && watch != Watch::WinRate {
            continue;
        }
        let sum = |cells: &[CellOfDays]| sum_by_value(cells, rollup, &set_name, of, &series.value);
        let (now, before) = (sum(&cells), sum(&before));
        let values: Vec<Moved> = if watch == Watch::LeadVolume {
            let missing = before.iter().map(|(name, cell)| {
                let of_cell = |cell: &Cell| moved(watch, &reader, cell, expected).0;
                let usual = of_cell(cell) * length / f64::from(USUAL);
                let records = (usual - now.get(name).map_or(0.0, of_cell)).max(0.0);
                Moved {
                    name: name.clone(),
                    records,
                    usual: 0.0,
                }
            });
            missing.collect()
        } else {
            let values = now.iter().map(|(name, cell)| {
                let (records, usual) = match by {
                    "lost_reason" => (cell.counted(0) as f64, 0.0),
                    _ => moved(watch, &reader, cell, expected),
                };
                Moved {
                    name: name.clone(),
                    records,
                    usual,
                }
            });
            values.collect()
        };
        found.extend(cause(by, &values));
    }
    Ok(found)
}

/// A grouping set that cuts a series by the dimension of a cause: which, by what, and where in its
/// values the series' own value is.
fn grouped(
    catalogue: &Catalogue,
    set: usize,
    series: &WatchedSeries,
) -> Option<(usize, &'static str, Option<usize>)> {
    let name = catalogue.set_name(set);
    let dimensions: Vec<&str> = name.split(',').collect();
    let by = BY
        .into_iter()
        .find(|by| *by != series.dimension && dimensions.contains(by))?;
    match (series.dimension.as_str(), dimensions.as_slice()) {
        (TOTAL, [_]) => Some((set, by, None)),
        (dimension, [_, _]) => {
            let own = dimensions.iter().position(|name| *name == dimension)?;
            Some((set, by, Some(own)))
        }
        _ => None,
    }
}

/// Cells of one grouping set by the value that is not the series' own.
fn sum_by_value(
    cells: &[CellOfDays],
    rollup: &str,
    set: &str,
    own: Option<usize>,
    value: &str,
) -> BTreeMap<String, Cell> {
    let mut sums: BTreeMap<String, Cell> = BTreeMap::new();
    for row in cells {
        let is_of = own.is_none_or(|own| row.values.get(own).is_some_and(|v| v == value));
        if row.rollup == rollup && row.dimension == set && is_of {
            let other = own.map_or(0, |own| 1 - own.min(1));
            let name = row.values.get(other).cloned().unwrap_or_default();
            sums.entry(name).or_default().merge(&row.cell);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions::{DefinitionsSpec, SetSpec};

    #[test]
    fn a_total_is_cut_by_the_groups_and_a_team_by_the_pairs_with_it() {
        let mut spec = DefinitionsSpec::default();
        spec.groups.push(SetSpec {
            by: vec!["owner".into(), "team".into()],
            every: vec!["day".into()],
        });
        let catalogue = Catalogue::new(spec).unwrap();
        let cuts = |series: &WatchedSeries| -> Vec<(String, &str, Option<usize>)> {
            let sets = 1..catalogue.sets.len();
            let found = sets.filter_map(|set| grouped(&catalogue, set, series));
            found
                .map(|(set, by, own)| (catalogue.set_name(set), by, own))
                .collect()
        };
        let total = cuts(&WatchedSeries::total(Watch::WinRate));
        let by: Vec<&str> = total.iter().map(|(_, by, _)| *by).collect();
        assert_eq!(by, ["source", "owner", "lost_reason"]);
        let team = WatchedSeries {
            watch: Watch::WinRate,
            dimension: "team".into(),
            value: "emea".into(),
        };
        assert_eq!(cuts(&team), [("owner,team".to_owned(), "owner", Some(1))]);
        let row = |owner: &str, team: &str| {
            let mut cell = Cell::default();
            cell.count(1, 2);
            CellOfDays {
                rollup: "win_rate.closed".into(),
                dimension: "owner,team".into(),
                values: vec![owner.into(), team.into()],
                cell,
            }
        };
        let rows = [row("ana", "emea"), row("ben", "apac"), row("ana", "emea")];
        let sums = sum_by_value(&rows, "win_rate.closed", "owner,team", Some(1), "emea");
        assert_eq!(sums.keys().collect::<Vec<_>>(), ["ana"]);
        assert_eq!(sums["ana"].counted(1), 4);
    }
}
