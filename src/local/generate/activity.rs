//! Activities: calls, meetings and the like, planned and then done, or simply done.

use super::account::account_key;
use super::calendar::{DAY, HOUR, MINUTE, at_work};
use super::contact::contact_key;
use super::deal::{Deal, deal_key};
use super::event::Event;
use super::lead::lead_key;
use super::world::{Task, World};

/// What is still to happen to an activity that was planned.
pub(super) enum ActivityStep {
    Do,
    Delete,
}

/// The record an activity is made for.
#[derive(Clone, Copy)]
pub(super) enum About {
    Deal(u32),
    Lead(u32),
    /// The company, or the person at it.
    Account,
}

/// The kinds with their share and how many of them are planned, in thousandths.
const KINDS: [(&str, u32, u32); 6] = [
    ("call", 290, 350),
    ("email", 300, 50),
    ("meeting", 150, 850),
    ("demo", 60, 950),
    ("task", 120, 900),
    ("note", 80, 0),
];

fn activity_key(activity: u32) -> String {
    format!("N-{activity}")
}

impl World {
    pub(super) fn work_on_deal(&mut self, at: i64, deal: &Deal) {
        let account = deal.account.map(|account| self.root_of(account));
        self.act(at, deal.owner, About::Deal(deal.id), account);
    }

    /// A rep keeps in touch with a customer, for no deal in particular.
    pub(super) fn keep_in_touch(&mut self, at: i64) {
        if let Some(account) = self.any_customer() {
            let at = at_work(at, self.offset_of(account), &mut self.random);
            self.schedule(at, Task::Visit(account));
        }
    }

    pub(super) fn visit(&mut self, at: i64, account: u32) {
        let account = self.root_of(account);
        let owner = self.accounts[account as usize].owner;
        self.act(at, owner, About::Account, Some(account));
    }

    /// A rep does something, or plans to.
    pub(super) fn act(&mut self, at: i64, owner: u8, about: About, account: Option<u32>) {
        self.activities += 1;
        let activity = self.activities;
        let (kind, _, planned) = KINDS[self.random.weighted(KINDS.iter().map(|k| k.1))];
        let event = self
            .event("activity", "upserted", activity_key(activity), at)
            .text("kind", kind)
            .text("owner_id", &self.reps.get(owner).id);
        let event = self.address(event, about, account);
        if !self.random.chance(planned) {
            let done_at = at - self.random.between(0, 30 * MINUTE);
            let event = event.instant("done_at", done_at);
            return self.publish(event.number("done", true));
        }
        let offset = self.offset_of_rep(owner);
        let due = at + self.random.long_tailed(4 * DAY);
        let due = at_work(due, offset, &mut self.random);
        self.publish(event.instant("due_at", due).number("done", false));
        // The rest is never done.
        let (step, when) = match self.random.weighted([620, 180, 60, 140].into_iter()) {
            0 => (
                ActivityStep::Do,
                due + self.random.below(2 * HOUR as u64) as i64,
            ),
            1 => (ActivityStep::Do, due + self.random.long_tailed(3 * DAY)),
            2 => (
                ActivityStep::Delete,
                at + self.random.between(HOUR, 6 * DAY),
            ),
            _ => return,
        };
        let when = at_work(when, offset, &mut self.random);
        self.schedule(when, Task::Activity(activity, step));
    }

    /// Names what an activity is about, and mostly the contact it is done with, if one is known.
    fn address(&mut self, event: Event, about: About, account: Option<u32>) -> Event {
        let known = account.and_then(|account| self.accounts[account as usize].contact);
        let contact = known.filter(|_| self.random.chance(800));
        let names_account = match about {
            About::Deal(_) | About::Lead(_) => self.random.chance(500),
            // Some forms take the person only.
            About::Account => contact.is_none() || self.random.chance(750),
        };
        let event = match about {
            About::Deal(deal) => event.text("deal_id", &deal_key(deal)),
            About::Lead(lead) => event.text("lead_id", &lead_key(lead)),
            About::Account => event,
        };
        let account = account.filter(|_| names_account).map(account_key);
        event
            .maybe_text("account_id", account.as_deref())
            .maybe_text("contact_id", contact.map(contact_key).as_deref())
    }

    pub(super) fn step_activity(&mut self, at: i64, activity: u32, step: ActivityStep) {
        let key = activity_key(activity);
        let event = match step {
            ActivityStep::Delete => self.event("activity", "deleted", key, at),
            ActivityStep::Do => {
                let event = self.event("activity", "upserted", key, at);
                // Some only tick it off: then the time of the event has to serve.
                match self.random.chance(850) {
                    true => event.instant("done_at", at).number("done", true),
                    false => event.number("done", true),
                }
            }
        };
        self.publish(event);
    }
}
