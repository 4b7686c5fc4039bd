//! All tests but those beside the code, as one program: what they share is compiled, linked and
//! started once. `cargo test simulation::` runs those of one file.

mod activities;
mod alert_rules;
mod alert_simulation;
mod alerts;
mod alerts_end_to_end;
mod audit;
mod avro;
mod bad_input;
mod bounds;
mod check;
mod chosen_metrics;
mod clickhouse_engine;
mod clickhouse_local;
mod clickhouse_store;
mod clv;
mod clv_command;
mod contacts;
mod currencies;
mod dashboards;
mod dead_letters;
mod debezium;
mod demo;
mod deploy;
mod docs;
mod end_to_end;
mod entities;
mod event_schemas;
mod exclusions;
mod faults;
mod feeds;
mod field_values;
mod files;
mod forecast;
mod forecast_history;
mod hierarchy;
mod hostile_input;
mod hours;
mod init;
mod invoices;
mod kafka_engine;
mod layers;
mod lifetime;
mod local_broker;
mod long_histories;
mod personal_data;
mod presets;
mod properties;
mod read_model;
mod rebuild;
mod reconcile;
#[cfg(feature = "soak")]
mod redmine;
mod report;
mod restart;
mod run_config;
mod serve;
mod simulation;
#[cfg(feature = "soak")]
mod soak;
mod splits;
mod stages;
mod time;
mod upgrade;
mod views;
mod withdrawals;
mod worked_example;

mod oracle;
mod support;

/// A file that is in no list would never run.
#[test]
fn every_file_of_tests_is_part_of_this_program() {
    let here = std::path::Path::new(file!()).parent().unwrap();
    let files = std::fs::read_dir(here).unwrap();
    let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let tests: Vec<String> = files
        .filter_map(|file| Some(file.strip_suffix(".rs")?.to_owned()))
        .filter(|test| test != "main")
        .collect();
    assert!(tests.len() > 50);
    let list = include_str!("main.rs");
    let is_missing = |test: &&String| !list.contains(&format!("\nmod {test};\n"));
    let missing: Vec<&String> = tests.iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "not in tests/main.rs: {missing:?}");
}
