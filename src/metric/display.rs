//! How a metric is shown: which of its figures, and with what texts. Paths are the figures' names
//! joined by dots.

/// How a metric is shown.
#[derive(Debug)]
pub struct Display {
    /// What it is called.
    pub title: &'static str,
    /// The one figure of the total that is shown large.
    pub headline: &'static str,
    /// What the headline is counted in, if that is not obvious.
    pub unit: &'static str,
    /// What the headline is made of, with figures of the total for the paths in braces.
    pub made_of: &'static str,
    /// Further remarks; a remark whose first figure is nothing is left out.
    pub remarks: &'static [&'static str],
    /// The columns of its table.
    pub columns: &'static [Column],
}

/// A column of a metric's table.
#[derive(Debug)]
pub struct Column {
    /// The heading it shares with its neighbours.
    pub over: &'static str,
    /// Its own heading.
    pub head: &'static str,
    /// The figure.
    pub path: &'static str,
    /// For a ratio whose counts have no columns of their own: numerator and denominator.
    pub of: Option<(&'static str, &'static str)>,
}

impl Column {
    /// Every figure it shows.
    pub fn paths(&self) -> impl Iterator<Item = &'static str> + use<> {
        let counts = self
            .of
            .map(|(numerator, denominator)| [numerator, denominator]);
        std::iter::once(self.path).chain(counts.into_iter().flatten())
    }
}

/// A column of a figure.
pub(super) const fn column(over: &'static str, head: &'static str, path: &'static str) -> Column {
    Column {
        over,
        head,
        path,
        of: None,
    }
}

/// A column of a ratio, with its counts.
pub(super) const fn ratio(
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

#[cfg(test)]
mod tests {
    use super::Column;
    use crate::definitions::DefinitionsSpec;
    use crate::metric::{Catalogue, Figures, QueryPlan, Sums, find};
    use crate::window::Cell;
    use crate::window::calendar::DAY;
    use crate::window::rolling::{Now, Window};

    #[test]
    fn every_path_of_a_display_leads_to_a_figure() {
        let spec = DefinitionsSpec {
            stage_order: vec!["talks".into()],
            ..DefinitionsSpec::default()
        };
        let catalogue = Catalogue::new(spec).unwrap();
        let now = Now {
            now: 100 * DAY * 1_000_000,
            watermark: 100 * DAY * 1_000_000,
        };
        // Some figures mean nothing for a window without a beginning.
        let plan = QueryPlan::new(vec![Window::All, Window::Days(28)], now, &catalogue);
        let mut sums = Sums::default();
        for (number, rollup) in catalogue.rollups().iter().enumerate() {
            let mut cell = Cell::default();
            // More customers acquired than lost, so that some are left.
            let counts = rollup.counts.len();
            (0..counts).for_each(|i| cell.count(i, (counts - i) as i64));
            cell.sketch.add(1, 1);
            (0..rollup.sums.len()).for_each(|i| cell.sum(i, 10_000));
            for (set, _) in catalogue.placements(number as u8) {
                let dimensions = &catalogue.sets[usize::from(*set)].dimensions;
                let values = vec!["x".to_owned(); dimensions.len()];
                for range in 0..plan.ranges.len() {
                    let values = values.clone();
                    sums.add(range, number as u8, *set, values, "EUR".into(), &cell);
                }
            }
        }
        let reading = sums.read(&plan, &catalogue);
        for (metric, values) in catalogue.metrics().zip(&reading.metrics) {
            let display = metric.display();
            let totals = [0, 1].into_iter().filter_map(|window| values.total(window));
            let totals: Vec<&Figures> = totals.filter(|total| !total.is_empty()).collect();
            // Some figures only groups have: there is nothing to compare the total with, or nothing
            // to sum.
            let groups = values.windows.iter().flatten();
            let groups: Vec<_> = groups.map(|group| &group.figures).collect();
            let words = display.remarks.iter().chain([&display.made_of]);
            let in_words = words
                .flat_map(|text| text.split('{').skip(1))
                .map(|text| text.split('}').next().unwrap());
            let in_columns = display.columns.iter().flat_map(Column::paths);
            let of_groups = in_columns.chain(metric.gauges().iter().copied());
            let there = |known: &[&Figures], path| {
                let name = metric.name();
                assert!(
                    known.iter().any(|figures| !find(figures, path).is_empty()),
                    "{name}: there is no figure {path}"
                );
            };
            of_groups.for_each(|path| there(&groups, path));
            let in_words = in_words.chain([display.headline]);
            let of_words = if totals.is_empty() { &groups } else { &totals };
            in_words.for_each(|path| there(of_words, path));
        }
    }
}
