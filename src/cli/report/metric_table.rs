//! A metric's table in the report, and how single figures are written there.

use std::collections::BTreeMap;

use super::answer::Answer;
use super::grid::{Cell, Grid, WIDTH, clean, grouped};
use crate::event::DECIMAL_ONE;
use crate::metric::{Figure, Metric, decimal, find, money};
use crate::window::Dimension;
use crate::window::rolling::Window;

/// The table of a metric, by its number; blank if there is nothing in it.
pub fn of_metric(answer: &Answer<'_>, number: usize, metric: &dyn Metric) -> String {
    let mut rollups = metric.rollups().into_iter();
    let table = match rollups.find_map(|rollup| rollup.cut_by.always()) {
        Some(dimension) => by_value(answer, number, metric, dimension),
        None => totals(answer, number, metric),
    };
    if table.is_empty() {
        return String::new();
    }
    let sentence = metric
        .definition()
        .split_once(". ")
        .map_or(metric.definition(), |(first, _)| first)
        .trim_end_matches('.');
    format!(
        "\n{}\n{}{}",
        metric.display().title,
        wrapped(sentence),
        table.show()
    )
}

/// Its totals: figures down, windows across.
fn totals(answer: &Answer<'_>, number: usize, metric: &dyn Metric) -> Grid {
    let windows: Vec<(usize, &Window)> = answer
        .reading
        .windows
        .iter()
        .enumerate()
        .filter(|(_, w)| match metric.depends_on_window() {
            true => !matches!(w, Window::Month(_)),
            false => **w == Window::QuarterToDate,
        })
        .collect();
    // The widest window has every figure, currency and stage the others have.
    let mut paths: Vec<(Vec<&'static str>, String)> = Vec::new();
    let mut cells: BTreeMap<(Vec<&'static str>, String, usize), Figure> = BTreeMap::new();
    for (column, (at, _)) in windows.iter().enumerate().rev() {
        let Some(figures) = answer
            .reading
            .metrics
            .get(number)
            .and_then(|reading| reading.total(*at))
        else {
            continue;
        };
        for (name, figure) in figures {
            figure.visit(&mut vec![*name], None, &mut |path, label, figure| {
                let label = label.map_or("", |(_, value)| value);
                let row = (path.to_vec(), label.to_owned());
                if !paths.contains(&row) {
                    paths.push(row.clone());
                }
                cells.insert((row.0, row.1, column), figure.clone());
            });
        }
    }
    let grid = |exact: bool| {
        let mut grid = Grid::new(
            std::iter::once(String::new()).chain(windows.iter().map(|(_, window)| window.label())),
        );
        for (path, label) in &paths {
            let figures: Vec<Option<&Figure>> = (0..windows.len())
                .map(|column| cells.get(&(path.clone(), label.clone(), column)))
                .collect();
            let cents = exact && figures.iter().any(|figure| matches!(figure, Some(Figure::Money(n)) if n % i128::from(DECIMAL_ONE) != 0));
            let unit = match label.as_str() {
                "" => String::new(),
                label => format!(", {label}"),
            };
            grid.row(
                &format!("{}{unit}", words(&path.join(": "))),
                figures
                    .into_iter()
                    .map(|figure| figure.map_or_else(nothing, |f| cell(f, cents))),
            );
        }
        grid.without_empty_rows()
    };
    let table = grid(true);
    if table.width() > WIDTH {
        grid(false)
    } else {
        table
    }
}

/// Of a metric that has no totals: the values of the dimension it is always cut by down, figures
/// across, for the widest window.
fn by_value(answer: &Answer<'_>, number: usize, metric: &dyn Metric, by: Dimension) -> Grid {
    let columns = metric.display().columns;
    let mut grid = Grid::new(std::iter::once("").chain(columns.iter().map(|column| column.head)));
    let mut windows = answer.reading.windows.iter();
    let all = windows.position(|window| *window == Window::All);
    let groups = all.and_then(|all| answer.reading.metrics.get(number)?.windows.get(all));
    let sets = &answer.definitions.sets;
    let groups = groups.into_iter().flatten();
    let mut groups: Vec<_> = groups
        .filter(|group| sets[group.set].dimensions == [by])
        .collect();
    // Stages in their order; all else as it is, by name.
    let order = &answer.definitions.spec.stage_order;
    groups.sort_by_key(|group| order.iter().position(|stage| group.values.contains(stage)));
    for group in groups {
        let cells = columns.iter().map(|column| {
            let found = find(&group.figures, column.path);
            found.first().map_or_else(nothing, |(_, f)| cell(f, false))
        });
        grid.row(&group.values.join(" / "), cells);
    }
    grid.without_empty_columns()
}

/// No value.
pub fn nothing() -> Cell {
    Cell {
        text: "–".into(),
        is_nothing: true,
    }
}

/// One figure. Money is rounded to whole units unless cents are wanted.
pub fn cell(figure: &Figure, cents: bool) -> Cell {
    let (text, is_nothing) = match figure {
        Figure::Count(n) => (shown(*n), *n == 0),
        Figure::Decimal(n) => (grouped(&decimal(*n)), *n == 0),
        Figure::Share { .. } | Figure::Ratio(_) => match figure.gauge() {
            Some(n) => (format!("{:.2} %", n * 100.0), false),
            None => return nothing(),
        },
        Figure::Days(Some(n)) => (grouped(&format!("{n:.2}")), false),
        Figure::Money(n) if cents => (grouped(&money(*n)), *n == 0),
        Figure::Money(n) => (
            grouped(&format!("{:.0}", *n as f64 / DECIMAL_ONE as f64)),
            *n == 0,
        ),
        Figure::Days(None) | Figure::Group(_) | Figure::ByCurrency(_) | Figure::ByStage(_) => {
            return nothing();
        }
    };
    Cell { text, is_nothing }
}

/// A count.
pub fn shown(n: i64) -> String {
    grouped(&n.to_string())
}

/// A name in plain words.
pub fn words(name: &str) -> String {
    clean(&name.replace('_', " "))
}

/// A sentence in lines that fit.
fn wrapped(sentence: &str) -> String {
    let mut lines = vec![String::new()];
    for word in sentence.split_whitespace() {
        let last = lines.len() - 1;
        if !lines[last].is_empty() && lines[last].chars().count() + word.chars().count() + 3 > WIDTH
        {
            lines.push(String::new());
        }
        let last = lines.len() - 1;
        let gap = if lines[last].is_empty() { "" } else { " " };
        lines[last].extend([gap, word]);
    }
    lines.iter().map(|line| format!("  {line}\n")).collect()
}
