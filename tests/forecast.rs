//! The forecast and the quota: what counts of a deal that is open, and what of a period that is not
//! over.

use std::collections::BTreeMap;

use crate::support::pure::Pure;
use crate::support::steps::{self, at, event};
use dealpulse::definitions::{DefinitionsSpec, Exclusion, ForecastCategory, StageMeaning};
use dealpulse::event::When;
use dealpulse::metric::Catalogue;
use dealpulse::window::rolling::{Now, Window};
use serde_json::{Value, json};

fn deal(minute: usize, data: Value) -> String {
    event("deal", "D1", minute, data)
}

/// The figures of a metric's total as they are on a day, for the fiscal quarter so far.
fn read(pure: &Pure, metric: &str, day: &str) -> Value {
    let calendar = &pure.definitions.calendar;
    let now = calendar.instant(When::parse(day).unwrap());
    let at = Now {
        now,
        watermark: now,
    };
    let reading = pure.read(vec![Window::QuarterToDate], at);
    let json = reading.to_json(&pure.definitions);
    json[metric]["qtd"]["all"].clone()
}

/// Compares figures of the forecast after each step.
async fn follow(spec: DefinitionsSpec, paths: &[&str], steps: &[(String, Vec<Value>)]) {
    let read = |pure: &Pure| at(&read(pure, "forecast", "2026-05-10T10:00:00Z"), paths);
    steps::follow(&spec, steps, read).await;
}

#[tokio::test]
async fn of_a_deals_probability_and_its_stages_the_one_said_last_counts() {
    let probable = |probability| StageMeaning {
        status: None,
        probability: Some(probability),
    };
    let spec = DefinitionsSpec {
        stages: BTreeMap::from([
            ("talks".into(), probable(0.2)),
            ("offer".into(), probable(0.5)),
        ]),
        ..DefinitionsSpec::default()
    };
    let paths = ["/amount/EUR/weighted", "/without_probability"];
    let weighted = |amount: &str| vec![json!(amount), json!(0)];
    let steps = vec![
        (
            deal(1, json!({"amount": "100", "currency": "EUR"})),
            vec![json!("0.00"), json!(1)],
        ),
        (deal(2, json!({"stage": "talks"})), weighted("20.00")),
        (deal(3, json!({"probability": 0.7})), weighted("70.00")),
        (deal(4, json!({"stage": "offer"})), weighted("50.00")),
        // Said again, later.
        (deal(5, json!({"probability": 0.7})), weighted("70.00")),
        // A stage without a probability takes none away.
        (deal(6, json!({"stage": "elsewhere"})), weighted("70.00")),
        (
            deal(7, json!({"probability": null})),
            vec![json!("0.00"), json!(1)],
        ),
        (deal(8, json!({"stage": "offer"})), weighted("50.00")),
    ];
    follow(spec, &paths, &steps).await;
}

#[tokio::test]
async fn a_category_is_understood_however_it_is_written_or_mapped_and_else_counted() {
    let upside = ("Upside".to_owned(), ForecastCategory::BestCase);
    let spec = DefinitionsSpec {
        forecast_categories: BTreeMap::from([upside]),
        ..DefinitionsSpec::default()
    };
    let paths = [
        "/amount/EUR/commit",
        "/amount/EUR/best_case",
        "/amount/EUR/pipeline",
        "/omitted/deals",
        "/unmapped",
        "/deals",
    ];
    let (all, nothing) = (json!("100.00"), json!("0.00"));
    let in_place = |place: usize| {
        let mut figures = vec![nothing.clone(); 3];
        figures[place] = all.clone();
        figures.extend([json!(0), json!(0), json!(1)]);
        figures
    };
    let mut unmapped = in_place(2);
    unmapped[4] = json!(1);
    let said = |minute, category: &str| deal(minute, json!({"forecast_category": category}));
    let steps = vec![
        (
            deal(1, json!({"amount": "100", "currency": "EUR"})),
            in_place(2),
        ),
        (said(2, "COMMIT"), in_place(0)),
        (said(3, "best-case"), in_place(1)),
        (said(4, "BestCase"), in_place(1)),
        (said(5, "Upside"), in_place(1)),
        (said(6, "Perhaps"), unmapped),
        (
            said(7, "Omitted"),
            vec![
                nothing.clone(),
                nothing.clone(),
                nothing.clone(),
                json!(1),
                json!(0),
                json!(0),
            ],
        ),
        (
            deal(8, json!({"status": "won", "closed_at": "2026-05-01"})),
            vec![
                Value::Null,
                Value::Null,
                Value::Null,
                json!(0),
                json!(0),
                json!(0),
            ],
        ),
    ];
    follow(spec, &paths, &steps).await;
}

#[tokio::test]
async fn a_deal_becomes_overdue_by_the_day_alone() {
    let mut pure = Pure::new(2, DefinitionsSpec::default()).await;
    let open = deal(
        1,
        json!({"amount": "100", "currency": "EUR", "expected_close_date": "2026-05-09"}),
    );
    pure.feed([(1, open.as_str())].into_iter(), 1).await;
    let overdue = |day| read(&pure, "forecast", day)["overdue"]["deals"].clone();
    assert_eq!(overdue("2026-05-09T23:59:00Z"), json!(0));
    assert_eq!(overdue("2026-05-10T00:00:00Z"), json!(1));
    let period = |day| read(&pure, "forecast", day)["period"]["deals"].clone();
    assert_eq!(period("2026-04-01T00:00:00Z"), json!(1));
    assert_eq!(
        period("2026-07-01T00:00:00Z"),
        json!(0),
        "expected in the quarter before"
    );
}

#[tokio::test]
async fn the_shares_of_a_quota_add_up_to_it_and_follow_its_corrections() {
    let mut pure = Pure::new(2, DefinitionsSpec::default()).await;
    let quota = |minute, data| event("quota", "Q1", minute, data);
    let year = json!({"owner_id": "u1", "target": "1000.00", "currency": "EUR", "period_start": "2026-01-01", "period_end": "2026-12-31"});
    let halved =
        json!({"target": "500.00", "period_start": "2026-04-01", "period_end": "2026-06-30"});
    let of_quarters = |pure: &Pure| {
        ["2026-01-10", "2026-04-10", "2026-07-10", "2026-10-10"].map(|day| {
            let target = &read(pure, "quota", day)["amount"]["EUR"]["target"];
            target
                .as_str()
                .map_or(0.0, |text| text.parse::<f64>().unwrap())
        })
    };
    let steps = [
        // By days: 90, 91, 92 and 92 of 365.
        (quota(1, year), [246.5753, 249.3151, 252.0548, 252.0548]),
        (quota(2, halved), [0.0, 500.0, 0.0, 0.0]),
        (
            event("quota.deleted", "Q1", 3, json!({})),
            [0.0, 0.0, 0.0, 0.0],
        ),
    ];
    for (number, (line, expected)) in steps.iter().enumerate() {
        pure.feed([(number as u64, line.as_str())].into_iter(), 1)
            .await;
        let found = of_quarters(&pure);
        assert_eq!(found, *expected, "step {number}");
    }
}

#[tokio::test]
async fn a_quota_without_a_period_or_a_target_is_none() {
    let mut pure = Pure::new(1, DefinitionsSpec::default()).await;
    let lines = [
        event(
            "quota",
            "Q1",
            1,
            json!({"target": "5", "period_start": "2026-05-01"}),
        ),
        event(
            "quota",
            "Q2",
            2,
            json!({"period_start": "2026-05-01", "period_end": "2026-05-31"}),
        ),
        event(
            "quota",
            "Q3",
            3,
            json!({"target": "5", "period_start": "2026-05-31", "period_end": "2026-05-01"}),
        ),
    ];
    pure.feed((0..).zip(lines.iter().map(String::as_str)), 1)
        .await;
    assert_eq!(
        read(&pure, "quota", "2026-05-10"),
        json!({"elapsed": 0.43956, "amount": {}}),
        "no number rather than a wrong one"
    );
}

#[test]
fn a_metric_without_cells_of_its_own_leaves_nothing_out() {
    let excluded = Exclusion {
        entity: "deal".into(),
        field: "product".into(),
        values: vec!["x".into()],
    };
    let spec = DefinitionsSpec {
        exclude: BTreeMap::from([("sales_results".into(), vec![excluded])]),
        ..DefinitionsSpec::default()
    };
    let problem = Catalogue::new(spec).unwrap_err().to_string();
    assert_eq!(
        problem,
        "exclude.sales_results: `sales_results` is read from the cells of win_rate; leave records out there"
    );
}

#[tokio::test]
async fn what_is_said_to_be_won_and_open_at_one_moment_was_never_closed_and_so_is_not_reopened() {
    let status = |minute, status: &str| {
        let id = "D1";
        steps::event("deal", id, minute, json!({"status": status}))
    };
    let steps = [
        (status(1, "won"), json!(0)),
        (status(1, "open"), json!(0)),
        // Only says again what counts already, and so is not evaluated.
        (status(5, "open"), json!(0)),
        (status(6, "won"), json!(0)),
        (status(7, "open"), json!(1)),
    ];
    steps::follow(&DefinitionsSpec::default(), &steps, |pure| {
        pure.all_time()["losses"]["all"]["reopened"].clone()
    })
    .await;
}
