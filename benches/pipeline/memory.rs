//! Memory: what the state takes, by what it is of.

use dealpulse::record::Entity;
use dealpulse::shard::{Ledger, Shard};

use crate::Sizes;
use crate::deals::{self, EVENTS_A_DEAL};
use crate::steps;
use crate::table::{Goal, Table};

pub fn measure(sizes: Sizes, table: &mut Table) {
    let events = deals::workload(sizes.deals, EVENTS_A_DEAL);
    let shard = steps::fold_all(steps::definitions(), &events, |touched, _| drop(touched));
    workload("deal workload", &shard, 900.0, Goal::None, table);
    drop((events, shard));
    let mut events = steps::generated(sizes.generated);
    let shard = steps::fold_all(steps::definitions(), &events, |touched, _| drop(touched));
    let all = Goal::AtMost(4_096.0);
    workload("generated workload", &shard, 420.0, all, table);
    drop(shard);
    // What the goals were set with.
    events.retain(|event| {
        let text = String::from_utf8_lossy(&event.payload);
        ["lead", "deal", "account"]
            .map(|kind| text.contains(&format!(r#""type":"crm.{kind}."#)))
            .contains(&true)
    });
    let shard = steps::fold_all(steps::first_metrics(), &events, |touched, _| drop(touched));
    table
        .part("memory, generated workload, leads, deals and accounts only, the first five metrics");
    for (what, bytes, of, goal) in [
        (
            "all state ÷ deals",
            shard.bytes() as f64,
            shard.record_count(Entity::DEAL),
            all,
        ),
        (
            "a link",
            sum(&shard, Ledger::link_bytes),
            sum(&shard, Ledger::link_count) as usize,
            LINK,
        ),
    ] {
        let what = format!("{what}, the first five metrics");
        table.add(&what, bytes / of.max(1) as f64, "B", goal);
    }
}

const LINK: Goal = Goal::AtMost(100.0);

fn sum(shard: &Shard, of: fn(&Ledger) -> usize) -> f64 {
    shard.ledgers().iter().map(of).sum::<usize>() as f64
}

fn workload(name: &str, shard: &Shard, record: f64, all: Goal, table: &mut Table) {
    let count = |entity| shard.record_count(entity);
    let deals = count(Entity::DEAL).max(1) as f64;
    table.part(&format!(
        "memory, {name}: {deals} deals, {} leads, {} accounts",
        count(Entity::LEAD),
        count(Entity::ACCOUNT)
    ));
    let sum = |of| sum(shard, of);
    let (cells, links) = (sum(Ledger::cell_bytes), sum(Ledger::link_bytes));
    let of_entities = Entity::ALL.map(|entity| {
        let bytes = shard.record_bytes(entity) as f64;
        (entity.name(), count(entity), bytes)
    });
    let bytes = shard.bytes() as f64;
    let records: f64 = of_entities.iter().map(|(.., bytes)| bytes).sum();
    let mut add = |what: &str, value: f64, goal| {
        table.add(&format!("{what}, {name}"), value, "B", goal);
    };
    let (_, _, of_deals) = of_entities[usize::from(Entity::DEAL.0)];
    add("record of a deal", of_deals / deals, Goal::AtMost(record));
    add("all state ÷ deals", bytes / deals, all);
    for (entity, count, part) in of_entities.iter().filter(|(_, count, _)| *count > 0) {
        let what = format!("  of it records, {entity} ({count})");
        add(&what, part / deals, Goal::None);
    }
    for (what, part) in [
        ("  of it cells", cells),
        ("  of it links", links),
        ("  of it texts", shard.symbols().bytes() as f64),
        (
            "  of it tables' free room, references",
            bytes - cells - links - records - shard.symbols().bytes() as f64,
        ),
    ] {
        add(what, part / deals, Goal::None);
    }
    add(
        "a cell with all it holds",
        cells / sum(Ledger::cell_count).max(1.0),
        Goal::AtMost(120.0),
    );
    add("a link", links / sum(Ledger::link_count).max(1.0), LINK);
}
