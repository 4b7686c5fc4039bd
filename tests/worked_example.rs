//! The worked example of docs/worked-example.md: every figure computed by hand, against the
//! pipeline's.

use std::fs;

use crate::support::figures::{differences, worked_example_definitions};
use crate::support::pure::Pure;
use dealpulse::event::When;
use dealpulse::window::rolling::{Now, Window};
use serde_json::Value;

async fn report(shards: u32, order: impl Fn(usize) -> usize) -> Value {
    let text = fs::read_to_string("tests/fixtures/worked_example.ndjson").unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mut pure = Pure::new(shards, worked_example_definitions()).await;
    let mut numbered: Vec<(u64, &str)> = lines
        .iter()
        .enumerate()
        .map(|(i, line)| (i as u64, *line))
        .collect();
    numbered.sort_by_key(|(i, _)| order(*i as usize));
    pure.feed(numbered.into_iter(), 3).await;

    let end = pure.last_instant();
    let calendar = &pure.definitions.calendar;
    let day = |text: &str| calendar.day(When::parse(text).unwrap());
    let months =
        ["2026-01-01", "2026-02-01", "2026-03-01", "2026-04-01"].map(|m| Window::Month(day(m)));
    let windows = [Window::All, Window::Days(90), Window::Days(28)]
        .into_iter()
        .chain(months)
        .collect();
    let reading = pure.read(
        windows,
        Now {
            now: end,
            watermark: end,
        },
    );
    let mut json = serde_json::json!({
        "as_of": chrono::DateTime::from_timestamp_micros(end).unwrap().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        "time_zone": "Europe/Berlin",
        "metrics": reading.to_json(&pure.definitions),
    });
    // The figures computed by hand give groups other than the total and sources for the window
    // "all" only.
    for windows in json["metrics"].as_object_mut().unwrap().values_mut() {
        for (window, groups) in windows.as_object_mut().unwrap() {
            groups.as_object_mut().unwrap().retain(|group, _| {
                window == "all" || group == "all" || group.starts_with("source=")
            });
        }
    }
    json
}

#[tokio::test]
async fn every_figure_is_as_it_was_computed_by_hand() {
    let expected: Value = serde_json::from_str(
        &fs::read_to_string("tests/fixtures/worked_example.expected.json").unwrap(),
    )
    .unwrap();
    let found = report(3, |i| i).await;
    let different = differences(&expected, &found);
    assert!(
        different.is_empty(),
        "{} figures differ:\n{}",
        different.len(),
        different.join("\n")
    );
}

#[tokio::test]
async fn neither_order_nor_the_number_of_shards_changes_a_figure() {
    let expected = report(3, |i| i).await;
    for (shards, multiplier) in [(1, 7), (2, 13), (5, 31), (16, 49)] {
        assert_eq!(
            report(shards, |i| i * multiplier % 127).await,
            expected,
            "{shards} shards"
        );
    }
}
