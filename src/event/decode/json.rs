//! JSON read in one pass, value by value, borrowed from its text.
//!
//! Only what almost every member of an event is is read here: texts without escapes, numbers,
//! `null`, `true`, `false`. Anything else, escapes, arrays, objects and all that is no JSON, goes
//! to serde_json, which has the last say.

use std::borrow::Cow;
use std::fmt::Display;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Bad, Reason};

/// A value as it is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token<'a> {
    /// `null`
    Null,
    /// A text, its escapes resolved.
    Text(Cow<'a, str>),
    /// A text that no Rust text can hold: it has half a surrogate pair.
    Unreadable(&'a str),
    /// A number, digit by digit.
    Number(&'a str),
    /// `true` or `false`
    Flag(bool),
    /// An array or an object.
    Nested(&'a str),
}

/// What kind of value comes next, by its first byte alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Null,
    Text,
    Digit,
    Array,
    Object,
    Other,
}

/// A text being read.
pub(super) struct Json<'a> {
    text: &'a str,
    /// Where the reader is: at an ASCII byte, before a value or at the text's end, so that it never
    /// splits a character.
    at: usize,
}

impl<'a> Json<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Json { text, at: 0 }
    }

    /// Where the reader is.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Goes to a place where the reader has been.
    pub(super) fn seek(&mut self, at: usize) {
        self.at = at;
    }

    /// What was read since a place.
    pub(super) fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    /// What is still to be read.
    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Goes to the next byte that is no blank.
    #[inline(always)]
    fn byte(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Goes to the next value and looks at its first byte.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Result<Next, Bad> {
        Ok(match self.byte() {
            Some(b'"') => Next::Text,
            Some(b'n') => Next::Null,
            Some(b'0'..=b'9') => Next::Digit,
            Some(b'[') => Next::Array,
            Some(b'{') => Next::Object,
            Some(_) => Next::Other,
            None => return Err(broken("it ends before a value")),
        })
    }

    /// Reads the next value.
    #[inline(always)]
    pub(super) fn value(&mut self) -> Result<Token<'a>, Bad> {
        let first = self.byte();
        if first == Some(b'"')
            && let Some(text) = self.plain_text()
        {
            return Ok(Token::Text(Cow::Borrowed(text)));
        }
        let start = self.at;
        let rest = &self.text.as_bytes()[start..];
        let (length, token) = match first {
            Some(b'n') if rest.starts_with(b"null") => (4, Token::Null),
            Some(b't') if rest.starts_with(b"true") => (4, Token::Flag(true)),
            Some(b'f') if rest.starts_with(b"false") => (5, Token::Flag(false)),
            Some(b'-' | b'0'..=b'9') => match number(rest) {
                Some(length) => (length, Token::Number(&self.text[start..start + length])),
                None => return self.other_value(start),
            },
            _ => return self.other_value(start),
        };
        self.at += length;
        Ok(token)
    }

    #[cold]
    fn other_value(&mut self, start: usize) -> Result<Token<'a>, Bad> {
        let raw = self.skip_other(start)?;
        Ok(match raw.as_bytes().first() {
            Some(b'"') => match serde_json::from_str::<String>(raw) {
                Ok(text) => Token::Text(Cow::Owned(text)),
                Err(_) => Token::Unreadable(raw),
            },
            _ => Token::Nested(raw),
        })
    }

    /// Passes over the next value and returns it as it is written.
    pub(super) fn skip(&mut self) -> Result<&'a str, Bad> {
        let first = self.byte();
        let start = self.at;
        match first {
            Some(b'"') if self.plain_text().is_some() => Ok(self.since(start)),
            Some(b'"' | b'{' | b'[') | None => self.skip_other(start),
            Some(_) => self.value().map(|_| self.since(start)),
        }
    }

    #[cold]
    fn skip_other(&mut self, start: usize) -> Result<&'a str, Bad> {
        let mut values = serde_json::Deserializer::from_str(&self.text[start..]);
        let raw = <&'a RawValue>::deserialize(&mut values)
            .map_err(broken)?
            .get();
        self.at = start + raw.len();
        Ok(raw)
    }

    /// The text that begins here, if it has no escapes.
    #[inline(always)]
    fn plain_text(&mut self) -> Option<&'a str> {
        let start = self.at + 1;
        let length = plain_length(&self.text.as_bytes()[start..])?;
        self.at = start + length + 1;
        Some(&self.text[start..start + length])
    }

    /// The first key of the object that comes next; `None` if it is empty.
    pub(super) fn first_key(&mut self) -> Result<Option<Cow<'a, str>>, Bad> {
        self.at += 1;
        match self.byte() {
            Some(b'}') => {
                self.at += 1;
                Ok(None)
            }
            _ => self.key().map(Some),
        }
    }

    /// The next key after a value; `None` at the object's end.
    #[inline(always)]
    pub(super) fn next_key(&mut self) -> Result<Option<Cow<'a, str>>, Bad> {
        if self.has_next(b'}')? {
            self.byte();
            self.key().map(Some)
        } else {
            Ok(None)
        }
    }

    #[inline(always)]
    fn key(&mut self) -> Result<Cow<'a, str>, Bad> {
        if self.byte() != Some(b'"') {
            return Err(broken("a key is missing"));
        }
        let key = match self.plain_text() {
            Some(key) => Cow::Borrowed(key),
            None => self.other_key()?,
        };
        if self.byte() != Some(b':') {
            return Err(broken("a colon is missing"));
        }
        self.at += 1;
        Ok(key)
    }

    #[cold]
    fn other_key(&mut self) -> Result<Cow<'a, str>, Bad> {
        let raw = self.skip_other(self.at)?;
        serde_json::from_str(raw).map(Cow::Owned).map_err(broken)
    }

    /// Goes to the first item of the array that comes next; `false` if it is empty.
    pub(super) fn first_item(&mut self) -> Result<bool, Bad> {
        self.at += 1;
        let is_empty = self.byte() == Some(b']');
        self.at += usize::from(is_empty);
        Ok(!is_empty)
    }

    /// Goes to the next item after a value; `false` at the array's end.
    pub(super) fn next_item(&mut self) -> Result<bool, Bad> {
        let has_next = self.has_next(b']')?;
        self.byte();
        Ok(has_next)
    }

    #[inline(always)]
    fn has_next(&mut self, end: u8) -> Result<bool, Bad> {
        let byte = self.byte();
        if byte != Some(b',') && byte != Some(end) {
            return Err(broken("a comma or an end is missing"));
        }
        self.at += 1;
        Ok(byte == Some(b','))
    }

    /// Nothing may follow.
    pub(super) fn finish(&mut self) -> Result<(), Bad> {
        match self.byte() {
            None => Ok(()),
            Some(_) => Err(broken("something follows its end")),
        }
    }
}

/// How many bytes come before the closing quote; `None` if there is an escape, a control character
/// or no quote. Eight bytes are looked at together; the lowest bit of a mask is exact, as borrows
/// only go upwards.
#[inline(always)]
fn plain_length(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES * 0x80;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut length = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let quotes = zero(word ^ (ONES * u64::from(b'"')));
        let escapes = zero(word ^ (ONES * u64::from(b'\\')));
        let controls = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let mask = quotes | escapes | controls;
        if mask != 0 {
            let first = mask & mask.wrapping_neg();
            length += first.trailing_zeros() as usize / 8;
            return (quotes & first != 0).then_some(length);
        }
        length += 8;
    }
    for byte in rest {
        match byte {
            b'"' => return Some(length),
            b'\\' | ..0x20 => return None,
            _ => length += 1,
        }
    }
    None
}

/// How long the number is that begins here; `None` if it is none.
fn number(bytes: &[u8]) -> Option<usize> {
    let digits = |from: usize| {
        let digits = bytes.get(from..).unwrap_or_default();
        digits.iter().take_while(|b| b.is_ascii_digit()).count()
    };
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    match (bytes.get(at)?, digits(at)) {
        (_, 0) => return None,
        (b'0', 2..) => return None,
        (_, whole) => at += whole,
    }
    if bytes.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if fraction == 0 {
            return None;
        }
        at += 1 + fraction;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
        let exponent = digits(at);
        if exponent == 0 {
            return None;
        }
        at += exponent;
    }
    Some(at)
}

#[cold]
fn broken(error: impl Display) -> Bad {
    Bad::new(Reason::NotJson, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> Result<Token<'_>, Reason> {
        let mut json = Json::new(text);
        let read = json.value().map_err(|bad| bad.reason)?;
        json.finish().map_err(|bad| bad.reason)?;
        Ok(read)
    }

    #[test]
    fn values_are_what_is_written() {
        for number in ["0", "-0.10", "1E+5", "90071992547409930.00010", "1e999"] {
            assert_eq!(only(&format!(" {number}\n")), Ok(Token::Number(number)));
        }
        let long = "7".repeat(10_000);
        assert_eq!(only(&long), Ok(Token::Number(&long)));
        assert_eq!(only("true"), Ok(Token::Flag(true)));
        assert_eq!(
            only(r#"[1, {"a":2}] "#),
            Ok(Token::Nested(r#"[1, {"a":2}]"#))
        );
        for bad in [
            "", "01", "1.", ".5", "+1", "NaN", "Infinity", "nul", "tru", "1 2", "[1,]", "{,}",
            "\"\t\"", "\"\\x\"",
        ] {
            assert_eq!(only(bad), Err(Reason::NotJson), "{bad}");
        }
    }

    #[test]
    fn a_text_is_borrowed_unless_it_has_escapes() {
        for (json, plain) in [(r#""""#, ""), (r#""Zoë""#, "Zoë")] {
            assert!(matches!(only(json), Ok(Token::Text(Cow::Borrowed(text))) if text == plain));
        }
        let escaped = r#""\u005a\ud83d\ude00\"""#;
        assert!(matches!(only(escaped), Ok(Token::Text(Cow::Owned(text))) if text == "Z😀\""));
    }

    #[test]
    fn what_is_deep_or_unreadable_is_passed_over_where_it_is_json() {
        let half = r#""\ud800""#;
        assert_eq!(only(half), Ok(Token::Unreadable(half)));
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert_eq!(only(&deep), Ok(Token::Nested(&deep)));
        assert_eq!(only(&deep[1..]), Err(Reason::NotJson));

        let text = format!(r#"{{"a":{deep},"b":{half},"c":1}}"#);
        let mut json = Json::new(&text);
        let mut names = Vec::new();
        let mut name = json.first_key().unwrap();
        while let Some(known) = name {
            names.push(known);
            json.skip().unwrap();
            name = json.next_key().unwrap();
        }
        assert_eq!(names, ["a", "b", "c"]);
        assert!(json.finish().is_ok());
    }
}
