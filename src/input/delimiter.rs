//! What separates the cells of a table, found in its header.

use std::collections::BTreeSet;

use csv::ReaderBuilder;

use super::charset::windows_1252;

/// What may separate cells.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// The one delimiter that is in the header outside of quotes; of several the one by which most of
/// the columns that the mapping names are there. A header of one column has none, and is read as if
/// it were a comma. `start` is the start of the file.
///
/// # Errors
/// What is ambiguous, and what to write.
pub(super) fn find(start: &[u8], wanted: &BTreeSet<&str>) -> Result<u8, String> {
    let found = DELIMITERS.map(|delimiter| (delimiter, header(start, delimiter)));
    let found: Vec<(u8, Vec<String>)> = found
        .into_iter()
        .filter(|(_, cells)| cells.len() > 1)
        .collect();
    let named = |cells: &[String]| {
        cells
            .iter()
            .filter(|cell| wanted.contains(cell.as_str()))
            .count()
    };
    let most = found
        .iter()
        .map(|(_, cells)| named(cells))
        .max()
        .unwrap_or_default();
    let best: Vec<&(u8, Vec<String>)> = found
        .iter()
        .filter(|(_, cells)| named(cells) == most)
        .collect();
    match best[..] {
        [] => Ok(b','),
        [(delimiter, _)] => Ok(*delimiter),
        _ => {
            let counts = best.iter().map(|(delimiter, cells)| {
                format!("{} ({} columns)", shown(*delimiter), cells.len())
            });
            let counts: Vec<String> = counts.collect();
            Err(format!(
                "its header may be separated by {}: write `delimiter = {}` in the mapping, or whichever it is",
                counts.join(" or "),
                toml(best[0].0)
            ))
        }
    }
}

/// The cells of the header by a delimiter.
fn header(start: &[u8], delimiter: u8) -> Vec<String> {
    let mut reader = ReaderBuilder::new().delimiter(delimiter).from_reader(start);
    let header = reader.byte_headers().map(|header| {
        let cells = header
            .iter()
            .map(|cell| windows_1252(cell).trim().to_owned());
        cells.collect()
    });
    header.unwrap_or_default()
}

/// A delimiter as people read it.
pub(super) fn shown(delimiter: u8) -> String {
    match delimiter {
        b'\t' => "tabs".into(),
        other => format!("`{}`", char::from(other)),
    }
}

fn toml(delimiter: u8) -> String {
    match delimiter {
        b'\t' => r#""\t""#.into(),
        other => format!("\"{}\"", char::from(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delimiter_is_the_one_of_the_header_outside_of_quotes() {
        let wanted = BTreeSet::new();
        for (start, expected) in [
            ("a,b,c\n1;2;3\n", b','),
            ("a;b;c\n1,5;2,5;3\n", b';'),
            ("a\tb\n", b'\t'),
            ("a|b", b'|'),
            ("only\n1,2\n", b','),
            ("\"a, b\";\"c\nd|e\";f\n", b';'),
            ("\n\na;b\n", b';'),
            ("", b','),
        ] {
            assert_eq!(find(start.as_bytes(), &wanted), Ok(expected), "{start:?}");
        }
    }

    #[test]
    fn of_several_the_one_counts_by_which_the_mapped_columns_are_there() {
        let header = b"Ref;Amount, EUR;Gr\xf6\xdfe\n";
        let problem = find(header, &BTreeSet::new()).unwrap_err();
        assert_eq!(
            problem,
            "its header may be separated by `,` (2 columns) or `;` (3 columns): write `delimiter = \",\"` in the mapping, or whichever it is"
        );
        assert!(find(header, &BTreeSet::from(["Nothing"])).is_err());
        for wanted in ["Ref", "Amount, EUR", "Größe"] {
            assert_eq!(
                find(header, &BTreeSet::from([wanted])),
                Ok(b';'),
                "{wanted}"
            );
        }
        assert_eq!(find(header, &BTreeSet::from(["Ref;Amount"])), Ok(b','));
    }
}
