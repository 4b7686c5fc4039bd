//! Users: who sells, in which team and under which manager, and how all of that changes.

use super::calendar::{DAY, at_work, period};
use super::company::{Currency, REGIONS};
use super::random::Random;
use super::world::{Task, World};

/// Somebody who sells.
pub(super) struct Rep {
    pub(super) id: String,
    /// A number of their own, which gives the id.
    pub(super) person: u32,
    pub(super) region: u8,
    /// Which of the region's teams they are in.
    pub(super) team: u8,
    /// Of which of the region's teams the manager is theirs; mostly their own.
    managed_with: u8,
    /// How well, in thousandths of the average.
    pub(super) skill: u32,
}

impl Rep {
    fn new(person: u32, region: u8, team: u8, random: &mut Random) -> Self {
        Self {
            id: format!("u{person:02}"),
            person,
            region,
            team,
            managed_with: team,
            skill: random.between(650, 1350) as u32,
        }
    }

    pub(super) fn team_name(&self) -> &'static str {
        REGIONS[usize::from(self.region)].teams[usize::from(self.team)]
    }

    fn manager(&self) -> String {
        manager_id(usize::from(self.region), usize::from(self.managed_with))
    }
}

/// The sales force: eight desks to a region. Leads, accounts and deals belong to a desk, and so to
/// whoever sits there.
pub(super) struct Reps {
    desks: Vec<Rep>,
    /// How many people have been hired so far.
    hired: u32,
}

pub(super) const REPS_PER_REGION: usize = 8;
const TEAMS_PER_REGION: usize = 2;
/// The team that all others are a part of.
const SALES: &str = "Sales";
const DIRECTOR: &str = "d01";

const GIVEN: [&str; 20] = [
    "Ada", "Bruno", "Chiara", "Daniel", "Elif", "Finn", "Greta", "Hiro", "Ines", "Jonas", "Kaori",
    "Liam", "Maja", "Noah", "Olga", "Pablo", "Rosa", "Sven", "Tara", "Yuki",
];
/// Their number shares no factor with that of the given names, so that nobody's namesake comes
/// soon.
const FAMILY: [&str; 21] = [
    "Abe", "Berg", "Costa", "Dahl", "Egger", "Fischer", "Grant", "Hansen", "Ito", "Jansen",
    "Keller", "Lund", "Moreau", "Nolan", "Okafor", "Petrov", "Quinn", "Rossi", "Sato", "Tanaka",
    "Weber",
];

fn person_name(number: usize) -> String {
    let (given, family) = (GIVEN[number % GIVEN.len()], FAMILY[number % FAMILY.len()]);
    format!("{given} {family}")
}

fn manager_number(region: usize, team: usize) -> usize {
    region * TEAMS_PER_REGION + team + 1
}

fn manager_id(region: usize, team: usize) -> String {
    format!("m{:02}", manager_number(region, team))
}

impl Reps {
    pub(super) fn hire(random: &mut Random) -> Self {
        let mut reps = Self {
            desks: Vec::with_capacity(REGIONS.len() * REPS_PER_REGION),
            hired: 0,
        };
        for region in 0..REGIONS.len() {
            for desk in 0..REPS_PER_REGION {
                let team = desk % TEAMS_PER_REGION;
                reps.hired += 1;
                let rep = Rep::new(reps.hired, region as u8, team as u8, random);
                reps.desks.push(rep);
            }
        }
        reps
    }

    pub(super) fn get(&self, desk: u8) -> &Rep {
        &self.desks[usize::from(desk)]
    }

    pub(super) fn desks(&self) -> std::ops::Range<u8> {
        0..self.desks.len() as u8
    }

    /// Somebody of the region.
    pub(super) fn any_of(&self, region: u8, random: &mut Random) -> u8 {
        (usize::from(region) * REPS_PER_REGION + random.index(REPS_PER_REGION)) as u8
    }

    /// Somebody else of the same region.
    pub(super) fn colleague_of(&self, desk: u8, random: &mut Random) -> u8 {
        let base = usize::from(self.get(desk).region) * REPS_PER_REGION;
        let further = 1 + random.index(REPS_PER_REGION - 1);
        (base + (usize::from(desk) - base + further) % REPS_PER_REGION) as u8
    }

    /// A rate in thousandths as this rep achieves it.
    pub(super) fn achieved(&self, desk: u8, per_mille: u32) -> u32 {
        (per_mille * self.get(desk).skill / 1000).min(950)
    }
}

impl World {
    /// The teams and everybody in them, as they are when the stream begins.
    pub(super) fn introduce_staff(&mut self, at: i64) {
        self.describe_team(at, SALES, None);
        self.describe_user(at, DIRECTOR, &person_name(0), SALES, None);
        for (region, place) in REGIONS.iter().enumerate() {
            for (team, name) in place.teams.iter().enumerate() {
                self.describe_team(at, name, Some(SALES));
                let manager = manager_id(region, team);
                let person = person_name(manager_number(region, team));
                self.describe_user(at, &manager, &person, name, Some(DIRECTOR));
            }
        }
        for desk in self.reps.desks() {
            self.describe_rep(at, desk);
        }
    }

    fn describe_team(&mut self, at: i64, name: &str, parent: Option<&str>) {
        let event = self.event("team", "upserted", format!("T-{}", name.to_lowercase()), at);
        self.publish(event.text("name", name).maybe_text("parent", parent));
    }

    fn describe_user(&mut self, at: i64, id: &str, name: &str, team: &str, manager: Option<&str>) {
        let event = self
            .event("user", "upserted", id.to_string(), at)
            .text("name", name)
            .text("team", team)
            .maybe_text("manager_id", manager)
            .number("active", true);
        self.publish(event);
    }

    fn describe_rep(&mut self, at: i64, desk: u8) {
        let rep = self.reps.get(desk);
        let managers = REGIONS.len() * TEAMS_PER_REGION;
        let name = person_name(managers + rep.person as usize);
        let (id, team, manager) = (rep.id.clone(), rep.team_name(), rep.manager());
        self.describe_user(at, &id, &name, team, Some(&manager));
    }

    /// A month begins, or the stream within one: who moves in it, and when the next one's quotas
    /// are set.
    pub(super) fn open_month(&mut self, at: i64) {
        let (first, next) = period(at, 1);
        for _ in 0..self.random.weighted([200, 400, 400].into_iter()) {
            // Early in the month: those who come then are there when the next quotas are set.
            let moves = first + self.random.between(DAY, 17 * DAY);
            let moves = at_work(moves, 0, &mut self.random);
            if moves > at {
                self.schedule(moves, Task::Staff);
            }
        }
        self.schedule((next - 7 * DAY).max(at), Task::Quotas(next));
        if next < self.config.end.timestamp_millis() {
            self.schedule(next, Task::Month);
        }
    }

    /// Somebody changes the team, or only the manager, or leaves and is replaced.
    pub(super) fn change_staff(&mut self, at: i64) {
        let desk = self.random.index(self.reps.desks.len());
        let rep = &mut self.reps.desks[desk];
        let event = match self.random.weighted([500, 200, 300].into_iter()) {
            0 => {
                rep.team = 1 - rep.team;
                rep.managed_with = rep.team;
                let (id, team, manager) = (rep.id.clone(), rep.team_name(), rep.manager());
                self.event("user", "upserted", id, at)
                    .text("team", team)
                    .text("manager_id", &manager)
            }
            1 => {
                rep.managed_with = 1 - rep.managed_with;
                let (id, manager) = (rep.id.clone(), rep.manager());
                self.event("user", "upserted", id, at)
                    .text("manager_id", &manager)
            }
            _ => return self.replace_rep(at, desk as u8),
        };
        self.publish(event);
    }

    fn replace_rep(&mut self, at: i64, desk: u8) {
        let leaver = self.reps.get(desk);
        let (id, region, team) = (leaver.id.clone(), leaver.region, leaver.team);
        let event = self.event("user", "upserted", id, at);
        self.publish(event.number("active", false));
        self.reps.hired += 1;
        let successor = Rep::new(self.reps.hired, region, team, &mut self.random);
        self.reps.desks[usize::from(desk)] = successor;
        self.describe_rep(at, desk);
        self.set_quota(at, desk, at);
    }

    /// The currency a rep sells in, if nothing else is agreed.
    pub(super) fn usual_currency(&self, desk: u8) -> Currency {
        let usual = REGIONS[usize::from(self.reps.get(desk).region)].currency;
        let accepted = &self.config.currencies;
        match accepted.first() {
            None => Currency::Eur,
            Some(first) if !accepted.contains(&usual) => *first,
            Some(_) => usual,
        }
    }
}
