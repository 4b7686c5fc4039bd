//! What each metric costs: the path of the generated workload with all metrics against the path
//! without it, and the cells that are its.

use std::sync::Arc;

use dealpulse::metric::Catalogue;
use dealpulse::record::Entity;

use crate::table::{Goal, Table, median};
use crate::{Sizes, path, steps};

pub fn measure(sizes: Sizes, table: &mut Table) {
    let events = steps::generated(sizes.generated);
    let all = steps::definitions();
    let once = |catalogue: &Arc<Catalogue>| {
        let mut fold = steps::Fold::with(catalogue.clone());
        let steps = path::run(&mut fold, &events);
        (path::total(&steps), fold)
    };
    let (_, fold) = once(&all); // not counted, as the first run of the path
    let deals = fold.shard.record_count(Entity::DEAL).max(1) as f64;
    table.part(
        "each metric, generated workload: the path with all of them less the path without it",
    );
    for metric in all.metrics().filter(|metric| !metric.rollups().is_empty()) {
        let name = metric.name();
        let others = Catalogue::of_some(steps::spec(), |other| other != name);
        let others = Arc::new(others.expect("the default definitions"));
        // One after the other, so that what disturbs the machine disturbs both.
        let differences = (0..sizes.runs).map(|_| once(&all).0 - once(&others).0);
        let difference = median(differences.collect());
        table.add(&format!("  {name}, an event"), difference, "µs", Goal::None);
        let rollups = all.rollups();
        let is_its = |rollup: u8| {
            rollups[usize::from(rollup)]
                .name
                .starts_with(&format!("{name}."))
        };
        let cells = fold
            .shard
            .ledgers()
            .iter()
            .flat_map(|ledger| ledger.cells());
        let cells = cells.filter(|(key, _)| is_its(key.rollup)).count();
        table.add(
            "    its cells ÷ deals",
            cells as f64 / deals,
            "",
            Goal::None,
        );
    }
}
