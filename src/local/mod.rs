//! Local mode: the same protocols as in production, with nothing to install.

pub mod chdb;
pub mod clickhouse_child;
pub mod clickhouse_http;
