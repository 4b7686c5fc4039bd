//! What the generator promises of staff, quotas, activities, invoices, payments and exchange rates.

use super::super::calendar::{DAY, is_weekend, period};
use super::*;
use chrono::NaiveDate;

/// The records of a kind as they are in the end, by id; without those that were deleted.
fn records(events: &[Read], kind: &str) -> BTreeMap<String, Value> {
    let mut records = BTreeMap::<String, Value>::new();
    for event in of_kind(events, kind) {
        if event.kind.ends_with(".deleted") {
            records.remove(&event.key);
            continue;
        }
        let record = records.entry(event.key.clone()).or_insert(Value::Null);
        merge(record, &event.json["data"]);
    }
    records
}

fn of_kind<'a>(events: &'a [Read], kind: &str) -> impl Iterator<Item = &'a Read> {
    let prefix = format!("crm.{kind}.");
    events
        .iter()
        .filter(move |event| event.kind.starts_with(&prefix))
}

fn merge(record: &mut Value, data: &Value) {
    for (field, value) in data.as_object().unwrap() {
        record[field] = value.clone();
    }
}

/// An amount in hundredths.
fn hundredths(record: &Value, field: &str) -> i64 {
    let text = record[field].as_str().unwrap();
    let (whole, rest) = text.split_once('.').unwrap_or((text, "00"));
    whole.parse::<i64>().unwrap() * 100 + rest.parse::<i64>().unwrap()
}

fn day(text: &str) -> i64 {
    let day: NaiveDate = text.parse().unwrap();
    day.signed_duration_since(NaiveDate::default()).num_days()
}

#[test]
fn everybody_has_a_team_and_a_manager_that_are_there() {
    let events = read(config(500, Faults::none()));
    let teams: HashSet<String> = records(&events, "team")
        .values()
        .map(|team| team["name"].as_str().unwrap().to_string())
        .collect();
    let with_parent = records(&events, "team")
        .values()
        .filter(|team| team["parent"] == "Sales")
        .count();
    assert_eq!((teams.len(), with_parent), (11, 10));

    let mut users = BTreeMap::<&str, Value>::new();
    let mut changes = BTreeMap::<&str, usize>::new();
    for event in of_kind(&events, "user") {
        if let Some(user) = users.get(event.key.as_str()) {
            let changed = [
                ("team", event.data("team") != user["team"].as_str()),
                (
                    "manager_id",
                    event.data("manager_id") != user["manager_id"].as_str(),
                ),
                ("active", event.json["data"]["active"] == false),
            ];
            for (field, is_other) in changed {
                if is_other && event.json["data"].get(field).is_some() {
                    *changes.entry(field).or_default() += 1;
                }
            }
        }
        merge(users.entry(&event.key).or_default(), &event.json["data"]);
    }
    for (id, user) in &users {
        assert!(teams.contains(user["team"].as_str().unwrap()), "{user}");
        assert!(user["name"].is_string(), "{user}");
        match user["manager_id"].as_str() {
            None => assert_eq!(*id, "d01"),
            Some(manager) => assert_eq!(users[manager]["active"], true),
        }
    }
    let kinds: Vec<&str> = changes.keys().copied().collect();
    assert_eq!(kinds, ["active", "manager_id", "team"]);
    let active = users.values().filter(|user| user["active"] == true);
    assert_eq!(active.count(), 40 + 10 + 1);
    let names: HashSet<&str> = users.values().filter_map(|u| u["name"].as_str()).collect();
    assert_eq!(names.len(), users.len());
}

#[test]
fn deals_name_somebody_who_works_here_and_the_team_of_that_time() {
    let events = read(config(2000, Faults::none()));
    let mut users = HashMap::<&str, Value>::new();
    let mut taken_over = 0;
    for event in &events {
        if event.kind == "crm.user.upserted" {
            merge(users.entry(&event.key).or_default(), &event.json["data"]);
        }
        let Some(owner) = event.data("owner_id") else {
            continue;
        };
        assert_eq!(users[owner]["active"], true, "{}", event.json);
        if let Some(team) = event.data("team") {
            assert_eq!(users[owner]["team"], team, "{}", event.json);
        }
        let is_progress = event.data("stage").is_some() && event.data("name").is_none();
        taken_over += usize::from(event.kind == "crm.deal.upserted" && is_progress);
    }
    assert!(
        taken_over > 5,
        "{taken_over} deals follow their owner's desk"
    );
}

#[test]
fn every_rep_has_a_quota_for_every_day_that_most_nearly_meet() {
    let config = config(20_000, Faults::none());
    let (start, end) = (
        config.start.timestamp_millis(),
        config.end.timestamp_millis(),
    );
    let events = read(config);
    let mut covered = BTreeMap::<String, Vec<(i64, i64)>>::new();
    let mut of_teams = 0;
    for event in of_kind(&events, "quota") {
        let data = &event.json["data"];
        let first = day(event.data("period_start").unwrap());
        let last = day(event.data("period_end").unwrap());
        assert!(hundredths(data, "target") > 0);
        assert_eq!(period(last * DAY, 1).1, (last + 1) * DAY, "{data}");
        // It is set before it begins, but for those who were not there.
        let late = event.time / 1000 - first * DAY;
        let joined = event.time / 1000 / DAY == first;
        assert!(late < 0 || joined || event.time / 1000 == start, "{data}");
        match event.data("owner_id") {
            Some(owner) => covered
                .entry(owner.to_string())
                .or_default()
                .push((first, last)),
            None => of_teams += usize::from(event.data("team") == Some("dach-enterprise")),
        }
    }
    assert_eq!(of_teams, 5);
    let (mut joined, mut left) = (HashMap::new(), HashMap::new());
    for event in of_kind(&events, "user") {
        let today = event.time / 1000 / DAY;
        joined.entry(event.key.clone()).or_insert(today);
        if event.json["data"]["active"] == false {
            left.insert(event.key.clone(), today);
        }
    }
    for (user, since) in joined.iter().filter(|(user, _)| user.starts_with('u')) {
        let until = left.get(user).copied().unwrap_or(end / DAY - 1);
        let mut next = *since;
        for (first, last) in &covered[user] {
            assert!(*first <= next, "{user} has none on day {next}");
            next = (last + 1).max(next);
        }
        assert!(next > until, "{user} has none on day {next}");
    }
    attained(&events);
}

/// What all reps of the euro regions together won of what they were to win in each quarter.
fn attained(events: &[Read]) {
    let mut deals = HashMap::<&str, Value>::new();
    for event in of_kind(events, "deal") {
        let deal = deals.entry(&event.key).or_default();
        merge(deal, &event.json["data"]);
        deal["won_at"] = event.time.into();
    }
    let won_between = |first: i64, last: i64| -> i64 {
        let is_within = |deal: &&Value| {
            let won = deal["won_at"].as_i64().unwrap() / 1000 / DAY;
            deal["status"] == "won" && deal["currency"] == "EUR" && (first..=last).contains(&won)
        };
        let won = deals.values().filter(is_within);
        won.map(|deal| hundredths(deal, "amount")).sum()
    };
    let mut targets = BTreeMap::<(i64, i64), i64>::new();
    for quota in records(events, "quota").values() {
        let first = day(quota["period_start"].as_str().unwrap());
        let last = day(quota["period_end"].as_str().unwrap());
        let (quarter, next) = period(first * DAY, 3);
        let quarter = (quarter / DAY, next / DAY - 1);
        if quota["currency"] == "EUR" && quota["owner_id"].is_string() && last <= quarter.1 {
            *targets.entry(quarter).or_default() += hundredths(quota, "target");
        }
    }
    for ((first, last), target) in targets.iter().take(4) {
        let percent = won_between(*first, *last) * 100 / target;
        assert!((60..140).contains(&percent), "{percent} % attained");
    }
}

#[test]
fn some_quotas_are_corrected() {
    let events = read(config(100, Faults::default()));
    let corrected = of_kind(&events, "quota").filter(|e| e.data("period_start").is_none());
    assert!(corrected.count() > 3);
}

#[test]
fn activities_are_planned_done_forgotten_or_deleted() {
    let events = read(config(2000, Faults::none()));
    let activities = records(&events, "activity");
    let mut seen = BTreeMap::<&str, usize>::new();
    let mut kinds = BTreeSet::new();
    for activity in activities.values() {
        kinds.insert(activity["kind"].as_str().unwrap());
        let has = |field: &str| activity[field].is_string();
        let mut note = |condition: bool, what| {
            *seen.entry(what).or_default() += usize::from(condition);
        };
        let is_done = activity["done"] == true;
        note(has("due_at") && is_done, "planned and done");
        note(!has("due_at") && is_done, "done unplanned");
        note(has("due_at") && !is_done, "never done");
        note(is_done && !has("done_at"), "done without a date");
        note(has("contact_id"), "with a contact");
        note(has("deal_id"), "about a deal");
        note(has("lead_id"), "about a lead");
        let of_nothing_else = !has("deal_id") && !has("lead_id");
        note(of_nothing_else && has("account_id"), "about an account");
        note(of_nothing_else && !has("account_id"), "about a contact");
        let is_about_something = ["deal_id", "lead_id", "account_id", "contact_id"];
        assert!(is_about_something.into_iter().any(has), "{activity}");
        assert!(is_done || !has("done_at"), "{activity}");
    }
    assert_eq!(
        Vec::from_iter(kinds),
        ["call", "demo", "email", "meeting", "note", "task"]
    );
    assert_eq!(seen.len(), 9);
    assert!(seen.values().all(|count| *count > 20), "{seen:?}");
    let deleted = of_kind(&events, "activity").filter(|e| e.kind.ends_with(".deleted"));
    assert!(deleted.count() > 20);
    let count = |kind| {
        of_kind(&events, kind)
            .map(|e| &e.key)
            .collect::<HashSet<_>>()
    };
    let (a_deal, a_lead) = (
        seen["about a deal"] * 100 / count("deal").len(),
        seen["about a lead"] * 100 / count("lead").len(),
    );
    assert!((150..300).contains(&a_deal), "{a_deal} for 100 deals");
    assert!((20..40).contains(&a_lead), "{a_lead} for 100 leads");
}

#[test]
fn what_is_won_is_invoiced_once_or_subscribed_to() {
    let events = read(config(2000, Faults::default()));
    let mut in_order: Vec<&Read> = events.iter().collect();
    in_order.sort_by_key(|event| event.sequence);
    let won: HashSet<&str> = of_kind(&events, "deal")
        .filter(|event| event.data("status") == Some("won"))
        .map(|event| event.key.as_str())
        .collect();
    let invoices = records(&events, "invoice");
    let payments = records(&events, "payment");
    let deals_of = |records: &BTreeMap<String, Value>| -> Vec<String> {
        let deals = records.values().filter_map(|r| r["deal_id"].as_str());
        deals.map(str::to_string).collect()
    };
    let (invoiced, paid) = (deals_of(&invoices), deals_of(&payments));
    let once: HashSet<&str> = invoiced.iter().map(String::as_str).collect();
    assert_eq!(once.len(), invoiced.len());
    let billed: HashSet<&str> = invoiced.iter().chain(&paid).map(String::as_str).collect();
    assert!(billed.is_subset(&won));
    // The others subscribe to something and have left since, or have just been won.
    assert!(billed.len() * 10 > won.len() * 8, "{} billed", billed.len());

    let mut fates = BTreeMap::<&str, usize>::new();
    let statuses = ["draft", "issued", "paid", "cancelled"];
    for invoice in invoices.values() {
        let status = invoice["status"].as_str().unwrap();
        assert!(statuses.contains(&status), "{invoice}");
        assert!(invoice["number"].is_string() && invoice["owner_id"].is_string());
        let (due, paid_at) = (invoice["due_at"].as_str(), invoice["paid_at"].as_str());
        assert_eq!(status == "paid", paid_at.is_some());
        let fate = match (status, due, paid_at) {
            (_, Some(due), Some(paid_at)) if day(&paid_at[..10]) > day(due) => "paid late",
            ("issued", Some(due), _) if day(due) < 20_400 => "overdue for ever",
            _ => status,
        };
        *fates.entry(fate).or_default() += 1;
    }
    for fate in ["paid", "paid late", "overdue for ever", "cancelled"] {
        assert!(fates[fate] > 10, "{fates:?}");
    }
}

#[test]
fn payments_add_up_to_their_invoice_and_never_more_is_given_back_than_came() {
    let events = read(GeneratorConfig {
        // Every correction is made by the end.
        end: GeneratorConfig::default().start + TimeDelta::days(730),
        ..config(3000, Faults::none())
    });
    let invoices = records(&events, "invoice");
    let mut came = HashMap::<&str, i64>::new();
    let mut given_back = HashMap::<&str, i64>::new();
    let payments = records(&events, "payment");
    for payment in payments.values() {
        let amount = hundredths(payment, "amount");
        assert!(amount > 0, "{payment}");
        let kind = payment["kind"].as_str().unwrap();
        let Some(invoice) = payment["invoice_id"].as_str() else {
            assert_ne!(kind, "one_off", "{payment}");
            assert!(payment["account_id"].is_string(), "{payment}");
            continue;
        };
        assert_eq!(payment["currency"], invoices[invoice]["currency"]);
        assert_eq!(payment["account_id"], invoices[invoice]["account_id"]);
        let sums = match kind {
            "one_off" => &mut came,
            "refund" | "credit" => &mut given_back,
            _ => panic!("{payment}"),
        };
        *sums.entry(invoice).or_default() += amount;
    }
    assert!(given_back.len() > 10);
    for (invoice, amount) in &given_back {
        assert!(amount <= &came[invoice], "{invoice}");
    }
    let paid = invoices.iter().filter(|(_, i)| i["status"] == "paid");
    let (mut exact, mut twice) = (0, 0);
    for (id, invoice) in paid {
        // One that was entered twice may be found out after the end.
        let amount = hundredths(invoice, "amount");
        match came[id.as_str()] == amount {
            true => exact += 1,
            false => twice += 1,
        }
    }
    assert!(exact > 200 && twice < 5, "{exact} exact, {twice} not");
}

#[test]
fn subscriptions_are_paid_by_the_month_until_the_customer_leaves_and_their_price_moves() {
    let events = read(config(3000, Faults::none()));
    let mut months = BTreeMap::<(&str, &str), Vec<(i64, i64)>>::new();
    let mut churned = HashMap::<&str, i64>::new();
    let mut merged = HashSet::new();
    for event in &events {
        if event.data("churned_at").is_some() {
            churned.insert(&event.key, event.time);
        }
        merged.extend(event.data("merged_into"));
        if event.data("kind") == Some("recurring") {
            let (account, deal) = (event.data("account_id").unwrap(), event.data("deal_id"));
            let amount = hundredths(&event.json["data"], "amount");
            let paid = months.entry((account, deal.unwrap_or_default()));
            paid.or_default().push((event.time, amount));
        }
        let is_back = event.json["data"].get("churned_at") == Some(&Value::Null);
        if is_back {
            churned.remove(event.key.as_str());
        }
    }
    let (mut dearer, mut cheaper) = (0, 0);
    for ((account, _), paid) in &months {
        for pair in paid.windows(2) {
            dearer += usize::from(pair[1].1 > pair[0].1);
            cheaper += usize::from(pair[1].1 < pair[0].1);
        }
        let (last, _) = paid[paid.len() - 1];
        if let Some(left) = churned.get(account)
            && !merged.contains(account)
        {
            assert!(last <= *left, "{account} pays after it has left");
        }
    }
    assert!(dearer > 10 && cheaper > 10, "{dearer} up, {cheaper} down");
    let longest = months.values().map(Vec::len).max();
    assert!(longest >= Some(11), "{longest:?}");
}

#[test]
fn payments_are_corrected_deleted_given_back_and_lack_what_others_state() {
    let events = read(config(6000, Faults::default()));
    let mut seen = BTreeSet::new();
    for event in of_kind(&events, "payment") {
        let data = &event.json["data"];
        match event.data("kind") {
            Some(kind) => drop(seen.insert(kind.to_string())),
            None if event.kind.ends_with(".deleted") => drop(seen.insert("deleted".into())),
            None => drop(seen.insert("corrected".into())),
        }
        let is_new = event.data("kind").is_some();
        if is_new && data.get("margin").is_none() {
            seen.insert("without a margin".into());
        }
        if is_new && data.get("paid_at").is_none() {
            seen.insert("without a date".into());
        }
    }
    let all = [
        "corrected",
        "credit",
        "deleted",
        "one_off",
        "recurring",
        "refund",
        "without a date",
        "without a margin",
    ];
    assert_eq!(Vec::from_iter(seen), all);
}

#[test]
fn rates_are_positive_and_of_working_days_with_a_few_gaps() {
    let all = [Currency::Eur, Currency::Usd, Currency::Jpy, Currency::Gbp];
    let events = read(GeneratorConfig {
        currencies: all.to_vec(),
        ..config(10, Faults::none())
    });
    let mut days = BTreeMap::<&str, BTreeSet<i64>>::new();
    for event in of_kind(&events, "rate") {
        let currency = event.data("currency").unwrap();
        let usual = match currency {
            "USD" => 1.08,
            "JPY" => 160.0,
            "GBP" => 0.86,
            _ => panic!("{}", event.json),
        };
        assert_eq!(event.data("base"), Some("EUR"));
        let rate = event.json["data"]["rate"].as_f64().unwrap();
        assert!((0.8..1.25).contains(&(rate / usual)), "{rate} {currency}");
        let today = day(event.data("day").unwrap());
        assert!(!is_weekend(today), "{}", event.json);
        assert!(days.entry(currency).or_default().insert(today));
    }
    assert_eq!(days.len(), 3);
    for days in days.values() {
        assert!((235..261).contains(&days.len()), "{} days", days.len());
    }
}

#[test]
fn an_organisation_with_one_currency_has_no_rates() {
    for given in [vec![], vec![Currency::Usd], vec![Currency::Usd; 2]] {
        let events = read(GeneratorConfig {
            currencies: given,
            ..config(50, Faults::none())
        });
        assert_eq!(of_kind(&events, "rate").count(), 0);
    }
}

#[test]
fn some_deals_are_split_between_colleagues_and_a_few_not_wholly() {
    let events = read(config(4000, Faults::none()));
    let deals = records(&events, "deal");
    let mut of_deals = BTreeMap::<String, Vec<Value>>::new();
    for split in records(&events, "split").into_values() {
        let deal = split["deal_id"].as_str().unwrap().to_string();
        of_deals.entry(deal).or_default().push(split);
    }
    let percent = of_deals.len() * 100 / deals.len();
    assert!((5..12).contains(&percent), "{percent} % are split");
    let mut sums = BTreeMap::<i64, usize>::new();
    for splits in of_deals.values() {
        let shares = splits.iter().map(|split| split["share"].as_f64().unwrap());
        let sum = shares.map(|share| (share * 10_000.0).round() as i64).sum();
        *sums.entry(sum).or_default() += 1;
        let owners: HashSet<&str> = splits
            .iter()
            .filter_map(|s| s["owner_id"].as_str())
            .collect();
        assert_eq!(owners.len(), splits.len());
    }
    let kinds: Vec<i64> = sums.keys().copied().collect();
    assert_eq!(kinds, [9_000, 9_999, 10_000], "{sums:?}");
    assert!(sums.values().all(|count| *count > 5), "{sums:?}");
}

#[test]
fn expected_closes_slip_and_some_are_overdue() {
    let events = read(config(2000, Faults::none()));
    let put_off = of_kind(&events, "deal").filter(|event| {
        event.data("expected_close_date").is_some()
            && event.data("stage").is_none()
            && event.data("name").is_none()
    });
    assert!(put_off.count() > 200);
    let open = records(&events, "deal");
    let open = open.values().filter(|deal| deal["status"] == "open");
    let overdue = open.filter(|deal| day(deal["expected_close_date"].as_str().unwrap()) < 20_400);
    assert!(overdue.count() > 10);
    for event in of_kind(&events, "deal") {
        let is_lost = event.data("status") == Some("lost");
        assert_eq!(is_lost, event.data("lost_reason").is_some());
    }
}
