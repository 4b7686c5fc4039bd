//! Dumps: the messages of a feed in a file, one a line. A line is the value alone, or an object
//! with `topic`, `key`, `value`, `offset` and `timestamp` (ms), as consumers write them out. So a
//! feed is tried before anything is installed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::config::{self, presets};
use crate::event::decode::Context;
use crate::event::feed::recognise::Shape;
use crate::event::feed::{Feed, Format, Message};
use crate::event::mapping::{HashKey, Mapping};
use crate::input::{Lines, Told};
use crate::kafka::sample::Sampled;
use crate::record::{SCHEMA, topic_number};
use crate::window::Calendar;

/// The longest line or row taken, in bytes: a file's events may be larger than a broker's messages,
/// but not without bounds.
pub const LIMIT: usize = 16 << 20;

/// A message as a file holds it.
pub struct Dumped {
    /// The topic, if the line names it.
    pub topic: Option<String>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    partition: Option<u32>,
    offset: Option<u64>,
    timestamp: Option<i64>,
}

/// A line that names what surrounds its value.
#[derive(Deserialize)]
struct Line<'l> {
    topic: Option<String>,
    #[serde(borrow)]
    key: Option<&'l RawValue>,
    #[serde(borrow)]
    value: Option<&'l RawValue>,
    partition: Option<u32>,
    offset: Option<u64>,
    timestamp: Option<i64>,
}

impl Dumped {
    /// The message of a line.
    pub fn of(line: &[u8]) -> Dumped {
        let surrounded = serde_json::from_slice::<Line<'_>>(line).ok();
        match surrounded
            .filter(|line| line.topic.is_some() && (line.value.is_some() || line.key.is_some()))
        {
            Some(line) => Dumped {
                topic: line.topic,
                key: line.key.and_then(document),
                value: line.value.and_then(document),
                partition: line.partition,
                offset: line.offset,
                timestamp: line.timestamp,
            },
            None => Dumped {
                topic: None,
                key: None,
                value: Some(line.to_vec()),
                partition: None,
                offset: None,
                timestamp: None,
            },
        }
    }

    /// The message.
    pub fn message(&self) -> Message<'_> {
        Message {
            key: self.key.as_deref(),
            value: self.value.as_deref(),
        }
    }

    /// The same as one of Kafka's messages.
    pub fn sampled(self, topic: String) -> Sampled {
        Sampled {
            topic,
            key: self.key,
            value: self.value,
            timestamp: self.timestamp.and_then(|millis| millis.checked_mul(1_000)),
            is_binary_event: false,
        }
    }

    /// Where and when it was read, by what the line says; by `context`, where it doesn't.
    pub fn context<'c>(&self, context: Context<'c>) -> Context<'c> {
        Context {
            topic: self.topic.as_deref().map_or(context.topic, topic_number),
            partition: self.partition.unwrap_or(context.partition),
            offset: self.offset.unwrap_or(context.offset),
            timestamp: self
                .timestamp
                .and_then(|millis| millis.checked_mul(1_000))
                .or(context.timestamp),
            ..context
        }
    }
}

/// The bytes of a key or value: a document as it is written, or one within a text; none for null.
fn document(raw: &RawValue) -> Option<Vec<u8>> {
    match serde_json::from_str::<Option<String>>(raw.get()) {
        Ok(None) => None,
        Ok(Some(text)) => Some(text.into_bytes()),
        Err(_) => Some(raw.get().as_bytes().to_vec()),
    }
}

fn mapping(
    file: Option<&Path>,
    preset: Option<&str>,
    key: Option<&HashKey>,
) -> Result<Option<Mapping>> {
    let Some(preset) = preset else {
        return file.map(|file| read_mapping(file, key)).transpose();
    };
    let known = presets::NAMES.join(", ");
    let text = presets::text(preset)
        .ok_or_else(|| anyhow!("--preset `{preset}`: there is none; write one of {known}"))?;
    let mapping = Mapping::parse(text, &SCHEMA).context("a preset of this version is refused")?;
    Ok(Some(with_key(mapping, key)?))
}

/// What is said about the files of a command, which it names `files`.
#[derive(Debug, clap::Args)]
pub struct ReadingOptions {
    /// What the columns of CSV files, or of a feed, mean (TOML, see docs/mapping.md)
    #[arg(
        long,
        value_name = "FILE",
        requires = "files",
        conflicts_with = "preset"
    )]
    pub mapping: Option<PathBuf>,
    /// The files are messages of a feed in this format [default: recognised in the first file, if
    /// the mapping is a feed's]
    #[arg(long, value_name = "FORMAT", requires = "files", help = format_help())]
    pub format: Option<String>,
    /// The mapping of a well-known source in place of --mapping
    #[arg(long, value_name = "NAME", requires = "files", help = preset_help())]
    pub preset: Option<String>,
    /// The topic of messages whose lines don't name one [default: the file's name without its
    /// ending]
    #[arg(long, value_name = "TOPIC", requires = "files")]
    pub topic: Option<String>,
}

fn format_help() -> String {
    format!(
        "The files are messages of a feed in this format: {} [default: recognised in the first file, if the mapping is a feed's]",
        Format::ALL.map(Format::name).join(", ")
    )
}

fn preset_help() -> String {
    format!(
        "The mapping of a well-known source in place of --mapping: {}",
        presets::NAMES.join(", ")
    )
}

impl ReadingOptions {
    /// The mapping that is named. If it hashes, then with this key, else with the environment's.
    ///
    /// # Errors
    /// A file that can't be read or is refused, a preset there is none of.
    pub fn mapping(&self, key: Option<&HashKey>) -> Result<Option<Mapping>> {
        mapping(self.mapping.as_deref(), self.preset.as_deref(), key)
    }

    /// How the files are read through it.
    ///
    /// # Errors
    /// As [`Reading::new`].
    pub fn reading(
        &self,
        mapping: Option<Mapping>,
        files: &[PathBuf],
        calendar: &Calendar,
    ) -> Result<Reading> {
        let (format, topic) = (self.format.as_deref(), self.topic.as_deref());
        Reading::new(format, topic, mapping, files, calendar)
    }
}

/// How files are read: as the tables of a mapping, or as the dumps of a feed.
#[derive(Debug, Default)]
pub struct Reading {
    /// What the columns of tables mean; files that it doesn't name are events.
    pub tables: Option<Mapping>,
    /// How the messages of dumps are read.
    pub feed: Option<Feed>,
    topic: Option<String>,
}

impl Reading {
    /// By the format that is named, and the topic of messages whose lines don't name one. Where no
    /// format is named, and the mapping is a feed's, it is recognised in the first of the files.
    ///
    /// # Errors
    /// A format there is none of, or one without a mapping; a file that can't be read or
    /// recognised.
    pub fn new(
        format: Option<&str>,
        topic: Option<&str>,
        mapping: Option<Mapping>,
        files: &[PathBuf],
        calendar: &Calendar,
    ) -> Result<Reading> {
        let topic = topic.map(str::to_owned);
        let is_feeds = |mapping: &Mapping| {
            let mut rules = mapping.rules.iter();
            !mapping.rules.is_empty() && rules.all(|rule| rule.table().is_some())
        };
        let format = match (format, &mapping) {
            (Some(name), _) => Some(named(name)?),
            (None, Some(mapping)) if is_feeds(mapping) => recognise(files, mapping)?,
            (None, _) => None,
        };
        let Some(format) = format else {
            return Ok(Reading {
                tables: mapping,
                feed: None,
                topic,
            });
        };
        let mapping = mapping.with_context(|| {
            let name = format.name();
            format!("--format {name} needs --mapping FILE (docs/mapping.md) or --preset NAME")
        })?;
        Ok(Reading {
            tables: None,
            feed: Some(Feed::new(format, mapping, calendar)),
            topic,
        })
    }

    /// The topic of the messages in a file of this name whose lines don't name one: by default the
    /// file's name without its ending.
    pub fn topic_of(&self, file: &str) -> String {
        let endings = [".ndjson", ".jsonl", ".json"].iter();
        let stem = endings.filter_map(|end| file.strip_suffix(end)).next();
        let topic = self.topic.as_deref().or(stem);
        topic.unwrap_or(file).to_owned()
    }
}

fn named(name: &str) -> Result<Format> {
    let known = || Format::ALL.map(Format::name).join(", ");
    Format::of_name(name)
        .with_context(|| format!("--format `{name}`: there is none; write one of {}", known()))
}

/// The format of most of the messages at the start of the first file, which is said; none for
/// events of ours.
fn recognise(files: &[PathBuf], mapping: &Mapping) -> Result<Option<Format>> {
    let Some(file) = files.first() else {
        return Ok(None);
    };
    let name = file.display();
    // Of a pipe nothing can be read twice.
    ensure!(
        file.is_file(),
        "{name}: name the --format of its messages; it is recognised in files alone"
    );
    let base = base_name(file, None);
    let mut lines = Lines::open(file, told(mapping, &base), LIMIT, |_| ())?;
    let mut counts: BTreeMap<Shape, usize> = BTreeMap::new();
    for (_, line) in lines.next_piece()?.unwrap_or_default() {
        let dumped = Dumped::of(&line);
        if let Some(shape) = dumped.message().value.and_then(Shape::of) {
            *counts.entry(shape).or_default() += 1;
        }
    }
    match counts.iter().max_by_key(|(_, count)| **count) {
        Some((Shape::Events, _)) => Ok(None),
        Some((Shape::Feed(format), _)) => {
            eprintln!("{name}: its messages are read as {}", format.name());
            Ok(Some(*format))
        }
        _ => bail!("{name}: the format of its messages is not recognised; name it with --format"),
    }
}

/// The mapping in a file.
///
/// # Errors
/// A file that can't be read, or a mapping that is refused.
fn read_mapping(path: &Path, key: Option<&HashKey>) -> Result<Mapping> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("can't read the mapping {}", path.display()))?;
    let mapping = Mapping::parse(&text, &SCHEMA)
        .map_err(anyhow::Error::from)
        .and_then(|mapping| with_key(mapping, key));
    mapping.with_context(|| format!("{} is refused", path.display()))
}

fn with_key(mapping: Mapping, key: Option<&HashKey>) -> Result<Mapping> {
    let environment = std::env::vars().collect();
    let key = match key {
        Some(key) => Some(key.clone()),
        None => config::hash_key(&environment).map_err(|problem| anyhow!(problem))?,
    };
    Ok(config::keyed(mapping, key.as_ref())?)
}

/// What is known of a file of this name by its mapping.
pub fn told(mapping: &Mapping, base: &str) -> Told {
    let form = mapping.form(base);
    Told {
        encoding: form.encoding,
        delimiter: form.delimiter,
    }
}

/// The name of a file in a mapping: as it is, or without the end that says how it is packed.
pub fn base_name(path: &Path, mapping: Option<&Mapping>) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    let name = name.to_string_lossy();
    let unpacked = [".gz", ".zst"]
        .iter()
        .find_map(|end| name.strip_suffix(end));
    match unpacked {
        Some(unpacked) if !mapping.is_some_and(|mapping| mapping.names(&name)) => {
            unpacked.to_owned()
        }
        _ => name.into_owned(),
    }
}

/// Opens a file of messages; what is found out about it goes to standard error.
///
/// # Errors
/// A file that can't be read.
pub fn open_lines(path: &Path, told: Told) -> Result<Lines> {
    Ok(Lines::open(path, told, LIMIT, |line| eprintln!("{line}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_value_or_names_what_surrounds_it() {
        let line =
            br#"{"topic":"crm","offset":7,"timestamp":5,"key":{"id":1},"value":"{\"id\":1}"}"#;
        let dumped = Dumped::of(line);
        assert_eq!(dumped.message().key, Some(br#"{"id":1}"#.as_slice()));
        assert_eq!(dumped.message().value, Some(br#"{"id":1}"#.as_slice()));
        let tombstone = Dumped::of(br#"{"topic":"crm","key":{"id":1},"value":null}"#);
        assert_eq!(tombstone.message().value, None);
        for line in [
            r#"{"value":7}"#,
            "[]",
            "x",
            r#"{"topic":"Opportunity","Amount":1}"#,
        ] {
            let dumped = Dumped::of(line.as_bytes());
            assert_eq!(dumped.message().value, Some(line.as_bytes()), "{line}");
        }
    }
}
