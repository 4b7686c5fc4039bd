//! ClickHouse's HTTP interface on loopback over the embedded engine: as the `clickhouse` crate,
//! curl and Grafana use it.
//!
//! A request is one statement on a connection of its own, run to its end on a blocking thread, a
//! handful at once. RowBinary, RowBinaryWithNamesAndTypes and Native results stream; other formats
//! are sent whole, because the engine hands them over as several documents. What a server does and
//! this can't (sessions, roles, newer client protocols) is refused rather than ignored. Users and
//! passwords are ignored: only programs on this machine can reach it.

mod blocks;
mod run;
mod statement;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::local::chdb::{Engine, EngineError};
use run::{Job, Part, Sink};

/// The most a request's body may hold, in bytes.
const BODY_LIMIT: usize = 256 << 20;
/// Statements that run at once; the engine spreads each of them over the cores.
const AT_ONCE: u32 = 8;
/// How long statements may still run once the front is stopped, and again once they are killed.
const GRACE: Duration = Duration::from_secs(3);

/// Why the front stopped.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    #[error("the ClickHouse front failed: {0}")]
    Serve(io::Error),
    #[error("statements still ran {} s after they were killed: end the process", GRACE.as_secs())]
    StillRunning,
}

#[derive(Clone)]
struct Front {
    engine: Arc<Engine>,
    permits: Arc<Semaphore>,
    /// True once results are no longer waited for, so that a client that reads slowly can't hold
    /// the engine.
    cut_off: watch::Sender<bool>,
}

/// Serves `engine` on `listener` until `shutdown` is ready; then lets statements end, kills those
/// that don't, and returns when the engine has no connection left but its own.
pub async fn serve(
    listener: TcpListener,
    engine: Arc<Engine>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), FrontError> {
    let front = Front {
        engine,
        permits: Arc::new(Semaphore::new(AT_ONCE as usize)),
        cut_off: watch::Sender::new(false),
    };
    let routes = Router::new()
        .route("/", get(answer).post(answer))
        .route("/ping", get(async || "Ok.\n"))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn(only_this_machine))
        .with_state(front.clone());
    let listener = listener.tap_io(|connection| {
        // Small answers would wait for the client's delayed acknowledgement.
        if let Err(error) = connection.set_nodelay(true) {
            tracing::warn!(%error, "TCP_NODELAY was refused, so small answers are slow");
        }
    });

    let (open, closed) = oneshot::channel::<()>();
    let until_closed = async {
        let _ = closed.await;
    };
    let server = axum::serve(listener, routes).with_graceful_shutdown(until_closed);
    let mut server = pin!(server.into_future());
    tokio::select! {
        result = &mut server => return result.map_err(FrontError::Serve),
        () = shutdown => drop(open),
    }
    if timeout(GRACE, &mut server).await.is_err() {
        front.cut_off.send_replace(true);
        let engine = Arc::clone(&front.engine);
        // If even this fails, the wait below reports it.
        let _ = tokio::task::spawn_blocking(move || run::kill_statements(&engine)).await;
    }
    match timeout(GRACE, front.permits.acquire_many(AT_ONCE)).await {
        Ok(_) => Ok(()),
        Err(_) => Err(FrontError::StillRunning),
    }
}

/// Refuses web pages: a browser on this machine names the page's origin, or reaches us under the
/// page's host name.
async fn only_this_machine(request: Request, next: Next) -> Response {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let local = host.is_none_or(|host| {
        let name = host.rsplit_once(':').map_or(host, |(name, _port)| name);
        ["127.0.0.1", "localhost", "[::1]"].contains(&name)
    });
    if !local || request.headers().contains_key(header::ORIGIN) {
        return (
            StatusCode::FORBIDDEN,
            "only programs on this machine are served, not web pages\n",
        )
            .into_response();
    }
    next.run(request).await
}

async fn answer(
    State(front): State<Front>,
    Query(pairs): Query<Vec<(String, String)>>,
    request: Request,
) -> Response {
    let is_get = request.method() == Method::GET;
    if is_get && !pairs.iter().any(|(name, _)| name == "query") {
        return "Ok.\n".into_response();
    }
    let job = async {
        let mut job = Job::from_query_string(pairs)?;
        job.read_only = is_get;
        read_body(request, &mut job).await?;
        Ok(job)
    };
    match job.await {
        Ok(job) => start(front, job).await,
        Err(error) => refusal(&error),
    }
}

/// Reads the body: the statement or the rows, or a form of the statement and its parameters.
async fn read_body(request: Request, job: &mut Job) -> Result<(), EngineError> {
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        let detail = "the local engine reads ClickHouse's own LZ4 blocks (decompress=1), not Content-Encoding";
        return Err(not_implemented(detail));
    }
    // A body whose header states a size that is too large is refused before it is sent.
    if request.body().size_hint().lower() > BODY_LIMIT as u64 {
        return Err(bad_body(StatusCode::PAYLOAD_TOO_LARGE, String::new()));
    }
    if !is_form(request.headers()) {
        job.body = Bytes::from_request(request, &())
            .await
            .map_err(|rejection| bad_body(rejection.status(), rejection.body_text()))?;
        return Ok(());
    }
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|rejection| bad_body(rejection.status(), rejection.body_text()))?;
    while let Some(field) = form.next_field().await.map_err(bad_form)? {
        let name = field.name().unwrap_or_default().to_owned();
        let value = field.bytes().await.map_err(bad_form)?;
        match name.strip_prefix("param_") {
            Some(param) => job.params.push((param.to_owned(), value.into())),
            None if name == "query" => job.body = value,
            None => {
                let detail = format_args!("the local engine takes no external table {name:?}");
                return Err(not_implemented(detail));
            }
        }
    }
    Ok(())
}

fn is_form(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .map(|value| value.as_bytes());
    content_type.is_some_and(|value| value.starts_with(b"multipart/form-data"))
}

fn bad_form(error: axum::extract::multipart::MultipartError) -> EngineError {
    bad_body(error.status(), error.body_text())
}

fn bad_body(status: StatusCode, detail: String) -> EngineError {
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        let detail = format_args!(
            "the body is above the local engine's limit of {BODY_LIMIT} bytes: send smaller batches"
        );
        return EngineError::new(307, "TOO_MANY_BYTES", detail);
    }
    EngineError::new(36, "BAD_ARGUMENTS", detail)
}

fn not_implemented(detail: impl std::fmt::Display) -> EngineError {
    EngineError::new(48, "NOT_IMPLEMENTED", detail)
}

/// Runs the job on a blocking thread and answers once its first piece, its end or its error is
/// known.
async fn start(front: Front, job: Job) -> Response {
    let tag = format!("{:016x}", RandomState::new().hash_one("tag"));
    let (sender, mut parts) = mpsc::channel(4);
    let sink = Sink::new(
        Handle::current(),
        sender,
        front.cut_off.subscribe(),
        &job,
        tag.clone(),
    );

    let Ok(permit) = front.permits.acquire_owned().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    tokio::task::spawn_blocking(move || {
        run::run(&front.engine, &job, sink);
        // Only now: who holds every permit knows that no connection is open.
        drop(permit);
    });

    let head = [("X-ClickHouse-Exception-Tag", tag)];
    match parts.recv().await {
        Some(Part::Chunk(first)) => {
            let first = stream::once(async { Ok(first) });
            (
                head,
                Body::from_stream(first.chain(stream::unfold(parts, next_piece))),
            )
                .into_response()
        }
        Some(Part::End) => head.into_response(),
        Some(Part::Failed(error)) => refusal(&error),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The next piece of a body. A result that ends without [`Part::End`] breaks the connection off, so
/// that no client takes what it got for the whole.
async fn next_piece(
    mut parts: mpsc::Receiver<Part>,
) -> Option<(io::Result<Bytes>, mpsc::Receiver<Part>)> {
    match parts.recv().await {
        Some(Part::Chunk(piece)) => Some((Ok(piece), parts)),
        Some(Part::End) => None,
        Some(Part::Failed(_)) | None => {
            // Gives the connection a turn to send what it has, the reason among it, before it
            // breaks off.
            tokio::task::yield_now().await;
            Some((Err(io::Error::other("the statement failed")), parts))
        }
    }
}

fn refusal(error: &EngineError) -> Response {
    let head = [("X-ClickHouse-Exception-Code", error.code.to_string())];
    (status_of(error.code), head, format!("{error}\n")).into_response()
}

/// The status that a server gives for its commonest errors.
fn status_of(code: u32) -> StatusCode {
    match code {
        // CANNOT_PARSE_…, CANNOT_READ_…, TYPE_MISMATCH, SYNTAX_ERROR, BAD_ARGUMENTS, bad compressed
        // data
        6 | 26 | 27 | 33 | 36 | 38 | 40 | 41 | 53 | 62 | 69 | 70 | 72 | 131 | 271 | 432 => {
            StatusCode::BAD_REQUEST
        }
        // UNKNOWN_… function, identifier, type, storage, table, format, database, setting
        46 | 47 | 50 | 56 | 60 | 73 | 81 | 115 => StatusCode::NOT_FOUND,
        48 => StatusCode::NOT_IMPLEMENTED,
        164 => StatusCode::FORBIDDEN,
        307 => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
