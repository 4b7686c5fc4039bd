//! New contacts: how many people become known, by owner and region.

use super::contribution::{HOURS_AND_DAYS, of_owner};
use super::display::column;
use super::{
    CellView, Contributions, CutBy, Display, Figure, Figures, Metric, Rollup, Sent, Subject, View,
};
use crate::event::{Entity, When};
use crate::record::contact::ContactAt;
use crate::symbol::Symbol;
use crate::window::Dimension;
use crate::window::rolling::Span;

/// The metric.
pub struct Contacts;

impl Metric for Contacts {
    fn name(&self) -> &'static str {
        "contacts"
    }

    fn version(&self) -> u32 {
        1
    }

    fn definition(&self) -> &'static str {
        "New contacts, by the time they were created. The owner is the contact's, the region that of the account they are at, both of today. \
         Contacts without an account, or at one that is unknown or deleted, have no region. Deleted contacts do not count."
    }

    fn display(&self) -> Display {
        const DISPLAY: Display = Display {
            title: "New contacts",
            headline: "new",
            unit: "",
            made_of: "by the time they were created",
            remarks: &[],
            columns: &[column("Contacts created", "New", "new")],
        };
        DISPLAY
    }

    fn entities(&self) -> &'static [Entity] {
        &[Entity::CONTACT, Entity::ACCOUNT]
    }

    fn rollups(&self) -> Vec<Rollup> {
        vec![Rollup {
            name: "contacts.new".into(),
            cut_by: CutBy::only(&[Dimension::REGION, Dimension::OWNER]).of_today(),
            grains: HOURS_AND_DAYS,
            counts: &["new"],
            sums: &[],
        }]
    }

    fn contribute(&self, subject: &Subject<'_>, out: &mut Contributions) {
        // Only contacts without account: the others count at their account's home, where its region
        // is known.
        if let Some(contact) = subject.reading.contact().filter(|contact| contact.live)
            && contact.account.is_none()
        {
            new(contact.created_at, contact.owner, Symbol::BLANK, out);
        }
    }

    fn contribute_link(&self, subject: &Subject<'_>, sent: &Sent<'_>, out: &mut Contributions) {
        let (Some(account), Some(contact)) = (subject.account(), sent.read::<ContactAt>()) else {
            return;
        };
        if let Some(created_at) = contact.created_at
            && subject.counts(contact.excluded)
        {
            // An account that was deleted, or never seen, has no region.
            let region = if account.live {
                account.dims[Dimension::REGION.0 as usize]
            } else {
                Symbol::BLANK
            };
            new(created_at, contact.owner, region, out);
        }
    }

    fn links_read_target(&self) -> bool {
        true
    }

    fn spans(&self) -> &'static [(usize, Span)] {
        &[(0, Span::Window)]
    }

    fn read(&self, cells: &CellView<'_>) -> Figures {
        let created = cells.cell(0, Span::Window);
        vec![("new", Figure::Count(created.counted(0)))]
    }

    fn gauges(&self) -> &'static [&'static str] {
        &["new"]
    }

    fn views(&self) -> Vec<View> {
        vec![View::new(
            "contacts_daily",
            "SELECT day, dimension, value, counts[1] AS new FROM cells_by_day WHERE series = 'contacts.new'",
        )]
    }
}

/// A contact created.
fn new(created_at: When, owner: Symbol, region: Symbol, out: &mut Contributions) {
    let mut dims = of_owner(owner);
    dims[Dimension::REGION.0 as usize] = region;
    out.add(0, created_at, &dims).count(0);
}
