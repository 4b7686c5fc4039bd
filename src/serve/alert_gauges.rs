//! The gauges of alerts: what a rule compares, and what its text says.

use prometheus::proto::{LabelPair, MetricFamily};

use super::exposition::{gauge, label, series, value_label};
use super::watched::{Alerts, Watched};
use crate::alert::TOTAL;
use crate::window::Day;

/// A gauge of every watched series.
struct Gauge {
    name: &'static str,
    help: &'static str,
    /// No series where there is no value.
    value: fn(&Watched, &dyn Fn(Day) -> f64) -> Option<f64>,
}

const GAUGES: &[Gauge] = &[
    Gauge {
        name: "evidence",
        help: "The evidence of a change for the worse (nats): a one-sided CUSUM of the log-likelihood ratio.",
        value: |w, _| Some(w.status.evidence),
    },
    Gauge {
        name: "threshold",
        help: "Evidence above it alerts (nats); none where there is too little to judge.",
        value: |w, _| w.status.threshold.nats,
    },
    Gauge {
        name: "judged",
        help: "1 if the volume allows a judgement, 0 if there is too little.",
        value: |w, _| Some(flag(w.status.threshold.nats.is_some())),
    },
    Gauge {
        name: "observed",
        help: "What was observed since the evidence was last 0, or in the newest 28 days if it is 0: a share, seconds, or leads a day.",
        value: |w, _| w.status.observed,
    },
    Gauge {
        name: "expected",
        help: "What the baseline expected of the same days.",
        value: |w, _| w.status.expected,
    },
    Gauge {
        name: "sample",
        help: "How many decided deals, matured leads, wins or leads are behind what was observed.",
        value: |w, _| Some(w.status.sample),
    },
    Gauge {
        name: "baseline_sample",
        help: "How many are behind the baseline of the newest day.",
        value: |w, _| Some(w.status.baseline_sample),
    },
    Gauge {
        name: "baseline_quarters",
        help: "How many of the last four quarters are in the baseline; 0 for a flat one.",
        value: |w, _| Some(w.status.baseline_quarters as f64),
    },
    Gauge {
        name: "dispersion",
        help: "The variance of the daily counts by what chance alone gives (ratio).",
        value: |w, _| Some(w.status.dispersion),
    },
    Gauge {
        name: "since_timestamp_seconds",
        help: "Start of the first day of the present run of evidence; none without evidence.",
        value: |w, start| w.status.since.map(start),
    },
    Gauge {
        name: "newest_day_timestamp_seconds",
        help: "Start of the newest full local day that was judged.",
        value: |w, start| Some(start(w.status.newest)),
    },
    Gauge {
        name: "smallest_drop",
        help: "The smallest relative change that is caught within 28 days with 80 % power (ratio); none if not even the greatest is.",
        value: |w, _| w.status.threshold.smallest_drop,
    },
    Gauge {
        name: "bulk",
        help: "1 if most of the evidence is of one bulk close: reported, not alerted.",
        value: |w, _| Some(flag(w.status.is_bulk)),
    },
    Gauge {
        name: "calibrated",
        help: "1 if the threshold is from the history of the series, 0 if from simulation.",
        value: |w, _| Some(flag(w.status.threshold.is_calibrated)),
    },
];

/// The gauge of causes.
const CAUSE: &str = "dealpulse_alert_cause";
const OF_CAUSE: &str = "How many of the records that moved the number have this value, which has most more than usual.";
/// How many such records there are in all.
const CAUSE_OF: &str = "dealpulse_alert_cause_records";
const OF_CAUSE_OF: &str = "How many records moved the number in all, by the same dimension.";

fn flag(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

/// The gauges of all watched series, in order of name.
pub fn gauges(alerts: &Alerts) -> Vec<MetricFamily> {
    let start = |day: Day| alerts.catalogue.calendar.day_start(day) as f64;
    let mut families: Vec<MetricFamily> = Vec::new();
    for of in GAUGES {
        let values = alerts.watched.iter().filter_map(|watched| {
            let value = (of.value)(watched, &start)?;
            Some(series(labels(watched), value))
        });
        let name = format!("dealpulse_alert_{}", of.name);
        families.push(gauge(&name, of.help, values));
    }
    let causes = alerts.watched.iter().flat_map(|watched| {
        let causes = watched.causes.iter();
        causes.map(move |cause| (watched, cause))
    });
    let (mut parts, mut wholes) = (Vec::new(), Vec::new());
    for (watched, cause) in causes {
        let mut of = labels(watched);
        of.push(label("by", cause.by.to_owned()));
        wholes.push(series(of.clone(), cause.of as f64));
        of.push(label(
            "name",
            value_label(std::slice::from_ref(&cause.name)),
        ));
        parts.push(series(of, cause.records as f64));
    }
    families.push(gauge(CAUSE, OF_CAUSE, parts));
    families.push(gauge(CAUSE_OF, OF_CAUSE_OF, wholes));
    families.retain(|family| !family.get_metric().is_empty());
    families.sort_by(|a, b| a.name().cmp(b.name()));
    families
}

fn labels(watched: &Watched) -> Vec<LabelPair> {
    let of = &watched.series;
    let value = match of.dimension.as_str() {
        TOTAL => TOTAL.to_owned(),
        _ => value_label(std::slice::from_ref(&of.value)),
    };
    vec![
        label("watch", of.watch.name().to_owned()),
        label("dimension", of.dimension.clone()),
        label("value", value),
    ]
}
