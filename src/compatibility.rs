//! Admission: whether a configuration fits the numbers that are there. What doesn't is refused with the reason and the command that
//! mends it, for else it would be counted wrongly, silently.

use crate::config::Config;
use crate::definitions::DefinitionsSpec;
use crate::kafka::instance::{disagreement, inputs};
use crate::pipeline::Epoch;
use crate::pipeline::epochs::{Stage, building, current};

/// Why a configuration may not run on a database.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The numbers there mean something else.
    #[error(
        "[definitions] differ from those the numbers in the database `{database}` were counted by: {differences}; put them back, or make the numbers anew beside the running pipeline: dealpulse rebuild definitions"
    )]
    Definitions {
        /// The database.
        database: String,
        /// Which keys differ, and how.
        differences: String,
    },
    /// The records there live in another number of shards.
    #[error(
        "[log] partitions is {wanted} and the homes of the records in the database `{database}` are counted by {recorded}; put it back, or make a new log beside the running pipeline: dealpulse rebuild log --partitions {wanted}"
    )]
    Partitions {
        /// The database.
        database: String,
        /// What the configuration says.
        wanted: u32,
        /// What is so.
        recorded: u32,
    },
    /// A topic was read otherwise, so its records would be others.
    #[error(
        "[[topics]] reads `{topic}` otherwise than it was read into the database `{database}`; put it back, or read the topics anew beside the running pipeline: dealpulse rebuild mapping"
    )]
    Mapping {
        /// The database.
        database: String,
        /// The topic.
        topic: String,
    },
}

/// Admits a configuration that fits the current epoch, or any other that is not dropped: during a rebuild instances are restarted with
/// the new configuration one by one, and in any order. What they do goes by the epochs, not by what they were started with.
///
/// # Errors
/// What fits none of them.
pub fn check_compatible(config: &Config, epochs: &[Epoch]) -> Result<(), Refusal> {
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
    match topic
        .filter(|_| building(epochs).is_none_or(|next| disagreement(&ours, &next.inputs).is_some()))
    {
        Some(topic) => Err(Refusal::Mapping {
            database: database(),
            topic: topic.to_owned(),
        }),
        None => Ok(()),
    }
}

/// Which keys of two definitions differ, and how.
fn difference(before: &DefinitionsSpec, now: &DefinitionsSpec) -> String {
    let json = |spec| serde_json::to_value(spec).unwrap_or_default();
    let (before, now) = (json(before), json(now));
    let keys = before
        .as_object()
        .into_iter()
        .flat_map(|object| object.keys())
        .filter(|key| before[*key] != now[*key]);
    keys.map(|key| format!("`{key}` was {} and is {}", before[key], now[key]))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

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
        assert_eq!(check_compatible(&berlin, &[]), Ok(()));
        let (first, second) = (
            epoch(1, Stage::Live, &berlin),
            epoch(2, Stage::Building, &delhi),
        );
        assert_eq!(
            check_compatible(&berlin, std::slice::from_ref(&first)),
            Ok(())
        );
        let Err(refusal) = check_compatible(&delhi, std::slice::from_ref(&first)) else {
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
            (
                check_compatible(&berlin, &both),
                check_compatible(&delhi, &both)
            ),
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
            check_compatible(&berlin, &after),
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
            (
                check_compatible(&four, &epochs),
                check_compatible(&none, &epochs)
            ),
            (Ok(()), Ok(()))
        );
        assert!(matches!(
            check_compatible(&six, &epochs),
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
            matches!(check_compatible(&named, &epochs), Err(Refusal::Mapping { topic, .. }) if topic == "crm")
        );
        let unheard_of = [Epoch {
            inputs: Default::default(),
            ..epochs[0].clone()
        }];
        assert_eq!(check_compatible(&named, &unheard_of), Ok(()));
        let both = [epochs[0].clone(), epoch(2, Stage::Building, &named)];
        assert_eq!(check_compatible(&named, &both), Ok(()));
    }
}
