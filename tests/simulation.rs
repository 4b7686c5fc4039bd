//! The protocol under crashes: owners, flushes, restarts, routers and rebuilds as they run in
//! production, over logs and a store in which every call can be cut off anywhere. Each rule of the
//! design is also taken away, to see that this simulation notices.
//!
//! `DEALPULSE_SEEDS=100000` runs more histories. A history that fails is shortened as far as
//! possible and printed; `DEALPULSE_HISTORY=…` runs it again.

mod beside;
mod check;
mod history;
mod process;
mod rebuilding;
mod routing;
mod rows;
mod rules;
mod seen;
mod versions;
mod world;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use crate::oracle::history::{Dice, Event, deliver, histories};
use dealpulse::definitions::{Credit, DefinitionsSpec, HoursKept, SetSpec, StageMeaning};
use dealpulse::pipeline::epochs::{Epoch, Stage};
use dealpulse::pipeline::rebuild::Form;
use history::{History, Mischief};
use process::Instance;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rebuilding::{QueryPlan, Rebuilder};
use routing::{Carrier, Router};
use rules::Broken;
use seen::Seen;
use world::Sim;

fn definitions(time_zone: &str, onboarding: &str) -> DefinitionsSpec {
    let mut spec = DefinitionsSpec {
        time_zone: time_zone.into(),
        hours_kept: HoursKept::Days(2),
        ..DefinitionsSpec::default()
    };
    // Few cells a contribution, so that most of a history's rows are not copies of each other.
    spec.groups.truncate(1);
    spec.groups.push(SetSpec {
        by: vec!["stage".into()],
        every: vec!["day".into()],
    });
    spec.stage_order = ["talks", "offer", "dropped"].map(str::to_owned).to_vec();
    spec.stages.insert(
        "onboarding".into(),
        StageMeaning {
            status: Some(onboarding.into()),
            probability: None,
        },
    );
    spec
}

/// So many events of one deal that its histories are cut: the same again and again, after all
/// others. They begin after the deal is closed, so that what counts at the close is cut off, too.
fn burst() -> impl Iterator<Item = Event> {
    static TIMES: LazyLock<Vec<String>> = LazyLock::new(|| {
        (0..70)
            .map(|minute| format!("2026-04-02T{:02}:{:02}:00Z", 8 + minute / 60, minute % 60))
            .collect()
    });
    let fields = vec![
        ("status", Some("won")),
        ("closed_at", Some("2026-03-03")),
        ("stage", Some("negotiation")),
        ("owner_id", Some("u2")),
    ];
    let event = move |(offset, time): (u64, &'static String)| Event {
        entity: "deal",
        id: "D1",
        action: "upserted",
        time,
        sequence: 0,
        offset,
        fields: fields.clone(),
    };
    (100..).zip(TIMES.iter()).map(event)
}

fn events_of(history: &History) -> Vec<Event> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&history.seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        TestRng::from_seed(RngAlgorithm::ChaCha, &bytes),
    );
    let events = histories(26).new_tree(&mut runner).unwrap().current();
    let chosen = events
        .into_iter()
        .enumerate()
        .filter(|(i, _)| history.events >> i & 1 == 1)
        .map(|(_, event)| event);
    let has_burst = history.has(Mischief::Burst) && Dice(history.seed).percent(10);
    chosen
        .chain(has_burst.then(burst).into_iter().flatten())
        .collect()
}

/// How the world treats a history.
#[derive(Clone, Copy, PartialEq)]
enum World {
    Cruel,
    /// No crash, no failure; retries and the order of things remain.
    Quiet,
}

/// What there is to be rebuilt, if anything; decided by the dice. Some of it is an upgrade of the
/// program.
fn plan(dice: &mut Dice) -> Option<QueryPlan> {
    let first = Epoch::first(definitions("Europe/Berlin", "won"), 0);
    let other = DefinitionsSpec {
        credit: Credit::Current,
        ..definitions("Asia/Kolkata", "lost")
    };
    let next = Epoch {
        epoch: 2,
        stage: Stage::Building,
        stood_at: dice.percent(30).then_some(0),
        ..first.clone()
    };
    let form = [
        None,
        None,
        Some(Form::Definitions),
        Some(Form::Log),
        Some(Form::Definitions),
        Some(Form::Log),
        Some(Form::Mapping),
    ][dice.below(7)]?;
    let partitions = 1 + dice.below(3) as u32;
    let next = match form {
        Form::Definitions => Epoch {
            definitions: other,
            ..next
        },
        Form::Log => Epoch {
            generation: 2,
            partitions,
            feeds_on: 1,
            definitions: if dice.percent(50) {
                other
            } else {
                first.definitions
            },
            ..next
        },
        Form::Mapping => Epoch {
            generation: 2,
            partitions,
            reading: 2,
            definitions: other,
            ..next
        },
    };
    Some(QueryPlan { form, next })
}

/// Everything that runs in a history.
struct Cast {
    sim: Sim,
    dice: Dice,
    history: History,
    /// The lines of each input partition, for the routers.
    lines: Vec<Vec<(u64, String)>>,
    routers: Vec<Router>,
    instances: Vec<Instance>,
    zombies: Vec<Instance>,
    rebuilder: Option<Rebuilder>,
    /// The rebuild may begin.
    rebuilds: bool,
    /// It is an upgrade that may be given up before the switch.
    may_give_up: bool,
    carriers: Vec<Carrier>,
    fury: u64,
    flow: u64,
}

impl Cast {
    fn new(history: History, events: &[Event], broken: Broken, kind: World) -> Cast {
        let mut dice = Dice(history.dice);
        let partitions = 2 + dice.below(2) as u32;
        let lines = deliver(events, &mut dice);
        let sim = Sim::new(
            dice.next(),
            broken,
            Epoch::first(definitions("Europe/Berlin", "won"), partitions),
        );
        let (even, odd): (Vec<_>, Vec<_>) =
            lines.into_iter().partition(|(offset, _)| offset % 2 == 0);
        let lines = vec![even, odd];
        let mut routers: Vec<Router> = lines
            .iter()
            .map(|lines| Router::new(&sim, 1, lines.clone()))
            .collect();
        routers
            .iter_mut()
            .for_each(|router| router.is_straggler = dice.percent(20));
        let plan = plan(&mut dice).map(|mut plan| {
            plan.next.partitions = if plan.form == Form::Definitions {
                partitions
            } else {
                plan.next.partitions
            };
            // Of two versions of the program, those that can't go on are started again: no quiet
            // world.
            plan.next.stood_at = plan.next.stood_at.filter(|_| kind != World::Quiet);
            plan
        });
        let rebuilder = plan
            .filter(|_| history.has(Mischief::Rebuild))
            .map(|plan| Rebuilder::new(&sim, plan));
        if rebuilder.as_ref().is_some_and(Rebuilder::is_upgrade) {
            sim.lock().begin_before();
        }
        let may_give_up = rebuilder.as_ref().is_some_and(|rebuilder| {
            rebuilder.is_upgrade() && rebuilder.form() == Form::Definitions && dice.percent(30)
        });
        let instances = Self::instances(&sim, &mut dice);
        let (mut fury, flow) = ([0, 2, 5, 10][dice.below(4)], [10, 30, 60][dice.below(3)]);
        let mut world = sim.lock();
        world.lands_late = history.has(Mischief::LateArrivals);
        world.calm = kind == World::Quiet || !history.has(Mischief::Failures);
        drop(world);
        if kind == World::Quiet {
            fury = 0;
        }
        let (zombies, carriers) = Default::default();
        Cast {
            sim,
            dice,
            history,
            lines,
            routers,
            instances,
            zombies,
            rebuilder,
            rebuilds: false,
            may_give_up,
            carriers,
            fury,
            flow,
        }
    }

    /// Sometimes one instance has all shards and merges them into one batch.
    fn instances(sim: &Sim, dice: &mut Dice) -> Vec<Instance> {
        let shards = 0..sim.partitions();
        if dice.percent(30) {
            vec![Instance::new(sim, shards.collect())]
        } else {
            shards
                .map(|shard| Instance::new(sim, vec![shard]))
                .collect()
        }
    }

    /// One step of the world: perhaps a fault, and some progress.
    fn step(&mut self) {
        self.follow_epochs();
        let (fury, has) = (self.fury, |mischief| self.history.has(mischief));
        let (crashes, late, router_crashes) = (
            has(Mischief::Crashes),
            has(Mischief::LateArrivals),
            has(Mischief::RouterCrashes),
        );
        if crashes && self.dice.percent(fury) {
            self.crash_an_instance();
        } else if !self.zombies.is_empty() && self.dice.percent(fury) {
            drop(
                self.zombies
                    .swap_remove(self.dice.below(self.zombies.len())),
            );
        } else if late && self.dice.percent(fury) {
            self.land_one();
        } else if router_crashes && self.dice.percent(fury / 2) {
            match self
                .dice
                .below(self.routers.len() + self.carriers.len() + 1)
            {
                at if at < self.routers.len() => self.routers[at].crash(),
                at if at < self.routers.len() + self.carriers.len() => {
                    self.carriers[at - self.routers.len()].crash()
                }
                _ => self.rebuilder.iter_mut().for_each(Rebuilder::crash),
            }
        }
        self.go_on();
    }

    fn go_on(&mut self) {
        if self.dice.percent(self.flow) {
            let at = self.dice.below(self.routers.len());
            if self.is_awake(at) {
                return self.routers[at].step();
            }
        }
        if self.rebuilds && self.dice.percent(30) {
            match self.dice.below(1 + self.carriers.len()) {
                0 => self.rebuild(),
                at => self.carriers[at - 1].step(),
            }
            return;
        }
        let at = self.dice.below(self.instances.len() + self.zombies.len());
        match at.checked_sub(self.instances.len()) {
            None => step(&mut self.instances[at]),
            Some(zombie) if self.zombies[zombie].step().is_err() => {
                drop(self.zombies.swap_remove(zombie))
            }
            Some(_) => {}
        }
    }

    /// Whether a router makes progress. Beside a rebuild a slow one seldom does, so that its
    /// messages come after the switch.
    fn is_awake(&mut self, router: usize) -> bool {
        let router = &self.routers[router];
        let lingers = router.is_straggler && self.rebuilds && !self.is_rebuilt();
        !router.is_done() && (!lingers || self.dice.percent(5))
    }

    fn is_rebuilt(&self) -> bool {
        self.rebuilder.as_ref().is_none_or(Rebuilder::is_done)
    }

    fn rebuild(&mut self) {
        if self.may_give_up && self.dice.percent(2) {
            self.sim.lock().give_up();
        }
        if let Some(rebuilder) = &mut self.rebuilder {
            // The input ends where it ends, also before it is read again.
            let mut routed: Vec<(u64, u64)> = self
                .lines
                .iter()
                .map(|lines| (0, lines.len() as u64))
                .collect();
            let again = self.routers.iter().filter(|router| router.reading() == 2);
            routed
                .iter_mut()
                .zip(again)
                .for_each(|(at, router)| at.0 = router.position());
            *rebuilder.routed.lock().unwrap() = routed;
            rebuilder.step();
        }
    }

    /// What an instance starts when it sees an epoch: the fold of a new log, the carrier of an old
    /// one, the routers of a new reading.
    fn follow_epochs(&mut self) {
        let Some(next) = self
            .sim
            .lock()
            .epochs
            .get(&2)
            .filter(|epoch| epoch.generation == 2)
            .cloned()
        else {
            return;
        };
        let new = self.sim.on(2);
        if self.carriers.is_empty() && self.instances.iter().all(|instance| !instance.is_of(2)) {
            let more = Self::instances(&new, &mut self.dice);
            self.instances.extend(more);
            if next.reading == 2 {
                self.routers.extend(
                    self.lines
                        .iter()
                        .map(|lines| Router::new(&new, 2, lines.clone())),
                );
            }
            if next.feeds_on == 1 {
                // A rebalance can leave two of them at it for a while.
                let count = if self.dice.percent(30) { 2 } else { 1 };
                self.carriers
                    .extend((0..count).map(|_| Carrier::new(&self.sim, &new)));
            }
        }
        if next.stage == Stage::Live && self.sim.lock().broken == Broken::CarryingEndsWithTheSwitch
        {
            self.carriers.truncate(0);
        }
    }

    fn crash_an_instance(&mut self) {
        let at = self.dice.below(self.instances.len());
        let successor = self.instances[at].successor();
        let old = std::mem::replace(&mut self.instances[at], successor);
        let seen = &mut self.sim.lock().seen;
        seen.crashes += 1;
        if self.history.has(Mischief::Zombies) && self.dice.percent(50) {
            seen.zombies += 1;
            self.zombies.push(old);
        }
    }

    fn land_one(&mut self) {
        let world = &mut *self.sim.lock();
        if !world.late.is_empty() {
            let arrival = world.late.swap_remove(self.dice.below(world.late.len()));
            world.seen.late += 1;
            world.land(arrival);
        }
    }

    /// Everything that is to be routed is, and the rebuild is through.
    fn finish(&mut self) {
        self.sim.lock().calm = true;
        for _ in 0..60_000 {
            self.follow_epochs();
            if self.is_rebuilt() && self.routers.iter().all(Router::is_done) && self.is_at_rest() {
                return;
            }
            for at in 0..self.routers.len() {
                if self.is_awake(at) {
                    self.routers[at].step();
                }
            }
            self.rebuild();
            self.carriers.iter_mut().for_each(Carrier::step);
            self.instances.iter_mut().for_each(step);
        }
        let world = self.sim.lock();
        panic!(
            "no rest; the logs are {:?} and {:?} long",
            world.ends(1),
            world.ends(2)
        );
    }

    fn is_at_rest(&self) -> bool {
        self.instances.iter().all(Instance::is_at_rest)
            && self.carriers.first().is_none_or(Carrier::is_at_rest)
    }
}

/// One history. Empty if nothing is wrong.
fn run(history: History, broken: Broken, kind: World) -> (BTreeSet<String>, Seen) {
    run_events(history, &events_of(&history), broken, kind)
}

/// The history of these events.
fn run_events(
    history: History,
    events: &[Event],
    broken: Broken,
    kind: World,
) -> (BTreeSet<String>, Seen) {
    let mut cast = Cast::new(history, events, broken, kind);
    let steps = (40 + cast.dice.below(500)).min(history.steps);
    // The rebuild begins while events arrive, or after the last one: then the switch itself must
    // show all of them.
    let begins = if cast.dice.percent(50) {
        Some(cast.dice.below(steps.max(1)))
    } else {
        None
    };
    for number in 0..steps {
        cast.rebuilds |= begins == Some(number);
        cast.step();
    }
    let switches_late = begins.is_none() && cast.rebuilder.is_some();
    if switches_late {
        while let Some(router) = cast.routers.iter_mut().find(|router| !router.is_done()) {
            router.step();
        }
        cast.rebuilds = true;
        for _ in 0..steps {
            cast.step();
        }
    }
    cast.rebuilds = true;
    cast.finish();
    // The last writes of the stale owners, and those still in flight.
    for mut zombie in std::mem::take(&mut cast.zombies) {
        let steps = cast.dice.below(60);
        let _ = (0..steps).try_for_each(|_| zombie.step());
    }
    while !cast.sim.lock().late.is_empty() {
        cast.land_one();
    }
    if history.has(Mischief::LastRestart) && cast.dice.percent(50) {
        cast.instances
            .iter_mut()
            .for_each(|instance| *instance = instance.successor());
    }
    cast.finish();
    let mut world = cast.sim.lock();
    world.seen.rebuilds += usize::from(cast.rebuilder.is_some());
    let is_upgrade = cast.rebuilder.as_ref().is_some_and(Rebuilder::is_upgrade);
    world.seen.upgrades += usize::from(is_upgrade);
    (check::problems(&world, events, switches_late), world.seen)
}

/// One step of an instance; one that gives up is started again.
fn step(instance: &mut Instance) {
    if instance.step().is_err() {
        *instance = instance.successor();
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number"))
    })
}

/// True if a history panics or fails.
fn goes_wrong(history: &History, broken: Broken) -> bool {
    std::panic::catch_unwind(|| !run(*history, broken, World::Cruel).0.is_empty()).unwrap_or(true)
}

#[test]
fn no_crash_zombie_late_insert_or_retry_leaves_a_trace() {
    let given = std::env::var("DEALPULSE_HISTORY")
        .ok()
        .map(|text| text.parse().unwrap_or_else(|problem| panic!("{problem}")));
    let histories: Vec<History> = match given {
        Some(history) => vec![history],
        None => (0..number("DEALPULSE_SEEDS").unwrap_or(2_000))
            .map(History::new)
            .collect(),
    };
    let mut all = Seen::default();
    for history in &histories {
        let outcome = std::panic::catch_unwind(|| run(*history, Broken::Nothing, World::Cruel));
        let (problems, seen) =
            outcome.unwrap_or_else(|_| (BTreeSet::from(["it panics".to_owned()]), Seen::default()));
        if !problems.is_empty() {
            eprintln!("history {history} fails; looking for a shorter one: {problems:#?}");
            let least = history.shrink(events_of(history).len(), |history| {
                goes_wrong(history, Broken::Nothing)
            });
            let problems = std::panic::catch_unwind(|| run(least, Broken::Nothing, World::Cruel).0);
            panic!(
                "history {history} fails; DEALPULSE_HISTORY={least} is the shortest found: {problems:#?}\n{:#?}",
                events_of(&least)
            );
        }
        all += seen;
    }
    println!("{} histories: {all:?}", histories.len());
    if histories.len() >= 1_000 {
        let counts = all.counts().map(|n| *n);
        // Upgrades, and what happens beside them, are rarer than the rest.
        let (often, seldom) = counts.split_at(8);
        let is_enough = often.iter().all(|n| *n > 100) && seldom.iter().all(|n| *n > 20);
        assert!(is_enough, "too quiet a world: {all:?}");
    }
}

#[test]
fn a_history_that_fails_is_shortened_and_replayed_from_what_is_printed() {
    let broken = Broken::WithdrawalsDropped;
    let first = (0..2_000)
        .map(History::new)
        .find(|history| goes_wrong(history, broken))
        .expect("one fails");
    let least = first.shrink(events_of(&first).len(), |history| {
        goes_wrong(history, broken)
    });
    let parsed: History = least.to_string().parse().expect("what is printed");
    assert_eq!(parsed, least);
    assert!(goes_wrong(&parsed, broken));
    let (before, after) = (events_of(&first).len(), events_of(&least).len());
    println!("{first} with {before} events became {least} with {after}");
    assert!(
        after < before && after <= 6,
        "{after} of {before} events are left"
    );
    assert!("17.x.1.1.1".parse::<History>().is_err() && "17.1".parse::<History>().is_err());
}
