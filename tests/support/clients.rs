//! Kafka clients in the few forms the tests need, for any broker.

use std::time::{Duration, Instant};

use futures::future::try_join_all;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

/// Longer than anything here takes on a busy machine; only a failure waits so long.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// A client configuration that knows this broker and finds it again soon after a restart.
pub fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("reconnect.backoff.max.ms", "500");
    config
}

/// A consumer of this group that commits only on request.
pub fn consumer(bootstrap: &str, group: &str) -> BaseConsumer {
    client(bootstrap)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .create()
        .expect("a consumer")
}

/// `count` (key, value) pairs whose values are their numbers.
pub fn numbered(count: usize) -> impl Iterator<Item = (String, String)> {
    (0..count).map(|i| (format!("key-{}", i % 97), i.to_string()))
}

/// A partition list with these offsets.
pub fn offsets(topic: &str, of: impl IntoIterator<Item = (i32, i64)>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in of {
        list.add_partition_offset(topic, partition, Offset::Offset(offset))
            .expect("a valid offset");
    }
    list
}

/// Produces (key, value) pairs in order, to one partition or, with `None`, wherever the client's
/// partitioner puts the keys; returns (partition, offset) of each once all are acknowledged.
pub async fn produce<K, V>(
    bootstrap: &str,
    topic: &str,
    partition: Option<i32>,
    messages: impl IntoIterator<Item = (K, V)>,
) -> Vec<(i32, i64)>
where
    K: AsRef<[u8]>,
    V: AsRef<[u8]>,
{
    let producer: FutureProducer = client(bootstrap)
        .set("enable.idempotence", "true")
        .set("queue.buffering.max.messages", "10000000")
        .create()
        .expect("a producer");
    let deliveries = messages.into_iter().map(|(key, value)| {
        let mut record = FutureRecord::to(topic)
            .key(key.as_ref())
            .payload(value.as_ref());
        record.partition = partition;
        let delivery = producer
            .send_result(record)
            .unwrap_or_else(|(error, _)| panic!("producing to {topic}: {error}"));
        async move {
            let delivered = delivery.await.expect("the producer outlives its messages");
            delivered.map_err(|(error, _)| error)
        }
    });
    try_join_all(deliveries)
        .await
        .unwrap_or_else(|error| panic!("producing to {topic}: {error}"))
        .into_iter()
        .map(|delivered| (delivered.partition, delivered.offset))
        .collect()
}

/// Reads `count` messages from the beginning of all `partitions`, outside any group's assignment,
/// as (partition, offset, value).
pub fn read(
    bootstrap: &str,
    topic: &str,
    partitions: i32,
    count: usize,
) -> Vec<(i32, i64, String)> {
    let consumer = consumer(bootstrap, "reader");
    consumer
        .assign(&offsets(topic, (0..partitions).map(|p| (p, 0))))
        .expect("an assignment");
    let deadline = Instant::now() + TIMEOUT;
    let mut messages = Vec::with_capacity(count);
    while messages.len() < count {
        assert!(Instant::now() < deadline, "only {} read", messages.len());
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(m)) => {
                let value = String::from_utf8_lossy(m.payload().unwrap_or_default()).into_owned();
                messages.push((m.partition(), m.offset(), value));
            }
            Some(Err(error)) => panic!("reading {topic}: {error}"),
            None => {}
        }
    }
    messages
}

/// Waits for a condition.
pub async fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {TIMEOUT:?} in vain");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
