//! Which figures of which metric the page shows, and in what words. Paths are the figures' names joined by dots.

/// How a metric is shown.
pub struct Layout {
    /// The metric.
    pub metric: &'static str,
    /// What it is called.
    pub title: &'static str,
    /// The one figure of the total that is shown large.
    pub headline: &'static str,
    /// What the headline is counted in, if that needs saying.
    pub unit: &'static str,
    /// What the headline is made of, with figures of the total for the paths in braces.
    pub made_of: &'static str,
    /// What else there is to say; a remark whose first figure is nothing is left out.
    pub remarks: &'static [&'static str],
    /// The columns of its table.
    pub columns: &'static [Column],
}

/// A column of a metric's table.
pub struct Column {
    /// The heading it stands under together with its neighbours.
    pub over: &'static str,
    /// Its own heading.
    pub head: &'static str,
    /// The figure.
    pub path: &'static str,
    /// For a ratio whose counts have no columns of their own: numerator and denominator.
    pub of: Option<(&'static str, &'static str)>,
}

const fn column(over: &'static str, head: &'static str, path: &'static str) -> Column {
    Column {
        over,
        head,
        path,
        of: None,
    }
}

const fn ratio(
    over: &'static str,
    head: &'static str,
    path: &'static str,
    numerator: &'static str,
    denominator: &'static str,
) -> Column {
    Column {
        over,
        head,
        path,
        of: Some((numerator, denominator)),
    }
}

/// Every metric.
pub static LAYOUTS: [Layout; 5] = [
    Layout {
        metric: "lead_source",
        title: "Leads",
        headline: "leads",
        unit: "",
        made_of: "{qualified} qualified, {converted} converted, {won} won",
        remarks: &["{revenue} won with them so far"],
        columns: &[
            column("Leads created", "Leads", "leads"),
            column("Leads created", "Share", "share"),
            column("Leads created", "Qualified", "qualified"),
            column("Leads created", "Converted", "converted"),
            column("Leads created", "Won", "won"),
            column("Leads created", "Revenue so far", "revenue"),
            column("Deals closed", "Won", "by_close.won_deals"),
            column("Deals closed", "Revenue", "by_close.revenue"),
            column("Closed without a lead", "Won", "without_lead.won_deals"),
            column("Closed without a lead", "Revenue", "without_lead.revenue"),
        ],
    },
    Layout {
        metric: "close_rate",
        title: "Close rate",
        headline: "rate",
        unit: "",
        made_of: "{won} won of {leads} leads, many still young",
        remarks: &[
            "of {within_90d.leads} mature leads {within_90d.won} won within 90 days: {within_90d.rate}",
        ],
        columns: &[
            column("Leads created", "Leads", "leads"),
            column("Leads created", "Won", "won"),
            column("Leads created", "Close rate so far", "rate"),
            ratio(
                "Mature cohorts, won within",
                "30 days",
                "within_30d.rate",
                "within_30d.won",
                "within_30d.leads",
            ),
            ratio(
                "Mature cohorts, won within",
                "60 days",
                "within_60d.rate",
                "within_60d.won",
                "within_60d.leads",
            ),
            ratio(
                "Mature cohorts, won within",
                "90 days",
                "within_90d.rate",
                "within_90d.won",
                "within_90d.leads",
            ),
        ],
    },
    Layout {
        metric: "win_rate",
        title: "Win rate",
        headline: "rate",
        unit: "",
        made_of: "{won} won, {lost} lost",
        remarks: &["{amount.won} won"],
        columns: &[
            column("Deals closed", "Won", "won"),
            column("Deals closed", "Lost", "lost"),
            column("Deals closed", "Win rate", "rate"),
            column("By amount", "Won", "amount.won"),
            column("By amount", "Lost", "amount.lost"),
            column("By amount", "Win rate", "amount.rate"),
            column("Deals opened", "Deals", "opened.deals"),
            column("Deals opened", "Open", "opened.open"),
            column("Deals opened", "Won", "opened.won"),
            column("Deals opened", "Lost", "opened.lost"),
        ],
    },
    Layout {
        metric: "upsell",
        title: "Upsell rate",
        headline: "rate",
        unit: "",
        made_of: "{upsell} upsell, {cross_sell} cross-sell of {won} won",
        remarks: &["of {accounts.active} customers {accounts.expanded} expanded: {accounts.rate}"],
        columns: &[
            column("Deals won", "Won", "won"),
            column("Deals won", "New", "new"),
            column("Deals won", "Upsell", "upsell"),
            column("Deals won", "Cross-sell", "cross_sell"),
            column("Deals won", "Renewal", "renewal"),
            column("Deals won", "Repeat", "repeat"),
            column("Deals won", "Unclassified", "unclassified"),
            column("Deals won", "Upsell rate", "rate"),
            column("By revenue", "Won", "amount.won"),
            column("By revenue", "Upsell rate", "amount.rate"),
            column("Inside deals", "Upsold", "in_deal.upsell_amount"),
            column("Inside deals", "Of revenue", "in_deal.rate"),
        ],
    },
    Layout {
        metric: "cycle_length",
        title: "Sales cycle",
        headline: "won.median_days",
        unit: "days",
        made_of: "median of {won.count} won deals",
        remarks: &[
            "mean {won.mean_days}, nine in ten within {won.p90_days} days",
            "closed before they began, left out: {both.negative}",
        ],
        columns: &[
            column("Won, days", "Deals", "won.count"),
            column("Won, days", "Median", "won.median_days"),
            column("Won, days", "Mean", "won.mean_days"),
            column("Won, days", "90 %", "won.p90_days"),
            column("Lost, days", "Deals", "lost.count"),
            column("Lost, days", "Median", "lost.median_days"),
            column("Lost, days", "Mean", "lost.mean_days"),
            column("Lost, days", "90 %", "lost.p90_days"),
            column("Lead to close, days", "Deals", "lead_to_close.count"),
            column("Lead to close, days", "Median", "lead_to_close.median_days"),
            column("Lead to close, days", "Mean", "lead_to_close.mean_days"),
            column("Lead to close, days", "90 %", "lead_to_close.p90_days"),
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions::{Definitions, DefinitionsSpec};
    use crate::metric::{METRICS, QueryPlan, Sums, rollups};
    use crate::serve::figures::find;
    use crate::window::Cell;
    use crate::window::rolling::{Now, Window};

    #[test]
    fn every_metric_has_a_layout_and_every_path_leads_to_a_figure() {
        let definitions = Definitions::new(DefinitionsSpec::default()).unwrap();
        let plan = QueryPlan::new(
            vec![Window::All],
            Now {
                now: 0,
                watermark: 0,
            },
            &definitions.calendar,
        );
        let mut sums = Sums::default();
        for (number, rollup) in rollups().enumerate() {
            let mut cell = Cell::default();
            (0..rollup.counts.len()).for_each(|i| cell.count(i, 1));
            (0..rollup.sums.len()).for_each(|i| cell.sum(i, 10_000));
            (0..plan.ranges.len()).for_each(|range| {
                sums.add(range, number as u8, 0, Vec::new(), "EUR".into(), &cell)
            });
        }
        let reading = sums.read(&plan, 1);
        assert_eq!(LAYOUTS.len(), METRICS.len());
        for (layout, metric) in LAYOUTS.iter().zip(&reading.metrics) {
            assert_eq!(layout.metric, metric.name);
            let total = metric.total(0).unwrap();
            let in_words = layout
                .remarks
                .iter()
                .chain([&layout.made_of])
                .flat_map(|n| n.split('{').skip(1))
                .map(|n| n.split('}').next().unwrap());
            let in_columns = layout
                .columns
                .iter()
                .flat_map(|c| [Some(c.path), c.of.map(|o| o.0), c.of.map(|o| o.1)])
                .flatten();
            for path in in_words.chain(in_columns).chain([layout.headline]) {
                assert!(
                    !find(total, path).is_empty(),
                    "{}: there is no figure {path}",
                    layout.metric
                );
            }
        }
    }
}
