//! Partitions that move between the members of a consumer group at offsets we name, each read by a
//! thread of its own: the way the pipeline consumes its log, tried on whatever broker is given.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures::future::join_all;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Message, Offset, TopicPartitionList};

use super::clients::{TIMEOUT, client, consumer, numbered, offsets, produce, until};
use super::kafka::Kafka;

/// The topic whose partitions move.
pub const TOPIC: &str = "log";
/// How many it has.
pub const PARTITIONS: i32 = 4;
const GROUP: &str = "movers";
/// Where reading starts: not where Kafka's own committed offsets (none) or its reset policy (error)
/// would start it.
const FIRST: i64 = 100;
/// Messages a partition gets at a time.
const ROUND: i64 = 3_000;
/// What a message takes: so slow that partitions move while they are being read.
const WORK: Duration = Duration::from_millis(1);

/// Two members of a group come and go while messages arrive. The position of a partition is known
/// to `Positions` alone, as it will be to the checkpoints: a member starts exactly there, and each
/// message read must be exactly the next.
///
/// The broker must have the topic [`TOPIC`] with [`PARTITIONS`] partitions, empty.
pub async fn partitions_move_without_gap_or_repeat(bootstrap: &str, protocol: &[(&str, &str)]) {
    let positions = Positions::default();
    produce_to_all(bootstrap).await;
    let first = Member::join(bootstrap, protocol, &positions);
    until(|| first.owned() == 4).await;
    let second = Member::join(bootstrap, protocol, &positions);
    until(|| first.owned() == 2 && second.owned() == 2).await;

    produce_to_all(bootstrap).await;
    first.leave();
    until(|| second.owned() == 4 && positions.all_at(2 * ROUND)).await;
    second.leave();

    let asked = offsets(TOPIC, (0..PARTITIONS).map(|p| (p, 0)));
    let committed = consumer(bootstrap, GROUP)
        .committed_offsets(asked, TIMEOUT)
        .expect("an answer");
    assert_eq!(
        committed,
        offsets(TOPIC, (0..PARTITIONS).map(|p| (p, 2 * ROUND)))
    );
}

/// A member reads on, without gap or repeat, when its broker is killed and comes back.
///
/// The broker must have the topic [`TOPIC`] with [`PARTITIONS`] partitions, empty.
pub async fn reads_on_without_gap_or_repeat_after_kill_nine(
    kafka: &mut Kafka,
    protocol: &[(&str, &str)],
) {
    let positions = Positions::default();
    produce_to_all(&kafka.bootstrap()).await;
    let member = Member::join(&kafka.bootstrap(), protocol, &positions);
    until(|| positions.all_at(ROUND)).await;

    kafka.kill_nine();
    kafka.restart().await;
    produce_to_all(&kafka.bootstrap()).await;
    until(|| positions.all_at(2 * ROUND)).await;
    member.leave();
}

async fn produce_to_all(bootstrap: &str) {
    let to_one = |partition| produce(bootstrap, TOPIC, Some(partition), numbered(ROUND as usize));
    join_all((0..PARTITIONS).map(to_one)).await;
}

/// The next offset of each partition, shared by all members; in place of the checkpoints in
/// ClickHouse.
#[derive(Clone, Default)]
struct Positions(Arc<Mutex<Ledger>>);

#[derive(Default)]
struct Ledger {
    next: HashMap<i32, i64>,
    // Kept for the test's own thread to find: a panic in a reader would only be seen when it is
    // joined.
    violation: Option<String>,
}

impl Positions {
    fn next(&self, partition: i32) -> i64 {
        let ledger = self.0.lock().unwrap();
        *ledger.next.get(&partition).unwrap_or(&FIRST)
    }

    /// Takes a message in; it must be the next one.
    fn advance(&self, partition: i32, offset: i64) {
        let mut ledger = self.0.lock().unwrap();
        let next = ledger.next.entry(partition).or_insert(FIRST);
        let due = *next;
        *next += 1;
        if offset != due {
            let violation = format!("partition {partition}: {offset} was read, {due} was due");
            ledger.violation.get_or_insert(violation);
        }
    }

    /// Whether every partition was read up to here.
    ///
    /// # Panics
    /// When a message came twice, too early or not at all.
    fn all_at(&self, offset: i64) -> bool {
        let violation = self.0.lock().unwrap().violation.clone();
        assert_eq!(violation, None);
        (0..PARTITIONS).all(|partition| self.next(partition) == offset)
    }
}

/// A partition's thread; stopping it waits until it reads no more.
struct Reader {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Reader {
    fn start(partition: i32, queue: PartitionQueue<Handover>, positions: Positions) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                match queue.poll(Duration::from_millis(50)) {
                    Some(Ok(message)) => {
                        thread::sleep(WORK);
                        positions.advance(partition, message.offset());
                    }
                    Some(Err(error)) => panic!("partition {partition}: {error}"),
                    None => {}
                }
            }
        });
        Self { stop, thread }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("the reader met no error");
    }
}

/// What happens when partitions come and go: each gets a thread that starts at its position in
/// `Positions`; on leaving, the thread has ended and its position is committed before anyone else
/// can own the partition.
struct Handover {
    positions: Positions,
    readers: Mutex<HashMap<i32, Reader>>,
    // Weak, because the consumer owns this context: it would keep itself alive.
    consumer: OnceLock<Weak<BaseConsumer<Handover>>>,
}

impl ClientContext for Handover {}

impl ConsumerContext for Handover {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let done = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.take(consumer, partitions),
            _ => self.give_up(consumer, partitions),
        };
        done.expect("rebalancing");
    }
}

impl Handover {
    fn take(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &mut TopicPartitionList,
    ) -> KafkaResult<()> {
        let shared = self.consumer.get().and_then(Weak::upgrade);
        let shared = shared.expect("a consumer that is being dropped is assigned nothing");
        let mut readers = self.readers.lock().unwrap();
        for mut element in partitions.elements() {
            let partition = element.partition();
            element.set_offset(Offset::Offset(self.positions.next(partition)))?;
            // Split before assigning: what is fetched earlier would go to the consumer's own queue.
            let queue = shared
                .split_partition_queue(TOPIC, partition)
                .expect("a partition of ours");
            let reader = Reader::start(partition, queue, self.positions.clone());
            readers.insert(partition, reader);
        }
        consumer.incremental_assign(partitions)
    }

    fn give_up(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &mut TopicPartitionList,
    ) -> KafkaResult<()> {
        let mut readers = self.readers.lock().unwrap();
        for mut element in partitions.elements() {
            let partition = element.partition();
            if let Some(reader) = readers.remove(&partition) {
                reader.stop();
            }
            element.set_offset(Offset::Offset(self.positions.next(partition)))?;
        }
        // Still ours until we release it, so the commit is accepted.
        if partitions.count() > 0 && !consumer.assignment_lost() {
            consumer.commit(partitions, CommitMode::Sync)?;
        }
        consumer.incremental_unassign(partitions)
    }
}

/// A member of the group, with the thread that serves its callbacks.
struct Member {
    consumer: Arc<BaseConsumer<Handover>>,
    leaving: Arc<AtomicBool>,
    poller: JoinHandle<()>,
}

impl Member {
    fn join(bootstrap: &str, protocol: &[(&str, &str)], positions: &Positions) -> Self {
        let mut config = client(bootstrap);
        config
            .set("group.id", GROUP)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error");
        for (key, value) in protocol {
            config.set(*key, *value);
        }
        let context = Handover {
            positions: positions.clone(),
            readers: Mutex::default(),
            consumer: OnceLock::new(),
        };
        let consumer: BaseConsumer<Handover> =
            config.create_with_context(context).expect("a consumer");
        let consumer = Arc::new(consumer);
        // Before subscribing, so that no callback can come without it.
        let _ = consumer.context().consumer.set(Arc::downgrade(&consumer));
        consumer.subscribe(&[TOPIC]).expect("a subscription");
        let leaving = Arc::new(AtomicBool::new(false));
        let poller = thread::spawn({
            let (consumer, leaving) = (consumer.clone(), leaving.clone());
            move || {
                while !leaving.load(Ordering::Acquire) {
                    serve(&consumer);
                }
                // Leaving the group takes the partitions back through the callback, which must
                // still be served.
                consumer.unsubscribe();
                while !consumer.context().readers.lock().unwrap().is_empty() {
                    serve(&consumer);
                }
            }
        });
        Self {
            consumer,
            leaving,
            poller,
        }
    }

    fn owned(&self) -> usize {
        self.consumer.context().readers.lock().unwrap().len()
    }

    fn leave(self) {
        self.leaving.store(true, Ordering::Release);
        self.poller.join().expect("nothing came the wrong way");
    }
}

/// Serves callbacks; messages belong to the partitions' own queues.
fn serve(consumer: &BaseConsumer<Handover>) {
    match consumer.poll(Duration::from_millis(100)) {
        Some(Ok(m)) => panic!("{}@{} bypassed its queue", m.partition(), m.offset()),
        // The client reports it and connects again by itself.
        Some(Err(KafkaError::MessageConsumption(
            RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown,
        ))) => {}
        Some(Err(error)) => panic!("{error}"),
        None => {}
    }
}
