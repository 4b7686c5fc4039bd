//! The live page: one quiet, server-rendered document for those without Grafana. No script, nothing
//! from elsewhere.

use std::collections::HashMap;
use std::fmt::{self, Write};

use super::figures::{Escaped, NO_VALUE, ago, confidence, first_sentence, in_a_sentence, written};
use super::model::{Model, Snapshot};
use crate::metric::{
    Column, Display, Figure, Figures, Group, Metric, REPORTING, WindowedValues, find,
};
use crate::window::Grain;
use crate::window::rolling::Window;

const STYLE: &str = include_str!("page.css");

/// What the visitor chose, all of it in the address, so that it survives the refresh and can be
/// sent to somebody.
///
/// No link of the page has a fragment: with one, a browser takes the refresh for a jump within the
/// page and never reloads.
#[derive(Clone)]
struct Choice {
    window: usize,
    window_label: String,
    set: usize,
    set_name: String,
    is_paused: bool,
}

impl Choice {
    fn of(query: &HashMap<String, String>, snapshot: &Snapshot) -> Choice {
        let asked = |name: &str| query.get(name).map(String::as_str);
        let windows = &snapshot.reading.windows;
        let labelled = |label: &str| windows.iter().position(|w| w.label() == label);
        let window = asked("window")
            .and_then(labelled)
            .or_else(|| labelled("28d"))
            .unwrap_or_default();
        let sets = snapshot.definitions.readable_sets().skip(1);
        let set = sets
            .clone()
            .find(|set| asked("by") == Some(&snapshot.definitions.set_name(*set)))
            .or(sets.clone().next())
            .unwrap_or_default();
        Choice {
            window,
            window_label: windows.get(window).map(Window::label).unwrap_or_default(),
            set,
            set_name: snapshot.definitions.set_name(set),
            is_paused: asked("paused").is_some(),
        }
    }

    /// The address of the page with one thing chosen otherwise, safe in an attribute.
    fn but(&self, change: impl FnOnce(&mut Choice)) -> String {
        let mut choice = self.clone();
        change(&mut choice);
        let mut address = format!(
            "?window={}&amp;by={}",
            encoded(&choice.window_label),
            encoded(&choice.set_name)
        );
        if choice.is_paused {
            address += "&amp;paused=yes";
        }
        address
    }
}

/// Percent-encodes what is not plain in a query.
fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes()
        .map(|b| {
            if plain(b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

/// The whole page.
pub fn render(model: &Model, query: &HashMap<String, String>) -> String {
    let mut out = String::with_capacity(32 * 1024);
    // Writing to a String can't fail.
    let _ = document(&mut out, model, query);
    out
}

fn document(out: &mut String, model: &Model, query: &HashMap<String, String>) -> fmt::Result {
    let snapshot = model.snapshot();
    let choice = snapshot.as_ref().map(|s| Choice::of(query, s));
    let is_paused = choice.as_ref().is_some_and(|c| c.is_paused);
    out.push_str(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Dealpulse</title>",
    );
    out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    if !is_paused {
        out.push_str("<meta http-equiv=\"refresh\" content=\"2\">");
    }
    write!(out, "<style>{STYLE}</style></head><body>")?;
    let problem = model.problem();
    let mood = if problem.is_some() { "stale" } else { "fresh" };
    write!(out, "<header class=\"{mood}\"><h1>Dealpulse</h1><p>")?;
    if let (Some(snapshot), Some(choice)) = (&snapshot, &choice) {
        freshness(out, model, snapshot, choice)?;
    }
    out.push_str("</p></header>");
    if let Some(problem) = &problem {
        write!(
            out,
            "<p class=\"notice\" role=\"status\">{}</p>",
            Escaped(&sentence(problem))
        )?;
    }
    match (&snapshot, &choice) {
        (Some(snapshot), Some(choice)) => numbers(out, snapshot, choice)?,
        _ => out
            .push_str("<p class=\"soft\">The page fills itself as soon as there are numbers.</p>"),
    }
    out.push_str("</body></html>\n");
    Ok(())
}

fn freshness(out: &mut String, model: &Model, snapshot: &Snapshot, choice: &Choice) -> fmt::Result {
    let zone = snapshot.definitions.calendar.zone();
    let local = |micros: i64| {
        chrono::DateTime::from_timestamp_micros(micros)
            .unwrap_or_default()
            .with_timezone(&zone)
    };
    let as_of = local(snapshot.as_of);
    write!(
        out,
        "<span class=\"dot\"></span>As of {} ({zone}), {} ago",
        as_of.format("%a %-d %B %Y, %H:%M:%S"),
        ago(model.age().as_secs())
    )?;
    if let Some(watermark) = snapshot.watermark {
        let watermark = local(watermark);
        let form = if watermark.date_naive() == as_of.date_naive() {
            "%H:%M:%S"
        } else {
            "%-d %B %Y, %H:%M:%S"
        };
        write!(out, " · events up to {}", watermark.format(form))?;
    }
    let (word, address) = (
        if choice.is_paused { "resume" } else { "pause" },
        choice.but(|c| c.is_paused = !c.is_paused),
    );
    write!(out, " · <a href=\"{address}\">{word}</a>")
}

fn numbers(out: &mut String, snapshot: &Snapshot, choice: &Choice) -> fmt::Result {
    let reporting = snapshot.side.rates.reporting();
    out.push_str("<nav aria-label=\"Window\">");
    for (number, window) in snapshot.reading.windows.iter().enumerate() {
        let address = choice.but(|c| c.window_label = window.label());
        link(out, &address, &window_name(window), number == choice.window)?;
    }
    out.push_str("</nav><div class=\"cards\">");
    for (metric, values) in shown(snapshot) {
        // What is not summed up has no card.
        if let Some(total) = values
            .total(choice.window)
            .filter(|total| !total.is_empty())
        {
            card(out, &metric.display(), total, reporting)?;
        }
    }
    out.push_str("</div>");
    if choice.set != 0 {
        out.push_str("<nav aria-label=\"Dimension\"><span>By</span>");
        for set in sets_shown(snapshot) {
            let name = snapshot.definitions.set_name(set);
            let address = choice.but(|c| c.set_name.clone_from(&name));
            link(out, &address, &words(&name), set == choice.set)?;
        }
        out.push_str("</nav>");
    }
    for (metric, values) in shown(snapshot) {
        section(out, snapshot, choice, metric, values)?;
    }
    definitions(out, snapshot)?;
    write!(
        out,
        "<footer>Definitions of epoch {}. The same numbers as gauges: <a href=\"/metrics\">/metrics</a>.</footer>",
        snapshot.epoch
    )
}

/// The grouping sets that can be chosen, by number: those that are kept, and those derived where
/// there is a hierarchy.
fn sets_shown(snapshot: &Snapshot) -> impl Iterator<Item = usize> {
    let kept = snapshot.definitions.sets.len();
    let all = snapshot.definitions.readable_sets().skip(1);
    all.filter(move |set| *set < kept || snapshot.top.shows(*set))
}

/// The metrics that are shown, in the order of the catalogue.
fn shown(snapshot: &Snapshot) -> impl Iterator<Item = (&'static dyn Metric, &WindowedValues)> {
    snapshot.definitions.metrics().filter_map(|metric| {
        let mut values = snapshot.reading.metrics.iter();
        Some((metric, values.find(|values| values.name == metric.name())?))
    })
}

fn link(out: &mut String, address: &str, text: &str, is_current: bool) -> fmt::Result {
    let current = if is_current {
        " aria-current=\"true\""
    } else {
        ""
    };
    write!(out, "<a href=\"{address}\"{current}>{}</a>", Escaped(text))
}

/// A headline longer than this is written smaller.
const LONG: usize = 11;

fn card(out: &mut String, display: &Display, total: &Figures, reporting: &str) -> fmt::Result {
    let headline = in_a_sentence(total, display.headline, reporting);
    write!(
        out,
        "<div class=\"card\"><h2>{}</h2><p class=\"figure{}\">{headline}",
        display.title,
        if headline.chars().count() > LONG {
            " long"
        } else {
            ""
        }
    )?;
    if !display.unit.is_empty() {
        write!(out, " <small>{}</small>", display.unit)?;
    }
    out.push_str("</p>");
    let remarks = display
        .remarks
        .iter()
        .filter(|remark| has_something(remark, total));
    for text in [&display.made_of].into_iter().chain(remarks) {
        write!(
            out,
            "<p class=\"soft\">{}</p>",
            filled(text, total, reporting)
        )?;
    }
    out.push_str("</div>");
    Ok(())
}

/// A text with figures in place of the paths in braces.
fn filled(text: &str, figures: &Figures, reporting: &str) -> String {
    let mut parts = text.split('{');
    let start = parts.next().unwrap_or_default().to_owned();
    parts
        .filter_map(|part| part.split_once('}'))
        .fold(start, |text, (path, rest)| {
            text + &in_a_sentence(figures, path, reporting) + rest
        })
}

/// True if the first figure of a text is there and not 0.
fn has_something(text: &str, figures: &Figures) -> bool {
    let path = text.split(['{', '}']).nth(1).unwrap_or_default();
    find(figures, path)
        .iter()
        .any(|(_, figure)| figure.gauge().is_some_and(|n| n != 0.0))
}

fn section(
    out: &mut String,
    snapshot: &Snapshot,
    choice: &Choice,
    metric: &dyn Metric,
    values: &WindowedValues,
) -> fmt::Result {
    let display = metric.display();
    let gist = first_sentence(metric.definition());
    write!(
        out,
        "<section><h2>{}</h2><p class=\"soft gist\">{}</p>",
        display.title,
        Escaped(gist)
    )?;
    table(out, snapshot, choice, metric, values)?;
    out.push_str("</section>");
    Ok(())
}

/// Every definition in full. They are always open: what a visitor unfolds, the next refresh would
/// fold up again.
fn definitions(out: &mut String, snapshot: &Snapshot) -> fmt::Result {
    out.push_str("<section><h2>What is counted</h2><dl>");
    for (metric, _) in shown(snapshot) {
        write!(
            out,
            "<dt>{}</dt><dd>{}</dd>",
            metric.display().title,
            Escaped(metric.definition())
        )?;
    }
    out.push_str("</dl></section>");
    Ok(())
}

fn table(
    out: &mut String,
    snapshot: &Snapshot,
    choice: &Choice,
    metric: &dyn Metric,
    values: &WindowedValues,
) -> fmt::Result {
    let reporting = snapshot.side.rates.reporting();
    let display = metric.display();
    let groups: &[Group] = values.windows.get(choice.window).map_or(&[], Vec::as_slice);
    let of_set = || groups.iter().filter(|g| g.set == choice.set && g.set != 0);
    let mut rows: Vec<(usize, &Group)> = of_set()
        .filter_map(|g| Some((snapshot.top.rank(g)?, g)))
        .collect();
    // Those of a race in the order of the race.
    let in_race = |group: &Group| match find(&group.figures, "rank")[..] {
        [(_, Figure::Count(rank))] => *rank,
        _ => i64::MAX,
    };
    rows.sort_by_key(|(place, group)| (in_race(group), *place));
    let more = of_set().filter(|g| snapshot.top.rank(g).is_none()).count();
    let Some(total) = values.total(choice.window) else {
        out.push_str("<p class=\"soft\">Nothing in this window.</p>");
        return Ok(());
    };

    out.push_str("<div class=\"scroll\"><table><thead><tr><th></th>");
    for neighbours in display.columns.chunk_by(|a, b| a.over == b.over) {
        write!(
            out,
            "<th class=\"first\" colspan=\"{}\" scope=\"colgroup\">{}</th>",
            neighbours.len(),
            neighbours[0].over
        )?;
    }
    out.push_str("</tr><tr><th></th>");
    for (i, column) in display.columns.iter().enumerate() {
        write!(
            out,
            "<th{} scope=\"col\">{}</th>",
            first(display.columns, i),
            column.head
        )?;
    }
    out.push_str("</tr></thead><tbody>");
    if !total.is_empty() {
        row(
            out,
            display.columns,
            ("<span>All</span>", ""),
            total,
            reporting,
        )?;
    }
    let has_others = rows.iter().any(|(_, group)| group.is_others());
    for (_, group) in &rows {
        let names = &snapshot.side.names;
        let words = names.of_group(&snapshot.definitions, choice.set, &group.values);
        let words = words.map(value);
        let name = if group.is_others() {
            format!("<span>{more} more</span>")
        } else {
            words.collect::<Vec<_>>().join(" · ")
        };
        let title = group.values.join(" · ");
        row(
            out,
            display.columns,
            (&name, &title),
            &group.figures,
            reporting,
        )?;
    }
    out.push_str("</tbody></table></div>");
    if rows.is_empty() && choice.set != 0 {
        write!(
            out,
            "<p class=\"soft more\">{} {}.</p>",
            why_empty(snapshot, choice, metric),
            Escaped(&words(&choice.set_name))
        )?;
    }
    if more > 0 {
        // Groups that overlap, as a manager's and that of who reports to him, have no sum.
        let words = "shown are those with the most leads and decided deals in 90 days";
        let text = if has_others {
            format!("{words}; the {more} others together in one row")
        } else {
            format!("and {more} more; {words}")
        };
        write!(out, "<p class=\"soft more\">{text}</p>")?;
    }
    Ok(())
}

/// Why a metric has no rows, to be followed by the dimension's name.
fn why_empty(snapshot: &Snapshot, choice: &Choice, metric: &dyn Metric) -> &'static str {
    let Some(set) = snapshot.definitions.set(choice.set) else {
        return "Nothing by";
    };
    let mut rollups = metric.rollups().into_iter();
    if !rollups.any(|rollup| rollup.cut_by.keeps(&set.dimensions)) {
        "This is not cut by"
    } else if matches!(snapshot.reading.windows[choice.window], Window::Hours(_))
        && !set.grains.contains(&Grain::Hour)
    {
        "Hours are not kept by"
    } else {
        "Nothing in this window by"
    }
}

fn row(
    out: &mut String,
    columns: &[Column],
    (name, title): (&str, &str),
    figures: &Figures,
    reporting: &str,
) -> fmt::Result {
    write!(
        out,
        "<tr><th scope=\"row\" title=\"{}\">{name}</th>",
        Escaped(title)
    )?;
    for (i, column) in columns.iter().enumerate() {
        write!(out, "<td{}>", first(columns, i))?;
        cell(out, column, figures, reporting)?;
        out.push_str("</td>");
    }
    out.push_str("</tr>");
    Ok(())
}

fn cell(out: &mut String, column: &Column, figures: &Figures, reporting: &str) -> fmt::Result {
    let found = find(figures, column.path);
    if found.is_empty() {
        return write!(out, "<span class=\"none\">{NO_VALUE}</span>");
    }
    for (currency, figure) in found {
        out.push_str("<div>");
        match currency {
            None => {}
            Some(REPORTING) => write!(
                out,
                "<span class=\"code\">all in {}</span>",
                Escaped(reporting)
            )?,
            Some(currency) => write!(out, "<span class=\"code\">{}</span>", Escaped(currency))?,
        }
        match (figure, figure.gauge()) {
            // What is nothing steps back, so that the eye finds what is something.
            (_, None) | (Figure::Count(0) | Figure::Decimal(0) | Figure::Money(0), _) => {
                write!(out, "<span class=\"none\">{}</span>", written(figure))?
            }
            (Figure::Share { .. } | Figure::Ratio(_), Some(ratio)) => {
                match confidence(figure) {
                    Some(bounds) => {
                        write!(out, "<span title=\"{bounds}\">{}</span>", written(figure))?
                    }
                    None => out.push_str(&written(figure)),
                }
                // Lines of several currencies have to stay level with their neighbours'.
                if currency.is_none() {
                    let part = (ratio * 100.0).clamp(0.0, 100.0);
                    write!(out, "<i style=\"--part:{part:.1}%\"></i>")?;
                }
            }
            (single, _) => out.push_str(&written(single)),
        }
        out.push_str("</div>");
    }
    if let Some((numerator, denominator)) = column.of {
        write!(
            out,
            "<small>{} of {}</small>",
            in_a_sentence(figures, numerator, reporting),
            in_a_sentence(figures, denominator, reporting)
        )?;
    }
    Ok(())
}

/// The first column under a heading is set off a little.
fn first(columns: &[Column], i: usize) -> &'static str {
    if i == 0 || columns[i - 1].over != columns[i].over {
        " class=\"first\""
    } else {
        ""
    }
}

fn value(value: &str) -> String {
    if value.is_empty() {
        "<span class=\"none\">none stated</span>".to_owned()
    } else {
        Escaped(value).to_string()
    }
}

fn window_name(window: &Window) -> String {
    match window {
        Window::Hours(hours) => format!("{hours} hours"),
        Window::Days(days) => format!("{days} days"),
        Window::QuarterToDate => "Quarter to date".into(),
        Window::Month(_) => window.label(),
        Window::All => "All time".into(),
    }
}

/// The name of a grouping set in plain English.
fn words(set_name: &str) -> String {
    set_name
        .split(',')
        .map(|d| d.strip_prefix("custom.").unwrap_or(d).replace('_', " "))
        .collect::<Vec<_>>()
        .join(" and ")
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}
