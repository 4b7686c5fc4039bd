//! What was seen of the messages of a feed: how many could be read, what was rounded, and which
//! columns of the mapping none of them had.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde_json::{Value as Json, json};

use crate::event::feed::{Explained, Feed};

/// What was seen of some messages.
pub struct Seen<'f> {
    /// How many there were.
    pub messages: usize,
    asserted: usize,
    /// How many items could not be read.
    pub rejected: usize,
    reasons: BTreeMap<&'static str, usize>,
    /// How many amounts were rounded, by table and column.
    rounded: BTreeMap<(String, String), usize>,
    /// Columns the mapping names, by key, of which no message had one that could be read.
    unseen: BTreeSet<(String, &'f str)>,
}

impl<'f> Seen<'f> {
    /// Nothing yet.
    pub fn new(feed: &'f Feed) -> Seen<'f> {
        let columns = feed.mapping().rules.iter().flat_map(|rule| rule.columns());
        Seen {
            messages: 0,
            asserted: 0,
            rejected: 0,
            reasons: BTreeMap::new(),
            rounded: BTreeMap::new(),
            unseen: columns.collect(),
        }
    }

    /// Takes note of a message.
    pub fn note(&mut self, explained: &[Explained]) {
        self.messages += 1;
        for item in explained {
            match item {
                Explained::Rejected { bad, .. } => {
                    self.rejected += 1;
                    *self.reasons.entry(bad.reason.name()).or_default() += 1;
                }
                Explained::Read { cells, rounded, .. } => {
                    self.asserted += 1;
                    for (key, column, _) in cells.iter().filter(|(.., cell)| cell.is_some()) {
                        self.unseen
                            .retain(|(known, named)| known != key || named != column);
                    }
                    for one in rounded {
                        let of = (one.table.clone(), one.column.clone());
                        *self.rounded.entry(of).or_default() += 1;
                    }
                }
                Explained::Ignored { .. } | Explained::NotRead { .. } => {}
            }
        }
    }

    /// How many items were rejected, by reason.
    pub fn reasons(&self) -> impl Iterator<Item = (&'static str, usize)> {
        self.reasons.iter().map(|(reason, count)| (*reason, *count))
    }

    /// A paragraph.
    pub fn to_text(&self) -> String {
        let mut out = format!(
            "{} messages: {} records asserted, {} items rejected\n",
            self.messages, self.asserted, self.rejected
        );
        // Writing to a String can't fail.
        for (reason, count) in &self.reasons {
            let _ = writeln!(out, "  {count} {reason}");
        }
        for ((table, column), count) in &self.rounded {
            let _ = writeln!(
                out,
                "  {count} amounts of {table} `{column}` were rounded to four places"
            );
        }
        for (key, column) in &self.unseen {
            let _ = writeln!(
                out,
                "  no message that is read has `{column}`, which {key} names"
            );
        }
        out
    }

    /// The same as one object.
    pub fn to_json(&self) -> Json {
        let rounded = self.rounded.iter().map(
            |((table, column), count)| json!({"table": table, "column": column, "amounts": count}),
        );
        let unseen = self.unseen.iter();
        let unseen = unseen.map(|(key, column)| json!({"key": key, "column": column}));
        json!({
            "messages": self.messages,
            "asserted": self.asserted,
            "rejected": self.reasons,
            "rounded": rounded.collect::<Vec<_>>(),
            "unseen": unseen.collect::<Vec<_>>(),
        })
    }
}
