//! The owner of a shard: folds its messages in order and decides when and what to flush. The rules
//! of restart are kept here.

use super::known::Known;
use super::{Checkpoint, Entry, HourlyRows, Row, hour_of, message_hash};
use crate::event::wire::WireError;
use crate::record::Home;
use crate::shard::{CellRows, ChangeRow, LinkRow, Outbox, RecordRow, Shard, Unfolded};

/// A shard that is owned.
pub struct Owner {
    number: Home,
    shard: Shard,
    /// The offset of the next message.
    position: u64,
    /// The greatest version among all that was restored: nothing may be written of a state before
    /// it.
    restored: u64,
    /// The offset up to which everything is acknowledged.
    flushed: u64,
    append_time: i64,
    last_hash: u64,
    /// A flush was taken and is not acknowledged yet.
    in_flight: Option<u64>,
    /// The state of hours that are over, for the next flush.
    aside: Vec<HourlyRows>,
}

/// All values of a shard at one offset, on their way out.
#[derive(Debug)]
pub struct Flush {
    /// The shard.
    pub shard: Home,
    /// Numbers; written first, with changes and links.
    pub cells: CellRows,
    /// The state of hours: those over since the last flush, each at its own end, and the present
    /// one.
    pub hourly: Vec<HourlyRows>,
    /// What messages changed, each at its own message's version.
    pub changes: Vec<Row<ChangeRow>>,
    /// What is to be told to other records; links are versioned by the flush.
    pub outbox: Outbox,
    /// Records; written when what they led to is.
    pub records: Vec<Row<RecordRow>>,
    /// Links received; with the records.
    pub links: Vec<Row<LinkRow>>,
    /// Written last.
    pub checkpoint: Checkpoint,
}

/// Why a shard can't go on.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// The message can't be read.
    #[error("shard {shard} stops at offset {offset}: {source}")]
    Unreadable {
        /// The shard.
        shard: Home,
        /// The message's offset.
        offset: u64,
        /// Why.
        source: WireError,
    },
    /// Messages are missing.
    #[error(
        "shard {shard} stops: the log jumps from offset {expected} to {found}, messages are missing; make a new log of what is known: dealpulse rebuild log"
    )]
    Gap {
        /// The shard.
        shard: Home,
        /// The offset that should have come.
        expected: u64,
        /// The one that was read.
        found: u64,
    },
    /// The message is of an epoch whose definitions the owner was not given; with [`Owner::learn`]
    /// it can go on.
    #[error(
        "shard {shard} stops at offset {offset}: the log names epoch {epoch}, which the database doesn't know: is it another pipeline's?"
    )]
    UnknownEpoch {
        /// The shard.
        shard: Home,
        /// The message's offset.
        offset: u64,
        /// The epoch.
        epoch: u32,
    },
}

impl Owner {
    /// Takes a shard on: `shard` holds what was restored, up to version `restored`; messages come
    /// from the checkpoint on.
    pub fn new(number: Home, shard: Shard, checkpoint: Option<Checkpoint>, restored: u64) -> Self {
        let checkpoint = checkpoint.unwrap_or(Checkpoint {
            next_offset: 0,
            message_hash: 0,
            append_time: 0,
        });
        Owner {
            number,
            shard,
            position: checkpoint.next_offset,
            restored: restored.max(checkpoint.next_offset),
            flushed: checkpoint.next_offset,
            append_time: checkpoint.append_time,
            last_hash: checkpoint.message_hash,
            in_flight: None,
            aside: Vec::new(),
        }
    }

    /// Folds the next message; one already folded is passed over.
    ///
    /// # Errors
    /// If messages are missing before it or it can't be read. Nothing is folded then, and nothing
    /// can be after it.
    pub fn fold(&mut self, entry: &Entry) -> Result<(), FoldError> {
        if entry.offset < self.position {
            return Ok(());
        }
        if entry.offset > self.position {
            return Err(FoldError::Gap {
                shard: self.number,
                expected: self.position,
                found: entry.offset,
            });
        }
        let version = entry.offset + 1;
        let append_time = self.append_time.max(entry.append_time);
        if hour_of(append_time) > hour_of(self.append_time) {
            self.set_aside();
        }
        let folded = self.shard.fold(version, append_time, &entry.payload);
        folded.map_err(|unfolded| match unfolded {
            Unfolded::Unreadable(source) => FoldError::Unreadable {
                shard: self.number,
                offset: entry.offset,
                source,
            },
            Unfolded::UnknownEpoch(epoch) => FoldError::UnknownEpoch {
                shard: self.number,
                offset: entry.offset,
                epoch,
            },
        })?;
        self.position = version;
        self.append_time = append_time;
        self.last_hash = message_hash(&entry.payload);
        Ok(())
    }

    /// An hour is over: what was touched in it and is not written yet is set aside at its present
    /// value. Not before the greatest version restored is passed: the state may be ahead of the
    /// offset, and whoever wrote that version has written this before it.
    fn set_aside(&mut self) {
        if self.position >= self.restored {
            let cells = self.shard.take_this_hour();
            self.aside.extend(self.hourly(cells));
        }
    }

    /// Cells as the state of the present hour, if there are any.
    fn hourly(&self, cells: CellRows) -> Option<HourlyRows> {
        (!cells.is_empty()).then(|| HourlyRows {
            hour: hour_of(self.append_time),
            cells: Row {
                shard: self.number,
                version: self.position,
                row: cells,
            },
        })
    }

    /// Updates the epochs: a new one begins at its message in the log, one no longer counted is
    /// dropped from memory.
    pub fn learn(&mut self, known: &Known) {
        for live in &known.live {
            self.shard.learn(live.epoch, live.definitions.clone());
        }
        for epoch in &known.unkept {
            self.shard.forget(*epoch);
        }
    }

    /// Takes what is to be written, all of it at the present offset: everything *touched*, even if
    /// it equals the old value. Nothing while a flush is on its way, nor before the greatest
    /// version restored is passed, nor if nothing was folded.
    pub fn flush(&mut self) -> Option<Flush> {
        let is_exact = self.position >= self.restored;
        if self.in_flight.is_some() || !is_exact || self.position == self.flushed {
            return None;
        }
        let (shard, version) = (self.number, self.position);
        let cells = self.shard.take_this_hour();
        let present = self.hourly(cells);
        let touched = self.shard.take_touched();
        let mut hourly = std::mem::take(&mut self.aside);
        hourly.extend(present);
        self.in_flight = Some(version);
        Some(Flush {
            shard,
            cells: touched.cells,
            hourly,
            changes: touched
                .changes
                .into_iter()
                .map(|row| Row {
                    shard,
                    version: row.version,
                    row,
                })
                .collect(),
            outbox: touched.outbox,
            records: rows(shard, version, touched.records),
            links: rows(shard, version, touched.links),
            checkpoint: Checkpoint {
                next_offset: version,
                message_hash: self.last_hash,
                append_time: self.append_time,
            },
        })
    }

    /// True if `bound` rows wait that later ones don't replace: folding on would only heap up more,
    /// so the next message waits for an acknowledgement of the store, and for nothing else. Memory
    /// thus stays within the state, one copy of the touched rows on their way, and `bound`. Never
    /// before the greatest version restored is passed, since nothing may be flushed until then; an
    /// earlier owner folded as much under the same bound.
    pub fn must_wait(&self, bound: usize) -> bool {
        self.position >= self.restored && self.append_only_rows() >= bound
    }

    /// Of the rows waiting, those that later ones don't replace: those of the shard, and the state
    /// of hours that are over.
    pub fn append_only_rows(&self) -> usize {
        let aside = self.aside.iter().map(|rows| rows.cells.row.len());
        self.shard.append_only_rows() + aside.sum::<usize>()
    }

    /// The flush on its way was acknowledged, to its last step.
    pub fn acknowledge(&mut self) {
        if let Some(version) = self.in_flight.take() {
            self.flushed = version;
        }
    }

    /// The shard's number.
    pub fn number(&self) -> Home {
        self.number
    }

    /// The offset of the next message.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The offset up to which everything is written and acknowledged.
    pub fn flushed(&self) -> u64 {
        self.flushed
    }

    /// True while a flush is on its way.
    pub fn is_flushing(&self) -> bool {
        self.in_flight.is_some()
    }

    /// The greatest append time folded (µs).
    pub fn append_time(&self) -> i64 {
        self.append_time
    }

    /// The state.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }
}

fn rows<T>(shard: Home, version: u64, rows: Vec<T>) -> Vec<Row<T>> {
    rows.into_iter()
        .map(|row| Row {
            shard,
            version,
            row,
        })
        .collect()
}
