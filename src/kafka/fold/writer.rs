//! The one writer of a fold: what its shards have handed in goes out together.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc as sync;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{Folding, HAND_OVER};
use crate::pipeline::Store;
use crate::pipeline::flush::FlushBatch;
use crate::pipeline::owner::Flush;
use crate::telemetry::{Telemetry, wall_clock};

/// How long the writer waits for other shards' flushes, so that one insert a table serves them all.
const GATHER: Duration = Duration::from_millis(10);

/// A flush on its way to the writer, with the way back.
pub(super) type FlushRequest = (Flush, sync::Sender<Result<(), String>>);

/// The one writer of an instance: whatever shards have handed in goes out together.
pub(super) async fn write_all<S: Store>(
    folding: Folding<S>,
    mut inbox: mpsc::UnboundedReceiver<FlushRequest>,
    stop: Arc<AtomicBool>,
) {
    let retry = folding.backoff(folding.part("flush"), &stop, HAND_OVER);
    while let Some(first) = inbox.recv().await {
        tokio::time::sleep(GATHER).await;
        let mut requests = vec![first];
        while let Ok(more) = inbox.try_recv() {
            requests.push(more);
        }
        let (flushes, answers): (Vec<Flush>, Vec<_>) = requests.into_iter().unzip();
        count_rows(&folding.telemetry, &flushes);
        let append_times: Vec<i64> = flushes
            .iter()
            .map(|flush| flush.checkpoint.append_time)
            .collect();
        let started = Instant::now();
        let written = FlushBatch::new(folding.generation, folding.partitions, flushes)
            .write(&folding.log, &folding.store, &retry)
            .await;
        folding
            .telemetry
            .flush
            .with_label_values(&["all"])
            .observe(started.elapsed().as_secs_f64());
        if written.is_ok() {
            let now = wall_clock();
            append_times.iter().for_each(|at| {
                folding
                    .telemetry
                    .end_to_end_latency
                    .observe((now - at).max(0) as f64 / 1e6)
            });
        }
        let result = written.map_err(|error| error.to_string());
        // A shard that was revoked no longer waits for its answer.
        answers
            .into_iter()
            .for_each(|answer| drop(answer.send(result.clone())));
    }
}

fn count_rows(telemetry: &Telemetry, flushes: &[Flush]) {
    let count = |table: &str, rows: usize| {
        telemetry
            .flush_rows
            .with_label_values(&[table])
            .inc_by(rows as u64)
    };
    for flush in flushes {
        count("rollups", flush.cells.len());
        let hourly = flush.hourly.iter().map(|rows| rows.cells.row.len());
        count("hourly", hourly.sum());
        count("changes", flush.changes.len());
        count("facts", flush.records.len());
        count("links", flush.links.len());
    }
}
