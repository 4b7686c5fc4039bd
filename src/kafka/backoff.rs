//! The retry policy of what runs: it goes on until the part is to stop, and reports meanwhile what
//! it waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::health::Health;
use crate::pipeline::OutsideError;
use crate::pipeline::flush::{RetryPolicy, backoff};
use crate::telemetry::Telemetry;

/// How often it is looked whether the part is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Tries again for as long as the part runs, and for a while after it is to stop.
pub(super) struct Backoff {
    pub telemetry: Arc<Telemetry>,
    pub health: Health,
    pub stop: Arc<AtomicBool>,
    /// The name the problem is reported under.
    pub name: String,
    /// How long it goes on after the stop.
    pub until: Duration,
}

impl RetryPolicy for Backoff {
    async fn should_retry(&self, attempt: u32, error: &OutsideError) -> bool {
        self.telemetry.flush_retries.inc();
        if attempt == 1 || attempt.is_power_of_two() {
            tracing::warn!(%error, attempt, "{}: failed for now and is tried again; nothing is lost meanwhile", self.name);
        }
        self.health.set(&self.name, Some(error.to_string()));
        let waited: Duration = (1..=attempt).map(backoff).sum();
        let goes_on = || !self.stop.load(Ordering::Acquire) || waited < self.until;
        let next = Instant::now() + backoff(attempt);
        while goes_on() && Instant::now() < next {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        goes_on()
    }

    fn recovered(&self) {
        self.health.set(&self.name, None);
    }
}
