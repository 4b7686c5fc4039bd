//! A deal's status: what the source asserted, or what its stage stands for, whichever was said
//! last; and since when.

use smallvec::SmallVec;

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
    let mut said: SmallVec<[(Clock, Status); 16]> = SmallVec::new();
    if compiled.has_no_stages() {
        said.extend(
            record
                .history(fields.status)
                .map(|(clock, held)| (clock, asserted(held))),
        );
    } else {
        // Statuses go after stages and the sort is stable: at one clock the status has the last
        // word.
        let stages = record
            .history(fields.stage)
            .filter_map(|(clock, held)| Some((clock, of_stage(held, compiled)?)));
        said.extend(
            stages.chain(
                record
                    .history(fields.status)
                    .map(|(clock, held)| (clock, asserted(held))),
            ),
        );
        said.sort_by_key(|(clock, _)| *clock);
    }
    let Some(&(last, status)) = said.last() else {
        return StatusRun {
            status: Status::Open,
            since: None,
            history_cut: false,
            reopened: None,
        };
    };
    let reopened = reopened(record, fields, compiled, &said);
    let run = said.iter().rev().take_while(|(_, s)| *s == status);
    let length = run.clone().count();
    let since = run.last().map_or(last, |(clock, _)| *clock);
    let before = said.iter().rev().nth(length).map(|(clock, _)| *clock);
    through_the_cut(
        record,
        fields,
        compiled,
        StatusRun {
            status,
            since: Some(since),
            history_cut: false,
            reopened,
        },
        before,
    )
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

/// When a deal was first closed, if it was said to be open later. Of what was cut off the histories
/// the first and the last clock of every value are known, so that the answer is the same with and
/// without the cut, unless several things were said at one clock between those two.
fn reopened(
    record: &Record,
    fields: StatusFields,
    compiled: &CompiledDefinitions,
    said: &[(Clock, Status)],
) -> Option<Clock> {
    let (mut closed, mut open): (Option<Clock>, Option<Clock>) = (None, None);
    // Of what is said at one clock only the last counts, the rest never did. The status has the
    // last word, also one that was cut while the stage was not, or the other way round.
    let cut_at = |clock: Clock| {
        let mut cuts = record.cuts().iter().filter(|c| c.field == fields.status);
        cuts.any(|cut| cut.earliest == clock || cut.latest == clock)
    };
    let counts = |at: usize| {
        let clock = said[at].0;
        said.get(at + 1).is_none_or(|(next, _)| *next != clock) && !cut_at(clock)
    };
    let kept = said.iter().enumerate().filter(|(at, _)| counts(*at));
    let kept = kept.map(|(_, (clock, status))| (*status, *clock, *clock));
    let cuts = record.cuts().iter().filter_map(|cut| {
        let status = cut_status(cut.field, cut.held, fields, compiled)?;
        let kept_at = |clock| record.history(fields.status).any(|(at, _)| at == clock);
        let counts =
            |clock: &Clock| cut.field == fields.status || !cut_at(*clock) && !kept_at(*clock);
        let mut clocks = [cut.earliest, cut.latest].into_iter().filter(counts);
        let earliest = clocks.next()?;
        Some((status, earliest, clocks.next().unwrap_or(earliest)))
    });
    for (status, earliest, latest) in kept.chain(cuts) {
        if status == Status::Open {
            open = open.max(Some(latest));
        } else if closed.is_none_or(|first| earliest < first) {
            closed = Some(earliest);
        }
    }
    closed.filter(|first| open > Some(*first))
}

/// Looks at what was cut off the histories: the run may have begun in it. Its value's earliest
/// clock stands in if every other value's latest lies before it, else the latest of the others,
/// since the run can't have begun sooner. `before` is the last clock kept of another.
fn through_the_cut(
    record: &Record,
    fields: StatusFields,
    compiled: &CompiledDefinitions,
    run: StatusRun,
    before: Option<Clock>,
) -> StatusRun {
    let cuts = || {
        record
            .cuts()
            .iter()
            .filter_map(|c| Some((cut_status(c.field, c.held, fields, compiled)?, c)))
    };
    let other = before.max(
        cuts()
            .filter(|(said, _)| *said != run.status)
            .map(|(_, cut)| cut.latest)
            .max(),
    );
    let reaching = cuts().filter(|(said, cut)| *said == run.status && Some(cut.latest) >= other);
    let Some(earliest) = reaching.map(|(_, cut)| cut.earliest).min() else {
        return run;
    };
    StatusRun {
        since: Some(other.map_or(earliest, |other| other.max(earliest))),
        history_cut: true,
        ..run
    }
}

fn cut_status(
    field: Field,
    held: Held,
    fields: StatusFields,
    compiled: &CompiledDefinitions,
) -> Option<Status> {
    if field == fields.status {
        Some(asserted(held))
    } else if field == fields.stage {
        of_stage(held, compiled)
    } else {
        None
    }
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
