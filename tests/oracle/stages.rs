//! How deals go through the stages of the order.

use dealpulse::event::When;

use super::cells::{By, HOURS_AND_DAYS, Table};
use super::{Clock, Deal, Oracle};

impl<'e> Oracle<'e> {
    pub(super) fn of_stages(&self, id: &'e str, deal: &Deal, table: &mut Table) {
        let spec = &self.definitions.spec;
        if spec.stage_order.is_empty() {
            return;
        }
        let said: Vec<(Clock, &str)> = self
            .history("deal", id, "stage")
            .iter()
            .filter_map(|said| Some((said.clock, said.value.filter(|stage| !stage.is_empty())?)))
            .collect();
        // The first time in each stage of the order.
        let first: Vec<Option<Clock>> = spec
            .stage_order
            .iter()
            .map(|stage| {
                let times = said.iter().filter(|(_, known)| known == stage);
                times.map(|(clock, _)| *clock).min()
            })
            .collect();
        let is_won = deal.status == "won";
        let steps: Vec<bool> = (0..first.len())
            .map(|stage| is_won || first[stage..].iter().any(Option::is_some))
            .collect();
        let closes = |stage: &str| {
            let meaning = spec.stages.get(stage);
            let status = meaning.and_then(|meaning| meaning.status.as_deref());
            ["won", "lost"].contains(&status.unwrap_or_default())
        };
        let is_unmapped = said.iter().any(|(_, stage)| {
            !spec.stage_order.iter().any(|known| known == stage) && !closes(stage)
        });

        let rollup = match deal.status {
            "open" => "stage_conversion.open",
            _ => "stage_conversion.decided",
        };
        let add = |table: &mut Table, rollup: &str, counted: &[bool]| {
            let rollup = (rollup, By::Deal, HOURS_AND_DAYS);
            self.add(table, rollup, deal.created, &deal.dims, "", |cell| {
                let counted = counted.iter().enumerate().filter(|(_, it_is)| **it_is);
                counted.for_each(|(measure, _)| cell.count(measure));
            });
        };
        let mut counted = [false; 16];
        counted[..steps.len()].copy_from_slice(&steps);
        counted[15] = is_won;
        add(table, rollup, &counted);
        add(table, "stage_conversion.beside", &[is_unmapped, !steps[0]]);

        for (stage, entered) in first.iter().enumerate() {
            let Some(entered) = entered else { continue };
            let later = first[stage + 1..].iter().flatten().min();
            let left = later.map(|clock| When::Instant(clock.0)).or(deal.closed);
            let Some(left) = left else { continue };
            let mut dims = deal.dims.clone();
            dims.insert("stage".into(), spec.stage_order[stage].clone());
            let rollup = ("time_in_stage.left", By::Stages);
            self.add_span(table, rollup, When::Instant(entered.0), left, &dims);
        }
    }
}
