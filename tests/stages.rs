//! Stage conversion and time in stage: what of a deal's history of stages counts, and how long it
//! was in each.

use std::collections::BTreeMap;

use crate::support::pure::Pure;
use crate::support::steps::{self, at, event, left_out};
use dealpulse::definitions::{DefinitionsSpec, SetSpec, StageMeaning};
use dealpulse::metric::Catalogue;
use dealpulse::window::rolling::{Now, Window};
use serde_json::{Value, json};

/// Deals go through talks, offer and terms, and are won when they are signed.
fn spec() -> DefinitionsSpec {
    let signed = StageMeaning {
        status: Some("won".into()),
        probability: None,
    };
    DefinitionsSpec {
        stage_order: ["talks", "offer", "terms"].map(str::to_owned).to_vec(),
        stages: BTreeMap::from([("signed".into(), signed)]),
        ..DefinitionsSpec::default()
    }
}

fn deal(minute: usize, data: Value) -> String {
    event("deal", "D1", minute, data)
}

fn stage(minute: usize, stage: &str) -> String {
    deal(minute, json!({"stage": stage}))
}

/// The figures of a metric's groups over everything.
fn read(pure: &Pure, metric: &str) -> Value {
    let now = pure.last_instant();
    let now = Now {
        now,
        watermark: now,
    };
    let reading = pure.read(vec![Window::All], now);
    reading.to_json(&pure.definitions)[metric]["all"].clone()
}

/// Of each stage how many deals reached it and how many went on, of all deals and of decided ones;
/// then unmapped, unstaged.
fn conversion(pure: &Pure) -> Vec<[i64; 4]> {
    let figures = read(pure, "stage_conversion")["all"].clone();
    let of = |paths: [&str; 4]| paths.map(|path| figures.pointer(path).unwrap().as_i64().unwrap());
    let stages = ["talks", "offer", "terms"].map(|stage| {
        let of_stage = &figures["stages"][stage];
        let counts = ["/reached", "/passed", "/decided/reached", "/decided/passed"];
        counts.map(|path| of_stage.pointer(path).unwrap().as_i64().unwrap())
    });
    let beside = of(["/deals", "/open", "/unmapped", "/unstaged"]);
    stages.into_iter().chain([beside]).collect()
}

#[tokio::test]
async fn a_deal_reached_every_stage_up_to_the_furthest_and_won_ones_all() {
    // Reached, went on; the same decided. Last: deals, open, unmapped, unstaged.
    let nothing = [0, 0, 0, 0];
    let (stays, goes_on) = ([1, 0, 0, 0], [1, 1, 0, 0]);
    let (lost_here, was_passed) = ([1, 0, 1, 0], [1, 1, 1, 1]);
    let open = [1, 1, 0, 0];
    let steps = vec![
        (
            deal(1, json!({"created_at": "2026-05-01"})),
            vec![nothing, nothing, nothing, [0, 0, 0, 1]],
        ),
        (stage(2, "talks"), vec![stays, nothing, nothing, open]),
        // The offer is skipped.
        (stage(3, "terms"), vec![goes_on, goes_on, stays, open]),
        (stage(4, "talks"), vec![goes_on, goes_on, stays, open]),
        // Written otherwise it is another stage.
        (
            stage(5, "Offer"),
            vec![goes_on, goes_on, stays, [1, 1, 1, 0]],
        ),
        (
            deal(6, json!({"status": "lost"})),
            vec![was_passed, was_passed, lost_here, [1, 0, 1, 0]],
        ),
        (
            deal(7, json!({"status": "open", "stage": null})),
            vec![goes_on, goes_on, stays, [1, 1, 1, 0]],
        ),
        (
            stage(8, "signed"),
            vec![was_passed, was_passed, was_passed, [1, 0, 1, 0]],
        ),
        (
            event("deal.deleted", "D1", 9, json!({})),
            vec![nothing, nothing, nothing, nothing],
        ),
    ];
    steps::follow(&spec(), &steps, conversion).await;
}

#[tokio::test]
async fn a_deal_won_without_any_stage_reached_all_and_a_closing_stage_is_not_unmapped() {
    let won = [1, 1, 1, 1];
    let steps = vec![(stage(1, "signed"), vec![won, won, won, [1, 0, 0, 0]])];
    steps::follow(&spec(), &steps, conversion).await;

    // Lost in no stage at all: in no rate, and counted.
    let nothing = [0, 0, 0, 0];
    let steps = vec![(
        deal(1, json!({"status": "lost", "stage": ""})),
        vec![nothing, nothing, nothing, [0, 0, 0, 1]],
    )];
    steps::follow(&spec(), &steps, conversion).await;
}

#[tokio::test]
async fn rates_are_of_all_deals_and_of_decided_ones_and_none_without_a_denominator() {
    let mut pure = Pure::new(3, spec()).await;
    let of = |id: &str, data: Value| event("deal", id, 1, data);
    let lines = [
        of("D1", json!({"stage": "talks"})),
        of("D2", json!({"stage": "offer"})),
        of("D3", json!({"stage": "talks", "status": "lost"})),
        of("D4", json!({"status": "won"})),
    ];
    pure.feed((0..).zip(lines.iter().map(String::as_str)), 2)
        .await;
    let paths = [
        "/rate",
        "/decided/rate",
        "/stages/talks/rate",
        "/stages/talks/decided/rate",
        "/stages/terms/rate",
    ];
    let figures = read(&pure, "stage_conversion");
    assert_eq!(
        at(&figures["all"], &paths),
        [0.25, 0.5, 0.5, 0.5, 1.0].map(Value::from)
    );

    let mut none = Pure::new(1, spec()).await;
    none.feed([(0, lines[0].as_str())].into_iter(), 1).await;
    let figures = read(&none, "stage_conversion");
    assert_eq!(
        at(&figures["all"], &paths),
        [
            json!(0.0),
            Value::Null,
            json!(0.0),
            Value::Null,
            Value::Null
        ]
    );
}

/// Minutes as days, to the six places shown.
fn days(minutes: f64) -> Value {
    ((minutes / 1_440.0 * 1e6).round() / 1e6).into()
}

/// Of each stage that was left: how many deals, their mean, and the negative ones.
fn times(pure: &Pure) -> BTreeMap<String, Vec<Value>> {
    let groups = read(pure, "time_in_stage");
    let groups = groups.as_object().unwrap().iter();
    let of_stage = groups.filter_map(|(group, figures)| {
        let stage = group.strip_prefix("stage=")?;
        let figures = at(figures, &["/count", "/mean_days", "/negative"]);
        Some((stage.to_owned(), figures))
    });
    of_stage.collect()
}

/// The stages that were left, each after so many minutes.
fn left<const N: usize>(stages: [(&str, f64); N]) -> BTreeMap<String, Vec<Value>> {
    let stages = stages.into_iter();
    stages
        .map(|(stage, minutes)| (stage.to_owned(), vec![json!(1), days(minutes), json!(0)]))
        .collect()
}

#[tokio::test]
async fn a_stage_lasts_from_its_first_entry_to_that_of_any_later_one_or_to_the_close() {
    let mut reversed = left([("terms", 22.0)]);
    for stage in ["talks", "offer"] {
        reversed.insert(stage.into(), vec![json!(0), Value::Null, json!(1)]);
    }
    let steps = vec![
        (stage(10, "talks"), left([])),
        // Skipped stages have no time.
        (stage(30, "terms"), left([("talks", 20.0)])),
        // Going back is no new entry; what was skipped and entered now comes after the later one.
        (stage(35, "talks"), left([("talks", 20.0)])),
        // Neither is a stage of no order, or the same one said again.
        (stage(36, "legal"), left([("talks", 20.0)])),
        (stage(37, "terms"), left([("talks", 20.0)])),
        // A late event moves the entry.
        (stage(5, "talks"), left([("talks", 25.0)])),
        (stage(20, "offer"), left([("talks", 15.0), ("offer", 10.0)])),
        (
            deal(
                50,
                json!({"status": "won", "closed_at": "2026-05-02T10:52:00Z"}),
            ),
            left([("talks", 15.0), ("offer", 10.0), ("terms", 22.0)]),
        ),
        (
            deal(51, json!({"status": "open"})),
            left([("talks", 15.0), ("offer", 10.0)]),
        ),
        (
            deal(52, json!({"status": "lost"})),
            left([("talks", 15.0), ("offer", 10.0), ("terms", 22.0)]),
        ),
        // Terms came before everything else: they were left before they were entered.
        (stage(0, "terms"), {
            reversed.insert("terms".into(), vec![json!(1), days(52.0), json!(0)]);
            reversed
        }),
        (event("deal.deleted", "D1", 53, json!({})), left([])),
    ];
    steps::follow(&spec(), &steps, times).await;
}

#[tokio::test]
async fn a_close_that_is_only_a_date_makes_whole_days() {
    let steps = vec![
        (stage(10, "talks"), left([])),
        (
            deal(20, json!({"status": "won", "closed_at": "2026-05-05"})),
            left([("talks", 3.0 * 1_440.0)]),
        ),
        // Closed before it was entered.
        (
            deal(21, json!({"closed_at": "2026-05-01"})),
            BTreeMap::from([("talks".into(), vec![json!(0), Value::Null, json!(1)])]),
        ),
    ];
    steps::follow(&spec(), &steps, times).await;
}

#[tokio::test]
async fn a_history_that_was_cut_tells_the_same() {
    // Many more entries than a history keeps: of the first ones only the cut knows.
    let mut lines = vec![stage(1, "talks"), stage(4, "legal"), stage(11, "offer")];
    for minute in 0..48 {
        for (sequence, stage) in ["talks", "offer"].iter().enumerate() {
            let line = event("deal", "D1", minute, json!({"stage": stage}));
            let time = format!("2026-05-03T10:{minute:02}:00Z\",\"sequence\":\"{sequence}");
            lines.push(line.replace(&format!("2026-05-02T10:{minute:02}:00Z"), &time));
        }
    }
    // The old ones arrive last, below the cut, or first, and are cut off.
    for is_reversed in [true, false] {
        let mut pure = Pure::new(2, spec()).await;
        let mut numbered: Vec<(u64, &str)> = (0..).zip(lines.iter().map(String::as_str)).collect();
        if is_reversed {
            numbered.reverse();
        }
        pure.feed(numbered.into_iter(), 7).await;
        for _ in 0..2 {
            assert_eq!(times(&pure), left([("talks", 10.0)]));
            let reached = [[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0]];
            assert_eq!(conversion(&pure), reached);
            pure.restart().await;
        }
    }
}

#[tokio::test]
async fn time_in_stage_is_kept_by_stage_only_and_under_the_stage_that_was_left() {
    let mut spec = spec();
    spec.groups.push(SetSpec {
        by: vec!["owner".into(), "stage".into()],
        every: vec!["day".into()],
    });
    let mut pure = Pure::new(1, spec).await;
    let lines = [
        deal(1, json!({"stage": "talks", "owner_id": "ana"})),
        deal(2, json!({"stage": "terms", "owner_id": "ben"})),
    ];
    pure.feed((0..).zip(lines.iter().map(String::as_str)), 1)
        .await;
    let groups = read(&pure, "time_in_stage");
    let groups: Vec<&String> = groups.as_object().unwrap().keys().collect();
    assert_eq!(groups, ["all", "stage=talks", "owner=ben,stage=talks"]);
    let groups = read(&pure, "time_in_stage");
    assert_eq!(groups["all"], json!({}), "there is no total");
}

#[tokio::test]
async fn without_an_order_nothing_is_counted_and_nothing_is_shown() {
    let mut pure = Pure::new(1, DefinitionsSpec::default()).await;
    let lines = [stage(1, "talks"), deal(2, json!({"status": "won"}))];
    pure.feed((0..).zip(lines.iter().map(String::as_str)), 1)
        .await;
    for metric in ["stage_conversion", "time_in_stage"] {
        assert_eq!(read(&pure, metric), json!({"all": {}}), "{metric}");
        let cells = pure.store.cells();
        let mut rollups = cells.values().map(|row| row.row.rollup.as_str());
        assert!(!rollups.any(|rollup| rollup.starts_with(metric)));
    }
}

#[tokio::test]
async fn what_is_left_out_of_a_metric_is_in_none_of_its_figures() {
    let mut spec = spec();
    for metric in ["stage_conversion", "time_in_stage"] {
        let renewals = vec![left_out("deal", "pipeline", "renewals")];
        spec.exclude.insert(metric.into(), renewals);
    }
    let steps = vec![
        (stage(10, "talks"), (1, left([]))),
        (stage(30, "offer"), (1, left([("talks", 20.0)]))),
        (deal(31, json!({"pipeline": "renewals"})), (0, left([]))),
        (
            deal(32, json!({"pipeline": null})),
            (1, left([("talks", 20.0)])),
        ),
    ];
    let deals = |pure: &Pure| (conversion(pure)[3][0], times(pure));
    steps::follow(&spec, &steps, deals).await;
}

#[test]
fn an_order_with_a_stage_that_closes_a_deal_is_refused() {
    let mut spec = spec();
    spec.stage_order.push("signed".into());
    let problem = Catalogue::new(spec).unwrap_err().to_string();
    assert_eq!(
        problem,
        "stage_order[3]: `signed` stands for won; take it out: an order has stages of open deals"
    );
}
