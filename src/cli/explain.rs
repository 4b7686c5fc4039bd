//! `dealpulse explain`: what each message of a feed would assert, column by column, and why.
//! Nothing is stored.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};

use super::dump::{Dumped, ReadingOptions, base_name, open_lines, told};
use super::report::inputs::context;
use super::report::print;
use super::seen::Seen;
use super::stored::DIFFERS;
use crate::event::feed::Explained;
use crate::event::field_value::FieldValues;
use crate::event::{Assertion, FieldName, Value, When};
use crate::record::{SCHEMA, topic_number};
use crate::window::Calendar;
use crate::window::calendar::civil;

/// Show what each message of a feed would assert, from which of its columns, and what could not be
/// read
///
/// Ends with 0 if every message could be read, with 4 if some could not, with 1 on an error.
#[derive(Debug, clap::Args)]
pub struct Explain {
    /// Messages of the feed, one a line: the value alone, or an object with topic, key, value,
    /// offset and timestamp; - is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub reading: ReadingOptions,
    /// The IANA time zone of times without an offset [default: the mapping's, else UTC]
    #[arg(long, value_name = "ZONE")]
    pub time_zone: Option<String>,
    /// How many messages are shown one by one; the rest is only counted
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub show: usize,
}

/// Reads the messages and prints what they say.
///
/// # Errors
/// A format, mapping or file that can't be read; no message at all.
pub async fn run(args: Explain) -> Result<ExitCode> {
    let mapping = args.reading.mapping(None)?;
    let zone = args.time_zone.as_deref().unwrap_or("UTC");
    let zone = zone.parse().map_err(|_| {
        anyhow::anyhow!("--time-zone `{zone}` is no IANA time zone; write it like `Europe/Berlin`")
    })?;
    let calendar = Calendar::new(zone, 1);
    let reading = args.reading.reading(mapping, &args.files, &calendar)?;
    let feed = reading.feed.as_ref().context(
        "explain reads the messages of a feed: name its --mapping FILE (docs/mapping.md) or --preset NAME",
    )?;
    let mut seen = Seen::new(feed);
    let mut text = String::new();
    for file in &args.files {
        let base = base_name(file, None);
        let mut lines = open_lines(file, told(feed.mapping(), &base))?;
        while let Some(piece) = lines.next_piece()? {
            for (number, line) in piece {
                let dumped = Dumped::of(&line);
                let topic = dumped
                    .topic
                    .clone()
                    .unwrap_or_else(|| reading.topic_of(&base));
                let context = dumped.context(context(topic_number(&topic), 0, number, None));
                let explained = feed.explain(&topic, dumped.message(), &context);
                if seen.messages < args.show {
                    let _ = writeln!(text, "line {number}, topic {topic}");
                    explained.iter().for_each(|item| show(&mut text, item));
                }
                seen.note(&explained);
            }
        }
    }
    ensure!(seen.messages > 0, "there is no message in the files");
    let _ = write!(text, "\n{}", seen.to_text());
    print(&text)?;
    Ok(if seen.rejected > 0 {
        ExitCode::from(DIFFERS)
    } else {
        ExitCode::SUCCESS
    })
}

fn show(out: &mut String, item: &Explained) {
    // Writing to a String can't fail.
    let _ = match item {
        Explained::Rejected { index, bad } => writeln!(out, "  item {index} is rejected: {bad}"),
        Explained::Ignored { table } => writeln!(out, "  {table}: ignored, as the mapping says"),
        Explained::NotRead { rule, table } => writeln!(
            out,
            "  {table}, {rule}: its `when` does not hold, or there are no `items`, so it says nothing"
        ),
        Explained::Read {
            rule,
            table,
            assertion,
            cells,
            rounded,
        } => {
            let spec = assertion.entity.spec();
            let clock = assertion.stamp.clock;
            let time = chrono::DateTime::from_timestamp_micros(clock.time).unwrap_or_default();
            let _ = writeln!(
                out,
                "  {table}, {rule}: {} {} as of {}, sequence {}",
                spec.name,
                assertion.id,
                time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
                clock.sequence
            );
            let parts = SCHEMA.field_values();
            let parts = parts.filter(|parts| parts.entity == assertion.entity);
            for (name, value) in &assertion.values {
                if parts.is_some_and(|parts| *name == FieldName::Known(parts.assignment)) {
                    continue; // says the others again
                }
                // A part's value is that of the field it says.
                let part = parts.and_then(|parts| said(parts, name, assertion));
                let (key, name) = match name {
                    FieldName::Known(field) => {
                        let name = spec.spec(*field).name;
                        (format!("{rule}.fields.{name}"), name.to_owned())
                    }
                    FieldName::Custom(name) => {
                        (format!("{rule}.custom.{name}"), format!("custom.{name}"))
                    }
                };
                let part_key = part.as_ref().map(|part| match part.starts_with("custom.") {
                    true => format!("{rule}.{part}"),
                    false => format!("{rule}.fields.{part}"),
                });
                let from: Vec<String> = cells
                    .iter()
                    .filter(|(known, ..)| *known == key || Some(known) == part_key.as_ref())
                    .map(|(_, column, cell)| match cell {
                        Some(cell) => format!("{column} = {cell:?}"),
                        None => format!("{column} isn't there"),
                    })
                    .collect();
                let from = if from.is_empty() {
                    "the change itself, or a constant".to_owned()
                } else {
                    from.join(", ")
                };
                let is_rounded = rounded
                    .iter()
                    .any(|one| one.field == name || Some(one.field) == part.as_deref());
                let note = if is_rounded {
                    ", rounded to four places"
                } else {
                    ""
                };
                let _ = writeln!(out, "    {name} = {}    from {from}{note}", written(value));
            }
            Ok(())
        }
    };
}

/// The field that a part says, if `name` is its value.
fn said(parts: &FieldValues, name: &FieldName<'_>, assertion: &Assertion<'_>) -> Option<String> {
    let of = |field| {
        let mut values = assertion.values.iter();
        let (_, value) = values.find(|(name, _)| *name == FieldName::Known(field))?;
        match value {
            Value::Text(text) => Some(text.to_string()),
            _ => None,
        }
    };
    (*name == FieldName::Known(parts.value)).then(|| of(parts.field))?
}

fn written(value: &Value<'_>) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Text(text) => format!("{text:?}"),
        Value::Decimal(decimal) => decimal.to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::When(When::Date(day)) => civil(*day).to_string(),
        Value::When(When::Instant(micros)) => chrono::DateTime::from_timestamp_micros(*micros)
            .unwrap_or_default()
            .to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
    }
}
