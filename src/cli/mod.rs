//! The commands, one file each.

pub mod generate;
//! One file per command.

pub mod clickhouse_local;
