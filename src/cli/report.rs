//! `dealpulse report`: one shot over files through the same engine, with a log in memory in place of Kafka and the embedded ClickHouse.

mod answer;
pub(super) mod grid;
pub(super) mod inputs;
pub(super) mod rejects;
mod table;
mod tables;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::clickhouse::{Access, ClickHouse, migrate::migrate};
use crate::definitions::DefinitionsSpec;
use crate::event::When;
use crate::event::mapping::Mapping;
use crate::local::clickhouse_child::ClickhouseChild;
use crate::metric::{Catalogue, versions};
use crate::pipeline::memory::MemoryLog;
use crate::pipeline::owner::Owner;
use crate::pipeline::restart::restore;
use crate::pipeline::run_to_completion::run_to_completion;
use crate::pipeline::{Epoch, Store};
use crate::record::SCHEMA;
use crate::window::Calendar;
use answer::Answer;
use inputs::Inputs;
use rejects::Rejects;

/// How many shards a report folds in: enough to go the same way as the pipeline, links between shards included.
const SHARDS: u32 = 4;
const EPOCH: u32 = 1;
const GENERATION: u32 = 1;
/// Pieces of input between two settlings: what bounds the memory the log takes.
const PIECES: usize = 20;

/// Read files and print their metrics: one shot through the same engine, with nothing to install
#[derive(Debug, clap::Args)]
pub struct Report {
    /// Files of events (NDJSON, one CloudEvents message a line), or CSV tables that --mapping explains; - is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// What the columns of CSV files mean (TOML, see docs/mapping.md)
    #[arg(long, value_name = "FILE")]
    pub mapping: Option<PathBuf>,
    /// When tables without a time column were exported: a date or an RFC 3339 instant
    #[arg(long, value_name = "TIME")]
    pub as_of: Option<String>,
    /// The IANA time zone days are read in [default: the mapping's, else UTC]
    #[arg(long, value_name = "ZONE")]
    pub time_zone: Option<String>,
    /// The month (1 to 12) the fiscal year starts in [default: the mapping's, else 1]
    #[arg(long, value_name = "MONTH")]
    pub fiscal_year_start: Option<u32>,
    /// Print one JSON object instead of tables
    #[arg(long)]
    pub json: bool,
    /// Keep the database in this empty or new directory, to be queried with `dealpulse clickhouse-local --data-dir`
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Write every rejected line or row to this file, as NDJSON
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
}

/// Reads, folds, prints.
///
/// # Errors
/// A file that is missing or a mapping that is wrong, before anything is read; nothing that could be read at all; an engine that isn't there.
pub async fn run(args: Report) -> Result<()> {
    let mapping = args.mapping.as_deref().map(read_mapping).transpose()?;
    let definitions = Arc::new(definitions(&args, mapping.as_ref())?);
    let as_of = args
        .as_of
        .as_deref()
        .map(|text| read_as_of(text, &definitions.calendar))
        .transpose()?;
    let rejects = Rejects::new(args.rejects.as_deref())?;
    let mut inputs = Inputs::open(
        &args.files,
        mapping.as_ref(),
        as_of,
        &definitions.calendar,
        rejects,
    )?;
    if let Some(dir) = &args.data_dir {
        check_empty(dir)?;
    }
    let child = ClickhouseChild::spawn(args.data_dir.as_deref())?;
    let clickhouse = ClickHouse::new(&Access {
        url: child.url(),
        database: "dealpulse".into(),
        ..Access::default()
    });
    migrate(&clickhouse, &definitions).await?;
    clickhouse
        .put_epoch(&Epoch::first(definitions.spec.clone(), SHARDS))
        .await?;

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
    // Accounts alone have no instant that ends history; the newest assertion about them does.
    let end = last_instant.or(tally.latest).unwrap_or_default();
    let answer = Answer::read(&clickhouse, EPOCH, &definitions, end).await?;
    if args.json {
        print(&format!("{:#}\n", answer.to_json(&tally, &rejected)))
    } else {
        print(&tables::show(&answer, &tally, &rejected))
    }
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

pub(super) fn read_mapping(path: &Path) -> Result<Mapping> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("can't read the mapping {}", path.display()))?;
    Mapping::parse(&text, &SCHEMA).with_context(|| format!("{} is refused", path.display()))
}

fn definitions(args: &Report, mapping: Option<&Mapping>) -> Result<Catalogue> {
    let written = mapping.and_then(|mapping| mapping.definitions.clone());
    let mut spec: DefinitionsSpec = written.map_or_else(
        || Ok(Default::default()),
        |definitions| {
            definitions
                .try_into()
                .context("the mapping's [definitions] can't be read")
        },
    )?;
    if let Some(zone) = &args.time_zone {
        spec.time_zone.clone_from(zone);
    }
    spec.fiscal_year_start = args.fiscal_year_start.unwrap_or(spec.fiscal_year_start);
    Ok(Catalogue::new(spec)?)
}

pub(super) fn read_as_of(text: &str, calendar: &Calendar) -> Result<i64> {
    let when = When::parse(text).ok_or_else(|| {
        anyhow!("--as-of `{text}` is no time: write a date like 2026-03-04 or 2026-03-04T10:00:00Z")
    })?;
    Ok(calendar.instant(when))
}

/// A database that holds data already was folded from another log; folding this one over it would mix the two.
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

/// A reader that has seen enough (`| head`) ends it without an error.
pub(super) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("can't write to standard output")
        }
        _ => Ok(()),
    }
}
