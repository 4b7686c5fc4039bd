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
    steps::retain_first_entities(&mut events);
    let shard = steps::fold_all(steps::first_metrics(), &events, |touched, _| drop(touched));
    let name = "the first five metrics";
    table.part(&format!(
        "memory, generated workload, leads, deals and accounts only, {name}"
    ));
    table.add(
        &format!("all state ÷ deals, {name}"),
        shard.bytes() as f64 / shard.record_count(Entity::DEAL).max(1) as f64,
        "B",
        all,
    );
    link(name, &shard, table);
}

/// What a link takes by itself, as when the goal was set, and with what is kept of a record's links
/// beside them.
fn link(name: &str, shard: &Shard, table: &mut Table) {
    let count = sum(shard, Ledger::link_count).max(1.0);
    let (links, kept) = (
        sum(shard, Ledger::link_bytes),
        sum(shard, Ledger::kept_bytes),
    );
    for (what, bytes, goal) in [
        ("a link", links, Goal::AtMost(100.0)),
        ("  with what is kept of links", links + kept, Goal::None),
    ] {
        table.add(&format!("{what}, {name}"), bytes / count, "B", goal);
    }
}

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
    let kept = sum(Ledger::kept_bytes);
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
        ("  of it what is kept of them", kept),
        ("  of it texts", shard.symbols().bytes() as f64),
        (
            "  of it tables' free room, references",
            bytes - cells - links - kept - records - shard.symbols().bytes() as f64,
        ),
    ] {
        add(what, part / deals, Goal::None);
    }
    add(
        "a cell with all it holds",
        cells / sum(Ledger::cell_count).max(1.0),
        Goal::AtMost(120.0),
    );
    link(name, shard, table);
}
