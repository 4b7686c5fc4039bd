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
        let what = format!("  of it records of {count} {entity}s");
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
        cells / sum(|ledger| ledger.cell_count()).max(1.0),
        Goal::AtMost(120.0),
    );
    add(
        "a link",
        links / sum(Ledger::link_count).max(1.0),
        Goal::AtMost(100.0),
    );
}
