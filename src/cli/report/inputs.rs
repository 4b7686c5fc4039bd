//! The files of a report, read a piece at a time into messages of the log.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use serde_json::{Value as Json, json};

use super::grid::grouped;
use super::rejects::{Counts, Rejects};
use super::table::{Table, TableReader};
use crate::cli::dump::{Dumped, LIMIT, Reading, base_name, open_lines, told};
use crate::event::Assertion;
use crate::event::decode::{Bad, Context, Reason, Rounded, cloudevents};
use crate::event::feed::Feed;
use crate::event::mapping::Mapping;
use crate::input::{Lines, Told};
use crate::pipeline::route::partition_by_home;
use crate::record::{Home, SCHEMA, topic_number};
use crate::window::Calendar;

/// How many rows are routed together.
const PIECE: usize = 1_000;

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
    /// How many amounts were rounded to four places, by file or table and column.
    pub rounded: BTreeMap<(String, String), u64>,
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
        let mut rounded: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
        for ((table, column), count) in &self.rounded {
            rounded.entry(table).or_default().insert(column, *count);
        }
        json!({
            "files": self.files,
            "lines": self.lines,
            "rows": self.rows,
            "assertions": self.assertions,
            "unknown_fields": self.unknown_fields,
            "rejected": rejected,
            "rounded": rounded,
        })
    }

    /// A line about the amounts that were rounded; blank if there are none.
    pub fn rounded_to_text(&self) -> String {
        let columns = self.rounded.iter();
        let columns = columns.map(|((table, column), count)| {
            format!("{} in {table} {column}", grouped(&count.to_string()))
        });
        let columns: Vec<String> = columns.collect();
        match columns.is_empty() {
            true => String::new(),
            false => format!("  amounts rounded to four places: {}\n", columns.join(", ")),
        }
    }

    fn round(&mut self, rounded: Vec<Rounded>) {
        for one in rounded {
            *self.rounded.entry((one.table, one.column)).or_default() += 1;
        }
    }
}

/// A piece of the input, routed.
pub struct Piece {
    /// Messages of the log.
    pub messages: Vec<(Home, Vec<u8>)>,
    /// The greatest time of any event so far (µs): when a log that took these as they happened
    /// would have taken the last one.
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
    Events(Lines),
    Table(Box<TableReader<'m>>),
    Feed {
        lines: Lines,
        feed: &'m Feed,
        /// The topic of messages whose lines don't name one.
        topic: String,
    },
}

impl<'m> Inputs<'m> {
    /// Opens every file, so that a missing one is noticed before anything is read.
    ///
    /// # Errors
    /// A file that can't be opened, a table no mapping explains, a mapping that doesn't fit the
    /// tables.
    pub fn open(
        files: &[PathBuf],
        reading: &'m Reading,
        as_of: Option<i64>,
        calendar: &'m Calendar,
        rejects: Rejects,
    ) -> Result<Inputs<'m>> {
        let (mapping, feed) = (reading.tables.as_ref(), reading.feed.as_ref());
        let mut tables = mapped(files, mapping)?;
        if let Some(mapping) = mapping {
            check_files(mapping, &tables, as_of)?;
        }
        let mut sources: Vec<Source<'m>> = Vec::new();
        let mut names = Vec::new();
        for path in files {
            let name = path.display().to_string();
            let base = base_name(path, mapping);
            let topic = topic_number(&base);
            let partition = sources
                .iter()
                .filter(|source| source.topic == topic)
                .count() as u32;
            let source = match mapping.filter(|mapping| mapping.names(&base)) {
                None if let Some(feed) = feed => Some(Kind::Feed {
                    lines: open_lines(path, told(feed.mapping(), &base))?,
                    feed,
                    topic: reading.topic_of(&base),
                }),
                // None, if it is only joined by others.
                Some(mapping) => TableReader::open(&base, mapping, &mut tables)?
                    .map(|reader| Kind::Table(Box::new(reader))),
                None if is_table(&base) && mapping.is_some() => {
                    eprintln!("{name}: the mapping doesn't name it, so it is passed over");
                    continue;
                }
                None if is_table(&base) => bail!(
                    "{name} is a table: give the meaning of its columns with --mapping FILE (docs/mapping.md)"
                ),
                None => {
                    let told = mapping.map_or_else(Told::default, |mapping| told(mapping, &base));
                    Some(Kind::Events(open_lines(path, told)?))
                }
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
                Kind::Events(lines) => {
                    let Some(lines) = lines.next_piece()? else {
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
                Kind::Feed {
                    lines,
                    feed,
                    topic: feed_topic,
                } => {
                    let Some(lines) = lines.next_piece()? else {
                        self.at += 1;
                        continue;
                    };
                    let mut assertions: Vec<Assertion<'static>> = Vec::new();
                    for (number, line) in &lines {
                        heard.tally.lines += 1;
                        let dumped = Dumped::of(line);
                        let topic = dumped.topic.as_deref().unwrap_or(feed_topic);
                        let context = dumped.context(context(*number));
                        let decoded = feed.decode(topic, dumped.message(), &context);
                        for rejected in &decoded.rejected {
                            heard.reject(*number, rejected.index, &rejected.bad, rejected.raw)?;
                        }
                        heard.tally.round(decoded.rounded);
                        let owned = decoded.assertions.into_iter();
                        assertions.extend(owned.map(Assertion::into_owned));
                    }
                    heard.note(&assertions);
                    partition_by_home(&assertions, shards)
                }
                Kind::Table(table) => {
                    let rows = table.read(PIECE)?;
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
                                Ok(applied) => {
                                    heard.tally.round(applied.rounded);
                                    assertions.push(applied.assertion);
                                }
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

/// A file has no broker: no timestamps but `as_of`, and nothing in it is compared with the clock of
/// this machine, so that the same files give the same report on any day.
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
        let base = base_name(path, Some(mapping));
        if !mapping.names(&base) {
            continue;
        }
        let is_joined = mapping
            .rules
            .iter()
            .any(|rule| rule.joins.iter().any(|join| join.file == base));
        let table = Table::open(path, &base, mapping, is_joined)?;
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

fn is_table(name: &str) -> bool {
    let extension = Path::new(name).extension();
    extension.is_some_and(|extension| {
        ["csv", "tsv"]
            .iter()
            .any(|table| extension.eq_ignore_ascii_case(table))
    })
}
