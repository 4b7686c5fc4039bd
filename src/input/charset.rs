//! The characters of a file that doesn't say how they are written: UTF-8, unless the first line
//! that isn't ASCII shows otherwise.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

use super::Say;

/// What a decoder writes in place of what it can't read.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// How the characters of a file are written, as far as it was read.
pub(super) struct Charset {
    name: String,
    known: Known,
    say: Say,
}

enum Known {
    /// All of it was ASCII so far.
    NotYet,
    /// A line that isn't UTF-8 is broken.
    Utf8,
    /// Lines that aren't UTF-8 are Windows-1252.
    Windows1252,
    /// It is decoded before it comes here; whether something that could not be was said.
    Decoded(&'static Encoding, bool),
}

impl Charset {
    /// That of a file, if it is known.
    pub fn new(name: &str, encoding: Option<&'static Encoding>, say: Say) -> Charset {
        let known = match encoding {
            None => Known::NotYet,
            Some(encoding) if encoding == UTF_8 => Known::Utf8,
            Some(encoding) => Known::Decoded(encoding, false),
        };
        Charset {
            name: name.to_owned(),
            known,
            say,
        }
    }

    /// Looks at a line, whose `parts` are decoded one by one. True if they are to be read as
    /// Windows-1252: by [`windows_1252`].
    pub fn look<'p>(
        &mut self,
        mut parts: impl Iterator<Item = &'p [u8]> + Clone,
        line: u64,
    ) -> bool {
        let is_settled = matches!(self.known, Known::Utf8 | Known::Decoded(_, true));
        if is_settled || parts.clone().all(<[u8]>::is_ascii) {
            return false;
        }
        let is_utf8 = || parts.clone().all(is_utf8);
        match &mut self.known {
            Known::NotYet if is_utf8() => {
                self.known = Known::Utf8;
                false
            }
            Known::NotYet => {
                self.known = Known::Windows1252;
                (self.say)(&format!(
                    "{}: read as Windows-1252, since line {line} is not UTF-8; if it is neither, write its `encoding` in the mapping",
                    self.name
                ));
                true
            }
            Known::Windows1252 => !is_utf8(),
            Known::Utf8 | Known::Decoded(_, true) => false,
            Known::Decoded(encoding, is_said) => {
                *is_said = parts.any(|part| part.windows(3).any(|three| three == REPLACEMENT));
                if *is_said {
                    (self.say)(&format!(
                        "{}: a character of line {line} is no {}, and shown as \u{fffd}; if that is not its encoding, write `encoding` in the mapping",
                        self.name,
                        encoding.name()
                    ));
                }
                false
            }
        }
    }
}

fn is_utf8(bytes: &[u8]) -> bool {
    simdutf8::basic::from_utf8(bytes).is_ok()
}

/// Text as UTF-8, whichever of the two it is.
pub(super) fn windows_1252(bytes: &[u8]) -> Cow<'_, str> {
    match simdutf8::basic::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(bytes).0,
    }
}
