//! Memory: what the state takes, by what it is of.

use dealpulse::local::generate::GeneratedEvent;
use dealpulse::record::Entity;
use dealpulse::shard::Ledger;

use crate::Sizes;
use crate::deals::{self, EVENTS_A_DEAL};
use crate::steps;
use crate::table::{Goal, Table};

pub fn measure(sizes: Sizes, table: &mut Table) {
    let events = deals::workload(sizes.deals, EVENTS_A_DEAL);
    workload("deal workload", &events, 900.0, Goal::None, table);
    drop(events);
    let events = steps::generated(sizes.generated);
    workload(
        "generated workload",
        &events,
        420.0,
        Goal::AtMost(4_096.0),
        table,
    );
}

fn workload(name: &str, events: &[GeneratedEvent], record: f64, all: Goal, table: &mut Table) {
    let shard = steps::fold_all(events, |touched, _| drop(touched));
    let count = |entity| shard.record_count(entity);
    let deals = count(Entity::DEAL).max(1) as f64;
    table.part(&format!(
        "memory, {name}: {deals} deals, {} leads, {} accounts",
        count(Entity::LEAD),
        count(Entity::ACCOUNT)
    ));
    let sum = |of: fn(&Ledger) -> usize| shard.ledgers().iter().map(of).sum::<usize>() as f64;
    let (cells, links) = (sum(Ledger::cell_bytes), sum(Ledger::link_bytes));
    let records = [Entity::DEAL, Entity::LEAD, Entity::ACCOUNT]
        .map(|entity| shard.record_bytes(entity) as f64);
    let bytes = shard.bytes() as f64;
    let rest = bytes - cells - links - records.iter().sum::<f64>();
    let mut add = |what: &str, value: f64, goal| {
        table.add(&format!("{what}, {name}"), value, "B", goal);
    };
    add("record of a deal", records[0] / deals, Goal::AtMost(record));
    add("all state ÷ deals", bytes / deals, all);
    for (what, part) in [
        ("  of it records of deals", records[0]),
        ("  of it records of leads", records[1]),
        ("  of it records of accounts", records[2]),
        ("  of it cells", cells),
        ("  of it links", links),
        ("  of it tables' free room, texts, references", rest),
    ] {
        add(what, part / deals, Goal::None);
    }
    add(
        "a cell with all it holds",
        cells / sum(|ledger| ledger.cell_count()).max(1.0),
        Goal::AtMost(120.0),
    );
    add(
        "a link",
        links / sum(Ledger::link_count).max(1.0),
        Goal::AtMost(100.0),
    );
}
