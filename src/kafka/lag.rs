//! Lag, computed by us: high watermark − committed offset, for every partition of both groups.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{self, Hearing, Onlooker, outside};
use super::client::{ANSWER_TIMEOUT, blocking};
use crate::config::Kafka;
use crate::pipeline::OutsideError;
use crate::telemetry::Telemetry;

/// How often lag is computed.
const EVERY: Duration = Duration::from_secs(5);

/// Keeps the lag gauges of group `<group>.<name>` over `topics` until dropped.
///
/// # Errors
/// If the properties make no client; what fails later is tried again.
pub async fn watch_lag(
    kafka: Kafka,
    name: String,
    topics: Vec<String>,
    telemetry: Arc<Telemetry>,
) -> Result<(), OutsideError> {
    let consumer: Onlooker = client::onlooker(&kafka, &name)
        .create_with_context(Hearing)
        .map_err(|error| outside("watching lag", error))?;
    let (consumer, group) = (Arc::new(consumer), client::group(&kafka, &name));
    loop {
        let (asked, names) = (consumer.clone(), topics.clone());
        match blocking(move || progress(&asked, &names)).await? {
            Ok(all) => {
                for at in all {
                    let lag = (at.end - at.next()).max(0);
                    telemetry
                        .consumer_lag
                        .with_label_values(&[group.as_str(), &at.topic, &at.partition.to_string()])
                        .set(lag);
                }
            }
            Err(error) => tracing::debug!(%error, group, "lag is not known"),
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// How far a group is with a partition of a topic.
pub struct Progress {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset of the oldest message kept.
    pub low: i64,
    /// The committed offset; none if nothing was committed.
    pub committed: Option<i64>,
    /// The offset after the newest message.
    pub end: i64,
}

impl Progress {
    /// The offset of the next message the group has to read.
    pub fn next(&self) -> i64 {
        self.committed.unwrap_or(self.low).max(self.low)
    }
}

/// How far the group a consumer belongs to is with these topics, partition by partition.
///
/// # Errors
/// What Kafka answered.
pub fn progress(consumer: &Onlooker, topics: &[String]) -> Result<Vec<Progress>, OutsideError> {
    let fail = |error| outside("asking for lag", error);
    let mut list = TopicPartitionList::new();
    for topic in topics {
        let metadata = consumer
            .fetch_metadata(Some(topic), ANSWER_TIMEOUT)
            .map_err(fail)?;
        let partitions = metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions());
        for partition in partitions {
            list.add_partition(topic, partition.id());
        }
    }
    let committed = consumer
        .committed_offsets(list, ANSWER_TIMEOUT)
        .map_err(fail)?;
    let mut progress = Vec::new();
    for element in committed.elements() {
        let (low, end) = consumer
            .fetch_watermarks(element.topic(), element.partition(), ANSWER_TIMEOUT)
            .map_err(fail)?;
        let committed = if let Offset::Offset(offset) = element.offset() {
            Some(offset)
        } else {
            None
        };
        progress.push(Progress {
            topic: element.topic().to_owned(),
            partition: element.partition(),
            low,
            committed,
            end,
        });
    }
    Ok(progress)
}
