//! The bytes of logs and facts: variable-length integers and texts. Small, versioned by their
//! users, and safe on any input.

/// The bytes are not what their version should hold: truncated, or written by something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("damaged bytes at position {at}: {what}")]
pub struct Damaged {
    /// How many bytes had been read.
    pub at: usize,
    /// What was expected there.
    pub what: &'static str,
}

/// Appends to a buffer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Writer {
    /// What was written so far.
    pub bytes: Vec<u8>,
}

impl Writer {
    /// One byte.
    #[inline]
    pub fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// An unsigned integer, seven bits a byte, least significant first (LEB128).
    #[inline]
    pub fn number(&mut self, number: u64) {
        if number < 0x80 {
            self.bytes.push(number as u8);
        } else if number < 0x4000 {
            let bytes = [number as u8 | 0x80, (number >> 7) as u8];
            self.bytes.extend_from_slice(&bytes);
        } else {
            self.long_number(number);
        }
    }

    fn long_number(&mut self, mut number: u64) {
        let (mut bytes, mut length) = ([0; 10], 0);
        while number >= 0x80 {
            bytes[length] = number as u8 | 0x80;
            number >>= 7;
            length += 1;
        }
        bytes[length] = number as u8;
        self.bytes.extend_from_slice(&bytes[..=length]);
    }

    /// A signed integer, zigzag so that small negatives stay small.
    #[inline]
    pub fn signed(&mut self, number: i64) {
        self.number((number << 1 ^ number >> 63) as u64);
    }

    /// A text with its length.
    #[inline]
    pub fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// A little-endian number of fixed width.
    #[inline]
    pub fn fixed<const N: usize>(&mut self, bytes: [u8; N]) {
        self.bytes.extend_from_slice(&bytes);
    }

    /// Bytes with their length.
    pub fn blob(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }
}

/// Reads from the front of a slice.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the front of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0 }
    }

    /// True when everything was read.
    pub fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// How many bytes were read.
    pub fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn damaged(&self, what: &'static str) -> Damaged {
        Damaged { at: self.at, what }
    }

    /// One byte.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, Damaged> {
        let byte = *self.bytes.get(self.at).ok_or(self.damaged("a byte"))?;
        self.at += 1;
        Ok(byte)
    }

    /// An unsigned integer.
    #[inline]
    pub fn number(&mut self) -> Result<u64, Damaged> {
        match self.bytes.get(self.at) {
            Some(byte) if *byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(*byte))
            }
            _ => self.long_number(),
        }
    }

    fn long_number(&mut self) -> Result<u64, Damaged> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.damaged("a number of at most ten bytes"))
    }

    /// An unsigned integer that fits a smaller type, or is damage.
    #[inline]
    pub fn narrow<T: TryFrom<u64>>(&mut self) -> Result<T, Damaged> {
        let number = self.number()?;
        T::try_from(number).map_err(|_| self.damaged("a smaller number"))
    }

    /// How many items follow; never more than there are bytes left, so that damaged bytes can't
    /// allocate all memory.
    #[inline]
    pub fn count(&mut self) -> Result<usize, Damaged> {
        let count: usize = self.narrow()?;
        if count > self.bytes.len() - self.at {
            Err(self.damaged("a count"))
        } else {
            Ok(count)
        }
    }

    /// So many bytes.
    #[inline]
    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let bytes = self
            .bytes
            .get(self.at..self.at + N)
            .and_then(|slice| slice.try_into().ok());
        self.at += if bytes.is_some() { N } else { 0 };
        bytes.ok_or(self.damaged("more bytes"))
    }

    /// So many bytes, as they are.
    #[inline]
    pub fn slice(&mut self, length: usize) -> Result<&'a [u8], Damaged> {
        let slice = self
            .at
            .checked_add(length)
            .and_then(|end| self.bytes.get(self.at..end));
        let slice = slice.ok_or(self.damaged("more bytes"))?;
        self.at += length;
        Ok(slice)
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self) -> Result<u32, Damaged> {
        self.fixed().map(u32::from_le_bytes)
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self) -> Result<u64, Damaged> {
        self.fixed().map(u64::from_le_bytes)
    }

    /// A signed integer.
    #[inline]
    pub fn signed(&mut self) -> Result<i64, Damaged> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// Bytes with their length.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], Damaged> {
        let length = self.count()?;
        let bytes = &self.bytes[self.at..self.at + length];
        self.at += length;
        Ok(bytes)
    }

    /// A text.
    #[inline]
    pub fn text(&mut self) -> Result<&'a str, Damaged> {
        std::str::from_utf8(self.bytes()?).map_err(|_| self.damaged("UTF-8"))
    }
}
