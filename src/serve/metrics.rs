//! `/metrics`: the business metrics as gauges, named after their figures, and the metrics of the pipeline itself.

use std::collections::BTreeMap;

use prometheus::proto::{Gauge, LabelPair, Metric as Series, MetricFamily, MetricType};
use prometheus::{TEXT_FORMAT, TextEncoder};

use super::figures::first_sentence;
use super::model::{Model, Snapshot};
use crate::metric::{Catalogue, Figure};
use crate::telemetry::Telemetry;
use crate::window::calendar::DAY;
use crate::window::rolling::Window;

/// The content type of [`text`].
pub const CONTENT_TYPE: &str = TEXT_FORMAT;
/// How the total is labelled, and how a record without value.
const TOTAL: &str = "all";
const NO_VALUE: &str = "(none)";

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
        families.extend(business(&snapshot));
    }
    TextEncoder::new().encode_to_string(&families)
}

/// The gauges of a snapshot, in order of name: one family for every single figure, one series for every window and group shown.
/// No series where there is no value, such as a ratio whose denominator is 0.
pub fn business(snapshot: &Snapshot) -> Vec<MetricFamily> {
    let mut families: BTreeMap<String, MetricFamily> = BTreeMap::new();
    for metric in &snapshot.reading.metrics {
        let depends = snapshot.definitions.metric(metric.name);
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
                        let mut labels = labels.to_vec();
                        labels.extend(part.map(|(name, value)| label(name, value.to_owned())));
                        let name = name_of(metric.name, path, figure);
                        let family = families.entry(name).or_insert_with_key(|name| {
                            gauge(
                                name,
                                &help(&snapshot.definitions, metric.name, path, figure),
                                [],
                            )
                        });
                        family.mut_metric().push(series(labels, value));
                    });
                }
            }
        }
    }
    families.into_values().collect()
}

/// `dealpulse_<metric>_<path>`. Prometheus wants base units, so days are seconds, and keeps `_count` for histograms.
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
        Figure::Ratio(_) => " (ratio)",
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

/// The values of a group as one label, different for different values: `(none)` for a blank, several joined by commas.
fn value_label(values: &[String]) -> String {
    let word = |value: &String| match value.as_str() {
        "" => NO_VALUE.to_owned(),
        // A real value that reads like the word for none, or like that word escaped.
        value if value.trim_start_matches('\\') == NO_VALUE => format!("\\{value}"),
        value => value.to_owned(),
    };
    match values {
        [one] => word(one),
        several => several
            .iter()
            .map(|v| {
                if v.is_empty() {
                    word(v)
                } else {
                    word(&v.replace('\\', r"\\").replace(',', r"\,"))
                }
            })
            .collect::<Vec<_>>()
            .join(","),
    }
}

fn gauge(name: &str, help: &str, series: impl IntoIterator<Item = Series>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(MetricType::GAUGE);
    family.set_metric(series.into_iter().collect());
    family
}

fn series(labels: Vec<LabelPair>, value: f64) -> Series {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut series = Series::from_gauge(gauge);
    series.set_label(labels);
    series
}

fn label(name: &str, value: String) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value);
    label
}

#[cfg(test)]
mod tests {
    use super::value_label;
    use std::collections::HashSet;

    #[test]
    fn different_values_have_different_labels() {
        let groups: [&[&str]; 10] = [
            &[""],
            &["(none)"],
            &["\\(none)"],
            &["Smith, John"],
            &["", "x"],
            &["(none)", "x"],
            &["a,b", "c"],
            &["a", "b,c"],
            &["a\\", "b,c"],
            &["a\\,b", "c"],
        ];
        let labels: HashSet<String> = groups
            .iter()
            .map(|g| value_label(&g.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>()))
            .collect();
        assert_eq!(labels.len(), groups.len(), "{labels:?}");
        assert!(
            labels.contains("(none)")
                && labels.contains("Smith, John")
                && labels.contains(r"a\,b,c")
        );
    }
}
