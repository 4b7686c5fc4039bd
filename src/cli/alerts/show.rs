//! Thresholds and replayed alerts, as tables or as JSON.

use serde_json::{Value as Json, json};

use super::{Found, Read, Replayed};
use crate::alert::status::Episode;
use crate::alert::{FALSE_A_YEAR, Status, TOTAL, Threshold, Watch, WatchedSeries};
use crate::cli::report::grid::{Cell, Grid, grouped};
use crate::window::calendar::{DAY, civil};

/// No value.
const NOTHING: &str = "–";
/// How a record without a value is shown.
const NO_VALUE: &str = "(none)";
/// How many series are named that can't be judged.
const MOST: usize = 12;

fn cells(texts: impl IntoIterator<Item = String>) -> impl Iterator<Item = Cell> {
    texts.into_iter().map(|text| Cell {
        is_nothing: text == NOTHING,
        text,
    })
}

fn name(series: &WatchedSeries) -> String {
    let value = match series.value.as_str() {
        "" => NO_VALUE,
        value => value,
    };
    match series.dimension.as_str() {
        TOTAL => series.watch.name().to_owned(),
        dimension => format!("{} {dimension}={value}", series.watch.name()),
    }
}

fn count(number: f64) -> String {
    grouped(&format!("{number:.0}"))
}

/// A mean in the unit of its watch.
fn shown(watch: Watch, value: Option<f64>) -> String {
    let Some(value) = value else {
        return NOTHING.to_owned();
    };
    match watch {
        Watch::CycleLength => format!("{:.1} days", value / DAY as f64),
        Watch::LeadVolume => format!("{value:.1} a day"),
        _ => format!("{:.1} %", 100.0 * value),
    }
}

/// The smallest change that is caught, with its sign.
fn smallest(watch: Watch, threshold: Threshold) -> String {
    let sign = if watch == Watch::CycleLength {
        '+'
    } else {
        '−'
    };
    match threshold.smallest_drop {
        Some(part) => format!("{sign}{:.0} %", 100.0 * part),
        None => NOTHING.to_owned(),
    }
}

fn head(read: &Read, title: &str) -> String {
    let zone = &read.definitions.spec.time_zone;
    let mut out = format!("{title}\n  days up to {} ({zone})\n", civil(read.newest));
    if let Some((tally, rejected)) = read.input() {
        let rejected: u64 = rejected.values().sum();
        out.push_str(&format!(
            "  read: {} lines, {} rows, {} events; rejected: {}\n",
            grouped(&tally.lines.to_string()),
            grouped(&tally.rows.to_string()),
            grouped(&tally.assertions.to_string()),
            grouped(&rejected.to_string())
        ));
        out.push_str(&tally.rounded_to_text());
    }
    out
}

/// One line a series: its threshold, or that there is too little to judge.
pub fn calibrated_to_text(read: &Read, found: &[Found], is_dry_run: bool) -> String {
    let mut out = head(read, "Thresholds of alerts");
    out.push_str(&format!(
        "  at most {FALSE_A_YEAR} false episodes a series and year; judged where a change of 40 % (leads: 80 %) is caught in 28 days\n\n"
    ));
    let mut grid = Grid::new([
        "series",
        "nats",
        "false/year",
        "spread",
        "baseline",
        "quarters",
        "catches",
        "judged",
    ]);
    for of in found {
        let Some(row) = &of.calibrated else {
            let nothing = std::iter::repeat_n(NOTHING.to_owned(), 6);
            let why = ["too short".to_owned()];
            grid.row(&name(&of.series), cells(nothing.chain(why)));
            continue;
        };
        let judged = match of.threshold.nats {
            Some(_) => "yes",
            None => "too few",
        };
        let texts = [
            format!("{:.2}", row.calibration.threshold),
            format!("{:.2}", row.calibration.false_a_year),
            format!("{:.2}", row.dispersion),
            count(row.baseline_sample),
            row.baseline_quarters.to_string(),
            smallest(of.series.watch, of.threshold),
            judged.to_owned(),
        ];
        grid.row(&name(&of.series), cells(texts));
    }
    out.push_str(&grid.show());
    out.push_str(
        "  nats: the threshold; spread: the variance of days by that of chance; baseline: records that the newest day is\n  \
         compared with, from so many quarters (0: a flat one); catches: the smallest change caught in 28 days\n",
    );
    if is_dry_run {
        out.push_str("\n  nothing was written (--dry-run)\n");
    }
    out
}

/// The thresholds as one JSON object.
pub fn calibrated_to_json(read: &Read, found: &[Found]) -> Json {
    let series = found.iter().map(|of| {
        let row = of.calibrated.as_ref();
        json!({
            "watch": of.series.watch.name(),
            "dimension": of.series.dimension,
            "value": of.series.value,
            "judged": of.threshold.nats.is_some(),
            "calibrated": row.is_some(),
            "threshold": row.map(|row| row.calibration.threshold),
            "false_a_year": row.map(|row| row.calibration.false_a_year),
            "smallest_drop": of.threshold.smallest_drop,
            "dispersion": row.map(|row| row.dispersion),
            "baseline_sample": row.map(|row| row.baseline_sample),
            "baseline_quarters": row.map(|row| row.baseline_quarters),
        })
    });
    let mut object = about(read);
    object["series"] = series.collect();
    object
}

fn about(read: &Read) -> Json {
    json!({
        "newest_day": civil(read.newest).to_string(),
        "time_zone": read.definitions.spec.time_zone,
        "input": read.input().map(|(tally, rejected)| tally.to_json(rejected)),
    })
}

/// The alerts in the order they would have fired, then what can't be judged.
pub fn replayed_to_text(read: &Read, replayed: &[Replayed]) -> String {
    let mut out = head(read, "Alerts, replayed");
    let (judged, too_few): (Vec<&Replayed>, Vec<&Replayed>) =
        replayed.iter().partition(|of| of.threshold.nats.is_some());
    let own = judged
        .iter()
        .filter(|of| of.threshold.is_calibrated)
        .count();
    out.push_str(&format!(
        "  {} series judged, {own} of them by a threshold of their own; {} have too few records\n",
        judged.len(),
        too_few.len()
    ));
    let mut all: Vec<(&Replayed, &Episode)> = Vec::new();
    for of in &judged {
        all.extend(of.episodes.iter().map(|episode| (*of, episode)));
    }
    all.sort_by_key(|(_, episode)| episode.at_start.newest);
    if all.is_empty() {
        out.push_str("\n  no alert would have fired\n");
    } else {
        out.push('\n');
        let mut grid = Grid::new([
            "series", "fired", "until", "days", "observed", "expected", "records", "",
        ]);
        for (of, episode) in all {
            grid.row(
                &name(&of.series),
                cells(episode_texts(of.series.watch, episode)),
            );
        }
        out.push_str(&grid.show());
        out.push_str(
            "  observed and expected: since the evidence began, on the day with most of it\n  bulk: one bulk close, not alerted; on: not over yet\n",
        );
    }
    if !too_few.is_empty() {
        out.push_str(
            "\n  too few to judge, with the smallest change that would be caught in 28 days:\n",
        );
        for of in too_few.iter().take(MOST) {
            let smallest = match of.threshold.smallest_drop {
                Some(_) => smallest(of.series.watch, of.threshold),
                None => "none would be".to_owned(),
            };
            out.push_str(&format!(
                "    {}: {smallest}\n",
                crate::cli::report::grid::clean(&name(&of.series))
            ));
        }
        if too_few.len() > MOST {
            out.push_str(&format!("    … and {} more\n", too_few.len() - MOST));
        }
    }
    out
}

fn episode_texts(watch: Watch, episode: &Episode) -> [String; 7] {
    let (start, peak) = (&episode.at_start, &episode.at_peak);
    let remark = match (peak.is_bulk, episode.is_on) {
        (true, _) => "bulk",
        (false, true) => "on",
        (false, false) => "",
    };
    [
        civil(start.newest).to_string(),
        civil(episode.end).to_string(),
        (episode.end - start.newest + 1).to_string(),
        shown(watch, peak.observed),
        shown(watch, peak.expected),
        count(peak.sample),
        remark.to_owned(),
    ]
}

/// The alerts as one JSON object.
pub fn replayed_to_json(read: &Read, replayed: &[Replayed]) -> Json {
    let series = replayed.iter().map(|of| {
        let episodes = of.episodes.iter().map(|episode| {
            json!({
                "fired": civil(episode.at_start.newest).to_string(),
                "until": civil(episode.end).to_string(),
                "days": episode.end - episode.at_start.newest + 1,
                "is_on": episode.is_on,
                "bulk": episode.at_peak.is_bulk,
                "at_start": status_to_json(&episode.at_start),
                "at_peak": status_to_json(&episode.at_peak),
            })
        });
        json!({
            "watch": of.series.watch.name(),
            "dimension": of.series.dimension,
            "value": of.series.value,
            "judged": of.threshold.nats.is_some(),
            "calibrated": of.threshold.is_calibrated,
            "threshold": of.threshold.nats,
            "smallest_drop": of.threshold.smallest_drop,
            "alerts": episodes.collect::<Vec<_>>(),
        })
    });
    let mut object = about(read);
    object["series"] = series.collect();
    object
}

fn status_to_json(status: &Status) -> Json {
    json!({
        "day": civil(status.newest).to_string(),
        "since": status.since.map(|day| civil(day).to_string()),
        "evidence": status.evidence,
        "observed": status.observed,
        "expected": status.expected,
        "sample": status.sample,
        "baseline_sample": status.baseline_sample,
    })
}
