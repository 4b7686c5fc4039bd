//! A member of the fold group: handler partitions over at the offsets of their checkpoints, and
//! gives them up only when they are flushed.

use std::sync::{Arc, OnceLock, Weak};

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaResult;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::client::heard;
use crate::record::Home;

/// Who folds the partitions a member is given.
pub(super) trait AssignmentHandler: Send + Sync {
    /// The offset a shard goes on from. Blocks until the store has answered; `None` when the
    /// process is ending.
    fn start_of(&self, shard: Home) -> Option<u64>;

    /// Takes a shard on: its messages come from `queue`.
    fn on_assigned(&self, shard: Home, queue: PartitionQueue<Member>);

    /// Gives shards up: fences them, flushes what is folded, and returns when nothing of them runs
    /// any more. Of those that were lost already, nothing is flushed: another owner is at work.
    fn on_revoked(&self, shards: &[Home], lost: bool);
}

/// The member's side of a rebalance.
pub struct Member {
    topic: Arc<str>,
    handler: Arc<dyn AssignmentHandler>,
    /// Weak, because the consumer owns this context: it would keep itself alive.
    consumer: OnceLock<Weak<BaseConsumer<Member>>>,
}

impl Member {
    pub(super) fn new(topic: &str, handler: Arc<dyn AssignmentHandler>) -> Self {
        Member {
            topic: topic.into(),
            handler,
            consumer: OnceLock::new(),
        }
    }

    /// Makes itself known to the consumer that owns this context, before it subscribes.
    pub(super) fn meet(consumer: &Arc<BaseConsumer<Member>>) {
        // Set once: each consumer has a context of its own.
        let _ = consumer.context().consumer.set(Arc::downgrade(consumer));
    }

    fn on_assigned(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &mut TopicPartitionList,
    ) -> KafkaResult<()> {
        let Some(shared) = self.consumer.get().and_then(Weak::upgrade) else {
            return Ok(());
        };
        for mut element in partitions.elements() {
            let shard = element.partition() as Home;
            let Some(start) = self.handler.start_of(shard) else {
                return Ok(());
            };
            // Written into the list that is assigned, so that no seek can come too late.
            element.set_offset(Offset::Offset(start as i64))?;
            // Split before assigning: what is fetched earlier would go to the consumer's own queue.
            if let Some(queue) = shared.split_partition_queue(&self.topic, element.partition()) {
                self.handler.on_assigned(shard, queue);
            }
        }
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(partitions),
            _ => consumer.assign(partitions),
        }
    }

    fn give_up(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &TopicPartitionList,
    ) -> KafkaResult<()> {
        let shards: Vec<Home> = partitions
            .elements()
            .iter()
            .map(|element| element.partition() as Home)
            .collect();
        self.handler.on_revoked(&shards, consumer.assignment_lost());
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
            _ => consumer.unassign(),
        }
    }
}

heard!(Member);

impl ConsumerContext for Member {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let done = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                self.on_assigned(consumer, partitions)
            }
            _ => self.give_up(consumer, partitions),
        };
        if let Err(error) = done {
            tracing::error!(%error, "rebalancing the fold group failed; the partitions come again with the next rebalance");
        }
    }
}
