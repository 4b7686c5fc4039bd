//! The life of a lead or a deal: planned when it begins, lived when each step's time has come.

/// Steps still to come, the latest first.
pub(super) struct Plan<S>(Vec<(i64, S)>);

impl<S> Plan<S> {
    /// Puts steps, in any order, into the order of their times; of equal times the one named first
    /// comes first.
    pub(super) fn of(mut steps: Vec<(i64, S)>) -> Self {
        steps.sort_by_key(|(at, _)| *at);
        steps.reverse();
        Self(steps)
    }

    pub(super) fn next_at(&self) -> Option<i64> {
        self.0.last().map(|(at, _)| *at)
    }

    pub(super) fn take(&mut self) -> Option<S> {
        self.0.pop().map(|(_, step)| step)
    }
}
