//! The files of a report, read a piece at a time into messages of the log.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value as Json, json};

use super::rejects::{Counts, Rejects};
use super::table::{Table, TableReader, open_file};
use crate::cli::dump::Dumped;
use crate::event::Assertion;
use crate::event::decode::{Bad, Context, Reason, cloudevents};
use crate::event::feed::Feed;
use crate::event::mapping::Mapping;
use crate::pipeline::route::partition_by_home;
use crate::record::{Home, SCHEMA, topic_number};
use crate::window::Calendar;

/// How many lines or rows are routed together.
const PIECE: usize = 1_000;
/// The longest line or row taken, in bytes: a file's events may be larger than a broker's messages, but not without bounds.
const LIMIT: usize = 16 << 20;

/// The files, in the order they were named, with what was read out of them so far.
pub struct Inputs<'m> {
    sources: Vec<Source<'m>>,
    /// The source that is being read.
    at: usize,
    /// What was read.
    pub tally: Tally,
    /// The instant of rows without a time of their own (µs).
    as_of: Option<i64>,
    /// What ids are qualified by.
    namespace: Option<&'m str>,
    calendar: &'m Calendar,
    rejects: Rejects,
}

/// How much was read.
#[derive(Debug, Default)]
pub struct Tally {
    /// Files that were read, by the names they were given.
    pub files: Vec<String>,
    /// Lines of events, blank ones not counted.
    pub lines: u64,
    /// Rows of tables.
    pub rows: u64,
    /// What came out of them.
    pub assertions: u64,
    /// Fields no entity has.
    pub unknown_fields: u64,
    /// The greatest time of an event (µs).
    pub latest: Option<i64>,
}

impl Tally {
    /// What was read, and what of it could not be, as one object.
    pub fn to_json(&self, rejected: &Counts) -> Json {
        let rejected: serde_json::Map<String, Json> = rejected
            .iter()
            .map(|(reason, count)| (reason.name().to_owned(), (*count).into()))
            .collect();
        json!({
            "files": self.files,
            "lines": self.lines,
            "rows": self.rows,
            "assertions": self.assertions,
            "unknown_fields": self.unknown_fields,
            "rejected": rejected,
        })
    }
}

/// A piece of the input, routed.
pub struct Piece {
    /// Messages of the log.
    pub messages: Vec<(Home, Vec<u8>)>,
    /// The greatest time of any event so far (µs): when a log that took these as they happened would have taken the last one.
    pub time: i64,
}

struct Source<'m> {
    /// As it was given, for messages.
    name: String,
    topic: u32,
    /// Distinguishes files of one base name.
    partition: u32,
    kind: Kind<'m>,
}

enum Kind<'m> {
    Events {
        reader: Box<dyn BufRead + Send>,
        line: u64,
    },
    Table(Box<TableReader<'m>>),
    Feed {
        reader: Box<dyn BufRead + Send>,
        line: u64,
        feed: &'m Feed,
    },
}

impl<'m> Inputs<'m> {
    /// Opens every file, so that a missing one is noticed before anything is read.
    ///
    /// # Errors
    /// A file that can't be opened, a table no mapping explains, a mapping that doesn't fit the tables.
    pub fn open(
        files: &[PathBuf],
        (mapping, feed): (Option<&'m Mapping>, Option<&'m Feed>),
        as_of: Option<i64>,
        calendar: &'m Calendar,
        rejects: Rejects,
    ) -> Result<Inputs<'m>> {
        let tables = mapped(files, mapping)?;
        if let Some(mapping) = mapping {
            check_files(mapping, &tables, as_of)?;
        }
        let mut sources: Vec<Source<'m>> = Vec::new();
        let mut names = Vec::new();
        for path in files {
            let name = path.display().to_string();
            let base = base_name(path);
            let topic = topic_number(&base);
            let partition = sources
                .iter()
                .filter(|source| source.topic == topic)
                .count() as u32;
            let source = match mapping.filter(|mapping| mapping.names(&base)) {
                None if let Some(feed) = feed => Some(Kind::Feed {
                    reader: open(path)?,
                    line: 0,
                    feed,
                }),
                // None, if it is only joined by others.
                Some(mapping) => TableReader::open(path, &base, mapping, &tables)?
                    .map(|reader| Kind::Table(Box::new(reader))),
                None if is_table(path) && mapping.is_some() => {
                    eprintln!("{name}: the mapping doesn't name it, so it is passed over");
                    continue;
                }
                None if is_table(path) => bail!(
                    "{name} is a table: give the meaning of its columns with --mapping FILE (docs/mapping.md)"
                ),
                None => Some(Kind::Events {
                    reader: open(path)?,
                    line: 0,
                }),
            };
            sources.extend(source.map(|kind| Source {
                name: name.clone(),
                topic,
                partition,
                kind,
            }));
            names.push(name);
        }
        Ok(Inputs {
            sources,
            at: 0,
            tally: Tally {
                files: names,
                ..Tally::default()
            },
            as_of,
            namespace: None,
            calendar,
            rejects,
        })
    }

    /// Qualifies ids and references, as those of a topic with this `id_namespace` are.
    pub fn qualified(self, namespace: Option<&'m str>) -> Inputs<'m> {
        Inputs { namespace, ..self }
    }

    /// The next piece, partition_by_home over so many shards; `None` when everything was read.
    ///
    /// # Errors
    /// A file that can't be read on, or the file of rejects not written.
    pub fn next(&mut self, shards: u32) -> Result<Option<Piece>> {
        while let Some(source) = self.sources.get_mut(self.at) {
            let (as_of, name) = (self.as_of, source.name.clone());
            let (topic, partition) = (source.topic, source.partition);
            let namespace = self.namespace;
            let context = |offset| Context {
                namespace,
                ..context(topic, partition, offset, as_of)
            };
            let mut heard = Heard {
                tally: &mut self.tally,
                rejects: &mut self.rejects,
                name: &name,
            };
            let messages = match &mut source.kind {
                Kind::Events { reader, line } => {
                    let lines = read_lines(reader.as_mut(), line)
                        .with_context(|| format!("{name} can't be read on"))?;
                    let Some(lines) = lines else {
                        self.at += 1;
                        continue;
                    };
                    let mut assertions = Vec::new();
                    for (number, line) in &lines {
                        heard.tally.lines += 1;
                        let decoded = cloudevents::decode(Some(line), &[], &context(*number));
                        heard.tally.unknown_fields += u64::from(decoded.unknown_fields);
                        for rejected in &decoded.rejected {
                            heard.reject(*number, rejected.index, &rejected.bad, rejected.raw)?;
                        }
                        assertions.extend(decoded.assertions);
                    }
                    heard.note(&assertions);
                    partition_by_home(&assertions, shards)
                }
                Kind::Feed { reader, line, feed } => {
                    let lines = read_lines(reader.as_mut(), line)
                        .with_context(|| format!("{name} can't be read on"))?;
                    let Some(lines) = lines else {
                        self.at += 1;
                        continue;
                    };
                    let mut assertions: Vec<Assertion<'static>> = Vec::new();
                    for (number, line) in &lines {
                        heard.tally.lines += 1;
                        let dumped = Dumped::of(line);
                        let topic = dumped.topic.as_deref().unwrap_or(&name);
                        let context = dumped.context(context(*number));
                        let decoded = feed.decode(topic, dumped.message(), &context);
                        for rejected in &decoded.rejected {
                            heard.reject(*number, rejected.index, &rejected.bad, rejected.raw)?;
                        }
                        let owned = decoded.assertions.into_iter();
                        assertions.extend(owned.map(Assertion::into_owned));
                    }
                    heard.note(&assertions);
                    partition_by_home(&assertions, shards)
                }
                Kind::Table(table) => {
                    let rows = table
                        .read(PIECE)
                        .with_context(|| format!("{name} can't be read on"))?;
                    if rows.is_empty() {
                        self.at += 1;
                        continue;
                    }
                    let mut assertions = Vec::new();
                    for row in &rows {
                        heard.tally.rows += 1;
                        if row.bytes.as_slice().len() > LIMIT {
                            let detail = format!(
                                "a row of {} bytes: is a quote never closed?",
                                row.bytes.as_slice().len()
                            );
                            heard.reject(row.line, 0, &Bad::new(Reason::TooLarge, detail), &[])?;
                            continue;
                        }
                        for (index, asserted) in table
                            .apply(row, &context(row.number), self.calendar)
                            .into_iter()
                            .enumerate()
                        {
                            match asserted {
                                Ok(assertion) => assertions.push(assertion),
                                Err(bad) => {
                                    heard.reject(row.line, index as u32, &bad, &table.raw(row))?
                                }
                            }
                        }
                    }
                    heard.note(&assertions);
                    partition_by_home(&assertions, shards)
                }
            };
            return Ok(Some(Piece {
                messages,
                time: self.tally.latest.unwrap_or_default(),
            }));
        }
        Ok(None)
    }

    /// Writes out what was rejected, logs it, and gives back the counts.
    ///
    /// # Errors
    /// The file of rejects not written.
    pub fn finish(self) -> Result<(Tally, super::rejects::Counts)> {
        Ok((self.tally, self.rejects.finish()?))
    }
}

/// Where what was read out of one file is noted.
struct Heard<'i> {
    tally: &'i mut Tally,
    rejects: &'i mut Rejects,
    name: &'i str,
}

impl Heard<'_> {
    fn reject(&mut self, line: u64, index: u32, bad: &Bad, raw: &[u8]) -> Result<()> {
        self.rejects.add(self.name, line, index, bad, raw)
    }

    fn note(&mut self, assertions: &[Assertion<'_>]) {
        self.tally.assertions += assertions.len() as u64;
        self.tally.latest = self.tally.latest.max(
            assertions
                .iter()
                .map(|assertion| assertion.stamp.clock.time)
                .max(),
        );
    }
}

/// A file has no broker: no timestamps but `as_of`, and nothing in it is compared with the clock of this machine, so that the same
/// files give the same report on any day.
pub fn context(topic: u32, partition: u32, offset: u64, as_of: Option<i64>) -> Context<'static> {
    Context {
        schema: &SCHEMA,
        topic,
        namespace: None,
        partition,
        offset,
        attempt: 0,
        timestamp: as_of,
        is_append_time: false,
        now: i64::MAX,
        limit: LIMIT,
    }
}

/// The tables that the mapping names, read for their columns, by base name.
fn mapped(files: &[PathBuf], mapping: Option<&Mapping>) -> Result<HashMap<String, Table>> {
    let mut tables = HashMap::new();
    let Some(mapping) = mapping else {
        return Ok(tables);
    };
    for path in files {
        let base = base_name(path);
        if !mapping.names(&base) {
            continue;
        }
        let is_joined = mapping
            .rules
            .iter()
            .any(|rule| rule.joins.iter().any(|join| join.file == base));
        let table = Table::read(path, mapping.delimiter, is_joined)?;
        ensure!(
            tables.insert(base.clone(), table).is_none(),
            "two files are called {base}: give the one that the mapping means"
        );
    }
    Ok(tables)
}

fn check_files(
    mapping: &Mapping,
    tables: &HashMap<String, Table>,
    as_of: Option<i64>,
) -> Result<()> {
    let given = || {
        let mut names: Vec<&str> = tables.keys().map(String::as_str).collect();
        names.sort_unstable();
        if names.is_empty() {
            "none of those given are in the mapping".to_owned()
        } else {
            format!("given are {}", names.join(", "))
        }
    };
    for rule in &mapping.rules {
        let joined = rule
            .joins
            .iter()
            .enumerate()
            .map(|(i, join)| (format!("{}.join[{i}].file", rule.key), join.file.as_str()));
        let own = rule.file().map(|file| (format!("{}.file", rule.key), file));
        for (key, file) in own.into_iter().chain(joined) {
            ensure!(
                tables.contains_key(file),
                "{key}: there is no file `{file}` among those to read; {}",
                given()
            );
        }
        ensure!(
            rule.has_time() || as_of.is_some() || rule.file().is_none(),
            "{}.time: {} has no time column: name one here, or give the time of the export with --as-of TIME",
            rule.key,
            rule.file().unwrap_or_default()
        );
    }
    Ok(())
}

fn base_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

fn is_table(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        ["csv", "tsv"]
            .iter()
            .any(|table| extension.eq_ignore_ascii_case(table))
    })
}

fn open(path: &Path) -> Result<Box<dyn BufRead + Send>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(BufReader::with_capacity(1 << 16, io::stdin())));
    }
    let file = open_file(path)?;
    Ok(Box::new(BufReader::with_capacity(1 << 16, file)))
}

/// All lines of a file that aren't blank, with their numbers.
///
/// # Errors
/// A file that can't be read.
pub fn lines(path: &Path) -> Result<Vec<Line>> {
    let mut reader = open(path)?;
    let (mut number, mut all) = (0, Vec::new());
    while let Some(lines) = read_lines(reader.as_mut(), &mut number)
        .with_context(|| format!("{} can't be read on", path.display()))?
    {
        all.extend(lines);
    }
    Ok(all)
}

/// A line's number, from 1, and its text.
type Line = (u64, Vec<u8>);

/// The next lines that aren't blank, with their numbers; `None` at the end.
fn read_lines(
    reader: &mut (dyn BufRead + Send),
    number: &mut u64,
) -> io::Result<Option<Vec<Line>>> {
    let (mut lines, mut size) = (Vec::new(), 0);
    while lines.len() < PIECE && size < LIMIT {
        let mut line = Vec::new();
        // One byte above the limit is enough for the decoder to see that the line is too long; the rest of it is skipped.
        if reader.take(LIMIT as u64 + 1).read_until(b'\n', &mut line)? == 0 {
            return Ok((!lines.is_empty()).then_some(lines));
        }
        if line.len() > LIMIT && !line.ends_with(b"\n") {
            reader.skip_until(b'\n')?;
        }
        *number += 1;
        let start = if *number == 1 && line.starts_with(b"\xef\xbb\xbf") {
            3
        } else {
            0
        };
        let text = line[start..].trim_ascii();
        if !text.is_empty() {
            size += text.len();
            lines.push((*number, text.to_vec()));
        }
    }
    Ok(Some(lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lines_of_any_length_and_passes_over_blank_ones() {
        let long = vec![b'x'; LIMIT + 10];
        let text = [b"\xef\xbb\xbf{}\r\n\n  \n".as_slice(), &long, b"\nlast"].concat();
        let mut number = 0;
        let mut reader: Box<dyn BufRead + Send> = Box::new(io::Cursor::new(text));
        let mut read = Vec::new();
        while let Some(lines) = read_lines(reader.as_mut(), &mut number).unwrap() {
            read.extend(lines.into_iter().map(|(number, line)| (number, line.len())));
        }
        assert_eq!(read, [(1, 2), (4, LIMIT + 1), (5, 4)]);
    }
}
