//! Kafka: the log over rdkafka; the route group over the input topics; the fold group over the log;
//! dead letters; the schema registry.

pub mod admin;
mod backoff;
mod client;
pub mod dead_letter;
pub mod feed;
pub mod fold;
pub mod instance;
mod lag;
mod log;
mod member;
pub mod origin;
mod producer;
pub mod rebuild;
pub mod registry;
pub mod route;
pub mod sample;

pub use lag::watch_lag;
pub use log::{KafkaLog, Logs};
