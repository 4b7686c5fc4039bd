//! The commands, one file each.

pub mod alerts;
pub mod audit;
pub mod check;
pub mod clickhouse_local;
pub mod clv;
pub mod demo;
pub mod dlq;
mod dump;
pub mod explain;
mod files;
pub mod generate;
pub mod init;
pub mod local_broker;
pub mod rebuild;
pub mod reconcile;
pub mod report;
pub mod run;
mod seen;
mod stored;
mod upgrade;
