//! Leads: somebody asks; most come to nothing, some become deals.

use super::account::account_key;
use super::activity::About;
use super::calendar::{DAY, HOUR, at_work};
use super::company::{CAMPAIGNS, REGIONS, SOURCES};
use super::deal::{FromLead, Origin};
use super::plan::Plan;
use super::world::{Task, World};

/// A lead with events still to come.
pub(super) struct Lead {
    id: u32,
    owner: u8,
    region: u8,
    source: u8,
    account: Option<u32>,
    plan: Plan<LeadStep>,
}

enum LeadStep {
    /// The rep does something about it.
    Act,
    Qualify,
    Disqualify,
    Convert,
    MergeInto(u32),
    Delete,
    Restore,
}

pub(super) fn lead_key(lead: u32) -> String {
    format!("L-{lead}")
}

/// How many of a thousand leads become deals, over all sources.
pub(super) fn converted_per_mille() -> u64 {
    let of_a_million: u32 = SOURCES.iter().map(|s| s.share * s.converts).sum();
    u64::from(of_a_million / 1000)
}

impl World {
    pub(super) fn create_lead(&mut self, at: i64) {
        self.leads += 1;
        let source = self.random.weighted(SOURCES.iter().map(|s| s.share)) as u8;
        let region = self.random.weighted(REGIONS.iter().map(|r| r.share)) as u8;
        let owner = self.reps.any_of(region, &mut self.random);
        // Some ask on behalf of a company that buys already.
        let asks_for_customer = self.random.chance(100);
        let account = if asks_for_customer {
            self.any_customer()
        } else {
            None
        };
        let mut lead = Lead {
            id: self.leads,
            owner,
            region,
            source,
            account,
            plan: Plan::of(vec![]),
        };
        lead.plan = self.plan_lead(at, &lead);
        self.announce_lead(at, &lead);
        self.follow_lead(lead);
        // Somebody may be met along with a lead whose company is not on file.
        if self.random.chance(30) {
            self.meet_contact(at, owner, None);
        }
    }

    fn plan_lead(&mut self, at: i64, lead: &Lead) -> Plan<LeadStep> {
        let offset = REGIONS[usize::from(lead.region)].offset;
        let answered = at + self.random.long_tailed(20 * HOUR);
        let answered = at_work(answered, offset, &mut self.random);
        let decided = answered + self.random.long_tailed(6 * DAY);
        let decided = at_work(decided, offset, &mut self.random);

        let converts = SOURCES[usize::from(lead.source)].converts;
        let converts = self.reps.achieved(lead.owner, converts);
        let mut steps = Vec::new();
        for likely in [240, 60] {
            if self.random.chance(likely) {
                let when = at + (answered - at) / 1000 * self.random.between(100, 900);
                let when = at_work(when, offset, &mut self.random);
                steps.push((when.min(answered), LeadStep::Act));
            }
        }
        if self.random.chance(converts) {
            // A rep in a hurry converts an unqualified lead.
            if self.random.chance(850) {
                steps.push((answered, LeadStep::Qualify));
            }
            steps.push((decided, LeadStep::Convert));
        } else if self.random.chance(200) {
            steps.push((answered, LeadStep::Qualify));
            if self.random.chance(600) {
                steps.push((decided, LeadStep::Disqualify));
            }
        } else if self.random.chance(650) {
            steps.push((answered, LeadStep::Disqualify));
        } else if self.random.chance(60) && lead.id > 1 {
            let recent = self.random.below(u64::from(lead.id - 1).min(200)) as u32;
            steps.push((answered, LeadStep::MergeInto(lead.id - 1 - recent)));
        } else if self.random.chance(60) {
            steps.push((answered, LeadStep::Delete));
            if self.random.chance(250) {
                steps.push((decided, LeadStep::Restore));
            }
        }
        Plan::of(steps)
    }

    fn announce_lead(&mut self, at: i64, lead: &Lead) {
        let event = self.event("lead", "upserted", lead_key(lead.id), at);
        // An empty source is left out by one form and sent empty by another.
        let source = SOURCES[usize::from(lead.source)].name;
        let source = source.or(if self.random.chance(500) {
            Some("")
        } else {
            None
        });
        let rep = self.reps.get(lead.owner);
        let account = lead.account.map(account_key);
        let mut event = event
            .maybe_text("lead_source", source)
            .text("status", "open")
            .text("owner_id", &rep.id)
            .text("team", rep.team_name())
            .text("region", REGIONS[usize::from(lead.region)].name)
            .maybe_text("account_id", account.as_deref());
        event = match self.random.below(100) {
            0..3 => event,
            3..8 => event.number("created_at", at),
            _ => event.instant("created_at", at),
        };
        if self.random.chance(300) {
            let campaign = self.random.pick(&CAMPAIGNS);
            let score = self.random.below(100);
            event = event.custom(|event| event.text("campaign", campaign).number("score", score));
        }
        self.publish(event);
    }

    fn follow_lead(&mut self, lead: Lead) {
        if let Some(at) = lead.plan.next_at() {
            self.schedule(at, Task::Lead(Box::new(lead)));
        }
    }

    pub(super) fn step_lead(&mut self, at: i64, mut lead: Box<Lead>) {
        let key = lead_key(lead.id);
        match lead.plan.take() {
            Some(LeadStep::Act) => {
                let account = lead.account.map(|account| self.root_of(account));
                self.act(at, lead.owner, About::Lead(lead.id), account);
            }
            Some(LeadStep::Qualify) => {
                let event = self.event("lead", "upserted", key, at);
                self.publish(
                    event
                        .text("status", "qualified")
                        .instant("qualified_at", at),
                );
            }
            Some(LeadStep::Disqualify) => {
                let event = self.event("lead", "upserted", key, at);
                self.publish(event.text("status", "disqualified"));
            }
            Some(LeadStep::Convert) => self.convert_lead(at, &lead),
            Some(LeadStep::MergeInto(other)) => {
                let event = self.event("lead", "merged", key, at);
                self.publish(event.text("merged_into", &lead_key(other)));
            }
            Some(LeadStep::Delete) => {
                let event = self.event("lead", "deleted", key, at);
                self.publish(event);
            }
            Some(LeadStep::Restore) => {
                let event = self.event("lead", "restored", key, at);
                self.publish(event);
            }
            None => return,
        }
        self.follow_lead(*lead);
    }

    /// The lead becomes a deal, each of which may or may not name the other; one of them always
    /// does.
    fn convert_lead(&mut self, at: i64, lead: &Lead) {
        let account = match lead.account {
            Some(account) => Some(self.root_of(account)),
            None if self.random.chance(20) => None,
            None => Some(self.found_account(at, lead.region, lead.owner)),
        };
        let (lead_names_deal, deal_names_lead) = match self.random.below(10) {
            0..5 => (true, true),
            5..8 => (false, true),
            _ => (true, false),
        };
        let becomes = super::deal::deal_key(self.deals + 1);
        let event = self
            .event("lead", "upserted", lead_key(lead.id), at)
            .text("status", "converted")
            .instant("converted_at", at)
            .maybe_text(
                "converted_deal_id",
                lead_names_deal.then_some(becomes.as_str()),
            )
            .maybe_text("account_id", account.map(account_key).as_deref());
        self.publish(event);
        self.create_deal(
            at,
            Origin::Lead(FromLead {
                named: deal_names_lead.then_some(lead.id),
                owner: lead.owner,
                source: lead.source,
                account,
            }),
        );
    }
}
