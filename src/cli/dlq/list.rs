//! `dealpulse dlq list`.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Write};

use anyhow::{Context, Result};

use super::{List, show};
use crate::kafka::dead_letter::read::{DeadLetters, State, StoredDeadLetter};

/// Shows the dead letters that are meant.
pub fn run(args: &List) -> Result<()> {
    let config = args.chosen.config()?;
    let dead_letters = DeadLetters::open(&config.kafka, &config.dead_letters)?;
    match print(
        args,
        &dead_letters,
        &config.dead_letters,
        &mut io::BufWriter::new(io::stdout().lock()),
    ) {
        // A reader that has seen enough (`| head`) ends it without an error.
        Err(error)
            if error
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe) =>
        {
            Ok(())
        }
        done => done.context("can't list the dead letters"),
    }
}

fn print(args: &List, dead_letters: &DeadLetters, topic: &str, out: &mut impl Write) -> Result<()> {
    let (mut counts, mut found) = (show::Counts::new(), 0);
    dead_letters.each(|stored: StoredDeadLetter| {
        if !is_meant(args, &stored) {
            return Ok(());
        }
        found += 1;
        for (reason, count) in stored.dead_letter.counts() {
            *counts
                .entry((stored.dead_letter.topic.clone(), reason.to_owned()))
                .or_insert_with(BTreeMap::new)
                .entry(stored.state)
                .or_default() += count;
        }
        match (found > args.limit.unwrap_or(usize::MAX), args.json) {
            (true, _) => Ok(()),
            (false, true) => Ok::<_, anyhow::Error>(writeln!(out, "{}", show::json(&stored))?),
            (false, false) => Ok(writeln!(out, "{}", show::text(&stored))?),
        }
    })?;
    if dead_letters.foreign() > 0 {
        eprintln!(
            "{} messages of `{topic}` are no dead letters of Dealpulse; they are passed over",
            dead_letters.foreign()
        );
    }
    if !args.json {
        let shown = found.min(args.limit.unwrap_or(usize::MAX));
        write!(
            out,
            "{}",
            show::summary(&counts, topic, found - shown, args.all)
        )?;
    }
    Ok(out.flush()?)
}

fn is_meant(args: &List, stored: &StoredDeadLetter) -> bool {
    (args.all || stored.state == State::Open) && args.chosen.means(&stored.dead_letter)
}
