//! Definitions: what the metrics of an epoch mean. Changing one changes the metrics, so they belong
//! to the epoch, not to the record.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::record::passage::MOST_STAGES;
pub use crate::record::{Credit, ForecastCategory};
pub use crate::window::HoursKept;
use crate::window::{
    CANONICAL, CUSTOM, Calendar, DERIVED, Dimension, Grain, GroupingSet, MAX_CROSS, SPECIAL,
};

/// What a stage of the source's pipeline means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageMeaning {
    /// `open`, `won` or `lost`: a deal that reaches the stage has this status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// How likely a deal of this stage is won, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
}

/// A grouping set as it is written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetSpec {
    /// Dimensions crossed; `custom.<field>` for a custom field.
    pub by: Vec<String>,
    /// `hour`, `day`, `month`.
    pub every: Vec<String>,
}

/// Who is left out of a metric: records of which this field has one of these values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exclusion {
    /// `deal`, `lead`, `account` or `contact`.
    pub entity: String,
    /// A canonical field, or `custom.<field>`.
    pub field: String,
    /// The values, as text; `""` for none, a plain number for money.
    pub values: Vec<String>,
}

/// The definitions as they are written in the configuration and kept in `epochs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DefinitionsSpec {
    /// IANA time zone the organisation reads its days in.
    pub time_zone: String,
    /// The month, 1 to 12, its fiscal year starts in.
    pub fiscal_year_start: u32,
    /// Whose a closed deal is.
    pub credit: Credit,
    /// For how long panes of hours are kept.
    #[serde(skip_serializing_if = "HoursKept::is_default")]
    pub hours_kept: HoursKept,
    /// The metrics that are counted, by their names; all of them if there is no list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Vec<String>>,
    /// The groups of the metrics, besides the total.
    pub groups: Vec<SetSpec>,
    /// What the source's stages mean.
    pub stages: BTreeMap<String, StageMeaning>,
    /// The stages a deal passes on its way to be won, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stage_order: Vec<String>,
    /// What the source's forecast categories stand for, where their names don't say it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub forecast_categories: BTreeMap<String, ForecastCategory>,
    /// Who is left out, by metric.
    pub exclude: BTreeMap<String, Vec<Exclusion>>,
}

impl Default for DefinitionsSpec {
    fn default() -> Self {
        let set = |by: &[&str], every: &[&str]| SetSpec {
            by: words(by),
            every: words(every),
        };
        DefinitionsSpec {
            time_zone: "UTC".into(),
            fiscal_year_start: 1,
            credit: Credit::AtClose,
            hours_kept: HoursKept::default(),
            metrics: None,
            groups: vec![
                set(&["source"], &["hour", "day"]),
                set(&["region"], &["day"]),
                set(&["product"], &["day"]),
                set(&["deal_type"], &["day"]),
                set(&["team"], &["day"]),
                set(&["owner"], &["day"]),
                set(&["stage"], &["day"]),
                set(&["forecast_category"], &["day"]),
                set(&["lost_reason"], &["day"]),
            ],
            stages: BTreeMap::new(),
            stage_order: Vec::new(),
            forecast_categories: BTreeMap::new(),
            exclude: BTreeMap::new(),
        }
    }
}

/// Refuses an order of stages that a deal can't pass one after the other.
fn check_stage_order(spec: &DefinitionsSpec) -> Result<(), BadDefinition> {
    let order = &spec.stage_order;
    if order.len() > MOST_STAGES {
        return Err(BadDefinition {
            key: "stage_order".into(),
            problem: format!(
                "{} stages are too many; list at most {MOST_STAGES}",
                order.len()
            ),
        });
    }
    for (i, stage) in order.iter().enumerate() {
        let meaning = spec.stages.get(stage);
        let status = meaning.and_then(|meaning| meaning.status.as_deref());
        let problem = if stage.trim().is_empty() {
            "a stage without a name; take it out".to_owned()
        } else if order[..i].contains(stage) {
            format!("`{stage}` is listed twice; keep one")
        } else if let Some(status @ ("won" | "lost")) = status {
            format!("`{stage}` stands for {status}; take it out: an order has stages of open deals")
        } else {
            continue;
        };
        return Err(BadDefinition {
            key: format!("stage_order[{i}]"),
            problem,
        });
    }
    Ok(())
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

/// Definitions that contradict themselves; the message states how to fix them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct BadDefinition {
    /// The key at fault, as it is written.
    pub key: String,
    /// What is wrong with it and what would be right.
    pub problem: String,
}

/// Validated definitions.
#[derive(Debug, Clone)]
pub struct Definitions {
    /// As they were written.
    pub spec: DefinitionsSpec,
    /// Hours, days and months.
    pub calendar: Calendar,
    /// The total first, then the sets that were asked for: those that cells are kept for.
    pub sets: Vec<GroupingSet>,
    /// The sets that are summed from the cells by owner where they are read, if these are kept.
    /// Their numbers follow those of `sets`.
    derived: Vec<GroupingSet>,
    /// Names of the custom fields that are dimensions, from slot [`Dimension::FIRST_CUSTOM`] on.
    pub custom_dimensions: Vec<String>,
}

impl Definitions {
    /// Checks definitions and makes them ready.
    ///
    /// # Errors
    /// The first contradiction: an unknown time zone, dimension or status, a set too wide.
    pub fn new(spec: DefinitionsSpec) -> Result<Self, BadDefinition> {
        let bad = |key: &str, problem: String| BadDefinition {
            key: key.to_owned(),
            problem,
        };
        let zone: Tz = spec.time_zone.parse().map_err(|_| {
            bad(
                "time_zone",
                format!(
                    "`{}` is no IANA time zone; write it like `Europe/Berlin`",
                    spec.time_zone
                ),
            )
        })?;
        if !(1..=12).contains(&spec.fiscal_year_start) {
            return Err(bad(
                "fiscal_year_start",
                format!("{} is no month; write 1 to 12", spec.fiscal_year_start),
            ));
        }
        if let Some(problem) = spec.hours_kept.problem() {
            return Err(bad("hours_kept", problem));
        }
        for (stage, meaning) in &spec.stages {
            if let Some(status) = meaning
                .status
                .as_deref()
                .filter(|s| !["open", "won", "lost"].contains(s))
            {
                return Err(bad(
                    &format!("stages.{stage}.status"),
                    format!("`{status}` is none of `open`, `won`, `lost`"),
                ));
            }
            if let Some(p) = meaning.probability.filter(|p| !(0.0..=1.0).contains(p)) {
                return Err(bad(
                    &format!("stages.{stage}.probability"),
                    format!("{p} does not lie between 0 and 1"),
                ));
            }
        }
        check_stage_order(&spec)?;
        let mut definitions = Definitions {
            calendar: Calendar::new(zone, spec.fiscal_year_start),
            sets: vec![GroupingSet {
                name: String::new(),
                dimensions: Vec::new(),
                grains: vec![Grain::Hour, Grain::Day, Grain::Month],
            }],
            derived: Vec::new(),
            custom_dimensions: Vec::new(),
            spec,
        };
        for (i, set) in definitions.spec.groups.clone().iter().enumerate() {
            let set = definitions.grouping_set(set, &format!("groups[{i}]"))?;
            if definitions
                .sets
                .iter()
                .any(|s| s.dimensions == set.dimensions)
            {
                return Err(bad(
                    &format!("groups[{i}].by"),
                    "this group is listed twice; keep one".into(),
                ));
            }
            definitions.sets.push(set);
        }
        if let Some(owners) = definitions.owners() {
            let derived = DERIVED.iter().map(|(dimension, name)| GroupingSet {
                name: (*name).to_owned(),
                dimensions: vec![*dimension],
                grains: definitions.sets[usize::from(owners)].grains.clone(),
            });
            definitions.derived = derived.collect();
        }
        Ok(definitions)
    }

    /// The number of the set by owner alone, if it is kept.
    pub fn owners(&self) -> Option<u8> {
        let is_by_owner = |set: &GroupingSet| set.dimensions == [Dimension::OWNER];
        let number = self.sets.iter().position(is_by_owner)?;
        Some(number as u8)
    }

    /// The sets that can be read, by number: those that are kept, then those that are derived from
    /// the owners'.
    pub fn readable_sets(&self) -> std::ops::Range<usize> {
        0..self.sets.len() + self.derived.len()
    }

    /// The set of a number.
    pub fn set(&self, number: usize) -> Option<&GroupingSet> {
        let derived = || self.derived.get(number - self.sets.len());
        self.sets.get(number).or_else(derived)
    }

    fn grouping_set(&mut self, set: &SetSpec, key: &str) -> Result<GroupingSet, BadDefinition> {
        let bad = |part: &str, problem: String| BadDefinition {
            key: format!("{key}.{part}"),
            problem,
        };
        if set.by.is_empty() || set.by.len() > MAX_CROSS {
            return Err(bad(
                "by",
                format!(
                    "a group crosses 1 to {MAX_CROSS} dimensions, not {}; the total is always kept",
                    set.by.len()
                ),
            ));
        }
        let mut dimensions = Vec::new();
        for name in &set.by {
            if DERIVED.iter().any(|(_, derived)| derived == name) {
                let problem = format!(
                    "`{name}` is summed from the numbers by owner where they are read; keep the group `owner` instead"
                );
                return Err(bad("by", problem));
            }
            let dimension = self.dimension(name).ok_or_else(|| {
                bad(
                    "by",
                    format!(
                        "`{name}` is no dimension; write one of {} or `custom.<field>` (at most {CUSTOM})",
                        [&CANONICAL[..], &SPECIAL].concat().join(", ")
                    ),
                )
            })?;
            if dimensions.contains(&dimension) {
                return Err(bad("by", format!("`{name}` is listed twice")));
            }
            dimensions.push(dimension);
        }
        let mut grains = Vec::new();
        for name in &set.every {
            let grain = [Grain::Hour, Grain::Day, Grain::Month]
                .into_iter()
                .find(|g| g.name() == name);
            grains.push(grain.ok_or_else(|| {
                bad(
                    "every",
                    format!("`{name}` is none of `hour`, `day`, `month`"),
                )
            })?);
        }
        if !grains.contains(&Grain::Day) {
            return Err(bad("every", "windows are sums of days; add `day`".into()));
        }
        grains.sort_unstable();
        grains.dedup();
        let names = dimensions.iter().map(|d| self.dimension_name(*d));
        Ok(GroupingSet {
            name: names.collect::<Vec<_>>().join(","),
            dimensions,
            grains,
        })
    }

    fn dimension(&mut self, name: &str) -> Option<Dimension> {
        if let Some(dimension) = Dimension::named(name) {
            return Some(dimension);
        }
        let field = name.strip_prefix("custom.").filter(|f| !f.is_empty())?;
        let known = self.custom_dimensions.iter().position(|c| c == field);
        let slot = known.unwrap_or_else(|| {
            self.custom_dimensions.push(field.to_owned());
            self.custom_dimensions.len() - 1
        }) + Dimension::FIRST_CUSTOM;
        (slot < Dimension::FIRST_SPECIAL).then_some(Dimension(slot as u8))
    }

    /// The name of a dimension, as definitions write it.
    pub fn dimension_name(&self, dimension: Dimension) -> String {
        if let Some(name) = dimension.name() {
            return name.to_owned();
        }
        let slot = usize::from(dimension.0) - Dimension::FIRST_CUSTOM;
        let custom = self.custom_dimensions.get(slot);
        custom.map_or_else(String::new, |field| format!("custom.{field}"))
    }

    /// The name of a grouping set in the rollups: its dimensions joined by commas, blank for the
    /// total.
    pub fn set_name(&self, set: usize) -> String {
        self.set(set)
            .map_or_else(String::new, |set| set.name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(change: impl FnOnce(&mut DefinitionsSpec)) -> String {
        let mut spec = DefinitionsSpec::default();
        change(&mut spec);
        Definitions::new(spec).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn contradictions_are_refused_with_the_key_and_the_fix() {
        assert!(
            problem(|s| s.time_zone = "Berlin".into())
                .starts_with("time_zone: `Berlin` is no IANA time zone")
        );
        assert!(problem(|s| s.fiscal_year_start = 13).contains("write 1 to 12"));
        assert!(
            problem(|s| s.groups[1].by = vec!["colour".into()])
                .starts_with("groups[1].by: `colour` is no dimension")
        );
        assert!(problem(|s| s.groups[1].by = vec!["source".into()]).contains("is listed twice"));
        assert!(problem(|s| s.groups[0].every = vec!["hour".into()]).contains("add `day`"));
        assert!(problem(|s| s.groups[0].every = vec!["week".into()]).contains("`week` is none of"));
        assert!(
            problem(|s| drop(s.stages.insert(
                "x".into(),
                StageMeaning {
                    status: Some("closed".into()),
                    probability: None
                }
            )))
            .starts_with("stages.x.status")
        );
    }

    #[test]
    fn an_order_of_stages_that_cannot_be_passed_is_refused() {
        let problem = |order: &[&str]| {
            problem(|spec| {
                let won = StageMeaning {
                    status: Some("won".into()),
                    probability: None,
                };
                spec.stages.insert("signed".into(), won);
                spec.stage_order = words(order);
            })
        };
        assert_eq!(
            problem(&["talks", "offer", "talks"]),
            "stage_order[2]: `talks` is listed twice; keep one"
        );
        assert!(problem(&["talks", " "]).starts_with("stage_order[1]: a stage without a name"));
        assert!(
            problem(&["talks", "signed"]).starts_with("stage_order[1]: `signed` stands for won")
        );
        let many: Vec<String> = (0..=MOST_STAGES).map(|i| format!("s{i}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(
            problem(&many),
            "stage_order: 16 stages are too many; list at most 15"
        );
    }

    #[test]
    fn definitions_of_before_are_understood_and_written_as_before() {
        let plain = DefinitionsSpec::default();
        let written = serde_json::to_value(&plain).unwrap();
        assert_eq!(written.get("stage_order"), None);
        assert_eq!(
            serde_json::from_value::<DefinitionsSpec>(written).unwrap(),
            plain
        );
    }

    #[test]
    fn custom_fields_become_dimensions() {
        let mut spec = DefinitionsSpec::default();
        spec.groups.push(SetSpec {
            by: vec!["custom.tier".into(), "region".into()],
            every: vec!["day".into()],
        });
        let definitions = Definitions::new(spec).unwrap();
        assert_eq!(definitions.set_name(0), "");
        assert_eq!(definitions.set_name(10), "custom.tier,region");
    }
}
