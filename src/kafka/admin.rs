//! Topics of our own: made with the right settings where they are missing, refused with the reason
//! where they are wrong.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::admin::{AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;

use super::client::{self, ANSWER_TIMEOUT, Admin, Hearing, MAX_BYTES, Onlooker, blocking, outside};
use crate::config::{Config, Kafka, LogTopic};
use crate::pipeline::OutsideError;

/// How often is looked whether a topic just made is there for everyone.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The topic of a log's generation.
pub fn log_topic(config: &Config, generation: u32) -> String {
    format!("{}.{generation}", config.log.topic)
}

/// Creates a log with `wanted` partitions and the settings the protocol rests on, or checks the one
/// that is there.
///
/// # Errors
/// What is wrong with the topic that is there, and the command that fixes it; or what Kafka
/// answered.
pub(super) async fn ensure_log(
    config: &Config,
    topic: &str,
    wanted: u32,
) -> Result<(), OutsideError> {
    let retention = config.log.retention.as_millis().to_string();
    let settings = [
        ("cleanup.policy", "delete".to_owned()),
        ("message.timestamp.type", "LogAppendTime".to_owned()),
        ("retention.ms", retention),
        ("max.message.bytes", MAX_BYTES.to_string()),
    ];
    let found = ensure(config, topic, wanted as i32, &settings).await?;
    check_found(&config.kafka, &config.log, topic, found, wanted).await
}

/// Checks whether a log is what the protocol rests on: its partition count is the one homes are
/// counted by, its settings lose nothing.
///
/// # Errors
/// What is wrong with the topic and the command that fixes it; or what Kafka answered.
pub(super) async fn check_log(
    kafka: &Kafka,
    settings: &LogTopic,
    topic: &str,
    wanted: u32,
) -> Result<(), OutsideError> {
    let Some(found) = partitions(kafka, topic).await? else {
        let problem = "there is no such topic any more; make a new log of what is known: dealpulse rebuild log";
        return Err(OutsideError::fatal(checking(topic), problem));
    };
    check_found(kafka, settings, topic, found, wanted).await
}

fn checking(topic: &str) -> String {
    format!("checking the log `{topic}`")
}

/// Checks a log that was found to have so many partitions.
async fn check_found(
    kafka: &Kafka,
    settings: &LogTopic,
    topic: &str,
    found: u32,
    wanted: u32,
) -> Result<(), OutsideError> {
    if found != wanted {
        return Err(OutsideError::fatal(
            checking(topic),
            format!(
                "it has {found} partitions; the records' homes are counted by {wanted}. Partitions of the log can't be added or taken away: make a new log of what is known, with as many as you like: dealpulse rebuild log --partitions {found}"
            ),
        ));
    }
    if settings.verify {
        verify(kafka, settings, topic).await?;
    }
    Ok(())
}

/// Makes sure that the topic of the dead letters is there.
///
/// # Errors
/// What Kafka answered.
pub async fn ensure_dead_letters(config: &Config) -> Result<(), OutsideError> {
    let settings = [
        ("cleanup.policy", "delete".to_owned()),
        ("retention.ms", "-1".to_owned()),
        ("max.message.bytes", MAX_BYTES.to_string()),
    ];
    ensure(config, &config.dead_letters, 1, &settings)
        .await
        .map(drop)
}

/// Makes sure that the input topics are there: they are the source's, so a missing one is an error.
///
/// # Errors
/// Which one is missing, or what Kafka answered.
pub async fn check_inputs(config: &Config) -> Result<(), OutsideError> {
    for topic in &config.topics {
        if partitions(&config.kafka, &topic.name).await?.is_none() {
            let problem = format!(
                "there is no topic `{}`; create it, or fix the name under [[topics]]",
                topic.name
            );
            return Err(OutsideError {
                fault: crate::pipeline::Fault::User,
                ..OutsideError::fatal("looking for the input topics", problem)
            });
        }
    }
    Ok(())
}

/// How many partitions a topic has; `None` if there is no such topic.
///
/// # Errors
/// What Kafka answered.
pub async fn partitions(kafka: &Kafka, topic: &str) -> Result<Option<u32>, OutsideError> {
    let (kafka, topic) = (kafka.clone(), topic.to_owned());
    blocking(move || {
        let doing = format!("looking for the topic `{topic}`");
        let consumer: Onlooker = client::onlooker(&kafka, "look")
            .create_with_context(Hearing)
            .map_err(|error| outside(doing.clone(), error))?;
        let metadata = consumer.fetch_metadata(Some(&topic), ANSWER_TIMEOUT);
        let metadata = metadata.map_err(|error| {
            let answer = outside(doing, error);
            OutsideError {
                message: format!(
                    "{}; is Kafka running, and is [kafka] brokers right?",
                    answer.message
                ),
                ..answer
            }
        })?;
        let found = metadata
            .topics()
            .iter()
            .find(|t| t.name() == topic && t.error().is_none());
        Ok(found
            .map(|topic| topic.partitions().len() as u32)
            .filter(|count| *count > 0))
    })
    .await?
}

fn admin(kafka: &Kafka) -> Result<Admin, OutsideError> {
    client::producer(kafka)
        .create_with_context(Hearing)
        .map_err(|error| outside("setting up the admin client", error))
}

/// Creates a topic if it is missing; gives the number of its partitions.
async fn ensure(
    config: &Config,
    topic: &str,
    wanted: i32,
    settings: &[(&str, String)],
) -> Result<u32, OutsideError> {
    if let Some(found) = partitions(&config.kafka, topic).await? {
        return Ok(found);
    }
    let doing = || format!("creating the topic `{topic}`");
    let mut new = NewTopic::new(
        topic,
        wanted,
        TopicReplication::Fixed(config.log.replication),
    );
    for (name, value) in settings {
        new = new.set(name, value);
    }
    let created = admin(&config.kafka)?
        .create_topics(&[new], &AdminOptions::new())
        .await
        .map_err(|error| outside(doing(), error))?;
    for result in created {
        match result {
            // Another instance may have been quicker.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => {
                return Err(OutsideError::fatal(
                    doing(),
                    format!("{code}; create it by hand, with {settings:?}"),
                ));
            }
        }
    }
    let deadline = tokio::time::Instant::now() + ANSWER_TIMEOUT;
    while tokio::time::Instant::now() < deadline {
        if let Some(found) = partitions(&config.kafka, topic).await? {
            return Ok(found);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Err(OutsideError::transient(
        doing(),
        "it was created but does not appear",
    ))
}

/// Refuses a log whose settings would let it lose or reorder what it promises to keep.
async fn verify(kafka: &Kafka, log: &LogTopic, topic: &str) -> Result<(), OutsideError> {
    let doing = format!("checking the settings of the log `{topic}`");
    let described = admin(kafka)?
        .describe_configs(&[ResourceSpecifier::Topic(topic)], &AdminOptions::new())
        .await;
    let described = described.map_err(|error| outside(doing.clone(), error))?;
    let settings: HashMap<String, String> = described
        .into_iter()
        .filter_map(Result::ok)
        .flat_map(|resource| resource.entries)
        .filter_map(|entry| Some((entry.name, entry.value?)))
        .collect();
    let refuse = |setting: &str, found: &str, wanted: &str| {
        let fix = format!(
            "`{setting}` is `{found}`; set it: kafka-configs --alter --topic {topic} --add-config {setting}={wanted}"
        );
        Err(OutsideError {
            fault: crate::pipeline::Fault::User,
            ..OutsideError::fatal(doing.clone(), fix)
        })
    };
    for (setting, wanted) in [
        ("cleanup.policy", "delete"),
        ("message.timestamp.type", "LogAppendTime"),
    ] {
        if let Some(found) = settings.get(setting).filter(|found| *found != wanted) {
            return refuse(setting, found, wanted);
        }
    }
    let wanted = log.retention.as_millis() as i64;
    let kept = settings
        .get("retention.ms")
        .and_then(|value| value.parse::<i64>().ok());
    if let Some(kept) = kept.filter(|kept| *kept >= 0 && *kept < wanted) {
        return refuse("retention.ms", &kept.to_string(), &wanted.to_string());
    }
    if let Some(found) = settings
        .get("retention.bytes")
        .filter(|value| *value != "-1")
    {
        return refuse("retention.bytes", found, "-1");
    }
    Ok(())
}

/// Deletes a topic; one that is not there is deleted already.
///
/// # Errors
/// What Kafka answered.
pub async fn delete(kafka: &Kafka, topic: &str) -> Result<(), OutsideError> {
    let doing = || format!("deleting the topic `{topic}`");
    let deleted = admin(kafka)?
        .delete_topics(&[topic], &AdminOptions::new())
        .await
        .map_err(|error| outside(doing(), error))?;
    match deleted.into_iter().find_map(Result::err) {
        None
        | Some((_, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)) => {
            Ok(())
        }
        Some((_, code)) => Err(OutsideError::fatal(
            doing(),
            format!("{code}; delete it by hand"),
        )),
    }
}
