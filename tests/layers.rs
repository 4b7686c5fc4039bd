//! The layers of the source: each module imports only those before it, and no two files import each
//! other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules from the bottom up; those of one line know nothing of each other.
const LAYERS: &[&[&str]] = &[
    &["codec", "symbol", "lifetime", "input"],
    &["window"],
    &["event"],
    &["record"],
    &["definitions"],
    &["metric"],
    &["alert"],
    &["shard"],
    &["config", "health", "telemetry"],
    &["pipeline"],
    &["clickhouse", "local"],
    &["compatibility"],
    &["kafka"],
    &["serve"],
    &["cli"],
];

/// What the pure core may not know: the outside world, a runtime, a clock.
const OUTSIDE: &[&str] = &[
    "tokio",
    "rdkafka",
    "clickhouse",
    "axum",
    "std::fs",
    "std::net",
    "std::process",
    "std::time",
    "std::io",
    "std::thread",
    "tracing",
    "Utc::now",
    "SystemTime",
    "Instant::now",
];
const CORE: &[&str] = &[
    "codec",
    "symbol",
    "lifetime",
    "window",
    "event",
    "record",
    "definitions",
    "metric",
    "alert",
    "shard",
];

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

/// The code of a file without its comments and its tests, which may use anything.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Every file of the source but tests, by its module path: `kafka::log`.
fn modules() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    let mut modules = BTreeMap::new();
    for path in paths {
        let relative = path.strip_prefix(&root).unwrap().with_extension("");
        let mut parts: Vec<&str> = relative.iter().map(|part| part.to_str().unwrap()).collect();
        if parts.last() == Some(&"mod") {
            parts.pop();
        }
        let is_test = ["tests", "differential", "oracle"].contains(parts.last().unwrap_or(&""));
        if !is_test && parts != ["main"] && parts != ["lib"] {
            modules.insert(parts.join("::"), code(&path));
        }
    }
    modules
}

/// The crate's own paths that a file names, in `use` and in place, with `self` and `super`
/// resolved.
fn named(module: &str, code: &str) -> BTreeSet<String> {
    let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
    let mut found = BTreeSet::new();
    for (prefix, base) in [("crate::", ""), ("super::", parent)] {
        for (at, _) in code.match_indices(prefix) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let rest = &code[at + prefix.len()..];
            for path in paths(rest) {
                let whole = if base.is_empty() {
                    path
                } else {
                    format!("{base}::{path}")
                };
                found.insert(whole);
            }
        }
    }
    found
}

/// The paths that begin here: one, or those of a list in braces.
fn paths(rest: &str) -> Vec<String> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let head: String = rest.chars().take_while(|c| is_name(*c)).collect();
    let tail = &rest[head.len()..];
    let Some(list) = tail.strip_prefix('{') else {
        return vec![head.trim_end_matches(':').to_owned()];
    };
    let (mut depth, mut items, mut item) = (0, Vec::new(), String::new());
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => items.push(std::mem::take(&mut item)),
            c if depth == 0 && !c.is_whitespace() => item.push(c),
            _ => {}
        }
    }
    items.push(item);
    let items = items.into_iter().filter(|item| !item.is_empty());
    items
        .map(|item| format!("{head}{}", item.split("as").next().unwrap_or_default()))
        .collect()
}

fn layer(module: &str) -> usize {
    let top = module.split("::").next().unwrap();
    let found = LAYERS.iter().position(|layer| layer.contains(&top));
    found.unwrap_or_else(|| panic!("tests/layers.rs does not say which layer `{top}` is in"))
}

#[test]
fn every_module_imports_only_layers_before_it() {
    let modules = modules();
    let tops: BTreeSet<&str> = modules
        .keys()
        .map(|m| m.split("::").next().unwrap())
        .collect();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (module, code) in &modules {
        let own = module.split("::").next().unwrap();
        for path in named(module, code) {
            let top = path.split("::").next().unwrap();
            if top == own || !tops.contains(top) {
                continue;
            }
            seen += 1;
            if layer(top) >= layer(own) {
                wrong.push(format!("{module} imports {path}"));
            }
        }
    }
    assert!(
        seen > 200,
        "only {seen} imports were found: the test does not see them"
    );
    assert!(
        wrong.is_empty(),
        "imports that go back up:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let modules = modules();
    // The file a path leads to: the longest module that it begins with. A parent's re-exports are
    // no import of the parent.
    let target = |path: &str| {
        let mut path = path;
        loop {
            if modules.contains_key(path) {
                return Some(path.to_owned());
            }
            path = path.rsplit_once("::")?.0;
        }
    };
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, code) in &modules {
        let of = named(module, code);
        let files = of.iter().filter_map(|path| target(path));
        let others = files.filter(|file| {
            let is_parent = module.starts_with(&format!("{file}::"));
            let is_child = file.starts_with(&format!("{module}::"));
            file != module && !is_parent && !is_child
        });
        imports.insert(module.clone(), others.collect());
    }
    let mut circles = Vec::new();
    // The generator's records act on each other: a world, whose parts can't be put in an order.
    for start in imports
        .keys()
        .filter(|file| !file.starts_with("local::generate"))
    {
        // What can be reached from here leads back only in a circle.
        let mut reached: BTreeSet<&String> = BTreeSet::new();
        let mut next: Vec<&String> = imports[start].iter().collect();
        while let Some(file) = next.pop() {
            if reached.insert(file) {
                next.extend(&imports[file]);
            }
        }
        if reached.contains(start) {
            circles.push(start.clone());
        }
    }
    assert!(
        circles.is_empty(),
        "files in a circle of imports: {}",
        circles.join(", ")
    );
}

#[test]
fn the_core_knows_no_outside_world() {
    let mut wrong = Vec::new();
    for (module, code) in modules() {
        if CORE.contains(&module.split("::").next().unwrap()) {
            let named = OUTSIDE.iter().filter(|word| {
                code.contains(&format!("use {word}")) || code.contains(&format!("{word}::"))
            });
            wrong.extend(named.map(|word| format!("{module} names {word}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_differs_by_entity_is_in_the_entitys_own_file() {
    for (module, code) in modules() {
        if !module.starts_with("record") {
            let matches = code
                .lines()
                .any(|line| line.trim_start().starts_with("Entity::") && line.contains("=>"));
            assert!(
                !matches,
                "{module} decides by entity; its declaration should say it"
            );
        }
    }
}
