//! Migrations: the numbered files of `schemas/clickhouse`, each applied once, then the views,
//! created again every time.

use super::ClickHouse;
use crate::definitions::{DefinitionsSpec, HoursKept};
use crate::metric::{Catalogue, Metric, Versions};
use crate::pipeline::OutsideError;

/// A file of `schemas/clickhouse`: its number, what it is for, its name.
macro_rules! migration {
    ($number:literal, $what:literal, $file:literal) => {
        (
            $number,
            $what,
            include_str!(concat!("../../schemas/clickhouse/", $file, ".sql")),
        )
    };
}

/// The files, in order. A file that was released is never changed; a change is a new file.
const MIGRATIONS: &[(u32, &str, &str)] = &[
    migration!(1, "epochs and checkpoints", "0001_epochs_and_checkpoints"),
    migration!(2, "facts", "0002_facts"),
    migration!(3, "links", "0003_links"),
    migration!(4, "rollups", "0004_rollups"),
    migration!(5, "changes", "0005_changes"),
    migration!(6, "rebuild", "0006_rebuild"),
    migration!(7, "when rollups were written", "0007_written_at"),
    migration!(8, "catalogue", "0008_catalogue"),
    migration!(9, "contacts", "0009_contacts"),
    migration!(10, "the first epoch once", "0010_first_epoch"),
    migration!(
        11,
        "activities, payments, invoices, quotas, users, teams and rates",
        "0011_sales_entities"
    ),
    migration!(12, "customer lifetime value", "0012_clv"),
    migration!(13, "thresholds of alerts", "0013_alert_thresholds"),
    migration!(14, "reporting lines", "0014_reporting_lines"),
    migration!(15, "splits", "0015_splits"),
    migration!(16, "the state of hours", "0016_hourly"),
    migration!(17, "stages", "0017_stages"),
    migration!(18, "values of fields", "0018_field_values"),
    migration!(19, "names of values", "0019_labels"),
];

/// The views that those of the metrics are made from.
const VIEWS: &str = include_str!("../../schemas/clickhouse/views.sql");

/// Applies what was not applied yet, and makes the views of the metrics for these definitions.
///
/// # Errors
/// As [`tables`].
pub async fn migrate(
    clickhouse: &ClickHouse,
    catalogue: &Catalogue,
) -> Result<Vec<&'static str>, OutsideError> {
    let applied = tables(clickhouse).await?;
    views(clickhouse, &catalogue.spec, &catalogue.versions()).await?;
    Ok(applied)
}

/// Applies what was not applied yet. Returns the names of what was.
///
/// # Errors
/// What ClickHouse refused; what was applied before it stays. A database of a newer version is
/// refused.
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
    for (number, name, sql) in MIGRATIONS.iter().filter(|(number, ..)| *number > applied) {
        for statement in statements(sql) {
            // A run that was cut short left some of the file's objects behind.
            let statement = again(&statement);
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
        done.push(*name);
    }
    Ok(done)
}

/// A condition on the rows of `rollups` as `r`, of the current epoch: the cell is kept up to date.
/// Hours are for some days only.
pub fn kept_cells(catalogue: &Catalogue) -> String {
    let HoursKept::Days(days) = catalogue.spec.hours_kept else {
        return "true".into();
    };
    let lags = catalogue.lagging();
    let lags = lags.map(|(rollup, lag)| format!(" + if(r.series = '{}', {lag}, 0)", rollup.name));
    format!(
        "(r.grain != 'hour' OR toInt64(toUnixTimestamp(r.pane)){}
            >= (SELECT intDiv(max(append_time), 86400000000) - {days} FROM checkpoints FINAL WHERE generation = (SELECT generation FROM current_epoch)) * 86400)",
        lags.collect::<String>()
    )
}

/// What the comment of a metric's view begins with; its name and version follow.
const VIEW_OF: &str = "dealpulse metric ";

/// Makes the views of the metrics for these definitions and this catalogue: those of the current
/// epoch, since its numbers are what they show. A metric that the epoch doesn't count by this
/// program's formula gets none, and the view of one that it doesn't count by the view's formula
/// goes: it would show nothing, or half of it.
///
/// # Errors
/// What ClickHouse refused.
pub async fn views(
    clickhouse: &ClickHouse,
    definitions: &DefinitionsSpec,
    versions: &Versions,
) -> Result<(), OutsideError> {
    let doing = "making the views";
    let catalogue =
        Catalogue::new(definitions.clone()).map_err(|bad| OutsideError::fatal(doing, bad))?;
    let of_today = catalogue.rollups().iter().zip(0..);
    let of_today = of_today.filter(|(_, number)| catalogue.owner_is_todays(*number));
    let of_today: Vec<String> = of_today.map(|(r, _)| format!("'{}'", r.name)).collect();
    for statement in statements(VIEWS) {
        let statement = statement
            .replace("{time_zone}", &definitions.time_zone)
            .replace("{series_of_today}", &of_today.join(", "))
            .replace("{is_kept}", &kept_cells(&catalogue));
        clickhouse.execute(doing, &again(&statement)).await?;
    }
    let is_counted = |metric: &&dyn Metric| catalogue.is_counted(*metric, versions);
    let counted: Vec<&dyn Metric> = catalogue.metrics().filter(is_counted).collect();
    for metric in &counted {
        let comment = view_of(metric.name(), metric.version());
        for view in metric.views() {
            let first_month = definitions.fiscal_year_start.to_string();
            let select = view.select.replace("{time_zone}", &definitions.time_zone);
            let select = select.replace("{fiscal_start}", &first_month);
            let select = select.replace("{stage_order}", &array(&definitions.stage_order));
            let sql = format!(
                "CREATE OR REPLACE VIEW {} AS {select} COMMENT '{comment}'",
                view.name
            );
            clickhouse
                .execute(&format!("making the view {}", view.name), &sql)
                .await?;
        }
    }
    let doing = "looking which views there are";
    let sql = format!(
        "SELECT name, comment FROM system.tables WHERE database = currentDatabase() AND engine = 'View' AND startsWith(comment, '{VIEW_OF}')"
    );
    let known = clickhouse.fetch(doing, &sql, "TSV").await?;
    for line in String::from_utf8_lossy(&known).lines() {
        let Some((view, comment)) = line.split_once('\t') else {
            continue;
        };
        let kept = versions
            .iter()
            .map(|(metric, version)| (metric.as_str(), *version));
        let mut kept = kept.chain(counted.iter().map(|m| (m.name(), m.version())));
        if !kept.any(|(metric, version)| comment == view_of(metric, version)) {
            let sql = format!("DROP VIEW IF EXISTS {view}");
            clickhouse
                .execute(&format!("dropping the view {view}"), &sql)
                .await?;
        }
    }
    Ok(())
}

/// Texts as an array in SQL.
fn array(texts: &[String]) -> String {
    let quoted = texts
        .iter()
        .map(|text| format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'")));
    format!(
        "CAST([{}], 'Array(String)')",
        quoted.collect::<Vec<_>>().join(", ")
    )
}

fn view_of(metric: &str, version: u32) -> String {
    format!("{VIEW_OF}{metric} {version}")
}

/// A statement that may have been executed before.
fn again(statement: &str) -> String {
    statement
        .replacen("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ", 1)
        .replacen("CREATE VIEW ", "CREATE OR REPLACE VIEW ", 1)
}

/// The statements of a file, without its comments. A statement ends with a semicolon at the end of
/// a line.
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
