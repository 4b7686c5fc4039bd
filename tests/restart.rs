//! What a restart asks of the log before it folds on: a recreated topic, an unclean truncation or a
//! gap stops the shard.

use std::sync::Arc;

use dealpulse::definitions::DefinitionsSpec;
use dealpulse::metric::{Catalogue, versions};
use dealpulse::pipeline::memory::MemoryStore;
use dealpulse::pipeline::owner::{FoldError, Owner};
use dealpulse::pipeline::restart::{RestartError, restore};
use dealpulse::pipeline::{Checkpoint, Entry, Epoch, Log, OutsideError, Store, message_hash};
use dealpulse::record::Home;
use dealpulse::shard::Shard;
use futures::executor::block_on;

/// One partition whose oldest messages were deleted.
struct Kept {
    low: u64,
    messages: Vec<&'static [u8]>,
}

impl Log for Kept {
    async fn append(&self, _messages: Vec<(Home, Vec<u8>)>) -> Result<(), OutsideError> {
        Ok(())
    }
    async fn commit(&self, _positions: &[(Home, u64)]) -> Result<(), OutsideError> {
        Ok(())
    }
    async fn bounds(&self, _shard: Home) -> Result<(u64, u64), OutsideError> {
        Ok((self.low, self.low + self.messages.len() as u64))
    }
    async fn read_again(&self, _shard: Home, offset: u64) -> Result<Option<Entry>, OutsideError> {
        let message = offset
            .checked_sub(self.low)
            .and_then(|at| self.messages.get(at as usize));
        Ok(message.map(|payload| Entry {
            offset,
            append_time: 0,
            payload: payload.to_vec(),
        }))
    }
}

/// Restores a shard whose checkpoint is at offset 2, after message `b`.
fn restart(low: u64, messages: &[&'static [u8]]) -> Result<u64, String> {
    let store = MemoryStore::default();
    let checkpoint = Checkpoint {
        next_offset: 2,
        message_hash: message_hash(b"b"),
        append_time: 0,
    };
    block_on(store.insert_checkpoints(1, &[(0, checkpoint)])).unwrap();
    block_on(store.put_epoch(&Epoch::first(DefinitionsSpec::default(), 1))).unwrap();
    match block_on(restore(
        0,
        1,
        &Kept {
            low,
            messages: messages.to_vec(),
        },
        &store,
        versions,
    )) {
        Ok(owner) => Ok(owner.position()),
        Err(error @ RestartError::OtherLog { .. }) => Err(error.to_string()),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn rule_the_last_folded_message_is_compared_before_anything_is_folded() {
    assert_eq!(
        restart(0, &[b"a", b"b", b"c"]),
        Ok(2),
        "from the checkpoint, not from the start"
    );
    assert_eq!(restart(1, &[b"b"]), Ok(2));
    assert!(
        restart(0, &[b"a", b"x", b"c"])
            .unwrap_err()
            .contains("recreated or cut short")
    );
    assert!(
        restart(0, &[b"a"])
            .unwrap_err()
            .contains("ends at offset 1")
    );
}

#[test]
fn rule_of_what_retention_took_only_exactly_the_folded_is_accepted() {
    assert_eq!(restart(2, &[b"c"]), Ok(2));
    assert_eq!(restart(2, &[]), Ok(2));
    assert!(
        restart(3, &[b"d"])
            .unwrap_err()
            .contains("begins at offset 3")
    );
}

#[test]
fn rule_a_gap_in_the_log_stops_the_shard() {
    let definitions = Arc::new(Catalogue::new(DefinitionsSpec::default()).unwrap());
    let mut owner = Owner::new(0, Shard::new(&[(1, definitions)]), None, 0);
    let entry = |offset| Entry {
        offset,
        append_time: 0,
        payload: vec![1, 1, 0],
    };
    owner.fold(&entry(0)).unwrap();
    assert!(matches!(
        owner.fold(&entry(2)),
        Err(FoldError::Gap {
            expected: 1,
            found: 2,
            ..
        })
    ));
    owner.fold(&entry(0)).unwrap();
    owner.fold(&entry(1)).unwrap();
    assert_eq!(
        owner.position(),
        2,
        "what was folded already is passed over"
    );
}
