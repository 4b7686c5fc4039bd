//! Choosing how topics are read: their format by the shape of their messages, and the preset whose
//! tables and columns they have.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::presets;
use crate::event::feed::recognise::{Observed, Shape, observe};
use crate::event::feed::{Format, Message};
use crate::event::mapping::{Mapping, Rule};
use crate::kafka::sample::Sampled;
use crate::record::SCHEMA;

/// How many columns of a table a preset must know, besides the id, where the format doesn't say
/// which CRM it is.
const ENOUGH: usize = 3;

/// Topics that are read alike.
pub struct Group<'s> {
    /// Their names.
    pub topics: BTreeSet<&'s str>,
    /// Their messages.
    pub messages: Vec<&'s Sampled>,
    /// What they are.
    pub shape: Shape,
}

/// The topics of a sample by what most of their messages are, and of each topic how many are
/// something else.
pub fn group<'s>(samples: &'s [Sampled]) -> (Vec<Group<'s>>, BTreeMap<&'s str, usize>) {
    let mut by_topic: BTreeMap<&str, Vec<(&Sampled, Shape)>> = BTreeMap::new();
    for sampled in samples {
        let shape = match &sampled.value {
            _ if sampled.is_binary_event => Some(Shape::Events),
            Some(value) => Shape::of(value),
            None => None,
        };
        // What says nothing of itself, as a tombstone, is whatever the others are.
        if let Some(shape) = shape {
            by_topic
                .entry(&sampled.topic)
                .or_default()
                .push((sampled, shape));
        }
    }
    let mut groups: BTreeMap<Shape, Group<'s>> = BTreeMap::new();
    let mut others = BTreeMap::new();
    for (topic, messages) in by_topic {
        let mut counts: BTreeMap<Shape, usize> = BTreeMap::new();
        for (_, shape) in &messages {
            *counts.entry(plain(*shape)).or_default() += 1;
        }
        let most = counts.iter().max_by_key(|(_, count)| **count);
        let Some((shape, count)) = most.map(|(shape, count)| (*shape, *count)) else {
            continue;
        };
        if count < messages.len() {
            others.insert(topic, messages.len() - count);
        }
        let group = groups.entry(shape).or_insert_with(|| Group {
            topics: BTreeSet::new(),
            messages: Vec::new(),
            shape,
        });
        group.topics.insert(topic);
        let alike = messages.into_iter();
        let alike = alike.filter(|(_, own)| plain(*own) == shape);
        group.messages.extend(alike.map(|(sampled, _)| sampled));
    }
    (groups.into_values().collect(), others)
}

/// Messages of a registry are alike, whichever of its schemas they have.
fn plain(shape: Shape) -> Shape {
    match shape {
        Shape::Registry(_) => Shape::Registry(0),
        other => other,
    }
}

/// A feed as it is read.
pub struct Choice {
    /// Its format.
    pub format: Format,
    /// What was seen of its tables.
    pub tables: BTreeMap<String, Observed>,
    /// The preset that knows most of it.
    pub preset: Option<Known>,
    /// Presets that know as much as each other, so that none is chosen.
    pub rivals: Vec<&'static str>,
}

/// A preset and what it knows of a feed.
pub struct Known {
    /// Its name.
    pub name: &'static str,
    /// Its mapping, with the names of the feed's tables.
    pub text: String,
    /// It has to be copied and changed, since it has numbers of its own source.
    pub is_template: bool,
    /// The feed's tables that it reads or passes over.
    pub tables: BTreeSet<String>,
    /// Its own names of tables that the feed calls otherwise, by the feed's.
    pub renamed: BTreeMap<String, String>,
    /// How many columns it knows.
    score: usize,
}

/// How the messages of a group are read, which are of a feed of this format; or flattened by
/// Debezium, which nothing shows but the tables.
pub fn choose(group: &Group<'_>, format: Format) -> Choice {
    let first = choice(group, format);
    let is_sure = |known: &Known| known.renamed.is_empty();
    if format != Format::Json || first.preset.as_ref().is_some_and(is_sure) {
        return first;
    }
    let second = choice(group, Format::Debezium);
    let score = |choice: &Choice| choice.preset.as_ref().map_or(0, |known| known.score);
    // Where tables have the preset's own names, that is no chance.
    if score(&second) > 0 && score(&second) >= score(&first) {
        second
    } else {
        first
    }
}

fn choice(group: &Group<'_>, format: Format) -> Choice {
    let mut tables = BTreeMap::new();
    for sampled in &group.messages {
        let message = Message {
            key: sampled.key.as_deref(),
            value: sampled.value.as_deref(),
        };
        observe(format, &sampled.topic, message, &mut tables);
    }
    let names = presets::NAMES.iter().map(|name| (*name, false));
    let templates = presets::TEMPLATES.iter().map(|name| (*name, true));
    let candidates = names.chain(templates);
    let mut known: Vec<Known> = candidates
        .filter_map(|(name, is_template)| match_preset(name, is_template, format, &tables))
        .collect();
    known.sort_by_key(|known| std::cmp::Reverse(known.score));
    let best = known.first().map_or(0, |known| known.score);
    let count = known.iter().filter(|known| known.score == best).count();
    let rivals = match count {
        0 | 1 => Vec::new(),
        _ => known[..count].iter().map(|known| known.name).collect(),
    };
    let preset = known.into_iter().next().filter(|_| rivals.is_empty());
    Choice {
        format,
        tables,
        preset,
        rivals,
    }
}

fn preset_text(name: &str) -> &'static str {
    presets::text(name).unwrap_or_default()
}

/// What a preset knows of tables; none if that is too little.
fn match_preset(
    name: &'static str,
    is_template: bool,
    format: Format,
    tables: &BTreeMap<String, Observed>,
) -> Option<Known> {
    let text = preset_text(name);
    let mapping = Mapping::parse(text, &SCHEMA).ok()?;
    let says_crm = matches!(
        format,
        Format::SalesforceCdc | Format::HubspotWebhook | Format::PipedriveWebhook
    );
    let enough = if says_crm { 1 } else { ENOUGH };
    let mut known = Known {
        name,
        text: text.to_owned(),
        is_template,
        tables: BTreeSet::new(),
        renamed: BTreeMap::new(),
        score: 0,
    };
    let mut most = 0;
    for (table, observed) in tables {
        let matched = matched(&mapping, table, observed);
        let is_read = mapping.rules.iter().any(|rule| rule.reads(table));
        if is_read || mapping.ignore.contains(table) {
            known.tables.insert(table.clone());
        }
        known.score += matched;
        most = most.max(matched);
    }
    if most >= enough {
        return Some(known);
    }
    // Any JSON: its tables are topics, whose names are everybody's own.
    (format == Format::Json).then(|| renamed(known, &mapping, tables))?
}

/// A preset whose tables are called like those of the feed that have the same columns.
fn renamed(known: Known, mapping: &Mapping, tables: &BTreeMap<String, Observed>) -> Option<Known> {
    let mut known = Known {
        tables: BTreeSet::new(),
        score: 0,
        ..known
    };
    let own: BTreeSet<&str> = mapping.rules.iter().filter_map(Rule::table).collect();
    let mut free = own;
    for (table, observed) in tables {
        let best = free
            .iter()
            .map(|own| (matched(mapping, own, observed), *own))
            .max()
            .filter(|(count, own)| {
                *count >= ENOUGH && 2 * count >= columns(mapping, own, |_| true).len()
            });
        if let Some((count, own)) = best {
            free.remove(own);
            let key = |name: &str| format!("table = {}", super::write::quoted(name));
            known.text = known.text.replace(&key(own), &key(table));
            known.tables.insert(table.clone());
            known.renamed.insert(table.clone(), own.to_owned());
            known.score += count;
        }
    }
    (known.score > 0).then_some(known)
}

/// How many of a table's columns the rules that read it know, besides its id; none where the id
/// isn't there.
fn matched(mapping: &Mapping, table: &str, observed: &Observed) -> usize {
    let columns = columns(mapping, table, |id| observed.columns.contains_key(id));
    let columns = columns.into_iter();
    columns
        .filter(|column| observed.columns.contains_key(*column))
        .count()
}

/// The columns besides the id that the rules name which read a table, of those whose id is `taken`.
fn columns<'m>(
    mapping: &'m Mapping,
    table: &str,
    taken: impl Fn(&str) -> bool,
) -> BTreeSet<&'m str> {
    let rules = mapping.rules.iter();
    // The columns of items are no columns of the table.
    let rules = rules.filter(|rule| rule.items().is_none());
    let rules = rules.filter(|rule| rule.reads(table) && taken(rule.id()));
    rules
        .flat_map(|rule| {
            let names = rule.columns().map(|(_, column)| column);
            names.filter(|name| *name != rule.id())
        })
        .collect()
}
