//! The compiled: definitions in a shard's own symbols, through which records are read.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{CustomFields, Entity, Field, Held, Key, Record, Status, Symbol, Symbols};
use crate::definitions::Definitions;
use crate::metric;
use crate::window::{CANONICAL, Dims};

/// Definitions made ready for one shard.
#[derive(Debug)]
pub struct CompiledDefinitions {
    /// The definitions.
    pub definitions: Arc<Definitions>,
    stages: FxHashMap<Symbol, Status>,
    exclusions: Vec<Exclusion>,
}

/// Records of `entity` whose `field` is one of `values` are left out of a metric.
#[derive(Debug)]
struct Exclusion {
    metric: u8,
    entity: Entity,
    field: String,
    values: Vec<String>,
}

impl CompiledDefinitions {
    /// Takes definitions into a shard.
    pub fn new(definitions: Arc<Definitions>, symbols: &mut Symbols) -> Self {
        let stages = definitions.spec.stages.iter();
        let stages = stages.filter_map(|(stage, meaning)| {
            Some((
                symbols.intern(stage),
                Status::parse(meaning.status.as_deref()?)?,
            ))
        });
        let stages = stages.collect();
        let mut exclusions = Vec::new();
        for (name, excluded) in &definitions.spec.exclude {
            for exclusion in excluded {
                if let (Some(metric), Some(entity)) =
                    (metric::position(name), Entity::from_name(&exclusion.entity))
                {
                    exclusions.push(Exclusion {
                        metric,
                        entity,
                        field: exclusion.field.clone(),
                        values: exclusion.values.clone(),
                    });
                }
            }
        }
        CompiledDefinitions {
            definitions,
            stages,
            exclusions,
        }
    }

    /// The status a stage stands for, if the definitions say so.
    pub fn status_of_stage(&self, stage: Symbol) -> Option<Status> {
        self.stages.get(&stage).copied()
    }

    /// True if no stage stands for a status, so that stages need not be looked at.
    pub fn has_no_stages(&self) -> bool {
        self.stages.is_empty()
    }

    /// The metrics a record is left out of, a bit each.
    pub fn excluded(
        &self,
        entity: Entity,
        record: &Record,
        customs: &CustomFields,
        symbols: &Symbols,
    ) -> u32 {
        let matching = self.exclusions.iter().filter(|e| {
            e.entity == entity && {
                let shown = match field(entity, &e.field, customs)
                    .map_or(Held::Null, |f| record.latest(f))
                {
                    Held::Text(symbol) => symbols.text(symbol).to_owned(),
                    Held::Decimal(decimal) => decimal.to_string(),
                    Held::Flag(flag) => flag.to_string(),
                    Held::Null | Held::When(_) => String::new(),
                };
                e.values.iter().any(|v| {
                    *v == shown
                        || crate::event::Decimal::parse(v).is_some_and(|d| d.to_string() == shown)
                })
            }
        });
        matching.fold(0, |bits, e| bits | 1 << e.metric)
    }

    /// Writes the custom fields that are dimensions into `dims`.
    pub fn custom_dims(&self, record: &Record, customs: &CustomFields, dims: &mut Dims) {
        for (i, name) in self.definitions.custom_dimensions.iter().enumerate() {
            if let Some(field) = customs.find(name) {
                dims[CANONICAL.len() + i] = record.text(field);
            }
        }
    }
}

fn field(entity: Entity, name: &str, customs: &CustomFields) -> Option<Field> {
    name.strip_prefix("custom.")
        .map_or_else(|| entity.field(name), |custom| customs.find(custom))
}

/// Everything needed to read a record besides the record.
#[derive(Clone, Copy)]
pub struct ReadContext<'a> {
    /// The definitions.
    pub compiled: &'a CompiledDefinitions,
    /// The shard's texts.
    pub symbols: &'a Symbols,
    /// The shard's custom fields.
    pub customs: &'a CustomFields,
    /// The shard's merges.
    pub aliases: &'a super::alias::Aliases,
}

impl ReadContext<'_> {
    /// A record that counts for itself: it exists and is not merged into another. Of records merged in a circle, one is not.
    pub fn is_live(&self, key: Key, record: &Record) -> bool {
        record.exists() && self.aliases.root(key, self.symbols) == key
    }
}
