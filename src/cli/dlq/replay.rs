//! `dealpulse dlq replay`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::time::Instant;

use anyhow::{Result, bail};
use tokio::runtime::Handle;

use super::{Replay, show};
use crate::config::Config;
use crate::kafka::dead_letter::read::{At, DeadLetters, State, StoredDeadLetter};
use crate::kafka::dead_letter::replay::{self, Verdict, judge};
use crate::kafka::registry::{self, Registry};
use crate::telemetry::wall_clock;

/// How many dead letters are replayed together.
const DEAD_LETTERS: usize = 500;
/// How many bytes of them.
const BYTES: usize = 16 << 20;

/// What became of a dead letter; in the order it is printed in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Replayed,
    StillBad(&'static str),
    Withheld,
    NoTopic,
    Refused(String),
}

/// Replays the selected dead letters that can be decoded; prints the outcome of all.
pub fn run(args: &Replay) -> Result<()> {
    let config = args.chosen.config()?;
    let dead_letters = DeadLetters::open(&config.kafka, &config.dead_letters)?;
    let mut work = Work {
        replay: replay::Replay::new(&config)?,
        registry: Registry::new(config.schema_registry.as_ref())?,
        dry_run: args.dry_run,
        readable: Vec::new(),
        bytes: 0,
        outcomes: BTreeMap::new(),
    };
    let mut missing: BTreeSet<At> = args.dead_letters.iter().copied().collect();
    let done = dead_letters.each(|stored| {
        let is_meant = stored.state == State::Open && args.chosen.means(&stored.dead_letter);
        match is_meant && (args.dead_letters.is_empty() || missing.remove(&stored.at)) {
            true => work.take(stored, &config),
            false => Ok(()),
        }
    });
    let done = done.and_then(|()| work.replay_readable());
    // What was done before something went wrong is printed all the same.
    io::stdout().write_all(work.summary().as_bytes())?;
    done?;
    if let Some(at) = missing.first() {
        bail!(
            "there is no open dead letter at {at}, or --reason or --topic keep it out; `dlq list --all` shows what there is"
        );
    }
    match work.refused() {
        0 => Ok(()),
        refused => bail!("{refused} dead letters were not taken back; they stay open"),
    }
}

struct Work {
    replay: replay::Replay,
    registry: Registry,
    dry_run: bool,
    readable: Vec<StoredDeadLetter>,
    bytes: usize,
    outcomes: BTreeMap<(Outcome, String), u64>,
}

impl Work {
    fn take(&mut self, stored: StoredDeadLetter, config: &Config) -> Result<()> {
        let dead_letter = &stored.dead_letter;
        let mut topics = config.topics.iter();
        if let Some(topic) = topics.find(|topic| topic.name == dead_letter.topic) {
            let message = (dead_letter.key.as_deref(), Some(dead_letter.raw.as_slice()));
            let lacking = self.registry.lacking(topic, message);
            let deadline = Instant::now() + registry::TURN;
            let fetched = self.registry.fetch(&lacking, deadline);
            if let Err(waiting) = Handle::current().block_on(fetched) {
                bail!(
                    "{}; try again when the schema registry answers",
                    waiting.why
                );
            }
        }
        let schemas = self.registry.schemas();
        match judge(dead_letter, &config.topics, schemas, wall_clock()) {
            Verdict::Readable => {
                self.bytes += stored.dead_letter.size();
                self.readable.push(stored);
                if self.readable.len() >= DEAD_LETTERS || self.bytes >= BYTES {
                    self.replay_readable()?;
                }
            }
            Verdict::StillBad(bad) => self.count(Outcome::StillBad(bad.reason.name()), &stored),
            Verdict::Withheld => self.count(Outcome::Withheld, &stored),
            Verdict::NoTopic => self.count(Outcome::NoTopic, &stored),
        }
        Ok(())
    }

    fn replay_readable(&mut self) -> Result<()> {
        let readable = std::mem::take(&mut self.readable);
        self.bytes = 0;
        if self.dry_run {
            readable
                .iter()
                .for_each(|stored| self.count(Outcome::Replayed, stored));
            return Ok(());
        }
        let answers = Handle::current().block_on(self.replay.send_back(&readable))?;
        for (stored, answer) in readable.iter().zip(answers) {
            self.count(
                answer.map_or_else(
                    |error| Outcome::Refused(error.to_string()),
                    |()| Outcome::Replayed,
                ),
                stored,
            );
        }
        Ok(())
    }

    fn count(&mut self, outcome: Outcome, stored: &StoredDeadLetter) {
        *self
            .outcomes
            .entry((outcome, stored.dead_letter.topic.clone()))
            .or_default() += 1;
    }

    fn refused(&self) -> u64 {
        self.outcomes
            .iter()
            .filter(|((outcome, _), _)| matches!(outcome, Outcome::Refused(_)))
            .map(|(_, count)| count)
            .sum()
    }

    /// A line an outcome and topic.
    fn summary(&self) -> String {
        let line = |((outcome, topic), count): (&(Outcome, String), &u64)| {
            let topic = show::safe(topic.as_bytes());
            match outcome {
                Outcome::Replayed if self.dry_run => {
                    format!("{count} of `{topic}` would be replayed\n")
                }
                Outcome::Replayed => format!("{count} of `{topic}` were replayed\n"),
                Outcome::StillBad(reason) => {
                    format!("{count} of `{topic}` are still bad and stay: {reason}\n")
                }
                Outcome::Withheld => format!(
                    "{count} of `{topic}` stay: their bytes were withheld; let the source send these messages again\n"
                ),
                Outcome::NoTopic => format!(
                    "{count} of `{topic}` stay: the topic is not in the configuration; name it under [[topics]]\n"
                ),
                Outcome::Refused(why) => format!("{count} of `{topic}` stay: {why}\n"),
            }
        };
        let lines: String = self.outcomes.iter().map(line).collect();
        if lines.is_empty() {
            "no open dead letter is meant\n".to_owned()
        } else {
            lines
        }
    }
}
