//! What reconciling found, as tables or as JSON.

use serde_json::{Value as Json, json};

use crate::cli::report::grid::{Cell as Shown, Grid, clean, grouped};
use crate::metric::{Catalogue, money};
use crate::pipeline::Epoch;
use crate::pipeline::reconcile::{Difference, Findings, Tally, month};
use crate::window::calendar::{DAY, Day, civil};
use crate::window::{Cell, Grain, Pane};

/// A table by month, and the first `most` differing cells.
pub fn to_text(epoch: &Epoch, definitions: &Catalogue, findings: &Findings, most: usize) -> String {
    let Tally {
        cells,
        differing,
        in_motion,
    } = findings.total();
    let number = |n: u64| grouped(&n.to_string());
    let mut out = format!(
        "Epoch {}: the stored rollups against the facts, {} cells in {} shards\n",
        epoch.epoch,
        number(cells),
        epoch.partitions
    );
    let mut grid = Grid::new(["month", "cells", "differing", "in motion"]);
    for (of, tally) in &findings.months {
        let cells = [tally.cells, tally.differing, tally.in_motion];
        grid.row(
            &month_name(*of),
            cells.map(|n| Shown {
                text: number(n),
                is_nothing: n == 0,
            }),
        );
    }
    if !grid.is_empty() {
        out.push_str(&grid.show());
    }
    out.push_str(&list("Differing", &findings.drift, definitions, most));
    out.push_str(&list(
        "In motion, not judged",
        &findings.in_motion,
        definitions,
        most,
    ));
    out.push_str(&match (differing, in_motion) {
        (0, 0) => "All values equal those computed from the facts.\n".to_owned(),
        (0, n) => {
            let (n, cells) = (number(n), number(cells));
            format!("In motion whenever they were looked at: {n} of {cells} cells; no other differs. Ask again when less is going on.\n")
        }
        (n, _) => format!("Different from the facts: {} of {} cells.\n", number(n), number(cells)),
    });
    out
}

fn list(title: &str, differences: &[Difference], definitions: &Catalogue, most: usize) -> String {
    if differences.is_empty() {
        return String::new();
    }
    let mut out = format!("{title}\n");
    for found in differences.iter().take(most) {
        let name = &found.name;
        let value = if name.dimension.is_empty() {
            "all".to_owned()
        } else {
            format!("{} = {}", name.dimension, name.value.join(" / "))
        };
        let mut parts = vec![name.series.clone(), value, pane_name(name.pane)];
        parts.extend((!name.currency.is_empty()).then(|| name.currency.clone()));
        parts.push(format!("shard {}", found.shard));
        let stranger = if found.is_defined {
            ""
        } else {
            " (no definition makes it)"
        };
        let place = month_name(month(name.pane, definitions));
        out.push_str(&clean(&format!(
            "  {place}  {}{stranger}: {}",
            parts.join(", "),
            numbers(found, definitions).join("; ")
        )));
        out.push('\n');
    }
    let more = differences.len().saturating_sub(most);
    if more > 0 {
        out.push_str(&format!("  … and {} more\n", grouped(&more.to_string())));
    }
    out
}

/// The measures that differ: `won: 3 stored, 2 recomputed`.
fn numbers(found: &Difference, catalogue: &Catalogue) -> Vec<String> {
    let (stored, recomputed) = (&found.stored, &found.recomputed);
    let mut rollups = catalogue.rollups().iter();
    let rollup = rollups.find(|rollup| rollup.name == found.name.series);
    let name = |names: Option<&[&str]>, at: usize, kind: &str| match names
        .and_then(|names| names.get(at))
    {
        Some(name) => format!("{name} ({kind})"),
        None => format!("{kind} {}", at + 1),
    };
    let mut out = Vec::new();
    for at in 0..stored.counts.len().max(recomputed.counts.len()) {
        let (one, other) = (stored.counted(at), recomputed.counted(at));
        if one != other {
            out.push(format!(
                "{}: {one} stored, {other} recomputed",
                name(rollup.map(|r| r.counts), at, "count")
            ));
        }
    }
    for at in 0..stored.sums.len().max(recomputed.sums.len()) {
        let (one, other) = (stored.summed(at), recomputed.summed(at));
        if one != other {
            out.push(format!(
                "{}: {} stored, {} recomputed",
                name(rollup.map(|r| r.sums), at, "sum"),
                money(one),
                money(other)
            ));
        }
    }
    if stored.sketch != recomputed.sketch {
        out.push(format!(
            "distribution: of {} values stored, of {} recomputed",
            stored.sketch.count(),
            recomputed.sketch.count()
        ));
    }
    out
}

/// All of it as one object, with the first `most` cells of each list.
pub fn to_json(epoch: &Epoch, definitions: &Catalogue, findings: &Findings, most: usize) -> Json {
    let Tally {
        cells,
        differing,
        in_motion,
    } = findings.total();
    let tally = |tally: &Tally| json!({ "cells": tally.cells, "differing": tally.differing, "in_motion": tally.in_motion });
    let months: serde_json::Map<String, Json> = findings
        .months
        .iter()
        .map(|(of, found)| (month_name(*of), tally(found)))
        .collect();
    let list = |differences: &[Difference]| {
        differences
            .iter()
            .take(most)
            .map(|found| difference(found, definitions))
            .collect::<Vec<_>>()
    };
    json!({
        "epoch": epoch.epoch,
        "shards": epoch.partitions,
        "cells": cells,
        "differing": differing,
        "in_motion": in_motion,
        "months": months,
        "differences": list(&findings.drift),
        "moving": list(&findings.in_motion),
    })
}

fn difference(found: &Difference, definitions: &Catalogue) -> Json {
    let name = &found.name;
    json!({
        "month": month_name(month(name.pane, definitions)),
        "series": name.series,
        "dimension": name.dimension,
        "value": name.value,
        "grain": name.pane.grain.name(),
        "pane": pane_start(name.pane),
        "currency": name.currency,
        "shard": found.shard,
        "version": found.version,
        "defined": found.is_defined,
        "stored": cell(&found.stored),
        "recomputed": cell(&found.recomputed),
    })
}

fn cell(cell: &Cell) -> Json {
    let sums: Vec<String> = cell.sums.iter().map(|sum| money(*sum)).collect();
    let sketch: serde_json::Map<String, Json> = cell
        .sketch
        .buckets()
        .iter()
        .map(|(bucket, count)| (bucket.to_string(), (*count).into()))
        .collect();
    json!({ "counts": cell.counts, "sums": sums, "sketch": sketch })
}

fn month_name(month: Option<Day>) -> String {
    month.map_or_else(
        || "undated".to_owned(),
        |first| civil(first).format("%Y-%m").to_string(),
    )
}

fn pane_name(pane: Pane) -> String {
    match pane.grain {
        Grain::Undated => "undated".to_owned(),
        grain => format!("{} {}", grain.name(), pane_start(pane)),
    }
}

/// An hour's instant, a day's date, a month; blank without a date.
fn pane_start(pane: Pane) -> String {
    let day = civil(pane.start.div_euclid(DAY) as Day);
    match pane.grain {
        Grain::Hour => chrono::DateTime::from_timestamp(pane.start, 0)
            .unwrap_or_default()
            .format("%Y-%m-%dT%H:%M:%SZ")
            .to_string(),
        Grain::Day => day.to_string(),
        Grain::Month => day.format("%Y-%m").to_string(),
        Grain::Undated => String::new(),
    }
}
