//! Local mode: the same protocols as in production, with nothing to install; and an organisation to
//! watch.

pub mod broker;
pub mod broker_child;
pub mod chdb;
pub mod child;
pub mod clickhouse_child;
pub mod clickhouse_http;
pub mod generate;
