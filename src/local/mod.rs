//! What stands in for the world outside when there is none: the local engines and the generated organisation.

pub mod generate;
