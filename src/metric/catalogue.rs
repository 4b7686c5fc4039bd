//! The catalogue: the metrics of an organisation, built from its definitions, with all that follows
//! from them.

mod checks;

use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;

use super::contribution::OwnerAsOf;
use super::hours::Lags;
use super::subject::TAGS;
use super::{BUILT_IN, Contributions, Metric, Rollup, Sent, Subject};
use crate::definitions::{BadDefinition, Credit, Definitions, DefinitionsSpec};
use crate::event::{DECIMAL_ONE, Entity};
use crate::record::{CompiledDefinitions, Exclusion, SCHEMA, StageMeanings, Status};
use crate::symbol::Symbols;
use crate::window::Grain;
use crate::window::rolling::Span;

/// The basis of a record that is left out of a metric: its links add nothing to it.
const LEFT_OUT: i64 = i64::MIN;

/// Definitions with the metrics they make.
#[derive(Clone)]
pub struct Catalogue {
    definitions: Definitions,
    metrics: Vec<&'static dyn Metric>,
    rollups: Vec<Rollup>,
    /// The first rollup of each metric.
    bases: Vec<u8>,
    /// By entity, the positions of the metrics its records contribute to.
    by_entity: Vec<Vec<usize>>,
    /// By rollup, the grouping sets and grains its contributions go to.
    placements: Vec<Vec<(u8, Vec<Grain>)>>,
    /// How long before the present lies what a rollup is read for.
    lags: Lags,
}

/// The metrics that are counted, each with the version of its formula. `epochs` records it; a
/// program counts no epoch of another one.
pub type Versions = BTreeMap<String, u32>;

/// What this program counts under the given definitions.
pub fn versions(definitions: &DefinitionsSpec) -> Versions {
    versions_of(&chosen(definitions))
}

/// The metrics of this program that definitions choose, in the order they are shown.
fn chosen(definitions: &DefinitionsSpec) -> Vec<&'static dyn Metric> {
    let is_chosen = |metric: &&&dyn Metric| {
        let names = definitions.metrics.as_ref();
        names.is_none_or(|names| names.iter().any(|name| name == metric.name()))
    };
    BUILT_IN.iter().filter(is_chosen).copied().collect()
}

/// The versions of the metrics that keep cells. One that is read from others' cells has nothing to
/// count anew.
fn versions_of(metrics: &[&'static dyn Metric]) -> Versions {
    let counted = metrics.iter().filter(|metric| !metric.rollups().is_empty());
    counted
        .map(|m| (m.name().to_owned(), m.version()))
        .collect()
}

impl std::fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalogue")
            .field("definitions", &self.definitions.spec)
            .field("versions", &self.versions())
            .finish()
    }
}

impl Deref for Catalogue {
    type Target = Definitions;

    fn deref(&self) -> &Definitions {
        &self.definitions
    }
}

impl Catalogue {
    /// Checks definitions and builds the catalogue of this program from them.
    ///
    /// # Errors
    /// The first contradiction: see [`Definitions::new`]; a metric, entity or field that doesn't
    /// exist; a group no metric can be cut by.
    pub fn new(spec: DefinitionsSpec) -> Result<Self, BadDefinition> {
        let metrics = chosen(&spec);
        let catalogue = Self::with(spec, metrics)?;
        catalogue.check_metrics()?;
        catalogue.check_groups()?;
        catalogue.check_exclusions()?;
        Ok(catalogue)
    }

    /// The same of some metrics only, by their names, so that it can be seen what the others cost.
    /// What is read from the cells of one that is left out is nothing then, and a group that only
    /// it can be cut by stays empty.
    ///
    /// # Errors
    /// A contradiction in the definitions themselves: see [`Definitions::new`].
    pub fn of_some(
        spec: DefinitionsSpec,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<Self, BadDefinition> {
        let wanted = BUILT_IN.iter().filter(|metric| is_wanted(metric.name()));
        Self::with(spec, wanted.copied().collect())
    }

    fn with(
        spec: DefinitionsSpec,
        metrics: Vec<&'static dyn Metric>,
    ) -> Result<Self, BadDefinition> {
        let definitions = Definitions::new(spec)?;
        let (mut rollups, mut bases) = (Vec::new(), Vec::new());
        for metric in &metrics {
            bases.push(rollups.len() as u8);
            rollups.extend(metric.rollups());
        }
        let of_entity = |entity: &Entity| {
            let positions = metrics.iter().enumerate();
            let reading = positions.filter(|(_, metric)| metric.entities().contains(entity));
            reading.map(|(position, _)| position).collect()
        };
        let by_entity = Entity::ALL.iter().map(of_entity).collect();
        let placements = rollups
            .iter()
            .map(|rollup| placements(rollup, &definitions));
        Ok(Catalogue {
            lags: Lags::new(&metrics, &rollups, &bases),
            placements: placements.collect(),
            definitions,
            metrics,
            rollups,
            bases,
            by_entity,
        })
    }

    /// The numbers of the rollups by name.
    pub fn numbers_of_rollups(&self) -> HashMap<String, u8> {
        let rollups = self.rollups.iter().zip(0..);
        rollups
            .map(|(rollup, number)| (rollup.name.clone().into_owned(), number))
            .collect()
    }

    /// The version of every metric that keeps cells by name: what an epoch records.
    pub fn versions(&self) -> BTreeMap<String, u32> {
        versions_of(&self.metrics)
    }

    /// The metrics whose cells a metric is read from: itself, if it keeps any, and those it reads.
    pub fn sources(&self, metric: &dyn Metric) -> Vec<&'static dyn Metric> {
        let own = (!metric.rollups().is_empty()).then(|| metric.name());
        let mut names: Vec<&str> = own.into_iter().chain(read_metrics(metric)).collect();
        names.dedup();
        let metrics = names.into_iter();
        metrics.filter_map(|name| self.metric(name)).collect()
    }

    /// True if all the cells that a metric is read from are counted by these versions, which an
    /// epoch recorded.
    pub fn is_counted(&self, metric: &dyn Metric, counted: &Versions) -> bool {
        let mut sources = self.sources(metric).into_iter();
        sources.all(|source| counted.get(source.name()) == Some(&source.version()))
    }

    /// The metrics in the order they are shown.
    pub fn metrics(&self) -> impl Iterator<Item = &'static dyn Metric> {
        self.metrics.iter().copied()
    }

    /// The metric of a name.
    pub fn metric(&self, name: &str) -> Option<&'static dyn Metric> {
        self.metrics().find(|metric| metric.name() == name)
    }

    /// Where a metric is in the catalogue.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.metrics.iter().position(|m| m.name() == name)
    }

    /// Every rollup, metric by metric.
    pub fn rollups(&self) -> &[Rollup] {
        &self.rollups
    }

    /// The rollups that are summed over a window as such a span lies to it.
    pub fn rollups_by(&self, span: Span) -> impl Iterator<Item = &Rollup> {
        let metrics = self.metrics.iter().zip(&self.bases);
        metrics.flat_map(move |(metric, base)| {
            let spans = metric.spans().iter().filter(move |(_, by)| *by == span);
            spans.map(move |(rollup, _)| &self.rollups[usize::from(*base) + rollup])
        })
    }

    /// How long before the present lies what the rollups are read for.
    pub(super) fn lags(&self) -> &Lags {
        &self.lags
    }

    /// The first rollup of the metric at a position.
    pub(super) fn base(&self, position: usize) -> u8 {
        self.bases[position]
    }

    /// The counts that tell how many records a rollup has whose amounts can be converted at the
    /// rate of their day; none for any other.
    pub fn converted(&self, rollup: u8) -> Option<&'static [usize]> {
        let position = self.bases.partition_point(|base| *base <= rollup);
        // Of metrics without rollups the base is that of the next.
        let last = position.checked_sub(1)?;
        let mut converted = self.metrics[last].converted().iter();
        let own = usize::from(rollup - self.bases[last]);
        converted
            .find(|(known, _)| *known == own)
            .map(|(_, counts)| *counts)
    }

    /// The rollups whose state is kept of every hour.
    pub fn kept_hourly(&self) -> impl Iterator<Item = u8> {
        let metrics = self.metrics.iter().zip(&self.bases);
        metrics.flat_map(|(metric, base)| {
            let kept = metric.kept_hourly().iter();
            kept.map(move |rollup| base + *rollup as u8)
        })
    }

    /// True if the owner in a rollup's cells is that of today, and so are their manager and team.
    pub fn owner_is_todays(&self, rollup: u8) -> bool {
        match self.rollups[usize::from(rollup)].cut_by.owner() {
            OwnerAsOf::Pane => false,
            OwnerAsOf::Credit => self.spec.credit == Credit::Current,
            OwnerAsOf::Today => true,
        }
    }

    /// The grouping sets, by number, and grains that contributions to a rollup go to.
    pub fn placements(&self, rollup: u8) -> &[(u8, Vec<Grain>)] {
        &self.placements[usize::from(rollup)]
    }

    /// The rollups that are kept for a grouping set, by its number.
    pub fn rollups_of(&self, set: usize) -> impl Iterator<Item = &Rollup> {
        let rollups = self.rollups.iter().zip(0..);
        let kept = rollups.filter(move |(_, number)| self.keeps(*number, set));
        kept.map(|(rollup, _)| rollup)
    }

    /// True if a rollup has cells of a grouping set, by its number: its own, or those by owner that
    /// a set of the hierarchy is summed from.
    pub fn keeps(&self, rollup: u8, set: usize) -> bool {
        let is_derived = set >= self.sets.len();
        let kept = if is_derived {
            self.owners()
        } else {
            Some(set as u8)
        };
        let mut placements = self.placements(rollup).iter();
        placements.any(|(placed, _)| Some(*placed) == kept)
    }

    /// What records are read by, in a shard's symbols.
    pub fn compile(&self, symbols: &mut Symbols) -> CompiledDefinitions {
        let spec = &self.definitions.spec;
        let stages = spec.stages.iter().filter_map(|(stage, meaning)| {
            let status = Status::parse(meaning.status.as_deref()?)?;
            Some((symbols.intern(stage), status))
        });
        let statuses = stages.collect();
        let probabilities = spec.stages.iter().filter_map(|(stage, meaning)| {
            let probability = (meaning.probability? * DECIMAL_ONE as f64).round() as i64;
            Some((symbols.intern(stage), probability))
        });
        let probabilities = probabilities.collect();
        let defined = StageMeanings {
            statuses,
            probabilities,
        };
        let stage_order = spec.stage_order.iter();
        let stage_order = stage_order.map(|stage| symbols.intern(stage)).collect();
        let exclusions = spec.exclude.iter().flat_map(|(metric, exclusions)| {
            let leaving_out = self.metrics.iter().enumerate().filter(|(_, known)| {
                known.name() == metric || known.corrects() == Some(metric.as_str())
            });
            let bits = leaving_out.fold(0, |bits, (position, _)| bits | 1 << position);
            exclusions.iter().filter_map(move |exclusion| {
                Some(Exclusion {
                    metrics: bits,
                    entity: SCHEMA.of_name(&exclusion.entity)?.entity,
                    field: exclusion.field.clone(),
                    values: exclusion.values.clone(),
                })
            })
        });
        CompiledDefinitions {
            calendar: self.definitions.calendar.clone(),
            credit: spec.credit,
            stages: defined.clone(),
            defined,
            stage_order,
            categories: spec
                .forecast_categories
                .iter()
                .map(|(name, category)| (symbols.intern(name), *category))
                .collect(),
            exclusions: exclusions.collect(),
            custom_dimensions: self.definitions.custom_dimensions.clone(),
        }
    }

    fn asked<'a>(&self, subject: &Subject<'a>, position: usize) -> Option<Subject<'a>> {
        let of_metric = subject.of_metric(position);
        of_metric
            .counts(subject.reading.excluded())
            .then_some(of_metric)
    }

    /// Collects what a record contributes by itself to every metric.
    pub fn contribute(&self, subject: &Subject<'_>, out: &mut Contributions) {
        for position in &self.by_entity[usize::from(subject.key.entity.0)] {
            if let Some(subject) = self.asked(subject, *position) {
                out.begin(self.bases[*position], subject.slot());
                self.metrics[*position].contribute(&subject, out);
            }
        }
    }

    /// The positions of the metrics that records of an entity contribute to.
    pub fn positions_of(&self, entity: Entity) -> &[usize] {
        &self.by_entity[usize::from(entity.0)]
    }

    /// Collects what a link contributes to the metric at a position.
    pub fn contribute_link(
        &self,
        position: usize,
        subject: &Subject<'_>,
        sent: &Sent<'_>,
        out: &mut Contributions,
    ) {
        let subject = subject.of_metric(position);
        out.begin(self.bases[position], subject.slot());
        let before = out.items.len();
        self.metrics[position].contribute_link(&subject, sent, out);
        // By the basis, not by the reading: of a record that leaves, what was counted has to be
        // subtracted. Marks stay for its return.
        if sent.basis == LEFT_OUT {
            out.items.truncate(before);
        }
    }

    /// The slots of the totals that the metric at a position keeps by period.
    pub fn period_slot(&self, position: usize) -> Option<u16> {
        let tag = self.metrics[position].totals_by_period()?;
        Some(position as u16 * TAGS + tag)
    }

    /// Collects what the totals of a period contribute to the metric at a position.
    pub fn contribute_period(
        &self,
        position: usize,
        subject: &Subject<'_>,
        period: i64,
        out: &mut Contributions,
    ) {
        if let Some(subject) = self.asked(subject, position) {
            out.begin(self.bases[position], subject.slot());
            self.metrics[position].contribute_period(&subject, period, out);
        }
    }

    /// True if what a link adds to the metric at a position depends on the reading of its target.
    pub fn links_read_target(&self, position: usize) -> bool {
        self.metrics[position].links_read_target()
    }

    /// What the links of a record add to the metric at a position depends on this number.
    pub fn basis(&self, position: usize, subject: &Subject<'_>) -> i64 {
        self.asked(subject, position)
            .map_or(LEFT_OUT, |subject| self.metrics[position].basis(&subject))
    }
}

/// The metrics whose cells a metric reads besides its own, by name; some several times.
fn read_metrics(metric: &dyn Metric) -> impl Iterator<Item = &'static str> {
    let reads = metric.reads().iter();
    reads.filter_map(|(rollup, _)| rollup.split_once('.').map(|(of, _)| of))
}

fn placements(rollup: &Rollup, definitions: &Definitions) -> Vec<(u8, Vec<Grain>)> {
    let sets = definitions.sets.iter().enumerate();
    let cut = sets.filter(|(_, set)| rollup.cut_by.keeps(&set.dimensions));
    let kept = cut.map(|(number, set)| {
        // What is counted by the month is so in every group: there is little of it.
        let grains = [Grain::Hour, Grain::Day, Grain::Month].into_iter();
        let is_kept = |grain: &Grain| *grain == Grain::Month || set.grains.contains(grain);
        let kept = grains.filter(|grain| is_kept(grain) && rollup.grains.contains(grain));
        (number as u8, kept.collect::<Vec<_>>())
    });
    kept.filter(|(_, grains)| !grains.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_metric_can_be_left_out_to_see_what_it_costs() {
        let all = Catalogue::new(DefinitionsSpec::default()).unwrap();
        for metric in all.metrics() {
            let others = Catalogue::of_some(DefinitionsSpec::default(), |n| n != metric.name());
            let others = others.unwrap();
            assert_eq!(others.metrics().count() + 1, all.metrics().count());
        }
    }

    /// The catalogue of these metrics, or why there is none.
    fn of(metrics: &[&str], change: impl Fn(&mut DefinitionsSpec)) -> Result<Catalogue, String> {
        let metrics = metrics.iter().map(|name| (*name).to_owned()).collect();
        let mut spec = DefinitionsSpec {
            metrics: Some(metrics),
            ..DefinitionsSpec::default()
        };
        change(&mut spec);
        Catalogue::new(spec).map_err(|bad| bad.to_string())
    }

    #[test]
    fn only_the_metrics_that_are_chosen_are_counted_in_the_order_they_are_shown() {
        let some = of(&["win_rate", "close_rate", "sales_race"], |_| {}).unwrap();
        let shown: Vec<&str> = some.metrics().map(|metric| metric.name()).collect();
        assert_eq!(shown, ["close_rate", "win_rate", "sales_race"]);
        assert_eq!(versions(&some.spec), some.versions());
        let counted: Vec<_> = some.versions().into_keys().collect();
        assert_eq!(counted, ["close_rate", "sales_race", "win_rate"]);
        let all = DefinitionsSpec::default();
        assert!(versions(&all).len() > counted.len());
        // A key that is not used is not written: an epoch of before has the same definitions.
        assert!(!serde_json::to_string(&all).unwrap().contains("metrics"));
    }

    #[test]
    fn a_choice_of_metrics_that_can_not_be_counted_is_refused_with_the_fix() {
        let refused = |metrics: &[&str]| of(metrics, |_| {}).unwrap_err();
        assert_eq!(
            refused(&[]),
            "metrics: nothing would be counted; name a metric, or take the line out for all"
        );
        assert!(
            refused(&["win_rat"])
                .starts_with("metrics[0]: there is no metric `win_rat`; write one of lead_source,")
        );
        assert_eq!(
            refused(&["win_rate", "upsell", "win_rate"]),
            "metrics[2]: `win_rate` is listed twice; keep one"
        );
        assert_eq!(
            refused(&["upsell", "sales_results"]),
            "metrics[1]: `sales_results` is read from the cells of `win_rate`; add it"
        );
    }

    #[test]
    fn what_is_said_of_a_metric_that_is_not_counted_is_refused() {
        let by_stage = |spec: &mut DefinitionsSpec| {
            spec.groups.retain(|set| set.by == ["stage"]);
        };
        assert_eq!(
            of(&["lead_source"], by_stage).unwrap_err(),
            "groups[0].by: no metric of `metrics` can be cut by stage; take it out"
        );
        let of_clv = |spec: &mut DefinitionsSpec| {
            spec.exclude.insert("clv".into(), Vec::new());
        };
        assert_eq!(
            of(&["lead_source"], of_clv).unwrap_err(),
            "exclude.clv: `clv` is not counted; add it to `metrics`, or take this out"
        );
    }

    #[test]
    fn every_metric_has_a_bit_and_every_rollup_a_number() {
        let catalogue = Catalogue::new(DefinitionsSpec::default()).unwrap();
        assert!(
            catalogue.metrics.len() <= 32,
            "exclusions are bits of a u32"
        );
        assert!(catalogue.rollups.len() <= usize::from(u8::MAX));
        for rollup in &catalogue.rollups {
            assert!(
                rollup.counts.len() <= 16,
                "{}: counts are bits of a u16",
                rollup.name
            );
        }
    }

    #[test]
    fn groups_that_no_metric_can_be_cut_by_are_refused() {
        let mut spec = DefinitionsSpec::default();
        spec.groups[0].by = vec!["segment".into(), "product".into()];
        let problem = Catalogue::new(spec).unwrap_err().to_string();
        assert!(problem.starts_with(
            "groups[0].by: no metric of this version can be cut by segment and product"
        ));
    }
}
