//! The records of a CRM's export, compared with the facts.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::event::{Value, When};
use crate::pipeline::StoredRecord;
use crate::record::{BlobError, CustomFields, Entity, Field, Held, Record, Symbols};
use crate::window::Calendar;

/// The records of one shard as an export has them, as bytes.
pub type Exported = HashMap<(Entity, String), Vec<u8>>;

/// What can be wrong with a record or a value of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Live in the export, and not in the facts.
    Missing,
    /// Live in the facts, and not in the export.
    Surplus,
    /// Another value in the facts.
    Different,
    /// Any of these, but caused by events after the export was made.
    ChangedSince,
}

impl Kind {
    /// All of them, those that count as failures first.
    pub const ALL: [Kind; 4] = [
        Kind::Missing,
        Kind::Surplus,
        Kind::Different,
        Kind::ChangedSince,
    ];

    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Missing => "missing",
            Kind::Surplus => "surplus",
            Kind::Different => "different",
            Kind::ChangedSince => "changed_since",
        }
    }
}

/// One record, or one value of it, that differs between export and facts.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What kind of record.
    pub entity: Entity,
    /// Its qualified id.
    pub id: String,
    /// The field; `None` for the whole record.
    pub field: Option<String>,
    /// What the export has.
    pub export: String,
    /// The value in the facts.
    pub facts: String,
}

/// How many records of an entity there are, and what is wrong with how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Records {
    /// Live in the export.
    pub exported: u64,
    /// Live in the facts.
    pub known: u64,
    /// [`Kind::Missing`].
    pub missing: u64,
    /// [`Kind::Surplus`].
    pub surplus: u64,
    /// [`Kind::ChangedSince`], of whole records.
    pub changed_since: u64,
}

/// How many values of a field were compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Values {
    /// Of records that are live in both.
    pub compared: u64,
    /// [`Kind::Different`].
    pub different: u64,
    /// [`Kind::ChangedSince`], of values.
    pub changed_since: u64,
}

/// What is compared, and how.
pub struct Question<'q> {
    /// Days.
    pub calendar: &'q Calendar,
    /// When the export was made (µs).
    pub as_of: i64,
    /// The fields to compare, by name; `None` for every field the export states.
    pub fields: Option<&'q BTreeSet<String>>,
    /// The kinds of record the export contains.
    pub entities: BTreeSet<Entity>,
    /// What the ids of the export are qualified by: records of others are no matter.
    pub namespace: Option<&'q str>,
    /// How many findings of a kind are kept to be shown.
    pub most: usize,
}

/// What was found so far.
#[derive(Debug, Default)]
pub struct Audit {
    /// By entity.
    pub records: BTreeMap<Entity, Records>,
    /// By entity and field.
    pub values: BTreeMap<(Entity, String), Values>,
    /// The first of each kind.
    pub findings: BTreeMap<Kind, Vec<Finding>>,
    /// The fields the export stated at all.
    pub stated: BTreeSet<String>,
}

impl Audit {
    /// How many records and values fail: all but those that changed since.
    pub fn failures(&self) -> u64 {
        let records: u64 = self
            .records
            .values()
            .map(|records| records.missing + records.surplus)
            .sum();
        records
            + self
                .values
                .values()
                .map(|values| values.different)
                .sum::<u64>()
    }

    /// Compares one shard.
    ///
    /// # Errors
    /// A record that can't be read, with its kind and id.
    pub fn compare(
        &mut self,
        question: &Question<'_>,
        mut exported: Exported,
        mut facts: Vec<StoredRecord<'_>>,
    ) -> Result<(), (Entity, String, BlobError)> {
        let mut texts = Texts::default();
        facts.sort_unstable_by(|a, b| (a.entity, &a.id).cmp(&(b.entity, &b.id)));
        for fact in facts
            .into_iter()
            .filter(|fact| question.is_about(fact.entity, &fact.id))
        {
            let export = exported.remove(&(fact.entity, fact.id.to_string()));
            let pair = || {
                Ok((
                    export
                        .map(|bytes| texts.read(fact.entity, &bytes))
                        .transpose()?,
                    texts.read(fact.entity, &fact.state)?,
                ))
            };
            let (export, known) =
                pair().map_err(|error| (fact.entity, fact.id.to_string(), error))?;
            Pair {
                audit: self,
                question,
                texts: &texts,
                entity: fact.entity,
                id: &fact.id,
            }
            .compare(export.as_ref(), Some(&known));
        }
        let mut rest: Vec<_> = exported
            .into_iter()
            .filter(|((entity, _), _)| *entity != Entity::ALIAS)
            .collect();
        rest.sort_unstable();
        for ((entity, id), bytes) in rest {
            let export = texts
                .read(entity, &bytes)
                .map_err(|error| (entity, id.clone(), error))?;
            Pair {
                audit: self,
                question,
                texts: &texts,
                entity,
                id: &id,
            }
            .compare(Some(&export), None);
        }
        Ok(())
    }
}

impl Question<'_> {
    fn is_about(&self, entity: Entity, id: &str) -> bool {
        let is_ours = self.namespace.is_none_or(|namespace| {
            id.strip_prefix(namespace)
                .is_some_and(|rest| rest.starts_with('/'))
        });
        entity != Entity::ALIAS && self.entities.contains(&entity) && is_ours
    }

    fn asks(&self, field: &str) -> bool {
        self.fields.is_none_or(|fields| fields.contains(field))
    }

    /// What the facts hold of a field was asserted after the export was made.
    fn is_later(&self, known: &Record, field: Field) -> bool {
        known
            .asserted(field)
            .is_some_and(|stamp| stamp.0.time > self.as_of)
    }

    /// As the definitions would see it: days where one of the two is a day, else seconds.
    fn is_same_time(&self, one: When, other: When) -> bool {
        match (one, other) {
            (When::Instant(one), When::Instant(other)) => {
                one.div_euclid(1_000_000) == other.div_euclid(1_000_000)
            }
            _ => self.calendar.day(one) == self.calendar.day(other),
        }
    }

    fn is_same(&self, one: Held, other: Held) -> bool {
        let is_nothing =
            |held| held == Held::Null || held == Held::Text(crate::record::Symbol::BLANK);
        match (one, other) {
            (Held::When(one), Held::When(other)) => self.is_same_time(one, other),
            _ => one == other || is_nothing(one) && is_nothing(other),
        }
    }
}

/// Texts and custom fields of export and facts alike, so that what they hold can be compared.
#[derive(Default)]
struct Texts {
    symbols: Symbols,
    customs: CustomFields,
}

impl Texts {
    fn read(&mut self, entity: Entity, bytes: &[u8]) -> Result<Record, BlobError> {
        Record::from_bytes(entity.spec(), bytes, &mut self.customs, &mut self.symbols)
    }

    /// Why a record doesn't count for itself; `None` if it does.
    fn gone(&self, record: &Record) -> Option<String> {
        if !record.exists() {
            return Some("deleted".into());
        }
        let root = self.symbols.text(record.text(Field::MERGED_INTO));
        (!root.is_empty()).then(|| format!("merged into {root}"))
    }

    fn show(&self, held: Held) -> String {
        match held.show(&self.symbols) {
            Value::Null => "nothing".into(),
            Value::Text(text) if text.is_empty() => "nothing".into(),
            Value::Text(text) => text.into_owned(),
            Value::When(When::Date(day)) => crate::window::calendar::civil(day).to_string(),
            Value::When(When::Instant(micros)) => instant(micros),
            Value::Decimal(decimal) => decimal.to_string(),
            Value::Flag(flag) => flag.to_string(),
        }
    }
}

/// An instant (µs) as it is shown.
pub fn instant(micros: i64) -> String {
    chrono::DateTime::from_timestamp_micros(micros)
        .unwrap_or_default()
        .to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

/// One record of the export, the facts or both.
struct Pair<'p> {
    audit: &'p mut Audit,
    question: &'p Question<'p>,
    texts: &'p Texts,
    entity: Entity,
    id: &'p str,
}

impl Pair<'_> {
    fn compare(&mut self, export: Option<&Record>, known: Option<&Record>) {
        let absent = || Some("not there".to_owned());
        let gone =
            |record: Option<&Record>| record.map_or_else(absent, |record| self.texts.gone(record));
        let (gone_there, gone_here) = (gone(export), gone(known));
        let records = self.audit.records.entry(self.entity).or_default();
        records.exported += u64::from(gone_there.is_none());
        records.known += u64::from(gone_here.is_none());
        if let Some(export) = export {
            self.note_stated(export);
        }
        let live = || "live".to_owned();
        match (gone_there, gone_here, export, known) {
            (None, Some(here), _, known) => {
                let is_later = known.is_some_and(|known| self.life_changed_since(known));
                self.record(
                    if is_later {
                        Kind::ChangedSince
                    } else {
                        Kind::Missing
                    },
                    live(),
                    here,
                );
            }
            (Some(there), None, _, Some(known)) => {
                let is_new = known
                    .first()
                    .is_some_and(|first| first.time > self.question.as_of);
                let is_later = is_new || self.life_changed_since(known);
                self.record(
                    if is_later {
                        Kind::ChangedSince
                    } else {
                        Kind::Surplus
                    },
                    there,
                    live(),
                );
            }
            (None, None, Some(export), Some(known)) => self.compare_values(export, known),
            _ => {}
        }
    }

    /// In the facts, the last event that deleted, restored or merged it is later than the export.
    fn life_changed_since(&self, known: &Record) -> bool {
        [Field::DELETED, Field::MERGED_INTO]
            .into_iter()
            .any(|field| self.question.is_later(known, field))
    }

    fn fields(&self, export: &Record) -> Vec<(Field, String)> {
        // Whether a record is deleted or merged away is compared as its life.
        let own = (Field::MERGED_INTO.0 + 1..self.entity.fields().len() as u16).map(Field);
        let own = own.map(|field| (field, self.entity.spec().spec(field).name.to_owned()));
        let custom = export.custom_fields().filter_map(|field| {
            Some((field, format!("custom.{}", self.texts.customs.name(field)?)))
        });
        own.chain(custom)
            .filter(|(field, _)| export.asserted(*field).is_some())
            .collect()
    }

    fn note_stated(&mut self, export: &Record) {
        let stated: Vec<String> = self
            .fields(export)
            .into_iter()
            .map(|(_, name)| name)
            .collect();
        self.audit.stated.extend(stated);
    }

    fn compare_values(&mut self, export: &Record, known: &Record) {
        for (field, name) in self
            .fields(export)
            .into_iter()
            .filter(|(_, name)| self.question.asks(name))
        {
            let (there, here) = (export.latest(field), known.latest(field));
            let values = self
                .audit
                .values
                .entry((self.entity, name.clone()))
                .or_default();
            values.compared += 1;
            if self.question.is_same(there, here) {
                continue;
            }
            let kind = if self.question.is_later(known, field) {
                Kind::ChangedSince
            } else {
                Kind::Different
            };
            match kind {
                Kind::ChangedSince => values.changed_since += 1,
                _ => values.different += 1,
            }
            self.find(
                kind,
                Some(name),
                self.texts.show(there),
                self.texts.show(here),
            );
        }
    }

    fn record(&mut self, kind: Kind, export: String, facts: String) {
        let records = self.audit.records.entry(self.entity).or_default();
        match kind {
            Kind::Missing => records.missing += 1,
            Kind::Surplus => records.surplus += 1,
            Kind::ChangedSince | Kind::Different => records.changed_since += 1,
        }
        self.find(kind, None, export, facts);
    }

    fn find(&mut self, kind: Kind, field: Option<String>, export: String, facts: String) {
        let findings = self.audit.findings.entry(kind).or_default();
        if findings.len() < self.question.most {
            findings.push(Finding {
                entity: self.entity,
                id: self.id.to_owned(),
                field,
                export,
                facts,
            });
        }
    }
}
