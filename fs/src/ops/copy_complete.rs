//! Bringing the data into a copy that was made without it.

use std::os::fd::AsFd;
use std::sync::Arc;

use plyfs_format::names::Record;
use plyfs_sys::xattr::{self, At};
use rustix::fs::XattrFlags;

use crate::Overlay;
use crate::disk::attribute_names::CAPABILITY;
use crate::disk::calls::{set_times_of, stat_fd};
use crate::disk::copy_data::copy_data;
use crate::disk::fd_cache::Key;
use crate::disk::owner_mode::with_permission;
use crate::error::Result;
use crate::inode::node::Node;
use crate::layer::upper::Upper;
use crate::types::Extent;

impl Overlay {
    /// Brings the data into a copy that was made without it.
    pub(super) fn complete(&self, upper: &Upper, node: &Arc<Node>, extent: Extent) -> Result<()> {
        let object = self.locate(node)?;
        let Some(data) = object.metacopy_data() else {
            return Ok(());
        };
        let file = self.open_upper_file(&object, true, false)?.fd;
        drop(object);
        let from = self.open_data(&data)?;
        let (before, at) = (stat_fd(file.as_fd())?, At::Fd(file.as_fd()));
        // Writing takes it from a file.
        let capability = xattr::get_all(at, CAPABILITY)?;
        let from_stat = stat_fd(from.as_fd())?;
        let from = (from.as_fd(), &from_stat);
        // Also if it fails: it may be made again.
        let copied = copy_data(from, before.stx_size, file.as_fd(), extent);
        if let Some(capability) = capability {
            xattr::set(at, CAPABILITY, &capability, XattrFlags::empty())?;
        }
        set_times_of(at, &before)?;
        let copied = copied?;
        if !self.volatile {
            upper.sync_copy(file.as_fd(), copied)?;
        }
        let mark = upper.namespace.name(Record::Metacopy);
        with_permission(at, || xattr::remove(at, mark))?;
        {
            let mut place = node.place.write();
            place.lower_link.set_data(None);
            self.fds.remove(Key::File(node.id));
        }
        // Its ctime and its blocks.
        self.changed_unasked(node.id);
        Ok(())
    }
}
