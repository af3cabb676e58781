//! Paths that lead through links which the layer has made itself, as `lib -> usr/lib` and `lib/x`.
//!
//! Links are followed here, and never by the kernel: the walk goes from the root of the layer, takes
//! an absolute target from there, and stops at the root however many `..` there are. What comes out
//! is a path without links, which is opened and made like every other.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};

use plyfs_format::override_stat::{self, Kind, OverrideStat};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::fault::Result;
use super::unpacker::Unpacker;
use crate::error::EntryFault;
use crate::values::limits;

impl Unpacker {
    /// The directory that a path means, by a path without links as far as it is there.
    ///
    /// # Errors
    /// [`EntryFault::LinkLoop`] if links lead to themselves, or further than any real layer's.
    pub(super) fn resolve(&mut self, path: &[u8]) -> Result<Vec<u8>> {
        let mut real: Vec<u8> = Vec::new();
        let mut ahead: VecDeque<Vec<u8>> = components(path).collect();
        let mut links = 0;
        for _ in 0..limits::LINK_STEPS {
            let Some(name) = ahead.pop_front() else {
                return Ok(real);
            };
            match &name[..] {
                b"" | b"." => continue,
                b".." => {
                    let parent = real.iter().rposition(|&byte| byte == b'/');
                    real.truncate(parent.unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let Some(target) = self.link_at(&real, &name)? else {
                if !real.is_empty() {
                    real.push(b'/');
                }
                real.extend_from_slice(&name);
                continue;
            };
            links += 1;
            if links > limits::LINKS {
                break;
            }
            if target.first() == Some(&b'/') {
                real.clear();
            }
            for component in components(&target).rev() {
                ahead.push_front(component);
            }
        }
        Err(EntryFault::LinkLoop(path.to_vec()))
    }

    /// The target of the link of this name; `None` if it is none, or not there.
    fn link_at(&mut self, dir: &[u8], name: &[u8]) -> Result<Option<Vec<u8>>> {
        let Ok(dir) = self.tree.open(dir) else {
            return Ok(None);
        };
        let target = rustix::io::retry_on_intr(|| rustix::fs::readlinkat(&dir, name, Vec::new()));
        match target {
            Ok(target) => Ok(Some(target.into_bytes())),
            // Not a link.
            Err(Errno::INVAL) if self.is_override() => {
                stand_in_target(dir.as_fd(), name).map_err(EntryFault::system("read it"))
            }
            Err(Errno::INVAL | Errno::NOENT | Errno::NAMETOOLONG) => Ok(None),
            Err(errno) => Err(EntryFault::system("read the link to its parent")(errno)),
        }
    }
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> + '_ {
    path.split(|&byte| byte == b'/').map(<[u8]>::to_vec)
}

/// The target of a link for which a regular file stands; `None` for everything else.
fn stand_in_target(dir: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Ok(file) => file,
        // A device, or a file that is closed to its owner.
        Err(_) => return Ok(None),
    };
    let mut record = [0; 256];
    let Ok(len) = rustix::fs::fgetxattr(&file, override_stat::XATTR, &mut record) else {
        return Ok(None);
    };
    let record = OverrideStat::parse(record.get(..len).unwrap_or_default());
    if !matches!(record, Some(record) if record.kind == Some(Kind::Symlink)) {
        return Ok(None);
    }
    let mut target = vec![0; limits::PATH_BYTES];
    let mut len = 0;
    while let Some(rest) = target.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut *rest))? {
            0 => break,
            count => len += count,
        }
    }
    target.truncate(len);
    Ok(Some(target))
}
