//! Payments as the models see them: how often and for how much each customer has bought so far.

use super::{Spend, Summary};

/// Money in here is in ten-thousandths, as everywhere.
const ONE: f64 = 10_000.0;

/// Money that came in or was given back. A day is a local one, in days since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Who paid.
    pub account: String,
    /// In which currency.
    pub currency: String,
    /// When.
    pub day: i32,
    /// How much, in ten-thousandths; below zero if it was given back.
    pub amount: i64,
    /// What is left of it after its cost, likewise.
    pub earned: i64,
}

/// A customer: an account that bought at least once in a currency.
#[derive(Debug, Clone, PartialEq)]
pub struct Customer {
    /// The account.
    pub account: String,
    /// How often it bought, in weeks of whole days.
    pub summary: Summary,
    /// What its purchases after the first were worth.
    pub spend: Spend,
    /// The day of the first purchase.
    pub first: i32,
    /// What all of them were worth, in ten-thousandths, less what was given back.
    pub value: i128,
}

/// A day of purchase and what is left of its value.
type Purchase = (i32, i128);

/// The purchases of one account in one currency, by day. All of a day are one purchase, as the
/// models know no two at one moment. What was given back reduces the latest purchase before, the
/// first one if there is none.
fn purchases(payments: &[Payment]) -> Vec<Purchase> {
    let mut purchases: Vec<Purchase> = Vec::new();
    let mut given_back_before = 0;
    for payment in payments {
        let earned = i128::from(payment.earned);
        match purchases.last_mut() {
            Some((day, value)) if *day == payment.day || payment.amount < 0 => *value += earned,
            None if payment.amount < 0 => given_back_before += earned,
            _ => purchases.push((payment.day, earned)),
        }
    }
    if let Some((_, value)) = purchases.first_mut() {
        *value += given_back_before;
    }
    purchases
}

/// Sorts payments for [`customer`]: by currency and account, then by day, purchases before what was
/// given back.
pub(super) fn sort(payments: &mut [Payment]) {
    payments.sort_by(|a, b| {
        let order = |p: &Payment| (p.day, p.amount < 0);
        (a.currency.cmp(&b.currency))
            .then_with(|| a.account.cmp(&b.account))
            .then_with(|| order(a).cmp(&order(b)))
    });
}

/// The customer that made these payments, sorted, up to the day `end`; None if it never bought.
/// Also hands each purchase to `each`.
pub(super) fn customer(
    payments: &[Payment],
    end: i32,
    each: &mut impl FnMut(Purchase),
) -> Option<Customer> {
    let purchases = purchases(payments);
    let (first, _) = *purchases.first()?;
    let (last, _) = *purchases.last()?;
    let account = payments.first()?.account.clone();
    let weeks_to = |day: i32| (f64::from(day) - f64::from(first)) / 7.0;
    let frequency = purchases.len() as u32 - 1;
    let repeated: i128 = purchases[1..].iter().map(|(_, value)| value).sum();
    let mean = if frequency > 0 {
        repeated as f64 / ONE / f64::from(frequency)
    } else {
        0.0
    };
    let value = purchases.iter().map(|(_, value)| value).sum();
    purchases.into_iter().for_each(each);
    Some(Customer {
        account,
        summary: Summary {
            frequency,
            recency: weeks_to(last),
            age: weeks_to(end),
        },
        spend: Spend {
            purchases: frequency,
            mean,
        },
        first,
        value,
    })
}
