//! Tables: CSV files with a header.

use std::collections::BTreeSet;
use std::io::{Cursor, Read};
use std::path::Path;

use csv::{ByteRecord, ReaderBuilder};

use super::charset::{Charset, windows_1252};
use super::delimiter::{find, shown};
use super::{InputError, Opened, Say, Told, open};

/// The longest header in which a delimiter is looked for, in bytes.
const HEADER: u64 = 1 << 16;

/// A table that is being read.
pub struct Table {
    name: String,
    /// What separates its cells.
    pub delimiter: u8,
    /// The names of its columns, blanks around them cut off.
    pub columns: Vec<String>,
    reader: csv::Reader<Box<dyn Read + Send>>,
    charset: Charset,
}

impl Table {
    /// Opens a table and reads its header. Where no delimiter is told it is the header's; of
    /// several the one by which most of the `wanted` columns are there.
    ///
    /// # Errors
    /// It can't be read, has no header, or its delimiter is ambiguous.
    pub fn open(
        path: &Path,
        told: Told,
        wanted: &BTreeSet<&str>,
        say: Say,
    ) -> Result<Table, InputError> {
        let Opened {
            name,
            mut reader,
            mut charset,
        } = open(path, told, say)?;
        let read_error = |source| InputError::Read {
            name: name.clone(),
            source,
        };
        let content = |problem: String| InputError::Content {
            name: name.clone(),
            problem,
        };
        let mut start = Vec::new();
        reader
            .by_ref()
            .take(HEADER)
            .read_to_end(&mut start)
            .map_err(read_error)?;
        let header_end = start
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(start.len());
        if start[..header_end].contains(&0) {
            let problem = "its header has bytes of zero; if it is UTF-16 without a byte order mark, write `encoding = \"utf-16le\"` in the mapping";
            return Err(content(problem.into()));
        }
        let delimiter = match told.delimiter {
            Some(delimiter) => delimiter,
            None => {
                let found = find(&start, wanted).map_err(content)?;
                if found != b',' {
                    say(&format!(
                        "{name}: its cells are separated by {}",
                        shown(found)
                    ));
                }
                found
            }
        };
        let whole: Box<dyn Read + Send> = Box::new(Cursor::new(start).chain(reader));
        let mut reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .flexible(true)
            .from_reader(whole);
        let header = reader
            .byte_headers()
            .map_err(|error| content(format!("its header can't be read: {error}")))?;
        let line = header.position().map_or(1, csv::Position::line);
        let is_windows = charset.look(header.iter(), line);
        let name_of = |column| match is_windows {
            true => windows_1252(column),
            false => String::from_utf8_lossy(column),
        };
        let columns: Vec<String> = header
            .iter()
            .map(|column| name_of(column).trim().to_owned())
            .collect();
        if columns.iter().all(String::is_empty) {
            return Err(content(
                "it has no header: its first line must name the columns".into(),
            ));
        }
        Ok(Table {
            name,
            delimiter,
            columns,
            reader,
            charset,
        })
    }

    /// The next row; none at the end. Cells that aren't UTF-8 are those of a broken row.
    ///
    /// # Errors
    /// The file can't be read on.
    pub fn next_row(&mut self) -> Result<Option<ByteRecord>, InputError> {
        let mut row = ByteRecord::new();
        let is_read =
            self.reader
                .read_byte_record(&mut row)
                .map_err(|error| InputError::Content {
                    name: self.name.clone(),
                    problem: format!("it can't be read on: {error}"),
                })?;
        if !is_read {
            return Ok(None);
        }
        let position = row.position().cloned();
        let line = position.as_ref().map_or(0, csv::Position::line);
        if self.charset.look(row.iter(), line) {
            let cells = row.iter().map(windows_1252);
            row = ByteRecord::from_iter(cells.map(|cell| cell.into_owned().into_bytes()));
            row.set_position(position);
        }
        Ok(Some(row))
    }
}
