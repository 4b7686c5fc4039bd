//! What happens to a deal once it is open: stages, owners, the close and everything that undoes it.

use super::calendar::{DAY, HOUR};
use super::company::LOST_REASONS;
use super::deal::{Deal, DealStep, STAGES, deal_key};
use super::event::Event;
use super::world::World;

impl World {
    pub(super) fn step_deal(&mut self, at: i64, mut deal: Box<Deal>) {
        match deal.plan.take() {
            Some(DealStep::Enter(stage)) => self.enter_stage(at, &mut deal, stage),
            Some(DealStep::Handover) => self.hand_over(at, &mut deal),
            Some(DealStep::Act) => self.work_on_deal(at, &deal),
            Some(DealStep::Slip) => self.slip(at, &mut deal),
            Some(DealStep::Split) => self.split_deal(at, &mut deal),
            Some(DealStep::SplitAgain) => self.split_again(at, &mut deal),
            Some(DealStep::Win) => self.win(at, &mut deal),
            Some(DealStep::Lose) => self.lose(at, &mut deal),
            Some(DealStep::Reopen) => self.reopen(at, &mut deal),
            Some(DealStep::Reprice) => {
                deal.amount = deal.amount * self.random.between(70, 110) / 100;
                let event = self
                    .change(at, &deal)
                    .money("amount", deal.amount, deal.currency);
                self.publish(event);
            }
            Some(DealStep::Redate) => {
                deal.closed_at -= self.random.between(DAY, 5 * DAY);
                let event = self.change(at, &deal).instant("closed_at", deal.closed_at);
                self.publish(event);
            }
            Some(DealStep::Delete) => {
                let event = self.event("deal", "deleted", deal_key(deal.id), at);
                self.publish(event);
            }
            Some(DealStep::Restore) => {
                let event = self.event("deal", "restored", deal_key(deal.id), at);
                self.publish(event);
            }
            None => return,
        }
        self.follow_deal(*deal);
    }

    /// Starts an event that asserts some of a deal's fields again.
    fn change(&mut self, at: i64, deal: &Deal) -> Event {
        self.event("deal", "upserted", deal_key(deal.id), at)
    }

    /// Starts an event of an open deal. If somebody else sits at the owner's desk by now, or in
    /// another team, it says so.
    fn progress(&mut self, at: i64, deal: &mut Deal) -> Event {
        let event = self.change(at, deal);
        let rep = self.reps.get(deal.owner);
        if deal.named == (rep.person, rep.team) {
            return event;
        }
        deal.named = (rep.person, rep.team);
        event
            .text("owner_id", &rep.id)
            .text("team", rep.team_name())
    }

    fn enter_stage(&mut self, at: i64, deal: &mut Deal, stage: usize) {
        // Some rules in a CRM write a second time within the same instant: then only the sequence
        // shows which was last.
        if self.random.chance(30) {
            let passing = deal.amount * self.random.between(80, 120) / 100;
            let event = self
                .change(at, deal)
                .money("amount", passing, deal.currency);
            self.publish(event);
            let event = self
                .change(at, deal)
                .money("amount", deal.amount, deal.currency);
            self.publish(event);
        }
        let (stage, probability, category) = STAGES[stage];
        let mut event = self
            .progress(at, deal)
            .text("stage", stage)
            .instant("stage_entered_at", at)
            .number("probability", probability)
            .text("forecast_category", category);
        if self.random.chance(150) {
            deal.amount = deal.amount * self.random.between(80, 125) / 100;
            event = event.money("amount", deal.amount, deal.currency);
        }
        if self.random.chance(250) {
            let expected = at + self.random.between(5, 60) * DAY;
            event = event.date(
                "expected_close_date",
                expected,
                self.offset_of_rep(deal.owner),
            );
        }
        self.publish(event);
    }

    fn hand_over(&mut self, at: i64, deal: &mut Deal) {
        deal.owner = self.reps.colleague_of(deal.owner, &mut self.random);
        let event = self.progress(at, deal);
        self.publish(event);
    }

    /// The close is put off, and some don't count on the deal any more.
    fn slip(&mut self, at: i64, deal: &mut Deal) {
        let expected = at + self.random.between(10, 60) * DAY;
        let offset = self.offset_of_rep(deal.owner);
        let mut event = self
            .progress(at, deal)
            .date("expected_close_date", expected, offset);
        if self.random.chance(150) {
            event = event.text("forecast_category", "omitted");
        }
        self.publish(event);
    }

    fn win(&mut self, at: i64, deal: &mut Deal) {
        deal.closed_at = at;
        if self.random.chance(150) {
            deal.amount = deal.amount * self.random.between(85, 100) / 100;
        }
        let event = self
            .progress(at, deal)
            .text("stage", "won")
            .instant("stage_entered_at", at)
            .text("status", "won")
            .number("probability", 1)
            .text("forecast_category", "closed")
            .money("amount", deal.amount, deal.currency);
        let mut event = self.dated_close(event, deal);
        if self.random.chance(if deal.expands() { 400 } else { 80 }) {
            let upsold = deal.amount * self.random.between(100, 600) / 1000;
            event = event.money("upsell_amount", upsold, deal.currency);
        }
        self.publish(event);

        if let Some(account) = deal.account {
            let account = self.root_of(account);
            self.accounts[account as usize].bought |= 1 << deal.product;
            self.become_customer(at, account, at);
        }
        // One that is won again is billed as it was.
        if !std::mem::replace(&mut deal.is_billed, true) {
            self.bill(at, deal);
        }
    }

    fn lose(&mut self, at: i64, deal: &mut Deal) {
        deal.closed_at = at;
        let reason = self.random.pick(&LOST_REASONS);
        let event = self
            .progress(at, deal)
            .text("stage", "lost")
            .instant("stage_entered_at", at)
            .text("status", "lost")
            .number("probability", 0)
            .text("forecast_category", "omitted")
            .text("lost_reason", reason);
        let event = self.dated_close(event, deal);
        self.publish(event);
    }

    /// The close date in one of the forms CRMs send it: mostly an instant, some only the day, a few
    /// nothing.
    fn dated_close(&mut self, event: Event, deal: &Deal) -> Event {
        // A deal typed in after it was signed closes before it was created, by a little or a lot.
        let backdated = match self.random.chance(30) {
            true => self.random.between(HOUR, 4 * DAY),
            false => 0,
        };
        let closed_at = deal.closed_at - backdated;
        match self.random.below(100) {
            0..2 => event,
            2..12 => event.date("closed_at", closed_at, self.offset_of_rep(deal.owner)),
            12..17 => event.number("closed_at", closed_at),
            _ => event.instant("closed_at", closed_at),
        }
    }

    fn reopen(&mut self, at: i64, deal: &mut Deal) {
        let (stage, probability, category) = STAGES[STAGES.len() - 1];
        let event = self
            .progress(at, deal)
            .text("stage", stage)
            .instant("stage_entered_at", at)
            .text("status", "open")
            .number("probability", probability)
            .text("forecast_category", category)
            .null("closed_at")
            .null("lost_reason");
        self.publish(event);
    }
}
