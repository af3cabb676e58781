//! The data of regular files: blocks of zeros stay holes.
//!
//! Archives of other tools, and those of this one, write holes out as zeros. A new file reads as zeros wherever it
//! was not written, so leaving zeros out is right whatever the size of a block on this disk is.

use std::os::fd::OwnedFd;

use super::fault::Result;
use crate::error::EntryFault;

/// The block of most file systems, in bytes. Zeros are left out by whole blocks, so that other data stays in long
/// writes.
const BLOCK: usize = 4096;

static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// A new file that is being filled, in order.
pub(super) struct Data<'f> {
    file: &'f OwnedFd,
    /// How long the file is by now, in bytes.
    end: u64,
}

impl<'f> Data<'f> {
    pub(super) fn new(file: &'f OwnedFd) -> Self {
        Self { file, end: 0 }
    }

    /// Writes bytes to their place. The first and the last of their blocks may be there in part only.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let in_block = usize::try_from(offset % BLOCK as u64).unwrap_or_default();
        let (first, blocks) = bytes.split_at(bytes.len().min(BLOCK - in_block));
        // Where what is not written yet begins, and where the next block does.
        let (mut start, mut next) = (0, 0);
        for block in std::iter::once(first).chain(blocks.chunks(BLOCK)) {
            let here = next;
            next += block.len();
            if ZEROS.get(..block.len()) == Some(block) {
                self.write_all(offset + start as u64, bytes.get(start..here))?;
                start = next;
            }
        }
        self.write_all(offset + start as u64, bytes.get(start..))
    }

    /// Gives the file its size, where it ends in a hole.
    pub(super) fn finish(self, size: u64) -> Result<()> {
        if self.end == size {
            Ok(())
        } else {
            rustix::fs::ftruncate(self.file, size).map_err(EntryFault::system("set its size"))
        }
    }

    fn write_all(&mut self, mut offset: u64, bytes: Option<&[u8]>) -> Result<()> {
        let mut bytes = bytes.unwrap_or_default();
        while !bytes.is_empty() {
            let written =
                rustix::io::retry_on_intr(|| rustix::io::pwrite(self.file, bytes, offset));
            let count = written.map_err(EntryFault::system("write it"))?;
            bytes = bytes.get(count..).unwrap_or_default();
            offset += count as u64;
            self.end = offset;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// Writes data in pieces of several sizes and returns how many bytes each file takes on disk.
    fn taken(data: &[u8]) -> Vec<u64> {
        let taken = |piece: usize| {
            let tmp = tempfile::NamedTempFile::new().unwrap();
            let fd = OwnedFd::from(tmp.reopen().unwrap());
            let mut out = Data::new(&fd);
            for (at, bytes) in data.chunks(piece).enumerate() {
                out.write((at * piece) as u64, bytes).unwrap();
            }
            out.finish(data.len() as u64).unwrap();
            let mut read = Vec::new();
            File::open(tmp.path())
                .unwrap()
                .read_to_end(&mut read)
                .unwrap();
            assert!(read == data, "other data in pieces of {piece}");
            tmp.path().metadata().unwrap().blocks() * 512
        };
        [512, 1000, 4096, 5120, 65_536 + 512].map(taken).to_vec()
    }

    #[test]
    fn what_is_written_is_read_back_whatever_its_zeros_are() {
        for (before, zeros, after) in [
            (0, 0, 0),
            (0, 1, 0),
            (1, 0, 0),
            (0, 4096, 0),
            (5, 9000, 0),
            (0, 9000, 5),
            (4096, 4096, 4096),
            (4095, 4098, 4095),
            (70_000, 70_000, 70_000),
        ] {
            let data = [vec![1; before], vec![0; zeros], vec![2; after]].concat();
            taken(&data);
        }
    }

    #[test]
    fn zeros_take_no_blocks() {
        let mut data = vec![0; 8 << 20];
        assert_eq!(taken(&data), [0; 5]);
        data[4 << 20] = 1;
        for taken in taken(&data) {
            assert!((1..=64 << 10).contains(&taken), "{taken}");
        }
    }
}
