//! The stage: what a stage of deals stands for, as the CRM's own table of stages says. A side input
//! of every shard, so that each reads its deals by it itself.

use rustc_hash::FxHashMap;

use super::declaration::fields;
use super::{Declaration, Record, Status};
use crate::event::{Entity, EntitySpec, Placement, SideInput};
use crate::symbol::{Symbol, Symbols};

fields!(FIELDS {
    /// The stage, as deals name it.
    STAGE = "stage" Latest crate::event::Kind::Text;
    /// What it is called. No number depends on it: a stage that is renamed moves no history.
    NAME = "name" Latest crate::event::Kind::Text;
    /// What it stands for.
    STATUS = "status" Latest crate::event::Kind::Keyword(&["open", "won", "lost"]);
    /// How likely a deal in it is won.
    PROBABILITY = "probability" Latest crate::event::Kind::Fraction;
});

/// The entity.
pub static DECLARATION: Declaration = Declaration::of(EntitySpec {
    entity: Entity::STAGE,
    name: "stage",
    table: "stages",
    placement: Placement::Everywhere(SideInput::Stage),
    fields: FIELDS,
});

/// What stages stand for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StageMeanings {
    /// Their statuses.
    pub statuses: FxHashMap<Symbol, Status>,
    /// How likely deals in them are won, in ten-thousandths.
    pub probabilities: FxHashMap<Symbol, i64>,
}

/// What stages stand for by their records, as this shard knows them.
#[derive(Debug, Clone, Default)]
pub struct Stages {
    by_id: FxHashMap<Symbol, Meaning>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Meaning {
    stage: Symbol,
    status: Option<Status>,
    probability: Option<i64>,
}

impl Stages {
    /// Takes over the present value of a stage's record. True if that changed something.
    pub fn learn(&mut self, id: Symbol, record: &Record) -> bool {
        let stage = record.text(STAGE);
        let status = record.text(STATUS);
        let meaning = Meaning {
            stage: if stage.is_blank() { id } else { stage },
            status: (!status.is_blank()).then(|| Status::of(status)),
            probability: record.decimal(PROBABILITY),
        };
        if record.exists() {
            self.by_id.insert(id, meaning) != Some(meaning)
        } else {
            self.by_id.remove(&id).is_some()
        }
    }

    /// Adds what their records say to what is defined, which has the last word. Of two records of
    /// one stage that with the smaller id counts.
    pub fn add_to(&self, defined: &StageMeanings, symbols: &Symbols) -> StageMeanings {
        let mut records: Vec<(&Symbol, &Meaning)> = self.by_id.iter().collect();
        records.sort_unstable_by_key(|(id, _)| symbols.text(**id));
        let mut all = defined.clone();
        for (_, meaning) in records {
            if let Some(status) = meaning.status {
                all.statuses.entry(meaning.stage).or_insert(status);
            }
            if let Some(probability) = meaning.probability {
                all.probabilities
                    .entry(meaning.stage)
                    .or_insert(probability);
            }
        }
        all
    }
}
