//! Lead source: where leads come from, and what becomes of them.

use super::contribution::HOURS_AND_DAYS;
use super::display::column;
use super::figure::{counted, money_by_currency, share};
use super::{
    CellView, Contributions, CutBy, Display, Figure, Figures, Metric, Rollup, Sent, Subject, View,
};
use crate::event::Entity;
use crate::record::Status;
use crate::record::deal::DealOutcome;
use crate::window::rolling::Span;

/// The metric.
pub struct LeadSource;

const COHORT: usize = 0;
const BY_CLOSE: usize = 1;
const WITHOUT_LEAD: usize = 2;

const LEADS: usize = 0;
const QUALIFIED: usize = 1;
const CONVERTED: usize = 2;
const WON: usize = 3;
const DATED_BY_CLOCK: usize = 4;

/// The mark of a deal won.
const HAS_WON: u16 = 0;

impl Metric for LeadSource {
    fn name(&self) -> &'static str {
        "lead_source"
    }

    fn version(&self) -> u32 {
        2
    }

    fn definition(&self) -> &'static str {
        "Leads by source, in the pane they were created in: how many, their share of all leads, how many qualified, converted and were won \
         (at least one credited deal won), and the amounts won with them. The same revenue by the date its deals closed. Won deals that no \
         lead is credited with are a series of their own, under the deal's own source. No source is apart from the source \"unknown\"."
    }

    fn display(&self) -> Display {
        const DISPLAY: Display = Display {
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
        };
        DISPLAY
    }

    fn entities(&self) -> &'static [Entity] {
        &[Entity::LEAD, Entity::DEAL]
    }

    fn rollups(&self) -> Vec<Rollup> {
        vec![
            Rollup {
                name: "lead_source.cohort".into(),
                cut_by: CutBy::LEAD,
                grains: HOURS_AND_DAYS,
                counts: &["leads", "qualified", "converted", "won", "dated_by_clock"],
                sums: &["revenue"],
            },
            Rollup {
                name: "lead_source.by_close".into(),
                cut_by: CutBy::LEAD,
                grains: HOURS_AND_DAYS,
                counts: &["won_deals"],
                sums: &["revenue"],
            },
            Rollup {
                name: "lead_source.without_lead".into(),
                cut_by: CutBy::LEAD,
                grains: HOURS_AND_DAYS,
                counts: &["won_deals"],
                sums: &["revenue"],
            },
        ]
    }

    fn contribute(&self, subject: &Subject<'_>, out: &mut Contributions) {
        if let Some(lead) = subject.lead().filter(|lead| lead.live) {
            out.add(COHORT, lead.created_at, &lead.dims)
                .count(LEADS)
                .count_if(lead.qualified, QUALIFIED)
                .count_if(lead.converted, CONVERTED)
                .count_if(subject.is_marked(HAS_WON), WON)
                .count_if(lead.dated_by_clock, DATED_BY_CLOCK);
        }
        if let Some(deal) = subject.deal()
            && let (None, Status::Won, Some(closed_at)) = (deal.lead, deal.status, deal.closed_at)
        {
            out.add(WITHOUT_LEAD, closed_at, &deal.dims).count(0).money(
                0,
                deal.amount,
                deal.currency,
            );
        }
    }

    fn contribute_link(&self, subject: &Subject<'_>, sent: &Sent<'_>, out: &mut Contributions) {
        let (Some(lead), Some(deal)) = (subject.lead(), won_deal(subject, sent)) else {
            return;
        };
        out.mark(HAS_WON, 0);
        if lead.live && deal.amount.is_some() {
            out.add(COHORT, lead.created_at, &lead.dims)
                .money(0, deal.amount, deal.currency);
        }
        if let Some(closed_at) = deal.closed_at {
            // A lead that was deleted, or never seen, has no source; the deal may have one.
            let dims = if lead.live { &lead.dims } else { &deal.dims };
            out.add(BY_CLOSE, closed_at, dims)
                .count(0)
                .money(0, deal.amount, deal.currency);
        }
    }

    fn links_read_target(&self) -> bool {
        true
    }

    fn spans(&self) -> &'static [(usize, Span)] {
        &[
            (COHORT, Span::Window),
            (BY_CLOSE, Span::Window),
            (WITHOUT_LEAD, Span::Window),
        ]
    }

    fn read(&self, cells: &CellView<'_>) -> Figures {
        let cohort = cells.cell(COHORT, Span::Window);
        let all = cells.total(COHORT, Span::Window).counted(LEADS);
        let revenue = |rollup| {
            money_by_currency(cells.by_currency(rollup, Span::Window), |cell| {
                cell.summed(0)
            })
        };
        let deals = |rollup| {
            let won = cells.cell(rollup, Span::Window).counted(0);
            Figure::Group(vec![
                ("won_deals", Figure::Count(won)),
                ("revenue", revenue(rollup)),
            ])
        };
        vec![
            ("leads", Figure::Count(cohort.counted(LEADS))),
            ("share", share(cohort.counted(LEADS), all)),
            ("qualified", Figure::Count(cohort.counted(QUALIFIED))),
            ("converted", Figure::Count(cohort.counted(CONVERTED))),
            ("won", Figure::Count(cohort.counted(WON))),
            ("revenue", revenue(COHORT)),
            ("by_close", deals(BY_CLOSE)),
            ("without_lead", deals(WITHOUT_LEAD)),
        ]
    }

    fn weight(&self, figures: &Figures) -> i64 {
        counted(figures, &["leads"])
    }

    fn gauges(&self) -> &'static [&'static str] {
        &[
            "leads",
            "share",
            "qualified",
            "converted",
            "won",
            "by_close.revenue",
        ]
    }

    fn views(&self) -> Vec<View> {
        vec![View::new(
            "lead_source_daily",
            "SELECT day, value[1] AS source, currency,
                sumIf(counts[1], series = 'lead_source.cohort') AS leads,
                sumIf(counts[2], series = 'lead_source.cohort') AS qualified,
                sumIf(counts[3], series = 'lead_source.cohort') AS converted,
                sumIf(counts[4], series = 'lead_source.cohort') AS won,
                sumIf(counts[5], series = 'lead_source.cohort') AS dated_by_clock,
                sumIf(sums[1], series = 'lead_source.cohort') AS cohort_revenue,
                sumIf(counts[1], series = 'lead_source.by_close') AS won_deals,
                sumIf(sums[1], series = 'lead_source.by_close') AS revenue,
                sumIf(counts[1], series = 'lead_source.without_lead') AS won_deals_without_lead,
                sumIf(sums[1], series = 'lead_source.without_lead') AS revenue_without_lead
            FROM cells_by_day WHERE startsWith(series, 'lead_source.') AND dimension = 'source'
            GROUP BY day, source, currency",
        )]
    }
}

/// The deal of a link to a lead, if it is won and counts in the metric.
pub(super) fn won_deal(subject: &Subject<'_>, sent: &Sent<'_>) -> Option<DealOutcome> {
    let deal: DealOutcome = sent.read()?;
    (deal.status == Status::Won && subject.counts(deal.excluded)).then_some(deal)
}
