//! The key that personal data is hashed with. It comes from the environment or a file, and is never
//! printed.

use super::Environment;
use crate::event::mapping::{HashKey, Mapping, MappingError};

/// The environment's variable that holds the key.
pub const HASH_KEY: &str = "DEALPULSE_HASH_KEY";

/// The key of the environment, if it has one.
///
/// # Errors
/// What is wrong with it, and what would be right.
pub fn hash_key(environment: &Environment) -> Result<Option<HashKey>, String> {
    let key = environment.get(HASH_KEY).map(|secret| HashKey::new(secret));
    key.transpose()
        .map_err(|problem| format!("{HASH_KEY}: {problem}"))
}

/// A mapping with the key it hashes with.
///
/// # Errors
/// It hashes, and there is no key.
pub fn keyed(mapping: Mapping, key: Option<&HashKey>) -> Result<Mapping, MappingError> {
    let fix = format!(
        "put one of at least 32 characters into {HASH_KEY}, or into a file that [personal_data] hash_key_file names; `openssl rand -hex 32` makes one"
    );
    mapping.with_key(key, &fix)
}
