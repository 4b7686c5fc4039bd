//! What happened in histories, so that a test can tell whether enough did.

use std::ops::AddAssign;

#[derive(Debug, Default, Clone, Copy)]
pub struct Seen {
    pub crashes: usize,
    pub zombies: usize,
    pub late: usize,
    pub failures: usize,
    pub restored_ahead: usize,
    pub rebuilds: usize,
    pub rebuilds_resumed: usize,
    pub early_links: usize,
    /// Cells that came back to what their owner had written last, after a stale owner had written
    /// something else.
    pub overtaken: usize,
    pub upgrades: usize,
    pub given_up: usize,
    /// Flushes for an epoch by the program before, after the other one has left it.
    pub counted_beside: usize,
    /// Hours that were over before they were written.
    pub set_aside: usize,
}

impl Seen {
    /// All counts.
    pub fn counts(&mut self) -> [&mut usize; 13] {
        [
            &mut self.crashes,
            &mut self.zombies,
            &mut self.late,
            &mut self.failures,
            &mut self.restored_ahead,
            &mut self.rebuilds,
            &mut self.rebuilds_resumed,
            &mut self.early_links,
            &mut self.overtaken,
            &mut self.upgrades,
            &mut self.given_up,
            &mut self.counted_beside,
            &mut self.set_aside,
        ]
    }
}

impl AddAssign for Seen {
    fn add_assign(&mut self, mut other: Seen) {
        for (sum, count) in self.counts().into_iter().zip(other.counts()) {
            *sum += *count;
        }
    }
}
