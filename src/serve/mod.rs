//! What is shown: `/metrics`, `/healthz`, `/readyz` and the live page, all of one immutable
//! snapshot, all read-only.

mod alert_gauges;
pub mod alerts;
pub mod cells;
mod exposition;
mod figures;
pub mod metrics;
pub mod model;
mod numbers;
mod page;
pub mod reach;
pub mod refresh;
mod rows;
pub mod watched;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::health::Health;
use crate::telemetry::Telemetry;
use model::Model;

/// How long requests on their way are waited for at shutdown.
const GRACE: Duration = Duration::from_secs(3);
/// The page needs its own style and nothing else from anywhere.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(Clone)]
struct Shown {
    model: Model,
    telemetry: Arc<Telemetry>,
    health: Health,
}

/// Everything that is shown, for GET and HEAD only.
pub fn router(model: Model, telemetry: Arc<Telemetry>, health: Health) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/metrics", get(scrape))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .fallback(|| async {
            (
                StatusCode::NOT_FOUND,
                "there is nothing here; the page is at /, the gauges are at /metrics\n",
            )
        })
        .with_state(Shown {
            model,
            telemetry,
            health,
        })
}

/// Serves until `shutdown`, then waits a moment for requests on their way.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
        shutdown.await;
        drop(stop);
    });
    let overdue = async {
        // Ends when the other half is dropped.
        let _ = (&mut stopped).await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = serving.into_future() => served,
        () = overdue => Ok(()),
    }
}

async fn page(
    State(shown): State<Shown>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let headers: [(HeaderName, &str); 5] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, page::render(&shown.model, &query)).into_response()
}

async fn scrape(State(shown): State<Shown>) -> Response {
    match metrics::text(&shown.model, &shown.telemetry) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// 200 when there are fresh metrics and no part has a problem; else 503 with a reason a line.
/// Notices follow in both cases.
async fn ready(State(shown): State<Shown>) -> Response {
    let line = |(name, report): (String, String)| format!("{name}: {report}\n");
    let read_model = shown
        .model
        .problem()
        .map(|problem| ("read model".to_owned(), problem));
    let problems: String = read_model
        .into_iter()
        .chain(shown.health.problems())
        .map(line)
        .collect();
    let notices: String = shown.health.notices().into_iter().map(line).collect();
    if problems.is_empty() {
        return format!("ready\n{notices}").into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, problems + &notices).into_response()
}
