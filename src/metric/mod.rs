//! Metrics: one file each, holding its contribution, its reading, its view, its gauges (by the names of its figures) and its definition in words.
//!
//! Adding a metric is adding a file and a line in [`METRICS`].

mod close_rate;
mod contribution;
mod cycle_length;
mod figure;
mod lead_source;
mod reading;
mod upsell;
mod win_rate;

use std::collections::BTreeMap;

pub use contribution::{Contribution, Contributions, CutBy, Rollup};
pub use figure::{Figure, Figures, figures_to_json, money};
pub use reading::{Group, WindowedValues, QueryPlan, MetricValues, CellView, Sums};

use crate::definitions::{BadDefinition, DefinitionsSpec, Exclusion};
use crate::record::{Entity, Key, ReadContext};
use crate::record::{account::AccountReading, deal::DealReading, lead::LeadReading};
use crate::window::rolling::Span;

/// Every metric, in the order they are shown.
pub static METRICS: [&dyn Metric; 5] = [
    &lead_source::LeadSource,
    &close_rate::CloseRate,
    &win_rate::WinRate,
    &upsell::Upsell,
    &cycle_length::CycleLength,
];

/// A named, tested definition of a sales number.
pub trait Metric: Sync {
    /// Its name in reports, gauges and rollups.
    fn name(&self) -> &'static str;

    /// The version of its formula: moved whenever its contribution or its rollups change, so that no number is counted by two formulas.
    fn version(&self) -> u32;

    /// What it means, in words: numerator, denominator, the time it goes by, what is left out.
    fn definition(&self) -> &'static str;

    /// The cells it keeps.
    fn rollups(&self) -> &'static [Rollup];

    /// What one lead adds.
    fn lead(&self, _lead: &LeadReading<'_>, _at: &Place<'_>, _out: &mut Contributions) {}

    /// What one deal adds, at its own home.
    fn deal(&self, _deal: &DealReading, _at: &Place<'_>, _out: &mut Contributions) {}

    /// What one account adds.
    fn account(&self, _account: &AccountReading<'_>, _at: &Place<'_>, _out: &mut Contributions) {}

    /// The cells a reading of it is made from: a rollup, by its index in [`Metric::rollups`], and how it lies to the window.
    fn spans(&self) -> &'static [(usize, Span)];

    /// Its figures for one window and group.
    fn read(&self, cells: &CellView<'_>) -> Figures;

    /// Its views in ClickHouse, over `cells_by_day`, which hides shards, epochs and the engine.
    fn views(&self) -> Vec<View>;
}

/// A view in ClickHouse. To us its SQL is text, in which `{time_zone}` stands for the organisation's.
#[derive(Debug)]
pub struct View {
    /// Its name.
    pub name: &'static str,
    /// Its SELECT.
    pub select: String,
}

impl View {
    fn new(name: &'static str, select: impl Into<String>) -> Self {
        View {
            name,
            select: select.into(),
        }
    }
}

/// Where and how a record is read.
pub struct Place<'a> {
    /// The record.
    pub key: Key,
    /// The definitions and the shard's texts.
    pub view: ReadContext<'a>,
    /// Position of the present metric in [`METRICS`].
    metric: u8,
}

impl Place<'_> {
    /// True if a record with these exclusion bits counts in the present metric.
    pub fn counts(&self, excluded: u32) -> bool {
        excluded & 1 << self.metric == 0
    }
}

/// The metrics that are counted, each with the version of its formula. `epochs` records it; a program counts no epoch of another one.
pub type Catalogue = BTreeMap<String, u32>;

/// The catalogue of this program under the given definitions.
pub fn catalogue(_definitions: &DefinitionsSpec) -> Catalogue {
    METRICS
        .iter()
        .map(|metric| (metric.name().to_owned(), metric.version()))
        .collect()
}

/// The position of a metric in [`METRICS`].
pub fn position(name: &str) -> Option<u8> {
    METRICS
        .iter()
        .position(|m| m.name() == name)
        .map(|i| i as u8)
}

/// Every rollup in the order of the catalogue: metric by metric.
pub fn rollups() -> impl Iterator<Item = &'static Rollup> {
    METRICS.iter().flat_map(|m| m.rollups())
}

/// A record read for contribution.
pub enum Subject<'a> {
    /// A lead.
    Lead(LeadReading<'a>),
    /// A deal.
    Deal(DealReading),
    /// An account.
    Account(AccountReading<'a>),
}

/// Collects what a record contributes to every metric.
pub fn contribute(subject: &Subject<'_>, key: Key, view: ReadContext<'_>, out: &mut Contributions) {
    let mut base = 0;
    for (number, metric) in METRICS.iter().enumerate() {
        out.begin(base);
        base += metric.rollups().len() as u8;
        let place = Place {
            key,
            view,
            metric: number as u8,
        };
        match subject {
            Subject::Lead(lead) if place.counts(lead.excluded) => metric.lead(lead, &place, out),
            Subject::Deal(deal) if deal.live && place.counts(deal.excluded) => {
                metric.deal(deal, &place, out)
            }
            Subject::Account(account) if place.counts(account.excluded) => {
                metric.account(account, &place, out)
            }
            _ => {}
        }
    }
}

/// Refuses exclusions that name no metric, entity or field.
pub fn check_exclusions(exclude: &BTreeMap<String, Vec<Exclusion>>) -> Result<(), BadDefinition> {
    for (metric, exclusions) in exclude {
        if position(metric).is_none() {
            let known = METRICS.map(|m| m.name()).join(", ");
            return Err(BadDefinition {
                key: format!("exclude.{metric}"),
                problem: format!("there is no metric `{metric}`; write one of {known}"),
            });
        }
        for (i, exclusion) in exclusions.iter().enumerate() {
            let Some(entity) = Entity::from_name(&exclusion.entity) else {
                let problem = format!(
                    "`{}` is none of `lead`, `deal`, `account`",
                    exclusion.entity
                );
                return Err(BadDefinition {
                    key: format!("exclude.{metric}[{i}].entity"),
                    problem,
                });
            };
            if !exclusion.field.starts_with("custom.") && entity.field(&exclusion.field).is_none() {
                let problem = format!(
                    "a {} has no field `{}`; custom fields are written `custom.<field>`",
                    exclusion.entity, exclusion.field
                );
                return Err(BadDefinition {
                    key: format!("exclude.{metric}[{i}].field"),
                    problem,
                });
            }
        }
    }
    Ok(())
}
