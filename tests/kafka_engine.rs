//! The harness for Apache Kafka, and what Dealpulse expects of Kafka and its client: that a killed
//! broker comes back with everything acknowledged, and that partitions move between consumers at
//! offsets we name, each read by a thread of its own.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::clients::{TIMEOUT, consumer, numbered, offsets, read};
use crate::support::handover::{
    self, partitions_move_without_gap_or_repeat, reads_on_without_gap_or_repeat_after_kill_nine,
};
use crate::support::kafka::Kafka;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Message, Timestamp};

#[tokio::test(flavor = "multi_thread")]
async fn gives_back_every_message_in_the_order_of_its_partition() {
    let kafka = Kafka::start().await;
    kafka.create_topic("numbers", 3, &[]).await;
    let produced = kafka.produce("numbers", None, numbered(10_000)).await;
    let expected: HashMap<(i32, i64), String> = produced
        .into_iter()
        .zip(numbered(10_000))
        .map(|(number, (_, value))| (number, value))
        .collect();
    assert_eq!(expected.len(), 10_000, "every message has its own number");

    let mut next = HashMap::new();
    for (partition, offset, value) in read(&kafka.bootstrap(), "numbers", 3, 10_000) {
        let due = next.entry(partition).or_insert(0);
        assert_eq!(offset, *due, "partition {partition}");
        assert_eq!(value, expected[&(partition, offset)]);
        *due += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stamps_messages_of_a_log_append_time_topic_itself() {
    let kafka = Kafka::start().await;
    let by_broker = [("message.timestamp.type", "LogAppendTime")];
    kafka.create_topic("stamped", 1, &by_broker).await;
    let producer: FutureProducer = kafka.client().create().expect("a producer");
    let before = now_ms();
    let long_ago = FutureRecord::to("stamped")
        .key("k")
        .payload("v")
        .timestamp(1_000);
    producer.send(long_ago, TIMEOUT).await.expect("a delivery");

    let consumer = consumer(&kafka.bootstrap(), "g");
    consumer
        .assign(&offsets("stamped", [(0, 0)]))
        .expect("an assignment");
    let message = consumer
        .poll(TIMEOUT)
        .expect("a message")
        .expect("no error");
    match message.timestamp() {
        Timestamp::LogAppendTime(at) => assert!((before..=now_ms()).contains(&at), "stamped {at}"),
        other => panic!("not the broker's time: {other:?}"),
    }
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch.expect("a clock after 1970").as_millis() as i64
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_messages_and_committed_offsets_through_kill_nine() {
    let mut kafka = Kafka::start().await;
    kafka.create_topic("durable", 1, &[]).await;
    kafka.produce("durable", Some(0), numbered(1_000)).await;
    let committed = offsets("durable", [(0, 417)]);
    consumer(&kafka.bootstrap(), "g")
        .commit(&committed, CommitMode::Sync)
        .expect("a commit");

    kafka.kill_nine();
    kafka.restart().await;

    let answer = consumer(&kafka.bootstrap(), "g")
        .committed_offsets(offsets("durable", [(0, 0)]), TIMEOUT)
        .expect("an answer");
    assert_eq!(answer, committed);
    let messages = read(&kafka.bootstrap(), "durable", 1, 1_000);
    let values = messages.into_iter().map(|(_, _, value)| value);
    assert!(values.eq(numbered(1_000).map(|(_, value)| value)));
    let next = kafka.produce("durable", Some(0), numbered(1)).await;
    assert_eq!(next, [(0, 1_000)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_a_missing_offset_instead_of_jumping_when_reset_is_error() {
    let kafka = Kafka::start().await;
    kafka.create_topic("short", 1, &[]).await;
    kafka.produce("short", Some(0), numbered(10)).await;
    let consumer = consumer(&kafka.bootstrap(), "g");
    consumer
        .assign(&offsets("short", [(0, 11)]))
        .expect("an assignment");
    let error = consumer
        .poll(TIMEOUT)
        .expect("an answer")
        .expect_err("an error");
    let missing = KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset);
    assert_eq!(error, missing);
}

/// The classic protocol, as the members work it out among themselves.
const COOPERATIVELY: &[(&str, &str)] = &[
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("session.timeout.ms", "6000"),
    ("heartbeat.interval.ms", "500"),
];
/// The newer one (KIP-848), in which the broker decides.
const BY_BROKER: &[(&str, &str)] = &[("group.protocol", "consumer")];

async fn with_log() -> Kafka {
    let kafka = Kafka::start().await;
    kafka
        .create_topic(handover::TOPIC, handover::PARTITIONS, &[])
        .await;
    kafka
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_move_without_gap_or_repeat_when_assigned_cooperatively() {
    let kafka = with_log().await;
    partitions_move_without_gap_or_repeat(&kafka.bootstrap(), COOPERATIVELY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_move_without_gap_or_repeat_when_assigned_by_the_broker() {
    let kafka = with_log().await;
    partitions_move_without_gap_or_repeat(&kafka.bootstrap(), BY_BROKER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cooperative_member_reads_on_when_its_broker_was_killed() {
    let mut kafka = with_log().await;
    reads_on_without_gap_or_repeat_after_kill_nine(&mut kafka, COOPERATIVELY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_assigned_by_the_broker_reads_on_when_it_was_killed() {
    let mut kafka = with_log().await;
    reads_on_without_gap_or_repeat_after_kill_nine(&mut kafka, BY_BROKER).await;
}
