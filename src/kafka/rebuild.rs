//! What a rebuild reads from Kafka: where its inputs end, how far they are routed into the new log,
//! and from where the old log is carried over.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use super::client::{self, Hearing, Onlooker, outside};
use super::instance::{carry_group, route_group};
use super::lag::{Progress, progress};
use super::{admin, client::blocking};
use crate::config::Config;
use crate::pipeline::epochs::Epoch;
use crate::pipeline::flush::{RetryPolicy, backoff};
use crate::pipeline::rebuild::{Around, Form, TURNS, Waiting};
use crate::pipeline::{Fault, OutsideError};
use crate::telemetry::wall_clock;

/// How often is looked whether something has moved.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often it is logged what is waited for.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// The surroundings of one rebuild.
pub struct Surroundings {
    config: Arc<Config>,
    /// The old log and the group that carries it over.
    old_log: Option<Reading>,
    /// Everything that must have been read into the new log before the turns begin.
    inputs: Vec<Reading>,
    logged: Mutex<Option<(Instant, Waiting)>>,
}

/// Topics and the group that reads them.
#[derive(Clone)]
struct Reading {
    group: String,
    topics: Vec<String>,
}

impl Surroundings {
    /// Those of a rebuild from `current` to `next`.
    pub fn new(config: &Arc<Config>, form: Form, current: &Epoch, next: &Epoch) -> Surroundings {
        let old_log = Reading {
            group: carry_group(current.generation, next.generation),
            topics: vec![admin::log_topic(config, current.generation)],
        };
        let old_log = (form == Form::Log).then_some(old_log);
        let topics = config
            .topics
            .iter()
            .map(|topic| topic.name.clone())
            .collect();
        let again = (next.reading != current.reading).then(|| Reading {
            group: route_group(next.reading),
            topics,
        });
        let inputs = old_log.iter().cloned().chain(again).collect();
        Surroundings {
            config: config.clone(),
            old_log,
            inputs,
            logged: Mutex::default(),
        }
    }

    async fn progress(&self) -> Result<Vec<Progress>, OutsideError> {
        let mut all = Vec::new();
        for reading in &self.inputs {
            all.extend(read_progress(&self.config, reading.clone()).await?);
        }
        Ok(all)
    }
}

async fn read_progress(
    config: &Arc<Config>,
    reading: Reading,
) -> Result<Vec<Progress>, OutsideError> {
    let kafka = config.kafka.clone();
    blocking(move || {
        let consumer: Onlooker = client::onlooker(&kafka, &reading.group)
            .create_with_context(Hearing)
            .map_err(|error| outside("asking for lag", error))?;
        progress(&consumer, &reading.topics)
    })
    .await?
}

/// Messages of the old log that are not carried over into the log of a newer generation.
///
/// # Errors
/// What Kafka answered.
pub async fn not_carried(config: &Arc<Config>, from: u32, into: u32) -> Result<u64, OutsideError> {
    let topic = admin::log_topic(config, from);
    if admin::partitions(&config.kafka, &topic).await?.is_none() {
        return Ok(0);
    }
    let progress = read_progress(
        config,
        Reading {
            group: carry_group(from, into),
            topics: vec![topic],
        },
    )
    .await?;
    Ok(progress
        .iter()
        .map(|at| (at.end - at.next()).max(0) as u64)
        .sum())
}

/// Refuses to read topics again that don't hold their first messages any more.
///
/// # Errors
/// Which one it is; or what Kafka answered.
pub async fn check_whole(config: &Arc<Config>) -> Result<(), OutsideError> {
    let topics = config
        .topics
        .iter()
        .map(|topic| topic.name.clone())
        .collect();
    let progress = read_progress(
        config,
        Reading {
            group: "look".into(),
            topics,
        },
    )
    .await?;
    match progress.iter().find(|at| at.low > 0) {
        None => Ok(()),
        Some(Progress {
            topic,
            partition,
            low,
            ..
        }) => {
            let problem = format!(
                "partition {partition} of `{topic}` begins at offset {low}: its retention no longer holds the first messages, so they can't be read again; let the source send everything again into a new topic"
            );
            Err(OutsideError {
                fault: Fault::User,
                ..OutsideError::fatal("reading the input topics again", problem)
            })
        }
    }
}

/// Which stretch of waiting it is: 0 before the turns.
fn stage(waiting: &Waiting) -> u32 {
    if let Waiting::Fold(turn, _) = waiting {
        *turn
    } else {
        0
    }
}

impl RetryPolicy for Surroundings {
    async fn should_retry(&self, attempt: u32, error: &OutsideError) -> bool {
        tracing::warn!(%error, attempt, "the rebuild: not done yet, trying again");
        tokio::time::sleep(backoff(attempt)).await;
        true
    }
}

impl Around for Surroundings {
    async fn carry_from(&self, positions: &[u64]) -> Result<(), OutsideError> {
        let Some(reading) = self.old_log.clone() else {
            return Ok(());
        };
        let known = read_progress(&self.config, reading.clone()).await?;
        if known.iter().all(|at| at.committed.is_some()) {
            return Ok(()); // an earlier attempt has committed it, and carrying may be further by now
        }
        let mut list = TopicPartitionList::new();
        let fail = |error| outside("noting from where the old log is carried over", error);
        for at in &known {
            let wanted = positions
                .get(at.partition as usize)
                .map_or(0, |position| *position as i64);
            list.add_partition_offset(&at.topic, at.partition, Offset::Offset(wanted.max(at.low)))
                .map_err(fail)?;
        }
        let kafka = self.config.kafka.clone();
        blocking(move || {
            let consumer: Onlooker = client::onlooker(&kafka, &reading.group)
                .create_with_context(Hearing)
                .map_err(fail)?;
            consumer.commit(&list, CommitMode::Sync).map_err(fail)
        })
        .await?
    }

    async fn input_ends(&self) -> Result<Vec<u64>, OutsideError> {
        Ok(self
            .progress()
            .await?
            .iter()
            .map(|at| at.end.max(0) as u64)
            .collect())
    }

    async fn input_positions(&self) -> Result<Vec<u64>, OutsideError> {
        Ok(self
            .progress()
            .await?
            .iter()
            .map(|at| at.next().max(0) as u64)
            .collect())
    }

    async fn wait(&self, what: Waiting) {
        let is_news = {
            let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
            let is_news = logged.as_ref().is_none_or(|(at, before)| {
                at.elapsed() >= LOG_EVERY || stage(before) != stage(&what)
            });
            if is_news {
                *logged = Some((Instant::now(), what.clone()));
            }
            is_news
        };
        if is_news {
            match what {
                Waiting::Inputs(count) => {
                    tracing::info!("{count} messages of the inputs are not in the new log yet")
                }
                Waiting::Fold(turn, count) => tracing::info!(
                    "turn {turn} of {TURNS}: {count} messages of the log are not folded and flushed yet"
                ),
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }

    fn now(&self) -> i64 {
        wall_clock()
    }
}
