//! Subscriptions: what a customer pays every month for a product, at a price that changes, until
//! they leave.

use super::billing::Billed;
use super::calendar::{DAY, HOUR, a_month_later};
use super::company::Currency;
use super::deal::Kind;
use super::world::{Task, World};

/// A product that a customer pays for by the month.
pub(super) struct Subscription {
    /// The deal that it was last agreed in; none if that was before the stream began.
    deal: Option<u32>,
    currency: Currency,
    /// The price of a month in the currency's smallest unit.
    monthly: i64,
}

impl World {
    /// A customer of old has subscribed before the stream began.
    pub(super) fn introduce_subscription(&mut self, at: i64, account: u32, product: u8) {
        let owner = self.accounts[account as usize].owner;
        let currency = self.usual_currency(owner);
        let amount = self.price(product, currency, Some(account));
        let subscription = Subscription {
            deal: None,
            currency,
            monthly: (amount / 12).max(1),
        };
        self.start_subscription(at, account, product, subscription);
    }

    /// A won deal over a year of a product: the first one starts a subscription, a later one
    /// changes its price.
    pub(super) fn subscribe(
        &mut self,
        at: i64,
        account: u32,
        product: u8,
        billed: Billed,
        kind: Kind,
    ) {
        let monthly = (billed.amount / 12).max(1);
        let deal = billed.deal;
        match self.subscriptions.get_mut(&(account, product)) {
            None => {
                let subscription = Subscription {
                    deal,
                    currency: billed.currency,
                    monthly,
                };
                self.start_subscription(at, account, product, subscription);
            }
            Some(known) if kind == Kind::Upsell && known.currency == billed.currency => {
                known.monthly += monthly;
                known.deal = deal;
            }
            Some(known) => {
                *known = Subscription {
                    deal,
                    currency: billed.currency,
                    monthly,
                };
            }
        }
    }

    fn start_subscription(
        &mut self,
        at: i64,
        account: u32,
        product: u8,
        subscription: Subscription,
    ) {
        self.subscriptions.insert((account, product), subscription);
        // Debits run in the morning, which is the same day in most time zones: each month has one.
        let day = (at + self.random.between(DAY, 28 * DAY)).div_euclid(DAY);
        let first = day * DAY + self.random.between(7 * HOUR, 10 * HOUR);
        self.schedule(first, Task::Subscription(account, product));
    }

    /// What a deal over a product the customer subscribes to is about: all of a year, or some more
    /// of it.
    pub(super) fn follow_up_price(
        &mut self,
        account: u32,
        product: u8,
        kind: Kind,
    ) -> Option<(Currency, i64)> {
        let known = self.subscriptions.get(&(account, product))?;
        let (currency, yearly) = (known.currency, known.monthly * 12);
        let percent = match kind {
            Kind::Renewal => self.random.between(90, 112),
            Kind::Upsell => self.random.between(10, 60),
            Kind::New | Kind::CrossSell => return None,
        };
        Some((currency, (yearly * percent / 100).max(12)))
    }

    /// A month's payment is due.
    pub(super) fn step_subscription(&mut self, at: i64, account: u32, product: u8) {
        let root = self.root_of(account);
        let has_left = self.accounts[root as usize].churned || self.random.chance(10);
        if has_left {
            self.subscriptions.remove(&(account, product));
            return;
        }
        let Some(subscription) = self.subscriptions.get_mut(&(account, product)) else {
            return;
        };
        if self.random.chance(25) {
            let percent = match self.random.chance(650) {
                true => self.random.between(103, 125),
                false => self.random.between(75, 97),
            };
            subscription.monthly = (subscription.monthly * percent / 100).max(1);
        }
        let billed = Billed {
            account: Some(root),
            deal: subscription.deal,
            currency: subscription.currency,
            amount: subscription.monthly,
        };
        // Now and then a debit fails, and nobody makes up for it.
        if !self.random.chance(10) {
            self.receive(at, "recurring", None, billed);
        }
        self.schedule(a_month_later(at), Task::Subscription(account, product));
    }
}
