//! Lag, reckoned by us: high watermark − committed offset, for every partition of both groups.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use super::client::{self, outside};
use super::log::{PATIENCE, blocking};
use crate::config::Kafka;
use crate::pipeline::OutsideError;
use crate::telemetry::Telemetry;

/// How often lag is reckoned.
const EVERY: Duration = Duration::from_secs(5);

/// Keeps the lag gauges of group `<group>.<name>` over `topics` until dropped.
///
/// # Errors
/// If the properties make no client; what fails later is tried again.
pub async fn watch_lag(kafka: Kafka, name: &'static str, topics: Vec<String>, telemetry: Arc<Telemetry>) -> Result<(), OutsideError> {
    let consumer: BaseConsumer = client::onlooker(&kafka, name).create().map_err(|error| outside("watching lag", error))?;
    let (consumer, group) = (Arc::new(consumer), client::group(&kafka, name));
    loop {
        let (asked, names) = (consumer.clone(), topics.clone());
        match blocking(move || lags(&asked, &names)).await? {
            Ok(lags) => {
                for (topic, partition, lag) in lags {
                    telemetry.consumer_lag.with_label_values(&[group.as_str(), &topic, &partition.to_string()]).set(lag);
                }
            }
            Err(error) => tracing::debug!(%error, group, "lag is not known"),
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn lags(consumer: &BaseConsumer, topics: &[String]) -> Result<Vec<(String, i32, i64)>, OutsideError> {
    let fail = |error| outside("asking for lag", error);
    let mut list = TopicPartitionList::new();
    for topic in topics {
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).map_err(fail)?;
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        for partition in partitions {
            list.add_partition(topic, partition.id());
        }
    }
    let committed = consumer.committed_offsets(list, PATIENCE).map_err(fail)?;
    let mut lags = Vec::new();
    for element in committed.elements() {
        let (low, high) = consumer.fetch_watermarks(element.topic(), element.partition(), PATIENCE).map_err(fail)?;
        let done = if let Offset::Offset(offset) = element.offset() { offset } else { low };
        lags.push((element.topic().to_owned(), element.partition(), (high - done.max(low)).max(0)));
    }
    Ok(lags)
}
