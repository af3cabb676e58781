//! What stat(2) shows for a node.

use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use plyfs_sys::xattr::At;
use rustix::fs::Statx;

use crate::Overlay;
use crate::config::override_stat_mode::OverrideStatMode;
use crate::disk::calls::{stat, stat_fd, stat_name};
use crate::disk::fd_cache::Key;
use crate::error::{Errno, Result};
use crate::inode::backing::Backing;
use crate::inode::node::Node;
use crate::layer::lower_dir::LowerFile;
use crate::layer::override_stat::recorded_attr_of;
use crate::overlay::locate::ObjectRef;
use crate::types::Attr;

/// Counts no link of a file that lost its name on the mount: its lower layer still has the name.
fn adapt_links(object: &ObjectRef<'_>, attr: &mut Attr) {
    let is_lower = matches!(object.place.backing, Backing::Lower(_));
    if is_lower && object.place.parent.is_none() && !attr.kind.is_dir() {
        attr.nlink = 0;
    }
}

impl Overlay {
    /// What stat(2) shows for a node.
    pub(crate) fn attr(&self, node: &Node) -> Result<Attr> {
        // The kernel asks for those of a directory after each change in it, which went by this descriptor.
        if node.kind.is_dir()
            && let (Some(upper), Some(handle)) = (&self.upper, self.fds.get(Key::UpperDir(node.id)))
        {
            let at = At::Fd(handle.fd.as_fd());
            let mut attr = self.attr_of(at, &stat(at)?, upper.layer.records)?;
            self.adapt(node, &mut attr, true);
            return Ok(attr);
        }
        let object = self.locate(node)?;
        let stat = match self.check_in_place(node, &object, stat(object.at())) {
            // Replaced while it is open.
            Err(Errno::STALE) if let Some(open) = self.fds.get(Key::File(node.id)) => {
                let at = At::Fd(open.fd.as_fd());
                let mut attr = self.attr_of(at, &stat_fd(open.fd.as_fd())?, object.records)?;
                self.adapt(node, &mut attr, false);
                adapt_links(&object, &mut attr);
                return Ok(attr);
            }
            found => found?,
        };
        let mut attr = self.attr_of(object.at(), &stat, object.records)?;
        self.adapt(node, &mut attr, object.in_upper);
        adapt_links(&object, &mut attr);
        if let (Backing::Index(name), Some(index)) = (&object.place.backing, self.index()) {
            attr.nlink = index.links(name, &stat, None)?;
        }
        self.adapt_blocks(&mut attr, object.place.lower_link.data())?;
        Ok(attr)
    }

    /// Turns the attributes of an object into those of the node that shows it.
    pub(crate) fn adapt(&self, node: &Node, attr: &mut Attr, in_upper: bool) {
        attr.ino = node.ino();
        if node.is_merged(in_upper) || (self.static_nlink && attr.kind.is_dir()) {
            attr.nlink = 1;
        }
    }

    /// Shows the blocks of a metacopy where its data is.
    pub(crate) fn adapt_blocks(&self, attr: &mut Attr, data: Option<&LowerFile>) -> Result<()> {
        let Some(data) = data else { return Ok(()) };
        let dir = data.dir.open(&self.lowers, &self.fds);
        let stat = dir.and_then(|dir| stat_name(dir.as_fd(), data.name.as_bytes()));
        attr.blocks = match stat {
            Ok(stat) => stat.stx_blocks,
            // What it would take, as the kernel's overlay says of data it has not looked for.
            Err(Errno::NOENT | Errno::NOTDIR) => attr.size.div_ceil(512),
            Err(error) => return Err(error),
        };
        Ok(())
    }

    /// As [`attr`](Self::attr), with owners that cannot be shown as they are recorded.
    pub(crate) fn recorded_attr(&self, node: &Node) -> Result<Attr> {
        let object = self.locate(node)?;
        recorded_attr_of(object.at(), &stat(object.at())?, object.records)
    }

    /// The attributes of an object, with its number in its own file system.
    pub(crate) fn attr_of(
        &self,
        at: At<'_>,
        stat: &Statx,
        records: OverrideStatMode,
    ) -> Result<Attr> {
        let mut attr = recorded_attr_of(at, stat, records)?;
        (attr.uid, attr.gid) = if records.rule(attr.kind) {
            self.shown_ids.apply(attr.uid, attr.gid)
        } else {
            self.owners.shown(attr.uid, attr.gid)
        };
        Ok(attr)
    }
}
