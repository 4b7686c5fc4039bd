//! `dealpulse clv`: what every customer is expected to buy, from the payments so far.

mod show;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use chrono::Utc;

use super::files::{FileOptions, Folded, fold_files, read_as_of};
use super::report::inputs::Tally;
use super::report::print;
use super::report::rejects::Counts;
use super::stored::{check_countable, epoch, open};
use crate::clickhouse::{ClickHouse, LifetimeRun};
use crate::event::When;
use crate::lifetime::{Estimates, Horizon, estimate};
use crate::metric::Catalogue;
use crate::pipeline::Epoch;
use crate::pipeline::payments::payments;

/// Predict what every customer will still buy, from the payments in files or in the database of a
/// pipeline
///
/// Fits a BG/NBD model to when accounts paid and a Gamma-Gamma model to how much, one of each a
/// currency, prints them with what they expect, and writes that to the tables clv_runs and
/// clv_accounts; the view clv_predicted has the newest run. See docs/lifetime.md.
#[derive(Debug, clap::Args)]
pub struct Clv {
    /// Files of events (NDJSON, one CloudEvents message a line), or CSV tables that --mapping
    /// explains; - is standard input [default: the database of --config]
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The configuration, whose database is read if no files are given
    #[arg(long, default_value = "dealpulse.toml", conflicts_with = "files")]
    pub config: PathBuf,
    /// The last day observed: a date, or the local day of an RFC 3339 instant; also when tables
    /// without a time column were exported [default: the day of the last payment]
    #[arg(long, value_name = "TIME")]
    pub as_of: Option<String>,
    /// How many weeks from then on are predicted, at most 1044
    #[arg(long, value_name = "WEEKS", default_value_t = 52.0)]
    pub horizon: f64,
    /// By how much money is worth less a year later: 0.1 makes 110 in a year worth 100 now
    #[arg(long, value_name = "RATE", default_value_t = 0.0)]
    pub discount: f64,
    /// How many accounts of each currency are listed
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub show: usize,
    /// How files are read
    #[command(flatten)]
    pub options: FileOptions,
    /// Print one JSON object instead of tables
    #[arg(long)]
    pub json: bool,
}

/// What is shown of a run.
struct Shown<'s> {
    estimates: &'s Estimates,
    horizon: &'s Horizon,
    time_zone: &'s str,
    /// What was read of files, if there are some.
    input: Option<(&'s Tally, &'s Counts)>,
    /// How many accounts are listed.
    most: usize,
}

/// Reads the payments, fits, writes and prints.
///
/// # Errors
/// If the files or the database can't be read or written, or no account has bought anything.
/// Nothing is printed then.
pub async fn run(args: Clv) -> Result<()> {
    let horizon = Horizon::new(args.horizon, args.discount).context("--horizon and --discount")?;
    if args.files.is_empty() {
        let (_, clickhouse) = open(&args.config)?;
        let (epoch, live) = epoch(&clickhouse, None).await?;
        check_countable(&clickhouse, &epoch).await?;
        ensure!(
            clickhouse.keeps_lifetimes().await?,
            "the database `{}` has no table clv_runs yet: `dealpulse run` of this version makes it when it starts",
            clickhouse.database()
        );
        return predict(
            &args,
            &horizon,
            &clickhouse,
            &epoch,
            &live.definitions,
            None,
        )
        .await;
    }
    let folded = fold_files(&args.files, &args.options, args.as_of.as_deref()).await?;
    let Folded {
        clickhouse,
        epoch,
        definitions,
        tally,
        rejected,
        ..
    } = &folded;
    let input = Some((tally, rejected));
    predict(&args, &horizon, clickhouse, epoch, definitions, input).await
}

async fn predict(
    args: &Clv,
    horizon: &Horizon,
    clickhouse: &ClickHouse,
    epoch: &Epoch,
    definitions: &Catalogue,
    input: Option<(&Tally, &Counts)>,
) -> Result<()> {
    let calendar = &definitions.calendar;
    let as_of = args.as_of.as_deref();
    let end = as_of.map(|text| read_as_of(text, calendar)).transpose()?;
    let end = end.map(|end| calendar.day(When::Instant(end)));
    let payments = payments(epoch, calendar, clickhouse).await?;
    let estimates = estimate(payments, end, horizon)
        .context("no account has paid anything, so there are no customers to predict")?;
    let run = LifetimeRun {
        at: Utc::now().timestamp_micros(),
        epoch,
        horizon,
        estimates: &estimates,
    };
    clickhouse.insert_lifetimes(&run).await?;
    let shown = Shown {
        estimates: &estimates,
        horizon,
        time_zone: &definitions.spec.time_zone,
        input,
        most: args.show,
    };
    match args.json {
        true => print(&format!("{:#}\n", show::to_json(&shown))),
        false => print(&show::to_text(&shown)),
    }
}
