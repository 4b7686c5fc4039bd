//! Just enough of ClickHouse's syntax to part an INSERT from its rows, to find the FORMAT, and to
//! refuse two statements at once.

/// The kind of a request's statement.
#[derive(Debug, PartialEq, Eq)]
pub enum Statement<'a> {
    /// An INSERT of rows: the statement without FORMAT or VALUES, the format of the rows if it was
    /// named, and the rows that were in the text itself.
    Insert {
        head: &'a [u8],
        format: Option<&'a str>,
        rows: &'a [u8],
    },
    /// Anything else, with the format in its text.
    Other { format: Option<&'a str> },
}

/// The text isn't one statement, which is all that ClickHouse takes over HTTP.
#[derive(Debug, PartialEq, Eq)]
pub enum NotOne {
    Empty,
    Several,
    /// Words for a terminal, such as `exit` or `?? question`: the engine would obey them, a server
    /// doesn't.
    Foreign,
}

/// Reads a request's text. What it doesn't understand is `Other`: the engine judges it.
pub fn parse(sql: &[u8]) -> Result<Statement<'_>, NotOne> {
    let mut tokens = Tokens { sql, at: 0 };
    let Some(first) = tokens.next() else {
        return Err(NotOne::Empty);
    };
    if !(first.text[0].is_ascii_alphabetic() || first.text == b"(") {
        return Err(NotOne::Foreign);
    }
    if first.is("insert")
        && let Some(insert) = insert(sql, tokens.clone())
    {
        return Ok(insert);
    }

    let mut format = None;
    let mut previous = first;
    let mut length = 1;
    let mut ended = false;
    for token in tokens {
        if token.text == b";" {
            ended = true;
            continue;
        }
        if ended {
            return Err(NotOne::Several);
        }
        if previous.is("format") && token.word {
            format = str::from_utf8(token.text).ok();
        }
        previous = token;
        length += 1;
    }
    if length == 1 {
        return Err(NotOne::Foreign);
    }
    Ok(Statement::Other { format })
}

/// Finds where the rows of an INSERT begin; `None` if they come from elsewhere, such as a SELECT or
/// a file.
fn insert<'a>(sql: &'a [u8], mut tokens: Tokens<'a>) -> Option<Statement<'a>> {
    let mut depth = 0;
    let mut names_table = true;
    while let Some(token) = tokens.next() {
        match token.text {
            b"(" => depth += 1,
            b")" => depth -= 1,
            _ => {}
        }
        // The word after INTO, TABLE or a dot is a name, even if it is a keyword.
        let keyword = token.word && depth == 0 && !names_table;
        names_table = token.text == b"." || token.is("into") || token.is("table");
        if !keyword {
            continue;
        }
        if ["select", "with", "infile", "watch"]
            .iter()
            .any(|word| token.is(word))
        {
            return None;
        }
        if token.is("values") {
            return Some(Statement::Insert {
                head: &sql[..token.start],
                format: Some("Values"),
                rows: &sql[tokens.at..],
            });
        }
        if token.is("format") {
            let format = tokens.next().filter(|token| token.word)?;
            return Some(Statement::Insert {
                head: &sql[..token.start],
                format: Some(str::from_utf8(format.text).ok()?),
                rows: after_line_end(&sql[tokens.at..]),
            });
        }
    }
    Some(Statement::Insert {
        head: sql,
        format: None,
        rows: &[],
    })
}

/// Rows begin after the blanks and the one line end that follow the format's name, as ClickHouse
/// reads them.
fn after_line_end(rows: &[u8]) -> &[u8] {
    let blanks = rows
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\x0c'))
        .count();
    let rows = &rows[blanks..];
    let rows = rows.strip_prefix(b"\r").unwrap_or(rows);
    rows.strip_prefix(b"\n").unwrap_or(rows)
}

#[derive(Debug, Clone, Copy)]
struct Token<'a> {
    text: &'a [u8],
    start: usize,
    word: bool,
}

impl Token<'_> {
    fn is(&self, keyword: &str) -> bool {
        self.word && self.text.eq_ignore_ascii_case(keyword.as_bytes())
    }
}

/// Words, quoted things as wholes, and single characters; blanks and comments are skipped.
#[derive(Clone)]
struct Tokens<'a> {
    sql: &'a [u8],
    at: usize,
}

impl Tokens<'_> {
    fn skip_past(&mut self, end: &[u8]) {
        let rest = &self.sql[self.at..];
        let found = rest.windows(end.len()).position(|window| window == end);
        self.at = found.map_or(self.sql.len(), |offset| self.at + offset + end.len());
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            match &self.sql[self.at..] {
                [byte, ..] if byte.is_ascii_whitespace() => self.at += 1,
                [b'-', b'-', ..] | [b'#', b' ' | b'!', ..] => self.skip_past(b"\n"),
                [b'/', b'*', ..] => {
                    self.at += 2;
                    self.skip_past(b"*/");
                }
                _ => break,
            }
        }
        let start = self.at;
        let rest = &self.sql[start..];
        let length = match *rest.first()? {
            quote @ (b'\'' | b'"' | b'`') => quoted_length(rest, quote),
            byte if is_word(byte) => rest.iter().take_while(|byte| is_word(**byte)).count(),
            _ => 1,
        };
        self.at += length;
        Some(Token {
            text: &rest[..length],
            start,
            word: is_word(rest[0]),
        })
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The length of a quoted thing with its quotes; a doubled quote is read as two things in a row,
/// which does no harm here.
fn quoted_length(text: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(
        head: &'static str,
        format: Option<&'static str>,
        rows: &'static str,
    ) -> Statement<'static> {
        Statement::Insert {
            head: head.as_bytes(),
            format,
            rows: rows.as_bytes(),
        }
    }

    #[test]
    fn insert_is_parted_from_its_rows() {
        let table = [
            (
                "INSERT INTO t(a, `format`, values) FORMAT RowBinary",
                insert("INSERT INTO t(a, `format`, values) ", Some("RowBinary"), ""),
            ),
            (
                "-- rows; FORMAT no\ninsert into t format JSONEachRow\r\n\n{\"a\":1}",
                insert(
                    "-- rows; FORMAT no\ninsert into t ",
                    Some("JSONEachRow"),
                    "\n{\"a\":1}",
                ),
            ),
            (
                "INSERT INTO t VALUES (1, 'FORMAT'); ",
                insert("INSERT INTO t ", Some("Values"), " (1, 'FORMAT'); "),
            ),
            (
                "INSERT INTO format.values SETTINGS a = 'values' VALUES (1)",
                insert(
                    "INSERT INTO format.values SETTINGS a = 'values' ",
                    Some("Values"),
                    " (1)",
                ),
            ),
            ("INSERT INTO t", insert("INSERT INTO t", None, "")),
        ];
        for (sql, expected) in table {
            assert_eq!(parse(sql.as_bytes()), Ok(expected), "{sql}");
        }
    }

    #[test]
    fn insert_without_rows_is_left_to_the_engine() {
        for sql in [
            "INSERT INTO t SELECT 1",
            "INSERT INTO t WITH 1 AS x SELECT x",
            "INSERT INTO t FROM INFILE 'f' FORMAT CSV",
        ] {
            assert!(
                matches!(parse(sql.as_bytes()), Ok(Statement::Other { .. })),
                "{sql}"
            );
        }
    }

    #[test]
    fn format_of_a_select_is_found() {
        let table = [
            ("SELECT 1", None),
            ("SELECT 1 FORMAT JSON", Some("JSON")),
            ("SELECT 'FORMAT x' format CSV settings a=1;", Some("CSV")),
            ("SELECT 1 /* FORMAT CSV */", None),
            ("SELECT 'it''s \\' FORMAT CSV", None),
        ];
        for (sql, format) in table {
            assert_eq!(
                parse(sql.as_bytes()),
                Ok(Statement::Other { format }),
                "{sql}"
            );
        }
    }

    #[test]
    fn anything_but_one_statement_is_refused() {
        assert_eq!(parse(b"SELECT 1; SELECT 2"), Err(NotOne::Several));
        assert_eq!(parse(b" -- nothing"), Err(NotOne::Empty));
        for sql in [
            "exit",
            "Quit;",
            "?? how many deals",
            "\\d",
            ";",
            "1",
            "\u{feff}SELECT 1",
        ] {
            assert_eq!(parse(sql.as_bytes()), Err(NotOne::Foreign), "{sql}");
        }
        assert!(parse(b"SELECT ';'; -- done;\n;").is_ok());
    }

    #[test]
    fn any_bytes_are_read_without_panic() {
        for sql in [
            &b"\xff\xfe"[..],
            b"'\\",
            b"/*",
            b"--",
            b"insert",
            b"insert into t format",
            b"\"\xc3",
        ] {
            let _ = parse(sql);
        }
    }
}
