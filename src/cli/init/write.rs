//! The texts of `init`: the configuration, and mappings with what only people know left open.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::registry::Encoded;
use crate::event::feed::Format;
use crate::event::feed::recognise::Observed;
use crate::record::SCHEMA;

/// How a group of topics is written down.
pub struct Section {
    /// Their names.
    pub topics: Vec<String>,
    /// Their format; none for events of ours.
    pub format: Option<Format>,
    /// Where their mapping is: a key and its value.
    pub mapping: Option<(&'static str, String)>,
}

/// Columns that are ids as they are called commonly.
const IDS: [&str; 5] = ["id", "Id", "ID", "uuid", "objectId"];

/// A text in TOML.
pub fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The configuration.
pub fn configuration(
    brokers: Option<&str>,
    properties: &BTreeMap<String, String>,
    sections: &[Section],
    registry: Option<(&str, &Encoded)>,
    messages: usize,
) -> String {
    let mut out = format!(
        "# Written by `dealpulse init`, which looked at {messages} messages. Every key there is: docs/configuration.md.\nversion = 1\n\n[kafka]\n"
    );
    // Writing to a String can't fail.
    let _ = match brokers {
        Some(brokers) => writeln!(out, "brokers = {}", quoted(brokers)),
        None => writeln!(out, "brokers = \"127.0.0.1:9092\"  # where your Kafka is"),
    };
    if !properties.is_empty() {
        out += "\n# Passwords are not written here: put that of SASL into a file named by kafka.password_file, or into DEALPULSE_KAFKA_PASSWORD.\n[kafka.properties]\n";
    }
    for (name, value) in properties {
        let _ = writeln!(out, "{} = {}", quoted(name), quoted(value));
    }
    let encoding = |topic: &str| registry.and_then(|(_, encoded)| encoded.topics.get(topic));
    let mut topics = sections.iter().flat_map(|section| &section.topics);
    if let Some((url, _)) = registry
        && topics.any(|topic| encoding(topic).is_some())
    {
        let _ = writeln!(out, "\n[schema_registry]\nurl = {}", quoted(url));
    }
    for section in sections {
        for topic in &section.topics {
            let _ = writeln!(out, "\n[[topics]]\nname = {}", quoted(topic));
            if let Some(format) = section.format {
                let _ = writeln!(out, "format = {}", quoted(format.name()));
            }
            if let Some(encoding) = encoding(topic) {
                let _ = writeln!(out, "encoding = {}", quoted(encoding));
            }
            if let Some((key, value)) = &section.mapping {
                let _ = writeln!(out, "{key} = {}", quoted(value));
            }
        }
    }
    out += "\n[clickhouse]\nurl = \"http://127.0.0.1:8123\"  # where your ClickHouse is\n\n[definitions]\ntime_zone = \"UTC\"  # where your organisation's days begin, like Europe/Berlin\n";
    out
}

/// The open part of a mapping: each table with its columns, all of it in comments.
pub fn skeleton<'t>(tables: impl Iterator<Item = (&'t String, &'t Observed)>) -> String {
    let entities: Vec<&str> = SCHEMA.of_sources().map(|entity| entity.name).collect();
    let mut out = format!(
        "# To be decided: is a row of these tables a record, and which of its columns is which field?\n\
         # A record is one of {}; docs/events.md has the fields of each.\n\
         # Take `# ` off the lines of the tables that are records and write what belongs at each `…`; list the others under `ignore = [\"…\"]` at the top of this file.\n",
        entities.join(", ")
    );
    for (name, table) in tables {
        let id = IDS.iter().find(|id| table.columns.contains_key(**id));
        let id = id.map_or_else(|| "\"…\"".to_owned(), |id| quoted(id));
        let _ = write!(
            out,
            "\n# The table {name}, of which {} rows were seen.\n# [[records]]\n# table = {}\n# entity = \"…\"\n# id = {id}\n# [records.fields]\n",
            table.rows,
            quoted(name)
        );
        for (column, looks) in &table.columns {
            let looks: Vec<String> = looks.iter().map(ToString::to_string).collect();
            let looks = match looks.is_empty() {
                true => "always null".to_owned(),
                false => looks.join(", or "),
            };
            let _ = writeln!(out, "# … = {}  # {looks}", quoted(column));
        }
    }
    out
}

/// A text as comments, for where only one file can be written.
pub fn commented(text: &str) -> String {
    let lines = text.lines().map(|line| match line {
        "" => "#\n".to_owned(),
        line => format!("# {line}\n"),
    });
    lines.collect()
}
