//! Files of tables and of messages, opened in one place: unpacked, and decoded to UTF-8. What is
//! found out about a file, and not what everybody expects, is said.
//!
//! Everything is read as a stream: memory doesn't grow with a file.

mod charset;
mod delimiter;
mod lines;
mod table;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use encoding_rs::{Encoding, UTF_8};
use encoding_rs_io::DecodeReaderBytesBuilder;
use flate2::read::MultiGzDecoder;

use charset::Charset;
pub use lines::{Line, Lines};
pub use table::Table;

/// How much is read of a file at once.
const BUFFER: usize = 1 << 16;

/// Takes what is said about a file, a line each.
pub type Say = fn(&str);

/// What is known of a file before it is opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct Told {
    /// How its characters are written.
    pub encoding: Option<&'static Encoding>,
    /// What separates the cells of a table.
    pub delimiter: Option<u8>,
}

/// A file can't be read.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// It can't be opened.
    #[error("can't open {path}: {source}")]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a directory.
    #[error("{0} is a directory: name the files in it")]
    Directory(PathBuf),
    /// Reading it failed.
    #[error("{name} can't be read on: {source}")]
    Read {
        /// Its name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// Its content is not what is expected.
    #[error("{name}: {problem}")]
    Content {
        /// Its name.
        name: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

/// A file as UTF-8, as far as that can be known before it is read.
struct Opened {
    name: String,
    reader: Box<dyn BufRead + Send>,
    charset: Charset,
}

/// Opens a file; `-` is standard input.
fn open(path: &Path, told: Told, say: Say) -> Result<Opened, InputError> {
    let name = path.display().to_string();
    let source: Box<dyn Read + Send> = if path.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        let open_error = |source| InputError::Open {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(open_error)?;
        // A directory opens too, and can't be read.
        if file.metadata().is_ok_and(|about| about.is_dir()) {
            return Err(InputError::Directory(path.to_owned()));
        }
        Box::new(file)
    };
    Opened::of(source, name.clone(), told, say).map_err(|source| InputError::Read { name, source })
}

impl Opened {
    fn of(source: Box<dyn Read + Send>, name: String, told: Told, say: Say) -> io::Result<Opened> {
        let (start, source) = peek(source)?;
        let source: Box<dyn Read + Send> = match start[..] {
            [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(source)),
            [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::Decoder::new(source)?),
            _ => source,
        };
        let (start, mut source) = peek(source)?;
        let (mark, length) = match Encoding::for_bom(&start) {
            Some((encoding, length)) => (Some(encoding), length),
            None => (None, 0),
        };
        source
            .by_ref()
            .take(length as u64)
            .read_to_end(&mut Vec::new())?;
        if let Some(mark) = mark {
            say(&format!(
                "{name}: read as {}, as its byte order mark says",
                mark.name()
            ));
        }
        let encoding = mark.or(told.encoding);
        let charset = Charset::new(&name, encoding, say);
        let is_plain = encoding.is_none_or(|encoding| encoding == UTF_8);
        let reader: Box<dyn BufRead + Send> = if is_plain {
            Box::new(BufReader::with_capacity(BUFFER, source))
        } else {
            let decoder = DecodeReaderBytesBuilder::new()
                .encoding(encoding)
                .bom_sniffing(false)
                .build(source);
            Box::new(BufReader::with_capacity(BUFFER, decoder))
        };
        Ok(Opened {
            name,
            reader,
            charset,
        })
    }
}

/// The first four bytes of a stream, or fewer if there are no more, and the whole stream.
fn peek(mut source: Box<dyn Read + Send>) -> io::Result<(Vec<u8>, Box<dyn Read + Send>)> {
    let mut start = Vec::new();
    source.by_ref().take(4).read_to_end(&mut start)?;
    let whole = Cursor::new(start.clone()).chain(source);
    Ok((start, Box::new(whole)))
}
