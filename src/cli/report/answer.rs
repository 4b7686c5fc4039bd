//! What is read from the database once everything is folded: the metrics, the records, the accounts
//! that bought most.

use anyhow::{Context, Result};
use serde_json::{Value as Json, json};

use super::inputs::Tally;
use super::rejects::Counts;
use crate::clickhouse::ClickHouse;
use crate::event::When;
use crate::metric::{Catalogue, MetricValues, QueryPlan, SideInputs};
use crate::window::calendar::{Day, civil};
use crate::window::rolling::{Now, ROLLING, Span, Window};

/// How many accounts a currency's list has.
pub const TOP: usize = 10;
/// How many windows are read in one statement: every one is some selects in it, and a statement
/// can't have any number.
const AT_A_TIME: usize = 24;

/// Everything a report shows.
pub struct Answer<'d> {
    /// The definitions.
    pub definitions: &'d Catalogue,
    /// Where windows end (µs).
    pub as_of: i64,
    /// The metrics, for the rolling windows, everything, and every month with data.
    pub reading: MetricValues,
    /// Leads, deals and accounts that are neither deleted nor merged away.
    pub records: [(&'static str, u64); 3],
    /// The first and the last day a lead or deal was created or closed on.
    pub period: Option<(Day, Day)>,
    /// The accounts that bought most, by currency.
    pub top_accounts: Vec<TopAccount>,
}

/// An account and what was won with it in one currency.
pub struct TopAccount {
    /// Its id.
    pub id: String,
    /// Its name; blank where none is known.
    pub name: String,
    /// `XXX` for none.
    pub currency: String,
    /// Won deals.
    pub won: u64,
    /// Their amounts, as a decimal.
    pub amount: String,
}

impl<'d> Answer<'d> {
    /// Reads all of it from `epoch`, windows ending at `as_of`, amounts also by the rates, and what
    /// is by owner up the hierarchy.
    ///
    /// # Errors
    /// What ClickHouse answered.
    pub async fn read(
        clickhouse: &ClickHouse,
        epoch: u32,
        definitions: &'d Catalogue,
        as_of: i64,
        side: &SideInputs,
    ) -> Result<Answer<'d>> {
        let now = Now {
            now: as_of,
            watermark: as_of,
        };
        let calendar = &definitions.calendar;
        // Other rollups go by days that may be long before the first deal, or that are still to
        // come.
        let happened = definitions.rollups_by(Span::Window).map(|rollup| {
            // What has no total is looked for where it is least cut.
            let least = rollup.cut_by.always();
            let least = least.map_or_else(String::new, |d| definitions.dimension_name(d));
            format!("('{}', '{least}')", rollup.name)
        });
        let data = format!(
            "grain = 'day' AND (series, dimension) IN ({}) AND arrayExists(c -> c != 0, counts)",
            happened.collect::<Vec<_>>().join(", ")
        );
        let from = format!("FROM rollups FINAL WHERE epoch = {epoch} AND {data}");
        let months = rows(clickhouse, &format!("SELECT DISTINCT toString(toStartOfMonth(toDate(pane))) AS month {from} ORDER BY month")).await?;
        let day = |text: &str| When::parse(text).map(|date| calendar.day(date));
        let last = calendar.day(When::Instant(as_of));
        let months = months
            .iter()
            .filter_map(|row| day(&row[0]))
            .filter(|first| *first <= last)
            .map(Window::Month);
        let windows: Vec<Window> = ROLLING
            .into_iter()
            .chain([Window::All])
            .chain(months)
            .collect();

        let mut reading = MetricValues::default();
        for windows in windows.chunks(AT_A_TIME) {
            let plan = QueryPlan::new(windows.to_vec(), now, definitions);
            let mut sums = clickhouse.sums(epoch, definitions, &plan, side).await?;
            let part = sums.read(&plan, definitions);
            reading.windows.extend(part.windows);
            if reading.metrics.is_empty() {
                reading.metrics = part.metrics;
                continue;
            }
            for (metric, part) in reading.metrics.iter_mut().zip(part.metrics) {
                metric.windows.extend(part.windows);
            }
        }

        let mut records = [("leads", 0), ("deals", 0), ("accounts", 0)];
        for (table, count) in &mut records {
            let sql = format!(
                "SELECT toString(count()) FROM {table} FINAL WHERE deleted = 0 AND merged_into = ''"
            );
            *count = rows(clickhouse, &sql)
                .await?
                .first()
                .and_then(|row| row[0].parse().ok())
                .context("counting records")?;
        }
        let sql = format!(
            "SELECT toString(toDate(min(pane))), toString(toDate(max(pane))), toString(count()) {from}"
        );
        let period = rows(clickhouse, &sql)
            .await?
            .pop()
            .filter(|row| row[2] != "0")
            .and_then(|row| Some((day(&row[0])?, day(&row[1])?)));
        Ok(Answer {
            definitions,
            as_of,
            reading,
            records,
            period,
            top_accounts: top_accounts(clickhouse, epoch).await?,
        })
    }

    /// The report as one JSON object.
    pub fn to_json(&self, tally: &Tally, rejected: &Counts) -> Json {
        let records: serde_json::Map<String, Json> = self
            .records
            .iter()
            .map(|(name, count)| ((*name).to_owned(), (*count).into()))
            .collect();
        let accounts = self.top_accounts.iter().map(|top| {
            let name = Some(&top.name).filter(|name| !name.is_empty());
            json!({ "account": top.id, "name": name, "currency": top.currency, "won": top.won, "amount": top.amount })
        });
        json!({
            "as_of": instant(self.as_of),
            "time_zone": self.definitions.spec.time_zone,
            "input": tally.to_json(rejected),
            "records": records,
            "period": self.period.map(|(from, to)| json!({ "from": civil(from).to_string(), "to": civil(to).to_string() })),
            "metrics": self.reading.to_json(self.definitions),
            "top_accounts": accounts.collect::<Vec<_>>(),
        })
    }
}

/// An instant (µs) in RFC 3339.
fn instant(micros: i64) -> Json {
    chrono::DateTime::from_timestamp_micros(micros)
        .map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
        .into()
}

/// Of every currency, the accounts most was won with; of equals, by name.
async fn top_accounts(clickhouse: &ClickHouse, epoch: u32) -> Result<Vec<TopAccount>> {
    let sql = format!(
        "SELECT account, any(known.name), code, toString(count()), toString(sum(ifNull(won.amount, 0)) AS total)
        FROM (SELECT target AS account, if(currency = '', 'XXX', currency) AS code, amount FROM links FINAL
            WHERE epoch = {epoch} AND target_entity = 'account' AND sender_entity = 'deal' AND withdrawn = 0 AND status = 'won') AS won
        LEFT JOIN (SELECT id, name FROM accounts FINAL WHERE deleted = 0) AS known ON known.id = won.account
        GROUP BY account, code ORDER BY code, total DESC, account LIMIT {TOP} BY code"
    );
    let read = |row: &Vec<String>| {
        let amount = crate::event::Decimal::parse(&row[4])
            .map_or_else(|| row[4].clone(), |amount| amount.to_string());
        TopAccount {
            id: row[0].clone(),
            name: row[1].clone(),
            currency: row[2].clone(),
            won: row[3].parse().unwrap_or_default(),
            amount,
        }
    };
    Ok(rows(clickhouse, &sql).await?.iter().map(read).collect())
}

/// The rows of a query whose columns are all texts.
async fn rows(clickhouse: &ClickHouse, sql: &str) -> Result<Vec<Vec<String>>> {
    let text = clickhouse
        .fetch("reading the report", sql, "JSONCompactEachRow")
        .await?;
    let lines = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_slice(line).context("ClickHouse's answer can't be read"))
        .collect()
}
