//! Rows: what leaves a shard, with texts in place of symbols. Every row is an absolute value, never
//! a difference.

use bytestring::ByteString;

use super::cell_rows::CellRows;
use super::record_rows::RecordRow;
use crate::codec::Writer;
use crate::event::{Assertion, Entity, When};
use crate::record::{Key, Link, Received, declared, link};
use crate::symbol::Symbols;

/// All that was touched, at its present value.
#[derive(Debug, Default)]
pub struct Touched {
    /// Numbers.
    pub cells: CellRows,
    /// What messages changed.
    pub changes: Vec<ChangeRow>,
    /// What is to be told to other records.
    pub outbox: Outbox,
    /// Records.
    pub records: Vec<RecordRow>,
    /// Links received.
    pub links: Vec<LinkRow>,
}

/// What records tell others, on its way to the log.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Links; their version is the offset of the flush they leave with.
    pub links: Vec<OutLink>,
    /// Assertions about other records that follow from those that were touched.
    pub derived: Vec<Assertion<'static>>,
}

impl Outbox {
    /// True if there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty() && self.derived.is_empty()
    }
}

/// What a message changed in a record: one row a record and message.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangeRow {
    /// What kind of record.
    pub entity: Entity,
    /// Its id.
    pub id: ByteString,
    /// The offset after the message.
    pub version: u64,
    /// When the log took the message (µs).
    pub append_time: i64,
    /// The greatest event time of the record's assertions in the message (µs).
    pub event_time: i64,
    /// Before and after.
    pub status: (ByteString, ByteString),
    /// Before and after.
    pub owner: (ByteString, ByteString),
    /// Before and after, in ten-thousandths.
    pub amount: (Option<i64>, Option<i64>),
    /// Before and after.
    pub closed_at: (Option<When>, Option<When>),
}

/// One link received.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkRow {
    /// The epoch it was made in.
    pub epoch: u32,
    /// Who received it.
    pub target: (Entity, String),
    /// Who sent it.
    pub sender: (Entity, String),
    /// The offset in the sender's log it was taken at.
    pub link_version: u64,
    /// What it says; what a restart reads.
    pub content: Vec<u8>,
    /// For whoever asks the facts: the outcome of a deal, if it says one.
    pub outcome: Option<Outcome>,
    /// It was withdrawn.
    pub withdrawn: bool,
}

/// The outcome of a deal in columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// `open`, `won`, `lost`.
    pub status: &'static str,
    /// When it closed.
    pub closed_at: Option<When>,
    /// Its amount in ten-thousandths.
    pub amount: Option<i64>,
    /// Its currency.
    pub currency: String,
}

impl LinkRow {
    pub(super) fn new(epoch: u32, target: Key, received: &Received, symbols: &Symbols) -> Self {
        let outcome = received.link.as_ref().and_then(|link| {
            let said = (declared(received.sender.entity).outcome)(link)?;
            Some(Outcome {
                status: said.status,
                closed_at: said.closed_at,
                amount: said.amount,
                currency: symbols.text(said.currency).to_owned(),
            })
        });
        LinkRow {
            epoch,
            target: name(target, symbols),
            sender: name(received.sender, symbols),
            link_version: received.version,
            content: content(received.link.as_ref(), symbols),
            outcome,
            withdrawn: received.link.is_none(),
        }
    }
}

/// One link to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct OutLink {
    /// The epoch it is made in.
    pub epoch: u32,
    /// Who receives it.
    pub target: (Entity, String),
    /// Who sends it.
    pub sender: (Entity, String),
    /// What it says.
    pub content: Vec<u8>,
}

impl OutLink {
    pub(super) fn new(
        epoch: u32,
        target: Key,
        sender: Key,
        link: Option<&Link>,
        symbols: &Symbols,
    ) -> Self {
        OutLink {
            epoch,
            target: name(target, symbols),
            sender: name(sender, symbols),
            content: content(link, symbols),
        }
    }
}

fn name(key: Key, symbols: &Symbols) -> (Entity, String) {
    (key.entity, symbols.text(key.id).to_owned())
}

fn content(content: Option<&Link>, symbols: &Symbols) -> Vec<u8> {
    let mut writer = Writer::default();
    link::write(content, symbols, &mut writer);
    writer.bytes
}
