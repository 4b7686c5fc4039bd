//! Messages in Avro and Protobuf: decoded by the schemas of a registry into the JSON that says the
//! same, so that they are recognised as it is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::config::SchemaRegistry;
use crate::event::feed::avro::{schema_id, to_json};
use crate::event::feed::recognise::Shape;
use crate::kafka::registry::Registry;
use crate::kafka::sample::Sampled;

/// How long all schemas may take to be fetched.
const WITHIN: Duration = Duration::from_secs(60);

/// What became of the messages of a registry's serializer.
#[derive(Default)]
pub struct Encoded {
    /// The topics of which some were decoded, with their encoding.
    pub topics: BTreeMap<String, &'static str>,
    /// Why the first that wasn't was not, by topic.
    pub unread: BTreeMap<String, String>,
}

/// Decodes what a registry's serializer wrote, where it can; the rest stays as it is.
///
/// # Errors
/// The registry doesn't answer.
pub async fn decode(samples: &mut [Sampled], url: &str) -> Result<Encoded> {
    let secret = |name: &str| std::env::var(name).unwrap_or_default();
    let access = SchemaRegistry {
        url: url.trim_end_matches('/').to_owned(),
        username: secret("DEALPULSE_SCHEMA_REGISTRY_USERNAME"),
        password: secret("DEALPULSE_SCHEMA_REGISTRY_PASSWORD"),
        certificates: None,
    };
    let mut registry = Registry::new(Some(&access))?;
    let (mut encoded, deadline) = (Encoded::default(), Instant::now() + WITHIN);
    for sampled in samples {
        let Some(value) = &sampled.value else {
            continue;
        };
        let Some(Shape::Registry(_)) = Shape::of(value) else {
            continue;
        };
        let parts = [Some(value), sampled.key.as_ref()].into_iter().flatten();
        let ids = parts.filter_map(|bytes| schema_id(bytes));
        let unknown: Vec<u32> = ids.filter(|id| !registry.schemas().knows(*id)).collect();
        let fetched = registry.fetch(&unknown, deadline).await;
        fetched.map_err(|waiting| anyhow!("{}; is --schema-registry right?", waiting.why))?;
        match to_json(value, registry.schemas()) {
            Ok(json) => {
                let of = schema_id(value).and_then(|id| registry.schemas().encoding(id));
                let of = of.unwrap_or_default();
                encoded.topics.insert(sampled.topic.clone(), of);
                sampled.value = Some(json);
            }
            Err(bad) => {
                let unread = encoded.unread.entry(sampled.topic.clone());
                unread.or_insert_with(|| bad.to_string());
            }
        }
        // A key may be anything.
        let key = sampled.key.as_ref();
        let key = key.and_then(|key| to_json(key, registry.schemas()).ok());
        sampled.key = key.or(sampled.key.take());
    }
    Ok(encoded)
}
