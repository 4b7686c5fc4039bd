//! Tables: CSV files, their rows joined by keys and read through a mapping.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use csv::{ByteRecord, StringRecord};

use crate::cli::dump::told;
use crate::event::decode::{Bad, Context, Reason};
use crate::event::mapping::{Applied, Join, Mapping, RowClock, Rule};
use crate::event::{FieldName, Value};
use crate::input::{self, InputError};
use crate::record::Field;
use crate::window::Calendar;

/// A table: its columns, and its rows, which are in memory if others join them.
pub struct Table {
    columns: Vec<String>,
    delimiter: u8,
    joined: Vec<StringRecord>,
    /// Its rows as they are read, if none of them is in memory.
    unread: Option<Box<input::Table>>,
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
    rows: Unread,
    delimiter: u8,
    width: usize,
    number: u64,
    rules: Vec<Bound<'m>>,
}

/// The rows that are still to come.
enum Unread {
    Held(std::vec::IntoIter<StringRecord>),
    File(Box<input::Table>),
}

impl Unread {
    fn next(&mut self) -> Result<Option<ByteRecord>, InputError> {
        match self {
            Unread::Held(rows) => Ok(rows.next().map(StringRecord::into_byte_record)),
            Unread::File(table) => table.next_row(),
        }
    }
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

impl Table {
    /// Opens a table as the mapping says, with its rows in memory if `is_joined`.
    ///
    /// # Errors
    /// The file can't be read, or has no header; a delimiter that is ambiguous.
    pub fn open(path: &Path, base: &str, mapping: &Mapping, is_joined: bool) -> Result<Table> {
        let told = told(mapping, base);
        let mut table = input::Table::open(path, told, &mapping.columns_of(base), |line| {
            eprintln!("{line}")
        })?;
        let (columns, delimiter) = (table.columns.clone(), table.delimiter);
        if !is_joined {
            return Ok(Table {
                columns,
                delimiter,
                joined: Vec::new(),
                unread: Some(Box::new(table)),
            });
        }
        let mut rows = Vec::new();
        while let Some(row) = table.next_row()? {
            let line = row.position().map_or(0, csv::Position::line);
            let row =
                StringRecord::from_byte_record(row).map_err(|error| error.utf8_error().clone());
            let problem = || {
                format!(
                    "{}:{line} is not UTF-8, as the lines before it are; {MEND}",
                    path.display()
                )
            };
            rows.push(row.with_context(problem)?);
        }
        Ok(Table {
            columns,
            delimiter,
            joined: rows,
            unread: None,
        })
    }

    /// The columns whose names others have, too.
    fn twice(&self) -> HashSet<&str> {
        let mut seen = HashSet::new();
        let columns = self.columns.iter().map(String::as_str);
        columns.filter(|column| !seen.insert(*column)).collect()
    }
}

/// What to do about text that can't be read.
const MEND: &str = "mend it, or write the file's `encoding` in the mapping";

impl<'m> TableReader<'m> {
    /// A reader of a file for the rules that read it, which takes its rows out of the tables;
    /// `None` if there are no rules.
    ///
    /// # Errors
    /// A column of a rule that no table has, or one that a table has twice.
    pub fn open(
        base: &str,
        mapping: &'m Mapping,
        tables: &mut HashMap<String, Table>,
    ) -> Result<Option<TableReader<'m>>> {
        let rules = mapping
            .rules
            .iter()
            .filter(|rule| rule.file() == Some(base))
            .map(|rule| Bound::new(rule, tables))
            .collect::<Result<Vec<_>>>()?;
        let Some(table) = tables.get_mut(base).filter(|_| !rules.is_empty()) else {
            return Ok(None);
        };
        let rows = match table.unread.take() {
            Some(file) => Unread::File(file),
            None => Unread::Held(table.joined.clone().into_iter()),
        };
        Ok(Some(TableReader {
            rows,
            delimiter: table.delimiter,
            width: table.columns.len(),
            number: 0,
            rules,
        }))
    }

    /// The next rows; none at the end.
    ///
    /// # Errors
    /// The file can't be read on.
    pub fn read(&mut self, count: usize) -> Result<Vec<Row>, InputError> {
        let mut rows = Vec::new();
        while rows.len() < count {
            let Some(bytes) = self.rows.next()? else {
                break;
            };
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
    ) -> Vec<Result<Applied<'r>, Bad>> {
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
                "cell {} is not UTF-8, as the rest of the file is; {MEND}",
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
        // The nearer table's column counts where two have the same name; a `prefix` makes them
        // distinct.
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
        // A name that is twice in one table is nobody's; but only if it is asked for.
        let twice = |cell: &Cell, column: &str| {
            let (file, column) = match cell {
                Cell::Own(_) => (own, column),
                Cell::Joined(number, _) => {
                    let join = &rule.joins[*number];
                    (
                        join.file.as_str(),
                        column.strip_prefix(join.prefix.as_str()).unwrap_or(column),
                    )
                }
            };
            let table = tables.get(file)?;
            table.twice().contains(column).then(|| {
                format!("the header of {file} has `{column}` twice: rename one of the two")
            })
        };
        let find = |key: &str, column: &str| match columns.get(column) {
            Some(cell) => match twice(cell, column) {
                Some(problem) => bail!("{key}: {problem}"),
                None => Ok(*cell),
            },
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
    ) -> Result<Option<Applied<'r>>, Bad> {
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
        let Some(mut applied) = self.rule.apply(look_up, context, at, calendar)? else {
            return Ok(None);
        };
        // A row of an export is there, so its record is: one that was deleted before has come back.
        let deleted = FieldName::Known(Field::DELETED);
        let values = &mut applied.assertion.values;
        if !values.iter().any(|(name, _)| *name == deleted) {
            values.push((deleted, Value::Flag(false)));
        }
        Ok(Some(applied))
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

/// The rows of a joined table by key. Two rows of one key would make the metrics depend on which is
/// taken.
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
    ensure!(
        !table.twice().contains(join.key.as_str()),
        "{key}.key: the header of {} has `{}` twice: rename one of the two",
        join.file,
        join.key
    );
    let mut rows = HashMap::with_capacity(table.joined.len());
    for row in &table.joined {
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
