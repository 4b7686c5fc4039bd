//! `dealpulse check` as a process: what a configuration asks for is told before it is run.

use std::process::{Command, Output};

use crate::support::clickhouse::DEALPULSE;
use crate::support::stored::{Stored, code_and_output};
use dealpulse::definitions::DefinitionsSpec;
use serde_json::{Value, json};

/// Fifty deals won on one day in two currencies, no two of a product.
fn deals() -> Vec<String> {
    let won = |number: usize| {
        let currency = ["EUR", "USD"][number % 2];
        let data = json!({
            "status": "won", "created_at": "2026-03-01", "closed_at": "2026-03-01", "amount": "5", "currency": currency,
            "product": format!("p{number}"), "region": "north", "custom": {"tier": "gold"},
        });
        json!({
            "specversion": "1.0", "id": "e", "source": "crm", "type": "crm.deal.upserted", "subject": format!("D{number}"),
            "time": "2026-03-02T10:00:00Z", "data": data,
        })
        .to_string()
    };
    (0..50).map(won).collect()
}

/// Runs the command on the pipeline's configuration with something added.
fn check(stored: &Stored, more: &str, arguments: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dealpulse.toml");
    std::fs::write(&path, stored.setup.to_toml() + more).unwrap();
    Command::new(DEALPULSE)
        .arg("check")
        .arg("--config")
        .arg(&path)
        .args(arguments)
        .output()
        .unwrap()
}

fn group<'j>(found: &'j Value, name: &str) -> &'j Value {
    let groups = found["groups"].as_array().unwrap();
    let group = groups.iter().find(|group| group["group"] == name);
    group.unwrap_or_else(|| panic!("no group {name} in {found:#}"))
}

#[tokio::test]
async fn groups_are_counted_or_estimated_and_one_finer_than_its_records_is_refused() {
    let mut stored = Stored::new("checked").await;
    stored.feed(&deals()).await;

    let (code, text) = code_and_output(&check(&stored, "", &["--json"]));
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &found["records"]), (0, &json!(50)), "{found:#}");
    let region = group(&found, "region");
    assert_eq!(region["estimated"], json!(false));
    assert!(
        region["metrics"]
            .as_array()
            .unwrap()
            .contains(&json!("win_rate"))
    );
    assert!(region["cells"].as_u64().unwrap() > 0);
    assert_eq!(group(&found, "product")["too_fine"], json!(false));

    let more = "[[definitions.groups]]\nby = [\"region\"]\nevery = [\"day\"]\n\
                [[definitions.groups]]\nby = [\"product\", \"custom.tier\"]\nevery = [\"day\"]\n";
    let (code, text) = code_and_output(&check(&stored, more, &["--json"]));
    let found: Value = serde_json::from_str(&text).unwrap();
    let crossed = group(&found, "product,custom.tier");
    assert_eq!(
        (code, &crossed["estimated"], &crossed["too_fine"]),
        (4, &json!(true), &json!(true)),
        "{found:#}"
    );
    assert_eq!(group(&found, "region")["too_fine"], json!(false));

    let (code, text) = code_and_output(&check(&stored, more, &[]));
    assert_eq!(code, 4);
    assert!(
        text.contains("too fine") && text.contains("cross fewer dimensions"),
        "{text}"
    );
}

#[tokio::test]
async fn what_has_no_total_is_estimated_from_the_cells_by_its_own_dimension() {
    let spec = DefinitionsSpec {
        stage_order: vec!["talks".into()],
        ..DefinitionsSpec::default()
    };
    let mut stored = Stored::with("staged", spec).await;
    let in_talks = deals().into_iter();
    let in_talks =
        in_talks.map(|deal| deal.replace("\"status\":", "\"stage\":\"talks\",\"status\":"));
    stored.feed(&in_talks.collect::<Vec<_>>()).await;
    let more = "[[definitions.groups]]\nby = [\"stage\"]\nevery = [\"day\"]\n\
                [[definitions.groups]]\nby = [\"stage\", \"product\"]\nevery = [\"day\"]\n";
    let (code, text) = code_and_output(&check(&stored, more, &["--json"]));
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(code, 0, "{found:#}");
    assert_eq!(group(&found, "stage")["cells"], json!(1));
    let crossed = group(&found, "stage,product");
    assert_eq!(
        (&crossed["cells"], &crossed["estimated"]),
        (&json!(50), &json!(true)),
        "as many as there are products"
    );
    assert_eq!(crossed["metrics"], json!(["forecast", "time_in_stage"]));
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_with_its_line_and_a_sound_one_needs_no_database() {
    let mut stored = Stored::new("unchecked").await;
    stored.setup.clickhouse = "http://127.0.0.1:1".into();
    let (code, text) = code_and_output(&check(&stored, "", &["--offline"]));
    assert!(code == 0 && text.contains(": sound"), "{code}: {text}");
    assert!(text.contains("forecast_category"), "{text}");

    let more = "[[definitions.groups]]\nby = [\"colour\"]\nevery = [\"day\"]\n";
    let (code, text) = code_and_output(&check(&stored, more, &["--offline"]));
    assert_eq!(code, 1);
    assert!(text.contains("`colour` is no dimension"), "{text}");
}
