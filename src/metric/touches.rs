//! Contacts touched: with whom something was done, and with whom nothing for long.

use super::contribution::{DAYS, HOURS_AND_DAYS, of_owner};
use super::display::column;
use super::{
    CellView, Contributions, CutBy, Display, Figure, Figures, Metric, Rollup, Sent, Subject, View,
};
use crate::event::{Entity, When};
use crate::record::activity::Touch;
use crate::window::rolling::Span;
use crate::window::{Calendar, Dimension};

/// The metric.
pub struct Touches;

const LATEST: usize = 0;
const KNOWN: usize = 1;

/// Measures of contacts.
const CONTACTS: usize = 0;
const NEVER: usize = 1;

/// Marks of activities: the instants they were done at.
const TOUCHED: u16 = 0;

impl Metric for Touches {
    fn name(&self) -> &'static str {
        "touches"
    }

    fn version(&self) -> u32 {
        2
    }

    fn definition(&self) -> &'static str {
        "Contacts with whom an activity was done. Touched are those whose latest activity lies in the window. Contacts are those known by the \
         window's end: since they were created, or since their latest activity if that is earlier. Untouched for N days are those whose \
         latest activity lies before the last N days of the window, and those with none at all. Only the latest activity known today \
         counts: in a window of the past, a contact touched again since is neither touched nor untouched. The owner is the contact's. Deleted \
         contacts do not count."
    }

    fn display(&self) -> Display {
        const DISPLAY: Display = Display {
            title: "Contacts touched",
            headline: "touched",
            unit: "",
            made_of: "of {contacts} contacts so far",
            remarks: &[
                "untouched for 30 days: {untouched_30}, for 90 days: {untouched_90}",
                "never touched: {never}",
            ],
            columns: &[
                column("Contacts", "Touched", "touched"),
                column("Contacts", "So far", "contacts"),
                column("Untouched", "30 days", "untouched_30"),
                column("Untouched", "90 days", "untouched_90"),
                column("Untouched", "Ever", "never"),
            ],
        };
        DISPLAY
    }

    fn entities(&self) -> &'static [Entity] {
        &[Entity::CONTACT]
    }

    fn rollups(&self) -> Vec<Rollup> {
        vec![
            Rollup {
                name: "touches.latest".into(),
                cut_by: CutBy::only(&[Dimension::OWNER]).of_today(),
                grains: HOURS_AND_DAYS,
                counts: &["touched"],
                sums: &[],
            },
            Rollup {
                name: "touches.contacts".into(),
                cut_by: CutBy::only(&[Dimension::OWNER]).of_today(),
                grains: DAYS,
                counts: &["contacts", "never"],
                sums: &[],
            },
        ]
    }

    fn contribute(&self, subject: &Subject<'_>, out: &mut Contributions) {
        let contact = subject.reading.contact();
        let Some(contact) = contact.filter(|contact| contact.live) else {
            return;
        };
        let dims = of_owner(contact.owner);
        let latest = subject.greatest(TOUCHED).map(When::Instant);
        if let Some(latest) = latest {
            out.add(LATEST, latest, &dims).count(0);
        }
        let since = known_since(contact.created_at, latest, subject.calendar());
        out.add(KNOWN, since, &dims)
            .count(CONTACTS)
            .count_if(latest.is_none(), NEVER);
    }

    fn contribute_link(&self, subject: &Subject<'_>, sent: &Sent<'_>, out: &mut Contributions) {
        if let Some(touch) = sent.read::<Touch>()
            && let Some(at) = touch.at
            && subject.counts(touch.excluded)
        {
            out.mark(TOUCHED, subject.calendar().instant(at));
        }
    }

    fn spans(&self) -> &'static [(usize, Span)] {
        &[
            (LATEST, Span::Window),
            (LATEST, Span::BeforeLastDays(30)),
            (LATEST, Span::BeforeLastDays(90)),
            (KNOWN, Span::UpToEnd),
        ]
    }

    fn read(&self, cells: &CellView<'_>) -> Figures {
        let touched = |span| cells.cell(LATEST, span).counted(0);
        let known = cells.cell(KNOWN, Span::UpToEnd);
        let never = known.counted(NEVER);
        let untouched = |days| Figure::Count(never + touched(Span::BeforeLastDays(days)));
        vec![
            ("touched", Figure::Count(touched(Span::Window))),
            ("contacts", Figure::Count(known.counted(CONTACTS))),
            ("never", Figure::Count(never)),
            ("untouched_30", untouched(30)),
            ("untouched_90", untouched(90)),
        ]
    }

    fn gauges(&self) -> &'static [&'static str] {
        &["contacts", "touched", "untouched_30", "untouched_90"]
    }

    fn views(&self) -> Vec<View> {
        vec![View::new(
            "touches_daily",
            "SELECT day, dimension, value,
                sumIf(counts[1], series = 'touches.latest') AS touched,
                sumIf(counts[1], series = 'touches.contacts') AS contacts,
                sumIf(counts[2], series = 'touches.contacts') AS never
            FROM cells_by_day WHERE startsWith(series, 'touches.') GROUP BY day, dimension, value",
        )]
    }
}

/// Since when a contact is known: not later than its latest touch, so that whoever is untouched is
/// one of the contacts. Times that have no panes say nothing.
fn known_since(created_at: When, latest: Option<When>, calendar: &Calendar) -> When {
    let both = latest.into_iter().chain([created_at]);
    let dated = both.filter(|when| calendar.keeps(calendar.day(*when)));
    dated
        .min_by_key(|when| calendar.day(*when))
        .unwrap_or(created_at)
}
