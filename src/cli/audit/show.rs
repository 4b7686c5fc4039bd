//! What an audit found, as tables or as JSON.

use serde_json::{Map, Value as Json, json};

use super::compare::{Audit, Finding, Kind, instant};
use crate::cli::report::grid::{Cell, Grid, clean, grouped};
use crate::cli::report::inputs::Tally;
use crate::cli::report::rejects::Counts;

/// What was read of the export.
pub struct Export<'e> {
    /// How much.
    pub tally: &'e Tally,
    /// What could not be read.
    pub rejected: &'e Counts,
    /// When it was made (µs).
    pub as_of: i64,
}

impl Export<'_> {
    /// How many lines, rows or items could not be read.
    pub fn rejections(&self) -> u64 {
        self.rejected.values().sum()
    }
}

/// Tables by entity and by field, then the first findings of each kind.
pub fn to_text(audit: &Audit, export: &Export<'_>, most: usize) -> String {
    let number = |n: u64| grouped(&n.to_string());
    let Export {
        tally,
        rejected,
        as_of,
    } = export;
    let mut out = format!("The facts against the export of {}\n", instant(*as_of));
    out.push_str(&format!(
        "  read: {} events of {}\n",
        number(tally.assertions),
        clean(&tally.files.join(", "))
    ));
    if !rejected.is_empty() {
        let reasons: Vec<String> = rejected
            .iter()
            .map(|(reason, count)| format!("{} {}", number(*count), reason.name()))
            .collect();
        out.push_str(&format!(
            "  rejected, and so not compared: {}\n",
            reasons.join(", ")
        ));
    }
    if tally.unknown_fields > 0 {
        out.push_str(&format!(
            "  passed over: {} values of fields no record has\n",
            number(tally.unknown_fields)
        ));
    }
    out.push_str(&tally.rounded_to_text());
    let cells = |numbers: &[u64]| {
        numbers
            .iter()
            .map(|n| Cell {
                text: number(*n),
                is_nothing: *n == 0,
            })
            .collect::<Vec<_>>()
    };
    let mut records = Grid::new([
        "records",
        "in the export",
        "in the facts",
        "missing",
        "surplus",
        "changed since",
    ]);
    for (entity, of) in &audit.records {
        records.row(
            entity.name(),
            cells(&[
                of.exported,
                of.known,
                of.missing,
                of.surplus,
                of.changed_since,
            ]),
        );
    }
    let mut values = Grid::new(["values", "compared", "different", "changed since"]);
    for ((entity, field), of) in &audit.values {
        values.row(
            &format!("{}.{field}", entity.name()),
            cells(&[of.compared, of.different, of.changed_since]),
        );
    }
    for grid in [records, values]
        .into_iter()
        .filter(|grid| !grid.is_empty())
    {
        out.push_str(&format!("\n{}", grid.show()));
    }
    for kind in Kind::ALL {
        out.push_str(&list(audit, kind, most));
    }
    out.push_str(&match (audit.failures(), export.rejections()) {
        (0, 0) => "\nThe facts are complete: they equal the export.\n".to_owned(),
        (0, n) => format!(
            "\nThe facts equal the export, as far as it could be read: {} items could not.\n",
            number(n)
        ),
        (n, _) => format!(
            "\nThe facts differ from the export in {} places.\n",
            number(n)
        ),
    });
    out
}

fn list(audit: &Audit, kind: Kind, most: usize) -> String {
    let (title, all) = match kind {
        Kind::Missing => (
            "Missing in the facts",
            audit.records.values().map(|of| of.missing).sum(),
        ),
        Kind::Surplus => (
            "Surplus in the facts",
            audit.records.values().map(|of| of.surplus).sum(),
        ),
        Kind::Different => (
            "Different",
            audit.values.values().map(|of| of.different).sum(),
        ),
        Kind::ChangedSince => ("Changed since the export: no failure", changed_since(audit)),
    };
    if all == 0 {
        return String::new();
    }
    let mut out = format!("\n{title}\n");
    for Finding {
        entity,
        id,
        field,
        export,
        facts,
    } in audit.findings.get(&kind).into_iter().flatten()
    {
        let field = field
            .as_ref()
            .map_or_else(String::new, |field| format!(", {field}"));
        let line = format!(
            "  {} {id}{field}: {export} in the export, {facts} in the facts",
            entity.name()
        );
        out.push_str(&clean(&line));
        out.push('\n');
    }
    let more = all.saturating_sub(most as u64);
    if more > 0 {
        out.push_str(&format!("  … and {} more\n", grouped(&more.to_string())));
    }
    out
}

fn changed_since(audit: &Audit) -> u64 {
    audit
        .records
        .values()
        .map(|of| of.changed_since)
        .sum::<u64>()
        + audit
            .values
            .values()
            .map(|of| of.changed_since)
            .sum::<u64>()
}

/// All of it as one object.
pub fn to_json(audit: &Audit, export: &Export<'_>) -> Json {
    let Export {
        tally,
        rejected,
        as_of,
    } = export;
    let records: Map<String, Json> = audit
        .records
        .iter()
        .map(|(entity, of)| {
            let counts = json!({
                "exported": of.exported, "facts": of.known, "missing": of.missing, "surplus": of.surplus, "changed_since": of.changed_since
            });
            (entity.name().to_owned(), counts)
        })
        .collect();
    let values: Map<String, Json> = audit
        .values
        .iter()
        .map(|((entity, field), of)| {
            let counts = json!({ "compared": of.compared, "different": of.different, "changed_since": of.changed_since });
            (format!("{}.{field}", entity.name()), counts)
        })
        .collect();
    let mut out = json!({
        "as_of": instant(*as_of),
        "input": tally.to_json(rejected),
        "failures": audit.failures(),
        "records": records,
        "values": values,
    });
    for kind in Kind::ALL {
        let findings = audit.findings.get(&kind).into_iter().flatten();
        out[kind.name()] = findings
            .map(|found| json!({ "entity": found.entity.name(), "id": found.id, "field": found.field, "export": found.export, "facts": found.facts }))
            .collect();
    }
    out
}
