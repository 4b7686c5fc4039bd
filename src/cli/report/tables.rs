//! The report as tables to be read: metric by metric, then by each dimension, months, accounts and
//! races.

use std::collections::BTreeMap;

use super::answer::{Answer, TOP};
use super::grid::{Cell, Grid, grouped};
use super::inputs::Tally;
use super::metric_table::{cell, nothing, of_metric, shown, words};
use super::rejects::Counts;
use crate::metric::{Figure, Figures, Group, find as by_path, money};
use crate::window::calendar::civil;
use crate::window::rolling::Window;

/// How many months are listed.
const MONTHS: usize = 24;

/// All tables.
pub fn show(answer: &Answer<'_>, tally: &Tally, rejected: &Counts) -> String {
    let mut out = heading(answer, tally, rejected);
    for (number, metric) in answer.definitions.metrics().enumerate() {
        out.push_str(&of_metric(answer, number, metric));
    }
    for set in answer.definitions.readable_sets().skip(1) {
        out.push_str(&by_set(answer, set));
    }
    out.push_str(&months(answer));
    out.push_str(&top_accounts(answer));
    let credited = [("deals", "deals"), ("won amount", "amount.won")];
    out.push_str(&race(answer, "sales_race", "amount.rank", &credited));
    let done = [
        ("done", "done"),
        ("calls", "call"),
        ("emails", "email"),
        ("meetings", "meeting"),
        ("demos", "demo"),
    ];
    out.push_str(&race(answer, "activities", "rank", &done));
    out
}

fn heading(answer: &Answer<'_>, tally: &Tally, rejected: &Counts) -> String {
    let zone = &answer.definitions.spec.time_zone;
    let end = chrono::DateTime::from_timestamp_micros(answer.as_of)
        .unwrap_or_default()
        .with_timezone(&answer.definitions.calendar.zone());
    let period = answer.period.map_or_else(String::new, |(from, to)| {
        format!("{} to {}, ", civil(from), civil(to))
    });
    let opened = answer
        .of("win_rate", &Window::All)
        .and_then(|figures| find(figures, &["opened"]));
    let deals = |name| match opened {
        Some(Figure::Group(figures)) => count(figures, &[name]),
        _ => 0,
    };
    let [leads, all_deals, accounts] = answer.records.map(|(_, count)| grouped(&count.to_string()));
    let plural = |n: u64, one: &str| {
        format!(
            "{} {one}{}",
            grouped(&n.to_string()),
            if n == 1 { "" } else { "s" }
        )
    };
    let mut read: Vec<String> = vec![plural(tally.files.len() as u64, "file")];
    read.extend((tally.lines > 0).then(|| plural(tally.lines, "line")));
    read.extend((tally.rows > 0).then(|| plural(tally.rows, "row")));
    read.push(plural(tally.assertions, "event"));
    let mut out = format!(
        "Dealpulse report\n  {period}as of {} ({zone})\n  {leads} leads; {all_deals} deals: {} won, {} lost, {} open; {accounts} accounts\n  read: {}\n",
        end.format("%Y-%m-%d %H:%M"),
        shown(deals("won")),
        shown(deals("lost")),
        shown(deals("open")),
        read.join(", "),
    );
    if !rejected.is_empty() {
        let reasons: Vec<String> = rejected
            .iter()
            .map(|(reason, count)| format!("{} {}", grouped(&count.to_string()), reason.name()))
            .collect();
        out.push_str(&format!("  rejected: {}\n", reasons.join(", ")));
    }
    if tally.unknown_fields > 0 {
        out.push_str(&format!(
            "  passed over: {} of fields no record has\n",
            plural(tally.unknown_fields, "value")
        ));
    }
    out + &tally.rounded_to_text()
}

impl Answer<'_> {
    /// The totals of a metric for a window.
    fn of(&self, metric: &str, window: &Window) -> Option<&Figures> {
        let at = self
            .reading
            .windows
            .iter()
            .position(|known| known == window)?;
        self.reading
            .metrics
            .iter()
            .find(|known| known.name == metric)?
            .total(at)
    }
}

/// One grouping set: its values down, the main figures of every metric across, for the widest
/// window.
fn by_set(answer: &Answer<'_>, set: usize) -> String {
    let Some(all) = answer
        .reading
        .windows
        .iter()
        .position(|window| *window == Window::All)
    else {
        return String::new();
    };
    let mut groups: BTreeMap<&Vec<String>, BTreeMap<&str, &Figures>> = BTreeMap::new();
    for metric in &answer.reading.metrics {
        for group in metric.windows[all].iter().filter(|group| group.set == set) {
            groups
                .entry(&group.values)
                .or_default()
                .insert(metric.name, &group.figures);
        }
    }
    if groups
        .keys()
        .all(|values| values.iter().all(String::is_empty))
    {
        return String::new();
    }
    let get = |figures: &BTreeMap<&str, &Figures>, metric: &str, path: &[&str]| {
        figures.get(metric).and_then(|f| find(f, path)).cloned()
    };
    let size = |figures: &BTreeMap<&str, &Figures>| {
        let counts = [
            ("lead_source", "leads"),
            ("win_rate", "won"),
            ("win_rate", "lost"),
        ];
        counts
            .iter()
            .map(|(metric, name)| figures.get(metric).map_or(0, |f| count(f, &[name])))
            .sum::<i64>()
    };
    let mut ordered: Vec<_> = groups.into_iter().collect();
    ordered.sort_by_key(|(values, figures)| (-size(figures), *values));
    let more = ordered.len().saturating_sub(TOP);
    ordered.truncate(TOP);

    const COLUMNS: [(&str, &str, &[&str]); 9] = [
        ("leads", "lead_source", &["leads"]),
        ("won leads", "close_rate", &["won"]),
        ("close rate", "close_rate", &["rate"]),
        ("won", "win_rate", &["won"]),
        ("lost", "win_rate", &["lost"]),
        ("win rate", "win_rate", &["rate"]),
        ("upsell rate", "upsell", &["rate"]),
        ("cycle (d)", "cycle_length", &["won", "median_days"]),
        ("won amount", "win_rate", &["amount"]),
    ];
    let name = answer.definitions.set_name(set).replace(',', " and ");
    let mut grid = Grid::new(std::iter::once("").chain(COLUMNS.map(|(title, ..)| title)));
    for (values, figures) in &ordered {
        let values: Vec<&str> = values.iter().map(|value| or_none(value)).collect();
        let amounts = amounts(get(figures, "win_rate", &["amount"]).as_ref(), "won");
        let single = COLUMNS
            .map(|(_, metric, path)| get(figures, metric, path))
            .into_iter()
            .take(COLUMNS.len() - 1);
        let mut rest = amounts.into_iter();
        let amount = rest.next().unwrap_or_else(nothing);
        grid.row(
            &values.join(" / "),
            single
                .map(|figure| figure.as_ref().map_or_else(nothing, |f| cell(f, false)))
                .chain([amount]),
        );
        // A further currency is below, alone in its line.
        for amount in rest {
            grid.row(
                "",
                (1..COLUMNS.len())
                    .map(|_| Cell {
                        text: String::new(),
                        is_nothing: true,
                    })
                    .chain([amount]),
            );
        }
    }
    format!(
        "\nBy {}\n{}{}",
        words(&name),
        grid.without_empty_columns().show(),
        and_more(more)
    )
}

fn months(answer: &Answer<'_>) -> String {
    let mut grid = Grid::new(["", "won", "lost", "win rate", "won amount"]);
    let closed = |window: &&Window| {
        matches!(window, Window::Month(_))
            && answer
                .of("win_rate", window)
                .is_some_and(|f| count(f, &["won"]) + count(f, &["lost"]) != 0)
    };
    let months: Vec<&Window> = answer.reading.windows.iter().filter(closed).collect();
    let earlier = months.len().saturating_sub(MONTHS);
    for window in months.into_iter().skip(earlier) {
        let Some(figures) = answer.of("win_rate", window) else {
            continue;
        };
        let mut amounts = amounts(find(figures, &["amount"]), "won").into_iter();
        let counts = ["won", "lost", "rate"]
            .map(|name| find(figures, &[name]).map_or_else(nothing, |f| cell(f, false)));
        grid.row(
            &window.label(),
            counts
                .into_iter()
                .chain([amounts.next().unwrap_or_else(nothing)]),
        );
        for amount in amounts {
            grid.row(
                "",
                (0..3)
                    .map(|_| Cell {
                        text: String::new(),
                        is_nothing: true,
                    })
                    .chain([amount]),
            );
        }
    }
    if grid.is_empty() {
        return String::new();
    }
    let note = if earlier == 0 {
        String::new()
    } else {
        format!("  … and {earlier} earlier\n")
    };
    format!("\nWin rate by month of close\n{}{note}", grid.show())
}

fn top_accounts(answer: &Answer<'_>) -> String {
    let mut grid = Grid::new(["", "won deals", "won amount"]);
    for top in &answer.top_accounts {
        let name = if top.name.is_empty() || top.name == top.id {
            top.id.clone()
        } else {
            format!("{} ({})", top.name, top.id)
        };
        let amount = Cell {
            text: format!(
                "{} {}",
                grouped(top.amount.trim_end_matches(".00")),
                top.currency
            ),
            is_nothing: false,
        };
        grid.row(
            &name,
            [
                Cell {
                    text: grouped(&top.won.to_string()),
                    is_nothing: false,
                },
                amount,
            ],
        );
    }
    if grid.is_empty() {
        String::new()
    } else {
        format!("\nTop accounts by won amount\n{}", grid.show())
    }
}

/// A race over all time: the owners in the order of their rank. Of a race for money there is one a
/// currency.
fn race(answer: &Answer<'_>, metric: &str, rank: &str, columns: &[(&str, &str)]) -> String {
    let metric = answer.reading.metrics.iter().find(|m| m.name == metric);
    let windows = &answer.reading.windows;
    let all = windows.iter().position(|window| *window == Window::All);
    let (Some(metric), Some(all), Some(owner)) = (metric, all, answer.definitions.owners()) else {
        return String::new();
    };
    let groups = metric.windows[all].iter();
    let mut places: Vec<(Option<&str>, i64, &Group)> = Vec::new();
    for group in groups.filter(|group| group.set == usize::from(owner)) {
        for (currency, figure) in by_path(&group.figures, rank) {
            if let Figure::Count(rank) = figure {
                places.push((currency, *rank, group));
            }
        }
    }
    places.sort_by_key(|(currency, rank, _)| (*currency, *rank));
    let titles = columns.iter().map(|(title, _)| *title);
    let mut grid = Grid::new(["", "rank"].into_iter().chain(titles));
    for (currency, rank, group) in places.iter().filter(|(_, rank, _)| *rank <= TOP as i64) {
        let figures = columns.iter().map(|(_, path)| {
            let mut found = by_path(&group.figures, path).into_iter();
            let of_place = found.find(|(of, _)| of.is_none() || of == currency);
            match of_place {
                Some((Some(currency), Figure::Money(n))) => amount_cell(*n, currency),
                Some((_, figure)) => cell(figure, false),
                None => nothing(),
            }
        });
        let place = cell(&Figure::Count(*rank), false);
        let name = group.values.first().map_or("", String::as_str);
        grid.row(name, std::iter::once(place).chain(figures));
    }
    if grid.is_empty() {
        return String::new();
    }
    let title = answer.definitions.metric(metric.name);
    let title = title.map_or("", |metric| metric.display().title);
    format!("\n{title}, all time\n{}", grid.show())
}

/// The amounts of a name in every currency, with the currency.
fn amounts(figure: Option<&Figure>, name: &str) -> Vec<Cell> {
    let Some(Figure::ByCurrency(figures)) = figure else {
        return Vec::new();
    };
    let amount = |(currency, figure): (&String, &Figure)| match figure {
        Figure::Group(figures) => match find(figures, &[name]) {
            Some(Figure::Money(n)) => Some(amount_cell(*n, currency)),
            _ => None,
        },
        _ => None,
    };
    figures.iter().filter_map(amount).collect()
}

fn amount_cell(ten_thousandths: i128, currency: &str) -> Cell {
    let text = money(ten_thousandths);
    Cell {
        text: format!(
            "{} {currency}",
            grouped(text.strip_suffix(".00").unwrap_or(&text))
        ),
        is_nothing: ten_thousandths == 0,
    }
}

fn find<'f>(figures: &'f Figures, path: &[&str]) -> Option<&'f Figure> {
    let (first, rest) = path.split_first()?;
    let figure = figures
        .iter()
        .find(|(name, _)| name == first)
        .map(|(_, figure)| figure)?;
    match figure {
        _ if rest.is_empty() => Some(figure),
        Figure::Group(figures) => find(figures, rest),
        _ => None,
    }
}

fn count(figures: &Figures, path: &[&str]) -> i64 {
    if let Some(Figure::Count(n)) = find(figures, path) {
        *n
    } else {
        0
    }
}

fn or_none(value: &str) -> &str {
    if value.is_empty() { "(none)" } else { value }
}

fn and_more(more: usize) -> String {
    if more == 0 {
        String::new()
    } else {
        format!("  … and {more} more\n")
    }
}
