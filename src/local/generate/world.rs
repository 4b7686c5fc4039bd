//! The present state of the organisation, its future steps, and its events not yet published.

use super::account::{Account, AccountStep};
use super::activity::ActivityStep;
use super::billing::{Invoice, Payment};
use super::calendar::{DAY, HOUR, MINUTE, busyness};
use super::contact::ContactStep;
use super::deal::{Deal, Origin};
use super::event::Event;
use super::lead::Lead;
use super::quota::Correction;
use super::random::Random;
use super::rate::Rates;
use super::subscription::Subscription;
use super::user::Reps;
use super::{GeneratedEvent, GeneratorConfig};
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap, HashMap};

pub(super) enum Task {
    /// The stream begins: what the organisation has by then is made known.
    Begin,
    /// A month begins.
    Month,
    /// The quotas of the periods that begin at that time are set.
    Quotas(i64),
    Quota(Box<Correction>),
    /// Somebody moves.
    Staff,
    /// The day's exchange rates are fixed.
    Rates,
    /// An hour begins: its new leads are created.
    Hour,
    /// That many customers of old are still to be put on file.
    Customers(u64),
    NewLead,
    NewDeal(Origin),
    Lead(Box<Lead>),
    Deal(Box<Deal>),
    Account(u32, AccountStep),
    Contact(u32, ContactStep),
    Activity(u32, ActivityStep),
    /// A rep calls on that account.
    Visit(u32),
    Invoice(Box<Invoice>),
    Payment(Box<Payment>),
    /// An account's month of a product is to be paid.
    Subscription(u32, u8),
}

/// Something due at a time; what is due at the same time comes in the order it was asked for.
struct Due<T> {
    at: i64,
    turn: u64,
    what: T,
}

impl<T> Ord for Due<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.turn).cmp(&(other.at, other.turn))
    }
}

impl<T> PartialOrd for Due<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Due<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Due<T> {}

/// How much business comes along over the whole run, and the busyness all hours have together.
struct Demand {
    total_busyness: u64,
    leads: u64,
    direct_deals: u64,
    repeat_deals: u64,
    visits: u64,
    /// The present day's luck, in thousandths.
    day: i64,
    luck: u64,
}

pub(super) struct World {
    pub(super) config: GeneratorConfig,
    pub(super) random: Random,
    pub(super) reps: Reps,
    pub(super) accounts: Vec<Account>,
    /// Accounts that bought; some may have left since.
    pub(super) customers: Vec<u32>,
    pub(super) leads: u32,
    pub(super) deals: u32,
    pub(super) contacts: u32,
    pub(super) activities: u32,
    pub(super) invoices: u32,
    pub(super) payments: u32,
    /// By account and product.
    pub(super) subscriptions: HashMap<(u32, u8), Subscription>,
    pub(super) rates: Rates,
    /// Euro cents that open deals are going to bring, by the beginning of the month and the desk.
    pub(super) foreseen: BTreeMap<(i64, u8), i64>,
    demand: Demand,
    sequence: u64,
    /// When the last event that was neither late nor disordered is published.
    pub(super) published: i64,
    turn: u64,
    tasks: BinaryHeap<Reverse<Due<Task>>>,
    outbox: BinaryHeap<Reverse<Due<GeneratedEvent>>>,
}

/// Of all deals, in thousandths: those that leads become, those reps bring in themselves; customers
/// of old do the rest.
const FROM_LEADS: u64 = 600;
const DIRECT: u64 = 100;
/// How often reps get in touch with customers for no deal in particular, against a thousand deals.
const VISITS: u64 = 300;

impl World {
    pub(super) fn new(config: GeneratorConfig) -> Self {
        let mut random = Random::new(config.seed);
        let reps = Reps::hire(&mut random);
        let start = config.start.timestamp_millis();
        let hours = (start..config.end.timestamp_millis()).step_by(HOUR as usize);
        let deals = config.deals;
        let demand = Demand {
            total_busyness: hours.map(busyness).sum::<u64>().max(1),
            leads: deals * FROM_LEADS / super::lead::converted_per_mille(),
            direct_deals: deals * DIRECT / 1000,
            repeat_deals: deals * (1000 - FROM_LEADS - DIRECT) / 1000,
            visits: deals * VISITS / 1000,
            day: i64::MIN,
            luck: 1000,
        };
        let rates = Rates::of(&config.currencies);
        let mut world = Self {
            config,
            random,
            reps,
            accounts: Vec::new(),
            customers: Vec::new(),
            leads: 0,
            deals: 0,
            contacts: 0,
            activities: 0,
            invoices: 0,
            payments: 0,
            subscriptions: HashMap::new(),
            rates,
            foreseen: BTreeMap::new(),
            demand,
            sequence: 0,
            published: i64::MIN,
            turn: 0,
            tasks: BinaryHeap::new(),
            outbox: BinaryHeap::new(),
        };
        world.schedule(start, Task::Begin);
        world.schedule(start, Task::Customers(deals / 12 + 1));
        world.schedule(start, Task::Hour);
        world
    }

    /// The next event that is published, with time unbounded.
    pub(super) fn next_published(&mut self) -> Option<GeneratedEvent> {
        loop {
            // Whatever is still to happen can only be published after it happened.
            let next_task = self.tasks.peek().map_or(i64::MAX, |Reverse(due)| due.at);
            let next_out = self.outbox.peek().map_or(i64::MAX, |Reverse(due)| due.at);
            if next_out <= next_task {
                return self.outbox.pop().map(|Reverse(due)| due.what);
            }
            let Reverse(Due { at, what, .. }) = self.tasks.pop()?;
            self.perform(at, what);
        }
    }

    /// How much is held in memory: tasks still to come, events not yet published, running
    /// subscriptions and what quotas are set by.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.tasks.len() + self.outbox.len() + self.subscriptions.len() + self.foreseen.len()
    }

    fn perform(&mut self, at: i64, task: Task) {
        match task {
            Task::Begin => {
                self.introduce_staff(at);
                self.introduce_quotas(at);
                self.introduce_rates(at);
                self.introduce_stages(at);
                self.introduce_field_values(at);
                self.introduce_labels(at);
                self.open_month(at);
            }
            Task::Month => self.open_month(at),
            Task::Quotas(first) => self.set_quotas(at, first),
            Task::Quota(correction) => self.correct_quota(at, *correction),
            Task::Staff => self.change_staff(at),
            Task::Rates => self.fix_rates(at),
            Task::Hour => self.open_hour(at),
            Task::Customers(left) => {
                self.found_customer(at);
                if left > 1 {
                    // All of them within the first half hour or so.
                    let step = (30 * MINUTE as u64 / (self.config.deals / 12 + 1)) as i64;
                    self.schedule(at + step, Task::Customers(left - 1));
                }
            }
            Task::NewLead => self.create_lead(at),
            Task::NewDeal(origin) => self.create_deal(at, origin),
            Task::Lead(lead) => self.step_lead(at, lead),
            Task::Deal(deal) => self.step_deal(at, deal),
            Task::Account(account, step) => self.step_account(at, account, step),
            Task::Contact(contact, step) => self.step_contact(at, contact, step),
            Task::Activity(activity, step) => self.step_activity(at, activity, step),
            Task::Visit(account) => self.visit(at, account),
            Task::Invoice(invoice) => self.step_invoice(at, *invoice),
            Task::Payment(payment) => self.step_payment(at, *payment),
            Task::Subscription(account, product) => self.step_subscription(at, account, product),
        }
    }

    fn open_hour(&mut self, at: i64) {
        let day = at.div_euclid(DAY);
        if day != self.demand.day {
            self.demand.day = day;
            self.demand.luck = self.random.between(600, 1400) as u64;
        }
        let weight = busyness(at) * self.demand.luck / 1000;
        for _ in 0..self.coming(self.demand.leads, weight) {
            let at = self.within_hour(at);
            self.schedule(at, Task::NewLead);
        }
        for _ in 0..self.coming(self.demand.direct_deals, weight) {
            let at = self.within_hour(at);
            self.schedule(at, Task::NewDeal(Origin::Direct));
        }
        for _ in 0..self.coming(self.demand.repeat_deals, weight) {
            let at = self.within_hour(at);
            self.schedule(at, Task::NewDeal(Origin::Customer));
        }
        for _ in 0..self.coming(self.demand.visits, weight) {
            let at = self.within_hour(at);
            self.keep_in_touch(at);
        }
        let next = at + HOUR;
        if next < self.config.end.timestamp_millis() {
            self.schedule(next, Task::Hour);
        }
    }

    fn within_hour(&mut self, at: i64) -> i64 {
        at + self.random.below(HOUR as u64) as i64
    }

    /// How many of the run's `total` come in an hour of this busyness.
    fn coming(&mut self, total: u64, weight: u64) -> u64 {
        let expected = (u128::from(total) << 16) * u128::from(weight);
        let expected = expected / u128::from(self.demand.total_busyness);
        self.random.arrivals(expected as u64)
    }

    /// The busyness of all hours of the run together.
    pub(super) fn total_busyness(&self) -> u64 {
        self.demand.total_busyness
    }

    pub(super) fn schedule(&mut self, at: i64, what: Task) {
        self.turn += 1;
        self.tasks.push(Reverse(Due {
            at,
            turn: self.turn,
            what,
        }));
    }

    /// Opens an event, with the next number of the CRM's own commit sequence.
    pub(super) fn event(&mut self, kind: &str, verb: &str, key: String, at: i64) -> Event {
        self.sequence += 1;
        Event::new(kind, verb, key, at, self.sequence)
    }

    /// Sends an event on its way: mostly at once, sometimes behind its successors, late or twice.
    pub(super) fn publish(&mut self, event: Event) {
        let at = event.at;
        let (key, payload) = event.finish();
        let faults = self.config.faults;
        let delay = if self.random.chance(faults.late) {
            self.random.between(HOUR + 1, 12 * HOUR) * self.random.between(1, 10)
        } else if self.random.chance(faults.disordered) {
            self.random.between(MINUTE / 3, 20 * MINUTE)
        } else {
            // A sound feed publishes in the order of its commits.
            self.published = self.published.max(at + self.random.between(40, 1500));
            self.published - at
        };
        let emitted = at + delay;
        if self.random.chance(faults.duplicate) {
            let again = emitted + self.random.long_tailed(2 * HOUR);
            self.post(again, key.clone(), payload.clone());
        }
        self.post(emitted, key, payload);
    }

    fn post(&mut self, at: i64, key: String, payload: Vec<u8>) {
        self.turn += 1;
        let emitted_at = at * 1000;
        let what = GeneratedEvent {
            key,
            emitted_at,
            payload,
        };
        self.outbox.push(Reverse(Due {
            at,
            turn: self.turn,
            what,
        }));
    }
}
