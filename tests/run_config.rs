//! `dealpulse run` with a configuration, a Kafka or a ClickHouse that is not as it should be:
//! refused at once, with the reason and the fix.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::clickhouse::DEALPULSE;
use crate::support::kafka::free_port;
use crate::support::pipeline::{
    Ended, Engines, LEFT_OVER, Metrics, Setup, TIMEOUT, Work, blocking, engines, refused,
};
use dealpulse::config::Config;
use dealpulse::kafka::KafkaLog;
use dealpulse::pipeline::{Log, Store};

/// An instance ended by itself, with an exit code of 1, soon, and printed all of this.
fn assert_refused(ended: &Ended, within: Duration, words: &[&str]) {
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    assert!(ended.took < within, "it took {:?}", ended.took);
    let error = ended
        .log
        .lines()
        .skip_while(|line| !line.starts_with("error: "))
        .collect::<Vec<_>>()
        .join("\n");
    for word in words {
        assert!(
            error.contains(word),
            "`{word}` is not in: {error}\nall of it:\n{}",
            ended.log
        );
    }
}

/// Longer than a refusal takes on a busy machine.
const SOON: Duration = Duration::from_secs(15);

/// A pipeline with an input topic; its log is not there yet.
async fn setup(engines: &Engines, name: &str) -> Setup {
    let topic = format!("{name}.crm");
    engines.kafka.create_topic(&topic, 1, &[]).await;
    Setup::new(
        name,
        &engines.kafka.bootstrap(),
        &engines.clickhouse.url(),
        &[&topic],
    )
}

const LOG: [(&str, &str); 2] = [
    ("cleanup.policy", "delete"),
    ("message.timestamp.type", "LogAppendTime"),
];

async fn send_lead(engines: &Engines, setup: &Setup, id: &str) {
    let event = format!(
        r#"{{"specversion":"1.0","id":"1","source":"crm","type":"crm.lead.upserted","subject":"{id}","time":"2026-03-04T10:00:00Z","data":{{"status":"open"}}}}"#
    );
    engines
        .kafka
        .produce(&setup.topics[0], Some(0), [("k", event)])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_missing_or_wrong_is_refused_with_its_line() {
    let missing = blocking(|| {
        Command::new(DEALPULSE)
            .args(["run", "--config", "no/such/dealpulse.toml"])
            .output()
            .expect("it can be run")
    })
    .await;
    let stderr = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert_eq!(missing.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("no/such/dealpulse.toml")
            && stderr.contains("give a configuration with --config FILE"),
        "{stderr}"
    );

    let good = Setup::new("unused", "127.0.0.1:1", "http://127.0.0.1:1", &["crm"]).to_toml();
    let broken = refused(&good.replace("partitions = 3", "partitions = = 3")).await;
    assert_refused(&broken, SOON, &["dealpulse.toml", "line 12"]);
    let unknown = refused(&good.replace("partitions = 3", "partitoins = 3")).await;
    assert_refused(&unknown, SOON, &["unknown field `partitoins`", "line 12"]);
    let impossible = refused(&good.replace("partitions = 3", "partitions = 0")).await;
    assert_refused(
        &impossible,
        SOON,
        &["dealpulse.toml:12: log.partitions: write 1 to 10000"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_topic_that_is_not_there_is_refused() {
    let engines = engines().await;
    let mut setup = setup(&engines, "astray").await;
    setup.topics.push("astray.elsewhere".to_owned());
    assert_refused(
        &setup.refused().await,
        SOON,
        &["there is no topic `astray.elsewhere`", "[[topics]]"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_with_settings_that_could_lose_messages_is_refused_until_they_are_fixed() {
    let engines = engines().await;
    let setup = setup(&engines, "lossy").await;
    let log = setup.log_topic();
    let wrong = [
        ("cleanup.policy", "compact"),
        ("message.timestamp.type", "CreateTime"),
        ("retention.ms", "60000"),
        ("retention.bytes", "1000000"),
    ];
    engines.kafka.create_topic(&log, 3, &wrong).await;
    let fix = |setting: &str, value: &str| {
        format!("kafka-configs --alter --topic {log} --add-config {setting}={value}")
    };
    let mut fixed: Vec<(&str, &str)> = wrong.to_vec();
    for (i, (setting, value)) in LOG
        .into_iter()
        .chain([("retention.ms", "604800000"), ("retention.bytes", "-1")])
        .enumerate()
    {
        assert_refused(
            &setup.refused().await,
            SOON,
            &[&fix(setting, value), wrong[i].1],
        );
        fixed[i] = (setting, value);
        engines.kafka.alter_topic(&log, &fixed).await;
    }
    let pipeline = setup.start().await;
    pipeline.until_readyz(200, "ready").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_created_or_checked_once_in_a_process_and_then_at_assignments_only() {
    let engines = engines().await;
    let setup = setup(&engines, "ensured").await;
    let config = Config::parse(&setup.to_toml(), Path::new("test"), &Default::default());
    let config = Arc::new(config.expect("a good configuration"));
    let in_a_process = || KafkaLog::new(&config, 1, setup.shards).expect("a client");
    let log = in_a_process();
    log.ensure().await.expect("it is created");
    in_a_process().ensure().await.expect("it is as created");

    let short = [LOG[0], LOG[1], ("retention.ms", "60000")];
    engines.kafka.alter_topic(&setup.log_topic(), &short).await;
    log.ensure().await.expect("it is not looked at again");
    let refused = in_a_process().ensure().await;
    let refused = refused.expect_err("what is there is checked");
    assert!(
        refused.to_string().contains("`retention.ms` is `60000`"),
        "{refused}"
    );
    // Right after a check an assignment relies on it.
    let deadline = Instant::now() + TIMEOUT;
    while log.check().await.is_ok() {
        assert!(
            Instant::now() < deadline,
            "it is not checked at assignments"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_with_another_number_of_partitions_than_the_homes_are_counted_by_is_refused() {
    let engines = engines().await;
    let mut setup = setup(&engines, "split").await;
    engines
        .kafka
        .create_topic(
            &setup.log_topic(),
            5,
            &[LOG[0], LOG[1], ("retention.ms", "-1")],
        )
        .await;
    assert_refused(
        &setup.refused().await,
        SOON,
        &[
            "split.log.1",
            "it has 5 partitions; the records' homes are counted by 3",
        ],
    );
    // What was refused has left no trace: with the right number it starts.
    setup.shards = 5;
    let pipeline = setup.start().await;
    pipeline.until_readyz(200, "ready").await;
    assert_eq!(pipeline.sigterm().await.code, Some(0));

    engines.kafka.add_partitions(&setup.log_topic(), 6).await;
    assert_refused(
        &setup.refused().await,
        SOON,
        &[
            "it has 6 partitions; the records' homes are counted by 5",
            "can't be added",
            "dealpulse rebuild log",
        ],
    );
    // Nor does it help to configure that: the metrics in the database are of five.
    setup.shards = 6;
    let messages = [
        "[log] partitions is 6",
        "counted by 5",
        "dealpulse rebuild log --partitions 6",
    ];
    assert_refused(&setup.refused().await, SOON, &messages);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_first_starts_with_different_definitions_one_is_refused_and_leaves_no_trace() {
    let engines = engines().await;
    let berlin = setup(&engines, "twins").await;
    let mut delhi = berlin.clone();
    delhi.time_zone = "Asia/Kolkata".to_owned();
    let mut instances = [&berlin, &delhi].map(|setup| setup.begin(&["run"]));
    let deadline = Instant::now() + TIMEOUT;
    while !instances.iter_mut().any(Work::has_ended) {
        assert!(Instant::now() < deadline, "neither is refused");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let [first, second] = instances;
    let (refused, running, counts, other) = {
        let mut first = first;
        if first.has_ended() {
            (first, second, &delhi, &berlin)
        } else {
            (second, first, &berlin, &delhi)
        }
    };
    let was = format!(
        "`time_zone` was \"{}\" and is \"{}\"",
        counts.time_zone, other.time_zone
    );
    let messages = [
        "[definitions] differ",
        &was,
        "dealpulse rebuild definitions",
    ];
    assert_refused(&refused.ended().await, SOON, &messages);
    running.until_logged("listening on").await;

    let store = berlin.store();
    let epochs = store.epochs().await.unwrap();
    let zones: Vec<&str> = epochs
        .iter()
        .map(|epoch| epoch.definitions.time_zone.as_str())
        .collect();
    assert_eq!(zones, [counts.time_zone.as_str()]);
    let views = store
        .fetch(
            "reading the views",
            "SELECT create_table_query FROM system.tables WHERE database = 'twins' AND engine = 'View'",
            "TSV",
        )
        .await
        .unwrap();
    let views = String::from_utf8_lossy(&views);
    assert!(views.contains(&counts.time_zone) && !views.contains(&other.time_zone));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_becomes_wrong_while_it_is_folded_is_found_at_the_next_assignment() {
    let engines = engines().await;
    let setup = setup(&engines, "worsened").await;
    let (one, two) = tokio::join!(setup.start(), setup.start());
    let owns = |metrics: &Metrics| (1.0..=2.0).contains(&metrics.sum("dealpulse_shards_owned", ""));
    tokio::join!(
        one.until("it has a part of the shards", owns),
        two.until("it has the others", owns)
    );
    send_lead(&engines, &setup, "L-1").await;
    setup.settled().await;

    // What it keeps now is too little for an outage: shards that are handed over are not started,
    // those already running go on.
    engines
        .kafka
        .alter_topic(
            &setup.log_topic(),
            &[LOG[0], LOG[1], ("retention.ms", "60000")],
        )
        .await;
    assert_eq!(two.sigterm().await.code, Some(0));
    let reason = one.until_readyz(503, "log 1 shard ").await;
    let command = format!(
        "kafka-configs --alter --topic {} --add-config retention.ms=604800000",
        setup.log_topic()
    );
    assert!(reason.contains(&command), "{reason}");
    let stopped = one.metrics().sum("dealpulse_shards_stopped", "");
    assert!((1.0..=2.0).contains(&stopped), "{stopped} shards stopped");
    assert_eq!(one.sigterm().await.code, Some(LEFT_OVER));

    // Fixed, and then given one more partition, which changes the homes of records.
    engines
        .kafka
        .alter_topic(
            &setup.log_topic(),
            &[LOG[0], LOG[1], ("retention.ms", "604800000")],
        )
        .await;
    let again = setup.start().await;
    again
        .until("it has all shards", |metrics| {
            metrics.sum("dealpulse_shards_owned", "") == 3.0
        })
        .await;
    again.until_readyz(200, "ready").await;
    engines.kafka.add_partitions(&setup.log_topic(), 4).await;
    let reason = again.until_readyz(503, "log 1 shard 3: ").await;
    assert!(
        reason.contains("it has 4 partitions; the records' homes are counted by 3")
            && reason.contains("dealpulse rebuild log"),
        "{reason}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_definitions_are_refused_by_their_names() {
    let engines = engines().await;
    let mut setup = setup(&engines, "changed").await;
    let pipeline = setup.start().await;
    assert_eq!(pipeline.get("/healthz"), (200, "ok\n".to_owned()));
    pipeline.until_readyz(200, "ready").await;
    assert_eq!(pipeline.sigterm().await.code, Some(0));
    setup.time_zone = "America/New_York".to_owned();
    let messages = [
        "[definitions] differ",
        "database `changed`",
        "`time_zone` was \"Europe/Berlin\" and is \"America/New_York\"",
        "restore them",
        "dealpulse rebuild definitions",
    ];
    assert_refused(&setup.refused().await, SOON, &messages);
}

#[tokio::test(flavor = "multi_thread")]
async fn engines_that_are_down_are_waited_for_and_then_named() {
    let engines = engines().await;
    let nowhere = format!("127.0.0.1:{}", free_port());
    let without_kafka = Setup::new("alone", &nowhere, &engines.clickhouse.url(), &["crm"]);
    let without_clickhouse = Setup::new(
        "dumb",
        &engines.kafka.bootstrap(),
        &format!("http://{nowhere}"),
        &["crm"],
    );
    let (kafka, clickhouse) = tokio::join!(without_kafka.refused(), without_clickhouse.refused());
    let patience = Duration::from_secs(60);
    assert_refused(
        &kafka,
        patience,
        &["Kafka", "is Kafka running, and is [kafka] brokers right?"],
    );
    assert_refused(
        &clickhouse,
        patience,
        &[
            "ClickHouse",
            "is it running, and is [clickhouse] url right?",
        ],
    );
    for ended in [&kafka, &clickhouse] {
        assert!(
            ended.log.contains("not there yet"),
            "it logs meanwhile what it waits for: {}",
            ended.log
        );
    }
    // Kafka's client logs it once, not a thousand times.
    let times = kafka
        .log
        .lines()
        .filter(|line| line.contains("AllBrokersDown"))
        .count();
    assert!(times <= 2, "{times} times:\n{}", kafka.log);
}

/// The log was deleted with all its messages; whether while the pipeline ran or while it didn't.
async fn recreate_log(engines: &Engines, setup: &Setup) {
    engines.kafka.delete_topic(&setup.log_topic()).await;
    engines
        .kafka
        .create_topic(
            &setup.log_topic(),
            setup.shards as i32,
            &[LOG[0], LOG[1], ("retention.ms", "-1")],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_recreated_between_runs_stops_its_shards_each_with_a_line_of_its_own() {
    let engines = engines().await;
    let mut setup = setup(&engines, "recreated").await;
    setup.shards = 2;
    let pipeline = setup.start().await;
    // More than enough for some in either shard.
    for id in 0..16 {
        send_lead(&engines, &setup, &format!("L-{id}")).await;
    }
    setup.settled().await;
    pipeline.until_readyz(200, "ready").await;
    assert_eq!(pipeline.sigterm().await.code, Some(0));

    recreate_log(&engines, &setup).await;
    let pipeline = setup.start().await;
    let stopped = |metrics: &Metrics| metrics.sum("dealpulse_shards_stopped", "") == 2.0;
    pipeline.until("both shards have stopped", stopped).await;
    let reasons = pipeline.until_readyz(503, "log 1 shard ").await;
    for shard in 0..2 {
        let line = reasons
            .lines()
            .find_map(|line| line.strip_prefix(&format!("log 1 shard {shard}: ")))
            .unwrap_or_else(|| panic!("shard {shard} has no line: {reasons}"));
        assert!(
            line.contains("the topic was recreated or cut short")
                && line.contains(&format!("shard {shard} stops at its checkpoint")),
            "{reasons}"
        );
    }
    assert!(
        pipeline
            .log()
            .contains("the shard has stopped; the others go on"),
        "{}",
        pipeline.log()
    );
    assert_eq!(pipeline.get("/healthz").0, 200);
    assert_eq!(
        pipeline.sigterm().await.code,
        Some(LEFT_OVER),
        "a shard that has stopped has left something"
    );

    // Also when the new log has grown beyond the checkpoint: its messages are others.
    for id in 16..64 {
        send_lead(&engines, &setup, &format!("L-{id}")).await;
    }
    let pipeline = setup.start().await;
    let reason = pipeline.until_readyz(503, "log 1 shard 0: ").await;
    assert!(
        reason.contains("the topic was recreated or cut short"),
        "{reason}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_recreated_under_a_running_pipeline_stops_its_shard() {
    let engines = engines().await;
    let mut setup = setup(&engines, "swapped").await;
    setup.shards = 1;
    let pipeline = setup.start().await;
    for id in ["L-1", "L-2", "L-3"] {
        send_lead(&engines, &setup, id).await;
        setup.settled().await;
    }
    pipeline.until_readyz(200, "ready").await;
    recreate_log(&engines, &setup).await;
    send_lead(&engines, &setup, "L-4").await;
    let reason = pipeline.until_readyz(503, "log 1 shard 0: ").await;
    assert!(reason.contains("recreated"), "{reason}");
    assert!(
        pipeline.log().contains("the shard has stopped"),
        "{}",
        pipeline.log()
    );
    let ended = tokio::time::timeout(TIMEOUT, pipeline.sigterm())
        .await
        .expect("it ends");
    assert_eq!(ended.code, Some(LEFT_OVER), "{}", ended.log);
}
