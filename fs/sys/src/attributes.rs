//! Attributes of files that file systems know besides flags: `struct fsxattr`.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::Result;
use crate::process::last_error;

/// How long a `struct fsxattr` is (`linux/fs.h`), in bytes.
pub const LENGTH: usize = 28;

/// Reads the attributes of an open file (`FS_IOC_FSGETXATTR`), as the bytes of a `struct fsxattr`.
///
/// # Errors
/// `NOTTY` and `OPNOTSUPP` where the file system has none.
pub fn get(fd: BorrowedFd<'_>) -> Result<[u8; LENGTH]> {
    const FS_IOC_FSGETXATTR: libc::c_ulong = 0x801c_581f;
    #[repr(C, align(4))]
    struct Room([u8; LENGTH]);
    let mut room = Room([0; LENGTH]);
    // SAFETY: the request writes a `struct fsxattr`, of 28 bytes with the alignment of a `u32`.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), FS_IOC_FSGETXATTR as _, &raw mut room) };
    if result != 0 {
        return Err(last_error());
    }
    Ok(room.0)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_file_has_attributes_or_none_are_known() {
        let file = tempfile::tempfile().unwrap();
        match get(file.as_fd()) {
            Ok(_) | Err(rustix::io::Errno::NOTTY | rustix::io::Errno::OPNOTSUPP) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
