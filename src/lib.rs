//! Dealpulse: sales metrics from CRM events that survive duplicates, reordering, replay,
//! corrections and kill −9.
//!
//! The data flow, by module: [`event`] decodes input messages; [`record`] folds them into the only
//! state there is; [`metric`] defines what a record contributes; [`window`] has the sums; [`shard`]
//! combines these; [`pipeline`] is the protocol by which shards are fed, flushed and restarted.
//! [`lifetime`] has the models of what customers will still buy.

pub mod alert;
pub mod cli;
pub mod clickhouse;
pub mod codec;
pub mod compatibility;
pub mod config;
pub mod definitions;
pub mod event;
pub mod health;
pub mod input;
pub mod kafka;
pub mod lifetime;
pub mod local;
pub mod metric;
pub mod pipeline;
pub mod record;
pub mod serve;
pub mod shard;
pub mod symbol;
pub mod telemetry;
pub mod window;
