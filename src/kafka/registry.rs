//! The schema registry: the schemas that messages in Avro and Protobuf were written with, each
//! fetched once, by the interface that Confluent's registry, Apicurio, Karapace and Redpanda share
//! (<https://docs.confluent.io/platform/current/schema-registry/develop/api.html>).
//!
//! A schema of an id never changes, so what is known stays right while the registry is away; only
//! what isn't known yet has to wait.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_tls::HttpsConnector;
use hyper_tls::native_tls::{self, Certificate, TlsConnector};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;

use crate::config::{Encoding, SchemaRegistry, Topic};
use crate::event::decode::{Bad, Reason};
use crate::event::feed::avro::{Schema, Schemas, schema_id, unknown};
use crate::pipeline::OutsideError;
use crate::pipeline::flush::backoff;

/// How long one answer may take. Nothing is routed meanwhile.
const ANSWER: Duration = Duration::from_secs(3);
/// How long schemas are fetched one after another before others have their turn.
pub const TURN: Duration = Duration::from_secs(3);
/// The longest answer taken, in bytes.
const LONGEST: usize = 4 << 20;
/// How many schemas are kept. With more, all are forgotten and those in use are fetched again.
const KEPT: usize = 1_000;
/// How long the registry isn't asked again for a schema that it doesn't have.
const MISSING: Duration = Duration::from_secs(60);
/// How many other schemas a schema may refer to, and they.
const REFERENCES: usize = 100;
/// What a certificate ends with.
const PEM_END: &str = "-----END CERTIFICATE-----";
/// What the registry answers when it has no schema of an id.
const NO_SUCH_SCHEMA: u32 = 40403;

/// A registry, and what is known of it.
pub struct Registry {
    access: Option<SchemaRegistry>,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    schemas: Schemas,
    /// When the registry had no schema of these ids.
    missing: HashMap<u32, Instant>,
    /// What could not be fetched lately: a schema, by its id, or nothing at all.
    outages: HashMap<Option<u32>, Outage>,
}

struct Outage {
    attempts: u32,
    waiting: Waiting,
}

/// A schema can't be fetched yet.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// When it is worth trying again.
    pub until: Instant,
    /// Why, in words.
    pub why: String,
}

/// Why the registry gave no answer that can be used.
enum Failure {
    /// It gave none.
    Unreachable(String),
    /// It gave another one.
    Refused(String),
}

#[derive(Deserialize)]
struct Answer {
    schema: String,
    #[serde(rename = "schemaType")]
    kind: Option<String>,
    #[serde(default)]
    references: Vec<Reference>,
}

#[derive(Deserialize, PartialEq, Clone)]
struct Reference {
    /// What it is imported by.
    #[serde(default)]
    name: String,
    subject: String,
    version: u32,
}

#[derive(Deserialize)]
struct Refusal {
    error_code: u32,
}

/// What came of asking for a schema: it, or why messages of it can't be read.
type Fetched = Result<Schema, Bad>;

impl Registry {
    /// A client of a registry; nothing is asked yet.
    ///
    /// # Errors
    /// If this machine has no TLS, or the certificates to be trusted are none.
    pub fn new(access: Option<&SchemaRegistry>) -> Result<Registry, OutsideError> {
        let certificates = access.and_then(|access| access.certificates.as_deref());
        let tls = trusting(certificates.unwrap_or_default()).map_err(|error| {
            OutsideError::fatal("setting up TLS for the schema registry", error)
        })?;
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        let connector = HttpsConnector::from((connector, tls.into()));
        Ok(Registry {
            access: access.cloned(),
            client: Client::builder(TokioExecutor::new())
                .pool_idle_timeout(Duration::from_secs(10))
                .build(connector),
            schemas: Schemas::default(),
            missing: HashMap::new(),
            outages: HashMap::new(),
        })
    }

    /// What is known.
    pub fn schemas(&self) -> &Schemas {
        &self.schemas
    }

    /// The schemas that the value and the key of a message of a topic name and that aren't known
    /// yet.
    pub fn lacking(
        &mut self,
        topic: &Topic,
        (key, value): (Option<&[u8]>, Option<&[u8]>),
    ) -> Vec<u32> {
        let is_encoded = topic.encoding != Encoding::Json;
        let Some(value) = value.filter(|_| is_encoded) else {
            return Vec::new();
        };
        if self.schemas.count() >= KEPT {
            self.schemas.clear();
            self.missing.clear();
            self.outages.clear();
        }
        let mut ids = Vec::new();
        for id in [Some(value), key]
            .into_iter()
            .flatten()
            .filter_map(schema_id)
        {
            let looked_for = self.missing.get(&id);
            if looked_for.is_some_and(|since| since.elapsed() >= MISSING) {
                self.missing.remove(&id);
                self.schemas.forget(id);
            }
            if !self.schemas.knows(id) {
                ids.push(id);
            }
        }
        ids
    }

    /// Fetches schemas; only until `deadline`, if there are many.
    ///
    /// # Errors
    /// Until when to wait, and why. That the registry has no such schema is no error: then the
    /// message is to be decoded, and will be rejected.
    pub async fn fetch(&mut self, ids: &[u32], deadline: Instant) -> Result<(), Waiting> {
        for id in ids {
            self.ask(*id, deadline).await?;
        }
        Ok(())
    }

    async fn ask(&mut self, id: u32, deadline: Instant) -> Result<(), Waiting> {
        let now = Instant::now();
        for of in [None, Some(id)] {
            let outage = self.outages.get(&of);
            if let Some(outage) = outage.filter(|outage| outage.waiting.until > now) {
                return Err(outage.waiting.clone());
            }
        }
        if now >= deadline {
            let why = format!("others are fetched before schema {id}");
            return Err(Waiting { until: now, why });
        }
        let (of, why) = match self.schema(id).await {
            Ok(fetched) => {
                let outages = [None, Some(id)].map(|of| self.outages.remove(&of));
                if outages.iter().any(Option::is_some) {
                    tracing::info!(id, "a schema is fetched at last");
                }
                if matches!(&fetched, Err(bad) if bad.reason == Reason::UnknownSchema) {
                    self.missing.insert(id, Instant::now());
                }
                self.schemas.put(id, fetched);
                return Ok(());
            }
            Err(Failure::Unreachable(why)) => (None, why),
            Err(Failure::Refused(why)) => {
                self.outages.remove(&None);
                (Some(id), why)
            }
        };
        let attempts = self.outages.get(&of).map_or(0, |outage| outage.attempts) + 1;
        tracing::warn!(
            id,
            why,
            attempts,
            "a schema can't be fetched yet; the partitions that need it wait, and it is tried again"
        );
        let until = Instant::now() + backoff(attempts);
        let waiting = Waiting { until, why };
        let outage = Outage {
            attempts,
            waiting: waiting.clone(),
        };
        self.outages.insert(of, outage);
        Err(waiting)
    }

    async fn schema(&self, id: u32) -> Result<Fetched, Failure> {
        let Some(answer) = self.get(&format!("/schemas/ids/{id}")).await? else {
            return Ok(Err(unknown(id)));
        };
        let unusable = |problem: String| {
            let detail = format!("schema {id} of the registry can't be used: {problem}");
            Ok(Err(Bad::new(Reason::UnknownSchema, detail)))
        };
        let kind = answer.kind.as_deref().unwrap_or("AVRO");
        if !["AVRO", "PROTOBUF"].contains(&kind) {
            return unusable(format!("it is {kind}, neither Avro nor Protobuf"));
        }
        let mut references: Vec<Reference> = Vec::new();
        let mut texts = Vec::new();
        let mut waiting = VecDeque::from(answer.references);
        while let Some(reference) = waiting.pop_front() {
            if references.contains(&reference) {
                continue;
            }
            if references.len() == REFERENCES {
                return unusable(format!("it refers to more than {REFERENCES} others"));
            }
            let Reference {
                name,
                subject,
                version,
            } = &reference;
            let path = format!("/subjects/{}/versions/{version}", percent(subject));
            let Some(referred) = self.get(&path).await? else {
                return unusable(format!(
                    "it refers to `{subject}` {version}, which isn't there"
                ));
            };
            texts.push((name.clone(), referred.schema));
            waiting.extend(referred.references);
            references.push(reference);
        }
        let schema = match kind {
            "AVRO" => {
                let texts: Vec<String> = texts.into_iter().map(|(_, text)| text).collect();
                Schema::parse(&answer.schema, &texts)
            }
            _ => Schema::protobuf(&answer.schema, &texts),
        };
        match schema {
            Ok(schema) => Ok(Ok(schema)),
            Err(problem) => unusable(problem),
        }
    }

    /// What the registry has at a path; none if it says that there is no such schema.
    async fn get(&self, path: &str) -> Result<Option<Answer>, Failure> {
        let Some(access) = &self.access else {
            let why = "there is no [schema_registry]".to_owned();
            return Err(Failure::Unreachable(why));
        };
        let url = format!("{}{path}", access.url);
        let unreachable = |why: String| Failure::Unreachable(format!("fetching {url}: {why}"));
        let refused = |why: String| Failure::Refused(format!("fetching {url}: {why}"));
        let mut request = Request::get(&url).header(
            ACCEPT,
            "application/vnd.schemaregistry.v1+json, application/json",
        );
        if !access.username.is_empty() {
            let user = STANDARD.encode(format!("{}:{}", access.username, access.password));
            request = request.header(AUTHORIZATION, format!("Basic {user}"));
        }
        let request = request.body(Empty::new());
        let request = request.map_err(|error| unreachable(error.to_string()))?;
        let answer = async {
            let answer = self.client.request(request).await.map_err(causes)?;
            let (status, body) = (answer.status(), Limited::new(answer.into_body(), LONGEST));
            let body = body.collect().await.map_err(|error| error.to_string())?;
            Ok((status, body.to_bytes()))
        };
        let answer = tokio::time::timeout(ANSWER, answer).await;
        let (status, body) = answer
            .unwrap_or_else(|_| Err(format!("no answer within {ANSWER:?}")))
            .map_err(unreachable)?;
        match status {
            StatusCode::OK => {
                let answer = serde_json::from_slice(&body);
                let answer = answer.map_err(|error| refused(format!("no schema: {error}")))?;
                Ok(Some(answer))
            }
            StatusCode::NOT_FOUND if refusal(&body) == Some(NO_SUCH_SCHEMA) => Ok(None),
            StatusCode::NOT_FOUND => Err(refused(format!(
                "{status}, and not as a schema registry says it; look at schema_registry.url"
            ))),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(refused(format!(
                "{status}; look at the user and the password of [schema_registry]"
            ))),
            _ => Err(refused(status.to_string())),
        }
    }
}

/// The code of a refusal. Those of subjects and versions that aren't there (40401, 40402) mean the
/// same as that of schemas.
fn refusal(body: &[u8]) -> Option<u32> {
    let refusal: Refusal = serde_json::from_slice(body).ok()?;
    let code = refusal.error_code;
    Some(if matches!(code, 40401 | 40402) {
        NO_SUCH_SCHEMA
    } else {
        code
    })
}

/// TLS that trusts some certificates, in PEM, besides those of the system.
fn trusting(certificates: &str) -> Result<TlsConnector, native_tls::Error> {
    let mut builder = TlsConnector::builder();
    for pem in certificates
        .split_inclusive(PEM_END)
        .filter(|pem| pem.contains(PEM_END))
    {
        builder.add_root_certificate(Certificate::from_pem(pem.as_bytes())?);
    }
    builder.build()
}

/// An error with what led to it: "client error" alone says nothing.
fn causes(error: hyper_util::client::legacy::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    if text.contains("certificate verify failed") {
        text += "; if the registry's certificate is one of your own, name the file of its authority as schema_registry.ca_file";
    }
    text
}

/// A part of a URL's path.
fn percent(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}
