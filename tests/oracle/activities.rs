//! What activities add: what is done by kind, what is planned, and who was touched.

use dealpulse::event::When;
use dealpulse::window::Grain;

use super::cells::{By, HOURS_AND_DAYS, Table};
use super::{Dims, Oracle};

const KINDS: [&str; 6] = ["call", "email", "meeting", "demo", "task", "note"];

impl<'e> Oracle<'e> {
    /// When an activity was done, if it is.
    fn done_at(&self, id: &'e str) -> Option<When> {
        let stated = self.when("activity", id, "done_at");
        let is_done = match self.latest("activity", id, "done") {
            Some(done) => done == "true",
            None => stated.is_some(),
        };
        is_done.then(|| stated.unwrap_or(self.first("activity", id)))
    }

    /// Who was touched last when.
    pub(super) fn of_touches(&self, table: &mut Table) {
        let calendar = &self.definitions.calendar;
        let live = |entity, id: &&'e str| self.is_live(entity, id);
        for contact in self
            .ids("contact")
            .into_iter()
            .filter(|id| live("contact", id))
        {
            let activities = self.ids("activity").into_iter();
            let touches = activities.filter(|id| live("activity", id)).filter(|id| {
                let with = self.latest("activity", id, "contact_id");
                with.is_some_and(|with| self.root("contact", with) == contact)
            });
            let latest = touches
                .filter_map(|id| Some(calendar.instant(self.done_at(id)?)))
                .max()
                .map(When::Instant);
            let owner = self.text("contact", contact, "owner_id");
            let dims = Dims::from([("owner".into(), owner)]);
            let created = self.when("contact", contact, "created_at");
            let mut since = created.unwrap_or(self.first("contact", contact));
            if let Some(latest) = latest {
                let rollup = ("touches.latest", By::Owner, HOURS_AND_DAYS);
                self.add(table, rollup, latest, &dims, "", |cell| cell.count(0));
                let (day, created) = (calendar.day(latest), calendar.day(since));
                if calendar.keeps(day) && (!calendar.keeps(created) || day < created) {
                    since = latest;
                }
            }
            let rollup = ("touches.contacts", By::Owner, &[Grain::Day][..]);
            self.add(table, rollup, since, &dims, "", |cell| {
                cell.count(0);
                if latest.is_none() {
                    cell.count(1);
                }
            });
        }
    }

    pub(super) fn of_activities(&self, table: &mut Table) {
        for id in self.ids("activity") {
            if !self.is_live("activity", id) {
                continue;
            }
            let owner = self.text("activity", id, "owner_id");
            let dims = Dims::from([("owner".into(), owner)]);
            if let Some(done_at) = self.done_at(id) {
                let kind = self.text("activity", id, "kind");
                let kind = KINDS.iter().position(|known| *known == kind);
                let rollup = ("activities.done", By::Owner, HOURS_AND_DAYS);
                self.add(table, rollup, done_at, &dims, "", |cell| {
                    cell.count(kind.unwrap_or(6));
                });
            } else {
                let due_at = self.when("activity", id, "due_at");
                let rollup = ("activities.planned", By::Owner, &[Grain::Day][..]);
                let no_time = When::Date(i32::MAX);
                self.add(
                    table,
                    rollup,
                    due_at.unwrap_or(no_time),
                    &dims,
                    "",
                    |cell| {
                        cell.count(0);
                    },
                );
            }
        }
    }
}
