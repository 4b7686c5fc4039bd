//! Quotas: what each rep is to sell in a quarter or a month, set shortly before it begins, and one
//! of a whole team.

use super::calendar::{DAY, HOUR, at_work, busyness, period, utc};
use super::company::{Currency, REGIONS};
use super::user::REPS_PER_REGION;
use super::world::{Task, World};

/// What is still to happen to a quota: it turns out to be wrong.
pub(super) struct Correction {
    key: String,
    /// In the currency's smallest unit.
    target: i64,
    currency: Currency,
}

/// Euro cents that a deal opened from now on can be expected to bring, those included that are
/// lost. It lies below the mean of large runs, which a few great deals make.
const WON_PER_DEAL: u64 = 400_000;
/// How long it takes, by and large, until what is opened is won.
const TYPICAL_DAYS: i64 = 42;
/// The team that has a quota of its own: its region, and which of the region's teams.
const SHARED: (u8, u8) = (0, 1);
/// No target is above it, in euro cents: four decimals more still fit into an `i64` in every
/// currency.
const MOST: u128 = 4_000_000_000_000;

/// A quarter of the reps have a quota for each month, the others for each quarter.
fn months_of(desk: u8) -> u32 {
    if desk % 4 == 3 { 1 } else { 3 }
}

impl World {
    /// The quotas of the periods that hold the beginning of the stream.
    pub(super) fn introduce_quotas(&mut self, at: i64) {
        for desk in self.reps.desks() {
            self.set_quota(at, desk, period(at, months_of(desk)).0);
        }
        self.set_team_quota(at, period(at, 3).0);
    }

    /// The quotas of the periods that begin with that day, which is to come.
    pub(super) fn set_quotas(&mut self, at: i64, first: i64) {
        // The present period may still be wanted, for somebody who comes in the middle of it.
        self.foreseen = self.foreseen.split_off(&(period(at, 3).0, 0));
        for desk in self.reps.desks() {
            if period(first, months_of(desk)).0 == first {
                self.set_quota(at, desk, first);
            }
        }
        if period(first, 3).0 == first {
            self.set_team_quota(at, first);
        }
    }

    /// A rep's quota from that day to the end of the period.
    pub(super) fn set_quota(&mut self, at: i64, desk: u8, first: i64) {
        let next = period(first, months_of(desk)).1;
        let hoped_for = self.expected_sales(at, desk, first, next);
        let currency = self.usual_currency(desk);
        let owner = self.reps.get(desk).id.clone();
        self.publish_quota(at, ("owner_id", &owner), (first, next), hoped_for, currency);
    }

    /// What the members of a team are to sell together, whoever does it.
    fn set_team_quota(&mut self, at: i64, first: i64) {
        let next = period(first, 3).1;
        let (region, team) = SHARED;
        let base = region * REPS_PER_REGION as u8;
        let members =
            (base..base + REPS_PER_REGION as u8).filter(|desk| self.reps.get(*desk).team == team);
        let hoped_for = members
            .map(|desk| self.expected_sales(at, desk, first, next))
            .sum();
        let name = REGIONS[usize::from(region)].teams[usize::from(team)];
        let currency = self.usual_currency(base);
        self.publish_quota(at, ("team", name), (first, next), hoped_for, currency);
    }

    /// A deal is going to be won: those who set quotas know their customers.
    pub(super) fn foresee(&mut self, desk: u8, close: i64, amount: i64, currency: Currency) {
        let month = period(close, 1).0;
        *self.foreseen.entry((month, desk)).or_default() += currency.to_euro_cents(amount);
    }

    /// What a rep can be expected to win in a time, in euro cents: with the deals that are open,
    /// and with those to come.
    fn expected_sales(&self, at: i64, desk: u8, first: i64, next: i64) -> i64 {
        let months = self.foreseen.range((first, 0)..(next, 0));
        let foreseen: i64 = months
            .filter(|((_, of), _)| *of == desk)
            .map(|(_, amount)| amount)
            .sum();
        // Too late in the period, and a deal falls into the next one.
        let opened_to = (next - TYPICAL_DAYS * DAY).max(at.max(first) + 7 * DAY);
        let hours = (at..opened_to).step_by(HOUR as usize);
        let busyness: u64 = hours.map(busyness).sum();
        let rep = self.reps.get(desk);
        let share = REGIONS[usize::from(rep.region)].share * rep.skill;
        let to_come =
            u128::from(self.config.deals * WON_PER_DEAL) * u128::from(busyness) * u128::from(share)
                / u128::from(self.total_busyness())
                / (1_000_000 * REPS_PER_REGION as u128);
        (to_come.min(MOST) as i64 + foreseen).min(MOST as i64)
    }

    fn publish_quota(
        &mut self,
        at: i64,
        whose: (&str, &str),
        (first, next): (i64, i64),
        hoped_for: i64,
        currency: Currency,
    ) {
        // Nobody foresees what will be won; and targets are round.
        let wanted = hoped_for / 100 * self.random.between(85, 120);
        let target = currency.convert(wanted) / 10_000 * 10_000 + 10_000;
        let key = format!("Q-{}-{}", whose.1, utc(period(first, 1).0).format("%Y-%m"));
        let event = self
            .event("quota", "upserted", key.clone(), at)
            .text(whose.0, whose.1)
            .date("period_start", first, 0)
            .date("period_end", next - DAY, 0)
            .money("target", target, currency)
            .text("currency", currency.code());
        self.publish(event);
        if self.random.chance(self.config.faults.corrected) {
            let target = target / 100 * self.random.between(80, 115);
            let noticed = at + self.random.between(3 * DAY, 30 * DAY);
            let noticed = at_work(noticed, 0, &mut self.random);
            let correction = Correction {
                key,
                target,
                currency,
            };
            self.schedule(noticed, Task::Quota(Box::new(correction)));
        }
    }

    pub(super) fn correct_quota(&mut self, at: i64, correction: Correction) {
        let Correction {
            key,
            target,
            currency,
        } = correction;
        let event = self.event("quota", "upserted", key, at);
        self.publish(event.money("target", target, currency));
    }
}
