//! Metrics: one file each, holding its version, contribution, reading, view, gauges (by the names
//! of its figures), definition in words and how it is shown.
//!
//! Adding a metric is adding a file and a line in [`BUILT_IN`].

mod activities;
mod catalogue;
mod close_rate;
mod clv;
mod contacted_wins;
mod contacts;
mod contribution;
mod cycle_length;
mod display;
mod figure;
mod forecast;
mod hierarchy;
mod hours;
mod invoices;
mod lead_source;
mod losses;
mod quota;
mod rank;
mod rates;
mod reading;
mod retention;
mod sales_race;
mod sales_results;
mod stage_conversion;
mod subject;
mod time_in_stage;
mod touches;
mod upsell;
mod value_names;
mod values;
mod velocity;
mod win_rate;

pub use catalogue::{Catalogue, Versions, versions};
pub use contribution::{Contribution, Contributions, CutBy, Rollup};
pub use display::{Column, Display};
pub use figure::{Figure, Figures, decimal, figures_to_json, find, money};
pub use hierarchy::{Hierarchy, Line, SideInputs};
pub use rates::{Converted, REPORTING, Rate, Rates};
pub use reading::{CellView, QueryPlan, Sums};
pub use subject::{Sent, Subject};
pub use value_names::ValueNames;
pub use values::{Group, MetricValues, WindowedValues};

use crate::event::Entity;
use crate::window::rolling::Span;

/// Every metric of this program, in the order they are shown. A metric's place here is its bit in
/// exclusions: append.
static BUILT_IN: &[&dyn Metric] = &[
    &lead_source::LeadSource,
    &close_rate::CloseRate,
    &win_rate::WinRate,
    &upsell::Upsell,
    &cycle_length::CycleLength,
    &contacts::Contacts,
    &contacted_wins::ContactedWins,
    &clv::Clv,
    &retention::Retention,
    &forecast::Forecast,
    &quota::QuotaAttainment,
    &sales_results::SalesResults,
    &velocity::Velocity,
    &losses::Losses,
    &activities::Activities,
    &touches::Touches,
    &invoices::Invoices,
    &sales_race::SalesRace,
    &stage_conversion::StageConversion,
    &time_in_stage::TimeInStage,
];

/// A named, tested definition of a sales number.
pub trait Metric: Sync {
    /// Its name in reports, gauges and rollups.
    fn name(&self) -> &'static str;

    /// Moves when its contribution or its rollups change: values of two versions are never mixed.
    fn version(&self) -> u32;

    /// What it means, in words: numerator, denominator, the time it goes by, what is left out.
    fn definition(&self) -> &'static str;

    /// How it is shown.
    fn display(&self) -> Display;

    /// The entities whose records contribute to it, by themselves or by the links they received.
    fn entities(&self) -> &'static [Entity];

    /// The cells it keeps; none for a metric that is read from others' alone.
    fn rollups(&self) -> Vec<Rollup> {
        Vec::new()
    }

    /// What a record adds by itself, apart from the links it received one by one; what they marked
    /// may be read.
    fn contribute(&self, _subject: &Subject<'_>, _out: &mut Contributions) {}

    /// What one link adds at the record that received it.
    fn contribute_link(&self, _subject: &Subject<'_>, _sent: &Sent<'_>, _out: &mut Contributions) {}

    /// True if what a link adds depends on the reading of the record that received it: then all are
    /// added again when that changes.
    fn links_read_target(&self) -> bool {
        false
    }

    /// A number that what links add depends on, besides the reading, such as whether there is any
    /// link of another kind. When it changes, all are added again.
    fn basis(&self, _subject: &Subject<'_>) -> i64 {
        0
    }

    /// The tag of totals that are kept by period, if what a record adds depends on such totals.
    fn totals_by_period(&self) -> Option<u16> {
        None
    }

    /// What the totals of a period and of the one before it add at the record that keeps them. It
    /// is asked for every period that has a total and for the period after it.
    fn contribute_period(&self, _subject: &Subject<'_>, _period: i64, _out: &mut Contributions) {}

    /// The rollups whose amounts are of the day of their pane, and can so be converted at that
    /// day's rate; each with the counts that tell how many records it has.
    fn converted(&self) -> &'static [(usize, &'static [usize])] {
        &[]
    }

    /// The rollups whose state is kept of every hour, since what they count is gone when it is
    /// over.
    fn kept_hourly(&self) -> &'static [usize] {
        &[]
    }

    /// The cells a reading of it is made from: a rollup, by its index in [`Metric::rollups`], and
    /// how it lies to the window.
    fn spans(&self) -> &'static [(usize, Span)] {
        &[]
    }

    /// The cells of other metrics a reading of it is made from as well: a rollup, by its name, and
    /// how it lies to the window.
    fn reads(&self) -> &'static [(&'static str, Span)] {
        &[]
    }

    /// True if there is a group wherever the first rollup it reads has something, and not only
    /// where its own cells do.
    fn lists_what_it_reads(&self) -> bool {
        self.spans().is_empty()
    }

    /// The metric whose cells its own ones correct, if they do: what that one leaves out, this one
    /// leaves out too.
    fn corrects(&self) -> Option<&'static str> {
        None
    }

    /// Its figures for one window and group.
    fn read(&self, cells: &CellView<'_>) -> Figures;

    /// Adds to the figures of all groups of a set, read for one window, what follows from comparing
    /// them, such as ranks.
    fn compare(&self, _groups: &mut [Group]) {}

    /// False if its figures are the same for every window but that they go by the period of a
    /// calendar month or quarter: then there are gauges for the quarter only.
    fn depends_on_window(&self) -> bool {
        true
    }

    /// The figures of a group that have a gauge, by their paths: what alerts and panels of many
    /// groups go by. Of the total every figure has one; of every group, in every window and
    /// currency, that would be a hundred thousand series.
    fn gauges(&self) -> &'static [&'static str];

    /// How much of a group there is in this window: what the values of a dimension are ranked by.
    fn weight(&self, _figures: &Figures) -> i64 {
        0
    }

    /// Its views in ClickHouse, over `cells_by_day`, which hides shards, epochs and the engine.
    fn views(&self) -> Vec<View>;
}

/// A view in ClickHouse. Its SQL is text here, in which `{time_zone}`, `{fiscal_start}` (a month)
/// and `{stage_order}` (an array) are replaced by the organisation's.
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
