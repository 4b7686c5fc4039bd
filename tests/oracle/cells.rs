//! Every cell from scratch: what each lead, deal, split, account, contact, activity and invoice
//! adds to every metric, by the metrics' definitions.

use std::collections::{BTreeMap, BTreeSet};

use dealpulse::event::When;
use dealpulse::window::{Grain, Pane, sketch};

use super::money::Payment;
use super::{Contact, Deal, Dims, Oracle};

/// Rollup, grouping, pane, values, currency.
pub type Name = (String, String, Pane, Vec<String>, String);

/// Counts, sums and the sketch's buckets, zeros cut off their ends.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Numbers {
    pub counts: Vec<i64>,
    pub sums: Vec<i128>,
    pub sketch: BTreeMap<i16, i64>,
}

impl Numbers {
    pub(super) fn count(&mut self, measure: usize) {
        if self.counts.len() <= measure {
            self.counts.resize(measure + 1, 0);
        }
        self.counts[measure] += 1;
    }

    pub(super) fn sum(&mut self, measure: usize, by: i128) {
        if self.sums.len() <= measure {
            self.sums.resize(measure + 1, 0);
        }
        self.sums[measure] += by;
    }

    /// Adds the values of another shard.
    pub fn merge(&mut self, counts: &[i64], sums: &[i128], sketch: &[(i16, i64)]) {
        for (measure, count) in counts.iter().enumerate() {
            self.counts.resize(self.counts.len().max(measure + 1), 0);
            self.counts[measure] += count;
        }
        sums.iter()
            .enumerate()
            .for_each(|(measure, sum)| self.sum(measure, *sum));
        for (bucket, count) in sketch {
            *self.sketch.entry(*bucket).or_default() += count;
        }
    }

    /// Without zeros; `None` if nothing is left.
    pub fn trimmed(mut self) -> Option<Numbers> {
        while self.counts.last() == Some(&0) {
            self.counts.pop();
        }
        while self.sums.last() == Some(&0) {
            self.sums.pop();
        }
        self.sketch.retain(|_, count| *count != 0);
        (self != Numbers::default()).then_some(self)
    }
}

/// Whose dimensions a number is cut by.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum By {
    Lead,
    Deal,
    Contact,
    Account,
    Owner,
    Forecast,
    Losses,
    Stages,
    Quota,
    Nothing,
}

pub(super) const HOURS_AND_DAYS: &[Grain] = &[Grain::Hour, Grain::Day];

#[derive(Default)]
pub(super) struct Table(BTreeMap<Name, Numbers>);

const TYPES: [&str; 6] = [
    "new",
    "upsell",
    "cross_sell",
    "renewal",
    "repeat",
    "unclassified",
];

impl Oracle<'_> {
    /// The values that are not zero.
    pub fn cells(&self) -> BTreeMap<Name, Numbers> {
        let mut table = Table::default();
        let deals: BTreeMap<&str, Deal> = self
            .ids("deal")
            .into_iter()
            .filter_map(|id| Some((id, self.deal(id)?)))
            .collect();
        for (id, deal) in &deals {
            self.of_deal(deal, &mut table);
            self.of_open_deal(id, deal, &mut table);
            self.of_losses(id, deal, &mut table);
            self.of_splits(id, deal, &mut table);
            self.of_stages(id, deal, &mut table);
        }
        self.of_quotas(&mut table);
        let leads = self
            .ids("lead")
            .into_iter()
            .chain(deals.values().filter_map(|d| d.lead.as_deref()));
        for lead in leads.collect::<BTreeSet<_>>() {
            self.of_lead(
                lead,
                deals
                    .values()
                    .filter(|d| d.lead.as_deref() == Some(lead))
                    .collect(),
                &mut table,
            );
        }
        let roots = self
            .ids("account")
            .into_iter()
            .map(|id| self.root("account", id));
        let payments = self.payments();
        let accounts = self
            .ids("account")
            .into_iter()
            .chain(roots)
            .chain(payments.iter().filter_map(|p| p.account.as_deref()))
            .chain(deals.values().filter_map(|d| d.account.as_deref()));
        for account in accounts.collect::<BTreeSet<_>>() {
            let of_account = deals
                .iter()
                .filter(|(_, d)| d.account.as_deref() == Some(account));
            self.of_account(
                account,
                of_account.map(|(id, d)| (*id, d)).collect(),
                payments
                    .iter()
                    .filter(|p| p.account.as_deref() == Some(account))
                    .collect(),
                &mut table,
            );
        }
        payments
            .iter()
            .for_each(|payment| self.of_payment(payment, &mut table));
        self.of_invoices(&payments, &mut table);
        self.of_activities(&mut table);
        self.of_touches(&mut table);
        let contacts = self.ids("contact").into_iter();
        let contacts: Vec<Contact> = contacts.filter_map(|id| self.contact(id)).collect();
        for contact in &contacts {
            self.add(
                &mut table,
                ("contacts.new", By::Contact, HOURS_AND_DAYS),
                contact.created,
                &contact.dims,
                "",
                |cell| cell.count(0),
            );
        }
        let at: BTreeSet<&str> = contacts
            .iter()
            .filter_map(|c| c.account.as_deref())
            .collect();
        for deal in deals.values().filter(|deal| deal.status == "won") {
            let contacted = deal.account.as_deref().is_some_and(|id| at.contains(id));
            self.add(
                &mut table,
                ("contacted_wins.won", By::Deal, HOURS_AND_DAYS),
                deal.closed.expect("a won deal"),
                &deal.dims,
                "",
                |cell| {
                    cell.count(0);
                    if contacted {
                        cell.count(1);
                    }
                },
            );
        }
        table
            .0
            .into_iter()
            .filter_map(|(name, numbers)| Some((name, numbers.trimmed()?)))
            .collect()
    }

    /// Adds to a rollup under every grouping set that its dimensions allow, in every pane.
    pub(super) fn add(
        &self,
        table: &mut Table,
        rollup: (&str, By, &[Grain]),
        at: When,
        dims: &Dims,
        currency: &str,
        change: impl Fn(&mut Numbers),
    ) {
        let (name, by, grains) = rollup;
        for (number, set) in self.definitions.sets.iter().enumerate() {
            let by_name: Vec<String> = set
                .dimensions
                .iter()
                .map(|d| self.definitions.dimension_name(*d))
                .collect();
            // A sum over the stages means nothing.
            if by == By::Stages && !by_name.contains(&"stage".to_owned()) {
                continue;
            }
            let allowed = |dimension: &String| match by {
                By::Nothing => false,
                By::Lead => {
                    ["source", "region", "team", "owner"].contains(&dimension.as_str())
                        || dimension.starts_with("custom.")
                }
                By::Deal => !["segment", "stage", "forecast_category", "lost_reason"]
                    .contains(&dimension.as_str()),
                By::Forecast => !["segment", "lost_reason"].contains(&dimension.as_str()),
                By::Losses => {
                    !["segment", "stage", "forecast_category"].contains(&dimension.as_str())
                }
                By::Stages => {
                    !["segment", "forecast_category", "lost_reason"].contains(&dimension.as_str())
                }
                By::Quota => ["owner", "team"].contains(&dimension.as_str()),
                By::Owner => dimension == "owner",
                By::Contact => ["region", "owner"].contains(&dimension.as_str()),
                By::Account => {
                    ["region", "owner", "segment"].contains(&dimension.as_str())
                        || dimension.starts_with("custom.")
                }
            };
            if !by_name.iter().all(allowed) {
                continue;
            }
            let mut panes: Vec<Pane> = [Grain::Hour, Grain::Day, Grain::Month]
                .iter()
                .filter(|g| grains.contains(g) && (set.grains.contains(g) || **g == Grain::Month))
                .map(|grain| Pane::of(at, *grain, &self.definitions.calendar))
                .collect();
            panes.dedup(); // what is undated is so once
            for pane in panes {
                let values = by_name
                    .iter()
                    .map(|dimension| dims.get(dimension).cloned().unwrap_or_default())
                    .collect();
                change(
                    table
                        .0
                        .entry((
                            name.into(),
                            self.definitions.set_name(number),
                            pane,
                            values,
                            currency.into(),
                        ))
                        .or_default(),
                );
            }
        }
    }

    fn span(&self, from: When, to: When) -> i64 {
        match (from, to) {
            (When::Instant(from), When::Instant(to)) => (to - from).div_euclid(1_000_000),
            _ => {
                i64::from(self.definitions.calendar.day(to) - self.definitions.calendar.day(from))
                    * 86_400
            }
        }
    }

    pub(super) fn add_span(
        &self,
        table: &mut Table,
        (rollup, by): (&str, By),
        from: When,
        to: When,
        dims: &Dims,
    ) {
        let seconds = self.span(from, to);
        self.add(table, (rollup, by, HOURS_AND_DAYS), to, dims, "", |cell| {
            if seconds < 0 {
                return cell.count(1);
            }
            cell.count(0);
            cell.sum(0, i128::from(seconds) * 10_000);
            *cell.sketch.entry(sketch::bucket(seconds)).or_default() += 1;
        });
    }

    fn of_deal(&self, deal: &Deal, table: &mut Table) {
        let measure = ["open", "won", "lost"]
            .iter()
            .position(|s| *s == deal.status)
            .expect("a status");
        self.add(
            table,
            ("win_rate.opened", By::Deal, HOURS_AND_DAYS),
            deal.created,
            &deal.dims,
            "",
            |cell| {
                cell.count(measure);
                if deal.dated_by_clock {
                    cell.count(3);
                }
            },
        );
        let Some(closed) = deal.closed else { return };
        let measure = measure - 1;
        self.add(
            table,
            ("win_rate.closed", By::Deal, HOURS_AND_DAYS),
            closed,
            &deal.dims,
            &deal.currency,
            |cell| {
                cell.count(measure);
                if deal.status == "won" && deal.has_amount {
                    cell.count(2);
                }
                cell.sum(measure, deal.amount);
            },
        );
        let rollup = if deal.status == "won" {
            "cycle_length.won"
        } else {
            "cycle_length.lost"
        };
        self.add_span(table, (rollup, By::Deal), deal.created, closed, &deal.dims);
        if deal.status == "won" && deal.lead.is_none() {
            self.add(
                table,
                ("lead_source.without_lead", By::Lead, HOURS_AND_DAYS),
                closed,
                &deal.dims,
                &deal.currency,
                |cell| {
                    cell.count(0);
                    cell.sum(0, deal.amount);
                },
            );
        }
        if deal.status == "won" && deal.account.is_none() {
            let stated = TYPES.iter().position(|t| *t == deal.dims["deal_type"]);
            self.add_win(deal, stated.unwrap_or(5), table);
        }
    }

    fn add_win(&self, deal: &Deal, class: usize, table: &mut Table) {
        let closed = deal.closed.expect("a won deal");
        self.add(
            table,
            ("upsell.won", By::Deal, HOURS_AND_DAYS),
            closed,
            &deal.dims,
            &deal.currency,
            |cell| {
                cell.count(class);
                cell.sum(class, deal.amount);
                cell.sum(6, deal.upsell);
            },
        );
    }

    fn of_lead(&self, lead: &str, deals: Vec<&Deal>, table: &mut Table) {
        let won: Vec<&Deal> = deals.into_iter().filter(|d| d.status == "won").collect();
        // Ids of deals' references live in the deals; look the lead up among the events' own ids.
        let known = self.ids("lead").into_iter().find(|id| *id == lead);
        let Some(lead) = known.filter(|id| self.is_live("lead", id)) else {
            for deal in won {
                self.by_close(deal, &deal.dims, table);
            }
            return;
        };
        let (dims, status) = (self.dims("lead", lead), self.text("lead", lead, "status"));
        let created = self
            .when("lead", lead, "created_at")
            .unwrap_or(self.first("lead", lead));
        let has = |field| self.latest("lead", lead, field).is_some();
        let converted = status == "converted" || has("converted_at") || has("converted_deal_id");
        let qualified = converted || status == "qualified" || has("qualified_at");
        self.add(
            table,
            ("lead_source.cohort", By::Lead, HOURS_AND_DAYS),
            created,
            &dims,
            "",
            |cell| {
                let dated_by_clock = self.when("lead", lead, "created_at").is_none();
                let counted = [true, qualified, converted, !won.is_empty(), dated_by_clock];
                counted
                    .iter()
                    .enumerate()
                    .filter(|(_, it_is)| **it_is)
                    .for_each(|(measure, _)| cell.count(measure));
            },
        );
        let soonest = won
            .iter()
            .filter_map(|d| Some(self.span(created, d.closed?)))
            .min();
        let within = |days: i64| soonest.is_some_and(|seconds| seconds <= days * 86_400);
        self.add(
            table,
            ("close_rate.cohort", By::Lead, HOURS_AND_DAYS),
            created,
            &dims,
            "",
            |cell| {
                let counted = [true, !won.is_empty(), within(30), within(60), within(90)];
                counted
                    .iter()
                    .enumerate()
                    .filter(|(_, it_is)| **it_is)
                    .for_each(|(measure, _)| cell.count(measure));
            },
        );
        for deal in won {
            if deal.has_amount {
                self.add(
                    table,
                    ("lead_source.cohort", By::Lead, HOURS_AND_DAYS),
                    created,
                    &dims,
                    &deal.currency,
                    |cell| cell.sum(0, deal.amount),
                );
            }
            self.by_close(deal, &dims, table);
            self.add_span(
                table,
                ("cycle_length.lead_to_close", By::Deal),
                created,
                deal.closed.expect("a won deal"),
                &deal.dims,
            );
        }
    }

    fn by_close(&self, deal: &Deal, dims: &Dims, table: &mut Table) {
        let closed = deal.closed.expect("a won deal");
        self.add(
            table,
            ("lead_source.by_close", By::Lead, HOURS_AND_DAYS),
            closed,
            dims,
            &deal.currency,
            |cell| {
                cell.count(0);
                cell.sum(0, deal.amount);
            },
        );
    }

    fn of_account(
        &self,
        account: &str,
        deals: Vec<(&str, &Deal)>,
        payments: Vec<&Payment>,
        table: &mut Table,
    ) {
        let calendar = &self.definitions.calendar;
        // The account itself and those merged into it that were not deleted.
        let members: Vec<&str> = self
            .ids("account")
            .into_iter()
            .filter(|id| {
                let is_merged = self.latest("account", id, "merged_into").is_some()
                    && *id != account
                    && self.root("account", id) == account;
                !self.is_deleted("account", id)
                    && (is_merged || *id == account && self.is_live("account", id))
            })
            .collect();
        let asserted = |field: &str| {
            members
                .iter()
                .map(|id| self.when("account", id, field))
                .collect::<Vec<_>>()
        };
        let (became, churned) = (asserted("became_customer_at"), asserted("churned_at"));
        let customer_since = became
            .iter()
            .flatten()
            .copied()
            .min_by_key(|when| calendar.instant(*when));
        let still = became
            .iter()
            .zip(&churned)
            .any(|(became, churned)| became.is_some() && churned.is_none());
        let churned = churned
            .iter()
            .flatten()
            .copied()
            .max_by_key(|when| calendar.instant(*when))
            .filter(|_| !still);

        let mut wins: Vec<(i64, &str, &Deal)> = deals
            .into_iter()
            .filter(|(_, d)| d.status == "won")
            .map(|(id, d)| (calendar.instant(d.closed.expect("won")), id, d))
            .collect();
        wins.sort_by_key(|(at, id, _)| (*at, *id));
        let mut expansions = Vec::new();
        for (index, (_, _, deal)) in wins.iter().enumerate() {
            let closed = deal.closed.expect("won");
            let product = &deal.dims["product"];
            let was_customer =
                customer_since.is_some_and(|since| calendar.day(since) < calendar.day(closed));
            let bought_before = wins[..index]
                .iter()
                .any(|(_, _, earlier)| earlier.dims["product"] == *product);
            let class = match TYPES.iter().position(|t| *t == deal.dims["deal_type"]) {
                Some(stated) => stated,
                None if index == 0 && !was_customer => 0,
                None if !product.is_empty() && !bought_before => 2,
                None => 4,
            };
            self.add_win(deal, class, table);
            if class == 1 || class == 2 {
                expansions.push(closed);
            }
        }
        self.of_customer(account, customer_since, churned, &wins, &payments, table);
        let nothing = Dims::new();
        if let Some(since) = customer_since.or(wins.first().map(|(_, _, d)| d.closed.expect("won")))
        {
            self.add(
                table,
                ("upsell.customers", By::Nothing, &[Grain::Day]),
                since,
                &nothing,
                "",
                |cell| cell.count(0),
            );
            if let Some(churned) = churned.filter(|churned| {
                wins.iter()
                    .all(|(at, _, _)| *at <= calendar.instant(*churned))
            }) {
                self.add(
                    table,
                    ("upsell.customers", By::Nothing, &[Grain::Day]),
                    churned,
                    &nothing,
                    "",
                    |cell| cell.count(1),
                );
            }
        }
        if let Some(latest) = expansions.last() {
            self.add(
                table,
                ("upsell.expanded", By::Nothing, HOURS_AND_DAYS),
                *latest,
                &nothing,
                "",
                |cell| cell.count(0),
            );
        }
        let mut months: BTreeMap<i32, When> = BTreeMap::new();
        for expansion in expansions {
            months.insert(calendar.month_start(calendar.day(expansion)), expansion);
        }
        for expansion in months.values() {
            self.add(
                table,
                ("upsell.expanded_in_month", By::Nothing, &[Grain::Month]),
                *expansion,
                &nothing,
                "",
                |cell| cell.count(0),
            );
        }
    }
}
