//! Local mode: the same protocols as in production, with nothing to install.

pub mod broker;
pub mod broker_child;
pub mod child;
