//! What open deals promise, what is to be sold, and what is lost.

use dealpulse::definitions::ForecastCategory;
use dealpulse::event::When;
use dealpulse::window::Grain;

use super::cells::{By, HOURS_AND_DAYS, Table};
use super::{Clock, Deal, Dims, Oracle};

/// The quotient nearest to a product divided, a half away from zero.
fn divided(product: i128, by: i128) -> i128 {
    product.signum() * ((2 * product.abs() + by) / (2 * by))
}

impl<'e> Oracle<'e> {
    pub(super) fn of_open_deal(&self, id: &'e str, deal: &Deal, table: &mut Table) {
        if deal.status != "open" {
            return;
        }
        let stage = self.text("deal", id, "stage");
        let own = self.decimal("deal", id, "probability");
        let of_stage = self.probability_of_stage(&stage);
        let said = |field| {
            self.history("deal", id, field)
                .last()
                .map(|said| said.clock)
        };
        let stage_is_later = said("stage") > said("probability");
        let probability = match (own, of_stage) {
            (Some(own), Some(of_stage)) => Some(if stage_is_later { of_stage } else { own }),
            (own, of_stage) => own.or(of_stage),
        };
        let named = self.text("deal", id, "forecast_category");
        let mapped = self.definitions.spec.forecast_categories.get(&named);
        let category = match (mapped, named.as_str()) {
            (Some(ForecastCategory::Commit), _) | (None, "commit") => Some(0),
            (None, "Best Case") => Some(1),
            (None, "pipeline" | "") => Some(2),
            (None, "Omitted") => Some(3),
            (None, _) => None,
            (Some(other), _) => panic!("the test's definitions map nothing to {other:?}"),
        };
        let expected = self.when("deal", id, "expected_close_date");
        let mut dims = deal.dims.clone();
        dims.insert("stage".into(), stage);
        dims.insert("forecast_category".into(), named);
        self.add(
            table,
            ("forecast.open", By::Forecast, &[Grain::Day]),
            expected.unwrap_or(When::Instant(i64::MIN)),
            &dims,
            &deal.currency,
            |cell| {
                let place = category.unwrap_or(2);
                cell.count(place);
                match (deal.has_amount, probability) {
                    (false, _) => cell.count(4),
                    (true, None) => cell.count(5),
                    (true, Some(probability)) => {
                        cell.sum(4 + place, divided(deal.amount * probability, 10_000));
                    }
                }
                if expected.is_none() {
                    cell.count(6);
                }
                if category.is_none() {
                    cell.count(7);
                }
                cell.sum(place, deal.amount);
            },
        );
    }

    pub(super) fn of_quotas(&self, table: &mut Table) {
        let calendar = &self.definitions.calendar;
        for id in self
            .ids("quota")
            .into_iter()
            .filter(|id| self.is_live("quota", id))
        {
            let day = |field| Some(calendar.day(self.when("quota", id, field)?));
            let (Some(first), Some(last), Some(target)) = (
                day("period_start"),
                day("period_end"),
                self.decimal("quota", id, "target"),
            ) else {
                continue;
            };
            if last < first {
                continue;
            }
            let dims = Dims::from([
                ("owner".into(), self.text("quota", id, "owner_id")),
                ("team".into(), self.text("quota", id, "team")),
            ]);
            let currency = self.text("quota", id, "currency");
            let rollup = ("quota.target", By::Quota, &[Grain::Month][..]);
            let mut add = |at, share| {
                self.add(table, rollup, at, &dims, &currency, |cell| {
                    cell.count(0);
                    cell.sum(0, share);
                })
            };
            if first < 0 {
                add(When::Instant(i64::MIN), target);
                continue;
            }
            // Day by day, cut where a month ends.
            let (mut given, mut days) = (0, 0);
            for day in first..=last {
                days += 1;
                if day == last || calendar.month_start(day + 1) == day + 1 {
                    let up_to = divided(target * days, i128::from(last - first + 1));
                    add(When::Date(day), up_to - given);
                    given = up_to;
                }
            }
        }
    }

    pub(super) fn of_losses(&self, id: &'e str, deal: &Deal, table: &mut Table) {
        let is_lost = deal.status == "lost";
        let reason = self.text("deal", id, "lost_reason");
        let reason = if is_lost { reason } else { String::new() };
        let mut dims = deal.dims.clone();
        dims.insert("lost_reason".into(), reason.clone());
        let lost = ("losses.lost", By::Losses, HOURS_AND_DAYS);
        if let Some(closed) = deal.closed.filter(|_| is_lost) {
            self.add(table, lost, closed, &dims, &deal.currency, |cell| {
                cell.count(0);
                if reason.is_empty() {
                    cell.count(1);
                }
                cell.sum(0, deal.amount);
            });
        }
        let mut statuses = self.statuses(id, &self.remembered("deal", id, "status"));
        // Of what is said at one clock only the last counts.
        statuses.reverse();
        statuses.dedup_by_key(|said| said.0);
        statuses.reverse();
        let mut closed = statuses.iter().filter(|said| said.2 != "open");
        let first = closed.next().map(|said| said.0);
        let is_reopened = |first: &Clock| {
            let mut open = statuses.iter().filter(|said| said.2 == "open");
            open.any(|said| said.0 > *first)
        };
        if let Some(first) = first.filter(is_reopened) {
            let again = When::Instant(first.0);
            let reopened = ("losses.reopened", By::Losses, HOURS_AND_DAYS);
            self.add(table, reopened, again, &dims, "", |cell| cell.count(0));
        }
    }
}
