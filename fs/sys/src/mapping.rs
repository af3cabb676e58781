//! Shared mappings of files, as programs use them: for tests.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::mm::{MapFlags, MsyncFlags, ProtFlags};

use crate::Result;

/// A shared mapping of the first bytes of a file (mmap(2)).
///
/// It is read and written by copying, within the size that the file has at that moment: what lies
/// beyond is a fatal signal. No other process may make the file shorter meanwhile.
#[derive(Debug)]
pub struct Mapping {
    start: *mut std::ffi::c_void,
    length: usize,
    file: OwnedFd,
}

impl Mapping {
    /// Maps the first `length` bytes, for writing too if `writable`.
    ///
    /// # Errors
    /// Those of mmap(2).
    pub fn new(file: impl AsFd, length: usize, writable: bool) -> Result<Self> {
        let mut protection = ProtFlags::READ;
        protection.set(ProtFlags::WRITE, writable);
        let file = file.as_fd();
        // SAFETY: the kernel chooses a place where nothing is.
        let start = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                length,
                protection,
                MapFlags::SHARED,
                file,
                0,
            )
        }?;
        let kept = file.try_clone_to_owned().map_err(|_| Errno::MFILE);
        let kept = kept.inspect_err(|_| {
            // SAFETY: no reference to this mapping exists.
            unsafe { rustix::mm::munmap(start, length) }.ok();
        })?;
        Ok(Self {
            start,
            length,
            file: kept,
        })
    }

    /// Copies `data` into the mapping; `INVAL` if it is not all within the file.
    ///
    /// # Errors
    /// `INVAL`, and those of fstat(2).
    pub fn store(&mut self, offset: usize, data: &[u8]) -> Result<()> {
        self.check(offset, data.len())?;
        // SAFETY: within the mapping and the file, and no reference to that memory exists.
        unsafe {
            let target = self.start.cast::<u8>().add(offset);
            std::ptr::copy_nonoverlapping(data.as_ptr(), target, data.len());
        }
        Ok(())
    }

    /// Copies from the mapping.
    ///
    /// # Errors
    /// As [`store`](Self::store).
    pub fn load(&self, offset: usize, length: usize) -> Result<Vec<u8>> {
        self.check(offset, length)?;
        let mut data = vec![0; length];
        // SAFETY: as in `store`.
        unsafe {
            let source = self.start.cast::<u8>().add(offset);
            std::ptr::copy_nonoverlapping(source, data.as_mut_ptr(), length);
        }
        Ok(data)
    }

    /// Writes what was changed to the file (msync(2)).
    ///
    /// # Errors
    /// Those of msync(2).
    pub fn sync(&self) -> Result<()> {
        // SAFETY: the range is that of this mapping.
        unsafe { rustix::mm::msync(self.start, self.length, MsyncFlags::SYNC) }
    }

    fn check(&self, offset: usize, length: usize) -> Result<()> {
        let size = rustix::fs::fstat(&self.file)?.st_size.unsigned_abs();
        let end = offset.checked_add(length).ok_or(Errno::INVAL)?;
        match end <= self.length && end as u64 <= size {
            true => Ok(()),
            false => Err(Errno::INVAL),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is that of this mapping, and it is not used any more.
        unsafe { rustix::mm::munmap(self.start, self.length) }.ok();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn what_is_stored_is_in_the_file() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"before", 0).unwrap();
        let mut mapping = Mapping::new(&file, 4096, true).unwrap();
        mapping.store(2, b"FT").unwrap();
        mapping.sync().unwrap();
        let mut now = [0; 6];
        file.read_exact_at(&mut now, 0).unwrap();
        assert_eq!(&now, b"beFTre");
        assert_eq!(mapping.load(0, 6).unwrap(), now);
        assert_eq!(mapping.load(0, 7), Err(Errno::INVAL));
        assert_eq!(mapping.store(4096, b"x"), Err(Errno::INVAL));
    }
}
