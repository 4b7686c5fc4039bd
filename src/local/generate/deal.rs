//! Deals as they are opened: for whom, over what, and with which future steps.

use super::account::account_key;
use super::calendar::{DAY, HOUR, at_work, signing};
use super::company::{COMPETITORS, Currency, PRODUCTS, REGIONS, SEGMENTS, SOURCES, company_name};
use super::lead::lead_key;
use super::plan::Plan;
use super::world::{Task, World};

/// Where a deal comes from.
pub(super) enum Origin {
    Lead(FromLead),
    /// A rep brought it in.
    Direct,
    /// A customer buys again.
    Customer,
}

pub(super) struct FromLead {
    /// The lead, if the deal names it.
    pub(super) named: Option<u32>,
    pub(super) owner: u8,
    pub(super) source: u8,
    pub(super) account: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    New,
    Upsell,
    CrossSell,
    Renewal,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Upsell => "upsell",
            Self::CrossSell => "cross_sell",
            Self::Renewal => "renewal",
        }
    }
}

/// A deal with events still to come.
pub(super) struct Deal {
    pub(super) id: u32,
    pub(super) account: Option<u32>,
    pub(super) owner: u8,
    /// The person at the owner's desk and their team, as the deal's events named them last.
    pub(super) named: (u32, u8),
    pub(super) product: u8,
    pub(super) kind: Kind,
    pub(super) currency: Currency,
    /// In the currency's smallest unit.
    pub(super) amount: i64,
    /// The last close, unix ms.
    pub(super) closed_at: i64,
    pub(super) is_billed: bool,
    /// How many splits it has.
    pub(super) splits: usize,
    pub(super) plan: Plan<DealStep>,
}

pub(super) enum DealStep {
    /// Enters the stage of this index.
    Enter(usize),
    Handover,
    /// The rep does something about it.
    Act,
    /// It will take longer.
    Slip,
    /// Colleagues come in.
    Split,
    SplitAgain,
    Win,
    Lose,
    Reopen,
    Reprice,
    Redate,
    Delete,
    Restore,
}

/// The stages of an open deal with the probability and the forecast category that go with them.
pub(super) const STAGES: [(&str, &str, &str); 4] = [
    ("qualification", "0.1", "pipeline"),
    ("discovery", "0.25", "pipeline"),
    ("proposal", "0.5", "best_case"),
    ("negotiation", "0.75", "commit"),
];

/// The stages of an open deal, in the order in which it passes them.
pub fn stage_order() -> [&'static str; 4] {
    STAGES.map(|(stage, ..)| stage)
}

pub(super) fn deal_key(deal: u32) -> String {
    format!("D-{deal}")
}

impl Deal {
    pub(super) fn expands(&self) -> bool {
        self.kind != Kind::New
    }
}

impl World {
    pub(super) fn create_deal(&mut self, at: i64, origin: Origin) {
        self.deals += 1;
        let (kind, account, owner, source, lead) = match origin {
            Origin::Lead(lead) => (
                Kind::New,
                lead.account,
                lead.owner,
                Some(lead.source),
                lead.named,
            ),
            Origin::Direct => self.bring_in(at),
            Origin::Customer => match self.any_customer() {
                Some(account) => (
                    [Kind::Upsell, Kind::CrossSell, Kind::Renewal]
                        [self.random.weighted([350, 250, 400].into_iter())],
                    Some(account),
                    self.accounts[account as usize].owner,
                    None,
                    None,
                ),
                None => self.bring_in(at),
            },
        };
        let bought = account.map_or(0, |account| self.accounts[account as usize].bought);
        let (kind, product) = self.choose_product(kind, bought);
        let known = account.and_then(|account| self.follow_up_price(account, product, kind));
        let (currency, amount) = known.unwrap_or_else(|| {
            let currency = self.choose_currency(owner);
            (currency, self.price(product, currency, account))
        });
        let rep = self.reps.get(owner);
        let mut deal = Deal {
            id: self.deals,
            account,
            owner,
            named: (rep.person, rep.team),
            product,
            kind,
            currency,
            amount,
            closed_at: at,
            is_billed: false,
            splits: 0,
            plan: Plan::of(vec![]),
        };
        let (plan, expected) = self.plan_deal(at, &deal, source);
        deal.plan = plan;
        self.announce_deal(at, &deal, source, lead, expected);
        self.follow_deal(deal);
        // Some deals make another person known at the customer.
        if account.is_some() && self.random.chance(200) {
            self.meet_contact(at, owner, account);
        }
    }

    /// New business without a lead.
    fn bring_in(&mut self, at: i64) -> (Kind, Option<u32>, u8, Option<u8>, Option<u32>) {
        let region = self.random.weighted(REGIONS.iter().map(|r| r.share)) as u8;
        let owner = self.reps.any_of(region, &mut self.random);
        let has_account = !self.random.chance(50);
        let account = has_account.then(|| self.found_account(at, region, owner));
        let source = self.random.weighted(SOURCES.iter().map(|s| s.share)) as u8;
        (Kind::New, account, owner, Some(source), None)
    }

    /// A product that fits the kind of deal, or the kind of deal that fits what there is left to
    /// sell.
    fn choose_product(&mut self, kind: Kind, bought: u8) -> (Kind, u8) {
        let fits = |product: u8, had: bool| (bought >> product & 1 == 1) == had;
        let wants_known = matches!(kind, Kind::Upsell | Kind::Renewal);
        let kind = match kind {
            Kind::New => return (kind, self.random.index(PRODUCTS.len()) as u8),
            _ if bought == 0 => Kind::CrossSell,
            Kind::CrossSell if bought == u8::MAX => Kind::Upsell,
            kind => kind,
        };
        let wants_known = wants_known || bought == u8::MAX;
        let first = self.random.index(PRODUCTS.len());
        let product = (0..PRODUCTS.len())
            .map(|further| ((first + further) % PRODUCTS.len()) as u8)
            .find(|product| fits(*product, wants_known && bought != 0))
            .unwrap_or(first as u8);
        (kind, product)
    }

    fn choose_currency(&mut self, owner: u8) -> Currency {
        let accepted = &self.config.currencies;
        if !accepted.is_empty() && self.random.chance(50) {
            return *self.random.pick(accepted);
        }
        self.usual_currency(owner)
    }

    pub(super) fn price(&mut self, product: u8, currency: Currency, account: Option<u32>) -> i64 {
        let segment = account.map_or(0, |account| self.accounts[account as usize].segment);
        let (fewest, most) = SEGMENTS[usize::from(segment)].units;
        let units = self.random.between(fewest, most);
        let discount = self.random.below(26) as i64;
        let list = PRODUCTS[usize::from(product)].price * units;
        currency.convert(list * (100 - discount) / 100)
    }

    /// What will happen to the deal, and when it is meant to be closed.
    fn plan_deal(&mut self, at: i64, deal: &Deal, source: Option<u8>) -> (Plan<DealStep>, i64) {
        let offset = self.offset_of_rep(deal.owner);
        let wins = match (deal.kind, source) {
            (Kind::New, Some(source)) => SOURCES[usize::from(source)].wins,
            (Kind::New, None) => 200,
            (Kind::Upsell, _) => 500,
            (Kind::CrossSell, _) => 420,
            (Kind::Renewal, _) => 780,
        };
        let is_won = self.random.chance(self.reps.achieved(deal.owner, wins));
        let segment = deal
            .account
            .map_or(0, |account| self.accounts[account as usize].segment);
        let mut typical = SEGMENTS[usize::from(segment)].typical_days * DAY;
        if deal.expands() {
            typical /= 2;
        }
        // Lost deals take longer than won ones.
        let typical = if is_won {
            typical * 9 / 10
        } else {
            typical * 12 / 10
        };
        let ready = match self.random.chance(20) {
            true => at + self.random.below(8 * HOUR as u64) as i64,
            false => at + self.random.long_tailed(typical),
        };
        let close = match is_won {
            true => signing(ready, offset, &mut self.random),
            false => at_work(ready, offset, &mut self.random),
        };
        let reached = if is_won {
            3
        } else {
            self.random.weighted([25, 30, 30, 15].into_iter())
        };

        let mut steps = Vec::with_capacity(8);
        for (stage, share) in [(1, (80, 300)), (2, (320, 560)), (3, (580, 860))] {
            let entered = at + (close - at) / 1000 * self.random.between(share.0, share.1);
            let entered = at_work(entered, offset, &mut self.random);
            if stage <= reached && entered < close && !self.random.chance(80) {
                steps.push((entered, DealStep::Enter(stage)));
            }
        }
        if self.random.chance(80) {
            let share = self.random.between(100, 990);
            steps.push((at + (close - at) / 1000 * share, DealStep::Handover));
        }
        for _ in 0..1 + self.random.below(3) {
            let when = at + (close - at) / 1000 * self.random.between(20, 980);
            let when = at_work(when, offset, &mut self.random);
            steps.push((when.min(close), DealStep::Act));
        }
        if self.random.chance(200) {
            let share = self.random.between(500, 980);
            steps.push((at + (close - at) / 1000 * share, DealStep::Slip));
        }
        if self.random.chance(100) {
            let share = self.random.between(200, 950);
            steps.push((at + (close - at) / 1000 * share, DealStep::Split));
            if self.random.chance(150) {
                let settled = close + self.random.between(HOUR, 20 * DAY);
                let settled = at_work(settled, offset, &mut self.random);
                steps.push((settled, DealStep::SplitAgain));
            }
        }
        // A few are simply forgotten.
        if !self.random.chance(30) {
            if is_won {
                self.foresee(deal.owner, close, deal.amount, deal.currency);
            }
            self.plan_close(close, is_won, offset, &mut steps);
        }
        let expected = close + self.random.between(-20, 20) * DAY;
        (Plan::of(steps), expected.max(at + DAY))
    }

    /// The close, and what is done to a deal after it.
    fn plan_close(
        &mut self,
        close: i64,
        is_won: bool,
        offset: i64,
        steps: &mut Vec<(i64, DealStep)>,
    ) {
        let result = |is_won| {
            if is_won {
                DealStep::Win
            } else {
                DealStep::Lose
            }
        };
        let faults = self.config.faults;
        let mut last = close;
        steps.push((close, result(is_won)));
        let reopens = if is_won {
            faults.reopened
        } else {
            faults.reopened / 3
        };
        if self.random.chance(reopens) {
            let reopened = last + self.random.between(2 * DAY, 30 * DAY);
            let reopened = at_work(reopened, offset, &mut self.random);
            let closed = reopened + self.random.between(2 * DAY, 40 * DAY);
            last = at_work(closed, offset, &mut self.random);
            let wins_now = self.random.chance(450);
            steps.extend([(reopened, DealStep::Reopen), (last, result(wins_now))]);
        }
        if self.random.chance(faults.corrected) {
            let correction = if self.random.chance(700) {
                DealStep::Reprice
            } else {
                DealStep::Redate
            };
            last += self.random.between(HOUR, 20 * DAY);
            steps.push((last, correction));
        }
        if self.random.chance(15) {
            last += self.random.between(5 * DAY, 60 * DAY);
            steps.push((last, DealStep::Handover));
        }
        if self.random.chance(8) {
            last += self.random.between(DAY, 30 * DAY);
            steps.push((last, DealStep::Delete));
            if self.random.chance(250) {
                last += self.random.between(HOUR, 10 * DAY);
                steps.push((last, DealStep::Restore));
            }
        }
    }

    fn announce_deal(
        &mut self,
        at: i64,
        deal: &Deal,
        source: Option<u8>,
        lead: Option<u32>,
        expected: i64,
    ) {
        let event = self.event("deal", "upserted", deal_key(deal.id), at);
        let product = PRODUCTS[usize::from(deal.product)].name;
        let name = match deal.account {
            Some(account) => {
                let region = self.accounts[account as usize].region;
                format!("{} - {product}", company_name(account, region))
            }
            None => format!("{product} {}", deal.id),
        };
        let says_source = self.random.chance(650);
        let source = source.and_then(|source| SOURCES[usize::from(source)].name);
        let rep = self.reps.get(deal.owner);
        let (stage, probability, category) = STAGES[0];
        let mut event = event
            .text("name", &name)
            .maybe_text("account_id", deal.account.map(account_key).as_deref())
            .maybe_text("lead_id", lead.map(lead_key).as_deref())
            .maybe_text("lead_source", source.filter(|_| says_source))
            .text("owner_id", &rep.id)
            .text("team", rep.team_name())
            .text("region", REGIONS[usize::from(rep.region)].name)
            .text(
                "pipeline",
                if deal.expands() {
                    "expansion"
                } else {
                    "new-business"
                },
            )
            .text("stage", stage)
            .instant("stage_entered_at", at)
            .text("status", "open")
            .number("probability", probability)
            .text("forecast_category", category)
            .money("amount", deal.amount, deal.currency)
            .text("currency", deal.currency.code())
            .text("product", product)
            .date(
                "expected_close_date",
                expected,
                REGIONS[usize::from(rep.region)].offset,
            );
        if self.random.chance(600) {
            event = event.text("deal_type", deal.kind.name());
        }
        event = match self.random.below(100) {
            0..3 => event,
            3..8 => event.number("created_at", at),
            _ => event.instant("created_at", at),
        };
        if self.random.chance(250) {
            let rival = self.random.pick(&COMPETITORS);
            let months = self.random.pick(&[12, 24, 36]);
            let is_pilot = self.random.chance(200);
            event = event.custom(|event| {
                event
                    .text("competitor", rival)
                    .number("contract_months", months)
                    .number("pilot", is_pilot)
            });
        }
        self.publish(event);
    }

    pub(super) fn follow_deal(&mut self, deal: Deal) {
        if let Some(at) = deal.plan.next_at() {
            self.schedule(at, Task::Deal(Box::new(deal)));
        }
    }

    pub(super) fn offset_of_rep(&self, rep: u8) -> i64 {
        REGIONS[usize::from(self.reps.get(rep).region)].offset
    }
}
