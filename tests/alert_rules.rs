//! The rules of both kinds, Alertmanager's routes and inhibitions: what is committed, in the real
//! Prometheus and Alertmanager.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::clickhouse::wait_until;
use crate::support::monitoring::{Alertmanager, Webhook, program, succeeds};
use serde_json::{Value, json};

const RULES: &str = "deploy/prometheus/rules";

fn files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{folder}: {error}"))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} is empty");
    files
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of the alerts in Prometheus' rules.
fn alerts() -> BTreeSet<String> {
    let rules: String = files(RULES).iter().map(read).collect();
    rules
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("- alert: "))
        .map(str::to_owned)
        .collect()
}

#[test]
fn grafana_evaluates_the_same_alerts_and_its_texts_can_be_rendered() {
    let package = "grafana/generator";
    assert!(
        Path::new(package).join("node_modules").exists(),
        "the packages of {package} are not installed: run make grafana-packages"
    );
    succeeds(Command::new("npm").args(["test", "--silent", "--prefix", package]));
}

#[test]
fn prometheus_takes_the_rules_and_each_does_what_its_unit_tests_say() {
    succeeds(
        Command::new(program(&["promtool"]))
            .args(["check", "rules"])
            .args(files(RULES)),
    );
    let tests = files("deploy/prometheus/tests");
    succeeds(
        Command::new(program(&["promtool"]))
            .args(["test", "rules"])
            .args(&tests),
    );
    let tested: String = tests.iter().map(read).collect();
    for alert in alerts() {
        assert!(tested.contains(&alert), "no unit test is about {alert}");
    }
}

#[test]
fn prometheus_and_alertmanager_take_their_configurations() {
    succeeds(Command::new(program(&["promtool"])).args([
        "check",
        "config",
        "deploy/prometheus/prometheus.yml",
    ]));
    succeeds(
        Command::new(program(&["amtool"]))
            .args(["check-config", "deploy/alertmanager/alertmanager.yml"]),
    );
}

#[test]
fn every_series_the_rules_read_is_one_that_is_exported() {
    let documented: String = files("docs")
        .iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "md"))
        .map(read)
        .collect();
    let read_by_rules: BTreeSet<String> = files(RULES)
        .iter()
        .flat_map(|file| series(&read(file)))
        .collect();
    assert!(read_by_rules.len() > 20, "{read_by_rules:?}");
    let missing: Vec<&String> = read_by_rules
        .iter()
        .filter(|name| {
            // As the documents write them, which tests keep equal to what is exported.
            !["`", "{"]
                .iter()
                .any(|end| documented.contains(&format!("`{name}{end}")))
        })
        .collect();
    assert!(missing.is_empty(), "no document has {missing:?}");
}

/// The names of the pipeline's series in a text.
fn series(text: &str) -> BTreeSet<String> {
    text.match_indices("dealpulse_")
        .map(|(at, _)| {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            text[at..].split(|c| !is_name(c)).next().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn every_alert_has_a_section_in_the_runbook() {
    let runbook = read("docs/runbook.md");
    let sections: BTreeSet<String> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(str::to_owned)
        .collect();
    let alerts = alerts();
    assert_eq!(alerts.len(), 13, "{alerts:?}");
    assert_eq!(
        alerts.difference(&sections).collect::<Vec<_>>(),
        Vec::<&String>::new()
    );
}

#[test]
fn those_who_sell_are_told_of_sales_and_those_who_run_it_of_the_pipeline() {
    let receiver = |labels: &[&str]| {
        let told = succeeds(
            Command::new(program(&["amtool"]))
                .args(["config", "routes", "test"])
                .arg("--config.file=deploy/alertmanager/alertmanager.yml")
                .args(labels),
        );
        told.lines().next().unwrap_or_default().trim().to_owned()
    };
    let sales = [
        "alertname=WinRateDropped",
        "severity=warning",
        "audience=sales",
    ];
    assert_eq!(receiver(&sales), "sales");
    let operations = [
        "alertname=DataOld",
        "severity=critical",
        "audience=operations",
    ];
    assert_eq!(receiver(&operations), "operations");
    assert_eq!(receiver(&["alertname=SomebodyElses"]), "operations");
}

fn sales(name: &str) -> Value {
    json!({"alertname": name, "audience": "sales", "watch": "win_rate", "dimension": "all", "value": "all"})
}

fn operations(name: &str, instance: &str) -> Value {
    json!({"alertname": name, "audience": "operations", "instance": instance})
}

/// What is inhibited while all of these fire.
fn inhibited(alerts: &[Value]) -> Vec<String> {
    let webhook = Webhook::listen();
    let alertmanager = Alertmanager::start(&webhook);
    // Inhibitions follow a moment later and in order: when the last one is known, all are.
    let last = [
        operations("LeadSourceDriedUp", "last"),
        operations("EventFeedSilent", "last"),
    ];
    alertmanager.fire(&[alerts, &last].concat());
    let mut found = Vec::new();
    wait_until("the last alert is inhibited", || {
        found = alertmanager.alerts();
        found.contains(&("LeadSourceDriedUp last".to_owned(), true))
    });
    assert_eq!(found.len(), alerts.len() + last.len(), "{found:?}");
    let of_the_test = |name: &String| !name.ends_with(" last");
    let inhibited = found.into_iter().filter(|(_, is_inhibited)| *is_inhibited);
    inhibited
        .map(|(name, _)| name)
        .filter(of_the_test)
        .collect()
}

#[test]
fn old_data_and_a_stalled_watermark_inhibit_the_alerts_for_sales_and_nothing_else() {
    for cause in ["DataOld", "WatermarkStalled"] {
        let alerts = [
            sales("WinRateDropped"),
            sales("ForecastBelowQuota"),
            operations(cause, "a"),
            operations("FlushFailing", "a"),
        ];
        assert_eq!(
            inhibited(&alerts),
            ["ForecastBelowQuota", "WinRateDropped"],
            "{cause}"
        );
    }
}

#[test]
fn a_silent_feed_inhibits_the_alert_that_leads_are_missing() {
    let alerts = [
        sales("WinRateDropped"),
        sales("LeadSourceDriedUp"),
        json!({"alertname": "EventFeedSilent", "audience": "operations", "topic": "crm.events"}),
    ];
    assert_eq!(inhibited(&alerts), ["LeadSourceDriedUp"]);
}

#[test]
fn one_instance_down_inhibits_nothing_and_all_down_everything_else() {
    let one = [
        sales("WinRateDropped"),
        operations("DeadLettersRising", "b"),
        operations("InstanceDown", "a"),
    ];
    assert_eq!(inhibited(&one), Vec::<String>::new());
    let all = [
        sales("WinRateDropped"),
        operations("InstanceDown", "a"),
        json!({"alertname": "InstanceDown", "audience": "operations"}),
    ];
    assert_eq!(inhibited(&all), ["InstanceDown a", "WinRateDropped"]);
}
