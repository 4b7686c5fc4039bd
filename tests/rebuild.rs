//! `dealpulse rebuild` in its three forms, through Apache Kafka and ClickHouse: beside a running pipeline, with events arriving, killed and
//! begun again. In the end cells, facts and gauges are those of a pipeline that never was anything else.

mod support;

use dealpulse::local::generate::GeneratedEvent;
use support::course::{Course, events, stage};
use support::pipeline::{BY_BROKER, Pipeline, Setup, Work};

/// How many events each test sends.
const EVENTS: usize = 12_000;

/// A course on which an instance runs and has folded the first part of the events.
async fn under_way(name: &str, all: &[GeneratedEvent]) -> (Course, Pipeline) {
    let mut course = Course::new(name).await;
    // Members that were killed are missed soon.
    course.setup.properties = BY_BROKER.to_vec();
    course.send(stage(all, 0, 4)).await;
    let pipeline = course.setup.start().await;
    course.setup.settled().await;
    (course, pipeline)
}

/// Rebuilds while events arrive; rebuild and pipeline are killed on the way. Gives the instance that runs on, with the configuration of before.
async fn rebuild_and_kill(
    course: &Course,
    pipeline: Pipeline,
    after: &Setup,
    command_line: &[&str],
    all: &[GeneratedEvent],
) -> Pipeline {
    let begun: Work = after.begin(command_line);
    begun.until_said("building epoch 2 beside epoch 1").await;
    course.send(stage(all, 1, 4)).await;
    course.setup.until_epochs(2).await;
    begun.kill_nine();
    pipeline.kill_nine();
    let pipeline = course.setup.start().await;
    let again = after.begin(command_line);
    course.send(stage(all, 2, 4)).await;
    let ended = again.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert!(
        ended.log.contains("epoch 2 is the current one"),
        "{}",
        ended.log
    );
    course.send(stage(all, 3, 4)).await;
    pipeline
}

/// A command that is expected to say something, with its exit code.
async fn says(setup: &Setup, command_line: &[&str], code: i32, words: &[&str]) {
    let ended = setup.begin(command_line).ended().await;
    assert_eq!(ended.code, Some(code), "{command_line:?}: {}", ended.log);
    for word in words {
        assert!(
            ended.log.contains(word),
            "{command_line:?}: `{word}` is not said: {}",
            ended.log
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_definitions_beside_a_running_pipeline_lose_and_double_nothing() {
    let all = events(EVENTS);
    let (mut course, pipeline) = under_way("redefined", &all).await;
    let mut after = course.setup.clone();
    after.time_zone = "America/New_York".to_owned();
    says(
        &course.setup,
        &["rebuild", "definitions"],
        1,
        &["there is nothing to rebuild"],
    )
    .await;
    let pipeline =
        rebuild_and_kill(&course, pipeline, &after, &["rebuild", "definitions"], &all).await;

    let before = std::mem::replace(&mut course.setup, after);
    course.setup.settled().await;
    course.assert_as_in_memory(&pipeline).await;

    // Either configuration starts until the old numbers are dropped; then only the new one.
    says(&before, &["rebuild", "status"], 0, &["replaced", "current"]).await;
    assert_eq!(before.start().await.sigterm().await.code, Some(0));
    says(
        &course.setup,
        &["rebuild", "drop"],
        0,
        &["epoch 1 is dropped"],
    )
    .await;
    let refused = before.refused().await;
    assert!(
        refused.log.contains("[definitions] differ")
            && refused.log.contains("dealpulse rebuild definitions"),
        "{}",
        refused.log
    );
    assert_eq!(
        course.setup.store().cell_lines(1).await.expect("an answer"),
        Vec::<String>::new()
    );
    course.assert_as_in_memory(&pipeline).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_log_of_more_partitions_beside_a_running_pipeline_loses_and_doubles_nothing() {
    let all = events(EVENTS);
    let (mut course, pipeline) = under_way("relogged", &all).await;
    let mut after = course.setup.clone();
    after.shards = 5;
    let refused = after.refused().await;
    assert!(
        refused.log.contains("dealpulse rebuild log --partitions 5"),
        "{}",
        refused.log
    );
    let pipeline = rebuild_and_kill(
        &course,
        pipeline,
        &after,
        &["rebuild", "log", "--partitions", "5"],
        &all,
    )
    .await;

    course.setup = after;
    course.setup.settled().await;
    course.assert_as_in_memory(&pipeline).await;
    pipeline
        .until("it folds nothing but the two logs", |metrics| {
            metrics.sum("dealpulse_shards_owned", "") == 8.0
        })
        .await;
    says(
        &course.setup,
        &["rebuild", "log"],
        1,
        &["has 5 partitions already and is whole", "--anyway"],
    )
    .await;
    says(
        &course.setup,
        &["rebuild", "drop"],
        0,
        &["epoch 1 is dropped, and its log"],
    )
    .await;
    pipeline
        .until("the old log is folded no more", |metrics| {
            metrics.sum("dealpulse_shards_owned", "") == 5.0
        })
        .await;
    course.send(stage(&all, 0, 40)).await;
    course.setup.settled().await;
    course.assert_as_in_memory(&pipeline).await;
    assert_eq!(pipeline.sigterm().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_mapping_beside_a_running_pipeline_reads_everything_anew() {
    let all = events(EVENTS);
    let (mut course, pipeline) = under_way("remapped", &all).await;
    let mut after = course.setup.clone();
    after.namespace = Some("crm");
    let refused = after.refused().await;
    assert!(
        refused.log.contains("dealpulse rebuild mapping"),
        "{}",
        refused.log
    );
    says(
        &after,
        &["rebuild", "definitions"],
        1,
        &["dealpulse rebuild mapping"],
    )
    .await;
    let pipeline = rebuild_and_kill(&course, pipeline, &after, &["rebuild", "mapping"], &all).await;

    // The instance that reads the topics as before has stopped reading them, and says why.
    let reason = pipeline.until_readyz(503, "mapping: ").await;
    assert!(
        reason.contains("start this instance with the present configuration"),
        "{reason}"
    );
    drop(pipeline);
    course.setup = after;
    says(
        &course.setup,
        &["rebuild", "mapping"],
        1,
        &["read that way already"],
    )
    .await;
    let pipeline = course.setup.start().await;
    course.setup.settled().await;
    course.assert_as_in_memory(&pipeline).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_recreated_is_replaced_and_what_lay_in_it_is_read_again() {
    let all = events(EVENTS);
    let (course, pipeline) = under_way("replaced", &all).await;
    // What is routed now is in the log only: nothing is flushed any more.
    pipeline.kill_nine();
    let mut hasty = course.setup.clone();
    hasty.flush_milliseconds = 600_000;
    hasty.flush_rows = 100_000_000;
    course.send(stage(&all, 1, 4)).await;
    let routing = hasty.start().await;
    for topic in &course.setup.topics {
        course.setup.until_routed(topic).await;
    }
    routing.kill_nine();
    course.recreate_log().await;

    let stopped = course.setup.start().await;
    let reason = stopped.until_readyz(503, "recreated or cut short").await;
    assert!(reason.contains("dealpulse rebuild log"), "{reason}");
    says(
        &course.setup,
        &["rebuild", "log"],
        0,
        &[
            "the input topics are read again",
            "epoch 2 is the current one",
        ],
    )
    .await;
    course.send(stage(&all, 2, 4)).await;
    course.setup.settled().await;
    course.assert_as_in_memory(&stopped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_is_given_up_leaves_no_trace() {
    let all = events(3_000);
    let (course, pipeline) = under_way("abandoned", &all).await;
    let mut after = course.setup.clone();
    after.shards = 4;
    says(
        &course.setup,
        &["rebuild", "abandon"],
        1,
        &["no rebuild is under way"],
    )
    .await;
    let begun = after.begin(&["rebuild", "log"]);
    begun.until_said("building epoch 2 beside epoch 1").await;
    course.setup.until_epochs(2).await;
    begun.kill_nine();
    let mut other = after.clone();
    other.time_zone = "Asia/Kolkata".to_owned();
    says(
        &other,
        &["rebuild", "definitions"],
        1,
        &[
            "epoch 2 is being built already",
            "dealpulse rebuild abandon",
        ],
    )
    .await;
    says(
        &course.setup,
        &["rebuild", "abandon"],
        0,
        &["epoch 2 is given up; epoch 1 goes on as it is"],
    )
    .await;
    pipeline
        .until("the new log is folded no more", |metrics| {
            metrics.sum("dealpulse_shards_owned", "") == 3.0
        })
        .await;
    course.send(stage(&all, 1, 4)).await;
    course.setup.settled().await;
    course.assert_as_in_memory(&pipeline).await;
}
