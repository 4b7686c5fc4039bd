//! Definitions in a shard's own symbols, through which records are read.

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::{Aliases, CustomFields, Key, Record, StageMeanings, Stages, Status, declared};
use crate::event::{Decimal, Entity, Field};
use crate::symbol::{Symbol, Symbols};
use crate::window::{Calendar, Dimension, Dims};

/// Who is credited with a closed deal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credit {
    /// The owner and team as of the close.
    #[default]
    AtClose,
    /// The owner and team of today.
    Current,
}

/// How surely an open deal is forecast, surest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForecastCategory {
    /// As good as won.
    Commit,
    /// Won if things go well.
    BestCase,
    /// All else.
    Pipeline,
    /// Not forecast.
    Omitted,
}

impl ForecastCategory {
    /// All of them, by number.
    pub const ALL: [ForecastCategory; 4] = [
        ForecastCategory::Commit,
        ForecastCategory::BestCase,
        ForecastCategory::Pipeline,
        ForecastCategory::Omitted,
    ];

    /// The one a word names, however it is written: `Best Case`, `best-case`, `BestCase`. No word
    /// is the pipeline.
    fn named(word: &str) -> Option<ForecastCategory> {
        // Compared letter by letter: it is asked with every event of an open deal.
        let is = |name: &str| {
            let letters = word.chars().filter(|c| c.is_alphanumeric());
            letters.flat_map(char::to_lowercase).eq(name.chars())
        };
        let names = ["commit", "bestcase", "pipeline", "omitted"];
        let named = names.iter().position(|name| is(name));
        match named {
            Some(number) => Some(ForecastCategory::ALL[number]),
            None => is("").then_some(ForecastCategory::Pipeline),
        }
    }
}

/// Records of an entity that metrics leave out: those whose field has one of these values.
#[derive(Debug, Clone)]
pub struct Exclusion {
    /// The bits of the metrics.
    pub metrics: u32,
    /// The entity.
    pub entity: Entity,
    /// A canonical field's name, or `custom.<field>`.
    pub field: String,
    /// The values, as text.
    pub values: Vec<String>,
}

/// What a record is read by, made ready for one shard.
#[derive(Debug, Clone)]
pub struct CompiledDefinitions {
    /// Hours, days and months.
    pub calendar: Calendar,
    /// Who is credited.
    pub credit: Credit,
    /// What stages stand for by the definitions.
    pub defined: StageMeanings,
    /// The same, with what the records of stages say.
    pub stages: StageMeanings,
    /// The stages a deal passes on its way to be won, in their order.
    pub stage_order: Vec<Symbol>,
    /// What categories of the source's stand for.
    pub categories: FxHashMap<Symbol, ForecastCategory>,
    /// What is left out.
    pub exclusions: Vec<Exclusion>,
    /// The custom fields that are dimensions, in order of their slots.
    pub custom_dimensions: Vec<String>,
}

impl CompiledDefinitions {
    /// Takes over what the records of stages say. True if that changed something.
    pub fn learn(&mut self, stages: &Stages, symbols: &Symbols) -> bool {
        let all = stages.add_to(&self.defined, symbols);
        let is_news = all != self.stages;
        self.stages = all;
        is_news
    }

    /// The status a stage stands for, if anything says so.
    pub fn status_of_stage(&self, stage: Symbol) -> Option<Status> {
        self.stages.statuses.get(&stage).copied()
    }

    /// True if a stage stands for a status or a probability, so that its clock is compared with
    /// theirs.
    pub fn compares_stages(&self) -> bool {
        !self.has_no_stages() || !self.stages.probabilities.is_empty()
    }

    /// True if no stage stands for a status, so that stages need not be looked at.
    pub fn has_no_stages(&self) -> bool {
        self.stages.statuses.is_empty()
    }

    /// The fields of an entity of which a change of value may change a number or a link, a bit
    /// each.
    pub fn read_mask(&self, entity: Entity) -> u64 {
        let excluded = self.exclusions.iter().filter(|e| e.entity == entity);
        let excluded = excluded.filter_map(|e| declared(entity).spec.field(&e.field));
        excluded.fold(declared(entity).read_mask(), |mask, f| mask | f.bit())
    }

    /// True if a change of a custom field may change a number or a link.
    pub fn reads_custom_fields(&self) -> bool {
        !self.custom_dimensions.is_empty()
            || self
                .exclusions
                .iter()
                .any(|e| e.field.starts_with("custom."))
    }
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
    pub aliases: &'a Aliases,
}

impl ReadContext<'_> {
    /// A record that counts for itself: it exists and is not merged into another. Of records merged
    /// in a circle, one is not.
    pub fn is_live(&self, key: Key, record: &Record) -> bool {
        record.exists() && self.aliases.root(key, self.symbols) == key
    }

    /// The root of the record that a field names, if it names one.
    pub fn named(&self, entity: Entity, id: Symbol) -> Option<Key> {
        let key = Key { entity, id };
        (!id.is_blank()).then(|| self.aliases.root(key, self.symbols))
    }

    /// What a forecast category of the source's stands for: as the definitions say, else by its
    /// name; none if neither says.
    pub fn forecast_category(&self, category: Symbol) -> Option<ForecastCategory> {
        let mapped = self.compiled.categories.get(&category).copied();
        mapped.or_else(|| ForecastCategory::named(self.symbols.text(category)))
    }

    /// The metrics a record is left out of, a bit each.
    pub fn excluded(&self, entity: Entity, record: &Record) -> u32 {
        let of_entity = self.compiled.exclusions.iter();
        let matching = of_entity.filter(|e| {
            e.entity == entity && {
                let field = self.field(entity, &e.field);
                let shown = field.map_or(super::Held::Null, |f| record.latest(f));
                let shown = match shown {
                    super::Held::Text(symbol) => self.symbols.text(symbol).to_owned(),
                    super::Held::Decimal(decimal) => decimal.to_string(),
                    super::Held::Flag(flag) => flag.to_string(),
                    super::Held::Null | super::Held::When(_) => String::new(),
                };
                let is_number =
                    |v: &String| Decimal::parse(v).is_some_and(|d| d.to_string() == shown);
                e.values.iter().any(|v| *v == shown || is_number(v))
            }
        });
        matching.fold(0, |bits, e| bits | e.metrics)
    }

    fn field(&self, entity: Entity, name: &str) -> Option<Field> {
        match name.strip_prefix("custom.") {
            Some(custom) => self.customs.find(custom),
            None => declared(entity).spec.field(name),
        }
    }

    /// Writes the custom fields that are dimensions into `dims`.
    pub fn custom_dims(&self, record: &Record, dims: &mut Dims) {
        for (i, name) in self.compiled.custom_dimensions.iter().enumerate() {
            if let Some(field) = self.customs.find(name) {
                dims[Dimension::FIRST_CUSTOM + i] = record.text(field);
            }
        }
    }
}
