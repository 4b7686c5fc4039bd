//! One file per command.

pub mod clickhouse_local;
