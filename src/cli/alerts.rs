//! `dealpulse alerts`: thresholds from an organisation's own history, and when alerts would have
//! fired over it.

mod show;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use chrono::Utc;

use super::files::{FileOptions, Folded, fold_files};
use super::report::inputs::Tally;
use super::report::print;
use super::report::rejects::Counts;
use super::stored::{epoch, open};
use crate::alert::calibrate::{self, Null};
use crate::alert::history::newest_day;
use crate::alert::status::{Episode, Series};
use crate::alert::{Daily, History, Likelihood, Phases, Threshold, Watch, WatchedSeries};
use crate::clickhouse::{Calibrated, ClickHouse};
use crate::event::When;
use crate::metric::{self, Catalogue};
use crate::pipeline::Epoch;
use crate::pipeline::catalogue::is_shown;
use crate::serve::watched::phases_of;
use crate::window::calendar::civil;
use crate::window::rolling::Now;
use crate::window::{Calendar, Day};

/// Calibrate alerts, and replay them over history
#[derive(Debug, clap::Args)]
pub struct Alerts {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Set each series' threshold from its own history, to at most 0.25 false episodes a year
    ///
    /// Draws histories in which nothing happens from the days of the last two years (a block
    /// bootstrap), runs the detector over them and takes the lowest threshold that keeps the
    /// promise. Prints what was found for every watched series, and writes it to the table
    /// alert_thresholds, which a running pipeline reads within ten minutes. See docs/alerts.md.
    Calibrate(Calibrate),
    /// Show when alerts would have fired over the stored history, or over files
    Replay(Replay),
}

/// What both commands read.
#[derive(Debug, clap::Args)]
struct Inputs {
    /// Files of events (NDJSON, one CloudEvents message a line), or CSV tables that --mapping
    /// explains; - is standard input [default: the database of --config]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The configuration, whose database is read if no files are given
    #[arg(long, default_value = "dealpulse.toml", conflicts_with = "files")]
    config: PathBuf,
    /// When tables without a time column were exported: a date or an RFC 3339 instant
    #[arg(long, value_name = "TIME", requires = "files")]
    as_of: Option<String>,
    /// How files are read
    #[command(flatten)]
    options: FileOptions,
    /// The last day [default: the last full one]
    #[arg(long, value_name = "DAY")]
    to: Option<String>,
    /// How many values of a dimension are watched
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// Print one JSON object instead of tables
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Calibrate {
    #[command(flatten)]
    inputs: Inputs,
    /// How many histories of a year are drawn for each series
    #[arg(long, value_name = "N", default_value_t = 400)]
    histories: usize,
    /// Print only, write nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
struct Replay {
    #[command(flatten)]
    inputs: Inputs,
    /// Only alerts that begin on this day or later [default: the first day that can be judged]
    #[arg(long, value_name = "DAY")]
    from: Option<String>,
}

/// The watched series, with where they are from.
struct Read {
    clickhouse: ClickHouse,
    epoch: u32,
    definitions: Arc<Catalogue>,
    series: Vec<(WatchedSeries, Daily)>,
    phases: Phases,
    calibrated: Vec<Calibrated>,
    /// The last day.
    newest: Day,
    /// What was read of files, and the database they were folded into.
    folded: Option<Folded>,
}

impl Read {
    fn input(&self) -> Option<(&Tally, &Counts)> {
        let folded = self.folded.as_ref()?;
        Some((&folded.tally, &folded.rejected))
    }
}

/// A series with its calibration; `None` if its history is too short for one.
struct Found {
    series: WatchedSeries,
    calibrated: Option<Calibrated>,
    threshold: Threshold,
}

/// A series with when it alerted.
struct Replayed {
    series: WatchedSeries,
    threshold: Threshold,
    episodes: Vec<Episode>,
}

/// Runs the command.
///
/// # Errors
/// If the files or the database can't be read or written, or there is no history. Nothing is
/// printed then.
pub async fn run(args: Alerts) -> Result<()> {
    match args.command {
        Command::Calibrate(args) => calibrate(args).await,
        Command::Replay(args) => replay(args).await,
    }
}

async fn calibrate(args: Calibrate) -> Result<()> {
    ensure!(args.histories > 0, "--histories: draw at least one");
    let read = read(&args.inputs).await?;
    if read.folded.is_none() && !args.dry_run {
        ensure!(
            read.clickhouse.keeps_thresholds().await?,
            "the database `{}` has no table alert_thresholds yet: `dealpulse run` of this version makes it when it starts; --dry-run only prints",
            read.clickhouse.database()
        );
    }
    let of_series = read.series.iter();
    let found: Vec<Found> = of_series
        .filter_map(|(name, daily)| calibrated(name, daily, &read, args.histories))
        .collect();
    if !args.dry_run {
        let rows: Vec<Calibrated> = found.iter().filter_map(|f| f.calibrated.clone()).collect();
        let at = Utc::now().timestamp_micros();
        read.clickhouse
            .insert_thresholds(read.epoch, at, &rows)
            .await?;
    }
    match args.inputs.json {
        true => print(&format!("{:#}\n", show::calibrated_to_json(&read, &found))),
        false => print(&show::calibrated_to_text(&read, &found, args.dry_run)),
    }
}

fn calibrated(name: &WatchedSeries, daily: &Daily, read: &Read, histories: usize) -> Option<Found> {
    let series = Series::new(name.watch, daily, &read.phases)?;
    let uncalibrated = series.threshold(None);
    let status = series.status(uncalibrated)?;
    let likelihood: Likelihood = name.watch.likelihood();
    let calibration = (daily.days.len() >= calibrate::LEAST).then(|| {
        let calendar: &Calendar = &read.definitions.calendar;
        let phases = calibrate::phases(calendar, daily.end(), daily.days.len());
        // The same seed for all: the same counts give the same threshold.
        Null::draw(
            likelihood,
            daily,
            &read.phases,
            &series.fit,
            &phases,
            histories,
            1,
        )
        .calibrate()
    });
    Some(Found {
        series: name.clone(),
        threshold: series.threshold(calibration),
        calibrated: calibration.map(|calibration| Calibrated {
            series: name.clone(),
            calibration,
            newest_day: status.newest,
            dispersion: status.dispersion,
            baseline_sample: status.baseline_sample,
            baseline_quarters: status.baseline_quarters,
        }),
    })
}

async fn replay(args: Replay) -> Result<()> {
    let from = args.from.as_deref().map(|text| day(text, "--from"));
    let from = from.transpose()?.unwrap_or(Day::MIN);
    let read = read(&args.inputs).await?;
    let of_series = read.series.iter().filter_map(|(name, daily)| {
        let series = Series::new(name.watch, daily, &read.phases)?;
        let stored = read.calibrated.iter().find(|row| row.series == *name);
        let threshold = series.threshold(stored.map(|row| row.calibration));
        let mut episodes = series.episodes(threshold);
        episodes.retain(|episode| episode.at_start.newest >= from);
        Some(Replayed {
            series: name.clone(),
            threshold,
            episodes,
        })
    });
    let replayed: Vec<Replayed> = of_series.collect();
    match args.inputs.json {
        true => print(&format!("{:#}\n", show::replayed_to_json(&read, &replayed))),
        false => print(&show::replayed_to_text(&read, &replayed)),
    }
}

/// A database with history in it.
struct Database {
    clickhouse: ClickHouse,
    epoch: Epoch,
    definitions: Arc<Catalogue>,
    /// Where its history ends (µs).
    end: i64,
    folded: Option<Folded>,
}

async fn database(args: &Inputs) -> Result<Database> {
    if args.files.is_empty() {
        let (_, clickhouse) = open(&args.config)?;
        let (epoch, live) = epoch(&clickhouse, None).await?;
        return Ok(Database {
            clickhouse,
            epoch,
            definitions: live.definitions,
            end: Utc::now().timestamp_micros(),
            folded: None,
        });
    }
    let folded = fold_files(&args.files, &args.options, args.as_of.as_deref()).await?;
    Ok(Database {
        clickhouse: folded.clickhouse.clone(),
        epoch: folded.epoch.clone(),
        definitions: folded.definitions.clone(),
        end: folded.last_instant.unwrap_or_default(),
        folded: Some(folded),
    })
}

async fn read(args: &Inputs) -> Result<Read> {
    let to = args.to.as_deref().map(|text| day(text, "--to"));
    let to = to.transpose()?;
    let Database {
        clickhouse,
        epoch,
        definitions,
        end,
        folded,
    } = database(args).await?;
    let program = metric::versions(&epoch.definitions);
    let is_shown = |metric: &str| is_shown(&epoch, metric, &program);
    let mut history = History::new(&definitions, is_shown);
    // All there is: a replay shows it, and a calibration takes of it what it needs.
    clickhouse
        .watched_days(epoch.epoch, 0, &mut history)
        .await?;
    let calendar = &definitions.calendar;
    let end = match to {
        Some(day) => day + 1,
        // The last day on which anything was counted may not be over.
        None => history
            .last_day(calendar.day(When::Instant(end)))
            .context("no lead or deal has a date, so there is no history to look at")?,
    };
    let now = calendar.day_start(end).saturating_mul(1_000_000);
    let now = Now {
        now,
        watermark: now,
    };
    let newest = |watch: Watch| newest_day(&definitions, watch, now);
    let series = history.series(newest, args.top);
    ensure!(
        !series.is_empty(),
        "there are less than four weeks of history before {}: nothing to compare with",
        civil(end)
    );
    let calibrated = match clickhouse.keeps_thresholds().await? {
        true => clickhouse.thresholds(epoch.epoch).await?,
        false => Vec::new(),
    };
    Ok(Read {
        phases: phases_of(&definitions, &series),
        newest: newest(Watch::WinRate),
        clickhouse,
        epoch: epoch.epoch,
        series,
        calibrated,
        folded,
        definitions,
    })
}

fn day(text: &str, option: &str) -> Result<Day> {
    match When::parse(text) {
        Some(When::Date(day)) => Ok(day),
        _ => Err(anyhow!(
            "{option} `{text}` is no day: write a date like 2026-03-04"
        )),
    }
}
