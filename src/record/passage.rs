//! Which stages of the organisation's order a deal was in, and since when.

use super::{CompiledDefinitions, Held, Record, Status};
use crate::event::Field;
use crate::symbol::Symbol;

/// How many stages an order can have: with the win they are the bits of a contribution's counts.
pub const MOST_STAGES: usize = 15;

/// How a deal went through the stages of the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagePassage {
    /// When it was first said to be in each stage (µs), by the stage's place in the order.
    entered: [Option<i64>; MOST_STAGES],
    /// It was ever in a stage that is not in the order and stands for neither won nor lost.
    pub unmapped: bool,
}

impl StagePassage {
    /// Reads it from a deal's history of stages; none without an order. Only the first clock of
    /// each stage is looked at, which is known of what was cut off the history, too: so the passage
    /// is the same with and without the cut.
    pub(super) fn read(
        record: &Record,
        stage: Field,
        compiled: &CompiledDefinitions,
    ) -> Option<Box<StagePassage>> {
        if compiled.stage_order.is_empty() {
            return None;
        }
        let mut passage = StagePassage {
            entered: [None; MOST_STAGES],
            unmapped: false,
        };
        let cuts = record.cuts().iter().filter(|cut| cut.field == stage);
        let cuts = cuts.map(|cut| (cut.earliest.clock, cut.held));
        for (clock, held) in record.history(stage).chain(cuts) {
            if let Held::Text(stage) = held
                && !stage.is_blank()
            {
                passage.enter(stage, clock.time, compiled);
            }
        }
        Some(Box::new(passage))
    }

    fn enter(&mut self, stage: Symbol, at: i64, compiled: &CompiledDefinitions) {
        let mut order = compiled.stage_order.iter();
        match order.position(|known| *known == stage) {
            Some(place) => {
                let first = &mut self.entered[place];
                *first = Some(first.map_or(at, |first| first.min(at)));
            }
            None => {
                let status = compiled.status_of_stage(stage).unwrap_or_default();
                self.unmapped |= status == Status::Open;
            }
        }
    }

    /// The last stage of the order that it was ever in, by its place.
    pub fn furthest(&self) -> Option<usize> {
        self.entered.iter().rposition(Option::is_some)
    }

    /// The stages it was in, by their places, each with when it was first in it and, if it was in a
    /// later one, in any of those (µs).
    pub fn stages(&self) -> impl Iterator<Item = (usize, i64, Option<i64>)> {
        let entered = self.entered.iter().enumerate();
        entered.filter_map(|(place, entered)| {
            let later = self.entered[place + 1..].iter().flatten().min();
            Some((place, (*entered)?, later.copied()))
        })
    }
}
