//! The gauges of one shard. Those of an instance are sums over its shards, so each shard adds what
//! has changed of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::pipeline::owner::Owner;
use crate::record::Entity;
use crate::shard::Counters;
use crate::telemetry::Telemetry;

/// How often the state is measured at the most.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// Measuring walks the whole state, so that a large one is measured less often: it may take one
/// part in so many of the shard's time.
const MEASURE_SHARE: u32 = 100;

/// What a shard counts and exports. Once dropped, the shard counts no more.
pub(super) struct ShardGauges {
    telemetry: Arc<Telemetry>,
    counted: Counters,
    exported: Exported,
    /// When the state may be measured again; `None` if it never was.
    due_at: Option<Instant>,
    /// The offsets folded and flushed when it was measured: while they are the same it is, too.
    measured: (u64, u64),
}

/// What of the sums is this shard's.
#[derive(Default, Clone, Copy)]
struct Exported {
    bytes: i64,
    records: [i64; Entity::ALL.len()],
    append_only_rows: i64,
    is_backpressured: bool,
}

impl ShardGauges {
    /// Those of a shard just taken on. Nothing is exported yet.
    pub fn new(telemetry: Arc<Telemetry>, owner: &Owner) -> Self {
        ShardGauges {
            telemetry,
            counted: owner.shard().counters(),
            exported: Exported::default(),
            due_at: None,
            measured: (0, 0),
        }
    }

    /// Exports what was folded since, the rows that wait, whether the shard is backpressured, and,
    /// when due, the size of the state.
    pub fn show(&mut self, owner: &Owner, is_backpressured: bool, now: Instant) {
        self.count(owner);
        let mut shown = Exported {
            append_only_rows: owner.append_only_rows() as i64,
            is_backpressured,
            ..self.exported
        };
        let state = (owner.position(), owner.flushed());
        let is_due = self
            .due_at
            .is_none_or(|due_at| now >= due_at && state != self.measured);
        if is_due {
            let started = Instant::now();
            shown.bytes = owner.shard().bytes() as i64;
            shown.records = Entity::ALL.map(|entity| owner.shard().record_count(entity) as i64);
            self.measured = state;
            self.due_at = Some(now + pause_after(started.elapsed()));
        }
        self.export(shown);
    }

    fn count(&mut self, owner: &Owner) {
        let (before, now) = (self.counted, owner.shard().counters());
        let Telemetry {
            assertions_folded,
            assertions_unchanged,
            derived_folded,
            links_folded,
            values_refused,
            ..
        } = &*self.telemetry;
        assertions_folded.inc_by(now.assertions - before.assertions);
        assertions_unchanged.inc_by(now.unchanged - before.unchanged);
        derived_folded.inc_by(now.derived - before.derived);
        links_folded.inc_by(now.links - before.links);
        values_refused.inc_by(now.overflowed - before.overflowed);
        self.counted = now;
    }

    fn export(&mut self, now: Exported) {
        let before = std::mem::replace(&mut self.exported, now);
        let telemetry = &self.telemetry;
        telemetry.state_bytes.add(now.bytes - before.bytes);
        telemetry
            .append_only_rows
            .add(now.append_only_rows - before.append_only_rows);
        telemetry
            .shards_backpressured
            .add(i64::from(now.is_backpressured) - i64::from(before.is_backpressured));
        let counts = now.records.iter().zip(before.records);
        for (entity, (now, before)) in Entity::ALL.iter().zip(counts) {
            telemetry
                .records
                .with_label_values(&[entity.name()])
                .add(now - before);
        }
    }
}

impl Drop for ShardGauges {
    fn drop(&mut self) {
        self.export(Exported::default());
    }
}

/// How long the state isn't measured again after measuring took so long.
fn pause_after(took: Duration) -> Duration {
    MEASURE_EVERY.max(took * MEASURE_SHARE)
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::definitions::DefinitionsSpec;
    use crate::event::decode::{Context, cloudevents};
    use crate::metric::Catalogue;
    use crate::pipeline::Entry;
    use crate::pipeline::route::partition_by_home;
    use crate::record::SCHEMA;
    use crate::shard::Shard;

    fn owner() -> Owner {
        let catalogue = Catalogue::new(DefinitionsSpec::default()).unwrap();
        Owner::new(0, Shard::new(&[(1, Arc::new(catalogue))]), None, 0)
    }

    /// Folds leads of these numbers, a message each.
    fn fold(owner: &mut Owner, leads: Range<u64>) {
        for number in leads {
            let context = Context {
                schema: &SCHEMA,
                topic: 1,
                namespace: None,
                partition: 0,
                offset: number,
                attempt: 0,
                timestamp: None,
                is_append_time: false,
                now: i64::MAX / 2,
                limit: 1 << 20,
            };
            let event = format!(
                r#"{{"specversion":"1.0","id":"1","source":"crm","type":"crm.lead.upserted","subject":"L-{number}","time":"2026-03-04T10:00:00Z","data":{{"lead_source":"source {number}","status":"open"}}}}"#
            );
            let decoded = cloudevents::decode(Some(event.as_bytes()), &[], &context);
            for (_, payload) in partition_by_home(&decoded.assertions, 1) {
                let (offset, append_time) = (owner.position(), 0);
                let entry = Entry {
                    offset,
                    append_time,
                    payload,
                };
                owner.fold(&entry).unwrap();
            }
        }
    }

    fn exported(telemetry: &Telemetry) -> (usize, usize) {
        let leads = telemetry.records.with_label_values(&["lead"]).get();
        (telemetry.state_bytes.get() as usize, leads as usize)
    }

    fn held(owner: &Owner) -> (usize, usize) {
        let shard = owner.shard();
        (shard.bytes(), shard.record_count(Entity::LEAD))
    }

    #[test]
    fn the_state_gauges_agree_with_the_state_right_after_a_fold_and_are_removed_with_the_shard() {
        let (telemetry, mut owner) = (Telemetry::new(), owner());
        let mut gauges = ShardGauges::new(telemetry.clone(), &owner);
        let start = Instant::now();
        // Longer than any measuring takes a hundredth of.
        let later = |times: u32| start + times * Duration::from_secs(3_600);
        gauges.show(&owner, false, start);
        assert_eq!(exported(&telemetry), held(&owner));
        let mut before = held(&owner);
        for times in 1..=3 {
            let first = u64::from(times) * 500;
            fold(&mut owner, first..first + 500);
            let now = held(&owner);
            assert!(now.0 > before.0, "{now:?} is not more than {before:?}");
            // Measured at most once in its time.
            gauges.show(&owner, false, later(times - 1));
            assert_eq!(exported(&telemetry), before);
            gauges.show(&owner, false, later(times));
            assert_eq!(exported(&telemetry), now);
            before = now;
        }
        assert_eq!(telemetry.assertions_folded.get(), 1_500);
        drop(gauges);
        assert_eq!(exported(&telemetry), (0, 0));
    }

    #[test]
    fn a_large_state_is_measured_less_often() {
        let millis = Duration::from_millis;
        assert_eq!(pause_after(millis(0)), millis(1_000));
        assert_eq!(pause_after(millis(10)), millis(1_000));
        assert_eq!(pause_after(millis(50)), millis(5_000));
    }
}
