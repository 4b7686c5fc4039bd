//! ClickHouse's compressed blocks, as `decompress=1` and `compress=1` use them: `[16 B CityHash128
//! of all that follows][method][u32 size with this 9 B header][u32 raw size][data]`.

use bytes::{Buf, BufMut, Bytes};

use crate::local::chdb::EngineError;

const CHECKSUM: usize = 16;
const HEADER: usize = 9;
const METHOD_NONE: u8 = 0x02;
const METHOD_LZ4: u8 = 0x82;

/// The most one block may hold once decompressed, in bytes: ClickHouse's writers make blocks of a
/// megabyte, and a forged size must not take the memory.
const MAX_RAW: usize = 256 << 20;

/// The decompressed blocks of a body. Ends after the first error.
pub struct Blocks(Bytes);

impl Blocks {
    /// Reads `body` block by block.
    pub fn new(body: Bytes) -> Self {
        Self(body)
    }

    fn read(&mut self) -> Result<Bytes, EngineError> {
        if self.0.len() < CHECKSUM + HEADER {
            return Err(malformed("a compressed block is cut short"));
        }
        let mut head = &self.0[..CHECKSUM + HEADER];
        let checksum = head.get_u128_le();
        let method = head.get_u8();
        let size = head.get_u32_le() as usize;
        let raw_size = head.get_u32_le() as usize;
        if size < HEADER || self.0.len() - CHECKSUM < size {
            return Err(malformed("a compressed block is cut short"));
        }
        if raw_size > MAX_RAW {
            return Err(malformed(format_args!(
                "a compressed block of {raw_size} bytes is above the limit of {MAX_RAW}"
            )));
        }
        let block = self.0.split_to(CHECKSUM + size);
        if checksum_of(&block[CHECKSUM..]) != checksum {
            return Err(EngineError::new(
                40,
                "CHECKSUM_DOESNT_MATCH",
                "Checksum doesn't match: corrupted data",
            ));
        }

        let data = &block[CHECKSUM + HEADER..];
        let raw = match method {
            METHOD_LZ4 => lz4_flex::block::decompress(data, raw_size).map_err(malformed)?,
            METHOD_NONE => data.to_vec(),
            other => {
                return Err(EngineError::new(
                    432,
                    "UNKNOWN_CODEC",
                    format_args!(
                        "the local engine reads LZ4 blocks, not codec family {other:#04x}"
                    ),
                ));
            }
        };
        if raw.len() != raw_size {
            return Err(malformed("a compressed block isn't of the size it states"));
        }
        Ok(raw.into())
    }
}

impl Iterator for Blocks {
    type Item = Result<Bytes, EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let block = self.read();
        if block.is_err() {
            self.0.clear();
        }
        Some(block)
    }
}

/// Packs one LZ4 block. `raw` is a piece of a result, far below the 4 GiB that a block can state.
pub fn compress(raw: &[u8]) -> Bytes {
    let data = lz4_flex::block::compress(raw);
    let mut block = Vec::with_capacity(CHECKSUM + HEADER + data.len());
    block.put_u128_le(0);
    block.put_u8(METHOD_LZ4);
    block.put_u32_le((HEADER + data.len()) as u32);
    block.put_u32_le(raw.len() as u32);
    block.put_slice(&data);
    let checksum = checksum_of(&block[CHECKSUM..]);
    block[..CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
    block.into()
}

/// ClickHouse writes the two halves of its CityHash 1.0.2 the other way round.
fn checksum_of(bytes: &[u8]) -> u128 {
    cityhash_rs::cityhash_102_128(bytes).rotate_right(64)
}

fn malformed(detail: impl std::fmt::Display) -> EngineError {
    EngineError::new(271, "CANNOT_DECOMPRESS", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: impl Into<Bytes>) -> Result<Vec<u8>, u32> {
        let blocks: Result<Vec<_>, _> = Blocks::new(body.into()).collect();
        blocks
            .map(|blocks| blocks.concat())
            .map_err(|error| error.code)
    }

    #[test]
    fn blocks_come_back_as_they_went() {
        let rows = b"rows and rows and rows".repeat(100);
        let body = [compress(&rows), compress(b""), compress(b"end")].concat();
        assert_eq!(read(body), Ok([&rows[..], b"end"].concat()));
        assert_eq!(read(Bytes::new()), Ok(Vec::new()));
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_an_error() {
        let body = compress(b"rows and rows and rows");
        for cut in 1..body.len() {
            assert!(read(body.slice(..cut)).is_err(), "cut at {cut}");
        }
        for at in 0..body.len() {
            let mut changed = body.to_vec();
            changed[at] ^= 0x55;
            assert!(read(changed).is_err(), "changed at {at}");
        }
    }

    #[test]
    fn forged_sizes_are_refused_before_memory_is_taken() {
        let mut block = compress(b"rows").to_vec();
        block[21..25].copy_from_slice(&u32::MAX.to_le_bytes());
        let checksum = checksum_of(&block[CHECKSUM..]);
        block[..CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(read(block), Err(271));
    }
}
