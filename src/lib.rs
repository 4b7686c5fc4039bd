//! Dealpulse
