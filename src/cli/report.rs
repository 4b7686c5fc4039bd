//! `dealpulse report`: one shot over files through the same engine, with a log in memory in place
//! of Kafka and the embedded ClickHouse.

mod answer;
pub(super) mod grid;
pub(super) mod inputs;
mod metric_table;
pub(super) mod rejects;
mod table;
mod tables;

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};

use super::files::{FileOptions, fold_files};
use crate::config::{read_rates, reporting_currency};
use answer::Answer;

/// Read files and print their metrics: one shot through the same engine, with nothing to install
#[derive(Debug, clap::Args)]
pub struct Report {
    /// Files of events (NDJSON, one CloudEvents message a line), or CSV tables that --mapping
    /// explains; - is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// When tables without a time column were exported: a date or an RFC 3339 instant
    #[arg(long, value_name = "TIME")]
    pub as_of: Option<String>,
    /// How they are read
    #[command(flatten)]
    pub options: FileOptions,
    /// Show amounts also in this currency, at the rates of the files' `rate` records and of --rates
    #[arg(long, value_name = "CODE", value_parser = reporting_currency)]
    pub reporting_currency: Option<String>,
    /// Exchange rates: a CSV file with the columns day,base,currency,rate
    #[arg(long, value_name = "FILE", requires = "reporting_currency")]
    pub rates: Option<PathBuf>,
    /// Print one JSON object instead of tables
    #[arg(long)]
    pub json: bool,
}

/// Reads, folds, prints.
///
/// # Errors
/// As [`fold_files`]; or what ClickHouse answered.
pub async fn run(args: Report) -> Result<()> {
    let of_file = args.rates.as_deref().map(read_rates).transpose();
    let of_file = of_file.map_err(|problem| anyhow!(problem))?;
    let folded = fold_files(&args.files, &args.options, args.as_of.as_deref()).await?;
    let (tally, rejected) = (&folded.tally, &folded.rejected);
    // Accounts alone have no instant that ends history; the newest assertion about them does.
    let end = folded.last_instant.or(tally.latest).unwrap_or_default();
    let (generation, reporting) = (folded.epoch.generation, args.reporting_currency.as_deref());
    let of_file = of_file.unwrap_or_default();
    let side = folded
        .clickhouse
        .side_inputs(generation, reporting, &of_file);
    let side = side.await?;
    let epoch = folded.epoch.epoch;
    let definitions = &folded.definitions;
    let answer = Answer::read(&folded.clickhouse, epoch, definitions, end, &side).await?;
    if args.json {
        print(&format!("{:#}\n", answer.to_json(tally, rejected)))
    } else {
        print(&tables::show(&answer, tally, rejected))
    }
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
