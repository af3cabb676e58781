//! The archive as a sequence of entries.

use super::block::{BLOCK, padding};
use super::entry::{Entry, Kind};
use super::fault::{Fault, TarError};
use super::header::RawHeader;
use super::input::Input;
use super::pax::Pax;
use super::sparse;
use super::sparse::{Map, Segment};
use crate::values::limits;

/// Reads an archive from its first byte to the last of the stream.
pub(crate) struct Reader<I> {
    input: I,
    /// How far the input has been read, in bytes.
    position: u64,
    /// Where the header of the entry at hand begins.
    entry_start: u64,
    /// Data of the entry that is still in the input, in bytes.
    remaining: u64,
    /// What fills up the last block of that data.
    padding: u64,
    /// Where the data goes, if not simply to the start of the file.
    segments: Option<std::vec::IntoIter<Segment>>,
    globals: Pax,
    ended: bool,
}

/// What precedes an entry and speaks of it.
#[derive(Default)]
struct Extensions {
    pax: Option<Pax>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    /// How many headers there were.
    count: usize,
}

impl Extensions {
    fn is_empty(&self) -> bool {
        self.pax.is_none() && self.long_name.is_none() && self.long_link.is_none()
    }
}

impl<I: Input> Reader<I> {
    pub(crate) fn new(input: I) -> Self {
        Self {
            input,
            position: 0,
            entry_start: 0,
            remaining: 0,
            padding: 0,
            segments: None,
            globals: Pax::default(),
            ended: false,
        }
    }

    /// How far the stream has been read, in bytes. Right after [`Reader::next`] this is where the
    /// data of a file that is not sparse begins.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next entry, past whatever is left of the one before; `None` when the stream has been
    /// read to its end.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, TarError> {
        if self.ended {
            return Ok(None);
        }
        let mut name = None;
        self.next_entry(&mut name).map_err(|fault| TarError {
            offset: self.entry_start,
            name,
            fault,
        })
    }

    /// Hands the data of the entry to `sink`, piece by piece, each with its place in the file.
    ///
    /// # Errors
    /// What `sink` returns, and what is wrong with the stream.
    pub(crate) fn copy_data<E: From<Fault>>(
        &mut self,
        mut sink: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(mut segments) = self.segments.take() else {
            let len = self.remaining;
            return self.copy_segment(Segment { offset: 0, len }, &mut sink);
        };
        segments.try_for_each(|segment| self.copy_segment(segment, &mut sink))
    }

    fn copy_segment<E: From<Fault>>(
        &mut self,
        segment: Segment,
        sink: &mut impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut done = 0;
        while done < segment.len {
            let bytes = self.input.fill().map_err(Fault::from)?;
            if bytes.is_empty() {
                return Err(Fault::Truncated.into());
            }
            let len = usize::try_from(segment.len - done)
                .map_or(bytes.len(), |left| left.min(bytes.len()));
            sink(segment.offset + done, bytes.get(..len).unwrap_or_default())?;
            self.input.consume(len);
            done += len as u64;
            self.position += len as u64;
            self.remaining -= len as u64;
        }
        Ok(())
    }

    fn next_entry(&mut self, name: &mut Option<Vec<u8>>) -> Result<Option<Entry>, Fault> {
        self.finish_entry()?;
        let mut extensions = Extensions::default();
        self.entry_start = self.position;
        loop {
            let Some(block) = self.header_block()? else {
                self.ended = true;
                return if extensions.is_empty() {
                    Ok(None)
                } else {
                    Err(Fault::Truncated)
                };
            };
            let header = RawHeader::new(&block)?;
            let flag = header.type_flag();
            if !matches!(flag, b'x' | b'g' | b'L' | b'K') {
                return self.entry(&header, extensions, name).map(Some);
            }
            *name = Some(header.path());
            let data = self.metadata(&header)?;
            // Of several the last counts, and nothing of those before it.
            match flag {
                b'g' => {
                    self.globals.merge_global(&data)?;
                    self.entry_start = self.position;
                }
                b'x' => extensions.pax = Some(Pax::parse(&data)?),
                b'L' => extensions.long_name = Some(long_name(data)?),
                _ => extensions.long_link = Some(long_name(data)?),
            }
            extensions.count += usize::from(flag != b'g');
            if extensions.count > limits::TAR_EXTENSIONS {
                return Err(Fault::metadata_too_large());
            }
            *name = extensions.long_name.clone();
        }
    }

    /// Passes over the rest of the entry at hand.
    fn finish_entry(&mut self) -> Result<(), Fault> {
        let rest = self.remaining.saturating_add(self.padding);
        let skipped = self.input.skip(rest)?;
        self.position += skipped;
        // What fills up the last block of the last entry may be missing, and is no data.
        if skipped < self.remaining {
            return Err(Fault::Truncated);
        }
        self.remaining = 0;
        self.padding = 0;
        self.segments = None;
        Ok(())
    }

    /// The next block if it is a header; `None` at the end of the archive, after reading the rest
    /// of the stream.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>, Fault> {
        let Some(block) = self.block()? else {
            return Ok(None);
        };
        if block != [0; BLOCK] {
            return Ok(Some(block));
        }
        match self.block()? {
            None => {}
            Some(second) if second == [0; BLOCK] => self.read_rest()?,
            Some(_) => return Err(Fault::LoneZeroBlock),
        }
        Ok(None)
    }

    /// Reads the stream to its end. Behind the end of an archive are zeros, and with some writers
    /// other bytes that are not part of it.
    fn read_rest(&mut self) -> Result<(), Fault> {
        let skipped = self.input.skip(u64::MAX)?;
        self.position += skipped;
        Ok(())
    }

    /// The next block of the stream; `None` if the stream ends before it.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, Fault> {
        let mut block = [0; BLOCK];
        let mut rest = &mut block[..];
        while !rest.is_empty() {
            let bytes = self.input.fill()?;
            if bytes.is_empty() {
                return match rest.len() {
                    BLOCK => Ok(None),
                    _ => Err(Fault::Truncated),
                };
            }
            let len = bytes.len().min(rest.len());
            let (now, later) = rest.split_at_mut(len);
            now.copy_from_slice(bytes.get(..len).unwrap_or_default());
            self.input.consume(len);
            self.position += len as u64;
            rest = later;
        }
        Ok(Some(block))
    }

    /// The data of an extended header or a long name, within the limit.
    fn metadata(&mut self, header: &RawHeader<'_>) -> Result<Vec<u8>, Fault> {
        let size = header.size()?;
        if size > limits::TAR_METADATA {
            return Err(Fault::metadata_too_large());
        }
        self.remaining = size;
        self.padding = padding(size);
        // Grows as data comes, so that a size alone costs nothing.
        let mut data = Vec::new();
        self.copy_data(|_, bytes| {
            data.extend_from_slice(bytes);
            Ok::<(), Fault>(())
        })?;
        self.finish_entry()?;
        Ok(data)
    }

    /// Puts together what the header and everything before it say.
    fn entry(
        &mut self,
        header: &RawHeader<'_>,
        extensions: Extensions,
        name: &mut Option<Vec<u8>>,
    ) -> Result<Entry, Fault> {
        let pax = extensions.pax.unwrap_or_default();
        let path = extensions.long_name.or(pax.path);
        let path = path.unwrap_or_else(|| header.path());
        let path = pax.sparse.name.clone().unwrap_or(path);
        *name = Some(path.clone());
        let link = extensions.long_link.or(pax.link);
        let data_size = match pax.size {
            Some(size) => size,
            None => header.size()?,
        };
        if i64::try_from(data_size).is_err() {
            return Err(Fault::Range("size"));
        }
        let kind = kind(header, &path)?;
        let mut entry = Entry {
            path,
            kind,
            link: match kind {
                Kind::Symlink | Kind::Link => link.unwrap_or_else(|| header.link()),
                _ => Vec::new(),
            },
            mode: (header.mode()? & 0o7777) as u32,
            uid: id(pax.uid.or(self.globals.uid), || header.uid(), "uid")?,
            gid: id(pax.gid.or(self.globals.gid), || header.gid(), "gid")?,
            mtime: match pax.mtime.or(self.globals.mtime) {
                Some(time) => time,
                None => header.mtime()?,
            },
            size: 0,
            sparse: false,
            xattrs: pax.xattrs.into_iter().collect(),
        };
        // For all else the size says nothing: no data follows.
        if kind == Kind::File {
            self.begin_file(header, &mut entry, data_size, pax.sparse)?;
        }
        Ok(entry)
    }

    /// Gets ready to hand out the data of a file.
    fn begin_file(
        &mut self,
        header: &RawHeader<'_>,
        entry: &mut Entry,
        data_size: u64,
        records: super::pax::SparseRecords,
    ) -> Result<(), Fault> {
        entry.size = data_size;
        if header.type_flag() == b'S' {
            // The blocks of the map lie between the header and the data, not counted in its size.
            let (map, real_size) = self.gnu_map(header)?;
            self.segments = Some(map.checked(real_size, data_size)?.into_iter());
            entry.size = real_size;
        }
        self.remaining = data_size;
        self.padding = padding(data_size);
        if records.present {
            if header.type_flag() == b'S' {
                return Err(Fault::SparseMap);
            }
            let real_size = records.real_size.ok_or(Fault::SparseMap)?;
            let map = match (records.major, records.minor) {
                (None, None) | (Some(0), Some(0 | 1)) => records.map,
                (Some(1), Some(0)) => sparse::read_map_1_0(|| self.data_block())?,
                _ => return Err(Fault::SparseMap),
            };
            self.segments = Some(map.checked(real_size, self.remaining)?.into_iter());
            entry.size = real_size;
        }
        entry.sparse = self.segments.is_some();
        Ok(())
    }

    /// The map of an old GNU sparse file, from its header and the blocks behind it.
    fn gnu_map(&mut self, header: &RawHeader<'_>) -> Result<(Map, u64), Fault> {
        if !header.is_gnu() {
            return Err(Fault::SparseMap);
        }
        let mut map = Map::default();
        let (entries, mut more, real_size) = header.gnu_sparse()?;
        map.push_gnu(entries)?;
        // Blocks that add nothing would be endless metadata.
        for _ in 0..limits::SPARSE_SEGMENTS {
            if !more {
                return Ok((map, real_size));
            }
            let block = self.block()?.ok_or(Fault::Truncated)?;
            let (entries, another) = sparse::extension(&block);
            map.push_gnu(entries)?;
            more = another;
        }
        Err(Fault::SparseMap)
    }

    /// A block from the data of the entry.
    fn data_block(&mut self) -> Result<[u8; BLOCK], Fault> {
        self.remaining = self
            .remaining
            .checked_sub(BLOCK as u64)
            .ok_or(Fault::SparseMap)?;
        self.block()?.ok_or(Fault::Truncated)
    }
}

/// The type of the entry, if it is one that a layer may have.
fn kind(header: &RawHeader<'_>, path: &[u8]) -> Result<Kind, Fault> {
    Ok(match header.type_flag() {
        // Archives of V7 know directories by their name only.
        0 if path.ends_with(b"/") => Kind::Dir,
        0 | b'0' | b'7' | b'S' => Kind::File,
        b'1' => Kind::Link,
        b'2' => Kind::Symlink,
        b'3' => {
            let (major, minor) = header.device()?;
            Kind::Char(major, minor)
        }
        b'4' => {
            let (major, minor) = header.device()?;
            Kind::Block(major, minor)
        }
        b'5' => Kind::Dir,
        b'6' => Kind::Fifo,
        other => return Err(Fault::Type(other)),
    })
}

/// An owner. The highest number means "leave as it is" to chown(2), and can be no owner.
fn id(
    pax: Option<u64>,
    header: impl FnOnce() -> Result<u64, Fault>,
    name: &'static str,
) -> Result<u32, Fault> {
    let id = pax.map_or_else(header, Ok)?;
    match u32::try_from(id) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err(Fault::Range(name)),
    }
}

/// A GNU long name: up to its terminating NUL, behind which is nothing.
fn long_name(mut data: Vec<u8>) -> Result<Vec<u8>, Fault> {
    let end = data
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(data.len());
    if data.iter().skip(end).any(|&byte| byte != 0) {
        return Err(Fault::NulInName);
    }
    data.truncate(end);
    Ok(data)
}
