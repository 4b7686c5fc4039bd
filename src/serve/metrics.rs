//! `/metrics`: the business metrics as gauges, named after their figures, and the metrics of the
//! pipeline itself.

use std::collections::{BTreeMap, BTreeSet};

use prometheus::proto::MetricFamily;
use prometheus::{TEXT_FORMAT, TextEncoder};

use super::alert_gauges;
use super::exposition::{gauge, label, series, value_label};
use super::figures::first_sentence;
use super::model::{Model, Snapshot};
use crate::config::Gauges;
use crate::metric::{Catalogue, Column, Figure, Metric};
use crate::telemetry::Telemetry;
use crate::window::calendar::DAY;
use crate::window::rolling::Window;

/// The content type of [`text`].
pub const CONTENT_TYPE: &str = TEXT_FORMAT;
/// How the total is labelled.
const TOTAL: &str = "all";

/// Everything there is to scrape, in the text format.
///
/// # Errors
/// If the encoder refuses a family, which only one without a name or series is.
pub fn text(model: &Model, telemetry: &Telemetry) -> prometheus::Result<String> {
    let mut families = telemetry.gather();
    families.push(gauge(
        "dealpulse_data_age_seconds",
        "How old the business gauges are; before there are any, how long they have been missing.",
        [series(Vec::new(), model.age().as_secs_f64())],
    ));
    if let Some(snapshot) = model.snapshot() {
        if let Some(watermark) = snapshot.watermark {
            let help = "The time up to which everything is in the business gauges.";
            families.push(gauge(
                "dealpulse_watermark_timestamp_seconds",
                help,
                [series(Vec::new(), watermark as f64 / 1e6)],
            ));
        }
        families.push(values_beyond(&snapshot));
        families.extend(names_of_values(&snapshot));
        families.extend(business(&snapshot));
    }
    if let Some(alerts) = model.alerts() {
        families.extend(alert_gauges::gauges(&alerts));
    }
    TextEncoder::new().encode_to_string(&families)
}

/// How many values of each dimension are in `(other)`, or in the sets of a hierarchy left out.
fn values_beyond(snapshot: &Snapshot) -> MetricFamily {
    let catalogue = &snapshot.definitions;
    let sets = catalogue.readable_sets().filter(|set| *set != 0);
    let series = sets.map(|set| {
        let dimension = label("dimension", catalogue.set_name(set));
        series(vec![dimension], snapshot.top.beyond(set) as f64)
    });
    let help = "Values of a dimension that have no series of their own.";
    gauge("dealpulse_values_beyond_top", help, series)
}

/// What the values that are shown are called, to be joined with their series by `dimension` and
/// `value`; nothing where no name is known.
fn names_of_values(snapshot: &Snapshot) -> Option<MetricFamily> {
    let catalogue = &snapshot.definitions;
    let sets = catalogue.readable_sets().filter(|set| *set != 0);
    let named = sets.flat_map(|set| {
        let dimension = catalogue.set_name(set);
        let named = snapshot.top.values(set).filter_map(move |values| {
            // Groups of several dimensions have no name of their own.
            let [value] = values.as_slice() else {
                return None;
            };
            let name = snapshot.side.names.name(&dimension, value)?;
            let labels = [
                ("dimension", dimension.clone()),
                ("value", value.clone()),
                ("name", name.to_owned()),
            ];
            let labels = labels.map(|(name, value)| label(name, value));
            Some(series(labels.to_vec(), 1.0))
        });
        named.collect::<Vec<_>>()
    });
    let named: Vec<_> = named.collect();
    let help = "What a value of a dimension is called.";
    (!named.is_empty()).then(|| gauge("dealpulse_value_info", help, named))
}

/// The gauges of a snapshot, in order of name: one family for every single figure and for each
/// bound of a share, one series for every window and group shown; of groups the figures that
/// [`Gauges`] says. No series where there is no value, such as a ratio whose denominator is 0.
pub fn business(snapshot: &Snapshot) -> Vec<MetricFamily> {
    let mut families: BTreeMap<String, MetricFamily> = BTreeMap::new();
    for metric in &snapshot.reading.metrics {
        let depends = snapshot.definitions.metric(metric.name);
        let of_groups = depends.map(|metric| figures_of_groups(metric, snapshot.gauges));
        let of_groups = of_groups.unwrap_or_default();
        let depends = depends.is_none_or(|metric| metric.depends_on_window());
        let windows = snapshot.reading.windows.iter().zip(&metric.windows);
        for (window, groups) in
            windows.filter(|(window, _)| depends || **window == Window::QuarterToDate)
        {
            for group in groups.iter().filter(|g| snapshot.top.rank(g).is_some()) {
                let (dimension, value) = match group.set {
                    0 => (TOTAL.to_owned(), TOTAL.to_owned()),
                    set => (
                        snapshot.definitions.set_name(set),
                        value_label(&group.values),
                    ),
                };
                let labels = [
                    ("window", window.label()),
                    ("dimension", dimension),
                    ("value", value),
                ]
                .map(|(name, value)| label(name, value));
                for (name, figure) in &group.figures {
                    figure.visit(&mut vec![name], None, &mut |path, part, figure| {
                        let Some(value) = in_base_unit(figure) else {
                            return;
                        };
                        if group.set != 0 && !of_groups.contains(path.join(".").as_str()) {
                            return;
                        }
                        let mut labels = labels.to_vec();
                        labels.extend(part.map(|(name, value)| label(name, value.to_owned())));
                        let name = name_of(metric.name, path, figure);
                        let mut push = |name: String, bound: &str, value| {
                            let family = families.entry(name).or_insert_with_key(|name| {
                                let help = help(&snapshot.definitions, metric.name, path, figure);
                                gauge(name, &format!("{bound}{help}"), [])
                            });
                            family.mut_metric().push(series(labels.clone(), value));
                        };
                        if let Some((low, high)) = figure.interval() {
                            push(format!("{name}_low"), "95 % confidence, from: ", low);
                            push(format!("{name}_high"), "95 % confidence, to: ", high);
                        }
                        push(name, "", value);
                    });
                }
            }
        }
    }
    families.into_values().collect()
}

/// The figures of a group that have a gauge, by their paths.
fn figures_of_groups(metric: &dyn Metric, gauges: Gauges) -> BTreeSet<&'static str> {
    let main = metric.gauges().iter().copied();
    match gauges {
        Gauges::Main => main.collect(),
        Gauges::All => {
            let display = metric.display();
            let columns = display.columns.iter().flat_map(Column::paths);
            main.chain(columns).chain(["without_rate"]).collect()
        }
    }
}

/// `dealpulse_<metric>_<path>`. Prometheus wants base units, so days are seconds, and keeps
/// `_count` for histograms.
fn name_of(metric: &str, path: &[&str], figure: &Figure) -> String {
    let name = format!("dealpulse_{metric}_{}", path.join("_"));
    match figure {
        Figure::Days(_) => format!("{}_seconds", name.trim_end_matches("_days")),
        _ => name
            .strip_suffix("_count")
            .map_or_else(|| name.clone(), |stem| format!("{stem}_samples")),
    }
}

fn in_base_unit(figure: &Figure) -> Option<f64> {
    let value = figure.gauge()?;
    Some(if let Figure::Days(_) = figure {
        value * DAY as f64
    } else {
        value
    })
}

/// Which figure of the metric it is, and the first sentence of what the metric means.
fn help(catalogue: &Catalogue, metric: &str, path: &[&str], figure: &Figure) -> String {
    let unit = match figure {
        Figure::Days(_) => " (seconds)",
        Figure::Share { .. } | Figure::Ratio(_) => " (ratio)",
        Figure::Money(_) => " (money)",
        _ => "",
    };
    let sentence = catalogue
        .metric(metric)
        .map_or("", |metric| first_sentence(metric.definition()));
    let words = path.join(" ").replace('_', " ");
    let words = if let Figure::Days(_) = figure {
        words.trim_end_matches(" days")
    } else {
        &words
    };
    format!("{words}{unit}: {sentence}")
}
