//! Exchange rates: what a euro costs in the other currencies, every working day but a few.

use super::calendar::{DAY, HOUR, is_weekend, utc};
use super::company::Currency;
use super::world::{Task, World};

/// The currencies that have a rate, with today's in ten-thousandths.
pub(super) struct Rates(Vec<(Currency, i64)>);

impl Rates {
    /// Of the organisation's currencies; none if it has only one, since there is nothing to convert
    /// then.
    pub(super) fn of(currencies: &[Currency]) -> Self {
        let mut rates: Vec<(Currency, i64)> = Vec::new();
        for &currency in currencies {
            if rates.iter().all(|(known, _)| *known != currency) {
                rates.push((currency, currency.per_euro()));
            }
        }
        if rates.len() < 2 {
            rates.clear();
        }
        rates.retain(|(currency, _)| *currency != Currency::Eur);
        Self(rates)
    }
}

impl World {
    /// The rates of the last working day, for what is sold before the next one's.
    pub(super) fn introduce_rates(&mut self, at: i64) {
        if self.rates.0.is_empty() {
            return;
        }
        let mut day = at.div_euclid(DAY);
        while is_weekend(day) {
            day -= 1;
        }
        self.publish_rates(at, day);
        self.schedule_rates(at);
    }

    /// The afternoon of a day, when its rates are fixed.
    pub(super) fn fix_rates(&mut self, at: i64) {
        let day = at.div_euclid(DAY);
        // Now and then the job that fetches them fails.
        if !is_weekend(day) && !self.random.chance(20) {
            self.publish_rates(at, day);
        }
        self.schedule_rates(at);
    }

    fn schedule_rates(&mut self, at: i64) {
        let next = (at.div_euclid(DAY) + 1) * DAY + 15 * HOUR;
        if next < self.config.end.timestamp_millis() {
            self.schedule(next, Task::Rates);
        }
    }

    fn publish_rates(&mut self, at: i64, day: i64) {
        for place in 0..self.rates.0.len() {
            let (currency, rate) = self.rates.0[place];
            // A step up or down, and a pull back to the usual: a walk that never goes far.
            let step = rate * self.random.between(-50, 50) / 10_000;
            let rate = rate + step + (currency.per_euro() - rate) / 64;
            self.rates.0[place].1 = rate;
            let key = format!(
                "R-EUR-{}-{}",
                currency.code(),
                utc(day * DAY).format("%Y-%m-%d")
            );
            let event = self
                .event("rate", "upserted", key, at)
                .text("base", Currency::Eur.code())
                .text("currency", currency.code())
                .number("rate", format!("{}.{:04}", rate / 10_000, rate % 10_000))
                .date("day", day * DAY, 0);
            self.publish(event);
        }
    }
}
