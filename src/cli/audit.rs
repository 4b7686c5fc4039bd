//! `dealpulse audit`: compares an export of the CRM with the facts: is everything there, and is it
//! equal?

mod compare;
mod show;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail, ensure};

use super::dump::ReadingOptions;
use super::files::read_as_of;
use super::report::inputs::Inputs;
use super::report::print;
use super::report::rejects::Rejects;
use super::stored::{DIFFERS, UNJUDGED, epoch, open};
use crate::config::Config;
use crate::pipeline::{Store, outbox};
use crate::record::{Entity, SCHEMA, answers_for};
use crate::shard::Shard;
use compare::{Audit as Audited, Exported, Question};
use show::Export;

/// Compare an export of the CRM with the facts: records that are missing or too many, and values
/// that differ
///
/// Ends with 0 if the facts are complete, with 4 if something differs, with 5 if nothing differs
/// but parts of the export could not be read, with 1 on an error.
#[derive(Debug, clap::Args)]
pub struct Audit {
    /// The configuration
    #[arg(long, default_value = "dealpulse.toml")]
    pub config: PathBuf,
    /// The export: NDJSON events, CSV tables that --mapping explains, or with --format the dump of
    /// a feed; - is standard input
    #[arg(id = "files", long = "against", required = true, num_args = 1.., value_name = "FILE")]
    pub against: Vec<PathBuf>,
    #[command(flatten)]
    pub reading: ReadingOptions,
    /// When the export was made: a date or an RFC 3339 instant [default: the time of its latest
    /// event]
    #[arg(long, value_name = "TIME")]
    pub as_of: Option<String>,
    /// The fields to compare, like amount,status,custom.tier [default: all that the export states]
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    pub fields: Vec<String>,
    /// The id_namespace of the topics the export is of [default: the only one there is]
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// How many findings of each kind are listed
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub show: usize,
    /// Print one JSON object instead of tables
    #[arg(long)]
    pub json: bool,
    /// Write every rejected line or row to this file, as NDJSON
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
}

/// Folds the export in memory, compares it shard by shard, and prints what was found.
///
/// # Errors
/// If configuration, mapping, export or facts can't be read, or nothing of the export could be.
/// Nothing is printed then.
pub async fn run(args: Audit) -> Result<ExitCode> {
    let (config, clickhouse) = open(&args.config)?;
    let namespace = namespace(args.namespace.as_deref(), &config)?;
    let key = config.hash_key.as_ref();
    let mapping = args.reading.mapping(key)?;
    let chosen = chosen(&args.fields)?;
    let (epoch, live) = epoch(&clickhouse, None).await?;
    let definitions = live.definitions;
    let calendar = &definitions.calendar;
    let as_of = args
        .as_of
        .as_deref()
        .map(|text| read_as_of(text, calendar))
        .transpose()?;
    let rejects = Rejects::new(args.rejects.as_deref())?;
    let reading = args.reading.reading(mapping, &args.against, calendar)?;
    let mut inputs =
        Inputs::open(&args.against, &reading, as_of, calendar, rejects)?.qualified(namespace);

    let mut shards = fold(&mut inputs, epoch.partitions)?;
    let exported = records(&mut shards)?;
    let (tally, rejected) = inputs.finish()?;
    let latest = tally.latest.ok_or_else(|| {
        anyhow!("nothing in the export could be read, so there is nothing to compare")
    })?;
    let export = Export {
        tally: &tally,
        rejected: &rejected,
        as_of: as_of.unwrap_or(latest),
    };
    let entities = SCHEMA
        .of_sources()
        .map(|spec| spec.entity)
        .filter(|entity| shards.iter().any(|shard| shard.record_count(*entity) > 0))
        .collect();
    let question = Question {
        calendar,
        as_of: export.as_of,
        fields: chosen.as_ref(),
        entities,
        namespace,
        most: args.show,
    };

    let mut audited = Audited::default();
    for (number, exported) in (0..).zip(exported) {
        // What every shard has is compared once.
        let is_its = |entity, id: &str| answers_for(number, entity, id, epoch.partitions);
        let exported = exported.into_iter();
        let exported = exported.filter(|((entity, id), _)| is_its(*entity, id));
        let exported = exported.collect();
        let mut facts = clickhouse.records(epoch.generation, number).await?;
        facts.retain(|record| is_its(record.entity, &record.id));
        audited
            .compare(&question, exported, facts)
            .map_err(|(entity, id, error)| {
                anyhow!("{} `{id}` can't be read: {error}", entity.name())
            })?;
    }
    if let Some(field) = chosen
        .iter()
        .flatten()
        .find(|field| !audited.stated.contains(*field))
    {
        let stated = audited
            .stated
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        bail!("--fields: the export has no `{field}`, so it can't be compared; it has {stated}");
    }
    match args.json {
        true => print(&format!("{:#}\n", show::to_json(&audited, &export)))?,
        false => print(&show::to_text(&audited, &export, args.show))?,
    }
    Ok(match (audited.failures(), export.rejections()) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::from(UNJUDGED),
        _ => ExitCode::from(DIFFERS),
    })
}

/// The records of the export, at home in as many shards as the facts are. Without definitions: only
/// what is asserted is compared.
fn fold(inputs: &mut Inputs<'_>, count: u32) -> Result<Vec<Shard>> {
    let mut shards: Vec<Shard> = (0..count).map(|_| Shard::new(&[])).collect();
    let mut version = 0;
    while let Some(piece) = inputs.next(count)? {
        for (shard, message) in piece.messages {
            version += 1;
            shards[shard as usize].fold(version, piece.time, &message)?;
        }
    }
    Ok(shards)
}

/// The records of each shard, once each knows what follows from those of the others.
fn records(shards: &mut [Shard]) -> Result<Vec<Exported>> {
    let count = shards.len() as u32;
    let mut records = vec![Exported::new(); shards.len()];
    loop {
        let mut outboxes = Vec::new();
        for (shard, records) in shards.iter_mut().zip(&mut records) {
            let touched = shard.take_touched();
            let states = touched.records.into_iter();
            records.extend(states.map(|r| ((r.entity, r.id().to_owned()), r.state().to_owned())));
            outboxes.push((0, touched.outbox));
        }
        let outboxes = outboxes.iter().map(|(version, outbox)| (*version, outbox));
        let messages = outbox::messages(outboxes, count);
        if messages.is_empty() {
            return Ok(records);
        }
        for (shard, message) in messages {
            shards[shard as usize].fold(0, 0, &message)?;
        }
    }
}

/// What the ids of the export are qualified by, as those of the topics it is an export of.
fn namespace<'c>(asked: Option<&'c str>, config: &'c Config) -> Result<Option<&'c str>> {
    let known: BTreeSet<&str> = config
        .topics
        .iter()
        .filter_map(|topic| topic.namespace.as_deref())
        .collect();
    let list = known.iter().copied().collect::<Vec<_>>().join(", ");
    match asked {
        Some(asked) => {
            let there = if known.is_empty() {
                "no topic has one: leave it out".to_owned()
            } else {
                format!("there are {list}")
            };
            ensure!(
                known.contains(asked),
                "--namespace `{asked}` is no id_namespace of a topic; {there}"
            );
            Ok(Some(asked))
        }
        None => {
            ensure!(
                known.len() < 2,
                "the topics are of several CRMs: name the CRM of this export with --namespace; there are {list}"
            );
            Ok(known.first().copied())
        }
    }
}

fn chosen(fields: &[String]) -> Result<Option<BTreeSet<String>>> {
    let fields: BTreeSet<String> = fields
        .iter()
        .map(|field| field.trim().to_owned())
        .filter(|field| !field.is_empty())
        .collect();
    let is_known = |name: &str| {
        name.starts_with("custom.")
            || Entity::ALL
                .into_iter()
                .any(|entity| entity.spec().field(name).is_some())
    };
    if let Some(unknown) = fields.iter().find(|name| !is_known(name)) {
        let known: BTreeSet<&str> = Entity::ALL
            .into_iter()
            .flat_map(Entity::fields)
            .map(|field| field.name)
            .collect();
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        bail!(
            "--fields: no record has a field `{unknown}`; there are {known}, and `custom.<field>`"
        );
    }
    Ok((!fields.is_empty()).then_some(fields))
}
