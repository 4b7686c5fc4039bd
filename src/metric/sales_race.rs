//! The sales race: who is credited with how much of what was won, and who is ahead.
//!
//! What a deal's own owner won is in the win rate's cells. The cells here only correct it where the
//! deal is split: they take from the owner what is others', and give it to them. So a deal that is
//! not split costs nothing, and whatever does not go by owner stays as it was.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::contribution::HOURS_AND_DAYS;
use super::display::column;
use super::figure::counted;
use super::rank::ranks;
use super::reading::merged;
use super::win_rate::{CELLS as CLOSED, WON};
use super::{
    CellView, Contributions, CutBy, Display, Figure, Figures, Group, Metric, Rollup, Sent, Subject,
    View, find,
};
use crate::event::{DECIMAL_ONE, Entity};
use crate::record::Status;
use crate::record::split::Credited;
use crate::symbol::Symbol;
use crate::window::Dimension;
use crate::window::rolling::Span;

/// The metric.
pub struct SalesRace;

const CORRECTIONS: usize = 0;

/// The corrections by their name, for metrics that read them beside the win rate's cells, and the
/// sum of them that is money.
pub(super) const CELLS: &str = "sales_race.splits";
pub(super) const AMOUNT: usize = 1;

/// The other sum: deals, in ten-thousandths.
const DEALS: usize = 0;

/// Counts of won deals: those others have a part of, and those whose splits do not add up to one.
const SPLIT: usize = 0;
const SPLITS_OFF: usize = 1;

const ONE: i128 = DECIMAL_ONE as i128;

/// Totals of a deal: the share of each owner; how many splits there are.
const SHARES: u16 = 0;
const SPLITS: u16 = 1;

impl Metric for SalesRace {
    fn name(&self) -> &'static str {
        "sales_race"
    }

    fn version(&self) -> u32 {
        2
    }

    fn definition(&self) -> &'static str {
        "Won deals and their amounts by who is credited with them, by the time they closed. A deal whose splits add up to one, give or take \
         0.0001 a split, is credited to their owners by their shares, as the splits are today; any other to its own owner, and if it has \
         splits, they are counted as not used. Shares and amounts are rounded down, and what is missing then goes to the greatest remainders, \
         of equals to the greater share, then to the first by name, so that they add up. In all but the owner a deal counts as ever. Rank: by deals, \
         and by amount in each currency; of equals the first by name is ahead; a group without a value, or with nothing won, has none."
    }

    fn display(&self) -> Display {
        const DISPLAY: Display = Display {
            title: "Sales race",
            headline: "amount.won",
            unit: "",
            made_of: "won in {deals} deals",
            remarks: &[
                "credited to several: {split} deals",
                "not used: the splits of {splits_off} deals, which do not add up to one",
            ],
            columns: &[
                column("Deals won", "Rank", "rank"),
                column("Deals won", "Credited", "deals"),
                column("Amount won", "Rank", "amount.rank"),
                column("Amount won", "Credited", "amount.won"),
                column("Own deals", "Won", "own"),
                column("Own deals", "Split", "split"),
                column("Own deals", "Splits not used", "splits_off"),
            ],
        };
        DISPLAY
    }

    fn entities(&self) -> &'static [Entity] {
        &[Entity::DEAL]
    }

    fn rollups(&self) -> Vec<Rollup> {
        vec![Rollup {
            name: CELLS.into(),
            cut_by: CutBy::DEAL,
            grains: HOURS_AND_DAYS,
            counts: &["split", "splits_off"],
            sums: &["deals", "amount"],
        }]
    }

    fn corrects(&self) -> Option<&'static str> {
        CLOSED.split_once('.').map(|(metric, _)| metric)
    }

    fn contribute_link(&self, subject: &Subject<'_>, sent: &Sent<'_>, out: &mut Contributions) {
        if let Some(split) = sent.read::<Credited>()
            && subject.counts(split.excluded)
        {
            out.total(SHARES, 0, split.owner, split.share.unwrap_or_default());
            out.total(SPLITS, 0, Symbol::BLANK, 1);
        }
    }

    fn contribute(&self, subject: &Subject<'_>, out: &mut Contributions) {
        let deal = subject.deal().filter(|deal| deal.status == Status::Won);
        let Some((deal, closed_at)) = deal.and_then(|deal| Some((deal, deal.closed_at?))) else {
            return;
        };
        let Some((_, splits)) = subject.totals(SPLITS, 0).next() else {
            return;
        };
        let mut shares: Vec<(Symbol, i128)> = subject.totals(SHARES, 0).collect();
        let sum: i128 = shares.iter().map(|(_, share)| share).sum();
        if sum == 0 || (sum - ONE).abs() > splits {
            out.add(CORRECTIONS, closed_at, &deal.dims)
                .count(SPLITS_OFF)
                .money(AMOUNT, None, deal.currency);
            return;
        }
        // Shards number their symbols each in its own way; the names are the same everywhere.
        shares.sort_unstable_by_key(|(owner, _)| subject.context.symbols.text(*owner));
        let weights: Vec<i128> = shares.iter().map(|(_, share)| *share).collect();
        let parts = apportion(DECIMAL_ONE, &weights);
        let amount = deal.amount.unwrap_or_default();
        let amounts = apportion(
            amount,
            &parts.iter().map(|n| (*n).into()).collect::<Vec<_>>(),
        );
        let slot = usize::from(Dimension::OWNER.0);
        let own = deal.dims[slot];
        let owners = shares.iter().map(|(owner, _)| *owner);
        let mut credits: Vec<(Symbol, i64, i64)> = owners
            .zip(parts)
            .zip(amounts)
            .map(|((owner, part), amount)| (owner, part, amount))
            .collect();
        match credits.iter_mut().find(|(owner, ..)| *owner == own) {
            Some((_, part, of_amount)) => {
                *part -= DECIMAL_ONE;
                *of_amount -= amount;
            }
            None => credits.push((own, -DECIMAL_ONE, -amount)),
        }
        for (owner, part, of_amount) in credits.into_iter().filter(|(_, part, _)| *part != 0) {
            let mut dims = deal.dims;
            dims[slot] = owner;
            out.add(CORRECTIONS, closed_at, &dims)
                .count_if(owner == own, SPLIT)
                .sum(DEALS, part)
                .money(AMOUNT, Some(of_amount), deal.currency);
        }
    }

    fn converted(&self) -> &'static [(usize, &'static [usize])] {
        // It is the win rate's cells that count the deals.
        &[(CORRECTIONS, &[])]
    }

    fn spans(&self) -> &'static [(usize, Span)] {
        &[(CORRECTIONS, Span::Window)]
    }

    fn reads(&self) -> &'static [(&'static str, Span)] {
        &[(CLOSED, Span::Window)]
    }

    fn lists_what_it_reads(&self) -> bool {
        true
    }

    fn read(&self, cells: &CellView<'_>) -> Figures {
        let closed = cells.named(CLOSED, Span::Window);
        let corrections = cells.by_currency(CORRECTIONS, Span::Window);
        let codes: BTreeSet<&String> = closed.keys().chain(corrections.keys()).collect();
        let amounts = codes.into_iter().filter_map(|code| {
            let won = closed.get(code).map_or(0, |cell| cell.summed(WON));
            let correction = corrections.get(code).map_or(0, |cell| cell.summed(AMOUNT));
            let credited = won + correction;
            let figures = vec![("won", Figure::Money(credited))];
            (credited != 0).then(|| (code.clone(), Figure::Group(figures)))
        });
        let own = merged(closed).counted(WON);
        let corrected = merged(corrections);
        let deals = i128::from(own) * ONE + corrected.summed(DEALS);
        vec![
            ("deals", Figure::Decimal(deals)),
            ("own", Figure::Count(own)),
            ("split", Figure::Count(corrected.counted(SPLIT))),
            ("splits_off", Figure::Count(corrected.counted(SPLITS_OFF))),
            ("amount", Figure::ByCurrency(amounts.collect())),
        ]
    }

    /// The deals of others: those of its own are in the win rate's weight.
    fn weight(&self, figures: &Figures) -> i64 {
        let own = i128::from(counted(figures, &["own"])) * ONE;
        let of_others = deals(figures).unwrap_or_default() - own;
        (of_others.max(0) / ONE) as i64 + i64::from(of_others % ONE > 0)
    }

    fn compare(&self, groups: &mut [Group]) {
        let by_deals = ranks(groups, |figures| deals(figures).filter(|deals| *deals > 0));
        let amounts = groups.iter().flat_map(|g| find(&g.figures, "amount.won"));
        let codes: BTreeSet<String> = amounts.filter_map(|(code, _)| Some(code?.into())).collect();
        for code in codes {
            let by_amount = ranks(groups, |figures| won_in(figures, &code));
            for (group, rank) in groups.iter_mut().zip(by_amount) {
                let rank = rank.map(|rank| ("rank", Figure::Count(rank)));
                if let Some(figures) = of_currency(&mut group.figures, &code) {
                    figures.extend(rank);
                }
            }
        }
        for (group, rank) in groups.iter_mut().zip(by_deals) {
            let rank = rank.map(|rank| ("rank", Figure::Count(rank)));
            group.figures.splice(0..0, rank);
        }
    }

    fn gauges(&self) -> &'static [&'static str] {
        &["deals", "rank", "amount.won", "amount.rank"]
    }

    fn views(&self) -> Vec<View> {
        vec![
            View::new(
                "sales_race_daily",
                "SELECT day, dimension, value, currency,
                    toDecimal128(sumIf(counts[1], series = 'win_rate.closed'), 4) + sumIf(sums[1], series = 'sales_race.splits') AS won,
                    sumIf(sums[1], series = 'win_rate.closed') + sumIf(sums[2], series = 'sales_race.splits') AS won_amount,
                    sumIf(counts[1], series = 'sales_race.splits') AS split,
                    sumIf(counts[2], series = 'sales_race.splits') AS splits_off
                FROM cells_by_day WHERE series IN ('win_rate.closed', 'sales_race.splits') GROUP BY day, dimension, value, currency",
            ),
            // The rank of an owner in each period. Of equals the first by name is ahead, so that a
            // rank is one owner's.
            View::new(
                "sales_race",
                "SELECT period, start, if(period = 'week', concat(toString(toISOYear(start)), '-W', leftPad(toString(toISOWeek(start)), 2, '0')),
                    toString(start)) AS label,
                    owner, currency, won, won_amount, row_number() OVER (PARTITION BY period, start, currency
                        ORDER BY won_amount DESC, owner ASC) AS rank
                FROM (SELECT period, start, value[1] AS owner, currency, sum(d.won) AS won, sum(d.won_amount) AS won_amount
                    FROM (SELECT *, addMonths(toStartOfMonth(day), -((toMonth(day) + 12 - {fiscal_start}) % 3)) AS quarter,
                            addMonths(toStartOfMonth(day), -((toMonth(day) + 12 - {fiscal_start}) % 12)) AS year
                        FROM sales_race_daily WHERE dimension = 'owner' AND value[1] != '') AS d
                    ARRAY JOIN ['week', 'month', 'quarter', 'year'] AS period,
                        [toMonday(day), toStartOfMonth(day), quarter, year] AS start
                    GROUP BY period, start, owner, currency HAVING won != 0)",
            ),
        ]
    }
}

/// A whole in parts that add up to it, in the proportion of the weights, of which at least one is
/// above 0 and none below: each part is rounded down and the greatest remainders are rounded up, of
/// equals that of the greater weight, then the first.
fn apportion(whole: i64, weights: &[i128]) -> Vec<i64> {
    let sum: i128 = weights.iter().sum();
    let size = i128::from(whole.unsigned_abs());
    let mut parts: Vec<i128> = weights.iter().map(|weight| size * weight / sum).collect();
    let mut first_up: Vec<usize> = (0..weights.len()).collect();
    first_up.sort_by_key(|at| Reverse((size * weights[*at] % sum, weights[*at])));
    let left = size - parts.iter().sum::<i128>();
    for at in first_up.into_iter().take(left as usize) {
        parts[at] += 1;
    }
    let sign = i128::from(whole.signum());
    parts.iter().map(|part| (sign * part) as i64).collect()
}

/// How many deals are credited, in ten-thousandths.
fn deals(figures: &Figures) -> Option<i128> {
    match find(figures, "deals")[..] {
        [(_, Figure::Decimal(deals))] => Some(*deals),
        _ => None,
    }
}

/// The amount credited in a currency, if there is any.
fn won_in(figures: &Figures, code: &str) -> Option<i128> {
    let mut amounts = find(figures, "amount.won").into_iter();
    match amounts.find(|(known, _)| *known == Some(code)) {
        Some((_, Figure::Money(won))) => Some(*won),
        _ => None,
    }
}

/// The figures of a currency, to be added to.
fn of_currency<'f>(figures: &'f mut Figures, code: &str) -> Option<&'f mut Figures> {
    let (_, amount) = figures.iter_mut().find(|(name, _)| *name == "amount")?;
    let Figure::ByCurrency(by_currency) = amount else {
        return None;
    };
    match by_currency.get_mut(code)? {
        Figure::Group(figures) => Some(figures),
        _ => None,
    }
}
