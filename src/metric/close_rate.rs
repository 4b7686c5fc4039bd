//! Close rate: the share of leads that become won deals.

use super::contribution::HOURS_AND_DAYS;
use super::figure::ratio;
use super::{Contributions, CutBy, Figure, Figures, Metric, Place, Rollup, CellView, View};
use crate::record::Status;
use crate::record::lead::LeadReading;
use crate::window::calendar::DAY;
use crate::window::rolling::Span;

/// The metric.
pub struct CloseRate;

const LEADS: usize = 0;
const WON: usize = 1;
/// Days a cohort is given, with the name of the figure and the count of those won by then.
const WITHIN: [(u32, &str, usize); 3] = [
    (30, "within_30d", 2),
    (60, "within_60d", 3),
    (90, "within_90d", 4),
];

impl Metric for CloseRate {
    fn name(&self) -> &'static str {
        "close_rate"
    }

    fn version(&self) -> u32 {
        1
    }

    fn definition(&self) -> &'static str {
        "Won leads ÷ all leads of the same creation cohort: the share of leads that become closed deals. A lead is won when a deal credited \
         to it is won. A window selects creation time, so its newest leads have had little time: the rate is immature. \"Within N days\" counts \
         leads first won at most N × 24 h after their creation, of matured cohorts only: those created in (now − N − window, now − N], whose \
         pane's end plus N days lies before both now and the watermark."
    }

    fn rollups(&self) -> &'static [Rollup] {
        &[Rollup {
            name: "close_rate.cohort",
            cut_by: CutBy::Lead,
            grains: HOURS_AND_DAYS,
            counts: &["leads", "won", "won_30d", "won_60d", "won_90d"],
            sums: &[],
        }]
    }

    fn lead(&self, lead: &LeadReading<'_>, at: &Place<'_>, out: &mut Contributions) {
        if !lead.live {
            return;
        }
        let calendar = &at.view.compiled.definitions.calendar;
        let won = lead
            .deals
            .iter()
            .filter(|(_, deal)| deal.status == Status::Won && at.counts(deal.excluded));
        let soonest = won
            .filter_map(|(_, deal)| deal.closed_at)
            .map(|closed_at| calendar.span(lead.created_at, closed_at))
            .min();
        let cohort = out.add(0, lead.created_at, &lead.dims);
        cohort.count(LEADS).count_if(soonest.is_some(), WON);
        for (days, _, measure) in WITHIN {
            cohort.count_if(
                soonest.is_some_and(|seconds| seconds <= i64::from(days) * DAY),
                measure,
            );
        }
    }

    fn spans(&self) -> &'static [(usize, Span)] {
        &[
            (0, Span::Window),
            (0, Span::Matured(30)),
            (0, Span::Matured(60)),
            (0, Span::Matured(90)),
        ]
    }

    fn read(&self, cells: &CellView<'_>) -> Figures {
        let rate = |span, measure| {
            let cohort = cells.cell(0, span);
            let (leads, won) = (cohort.counted(LEADS), cohort.counted(measure));
            vec![
                ("leads", Figure::Count(leads)),
                ("won", Figure::Count(won)),
                ("rate", ratio(won, leads)),
            ]
        };
        let mut figures = rate(Span::Window, WON);
        figures.extend(WITHIN.map(|(days, name, measure)| {
            (name, Figure::Group(rate(Span::Matured(days), measure)))
        }));
        figures
    }

    fn views(&self) -> Vec<View> {
        let mature = |days: i64| {
            format!(
                "addSeconds(toDateTime(day + 1, '{{time_zone}}'), {}) <= least(now(), (SELECT watermark FROM watermark)) AS mature_{days}d",
                days * DAY
            )
        };
        vec![View::new(
            "close_rate_cohort",
            format!(
                "SELECT day, dimension, value, counts[1] AS leads, counts[2] AS won,
                    counts[3] AS won_within_30d, counts[4] AS won_within_60d, counts[5] AS won_within_90d,
                    {}, {}, {}
                FROM cells_by_day WHERE series = 'close_rate.cohort'",
                mature(30),
                mature(60),
                mature(90)
            ),
        )]
    }
}
