//! `dealpulse rebuild` in its three forms, through Apache Kafka and ClickHouse: beside a running
//! pipeline, with events arriving, killed and started again. In the end cells, facts and gauges are
//! those of a pipeline that never was anything else.

use std::time::{Duration, Instant};

use crate::support::pipeline::{BY_BROKER, Metrics, Pipeline, Setup, TIMEOUT, Work};
use crate::support::scenario::{Scenario, events, stage};
use dealpulse::definitions::DefinitionsSpec;
use dealpulse::local::generate::GeneratedEvent;
use dealpulse::metric::Catalogue;
use dealpulse::pipeline::epochs::{Epoch, Stage, current};
use dealpulse::pipeline::{Store, catalogue};

/// How many events each test sends.
const EVENTS: usize = 12_000;

/// A scenario in which an instance runs and has folded the first part of the events.
async fn under_way(name: &str, all: &[GeneratedEvent]) -> (Scenario, Pipeline) {
    let mut scenario = Scenario::new(name).await;
    // Members that were killed are missed soon.
    scenario.setup.properties = BY_BROKER.to_vec();
    scenario.send(stage(all, 0, 4)).await;
    let pipeline = scenario.setup.start().await;
    scenario.setup.settled().await;
    (scenario, pipeline)
}

/// Rebuilds while events arrive; rebuild and pipeline are killed on the way. Returns the instance
/// that runs on, with the previous configuration.
async fn rebuild_and_kill(
    scenario: &Scenario,
    pipeline: Pipeline,
    after: &Setup,
    command_line: &[&str],
    all: &[GeneratedEvent],
) -> Pipeline {
    let begun: Work = after.begin(command_line);
    begun.until_logged("building epoch 2 beside epoch 1").await;
    scenario.send(stage(all, 1, 4)).await;
    scenario.setup.until_epochs(2).await;
    begun.kill_nine();
    pipeline.kill_nine();
    let pipeline = scenario.setup.start().await;
    let again = after.begin(command_line);
    scenario.send(stage(all, 2, 4)).await;
    let ended = again.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert!(
        ended.log.contains("epoch 2 is the current one"),
        "{}",
        ended.log
    );
    scenario.send(stage(all, 3, 4)).await;
    pipeline
}

/// Runs a command and checks its output and exit code.
async fn assert_prints(setup: &Setup, command_line: &[&str], code: i32, words: &[&str]) {
    let ended = setup.begin(command_line).ended().await;
    assert_eq!(ended.code, Some(code), "{command_line:?}: {}", ended.log);
    for word in words {
        assert!(
            ended.log.contains(word),
            "{command_line:?}: `{word}` is not printed: {}",
            ended.log
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_definitions_beside_a_running_pipeline_lose_and_double_nothing() {
    let all = events(EVENTS);
    let (mut scenario, pipeline) = under_way("redefined", &all).await;
    let mut after = scenario.setup.clone();
    after.time_zone = "America/New_York".to_owned();
    assert_prints(
        &scenario.setup,
        &["rebuild", "definitions"],
        1,
        &["there is nothing to rebuild"],
    )
    .await;
    let pipeline = rebuild_and_kill(
        &scenario,
        pipeline,
        &after,
        &["rebuild", "definitions"],
        &all,
    )
    .await;

    let before = std::mem::replace(&mut scenario.setup, after);
    scenario.setup.settled().await;
    scenario.assert_as_in_memory(&pipeline).await;

    // The older instance goes on, and reports that its configuration is not the current epoch's;
    // one that has it reports nothing.
    let differs = "`time_zone` was \"America/New_York\" and is \"Europe/Berlin\"";
    let outdated = |metrics: &Metrics| metrics.sum("dealpulse_configuration_outdated", "");
    pipeline
        .until("its configuration is outdated", |m| outdated(m) == 1.0)
        .await;
    let ready = pipeline.until_readyz(200, "configuration: ").await;
    assert!(
        ready.starts_with("ready\nconfiguration: ") && ready.contains(differs),
        "{ready}"
    );
    let current = scenario.setup.start().await;
    assert_eq!(current.until_readyz(200, "ready").await, "ready\n");
    assert!(
        current
            .metrics()
            .0
            .contains("dealpulse_configuration_outdated 0")
    );
    assert_eq!(current.sigterm().await.code, Some(0));
    // It has read the epochs many times by now, and warned once.
    let log = pipeline.log();
    let warnings = log
        .lines()
        .filter(|line| line.contains("WARN") && line.contains(differs));
    assert_eq!(warnings.count(), 1, "{log}");

    // Either configuration starts until the old epoch is dropped; then only the new one.
    assert_prints(&before, &["rebuild", "status"], 0, &["replaced", "current"]).await;
    assert_eq!(before.start().await.sigterm().await.code, Some(0));
    assert_prints(
        &scenario.setup,
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
        scenario
            .setup
            .store()
            .cell_lines(1)
            .await
            .expect("an answer"),
        Vec::<String>::new()
    );
    scenario.assert_as_in_memory(&pipeline).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_log_of_more_partitions_beside_a_running_pipeline_loses_and_doubles_nothing() {
    let all = events(EVENTS);
    let (mut scenario, pipeline) = under_way("relogged", &all).await;
    let mut after = scenario.setup.clone();
    after.shards = 5;
    let refused = after.refused().await;
    assert!(
        refused.log.contains("dealpulse rebuild log --partitions 5"),
        "{}",
        refused.log
    );
    let pipeline = rebuild_and_kill(
        &scenario,
        pipeline,
        &after,
        &["rebuild", "log", "--partitions", "5"],
        &all,
    )
    .await;

    scenario.setup = after;
    scenario.setup.settled().await;
    scenario.assert_as_in_memory(&pipeline).await;
    pipeline
        .until("it folds nothing but the two logs", |metrics| {
            metrics.sum("dealpulse_shards_owned", "") == 8.0
        })
        .await;
    assert_prints(
        &scenario.setup,
        &["rebuild", "log"],
        1,
        &["has 5 partitions already and is whole", "--anyway"],
    )
    .await;
    assert_prints(
        &scenario.setup,
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
    scenario.send(stage(&all, 0, 40)).await;
    scenario.setup.settled().await;
    scenario.assert_as_in_memory(&pipeline).await;
    assert_eq!(pipeline.sigterm().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_mapping_beside_a_running_pipeline_reads_everything_again() {
    let all = events(EVENTS);
    let (mut scenario, pipeline) = under_way("remapped", &all).await;
    let mut after = scenario.setup.clone();
    after.namespace = Some("crm");
    let refused = after.refused().await;
    assert!(
        refused.log.contains("dealpulse rebuild mapping"),
        "{}",
        refused.log
    );
    assert_prints(
        &after,
        &["rebuild", "definitions"],
        1,
        &["dealpulse rebuild mapping"],
    )
    .await;
    let pipeline =
        rebuild_and_kill(&scenario, pipeline, &after, &["rebuild", "mapping"], &all).await;

    // The instance that reads the topics as before has stopped reading them, and reports why.
    let reason = pipeline.until_readyz(503, "mapping: ").await;
    assert!(
        reason.contains("start this instance with the present configuration"),
        "{reason}"
    );
    drop(pipeline);
    scenario.setup = after;
    assert_prints(
        &scenario.setup,
        &["rebuild", "mapping"],
        1,
        &["read that way already"],
    )
    .await;
    let pipeline = scenario.setup.start().await;
    scenario.setup.settled().await;
    scenario.assert_as_in_memory(&pipeline).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_recreated_is_replaced_and_what_lay_in_it_is_read_again() {
    let all = events(EVENTS);
    let (scenario, pipeline) = under_way("replaced", &all).await;
    // What is routed now is in the log only: nothing is flushed any more.
    pipeline.kill_nine();
    let mut hasty = scenario.setup.clone();
    hasty.flush_milliseconds = 600_000;
    hasty.flush_rows = 100_000_000;
    scenario.send(stage(&all, 1, 4)).await;
    let routing = hasty.start().await;
    for topic in &scenario.setup.topics {
        scenario.setup.until_routed(topic).await;
    }
    routing.kill_nine();
    scenario.recreate_log().await;

    let stopped = scenario.setup.start().await;
    let reason = stopped.until_readyz(503, "recreated or cut short").await;
    assert!(reason.contains("dealpulse rebuild log"), "{reason}");
    assert_prints(
        &scenario.setup,
        &["rebuild", "log"],
        0,
        &[
            "the input topics are read again",
            "epoch 2 is the current one",
        ],
    )
    .await;
    scenario.send(stage(&all, 2, 4)).await;
    scenario.setup.settled().await;
    scenario.assert_as_in_memory(&stopped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_is_given_up_leaves_no_trace() {
    let all = events(3_000);
    let (scenario, pipeline) = under_way("abandoned", &all).await;
    let mut after = scenario.setup.clone();
    after.shards = 4;
    assert_prints(
        &scenario.setup,
        &["rebuild", "abandon"],
        1,
        &["no rebuild is under way"],
    )
    .await;
    let begun = after.begin(&["rebuild", "log"]);
    begun.until_logged("building epoch 2 beside epoch 1").await;
    scenario.setup.until_epochs(2).await;
    begun.kill_nine();
    let mut other = after.clone();
    other.time_zone = "Asia/Kolkata".to_owned();
    assert_prints(
        &other,
        &["rebuild", "definitions"],
        1,
        &[
            "epoch 2 is being built already",
            "dealpulse rebuild abandon",
        ],
    )
    .await;
    assert_prints(
        &scenario.setup,
        &["rebuild", "abandon"],
        0,
        &["epoch 2 is abandoned; epoch 1 continues unchanged"],
    )
    .await;
    pipeline
        .until("the new log is folded no more", |metrics| {
            metrics.sum("dealpulse_shards_owned", "") == 3.0
        })
        .await;
    scenario.send(stage(&all, 1, 4)).await;
    scenario.setup.settled().await;
    scenario.assert_as_in_memory(&pipeline).await;
}

/// The names of a metric's rollups, as SQL has them.
fn rollups(metric: &str) -> String {
    let catalogue = Catalogue::new(DefinitionsSpec::default()).unwrap();
    let rollups = catalogue.metric(metric).expect("a metric").rollups();
    let rollups = rollups.into_iter();
    let names: Vec<String> = rollups.map(|rollup| format!("'{}'", rollup.name)).collect();
    names.join(", ")
}

/// Makes the history of a settled database that of another version: the win rate is counted by a
/// formula of its own, and upsell not at all.
async fn pretend_it_is_of_another_version(setup: &Setup) {
    let store = setup.store();
    let mut epoch = store.epochs().await.expect("the epochs").remove(0);
    epoch.catalogue.insert("win_rate".into(), 0);
    epoch.catalogue.remove("upsell");
    store.put_epoch(&epoch).await.expect("the epoch is written");
    for sql in [
        format!(
            "INSERT INTO rollups SELECT * REPLACE (arrayMap(n -> n * 1000, counts) AS counts) FROM rollups FINAL WHERE series IN ({})",
            rollups("win_rate")
        ),
        format!(
            "ALTER TABLE rollups DELETE WHERE series IN ({}) SETTINGS mutations_sync = 1",
            rollups("upsell")
        ),
        "DROP VIEW upsell_daily".to_owned(),
        "CREATE OR REPLACE VIEW win_rate_daily AS SELECT 'the old formula' AS formula COMMENT 'dealpulse metric win_rate 0'".to_owned(),
    ] {
        store
            .execute("pretending", &sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

/// What a query answers, as text.
async fn answer(setup: &Setup, sql: &str) -> String {
    let text = setup.store().fetch("asking for a test", sql, "TSV").await;
    let text = text.unwrap_or_else(|error| panic!("{sql}: {error}"));
    String::from_utf8_lossy(&text).trim().to_owned()
}

/// Waits until an epoch is the current one.
async fn until_current(setup: &Setup, number: u32) {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let epochs = setup.store().epochs().await.expect("the epochs");
        if current(&epochs).is_some_and(|epoch| epoch.epoch == number) {
            return;
        }
        assert!(Instant::now() < deadline, "epoch {number} is not current");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_recounts_everything_and_shows_nothing_by_half() {
    let all = events(EVENTS);
    let (mut scenario, pipeline) = under_way("upgraded", &all).await;
    assert_eq!(pipeline.sigterm().await.code, Some(0));
    pretend_it_is_of_another_version(&scenario.setup).await;
    let refused = scenario.setup.refused().await;
    let here = dealpulse::metric::versions(&DefinitionsSpec::default())["win_rate"];
    let difference = format!("new: `upsell`; altered: `win_rate` (version 0 there, {here} here)");
    for words in [&*difference, "dealpulse rebuild definitions"] {
        assert!(refused.log.contains(words), "{words}: {}", refused.log);
    }

    // Nothing is flushed, so the switch can't come.
    scenario.setup.on_upgrade = Some("rebuild");
    let mut hasty = scenario.setup.clone();
    (hasty.flush_milliseconds, hasty.flush_rows) = (600_000, 100_000_000);
    let left = scenario.setup.store().cell_lines(1).await.expect("cells");
    let watermark = "SELECT toUnixTimestamp(watermark) FROM watermark";
    let upgrading = hasty.start().await;
    scenario.setup.until_epochs(2).await;
    scenario.send(stage(&all, 1, 4)).await;
    for topic in &scenario.setup.topics {
        scenario.setup.until_routed(topic).await;
    }
    upgrading
        .until("what is unaltered is shown", |metrics| {
            metrics.0.contains("dealpulse_lead_source_leads")
        })
        .await;
    let shown = upgrading.metrics().0;
    for metric in ["win_rate", "upsell"] {
        assert!(
            !shown.contains(&format!("dealpulse_{metric}_")),
            "{metric} is shown"
        );
    }
    let views = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = 'upsell_daily'";
    assert_eq!(answer(&scenario.setup, views).await, "0");
    let formula = "SELECT formula FROM win_rate_daily";
    assert_eq!(answer(&scenario.setup, formula).await, "the old formula");
    assert_eq!(upgrading.sigterm().await.code, Some(0));
    // The shards are flushed up to their positions, and the metrics are not: the watermark shows
    // it.
    let epochs = scenario.setup.store().epochs().await.expect("the epochs");
    let stood_at = epochs[1].stood_at.expect("the epoch before is left");
    let folded = "SELECT min(append_time) FROM checkpoints FINAL";
    let folded: i64 = answer(&scenario.setup, folded)
        .await
        .parse()
        .expect("an instant");
    assert!(folded > stood_at, "{folded} and {stood_at}");
    assert_eq!(
        answer(&scenario.setup, watermark).await,
        (stood_at / 1_000_000).to_string()
    );
    assert_eq!(
        scenario.setup.store().cell_lines(1).await.expect("cells"),
        left
    );

    // The next one goes on with it.
    let pipeline = scenario.setup.start().await;
    scenario.send(stage(&all, 2, 4)).await;
    until_current(&scenario.setup, 2).await;
    scenario.setup.settled().await;
    scenario.assert_as_in_memory(&pipeline).await;
    assert_eq!(
        scenario.setup.store().cell_lines(1).await.expect("cells"),
        left
    );
    pipeline
        .wait("the log reports that it is done", || {
            pipeline.log().contains("epoch 2 is the current one")
        })
        .await;
    assert_eq!(answer(&scenario.setup, views).await, "1");
    let won = "SELECT sum(won) > 0 FROM win_rate_daily";
    assert_eq!(answer(&scenario.setup, won).await, "1");
    assert_prints(
        &scenario.setup,
        &["rebuild", "drop"],
        0,
        &["epoch 1 is dropped"],
    )
    .await;

    // Now this instance is the older one: a version with other formulas begins the next epoch.
    let store = scenario.setup.store();
    let epochs = store.epochs().await.expect("the epochs");
    let mut newer = Epoch {
        epoch: 3,
        stage: Stage::Building,
        stood_at: Some(0),
        ..current(&epochs).expect("a current epoch").clone()
    };
    newer.catalogue.insert("win_rate".into(), 1_000);
    store.put_epoch(&newer).await.expect("the epoch is written");
    pipeline
        .until_readyz(
            503,
            "catalogue: epoch 3 is being built by another catalogue",
        )
        .await;
    pipeline
        .until("it folds for no epoch", |metrics| {
            metrics.sum("dealpulse_shards_owned", "") == 0.0
                && metrics.sum("dealpulse_shards_stopped", "") == 0.0
        })
        .await;
    assert_prints(
        &scenario.setup,
        &["rebuild", "definitions"],
        1,
        &["is being built already"],
    )
    .await;
    assert_prints(
        &scenario.setup,
        &["rebuild", "abandon"],
        0,
        &["epoch 2 is not continued", "dealpulse rebuild definitions"],
    )
    .await;
    assert_prints(
        &scenario.setup,
        &["reconcile"],
        1,
        &["not been continued since another version began epoch 3"],
    )
    .await;
    assert_prints(
        &scenario.setup,
        &["rebuild", "definitions"],
        0,
        &[
            "by the metrics of this version",
            "epoch 4 is the current one",
        ],
    )
    .await;
    scenario.send(stage(&all, 3, 4)).await;
    scenario.setup.settled().await;
    scenario.assert_as_in_memory(&pipeline).await;
    let epochs = store.epochs().await.expect("the epochs");
    assert_eq!(
        catalogue::check(&epochs, dealpulse::metric::versions),
        Ok(())
    );
}
