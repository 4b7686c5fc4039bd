//! Splits: deals that several reps work on, and what each of them is credited with.

use super::deal::{Deal, deal_key};
use super::world::World;

/// How deals are split, in ten-thousandths, with how often. The last one is a mistake: a tenth is
/// nobody's.
const WAYS: [(&[u32], u32); 5] = [
    (&[5_000, 5_000], 400),
    (&[7_000, 3_000], 250),
    (&[6_000, 4_000], 200),
    (&[3_333, 3_333, 3_333], 100),
    (&[8_000, 1_000], 50),
];

/// How they are split once that is known better.
const AGAIN: [&[u32]; 3] = [&[4_500, 5_500], &[9_000, 1_000], &[]];

fn split_key(deal: u32, number: usize) -> String {
    format!("S-{deal}-{number}")
}

impl World {
    /// Colleagues of the owner's come in, and the deal is split between all of them.
    pub(super) fn split_deal(&mut self, at: i64, deal: &mut Deal) {
        let (shares, _) = WAYS[self.random.weighted(WAYS.iter().map(|way| way.1))];
        let mut desks = vec![deal.owner];
        while desks.len() < shares.len() {
            let colleague = self.reps.colleague_of(deal.owner, &mut self.random);
            if !desks.contains(&colleague) {
                desks.push(colleague);
            }
        }
        for (number, (desk, share)) in (1..).zip(desks.into_iter().zip(shares)) {
            let event = self
                .event("split", "upserted", split_key(deal.id, number), at)
                .text("deal_id", &deal_key(deal.id))
                .text("owner_id", &self.reps.get(desk).id)
                .number("share", in_parts_of_one(*share));
            self.publish(event);
        }
        deal.splits = shares.len();
    }

    /// It turns out that the first two did all of it, or that nobody but the owner did anything.
    pub(super) fn split_again(&mut self, at: i64, deal: &mut Deal) {
        let kept = AGAIN[self.random.index(AGAIN.len())];
        for number in 1..=deal.splits {
            let key = split_key(deal.id, number);
            let event = match kept.get(number - 1) {
                Some(share) => self
                    .event("split", "upserted", key, at)
                    .number("share", in_parts_of_one(*share)),
                None => self.event("split", "deleted", key, at),
            };
            self.publish(event);
        }
        deal.splits = kept.len();
    }
}

/// A share as a decimal, without floats.
fn in_parts_of_one(ten_thousandths: u32) -> String {
    format!("0.{ten_thousandths:04}")
}
