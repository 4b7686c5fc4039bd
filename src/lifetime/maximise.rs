//! The search for the parameters of greatest likelihood, the same for both models.

use argmin::core::{CostFunction, Executor, State};
use argmin::solver::neldermead::NelderMead;

use super::LifetimeError;

/// How far the logarithm of a parameter may go from 0 (a factor of 160,000), in units that make 1
/// the natural size of each.
const REACH: f64 = 12.0;
/// A parameter this near to the end of its reach has run away.
const EDGE: f64 = 0.5;
/// The search restarts from where it ended, as a simplex may collapse before the top; this often at
/// most.
const RESTARTS: usize = 12;
const ITERATIONS: u64 = 4_000;
/// The side of a new simplex, as a logarithm.
const SIDE: f64 = 0.4;
/// A simplex whose likelihoods (a customer) differ by less is at its end.
const SPREAD: f64 = 1e-13;
/// A restart that gains less than this (a customer) was the last one.
const GAIN: f64 = 1e-11;
/// The greatest slope (a customer, by the logarithm of a parameter) that counts as level.
const LEVEL: f64 = 1e-5;

/// What is maximised.
pub(super) struct Problem<'a, const N: usize, F> {
    /// What the model is called in errors.
    pub model: &'static str,
    /// Its parameters, likewise.
    pub names: [&'static str; N],
    /// The mean log-likelihood a customer, by the logarithms of the parameters; NaN where it can't
    /// be computed.
    pub likelihood: &'a F,
}

impl<const N: usize, F: Fn(&[f64; N]) -> f64> Problem<'_, N, F> {
    /// The parameters (not their logarithms) where the likelihood is greatest, and its value there.
    ///
    /// Nelder and Mead (1965), "A simplex method for function minimization", as `argmin` has it:
    /// the derivatives of the likelihood would need digamma functions, and four parameters don't
    /// repay them.
    ///
    /// # Errors
    /// [`LifetimeError::NotConverged`] and [`LifetimeError::RanAway`].
    pub fn maximise(&self) -> Result<([f64; N], f64), LifetimeError> {
        let failed = LifetimeError::NotConverged { model: self.model };
        let mut best = [0.0; N];
        let mut cost = self.cost_at(&best);
        let mut settled = false;
        for _ in 0..RESTARTS {
            let (found, found_cost) = self.descend(&best).ok_or(failed)?;
            let gain = cost - found_cost;
            if found_cost <= cost {
                (best, cost) = (found, found_cost);
            }
            // From infinity to infinity nothing is gained.
            settled = gain.is_nan() || gain <= GAIN;
            if settled {
                break;
            }
        }
        if let Some(at) = best.iter().position(|log| log.abs() > REACH - EDGE) {
            let parameter = self.names[at];
            let model = self.model;
            return Err(LifetimeError::RanAway { model, parameter });
        }
        if !settled || !cost.is_finite() || !self.is_level(&best) {
            return Err(failed);
        }
        Ok((best.map(f64::exp), -cost))
    }

    /// One descent of a fresh simplex.
    fn descend(&self, start: &[f64; N]) -> Option<([f64; N], f64)> {
        // Away from the end that is nearer, so that every corner is within reach.
        let corners = (0..N).map(|at| {
            let mut corner = start.to_vec();
            corner[at] += if start[at] > 0.0 { -SIDE } else { SIDE };
            corner
        });
        let simplex = std::iter::once(start.to_vec()).chain(corners).collect();
        let solver = NelderMead::new(simplex).with_sd_tolerance(SPREAD).ok()?;
        let result = Executor::new(Descent(self), solver)
            .configure(|state| state.max_iters(ITERATIONS))
            .run()
            .ok()?;
        let state = result.state();
        let found = state.get_best_param()?.as_slice().try_into().ok()?;
        Some((found, state.get_best_cost()))
    }

    /// By central differences, whose error is the square of the step.
    fn is_level(&self, at: &[f64; N]) -> bool {
        const STEP: f64 = 1e-4;
        (0..N).all(|axis| {
            let shifted = |by: f64| {
                let mut shifted = *at;
                shifted[axis] += by;
                self.cost_at(&shifted)
            };
            ((shifted(STEP) - shifted(-STEP)) / (2.0 * STEP)).abs() < LEVEL
        })
    }

    /// What is minimised: infinite where there is no likelihood or where it is out of reach.
    fn cost_at(&self, logs: &[f64; N]) -> f64 {
        if !logs.iter().all(|log| log.abs() <= REACH) {
            return f64::INFINITY;
        }
        let likelihood = (self.likelihood)(logs);
        if likelihood.is_finite() {
            -likelihood
        } else {
            f64::INFINITY
        }
    }
}

/// The problem as `argmin` wants it.
struct Descent<'p, 'a, const N: usize, F>(&'p Problem<'a, N, F>);

impl<const N: usize, F: Fn(&[f64; N]) -> f64> CostFunction for Descent<'_, '_, N, F> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, logs: &Self::Param) -> Result<f64, argmin::core::Error> {
        let logs: &[f64; N] = logs.as_slice().try_into()?;
        Ok(self.0.cost_at(logs))
    }
}
