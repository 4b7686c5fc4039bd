//! `dealpulse init`: looks at some messages, recognises how topics are written and by which preset
//! they are read, and writes a configuration.

mod choose;
mod registry;
mod write;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use super::dump::{Dumped, Reading, base_name, open_lines};
use super::report::inputs::context;
use super::report::print;
use super::seen::Seen;
use crate::config::{Config, Environment, Kafka};
use crate::event::decode::Context;
use crate::event::feed::recognise::Shape;
use crate::event::feed::{Feed, Message};
use crate::event::mapping::Mapping;
use crate::input::Told;
use crate::kafka::sample::{BYTES, Sampled, newest};
use crate::record::{SCHEMA, topic_number};
use crate::window::Calendar;
use choose::{Choice, Group, choose, group};
use registry::Encoded;
use write::{Section, commented, configuration, skeleton};

/// The exit code where something is left to be decided.
const UNDECIDED: u8 = 5;

/// Look at some messages, recognise their format and preset, and write a configuration
///
/// Ends with 0 if the configuration is complete, with 5 if something of it is left to be decided,
/// which standard error lists, with 1 on an error.
#[derive(Debug, clap::Args)]
pub struct Init {
    /// A topic to look at, several times for several; with --sample the topic of messages whose
    /// lines don't name one
    #[arg(long, value_name = "TOPIC", required_unless_present = "sample")]
    pub topic: Vec<String>,
    /// Kafka's brokers, `host:port`, several joined by commas
    #[arg(long, required_unless_present = "sample")]
    pub brokers: Option<String>,
    /// A property of librdkafka, such as security.protocol=SASL_SSL; the password of SASL is
    /// DEALPULSE_KAFKA_PASSWORD
    #[arg(long, value_name = "KEY=VALUE")]
    pub property: Vec<String>,
    /// The schema registry of topics in Avro or Protobuf; its user and password are
    /// DEALPULSE_SCHEMA_REGISTRY_USERNAME and DEALPULSE_SCHEMA_REGISTRY_PASSWORD
    #[arg(long, value_name = "URL")]
    pub schema_registry: Option<String>,
    /// Messages in files in place of Kafka's, one a line: the value alone, or an object with topic,
    /// key, value and timestamp; - is standard input
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub sample: Vec<PathBuf>,
    /// How many messages of a topic are looked at: the newest, or those that come first in a file
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub messages: u32,
    /// How long messages are waited for
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub seconds: u64,
    /// Write to this file and mappings beside it; nothing that is there is overwritten [default:
    /// standard output]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What is written, and what is left to be decided.
#[derive(Default)]
struct Draft {
    sections: Vec<Section>,
    /// Mappings by the names of their files.
    files: BTreeMap<String, String>,
    questions: Vec<String>,
    /// The topics in Avro that were decoded.
    encoded: Encoded,
}

/// Looks, writes, and says what it saw.
///
/// # Errors
/// Kafka or a file that can't be read, no message that tells anything, or a file that is there
/// already.
pub async fn run(args: Init) -> Result<ExitCode> {
    let properties = properties(&args.property)?;
    let mut samples = match args.sample.is_empty() {
        true => of_kafka(&args, &properties).await?,
        false => of_files(&args)?,
    };
    let mut draft = Draft::default();
    if let Some(url) = &args.schema_registry {
        draft.encoded = registry::decode(&mut samples, url).await?;
    }
    let (groups, others) = group(&samples);
    ensure!(
        !groups.is_empty(),
        "there is no message in {} that tells anything: write one, or name another topic",
        if args.sample.is_empty() {
            "the topics"
        } else {
            "the files"
        }
    );
    for group in &groups {
        draft.add(group)?;
    }
    for topic in &args.topic {
        if !samples.iter().any(|sampled| sampled.topic == *topic) {
            draft.ask(format!("{topic}: no message was seen, so it is left out"));
        }
    }
    for (topic, count) in others {
        draft.ask(format!(
            "{topic}: {count} of its messages are something else than the rest; what of them can't be read becomes dead letters"
        ));
    }
    ensure!(
        !draft.sections.is_empty(),
        "nothing was recognised:\n{}",
        draft.questions.join("\n")
    );
    let written: BTreeMap<String, String> = properties
        .iter()
        .filter(|(name, _)| !name.contains("password") && !name.contains("secret"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let text = configuration(
        args.brokers.as_deref(),
        &written,
        &draft.sections,
        args.schema_registry.as_deref().zip(Some(&draft.encoded)),
        samples.len(),
    );
    if draft.files.is_empty() {
        // What is complete is a configuration that is accepted.
        Config::parse(&text, Path::new("dealpulse.toml"), &Environment::new())?;
    }
    match &args.output {
        Some(path) => draft.write(path, &text)?,
        None => print(&draft.on_one_page(&text))?,
    }
    for question in &draft.questions {
        eprintln!("to be decided: {question}");
    }
    Ok(match draft.questions.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(UNDECIDED),
    })
}

/// Some names, and how many more there are.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 3;
    match names.len().saturating_sub(SHOWN) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names[..SHOWN].join(", ")),
    }
}

fn properties(pairs: &[String]) -> Result<BTreeMap<String, String>> {
    let pairs = pairs.iter().map(|pair| {
        let (name, value) = pair
            .split_once('=')
            .with_context(|| format!("--property `{pair}`: write it as key=value"))?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    });
    pairs.collect()
}

async fn of_kafka(args: &Init, properties: &BTreeMap<String, String>) -> Result<Vec<Sampled>> {
    let mut properties = properties.clone();
    if let Ok(password) = std::env::var("DEALPULSE_KAFKA_PASSWORD") {
        properties.insert("sasl.password".into(), password);
    }
    let kafka = Kafka {
        brokers: args.brokers.clone().unwrap_or_default(),
        group: "dealpulse".into(),
        properties,
    };
    let (topics, most) = (args.topic.clone(), args.messages as usize);
    let within = Duration::from_secs(args.seconds);
    let read = tokio::task::spawn_blocking(move || newest(&kafka, &topics, most, within));
    Ok(read.await??)
}

fn of_files(args: &Init) -> Result<Vec<Sampled>> {
    let topic = match &args.topic[..] {
        [] => None,
        [topic] => Some(topic.as_str()),
        _ => bail!("--sample: write one --topic, that of the lines that name none"),
    };
    let reading = Reading::new(
        None,
        topic,
        None,
        &[],
        &Calendar::new(chrono_tz::Tz::UTC, 1),
    )?;
    let mut samples: Vec<Sampled> = Vec::new();
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let mut size = 0;
    for file in &args.sample {
        let mut lines = open_lines(file, Told::default())?;
        let base = base_name(file, None);
        while let Some(piece) = lines.next_piece()? {
            for (_, line) in piece {
                let dumped = Dumped::of(&line);
                let topic = dumped.topic.clone();
                let topic = topic.unwrap_or_else(|| reading.topic_of(&base));
                let count = counts.entry(topic.clone()).or_default();
                *count += 1;
                if *count <= args.messages && size < BYTES {
                    let sampled = dumped.sampled(topic);
                    size += sampled.size();
                    samples.push(sampled);
                }
            }
        }
    }
    Ok(samples)
}

impl Draft {
    fn ask(&mut self, question: String) {
        self.questions.push(question);
    }

    /// Adds the topics of a group.
    fn add(&mut self, group: &Group<'_>) -> Result<()> {
        let topics: Vec<String> = group
            .topics
            .iter()
            .map(|topic| (*topic).to_owned())
            .collect();
        let names = listed(&topics);
        match group.shape {
            Shape::Events => {
                eprintln!("{names}: events of ours (cloudevents)");
                self.sections.push(Section {
                    topics,
                    format: None,
                    mapping: None,
                });
            }
            Shape::Feed(format) => self.add_feed(group, topics, &choose(group, format))?,
            Shape::Registry(_) => {
                let why = group
                    .topics
                    .iter()
                    .find_map(|topic| self.encoded.unread.get(*topic));
                let fix = match why {
                    Some(why) => format!("none of its messages can be decoded: {why}"),
                    None => "name the registry with --schema-registry URL".to_owned(),
                };
                self.ask(format!(
                    "{names}: written by the serializer of a schema registry; it is left out: {fix}"
                ));
            }
            Shape::Unknown => self.ask(format!("{names}: no JSON object; it is left out")),
        }
        Ok(())
    }

    fn add_feed(&mut self, group: &Group<'_>, topics: Vec<String>, choice: &Choice) -> Result<()> {
        let (format, names) = (choice.format, listed(&topics));
        let tables: Vec<&str> = choice.tables.keys().map(String::as_str).collect();
        eprintln!(
            "{names}: {}, with rows of {}",
            format.name(),
            tables.join(", ")
        );
        let known = |table: &String| {
            let preset = choice.preset.as_ref();
            preset.is_some_and(|preset| preset.tables.contains(table))
        };
        let unknown = || choice.tables.iter().filter(|(table, _)| !known(table));
        let file = match &choice.preset {
            None => {
                let rivals = match choice.rivals.is_empty() {
                    true => "no preset has these tables".to_owned(),
                    false => format!("{} have these tables alike", choice.rivals.join(" and ")),
                };
                let name = self.file_name(format.name());
                self.ask(format!(
                    "{names}: {rivals}; {name} lists their columns: write there what they mean"
                ));
                Some((name, skeleton(unknown())))
            }
            Some(preset) => {
                eprintln!("{names}: read by the preset {}", preset.name);
                for (table, own) in &preset.renamed {
                    self.ask(format!(
                        "{table}: its columns are those of `{own}` in the preset {}; look whether they are the same thing",
                        preset.name
                    ));
                }
                if preset.is_template {
                    self.ask(format!(
                        "{names}: in the preset {} there are numbers that are a source's own; write yours",
                        preset.name
                    ));
                }
                let extra: Vec<&str> = unknown().map(|(table, _)| table.as_str()).collect();
                let mut text = preset.text.clone();
                if !extra.is_empty() {
                    self.ask(format!(
                        "{}: the preset {} doesn't read it; it is listed at the end of its copy",
                        extra.join(", "),
                        preset.name
                    ));
                    text += &format!("\n{}", skeleton(unknown()));
                }
                self.try_out(group, choice, &preset.text, &names)?;
                let is_changed =
                    text != preset.text || preset.is_template || !preset.renamed.is_empty();
                is_changed.then(|| (self.file_name(preset.name), text))
            }
        };
        let mapping = match (file, &choice.preset) {
            (Some((name, text)), _) => {
                self.files.insert(name.clone(), text);
                Some(("mapping", name))
            }
            (None, preset) => preset
                .as_ref()
                .map(|preset| ("preset", preset.name.to_owned())),
        };
        self.sections.push(Section {
            topics,
            format: Some(format),
            mapping,
        });
        Ok(())
    }

    /// A name for a mapping's file that no other has.
    fn file_name(&self, stem: &str) -> String {
        let numbered = (2..).map(|number| format!("{stem}-{number}.toml"));
        let mut names = std::iter::once(format!("{stem}.toml")).chain(numbered);
        let free = names.find(|name| !self.files.contains_key(name));
        free.unwrap_or_default()
    }

    /// Reads the samples as they would be read, and asks about what would be rejected. Gaps and
    /// tables that are asked about anyway are none of it.
    fn try_out(
        &mut self,
        group: &Group<'_>,
        choice: &Choice,
        mapping: &str,
        names: &str,
    ) -> Result<()> {
        let mapping = Mapping::parse(mapping, &SCHEMA).context("a preset is refused")?;
        let feed = Feed::new(
            choice.format,
            mapping,
            &Calendar::new(chrono_tz::Tz::UTC, 1),
        );
        let mut seen = Seen::new(&feed);
        for (number, sampled) in (0..).zip(&group.messages) {
            let message = Message {
                key: sampled.key.as_deref(),
                value: sampled.value.as_deref(),
            };
            let context = Context {
                timestamp: sampled.timestamp.or(Some(0)),
                ..context(topic_number(&sampled.topic), 0, number, None)
            };
            seen.note(&feed.explain(&sampled.topic, message, &context));
        }
        let reasons: Vec<String> = seen
            .reasons()
            .filter(|(reason, _)| !["gap", "unknown_entity"].contains(reason))
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        if !reasons.is_empty() {
            self.ask(format!(
                "{names}: items of the sample would be rejected ({}); `dealpulse explain` shows which and why, and a copy of the preset can be changed",
                reasons.join(", ")
            ));
        }
        Ok(())
    }

    /// Writes the configuration and the mappings beside it, if none of them is there.
    fn write(&self, path: &Path, text: &str) -> Result<()> {
        let beside = path.parent().unwrap_or(Path::new(""));
        let mappings = self.files.iter();
        let mappings = mappings.map(|(name, text)| (beside.join(name), text.as_str()));
        let files: Vec<(PathBuf, &str)> = std::iter::once((path.to_owned(), text))
            .chain(mappings)
            .collect();
        for (path, _) in &files {
            ensure!(
                !path.exists(),
                "{} is there already; nothing was written: name another --output",
                path.display()
            );
        }
        for (path, text) in files {
            let mut options = OpenOptions::new();
            let file = options.write(true).create_new(true).open(&path);
            let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
            written.map_err(|error| anyhow!("can't write {}: {error}", path.display()))?;
            eprintln!("{} was written", path.display());
        }
        Ok(())
    }

    /// All of it in one text: the mappings as comments, with the names of their files.
    fn on_one_page(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for (name, mapping) in &self.files {
            out += &format!(
                "\n# The file {name}, to be put beside this one (--output FILE writes both), without the first two characters of each line:\n#\n{}",
                commented(mapping)
            );
        }
        out
    }
}
