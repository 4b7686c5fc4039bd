//! Alerts over a real engine: the gauges of a pipeline's database, the thresholds that are kept,
//! and replays of files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::support::clickhouse::DEALPULSE;
use crate::support::pipeline::database;
use crate::support::stored::{Stored, code_and_output, generated};
use dealpulse::alert::Random;
use dealpulse::clickhouse::{ClickHouse, NewRows, RollupRow};
use dealpulse::metric::SideInputs;
use dealpulse::pipeline::watermark::Progress;
use dealpulse::pipeline::{Epoch, OutsideError, Store};
use dealpulse::serve::alerts::{Schedule, watch_forever};
use dealpulse::serve::metrics;
use dealpulse::serve::model::Model;
use dealpulse::serve::reach::Reach;
use dealpulse::serve::refresh::{Refresh, Refresher, Source};
use dealpulse::telemetry::Telemetry;
use serde_json::Value as Json;

const DAYS: i64 = 480;
/// The last days, in which the win rate falls.
const FALLEN: i64 = 21;
/// 2025-01-01 (µs).
const START: i64 = 1_735_689_600_000_000;
const DAY: i64 = 86_400_000_000;

fn instant(micros: i64) -> String {
    let at = chrono::DateTime::from_timestamp_micros(micros).unwrap();
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The deals of an organisation that closes ten a working day and wins half of them; in its last
/// three weeks it wins a sixth, and most losses are one owner's, for the price.
fn organisation() -> Vec<String> {
    let mut random = Random::new(11);
    let mut lines = Vec::new();
    for day in 0..DAYS {
        let noon = START + day * DAY + DAY / 2;
        // 2025-01-01 was a Wednesday.
        if (day + 2) % 7 >= 5 {
            continue;
        }
        let has_fallen = day >= DAYS - FALLEN;
        for deal in 0..10 {
            let won = random.below(100) < if has_fallen { 5 } else { 50 };
            let owner = match deal {
                0..3 => "u-ana",
                3..6 => "u-ben",
                _ => "u-carl",
            };
            let won = won || (has_fallen && owner != "u-carl" && random.below(100) < 20);
            let (status, reason) = match won {
                true => ("won", "".to_owned()),
                false if owner == "u-carl" => ("lost", r#","lost_reason":"price""#.to_owned()),
                false => (
                    "lost",
                    format!(
                        r#","lost_reason":"{}""#,
                        ["timing", "no budget"][random.below(2)]
                    ),
                ),
            };
            let created = instant(noon - 30 * DAY - random.below(20) as i64 * DAY);
            let source = ["web", "referral"][random.below(2)];
            lines.push(format!(
                r#"{{"specversion":"1.0","id":"{day}-{deal}","source":"crm","type":"crm.deal.upserted","subject":"D-{day}-{deal}","time":"{}","data":{{"status":"{status}","owner_id":"{owner}","team":"emea","lead_source":"{source}","created_at":"{created}","closed_at":"{}"{reason}}}}}"#,
                instant(noon),
                instant(noon + deal * 60_000_000),
            ));
        }
    }
    lines
}

/// The present of the organisation: the morning after its last day.
fn present() -> i64 {
    START + DAYS * DAY + DAY / 4
}

/// What the read model reads, over the database alone.
struct Rollups {
    clickhouse: ClickHouse,
    watermark: Option<i64>,
}

impl Source for Rollups {
    async fn side_inputs_state(&self, _: &Epoch) -> Result<u64, OutsideError> {
        Ok(0)
    }

    async fn side_inputs(&self, _: &Epoch, _: Option<&str>) -> Result<SideInputs, OutsideError> {
        Ok(SideInputs::default())
    }

    async fn current(&self) -> Result<Epoch, OutsideError> {
        Ok(self.clickhouse.epochs().await?.remove(0))
    }

    async fn progress(&self, _: &Epoch) -> Result<Progress, OutsideError> {
        Ok(Progress {
            watermark: self.watermark,
            append_time: 0,
            flushed: Vec::new(),
        })
    }

    async fn rows(
        &self,
        epoch: &Epoch,
        reach: &Reach,
        take: &mut (dyn FnMut(RollupRow<'_>) + Send),
    ) -> Result<(), OutsideError> {
        let ranges = reach.ranges();
        self.clickhouse
            .rollup_rows(epoch.epoch, &ranges, take)
            .await
    }

    async fn new_rows(
        &self,
        epoch: &Epoch,
        new: &NewRows<'_>,
        take: &mut (dyn FnMut(RollupRow<'_>) + Send),
    ) -> Result<i64, OutsideError> {
        self.clickhouse
            .new_rollup_rows(epoch.epoch, new, take)
            .await
    }
}

/// A model with one snapshot of a database.
async fn model(stored: &Stored, watermark: Option<i64>) -> Model {
    let source = Rollups {
        clickhouse: stored.clickhouse.clone(),
        watermark,
    };
    let refresh = Refresh {
        clock: present,
        ..Refresh::default()
    };
    let mut refresher = Refresher::new(source, refresh, Telemetry::new());
    let model = Model::new(Duration::from_secs(60));
    model.publish(refresher.snapshot().await.expect("a snapshot"));
    model
}

/// The gauges of alerts, by name and labels in order of their names.
fn gauges(model: &Model) -> BTreeMap<String, f64> {
    let text = metrics::text(model, &Telemetry::new()).unwrap();
    let lines = text
        .lines()
        .filter(|line| line.starts_with("dealpulse_alert_"));
    let parsed = lines.map(|line| {
        let (name, value) = line["dealpulse_alert_".len()..].rsplit_once(' ').unwrap();
        let (name, labels) = name.trim_end_matches('}').split_once('{').unwrap();
        let mut labels: Vec<&str> = labels
            .split_inclusive("\",")
            .map(|l| l.trim_end_matches(','))
            .collect();
        labels.sort_unstable();
        (of(name, &labels.join(",")), value.parse().unwrap())
    });
    parsed.collect()
}

/// Watches a database until `is_there` is true of the gauges.
async fn watched(
    model: &Model,
    stored: &Stored,
    is_there: impl Fn(&BTreeMap<String, f64>) -> bool,
) -> BTreeMap<String, f64> {
    let schedule = Schedule {
        look_every: Duration::from_millis(20),
        ..Schedule::default()
    };
    let watching = tokio::spawn(watch_forever(
        model.clone(),
        stored.clickhouse.clone(),
        schedule,
    ));
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let found = gauges(model);
        if is_there(&found) {
            watching.abort();
            return found;
        }
        assert!(Instant::now() < deadline, "timed out; there are {found:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

const TOTAL: &str = r#"dimension="all",value="all",watch="win_rate""#;

fn of(name: &str, labels: &str) -> String {
    format!("{name}{{{labels}}}")
}

#[tokio::test]
async fn a_fall_is_in_the_gauges_with_who_it_was_and_its_threshold_can_be_calibrated() {
    let mut stored = Stored::new("alerts").await;
    stored.feed(&organisation()).await;
    let model = model(&stored, Some(present())).await;
    let found = watched(&model, &stored, |gauges| !gauges.is_empty()).await;
    let total = |name: &str| found.get(&of(name, TOTAL)).copied();
    let (evidence, threshold) = (total("evidence").unwrap(), total("threshold").unwrap());
    assert!(evidence > threshold, "{found:#?}");
    assert_eq!(
        (total("judged"), total("bulk"), total("calibrated")),
        (Some(1.0), Some(0.0), Some(0.0))
    );
    assert!(
        (0.4..0.6).contains(&total("expected").unwrap()),
        "{found:#?}"
    );
    assert!(total("observed").unwrap() < 0.4);
    let newest = (START + (DAYS - 1) * DAY) as f64 / 1e6;
    // Days are Berlin's: they start an hour or two before those of UTC.
    let newest_day = total("newest_day_timestamp_seconds").unwrap();
    assert!(
        (newest - 7_200.0..=newest).contains(&newest_day),
        "{newest_day}"
    );
    let since = total("since_timestamp_seconds").unwrap();
    assert!(
        since > newest - 40.0 * 86_400.0 && since <= newest,
        "{since}"
    );
    assert!(total("sample").unwrap() >= 20.0 && total("baseline_sample").unwrap() > 500.0);
    assert!(total("dispersion").unwrap() >= 1.0);
    assert!((0.1..0.4).contains(&total("smallest_drop").unwrap()));
    assert!(total("baseline_quarters").unwrap() >= 3.0);
    let cause = |by: &str, name: &str| {
        let labels =
            format!(r#"by="{by}",dimension="all",name="{name}",value="all",watch="win_rate""#);
        found.get(&of("cause", &labels)).copied()
    };
    let of_carl = cause("owner", "u-carl").unwrap_or_else(|| panic!("{found:#?}"));
    assert!(
        of_carl >= 10.0 && cause("lost_reason", "price") == Some(of_carl),
        "all of his losses are by price"
    );
    let all = found.get(&of("cause_records", &format!(r#"by="owner",{TOTAL}"#)));
    assert!(all.is_some_and(|all| *all > of_carl), "{found:#?}");
    let team = r#"dimension="team",value="emea",watch="win_rate""#;
    assert!(found[&of("evidence", team)] > found[&of("threshold", team)]);
    assert!(found.contains_key(&of(
        "evidence",
        r#"dimension="source",value="web",watch="win_rate""#
    )));
    // Nobody is upsold here, so there is no share to fall.
    assert!(
        !found.keys().any(|name| name.contains("lead_volume")),
        "{found:#?}"
    );

    // Kept thresholds are taken from then on.
    let up_to = ["--to", "2026-04-25", "--histories", "40"];
    let ask = async |command: &str, arguments: &[&str]| {
        let output = stored.setup.ask(command, arguments).await;
        code_and_output(&output)
    };
    let dry_run = [&up_to[..], &["--dry-run"]].concat();
    let (code, text) = ask("alerts calibrate", &dry_run).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("nothing was written"), "{text}");
    assert_eq!(stored.clickhouse.thresholds(1).await.unwrap(), []);
    let (code, text) = ask("alerts calibrate", &up_to).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("win_rate team=emea"), "{text}");
    let kept = stored.clickhouse.thresholds(1).await.unwrap();
    assert!(kept.len() >= 4, "{kept:?}");
    assert_eq!(
        stored.clickhouse.thresholds(2).await.unwrap(),
        [],
        "another epoch has its own"
    );
    let is_calibrated =
        |gauges: &BTreeMap<String, f64>| gauges.get(&of("calibrated", TOTAL)) == Some(&1.0);
    let found = watched(&model, &stored, is_calibrated).await;
    let own = kept
        .iter()
        .find(|row| row.series.to_string() == "win_rate")
        .unwrap();
    assert_eq!(found[&of("threshold", TOTAL)], own.calibration.threshold);
    let (code, text) = ask("alerts replay", &["--to", "2026-04-25", "--json"]).await;
    assert_eq!(code, 0, "{text}");
    let json: Json = serde_json::from_str(&text).unwrap();
    assert_eq!(json["series"][0]["calibrated"], true);
}

#[tokio::test]
async fn without_a_watermark_no_day_is_full_and_nothing_is_judged() {
    let mut stored = Stored::new("alerts_early").await;
    stored.feed(&organisation()[..500]).await;
    let model = model(&stored, None).await;
    let schedule = Schedule {
        look_every: Duration::from_millis(1),
        ..Schedule::default()
    };
    let watching = watch_forever(model.clone(), stored.clickhouse.clone(), schedule);
    // It looks hundreds of times in this while.
    let _ = tokio::time::timeout(Duration::from_millis(500), watching).await;
    assert_eq!(gauges(&model), BTreeMap::new());
}

#[tokio::test]
async fn the_generated_organisation_has_gauges_of_every_watch() {
    let mut stored = Stored::new("alerts_generated").await;
    stored.feed(&generated(2_000)).await;
    let model = model(&stored, Some(START + 364 * DAY)).await;
    let found = watched(&model, &stored, |gauges| !gauges.is_empty()).await;
    for watch in [
        "win_rate",
        "close_rate_30d",
        "upsell_rate",
        "cycle_length",
        "lead_volume",
    ] {
        let labels = format!(r#"dimension="all",value="all",watch="{watch}""#);
        let evidence = found.get(&of("evidence", &labels));
        assert!(
            evidence.is_some_and(|e| e.is_finite()),
            "{watch}: {found:#?}"
        );
        let by_source = found
            .keys()
            .any(|name| name.contains(watch) && name.contains(r#"dimension="source""#));
        assert!(by_source, "{watch}");
        let newest = found[&of("newest_day_timestamp_seconds", &labels)];
        assert!(
            newest <= (START + 363 * DAY) as f64 / 1e6,
            "{watch} is judged on full days only: {newest}"
        );
    }
}

#[tokio::test]
async fn while_the_database_is_away_the_last_values_stay() {
    let mut stored = Stored::new("alerts_away").await;
    stored.feed(&organisation()[..1_500]).await;
    let model = model(&stored, Some(START + 190 * DAY)).await;
    let before = watched(&model, &stored, |gauges| !gauges.is_empty()).await;
    let away = database("http://127.0.0.1:1", "alerts_away");
    let schedule = Schedule {
        look_every: Duration::from_millis(1),
        ..Schedule::default()
    };
    let watching = watch_forever(model.clone(), away, schedule);
    // It tries many times in this while.
    let _ = tokio::time::timeout(Duration::from_millis(500), watching).await;
    assert_eq!(gauges(&model), before);
}

fn alerts(arguments: &[&str]) -> Output {
    Command::new(DEALPULSE)
        .arg("alerts")
        .args(arguments)
        .output()
        .unwrap()
}

fn written(directory: &Path, lines: &[String]) -> String {
    let path = directory.join("events.ndjson");
    let text = lines.iter().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{line}");
        text
    });
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_replay_of_files_shows_when_an_alert_would_have_fired() {
    let directory = tempfile::tempdir().unwrap();
    let file = written(directory.path(), &organisation());
    let (code, text) = code_and_output(&alerts(&["replay", &file]));
    assert_eq!(code, 0, "run make clickhouse-engine? {text}");
    let line = text
        .lines()
        .find(|line| line.trim_start().starts_with("win_rate  "));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("2026-04-") && line.ends_with(" on"), "{line}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );

    let (_, text) = code_and_output(&alerts(&["replay", &file, "--json"]));
    let json: Json = serde_json::from_str(&text).unwrap();
    let of_total = json["series"].as_array().unwrap().iter();
    let of_total = of_total
        .filter(|s| s["watch"] == "win_rate" && s["dimension"] == "all")
        .collect::<Vec<_>>();
    let alerts_of_total = of_total[0]["alerts"].as_array().unwrap();
    let last = alerts_of_total.last().unwrap();
    assert!(last["fired"].as_str().unwrap() >= "2026-04-05", "{last:#}");
    assert_eq!(
        (&last["is_on"], &last["bulk"]),
        (&Json::Bool(true), &Json::Bool(false))
    );
    assert!(last["at_peak"]["observed"].as_f64() < last["at_peak"]["expected"].as_f64());
    // Before the fall nothing is known of it.
    let (_, text) = code_and_output(&alerts(&[
        "replay",
        &file,
        "--to",
        "2026-04-03",
        "--from",
        "2026-03-20",
    ]));
    assert!(text.contains("no alert would have fired"), "{text}");

    let (code, text) = code_and_output(&alerts(&[
        "calibrate",
        &file,
        "--json",
        "--histories",
        "30",
    ]));
    assert_eq!(code, 0, "{text}");
    let json: Json = serde_json::from_str(&text).unwrap();
    let total = &json["series"][0];
    assert_eq!(
        (&total["watch"], &total["judged"]),
        (&Json::from("win_rate"), &Json::Bool(true))
    );
    assert!(
        (3.0..12.0).contains(&total["threshold"].as_f64().unwrap()),
        "{total:#}"
    );
    assert!(total["false_a_year"].as_f64().unwrap() <= 0.25);
}

#[test]
fn what_can_not_be_replayed_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let file = written(directory.path(), &organisation()[..40]);
    for (arguments, code, words) in [
        (vec!["replay", &file], 1, "less than four weeks of history"),
        (
            vec!["replay", &file, "--from", "yesterday"],
            1,
            "--from `yesterday` is no day",
        ),
        (
            vec!["calibrate", &file, "--histories", "0"],
            1,
            "draw at least one",
        ),
        (
            vec!["replay", "--mapping", "m.toml"],
            2,
            "required arguments",
        ),
        (
            vec!["replay", &file, "--config", "x.toml"],
            2,
            "cannot be used with",
        ),
        (vec!["replay", "no-such-file"], 1, "no-such-file"),
    ] {
        let output = alerts(&arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(words), "{arguments:?}: {text}");
    }
}
