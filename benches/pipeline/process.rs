//! Measures of a process from the operating system: CPU seconds, by group of threads too.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Ticks a second in /proc. Linux shows 100 to every program on x86-64 and Arm, whatever the
/// kernel's own clock is.
const TICKS: f64 = 100.0;

/// The groups of threads of `dealpulse run`.
pub const GROUPS: [&str; 5] = ["shards", "route", "tokio", "librdkafka", "other"];

/// CPU seconds of a process since its start, with those of threads that have ended.
pub fn cpu(pid: u32) -> f64 {
    seconds(Path::new(&format!("/proc/{pid}/stat"))).expect("the process lives")
}

/// CPU seconds of the threads of a process that live, by group.
pub fn cpu_by_group(pid: u32) -> BTreeMap<&'static str, f64> {
    let mut groups = BTreeMap::new();
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives");
    for task in tasks.flatten() {
        // A thread may end while we look.
        let (Some(seconds), Ok(name)) = (
            seconds(&task.path().join("stat")),
            fs::read_to_string(task.path().join("comm")),
        ) else {
            continue;
        };
        *groups.entry(group(name.trim())).or_default() += seconds;
    }
    groups
}

fn group(thread: &str) -> &'static str {
    match thread {
        name if name.starts_with("shard ") => "shards",
        name if name.starts_with("route") => "route",
        name if name.starts_with("tokio") => "tokio",
        // The thread "producer" hears what became of messages.
        name if name.starts_with("rdk:") || name == "producer" => "librdkafka",
        _ => "other",
    }
}

/// User and system time of a `stat` file. The name in it may hold blanks, so it is read from its
/// end on.
fn seconds(stat: &Path) -> Option<f64> {
    let text = fs::read_to_string(stat).ok()?;
    let (_, after_name) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = after_name.split(' ').collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS)
}
