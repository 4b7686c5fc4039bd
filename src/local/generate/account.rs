//! Accounts: companies that may buy, become customers, turn out to be one company, and leave.

use super::calendar::{DAY, at_work};
use super::company::{INDUSTRIES, PRODUCTS, REGIONS, SEGMENTS, company_name};
use super::event::Event;
use super::world::{Task, World};

/// What has to be remembered of an account for the rest of the run.
pub(super) struct Account {
    pub(super) owner: u8,
    pub(super) region: u8,
    pub(super) segment: u8,
    /// One bit a product.
    pub(super) bought: u8,
    /// The person there who was met last.
    pub(super) contact: Option<u32>,
    merged_into: Option<u32>,
    /// Unix ms.
    pub(super) customer_since: Option<i64>,
    pub(super) churned: bool,
}

/// What is still to happen to an account.
pub(super) enum AccountStep {
    MergeInto(u32),
    Churn,
}

pub(super) fn account_key(account: u32) -> String {
    format!("A-{}", account + 1)
}

impl World {
    /// A company without an account before this.
    pub(super) fn found_account(&mut self, at: i64, region: u8, owner: u8) -> u32 {
        let account = self.accounts.len() as u32;
        let segment = self.random.weighted(SEGMENTS.iter().map(|s| s.share)) as u8;
        self.accounts.push(Account {
            owner,
            region,
            segment,
            bought: 0,
            contact: None,
            merged_into: None,
            customer_since: None,
            churned: false,
        });
        let event = self.describe_account(at, account);
        self.publish(event);
        let met = self.random.weighted([300, 450, 250].into_iter());
        (0..met).for_each(|_| self.meet_contact(at, owner, Some(account)));

        // Now and then a rep enters a company that is there already, which is noticed later.
        if account > 0 && self.random.chance(30) {
            let other = self.random.below(u64::from(account)) as u32;
            let noticed = at + self.random.between(2 * DAY, 30 * DAY);
            let offset = REGIONS[usize::from(region)].offset;
            let noticed = at_work(noticed, offset, &mut self.random);
            self.schedule(
                noticed,
                Task::Account(account, AccountStep::MergeInto(other)),
            );
        }
        account
    }

    /// An account that has been a customer for up to three years when the stream begins.
    pub(super) fn found_customer(&mut self, at: i64) {
        let region = self.random.weighted(REGIONS.iter().map(|r| r.share)) as u8;
        let owner = self.reps.any_of(region, &mut self.random);
        let account = self.found_account(at, region, owner);
        let since = at - self.random.between(10 * DAY, 1095 * DAY);
        let product = self.random.index(PRODUCTS.len()) as u8;
        self.accounts[account as usize].bought |= 1 << product;
        self.become_customer(at, account, since);
        if PRODUCTS[usize::from(product)].is_subscription {
            self.introduce_subscription(at, account, product);
        }
    }

    fn describe_account(&mut self, at: i64, account: u32) -> Event {
        let event = self.event("account", "upserted", account_key(account), at);
        let Account {
            owner,
            region,
            segment,
            ..
        } = self.accounts[account as usize];
        let segment = &SEGMENTS[usize::from(segment)];
        let (fewest, most) = segment.employees;
        let employees = self.random.between(fewest, most);
        let industry = self.random.pick(&INDUSTRIES);
        event
            .text("name", &company_name(account, region))
            .text("segment", segment.name)
            .text("owner_id", &self.reps.get(owner).id)
            .text("region", REGIONS[usize::from(region)].name)
            .custom(|event| {
                event
                    .text("industry", industry)
                    .number("employees", employees)
            })
    }

    /// The account's first win, or its first after it had left.
    pub(super) fn become_customer(&mut self, at: i64, account: u32, since: i64) {
        let known = &mut self.accounts[account as usize];
        let had_churned = std::mem::take(&mut known.churned);
        let is_first = known.customer_since.is_none();
        if is_first {
            known.customer_since = Some(since);
        }
        if !is_first && !had_churned {
            return;
        }
        self.customers.push(account);
        if self.random.chance(250) {
            let leaves = at + self.random.long_tailed(400 * DAY);
            self.schedule(leaves, Task::Account(account, AccountStep::Churn));
        }
        // Some never have the date filled in: their first win has to serve.
        if is_first && !self.random.chance(850) {
            return;
        }
        let offset = self.offset_of(account);
        let mut event = self.event("account", "upserted", account_key(account), at);
        if is_first {
            event = match self.random.chance(500) {
                true => event.date("became_customer_at", since, offset),
                false => event.instant("became_customer_at", since),
            };
        }
        if had_churned {
            event = event.null("churned_at");
        }
        self.publish(event);
    }

    pub(super) fn step_account(&mut self, at: i64, account: u32, step: AccountStep) {
        if self.accounts[account as usize].merged_into.is_some() {
            return;
        }
        match step {
            AccountStep::MergeInto(other) => self.merge_account(at, account, other),
            AccountStep::Churn => {
                self.accounts[account as usize].churned = true;
                let event = self.event("account", "upserted", account_key(account), at);
                self.publish(event.instant("churned_at", at));
            }
        }
    }

    fn merge_account(&mut self, at: i64, account: u32, other: u32) {
        let root = self.root_of(other);
        if root == account {
            return;
        }
        self.accounts[account as usize].merged_into = Some(root);
        let Account {
            bought,
            customer_since,
            churned,
            ..
        } = self.accounts[account as usize];
        let survivor = &mut self.accounts[root as usize];
        survivor.bought |= bought;
        if survivor.customer_since.is_none() && customer_since.is_some() && !churned {
            survivor.customer_since = customer_since;
            self.customers.push(root);
        }
        let event = self.event("account", "merged", account_key(account), at);
        self.publish(event.text("merged_into", &account_key(root)));
    }

    /// The account that a possibly merged one has become part of.
    pub(super) fn root_of(&self, mut account: u32) -> u32 {
        while let Some(into) = self.accounts[account as usize].merged_into {
            account = into;
        }
        account
    }

    /// Some present customer, if there is any.
    pub(super) fn any_customer(&mut self) -> Option<u32> {
        while !self.customers.is_empty() {
            let place = self.random.index(self.customers.len());
            let account = self.customers[place];
            let known = &self.accounts[account as usize];
            if known.merged_into.is_none() && !known.churned {
                return Some(account);
            }
            // Those who left are struck off when they are next come across.
            self.customers.swap_remove(place);
        }
        None
    }

    pub(super) fn offset_of(&self, account: u32) -> i64 {
        REGIONS[usize::from(self.accounts[account as usize].region)].offset
    }
}
