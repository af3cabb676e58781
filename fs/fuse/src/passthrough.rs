//! Reading without the daemon: the kernel is given the file that has the data, and reads from it itself
//! (`FUSE_PASSTHROUGH`, Linux 6.9, for the superuser of the machine).
//!
//! What is read is in memory once for all mounts of a layer, and large files come at the speed of the file
//! system below. Every open is a request for it, which costs more than it saves for small files, so it has
//! to be asked for. A file that is changed moves to another layer, so that it is for overlays without an
//! upper layer.
//!
//! The kernel wants all descriptors of a node to be served in one way: how the first was opened holds until
//! the last is closed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::OwnedFd;

use fuser::{BackingId, FileHandle, FopenFlags, ReplyOpen};
use parking_lot::Mutex;

/// The files that are open, by node.
#[derive(Debug, Default)]
pub(crate) struct Passthrough {
    open: Mutex<HashMap<u64, Open>>,
}

#[derive(Debug)]
struct Open {
    /// `None` if the kernel would not have it: then the daemon reads.
    backing: Option<BackingId>,
    /// How many descriptors there are.
    count: u64,
}

impl Passthrough {
    /// Answers that a node is open, whose data is in this file.
    pub(crate) fn open(&self, id: u64, file: &OwnedFd, reply: ReplyOpen) {
        let mut open = self.open.lock();
        let now = match open.entry(id) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(vacant) => vacant.insert(Open {
                backing: kernel_takes(&reply, file),
                count: 0,
            }),
        };
        now.count += 1;
        let handle = FileHandle(0);
        match &now.backing {
            Some(backing) => reply.opened_passthrough(handle, FopenFlags::empty(), backing),
            None => reply.opened(handle, FopenFlags::FOPEN_KEEP_CACHE),
        }
    }

    /// One descriptor of a node was closed.
    pub(crate) fn release(&self, id: u64) {
        let mut open = self.open.lock();
        if let Entry::Occupied(mut found) = open.entry(id) {
            found.get_mut().count -= 1;
            if found.get().count == 0 {
                found.remove();
            }
        }
    }
}

fn kernel_takes(reply: &ReplyOpen, file: &OwnedFd) -> Option<BackingId> {
    reply
        .open_backing(file)
        .inspect_err(|error| log::debug!("a file is read through the daemon: {error}"))
        .ok()
}
