//! A deal's status: what the source asserted, or what its stage stands for, whichever was said
//! last; and since when.

use super::record::{Said, Sayings, last_run};
use super::{CompiledDefinitions, Held, Record};
use crate::event::{Clock, Field};
use crate::symbol::Symbol;

/// Whether a deal is decided, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum Status {
    /// Not decided.
    #[default]
    Open = 0,
    /// Closed and won.
    Won = 1,
    /// Closed and lost.
    Lost = 2,
}

impl Status {
    /// The status of a word.
    pub fn parse(word: &str) -> Option<Status> {
        [Status::Open, Status::Won, Status::Lost]
            .into_iter()
            .find(|s| s.name() == word)
    }

    /// The status of a number that a link holds.
    pub fn of_number(number: u8) -> Option<Status> {
        [Status::Open, Status::Won, Status::Lost]
            .get(usize::from(number))
            .copied()
    }

    /// Its word.
    pub fn name(self) -> &'static str {
        ["open", "won", "lost"][self as usize]
    }

    pub(super) fn of(symbol: Symbol) -> Status {
        match symbol {
            Symbol::WON => Status::Won,
            Symbol::LOST => Status::Lost,
            _ => Status::Open,
        }
    }
}

/// The last unbroken run of one status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRun {
    /// The status.
    pub status: Status,
    /// The first clock of the run; `None` for a deal of which no status was ever said.
    pub since: Option<Clock>,
    /// The run reaches into what was cut off the history, so `since` is the best that is still
    /// known.
    pub history_cut: bool,
    /// When it was first closed, if it was open again after that.
    pub reopened: Option<Clock>,
}

/// The fields a status is read from.
#[derive(Clone, Copy)]
pub(super) struct StatusFields {
    pub status: Field,
    pub stage: Field,
}

/// Reads a deal's status. Of an asserted status and a stage that stands for one, the greater clock
/// counts; at one clock, the status.
pub(super) fn status(
    record: &Record,
    fields: StatusFields,
    compiled: &CompiledDefinitions,
) -> StatusRun {
    if let Some(run) = only_one(record, fields, compiled) {
        return run;
    }
    let said = said(record, fields, compiled);
    let Some(run) = last_run(&said) else {
        return StatusRun {
            status: Status::Open,
            since: None,
            history_cut: false,
            reopened: None,
        };
    };
    StatusRun {
        status: run.value,
        since: Some(run.since),
        history_cut: run.history_cut,
        reopened: reopened(&said),
    }
}

/// The run of a deal that has had one status only, by what its source asserted: most deals, most of
/// the time.
fn only_one(
    record: &Record,
    fields: StatusFields,
    compiled: &CompiledDefinitions,
) -> Option<StatusRun> {
    if !compiled.has_no_stages() || !record.cuts().is_empty() {
        return None;
    }
    let mut said = record.history(fields.status);
    let (since, first) = said.next()?;
    said.all(|(_, held)| held == first).then(|| StatusRun {
        status: asserted(first),
        since: Some(since),
        history_cut: false,
        reopened: None,
    })
}

/// Every status that was said and counts, oldest first. A stage counts where no status is said at
/// its clock. Of statuses that were cut off the history only the first and the last clock of each
/// are known: a source that said the status before and after a stage is taken to have said it with
/// the stage, too, as one does that sends whole rows.
fn said(record: &Record, fields: StatusFields, compiled: &CompiledDefinitions) -> Sayings<Status> {
    let statuses = record.remembered(fields.status);
    let mut all: Sayings<Status> = statuses
        .map(|said| said.with(asserted(said.value)))
        .collect();
    if compiled.has_no_stages() {
        return all;
    }
    let cut = || record.cuts().iter().filter(|c| c.field == fields.status);
    let first_cut = cut().map(|cut| cut.earliest.clock).min();
    let last_cut = cut().map(|cut| cut.latest.clock).max();
    let is_contradicted = |clock: Clock| {
        let same = all.binary_search_by_key(&clock, |said| said.clock);
        let is_among_cut = last_cut >= Some(clock) && first_cut <= Some(clock);
        same.is_ok() || is_among_cut
    };
    let stages = record.remembered(fields.stage);
    let stages = stages.filter_map(|said| Some(said.with(of_stage(said.value, compiled)?)));
    let stages = stages.filter(|said| !is_contradicted(said.clock));
    let stages: Sayings<Status> = stages.collect();
    all.extend(stages);
    all.sort_by_key(|said| said.clock);
    all
}

/// When a deal was first closed, if it was said to be open later. Of what is said at one clock only
/// the last counts: the rest never was.
fn reopened(said: &[Said<Status>]) -> Option<Clock> {
    let is_last = |at: usize| {
        let next = said.get(at + 1);
        next.is_none_or(|next| next.clock != said[at].clock)
    };
    let counting = || (0..said.len()).filter(|at| is_last(*at)).map(|at| said[at]);
    let first = counting().find(|said| said.value != Status::Open)?.clock;
    let mut open = counting().filter(|said| said.value == Status::Open);
    open.any(|said| said.clock > first).then_some(first)
}

fn asserted(held: Held) -> Status {
    if let Held::Text(symbol) = held {
        Status::of(symbol)
    } else {
        Status::Open
    }
}

fn of_stage(held: Held, compiled: &CompiledDefinitions) -> Option<Status> {
    if let Held::Text(symbol) = held {
        compiled.status_of_stage(symbol)
    } else {
        None
    }
}
