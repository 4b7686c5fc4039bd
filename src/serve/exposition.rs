//! Gauges as Prometheus' library has them, and how values become labels.

use prometheus::proto::{Gauge, LabelPair, Metric as Series, MetricFamily, MetricType};

/// How a record without a value is labelled.
const NO_VALUE: &str = "(none)";
/// How the values that are not shown one by one are labelled together.
const OTHERS: &str = "(other)";

/// The values of a group as one label, different for different values: `(none)` for a blank,
/// several joined by commas, `(other)` for a group without any.
pub fn value_label(values: &[String]) -> String {
    let word = |value: &String| match value.as_str() {
        "" => NO_VALUE.to_owned(),
        // A real value that reads like one of these words, or like one escaped.
        value if [NO_VALUE, OTHERS].contains(&value.trim_start_matches('\\')) => {
            format!("\\{value}")
        }
        value => value.to_owned(),
    };
    match values {
        [] => OTHERS.to_owned(),
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

/// A family of gauges.
pub fn gauge(name: &str, help: &str, series: impl IntoIterator<Item = Series>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(MetricType::GAUGE);
    family.set_metric(series.into_iter().collect());
    family
}

/// One series of a gauge.
pub fn series(labels: Vec<LabelPair>, value: f64) -> Series {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut series = Series::from_gauge(gauge);
    series.set_label(labels);
    series
}

/// A label.
pub fn label(name: &str, value: String) -> LabelPair {
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
        let groups: [&[&str]; 13] = [
            &[],
            &["(other)"],
            &["\\(other)"],
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
