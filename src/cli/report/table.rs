//! Tables: CSV files, their rows joined by keys and read through a mapping.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use csv::{ByteRecord, StringRecord};

use crate::event::decode::{Bad, Context, Reason};
use crate::event::mapping::{Join, Mapping, RowClock, Rule};
use crate::event::{Assertion, FieldName, Value};
use crate::record::Field;
use crate::window::Calendar;

/// Opens a file; a directory opens too, and can't be read, so it is refused here.
pub fn open_file(path: &Path) -> Result<File> {
    let file = File::open(path).with_context(|| format!("can't open {}", path.display()))?;
    ensure!(
        !file.metadata().is_ok_and(|about| about.is_dir()),
        "{} is a directory: name the files in it",
        path.display()
    );
    Ok(file)
}

/// A table's columns, and its rows if others join it.
pub struct Table {
    columns: Vec<String>,
    rows: Vec<StringRecord>,
}

/// One row.
pub struct Row {
    /// Its cells.
    pub bytes: ByteRecord,
    /// The line it starts in.
    pub line: u64,
    /// Its number in the file, from 0.
    pub number: u64,
}

/// Reads a file's rows and what its rules make of them.
pub struct TableReader<'m> {
    reader: csv::Reader<File>,
    delimiter: u8,
    width: usize,
    number: u64,
    rules: Vec<Bound<'m>>,
}

/// A rule bound to the columns of the tables it reads.
struct Bound<'m> {
    rule: &'m Rule,
    joins: Vec<Lookup>,
    columns: HashMap<String, Cell>,
}

/// The rows of a joined table by key.
struct Lookup {
    on: Cell,
    rows: HashMap<String, StringRecord>,
}

/// Where a column is: its own row's cell, or that of a joined row.
#[derive(Clone, Copy)]
enum Cell {
    Own(usize),
    Joined(usize, usize),
}

fn reader(path: &Path, delimiter: u8) -> Result<csv::Reader<File>> {
    Ok(csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .flexible(true)
        .from_reader(open_file(path)?))
}

impl Table {
    /// Reads a table's columns, with its rows if `whole`.
    ///
    /// # Errors
    /// The file can't be read, or has no header.
    pub fn read(path: &Path, delimiter: u8, whole: bool) -> Result<Table> {
        let name = path.display();
        let mut reader = reader(path, delimiter)?;
        let header = reader
            .headers()
            .with_context(|| format!("the header of {name} can't be read"))?;
        let columns: Vec<String> = header
            .iter()
            .map(|column| column.trim().to_owned())
            .collect();
        ensure!(
            columns.iter().any(|column| !column.is_empty()),
            "{name} has no header: its first line must name the columns"
        );
        let rows = if whole {
            reader.records().collect::<Result<_, _>>()
        } else {
            Ok(Vec::new())
        };
        Ok(Table {
            columns,
            rows: rows.with_context(|| format!("{name} can't be read"))?,
        })
    }
}

impl<'m> TableReader<'m> {
    /// Opens a file for the rules that read it; `None` if there are none.
    ///
    /// # Errors
    /// A column of a rule that no table has.
    pub fn open(
        path: &Path,
        base: &str,
        mapping: &'m Mapping,
        tables: &HashMap<String, Table>,
    ) -> Result<Option<TableReader<'m>>> {
        let rules = mapping
            .rules
            .iter()
            .filter(|rule| rule.file() == Some(base))
            .map(|rule| Bound::new(rule, tables))
            .collect::<Result<Vec<_>>>()?;
        if rules.is_empty() {
            return Ok(None);
        }
        let width = tables.get(base).map_or(0, |table| table.columns.len());
        Ok(Some(TableReader {
            reader: reader(path, mapping.delimiter)?,
            delimiter: mapping.delimiter,
            width,
            number: 0,
            rules,
        }))
    }

    /// The next rows; none at the end.
    ///
    /// # Errors
    /// The file can't be read on.
    pub fn read(&mut self, count: usize) -> csv::Result<Vec<Row>> {
        let mut rows = Vec::new();
        while rows.len() < count {
            let mut bytes = ByteRecord::new();
            if !self.reader.read_byte_record(&mut bytes)? {
                break;
            }
            let line = bytes.position().map_or(0, csv::Position::line);
            rows.push(Row {
                bytes,
                line,
                number: self.number,
            });
            self.number += 1;
        }
        Ok(rows)
    }

    /// The event of a row by each rule.
    pub fn apply<'r>(
        &'r self,
        row: &'r Row,
        context: &Context<'_>,
        calendar: &Calendar,
    ) -> Vec<Result<Assertion<'r>, Bad>> {
        let bad = |detail: String| vec![Err(Bad::new(Reason::NotAnEvent, detail))];
        if row
            .bytes
            .iter()
            .skip(self.width)
            .any(|cell| !cell.is_empty())
        {
            return bad(format!(
                "{} cells where the header names {}: is a quote missing?",
                row.bytes.len(),
                self.width
            ));
        }
        if let Some(column) = row
            .bytes
            .iter()
            .position(|cell| std::str::from_utf8(cell).is_err())
        {
            return bad(format!(
                "cell {} is not UTF-8; write the file as UTF-8",
                column + 1
            ));
        }
        self.rules
            .iter()
            .enumerate()
            .filter_map(|(index, rule)| {
                rule.apply(row, context, index as u32, calendar).transpose()
            })
            .collect()
    }

    /// The row as a line of CSV.
    pub fn raw(&self, row: &Row) -> Vec<u8> {
        let mut writer = csv::WriterBuilder::new()
            .delimiter(self.delimiter)
            .from_writer(Vec::new());
        // Writing to memory can't fail.
        let _ = writer.write_byte_record(&row.bytes);
        writer
            .into_inner()
            .unwrap_or_default()
            .trim_ascii_end()
            .to_vec()
    }
}

impl<'m> Bound<'m> {
    fn new(rule: &'m Rule, tables: &HashMap<String, Table>) -> Result<Bound<'m>> {
        let columns_of = |file: &str| {
            tables
                .get(file)
                .map(|table| table.columns.as_slice())
                .unwrap_or_default()
        };
        let own = rule.file().unwrap_or_default();
        let mut columns = HashMap::new();
        // The nearer table's column counts where two have the same name; a `prefix` makes them distinct.
        let mut add = |name: String, cell: Cell| {
            columns.entry(name).or_insert(cell);
        };
        columns_of(own)
            .iter()
            .enumerate()
            .for_each(|(i, name)| add(name.clone(), Cell::Own(i)));
        for (number, join) in rule.joins.iter().enumerate() {
            columns_of(&join.file)
                .iter()
                .enumerate()
                .for_each(|(i, name)| {
                    add(format!("{}{name}", join.prefix), Cell::Joined(number, i))
                });
        }
        let find = |key: &str, column: &str| match columns.get(column) {
            Some(cell) => Ok(*cell),
            None => {
                let mut known: Vec<&str> = columns.keys().map(String::as_str).collect();
                known.sort_unstable();
                let files = if rule.joins.is_empty() {
                    own.to_owned()
                } else {
                    format!("{own} or the files joined to it")
                };
                bail!(
                    "{key}: there is no column `{column}` in {files}; there are {}",
                    known.join(", ")
                )
            }
        };
        for (key, column) in rule.columns() {
            find(&key, column)?;
        }
        let mut joins = Vec::new();
        for (number, join) in rule.joins.iter().enumerate() {
            let key = format!("{}.join[{number}]", rule.key);
            let on = find(&format!("{key}.on"), &join.on)?;
            ensure!(
                !matches!(on, Cell::Joined(of, _) if of >= number),
                "{key}.on: `{}` is a column of {} itself or of a later join; name one of {} or an earlier join",
                join.on,
                join.file,
                own
            );
            joins.push(Lookup {
                on,
                rows: by_key(&key, join, tables)?,
            });
        }
        Ok(Bound {
            rule,
            joins,
            columns,
        })
    }

    fn apply<'r>(
        &'r self,
        row: &'r Row,
        context: &Context<'_>,
        index: u32,
        calendar: &Calendar,
    ) -> Result<Option<Assertion<'r>>, Bad> {
        let mut partners: Vec<Option<&'r StringRecord>> = Vec::with_capacity(self.joins.len());
        for join in &self.joins {
            let key = cell(row, &partners, join.on).unwrap_or_default().trim();
            partners.push(join.rows.get(key));
        }
        let look_up = |name: &str| {
            self.columns
                .get(name)
                .and_then(|at| cell(row, &partners, *at))
        };
        let at = (RowClock::default(), index);
        let Some(applied) = self.rule.apply(look_up, context, at, calendar)? else {
            return Ok(None);
        };
        let mut assertion = applied.assertion;
        // A row of an export is there, so its record is: one that was deleted before has come back.
        let deleted = FieldName::Known(Field::DELETED);
        if !assertion.values.iter().any(|(name, _)| *name == deleted) {
            assertion.values.push((deleted, Value::Flag(false)));
        }
        Ok(Some(assertion))
    }
}

fn cell<'r>(row: &'r Row, partners: &[Option<&'r StringRecord>], at: Cell) -> Option<&'r str> {
    match at {
        // Every cell was seen to be UTF-8 before rules are applied.
        Cell::Own(column) => row
            .bytes
            .get(column)
            .and_then(|cell| std::str::from_utf8(cell).ok()),
        Cell::Joined(join, column) => partners.get(join).copied().flatten()?.get(column),
    }
}

/// The rows of a joined table by key. Two rows of one key would make the metrics depend on which is taken.
fn by_key(
    key: &str,
    join: &Join,
    tables: &HashMap<String, Table>,
) -> Result<HashMap<String, StringRecord>> {
    let Some(table) = tables.get(&join.file) else {
        return Ok(HashMap::new());
    };
    let Some(column) = table.columns.iter().position(|column| *column == join.key) else {
        bail!(
            "{key}.key: there is no column `{}` in {}; there are {}",
            join.key,
            join.file,
            table.columns.join(", ")
        );
    };
    let mut rows = HashMap::with_capacity(table.rows.len());
    for row in &table.rows {
        let value = row.get(column).unwrap_or_default().trim();
        if !value.is_empty() && rows.insert(value.to_owned(), row.clone()).is_some() {
            bail!(
                "{key}.key: `{value}` is twice in column `{}` of {}; a join needs one row to each key",
                join.key,
                join.file
            );
        }
    }
    Ok(rows)
}
