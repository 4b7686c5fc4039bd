//! Dealpulse

pub mod cli;
pub mod local;
