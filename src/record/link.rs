//! Links: what one record tells another's home. A link is the whole of what its sender has to say to its target.

use super::{Held, Status, Symbol, Symbols};
use crate::codec::{Damaged, Reader, Writer};
use crate::event::{Value, When};
use crate::window::{DIMENSIONS, Dims};

/// What a deal tells the account it was made with and the lead it is credited to.
#[derive(Debug, Clone, PartialEq)]
pub struct DealLink {
    /// Where the deal stands. Of an open deal nothing else is told, so that its changes stay at home.
    pub status: Status,
    /// When it closed.
    pub closed_at: Option<When>,
    /// Its amount, in ten-thousandths.
    pub amount: Option<i64>,
    /// The part of the amount that is an upsell, in ten-thousandths.
    pub upsell_amount: Option<i64>,
    /// The currency of both.
    pub currency: Symbol,
    /// Its dimensions, with owner and team as credited and its own type, not a derived one.
    pub dims: Dims,
    /// The metrics it is left out of, a bit each.
    pub excluded: u32,
}

/// What a lead tells a deal that came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct LeadLink {
    /// The lead names the deal as what it became; else it only answers a deal that names it.
    pub named: bool,
    /// When it was converted, in µs since the epoch; what puts several leads of a deal in order.
    pub converted_at: i64,
    /// Its source.
    pub source: Symbol,
}

/// What a merged account tells the account it was merged into.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountLink {
    /// Since when it was a customer.
    pub became_customer_at: Option<When>,
    /// Since when it is not.
    pub churned_at: Option<When>,
}

/// What is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Link {
    /// Boxed: by far the largest.
    Deal(Box<DealLink>),
    /// By a lead.
    Lead(LeadLink),
    /// By a merged account.
    Account(AccountLink),
}

/// The kinds of link, as they are numbered in logs and facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum LinkKind {
    /// [`DealLink`].
    Deal = 1,
    /// [`LeadLink`].
    Lead = 2,
    /// [`AccountLink`].
    Account = 3,
}

/// Writes a link, or its withdrawal.
pub fn write(link: Option<&Link>, symbols: &Symbols, writer: &mut Writer) {
    match link {
        None => writer.byte(0),
        Some(Link::Deal(deal)) => {
            writer.byte(LinkKind::Deal as u8);
            writer.byte(deal.status as u8);
            writer.when(deal.closed_at);
            for amount in [deal.amount, deal.upsell_amount] {
                let held = amount.map_or(Held::Null, |a| Held::Decimal(crate::event::Decimal(a)));
                writer.value(&held.show(symbols));
            }
            writer.text(symbols.text(deal.currency));
            let set = deal.dims.iter().enumerate().filter(|(_, s)| !s.is_blank());
            writer.number(set.clone().count() as u64);
            for (slot, symbol) in set {
                writer.byte(slot as u8);
                writer.text(symbols.text(*symbol));
            }
            writer.number(u64::from(deal.excluded));
        }
        Some(Link::Lead(lead)) => {
            writer.byte(LinkKind::Lead as u8);
            writer.byte(u8::from(lead.named));
            writer.signed(lead.converted_at);
            writer.text(symbols.text(lead.source));
        }
        Some(Link::Account(account)) => {
            writer.byte(LinkKind::Account as u8);
            writer.when(account.became_customer_at);
            writer.when(account.churned_at);
        }
    }
}

/// Reads what [`write`] wrote.
pub fn read(reader: &mut Reader<'_>, symbols: &mut Symbols) -> Result<Option<Link>, Damaged> {
    let damaged = |what| Damaged { at: 0, what };
    Ok(match reader.byte()? {
        0 => None,
        1 => {
            let status = match reader.byte()? {
                0 => Status::Open,
                1 => Status::Won,
                2 => Status::Lost,
                _ => return Err(damaged("a status")),
            };
            let closed_at = reader.when()?;
            let mut decimal = || match reader.value()? {
                Value::Null => Ok(None),
                Value::Decimal(decimal) => Ok(Some(decimal.0)),
                _ => Err(damaged("a decimal")),
            };
            let (amount, upsell_amount) = (decimal()?, decimal()?);
            let currency = symbols.intern(reader.text()?);
            let mut dims = [Symbol::BLANK; DIMENSIONS];
            for _ in 0..reader.count()? {
                let slot = usize::from(reader.byte()?);
                let symbol = symbols.intern(reader.text()?);
                *dims.get_mut(slot).ok_or(damaged("a dimension"))? = symbol;
            }
            Some(Link::Deal(Box::new(DealLink {
                status,
                closed_at,
                amount,
                upsell_amount,
                currency,
                dims,
                excluded: reader.narrow()?,
            })))
        }
        2 => Some(Link::Lead(LeadLink {
            named: reader.byte()? == 1,
            converted_at: reader.signed()?,
            source: symbols.intern(reader.text()?),
        })),
        3 => Some(Link::Account(AccountLink {
            became_customer_at: reader.when()?,
            churned_at: reader.when()?,
        })),
        _ => return Err(damaged("a kind of link")),
    })
}
