//! The local broker as a child process: its start and end, and that Kafka clients find in it what
//! Dealpulse needs of a broker.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::clients::{TIMEOUT, consumer, numbered, offsets, produce, read, until};
use crate::support::handover::{self, partitions_move_without_gap_or_repeat};
use dealpulse::local::broker::{BrokerError, LocalBroker, TopicSpec};
use dealpulse::local::broker_child::BrokerChild;
use dealpulse::local::child::{Child, Ending, LocalError};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

fn dealpulse() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_dealpulse"))
}

fn topic(text: &str) -> TopicSpec {
    text.parse().expect("a topic")
}

fn start(topics: &[&str]) -> BrokerChild {
    let topics: Vec<TopicSpec> = topics.iter().map(|text| topic(text)).collect();
    BrokerChild::spawn_program(dealpulse(), &topics).expect("the local broker starts")
}

/// How many partitions a topic has for a client.
fn partitions(broker: &str, topic: &str) -> usize {
    let client: BaseConsumer = consumer(broker, "asking");
    let metadata = client.fetch_metadata(Some(topic), TIMEOUT);
    metadata.expect("metadata").topics()[0].partitions().len()
}

#[test]
fn has_the_topics_it_was_started_with() {
    let broker = start(&["crm.deals:4", "dealpulse.log.1:7"]);
    assert_eq!(partitions(broker.address(), "crm.deals"), 4);
    assert_eq!(partitions(broker.address(), "dealpulse.log.1"), 7);
}

#[test]
fn creates_topics_later_and_refuses_one_that_exists() {
    let mut broker = start(&["first:1"]);
    broker
        .create_topic(&topic("second:3"))
        .expect("a new topic");
    assert_eq!(partitions(broker.address(), "second"), 3);
    let again = broker.create_topic(&topic("first:2"));
    assert!(matches!(again, Err(BrokerError::Refused(_))), "{again:?}");
    assert_eq!(partitions(broker.address(), "first"), 1);
}

#[test]
fn runs_in_this_process_too() {
    let broker = LocalBroker::start(&[topic("first:1")]).expect("a broker");
    broker.create_topic(topic("second:3")).expect("a new topic");
    assert_eq!(partitions(broker.address(), "first"), 1);
    assert_eq!(partitions(broker.address(), "second"), 3);
    let again = broker.create_topic(topic("second:3"));
    assert!(
        matches!(again, Err(BrokerError::Create { .. })),
        "{again:?}"
    );
}

#[test]
fn ends_when_its_handle_is_dropped() {
    let broker = start(&["t:1"]);
    let address = broker.address().to_owned();
    TcpStream::connect(&address).expect("it listens");
    drop(broker);
    TcpStream::connect(&address).expect_err("the port is closed");
}

#[test]
fn ends_by_itself_when_its_parent_has_ended() {
    let mut child = Command::new(dealpulse())
        .args(["local-broker", "--topic", "t:1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command runs");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    output.read_line(&mut line).expect("a line");
    assert!(line.starts_with("listening on 127.0.0.1:"), "{line:?}");
    // All that a dead parent leaves behind is the end of this pipe.
    drop(child.stdin.take());
    assert!(child.wait().expect("an end").success());
}

#[test]
fn says_so_when_the_child_cannot_start() {
    let arguments = ["local-broker", "--topic", "no-partitions"].map(OsString::from);
    let ended =
        Child::spawn_program(dealpulse(), &arguments, Ending::Kill).map(|child| child.pid());
    assert!(matches!(ended, Err(LocalError::Ended { .. })), "{ended:?}");
    let missing = Child::spawn_program(Path::new("./no-such-program"), &arguments, Ending::Kill);
    let missing = missing.map(|child| child.pid());
    assert!(
        matches!(missing, Err(LocalError::Spawn { .. })),
        "{missing:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn gives_back_messages_in_order_and_keeps_commits() {
    let broker = start(&["t:1"]);
    let at = broker.address();
    produce(at, "t", Some(0), numbered(1_000)).await;
    let values = read(at, "t", 1, 1_000)
        .into_iter()
        .map(|(_, _, value)| value);
    assert!(values.eq(numbered(1_000).map(|(_, value)| value)));
    let marks = consumer(at, "g").fetch_watermarks("t", 0, TIMEOUT);
    assert_eq!(marks, Ok((0, 1_000)));

    let committed = offsets("t", [(0, 417)]);
    consumer(at, "g")
        .commit(&committed, CommitMode::Sync)
        .expect("a commit");
    let asked = offsets("t", [(0, 0)]);
    let answer = consumer(at, "g").committed_offsets(asked, TIMEOUT);
    assert_eq!(answer.expect("an answer"), committed);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_move_without_gap_or_repeat_when_assigned_by_the_broker() {
    let broker = start(&[&format!("{}:{}", handover::TOPIC, handover::PARTITIONS)]);
    let by_broker = [("group.protocol", "consumer"), ("fetch.wait.max.ms", "50")];
    partitions_move_without_gap_or_repeat(broker.address(), &by_broker).await;
}

/// A known limit of this broker: it drops messages silently, and only reset=error reports it to the
/// reader.
#[tokio::test(flavor = "multi_thread")]
async fn drops_the_oldest_messages_beyond_five_mebibytes_a_partition() {
    let broker = start(&["t:1"]);
    let at = broker.address();
    let long = "x".repeat(1_000);
    produce(at, "t", Some(0), (0..10_000).map(|_| ("key", &long))).await;
    let asking = consumer(at, "g");
    let (low, high) = asking
        .fetch_watermarks("t", 0, TIMEOUT)
        .expect("watermarks");
    assert_eq!(high, 10_000);
    assert!((4_000..9_000).contains(&low), "the oldest kept is {low}");

    asking
        .assign(&offsets("t", [(0, 0)]))
        .expect("an assignment");
    let error = asking
        .poll(TIMEOUT)
        .expect("an answer")
        .expect_err("an error");
    let missing = KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset);
    assert_eq!(error, missing);
}

#[tokio::test(flavor = "multi_thread")]
async fn serves_clients_no_more_after_its_process_is_killed() {
    let broker = start(&["t:1"]);
    let killed = Command::new("kill")
        .args(["-9", &broker.pid().to_string()])
        .status();
    assert!(killed.expect("kill runs").success());
    until(|| TcpStream::connect(broker.address()).is_err()).await;
    let mut broker = broker;
    let refused = broker.create_topic(&topic("late:1"));
    assert!(
        matches!(refused, Err(BrokerError::Child(LocalError::Ended { .. }))),
        "{refused:?}"
    );
}

#[test]
fn the_generator_fills_a_topic_with_every_event_it_would_write() {
    let broker = start(&["crm.events:3"]);
    let arguments = ["generate", "--deals", "40", "--seed", "7"];
    let generate = |more: &[&str]| {
        Command::new(dealpulse())
            .args(arguments)
            .args(more)
            .output()
            .unwrap()
    };
    let written = generate(&[]);
    let sent = generate(&["--topic", "crm.events", "--brokers", broker.address()]);
    assert!(
        sent.status.success(),
        "{}",
        String::from_utf8_lossy(&sent.stderr)
    );

    let expected = String::from_utf8(written.stdout).unwrap().lines().count() as i64;
    let client: BaseConsumer = consumer(broker.address(), "counter");
    let held = (0..3)
        .map(|partition| {
            client
                .fetch_watermarks("crm.events", partition, TIMEOUT)
                .unwrap()
                .1
        })
        .sum::<i64>();
    assert_eq!(held, expected);
}
