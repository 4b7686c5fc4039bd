//! A worker: one input partition on its way. How far it is routed, which of its dead letters are
//! not acknowledged yet, and so how far it may be committed. Partitions don't wait for each other:
//! one whose dead letters can't be written, or whose schema can't be fetched, is paused, and the
//! others go on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::kafka::dead_letter::{DeadLetter, Producers};
use crate::kafka::registry::Waiting;
use crate::pipeline::OutsideError;
use crate::pipeline::flush::backoff;
use crate::telemetry::Telemetry;

/// How many dead letters of a partition may wait for their acknowledgements before no more of it is
/// read.
const DEAD_LETTERS: usize = 1_000;
/// How many bytes of dead letters may.
const LETTER_BYTES: usize = 16 << 20;

/// Why dead letters of a partition can't be written, if they can't.
type Failure = Arc<Mutex<Option<String>>>;

/// Writes dead letters.
#[derive(Clone)]
pub struct Writer {
    /// Its producers: not the log's, whose queue must not fill up with dead letters.
    pub producers: Producers,
    /// The topic of the dead letters.
    pub topic: String,
    /// Where dead letters are counted.
    pub telemetry: Arc<Telemetry>,
}

impl Writer {
    /// Writes a dead letter, however long it takes. Even a refusal is retried: once the topic is
    /// fixed, no restart is needed.
    async fn write(self, dead_letter: DeadLetter, failure: Failure) {
        let mut attempt = 0;
        while let Err(error) = dead_letter
            .write(self.producers.attempt(attempt), &self.topic)
            .await
        {
            // The first failure may be that of its neighbours.
            if attempt > 0 {
                note(&failure, &dead_letter, &error);
                tokio::time::sleep(backoff(attempt)).await;
            }
            attempt += 1;
        }
        for (reason, count) in dead_letter.counts() {
            self.telemetry
                .dead_letters
                .with_label_values(&[&dead_letter.topic, reason])
                .inc_by(count);
        }
    }
}

/// Reports why a dead letter can't be written; in the log once for as long as it lasts.
fn note(failure: &Failure, dead_letter: &DeadLetter, error: &OutsideError) {
    let before = lock(failure).replace(error.to_string());
    let (topic, partition) = (&dead_letter.topic, dead_letter.origin.partition);
    match before {
        Some(_) => {}
        None if error.is_transient => {
            tracing::warn!(%error, topic, partition, "a dead letter can't be written yet; its partition waits for it")
        }
        None => {
            tracing::error!(%error, topic, partition, "a dead letter can't be written; its partition is paused until it can")
        }
    }
}

fn lock(failure: &Failure) -> MutexGuard<'_, Option<String>> {
    failure.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A message that can't be decoded before its schema is fetched.
struct LacksSchema {
    offset: i64,
    waiting: Waiting,
    /// It is read again.
    is_tried_again: bool,
}

/// One input partition.
#[derive(Default)]
pub struct PartitionWorker {
    /// The writes on their way, by offset and size. Dropping the worker calls them off.
    writes: JoinSet<(i64, usize)>,
    /// How many dead letters of a message are not acknowledged yet, by its offset.
    waiting: BTreeMap<i64, usize>,
    /// The bytes of these dead letters.
    bytes: usize,
    /// Below this offset everything is in the log.
    routed: Option<i64>,
    /// The offset committed last.
    committed: Option<i64>,
    failure: Failure,
    /// The offset of the message whose schema can't be fetched yet, and why.
    lacks_schema: Option<LacksSchema>,
    /// Nothing more is read of it for now.
    pub is_paused: bool,
    /// The problem that is known outside.
    pub reported: Option<String>,
}

impl PartitionWorker {
    /// Sees to it that a dead letter of the message at `offset` is written.
    pub fn set_aside(
        &mut self,
        offset: i64,
        dead_letter: DeadLetter,
        writer: &Writer,
        runtime: &Handle,
    ) {
        let (size, writing) = (
            dead_letter.size(),
            writer.clone().write(dead_letter, self.failure.clone()),
        );
        self.wait_for(offset, size, writing, runtime);
    }

    fn wait_for(
        &mut self,
        offset: i64,
        size: usize,
        writing: impl Future<Output = ()> + Send + 'static,
        runtime: &Handle,
    ) {
        *self.waiting.entry(offset).or_default() += 1;
        self.bytes += size;
        let done = async move {
            writing.await;
            (offset, size)
        };
        self.writes.spawn_on(done, runtime);
    }

    /// Everything below `offset` is in the log.
    pub fn routed(&mut self, offset: i64) {
        self.routed = Some(offset);
    }

    /// The message at `offset` can't be decoded yet, as its schema can't be fetched; nothing from
    /// there on is routed until it is read again.
    pub fn wait_for_schema(&mut self, offset: i64, waiting: Waiting) {
        self.lacks_schema = Some(LacksSchema {
            offset,
            waiting,
            is_tried_again: false,
        });
    }

    /// Whether it waits for a schema.
    pub fn is_waiting(&self) -> bool {
        let lacks = self.lacks_schema.as_ref();
        lacks.is_some_and(|lacks| !lacks.is_tried_again)
    }

    /// The offset to be read again, if it has waited for a schema long enough.
    pub fn due_again(&self) -> Option<i64> {
        let lacks = self.lacks_schema.as_ref()?;
        let is_due = !lacks.is_tried_again && lacks.waiting.until <= Instant::now();
        is_due.then_some(lacks.offset)
    }

    /// It is read again from where it has waited for a schema.
    pub fn try_again(&mut self) {
        if let Some(lacks) = &mut self.lacks_schema {
            lacks.is_tried_again = true;
        }
    }

    /// A message of it can be decoded.
    pub fn has_schema(&mut self) {
        self.lacks_schema = None;
    }

    /// Takes note of what was written since. A write that ended otherwise, by a panic, is never
    /// taken for done.
    pub fn look(&mut self) {
        while let Some(done) = self.writes.try_join_next() {
            let Ok((offset, size)) = done else { continue };
            self.bytes -= size;
            if let Some(count) = self.waiting.get_mut(&offset) {
                *count -= 1;
                if *count == 0 {
                    self.waiting.remove(&offset);
                }
            }
        }
        if self.waiting.is_empty() {
            *lock(&self.failure) = None;
        }
    }

    /// Whether dead letters are on their way of which none has failed so far.
    pub fn is_writing(&self) -> bool {
        !self.waiting.is_empty() && lock(&self.failure).is_none()
    }

    /// Whether it should be paused: it waits for a schema, or too much waits to be written, or
    /// can't be. It stays so until nothing waits any more.
    pub fn should_pause(&self) -> bool {
        let is_full = self.writes.len() > DEAD_LETTERS || self.bytes > LETTER_BYTES;
        self.is_waiting()
            || !self.waiting.is_empty()
                && (self.is_paused || is_full || lock(&self.failure).is_some())
    }

    /// Where it waits and why, if its dead letters can't be written or a schema can't be fetched.
    pub fn problem(&self) -> Option<String> {
        if let Some(lacks) = &self.lacks_schema {
            let (offset, why) = (lacks.offset, &lacks.waiting.why);
            return Some(format!(
                "it waits at offset {offset} until its schema can be fetched: {why}"
            ));
        }
        let (offset, _) = self.waiting.first_key_value()?;
        let why = lock(&self.failure);
        Some(format!(
            "it waits at offset {offset} until its dead letters can be written: {}",
            why.as_ref()?
        ))
    }

    /// The offset to be committed, if there is a new one: everything below it is in the log or
    /// among the dead letters.
    pub fn commit(&mut self) -> Option<i64> {
        let waiting = self
            .waiting
            .first_key_value()
            .map_or(i64::MAX, |(offset, _)| *offset);
        let done = self.routed?.min(waiting);
        // Not only a greater one: a topic that was recreated starts again.
        (self.committed != Some(done)).then(|| *self.committed.insert(done))
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::sync::oneshot;

    use super::*;

    /// Dead letters of these offsets, each with the means to acknowledge it.
    fn waiting(worker: &mut PartitionWorker, offsets: &[i64]) -> Vec<oneshot::Sender<()>> {
        let dead_letter = |offset: &i64| {
            let (acknowledge, acknowledged) = oneshot::channel();
            worker.wait_for(
                *offset,
                10,
                async { drop(acknowledged.await) },
                &Handle::current(),
            );
            acknowledge
        };
        offsets.iter().map(dead_letter).collect()
    }

    async fn after(worker: &mut PartitionWorker, acknowledged: oneshot::Sender<()>) {
        let before = worker.writes.len();
        acknowledged.send(()).unwrap();
        while worker.writes.len() == before {
            tokio::task::yield_now().await;
            worker.look();
        }
    }

    #[tokio::test]
    async fn nothing_is_committed_past_a_message_with_a_dead_letter_that_waits() {
        let mut worker = PartitionWorker::default();
        assert_eq!(worker.commit(), None, "nothing is routed yet");
        let mut dead_letters = waiting(&mut worker, &[5, 7, 7]);
        assert_eq!(worker.commit(), None);
        worker.routed(20);
        assert_eq!(
            (worker.commit(), worker.commit()),
            (Some(5), None),
            "an offset is committed once"
        );
        after(&mut worker, dead_letters.pop().unwrap()).await;
        assert_eq!(
            worker.commit(),
            None,
            "the dead letters of 5 and one of 7 wait"
        );
        after(&mut worker, dead_letters.remove(0)).await;
        assert_eq!(worker.commit(), Some(7));
        after(&mut worker, dead_letters.remove(0)).await;
        assert_eq!((worker.commit(), worker.bytes), (Some(20), 0));
        worker.routed(3);
        assert_eq!(worker.commit(), Some(3), "the topic was recreated");
    }

    #[tokio::test]
    async fn nothing_is_committed_that_is_not_in_the_log_though_its_dead_letters_are_written() {
        let mut worker = PartitionWorker::default();
        let dead_letter = waiting(&mut worker, &[5]).remove(0);
        after(&mut worker, dead_letter).await;
        assert_eq!(worker.commit(), None);
        worker.routed(6);
        assert_eq!(worker.commit(), Some(6));
    }

    #[tokio::test]
    async fn a_partition_with_too_many_dead_letters_is_paused_until_none_waits() {
        let mut worker = PartitionWorker::default();
        let mut dead_letters = waiting(&mut worker, &vec![3; DEAD_LETTERS]);
        assert!(!worker.should_pause());
        dead_letters.extend(waiting(&mut worker, &[4]));
        assert!(
            worker.should_pause() && worker.is_writing() && worker.problem().is_none(),
            "it only waits"
        );
        worker.is_paused = true;
        let last = dead_letters.pop().unwrap();
        for dead_letter in dead_letters {
            after(&mut worker, dead_letter).await;
            assert!(worker.should_pause());
        }
        after(&mut worker, last).await;
        assert!(!worker.should_pause());

        let mut heavy = PartitionWorker::default();
        heavy.wait_for(1, LETTER_BYTES + 1, pending(), &Handle::current());
        assert!(heavy.should_pause());
    }

    #[tokio::test]
    async fn a_partition_whose_dead_letters_fail_waits_at_the_first_of_them_until_all_are_written()
    {
        let mut worker = PartitionWorker::default();
        let mut dead_letters = waiting(&mut worker, &[8, 9]);
        *lock(&worker.failure) = Some("refused".into());
        assert!(worker.should_pause() && !worker.is_writing());
        assert!(
            worker
                .problem()
                .is_some_and(|problem| problem.starts_with("it waits at offset 8 ")
                    && problem.ends_with(": refused"))
        );
        after(&mut worker, dead_letters.remove(0)).await;
        assert!(
            worker
                .problem()
                .is_some_and(|problem| problem.starts_with("it waits at offset 9 "))
        );
        after(&mut worker, dead_letters.remove(0)).await;
        assert!(worker.problem().is_none() && !worker.should_pause());
    }

    #[test]
    fn a_partition_that_lacks_a_schema_is_paused_and_says_so_until_one_of_its_messages_is_decoded()
    {
        let mut worker = PartitionWorker::default();
        worker.routed(7);
        let mut waiting = Waiting {
            until: Instant::now() + std::time::Duration::from_secs(3_600),
            why: "no answer".into(),
        };
        worker.wait_for_schema(7, waiting.clone());
        let problem = "it waits at offset 7 until its schema can be fetched: no answer";
        assert!(worker.is_waiting() && worker.should_pause());
        assert_eq!(worker.problem().as_deref(), Some(problem));
        assert_eq!(worker.due_again(), None);
        waiting.until = Instant::now();
        worker.wait_for_schema(7, waiting);
        assert_eq!(worker.due_again(), Some(7));
        worker.try_again();
        assert!(!worker.is_waiting() && !worker.should_pause() && worker.due_again().is_none());
        assert_eq!(worker.problem().as_deref(), Some(problem));
        worker.has_schema();
        assert_eq!((worker.problem(), worker.commit()), (None, Some(7)));
    }

    #[tokio::test]
    async fn a_write_that_panics_is_not_taken_for_done() {
        let mut worker = PartitionWorker::default();
        worker.wait_for(
            1,
            10,
            async { panic!("as intended by this test") },
            &Handle::current(),
        );
        worker.wait_for(2, 10, ready(()), &Handle::current());
        worker.routed(3);
        while !worker.writes.is_empty() {
            tokio::task::yield_now().await;
            worker.look();
        }
        assert_eq!(worker.commit(), Some(1));
    }
}
