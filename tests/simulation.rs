//! The protocol under crashes: owners, flushes, restarts and routers as they run in production, over a log and a store in which every
//! call can be cut off anywhere. Each rule of the design is also taken away, to see that this simulation would miss it.
//!
//! `DEALPULSE_SEEDS=100000` runs more histories; `DEALPULSE_SEED=4711` tells one again.

// Shared with other tests, each of which uses a part.
#[path = "simulation/check.rs"]
mod check;
#[allow(dead_code)]
mod oracle;
#[path = "simulation/process.rs"]
mod process;
mod support;
#[path = "simulation/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use dealpulse::definitions::{Definitions, DefinitionsSpec, StageMeaning};
use oracle::story::{Dice, Event, deliver, story};
use process::{Instance, Router};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use world::{Seen, Sim};

/// Which rule is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    Nothing,
    /// The checkpoint is read after the records.
    CheckpointReadLast,
    /// Rows are written before the greatest restored version is passed.
    WritesBeforeRestored,
    /// Cells that became zero are not written.
    ZerosDropped,
    /// Withdrawn links are not stored.
    WithdrawalsDropped,
    /// Only cells that differ from what they were at the last flush are written.
    DifferentOnly,
    /// Records are written before the links and cells they led to.
    RecordsBeforeLinks,
    /// Of links with one target and sender, the last to arrive counts.
    LastLinkWins,
    /// Links are versioned by a count of the owner's own, not by the offset of the flush.
    LinksCountedByOwner,
    /// Merges are told to the home of the merged record only.
    AliasesAtHomeOnly,
    /// Links are addressed by another partition count than the one recorded.
    ClientsPartitioner,
    /// A flush's records are those of a later offset than its version.
    Torn,
}

static DEFINITIONS: LazyLock<Arc<Definitions>> = LazyLock::new(|| {
    let mut spec = DefinitionsSpec { time_zone: "Europe/Berlin".into(), ..DefinitionsSpec::default() };
    // Few cells a contribution, so that most of a history's rows are not copies of each other.
    spec.groups.truncate(1);
    spec.stages.insert("onboarding".into(), StageMeaning { status: Some("won".into()), probability: None });
    Arc::new(Definitions::new(spec).unwrap())
});

fn events_of(seed: u64) -> Vec<Event> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    story(26).new_tree(&mut runner).unwrap().current()
}

/// How the world treats a history.
#[derive(Clone, Copy, PartialEq)]
enum World {
    Cruel,
    /// No crash, no failure; retries and the order of things remain.
    Quiet,
}

/// One history. Empty if nothing is wrong.
fn run(seed: u64, broken: Broken, kind: World) -> (BTreeSet<String>, Seen) {
    let events = events_of(seed);
    let mut dice = Dice(seed);
    let shards = 2 + dice.below(2) as u32;
    let lines = deliver(&events, &mut dice);
    let sim = Sim::new(dice.next(), shards, broken);
    let (even, odd): (Vec<_>, Vec<_>) = lines.into_iter().partition(|(offset, _)| offset % 2 == 0);
    let mut routers: Vec<Router> = [even, odd].into_iter().map(|lines| Router::new(&sim, lines)).collect();
    let start = |shards: Vec<u32>| Instance::new(&sim, &DEFINITIONS, shards);
    // Sometimes one instance has all shards and merges them into one batch.
    let mut instances: Vec<Instance> =
        if dice.percent(30) { vec![start((0..shards).collect())] } else { (0..shards).map(|shard| start(vec![shard])).collect() };
    let mut zombies: Vec<Instance> = Vec::new();
    let (mut fury, flow) = ([0, 2, 5, 10][dice.below(4)], [10, 30, 60][dice.below(3)]);
    if kind == World::Quiet {
        fury = 0;
        sim.lock().calm = true;
    }

    for _ in 0..40 + dice.below(500) {
        if dice.percent(fury) {
            let at = dice.below(instances.len());
            let shards = instances[at].shards.clone();
            let old = std::mem::replace(&mut instances[at], start(shards));
            let seen = &mut sim.lock().seen;
            seen.crashes += 1;
            if dice.percent(50) {
                seen.zombies += 1;
                zombies.push(old);
            }
        } else if !zombies.is_empty() && dice.percent(fury) {
            drop(zombies.swap_remove(dice.below(zombies.len())));
        } else if dice.percent(fury) {
            land_one(&sim, &mut dice);
        } else if dice.percent(fury / 2) {
            let at = dice.below(routers.len());
            routers[at].crash();
        }
        if dice.percent(flow) {
            let at = dice.below(routers.len());
            if !routers[at].is_done() {
                routers[at].step();
            }
        } else {
            let at = dice.below(instances.len() + zombies.len());
            match at.checked_sub(instances.len()) {
                None => step(&mut instances[at], &start),
                Some(zombie) if zombies[zombie].step().is_err() => drop(zombies.swap_remove(zombie)),
                Some(_) => {}
            }
        }
    }
    sim.lock().calm = true;
    while let Some(router) = routers.iter_mut().find(|r| !r.is_done()) {
        router.step();
    }
    settle(&sim, &mut instances, &start);
    // The last the stale owners have to say, and what still lies on its way.
    for mut zombie in zombies {
        let steps = dice.below(60);
        let _ = (0..steps).try_for_each(|_| zombie.step());
    }
    while !sim.lock().late.is_empty() {
        land_one(&sim, &mut dice);
    }
    if dice.percent(50) {
        instances.iter_mut().for_each(|instance| *instance = start(instance.shards.clone()));
    }
    settle(&sim, &mut instances, &start);
    let world = sim.lock();
    (check::problems(&world, &events, &DEFINITIONS), world.seen)
}

fn land_one(sim: &Sim, dice: &mut Dice) {
    let world = &mut *sim.lock();
    if !world.late.is_empty() {
        let arrival = world.late.swap_remove(dice.below(world.late.len()));
        world.seen.late += 1;
        world.land(arrival);
    }
}

/// One step of an instance; one that gives up is started again.
fn step(instance: &mut Instance, start: &impl Fn(Vec<u32>) -> Instance) {
    if instance.step().is_err() {
        *instance = start(instance.shards.clone());
    }
}

fn settle(sim: &Sim, instances: &mut [Instance], start: &impl Fn(Vec<u32>) -> Instance) {
    for _ in 0..20_000 {
        if instances.iter().all(Instance::is_at_rest) {
            return;
        }
        instances.iter_mut().for_each(|instance| step(instance, start));
    }
    let lengths: Vec<usize> = sim.lock().logs.iter().map(Vec::len).collect();
    panic!("no rest; the logs are {lengths:?} long");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn no_crash_zombie_late_insert_or_retry_leaves_a_trace() {
    let seeds = match number("DEALPULSE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("DEALPULSE_SEEDS").unwrap_or(2_000),
    };
    let mut all = Seen::default();
    for seed in seeds.clone() {
        let (problems, seen) = run(seed, Broken::Nothing, World::Cruel);
        assert!(problems.is_empty(), "DEALPULSE_SEED={seed} tells it again: {problems:#?}");
        all.crashes += seen.crashes;
        all.zombies += seen.zombies;
        all.late += seen.late;
        all.failures += seen.failures;
        all.restored_ahead += seen.restored_ahead;
    }
    println!("{} histories: {all:?}", seeds.clone().count());
    if seeds.count() >= 1_000 {
        assert!([all.crashes, all.zombies, all.late, all.failures, all.restored_ahead].iter().all(|n| *n > 500), "too quiet a world: {all:?}");
    }
}

/// What a missing rule must lead to, so that a rule is not "noticed" by something harmless.
const NUMBERS: &str = "a cell differs from an undisturbed run's";
const TORN_ROW: &str = "a record row is not f(log ≤ version)";
const WRONG_LINK: &str = "a link told is not f(log ≤ version)";

/// When a rule is needed.
#[derive(Clone, Copy, PartialEq)]
enum Needed {
    Always,
    /// Only when something goes wrong: without the rule, a quiet world gives the right numbers.
    UnderCrashes,
}

/// Runs histories until one shows by `symptom` that the rule is missing; with the rule in place that one goes well.
fn notice(broken: Broken, symptom: &str, needed: Needed) {
    let most = number("DEALPULSE_SEEDS").unwrap_or(2_000);
    let noticed = (0..most).find(|seed| run(*seed, broken, World::Cruel).0.contains(symptom));
    let seed = noticed.unwrap_or_else(|| panic!("{most} histories without the rule, and nothing is wrong: {broken:?}"));
    println!("{broken:?}: noticed in history {seed}");
    assert!(run(seed, Broken::Nothing, World::Cruel).0.is_empty(), "history {seed} goes wrong with the rule, too");
    if needed == Needed::UnderCrashes {
        let early = (0..50).find(|seed| run(*seed, broken, World::Quiet).0.contains(NUMBERS));
        assert_eq!(early, None, "it is not the rule that was taken away: a quiet world shows it");
    }
}

macro_rules! rules {
    ($($test:ident: without $broken:ident, $symptom:ident, needed $needed:ident;)*) => {
        $(#[test] fn $test() { notice(Broken::$broken, $symptom, Needed::$needed); })*
    };
}
rules! {
    rule_the_checkpoint_is_read_before_the_records: without CheckpointReadLast, NUMBERS, needed UnderCrashes;
    rule_nothing_is_written_before_the_greatest_restored_version: without WritesBeforeRestored, WRONG_LINK, needed UnderCrashes;
    rule_zeros_are_rows: without ZerosDropped, NUMBERS, needed Always;
    rule_withdrawals_are_rows: without WithdrawalsDropped, NUMBERS, needed UnderCrashes;
    rule_dirty_is_touched_not_different: without DifferentOnly, NUMBERS, needed UnderCrashes;
    rule_links_go_before_records: without RecordsBeforeLinks, NUMBERS, needed UnderCrashes;
    rule_the_newest_link_wins: without LastLinkWins, NUMBERS, needed UnderCrashes;
    rule_a_links_version_is_the_offset_of_its_flush: without LinksCountedByOwner, NUMBERS, needed UnderCrashes;
    rule_merges_are_told_to_every_shard: without AliasesAtHomeOnly, NUMBERS, needed Always;
    rule_homes_go_by_the_recorded_partition_count: without ClientsPartitioner, NUMBERS, needed Always;
    rule_a_flush_holds_the_values_of_one_offset: without Torn, TORN_ROW, needed UnderCrashes;
}
