//! What the splits of a won deal add: what others are credited with in the place of its own owner.

use std::collections::BTreeMap;

use super::cells::{By, HOURS_AND_DAYS, Table};
use super::{Deal, Oracle};

const ONE: i128 = 10_000;

impl<'e> Oracle<'e> {
    pub(super) fn of_splits(&self, id: &'e str, deal: &Deal, table: &mut Table) {
        let splits = self.ids("split").into_iter().filter(|split| {
            let named = self.latest("split", split, "deal_id");
            self.is_live("split", split) && named.is_some_and(|d| self.root("deal", d) == id)
        });
        let splits: Vec<&str> = splits.collect();
        if deal.status != "won" || splits.is_empty() {
            return;
        }
        // In order of name.
        let mut shares: BTreeMap<String, i128> = BTreeMap::new();
        for split in &splits {
            let owner = self.text("split", split, "owner_id");
            *shares.entry(owner).or_default() += self.decimal("split", split, "share").unwrap_or(0);
        }
        let sum: i128 = shares.values().sum();
        let closed = deal.closed.expect("a won deal");
        let rollup = ("sales_race.splits", By::Deal, HOURS_AND_DAYS);
        if sum == 0 || (sum - ONE).abs() > splits.len() as i128 {
            return self.add(table, rollup, closed, &deal.dims, &deal.currency, |cell| {
                cell.count(1);
            });
        }
        let parts = in_parts(ONE, &shares.values().copied().collect::<Vec<_>>());
        let amounts = in_parts(deal.amount, &parts);
        let own = deal.dims["owner"].clone();
        let mut credits: Vec<(String, i128, i128)> = vec![(own.clone(), -ONE, -deal.amount)];
        for ((owner, part), amount) in shares.into_keys().zip(parts).zip(amounts) {
            credits.push((owner, part, amount));
        }
        let is_all_its_own = credits[1..]
            .iter()
            .any(|(o, part, _)| *o == own && *part == ONE);
        for (number, (owner, part, amount)) in credits.into_iter().enumerate() {
            let mut dims = deal.dims.clone();
            dims.insert("owner".into(), owner);
            self.add(table, rollup, closed, &dims, &deal.currency, |cell| {
                if number == 0 && !is_all_its_own {
                    cell.count(0);
                }
                cell.sum(0, part);
                cell.sum(1, amount);
            });
        }
    }
}

/// A whole in parts by weight: rounded towards 0, then one more to the greatest remainder, to that
/// of the greater weight, to the first, until it is all given.
fn in_parts(whole: i128, weights: &[i128]) -> Vec<i128> {
    let (size, sum) = (whole.abs(), weights.iter().sum::<i128>());
    let mut parts: Vec<i128> = weights.iter().map(|w| size * w / sum).collect();
    let mut has_more = vec![false; weights.len()];
    while parts.iter().sum::<i128>() < size {
        let mut next = None;
        for at in (0..weights.len()).filter(|at| !has_more[*at]) {
            let claim = (size * weights[at] % sum, weights[at]);
            if next.is_none_or(|(best, _)| claim > best) {
                next = Some((claim, at));
            }
        }
        let (_, at) = next.expect("somebody has a remainder");
        has_more[at] = true;
        parts[at] += 1;
    }
    parts.iter().map(|part| part * whole.signum()).collect()
}
