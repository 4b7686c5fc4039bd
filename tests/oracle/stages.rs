//! How deals go through the stages of the order.

use dealpulse::event::{Decimal, When};

use super::cells::{By, HOURS_AND_DAYS, Table};
use super::{Clock, Deal, Oracle};

impl<'e> Oracle<'e> {
    /// What the definitions, else the records of stages say of a stage: of its records those that
    /// say something, the smallest id of them.
    fn of_stage(&self, stage: &str, field: &str) -> Option<&'e str> {
        let ids = self.ids("stage").into_iter();
        let live = ids.filter(|id| !self.is_deleted("stage", id));
        let name = |id: &'e str| {
            let stated = self.latest("stage", id, "stage");
            stated.filter(|stated| !stated.is_empty()).unwrap_or(id)
        };
        let named = live.filter(|id| name(id) == stage);
        let mut said = named.filter_map(|id| self.latest("stage", id, field));
        said.next()
    }

    /// The status a stage stands for, if anything says so.
    pub(super) fn status_of_stage(&self, stage: &str) -> Option<&'e str> {
        let defined = self.definitions.spec.stages.get(stage);
        let defined = defined.and_then(|meaning| meaning.status.as_deref());
        defined.or_else(|| self.of_stage(stage, "status"))
    }

    /// How likely a deal in a stage is won, in ten-thousandths.
    pub(super) fn probability_of_stage(&self, stage: &str) -> Option<i128> {
        let ten_thousandths = |text: &str| i128::from(Decimal::parse(text).expect("a number").0);
        let defined = self.definitions.spec.stages.get(stage);
        let defined = defined.and_then(|meaning| meaning.probability);
        let defined = defined.map(|p| ten_thousandths(&p.to_string()));
        defined.or_else(|| self.of_stage(stage, "probability").map(ten_thousandths))
    }

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
            let status = self.status_of_stage(stage);
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
