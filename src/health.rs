//! The health of an instance: which of its parts have a problem, and which.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What is wrong with the instance, by who says so. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<BTreeMap<String, String>>>);

impl Health {
    /// States the problem of one part of the instance, or that it has none.
    pub fn set(&self, name: &str, problem: Option<String>) {
        let mut problems = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match problem {
            Some(problem) => drop(problems.insert(name.to_owned(), problem)),
            None => drop(problems.remove(name)),
        }
    }

    /// The problems there are, in order of name.
    pub fn problems(&self) -> Vec<(String, String)> {
        let problems = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        problems
            .iter()
            .map(|(name, problem)| (name.clone(), problem.clone()))
            .collect()
    }
}
