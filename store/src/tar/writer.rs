//! Writing archives: ustar, with a pax extended header in front of what ustar cannot say.
//!
//! The output depends on the input only, so that a layer built twice has one digest.
//!
//! The `tar` crate (0.4.46) was tried in its place. Its bytes are others where it matters:
//!
//! - `Header::set_path` refuses `..` and a leading slash, and makes `a/b` of `a/./b` and `a//b`. Here a name is written
//!   as it is.
//! - `Builder::append_data` writes a long name as a GNU entry of type `L`, and `set_size` and `set_uid` write a large
//!   number in base 256, in a ustar header too. Neither is ustar or pax.
//! - `set_mtime` takes no time before 1970 and no nanoseconds. Extended attributes, too, need records that the caller
//!   makes, and the header that `append_pax_extensions` writes for them has neither name nor mode.
//! - `Builder::append` returns no error when there is less data than the header says.
//! - The checksum is `0dddddd NUL` and not `dddddd NUL space`, and device numbers of other files are left empty, so
//!   every layer and archive would get another digest.
//!
//! What such a writer would still take from the crate is the octal text of five fields.

use std::io::{self, Read, Write};

use super::block::{BLOCK, padding};
use super::entry::{Entry, Kind};
use super::pax::push_record;
use crate::values::Timestamp;

/// The largest number of a field of eight bytes, and of one of twelve: octal digits and a NUL.
const MAX_8: u64 = 0o777_7777;
const MAX_12: u64 = 0o777_7777_7777;

/// Where fields are in a header: start and length in bytes.
const NAME: (usize, usize) = (0, 100);
const LINK: (usize, usize) = (157, 100);
const PREFIX: (usize, usize) = (345, 155);

/// Writes an archive. It is complete after [`Writer::finish`].
pub(crate) struct Writer<W> {
    output: W,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(output: W) -> Self {
        Self { output }
    }

    /// Adds an entry, whose data (`entry.size` bytes of it for a file) comes from `data`.
    ///
    /// Names are written as they are, whatever they are.
    ///
    /// # Errors
    /// `UnexpectedEof` if there is not as much data, `InvalidInput` for what no archive can hold
    /// (a NUL in a name, a device number over 21 bits), and those of the output.
    pub(crate) fn append(&mut self, entry: &Entry, data: &mut dyn Read) -> io::Result<()> {
        let names = [&entry.path, &entry.link];
        if names.iter().any(|name| name.contains(&0)) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a NUL in a name",
            ));
        }
        let (header, records) = header(entry)?;
        if !records.is_empty() {
            self.output.write_all(&pax_header(records.len() as u64))?;
            self.output.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.output.write_all(&header.0)?;
        if entry.kind == Kind::File {
            let copied = io::copy(&mut data.take(entry.size), &mut self.output)?;
            if copied < entry.size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.pad(entry.size)?;
        }
        Ok(())
    }

    /// Ends the archive with its two zero blocks and gives the output back.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.output.write_all(&[0; 2 * BLOCK])?;
        Ok(self.output)
    }

    fn pad(&mut self, len: u64) -> io::Result<()> {
        let zeros = [0; BLOCK];
        let len = padding(len) as usize; // less than a block
        self.output.write_all(zeros.get(..len).unwrap_or_default())
    }
}

/// The header of an entry and the records that say what does not fit into it.
fn header(entry: &Entry) -> io::Result<(Block, Vec<u8>)> {
    let mut block = Block::new();
    let mut records = Vec::new();
    if !block.put_path(&entry.path) {
        push_record(&mut records, b"path", &entry.path);
    }
    if !block.put_text(LINK, &entry.link) {
        push_record(&mut records, b"linkpath", &entry.link);
    }
    block.put_number((100, 8), u64::from(entry.mode & 0o7777));
    for (keyword, at, id) in [(b"uid", 108, entry.uid), (b"gid", 116, entry.gid)] {
        if !block.put_number((at, 8), id.into()) {
            push_record(&mut records, keyword, id.to_string().as_bytes());
        }
    }
    let (flag, size, device) = match entry.kind {
        Kind::File => (b'0', entry.size, (0, 0)),
        Kind::Link => (b'1', 0, (0, 0)),
        Kind::Symlink => (b'2', 0, (0, 0)),
        Kind::Char(major, minor) => (b'3', 0, (major, minor)),
        Kind::Block(major, minor) => (b'4', 0, (major, minor)),
        Kind::Dir => (b'5', 0, (0, 0)),
        Kind::Fifo => (b'6', 0, (0, 0)),
    };
    block.put_bytes(156, &[flag]);
    if !block.put_number((124, 12), size) {
        push_record(&mut records, b"size", size.to_string().as_bytes());
    }
    let whole = u64::try_from(entry.mtime.seconds).ok();
    let whole = whole.filter(|_| entry.mtime.nanoseconds == 0);
    if !whole.is_some_and(|seconds| block.put_number((136, 12), seconds)) {
        block.put_number((136, 12), 0);
        push_record(&mut records, b"mtime", pax_time(entry.mtime).as_bytes());
    }
    if !block.put_number((329, 8), device.0.into()) || !block.put_number((337, 8), device.1.into())
    {
        let what = "a device number of more than 21 bits";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    for (name, value) in &entry.xattrs {
        push_record(&mut records, &[b"SCHILY.xattr.", &name[..]].concat(), value);
    }
    block.seal();
    Ok((block, records))
}

/// The header of an extended header.
fn pax_header(size: u64) -> [u8; BLOCK] {
    let mut block = Block::new();
    block.put_text(NAME, b"PaxHeaders");
    block.put_number((100, 8), 0o644);
    for at in [108, 116, 329, 337] {
        block.put_number((at, 8), 0);
    }
    block.put_number((124, 12), size);
    block.put_number((136, 12), 0);
    block.put_bytes(156, b"x");
    block.seal();
    block.0
}

/// Seconds with a fraction; `-0.25` is a quarter of a second before 1970.
fn pax_time(time: Timestamp) -> String {
    let Timestamp {
        seconds,
        nanoseconds,
    } = time;
    match (seconds, nanoseconds) {
        (_, 0) => seconds.to_string(),
        (0.., _) => format!("{seconds}.{nanoseconds:09}"),
        _ => {
            let (whole, fraction) = (seconds + 1, 1_000_000_000 - nanoseconds);
            format!("-{}.{fraction:09}", whole.unsigned_abs())
        }
    }
}

/// A header block in the making.
struct Block([u8; BLOCK]);

impl Block {
    fn new() -> Self {
        let mut block = Self([0; BLOCK]);
        block.put_bytes(257, b"ustar\x0000");
        block
    }

    fn put_bytes(&mut self, start: usize, bytes: &[u8]) {
        if let Some(place) = self.0.get_mut(start..start + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    /// Puts text into a field and says whether all of it went in.
    fn put_text(&mut self, (start, len): (usize, usize), text: &[u8]) -> bool {
        self.put_bytes(start, text.get(..len).unwrap_or(text));
        text.len() <= len
    }

    /// Puts octal digits and a NUL into a field, if they fit.
    fn put_number(&mut self, (start, len): (usize, usize), number: u64) -> bool {
        let max = if len == 12 { MAX_12 } else { MAX_8 };
        let fits = number <= max;
        let shown = if fits { number } else { 0 };
        self.put_bytes(
            start,
            format!("{shown:0width$o}", width = len - 1).as_bytes(),
        );
        fits
    }

    /// Puts a path into the name, or at a slash into prefix and name, and says whether it went in.
    fn put_path(&mut self, path: &[u8]) -> bool {
        if path.len() <= NAME.1 {
            return self.put_text(NAME, path);
        }
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let split = slashes
            .map(|(at, _)| path.split_at(at))
            .find(|(prefix, name)| {
                !prefix.is_empty()
                    && prefix.len() <= PREFIX.1
                    && (2..=NAME.1 + 1).contains(&name.len())
            });
        match split {
            Some((prefix, name)) => {
                self.put_text(PREFIX, prefix) && self.put_text(NAME, name.get(1..).unwrap_or(name))
            }
            None => {
                self.put_text(NAME, path);
                false
            }
        }
    }

    /// Writes the checksum: the sum of all bytes with its own field taken as spaces.
    fn seal(&mut self) {
        self.put_bytes(148, b"        ");
        let sum: u64 = self.0.iter().copied().map(u64::from).sum();
        self.put_bytes(148, format!("{sum:06o}\0 ").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::super::input::SliceInput;
    use super::super::reader::Reader;
    use super::*;

    fn entry(path: &[u8], kind: Kind) -> Entry {
        Entry {
            path: path.to_vec(),
            kind,
            link: match kind {
                Kind::Symlink | Kind::Link => b"target".to_vec(),
                _ => Vec::new(),
            },
            mode: 0o4755,
            uid: 33,
            gid: 44,
            mtime: Timestamp::from_seconds(1_234_567_890),
            size: 0,
            sparse: false,
            xattrs: Vec::new(),
        }
    }

    fn round_trip(entries: &[Entry]) -> Vec<Entry> {
        let mut writer = Writer::new(Vec::new());
        for entry in entries {
            writer.append(entry, &mut io::repeat(b'd')).unwrap();
        }
        let archive = writer.finish().unwrap();
        assert_eq!(archive.len() % BLOCK, 0);
        let mut reader = Reader::new(SliceInput(&archive));
        let mut read = Vec::new();
        while let Some(entry) = reader.next().unwrap() {
            read.push(entry);
        }
        read
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut entries: Vec<Entry> = [
            Kind::File,
            Kind::Dir,
            Kind::Symlink,
            Kind::Link,
            Kind::Char(1, 3),
            Kind::Block(259, 0o777_7777),
            Kind::Fifo,
        ]
        .map(|kind| entry(b"some/name", kind))
        .to_vec();
        entries[0].size = 5000;
        for len in [99, 100, 101, 155, 156, 255, 256, 257, 300, 5000] {
            let name: Vec<u8> = b"abcdefgh/".iter().copied().cycle().take(len).collect();
            entries.push(entry(&[&name[..], b"x"].concat(), Kind::Dir));
            entries.push(entry(&b"y".repeat(len), Kind::File));
            let mut link = entry(b"link", Kind::Symlink);
            link.link = b"z".repeat(len);
            entries.push(link);
        }
        let mut odd = entry(b"\xff\xfe odd \n=", Kind::File);
        odd.uid = 4_000_000_000;
        odd.gid = 2_097_152;
        odd.xattrs = vec![
            (b"security.capability".to_vec(), b"\0\x01=\n".to_vec()),
            (b"user.empty".to_vec(), Vec::new()),
        ];
        entries.push(odd);
        for (seconds, nanoseconds) in [(-1, 0), (-1, 750_000_000), (-5, 1), (0, 1), (1 << 40, 0)] {
            let mut timed = entry(b"t", Kind::File);
            timed.mtime = Timestamp {
                seconds,
                nanoseconds,
            };
            entries.push(timed);
        }
        assert_eq!(round_trip(&entries), entries);
    }

    #[test]
    fn what_cannot_be_written_is_an_error() {
        let mut writer = Writer::new(Vec::new());
        let mut file = entry(b"f", Kind::File);
        file.size = 10;
        let short = writer.append(&file, &mut &b"12345"[..]).unwrap_err();
        assert_eq!(short.kind(), io::ErrorKind::UnexpectedEof);
        let device = entry(b"d", Kind::Char(1, 0o1000_0000));
        assert!(writer.append(&device, &mut io::empty()).is_err());
        let nul = entry(b"a\0b", Kind::Dir);
        assert!(writer.append(&nul, &mut io::empty()).is_err());
    }
}
