//! `dealpulse check`: what a configuration asks for, before it is run: whether it is sound, and how
//! many cells each group takes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::{Value, json};

mod sample;

use super::report::grid::{Cell, Grid, grouped};
use super::report::print;
use super::stored::{DIFFERS, epoch, open};
use crate::clickhouse::{ClickHouse, migrate::kept_cells};
use crate::metric::Catalogue;
use crate::pipeline::Epoch;
use crate::window::{Dimension, Grain};
use sample::Samples;

/// Check a configuration, and estimate the cells and the memory of its groups from the records in
/// its database
///
/// Ends with 0 if it is sound, with 4 if a group is finer than the records it sums up or something
/// of the samples can't be read, with 1 if it can't be used.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// The configuration
    #[arg(long, default_value = "dealpulse.toml")]
    pub config: PathBuf,
    /// Ask no database: check the configuration alone
    #[arg(long)]
    pub offline: bool,
    /// Messages of the topics, one a line as for `explain`: name every mapped field that none of
    /// them has, and what could not be read
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub sample: Vec<PathBuf>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Memory a cell takes in the mean, with all it holds (docs/benchmarks.md).
const BYTES_A_CELL: u64 = 120;

/// What a group takes.
struct Group {
    name: String,
    /// The metrics that are kept for it.
    metrics: Vec<&'static str>,
    /// Its cells, and those of the rollup that has most.
    cells: Option<Estimate>,
}

#[derive(Clone, Copy)]
struct Estimate {
    all: u64,
    most: u64,
    /// Counted in the database, not estimated.
    is_stored: bool,
}

/// Checks and prints.
///
/// # Errors
/// If the configuration can't be used, or the database can't be read. Nothing is printed then.
pub async fn run(args: Check) -> Result<ExitCode> {
    let (config, clickhouse) = open(&args.config)?;
    let catalogue = Catalogue::new(config.definitions.clone()).context("the definitions")?;
    let samples = match args.sample.is_empty() {
        true => None,
        false => Some(Samples::read(&args.sample, &config)?),
    };
    let mut groups: Vec<Group> = (0..catalogue.sets.len())
        .map(|set| Group {
            name: catalogue.set_name(set),
            metrics: metrics_of(&catalogue, set),
            cells: None,
        })
        .collect();
    let mut records = None;
    if !args.offline {
        let (epoch, _) = epoch(&clickhouse, None).await?;
        let database = Database::read(&clickhouse, &epoch, &catalogue).await?;
        for (set, group) in groups.iter_mut().enumerate() {
            group.cells = database.cells_of(&clickhouse, &catalogue, set).await?;
        }
        records = Some(database.records);
    }
    let is_too_fine = |group: &Group| match (group.cells, records) {
        (Some(cells), Some(records)) => cells.most > records,
        _ => false,
    };
    let are_read = samples.as_ref().is_none_or(Samples::are_read);
    let code = match are_read && !groups.iter().any(is_too_fine) {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(DIFFERS),
    };
    if args.json {
        let groups = groups.iter().map(|group| {
            json!({
                "group": group.name,
                "metrics": group.metrics,
                "cells": group.cells.map(|cells| cells.all),
                "bytes": group.cells.map(|cells| cells.all * BYTES_A_CELL),
                "estimated": group.cells.map(|cells| !cells.is_stored),
                "too_fine": is_too_fine(group),
            })
        });
        let groups: Vec<Value> = groups.collect();
        print(&format!(
            "{:#}\n",
            json!({
                "records": records,
                "groups": groups,
                "samples": samples.as_ref().map(Samples::to_json),
            })
        ))?;
    } else {
        let samples = samples.as_ref().map(Samples::to_text);
        let text = to_text(&args, &groups, records, is_too_fine);
        print(&(text + &samples.unwrap_or_default()))?;
    }
    Ok(code)
}

fn to_text(
    args: &Check,
    groups: &[Group],
    records: Option<u64>,
    is_too_fine: impl Fn(&Group) -> bool,
) -> String {
    let mut out = format!("{}: sound\n", args.config.display());
    if let Some(records) = records {
        out += &format!("{} deals and leads\n", grouped(&records.to_string()));
    }
    let mut grid = Grid::new(["group", "metrics", "cells", "MB", ""]);
    let cell = |text: String, is_nothing| Cell { text, is_nothing };
    for group in groups {
        let name = if group.name.is_empty() {
            "(total)"
        } else {
            &group.name
        };
        let cells = group.cells.map_or_else(String::new, |cells| {
            let about = if cells.is_stored { "" } else { "about " };
            format!("{about}{}", grouped(&cells.all.to_string()))
        });
        let megabytes = group.cells.map_or_else(String::new, |cells| {
            format!("{:.1}", (cells.all * BYTES_A_CELL) as f64 / 1e6)
        });
        let verdict = if is_too_fine(group) { "too fine" } else { "" };
        let row = [
            group.metrics.len().to_string(),
            cells,
            megabytes,
            verdict.into(),
        ];
        grid.row(name, row.map(|text| cell(text.clone(), text.is_empty())));
    }
    out += &grid.without_empty_columns().show();
    if groups.iter().any(is_too_fine) {
        out += "\nA group that is too fine has more cells than there are records: cross fewer dimensions, or ask the facts instead.\n";
    }
    out
}

/// The metrics that are kept for a grouping set.
fn metrics_of(catalogue: &Catalogue, set: usize) -> Vec<&'static str> {
    let kept = catalogue.rollups_of(set);
    let kept: BTreeSet<&str> = kept
        .filter_map(|r| Some(r.name.split_once('.')?.0))
        .collect();
    let names = catalogue.metrics().map(|metric| metric.name());
    names.filter(|name| kept.contains(name)).collect()
}

/// What a database holds.
struct Database {
    generation: u32,
    /// Live deals and leads.
    records: u64,
    /// Cells by grouping set, then by rollup and grain.
    cells: BTreeMap<String, BTreeMap<(String, String), u64>>,
}

impl Database {
    async fn read(
        clickhouse: &ClickHouse,
        epoch: &Epoch,
        catalogue: &Catalogue,
    ) -> Result<Database> {
        let sql = format!(
            "SELECT dimension, series, toString(grain), toString(count()) FROM (SELECT dimension, series, grain FROM rollups AS r FINAL
            WHERE epoch = {} AND {} AND (arrayExists(c -> c != 0, counts) OR arrayExists(s -> s != 0, sums)) GROUP BY dimension, series, grain, pane, value, currency) GROUP BY ALL",
            epoch.epoch,
            kept_cells(catalogue)
        );
        let mut cells: BTreeMap<String, BTreeMap<(String, String), u64>> = BTreeMap::new();
        for row in texts(clickhouse, &sql).await? {
            if let [dimension, series, grain, count] = &row[..] {
                let of_set = cells.entry(dimension.clone()).or_default();
                of_set.insert((series.clone(), grain.clone()), count.parse()?);
            }
        }
        let live = |table| {
            format!(
                "(SELECT count() FROM {table} FINAL WHERE generation = {} AND deleted = 0 AND merged_into = '')",
                epoch.generation
            )
        };
        let sql = format!("SELECT toString({} + {})", live("deals"), live("leads"));
        let records = texts(clickhouse, &sql).await?;
        let records = records.first().and_then(|row| row.first());
        Ok(Database {
            generation: epoch.generation,
            records: records.context("counting the records")?.parse()?,
            cells,
        })
    }

    /// The cells of a grouping set: those stored, else as many times those of the total as a day's
    /// deals have combinations of its values. Of what has no total, as many times those by the
    /// dimension it is always cut by as there are combinations to each of its values.
    async fn cells_of(
        &self,
        clickhouse: &ClickHouse,
        catalogue: &Catalogue,
        set: usize,
    ) -> Result<Option<Estimate>> {
        let of = |cells: &BTreeMap<(String, String), u64>, times: f64, is_stored| {
            let counted = cells.values().map(|cells| (*cells as f64 * times) as u64);
            Estimate {
                all: counted.clone().sum(),
                most: counted.max().unwrap_or(0),
                is_stored,
            }
        };
        if let Some(stored) = self.cells.get(&catalogue.set_name(set)) {
            return Ok(Some(of(stored, 1.0, true)));
        }
        let dimensions = &catalogue.sets[set].dimensions;
        let Some(wanted) = columns(catalogue, dimensions).filter(|_| set != 0) else {
            return Ok(None);
        };
        let grains: Vec<&str> = catalogue.sets[set]
            .grains
            .iter()
            .map(|grain| grain.name())
            .chain([Grain::Month.name()])
            .collect();
        let mut estimate = Estimate {
            all: 0,
            most: 0,
            is_stored: false,
        };
        let always = catalogue.rollups_of(set).map(|r| r.cut_by.always());
        for base in always.collect::<BTreeSet<_>>() {
            let name = base.map_or_else(String::new, |d| catalogue.dimension_name(d));
            let Some(stored) = self.cells.get(&name) else {
                continue;
            };
            let Some(there) = columns(catalogue, base.as_slice()) else {
                continue;
            };
            let sql = format!(
                "SELECT toString(uniqExact({wanted}) / greatest(uniqExact({there}), 1))
                FROM (SELECT *, toDate(coalesce(closed_at, created_at)) AS day FROM deals FINAL WHERE generation = {} AND deleted = 0)",
                self.generation
            );
            let times = texts(clickhouse, &sql).await?;
            let times = times.first().and_then(|row| row.first());
            let times: f64 = times.context("counting combinations")?.parse()?;
            let based = catalogue.rollups_of(set);
            let based = based.filter(|rollup| rollup.cut_by.always() == base);
            let names: Vec<&str> = based.map(|rollup| &*rollup.name).collect();
            let cells = stored.iter().filter(|((series, grain), _)| {
                names.contains(&series.as_str()) && grains.contains(&grain.as_str())
            });
            let cells = cells.map(|(key, count)| (key.clone(), *count)).collect();
            let cells = of(&cells, times, false);
            estimate.all += cells.all;
            estimate.most = estimate.most.max(cells.most);
        }
        Ok(Some(estimate))
    }
}

/// The columns of deals by which these dimensions cut, and the day; none if one of them is no
/// deal's.
fn columns(catalogue: &Catalogue, dimensions: &[Dimension]) -> Option<String> {
    let dimensions = dimensions.iter();
    let columns = dimensions
        .map(|dimension| {
            let name = catalogue.dimension_name(*dimension);
            Some(match name.as_str() {
                "source" => "lead_source".into(),
                "owner" => "owner_id".into(),
                "segment" => return None,
                name => match name.strip_prefix("custom.") {
                    Some(field) => {
                        format!(
                            "custom['{}']",
                            field.replace('\\', r"\\").replace('\'', r"\'")
                        )
                    }
                    None => name.to_owned(),
                },
            })
        })
        .chain([Some("day".to_owned())]);
    let columns: Option<Vec<String>> = columns.collect();
    columns.map(|columns| columns.join(", "))
}

/// The rows of a query whose columns are texts.
async fn texts(clickhouse: &ClickHouse, sql: &str) -> Result<Vec<Vec<String>>> {
    let text = clickhouse
        .fetch("estimating the cells", sql, "JSONCompactEachRow")
        .await?;
    let lines = String::from_utf8_lossy(&text).into_owned();
    let rows = lines.lines().map(serde_json::from_str);
    rows.collect::<Result<_, _>>()
        .context("estimating the cells")
}
