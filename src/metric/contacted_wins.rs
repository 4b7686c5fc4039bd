//! Contacted wins: of the deals that were won, those with an account at which a contact is known.

use super::contribution::HOURS_AND_DAYS;
use super::display::column;
use super::figure::share;
use super::{
    CellView, Contributions, CutBy, Display, Figure, Figures, Metric, Rollup, Sent, Subject, View,
};
use crate::event::Entity;
use crate::record::Status;
use crate::record::contact::ContactAt;
use crate::record::deal::DealOutcome;
use crate::window::rolling::Span;

/// The metric.
pub struct ContactedWins;

const WON: usize = 0;
const WITH_CONTACT: usize = 1;

/// The basis of an account that has a contact.
const CONTACTED: i64 = 1;

/// The mark of a contact.
const HAS_CONTACT: u16 = 0;

impl Metric for ContactedWins {
    fn name(&self) -> &'static str {
        "contacted_wins"
    }

    fn version(&self) -> u32 {
        2
    }

    fn definition(&self) -> &'static str {
        "Won deals whose account has a contact ÷ won deals, by the time they closed. A contact of today counts, whenever it was created; when \
         the last one is deleted or moves to another account, its wins have none any more. A won deal without an account is in the \
         denominator only."
    }

    fn display(&self) -> Display {
        const DISPLAY: Display = Display {
            title: "Wins with a contact",
            headline: "rate",
            unit: "",
            made_of: "{with_contact} of {won} won",
            remarks: &[],
            columns: &[
                column("Deals won", "Won", "won"),
                column("Deals won", "With a contact", "with_contact"),
                column("Deals won", "Share", "rate"),
            ],
        };
        DISPLAY
    }

    fn entities(&self) -> &'static [Entity] {
        &[Entity::DEAL, Entity::ACCOUNT]
    }

    fn rollups(&self) -> Vec<Rollup> {
        vec![Rollup {
            name: "contacted_wins.won".into(),
            cut_by: CutBy::DEAL,
            grains: HOURS_AND_DAYS,
            counts: &["won", "with_contact"],
            sums: &[],
        }]
    }

    fn contribute(&self, subject: &Subject<'_>, out: &mut Contributions) {
        // Only deals without account: the others count at their account's home, where its contacts
        // are known.
        if let Some(deal) = subject.deal()
            && let (None, Status::Won, Some(closed_at)) =
                (deal.account, deal.status, deal.closed_at)
        {
            out.add(0, closed_at, &deal.dims).count(WON);
        }
    }

    fn contribute_link(&self, subject: &Subject<'_>, sent: &Sent<'_>, out: &mut Contributions) {
        if subject.account().is_none() {
            return;
        }
        if let Some(contact) = sent.read::<ContactAt>() {
            if subject.counts(contact.excluded) {
                out.mark(HAS_CONTACT, 0);
            }
        } else if let Some(deal) = sent.read::<DealOutcome>()
            && let (Status::Won, Some(closed_at)) = (deal.status, deal.closed_at)
            && subject.counts(deal.excluded)
        {
            out.add(0, closed_at, &deal.dims)
                .count(WON)
                .count_if(sent.basis == CONTACTED, WITH_CONTACT);
        }
    }

    /// Whether the account has a contact: all its wins have one, or none.
    fn basis(&self, subject: &Subject<'_>) -> i64 {
        i64::from(subject.is_marked(HAS_CONTACT))
    }

    fn spans(&self) -> &'static [(usize, Span)] {
        &[(0, Span::Window)]
    }

    fn read(&self, cells: &CellView<'_>) -> Figures {
        let wins = cells.cell(0, Span::Window);
        let (won, with_contact) = (wins.counted(WON), wins.counted(WITH_CONTACT));
        vec![
            ("won", Figure::Count(won)),
            ("with_contact", Figure::Count(with_contact)),
            ("rate", share(with_contact, won)),
        ]
    }

    fn gauges(&self) -> &'static [&'static str] {
        &["won", "rate"]
    }

    fn views(&self) -> Vec<View> {
        vec![View::new(
            "contacted_wins_daily",
            "SELECT day, dimension, value, counts[1] AS won, counts[2] AS with_contact FROM cells_by_day
            WHERE series = 'contacted_wins.won'",
        )]
    }
}
