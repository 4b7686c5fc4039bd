//! `dealpulse dlq`: lists dead letters, and replays those that can be read by now.

mod list;
mod replay;
mod show;

use std::path::PathBuf;

use anyhow::Result;

use crate::config::Config;
use crate::event::decode::Reason;
use crate::kafka::dead_letter::DeadLetter;
use crate::kafka::dead_letter::read::At;

/// List dead letters, and replay those that can be decoded now
#[derive(Debug, clap::Args)]
pub struct Dlq {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the open dead letters: the position, origin, reason and first bytes of each
    List(List),
    /// Replay the dead letters that can be read by now: with the present configuration, clock and
    /// version
    Replay(Replay),
}

/// The options of both commands.
#[derive(Debug, clap::Args)]
struct Chosen {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "dealpulse.toml")]
    config: PathBuf,
    /// Only dead letters with this reason; may be given several times
    #[arg(long = "reason", value_name = "REASON", value_parser = reason)]
    reasons: Vec<Reason>,
    /// Only dead letters that came from this topic
    #[arg(long)]
    topic: Option<String>,
}

impl Chosen {
    fn config(&self) -> Result<Config> {
        Ok(Config::load(&self.config, &std::env::vars().collect())?)
    }

    /// Whether a dead letter is meant: one that stands for many items by the reason of any of them.
    fn means(&self, dead_letter: &DeadLetter) -> bool {
        let counts = dead_letter.counts();
        let has = |chosen: &Reason| counts.iter().any(|(reason, _)| *reason == chosen.name());
        let is_reason = self.reasons.is_empty() || self.reasons.iter().any(has);
        let topic = self.topic.as_deref();
        is_reason && topic.is_none_or(|chosen| chosen == dead_letter.topic)
    }
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    chosen: Chosen,
    /// Also those that were replayed, and those that were dead-lettered twice
    #[arg(long)]
    all: bool,
    /// Show so many at most; the summary counts all
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print one JSON object a line, with all of the bytes, and no summary
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Replay {
    #[command(flatten)]
    chosen: Chosen,
    /// Only the dead letter at this position, as `dlq list` shows it; may be given several times
    #[arg(long = "dead-letter", value_name = "PARTITION:OFFSET")]
    dead_letters: Vec<At>,
    /// Print what would happen, and write nothing
    #[arg(long)]
    dry_run: bool,
}

fn reason(name: &str) -> Result<Reason, String> {
    Reason::from_name(name).ok_or_else(|| {
        format!(
            "there is no such reason; there are {}",
            Reason::ALL.map(Reason::name).join(", ")
        )
    })
}

/// Lists or replays.
///
/// # Errors
/// A configuration that is refused, a Kafka that does not answer, or dead letters that were not
/// taken back.
pub async fn run(args: Dlq) -> Result<()> {
    // Kafka's consumer blocks.
    tokio::task::spawn_blocking(move || match args.command {
        Command::List(args) => list::run(&args),
        Command::Replay(args) => replay::run(&args),
    })
    .await?
}
