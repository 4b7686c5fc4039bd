//! What stands in for the world outside when there is none: the local engines and the generated organisation.

pub mod generate;
//! Local mode: the same protocols as in production, with nothing to install.

pub mod chdb;
pub mod clickhouse_child;
pub mod clickhouse_http;
