//! Upsell rate: how much of what is won expands customers one already has.

use std::collections::BTreeMap;

use super::contribution::HOURS_AND_DAYS;
use super::figure::{Figures, ratio, ratio_of};
use super::{Contributions, CutBy, Figure, Metric, Place, Rollup, CellView, View};
use crate::event::When;
use crate::record::{Status, Symbol};
use crate::record::{account::AccountReading, account::Win, deal::DealReading};
use crate::window::rolling::Span;
use crate::window::{Cell, Dimension, Grain};

/// The metric.
pub struct Upsell;

const WON: usize = 0;
const CUSTOMERS: usize = 1;
const EXPANDED: usize = 2;
const EXPANDED_IN_MONTH: usize = 3;

const BECAME: usize = 0;
const CHURNED: usize = 1;

/// What kind of win a deal is; its number is that of its measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    New,
    Upsell,
    CrossSell,
    Renewal,
    Repeat,
    Unclassified,
}

const CLASSES: [(&str, Class); 6] = [
    ("new", Class::New),
    ("upsell", Class::Upsell),
    ("cross_sell", Class::CrossSell),
    ("renewal", Class::Renewal),
    ("repeat", Class::Repeat),
    ("unclassified", Class::Unclassified),
];
/// The sum after those of the classes: the upsold part of the amounts.
const UPSELL_AMOUNT: usize = CLASSES.len();

impl Class {
    fn stated(deal_type: Symbol) -> Option<Class> {
        match deal_type {
            Symbol::NEW => Some(Class::New),
            Symbol::UPSELL => Some(Class::Upsell),
            Symbol::CROSS_SELL => Some(Class::CrossSell),
            Symbol::RENEWAL => Some(Class::Renewal),
            _ => None,
        }
    }

    fn is_expansion(self) -> bool {
        matches!(self, Class::Upsell | Class::CrossSell)
    }
}

impl Metric for Upsell {
    fn name(&self) -> &'static str {
        "upsell"
    }

    fn version(&self) -> u32 {
        1
    }

    fn definition(&self) -> &'static str {
        "Won deals that expand an existing customer (upsell + cross-sell) ÷ won deals, by count and by revenue; renewals stay in the denominator. \
         A deal's own type counts. Without one, the account's wins are taken in order of (closed_at, id): the first win of an account that was \
         not a customer before that day is new, a product not bought before is cross-sell, any other is a repeat. A win without account or type \
         is unclassified: in the denominator, shown beside. Inside deals: Σ upsell_amount ÷ Σ amount of won deals. Accounts: those whose latest \
         expansion lies in the window (for a calendar month: with an expansion in it) ÷ active accounts at its end: became customers, minus \
         churned without a later win."
    }

    fn rollups(&self) -> &'static [Rollup] {
        const SUMS: &[&str] = &[
            "new",
            "upsell",
            "cross_sell",
            "renewal",
            "repeat",
            "unclassified",
            "upsell_amount",
        ];
        &[
            Rollup {
                name: "upsell.won",
                cut_by: CutBy::Deal,
                grains: HOURS_AND_DAYS,
                counts: &[
                    "new",
                    "upsell",
                    "cross_sell",
                    "renewal",
                    "repeat",
                    "unclassified",
                ],
                sums: SUMS,
            },
            Rollup {
                name: "upsell.customers",
                cut_by: CutBy::Nothing,
                grains: &[Grain::Day],
                counts: &["became", "churned"],
                sums: &[],
            },
            Rollup {
                name: "upsell.expanded",
                cut_by: CutBy::Nothing,
                grains: HOURS_AND_DAYS,
                counts: &["accounts"],
                sums: &[],
            },
            Rollup {
                name: "upsell.expanded_in_month",
                cut_by: CutBy::Nothing,
                grains: &[Grain::Month],
                counts: &["accounts"],
                sums: &[],
            },
        ]
    }

    /// Only deals without account: the others are classified among the wins of their account, at its home.
    fn deal(&self, deal: &DealReading, _at: &Place<'_>, out: &mut Contributions) {
        if let (None, Status::Won, Some(closed_at)) = (deal.account, deal.status, deal.closed_at) {
            let stated = Class::stated(deal.dims[Dimension::DEAL_TYPE.0 as usize]);
            let measure = stated.unwrap_or(Class::Unclassified) as usize;
            let won = out.add(WON, closed_at, &deal.dims).count(measure).money(
                measure,
                deal.amount,
                deal.currency,
            );
            won.money(UPSELL_AMOUNT, deal.upsell_amount, deal.currency);
        }
    }

    fn account(&self, account: &AccountReading<'_>, at: &Place<'_>, out: &mut Contributions) {
        let calendar = &at.view.compiled.definitions.calendar;
        let mut expansions: Vec<When> = Vec::new();
        for (win, class) in classified(account, at) {
            let (deal, measure) = (win.deal, class as usize);
            let won = out
                .add(WON, win.closed_at, &deal.dims)
                .count(measure)
                .money(measure, deal.amount, deal.currency);
            won.money(UPSELL_AMOUNT, deal.upsell_amount, deal.currency);
            expansions.extend(class.is_expansion().then_some(win.closed_at));
        }

        let first_win = account.wins.first().map(|win| win.closed_at);
        let last_win = account
            .wins
            .last()
            .map(|win| calendar.instant(win.closed_at));
        if let Some(became) = account.became_customer_at.or(first_win) {
            out.add(CUSTOMERS, became, &account.dims).count(BECAME);
            let churned = account
                .churned_at
                .filter(|at| last_win.is_none_or(|win| win <= calendar.instant(*at)));
            if let Some(churned) = churned {
                out.add(CUSTOMERS, churned, &account.dims).count(CHURNED);
            }
        }
        if let Some(latest) = expansions.last() {
            out.add(EXPANDED, *latest, &account.dims).count(0);
        }
        expansions.dedup_by_key(|at| calendar.month_start(calendar.day(*at)));
        for expansion in expansions {
            out.add(EXPANDED_IN_MONTH, expansion, &account.dims)
                .count(0);
        }
    }

    fn spans(&self) -> &'static [(usize, Span)] {
        &[
            (WON, Span::Window),
            (CUSTOMERS, Span::UpToEnd),
            (EXPANDED, Span::Window),
            (EXPANDED_IN_MONTH, Span::MonthPane),
        ]
    }

    fn read(&self, cells: &CellView<'_>) -> Figures {
        let won = cells.cell(WON, Span::Window);
        let all: i64 = won.counts.iter().sum();
        let mut figures: Figures = vec![("won", Figure::Count(all))];
        figures.extend(
            CLASSES.map(|(name, class)| (name, Figure::Count(won.counted(class as usize)))),
        );
        figures.push((
            "rate",
            ratio(
                won.counted(Class::Upsell as usize) + won.counted(Class::CrossSell as usize),
                all,
            ),
        ));

        let money = || {
            cells
                .by_currency(WON, Span::Window)
                .iter()
                .filter(|(_, cell)| cell.sums.iter().any(|s| *s != 0))
        };
        let by_currency = |read: fn(&Cell) -> Figures| {
            Figure::ByCurrency(
                money()
                    .map(|(code, cell)| (code.clone(), Figure::Group(read(cell))))
                    .collect::<BTreeMap<_, _>>(),
            )
        };
        figures.push(("amount", by_currency(amounts)));
        figures.push(("in_deal", by_currency(in_deal)));
        if cells.is_total() {
            let customers = cells.cell(CUSTOMERS, Span::UpToEnd);
            let active = customers.counted(BECAME) - customers.counted(CHURNED);
            // Only a window that is a calendar month has month panes to count accounts in; other windows end now.
            let in_month = cells.by_currency(EXPANDED_IN_MONTH, Span::MonthPane);
            let expanded = if cells.has_panes(Span::MonthPane) {
                in_month.values().map(|c| c.counted(0)).sum()
            } else {
                cells.cell(EXPANDED, Span::Window).counted(0)
            };
            let accounts = vec![
                ("expanded", Figure::Count(expanded)),
                ("active", Figure::Count(active)),
                ("rate", ratio(expanded, active)),
            ];
            figures.push(("accounts", Figure::Group(accounts)));
        }
        figures
    }

    fn views(&self) -> Vec<View> {
        vec![View::new(
            "upsell_daily",
            "SELECT day, dimension, value, currency, arraySum(counts) AS won,
                counts[1] AS new, counts[2] AS upsell, counts[3] AS cross_sell, counts[4] AS renewal, counts[5] AS repeat, counts[6] AS unclassified,
                sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] AS won_amount, sums[2] + sums[3] AS expansion_amount,
                sums[7] AS upsell_amount
            FROM cells_by_day WHERE series = 'upsell.won'",
        )]
    }
}

fn amounts(cell: &Cell) -> Figures {
    let sum = |class: Class| cell.summed(class as usize);
    let all = CLASSES.iter().map(|(_, class)| sum(*class)).sum();
    let mut figures: Figures = vec![("won", Figure::Money(all))];
    figures.extend(CLASSES.map(|(name, class)| (name, Figure::Money(sum(class)))));
    figures.push((
        "rate",
        ratio_of(sum(Class::Upsell) + sum(Class::CrossSell), all),
    ));
    figures
}

fn in_deal(cell: &Cell) -> Figures {
    let all = CLASSES
        .iter()
        .map(|(_, class)| cell.summed(*class as usize))
        .sum();
    let upsold = cell.summed(UPSELL_AMOUNT);
    vec![
        ("upsell_amount", Figure::Money(upsold)),
        ("amount", Figure::Money(all)),
        ("rate", ratio_of(upsold, all)),
    ]
}

/// The wins of an account that count, each with its class: its own type, else by its place among the account's wins.
fn classified<'a>(
    account: &'a AccountReading<'_>,
    at: &'a Place<'_>,
) -> impl Iterator<Item = (&'a Win<'a>, Class)> {
    let calendar = &at.view.compiled.definitions.calendar;
    let mut bought: Vec<Symbol> = Vec::new();
    account
        .wins
        .iter()
        .enumerate()
        .map(move |(place, win)| {
            let product = win.deal.dims[Dimension::PRODUCT.0 as usize];
            let is_customer = |since: When| calendar.day(since) < calendar.day(win.closed_at);
            let derived = if place == 0 && !account.became_customer_at.is_some_and(is_customer) {
                Class::New
            } else if !product.is_blank() && !bought.contains(&product) {
                Class::CrossSell
            } else {
                Class::Repeat
            };
            bought.push(product);
            (
                win,
                Class::stated(win.deal.dims[Dimension::DEAL_TYPE.0 as usize]).unwrap_or(derived),
            )
        })
        .filter(|(win, _)| at.counts(win.deal.excluded))
}
