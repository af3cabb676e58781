//! The content of files: reading, writing, and what else system calls do with it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use plyfs_sys::xattr::At;
use rustix::fs::{FallocateFlags, OFlags, SeekFrom};

use crate::Overlay;
use crate::disk::calls;
use crate::error::{Errno, Result, decided};
use crate::inode::node::Node;
use crate::layer::stand_in;
use crate::ops::gathered::{append_gathered, write_at, write_gathered};
use crate::types::{Caller, Extent, FileKind, LITTLE, Seek, WriteMode};

/// The least a disk reads or fails to read, in bytes.
const SECTOR: usize = 512;

impl Overlay {
    /// Reads from a regular file at an offset in bytes. Less than the buffer is filled only at the
    /// end of the file (pread(2)).
    ///
    /// # Errors
    /// Those of open(2) and pread(2).
    pub fn read(&self, id: u64, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let file = self.open_for_reading(&*self.node(id)?)?;
        let mut filled = 0;
        while filled < buffer.len() {
            match rustix::io::pread(&file, &mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => {
                    filled += read;
                    // A disk fails by sectors: what ends within one ends the file.
                    if filled < buffer.len() && filled % SECTOR != 0 {
                        break;
                    }
                }
                Err(Errno::INTR) => {}
                // To the kernel a short read is the end of the file; it would show zeros behind it.
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// As [`read`](Self::read), of what is in memory.
    ///
    /// # Errors
    /// `AGAIN` if it is not all there and a disk would have to be waited for.
    pub fn read_now(&self, id: u64, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let file = self.open_for_reading(&*self.node(id)?)?;
        match calls::read_in_memory(file.as_fd(), offset, buffer) {
            Ok(read) if read == buffer.len() || read % SECTOR != 0 => Ok(read),
            // The end of the file, of which there is nothing more, or of what is in memory.
            Ok(read) => match calls::read_in_memory(file.as_fd(), offset + read as u64, &mut [0]) {
                Ok(0) => Ok(read),
                Ok(_) => Err(Errno::AGAIN),
                Err(error) => Err(error),
            },
            // A file system that cannot tell.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.read(id, offset, buffer),
            Err(error) => Err(error),
        }
    }

    /// Writes to a regular file at an offset in bytes, copying it up before if need be, and returns
    /// how much was written (pwrite(2)).
    ///
    /// # Errors
    /// `PERM` for a protected file, and those of copying up, open(2) and pwrite(2). If part of what was not
    /// gathered was written, that is the answer, and the error shows at the next write.
    pub fn write(&self, id: u64, offset: u64, data: &[u8], mode: WriteMode) -> Result<usize> {
        let node = self.node(id)?;
        let append_only = self.check_may_write(&node, mode)?;
        self.copy_up(&node, Extent::Whole)?;
        let file = self.open_for_writing(&node)?;
        match (mode.gathered, append_only) {
            (true, true) => return append_gathered(&node, file.as_fd(), offset, data),
            // What writing takes from a file went when the program wrote.
            (true, false) => return write_gathered(&node, file.as_fd(), offset, data),
            (false, _) => {}
        }
        let written = write_at(file.as_fd(), offset, data, false)?;
        self.after_write(&node, mode.unprivileged.as_ref());
        Ok(written)
    }

    /// The file in a layer that has the data of a regular file now, open for reading.
    ///
    /// # Errors
    /// `NOENT` if the data of a metacopy is in no layer, and those of open(2).
    pub fn data_of(&self, id: u64) -> Result<Arc<OwnedFd>> {
        self.open_for_reading(&*self.node(id)?)
    }

    /// Makes sure that a file can be read: its data may be missing, and where layers change, it may be replaced
    /// while it is open.
    ///
    /// # Errors
    /// `NOENT` if the data of a metacopy is in no layer, and those of open(2).
    pub fn prepare_to_read(&self, id: u64) -> Result<()> {
        let node = self.node(id)?;
        let may_be_replaced = self.lowers_change && !node.in_upper();
        if node.is_metacopy() || may_be_replaced {
            self.open_for_reading(&node).map(drop)
        } else {
            Ok(())
        }
    }

    /// Makes sure that a file can be written to: copies it up.
    ///
    /// # Errors
    /// Those of copying up.
    pub fn prepare_to_write(&self, id: u64) -> Result<()> {
        self.copy_up(&self.node(id)?, Extent::Whole)
    }

    /// Makes the content of a file, or the names in a directory, durable (fsync(2)). Without effect
    /// on a volatile overlay, and on what is in a lower layer and was never changed.
    ///
    /// # Errors
    /// `IO`, `NOSPC` and `DQUOT` if something written before could not be kept.
    pub fn fsync(&self, id: u64, data_only: bool) -> Result<()> {
        let node = self.node(id)?;
        if self.volatile || !node.in_upper() {
            return Ok(());
        }
        let file = match node.kind {
            FileKind::Directory => self.open_directory(&node)?,
            FileKind::Regular => self.open_for_reading(&node)?,
            _ => return Err(decided(Errno::INVAL)),
        };
        if data_only {
            rustix::fs::fdatasync(&file)
        } else {
            rustix::fs::fsync(&file)
        }
    }

    /// Whether [`fsync`](Self::fsync) never has anything to do: nothing can be written, or what is written
    /// is not to last.
    pub fn never_syncs(&self) -> bool {
        self.volatile || self.upper.as_ref().is_none_or(|upper| upper.in_memory)
    }

    /// Whether [`fsync`](Self::fsync) of a node waits for no disk.
    pub fn syncs_at_once(&self, id: u64) -> bool {
        self.never_syncs() || self.nodes.get(id).is_none_or(|node| !node.in_upper())
    }

    /// Allocates, frees or moves space in a regular file (fallocate(2)); `mode` is its flags.
    ///
    /// # Errors
    /// Those of copying up and fallocate(2).
    pub fn fallocate(
        &self,
        caller: &Caller,
        id: u64,
        mode: u32,
        offset: u64,
        length: u64,
    ) -> Result<()> {
        let node = self.node(id)?;
        let mode = FallocateFlags::from_bits_retain(mode);
        self.check_may_add(&node)?;
        if !FallocateFlags::KEEP_SIZE.contains(mode) {
            // Only space may be added to what may only be appended to.
            self.check_unprotected(&node)?;
        }
        self.copy_up(&node, Extent::Whole)?;
        let file = self.open_for_writing(&node)?;
        rustix::fs::fallocate(&file, mode, offset, length)?;
        self.after_write(&node, caller.unprivileged());
        Ok(())
    }

    /// The offset of the next data or hole (lseek(2)).
    ///
    /// # Errors
    /// `NXIO` if there is none.
    pub fn seek(&self, id: u64, offset: u64, what: Seek) -> Result<u64> {
        let file = self.open_for_reading(&*self.node(id)?)?;
        let target = match what {
            Seek::Data => SeekFrom::Data(offset),
            Seek::Hole => SeekFrom::Hole(offset),
        };
        // Moves the offset of a descriptor that is only ever used with offsets of its own.
        rustix::fs::seek(&file, target)
    }

    /// Copies between two regular files, or within one, without the data passing through memory
    /// where that is possible (copy_file_range(2)); returns how much was copied, in bytes.
    ///
    /// # Errors
    /// Those of copying up and copy_file_range(2); with `XDEV` and `OPNOTSUPP` the caller is to copy
    /// by itself.
    pub fn copy_range(
        &self,
        caller: &Caller,
        (from, mut read_at): (u64, u64),
        (to, mut write_at): (u64, u64),
        length: usize,
    ) -> Result<usize> {
        let to = self.node(to)?;
        // A descriptor that appends cannot say where to (copy_file_range(2)).
        self.check_unprotected(&to)?;
        self.copy_up(&to, Extent::Whole)?;
        let output = self.open_for_writing(&to)?;
        let input = self.open_for_reading(&*self.node(from)?)?;
        let (from_offset, to_offset) = (Some(&mut read_at), Some(&mut write_at));
        let copied = rustix::fs::copy_file_range(&input, from_offset, &output, to_offset, length)?;
        self.after_write(&to, caller.unprivileged());
        Ok(copied)
    }

    /// As [`copy_range`](Self::copy_range), of what is in memory and goes through it in no time. Blocks are not
    /// shared, and holes are filled.
    ///
    /// # Errors
    /// `AGAIN` if it is not all there and a disk would have to be waited for, or if it is too much.
    pub fn copy_now(
        &self,
        caller: &Caller,
        (from, read_at): (u64, u64),
        (to, write_at): (u64, u64),
        length: usize,
    ) -> Result<usize> {
        if length > LITTLE {
            return Err(Errno::AGAIN);
        }
        let mut buffer = vec![0; length];
        let read = self.read_now(from, read_at, &mut buffer)?;
        let mode = WriteMode {
            unprivileged: caller.unprivileged().copied(),
            ..WriteMode::default()
        };
        self.write(to, write_at, &buffer[..read], mode)
    }

    /// The target of a symbolic link (readlink(2)).
    ///
    /// # Errors
    /// `INVAL` if it is none.
    pub fn readlink(&self, id: u64) -> Result<Vec<u8>> {
        let node = self.node(id)?;
        if node.kind != FileKind::Symlink {
            return Err(decided(Errno::INVAL));
        }
        stand_in::read_link(self.locate(&node)?.at())
    }

    /// A descriptor of a node's upper directory that can be synced.
    fn open_directory(&self, node: &Arc<Node>) -> Result<Arc<OwnedFd>> {
        let dir = self.upper_dir(node)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let path = At::Fd(dir.as_fd());
        self.fds.open(|| calls::open(path, flags)).map(Arc::new)
    }
}
