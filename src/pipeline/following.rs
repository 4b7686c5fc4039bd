//! Folding that follows the epochs: what is new in the store is learned when the log names it.

use super::catalogue::VersionsOf;
use super::flush::{RetryPolicy, retrying};
use super::known::Known;
use super::owner::{FoldError, Owner};
use super::{Entry, OutsideError, Store};

/// Why folding stops.
#[derive(Debug, thiserror::Error)]
pub enum FoldingError {
    /// A message can't be folded.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The log or the store refused.
    #[error(transparent)]
    Outside(#[from] OutsideError),
}

/// Folds a message. If it is of an epoch the owner doesn't know yet, it is read from the store
/// first, for as long as `retry` allows: the epoch was written there before the log named it.
///
/// # Errors
/// If the message can't be folded, or the store can't be read.
pub async fn fold(
    owner: &mut Owner,
    entry: &Entry,
    generation: u32,
    store: &impl Store,
    catalogue: VersionsOf,
    retry: &impl RetryPolicy,
) -> Result<(), FoldingError> {
    if let Err(error) = owner.fold(entry) {
        if !matches!(error, FoldError::UnknownEpoch { .. }) {
            return Err(error.into());
        }
        let epochs = retrying(retry, || store.epochs()).await?;
        owner.learn(&Known::of(&epochs, generation, catalogue)?);
        owner.fold(entry)?;
    }
    Ok(())
}
