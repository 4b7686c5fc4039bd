//! Grids: columns of text, aligned, within a terminal's width.

/// How wide a report is at most.
pub const WIDTH: usize = 100;
const GAP: usize = 2;
/// The narrowest a first column is cut to.
const NARROW: usize = 12;

/// One cell: what it shows, and whether that is something.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The text.
    pub text: String,
    /// It is nothing: a zero, or no value.
    pub is_nothing: bool,
}

/// A head and rows of as many cells. The first column is read from the left, all others from the
/// right.
#[derive(Debug, Default)]
pub struct Grid {
    head: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

impl Grid {
    /// A grid under a head.
    pub fn new(head: impl IntoIterator<Item = impl Into<String>>) -> Grid {
        Grid {
            head: head.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, name: &str, cells: impl IntoIterator<Item = Cell>) {
        let name = Cell {
            text: clean(name),
            is_nothing: false,
        };
        self.rows.push(std::iter::once(name).chain(cells).collect());
    }

    /// Removes the rows without a value.
    pub fn without_empty_rows(mut self) -> Grid {
        self.rows
            .retain(|row| row.iter().skip(1).any(|cell| !cell.is_nothing));
        self
    }

    /// Removes the columns without a value.
    pub fn without_empty_columns(mut self) -> Grid {
        let has_value: Vec<bool> = (0..self.head.len())
            .map(|i| {
                i == 0
                    || self
                        .rows
                        .iter()
                        .any(|row| row.get(i).is_some_and(|c| !c.is_nothing))
            })
            .collect();
        let keep = |i: usize| has_value.get(i).copied().unwrap_or(false);
        self.head = self
            .head
            .into_iter()
            .enumerate()
            .filter(|(i, _)| keep(*i))
            .map(|(_, text)| text)
            .collect();
        self.rows = self
            .rows
            .into_iter()
            .map(|row| {
                row.into_iter()
                    .enumerate()
                    .filter(|(i, _)| keep(*i))
                    .map(|(_, cell)| cell)
                    .collect()
            })
            .collect();
        self
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How wide it is.
    pub fn width(&self) -> usize {
        self.widths().iter().map(|width| width + GAP).sum()
    }

    fn widths(&self) -> Vec<usize> {
        let of = |i: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(i))
                .map(|cell| length(&cell.text))
                .max()
                .unwrap_or(0)
        };
        self.head
            .iter()
            .enumerate()
            .map(|(i, head)| length(head).max(of(i)))
            .collect()
    }

    /// Its lines. The first column is cut where it makes the grid too wide.
    pub fn show(&self) -> String {
        let mut widths = self.widths();
        if let Some(first) = widths.first_mut() {
            let too_much = self.width().saturating_sub(WIDTH);
            *first = first.saturating_sub(too_much).max(NARROW.min(*first));
        }
        let head = line(self.head.iter().map(String::as_str), &widths);
        let rows = self
            .rows
            .iter()
            .map(|row| line(row.iter().map(|cell| cell.text.as_str()), &widths));
        std::iter::once(head).chain(rows).collect()
    }
}

fn line<'a>(cells: impl Iterator<Item = &'a str>, widths: &[usize]) -> String {
    let mut out = String::new();
    for (i, (text, width)) in cells.zip(widths).enumerate() {
        let text = cut(text, *width);
        let fill = " ".repeat(width - length(&text));
        out.push_str(&" ".repeat(GAP));
        if i == 0 {
            out.extend([text, fill])
        } else {
            out.extend([fill, text])
        }
    }
    out.truncate(out.trim_end().len());
    out + "\n"
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// Cuts out of the middle: the end of a label is its currency.
fn cut(text: &str, width: usize) -> String {
    let length = length(text);
    if length <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let tail = kept / 3;
    text.chars()
        .take(kept - tail)
        .chain(['…'])
        .chain(text.chars().skip(length - tail))
        .collect()
}

/// A name from the input, without characters that would move a terminal's cursor or change its
/// colours.
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Digits in threes, from the right: `-1234567.50` is `-1,234,567.50`.
pub fn grouped(number: &str) -> String {
    let (sign, digits) = number
        .strip_prefix('-')
        .map_or(("", number), |digits| ("-", digits));
    let (whole, rest) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut out = String::from(sign);
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(text: &str) -> Cell {
        Cell {
            text: text.into(),
            is_nothing: text == "0" || text == "–",
        }
    }

    #[test]
    fn groups_digits_in_threes() {
        for (number, shown) in [
            ("0", "0"),
            ("999", "999"),
            ("1000", "1,000"),
            ("-123456.50", "-123,456.50"),
            ("10005534.00", "10,005,534.00"),
        ] {
            assert_eq!(grouped(number), shown);
        }
    }

    #[test]
    fn is_shown_in_columns_without_empty_ones() {
        let mut grid = Grid::new(["name", "won", "lost", "rate"]);
        grid.row("a\u{1b}[31m", [cell("12"), cell("0"), cell("–")]);
        grid.row("long name", [cell("3"), cell("0"), cell("50 %")]);
        grid.row("nobody", [cell("0"), cell("0"), cell("–")]);
        let shown = grid.without_empty_rows().without_empty_columns().show();
        assert_eq!(
            shown,
            "  name       won  rate\n  a\u{fffd}[31m      12     –\n  long name    3  50 %\n"
        );
    }

    #[test]
    fn cuts_a_name_that_would_make_it_too_wide() {
        let mut grid = Grid::new(["name", "won"]);
        grid.row(&format!("{}, EUR", "x".repeat(300)), [cell("1")]);
        let shown = grid.show();
        assert!(
            shown.lines().all(|line| line.chars().count() <= WIDTH),
            "{shown}"
        );
        assert!(shown.contains("x…x") && shown.contains(", EUR  "));
    }
}
