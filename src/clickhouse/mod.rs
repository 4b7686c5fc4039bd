//! ClickHouse: where facts, rollups, checkpoints and changes are kept.

mod alerts;
mod client;
mod epochs;
mod lifetime;
pub mod migrate;
mod native;
mod read;
mod rowbinary;
mod side_inputs;
mod store;

pub use client::ClickHouse;

pub use crate::config::Access;
pub use alerts::{Calibrated, CellOfDays};
pub use lifetime::LifetimeRun;
pub use read::{NewRows, RollupRow};
pub use store::{fact_columns, fact_tables};
