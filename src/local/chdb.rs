//! The binding to libchdb: the ClickHouse engine as a library, loaded at run time so that the crate
//! builds without it.
//!
//! All `unsafe` code is here and in `chdb/api.rs`. The library's own rules, found by experiment: it
//! must never be unloaded (its threads outlive every call), every connection must be closed before
//! the process ends (one left open is a segfault at exit), one process holds one data directory,
//! and a connection runs one statement at a time.

mod api;

use std::ffi::{CStr, CString, OsString, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;
use std::{fs, io};

use api::{Api, RawInsert, RawResult, Session, message};

/// ClickHouse's `UNKNOWN_EXCEPTION`, for the few messages of the library that carry no code.
const UNKNOWN_EXCEPTION: u32 = 1002;

/// Why the engine could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ChdbError {
    #[error("no ClickHouse engine at {0}: run make clickhouse-engine, or set DEALPULSE_LIBCHDB")]
    Missing(PathBuf),
    #[error(
        "the ClickHouse engine at {path} can't be loaded: {reason}; run make clickhouse-engine"
    )]
    Unusable {
        path: PathBuf,
        reason: libloading::Error,
    },
    #[error("the ClickHouse engine needs a processor with AVX2: use a ClickHouse server instead")]
    Processor,
    #[error(
        "can't write to the data directory {path}: {reason}; free some space or choose another --data-dir"
    )]
    DataDir { path: PathBuf, reason: io::Error },
    #[error(
        "the ClickHouse engine can't open {0}: its reason is printed above; another process may hold the directory"
    )]
    Open(PathBuf),
    #[error("the ClickHouse engine refused another connection")]
    Connect,
}

/// What the engine answered instead of a result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    /// ClickHouse's error code, such as 60 for an unknown table.
    pub code: u32,
    /// ClickHouse's text, which starts with `Code: N. DB::Exception: `.
    pub message: String,
}

impl EngineError {
    /// An error of ClickHouse: `name` is the code's name in its table of errors.
    pub fn new(code: u32, name: &str, detail: impl std::fmt::Display) -> Self {
        Self {
            code,
            message: format!("Code: {code}. DB::Exception: {detail}. ({name})"),
        }
    }

    fn from_text(message: String) -> Self {
        let code = message
            .strip_prefix("Code: ")
            .and_then(|rest| rest.split_once('.'))
            .and_then(|(code, _)| code.parse().ok())
            .unwrap_or(UNKNOWN_EXCEPTION);
        Self { code, message }
    }
}

/// Where the library is looked for: `DEALPULSE_LIBCHDB`, else where `make clickhouse-engine` puts
/// it.
pub fn library_path(env: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    if let Some(path) = env("DEALPULSE_LIBCHDB") {
        return path.into();
    }
    let cache = match env("DEALPULSE_CACHE") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(env("HOME").unwrap_or_default()).join(".cache/dealpulse"),
    };
    cache.join("libchdb-26.7.3/libchdb.so")
}

/// A `{name:Type}` parameter's name and its value in ClickHouse's escaped text form.
pub type Param = (String, Vec<u8>);

/// The engine on one data directory. A process opens one engine in its life.
pub struct Engine {
    api: Api,
    data_dir: PathBuf,
    path_argument: CString,
    /// Held open so that the engine, its merges and its lock on the directory outlive the requests'
    /// own connections.
    keeper: NonNull<Session>,
}

// SAFETY: the function pointers may be called from any thread, `chdb_connect` among them; `keeper`
// is only read when the engine is dropped, which happens once.
unsafe impl Send for Engine {}
// SAFETY: as above.
unsafe impl Sync for Engine {}

impl Engine {
    /// Loads the library and opens (or creates) the data directory.
    pub fn open(library: &Path, data_dir: &Path) -> Result<Arc<Self>, ChdbError> {
        if !library.exists() {
            return Err(ChdbError::Missing(library.into()));
        }
        #[cfg(target_arch = "x86_64")]
        if !std::arch::is_x86_feature_detected!("avx2") {
            return Err(ChdbError::Processor);
        }
        // The library reports a directory it can't write in many ways, some of them silent, so it
        // is tried first.
        let data_dir = prepare(data_dir).map_err(|reason| ChdbError::DataDir {
            path: data_dir.into(),
            reason,
        })?;
        let path_argument = CString::new([b"--path=", data_dir.as_os_str().as_bytes()].concat())
            .map_err(|_| ChdbError::Open(data_dir.clone()))?;

        let api = Api::load(library).map_err(|reason| ChdbError::Unusable {
            path: library.into(),
            reason,
        })?;
        // SAFETY: called before the first connection, as the library requires; the handlers of the
        // process stay its own.
        unsafe { (api.set_signal_handlers_enabled)(0) };
        let keeper = connect(&api, &path_argument).ok_or(ChdbError::Open(data_dir.clone()))?;
        Ok(Arc::new(Self {
            api,
            data_dir,
            path_argument,
            keeper,
        }))
    }

    /// Bytes of the data directory's disk that may still be written.
    pub fn available(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.data_dir)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// A new connection, in 0.2 ms. `USE` and `SET` are its own, so every request takes one.
    pub fn connect(self: &Arc<Self>) -> Result<Connection, ChdbError> {
        let handle = connect(&self.api, &self.path_argument).ok_or(ChdbError::Connect)?;
        Ok(Connection {
            engine: Arc::clone(self),
            handle,
        })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // SAFETY: the keeper was opened by this library and is closed once, after every other
        // connection, since each holds the engine alive.
        unsafe { (self.api.close_conn)(self.keeper.as_ptr()) }
    }
}

/// Makes the directory, writes a file in it and removes it again; returns the directory's absolute
/// path.
fn prepare(data_dir: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(data_dir)?;
    let probe = data_dir.join("dealpulse-write-probe");
    let written = fs::write(&probe, [0; 4096]);
    let removed = fs::remove_file(&probe);
    written.and(removed)?;
    data_dir.canonicalize()
}

fn connect(api: &Api, path_argument: &CStr) -> Option<NonNull<Session>> {
    // Without the last, `1` and `now()` would be statements, as in the command-line client.
    let arguments = [c"clickhouse", path_argument, c"--implicit_select=0"];
    let mut arguments = arguments.map(|argument| argument.as_ptr().cast_mut());
    // SAFETY: the arguments end in a zero byte and outlive the call; the library only reads them.
    // The pointer it returns is null on failure, else it points to a non-null session until the
    // connection is closed.
    NonNull::new(unsafe { (api.connect)(arguments.len() as c_int, arguments.as_mut_ptr()) })
}

/// A connection of its own settings and current database. It runs one statement at a time, which
/// `&mut` ensures.
pub struct Connection {
    engine: Arc<Engine>,
    handle: NonNull<Session>,
}

// SAFETY: the library runs a connection's statements from whichever thread calls, one at a time;
// `&mut self` sees to that.
unsafe impl Send for Connection {}

impl Connection {
    fn session(&self) -> Session {
        // SAFETY: the connection is open until it is dropped, and so long its handle points to its
        // session.
        unsafe { *self.handle.as_ptr() }
    }

    /// Runs a statement to its end. `format` holds where the text itself has no FORMAT.
    pub fn query(
        &mut self,
        sql: &[u8],
        format: &str,
        params: &[Param],
    ) -> Result<Vec<u8>, EngineError> {
        let api = &self.engine.api;
        api.take(api.begin(api.query_with_params_n, self.session(), sql, format, params))
    }

    /// Begins a SELECT whose result is fetched piece by piece; `Ok(None)` if the engine can't
    /// stream this kind of statement (DDL, SHOW, DESCRIBE, EXPLAIN, INSERT … SELECT), which then
    /// hasn't run.
    pub fn stream(
        &mut self,
        sql: &[u8],
        format: &str,
        params: &[Param],
    ) -> Result<Option<Stream<'_>>, EngineError> {
        let api = &self.engine.api;
        let result = api.begin(
            api.stream_query_with_params_n,
            self.session(),
            sql,
            format,
            params,
        );
        if result.is_null() {
            return Err(EngineError::from_text("the engine began no stream".into()));
        }
        // SAFETY: `result` is live, and its error, if any, is copied.
        if let Some(text) = unsafe { message((api.result_error)(result)) } {
            // SAFETY: the failed stream is destroyed once and not used again.
            unsafe { (api.destroy_query_result)(result) };
            if text.starts_with("Code: 36.") && text.contains("Streaming query is not supported") {
                return Ok(None);
            }
            return Err(EngineError::from_text(text));
        }
        Ok(Some(Stream {
            connection: self,
            result,
            ended: false,
        }))
    }

    /// Begins an INSERT, given without its FORMAT clause and rows; `format` is that of the rows to
    /// be appended.
    pub fn insert(
        &mut self,
        sql: &[u8],
        format: &str,
        params: &[Param],
    ) -> Result<Insert<'_>, EngineError> {
        let api = &self.engine.api;
        let stream = api.begin(
            api.stream_insert_with_params_n,
            self.session(),
            sql,
            format,
            params,
        );
        // Made before the check, so that a stream that failed to begin is destroyed too.
        let insert = Insert {
            connection: self,
            stream,
            finished: false,
        };
        match insert.error() {
            Some(error) => Err(error),
            None => Ok(insert),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: opened by this library, closed once; streams and inserts borrow the connection,
        // so none is left.
        unsafe { (self.engine.api.close_conn)(self.handle.as_ptr()) }
    }
}

/// A running SELECT. Dropping it early cancels the query.
pub struct Stream<'c> {
    connection: &'c mut Connection,
    result: RawResult,
    ended: bool,
}

impl Stream<'_> {
    /// The next piece, a complete document of the format; `None` at the end.
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, EngineError> {
        if self.ended {
            return Ok(None);
        }
        let api = &self.connection.engine.api;
        // SAFETY: the stream is live and was begun on this connection, which it borrows mutably.
        let piece = unsafe { (api.stream_fetch_result)(self.connection.session(), self.result) };
        let piece = api.take(piece);
        self.ended = !matches!(&piece, Ok(bytes) if !bytes.is_empty());
        piece.map(|bytes| (!bytes.is_empty()).then_some(bytes))
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        let api = &self.connection.engine.api;
        // SAFETY: the stream is live; it is cancelled only if it still runs, and destroyed once.
        unsafe {
            if !self.ended {
                (api.stream_cancel_query)(self.connection.session(), self.result);
            }
            (api.destroy_query_result)(self.result);
        }
    }
}

/// A running INSERT. Dropping it without [`Insert::finish`] cancels it; as on a server, blocks
/// already written stay.
pub struct Insert<'c> {
    connection: &'c mut Connection,
    stream: RawInsert,
    finished: bool,
}

impl Insert<'_> {
    fn error(&self) -> Option<EngineError> {
        // SAFETY: the stream is live (the library never returns null for one) and its error is
        // copied.
        unsafe {
            message((self.connection.engine.api.stream_insert_error)(
                self.stream,
            ))
        }
        .map(EngineError::from_text)
    }

    /// Hands over more bytes of the rows, cut anywhere. Blocks while the engine is behind.
    pub fn append(&mut self, rows: &[u8]) -> Result<(), EngineError> {
        // SAFETY: the stream is live; the bytes go with their length and are copied by the library.
        let state = unsafe {
            (self.connection.engine.api.stream_append)(
                self.stream,
                rows.as_ptr().cast(),
                rows.len(),
            )
        };
        if state == 0 {
            return Ok(());
        }
        let unexplained = || EngineError::from_text("the engine took no more rows".into());
        Err(self.error().unwrap_or_else(unexplained))
    }

    /// Ends the rows and waits until they are written.
    pub fn finish(mut self) -> Result<(), EngineError> {
        self.finished = true;
        let api = &self.connection.engine.api;
        // SAFETY: the stream is live and is ended once, since this consumes it; it is destroyed on
        // drop.
        let result = unsafe { (api.stream_done)(self.stream) };
        api.take(result).map(drop)
    }
}

impl Drop for Insert<'_> {
    fn drop(&mut self) {
        let api = &self.connection.engine.api;
        // SAFETY: the stream is live; it is cancelled only if it wasn't ended, and destroyed once.
        unsafe {
            if !self.finished {
                (api.stream_cancel_insert)(self.stream);
            }
            (api.destroy_insert_stream)(self.stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
        move |name| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.into())
        }
    }

    #[test]
    fn library_is_the_named_one_else_in_the_cache() {
        assert_eq!(
            library_path(env(&[
                ("DEALPULSE_LIBCHDB", "/opt/x.so"),
                ("DEALPULSE_CACHE", "/c")
            ])),
            Path::new("/opt/x.so")
        );
        assert_eq!(
            library_path(env(&[("DEALPULSE_CACHE", "/c")])),
            Path::new("/c/libchdb-26.7.3/libchdb.so")
        );
        assert_eq!(
            library_path(env(&[("HOME", "/home/ada")])),
            Path::new("/home/ada/.cache/dealpulse/libchdb-26.7.3/libchdb.so")
        );
    }

    #[test]
    fn a_missing_library_is_an_error_with_the_command_to_install_it() {
        let error = Engine::open(Path::new("/nowhere/libchdb.so"), Path::new("/nowhere/data"));
        let message = error
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(message.contains("run make clickhouse-engine"), "{message}");
    }

    #[test]
    fn error_code_is_read_from_the_text() {
        let known = "Code: 60. DB::Exception: Table x.nope does not exist. (UNKNOWN_TABLE)";
        assert_eq!(EngineError::from_text(known.into()).code, 60);
        assert_eq!(
            EngineError::from_text("send_insert does not".into()).code,
            UNKNOWN_EXCEPTION
        );
        assert_eq!(
            EngineError::new(60, "UNKNOWN_TABLE", "Table x.nope does not exist").message,
            known
        );
    }
}
