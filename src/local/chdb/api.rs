//! The library's functions as `chdb.h` of this release declares them, and the calls that several
//! statements share.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::path::Path;
use std::ptr::NonNull;
use std::slice;

use libloading::Library;

use super::{EngineError, Param};

/// A `chdb_connection`: what statements run on.
pub type Session = *mut c_void;
pub type RawResult = *mut c_void;
pub type RawInsert = *mut c_void;

pub type QueryFn = unsafe extern "C" fn(
    Session,
    *const c_char,
    usize,
    *const c_char,
    usize,
    *const *const c_char,
    *const usize,
    *const *const c_char,
    *const usize,
    usize,
) -> *mut c_void;

/// The library's functions, by the names they have in `chdb.h` without the prefix.
pub struct Api {
    pub set_signal_handlers_enabled: unsafe extern "C" fn(c_int),
    pub connect: unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut Session,
    pub close_conn: unsafe extern "C" fn(*mut Session),
    pub query_with_params_n: QueryFn,
    pub stream_query_with_params_n: QueryFn,
    pub stream_fetch_result: unsafe extern "C" fn(Session, RawResult) -> RawResult,
    pub stream_cancel_query: unsafe extern "C" fn(Session, RawResult),
    pub stream_insert_with_params_n: QueryFn,
    pub stream_insert_error: unsafe extern "C" fn(RawInsert) -> *const c_char,
    pub stream_append: unsafe extern "C" fn(RawInsert, *const c_void, usize) -> c_int,
    pub stream_done: unsafe extern "C" fn(RawInsert) -> RawResult,
    pub stream_cancel_insert: unsafe extern "C" fn(RawInsert),
    pub destroy_insert_stream: unsafe extern "C" fn(RawInsert),
    pub result_buffer: unsafe extern "C" fn(RawResult) -> *const u8,
    pub result_length: unsafe extern "C" fn(RawResult) -> usize,
    pub result_error: unsafe extern "C" fn(RawResult) -> *const c_char,
    pub destroy_query_result: unsafe extern "C" fn(RawResult),
}

impl Api {
    pub fn load(path: &Path) -> Result<Self, libloading::Error> {
        // SAFETY: the library's initialisers run here; `make clickhouse-engine` has checked its
        // sha256, and a path in DEALPULSE_LIBCHDB is the user's own choice of code to run. It is
        // never unloaded: see the module's text.
        let library = ManuallyDrop::new(unsafe { Library::new(path) }?);

        macro_rules! function {
            ($name:literal) => {
                // SAFETY: the field's type is the function's declaration in chdb.h of this release,
                // and the pointer stays valid after the symbol is dropped because the library stays
                // loaded for good.
                unsafe { *library.get(concat!("chdb_", $name))? }
            };
        }
        Ok(Self {
            set_signal_handlers_enabled: function!("set_signal_handlers_enabled"),
            connect: function!("connect"),
            close_conn: function!("close_conn"),
            query_with_params_n: function!("query_with_params_n"),
            stream_query_with_params_n: function!("stream_query_with_params_n"),
            stream_fetch_result: function!("stream_fetch_result"),
            stream_cancel_query: function!("stream_cancel_query"),
            stream_insert_with_params_n: function!("stream_insert_with_params_n"),
            stream_insert_error: function!("stream_insert_error"),
            stream_append: function!("stream_append"),
            stream_done: function!("stream_done"),
            stream_cancel_insert: function!("stream_cancel_insert"),
            destroy_insert_stream: function!("destroy_insert_stream"),
            result_buffer: function!("result_buffer"),
            result_length: function!("result_length"),
            result_error: function!("result_error"),
            destroy_query_result: function!("destroy_query_result"),
        })
    }

    /// Calls one of the three functions that begin a statement; they share their parameters.
    pub fn begin(
        &self,
        function: QueryFn,
        session: Session,
        sql: &[u8],
        format: &str,
        params: &[Param],
    ) -> *mut c_void {
        let names: Vec<_> = params.iter().map(|(n, _)| n.as_ptr().cast()).collect();
        let name_lengths: Vec<_> = params.iter().map(|(n, _)| n.len()).collect();
        let values: Vec<_> = params.iter().map(|(_, v)| v.as_ptr().cast()).collect();
        let value_lengths: Vec<_> = params.iter().map(|(_, v)| v.len()).collect();
        // SAFETY: `session` belongs to an open connection that the caller borrows mutably, so
        // nothing else runs on it; every pointer goes with its length, outlives the call, and the
        // library copies what it keeps.
        unsafe {
            function(
                session,
                sql.as_ptr().cast(),
                sql.len(),
                format.as_ptr().cast(),
                format.len(),
                names.as_ptr(),
                name_lengths.as_ptr(),
                values.as_ptr(),
                value_lengths.as_ptr(),
                params.len(),
            )
        }
    }

    /// Copies a result out of the library and destroys it.
    pub fn take(&self, result: RawResult) -> Result<Vec<u8>, EngineError> {
        let Some(result) = NonNull::new(result) else {
            return Err(EngineError::from_text("the engine gave no result".into()));
        };
        let result = result.as_ptr();
        // SAFETY: `result` is a live result of this library that is used nowhere else; its error
        // and its buffer are copied before it is destroyed, and the buffer is only read when the
        // library reports that it has bytes.
        unsafe {
            let outcome = match message((self.result_error)(result)) {
                Some(text) => Err(EngineError::from_text(text)),
                None => {
                    let length = (self.result_length)(result);
                    let buffer = (self.result_buffer)(result);
                    if length == 0 || buffer.is_null() {
                        Ok(Vec::new())
                    } else {
                        Ok(slice::from_raw_parts(buffer, length).to_vec())
                    }
                }
            };
            (self.destroy_query_result)(result);
            outcome
        }
    }
}

/// Copies a C string of the library.
///
/// # Safety
/// `text` is null or points to a string that ends in a zero byte and stays alive during the call.
pub unsafe fn message(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(text) };
    Some(text.to_string_lossy().into_owned())
}
