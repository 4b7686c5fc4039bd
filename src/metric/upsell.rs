//! Upsell rate: how much of what is won expands customers one already has.

use std::collections::BTreeMap;

use super::contribution::HOURS_AND_DAYS;
use super::display::column;
use super::figure::{Figures, ratio, ratio_of, share};
use super::{CellView, Contributions, CutBy, Display, Figure, Metric, Rollup, Sent, Subject, View};
use crate::event::{Entity, When};
use crate::record::Status;
use crate::record::account::{Account, Purchase};
use crate::record::deal::DealOutcome;
use crate::symbol::Symbol;
use crate::window::rolling::Span;
use crate::window::{Cell, Dimension, Dims, Grain};

/// The metric.
pub struct Upsell;

const WON: usize = 0;
const CUSTOMERS: usize = 1;
const EXPANDED: usize = 2;
const EXPANDED_IN_MONTH: usize = 3;

const BECAME: usize = 0;
const CHURNED: usize = 1;

/// Marks of the deals that expand the account: when they closed, and in which months.
const EXPANSION: u16 = 0;
const EXPANSION_MONTH: u16 = 1;

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
        2
    }

    fn definition(&self) -> &'static str {
        "Won deals that expand an existing customer (upsell + cross-sell) ÷ won deals, by count and by revenue; renewals stay in the denominator. \
         A deal's own type counts. Without one, the account's wins are taken in order of (closed_at, id): the first win of an account that was \
         not a customer before that day is new, a product not bought before is cross-sell, any other is a repeat. A win without account or type \
         is unclassified: in the denominator, shown beside. Inside deals: Σ upsell_amount ÷ Σ amount of won deals. Accounts: those whose latest \
         expansion lies in the window (for a calendar month: with an expansion in it) ÷ active accounts at its end: became customers, minus \
         churned without a later win."
    }

    fn display(&self) -> Display {
        const DISPLAY: Display = Display {
            title: "Upsell rate",
            headline: "rate",
            unit: "",
            made_of: "{upsell} upsell, {cross_sell} cross-sell of {won} won",
            remarks: &[
                "of {accounts.active} customers {accounts.expanded} expanded: {accounts.rate}",
            ],
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
        };
        DISPLAY
    }

    fn entities(&self) -> &'static [Entity] {
        &[Entity::DEAL, Entity::ACCOUNT]
    }

    fn rollups(&self) -> Vec<Rollup> {
        const SUMS: &[&str] = &[
            "new",
            "upsell",
            "cross_sell",
            "renewal",
            "repeat",
            "unclassified",
            "upsell_amount",
        ];
        vec![
            Rollup {
                name: "upsell.won".into(),
                cut_by: CutBy::DEAL,
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
                name: "upsell.customers".into(),
                cut_by: CutBy::NOTHING,
                grains: &[Grain::Day],
                counts: &["became", "churned"],
                sums: &[],
            },
            Rollup {
                name: "upsell.expanded".into(),
                cut_by: CutBy::NOTHING,
                grains: HOURS_AND_DAYS,
                counts: &["accounts"],
                sums: &[],
            },
            Rollup {
                name: "upsell.expanded_in_month".into(),
                cut_by: CutBy::NOTHING,
                grains: &[Grain::Month],
                counts: &["accounts"],
                sums: &[],
            },
        ]
    }

    fn contribute(&self, subject: &Subject<'_>, out: &mut Contributions) {
        // Only deals without account: the others are classified among the wins of their account, at
        // its home.
        if let Some(deal) = subject.deal()
            && let (None, Status::Won, Some(closed_at)) =
                (deal.account, deal.status, deal.closed_at)
        {
            let stated = Class::stated(deal.dims[Dimension::DEAL_TYPE.0 as usize]);
            let class = stated.unwrap_or(Class::Unclassified);
            let amounts = (deal.amount, deal.upsell_amount, deal.currency);
            won(class, closed_at, &deal.dims, amounts, out);
        }
        if let Some(account) = subject.account() {
            self.customer(account, subject, out);
        }
    }

    fn contribute_link(&self, subject: &Subject<'_>, sent: &Sent<'_>, out: &mut Contributions) {
        let (Some(account), Some(deal)) = (subject.account(), sent.read::<DealOutcome>()) else {
            return;
        };
        let (Status::Won, Some(closed_at)) = (deal.status, deal.closed_at) else {
            return;
        };
        if !subject.counts(deal.excluded) {
            return;
        }
        let calendar = subject.calendar();
        let product = deal.dims[Dimension::PRODUCT.0 as usize];
        let stated = Class::stated(deal.dims[Dimension::DEAL_TYPE.0 as usize]);
        let class = stated.unwrap_or_else(|| {
            match account.purchase(subject.inbox, sent.sender, closed_at, product, calendar) {
                Purchase::First => Class::New,
                Purchase::NewProduct => Class::CrossSell,
                Purchase::Repeat => Class::Repeat,
            }
        });
        let amounts = (deal.amount, deal.upsell_amount, deal.currency);
        won(class, closed_at, &deal.dims, amounts, out);
        if class.is_expansion() {
            out.mark(EXPANSION, calendar.instant(closed_at));
            let month = calendar.month_start(calendar.day(closed_at));
            out.mark(EXPANSION_MONTH, i64::from(month));
        }
    }

    fn converted(&self) -> &'static [(usize, &'static [usize])] {
        &[(WON, &[0, 1, 2, 3, 4, 5])]
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
            share(
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
            // Only a window that is a calendar month has month panes to count accounts in; other
            // windows end now.
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

    fn gauges(&self) -> &'static [&'static str] {
        &["won", "upsell", "cross_sell", "rate", "amount.rate"]
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

/// A won deal of a class.
fn won(
    class: Class,
    closed_at: When,
    dims: &Dims,
    (amount, upsell_amount, currency): (Option<i64>, Option<i64>, Symbol),
    out: &mut Contributions,
) {
    let measure = class as usize;
    let won = out.add(WON, closed_at, dims).count(measure);
    won.money(measure, amount, currency)
        .money(UPSELL_AMOUNT, upsell_amount, currency);
}

impl Upsell {
    /// What an account counts as a customer, and for its expansions.
    fn customer(&self, account: &Account, subject: &Subject<'_>, out: &mut Contributions) {
        if let Some(became) = account.customer_since(subject.inbox) {
            out.add(CUSTOMERS, became, &account.dims).count(BECAME);
            if let Some(churned) = account.lost_at(subject.inbox, subject.calendar()) {
                out.add(CUSTOMERS, churned, &account.dims).count(CHURNED);
            }
        }
        if let Some(latest) = subject.greatest(EXPANSION) {
            out.add(EXPANDED, When::Instant(latest), &account.dims)
                .count(0);
        }
        for month in subject.marked(EXPANSION_MONTH) {
            out.add(EXPANDED_IN_MONTH, When::Date(month as i32), &account.dims)
                .count(0);
        }
    }
}
