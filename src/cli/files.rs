//! Files folded in one go, through the same engine as a stream: with a log in memory in place of
//! Kafka, and the embedded ClickHouse. What `report` and `clv` start from.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::dump::ReadingOptions;
use super::report::inputs::{Inputs, Tally};
use super::report::rejects::{Counts, Rejects};
use crate::clickhouse::{Access, ClickHouse, migrate::migrate};
use crate::definitions::{DefinitionsSpec, HoursKept};
use crate::event::When;
use crate::event::mapping::Mapping;
use crate::local::clickhouse_child::ClickhouseChild;
use crate::metric::{Catalogue, versions};
use crate::pipeline::memory::MemoryLog;
use crate::pipeline::owner::Owner;
use crate::pipeline::restart::restore;
use crate::pipeline::run_to_completion::run_to_completion;
use crate::pipeline::{Epoch, Store};
use crate::window::Calendar;

/// How many shards files are folded in: enough to go the same way as the pipeline, links between
/// shards included.
const SHARDS: u32 = 4;
const GENERATION: u32 = 1;
/// Pieces of input between two settlings: what bounds the memory the log takes.
const PIECES: usize = 20;

/// How files are read; all of it needs some.
#[derive(Debug, clap::Args)]
pub struct FileOptions {
    #[command(flatten)]
    pub reading: ReadingOptions,
    /// The IANA time zone days are read in [default: the mapping's, else UTC]
    #[arg(long, value_name = "ZONE", requires = "files")]
    pub time_zone: Option<String>,
    /// The month (1 to 12) the fiscal year starts in [default: the mapping's, else 1]
    #[arg(long, value_name = "MONTH", requires = "files")]
    pub fiscal_year_start: Option<u32>,
    /// Keep the database in this empty or new directory, to be queried with `dealpulse
    /// clickhouse-local --data-dir`
    #[arg(long, value_name = "DIR", requires = "files")]
    pub data_dir: Option<PathBuf>,
    /// Write every rejected line or row to this file, as NDJSON
    #[arg(long, value_name = "FILE", requires = "files")]
    pub rejects: Option<PathBuf>,
}

/// A database that files were folded into. It ends with this.
pub struct Folded {
    /// Its client.
    pub clickhouse: ClickHouse,
    /// The only epoch there is.
    pub epoch: Epoch,
    /// The definitions it was folded by.
    pub definitions: Arc<Catalogue>,
    /// What was read.
    pub tally: Tally,
    /// What could not be.
    pub rejected: Counts,
    /// The last instant anything was created or closed (µs).
    pub last_instant: Option<i64>,
    _engine: ClickhouseChild,
}

/// Folds all of the files. `as_of` is when tables without a time column were exported.
///
/// # Errors
/// A file that is missing or a mapping that is wrong, before anything is read; nothing that could
/// be read at all; an engine that isn't there.
pub async fn fold_files(
    files: &[PathBuf],
    options: &FileOptions,
    as_of: Option<&str>,
) -> Result<Folded> {
    let mapping = options.reading.mapping(None)?;
    let definitions = Arc::new(definitions(options, mapping.as_ref())?);
    let as_of = as_of
        .map(|text| read_as_of(text, &definitions.calendar))
        .transpose()?;
    let rejects = Rejects::new(options.rejects.as_deref())?;
    let calendar = &definitions.calendar;
    let reading = options.reading.reading(mapping, files, calendar)?;
    let mut inputs = Inputs::open(files, &reading, as_of, calendar, rejects)?;
    if let Some(dir) = &options.data_dir {
        check_empty(dir)?;
    }
    let engine = ClickhouseChild::spawn(options.data_dir.as_deref())?;
    let clickhouse = ClickHouse::new(&Access {
        url: engine.url(),
        database: "dealpulse".into(),
        ..Access::default()
    });
    migrate(&clickhouse, &definitions).await?;
    let epoch = Epoch::first(definitions.spec.clone(), SHARDS);
    clickhouse.put_epoch(&epoch).await?;

    let last_instant = fold(&mut inputs, &clickhouse).await?;
    let (tally, rejected) = inputs.finish()?;
    if tally.assertions == 0 {
        let reasons: Vec<String> = rejected
            .iter()
            .map(|(reason, count)| format!("{count} {}", reason.name()))
            .collect();
        let reasons = if reasons.is_empty() {
            "there was nothing in the files".to_owned()
        } else {
            reasons.join(", ")
        };
        bail!(
            "none of {} lines and {} rows could be read: {reasons}",
            tally.lines,
            tally.rows
        );
    }
    Ok(Folded {
        clickhouse,
        epoch,
        definitions,
        tally,
        rejected,
        last_instant,
        _engine: engine,
    })
}

/// Folds all of the input. Gives the last instant anything was created or closed (µs).
async fn fold(inputs: &mut Inputs<'_>, clickhouse: &ClickHouse) -> Result<Option<i64>> {
    let log = MemoryLog::new(SHARDS);
    let mut owners: Vec<Owner> = Vec::new();
    for shard in 0..SHARDS {
        owners.push(restore(shard, GENERATION, &log, clickhouse, versions).await?);
    }
    loop {
        let mut pieces = 0;
        while pieces < PIECES
            && let Some(piece) = inputs.next(SHARDS)?
        {
            log.append_at(piece.messages, piece.time);
            pieces += 1;
        }
        run_to_completion(&mut owners, GENERATION, &log, clickhouse, versions).await?;
        owners
            .iter()
            .for_each(|owner| log.forget(owner.number(), owner.flushed()));
        if pieces < PIECES {
            return Ok(owners
                .iter()
                .filter_map(|owner| owner.shard().last_instant())
                .max());
        }
    }
}

fn definitions(options: &FileOptions, mapping: Option<&Mapping>) -> Result<Catalogue> {
    let written = mapping.and_then(|mapping| mapping.definitions.clone());
    let mut written = written.unwrap_or_else(|| toml::Table::new().into());
    if let toml::Value::Table(written) = &mut written {
        // Windows end where the files do, whenever that was.
        let all = String::from(HoursKept::All);
        written.entry("hours_kept").or_insert(all.into());
    }
    let mut spec: DefinitionsSpec = written
        .try_into()
        .context("the mapping's [definitions] can't be read")?;
    if let Some(zone) = &options.time_zone {
        spec.time_zone.clone_from(zone);
    }
    spec.fiscal_year_start = options.fiscal_year_start.unwrap_or(spec.fiscal_year_start);
    Ok(Catalogue::new(spec)?)
}

pub(super) fn read_as_of(text: &str, calendar: &Calendar) -> Result<i64> {
    let when = When::parse(text).ok_or_else(|| {
        anyhow!("--as-of `{text}` is no time: write a date like 2026-03-04 or 2026-03-04T10:00:00Z")
    })?;
    Ok(calendar.instant(when))
}

/// A database that holds data already was folded from another log; folding this one over it would
/// mix the two.
fn check_empty(dir: &Path) -> Result<()> {
    let is_empty = match fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => {
            return Err(error)
                .with_context(|| format!("can't look into --data-dir {}", dir.display()));
        }
    };
    let shown = dir.display();
    ensure!(
        is_empty,
        "--data-dir {shown} is not empty, and a report starts from nothing: choose a new directory; \
         `dealpulse clickhouse-local --data-dir {shown}` shows a report that was kept"
    );
    Ok(())
}
