//! The health of an instance: which of its parts have a problem, and which have something to report
//! that is none.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the parts of an instance report. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<Reports>>);

/// By name of the part.
#[derive(Debug, Default)]
struct Reports {
    problems: BTreeMap<String, String>,
    notices: BTreeMap<String, String>,
}

impl Health {
    /// States the problem of one part of the instance, or that it has none. An instance with a
    /// problem is not ready.
    pub fn set(&self, name: &str, problem: Option<String>) {
        put(&mut self.lock().problems, name, problem);
    }

    /// Sets what an operator should know of one part of the instance, or that there is nothing. An
    /// instance with a notice is ready.
    pub fn notice(&self, name: &str, notice: Option<String>) {
        put(&mut self.lock().notices, name, notice);
    }

    /// The problems there are, in order of name.
    pub fn problems(&self) -> Vec<(String, String)> {
        self.lock().problems.clone().into_iter().collect()
    }

    /// The notices there are, in order of name.
    pub fn notices(&self) -> Vec<(String, String)> {
        self.lock().notices.clone().into_iter().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Reports> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put(reports: &mut BTreeMap<String, String>, name: &str, report: Option<String>) {
    match report {
        Some(report) => drop(reports.insert(name.to_owned(), report)),
        None => drop(reports.remove(name)),
    }
}
