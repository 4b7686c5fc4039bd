//! The lines of a file of messages.

use std::io::{self, BufRead, Read};
use std::path::Path;

use super::charset::{Charset, windows_1252};
use super::{InputError, Opened, Say, Told, open};

/// How many lines are read together, and how many bytes at the least end such a piece.
const PIECE: usize = 1_000;

/// A line's number, from 1, and its text.
pub type Line = (u64, Vec<u8>);

/// The lines of a file that aren't blank.
pub struct Lines {
    name: String,
    reader: Box<dyn BufRead + Send>,
    charset: Charset,
    number: u64,
    limit: usize,
}

impl Lines {
    /// Opens a file; `-` is standard input. Of a line longer than `limit` one byte more is kept, so
    /// that it is seen to be too long.
    ///
    /// # Errors
    /// It can't be opened or read.
    pub fn open(path: &Path, told: Told, limit: usize, say: Say) -> Result<Lines, InputError> {
        let Opened {
            name,
            reader,
            charset,
        } = open(path, told, say)?;
        Ok(Lines {
            name,
            reader,
            charset,
            number: 0,
            limit,
        })
    }

    /// The next lines, some together; `None` at the end.
    ///
    /// # Errors
    /// The file can't be read on.
    pub fn next_piece(&mut self) -> Result<Option<Vec<Line>>, InputError> {
        self.read().map_err(|source| InputError::Read {
            name: self.name.clone(),
            source,
        })
    }

    fn read(&mut self) -> io::Result<Option<Vec<Line>>> {
        let (mut lines, mut size) = (Vec::new(), 0);
        while lines.len() < PIECE && size < self.limit {
            let mut line = Vec::new();
            let mut start = self.reader.as_mut().take(self.limit as u64 + 1);
            if start.read_until(b'\n', &mut line)? == 0 {
                return Ok((!lines.is_empty()).then_some(lines));
            }
            if line.len() > self.limit && !line.ends_with(b"\n") {
                self.reader.skip_until(b'\n')?;
            }
            self.number += 1;
            let mut text = line.trim_ascii().to_vec();
            if self
                .charset
                .look(std::iter::once(text.as_slice()), self.number)
            {
                text = windows_1252(&text).into_owned().into_bytes();
            }
            if !text.is_empty() {
                size += text.len();
                lines.push((self.number, text));
            }
        }
        Ok(Some(lines))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use encoding_rs::WINDOWS_1252;

    const LIMIT: usize = 1 << 20;

    fn read(bytes: &[u8], told: Told) -> Vec<(u64, String)> {
        let source = Box::new(io::Cursor::new(bytes.to_vec()));
        let opened = Opened::of(source, "x".into(), told, |_| ()).unwrap();
        let mut lines = Lines {
            name: opened.name,
            reader: opened.reader,
            charset: opened.charset,
            number: 0,
            limit: LIMIT,
        };
        let mut all = Vec::new();
        while let Some(piece) = lines.next_piece().unwrap() {
            let texts = piece.into_iter();
            all.extend(
                texts.map(|(number, text)| (number, String::from_utf8_lossy(&text).into_owned())),
            );
        }
        all
    }

    fn one(bytes: &[u8]) -> String {
        let lines = read(bytes, Told::default());
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines[0].1.clone()
    }

    #[test]
    fn reads_lines_of_any_length_and_passes_over_blank_ones() {
        let long = vec![b'x'; LIMIT + 10];
        let text = [b"\xef\xbb\xbf{}\r\n\n  \n".as_slice(), &long, b"\nlast"].concat();
        let lines = read(&text, Told::default()).into_iter();
        let lengths: Vec<(u64, usize)> = lines.map(|(number, text)| (number, text.len())).collect();
        assert_eq!(lengths, [(1, 2), (4, LIMIT + 1), (5, 4)]);
    }

    #[test]
    fn marks_and_encodings_are_recognised() {
        let text = "{\"name\": \"Größe €\"}";
        let wide = |order: fn(u16) -> [u8; 2], mark: u16| -> Vec<u8> {
            std::iter::once(mark)
                .chain(text.encode_utf16())
                .flat_map(order)
                .collect()
        };
        assert_eq!(one(text.as_bytes()), text);
        assert_eq!(one(&[b"\xef\xbb\xbf", text.as_bytes()].concat()), text);
        assert_eq!(one(&wide(u16::to_le_bytes, 0xfeff)), text);
        assert_eq!(one(&wide(u16::to_be_bytes, 0xfeff)), text);
        let (narrow, ..) = WINDOWS_1252.encode(text);
        assert_eq!(one(&narrow), text);
        assert_eq!(one(&gz(&narrow)), text);
        assert_eq!(
            one(&zstd::encode_all(wide(u16::to_le_bytes, 0xfeff).as_slice(), 1).unwrap()),
            text
        );
        let told = Told {
            encoding: Some(encoding_rs::UTF_16LE),
            ..Told::default()
        };
        let unmarked = &wide(u16::to_le_bytes, 0xfeff)[2..];
        assert_eq!(read(unmarked, told), [(1, text.to_owned())]);
    }

    #[test]
    fn the_first_line_that_is_not_ascii_decides_and_a_broken_line_of_utf8_stays_broken() {
        let lines = |bytes: &[u8]| -> Vec<String> {
            let lines = read(bytes, Told::default()).into_iter();
            lines.map(|(_, text)| text).collect()
        };
        assert_eq!(lines(b"a\n\xfc\n\xe4\n"), ["a", "ü", "ä"]);
        assert_eq!(lines("ü\n\u{fc}".as_bytes()), ["ü", "ü"]);
        assert_eq!(
            lines(b"\xc3\xbc\n\xfc\n"),
            ["ü", "\u{fffd}"],
            "shown as broken by this test"
        );
        assert_eq!(
            lines(b"\xfc\n\xc3\xbc\n"),
            ["ü", "ü"],
            "what is UTF-8 is read as such"
        );
        let utf8 = Told {
            encoding: Some(encoding_rs::UTF_8),
            ..Told::default()
        };
        assert_eq!(read(b"\xfc", utf8), [(1, "\u{fffd}".to_owned())]);
    }

    #[test]
    fn several_members_of_a_gz_are_one_file_and_a_truncated_one_is_an_error() {
        let both = [gz(b"a\n"), gz(b"b\n")].concat();
        assert_eq!(read(&both, Told::default()).len(), 2);
        let packed = gz(&b"a line of some length\n".repeat(100));
        let source = Box::new(io::Cursor::new(packed[..packed.len() - 12].to_vec()));
        let opened = Opened::of(source, "x".into(), Told::default(), |_| ()).unwrap();
        let mut all = Vec::new();
        let mut reader = opened.reader;
        assert!(reader.read_to_end(&mut all).is_err());
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        let mut encoder = flate2::read::GzEncoder::new(bytes, flate2::Compression::fast());
        encoder.read_to_end(&mut packed).unwrap();
        packed
    }
}
