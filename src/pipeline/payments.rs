//! The payments of an epoch, as they say it to the accounts that made them: an account that was
//! merged is its survivor, and deleted payments say nothing.

use super::{Epoch, OutsideError, Store, StoredLink};
use crate::codec::Reader;
use crate::lifetime::Payment;
use crate::record::payment::Paid;
use crate::record::{Entity, Symbols, read_link};
use crate::window::Calendar;

/// The currency of payments that have none.
const NO_CURRENCY: &str = "XXX";

/// Reads them, in no order, each on its local day. Those without an amount are left out.
///
/// # Errors
/// If the store can't be read, or a link can't be.
pub async fn payments(
    epoch: &Epoch,
    calendar: &Calendar,
    store: &impl Store,
) -> Result<Vec<Payment>, OutsideError> {
    let mut payments = Vec::new();
    let mut symbols = Symbols::default();
    let mut damaged = None;
    for shard in 0..epoch.partitions {
        let mut take = |link: StoredLink<'_>| {
            if (link.target.0, link.sender.0) != (Entity::ACCOUNT, Entity::PAYMENT) {
                return;
            }
            match read_link(&mut Reader::new(&link.content), &mut symbols) {
                Ok(said) => {
                    let paid = said.and_then(|said| said.read::<Paid>());
                    payments.extend(paid.and_then(|paid| {
                        payment(link.target.1.into_owned(), paid, calendar, &symbols)
                    }));
                }
                Err(error) => {
                    let doing = format!("reading payment `{}`", link.sender.1);
                    damaged.get_or_insert_with(|| OutsideError::fatal(doing, error));
                }
            }
        };
        store.each_link(epoch.epoch, shard, &mut take).await?;
    }
    damaged.map_or(Ok(payments), Err)
}

fn payment(account: String, paid: Paid, calendar: &Calendar, symbols: &Symbols) -> Option<Payment> {
    let currency = match symbols.text(paid.currency) {
        "" => NO_CURRENCY,
        currency => currency,
    };
    Some(Payment {
        account,
        currency: currency.to_owned(),
        day: calendar.day(paid.at?),
        amount: paid.amount?,
        earned: paid.earned?,
    })
}
