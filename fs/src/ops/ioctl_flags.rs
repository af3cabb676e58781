//! Flags of files (chattr(1), ioctl_iflags(2), ioctl_xfs_fsgetxattr(2)), and what they forbid.
//!
//! Most flags are those of the object in its layer. Two are not, as in the kernel's overlay: "immutable" and
//! "append only" of an upper file are in the record `protattr`. On the object itself they would keep the overlay
//! from moving it and from writing records. Copy-up turns the flags of a lower object into the record.
//!
//! The kernel refuses changes of a protected file by flags of its own inode, which no answer of FUSE can set. So
//! each change asks here first, before anything is copied up, and fails with `PERM` as the kernel's would. What the
//! kernel permits to descriptors that were opened before a file was protected is refused as well: nothing tells
//! them apart here.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering};

use plyfs_format::names::Record;
use plyfs_format::protattr::Protection;
use plyfs_sys::attributes;
use plyfs_sys::xattr::{self, At};
use rustix::fs::{IFlags, Statx, StatxAttributes, XattrFlags};

use crate::Overlay;
use crate::disk::calls::{self, Located};
use crate::disk::fd_cache::Key;
use crate::disk::owner_mode::with_permission;
use crate::error::{Errno, Result};
use crate::inode::node::Node;
use crate::ops::copy_up::Extent;
use crate::ops::data::WriteMode;
use crate::overlay::open::Upper;
use crate::types::{FileKind, SetAttr, SetTime};

/// "Immutable" and "append only" as a `struct fsxattr` has them (`FS_XFLAG_*` of `linux/fs.h`).
const XFLAG_IMMUTABLE: u32 = 0x8;
const XFLAG_APPEND: u32 = 0x10;

/// The flags that the kernel's overlay copies to the object itself (`OVL_COPY_FS_FLAGS_MASK`).
const COPIED: IFlags = IFlags::SYNC.union(IFlags::NOATIME);

/// What is known of the protection of a node: a few bits, since nodes are many.
#[derive(Debug, Default)]
pub(crate) struct KnownProtection(AtomicU8);

impl KnownProtection {
    const IMMUTABLE: u8 = 1;
    const APPEND_ONLY: u8 = 2;
    /// The flags of the object are among them.
    const HAS_FLAGS: u8 = 4;
    /// What its record says is among them, or does not count.
    const HAS_RECORD: u8 = 8;
    const ALL: u8 = Self::HAS_FLAGS | Self::HAS_RECORD;

    /// The protection, if flags and record are known.
    fn get(&self) -> Option<Protection> {
        let bits = self.0.load(Ordering::Relaxed);
        (bits & Self::ALL == Self::ALL).then(|| Self::protection(bits))
    }

    /// The flags of the object, if they are known.
    fn flags(&self) -> Option<Protection> {
        let bits = self.0.load(Ordering::Relaxed);
        (bits & Self::HAS_FLAGS != 0).then(|| Self::protection(bits))
    }

    /// Sets the protection after a change.
    pub(crate) fn set(&self, protection: Protection) {
        let bits = Self::bits(protection) | Self::ALL;
        self.0.store(bits, Ordering::Relaxed);
    }

    /// Stores the flags that a lookup saw, unless more is known.
    pub(crate) fn saw_flags(&self, protection: Protection) {
        let bits = Self::bits(protection) | Self::HAS_FLAGS;
        let order = Ordering::Relaxed;
        // What another thread knows already is not older.
        let _known = self.0.compare_exchange(0, bits, order, order);
    }

    /// Stores what was read, unless another thread has set it meanwhile.
    fn learn(&self, protection: Protection) {
        let bits = Self::bits(protection) | Self::ALL;
        let learn = |known| (known & Self::ALL != Self::ALL).then_some(bits);
        let order = Ordering::Relaxed;
        let _known = self.0.fetch_update(order, order, learn);
    }

    fn protection(bits: u8) -> Protection {
        Protection {
            immutable: bits & Self::IMMUTABLE != 0,
            append_only: bits & Self::APPEND_ONLY != 0,
        }
    }

    fn bits(protection: Protection) -> u8 {
        let bit = |is_set, bit| if is_set { bit } else { 0 };
        bit(protection.immutable, Self::IMMUTABLE) | bit(protection.append_only, Self::APPEND_ONLY)
    }
}

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

    /// What may not be done to a node: what the flags of its object forbid, and in the upper layer the record.
    ///
    /// # Errors
    /// Those of statx(2) and getxattr(2).
    pub(crate) fn protection(&self, node: &Node) -> Result<Protection> {
        if let Some(known) = node.protection.get() {
            return Ok(known);
        }
        if has_flags(node).is_err() {
            return Ok(Protection::default());
        }
        let object = self.locate(node)?;
        let flags = match node.protection.flags() {
            Some(flags) => flags,
            None => protection_in_stat(&calls::stat(object.at())?),
        };
        if !object.in_upper {
            if !self.lowers_change {
                node.protection.learn(flags);
            }
            return Ok(flags);
        }
        let record = self.recorded_protection(&object)?;
        let protection = Protection {
            immutable: flags.immutable || record.immutable,
            append_only: flags.append_only || record.append_only,
        };
        node.protection.learn(protection);
        Ok(protection)
    }

    fn recorded_protection(&self, object: &Located<'_>) -> Result<Protection> {
        let (at, name) = (object.at(), self.namespace.name(Record::Protattr));
        let value = match xattr::get_all(at, name) {
            // The owner may not read the file; the names of its attributes are for everybody.
            Err(Errno::ACCESS) => match has_attribute(at, name)? {
                true => with_permission(at, || xattr::get_all(at, name))?,
                false => None,
            },
            value => value?,
        };
        let Some(value) = value else {
            return Ok(Protection::default());
        };
        Ok(Protection::parse(&value).unwrap_or_else(|| {
            log::warn!(
                "ignoring a protattr record of {} bytes: unknown format",
                value.len()
            );
            Protection::default()
        }))
    }

    /// Refuses to change what is immutable: the data of a file, the names in a directory.
    ///
    /// # Errors
    /// `PERM`, and those of [`protection`](Self::protection).
    pub(crate) fn check_may_add(&self, node: &Node) -> Result<()> {
        allow(!self.protection(node)?.immutable)
    }

    /// Refuses what only a file without any protection allows: to remove, rename or link it, to remove names
    /// in it, to change its owner, mode, size or attributes.
    ///
    /// # Errors
    /// `PERM` where the flags forbid it.
    pub(crate) fn check_unprotected(&self, node: &Node) -> Result<()> {
        allow(!self.protection(node)?.any())
    }

    /// Refuses to take `name` out of `parent`, before anything is copied up for that.
    ///
    /// # Errors
    /// `PERM` where the flags forbid it.
    pub(crate) fn check_may_leave(&self, parent: &Node, node: &Node) -> Result<()> {
        self.check_unprotected(parent)?;
        self.check_unprotected(node)
    }

    /// Refuses a change of attributes that protection forbids (`notify_change` of the kernel).
    ///
    /// # Errors
    /// `PERM` where the flags forbid it.
    pub(crate) fn check_may_set(&self, node: &Node, set: &SetAttr) -> Result<()> {
        if set.kept_by_kernel {
            return Ok(());
        }
        let has_times = set.atime.is_some() || set.mtime.is_some();
        // Without times of its own, utimensat(2) is what a write does as well. A kernel that gathers writes says
        // itself what time it is now.
        let now = |time| time == Some(SetTime::Now);
        let touches = now(set.atime) && (now(set.mtime) || self.gathers && set.mtime.is_some());
        let others = set.mode.is_some() || set.uid.is_some() || set.gid.is_some();
        match () {
            () if others || set.size.is_some() || has_times && !touches => {
                self.check_unprotected(node)
            }
            () if has_times => self.check_may_add(node),
            () => Ok(()),
        }
    }

    /// Refuses a write that protection forbids. Returns whether the file is append-only.
    ///
    /// # Errors
    /// `PERM` where the flags forbid it.
    pub(crate) fn check_may_write(&self, node: &Node, mode: WriteMode) -> Result<bool> {
        let protection = self.protection(node)?;
        // Data that was gathered came by a descriptor that is not known any more.
        let adds = mode.appends || mode.gathered;
        allow(!protection.immutable && (adds || !protection.append_only))?;
        Ok(protection.append_only)
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
    pub(crate) fn copy_flags(
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

fn allow(is_allowed: bool) -> Result<()> {
    match is_allowed {
        true => Ok(()),
        false => Err(Errno::PERM),
    }
}

/// Only regular files and directories have flags.
fn has_flags(node: &Node) -> Result<()> {
    match node.kind {
        FileKind::Regular | FileKind::Directory => Ok(()),
        _ => Err(Errno::NOTTY),
    }
}

fn has_attribute(at: At<'_>, name: &CStr) -> Result<bool> {
    let names = xattr::list(at)?;
    Ok(names
        .split(|byte| *byte == 0)
        .any(|one| one == name.to_bytes()))
}

/// Makes the record of an upper object say this.
fn write_protection(upper: &Upper, at: At<'_>, protection: Protection) -> Result<()> {
    let name = upper.namespace.name(Record::Protattr);
    let value = protection.value();
    let written = with_permission(at, || match protection.any() {
        true => xattr::set(at, name, &value, XattrFlags::empty()),
        false => xattr::remove(at, name),
    });
    match written {
        Err(Errno::OPNOTSUPP) if protection.any() => Err(Errno::PERM),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        written => written,
    }
}

/// What the flags of an object forbid.
pub(crate) fn protection_in_stat(stat: &Statx) -> Protection {
    let attributes = stat.stx_attributes;
    Protection {
        immutable: attributes.contains(StatxAttributes::IMMUTABLE),
        append_only: attributes.contains(StatxAttributes::APPEND),
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

    const IMMUTABLE: Protection = Protection {
        immutable: true,
        append_only: false,
    };
    const APPEND_ONLY: Protection = Protection {
        immutable: false,
        append_only: true,
    };

    #[test]
    fn what_was_set_is_newer_than_what_was_read() {
        let known = KnownProtection::default();
        known.set(IMMUTABLE);
        known.learn(Protection::default());
        known.saw_flags(APPEND_ONLY);
        assert_eq!(known.get(), Some(IMMUTABLE));
        known.set(Protection::default());
        assert_eq!(known.get(), Some(Protection::default()));
    }

    #[test]
    fn flags_alone_do_not_say_all() {
        let known = KnownProtection::default();
        assert_eq!(known.flags(), None);
        known.saw_flags(APPEND_ONLY);
        assert_eq!((known.flags(), known.get()), (Some(APPEND_ONLY), None));
        known.learn(IMMUTABLE);
        assert_eq!(known.get(), Some(IMMUTABLE));
    }

    #[test]
    fn flags_are_the_first_word_of_attributes() {
        let attributes = with_xflags([7; attributes::LENGTH], XFLAG_APPEND);
        assert_eq!(xflags(&attributes), XFLAG_APPEND);
        assert!(attributes[4..].iter().all(|byte| *byte == 7));
    }
}
