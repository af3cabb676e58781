//! Opening the data of a regular file, and keeping it open.
//!
//! The transport opens nothing: reads and writes name a node, and go to where its data is at that moment. A
//! descriptor that was opened before a copy-up therefore sees what is written after it.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use plyfs_sys::xattr::At;
use rustix::fs::OFlags;

use crate::Overlay;
use crate::disk::calls;
use crate::disk::fd_cache::{Handle, Key};
use crate::disk::owner_mode::with_permission;
use crate::error::{Errno, Result, decided};
use crate::inode::node::Node;
use crate::layer::lower_dir::LowerFile;
use crate::overlay::locate::ObjectRef;
use crate::types::FileKind;

impl Overlay {
    pub(crate) fn open_for_reading(&self, node: &Node) -> Result<Arc<OwnedFd>> {
        self.open_file(node, false)
    }

    /// The caller has copied the node up.
    pub(crate) fn open_for_writing(&self, node: &Node) -> Result<Arc<OwnedFd>> {
        self.open_file(node, true)
    }

    /// A descriptor of a regular file's data, from the cache or opened.
    fn open_file(&self, node: &Node, write: bool) -> Result<Arc<OwnedFd>> {
        match node.kind {
            FileKind::Regular => {}
            FileKind::Directory => return Err(Errno::ISDIR),
            _ => return Err(decided(Errno::INVAL)),
        }
        let key = Key::File(node.id);
        if let Some(handle) = self.fds.get(key)
            && (handle.writable || !write)
        {
            return Ok(handle.fd);
        }
        let append_only = write && self.protection(node)?.append_only;
        let object = self.locate(node)?;
        let data = object.metacopy_data();
        if write && (!object.in_upper || data.is_some()) {
            // Never: a lower layer is not to be written to, whatever went wrong before.
            return Err(Errno::ROFS);
        }
        let read_only = |fd| Handle {
            fd: Arc::new(fd),
            writable: false,
        };
        let handle = match data {
            Some(data) => read_only(self.open_data(&data)?),
            None if object.in_upper => self.open_upper_file(&object, write, append_only)?,
            None => read_only(self.open_lower(node, &object)?),
        };
        // Under the place lock still, so that a copy-up that follows finds it there to remove.
        self.fds.insert(key, handle.clone());
        drop(object);
        self.may_have_told_mtime(node, &handle)?;
        Ok(handle.fd)
    }

    /// Opens a regular file of a lower layer where it lies.
    fn open_lower(&self, node: &Node, object: &ObjectRef<'_>) -> Result<OwnedFd> {
        let opened = self.open_reading(object.at(), false);
        if self.lowers_change {
            let fd = opened.as_ref().map_err(|errno| *errno);
            self.check_in_place(node, object, fd.and_then(|fd| calls::stat_fd(fd.as_fd())))?;
        }
        opened
    }

    /// Opens the file that holds the data of a metacopy.
    pub(crate) fn open_data(&self, data: &LowerFile) -> Result<OwnedFd> {
        let dir = data.dir.open(&self.lowers, &self.fds)?;
        self.open_reading(At::Name(dir.as_fd(), data.name.as_bytes()), false)
    }

    /// Opens a file of the upper layer, which the caller knows to be append-only or not.
    pub(crate) fn open_upper_file(
        &self,
        object: &ObjectRef<'_>,
        write: bool,
        append_only: bool,
    ) -> Result<Handle> {
        let at = object.at();
        // Not for writing before something is written: a program that is open for writing cannot be
        // executed, nor one that is executed be opened for writing.
        if !write {
            return Ok(Handle {
                fd: Arc::new(self.open_reading(at, true)?),
                writable: false,
            });
        }
        let open = || {
            let open = |flags| self.fds.open(|| calls::open(at, flags));
            match open(OFlags::RDWR | OFlags::NOATIME) {
                // Not our own file.
                Err(Errno::PERM) => {}
                other => return other,
            }
            match open(OFlags::RDWR) {
                // The flag may be that of the object. All that is written to such a file goes to its end.
                Err(Errno::PERM) if append_only => open(OFlags::RDWR | OFlags::APPEND),
                other => other,
            }
        };
        Ok(Handle {
            fd: Arc::new(with_permission(at, open)?),
            writable: true,
        })
    }

    /// Opens for reading only, and leaves the time of last access alone where that is allowed.
    pub(crate) fn open_reading(&self, at: At<'_>, in_upper: bool) -> Result<OwnedFd> {
        let open = |flags| self.fds.open(|| calls::open(at, flags));
        match open(OFlags::RDONLY | OFlags::NOATIME) {
            Err(Errno::PERM) => {}
            Err(Errno::ACCESS) if in_upper => {
                return with_permission(at, || open(OFlags::RDONLY));
            }
            other => return other,
        }
        open(OFlags::RDONLY)
    }
}
