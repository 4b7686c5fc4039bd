//! Migrations: the numbered files of `schemas/clickhouse`, each applied once, then the views, always anew.

use super::ClickHouse;
use crate::definitions::DefinitionsSpec;
use crate::metric::METRICS;
use crate::pipeline::OutsideError;

/// The files, in order. A file that was released is never changed; a change is a new file.
const MIGRATIONS: [(u32, &str, &str); 7] = [
    (
        1,
        "epochs and checkpoints",
        include_str!("../../schemas/clickhouse/0001_epochs_and_checkpoints.sql"),
    ),
    (
        2,
        "facts",
        include_str!("../../schemas/clickhouse/0002_facts.sql"),
    ),
    (
        3,
        "links",
        include_str!("../../schemas/clickhouse/0003_links.sql"),
    ),
    (
        4,
        "rollups",
        include_str!("../../schemas/clickhouse/0004_rollups.sql"),
    ),
    (
        5,
        "changes",
        include_str!("../../schemas/clickhouse/0005_changes.sql"),
    ),
    (
        6,
        "rebuild",
        include_str!("../../schemas/clickhouse/0006_rebuild.sql"),
    ),
    (
        7,
        "when rollups were written",
        include_str!("../../schemas/clickhouse/0007_written_at.sql"),
    ),
];

/// Applies what was not applied yet, and makes the views of the metrics for these definitions.
///
/// # Errors
/// As [`tables`].
pub async fn migrate(
    clickhouse: &ClickHouse,
    definitions: &DefinitionsSpec,
) -> Result<Vec<&'static str>, OutsideError> {
    let applied = tables(clickhouse).await?;
    views(clickhouse, definitions).await?;
    Ok(applied)
}

/// Applies what was not applied yet. Returns the names of what was.
///
/// # Errors
/// What ClickHouse refused; what was applied before it stays. A database of a newer version is refused.
pub async fn tables(clickhouse: &ClickHouse) -> Result<Vec<&'static str>, OutsideError> {
    let database = clickhouse.database();
    let name_is_plain = !database.is_empty()
        && database
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !name_is_plain || database == "default" {
        let problem = format!(
            "`{database}` can't be the database: use letters, digits and _, and not `default`, so that everything is in one place of its own"
        );
        return Err(OutsideError::fatal(
            "choosing the database ([clickhouse] database)",
            problem,
        ));
    }
    clickhouse
        .execute_anywhere(
            "creating the database",
            &format!("CREATE DATABASE IF NOT EXISTS {database}"),
        )
        .await?;
    let books = "CREATE TABLE IF NOT EXISTS migrations (number UInt32, name String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3)) ENGINE = MergeTree ORDER BY number";
    clickhouse
        .execute("keeping book of migrations", books)
        .await?;
    let applied = clickhouse
        .fetch(
            "reading the book of migrations",
            "SELECT max(number) FROM migrations",
            "TSV",
        )
        .await?;
    let applied: u32 = String::from_utf8_lossy(&applied)
        .trim()
        .parse()
        .unwrap_or(0);
    let newest = MIGRATIONS[MIGRATIONS.len() - 1].0;
    if applied > newest {
        return Err(OutsideError::fatal(
            "comparing versions",
            format!(
                "the database is at migration {applied}, this program knows {newest}: upgrade dealpulse"
            ),
        ));
    }
    let mut done = Vec::new();
    for (number, name, sql) in MIGRATIONS
        .into_iter()
        .filter(|(number, ..)| *number > applied)
    {
        for statement in statements(sql) {
            // A run that was cut short left some of the file's objects behind.
            let statement = statement
                .replacen("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ", 1)
                .replacen("CREATE VIEW ", "CREATE OR REPLACE VIEW ", 1);
            clickhouse
                .execute(&format!("migration {number} ({name})"), &statement)
                .await?;
        }
        clickhouse
            .execute(
                "keeping book of migrations",
                &format!("INSERT INTO migrations (number, name) VALUES ({number}, '{name}')"),
            )
            .await?;
        done.push(name);
    }
    Ok(done)
}

/// Makes the views of the metrics for these definitions: those of the current epoch, since its numbers are what they show.
///
/// # Errors
/// What ClickHouse refused.
pub async fn views(
    clickhouse: &ClickHouse,
    definitions: &DefinitionsSpec,
) -> Result<(), OutsideError> {
    for view in METRICS.iter().flat_map(|metric| metric.views()) {
        let select = view.select.replace("{time_zone}", &definitions.time_zone);
        clickhouse
            .execute(
                &format!("making the view {}", view.name),
                &format!("CREATE OR REPLACE VIEW {} AS {select}", view.name),
            )
            .await?;
    }
    Ok(())
}

/// The statements of a file, without its comments. A statement ends with a semicolon at the end of a line.
fn statements(sql: &str) -> Vec<String> {
    let code: Vec<&str> = sql
        .lines()
        .filter(|line| !line.trim_start().starts_with("--"))
        .collect();
    let statements = code.join("\n");
    statements
        .split(";\n")
        .map(|s| s.trim().trim_end_matches(';').to_owned())
        .filter(|s| !s.is_empty())
        .collect()
}
