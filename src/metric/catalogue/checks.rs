//! Refusing what a catalogue can't be made of, with the key at fault and the fix.

use super::{BUILT_IN, Catalogue, read_metrics};
use crate::definitions::{BadDefinition, DefinitionsSpec};
use crate::metric::Metric;
use crate::record::SCHEMA;

fn names(metrics: &[&dyn Metric]) -> String {
    let names: Vec<&str> = metrics.iter().map(|metric| metric.name()).collect();
    names.join(", ")
}

/// What is wrong with a name that is none of these metrics'.
fn no_metric(name: &str, known: &[&dyn Metric]) -> String {
    let known = names(known);
    format!("there is no metric `{name}`; write one of {known}")
}

impl Catalogue {
    /// Refuses a choice of metrics that names one that isn't there, or leaves out one that another
    /// is read from.
    pub(super) fn check_metrics(&self) -> Result<(), BadDefinition> {
        let Some(wanted) = &self.spec.metrics else {
            return Ok(());
        };
        let bad = |key: String, problem: String| Err(BadDefinition { key, problem });
        if wanted.is_empty() {
            let problem = "nothing would be counted; name a metric, or take the line out for all";
            return bad("metrics".into(), problem.into());
        }
        for (i, name) in wanted.iter().enumerate() {
            let key = || format!("metrics[{i}]");
            let Some(metric) = self.metric(name) else {
                return bad(key(), no_metric(name, BUILT_IN));
            };
            if wanted[..i].contains(name) {
                return bad(key(), format!("`{name}` is listed twice; keep one"));
            }
            let missing = read_metrics(metric).find(|read| self.metric(read).is_none());
            if let Some(missing) = missing {
                let problem = format!("`{name}` is read from the cells of `{missing}`; add it");
                return bad(key(), problem);
            }
        }
        Ok(())
    }

    /// Refuses groups that stay empty. Those of the default may: they are for all metrics.
    pub(super) fn check_groups(&self) -> Result<(), BadDefinition> {
        if self.spec.groups == DefinitionsSpec::default().groups {
            return Ok(());
        }
        for (number, set) in self.definitions.sets.iter().enumerate().skip(1) {
            if self.rollups_of(number).next().is_none() {
                let names = set.dimensions.iter().map(|d| self.dimension_name(*d));
                return Err(BadDefinition {
                    key: format!("groups[{}].by", number - 1),
                    problem: format!(
                        "no metric {} can be cut by {}; take it out",
                        match self.spec.metrics {
                            Some(_) => "of `metrics`",
                            None => "of this version",
                        },
                        names.collect::<Vec<_>>().join(" and ")
                    ),
                });
            }
        }
        Ok(())
    }

    /// Refuses exclusions that name no metric, entity or field.
    pub(super) fn check_exclusions(&self) -> Result<(), BadDefinition> {
        for (metric, exclusions) in &self.spec.exclude {
            let bad = |key: String, problem: String| Err(BadDefinition { key, problem });
            if self.position(metric).is_none() {
                let problem = if BUILT_IN.iter().any(|known| known.name() == metric) {
                    format!("`{metric}` is not counted; add it to `metrics`, or take this out")
                } else {
                    no_metric(metric, &self.metrics)
                };
                return bad(format!("exclude.{metric}"), problem);
            }
            if let Some(position) = self.position(metric)
                && self.metrics[position].rollups().is_empty()
            {
                let of = names(&self.sources(self.metrics[position]));
                return bad(
                    format!("exclude.{metric}"),
                    format!("`{metric}` is read from the cells of {of}; leave records out there"),
                );
            }
            let corrected = self.metric(metric).and_then(|metric| metric.corrects());
            for (i, exclusion) in exclusions.iter().enumerate() {
                let Some(entity) = SCHEMA.of_name(&exclusion.entity) else {
                    let known: Vec<String> = SCHEMA
                        .of_sources()
                        .map(|e| format!("`{}`", e.name))
                        .collect();
                    return bad(
                        format!("exclude.{metric}[{i}].entity"),
                        format!("`{}` is none of {}", exclusion.entity, known.join(", ")),
                    );
                };
                if let Some(of) = corrected.and_then(|of| self.metric(of))
                    && of.entities().contains(&entity.entity)
                {
                    return bad(
                        format!("exclude.{metric}[{i}].entity"),
                        format!(
                            "`{metric}` is read from the cells of {}; leave out a {} there",
                            of.name(),
                            entity.name
                        ),
                    );
                }
                if !exclusion.field.starts_with("custom.")
                    && entity.field(&exclusion.field).is_none()
                {
                    return bad(
                        format!("exclude.{metric}[{i}].field"),
                        format!(
                            "a {} has no field `{}`; custom fields are written `custom.<field>`",
                            exclusion.entity, exclusion.field
                        ),
                    );
                }
            }
        }
        Ok(())
    }
}
