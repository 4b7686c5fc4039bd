//! The subject: a record, read, with all that a metric may look at.

use crate::record::account::Account;
use crate::record::deal::Deal;
use crate::record::lead::Lead;
use crate::record::{Inbox, Key, Link, Projection, ReadContext, Reading};
use crate::symbol::Symbol;
use crate::window::Calendar;

/// A record that a metric evaluates.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// Which record.
    pub key: Key,
    /// The record, read.
    pub reading: &'a Reading,
    /// The links it received.
    pub inbox: &'a Inbox,
    /// The definitions and the shard's texts.
    pub context: ReadContext<'a>,
    /// The present metric's bit among exclusions.
    bit: u32,
    /// The first slot of the present metric's marks and totals.
    slot: u16,
}

/// Slots a metric has for marks, and as many for totals.
pub const TAGS: u16 = 8;

impl<'a> Subject<'a> {
    /// A record, before any metric evaluates it.
    pub fn new(key: Key, reading: &'a Reading, inbox: &'a Inbox, context: ReadContext<'a>) -> Self {
        Subject {
            key,
            reading,
            inbox,
            context,
            bit: 0,
            slot: 0,
        }
    }

    /// The same for the metric of a position in the catalogue.
    pub(super) fn of_metric(self, position: usize) -> Self {
        Subject {
            bit: 1 << position,
            slot: position as u16 * TAGS,
            ..self
        }
    }

    pub(super) fn slot(&self) -> u16 {
        self.slot
    }

    /// The reading of a lead, if it is one.
    pub fn lead(&self) -> Option<&'a Lead> {
        self.reading.lead()
    }

    /// The reading of a deal that counts for itself, if it is one.
    pub fn deal(&self) -> Option<&'a Deal> {
        self.reading.deal().filter(|deal| deal.live)
    }

    /// The reading of an account, if it is one.
    pub fn account(&self) -> Option<&'a Account> {
        self.reading.account()
    }

    /// The organisation's calendar.
    pub fn calendar(&self) -> &'a Calendar {
        &self.context.compiled.calendar
    }

    /// True if a record with these exclusion bits counts in the present metric.
    pub fn counts(&self, excluded: u32) -> bool {
        excluded & self.bit == 0
    }

    /// The least number that a link marked under a tag.
    pub fn least(&self, tag: u16) -> Option<i64> {
        self.inbox.marks().least(self.slot + tag)
    }

    /// The greatest number that a link marked under a tag.
    pub fn greatest(&self, tag: u16) -> Option<i64> {
        self.inbox.marks().greatest(self.slot + tag)
    }

    /// True if any link set a mark under a tag.
    pub fn is_marked(&self, tag: u16) -> bool {
        self.least(tag).is_some()
    }

    /// The totals that links added to under a tag in a period, by what they are of.
    pub fn totals(
        &self,
        tag: u16,
        period: i64,
    ) -> impl Iterator<Item = (Symbol, i128)> + Clone + 'a {
        self.inbox.totals().of(self.slot + tag, period)
    }

    /// The distinct numbers marked under a tag, in order.
    pub fn marked(&self, tag: u16) -> impl Iterator<Item = i64> + 'a {
        self.inbox.marks().distinct(self.slot + tag)
    }
}

/// A link that a record received.
#[derive(Clone, Copy)]
pub struct Sent<'a> {
    /// Who sent it.
    pub sender: Key,
    /// Its content.
    pub link: &'a Link,
    /// The metric's basis of its target: see [`super::Metric::basis`].
    pub basis: i64,
}

impl Sent<'_> {
    /// Its content, if it is of the projection's kind.
    pub fn read<P: Projection>(&self) -> Option<P> {
        self.link.read()
    }
}
