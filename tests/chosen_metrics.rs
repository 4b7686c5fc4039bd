//! An organisation that has only some of the metrics counted (`definitions.metrics`): these say what
//! they say beside all others, and nothing is kept of the rest.

use std::collections::BTreeSet;

use crate::support::pipeline::Pipeline;
use crate::support::pure::Pure;
use crate::support::scenario::{Scenario, events};
use crate::support::stored::{Stored, code_and_output, generated};
use dealpulse::clickhouse::migrate::views;
use dealpulse::definitions::DefinitionsSpec;
use dealpulse::local::generate::stage_order;
use dealpulse::metric::{Catalogue, versions};
use serde_json::Value as Json;

fn all() -> DefinitionsSpec {
    DefinitionsSpec {
        stage_order: stage_order().map(str::to_owned).to_vec(),
        ..DefinitionsSpec::default()
    }
}

fn of(metrics: &[&str]) -> DefinitionsSpec {
    let metrics = metrics.iter().map(|name| (*name).to_owned()).collect();
    DefinitionsSpec {
        metrics: Some(metrics),
        ..all()
    }
}

/// Every metric, each with those it can't be counted without.
fn alone() -> Vec<(&'static str, DefinitionsSpec)> {
    let catalogue = Catalogue::new(all()).unwrap();
    let alone = catalogue.metrics().map(|metric| {
        let sources = catalogue.sources(metric).into_iter();
        let mut names: BTreeSet<&str> = sources.map(|source| source.name()).collect();
        names.insert(metric.name());
        (metric.name(), of(&Vec::from_iter(names)))
    });
    alone.collect()
}

#[tokio::test]
async fn a_metric_says_alone_what_it_says_beside_all_others() {
    let lines = generated(60);
    let said = async |spec| {
        let mut pure = Pure::new(2, spec).await;
        let lines = lines.iter().map(String::as_str);
        pure.feed((0..).zip(lines), 300).await;
        pure.restart().await;
        pure.all_time()
    };
    let beside = said(all()).await;
    for (name, spec) in alone() {
        let chosen = spec.metrics.clone().unwrap();
        let alone = said(spec).await;
        assert_ne!(alone[name], Json::Null, "{name}");
        assert_eq!(alone[name], beside[name], "{name}");
        let metrics: BTreeSet<&String> = alone.as_object().unwrap().keys().collect();
        assert_eq!(metrics, BTreeSet::from_iter(&chosen), "{name}");
    }
}

#[tokio::test]
async fn a_database_has_the_cells_and_views_of_the_chosen_metrics_only() {
    let chosen = ["close_rate", "win_rate", "sales_race", "touches"];
    let mut stored = Stored::with("chosen", of(&chosen)).await;
    for lines in generated(60).chunks(400) {
        stored.feed(lines).await;
    }
    let sql = "SELECT arrayStringConcat(arraySort(groupUniqArray(splitByChar('.', series)[1])), ' ') FROM rollups";
    assert_eq!(
        stored.row(sql).await,
        ["close_rate sales_race touches win_rate"]
    );
    let output = stored.setup.ask("reconcile", &["--json"]).await;
    let (code, text) = code_and_output(&output);
    let found: Json = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &found["differing"]), (0, &0.into()), "{found:#}");
    assert!(found["cells"].as_u64() > Some(100), "{found:#}");

    let sql = "SELECT arrayStringConcat(arraySort(groupArray(name)), ' ') FROM system.tables WHERE database = currentDatabase() AND comment LIKE 'dealpulse metric %'";
    for (name, spec) in alone() {
        views(&stored.clickhouse, &spec, &versions(&spec))
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let catalogue = Catalogue::new(spec).unwrap();
        let views = catalogue.metrics().flat_map(|metric| metric.views());
        let expected: BTreeSet<&str> = views.map(|view| view.name).collect();
        assert!(!expected.is_empty(), "{name}");
        let expected = Vec::from_iter(expected).join(" ");
        assert_eq!(stored.row(sql).await, [expected], "{name}");
    }
}

/// The metrics that an instance has gauges of.
fn gauged(pipeline: &Pipeline) -> BTreeSet<String> {
    let catalogue = Catalogue::new(all()).unwrap();
    let gauges = pipeline.metrics().business();
    let of_metric = |name: &&str| {
        let prefix = format!("dealpulse_{name}_");
        gauges.iter().any(|line| line.starts_with(&prefix))
    };
    let names = catalogue.metrics().map(|metric| metric.name());
    names.filter(of_metric).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_shows_the_chosen_metrics_and_a_rebuild_adds_one_with_its_history() {
    let mut scenario = Scenario::new("chosen_of_all").await;
    scenario.setup.metrics = Some(&["close_rate", "win_rate"]);
    scenario.send(&events(6_000)).await;
    let pipeline = scenario.setup.start().await;
    scenario.setup.settled().await;
    let is_shown = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned());
        gauged(&pipeline) == BTreeSet::from_iter(names)
    };
    pipeline
        .wait("both have gauges", || is_shown(&["close_rate", "win_rate"]))
        .await;
    let titles = |page: &str| {
        let cards = page.split("<div class=\"card\"><h2>").skip(1);
        let titles = cards.filter_map(|card| Some(card.split_once("</h2>")?.0.to_owned()));
        titles.collect::<Vec<_>>()
    };
    assert_eq!(titles(&pipeline.get("/").1), ["Close rate", "Win rate"]);

    // Another choice is no other configuration of the same numbers.
    let mut after = scenario.setup.clone();
    after.metrics = Some(&["close_rate", "win_rate", "cycle_length"]);
    let refused = after.refused().await;
    let differs = "`metrics` was [\"close_rate\",\"win_rate\"] and is [\"close_rate\",\"win_rate\",\"cycle_length\"]";
    assert!(
        refused.log.contains(differs) && refused.log.contains("dealpulse rebuild definitions"),
        "{}",
        refused.log
    );
    let ended = after.begin(&["rebuild", "definitions"]).ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let three = ["close_rate", "cycle_length", "win_rate"];
    pipeline
        .wait("all three have gauges", || is_shown(&three))
        .await;
    scenario.setup = after;
    scenario.setup.settled().await;
    scenario.assert_as_in_memory(&pipeline).await;

    // A choice that can't be counted is refused before anything is looked at.
    let mut lacking = scenario.setup.clone();
    lacking.metrics = Some(&["velocity"]);
    let refused = lacking.refused().await;
    let problem = "metrics[0]: `velocity` is read from the cells of `win_rate`; add it";
    assert!(refused.log.contains(problem), "{}", refused.log);
}
