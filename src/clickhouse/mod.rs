//! ClickHouse: where facts, rollups, checkpoints and changes are kept.

mod client;
mod epochs;
pub mod migrate;
mod read;
mod rowbinary;
mod store;

pub use client::{Access, ClickHouse};
pub use read::RollupRow;
pub use store::FACT_TABLES;
