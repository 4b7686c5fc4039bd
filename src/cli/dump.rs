//! Dumps: the messages of a feed in a file, one a line. A line is the value alone, or an object with `topic`, `key`, `value`, `offset` and `timestamp` (ms), as
//! consumers write them out. So a feed is tried before anything is installed.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::config::{self, presets};
use crate::event::decode::Context;
use crate::event::feed::{Feed, Format, Message};
use crate::event::mapping::{HashKey, Mapping};
use crate::record::{SCHEMA, topic_number};
use crate::window::Calendar;

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

/// The mapping of a file or a preset, if one is named.
///
/// # Errors
/// A file that can't be read or is refused, a preset there is none of.
pub fn mapping(file: Option<&Path>, preset: Option<&str>) -> Result<Option<Mapping>> {
    let Some(preset) = preset else {
        return file.map(|file| read_mapping(file, None)).transpose();
    };
    let known = presets::NAMES.join(", ");
    let text = presets::text(preset)
        .ok_or_else(|| anyhow!("--preset `{preset}`: there is none; write one of {known}"))?;
    let mapping = Mapping::parse(text, &SCHEMA).context("a preset of this version is refused")?;
    Ok(Some(with_key(mapping, None)?))
}

/// The feed of a format, if one is named.
///
/// # Errors
/// A format there is none of, or one without a mapping.
pub fn feed(
    format: Option<&str>,
    mapping: Option<Mapping>,
    calendar: &Calendar,
) -> Result<Option<Feed>> {
    let Some(name) = format else {
        return Ok(None);
    };
    let Some(format) = Format::of_name(name) else {
        let known = Format::ALL.map(Format::name).join(", ");
        bail!("--format `{name}`: there is none; write one of {known}");
    };
    let mapping = mapping.ok_or_else(|| {
        anyhow!("--format {name} needs --mapping FILE (docs/mapping.md) or --preset NAME")
    })?;
    Ok(Some(Feed::new(format, mapping, calendar)))
}

/// The mapping in a file. If it hashes, then with this key, else with the environment's.
///
/// # Errors
/// A file that can't be read, or a mapping that is refused.
pub(super) fn read_mapping(path: &Path, key: Option<&HashKey>) -> Result<Mapping> {
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
