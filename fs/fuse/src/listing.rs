//! Listings: names, or names with attributes.

use std::time::Duration;

use fuser::{Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus};
use plyfs_fs::{Fill, Wants};

use super::adapter::Adapter;
use super::convert::file_type;
use super::listers::Given;
use super::reply::{Pending, is_dots, listed_entry};

impl Adapter {
    pub(crate) fn list(&self, ino: INodeNo, offset: u64, mut pending: Pending<ReplyDirectory>) {
        let reply = &mut pending.reply;
        let listed = self.overlay.readdir(ino.0, offset, |entry| {
            let kind = file_type(entry.kind);
            room(reply.add(INodeNo(entry.ino), entry.cookie, kind, &*entry.name))
        });
        pending.listed(listed);
    }

    pub(crate) fn list_plus(
        &self,
        client: u32,
        ino: INodeNo,
        offset: u64,
        mut pending: Pending<ReplyDirectoryPlus>,
    ) {
        let given = match offset {
            0 if !self.options.allow_for_changes() => self.listers.begins(client),
            _ => Given::All,
        };
        let mut may_probe = given == Given::AllWithProbe;
        let wants = match given {
            Given::Directories => Wants::Directories,
            Given::All | Given::AllWithProbe => Wants::All,
        };
        let (reply, timeout) = (&mut pending.reply, self.options.timeout);
        let listed = self
            .overlay
            .readdir_plus(ino.0, offset, wants, |entry, found| {
                let (attr, mut timeout) = listed_entry(entry, found, timeout);
                // Directories come first. If there is none, the first file serves.
                if let Some(found) = found
                    && !is_dots(entry)
                    && std::mem::take(&mut may_probe)
                    && !found.attr.kind.is_dir()
                {
                    self.listers.probes(client);
                    timeout = Duration::ZERO;
                }
                let (name, none) = (&*entry.name, Generation(0));
                room(reply.add(attr.ino, entry.cookie, name, &timeout, &attr, none))
            });
        pending.listed(listed);
    }
}

fn room(full: bool) -> Fill {
    if full { Fill::Full } else { Fill::More }
}
