//! Contacts: people at the accounts, and some whose company is not known at first.

use super::account::account_key;
use super::calendar::DAY;
use super::world::{Task, World};

/// What is still to happen to a contact.
pub(super) enum ContactStep {
    /// Their company turns out to be a customer.
    JoinCustomer,
    Delete,
}

pub(super) fn contact_key(contact: u32) -> String {
    format!("C-{contact}")
}

impl World {
    /// Somebody becomes known to a rep, at an account or at none that is on file.
    pub(super) fn meet_contact(&mut self, at: i64, owner: u8, account: Option<u32>) {
        self.contacts += 1;
        let contact = self.contacts;
        if let Some(account) = account {
            self.accounts[account as usize].contact = Some(contact);
        }
        let mut event = self
            .event("contact", "upserted", contact_key(contact), at)
            .maybe_text("account_id", account.map(account_key).as_deref())
            .text("owner_id", &self.reps.get(owner).id);
        // One form in ten has no creation time.
        if self.random.chance(900) {
            event = event.instant("created_at", at);
        }
        self.publish(event);
        if account.is_none() && self.random.chance(400) {
            let known = at + self.random.between(DAY, 30 * DAY);
            self.schedule(known, Task::Contact(contact, ContactStep::JoinCustomer));
        }
        if self.random.chance(50) {
            let leaves = at + self.random.long_tailed(120 * DAY);
            self.schedule(leaves, Task::Contact(contact, ContactStep::Delete));
        }
    }

    pub(super) fn step_contact(&mut self, at: i64, contact: u32, step: ContactStep) {
        let event = match step {
            ContactStep::JoinCustomer => {
                let Some(account) = self.any_customer() else {
                    return;
                };
                self.accounts[account as usize].contact = Some(contact);
                let event = self.event("contact", "upserted", contact_key(contact), at);
                event.text("account_id", &account_key(account))
            }
            ContactStep::Delete => self.event("contact", "deleted", contact_key(contact), at),
        };
        self.publish(event);
    }
}
