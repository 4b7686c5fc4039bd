//! One request's statement on the engine: its settings, its rows, its result. Everything here
//! blocks.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::blocks::{self, Blocks};
use super::statement::{self, NotOne, Statement};
use super::{BODY_LIMIT, bad_body, not_implemented};
use crate::local::chdb::{Connection, Engine, EngineError, Param};

/// Raw bytes in one compressed block of a result, as ClickHouse cuts them.
const BLOCK: usize = 1 << 20;

/// Bytes of the disk that are left alone. On a disk without a byte left the engine acknowledges
/// inserts all the same (seen with 26.7.2) and leaves parts with empty files behind, so this is
/// prevented: what it has started, merges included, still has space.
const RESERVE: u64 = 64 << 20;

/// What a request asks for.
#[derive(Debug, Default)]
pub struct Job {
    /// `?query=`; the body follows it.
    sql: Bytes,
    pub body: Bytes,
    database: Option<String>,
    default_format: Option<String>,
    settings: Vec<(String, String)>,
    pub params: Vec<Param>,
    pub read_only: bool,
    decompress: bool,
    compress: bool,
    wait_for_end: bool,
}

impl Job {
    /// Reads the query string: the interface's own names, `param_…`, and settings for the rest.
    pub fn from_query_string(pairs: Vec<(String, String)>) -> Result<Self, EngineError> {
        let mut job = Self::default();
        for (name, value) in pairs {
            match name.as_str() {
                "query" => job.sql = value.into(),
                "database" => job.database = Some(value).filter(|name| !name.is_empty()),
                "default_format" => job.default_format = Some(value),
                "decompress" => job.decompress = is_on(&value),
                "compress" => job.compress = is_on(&value),
                "wait_end_of_query" => job.wait_for_end = is_on(&value),
                "session_id" | "role" => {
                    let detail = format_args!("the local engine has no {name}: leave it out");
                    return Err(not_implemented(detail));
                }
                "client_protocol_version" if value != "0" => {
                    return Err(not_implemented(
                        "the local engine knows only client_protocol_version 0",
                    ));
                }
                "user"
                | "password"
                | "quota_key"
                | "query_id"
                | "buffer_size"
                | "stacktrace"
                | "session_timeout"
                | "session_check"
                | "close_session"
                | "client_protocol_version" => {}
                _ => match name.strip_prefix("param_") {
                    Some(param) => job.params.push((param.to_owned(), value.into())),
                    None => job.settings.push((name, value)),
                },
            }
        }
        Ok(job)
    }

    /// Puts the connection into the request's database and settings.
    fn prepare(&self, connection: &mut Connection) -> Result<(), EngineError> {
        if let Some(database) = &self.database {
            let name = database.replace('\\', "\\\\").replace('`', "\\`");
            connection.query(format!("USE `{name}`").as_bytes(), "Null", &[])?;
        }
        let mut assignments = Vec::new();
        for (name, value) in &self.settings {
            if name.is_empty()
                || !name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.')
            {
                return Err(EngineError::new(
                    115,
                    "UNKNOWN_SETTING",
                    format_args!("Unknown setting {name:?}"),
                ));
            }
            let value = value.replace('\\', "\\\\").replace('\'', "\\'");
            assignments.push(format!("{name} = '{value}'"));
        }
        if self.read_only {
            // As on a server, where a GET may read and set, but change nothing.
            assignments.push("readonly = 2".to_owned());
        }
        if !assignments.is_empty() {
            connection.query(
                format!("SET {}", assignments.join(", ")).as_bytes(),
                "Null",
                &[],
            )?;
        }
        Ok(())
    }

    fn body_pieces(&self) -> impl Iterator<Item = Result<Bytes, EngineError>> {
        let (plain, packed) = match self.decompress {
            true => (None, self.body.clone()),
            false => (Some(Ok(self.body.clone())), Bytes::new()),
        };
        plain.into_iter().chain(Blocks::new(packed))
    }

    /// The query string's text and the body as one text.
    fn text(&self) -> Result<Vec<u8>, EngineError> {
        let mut text = self.sql.to_vec();
        if !text.is_empty() && !self.body.is_empty() {
            text.push(b'\n');
        }
        for piece in self.body_pieces() {
            let piece = piece?;
            if text.len() + piece.len() > BODY_LIMIT {
                return Err(bad_body(
                    axum::http::StatusCode::PAYLOAD_TOO_LARGE,
                    String::new(),
                ));
            }
            text.extend_from_slice(&piece);
        }
        Ok(text)
    }
}

fn is_on(value: &str) -> bool {
    value != "0" && value != "false"
}

/// What a running statement sends to its response, in this order: pieces, then the end or a
/// failure.
pub enum Part {
    Chunk(Bytes),
    /// Only as the first part: later the response has begun, and a failure is a piece of text that
    /// no end follows.
    Failed(EngineError),
    End,
}

/// The blocking side of a response.
pub struct Sink {
    runtime: Handle,
    parts: mpsc::Sender<Part>,
    cut_off: watch::Receiver<bool>,
    compress: bool,
    tag: String,
    begun: bool,
}

impl Sink {
    /// `cut_off` turning true ends the response from our side; `tag` marks an error inside a
    /// response.
    pub fn new(
        runtime: Handle,
        parts: mpsc::Sender<Part>,
        cut_off: watch::Receiver<bool>,
        job: &Job,
        tag: String,
    ) -> Self {
        Self {
            runtime,
            parts,
            cut_off,
            compress: job.compress,
            tag,
            begun: false,
        }
    }

    fn send(&mut self, part: Part) -> Result<(), Stop> {
        self.runtime.block_on(async {
            tokio::select! {
                sent = self.parts.send(part) => sent.map_err(|_| Stop::Unwanted),
                _ = self.cut_off.wait_for(|cut_off| *cut_off) => Err(Stop::Unwanted),
            }
        })
    }

    fn chunk(&mut self, bytes: Bytes) -> Result<(), Stop> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.begun = true;
        if !self.compress {
            return self.send(Part::Chunk(bytes));
        }
        bytes
            .chunks(BLOCK)
            .try_for_each(|raw| self.send(Part::Chunk(blocks::compress(raw))))
    }

    fn finish(mut self, outcome: Result<(), Stop>) {
        let last = match outcome {
            Ok(()) => self.send(Part::End),
            Err(Stop::Unwanted) => Ok(()),
            Err(Stop::Failed(error)) if !self.begun => self.send(Part::Failed(error)),
            Err(Stop::Failed(error)) => {
                let (tag, length) = (&self.tag, error.message.len() + 1);
                let text = format!(
                    "\r\n__exception__\r\n{tag}\r\n{error}\n{length} {tag}\r\n__exception__\r\n"
                );
                self.chunk(text.into())
            }
        };
        // The receiver is dropped: there is no one to report to.
        let _ = last;
    }
}

/// Why a statement ends early.
enum Stop {
    Failed(EngineError),
    /// The client has gone or the front is stopping.
    Unwanted,
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Self {
        Self::Failed(error)
    }
}

/// Runs the job and sends all its output to `sink`. No connection is left when it returns.
pub fn run(engine: &Arc<Engine>, job: &Job, mut sink: Sink) {
    let outcome = execute(engine, job, &mut sink);
    sink.finish(outcome);
}

/// Asks every running statement to end.
pub fn kill_statements(engine: &Arc<Engine>) -> Result<(), EngineError> {
    connect(engine)?
        .query(b"KILL QUERY WHERE 1 ASYNC", "Null", &[])
        .map(drop)
}

fn connect(engine: &Arc<Engine>) -> Result<Connection, EngineError> {
    engine
        .connect()
        .map_err(|error| EngineError::new(1002, "UNKNOWN_EXCEPTION", error))
}

fn execute(engine: &Arc<Engine>, job: &Job, sink: &mut Sink) -> Result<(), Stop> {
    let mut connection = connect(engine)?;
    job.prepare(&mut connection)?;

    // Where the query string holds all but the rows, the body is rows, and is not copied into a
    // text.
    if let Ok(Statement::Insert {
        head,
        format: Some(format),
        rows,
    }) = statement::parse(&job.sql)
    {
        let rows = Bytes::copy_from_slice(rows);
        let rows = [Ok(rows)].into_iter().chain(job.body_pieces());
        return Ok(insert(engine, &mut connection, job, head, format, rows)?);
    }
    let text = job.text()?;
    let default_format = job.default_format.as_deref();
    match statement::parse(&text) {
        Ok(Statement::Insert { head, format, rows }) => {
            let format = format.or(default_format).unwrap_or("Values");
            let rows = [Ok(Bytes::copy_from_slice(rows))];
            Ok(insert(engine, &mut connection, job, head, format, rows)?)
        }
        Ok(Statement::Other { format }) => {
            let format = format.or(default_format).unwrap_or("TabSeparated");
            select(&mut connection, job, &text, format, sink)
        }
        Err(not_one) => {
            let detail = match not_one {
                NotOne::Empty => "Syntax error: Empty query",
                NotOne::Several => "Syntax error (Multi-statements are not allowed)",
                NotOne::Foreign => "Syntax error: the text isn't a SQL statement",
            };
            Err(EngineError::new(62, "SYNTAX_ERROR", detail).into())
        }
    }
}

fn insert(
    engine: &Engine,
    connection: &mut Connection,
    job: &Job,
    head: &[u8],
    format: &str,
    rows: impl IntoIterator<Item = Result<Bytes, EngineError>>,
) -> Result<(), EngineError> {
    check_space(engine)?;
    let mut insert = connection.insert(head, format, &job.params)?;
    for piece in rows {
        let piece = piece?;
        if !piece.is_empty() {
            insert.append(&piece)?;
        }
    }
    insert.finish()?;
    // Another program may have taken the space meanwhile. An insert that is not acknowledged is
    // sent again.
    check_space(engine)
}

/// Refuses, as ClickHouse would, where the disk is all but full.
fn check_space(engine: &Engine) -> Result<(), EngineError> {
    if engine.available().is_ok_and(|free| free >= RESERVE) {
        return Ok(());
    }
    let detail = format_args!(
        "Less than {} MiB of disk space are left: make space",
        RESERVE >> 20
    );
    Err(EngineError::new(243, "NOT_ENOUGH_SPACE", detail))
}

fn select(
    connection: &mut Connection,
    job: &Job,
    text: &[u8],
    format: &str,
    sink: &mut Sink,
) -> Result<(), Stop> {
    let has_header = format == "RowBinaryWithNamesAndTypes";
    let streams = has_header || format == "RowBinary" || format == "Native";
    if streams
        && !job.wait_for_end
        && let Some(mut stream) = connection.stream(text, format, &job.params)?
    {
        let mut header = None;
        while let Some(chunk) = stream.next_chunk()? {
            let mut chunk = Bytes::from(chunk);
            // Every chunk is a document of its own; the client reads them as one.
            match header {
                Some(length) => chunk.advance(chunk.len().min(length)),
                None if has_header => header = header_length(&chunk),
                None => {}
            }
            sink.chunk(chunk)?;
        }
        return Ok(());
    }
    let result = connection.query(text, format, &job.params)?;
    sink.chunk(result.into())
}

/// The length of RowBinaryWithNamesAndTypes' header: the number of columns, then as many names and
/// as many types.
fn header_length(document: &[u8]) -> Option<usize> {
    let mut rest = document;
    let columns = read_varint(&mut rest)?;
    for _ in 0..columns.checked_mul(2)? {
        let length = read_varint(&mut rest)?;
        rest = rest.get(usize::try_from(length).ok()?..)?;
    }
    Some(document.len() - rest.len())
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_ends_before_the_first_row() {
        let document = b"\x02\x01a\x02bc\x06UInt64\x06Stringrows";
        assert_eq!(header_length(document), Some(document.len() - 4));
        assert_eq!(header_length(b"\x02\x01a"), None);
        assert_eq!(header_length(&[0xff; 20]), None);
    }

    #[test]
    fn query_string_is_sorted_into_names_parameters_and_settings() {
        let pairs = [
            ("query", "SELECT 1"),
            ("database", ""),
            ("param_id", "7"),
            ("max_threads", "2"),
            ("decompress", "1"),
        ];
        let owned = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let job = Job::from_query_string(owned.into()).unwrap();
        assert_eq!(
            (&job.sql[..], job.database, job.decompress),
            (&b"SELECT 1"[..], None, true)
        );
        assert_eq!(job.params, [("id".to_owned(), b"7".to_vec())]);
        assert_eq!(job.settings, [("max_threads".to_owned(), "2".to_owned())]);
    }

    #[test]
    fn what_the_engine_lacks_is_refused() {
        for name in ["session_id", "role", "client_protocol_version"] {
            let pairs = vec![(name.to_owned(), "54460".to_owned())];
            assert_eq!(
                Job::from_query_string(pairs).unwrap_err().code,
                48,
                "{name}"
            );
        }
    }
}
