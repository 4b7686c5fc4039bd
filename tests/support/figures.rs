//! Comparing reports, figure by figure, and the definitions of the worked example.

use std::collections::{BTreeMap, BTreeSet};

use dealpulse::definitions::{DefinitionsSpec, StageMeaning};
use serde_json::Value;

/// The definitions the worked example is read by.
pub fn worked_example_definitions() -> DefinitionsSpec {
    let order = ["qualification", "discovery", "proposal", "negotiation"];
    let closing = [("closed_won", "won"), ("closed_lost", "lost")];
    let stages = closing.map(|(stage, status)| {
        let meaning = StageMeaning {
            status: Some(status.into()),
            probability: None,
        };
        (stage.to_owned(), meaning)
    });
    DefinitionsSpec {
        time_zone: "Europe/Berlin".into(),
        stage_order: order.map(str::to_owned).to_vec(),
        stages: BTreeMap::from(stages),
        ..DefinitionsSpec::default()
    }
}

/// The figures in which two reports differ. Quantiles come from a sketch that may be off by one
/// percent; everything else is exact to the six places shown.
pub fn differences(expected: &Value, found: &Value) -> Vec<String> {
    let mut out = Vec::new();
    compare("", expected, found, &mut out);
    out
}

fn compare(path: &str, expected: &Value, found: &Value, out: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            let names: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
            for name in names {
                let path = format!("{path} / {name}");
                match (expected.get(name), found.get(name)) {
                    (Some(a), Some(b)) => compare(&path, a, b, out),
                    (a, b) => out.push(format!("{path}: expected {a:?}, found {b:?}")),
                }
            }
        }
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            let allowed = if path.ends_with("median_days") || path.ends_with("p90_days") {
                a.abs() * 0.01 + 1e-6
            } else {
                1e-6
            };
            if (a - b).abs() > allowed {
                out.push(format!("{path}: expected {a}, found {b}"));
            }
        }
        // Money as text, of which quantiles come from a sketch too.
        (Value::String(a), Value::String(b))
            if path.ends_with(" median") || path.ends_with(" p90") =>
        {
            let (a, b): (f64, f64) = (a.parse().unwrap(), b.parse().unwrap());
            if (a - b).abs() > a.abs() * 0.01 {
                out.push(format!("{path}: expected {a}, found {b}"));
            }
        }
        (a, b) if a != b => out.push(format!("{path}: expected {a}, found {b}")),
        _ => {}
    }
}

/// Of a report, only the metrics, windows and groups that another one lists; of each of those,
/// every figure.
pub fn listed(expected: &Value, found: &mut Value) {
    keep(expected, found, 4);
}

fn keep(expected: &Value, found: &mut Value, depth: u32) {
    let (Some(expected), Some(found), 1..) = (expected.as_object(), found.as_object_mut(), depth)
    else {
        return;
    };
    found.retain(|name, _| expected.contains_key(name));
    for (name, found) in found {
        keep(&expected[name], found, depth - 1);
    }
}
