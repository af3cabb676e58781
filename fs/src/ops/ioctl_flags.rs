//! Flags of files (chattr(1), ioctl_iflags(2), ioctl_xfs_fsgetxattr(2)): reading, setting and copying them.
//!
//! Copy-up turns "immutable" and "append only" of a lower object into the xattr `protattr`
//! ([`protection`](crate::overlay::protection)).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use plyfs_format::names::Record;
use plyfs_format::protattr::Protection;
use plyfs_sys::attributes;
use plyfs_sys::xattr::{self, At};
use rustix::fs::{IFlags, Statx, XattrFlags};

use crate::Overlay;
use crate::disk::fd_cache::Key;
use crate::disk::owner_mode::with_permission;
use crate::error::{Errno, Result};
use crate::inode::node::Node;
use crate::layer::upper::Upper;
use crate::overlay::protection::{allow, has_flags, protection_in_stat};
use crate::types::{Extent, FileKind};

/// "Immutable" and "append only" as a `struct fsxattr` has them (`FS_XFLAG_*` of `linux/fs.h`).
const XFLAG_IMMUTABLE: u32 = 0x8;
const XFLAG_APPEND: u32 = 0x10;

/// The flags that the kernel's overlay copies to the object itself (`OVL_COPY_FS_FLAGS_MASK`).
const COPIED: IFlags = IFlags::SYNC.union(IFlags::NOATIME);

impl Overlay {
    /// The flags of chattr(1).
    ///
    /// # Errors
    /// `NOTTY` and `OPNOTSUPP` where the layer's file system has none.
    pub fn file_flags(&self, id: u64) -> Result<u32> {
        let node = self.node(id)?;
        let fd = self.open_for_flags(&node)?;
        let mut flags = rustix::fs::ioctl_getflags(&fd)?;
        let protection = self.protection(&node)?;
        flags.set(
            IFlags::IMMUTABLE,
            flags.contains(IFlags::IMMUTABLE) || protection.immutable,
        );
        flags.set(
            IFlags::APPEND,
            flags.contains(IFlags::APPEND) || protection.append_only,
        );
        Ok(flags.bits())
    }

    /// The attributes that file systems know besides, as the bytes of a `struct fsxattr`.
    ///
    /// # Errors
    /// As [`file_flags`](Self::file_flags).
    pub fn file_attributes(&self, id: u64) -> Result<[u8; attributes::LENGTH]> {
        let node = self.node(id)?;
        let found = attributes::get(self.open_for_flags(&node)?.as_fd())?;
        let protection = self.protection(&node)?;
        let mut flags = xflags(&found);
        if protection.immutable {
            flags |= XFLAG_IMMUTABLE;
        }
        if protection.append_only {
            flags |= XFLAG_APPEND;
        }
        Ok(with_xflags(found, flags))
    }

    /// Changes the flags of chattr(1), copying the file up if need be. Whether the caller may was checked by the
    /// kernel, which compares them with [`file_attributes`](Self::file_attributes).
    ///
    /// # Errors
    /// `PERM` for protection where the upper layer has no attributes; otherwise those of copying up and
    /// ioctl_iflags(2).
    pub fn set_file_flags(&self, id: u64, flags: u32) -> Result<()> {
        let flags = IFlags::from_bits_retain(flags);
        let protection = Protection {
            immutable: flags.contains(IFlags::IMMUTABLE),
            append_only: flags.contains(IFlags::APPEND),
        };
        let on_disk = flags.difference(IFlags::IMMUTABLE | IFlags::APPEND);
        self.change_flags(id, protection, |fd| rustix::fs::ioctl_setflags(fd, on_disk))
    }

    /// Changes the attributes of a `struct fsxattr`.
    ///
    /// # Errors
    /// As [`set_file_flags`](Self::set_file_flags).
    pub fn set_file_attributes(&self, id: u64, wanted: [u8; attributes::LENGTH]) -> Result<()> {
        let flags = xflags(&wanted);
        let protection = Protection {
            immutable: flags & XFLAG_IMMUTABLE != 0,
            append_only: flags & XFLAG_APPEND != 0,
        };
        let on_disk = with_xflags(wanted, flags & !(XFLAG_IMMUTABLE | XFLAG_APPEND));
        self.change_flags(id, protection, |fd| attributes::set(fd, on_disk))
    }

    fn change_flags(
        &self,
        id: u64,
        protection: Protection,
        set_others: impl Fn(BorrowedFd<'_>) -> Result<()>,
    ) -> Result<()> {
        let node = self.node(id)?;
        has_flags(&node)?;
        let upper = self.upper()?;
        self.copy_up(&node, Extent::None)?;
        let fd = self.open_for_flags(&node)?;
        // What is known must be what the last of two threads stores.
        let place = node.place.write();
        let flags = rustix::fs::ioctl_getflags(&fd);
        // First: this takes protection from the object itself, too, which keeps records from being written.
        set_others(fd.as_fd())?;
        // Without protection as well: there may be a record that could not be parsed.
        let written = write_protection(upper, At::Fd(fd.as_fd()), protection);
        if let (Err(_), Ok(flags)) = (&written, flags)
            && let Err(errno) = rustix::fs::ioctl_setflags(&fd, flags)
        {
            log::warn!("a file may have lost its protection (chattr(1)): {errno}");
        }
        written?;
        // A descriptor that can only append must not outlive the flag of the object.
        self.fds.remove(Key::File(node.id));
        node.protection.set(protection);
        drop(place);
        // The kernel does not expect an ioctl(2) to change the ctime.
        self.changed_unasked(node.id);
        Ok(())
    }

    fn open_for_flags(&self, node: &Node) -> Result<OwnedFd> {
        has_flags(node)?;
        let object = self.locate(node)?;
        self.open_reading(object.at(), object.in_upper)
    }

    /// Refuses a descriptor for writing that protection forbids (`may_open` of the kernel). To be asked where the
    /// kernel asks for each open(2).
    ///
    /// # Errors
    /// `PERM` where the flags forbid it.
    pub fn check_may_open(&self, id: u64, appends: bool) -> Result<()> {
        let protection = self.protection(&*self.node(id)?)?;
        allow(!protection.immutable && (appends || !protection.append_only))
    }

    /// Copies protection and the flags that the kernel's overlay copies. A copy is complete without flags that
    /// its file system does not have.
    pub(super) fn copy_flags(
        &self,
        upper: &Upper,
        (from, stat): (BorrowedFd<'_>, &Statx),
        to: BorrowedFd<'_>,
        kind: FileKind,
    ) -> Result<()> {
        let protection = protection_in_stat(stat);
        if protection.any() {
            match write_protection(upper, At::Fd(to), protection) {
                Err(Errno::PERM) => log::warn!(
                    "a copy is not protected as its lower file is: the upper layer has no attributes"
                ),
                written => written?,
            }
        }
        let copied = match kind {
            FileKind::Regular => rustix::fs::ioctl_getflags(from),
            // An `O_PATH` descriptor.
            _ => self
                .open_reading(At::Fd(from), false)
                .and_then(|fd| rustix::fs::ioctl_getflags(&fd)),
        };
        let copied = copied.unwrap_or(IFlags::empty()) & COPIED;
        if copied.is_empty() {
            return Ok(());
        }
        let set = self.open_reading(At::Fd(to), true).and_then(|fd| {
            let flags = rustix::fs::ioctl_getflags(&fd)?.difference(COPIED);
            rustix::fs::ioctl_setflags(&fd, flags | copied)
        });
        match set {
            Err(Errno::NOTTY | Errno::INVAL | Errno::OPNOTSUPP | Errno::PERM) => {
                log::debug!("copy-up leaves flags that the upper layer does not take");
                Ok(())
            }
            set => set,
        }
    }
}

/// Makes the record of an upper object say this.
fn write_protection(upper: &Upper, at: At<'_>, protection: Protection) -> Result<()> {
    let name = upper.namespace.name(Record::Protattr);
    let value = protection.value();
    let written = with_permission(at, || {
        if protection.any() {
            xattr::set(at, name, &value, XattrFlags::empty())
        } else {
            xattr::remove(at, name)
        }
    });
    match written {
        Err(Errno::OPNOTSUPP) if protection.any() => Err(Errno::PERM),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        written => written,
    }
}

/// The `fsx_xflags` of a `struct fsxattr`, its first member.
fn xflags(attributes: &[u8; attributes::LENGTH]) -> u32 {
    attributes
        .first_chunk()
        .map_or(0, |flags| u32::from_ne_bytes(*flags))
}

fn with_xflags(mut attributes: [u8; attributes::LENGTH], flags: u32) -> [u8; attributes::LENGTH] {
    if let Some(first) = attributes.first_chunk_mut() {
        *first = flags.to_ne_bytes();
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_the_first_word_of_attributes() {
        let attributes = with_xflags([7; attributes::LENGTH], XFLAG_APPEND);
        assert_eq!(xflags(&attributes), XFLAG_APPEND);
        assert!(attributes[4..].iter().all(|byte| *byte == 7));
    }
}
