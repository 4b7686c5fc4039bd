//! The Grafana dashboards: the committed files are those their sources make and in order, and every
//! query has rows on the real engines.
//!
//! The checks themselves are in grafana/generator/: what they find wrong is in the message.

use std::path::Path;
use std::process::Command;

const GENERATOR: &str = "grafana/generator";

/// Runs a script of the generator, and fails with all it printed.
fn node(script: &str, arguments: &[&str]) {
    let packages = Path::new(GENERATOR).join("node_modules/.package-lock.json");
    assert!(
        packages.exists(),
        "the generator's packages are missing: `make grafana-packages` installs them"
    );
    let output = Command::new("node")
        .arg(Path::new(GENERATOR).join("src").join(script))
        .args(arguments)
        .output()
        .expect("node, which `make node-tools` installs");
    assert!(
        output.status.success(),
        "{script} {arguments:?}:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_committed_files_are_those_that_their_sources_make() {
    node("write.mjs", &["--check"]);
}

#[test]
fn every_panel_fits_grafanas_published_types_and_says_what_it_counts() {
    node("lint.mjs", &[]);
}

#[test]
fn every_query_of_every_panel_has_rows_on_real_engines() {
    for program in ["prometheus", "promtool"] {
        assert!(
            Command::new(program).arg("--version").output().is_ok(),
            "{program} is missing: `make prometheus-tools` installs it"
        );
    }
    node("run-queries.mjs", &[env!("CARGO_BIN_EXE_dealpulse")]);
}
