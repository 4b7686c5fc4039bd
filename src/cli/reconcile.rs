//! `dealpulse reconcile`: every number of an epoch recomputed from the facts, and compared with
//! what is stored.

mod show;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use super::report::print;
use super::stored::{DIFFERS, UNJUDGED, check_countable, epoch, open};
use crate::pipeline::reconcile::{Findings, Pace, reconcile, shards};

/// Recompute every number from the facts and compare it with what is stored; also beside a running
/// pipeline
///
/// Ends with 0 if all values are equal, with 4 if some differ, with 5 if none differs for certain
/// but some were in motion, with 1 on an error.
#[derive(Debug, clap::Args)]
pub struct Reconcile {
    /// The configuration
    #[arg(long, default_value = "dealpulse.toml")]
    pub config: PathBuf,
    /// The epoch [default: the current one]
    #[arg(long, value_name = "N")]
    pub epoch: Option<u32>,
    /// How many differing cells are listed
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub show: usize,
    /// Print one JSON object instead of tables
    #[arg(long)]
    pub json: bool,
}

/// Reconciles shard by shard, and prints what was found.
///
/// # Errors
/// If the configuration, the database or a fact can't be read. Nothing is printed then.
pub async fn run(args: Reconcile) -> Result<ExitCode> {
    let (config, clickhouse) = open(&args.config)?;
    let (epoch, live) = epoch(&clickhouse, args.epoch).await?;
    check_countable(&clickhouse, &epoch).await?;
    let pace = Backoff(Duration::from_secs(10) + 2 * config.flush_interval);
    let mut findings = Findings::default();
    for shard in shards(&epoch, &clickhouse).await? {
        findings.merge(reconcile(shard, &epoch, &live, &clickhouse, &pace).await?);
    }
    for list in [&mut findings.drift, &mut findings.in_motion] {
        list.sort_by(|a, b| {
            (a.name.pane.start, &a.name, a.shard).cmp(&(b.name.pane.start, &b.name, b.shard))
        });
    }
    match args.json {
        true => print(&format!(
            "{:#}\n",
            show::to_json(&epoch, &live.definitions, &findings, args.show)
        ))?,
        false => print(&show::to_text(
            &epoch,
            &live.definitions,
            &findings,
            args.show,
        ))?,
    }
    Ok(
        match (findings.drift.is_empty(), findings.in_motion.is_empty()) {
            (false, _) => ExitCode::from(DIFFERS),
            (true, false) => ExitCode::from(UNJUDGED),
            (true, true) => ExitCode::SUCCESS,
        },
    )
}

/// How long a checkpoint is waited for: some flushes, also slow ones.
struct Backoff(Duration);

impl Pace for Backoff {
    async fn wait(&self, attempt: u32) -> bool {
        const STEP: Duration = Duration::from_millis(100);
        tokio::time::sleep(STEP).await;
        STEP * attempt < self.0
    }
}
