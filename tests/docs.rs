//! The documents match the code: definitions, gauges, keys, commands, targets, links.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use crate::support::figures::worked_example_definitions;
use crate::support::pure::Pure;
use dealpulse::config::Gauges;
use dealpulse::config::{Config, Environment};
use dealpulse::definitions::DefinitionsSpec;
use dealpulse::event::decode::Reason;
use dealpulse::metric::Catalogue;
use dealpulse::serve::metrics::business;
use dealpulse::serve::model::{Snapshot, Top};
use dealpulse::window::rolling::{Now, ROLLING};

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// README.md and everything in docs/.
fn documents() -> Vec<(PathBuf, String)> {
    let docs = fs::read_dir("docs")
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let pages = docs
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
        .chain([PathBuf::from("README.md")]);
    pages.map(|path| (path.clone(), read(path))).collect()
}

/// The code in a page: fenced blocks, and the text between backticks in its paragraphs.
fn code(page: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (number, part) in page.split("\n```").enumerate() {
        match number % 2 {
            0 => found.extend(part.split('`').skip(1).step_by(2)),
            _ => found.push(part.split_once('\n').map_or("", |(_, block)| block)),
        }
    }
    found
}

/// The words that follow the whole word `before` in a page's code: `make test` gives `test`.
fn words_after(page: &str, before: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for code in code(page) {
        for (at, _) in code.match_indices(&format!("{before} ")) {
            let is_a_word = code[..at]
                .chars()
                .next_back()
                .is_none_or(|c| c.is_whitespace() || c == '(' || c == '/');
            let rest = &code[at + before.len() + 1..];
            let word: String = rest
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '-')
                .collect();
            if is_a_word && !word.is_empty() && !word.starts_with('-') {
                words.insert(word);
            }
        }
    }
    words
}

/// The names in a text that begin with `prefix`.
fn names(text: &str, prefix: &str) -> BTreeSet<String> {
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = text
        .match_indices(prefix)
        .filter(|(at, _)| !text[..*at].ends_with(of_a_name));
    starts
        .map(|(at, _)| text[at..].chars().take_while(|c| of_a_name(*c)).collect())
        .collect()
}

/// A text with every run of white space as one space, and without the marks of a quotation.
fn flowing(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.trim_start_matches("> ").trim());
    lines
        .collect::<Vec<_>>()
        .join(" ")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// The rows of a page's tables, as their cells.
fn rows(page: &str) -> impl Iterator<Item = Vec<&str>> {
    page.lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
}

fn unquoted(cell: &str) -> &str {
    cell.trim_matches('`')
}

#[test]
fn every_rule_that_is_documented_as_tested_is() {
    let sources: String = ["src", "tests"]
        .iter()
        .flat_map(|directory| rust_files(Path::new(directory)))
        .map(read)
        .collect();
    let page = read("docs/reliability.md");
    let (_, rules) = page
        .split_once("### The rules")
        .expect("a part about the rules");
    let rules = rules.split_once("\n## ").map_or(rules, |(rules, _)| rules);
    let last_cells: Vec<&str> = rows(rules)
        .filter_map(|row| row.last().copied())
        .filter(|cell| cell.starts_with('`'))
        .collect();
    assert!(last_cells.len() > 40, "{} rules", last_cells.len());
    let named: BTreeSet<&str> = last_cells
        .iter()
        .flat_map(|cell| cell.split(", "))
        .map(unquoted)
        .collect();
    for test in &named {
        let is_there = [format!("fn {test}("), format!("    {test}: without ")]
            .iter()
            .any(|words| sources.contains(words));
        assert!(
            is_there,
            "docs/reliability.md names `{test}`, and there is no such test"
        );
    }
    for (at, _) in sources.match_indices("rule_") {
        let is_test = ["fn ", "    "]
            .iter()
            .any(|before| sources[..at].ends_with(before));
        let name: String = sources[at..]
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect();
        let is_name = is_test
            && (sources[at + name.len()..].starts_with('(')
                || sources[at + name.len()..].starts_with(": without "));
        assert!(
            !is_name || named.contains(name.as_str()),
            "`{name}` is not in docs/reliability.md"
        );
    }
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                rust_files(&path)
            } else {
                vec![path]
            }
        })
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .collect()
}

#[test]
fn every_metric_is_defined_in_the_words_of_its_code() {
    let page = read("docs/metrics.md");
    let text = flowing(&page);
    let catalogue = Catalogue::new(DefinitionsSpec::default()).unwrap();
    for metric in catalogue.metrics() {
        assert!(
            text.contains(&flowing(metric.definition())),
            "docs/metrics.md does not define {} as the code does",
            metric.name()
        );
        let gauges: Vec<String> = metric.gauges().iter().map(|g| format!("`{g}`")).collect();
        let row = format!("| {} | {} |\n", metric.name(), gauges.join(", "));
        assert!(
            page.contains(&row),
            "docs/metrics.md does not have the row {row}"
        );
        for rollup in metric.rollups() {
            assert!(
                page.contains(&format!("`{}`", rollup.name)),
                "docs/metrics.md does not name the series {}",
                rollup.name
            );
        }
        for view in metric.views() {
            assert!(
                page.contains(&format!("`{}`", view.name)),
                "docs/metrics.md does not name the view {}",
                view.name
            );
        }
    }
}

#[tokio::test]
async fn the_gauges_named_are_those_there_are() {
    let mut pure = Pure::new(2, worked_example_definitions()).await;
    pure.feed(
        (0..).zip(read("tests/fixtures/worked_example.ndjson").lines()),
        3,
    )
    .await;
    // What the worked example has not: deals that are overdue or not forecast, and one won a year
    // before.
    let further = [
        r#"{"specversion":"1.0","id":"e-1","source":"crm","type":"crm.deal.upserted","subject":"D-101","time":"2026-04-20T09:00:00Z","data":{"amount":"7","currency":"EUR","probability":0.5,"expected_close_date":"2026-04-01"}}"#,
        r#"{"specversion":"1.0","id":"e-2","source":"crm","type":"crm.deal.upserted","subject":"D-102","time":"2026-04-20T09:00:00Z","data":{"amount":"7","currency":"EUR","forecast_category":"omitted"}}"#,
        r#"{"specversion":"1.0","id":"e-3","source":"crm","type":"crm.deal.upserted","subject":"D-103","time":"2026-04-20T09:00:00Z","data":{"amount":"7","currency":"EUR","status":"won","closed_at":"2025-04-10"}}"#,
    ];
    pure.feed((1_000..).zip(further), 1).await;
    let as_of = pure.last_instant();
    let reading = pure.read(
        ROLLING.to_vec(),
        Now {
            now: as_of,
            watermark: as_of,
        },
    );
    let top = Top::of(&reading, &pure.definitions, 20);
    let definitions = Arc::clone(&pure.definitions);
    let snapshot = Snapshot {
        reading: Arc::new(reading),
        definitions,
        epoch: 1,
        as_of,
        watermark: Some(as_of),
        read_at: Instant::now(),
        top: Arc::new(top),
        gauges: Gauges::All,
        side: Default::default(),
    };
    let exported: BTreeSet<String> = business(&snapshot)
        .iter()
        .map(|family| family.name().to_owned())
        .collect();

    // The bounds of a share are named by a rule: which shares have them.
    let is_bound = |name: &&String| ["_low", "_high"].iter().any(|end| name.ends_with(end));
    let bounds: BTreeSet<String> = exported.iter().filter(is_bound).cloned().collect();
    let figures: BTreeSet<String> = exported.difference(&bounds).cloned().collect();
    let page = read("docs/metrics.md");
    let rule = page
        .split("\n\n")
        .find(|paragraph| paragraph.starts_with("**Confidence.**"))
        .expect("a rule about confidence");
    let shares = names(rule, "dealpulse_").into_iter();
    let named: BTreeSet<String> = shares
        .flat_map(|share| [format!("{share}_low"), format!("{share}_high")])
        .collect();
    assert_eq!(named, bounds);

    let named: BTreeSet<String> = pure
        .definitions
        .metrics()
        .flat_map(|metric| names(&page, &format!("dealpulse_{}_", metric.name())))
        .collect();
    assert_eq!(named, figures);
}

#[test]
fn every_metric_of_the_pipeline_is_explained() {
    // From the source, because a family without series is not gathered.
    let telemetry = read("src/telemetry.rs");
    let mut there: BTreeSet<String> = names(&telemetry, "dealpulse_").into_iter().collect();
    for kind in [
        "counter",
        "counters",
        "gauge",
        "gauges",
        "gauges_of_seconds",
        "histogram",
        "histograms",
    ] {
        for (at, call) in telemetry.match_indices(&format!("{kind}(")) {
            let argument = telemetry[at + call.len()..].trim_start();
            if let Some(name) = argument
                .strip_prefix('"')
                .and_then(|rest| rest.split_once('"'))
            {
                there.insert(format!("dealpulse_{}", name.0));
            }
        }
    }
    there.extend(
        [
            "watermark_age_seconds",
            "data_age_seconds",
            "values_beyond_top",
            "watermark_timestamp_seconds",
        ]
        .map(|name| format!("dealpulse_{name}")),
    );
    there.remove("dealpulse_");
    let page = read("docs/operations.md");
    let explained =
        rows(&page).filter_map(|row| Some(row.first()?.strip_prefix("`dealpulse_")?.to_owned()));
    let explained: BTreeSet<String> = explained
        .map(|name| format!("dealpulse_{}", name.split(['`', '{']).next().unwrap()))
        .collect();
    assert_eq!(explained, there);
}

#[test]
fn which_metrics_others_need_is_told() {
    let page = read("docs/configuration.md");
    let (_, section) = page.split_once("### Which metrics\n").unwrap();
    let (section, _) = section.split_once("\n### ").unwrap();
    let table = rows(section).filter(|cells| cells[0].starts_with('`'));
    let told = table.map(|cells| (unquoted(cells[0]).to_owned(), cells[1].replace('`', "")));
    let catalogue = Catalogue::new(DefinitionsSpec::default()).unwrap();
    let needs = catalogue.metrics().filter_map(|metric| {
        let sources = catalogue.sources(metric).into_iter();
        let others = sources.filter(|source| source.name() != metric.name());
        let others: Vec<&str> = others.map(|source| source.name()).collect();
        (!others.is_empty()).then(|| (metric.name().to_owned(), others.join(", ")))
    });
    assert_eq!(told.collect::<Vec<_>>(), needs.collect::<Vec<_>>());
}

#[test]
fn every_reason_of_a_dead_letter_is_explained() {
    let page = read("docs/operations.md");
    let explained: BTreeSet<&str> = rows(&page).map(|row| unquoted(row[0])).collect();
    for reason in Reason::ALL {
        assert!(
            explained.contains(reason.name()),
            "docs/operations.md does not explain {}",
            reason.name()
        );
    }
}

/// What a file of ours needs at the least.
const LEAST: &str = "version = 1\n[[topics]]\nname = \"crm.events\"\n";

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(
        text,
        Path::new("dealpulse.example.toml"),
        &Environment::new(),
    )
    .map_err(|error| error.to_string())
}

/// The keys of a table, as the parser lists them when it finds an unknown one. `stub` is the file,
/// `?` the position of the unknown key.
fn keys(stub: &str) -> Vec<String> {
    let problem = parse(&stub.replace('?', "stranger = 1")).expect_err("a stranger was taken");
    let listed = problem
        .split_once("expected ")
        .unwrap_or_else(|| panic!("{problem}"))
        .1;
    listed
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Every key there is, with the name of its table before it.
fn all_keys() -> BTreeSet<String> {
    let tables = [
        ("", "?\nversion = 1\n"),
        ("kafka.", "version = 1\n[kafka]\n?\n"),
        ("topics.", "version = 1\n[[topics]]\n?\n"),
        ("schema_registry.", "version = 1\n[schema_registry]\n?\n"),
        ("log.", "version = 1\n[log]\n?\n"),
        ("dead_letters.", "version = 1\n[dead_letters]\n?\n"),
        ("personal_data.", "version = 1\n[personal_data]\n?\n"),
        ("clickhouse.", "version = 1\n[clickhouse]\n?\n"),
        ("definitions.", "version = 1\n[definitions]\n?\n"),
        (
            "definitions.groups.",
            "version = 1\n[[definitions.groups]]\n?\n",
        ),
        (
            "definitions.stages.NAME.",
            "version = 1\n[definitions.stages.NAME]\n?\n",
        ),
        (
            "definitions.exclude.METRIC.",
            "version = 1\n[[definitions.exclude.METRIC]]\n?\n",
        ),
        ("fold.", "version = 1\n[fold]\n?\n"),
        ("serve.", "version = 1\n[serve]\n?\n"),
    ];
    let all: BTreeSet<String> = tables
        .iter()
        .flat_map(|(table, stub)| {
            keys(stub)
                .into_iter()
                .map(move |key| format!("{table}{key}"))
        })
        .collect();
    // A table is no key of its own where its keys are listed.
    let is_table = |key: &String| {
        all.iter()
            .any(|other| other.starts_with(&format!("{key}.")))
    };
    all.iter().filter(|key| !is_table(key)).cloned().collect()
}

/// The keys of the example that are written, with their values; those commented out have none.
fn example_keys(text: &str) -> BTreeMap<String, Option<String>> {
    let mut table = String::new();
    let mut found = BTreeMap::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            table = format!("{}.", name.trim_matches(['[', ']']));
        } else if let Some((key, value)) = line.trim_start_matches("# ").split_once(" = ") {
            let is_key = key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            if is_key {
                found
                    .entry(format!("{table}{key}"))
                    .or_insert((!line.starts_with('#')).then(|| value.to_owned()));
            }
        }
    }
    found
}

#[test]
fn the_example_configuration_is_the_defaults() {
    let example = parse(&read("dealpulse.example.toml")).unwrap();
    assert_eq!(
        format!("{example:#?}"),
        format!("{:#?}", parse(LEAST).unwrap())
    );
}

#[test]
fn what_the_example_only_mentions_is_taken_too() {
    let text = read("dealpulse.example.toml");
    let is_key = |line: &str| {
        line.split_once(" = ")
            .is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
    };
    let uncommented = text.lines().map(|line| {
        line.strip_prefix("# ")
            .filter(|rest| is_key(rest))
            .unwrap_or(line)
    });
    // Passwords, certificates and mappings are read from their files, which are not there; a preset
    // is of a feed, and the example's topic is none.
    let is_elsewhere = |line: &&str| {
        let keys = [
            "password_file",
            "hash_key_file",
            "ca_file",
            "mapping",
            "preset",
        ];
        keys.iter().any(|key| line.starts_with(key))
    };
    let file: Vec<&str> = uncommented.filter(|line| !is_elsewhere(line)).collect();
    let config = parse(&file.join("\n")).unwrap();
    assert_eq!(config.topics[0].namespace.as_deref(), Some("eu"));
    assert_eq!(
        (
            config.definitions.stages.len(),
            config.definitions.exclude.len()
        ),
        (2, 1)
    );
}

#[test]
fn every_key_is_in_the_example_and_in_the_tables_with_its_default() {
    let (all, example) = (all_keys(), example_keys(&read("dealpulse.example.toml")));
    let is_inside = |key: &str| {
        key.starts_with("definitions.stages.") || key.starts_with("definitions.exclude.")
    };
    for key in all.iter().filter(|key| !is_inside(key)) {
        assert!(
            example.contains_key(key),
            "dealpulse.example.toml lacks {key}"
        );
    }
    for page in ["README.md", "docs/configuration.md"] {
        let text = read(page);
        let table: BTreeMap<&str, &str> = rows(&text)
            .filter(|row| row.len() == 3)
            .map(|row| (unquoted(row[0]), row[1]))
            .collect();
        for key in &all {
            let default = table
                .get(key.as_str())
                .unwrap_or_else(|| panic!("{page} lacks {key}"));
            let several = key.starts_with("definitions.groups.");
            if let Some(Some(value)) = example
                .get(key)
                .filter(|_| !several && key.as_str() != "topics.name" && key.as_str() != "version")
            {
                assert_eq!(unquoted(default), value, "{page}: {key}");
            }
        }
        let known =
            |key: &str| all.contains(key) || all.iter().any(|k| k.starts_with(&format!("{key}.")));
        for key in table.keys().filter(|key| {
            all.iter().any(|k| {
                k.split_once('.')
                    .is_some_and(|(t, _)| key.starts_with(&format!("{t}.")))
            })
        }) {
            assert!(known(key), "{page} has {key}, which is no key");
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    for (path, page) in documents() {
        for (at, _) in page.match_indices("](") {
            let target = page[at + 2..].split([')', ' ']).next().unwrap();
            if target.contains("://") || target.starts_with('#') {
                continue;
            }
            let (file, anchor) = target
                .split_once('#')
                .map_or((target, None), |(file, anchor)| (file, Some(anchor)));
            let file = path.parent().unwrap().join(file);
            assert!(file.exists(), "{}: {target} does not exist", path.display());
            if let Some(anchor) = anchor {
                let there = read(&file)
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .any(|line| slug(line) == anchor);
                assert!(there, "{}: {target} is no heading", path.display());
            }
        }
    }
}

/// A heading as its anchor.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn every_make_target_named_exists() {
    let files = ["Makefile".into()].into_iter().chain(
        fs::read_dir("mk")
            .unwrap()
            .map(|entry| entry.unwrap().path()),
    );
    let rules: String = files.map(|path: PathBuf| read(path)).collect();
    let targets: BTreeSet<&str> = rules
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(target, _)| target)
        .collect();
    let mut seen = 0;
    for (path, page) in documents() {
        for target in words_after(&page, "make") {
            assert!(
                targets.contains(target.as_str()),
                "{}: there is no `make {target}`",
                path.display()
            );
            seen += 1;
        }
    }
    assert!(seen > 3, "the pages name only {seen} targets");
}

#[test]
fn every_command_named_exists() {
    let help = Command::new(env!("CARGO_BIN_EXE_dealpulse"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let list = help.split_once("Commands:\n").unwrap().1;
    let commands: BTreeSet<&str> = list
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let mut seen = 0;
    for (path, page) in documents() {
        for command in words_after(&page, "dealpulse") {
            assert!(
                commands.contains(command.as_str()),
                "{}: there is no `dealpulse {command}`",
                path.display()
            );
            seen += 1;
        }
    }
    assert!(seen > 3, "the pages name only {seen} commands");
}

#[test]
fn every_environment_variable_named_is_read_and_every_one_read_is_named() {
    fn sources(folder: &Path, out: &mut String) {
        for path in fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
        {
            if path.is_dir() {
                sources(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                out.push_str(&read(path));
            }
        }
    }
    let (mut source, mut tests) = (String::new(), String::new());
    sources(Path::new("src"), &mut source);
    sources(Path::new("tests"), &mut tests);
    let variables = |text: &str| -> BTreeSet<String> {
        names(text, "DEALPULSE_")
            .into_iter()
            .filter(|name| name != "DEALPULSE_")
            .collect()
    };
    let read_by_us = variables(&source);
    let named: BTreeSet<String> = documents()
        .iter()
        .flat_map(|(_, page)| variables(page))
        .collect();
    let configuration = variables(&read("docs/configuration.md"));
    assert_eq!(
        read_by_us.difference(&configuration).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "docs/configuration.md lacks these"
    );
    let read_at_all = &read_by_us | &variables(&tests);
    assert_eq!(
        named.difference(&read_at_all).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "no code reads these"
    );
}
