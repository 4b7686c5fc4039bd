//! Samples of the input topics, read by the configuration: what it would reject, and which fields
//! it maps that no sample has.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use serde_json::{Value as Json, json};

use crate::cli::dump::{Dumped, base_name, open_lines, told};
use crate::cli::report::inputs::context;
use crate::cli::seen::Seen;
use crate::config::{Config, Topic};
use crate::event::decode::cloudevents;
use crate::event::feed::Feed;
use crate::input::Told;

/// What the samples come to.
pub struct Samples<'c> {
    feeds: Vec<OfFeed<'c>>,
    /// Of the topics of events of ours: messages, and items of them that could not be read.
    events: (usize, usize),
    /// Topics of samples that the configuration doesn't have.
    foreign: BTreeSet<String>,
}

/// Topics that are read by one mapping, and what was seen of them.
struct OfFeed<'c> {
    topics: Vec<&'c Topic>,
    feed: &'c Feed,
    seen: Seen<'c>,
}

impl<'c> Samples<'c> {
    /// Reads files of messages. Where a line names no topic it is of the only one there is.
    ///
    /// # Errors
    /// A file that can't be read or has no message; a line that may be of several topics.
    pub fn read(files: &[PathBuf], config: &'c Config) -> Result<Samples<'c>> {
        let mut samples = Samples {
            feeds: by_mapping(&config.topics),
            events: (0, 0),
            foreign: BTreeSet::new(),
        };
        for file in files {
            samples.read_file(file, &config.topics)?;
        }
        let of_feeds: usize = samples.feeds.iter().map(|of| of.seen.messages).sum();
        ensure!(
            of_feeds + samples.events.0 > 0,
            "--sample: there is no message of the configuration's topics in the files"
        );
        Ok(samples)
    }

    fn read_file(&mut self, file: &Path, topics: &'c [Topic]) -> Result<()> {
        let base = base_name(file, None);
        let told = match &self.feeds[..] {
            [only] => told(only.feed.mapping(), &base),
            _ => Told::default(),
        };
        let mut lines = open_lines(file, told)?;
        while let Some(piece) = lines.next_piece()? {
            for (number, line) in piece {
                let dumped = Dumped::of(&line);
                let topic = match (&dumped.topic, topics) {
                    (Some(name), _) => topics.iter().find(|topic| topic.name == *name),
                    (None, [only]) => Some(only),
                    (None, _) => bail!(
                        "{}:{number}: the line names no topic, and the configuration has several: write each line as an object with `topic` and `value`",
                        file.display()
                    ),
                };
                match (topic, &dumped.topic) {
                    (Some(topic), _) => self.note(topic, &dumped, number),
                    (None, name) => self.foreign.extend(name.clone()),
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, topic: &Topic, dumped: &Dumped, number: u64) {
        let context = dumped.context(context(topic.number, 0, number, None));
        let of = self
            .feeds
            .iter_mut()
            .find(|of| of.topics.iter().any(|known| known.number == topic.number));
        match of {
            Some(of) => {
                let explained = of.feed.explain(&topic.name, dumped.message(), &context);
                of.seen.note(&explained);
            }
            None => {
                let decoded = cloudevents::decode(dumped.message().value, &[], &context);
                self.events.0 += 1;
                self.events.1 += decoded.rejected.len();
            }
        }
    }

    /// True if everything could be read.
    pub fn are_read(&self) -> bool {
        self.events.1 == 0 && self.feeds.iter().all(|of| of.seen.rejected == 0)
    }

    /// A paragraph for each mapping.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        if self.events.0 > 0 {
            let (messages, rejected) = self.events;
            out += &format!("\nevents: {messages} messages, {rejected} items rejected\n");
        }
        for of in &self.feeds {
            out += &format!("\n{}, {}: ", of.names().join(", "), of.feed.format().name());
            out += &of.seen.to_text();
        }
        for topic in &self.foreign {
            out += &format!("\nthe samples' topic {topic} is not in the configuration\n");
        }
        out
    }

    /// The same as one object.
    pub fn to_json(&self) -> Json {
        let feeds = self.feeds.iter().map(|of| {
            let mut json = of.seen.to_json();
            json["topics"] = json!(of.names());
            json["format"] = of.feed.format().name().into();
            json
        });
        let (messages, rejected) = self.events;
        json!({
            "feeds": feeds.collect::<Vec<_>>(),
            "events": {"messages": messages, "rejected": rejected},
            "foreign_topics": self.foreign,
        })
    }
}

impl OfFeed<'_> {
    fn names(&self) -> Vec<&str> {
        self.topics
            .iter()
            .map(|topic| topic.name.as_str())
            .collect()
    }
}

/// The topics of feeds; those of one format and mapping together, since the tables of one database
/// come in topics of their own.
fn by_mapping(topics: &[Topic]) -> Vec<OfFeed<'_>> {
    let mut feeds: Vec<OfFeed<'_>> = Vec::new();
    for topic in topics {
        let Some(feed) = topic.feed.as_deref() else {
            continue;
        };
        let is_same = |of: &&mut OfFeed<'_>| {
            let known = of.topics[0];
            known.mapping == topic.mapping && known.format() == topic.format()
        };
        match feeds.iter_mut().find(is_same) {
            Some(of) => of.topics.push(topic),
            None => feeds.push(OfFeed {
                topics: vec![topic],
                feed,
                seen: Seen::new(feed),
            }),
        }
    }
    feeds
}
