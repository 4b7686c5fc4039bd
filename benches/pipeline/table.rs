//! The table: a line a figure, with its goal and whether it is met.

use std::process::ExitCode;

/// What a figure is compared with.
#[derive(Clone, Copy)]
pub enum Goal {
    /// Nothing: it explains another figure.
    None,
    /// At most so much, on a machine with two cores like those of the usual CI services. Missing it
    /// is shown.
    AtMost(f64),
    /// A ratio of at most so much, which holds on any machine. Missing it fails the benchmark.
    Must(f64),
}

/// Prints lines as they are measured, and remembers what was missed.
pub struct Table {
    missed_musts: Vec<String>,
}

impl Table {
    /// Prints the head.
    pub fn start() -> Self {
        print("what", "figure", "goal", "verdict");
        print("----", "------", "----", "-------");
        Table {
            missed_musts: Vec::new(),
        }
    }

    /// A part of the table begins.
    pub fn part(&self, name: &str) {
        println!("\n{name}");
    }

    /// A measured figure.
    pub fn add(&mut self, what: &str, value: f64, unit: &str, goal: Goal) {
        let shown = |value: f64| format!("{} {unit}", digits(value)).trim_end().to_owned();
        let (goal, is_met, is_must) = match goal {
            Goal::None => (String::new(), None, false),
            Goal::AtMost(most) => (format!("<= {}", shown(most)), Some(value <= most), false),
            Goal::Must(most) => (format!("<= {}", shown(most)), Some(value <= most), true),
        };
        let verdict = match (is_met, is_must) {
            (None, _) => "",
            (Some(true), false) => "met",
            (Some(true), true) => "met, must",
            (Some(false), false) => "missed",
            (Some(false), true) => "MISSED, must",
        };
        if is_met == Some(false) && is_must {
            self.missed_musts.push(what.to_owned());
        }
        print(what, &shown(value), &goal, verdict);
    }

    /// A figure that took too long to measure, which misses every goal.
    pub fn too_slow(&mut self, what: &str, unit: &str, goal: Goal) {
        let (goal, verdict) = match goal {
            Goal::None => (String::new(), ""),
            Goal::AtMost(most) => (
                format!("<= {} {unit}", digits(most)).trim_end().to_owned(),
                "missed",
            ),
            Goal::Must(most) => {
                self.missed_musts.push(what.to_owned());
                (
                    format!("<= {} {unit}", digits(most)).trim_end().to_owned(),
                    "MISSED, must",
                )
            }
        };
        print(what, "too slow", &goal, verdict);
    }

    /// Prints which musts were missed; the exit code is 1 if any was.
    pub fn finish(self) -> ExitCode {
        if self.missed_musts.is_empty() {
            return ExitCode::SUCCESS;
        }
        println!("\nmissed, and has to hold on any machine:");
        for what in &self.missed_musts {
            println!("  {what}");
        }
        ExitCode::FAILURE
    }
}

fn print(what: &str, figure: &str, goal: &str, verdict: &str) {
    println!("{what:<64} {figure:>16}   {goal:<16} {verdict}");
}

/// Three digits that mean something, or all digits before the point.
fn digits(value: f64) -> String {
    let places = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 0.1 || v == 0.0 => 2,
        _ => 4,
    };
    format!("{value:.places$}")
}

/// The median of some runs.
pub fn median(mut runs: Vec<f64>) -> f64 {
    runs.sort_by(f64::total_cmp);
    runs[runs.len() / 2]
}
