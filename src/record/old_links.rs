//! Links as the first version wrote them, a form for each kind: still in the logs and facts of
//! databases that were upgraded.

use super::Status;
use super::account::Membership;
use super::deal::DealOutcome;
use super::lead::LeadOrigin;
use super::link::{Link, value_as_number};
use crate::codec::{Damaged, Reader};
use crate::symbol::Symbols;

/// Reads a link of the old form, whose kind was read already.
pub(super) fn read(kind: u8, r: &mut Reader<'_>, symbols: &mut Symbols) -> Result<Link, Damaged> {
    Ok(match kind {
        1 => {
            let mut deal = DealOutcome {
                status: Status::of_number(r.byte()?).ok_or(r.damaged("a status"))?,
                closed_at: r.when()?,
                ..DealOutcome::default()
            };
            deal.amount = value_as_number(&r.value()?).map_err(|what| r.damaged(what))?;
            deal.upsell_amount = value_as_number(&r.value()?).map_err(|what| r.damaged(what))?;
            deal.currency = symbols.intern(r.text()?);
            for _ in 0..r.count()? {
                let slot = usize::from(r.byte()?);
                let symbol = symbols.intern(r.text()?);
                *deal.dims.get_mut(slot).ok_or(r.damaged("a dimension"))? = symbol;
            }
            deal.excluded = r.narrow()?;
            Link::of(&deal)
        }
        2 => Link::of(&LeadOrigin {
            is_named: r.byte()? == 1,
            converted_at: r.signed()?,
            source: symbols.intern(r.text()?),
        }),
        3 => Link::of(&Membership {
            became_customer_at: r.when()?,
            churned_at: r.when()?,
        }),
        _ => return Err(r.damaged("a kind of link")),
    })
}
