//! Compatibility: whether a configuration fits the metrics that are stored. What doesn't is refused
//! with the reason and the command that fixes it; otherwise it would be counted wrongly, without an
//! error.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::config::{Config, Topic};
use crate::definitions::DefinitionsSpec;
use crate::pipeline::Epoch;
use crate::pipeline::catalogue::{self, Mismatch, VersionsOf};
use crate::pipeline::epochs::{Input, Stage, building, current};

/// Why a configuration may not run on a database.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The metrics there have other definitions.
    #[error(
        "[definitions] differ from those the metrics in the database `{database}` were counted by: {differences}; restore them, or rebuild the metrics beside the running pipeline: dealpulse rebuild definitions"
    )]
    Definitions {
        /// The database.
        database: String,
        /// Which keys differ, and how.
        differences: String,
    },
    /// The metrics there are counted by other formulas.
    #[error(
        "the metrics in the database `{database}` can't be continued by this version of dealpulse: {mismatch}; run the version that counted them, or rebuild them beside the running pipeline: dealpulse rebuild definitions (with on_upgrade = \"rebuild\" in [fold] an instance does that by itself)"
    )]
    Catalogue {
        /// The database.
        database: String,
        /// What can't be counted, and why.
        mismatch: Mismatch,
    },
    /// They are being rebuilt by other formulas.
    #[error(
        "the metrics in the database `{database}` can't be continued by this version of dealpulse: {mismatch}"
    )]
    Upgrading {
        /// The database.
        database: String,
        /// What can't be counted, and why.
        mismatch: Mismatch,
    },
    /// The records there live in another number of shards.
    #[error(
        "[log] partitions is {wanted} and the homes of the records in the database `{database}` are counted by {recorded}; restore it, or make a new log beside the running pipeline: dealpulse rebuild log --partitions {wanted}"
    )]
    Partitions {
        /// The database.
        database: String,
        /// The configuration's.
        wanted: u32,
        /// What is so.
        recorded: u32,
    },
    /// A topic was read otherwise, so its records would be others.
    #[error(
        "[[topics]] reads `{topic}` otherwise than it was read into the database `{database}`; restore it, or read the topics again beside the running pipeline: dealpulse rebuild mapping"
    )]
    Mapping {
        /// The database.
        database: String,
        /// The topic.
        topic: String,
    },
}

/// Admits a configuration that fits the current epoch, or any other that is not dropped: during a
/// rebuild instances are restarted with the new configuration one by one, and in any order. What
/// they do goes by the epochs, not by what they were started with. A program whose catalogue of
/// metrics fits neither the current epoch nor the one being built in its place is not admitted.
///
/// # Errors
/// What fits none of them.
pub fn check_compatible(
    config: &Config,
    epochs: &[Epoch],
    catalogue: VersionsOf,
) -> Result<(), Refusal> {
    let Some(current) = current(epochs) else {
        return Ok(());
    };
    let database = || config.clickhouse.database.clone();
    let kept = || epochs.iter().filter(|epoch| epoch.stage != Stage::Dropped);
    if kept().all(|epoch| epoch.definitions != config.definitions) {
        let differences = difference(&current.definitions, &config.definitions);
        return Err(Refusal::Definitions {
            database: database(),
            differences,
        });
    }
    if let Some(wanted) = config
        .log
        .partitions
        .filter(|wanted| kept().all(|epoch| epoch.partitions != *wanted))
    {
        return Err(Refusal::Partitions {
            database: database(),
            wanted,
            recorded: current.partitions,
        });
    }
    let ours = inputs(&config.topics);
    let topic = disagreement(&ours, &current.inputs);
    if let Some(topic) = topic
        .filter(|_| building(epochs).is_none_or(|next| disagreement(&ours, &next.inputs).is_some()))
    {
        return Err(Refusal::Mapping {
            database: database(),
            topic: topic.to_owned(),
        });
    }
    // Last, so that nothing else is wrong where a program rebuilds by itself.
    catalogue::check(epochs, catalogue).map_err(|mismatch| {
        let database = database();
        if mismatch.is_fixed_by_rebuild() {
            Refusal::Catalogue { database, mismatch }
        } else {
            Refusal::Upgrading { database, mismatch }
        }
    })
}

/// How a configuration reads its topics, as epochs remember it.
pub fn inputs(topics: &[Topic]) -> BTreeMap<String, Input> {
    let input = |topic: &Topic| Input {
        format: topic.format().into(),
        id_namespace: topic.namespace.clone(),
        mapping: topic.mapping.clone(),
    };
    topics
        .iter()
        .map(|topic| (topic.name.clone(), input(topic)))
        .collect()
}

/// The first topic that two readings read differently.
pub fn disagreement<'a>(
    ours: &'a BTreeMap<String, Input>,
    theirs: &BTreeMap<String, Input>,
) -> Option<&'a str> {
    let differs =
        |(name, input): &(&String, &Input)| theirs.get(*name).is_some_and(|their| their != *input);
    ours.iter().find(differs).map(|(name, _)| name.as_str())
}

/// How a running configuration differs from the current epoch.
#[derive(Debug, PartialEq, Eq)]
pub struct Outdated {
    /// The current epoch.
    pub epoch: u32,
    /// What differs, and how.
    pub differences: String,
}

impl fmt::Display for Outdated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outdated { epoch, differences } = self;
        write!(
            f,
            "this instance runs with another configuration or version than the current epoch {epoch} is of: {differences}; the epoch counts, not what the instance was started with: restart it with the present configuration and version"
        )
    }
}

/// How a configuration that was compatible when it was started differs from the current epoch,
/// which a rebuild has made since. `None` if it doesn't, or if the next epoch is being built by it.
pub fn outdated(config: &Config, epochs: &[Epoch], catalogue: VersionsOf) -> Option<Outdated> {
    let differences = |epoch| differences(config, epoch, catalogue);
    let current = current(epochs)?;
    if building(epochs).is_some_and(|next| differences(next).is_none()) {
        return None;
    }
    Some(Outdated {
        epoch: current.epoch,
        differences: differences(current)?,
    })
}

/// What differs between an epoch and a program with this configuration and catalogue.
fn differences(config: &Config, epoch: &Epoch, catalogue: VersionsOf) -> Option<String> {
    let mut found = Vec::new();
    if epoch.definitions != config.definitions {
        let keys = difference(&epoch.definitions, &config.definitions);
        found.push(format!("[definitions] differ: {keys}"));
    }
    let partitions = config.log.partitions;
    if let Some(ours) = partitions.filter(|ours| *ours != epoch.partitions) {
        let theirs = epoch.partitions;
        found.push(format!("[log] partitions was {theirs} and is {ours}"));
    }
    let versions = catalogue(&epoch.definitions);
    if let Some(metrics) = catalogue::Difference::between(&epoch.catalogue, &versions) {
        found.push(format!("the catalogue of metrics differs: {metrics}"));
    }
    (!found.is_empty()).then(|| found.join("; "))
}

/// Which keys of two definitions differ, and how.
fn difference(before: &DefinitionsSpec, now: &DefinitionsSpec) -> String {
    let json = |spec| serde_json::to_value(spec).unwrap_or_default();
    let (before, now) = (json(before), json(now));
    // Of each, since a key that is not used is not written.
    let written = [&before, &now].into_iter().filter_map(|s| s.as_object());
    let keys: BTreeSet<&String> = written.flat_map(|object| object.keys()).collect();
    let keys = keys
        .into_iter()
        .filter(|key| before[key.as_str()] != now[key.as_str()]);
    keys.map(|key| format!("`{key}` was {} and is {}", before[key], now[key]))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::metric;

    fn admit(config: &Config, epochs: &[Epoch]) -> Result<(), Refusal> {
        check_compatible(config, epochs, metric::versions)
    }

    fn config(partitions: &str, topic: &str, zone: &str) -> Config {
        let text = format!(
            "version = 1\n[[topics]]\nname = \"crm\"\n{topic}\n[log]\n{partitions}\n[definitions]\ntime_zone = \"{zone}\"\n"
        );
        Config::parse(&text, Path::new("test"), &Default::default()).unwrap()
    }

    fn epoch(number: u32, stage: Stage, config: &Config) -> Epoch {
        let first = Epoch::first(
            config.definitions.clone(),
            config.log.partitions.unwrap_or(4),
        );
        Epoch {
            epoch: number,
            stage,
            inputs: inputs(&config.topics),
            ..first
        }
    }

    #[test]
    fn what_fits_the_current_epoch_or_one_beside_it_is_admitted() {
        let (berlin, delhi) = (
            config("", "", "Europe/Berlin"),
            config("", "", "Asia/Kolkata"),
        );
        assert_eq!(admit(&berlin, &[]), Ok(()));
        let (first, second) = (
            epoch(1, Stage::Live, &berlin),
            epoch(2, Stage::Building, &delhi),
        );
        assert_eq!(admit(&berlin, std::slice::from_ref(&first)), Ok(()));
        let Err(refusal) = admit(&delhi, std::slice::from_ref(&first)) else {
            panic!("changed definitions are admitted")
        };
        assert!(
            refusal
                .to_string()
                .contains("`time_zone` was \"Europe/Berlin\" and is \"Asia/Kolkata\""),
            "{refusal}"
        );
        let both = [first.clone(), second.clone()];
        assert_eq!(
            (admit(&berlin, &both), admit(&delhi, &both)),
            (Ok(()), Ok(()))
        );
        let after = [
            Epoch {
                stage: Stage::Dropped,
                ..first
            },
            Epoch {
                stage: Stage::Live,
                ..second
            },
        ];
        assert!(matches!(
            admit(&berlin, &after),
            Err(Refusal::Definitions { .. })
        ));
    }

    #[test]
    fn a_partition_count_is_as_recorded_or_not_given() {
        let (four, none, six) = (
            config("partitions = 4", "", "UTC"),
            config("", "", "UTC"),
            config("partitions = 6", "", "UTC"),
        );
        let epochs = [epoch(1, Stage::Live, &four)];
        assert_eq!(
            (admit(&four, &epochs), admit(&none, &epochs)),
            (Ok(()), Ok(()))
        );
        assert!(matches!(
            admit(&six, &epochs),
            Err(Refusal::Partitions {
                wanted: 6,
                recorded: 4,
                ..
            })
        ));
    }

    #[test]
    fn a_topic_is_read_as_it_was_or_new() {
        let (plain, named) = (
            config("", "", "UTC"),
            config("", "id_namespace = \"eu\"", "UTC"),
        );
        let epochs = [epoch(1, Stage::Live, &plain)];
        assert!(
            matches!(admit(&named, &epochs), Err(Refusal::Mapping { topic, .. }) if topic == "crm")
        );
        let unheard_of = [Epoch {
            inputs: Default::default(),
            ..epochs[0].clone()
        }];
        assert_eq!(admit(&named, &unheard_of), Ok(()));
        let both = [epochs[0].clone(), epoch(2, Stage::Building, &named)];
        assert_eq!(admit(&named, &both), Ok(()));
    }

    /// An epoch that another version of the program counted: one metric by another formula, one
    /// that is gone, and one less.
    fn of_another_version(epoch: Epoch) -> Epoch {
        let mut catalogue = epoch.catalogue.clone();
        catalogue.insert("win_rate".into(), 7);
        catalogue.insert("moon_phase".into(), 1);
        catalogue.remove("upsell");
        Epoch { catalogue, ..epoch }
    }

    #[test]
    fn metrics_of_another_catalogue_are_refused_with_the_difference_and_the_command() {
        let config = config("", "", "UTC");
        let old = of_another_version(epoch(1, Stage::Live, &config));
        let refusal = admit(&config, std::slice::from_ref(&old)).expect_err("it is admitted");
        assert!(matches!(refusal, Refusal::Catalogue { .. }), "{refusal:?}");
        let here = &metric::versions(&config.definitions)["win_rate"];
        let difference = format!(
            "new: `upsell`; altered: `win_rate` (version 7 there, {here} here); gone: `moon_phase`"
        );
        for words in [&*difference, "dealpulse rebuild definitions"] {
            assert!(refusal.to_string().contains(words), "{words}: {refusal}");
        }
    }

    #[test]
    fn an_upgrade_that_is_under_way_admits_the_program_it_is_made_by_and_no_other() {
        let config = config("", "", "UTC");
        let ours = epoch(1, Stage::Live, &config);
        let theirs = of_another_version(ours.clone());
        let begun = |mut next: Epoch, stage| {
            (next.epoch, next.stage, next.stood_at) = (2, stage, Some(0));
            next
        };
        let to_us = [theirs.clone(), begun(ours.clone(), Stage::Building)];
        assert_eq!(admit(&config, &to_us), Ok(()));
        let to_them = [ours.clone(), begun(theirs.clone(), Stage::Building)];
        let refusal = admit(&config, &to_them).expect_err("an older program is admitted");
        assert!(matches!(refusal, Refusal::Upgrading { .. }), "{refusal:?}");
        assert!(refusal.to_string().contains("rebuild abandon"), "{refusal}");
        let switched = [theirs.clone(), begun(ours.clone(), Stage::Live)];
        assert_eq!(admit(&config, &switched), Ok(()));
        // Shards were folded without the first epoch meanwhile, so no program can continue it.
        let abandoned = [ours, begun(theirs, Stage::Dropped)];
        let refusal = admit(&config, &abandoned).expect_err("an epoch that was left is counted on");
        assert!(
            matches!(
                refusal,
                Refusal::Catalogue {
                    mismatch: Mismatch::Left { epoch: 1, by: 2 },
                    ..
                }
            ),
            "{refusal:?}"
        );
    }

    #[test]
    fn a_configuration_is_outdated_once_another_epoch_is_current_and_not_while_one_is_built_by_it()
    {
        let (old, new) = (
            config("partitions = 4", "", "Europe/Berlin"),
            config("partitions = 6", "", "Asia/Kolkata"),
        );
        let look = |config, epochs: &[Epoch]| outdated(config, epochs, metric::versions);
        let building = [epoch(1, Stage::Live, &old), epoch(2, Stage::Building, &new)];
        assert_eq!(look(&old, &[]), None);
        assert_eq!((look(&old, &building), look(&new, &building)), (None, None));
        let switched = [epoch(1, Stage::Live, &old), epoch(2, Stage::Live, &new)];
        assert_eq!(look(&new, &switched), None);
        let found = look(&old, &switched).expect("the old configuration is not the current one's");
        assert_eq!(found.epoch, 2);
        for words in [
            "`time_zone` was \"Asia/Kolkata\" and is \"Europe/Berlin\"",
            "[log] partitions was 6 and is 4",
        ] {
            assert!(found.to_string().contains(words), "{words}: {found}");
        }
        // Without a count of its own it takes the epoch's.
        let any = config("", "", "Asia/Kolkata");
        assert_eq!(look(&any, &switched), None);
    }

    #[test]
    fn a_program_of_another_catalogue_than_the_current_epochs_is_outdated_unless_it_builds_the_next()
     {
        let config = config("", "", "UTC");
        let ours = epoch(2, Stage::Building, &config);
        let theirs = of_another_version(epoch(1, Stage::Live, &config));
        let look = |epochs: &[Epoch]| outdated(&config, epochs, metric::versions);
        let found = look(std::slice::from_ref(&theirs)).expect("its catalogue is another");
        let words = "the catalogue of metrics differs: new: `upsell`; altered: `win_rate`";
        assert!(found.to_string().contains(words), "{found}");
        assert_eq!(look(&[theirs, ours]), None);
    }

    #[test]
    fn a_key_that_only_one_of_two_definitions_uses_is_named() {
        let plain = DefinitionsSpec::default();
        let ordered = DefinitionsSpec {
            stage_order: vec!["talks".into()],
            ..plain.clone()
        };
        assert_eq!(
            difference(&plain, &ordered),
            "`stage_order` was null and is [\"talks\"]"
        );
        assert_eq!(
            difference(&ordered, &plain),
            "`stage_order` was [\"talks\"] and is null"
        );
    }
}
