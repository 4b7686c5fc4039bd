//! What all metrics read: figures by metric, window and group.

use super::{Figures, figures_to_json};
use crate::definitions::Definitions;
use crate::window::rolling::Window;

/// All metrics, read for some windows.
#[derive(Debug, Clone, Default)]
pub struct MetricValues {
    /// The windows.
    pub windows: Vec<Window>,
    /// The metrics in the order of the catalogue.
    pub metrics: Vec<WindowedValues>,
}

/// One metric, read.
#[derive(Debug, Clone)]
pub struct WindowedValues {
    /// Which.
    pub name: &'static str,
    /// Its groups, by window: the total first, then set by set, values in order.
    pub windows: Vec<Vec<Group>>,
}

/// One metric, read for one window and one combination of values.
#[derive(Debug, Clone)]
pub struct Group {
    /// The grouping set; 0 is the total.
    pub set: usize,
    /// The values of its dimensions; none for the total, and for the others of
    /// [`Sums::read_others`](super::Sums::read_others) together.
    pub values: Vec<String>,
    /// What was read.
    pub figures: Figures,
}

impl MetricValues {
    /// Adds the groups of another reading of the same windows, of the metrics that are here.
    pub fn add(&mut self, other: MetricValues) {
        for more in other.metrics {
            let Some(here) = self.metrics.iter_mut().find(|m| m.name == more.name) else {
                continue;
            };
            for (groups, more) in here.windows.iter_mut().zip(more.windows) {
                groups.extend(more);
            }
        }
    }

    /// As JSON: metric → window → group → figures. A group is `all` or `dimension=value`, several
    /// joined by commas.
    pub fn to_json(&self, definitions: &Definitions) -> serde_json::Value {
        use serde_json::{Map, Value as Json};
        let metrics = self.metrics.iter().map(|metric| {
            let windows = self
                .windows
                .iter()
                .zip(&metric.windows)
                .map(|(window, groups)| {
                    let groups: Map<String, Json> = groups
                        .iter()
                        .map(|g| (g.label(definitions), figures_to_json(&g.figures)))
                        .collect();
                    (window.label(), Json::Object(groups))
                });
            (metric.name.to_owned(), Json::Object(windows.collect()))
        });
        Json::Object(metrics.collect())
    }
}

impl Group {
    /// True if it is what the values that are not shown make together.
    pub fn is_others(&self) -> bool {
        self.set != 0 && self.values.is_empty()
    }

    /// `all`, or `dimension=value`, several joined by commas; `dimension:others` for what is not
    /// shown.
    pub fn label(&self, definitions: &Definitions) -> String {
        let Some(set) = definitions.set(self.set).filter(|_| self.set != 0) else {
            return "all".into();
        };
        if self.is_others() {
            return format!("{}:others", definitions.set_name(self.set));
        }
        let pairs = set
            .dimensions
            .iter()
            .zip(&self.values)
            .map(|(dimension, value)| {
                format!("{}={value}", definitions.dimension_name(*dimension))
            });
        pairs.collect::<Vec<_>>().join(",")
    }
}

impl WindowedValues {
    /// The figures of the total for a window, if there are any.
    pub fn total(&self, window: usize) -> Option<&Figures> {
        self.windows
            .get(window)?
            .iter()
            .find(|g| g.set == 0)
            .map(|g| &g.figures)
    }
}
