//! What could not be read: counted, the first few shown, all of it written to a file if one is
//! given.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};

use crate::event::decode::{Bad, Reason};

/// How many are shown.
const SHOWN: u64 = 5;

/// How many were rejected, by reason.
pub type Counts = BTreeMap<Reason, u64>;

/// Takes note of what is rejected.
pub struct Rejects {
    counts: Counts,
    file: Option<(BufWriter<File>, String)>,
}

impl Rejects {
    /// Writes to `path`, if there is one.
    ///
    /// # Errors
    /// The file can't be made.
    pub fn new(path: Option<&Path>) -> Result<Rejects> {
        let open = |path: &Path| {
            let file = File::create(path).with_context(|| {
                format!(
                    "can't write to {}: name another --rejects FILE",
                    path.display()
                )
            })?;
            Ok::<_, anyhow::Error>((BufWriter::new(file), path.display().to_string()))
        };
        Ok(Rejects {
            counts: Counts::new(),
            file: path.map(open).transpose()?,
        })
    }

    /// Notes one line, row or item of a batch.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn add(&mut self, name: &str, line: u64, index: u32, bad: &Bad, raw: &[u8]) -> Result<()> {
        if self.total() < SHOWN {
            eprintln!("{name}:{line}: {bad}");
        }
        *self.counts.entry(bad.reason).or_default() += 1;
        if let Some((out, path)) = &mut self.file {
            let reject = serde_json::json!({
                "file": name,
                "line": line,
                "index": index,
                "reason": bad.reason.name(),
                "detail": bad.detail,
                "raw": String::from_utf8_lossy(raw),
            });
            writeln!(out, "{reject}").with_context(|| format!("can't write to {path}"))?;
        }
        Ok(())
    }

    fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Prints how many more there were, and the counts.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn finish(mut self) -> Result<Counts> {
        if let Some((out, path)) = &mut self.file {
            out.flush()
                .with_context(|| format!("can't write to {path}"))?;
        }
        let more = self.total().saturating_sub(SHOWN);
        if more > 0 {
            let hint = if self.file.is_none() {
                "; --rejects FILE writes all of them"
            } else {
                ""
            };
            eprintln!("… and {more} more rejected{hint}");
        }
        Ok(self.counts)
    }
}
