//! The mapping: which columns of a source feed which canonical fields, and how a row becomes an
//! assertion.
//!
//! It is applied to an abstract row, a look-up from names to texts, so that rows of a CSV file and
//! messages of a feed are mapped alike.

mod amount;
mod condition;
mod items;
mod personal;
mod rule;
mod source;
mod time;

use std::collections::{BTreeMap, BTreeSet};

use chrono_tz::Tz;
use encoding_rs::Encoding;
use serde::Deserialize;

pub use personal::{HashKey, is_mark};
use rule::RuleSpec;
pub use rule::{Applied, Join, RowClock, Rule};

use super::Schema;

/// Why a mapping is refused; the message names the key and says what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// It is no TOML, or has keys a mapping doesn't have.
    #[error("the mapping can't be read: {0}")]
    Unreadable(String),
    /// It contradicts itself or names what isn't there.
    #[error("{key}: {problem}")]
    Wrong {
        /// The key at fault, as it is written.
        key: String,
        /// What is wrong with it and what would be right.
        problem: String,
    },
}

impl MappingError {
    /// A fault of one key.
    pub fn wrong(key: impl Into<String>, problem: impl Into<String>) -> Self {
        MappingError::Wrong {
            key: key.into(),
            problem: problem.into(),
        }
    }
}

/// A mapping, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    definitions: Option<toml::Value>,
    delimiter: Option<char>,
    encoding: Option<String>,
    #[serde(default)]
    files: BTreeMap<String, FileSpec>,
    time_zone: Option<String>,
    #[serde(default)]
    ignore: Vec<String>,
    #[serde(default)]
    records: Vec<RuleSpec>,
}

/// How one file is written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSpec {
    delimiter: Option<char>,
    encoding: Option<String>,
}

/// How a file is written, as far as the mapping says; the rest is found in the file.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct FileForm {
    /// What separates the cells of a row.
    pub delimiter: Option<u8>,
    /// How its characters are written.
    pub encoding: Option<&'static Encoding>,
}

impl FileForm {
    fn new(table: &str, spec: FileSpec) -> Result<FileForm, MappingError> {
        let delimiter = spec
            .delimiter
            .map(|delimiter| match u8::try_from(delimiter) {
                Ok(byte) if byte.is_ascii() && byte != b'"' => Ok(byte),
                _ => Err(MappingError::wrong(
                    format!("{table}delimiter"),
                    format!("`{delimiter}` can't separate cells; write one like `;` or `\\t`"),
                )),
            });
        let encoding = spec.encoding.map(|name| {
            Encoding::for_label_no_replacement(name.as_bytes()).ok_or_else(|| {
                MappingError::wrong(
                    format!("{table}encoding"),
                    format!("`{name}` is no encoding; write one like `utf-8`, `windows-1252`, `utf-16le` or `iso-8859-2`"),
                )
            })
        });
        Ok(FileForm {
            delimiter: delimiter.transpose()?,
            encoding: encoding.transpose()?,
        })
    }
}

/// A checked mapping: every entity, field and word in it exists.
#[derive(Debug)]
pub struct Mapping {
    /// What the numbers mean, if the mapping says so: as it is written, for whoever knows
    /// definitions.
    pub definitions: Option<toml::Value>,
    form: FileForm,
    files: BTreeMap<String, FileForm>,
    /// The zone of times without an offset, if it is not the organisation's.
    pub zone: Option<Tz>,
    /// Tables, objects and events of a feed that no rule reads, knowingly.
    pub ignore: Vec<String>,
    /// How rows become records, in the order they are written.
    pub rules: Vec<Rule>,
}

impl Mapping {
    /// Reads and checks a mapping.
    ///
    /// # Errors
    /// The first key that is wrong, and what would be right.
    pub fn parse(toml: &str, schema: &Schema) -> Result<Mapping, MappingError> {
        let spec: Spec =
            toml::from_str(toml).map_err(|error| MappingError::Unreadable(error.to_string()))?;
        if spec.records.is_empty() && spec.definitions.is_none() && spec.encoding.is_none() {
            return Err(MappingError::wrong(
                "records",
                "there is none; write a [[records]] table for every file, table or object whose rows are records, or at least [definitions]",
            ));
        }
        let form = FileForm::new(
            "",
            FileSpec {
                delimiter: spec.delimiter,
                encoding: spec.encoding,
            },
        )?;
        let files = spec.files.into_iter().map(|(name, spec)| {
            let form = FileForm::new(&format!("files.\"{name}\"."), spec)?;
            Ok((name, form))
        });
        let files = files.collect::<Result<BTreeMap<_, _>, MappingError>>()?;
        let zone = |name: String| {
            name.parse::<Tz>().map_err(|_| {
                let problem =
                    format!("`{name}` is no IANA time zone; write it like `Europe/Berlin`");
                MappingError::wrong("time_zone", problem)
            })
        };
        let rules = spec
            .records
            .into_iter()
            .enumerate()
            .map(|(number, rule)| Rule::new(format!("records[{number}]"), rule, schema));
        let rules = rules.collect::<Result<Vec<_>, _>>()?;
        check_hashed(&rules)?;
        if let Some(table) = spec
            .ignore
            .iter()
            .find(|table| rules.iter().any(|rule| rule.reads(table)))
        {
            return Err(MappingError::wrong(
                "ignore",
                format!("`{table}` is read by a rule; take it out of one of the two"),
            ));
        }
        let mapping = Mapping {
            definitions: spec.definitions,
            form,
            files,
            zone: spec.time_zone.map(zone).transpose()?,
            ignore: spec.ignore,
            rules,
        };
        // The dumps of a feed may have any names.
        let is_of_files = mapping.rules.iter().all(|rule| rule.file().is_some());
        let mut files = mapping.files.keys();
        match files.find(|file| is_of_files && !mapping.names(file)) {
            Some(file) => Err(MappingError::wrong(
                format!("files.\"{file}\""),
                "no rule reads or joins a file of this name",
            )),
            None => Ok(mapping),
        }
    }

    /// How a file of this base name is written.
    pub fn form(&self, file: &str) -> FileForm {
        let own = self.files.get(file).copied().unwrap_or_default();
        FileForm {
            delimiter: own.delimiter.or(self.form.delimiter),
            encoding: own.encoding.or(self.form.encoding),
        }
    }

    /// The names of the columns that are looked for in a file: by the rules that read it, and by
    /// those that join it to another.
    pub fn columns_of(&self, file: &str) -> BTreeSet<&str> {
        let mut columns = BTreeSet::new();
        for rule in &self.rules {
            let names = || rule.columns().map(|(_, column)| column);
            if rule.file() == Some(file) {
                columns.extend(names());
                columns.extend(rule.joins.iter().map(|join| join.on.as_str()));
                continue;
            }
            for join in rule.joins.iter().filter(|join| join.file == file) {
                columns.extend(names().filter_map(|name| name.strip_prefix(join.prefix.as_str())));
                columns.insert(&join.key);
            }
        }
        columns
    }

    /// The first key that keeps a hash, if one does: such a mapping needs a key to hash with.
    pub fn hashes(&self) -> Option<String> {
        let mut uses = self.rules.iter().flat_map(Rule::uses);
        uses.find_map(|(key, _, hashed)| hashed.map(|_| key))
    }

    /// The mapping with a key to hash with.
    ///
    /// # Errors
    /// It hashes, and there is no key; `fix` says where to put one.
    pub fn with_key(mut self, key: Option<&HashKey>, fix: &str) -> Result<Self, MappingError> {
        match (key, self.hashes()) {
            (None, Some(hashed)) => {
                let problem = format!("`hash` needs a key to hash with; {fix}");
                return Err(MappingError::wrong(hashed, problem));
            }
            (None, None) => {}
            (Some(key), _) => {
                let hashing = self.rules.iter_mut().flat_map(Rule::hashing);
                hashing.for_each(|hashing| hashing.key = Some(key.clone()));
            }
        }
        Ok(self)
    }

    /// True if a file is read by a rule or joined by one.
    pub fn names(&self, file: &str) -> bool {
        self.rules.iter().any(|rule| {
            rule.file() == Some(file) || rule.joins.iter().any(|join| join.file == file)
        })
    }
}

/// A column as a JSON pointer: a name is that of a member.
pub fn pointer(column: &str) -> String {
    if column.starts_with('/') {
        column.to_owned()
    } else {
        format!("/{}", column.replace('~', "~0").replace('/', "~1"))
    }
}

/// A column is hashed everywhere in the same rows, and alike: a dead letter that is redacted has
/// one hash of it and nothing else.
fn check_hashed(rules: &[Rule]) -> Result<(), MappingError> {
    for (rule, other) in rules
        .iter()
        .flat_map(|rule| rules.iter().map(move |o| (rule, o)))
    {
        if !rule.reads_rows_of(other) {
            continue;
        }
        let hashed = rule
            .uses()
            .filter_map(|(key, column, by)| Some((key, column, by?)));
        for (key, column, by) in hashed {
            let place = rule.place(column);
            let mut uses = other
                .uses()
                .filter(|used| place.is_some() && other.place(used.1) == place);
            let wrong = uses.find(|(.., used)| !used.is_some_and(|used| used.hashes_like(by)));
            if let Some((wrong, _, used)) = wrong {
                let problem = match used {
                    None => format!(
                        "`{column}` is hashed for {key}, so it can't be read in the clear here; hash it here, too, or nowhere"
                    ),
                    Some(_) => format!(
                        "`{column}` is hashed otherwise for {key}; write the same `ignore_case` and `map`"
                    ),
                };
                return Err(MappingError::wrong(wrong, problem));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
