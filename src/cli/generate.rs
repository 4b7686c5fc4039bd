//! `dealpulse generate`: a sales organisation's events as NDJSON, for trying things without a CRM.

use crate::config::Kafka;
use crate::kafka::feed::Feed;
use crate::local::generate::{Generator, GeneratorConfig};
use crate::telemetry::wall_clock;
use anyhow::{Context, Result, ensure};
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;
use std::time::Duration;

/// Write the events of a generated sales organisation, one CloudEvents JSON per line, in the order
/// of publication.
#[derive(Debug, clap::Args)]
pub struct Generate {
    /// The same seed gives the same bytes on every machine.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// About how many deals; leads, accounts, activities and payments follow from it.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub deals: u64,
    /// The first day, or the first instant in RFC 3339 (UTC).
    #[arg(long, default_value = "2025-01-01", value_parser = parse_instant)]
    pub start: DateTime<Utc>,
    /// The end: nothing is published on this day, or at this instant, or later.
    #[arg(long, default_value = "2026-01-01", value_parser = parse_instant)]
    pub end: DateTime<Utc>,
    /// The file to write; without it, standard output.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// A Kafka topic to write to instead, keyed by record, as fast as it takes them
    #[arg(long, conflicts_with = "out")]
    pub topic: Option<String>,
    /// Write each event to the topic at its time: what lies in the past at once, the rest as it
    /// happens
    #[arg(long, requires = "topic")]
    pub live: bool,
    /// Where Kafka is, for --topic: host:port, several joined by commas
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub brokers: String,
}

/// Writes the stream. A reader that has seen enough (`| head`) ends it without an error.
pub fn run(args: Generate) -> Result<()> {
    ensure!(
        args.start < args.end,
        "start must lie before end: give an earlier --start or a later --end"
    );
    let generator = Generator::new(GeneratorConfig {
        seed: args.seed,
        deals: args.deals,
        start: args.start,
        end: args.end,
        ..GeneratorConfig::default()
    });
    if let Some(topic) = &args.topic {
        return write_topic(generator, &args.brokers, topic, args.live);
    }
    match args.out {
        Some(path) => {
            let file = File::create(&path).with_context(|| {
                format!(
                    "cannot create {}: name a file that can be written",
                    path.display()
                )
            })?;
            write_lines(generator, file)
                .with_context(|| format!("cannot write to {}", path.display()))
        }
        None => match write_lines(generator, io::stdout().lock()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            result => result.context("cannot write to standard output"),
        },
    }
}

fn write_topic(generator: Generator, brokers: &str, topic: &str, is_live: bool) -> Result<()> {
    let kafka = Kafka {
        brokers: brokers.to_owned(),
        group: "dealpulse".into(),
        properties: BTreeMap::new(),
    };
    let feed = Feed::new(&kafka, topic)?;
    for event in generator {
        if is_live && let Some(early) = early(event.emitted_at, wall_clock()) {
            std::thread::sleep(early);
        }
        feed.send(&event)?;
    }
    Ok(feed.finish()?)
}

/// How long it is from `now` until an instant (both µs); none if it has passed.
fn early(instant: i64, now: i64) -> Option<Duration> {
    let micros = u64::try_from(instant.saturating_sub(now)).ok()?;
    (micros > 0).then(|| Duration::from_micros(micros))
}

fn write_lines(generator: Generator, out: impl Write) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, out);
    for event in generator {
        out.write_all(&event.payload)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

fn parse_instant(text: &str) -> Result<DateTime<Utc>, String> {
    let instant = match text.parse::<NaiveDate>() {
        Ok(day) => day.and_time(NaiveTime::MIN).and_utc(),
        Err(_) => text.parse::<DateTime<Utc>>().map_err(|_| {
            "give a day such as 2025-01-01 or an instant such as 2025-01-01T08:00:00Z".to_string()
        })?,
    };
    let first = DateTime::<Utc>::UNIX_EPOCH;
    let last =
        NaiveDate::from_ymd_opt(2100, 1, 1).map(|day| day.and_time(NaiveTime::MIN).and_utc());
    match instant >= first && last.is_some_and(|last| instant <= last) {
        true => Ok(instant),
        false => Err("give a time between 1970 and 2100".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(out: Option<PathBuf>) -> Generate {
        Generate {
            seed: 3,
            deals: 20,
            start: parse_instant("2025-01-01").unwrap(),
            end: parse_instant("2025-03-01T00:00:00Z").unwrap(),
            out,
            topic: None,
            live: false,
            brokers: String::new(),
        }
    }

    #[test]
    fn writes_one_json_document_a_line_to_the_named_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.ndjson");
        run(arguments(Some(path.clone()))).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.lines().count() > 100);
        for line in text.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
    }

    #[test]
    fn refuses_an_end_before_the_start_and_a_place_it_cannot_write() {
        let mut backwards = arguments(None);
        backwards.end = backwards.start;
        assert!(
            run(backwards)
                .unwrap_err()
                .to_string()
                .contains("start must lie before end")
        );

        let directory = tempfile::tempdir().unwrap();
        let nowhere = directory.path().join("missing").join("events.ndjson");
        assert!(
            run(arguments(Some(nowhere)))
                .unwrap_err()
                .to_string()
                .contains("cannot create")
        );
    }

    #[test]
    fn waits_for_what_has_not_happened_yet_and_for_nothing_else() {
        assert_eq!(early(5_000_000, 3_000_000), Some(Duration::from_secs(2)));
        assert_eq!(early(3_000_000, 3_000_000), None);
        assert_eq!(early(i64::MIN, i64::MAX), None);
    }

    #[test]
    fn reads_days_and_instants_within_the_years_that_are_kept() {
        assert_eq!(
            parse_instant("2025-01-01"),
            parse_instant("2025-01-01T00:00:00Z")
        );
        assert_eq!(
            parse_instant("2025-01-01T01:00:00+01:00"),
            parse_instant("2025-01-01")
        );
        for wrong in [
            "",
            "yesterday",
            "2025-13-01",
            "1969-12-31",
            "2100-01-02",
            "+262142-01-01",
        ] {
            assert!(parse_instant(wrong).is_err(), "{wrong}");
        }
    }
}
