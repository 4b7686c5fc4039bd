//! The commands, one file each.

pub mod local_broker;
