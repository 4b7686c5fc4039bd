//! Quota attainment: what was won in a period against what was to be sold in it.

use super::contribution::of_owner;
use super::display::column;
use super::figure::{holding, ratio, ratio_of};
use super::forecast::{self, CELLS as OPEN};
use super::sales_race::{AMOUNT as CORRECTION, CELLS as CORRECTIONS};
use super::win_rate::{CELLS as CLOSED, WON};
use super::{
    CellView, Contributions, CutBy, Display, Figure, Figures, Metric, Rollup, Subject, View,
};
use crate::event::{Entity, When, rounded};
use crate::window::rolling::Span;
use crate::window::{Dimension, Grain};

/// The metric.
pub struct QuotaAttainment;

/// What was paid on invoices: their sum.
const COLLECTED: &str = "invoices.collected";

impl Metric for QuotaAttainment {
    fn name(&self) -> &'static str {
        "quota"
    }

    fn version(&self) -> u32 {
        1
    }

    fn definition(&self) -> &'static str {
        "Won amounts ÷ quota, both of a whole period: the month of a window that is a month, else the present fiscal quarter. Of a deal that is \
         split, each owner's part counts, as in the sales race. A quota that spans \
         several months counts in each by its share of the quota's days; of one that spans part of the period, that part counts. By \
         payments: what was paid on invoices in the period, refunds taken off ÷ quota, of the invoices' owners; no number without such a payment. \
         Remaining: what is still needed, never below 0. Run rate: what would be won in the whole period at the pace so far, won ÷ days over (today included) × \
         days of the period. Coverage: open amounts expected from today to the period's end, omitted ones left out ÷ remaining. Expected: won, \
         and these open amounts weighted by their probability. Elapsed: days over (today included) ÷ days of the period. By owner and \
         team; a quota counts for the owner, or the team, that it names."
    }

    fn display(&self) -> Display {
        const DISPLAY: Display = Display {
            title: "Quota attainment",
            headline: "amount.attainment",
            unit: "",
            made_of: "{amount.booked} won of {amount.target}",
            remarks: &[
                "{amount.remaining} remaining, covered {amount.coverage}, at this pace {amount.run_rate}",
                "expected {amount.expected}, {amount.expected_attainment} of it; {elapsed} of the time is over",
            ],
            columns: &[
                column("Period", "Quota", "amount.target"),
                column("Period", "Won", "amount.booked"),
                column("Period", "Attained", "amount.attainment"),
                column("Period", "By payments", "amount.attainment_by_payments"),
                column("Period", "Remaining", "amount.remaining"),
                column("Period", "Run rate", "amount.run_rate"),
                column("Period", "Open", "amount.open"),
                column("Period", "Coverage", "amount.coverage"),
                column("Period", "Expected", "amount.expected"),
                column("Period", "of quota", "amount.expected_attainment"),
            ],
        };
        DISPLAY
    }

    fn entities(&self) -> &'static [Entity] {
        &[Entity::QUOTA]
    }

    fn rollups(&self) -> Vec<Rollup> {
        vec![Rollup {
            name: "quota.target".into(),
            cut_by: CutBy::only(&[Dimension::OWNER, Dimension::TEAM]),
            grains: &[Grain::Month],
            counts: &["quotas"],
            sums: &["target"],
        }]
    }

    fn contribute(&self, subject: &Subject<'_>, out: &mut Contributions) {
        let quota = subject.reading.quota().filter(|quota| quota.live);
        let Some((quota, (first, last), target)) =
            quota.and_then(|quota| Some((quota, quota.period?, quota.target?)))
        else {
            return;
        };
        let calendar = subject.calendar();
        let mut dims = of_owner(quota.owner);
        dims[usize::from(Dimension::TEAM.0)] = quota.team;
        let (first, end) = (calendar.day(first), calendar.day(last).saturating_add(1));
        if !calendar.keeps(first) || !calendar.keeps(end) {
            out.add(0, When::UNDATED, &dims)
                .count(0)
                .money(0, Some(target), quota.currency);
            return;
        }
        // By days, each share the difference of two rounded sums, so that the shares add up to the
        // target.
        let days = i128::from(end - first);
        let up_to = |day: i32| rounded(i128::from(target) * i128::from(day - first), days);
        let mut month = first;
        while month < end {
            let next = calendar.next_month(month).min(end);
            let share = (up_to(next) - up_to(month)) as i64;
            out.add(0, When::Date(month), &dims)
                .count(0)
                .money(0, Some(share), quota.currency);
            month = next;
        }
    }

    fn converted(&self) -> &'static [(usize, &'static [usize])] {
        &[(0, &[0])]
    }

    fn spans(&self) -> &'static [(usize, Span)] {
        &[(0, Span::MonthsOfPeriod)]
    }

    fn reads(&self) -> &'static [(&'static str, Span)] {
        &[
            (CLOSED, Span::Period),
            (CORRECTIONS, Span::Period),
            (COLLECTED, Span::Period),
            (OPEN, Span::RestOfPeriod),
        ]
    }

    fn read(&self, cells: &CellView<'_>) -> Figures {
        let (elapsed, days) = cells.period();
        let (closed, open) = (
            cells.named(CLOSED, Span::Period),
            cells.named(OPEN, Span::RestOfPeriod),
        );
        let corrections = cells.named(CORRECTIONS, Span::Period);
        let collected = cells.named(COLLECTED, Span::Period);
        let quotas = holding(cells.by_currency(0, Span::MonthsOfPeriod));
        let amounts = quotas.filter(|(_, quota)| quota.summed(0) != 0);
        let amounts = amounts.map(|(code, quota)| {
            let won = closed.get(code).map_or(0, |cell| cell.summed(WON));
            let correction = corrections.get(code);
            let booked = won + correction.map_or(0, |cell| cell.summed(CORRECTION));
            let expected = booked + open.get(code).map_or(0, forecast::weighted);
            let open = open.get(code).map_or(0, forecast::amount);
            let target = quota.summed(0);
            let remaining = (target - booked).max(0);
            let mut figures = vec![
                ("target", Figure::Money(target)),
                ("booked", Figure::Money(booked)),
                ("attainment", ratio_of(booked, target)),
                ("remaining", Figure::Money(remaining)),
                ("open", Figure::Money(open)),
                ("coverage", ratio_of(open, remaining)),
                ("expected", Figure::Money(expected)),
                ("expected_attainment", ratio_of(expected, target)),
            ];
            // Payments have an owner, that of their invoice, and no team.
            if let Some(collected) = collected.get(code).filter(|cell| !cell.is_zero()) {
                let collected = collected.summed(0);
                figures.push(("collected", Figure::Money(collected)));
                figures.push(("attainment_by_payments", ratio_of(collected, target)));
            }
            // A period that has not begun has no pace.
            if elapsed > 0 {
                let pace = rounded(booked * i128::from(days), elapsed.into());
                figures.push(("run_rate", Figure::Money(pace)));
            }
            (code.clone(), Figure::Group(figures))
        });
        // A share of days, not of counts: nothing about it is uncertain.
        vec![
            ("elapsed", ratio(elapsed, days)),
            ("amount", Figure::ByCurrency(amounts.collect())),
        ]
    }

    fn depends_on_window(&self) -> bool {
        false
    }

    fn gauges(&self) -> &'static [&'static str] {
        &[
            "elapsed",
            "amount.target",
            "amount.booked",
            "amount.attainment",
            "amount.remaining",
            "amount.run_rate",
            "amount.open",
            "amount.expected",
            "amount.expected_attainment",
        ]
    }

    fn views(&self) -> Vec<View> {
        vec![View::new(
            "quota_monthly",
            "SELECT month, dimension, value, currency, target, booked,
                if(target > 0, toFloat64(booked) / toFloat64(target), NULL) AS attainment
            FROM (SELECT month, dimension, value, currency, sum(quota) AS target, sum(won) AS booked
                FROM (
                    SELECT toDate(pane) AS month, dimension, value, currency, sums[1] AS quota, toDecimal128(0, 4) AS won
                    FROM cells WHERE series = 'quota.target' AND grain = 'month'
                    UNION ALL
                    SELECT toStartOfMonth(day) AS month, dimension, value, currency, toDecimal128(0, 4) AS quota, sums[1] AS won
                    FROM cells_by_day WHERE series = 'win_rate.closed' AND dimension IN ('', 'owner', 'team')
                    UNION ALL
                    SELECT toStartOfMonth(day) AS month, dimension, value, currency, toDecimal128(0, 4) AS quota, sums[2] AS won
                    FROM cells_by_day WHERE series = 'sales_race.splits' AND dimension IN ('', 'owner', 'team'))
                GROUP BY month, dimension, value, currency)
            WHERE target != 0",
        )]
    }
}
