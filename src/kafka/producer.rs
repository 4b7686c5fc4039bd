//! Producers: clients that write, each with a thread that takes what librdkafka has to say.
//!
//! They stand in for rdkafka's own, whose thread waits for the whole milliseconds that are left of
//! a tenth of a second, then asks again and again until the last one has passed: every producer
//! took a hundredth of a core for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::ToBytes;
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, FutureRecord, Producer as _, ProducerContext,
    PurgeConfig,
};
use tokio::sync::oneshot;

use super::client::heard;

/// How long a thread waits before it looks whether to stop: long beside the millisecond at its end.
const WAIT: Duration = Duration::from_secs(1);
/// How long a message waits for room in the queue before it is offered again.
const FULL: Duration = Duration::from_millis(100);

/// A producer and the thread that hands what became of its messages to `C`.
pub struct Polled<C: ProducerContext + 'static> {
    client: Arc<BaseProducer<C>>,
    is_stopping: Arc<AtomicBool>,
}

impl<C: ProducerContext + 'static> Polled<C> {
    /// A producer of these properties.
    ///
    /// # Errors
    /// If they make none.
    pub fn new(config: &ClientConfig, context: C) -> KafkaResult<Self> {
        let client: Arc<BaseProducer<C>> = Arc::new(config.create_with_context(context)?);
        let is_stopping = Arc::new(AtomicBool::new(false));
        let (polled, stop) = (client.clone(), is_stopping.clone());
        let poll = move || {
            while !stop.load(Ordering::Acquire) {
                polled.poll(WAIT);
            }
        };
        std::thread::Builder::new()
            .name("producer".to_owned())
            .spawn(poll)
            .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok(Polled {
            client,
            is_stopping,
        })
    }

    /// The client.
    pub fn client(&self) -> &BaseProducer<C> {
        &self.client
    }
}

impl<C: ProducerContext + 'static> Drop for Polled<C> {
    fn drop(&mut self) {
        // What was not sent by now isn't sent any more; the thread is the last to let go of the
        // client.
        self.client.purge(PurgeConfig::default().queue().inflight());
        self.is_stopping.store(true, Ordering::Release);
    }
}

/// Tells each sender what became of its message.
struct Answers;

heard!(Answers);

impl ProducerContext for Answers {
    type DeliveryOpaque = Box<oneshot::Sender<KafkaResult<()>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, sender: Self::DeliveryOpaque) {
        // Nobody waits where the sender was dropped meanwhile.
        let _ = sender.send(match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.clone()),
        });
    }
}

/// A producer whose messages are waited for. Cheap to clone.
#[derive(Clone)]
pub struct Producer(Arc<Polled<Answers>>);

impl Producer {
    /// A producer of these properties.
    ///
    /// # Errors
    /// If they make none.
    pub fn new(config: &ClientConfig) -> KafkaResult<Producer> {
        Polled::new(config, Answers).map(|polled| Producer(Arc::new(polled)))
    }

    /// Sends a message, once the queue has room for it; returns when it is acknowledged. The
    /// message is on its way when this is first polled.
    ///
    /// # Errors
    /// What Kafka or its client answered.
    pub async fn send<K, P>(&self, record: FutureRecord<'_, K, P>) -> KafkaResult<()>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        let (sender, answer) = oneshot::channel();
        let mut record = BaseRecord {
            topic: record.topic,
            partition: record.partition,
            payload: record.payload,
            key: record.key,
            timestamp: record.timestamp,
            headers: record.headers,
            delivery_opaque: Box::new(sender),
        };
        loop {
            match self.0.client.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                    record = refused;
                    tokio::time::sleep(FULL).await;
                }
                Err((error, _)) => return Err(error),
            }
        }
        // Every message that was taken is answered, if only when the client is dropped.
        answer.await.unwrap_or(Err(KafkaError::Canceled))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// What the threads of a name have used of a CPU so far.
    fn used(name: &str) -> Duration {
        let tasks = fs::read_dir("/proc/self/task").expect("the threads of this process");
        let threads = tasks.flatten().filter(|task| {
            fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
        });
        let nanos = threads.map(|task| {
            let stat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            stat.split(' ')
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or(0)
        });
        Duration::from_nanos(nanos.sum())
    }

    #[test]
    fn a_producer_with_nothing_to_send_takes_next_to_nothing_of_a_core() {
        let mut config = ClientConfig::new();
        // Nobody listens there; its other threads see to that.
        config.set("bootstrap.servers", "127.0.0.1:1");
        let producer = Producer::new(&config).unwrap();
        let before = used("producer");
        std::thread::sleep(WAIT);
        let used = used("producer") - before;
        assert!(used > Duration::ZERO, "no such thread");
        assert!(used < Duration::from_millis(5), "{used:?} in a second");
        drop(producer);
    }

    #[tokio::test]
    async fn a_message_no_broker_takes_comes_back_as_an_error() {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", "127.0.0.1:1")
            .set("message.timeout.ms", "50");
        let producer = Producer::new(&config).unwrap();
        let record: FutureRecord<'_, (), str> = FutureRecord::to("deals").payload("1");
        let error = producer.send(record).await.unwrap_err();
        let code = error.rdkafka_error_code();
        assert_eq!(code, Some(RDKafkaErrorCode::MessageTimedOut), "{error}");
    }
}
