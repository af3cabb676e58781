//! Sparse files: where the data that is in the archive goes, and how long the file is.
//!
//! GNU tar has written them in four forms: a map in the header and in blocks behind it (type `S`),
//! and as pax records (versions 0.0 and 0.1) or at the start of the data (1.0). See "Storing Sparse
//! Files" in the GNU tar manual.

use super::block::BLOCK;
use super::fault::Fault;
use super::number::{decimal, field};
use crate::values::limits;

/// A run of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// Where in the file, in bytes.
    pub(super) offset: u64,
    /// How long.
    pub(super) len: u64,
}

/// The segments of a file, in order, without overlap, inside its size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Map {
    segments: Vec<Segment>,
}

impl Map {
    pub(super) fn push(&mut self, offset: u64, len: u64) -> Result<(), Fault> {
        if self.segments.len() == limits::SPARSE_SEGMENTS {
            return Err(Fault::SparseMap);
        }
        self.segments.push(Segment { offset, len });
        Ok(())
    }

    /// The segments, if they fit a file of `real_size` bytes and make up `data_size` bytes of data.
    pub(super) fn checked(self, real_size: u64, data_size: u64) -> Result<Vec<Segment>, Fault> {
        let (mut end, mut total) = (0_u64, 0_u64);
        for segment in &self.segments {
            let next = segment.offset.checked_add(segment.len);
            match next {
                Some(next) if segment.offset >= end && next <= real_size => end = next,
                _ => return Err(Fault::SparseMap),
            }
            total += segment.len; // cannot overflow: the segments lie apart inside real_size
        }
        // The kernel's file sizes are signed.
        if total != data_size || i64::try_from(real_size).is_err() {
            return Err(Fault::SparseMap);
        }
        Ok(self.segments)
    }

    /// Adds entries of 24 bytes from a header (4 of them) or a block behind it (21). A used entry
    /// has something in its first byte; none follows an unused one.
    pub(super) fn push_gnu(&mut self, entries: &[u8]) -> Result<(), Fault> {
        for entry in entries.chunks_exact(24) {
            let (offset, len) = entry.split_at(12);
            if entry.first() == Some(&0) {
                break;
            }
            self.push(field(offset, "offset")?, field(len, "numbytes")?)?;
        }
        Ok(())
    }

    /// Adds the `offset,length,offset,length...` of version 0.1.
    pub(super) fn push_list(&mut self, list: &[u8]) -> Result<(), Fault> {
        let mut numbers = list.split(|&byte| byte == b',');
        while let Some(offset) = numbers.next() {
            let pair = decimal(offset).zip(numbers.next().and_then(decimal));
            let (offset, len) = pair.ok_or(Fault::SparseMap)?;
            self.push(offset, len)?;
        }
        Ok(())
    }
}

/// A block behind a header of type `S`: its entries, and whether another follows.
pub(super) fn extension(block: &[u8; BLOCK]) -> (&[u8], bool) {
    let (entries, rest) = block.split_at(504);
    (entries, rest.first() != Some(&0))
}

/// Reads the map of version 1.0: decimal lines, first how many entries, then two for each. It
/// fills whole blocks, which `next_block` hands out.
pub(super) fn read_map_1_0(
    mut next_block: impl FnMut() -> Result<[u8; BLOCK], Fault>,
) -> Result<Map, Fault> {
    let mut block = next_block()?;
    let mut at = 0;
    let mut line = || {
        let mut digits = Vec::new();
        loop {
            let Some(&byte) = block.get(at) else {
                block = next_block()?;
                at = 0;
                continue;
            };
            at += 1;
            if byte == b'\n' {
                return decimal(&digits).ok_or(Fault::SparseMap);
            }
            if digits.len() == 20 {
                return Err(Fault::SparseMap);
            }
            digits.push(byte);
        }
    };
    let count = line()?;
    let mut map = Map::default();
    for _ in 0..count {
        let offset = line()?;
        map.push(offset, line()?)?;
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(segments: &[(u64, u64)]) -> Map {
        let mut map = Map::default();
        for &(offset, len) in segments {
            map.push(offset, len).unwrap();
        }
        map
    }

    #[test]
    fn a_map_must_make_sense() {
        assert!(map(&[(0, 5), (10, 5), (20, 0)]).checked(20, 10).is_ok());
        assert!(map(&[]).checked(20, 0).is_ok());
        for (segments, real, data) in [
            (&[(0, 5)][..], 20, 6),
            (&[(0, 5)], 4, 5),
            (&[(10, 5), (0, 5)], 20, 10),
            (&[(0, 5), (4, 5)], 20, 10),
            (&[(u64::MAX, 5)], u64::MAX, 5),
            (&[(0, 0)], u64::MAX, 0),
        ] {
            assert_eq!(
                map(segments).checked(real, data),
                Err(Fault::SparseMap),
                "{segments:?}"
            );
        }
    }

    #[test]
    fn a_map_in_the_data_may_span_blocks() {
        let mut text = b"100\n".to_vec();
        for at in 0..100_u64 {
            text.extend(format!("{}\n{}\n", at * 1000, 10).bytes());
        }
        text.resize(text.len().next_multiple_of(BLOCK), 0);
        let mut blocks = text.chunks_exact(BLOCK);
        let read = read_map_1_0(|| {
            let block = blocks.next().ok_or(Fault::Truncated)?;
            Ok(block.try_into().unwrap())
        });
        assert_eq!(read.unwrap().segments.len(), 100);
        assert!(blocks.next().is_none());
    }

    #[test]
    fn nonsense_maps_are_refused() {
        for text in ["x\n", "1\n2\n-3\n", "123456789012345678901\n", "\n"] {
            let mut block = [b'\n'; BLOCK];
            block[..text.len()].copy_from_slice(text.as_bytes());
            assert_eq!(
                read_map_1_0(|| Ok(block)),
                Err(Fault::SparseMap),
                "{text:?}"
            );
        }
        // A count that promises more than the limit runs into it, not out of memory.
        let mut block: [u8; BLOCK] = b"0\n".repeat(BLOCK / 2).try_into().unwrap();
        block[..10].copy_from_slice(b"999999999\n");
        let ends = read_map_1_0(|| Ok(block));
        assert_eq!(ends, Err(Fault::SparseMap));
    }
}
