//! Close rate: the share of leads that become won deals.

use super::contribution::HOURS_AND_DAYS;
use super::display::{column, ratio as ratio_column};
use super::figure::share;
use super::lead_source::won_deal;
use super::{
    CellView, Contributions, CutBy, Display, Figure, Figures, Metric, Rollup, Sent, Subject, View,
};
use crate::event::{Entity, When};
use crate::window::calendar::DAY;
use crate::window::rolling::Span;

/// The metric.
pub struct CloseRate;

const LEADS: usize = 0;
const WON: usize = 1;
/// Marks of the deals won: the instants, and the dates, they closed at.
const CLOSED_AT_INSTANT: u16 = 0;
const CLOSED_ON_DATE: u16 = 1;

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
        2
    }

    fn definition(&self) -> &'static str {
        "Won leads ÷ all leads of the same creation cohort: the share of leads that become closed deals. A lead is won when a deal credited \
         to it is won. A window selects creation time, so its newest leads have had little time: the rate is immature. \"Within N days\" counts \
         leads first won at most N × 24 h after their creation, of matured cohorts only: those created in (now − N − window, now − N], whose \
         pane's end plus N days lies before both now and the watermark."
    }

    fn display(&self) -> Display {
        const DISPLAY: Display = Display {
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
                ratio_column(
                    "Mature cohorts, won within",
                    "30 days",
                    "within_30d.rate",
                    "within_30d.won",
                    "within_30d.leads",
                ),
                ratio_column(
                    "Mature cohorts, won within",
                    "60 days",
                    "within_60d.rate",
                    "within_60d.won",
                    "within_60d.leads",
                ),
                ratio_column(
                    "Mature cohorts, won within",
                    "90 days",
                    "within_90d.rate",
                    "within_90d.won",
                    "within_90d.leads",
                ),
            ],
        };
        DISPLAY
    }

    fn entities(&self) -> &'static [Entity] {
        &[Entity::LEAD]
    }

    fn rollups(&self) -> Vec<Rollup> {
        vec![Rollup {
            name: "close_rate.cohort".into(),
            cut_by: CutBy::LEAD,
            grains: HOURS_AND_DAYS,
            counts: &["leads", "won", "won_30d", "won_60d", "won_90d"],
            sums: &[],
        }]
    }

    fn contribute(&self, subject: &Subject<'_>, out: &mut Contributions) {
        let Some(lead) = subject.lead().filter(|lead| lead.live) else {
            return;
        };
        // Within each kind the earliest close is the soonest; a date and an instant are compared as
        // spans.
        let instant = subject.least(CLOSED_AT_INSTANT).map(When::Instant);
        let date = subject
            .least(CLOSED_ON_DATE)
            .map(|day| When::Date(day as i32));
        let spans = instant.into_iter().chain(date);
        let soonest = spans
            .map(|closed_at| subject.calendar().span(lead.created_at, closed_at))
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

    fn contribute_link(&self, subject: &Subject<'_>, sent: &Sent<'_>, out: &mut Contributions) {
        let won = won_deal(subject, sent).and_then(|deal| deal.closed_at);
        match won {
            Some(When::Instant(time)) => out.mark(CLOSED_AT_INSTANT, time),
            Some(When::Date(day)) => out.mark(CLOSED_ON_DATE, i64::from(day)),
            None => {}
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
                ("rate", share(won, leads)),
            ]
        };
        let mut figures = rate(Span::Window, WON);
        let matured = WITHIN.map(|(days, name, measure)| (Span::Matured(days), name, measure));
        let matured = matured
            .into_iter()
            .filter(|(span, ..)| cells.has_panes(*span));
        figures.extend(
            matured.map(|(span, name, measure)| (name, Figure::Group(rate(span, measure)))),
        );
        figures
    }

    fn gauges(&self) -> &'static [&'static str] {
        &[
            "leads",
            "won",
            "rate",
            "within_30d.leads",
            "within_30d.won",
            "within_30d.rate",
            "within_90d.leads",
            "within_90d.won",
            "within_90d.rate",
        ]
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
