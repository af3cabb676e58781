//! Keeping the time of last change that the kernel was told ([`ToldMtime`]).

use std::os::fd::AsFd;

use crate::Overlay;
use crate::disk::calls::stat_fd;
use crate::disk::fd_cache::Handle;
use crate::error::Result;
use crate::inode::node::Node;
use crate::inode::told_mtime::ToldMtime;
use crate::types::{Attr, SetAttr, SetTime, Timestamp};

/// How old a time of last change may be that a lookup told right before a program wrote, in seconds. The
/// kernel's clock has ticks of milliseconds, and looking up and writing take their time.
const RECENT: i64 = 5;

impl Overlay {
    /// Remembers the time of last change that the answer to a change tells.
    pub(crate) fn told_mtime(&self, node: &Node, mtime: Timestamp) {
        if self.gathers {
            *node.times.lock() = ToldMtime::now(mtime);
        }
    }

    /// Remembers the time of last change that a file has when it is opened for its first write, unless a
    /// change told another: a lookup told it, and the kernel's clock need not have moved on since.
    pub(super) fn may_have_told_mtime(&self, node: &Node, file: &Handle) -> Result<()> {
        if !self.gathers || !file.writable || node.times.lock().is_some() {
            return Ok(());
        }
        let mtime: Timestamp = stat_fd(file.fd.as_fd())?.stx_mtime.into();
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        let age = now.tv_sec.saturating_sub(mtime.secs);
        if (0..=RECENT).contains(&age) {
            let mut times = node.times.lock();
            *times = times.or_else(|| ToldMtime::now(mtime));
        }
        Ok(())
    }

    /// The attributes of a node, if all that is to be set is the time of last change, to what it is.
    ///
    /// So a kernel that gathers writes asks whenever a name of a file changes. Nothing is to be copied
    /// up for that, least of all a file that was just removed.
    pub(crate) fn has_already(&self, node: &Node, set: &SetAttr) -> Result<Option<Attr>> {
        let only_mtime = SetAttr {
            mtime: set.mtime,
            kept_by_kernel: set.kept_by_kernel,
            ..SetAttr::default()
        };
        let mtime = set.mtime.filter(|_| self.gathers && *set == only_mtime);
        let Some(SetTime::At(mtime)) = mtime else {
            return Ok(None);
        };
        let told = node.times.lock().map(|told| told.mtime());
        if told.is_some_and(|told| told != mtime) && node.in_upper() {
            // What was told is what it is.
            return Ok(None);
        }
        let attr = self.attr(node)?;
        Ok((attr.mtime == mtime).then(|| {
            self.told_mtime(node, mtime);
            attr
        }))
    }
}
