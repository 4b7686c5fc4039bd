//! Steps: events folded one by one, and what is read after each.

use dealpulse::definitions::{DefinitionsSpec, Exclusion};
use serde_json::{Value, json};

use super::pure::Pure;

/// An event of a minute of one morning, as a line: `deal` is upserted, `deal.deleted` deleted.
pub fn event(kind: &str, id: &str, minute: usize, data: Value) -> String {
    let (entity, action) = kind.split_once('.').unwrap_or((kind, "upserted"));
    json!({
        "specversion": "1.0", "id": "e", "source": "crm", "type": format!("crm.{entity}.{action}"), "subject": id,
        "time": format!("2026-05-02T10:{minute:02}:00Z"), "data": data,
    })
    .to_string()
}

/// The records of an entity that have a value are left out.
pub fn left_out(entity: &str, field: &str, value: &str) -> Exclusion {
    Exclusion {
        entity: entity.into(),
        field: field.into(),
        values: vec![value.into()],
    }
}

/// Folds events one by one, with a restart after each, and compares what `read` finds after each.
pub async fn follow<T: PartialEq + std::fmt::Debug>(
    spec: &DefinitionsSpec,
    steps: &[(String, T)],
    read: impl Fn(&Pure) -> T,
) {
    for shards in [1, 3] {
        let mut pure = Pure::new(shards, spec.clone()).await;
        for (number, (line, expected)) in steps.iter().enumerate() {
            pure.feed([(number as u64, line.as_str())].into_iter(), 1)
                .await;
            let found = read(&pure);
            assert_eq!(found, *expected, "step {number}, {shards} shards: {line}");
            pure.restart().await;
        }
    }
}

/// The figures at these paths; null where there is none.
pub fn at(figures: &Value, paths: &[&str]) -> Vec<Value> {
    let found = paths.iter().map(|path| figures.pointer(path));
    found.map(|figure| figure.cloned().into()).collect()
}
