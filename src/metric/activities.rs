//! Activities: what is done day by day, by kind and by who does it, and what is planned and
//! overdue.

use super::contribution::{DAYS, HOURS_AND_DAYS, of_owner};
use super::display::column;
use super::figure::counted;
use super::rank::ranks;
use super::{
    CellView, Contributions, CutBy, Display, Figure, Figures, Group, Metric, Rollup, Subject, View,
};
use crate::event::{Entity, When};
use crate::record::activity::KINDS;
use crate::window::rolling::Span;
use crate::window::{Cell, Dimension};

/// The metric.
pub struct Activities;

const DONE: usize = 0;
const PLANNED: usize = 1;

/// What is done, by kind: those of [`KINDS`], then those whose source states none.
const BY_KIND: &[&str] = &["call", "email", "meeting", "demo", "task", "note", "other"];
const OTHER: usize = KINDS.len();

impl Metric for Activities {
    fn name(&self) -> &'static str {
        "activities"
    }

    fn version(&self) -> u32 {
        1
    }

    fn definition(&self) -> &'static str {
        "Activities done, by the time they were done: all, and by kind; those that state no kind are other. Planned are those that are not done: \
         overdue if the day they are due is before today, due if it is today or later, undated if they state no such day. What is planned is \
         that of today, the same in every window. The owner is who does it. Rank: by activities done; of equals the first by name is ahead; a \
         group without a value, or with nothing done, has none."
    }

    fn display(&self) -> Display {
        const DISPLAY: Display = Display {
            title: "Activities",
            headline: "done",
            unit: "",
            made_of: "{call} calls, {email} emails, {meeting} meetings, {demo} demos",
            remarks: &[
                "overdue: {overdue}",
                "planned for today or later: {due}",
                "planned without a day: {undated}",
            ],
            columns: &[
                column("Done", "Rank", "rank"),
                column("Done", "All", "done"),
                column("Done", "Calls", "call"),
                column("Done", "Emails", "email"),
                column("Done", "Meetings", "meeting"),
                column("Done", "Demos", "demo"),
                column("Done", "Tasks", "task"),
                column("Done", "Notes", "note"),
                column("Done", "Other", "other"),
                column("Planned", "Overdue", "overdue"),
                column("Planned", "Due", "due"),
                column("Planned", "Undated", "undated"),
            ],
        };
        DISPLAY
    }

    fn entities(&self) -> &'static [Entity] {
        &[Entity::ACTIVITY]
    }

    fn rollups(&self) -> Vec<Rollup> {
        vec![
            Rollup {
                name: "activities.done".into(),
                cut_by: CutBy::only(&[Dimension::OWNER]),
                grains: HOURS_AND_DAYS,
                counts: BY_KIND,
                sums: &[],
            },
            Rollup {
                name: "activities.planned".into(),
                cut_by: CutBy::only(&[Dimension::OWNER]).of_today(),
                grains: DAYS,
                counts: &["planned"],
                sums: &[],
            },
        ]
    }

    fn contribute(&self, subject: &Subject<'_>, out: &mut Contributions) {
        let activity = subject.reading.activity();
        let Some(activity) = activity.filter(|activity| activity.live) else {
            return;
        };
        let dims = of_owner(activity.owner);
        if let Some(done_at) = activity.done_at {
            let kind = activity.kind.unwrap_or(OTHER);
            out.add(DONE, done_at, &dims).count(kind);
        } else {
            let due_at = activity.due_at.unwrap_or(When::UNDATED);
            out.add(PLANNED, due_at, &dims).count(0);
        }
    }

    fn spans(&self) -> &'static [(usize, Span)] {
        &[
            (DONE, Span::Window),
            (PLANNED, Span::BeforeToday),
            (PLANNED, Span::FromToday),
            (PLANNED, Span::Ever),
        ]
    }

    fn read(&self, cells: &CellView<'_>) -> Figures {
        let done = cells.cell(DONE, Span::Window);
        let planned = |span| all(&cells.cell(PLANNED, span));
        let (overdue, due) = (planned(Span::BeforeToday), planned(Span::FromToday));
        let mut figures: Figures = vec![("done", Figure::Count(all(&done)))];
        let by_kind = BY_KIND.iter().enumerate();
        figures.extend(by_kind.map(|(kind, name)| (*name, Figure::Count(done.counted(kind)))));
        // What is due on no day, or outside the years that have panes.
        let undated = planned(Span::Ever) - overdue - due;
        figures.extend([
            ("overdue", Figure::Count(overdue)),
            ("due", Figure::Count(due)),
            ("undated", Figure::Count(undated)),
        ]);
        figures
    }

    fn compare(&self, groups: &mut [Group]) {
        let done = |figures: &Figures| Some(counted(figures, &["done"])).filter(|done| *done > 0);
        let ranks = ranks(groups, |figures| done(figures).map(i128::from));
        for (group, rank) in groups.iter_mut().zip(ranks) {
            let rank = rank.map(|rank| ("rank", Figure::Count(rank)));
            group.figures.splice(0..0, rank);
        }
    }

    fn gauges(&self) -> &'static [&'static str] {
        &["done", "due", "overdue", "undated"]
    }

    fn views(&self) -> Vec<View> {
        let kinds = |of: &dyn Fn(usize, &str) -> String| {
            let columns = BY_KIND.iter().enumerate();
            let columns: Vec<String> = columns.map(|(kind, name)| of(kind + 1, name)).collect();
            columns.join(", ")
        };
        let by_day = kinds(&|kind, name| format!("counts[{kind}] AS {name}"));
        let summed = kinds(&|kind, name| format!("sum(counts[{kind}]) AS {name}"));
        vec![
            View::new(
                "activities_daily",
                format!(
                    "SELECT day, dimension, value, arraySum(counts) AS done, {by_day} FROM cells_by_day WHERE series = 'activities.done'"
                ),
            ),
            View::new(
                "activities_planned",
                "SELECT day, dimension, value, counts[1] AS planned FROM cells_by_day WHERE series = 'activities.planned'",
            ),
            // The rank of an owner in each week and month. Of equals the first by name is ahead, so
            // that a rank is one owner's.
            View::new(
                "activity_race",
                format!(
                    "SELECT period, start, row_number() OVER (PARTITION BY period, start ORDER BY done DESC, owner) AS rank, owner, done, {}
                    FROM (SELECT period, if(period = 'week', toMonday(day), toStartOfMonth(day)) AS start, value[1] AS owner,
                            sum(arraySum(counts)) AS done, {summed}
                        FROM cells_by_day ARRAY JOIN ['week', 'month'] AS period
                        WHERE series = 'activities.done' AND dimension = 'owner' AND value[1] != '' GROUP BY period, start, owner HAVING done > 0)",
                    BY_KIND.join(", ")
                ),
            ),
        ]
    }
}

fn all(cell: &Cell) -> i64 {
    cell.counts.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_counted_in_their_order() {
        assert_eq!(BY_KIND[..OTHER], *KINDS);
    }
}
