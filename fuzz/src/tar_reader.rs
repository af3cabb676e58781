//! The reader of tar archives.
//!
//! The first byte of the input says whether the checksums are made to fit; the rest is the archive. What is
//! read must not depend on the pieces in which the stream comes, nor on whether data is read or passed over.

use crate::archive::repair_checksums;
use crate::check_message;
use crate::tar::{Entry, Fault, Input, InputError, Reader, TarError};

pub(crate) const WORDS: &[&str] = &[
    "ustar\x0000",
    "ustar  \0",
    "20 path=a/../../b\n",
    "12 size=100\n",
    "22 GNU.sparse.major=1\n",
    "22 GNU.sparse.minor=0\n",
    "\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}",
    "77777777777",
    "00000001000",
];

pub(crate) fn run(data: &[u8]) {
    let Some((&flags, archive)) = data.split_first() else {
        return;
    };
    let mut archive = archive.to_vec();
    if flags & 1 != 0 {
        repair_checksums(&mut archive);
    }
    let whole = read(&archive, usize::MAX, true);
    assert_eq!(whole, read(&archive, 13, true), "depends on the pieces");
    let skipped = read(&archive, 512, false);
    let entries = |read: &Read| {
        read.entries
            .iter()
            .map(|(entry, _)| entry.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        entries(&whole),
        entries(&skipped),
        "depends on who reads data"
    );
    assert_eq!(whole.error, skipped.error, "depends on who reads data");
    let data: usize = whole.entries.iter().map(|(_, data)| data.len()).sum();
    assert!(data <= archive.len(), "data from nowhere");
    for (entry, _) in &whole.entries {
        assert!(!entry.path.contains(&0) && !entry.link.contains(&0));
        assert!(entry.mode <= 0o7777 && entry.mtime.nanoseconds < 1_000_000_000);
    }
    if let Some(fault) = whole.error {
        let (offset, name) = (0, whole.entries.last().map(|(entry, _)| entry.path.clone()));
        check_message(&fault.to_string());
        check_message(
            &TarError {
                offset,
                name,
                fault,
            }
            .to_string(),
        );
    }
}

#[derive(Debug, PartialEq)]
struct Read {
    entries: Vec<(Entry, Vec<u8>)>,
    error: Option<Fault>,
}

fn read(archive: &[u8], piece: usize, with_data: bool) -> Read {
    let mut reader = Reader::new(Pieces {
        rest: archive,
        piece,
    });
    let mut entries = Vec::new();
    let error = loop {
        let entry = match reader.next() {
            Ok(Some(entry)) => entry,
            Ok(None) => break None,
            Err(error) => break Some(error.fault),
        };
        let mut data = Vec::new();
        let mut end = 0;
        let mut take = |at: u64, bytes: &[u8]| {
            assert!(at >= end, "data goes back");
            end = at + bytes.len() as u64;
            assert!(end <= entry.size, "data behind the end of the file");
            data.extend_from_slice(bytes);
            Ok::<(), Fault>(())
        };
        let copied = match with_data {
            true => reader.copy_data(&mut take),
            false => Ok(()),
        };
        entries.push((entry, data));
        if let Err(fault) = copied {
            break Some(fault);
        }
    };
    assert!(reader.position() <= archive.len() as u64);
    Read { entries, error }
}

/// An archive in memory that comes in pieces.
struct Pieces<'a> {
    rest: &'a [u8],
    piece: usize,
}

impl Input for Pieces<'_> {
    fn fill(&mut self) -> Result<&[u8], InputError> {
        Ok(&self.rest[..self.rest.len().min(self.piece)])
    }

    fn consume(&mut self, count: usize) {
        self.rest = &self.rest[count..];
    }
}
